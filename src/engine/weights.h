/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights: the matrices and vectors of a model in the memory of a backend.
 *
 * They are read by pread in bounded pieces and handed to the backend, which may order them anew:
 * nothing of the file stays mapped or is kept twice.
 */
#ifndef LLMOSFS_ENGINE_WEIGHTS_H
#define LLMOSFS_ENGINE_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "kernels/ops.h"
#include "model/model.h"
#include "model/vfile.h"

/* NULL where the model has none. Vectors are of the backend's memory. */
struct weights_layer {
    float *attn_norm;                /* n_embd */
    struct ops_matrix *wq, *wk, *wv; /* n_embd → heads × head_dim, kv_heads × head_dim twice */
    float *bq, *bk, *bv;
    float *q_norm, *k_norm;              /* head_dim */
    struct ops_matrix *wo;               /* heads × head_dim → n_embd */
    float *attn_post_norm;               /* n_embd */
    float *ffn_norm;                     /* n_embd */
    struct ops_matrix *gate, *up, *down; /* n_embd → n_ff twice, n_ff → n_embd */
    float *ffn_post_norm;                /* n_embd */
};

struct weights {
    const struct ops *ops;
    struct ops_backend *be; /* the caller's, which outlives this */
    struct model_hparams hp;
    struct ops_matrix *token_embd; /* n_vocab rows */
    float *output_norm;            /* n_embd */
    struct ops_matrix *output;     /* n_vocab rows; is token_embd where the file ties them */
    float *rope_factors;           /* host: rope_dims / 2, or NULL */
    struct weights_layer *layers;
    size_t bytes; /* that all of it takes */
};

/* Told now and then while it loads. False gives the load up (ECANCELED). */
typedef bool weights_progress_fn(void *ctx, uint64_t done, uint64_t total);

/* m and f may go afterwards. ENOMEM, EBADMSG (the file is shorter than it was), ENOEXEC (no kernel
 * for a type). */
struct weights *weights_load(const struct ops *ops, struct ops_backend *be, const struct model *m,
                             const struct vfile *f, weights_progress_fn *progress, void *ctx,
                             struct err *e);
void weights_free(struct weights *w);
DEFINE_CLEANUP(weights, struct weights *, weights_free)

#endif
