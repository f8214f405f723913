/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops: the operations that a forward pass is written over. Each backend (kernels/cpu, kernels/cuda) brings one table of
 * them; the engine does not know which it has.
 *
 * Memory. A `float *` that an operation takes is memory of the backend (on a GPU: an address on the device), made by alloc();
 * nobody but an operation looks into it. Matrices and caches are opaque. Host memory is marked `host`.
 *
 * Shapes. An activation is n rows of `dim` floats, one row for each token of the batch, densely after each other. A matrix
 * has `rows` outputs and `cols` inputs: matmul gives dst[n][rows] = src[n][cols] · matrixᵀ.
 *
 * The same answer always. What an operation makes of a row depends on nothing but that row, its sequence's cache and the weights: not
 * on n, not on the other rows, not on the number of threads. Each weight type has one order of reduction.
 *
 * Threads: a backend is used by one thread at a time, and spreads the work over threads of its own.
 */
#ifndef LLMOSFS_KERNELS_OPS_H
#define LLMOSFS_KERNELS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ops_backend;
struct ops_matrix;
struct ops_cache;

struct ops_config {
    uint32_t threads; /* 0: one for each core that this process may use */
    const char *
        kernels; /* NULL or "": the best that the machine has; else "portable", "avx2", "avx512" (ENOTSUP if it lacks them) */
};

struct ops_rope {
    uint32_t n_dims; /* how many of head_dim turn; even */
    bool neox;       /* pairs (i, i + n_dims/2); else (2i, 2i+1) */
    float base;
    float scale;          /* positions are multiplied by it: 1, or 1/factor of linear scaling */
    const float *factors; /* host: n_dims/2 divisors of the frequencies (Llama 3), or NULL */
};

/* Rows of one sequence in a batch: n rows after each other, at positions pos … pos + n - 1. */
struct ops_span {
    const uint32_t
        *pages; /* host: the pages of this sequence, page i holds positions [i, i+1) * page_size */
    uint32_t pos;
    uint32_t n;
};

struct ops_cache_shape {
    uint32_t n_layers;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t page_size; /* positions in a page: 32 */
    uint32_t n_pages;
};

struct ops_attention {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    float scale;     /* of q·k */
    float softcap;   /* 0: none; else s = softcap * tanh(s / softcap) */
    uint32_t window; /* 0: all before; else position p sees (p - window, p] */
};

enum ops_glu { OPS_SILU, OPS_GELU_TANH };

struct ops {
    const char *backend; /* "cpu" */

    /* --- a backend --- */
    struct ops_backend *(*open)(const struct ops_config *config, struct err *e);
    void (*close)(struct ops_backend *be); /* after all that was made with it is freed */
    const char *(*kernels)(
        const struct ops_backend *be); /* "avx512 vnni": what was chosen, for people */
    uint32_t (*threads)(const struct ops_backend *be);

    /* --- memory --- */
    float *(*alloc)(struct ops_backend *be, size_t n_floats, struct err *e); /* ENOMEM */
    void (*free)(struct ops_backend *be, float *p);
    void (*upload)(struct ops_backend *be, float *dst, const float *host, size_t n);
    void (*download)(struct ops_backend *be, float *host, const float *src,
                     size_t n); /* waits for what was begun */

    /* --- weights: types are GGUF's numbers (ENOEXEC for one that this backend does not have, EINVAL for a shape that
     * the type cannot have, ENOMEM) --- */
    struct ops_matrix *(*matrix_new)(struct ops_backend *be, uint32_t type, uint64_t rows,
                                     uint64_t cols, struct err *e);
    /* Fills n rows from row `first` on with blocks as they lie in the file (host, any alignment); each row once, in order. */
    void (*matrix_fill)(struct ops_backend *be, struct ops_matrix *m, uint64_t first, uint64_t n,
                        const void *host);
    void (*matrix_free)(struct ops_backend *be, struct ops_matrix *m);
    size_t (*matrix_bytes)(const struct ops_matrix *m); /* memory it takes */

    /* --- the KV cache: f16 pages of all layers. EINVAL: a shape that this backend does not have; ENOMEM --- */
    struct ops_cache *(*cache_new)(struct ops_backend *be, const struct ops_cache_shape *shape,
                                   struct err *e);
    void (*cache_free)(struct ops_backend *be, struct ops_cache *c);
    size_t (*cache_page_bytes)(const struct ops_cache_shape *shape);
    void (*cache_copy_page)(struct ops_backend *be, struct ops_cache *c, uint32_t from,
                            uint32_t to);

    /* --- operations; dst may be src where it says so --- */
    /* dst[i] = scale * row ids[i] of m. ids (host) are below m's rows: the caller checked. */
    void (*embed)(struct ops_backend *be, float *dst, const struct ops_matrix *m,
                  const int32_t *ids, uint32_t n, float scale);
    /* dst = src / rms(src) * weight, in groups of dim (n of them: rows, or rows × heads). dst may be src. */
    void (*rmsnorm)(struct ops_backend *be, float *dst, const float *src, const float *weight,
                    uint32_t n, uint32_t dim, float eps);
    /* dsts[k] = src · ms[k]ᵀ for each k < n_ms: matrices that share their input (Q, K, V; gate, up) go together. */
    void (*matmul)(struct ops_backend *be, float *const *dsts, const struct ops_matrix *const *ms,
                   uint32_t n_ms, const float *src, uint32_t n);
    /* dst = src · mᵀ, with activations that are rounded much less (16 bits) where matmul() rounds them: for the output
     * matrix, whose errors no later layer evens out. */
    void (*matmul_precise)(struct ops_backend *be, float *dst, const struct ops_matrix *m,
                           const float *src, uint32_t n);
    /* Turns the heads of each row in place, at the positions that the spans give. */
    void (*rope)(struct ops_backend *be, float *x, uint32_t n_heads, uint32_t head_dim,
                 const struct ops_rope *rope, const struct ops_span *spans, uint32_t n_spans);
    /* Writes k and v (rows of n_kv_heads × head_dim) into the pages of the spans. */
    void (*cache_put)(struct ops_backend *be, struct ops_cache *c, uint32_t layer, const float *k,
                      const float *v, const struct ops_span *spans, uint32_t n_spans);
    /* Causal attention of each row over its own sequence's cache (its own position included, so cache_put comes first). */
    void (*attention)(struct ops_backend *be, float *dst, const float *q, const struct ops_cache *c,
                      uint32_t layer, const struct ops_attention *at, const struct ops_span *spans,
                      uint32_t n_spans);
    /* dst = act(gate) * up; dst may be gate. */
    void (*glu)(struct ops_backend *be, float *dst, const float *gate, const float *up, size_t n,
                enum ops_glu act);
    /* dst = a + b; dst may be a. */
    void (*add)(struct ops_backend *be, float *dst, const float *a, const float *b, size_t n);
    /* dst = row[i]-th rows of src, each dim floats: the rows whose logits are wanted. */
    void (*gather)(struct ops_backend *be, float *dst, const float *src,
                   const uint32_t *rows /* host */, uint32_t n, uint32_t dim);
};

extern const struct ops ops_cpu;

#endif
