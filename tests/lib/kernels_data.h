/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_data: weights and activations to test kernels with, from a seed. */
#ifndef LLMOSFS_TESTS_LIB_KERNELS_DATA_H
#define LLMOSFS_TESTS_LIB_KERNELS_DATA_H

#include <stddef.h>
#include <stdint.h>

/* splitmix64 */
uint64_t kd_random(uint64_t *state);
/* Evenly in [-1, 1). */
float kd_uniform(uint64_t *state);
void kd_floats(float *dst, size_t n, uint64_t seed);

/* A row of a type as it could lie in a file: random bits, scales that are finite and not huge. */
void kd_row(uint32_t type, uint8_t *row, size_t cols, uint64_t *state);

/* rows × row bytes of them; the caller frees. */
uint8_t *kd_matrix(uint32_t type, size_t rows, size_t cols, uint64_t seed);

/* Σ (a - b)² / Σ b² */
double kd_nmse(const float *a, const float *b, size_t n);

/* The types that matrices may have. */
extern const uint32_t kd_types[];
extern const size_t kd_n_types;

#endif
