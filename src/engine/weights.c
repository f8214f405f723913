/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights.h"

#include <errno.h>
#include <string.h>

#define PIECE_BYTES (1u << 20) /* read at once, or one row if that is longer */
#define PIECE_ROWS  32         /* read in multiples of it, so that a backend can interleave rows */

struct loader {
    struct weights *w;
    const struct vfile *f;
    char *piece;
    size_t piece_cap;
    weights_progress_fn *progress;
    void *ctx;
    uint64_t done;
    uint64_t total;
};

static int tell(struct loader *l, uint64_t bytes, struct err *e)
{
    l->done += bytes;
    if (l->progress && !l->progress(l->ctx, MIN(l->done, l->total), l->total))
        return err_set(e, ECANCELED, "the load was given up");
    return 0;
}

static int reserve_piece(struct loader *l, uint64_t bytes, struct err *e)
{
    if (bytes <= l->piece_cap)
        return 0;
    free(l->piece);
    l->piece_cap = 0;
    l->piece = mem_array(bytes, 1, "rows of a tensor", e);
    if (!l->piece)
        return -1;
    l->piece_cap = bytes;
    return 0;
}

static int fill(struct loader *l, struct ops_matrix *m, const struct gguf_tensor *t, uint64_t rows,
                struct err *e)
{
    const struct weights *w = l->w;
    uint64_t row_bytes = t->bytes / t->ne[1]; /* a vector is one row */
    uint64_t at_once = MAX(PIECE_BYTES / row_bytes / PIECE_ROWS * PIECE_ROWS, 1);
    at_once = MIN(at_once, rows);
    if (reserve_piece(l, at_once * row_bytes, e) < 0)
        return -1;
    for (uint64_t first = 0; first < rows; first += at_once) {
        uint64_t n = MIN(at_once, rows - first);
        if (vfile_read(l->f, l->piece, n * row_bytes, t->offset + first * row_bytes, e) < 0)
            return -1;
        w->ops->matrix_fill(w->be, m, first, n, l->piece);
        if (tell(l, n * row_bytes, e) < 0)
            return -1;
    }
    return 0;
}

static struct ops_matrix *load_rows(struct loader *l, const struct gguf_tensor *t, uint64_t rows,
                                    uint64_t cols, struct err *e)
{
    const struct weights *w = l->w;
    struct ops_matrix *m = w->ops->matrix_new(w->be, t->type, rows, cols, e);
    if (m && fill(l, m, t, rows, e) == 0)
        return m;
    err_prefix(e, "tensor %.*s", (int)t->name.len, t->name.data);
    if (m)
        w->ops->matrix_free(w->be, m);
    return NULL;
}

/* The first `rows` of a tensor. */
static int load_some(struct loader *l, struct ops_matrix **out, const struct gguf_tensor *t,
                     uint64_t rows, struct err *e)
{
    *out = load_rows(l, t, rows, t->ne[0], e);
    if (!*out)
        return -1;
    l->w->bytes += l->w->ops->matrix_bytes(*out);
    return 0;
}

static int load_matrix(struct loader *l, struct ops_matrix **out, const struct gguf_tensor *t,
                       struct err *e)
{
    return t ? load_some(l, out, t, t->ne[1], e) : 0;
}

/* A vector of any type is a matrix of one row: embed() makes floats of it, in the backend's
   memory. */
static int load_vector(struct loader *l, float **out, const struct gguf_tensor *t, struct err *e)
{
    if (!t)
        return 0;
    const struct weights *w = l->w;
    struct ops_matrix *row = load_rows(l, t, 1, t->ne[0], e);
    if (!row)
        return -1;
    *out = w->ops->alloc(w->be, t->ne[0], e);
    if (*out) {
        int32_t first = 0;
        w->ops->embed(w->be, *out, row, &first, 1, 1.0f);
        l->w->bytes += t->ne[0] * sizeof(float);
    }
    w->ops->matrix_free(w->be, row);
    return *out ? 0 : -1;
}

