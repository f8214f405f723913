/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward: from tokens to logits, over a table of operations (kernels/ops.h).
 *
 * A batch is rows of one or more sequences; each row is a token at its position. forward_run()
 * computes the last hidden state of each row and writes keys and values into the cache;
 * forward_logits() makes logits of the rows that are wanted. What a row gives does not depend on
 * the other rows.
 *
 * Each architecture is one file, forward_ARCH.c, which reads like its equations.
 */
#ifndef LLMOSFS_ENGINE_FORWARD_H
#define LLMOSFS_ENGINE_FORWARD_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/weights.h"
#include "kernels/ops.h"

#define FORWARD_LOGITS_MAX                                                                         \
    16 /* rows of logits at once: a vocabulary may have a quarter of a million entries */

/* Rows after each other; the spans say whose they are, in this order. */
struct forward_batch {
    const int32_t *tokens; /* below n_vocab */
    uint32_t n;
    const struct ops_span *spans;
    uint32_t n_spans;
};

struct forward {
    const struct weights *w;
    struct ops_cache *cache; /* the caller's */
    uint32_t max_rows;
    struct ops_rope rope;       /* of layers that see all */
    struct ops_rope rope_local; /* of layers with a window */
    void (*tick)(
        void *ctx); /* called before each layer: a sign of life during a long step; may be NULL */
    void *tick_ctx;
    /* Activations, max_rows each. Those of attention and of the feed-forward net are never alive
     * together. */
    float *x;              /* the residual stream: n_embd */
    float *h;              /* n_embd: what a block reads, and what it gives back */
    float *scratch;        /* holds the following */
    float *q, *k, *v, *at; /* heads × head_dim, kv_heads × head_dim twice, heads × head_dim */
    float *gate, *up;      /* n_ff */
    float *last;           /* FORWARD_LOGITS_MAX × n_embd */
    float *logits;         /* FORWARD_LOGITS_MAX × n_vocab */
    float *host;           /* one row of it, in the memory of the host */
};

/* The cache has the shape of the model. ENOMEM. w and cache outlive it. */
struct forward *forward_new(const struct weights *w, struct ops_cache *cache, uint32_t max_rows,
                            struct err *e);
void forward_free(struct forward *f);
DEFINE_CLEANUP(forward, struct forward *, forward_free)
size_t forward_bytes(const struct model_hparams *hp, uint32_t max_rows); /* memory that one takes */

/* b has 1 to max_rows rows. */
void forward_run(struct forward *f, const struct forward_batch *b);

/* Computes the logits of n ≤ FORWARD_LOGITS_MAX rows of the batch before. */
void forward_logits(struct forward *f, const uint32_t *rows, uint32_t n);

/* The logits of the i-th of them: n_vocab values after soft-capping, valid until the next call. */
const float *forward_logits_row(struct forward *f, uint32_t i);

/* --- for the architectures --- */

void forward_llama(struct forward *f, const struct forward_batch *b);
void forward_gemma3(struct forward *f, const struct forward_batch *b);

/* Does this layer see only a window? */
bool forward_is_local(const struct model_hparams *hp, uint32_t layer);
/* dst[n][rows of m] = src[n][columns of m] · mᵀ */
void forward_matmul(struct forward *f, float *dst, const struct ops_matrix *m, const float *src,
                    uint32_t n);
/* q, k, v = h · [wq wk wv]ᵀ (+ biases) */
void forward_qkv(struct forward *f, const struct weights_layer *l, uint32_t n);
/* gate, up = h · [gate up]ᵀ */
void forward_gate_up(struct forward *f, const struct weights_layer *l, uint32_t n);

#endif
