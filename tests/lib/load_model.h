/* SPDX-License-Identifier: Apache-2.0 */
/* load_model: reads a model's header as an engine does, and looks into every corner of what came of
 * it. */
#ifndef LLMOSFS_TESTS_LOAD_MODEL_H
#define LLMOSFS_TESTS_LOAD_MODEL_H

#include "model/model.h"

struct loaded {
    int fd;
    struct vfile *file; /* NULL, as the next two, from where it failed on */
    struct gguf *gguf;
    struct model *model;
    struct err e;
};

/* Takes the descriptor over. It failed if `model` is NULL; then e says why. */
struct loaded load_model(int fd);
void load_model_end(struct loaded *l);
#define CLEANUP_LOADED __attribute__((cleanup(load_model_end)))

/*
 * Uses everything that a header gives: all strings and numbers of the arrays that models have, and
 * all tensors. Under a sanitizer this finds what points elsewhere. Returns a sum of it; ends the
 * program with a line where a tensor lies outside the file or a promise of model.h is broken. The
 * model may be NULL.
 */
uint64_t load_model_walk(const struct vfile *f, const struct gguf *g, const struct model *m);

#endif
