/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemma 3: "Gemma 3 Technical Report" (arXiv 2503.19786). The norms' weights in the file contain
 * the 1 that is added to them.
 *
 *     x  = E[token] · sqrt(n_embd)
 *     for each layer:
 *       h  = rms(x) · g_attn
 *       q, k, v = h Wqᵀ, h Wkᵀ, h Wvᵀ
 *       q, k = rms of each head · g_q, · g_k, turned by position (local layers by a base of their
 * own) x += rms(attention(q; K, V) Woᵀ) · g_post          local layers see only a window h  =
 * rms(x) · g_ffn x += rms((gelu(h Wgᵀ) ⊙ h Wuᵀ) Wdᵀ) · g_post
 */
#include "engine/forward.h"

/* x += rms(h) · weight */
static void add_normed(struct forward *f, const float *weight, uint32_t n)
{
    const struct weights *w = f->w;
    w->ops->rmsnorm(w->be, f->h, f->h, weight, n, w->hp.n_embd, w->hp.rms_eps);
    w->ops->add(w->be, f->x, f->x, f->h, (size_t)n * w->hp.n_embd);
}

static void attention_block(struct forward *f, const struct forward_batch *b, uint32_t layer)
{
    const struct ops *o = f->w->ops;
    const struct model_hparams *hp = &f->w->hp;
    const struct weights_layer *l = &f->w->layers[layer];
    struct ops_backend *be = f->w->be;
    bool local = forward_is_local(hp, layer);
    const struct ops_rope *rope = local ? &f->rope_local : &f->rope;
    struct ops_attention at = {.n_heads = hp->n_heads,
                               .n_kv_heads = hp->n_kv_heads,
                               .head_dim = hp->head_dim,
                               .scale = hp->attention_scale,
                               .softcap = hp->attention_softcap,
                               .window = local ? hp->window : 0};

    o->rmsnorm(be, f->h, f->x, l->attn_norm, b->n, hp->n_embd, hp->rms_eps);
    forward_qkv(f, l, b->n);
    o->rmsnorm(be, f->q, f->q, l->q_norm, b->n * hp->n_heads, hp->head_dim, hp->rms_eps);
    o->rmsnorm(be, f->k, f->k, l->k_norm, b->n * hp->n_kv_heads, hp->head_dim, hp->rms_eps);
    o->rope(be, f->q, hp->n_heads, hp->head_dim, rope, b->spans, b->n_spans);
    o->rope(be, f->k, hp->n_kv_heads, hp->head_dim, rope, b->spans, b->n_spans);
    o->cache_put(be, f->cache, layer, f->k, f->v, b->spans, b->n_spans);
    o->attention(be, f->at, f->q, f->cache, layer, &at, b->spans, b->n_spans);
    forward_matmul(f, f->h, l->wo, f->at, b->n);
    add_normed(f, l->attn_post_norm, b->n);
}

static void feed_forward_block(struct forward *f, const struct forward_batch *b, uint32_t layer)
{
    const struct ops *o = f->w->ops;
    const struct model_hparams *hp = &f->w->hp;
    const struct weights_layer *l = &f->w->layers[layer];
    struct ops_backend *be = f->w->be;

    o->rmsnorm(be, f->h, f->x, l->ffn_norm, b->n, hp->n_embd, hp->rms_eps);
    forward_gate_up(f, l, b->n);
    o->glu(be, f->gate, f->gate, f->up, (size_t)b->n * hp->n_ff, OPS_GELU_TANH);
    forward_matmul(f, f->h, l->down, f->gate, b->n);
    add_normed(f, l->ffn_post_norm, b->n);
}

void forward_gemma3(struct forward *f, const struct forward_batch *b)
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
