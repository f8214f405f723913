/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Llama, and what is built like it (SmolLM2, Mistral): Touvron et al., "LLaMA" (arXiv 2302.13971)
 * with grouped queries (arXiv 2307.09288).
 *
 *     x  = E[token]
 *     for each layer:
 *       h  = rms(x) · g_attn
 *       q, k, v = h Wqᵀ, h Wkᵀ, h Wvᵀ;  q, k turned by position
 *       x += attention(q; K, V) Woᵀ
 *       h  = rms(x) · g_ffn
 *       x += (silu(h Wgᵀ) ⊙ h Wuᵀ) Wdᵀ
 */
#include "engine/forward.h"

static void attention_block(struct forward *f, const struct forward_batch *b, uint32_t layer)
{
    const struct ops *o = f->w->ops;
    const struct model_hparams *hp = &f->w->hp;
    const struct weights_layer *l = &f->w->layers[layer];
    struct ops_backend *be = f->w->be;
    struct ops_attention at = {.n_heads = hp->n_heads,
                               .n_kv_heads = hp->n_kv_heads,
                               .head_dim = hp->head_dim,
                               .scale = hp->attention_scale,
                               .softcap = hp->attention_softcap,
                               .window = forward_is_local(hp, layer) ? hp->window : 0};

    o->rmsnorm(be, f->h, f->x, l->attn_norm, b->n, hp->n_embd, hp->rms_eps);
    forward_qkv(f, l, b->n);
    o->rope(be, f->q, hp->n_heads, hp->head_dim, &f->rope, b->spans, b->n_spans);
    o->rope(be, f->k, hp->n_kv_heads, hp->head_dim, &f->rope, b->spans, b->n_spans);
    o->cache_put(be, f->cache, layer, f->k, f->v, b->spans, b->n_spans);
    o->attention(be, f->at, f->q, f->cache, layer, &at, b->spans, b->n_spans);
    forward_matmul(f, f->h, l->wo, f->at, b->n);
    o->add(be, f->x, f->x, f->h, (size_t)b->n * hp->n_embd);
}

static void feed_forward_block(struct forward *f, const struct forward_batch *b, uint32_t layer)
{
    const struct ops *o = f->w->ops;
    const struct model_hparams *hp = &f->w->hp;
    const struct weights_layer *l = &f->w->layers[layer];
    struct ops_backend *be = f->w->be;

    o->rmsnorm(be, f->h, f->x, l->ffn_norm, b->n, hp->n_embd, hp->rms_eps);
    forward_gate_up(f, l, b->n);
    o->glu(be, f->gate, f->gate, f->up, (size_t)b->n * hp->n_ff, OPS_SILU);
    forward_matmul(f, f->h, l->down, f->gate, b->n);
    o->add(be, f->x, f->x, f->h, (size_t)b->n * hp->n_embd);
}

void forward_llama(struct forward *f, const struct forward_batch *b)
{
    const struct weights *w = f->w;
    w->ops->embed(w->be, f->x, w->token_embd, b->tokens, b->n, w->hp.embedding_scale);
    for (uint32_t layer = 0; layer < w->hp.n_layers; layer++) {
        if (f->tick)
            f->tick(f->tick_ctx);
        attention_block(f, b, layer);
        feed_forward_block(f, b, layer);
    }
}
