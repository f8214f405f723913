/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quants: the types of weights in GGUF files, and what their blocks hold.
 *
 * The numbers and layouts are those of the GGUF format (ggml's ggml-common.h and gguf-py's
 * quants.py describe them). Every quantized type, whatever it packs its bits into, is one thing to
 * the rest of the kernels: 32 columns are 32 small integers, an integer scale and an integer
 * minimum for each half of them, and two floats:
 *
 *     x[i] = (d * sc[i / 16]) * q[i] - dmin * mn[i / 16]
 *
 * with each operation rounded to f32 in that order, which gives the very bits of gguf-py and ggml.
 * From that one form come the dequantization, the packed layouts (pack.h) and the portable dot
 * products.
 *
 * Pure functions on memory of the caller; any thread. Blocks need no alignment.
 */
#ifndef LLMOSFS_KERNELS_CPU_QUANTS_H
#define LLMOSFS_KERNELS_CPU_QUANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quants_type {
    QUANTS_F32 = 0,
    QUANTS_F16 = 1,
    QUANTS_Q4_0 = 2,
    QUANTS_Q4_1 = 3,
    QUANTS_Q5_0 = 6,
    QUANTS_Q5_1 = 7,
    QUANTS_Q8_0 = 8,
    QUANTS_Q2_K = 10,
    QUANTS_Q3_K = 11,
    QUANTS_Q4_K = 12,
    QUANTS_Q5_K = 13,
    QUANTS_Q6_K = 14,
    QUANTS_IQ2_XXS = 16,
    QUANTS_IQ2_XS = 17,
    QUANTS_IQ3_XXS = 18,
    QUANTS_IQ1_S = 19,
    QUANTS_IQ4_NL = 20,
    QUANTS_IQ3_S = 21,
    QUANTS_IQ2_S = 22,
    QUANTS_IQ4_XS = 23,
    QUANTS_IQ1_M = 29,
    QUANTS_BF16 = 30,
    QUANTS_TQ1_0 = 34,
    QUANTS_TQ2_0 = 35,
    QUANTS_MXFP4 = 39,
    QUANTS_TYPES = 40, /* one above the largest */
};

/* 32 columns of one row. */
struct quants_block {
    int8_t q[32];
    int16_t sc[2]; /* of q[0…15] and q[16…31] */
    int16_t mn[2];
    float d;
    float dmin; /* 0 in types without a minimum */
};

struct quants_info {
    const char *name;     /* "Q4_1" */
    uint16_t block;       /* columns in a block of the file: 1, 32 or 256 */
    uint16_t block_bytes; /* its size in the file */
    /* The 32 columns from 32 * i on of the row that begins at `row`; NULL for F32, F16 and BF16. */
    void (*unpack)(const void *row, size_t i, struct quants_block *out);
};

/* NULL: there is no such type, or nothing here can read it. */
const struct quants_info *quants_info(uint32_t type);

/* Bytes of a row of `cols` columns; 0 if the type is unknown, cols is not a multiple of its block,
 * or the size overflows. */
uint64_t quants_row_bytes(uint32_t type, uint64_t cols);

/* Writes the cols floats of a row as it lies in the file. The type is known and cols a multiple of
 * its block. */
void quants_to_f32(uint32_t type, const void *row, float *dst, size_t cols);

/* The 32 floats of a block, as above. */
void quants_block_to_f32(const struct quants_block *b, float dst[32]);

/* The values of IQ4_NL's and MXFP4's 4-bit codes. */
extern const int8_t quants_iq4nl_values[16];
extern const int8_t quants_mxfp4_values[16];

#endif
