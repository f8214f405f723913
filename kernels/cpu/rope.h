/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rope: cosines and sines of rotary positions (Su et al., RoFormer): pair i of position p turns by
 * p * scale * base^(-2i / n_dims) / factors[i]. Angles are computed in double and rounded once.
 * Tables are kept by what the angles depend on (a model has one or two of these) and by position,
 * so that only the first layer computes them.
 */
#ifndef LLMOSFS_KERNELS_CPU_ROPE_H
#define LLMOSFS_KERNELS_CPU_ROPE_H

#include <stdint.h>

#include "kernels/ops.h"

#define ROPE_TABLES    4
#define ROPE_POSITIONS 4096 /* remembered: position p in place p mod this */

struct rope_table {
    uint32_t n_dims;
    float base;
    float scale;
    float *factors;     /* n_dims / 2, or NULL */
    double *frequency;  /* n_dims / 2 */
    uint32_t *position; /* which one is in each place, plus one; 0: none */
    float *turns;       /* [ROPE_POSITIONS][n_dims]: n_dims / 2 cosines, then as many sines */
    uint64_t used;
};

struct rope_tables {
    struct rope_table tables[ROPE_TABLES];
    uint64_t clock;
};

/* The table for a rope; stays until ROPE_TABLES others were asked for. */
struct rope_table *rope_find(struct rope_tables *ts, const struct ops_rope *rope);

/* n_dims / 2 cosines of a position, then as many sines; stays until a position ROPE_POSITIONS away
 * is asked for. */
const float *rope_turns(struct rope_table *t, uint32_t position);

void rope_free(struct rope_tables *ts);

#endif
