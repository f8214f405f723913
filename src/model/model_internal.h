/* SPDX-License-Identifier: Apache-2.0 */
/* model, inside: the steps of model_read(). */
#ifndef LLMOSFS_MODEL_MODEL_INTERNAL_H
#define LLMOSFS_MODEL_MODEL_INTERNAL_H

#include "model/model.h"

/* Fills m->hp but for n_vocab's check against the embedding, which model_read_tensors() makes. */
int model_read_hparams(struct model *m, const struct gguf *g, struct err *e);

/* Finds and checks every tensor; m->hp is whole, m->layers has room for hp.n_layers. */
int model_read_tensors(struct model *m, const struct gguf *g, struct err *e);

#endif
