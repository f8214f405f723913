/* SPDX-License-Identifier: Apache-2.0 */
/* random_weights: pseudo-random numbers, and tensors of them in every block type. */
#ifndef LLMOSFS_TESTS_RANDOM_WEIGHTS_H
#define LLMOSFS_TESTS_RANDOM_WEIGHTS_H

#include <stdint.h>

#include "base/buf.h"

/* The next of a sequence (splitmix64, Steele et al. 2014); *state is the seed at first. */
uint64_t random_next(uint64_t *state);
float random_uniform(uint64_t *state, float min, float max);

/*
 * Appends rows × cols weights of a GGUF type (cols: whole blocks). A matrix (rows > 1) lies about
 * in ±sqrt(3 / cols), a vector about 1. Whatever the type all are finite. Integer types get random
 * bytes.
 */
void random_weights(uint32_t type, uint64_t cols, uint64_t rows, uint64_t seed, struct buf *out);

uint16_t random_f16(float v); /* the nearest half float, for |v| < 65504 */

#endif
