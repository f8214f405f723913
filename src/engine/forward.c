/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/forward.h"

#include <math.h>

static size_t scratch_floats(const struct model_hparams *hp)
{
    size_t heads = (size_t)hp->n_heads * hp->head_dim;
    size_t kv = (size_t)hp->n_kv_heads * hp->head_dim;
    return MAX(2 * heads + 2 * kv, 2 * (size_t)hp->n_ff);
}

static size_t logits_floats(const struct model_hparams *hp)
{
    return (size_t)FORWARD_LOGITS_MAX * hp->n_vocab;
}

size_t forward_bytes(const struct model_hparams *hp, uint32_t max_rows)
{
    size_t row = 2 * (size_t)hp->n_embd + scratch_floats(hp);
    size_t last = (size_t)FORWARD_LOGITS_MAX * hp->n_embd;
    return (row * max_rows + last + logits_floats(hp) + hp->n_vocab) * sizeof(float);
}

/* Where the parts of the scratch memory begin. */
static void lay_out(struct forward *f)
{
    const struct model_hparams *hp = &f->w->hp;
    size_t heads = (size_t)hp->n_heads * hp->head_dim * f->max_rows;
    size_t kv = (size_t)hp->n_kv_heads * hp->head_dim * f->max_rows;
    f->q = f->scratch;
    f->k = f->q + heads;
    f->v = f->k + kv;
    f->at = f->v + kv;
    f->gate = f->scratch;
    f->up = f->gate + (size_t)hp->n_ff * f->max_rows;
}

struct forward *forward_new(const struct weights *w, struct ops_cache *cache, uint32_t max_rows,
                            struct err *e)
{
    const struct model_hparams *hp = &w->hp;
    CLEANUP(forward) struct forward *f = xcalloc(1, sizeof(*f));
    f->w = w;
    f->cache = cache;
    f->max_rows = max_rows;
    f->rope = (struct ops_rope){.n_dims = hp->rope_dims,
                                .neox = hp->rope_neox,
                                .base = hp->rope_base,
                                .scale = hp->rope_scale,
                                .factors = w->rope_factors};
    f->rope_local = f->rope;
    f->rope_local.base = hp->rope_base_local;
    f->rope_local.scale = 1; /* linear scaling stretches only the layers that see all */
    struct {
        float **to;
        size_t n;
    } parts[] = {
        {&f->x, (size_t)hp->n_embd * max_rows},
        {&f->h, (size_t)hp->n_embd * max_rows},
        {&f->scratch, scratch_floats(hp) * max_rows},
        {&f->last, (size_t)FORWARD_LOGITS_MAX * hp->n_embd},
        {&f->logits, logits_floats(hp)},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!(*parts[i].to = w->ops->alloc(w->be, parts[i].n, e)))
            return NULL;
    f->host = mem_array(hp->n_vocab, sizeof(float), "the logits", e);
    if (!f->host)
        return NULL;
    lay_out(f);
    return steal_ptr(&f);
}

void forward_free(struct forward *f)
{
    float *parts[] = {f->x, f->h, f->scratch, f->last, f->logits};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i])
            f->w->ops->free(f->w->be, parts[i]);
    free(f->host);
    free(f);
}

bool forward_is_local(const struct model_hparams *hp, uint32_t layer)
{
    return hp->window_period != 0 && (layer + 1) % hp->window_period != 0;
}

void forward_matmul(struct forward *f, float *dst, const struct ops_matrix *m, const float *src,
                    uint32_t n)
{
    f->w->ops->matmul(f->w->be, &dst, &m, 1, src, n);
}

static void add_bias(struct forward *f, float *x, const float *bias, size_t dim, uint32_t n)
{
    for (uint32_t i = 0; bias && i < n; i++)
        f->w->ops->add(f->w->be, x + i * dim, x + i * dim, bias, dim);
}

void forward_qkv(struct forward *f, const struct weights_layer *l, uint32_t n)
{
    const struct model_hparams *hp = &f->w->hp;
    f->w->ops->matmul(f->w->be, (float *const[]){f->q, f->k, f->v},
                      (const struct ops_matrix *const[]){l->wq, l->wk, l->wv}, 3, f->h, n);
    add_bias(f, f->q, l->bq, (size_t)hp->n_heads * hp->head_dim, n);
    add_bias(f, f->k, l->bk, (size_t)hp->n_kv_heads * hp->head_dim, n);
    add_bias(f, f->v, l->bv, (size_t)hp->n_kv_heads * hp->head_dim, n);
}

void forward_gate_up(struct forward *f, const struct weights_layer *l, uint32_t n)
{
    f->w->ops->matmul(f->w->be, (float *const[]){f->gate, f->up},
                      (const struct ops_matrix *const[]){l->gate, l->up}, 2, f->h, n);
}

void forward_run(struct forward *f, const struct forward_batch *b)
{
    switch (f->w->hp.arch) {
    case MODEL_LLAMA:
        forward_llama(f, b);
        break;
    case MODEL_GEMMA3:
        forward_gemma3(f, b);
        break;
    }
}

static void soft_cap(float *x, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

void forward_logits(struct forward *f, const uint32_t *rows, uint32_t n)
{
    const struct weights *w = f->w;
    w->ops->gather(w->be, f->last, f->x, rows, n, w->hp.n_embd);
    w->ops->rmsnorm(w->be, f->last, f->last, w->output_norm, n, w->hp.n_embd, w->hp.rms_eps);
    w->ops->matmul_precise(w->be, f->logits, w->output, f->last, n);
}

const float *forward_logits_row(struct forward *f, uint32_t i)
{
    const struct weights *w = f->w;
    w->ops->download(w->be, f->host, f->logits + (size_t)i * w->hp.n_vocab, w->hp.n_vocab);
    if (w->hp.logit_softcap > 0)
        soft_cap(f->host, w->hp.n_vocab, w->hp.logit_softcap);
    return f->host;
}