static int load_layer(struct loader *l, struct weights_layer *to, const struct model_layer *from,
                      struct err *e)
{
    struct {
        float **to;
        const struct gguf_tensor *from;
    } vectors[] = {
        {&to->attn_norm, from->attn_norm},
        {&to->bq, from->attn_q_bias},
        {&to->bk, from->attn_k_bias},
        {&to->bv, from->attn_v_bias},
        {&to->q_norm, from->attn_q_norm},
        {&to->k_norm, from->attn_k_norm},
        {&to->ffn_norm, from->ffn_norm},
        {&to->attn_post_norm, from->attn_post_norm},
        {&to->ffn_post_norm, from->ffn_post_norm},
    };
    struct {
        struct ops_matrix **to;
        const struct gguf_tensor *from;
    } matrices[] = {
        {&to->wq, from->attn_q},      {&to->wk, from->attn_k},     {&to->wv, from->attn_v},
        {&to->wo, from->attn_output}, {&to->gate, from->ffn_gate}, {&to->up, from->ffn_up},
        {&to->down, from->ffn_down},
    };
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        if (load_vector(l, vectors[i].to, vectors[i].from, e) < 0)
            return -1;
    for (size_t i = 0; i < ARRAY_LEN(matrices); i++)
        if (load_matrix(l, matrices[i].to, matrices[i].from, e) < 0)
            return -1;
    return 0;
}

static int load_rope_factors(struct loader *l, const struct gguf_tensor *t, struct err *e)
{
    float *device = NULL;
    if (!t)
        return 0;
    if (load_vector(l, &device, t, e) < 0)
        return -1;
    struct weights *w = l->w;
    w->rope_factors = mem_array(t->ne[0], sizeof(float), "the RoPE factors", e);
    if (w->rope_factors)
        w->ops->download(w->be, w->rope_factors, device, t->ne[0]);
    w->ops->free(w->be, device);
    return w->rope_factors ? 0 : -1;
}

/* Some files pad the vocabulary: rows that no token has are left out. */
static int load_all(struct loader *l, const struct model *m, struct err *e)
{
    struct weights *w = l->w;
    if (load_some(l, &w->token_embd, m->token_embd, w->hp.n_vocab, e) < 0 ||
        load_vector(l, &w->output_norm, m->output_norm, e) < 0 ||
        load_rope_factors(l, m->rope_freqs, e) < 0)
        return -1;
    if (m->output == m->token_embd)
        w->output = w->token_embd;
    else if (load_some(l, &w->output, m->output, w->hp.n_vocab, e) < 0)
        return -1;
    for (uint32_t i = 0; i < w->hp.n_layers; i++)
        if (load_layer(l, &w->layers[i], &m->layers[i], e) < 0)
            return -1;
    return 0;
}

struct weights *weights_load(const struct ops *ops, struct ops_backend *be, const struct model *m,
                             const struct vfile *f, weights_progress_fn *progress, void *ctx,
                             struct err *e)
{
    CLEANUP(weights) struct weights *w = xcalloc(1, sizeof(*w));
    w->ops = ops;
    w->be = be;
    w->hp = m->hp;
    w->layers = mem_array(m->hp.n_layers, sizeof(*w->layers), "the table of layers", e);
    if (!w->layers)
        return NULL;
    struct loader l = {.w = w, .f = f, .progress = progress, .ctx = ctx, .total = m->weights_bytes};
    int r = load_all(&l, m, e);
    free(l.piece);
    return r == 0 ? steal_ptr(&w) : NULL;
}

static void free_vectors(struct weights *w, float *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v[i])
            w->ops->free(w->be, v[i]);
}

static void free_matrices(struct weights *w, struct ops_matrix *const *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (m[i])
            w->ops->matrix_free(w->be, m[i]);
}

void weights_free(struct weights *w)
{
    for (uint32_t i = 0; w->layers && i < w->hp.n_layers; i++) {
        struct weights_layer *l = &w->layers[i];
        free_vectors(w,
                     (float *const[]){l->attn_norm, l->bq, l->bk, l->bv, l->q_norm, l->k_norm,
                                      l->attn_post_norm, l->ffn_norm, l->ffn_post_norm},
                     9);
        free_matrices(
            w, (struct ops_matrix *const[]){l->wq, l->wk, l->wv, l->wo, l->gate, l->up, l->down},
            7);
    }
    free_vectors(w, &w->output_norm, 1);
    if (w->output != w->token_embd)
        free_matrices(w, &w->output, 1);
    free_matrices(w, &w->token_embd, 1);
    free(w->rope_factors);
    free(w->layers);
    free(w);
}
