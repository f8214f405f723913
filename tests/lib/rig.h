/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig: a model with its cache and forward pass, put together as the engine does it but open to a test: weights, batch and
 * cache can be driven one by one. What fails ends the program with a sentence.
 */
#ifndef LLMOSFS_TESTS_RIG_H
#define LLMOSFS_TESTS_RIG_H

#include "engine/forward.h"
#include "engine/kv.h"
#include "engine/weights.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/vfile.h"

#define RIG_PAGE 32

struct rig_options {
    uint32_t threads;    /* 0: all */
    const char *kernels; /* NULL: the best */
    uint32_t n_pages;    /* 0: one whole context */
    uint32_t max_rows;   /* 0: 128 */
};

struct rig {
    const struct ops *ops;
    struct ops_backend *be;
    struct vfile *f;
    struct gguf *g;
    struct model *m;
    struct weights *w;
    struct ops_cache *cache;
    struct kv *kv;
    struct forward *fwd;
};

struct rig *rig_open(int fd,
                     const struct rig_options *o); /* the caller closes fd, after rig_close() */
void rig_close(struct rig *r);
DEFINE_CLEANUP(rig, struct rig *, rig_close)

/*
 * Computes the tokens as one new sequence, `chunk` rows at a time (0: as many as go), and calls `fn` with the logits after
 * each of them: position i predicts token i + 1.
 */
typedef void rig_logits_fn(void *ctx, size_t position, const float *logits);
void rig_run(struct rig *r, const int32_t *tokens, size_t n, uint32_t chunk, rig_logits_fn *fn,
             void *ctx);

#endif
