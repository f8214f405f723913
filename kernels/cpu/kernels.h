/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels: the inner loops, once for each set of instructions, behind one table.
 *
 * All sets give the same bits. That rests on these rules:
 * - Every float operation is one IEEE operation on f32, rounded once: products are added, never
 * fused (the Makefile says -ffp-contract=off). No reciprocal estimates, no reassociation.
 * - Quantized weights: a row of activations is cut into blocks of 32, each rounded to 8-bit
 * integers a with one f32 scale da (kernel_quantize). The products of a block are added exactly, as
 * integers, scaled by the integer scales of its halves; what is left is one float for each block,
 * and these are added in the order of the columns, from 0:
 *
 *       x   = Σ sc[half] · Σ q·a            exact, below 2^24
 *       y   = Σ mn[half] · Σ a              exact, below 2^24
 *       acc = acc + da * (d * x - dmin * y)
 *
 * - Float weights: products in f32; in a block of 32 columns, four sums of every fourth column,
 * added as (0+1)+(2+3), and these to the total in the order of the columns.
 * - Sums over a row (norms) and over positions (softmax) have 16 lanes, element i in lane i mod 16,
 * added as l_sum does.
 * - Attention is cut at multiples of KERNEL_CHUNK positions of the sequence, whoever computes what.
 * - exp, tanh, silu and gelu are one polynomial each, the same operations everywhere.
 * So what a row gives depends on nothing but the row: not on how many there are, nor on threads,
 * nor on the machine.
 */
#ifndef LLMOSFS_KERNELS_CPU_KERNELS_H
#define LLMOSFS_KERNELS_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/pack.h"
#include "kernels/ops.h"

/* Activations of n rows, as matmul wants them. */
struct kernel_rows {
    size_t n;
    size_t blocks;  /* of 32 columns */
    int8_t *q;      /* [n][blocks][32], each in [-127, 127] */
    float *d;       /* [n][blocks] */
    float *s;       /* [n][blocks]: the sum of q, for types with a minimum */
    int32_t *sums;  /* [n][blocks][2]: sums of the halves of q */
    const float *x; /* the floats themselves, rows `stride` apart, zero up to a multiple of 32; for
                       weights of floats */
    size_t stride;
};

/* dst[i][0…15] for rows first ≤ i < first + n, `stride` floats apart: the product with the 16 rows
 * of a panel. */
typedef void kernel_dot(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                        size_t first, size_t n, float *dst, size_t stride);

#define KERNEL_PAGE     32  /* positions in a page of the cache */
#define KERNEL_CHUNK    128 /* positions that one partial softmax spans */
#define KERNEL_TILE     16  /* queries that are computed together, at most */
#define KERNEL_HEAD_MAX 1024

/* Queries (of one key/value head) over one chunk of positions. */
struct kernel_chunk {
    size_t n;                    /* queries, up to KERNEL_TILE */
    const float *q[KERNEL_TILE]; /* head_dim floats each */
    uint32_t begin[KERNEL_TILE],
        end[KERNEL_TILE]; /* what each sees of the chunk: [begin, end) in 0…KERNEL_CHUNK */
    const uint16_t *k[KERNEL_CHUNK / KERNEL_PAGE]; /* f16[head_dim][KERNEL_PAGE] of each page; NULL
                                                      where nobody looks */
    const uint16_t *v[KERNEL_CHUNK / KERNEL_PAGE]; /* f16[KERNEL_PAGE][width] */
    size_t head_dim;
    size_t width; /* head_dim rounded up to a multiple of 16 */
    float scale;
    float softcap;
};

/* A softmax that is not divided yet: out[width] = Σ exp(s - max) v, sum = Σ exp(s - max); max is
 * -INFINITY if nothing was seen. */
struct kernel_partial {
    float max;
    float sum;
    float *out;
};

struct kernels {
    const char *name;  /* as a configuration asks for it */
    const char *label; /* for people */
    bool (*supported)(void);

    /* One row of blocks · 32 floats into q, d, s, sums. */
    void (*quantize)(const float *src, size_t blocks, int8_t *q, float *d, float *s, int32_t *sums);
    /* By type; `wide` does all that have none of their own, `floats` those of PACK_FLOATS. */
    kernel_dot *dot[QUANTS_TYPES];
    kernel_dot *wide;
    kernel_dot *floats;

    void (*rmsnorm)(float *dst, const float *src, const float *weight, size_t dim, float eps);
    void (*glu)(float *dst, const float *gate, const float *up, size_t n, enum ops_glu act);
    void (*add)(float *dst, const float *a, const float *b, size_t n);
    void (*scale)(float *x, size_t n, float by);
    /* The heads of one row; cos and sin as rope.h has them. */
    void (*rope)(float *x, size_t n_heads, size_t head_dim, size_t n_dims, bool neox,
                 const float *cos, const float *sin);
    void (*to_half)(uint16_t *dst, const float *src,
                    size_t n); /* to the nearest; too large: the largest */

    void (*chunk)(const struct kernel_chunk *c, struct kernel_partial *partials);
    /* Adds a later chunk's partial to a sum of earlier ones. */
    void (*fold)(struct kernel_partial *into, const struct kernel_partial *later, size_t width);
    /* dst[n] = out / sum. */
    void (*finish)(float *dst, const struct kernel_partial *from, size_t n);
};

extern const struct kernels kernels_portable;
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;

/* All types' kernel: the tuned one, or the general. */
static inline kernel_dot *kernels_dot(const struct kernels *k, const struct ops_matrix *m)
{
    if (m->kind == PACK_FLOATS)
        return k->floats;
    /* cppcheck-suppress CastIntegerToAddressAtReturn; it does not see that these are functions */
    return k->dot[m->type] ? k->dot[m->type] : k->wide;
}

#endif
