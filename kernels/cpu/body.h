/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body: the kernels that are written over lanes, for each set of instructions the same source.
 * Included once by kernels_portable.c, kernels_avx2.c and kernels_avx512.c, which add the integer
 * dot products.
 */
#ifndef LLMOSFS_KERNELS_CPU_BODY_H
#define LLMOSFS_KERNELS_CPU_BODY_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/lanes.h"

/* --- exp, tanh -------------------------------------------------------------------------------- */

/*
 * e^x: x = n ln 2 + r with |r| ≤ ln 2 / 2, e^r by its Taylor series up to r^6 (relative error below
 * 2^-22), times 2^n by its bits. Below -87 it is 0, above 88 it stays at e^88; NaN stays NaN.
 */
INLINE lanes l_exp(lanes x)
{
    const lanes magic = l_set(0x1.8p23f); /* adding it rounds to an integer, in the low bits */
    lanes low = l_set(-87.0f);
    lanes t = l_less(l_set(88.0f), x, l_set(88.0f), x);
    t = l_less(t, low, low, t);
    lanes shifted = l_add(l_mul(t, l_set(0x1.715476p0f)), magic);
    lanes n = l_sub(shifted, magic);
    lanes r = l_sub(t, l_mul(n, l_set(0x1.62e4p-1f))); /* ln 2, upper bits: n times it is exact */
    r = l_sub(r, l_mul(n, l_set(0x1.7f7d1cp-20f)));    /* and the rest */
    lanes p = l_set(0x1.6c16c2p-10f);
    p = l_add(l_mul(p, r), l_set(0x1.111112p-7f));
    p = l_add(l_mul(p, r), l_set(0x1.555556p-5f));
    p = l_add(l_mul(p, r), l_set(0x1.555556p-3f));
    p = l_add(l_mul(p, r), l_set(0.5f));
    p = l_add(l_mul(p, r), l_set(1.0f));
    p = l_add(l_mul(p, r), l_set(1.0f));
    /* The low bits of `shifted` are n; 127 more, moved to the exponent, are 2^n. */
    ilanes power = l_shift_left(l_iadd(l_bits(shifted), l_iset(127)), 23);
    return l_less(x, low, l_set(0.0f), l_mul(p, l_of_bits(power)));
}

/* tanh x = 1 - 2 / (e^2x + 1): absolute error 1e-7, which is what gelu and softcaps need. */
INLINE lanes l_tanh(lanes x)
{
    lanes e = l_exp(l_add(x, x));
    return l_sub(l_set(1.0f), l_div(l_set(2.0f), l_add(e, l_set(1.0f))));
}

/* --- rows ------------------------------------------------------------------------------------- */

static void body_quantize(const float *src, size_t blocks, int8_t *q, float *d, float *s,
                          int32_t *sums)
{
    const ilanes no_sign = l_iset(0x7FFFFFFF);
    const lanes magic = l_set(0x1.8p23f);
    for (size_t i = 0; i < blocks; i++) {
        lanes x[2] = {l_load(src + 32 * i), l_load(src + 32 * i + 16)};
        /* As integers, so that a NaN is the largest and makes the scale NaN. */
        ilanes bits = l_imax(l_iand(l_bits(x[0]), no_sign), l_iand(l_bits(x[1]), no_sign));
        float largest = l_max_of_bits(bits);
        d[i] = largest / 127.0f;
        if (!(largest <= FLT_MAX)) { /* the scale alone makes a NaN of every product */
            memset(q + 32 * i, 0, 32);
            sums[2 * i] = sums[2 * i + 1] = 0;
            s[i] = 0;
            continue;
        }
        float to = largest < 0x1p-100f ? 0.0f : 127.0f / largest;
        int32_t total = 0;
        for (int h = 0; h < 2; h++) {
            /* The low byte of the sum's bits is the nearest integer; the rest is the same for
               all. */
            ilanes r = l_iadd(l_bits(l_add(l_mul(x[h], l_set(to)), magic)), l_iset(-0x4B400000));
            l_store_bytes(q + 32 * i + 16 * h, r);
            sums[2 * i + h] = l_isum(r);
            total += sums[2 * i + h];
        }
        s[i] = (float)total;
    }
}

static void body_rmsnorm(float *dst, const float *src, const float *weight, size_t dim, float eps)
{
    lanes sum = l_set(0.0f);
    size_t whole = dim & ~(size_t)(LANES - 1);
    for (size_t i = 0; i < whole; i += LANES)
        sum = l_add(sum, l_mul(l_load(src + i), l_load(src + i)));
    if (whole < dim) {
        lanes x = l_load_some(src + whole, dim - whole);
        sum = l_add(sum, l_mul(x, x));
    }
    float by = 1.0f / sqrtf(l_sum(sum) / (float)dim + eps);
    for (size_t i = 0; i < dim; i++)
        dst[i] = src[i] * by * weight[i];
}

INLINE lanes glu_act(lanes g, enum ops_glu act)
{
    if (act == OPS_SILU)
        return l_div(g, l_add(l_set(1.0f), l_exp(l_sub(l_set(0.0f), g))));
    /* 0.5 g (1 + tanh(sqrt(2/π) (g + 0.044715 g³))) */
    lanes cube = l_mul(l_mul(g, g), g);
    lanes u = l_mul(l_set(0x1.988454p-1f), l_add(g, l_mul(l_set(0.044715f), cube)));
    return l_mul(l_mul(l_set(0.5f), g), l_add(l_set(1.0f), l_tanh(u)));
}

static void body_glu(float *dst, const float *gate, const float *up, size_t n, enum ops_glu act)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        l_store(dst + i, l_mul(glu_act(l_load(gate + i), act), l_load(up + i)));
    if (i < n)
        l_store_some(dst + i,
                     l_mul(glu_act(l_load_some(gate + i, n - i), act), l_load_some(up + i, n - i)),
                     n - i);
}

static void body_add(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
}

static void body_scale(float *x, size_t n, float by)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * by;
}

static void body_rope(float *x, size_t n_heads, size_t head_dim, size_t n_dims, bool neox,
                      const float *cos, const float *sin)
{
    size_t half = n_dims / 2;
    for (size_t h = 0; h < n_heads; h++, x += head_dim) {
        for (size_t i = 0; i < half; i++) {
            float *a = neox ? x + i : x + 2 * i;
            float *b = neox ? x + half + i : a + 1;
            float u = *a;
            float v = *b;
            *a = u * cos[i] - v * sin[i];
            *b = u * sin[i] + v * cos[i];
        }
    }
}

static void body_to_half(uint16_t *dst, const float *src, size_t n)
{
    const lanes most = l_set(65504.0f);
    const lanes least = l_set(-65504.0f);
    for (size_t i = 0; i < n; i += LANES) {
        size_t some = n - i < LANES ? n - i : LANES;
        uint16_t h[LANES];
        lanes x = l_load_some(src + i, some);
        x = l_less(most, x, most, x);
        x = l_less(x, least, least, x);
        l_store_half(h, x);
        memcpy(dst + i, h, some * sizeof(*h));
    }
}

/* --- weights of floats ------------------------------------------------------------------------ */

INLINE lanes float_weights(const uint8_t *panel, uint32_t type, size_t col)
{
    if (type == QUANTS_F32)
        return l_load((const float *)(const void *)panel + col * LANES);
    const uint16_t *p = (const uint16_t *)(const void *)panel + col * LANES;
    return type == QUANTS_F16 ? l_load_half(p) : l_load_bf16(p);
}

/* T rows at once over one panel. */
INLINE void float_tile(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                       size_t first, const size_t T, const uint32_t type, float *dst, size_t stride)
{
    const uint8_t *w = m->data + panel * m->panel_bytes;
    lanes acc[4];
    for (size_t t = 0; t < T; t++)
        acc[t] = l_set(0.0f);
    for (size_t i = 0; i < m->blocks; i++) {
        lanes sum[4][4]; /* of every fourth column, for each row */
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
#pragma GCC unroll 4
            for (size_t t = 0; t < T; t++)
                sum[j][t] = l_set(0.0f);
            for (size_t c = 32 * i + j; c < 32 * (i + 1); c += 4) {
                lanes weights = float_weights(w, type, c);
#pragma GCC unroll 4
                for (size_t t = 0; t < T; t++) {
                    lanes x = l_set(rows->x[(first + t) * rows->stride + c]);
                    sum[j][t] = l_add(sum[j][t], l_mul(weights, x));
                }
            }
        }
#pragma GCC unroll 4
        for (size_t t = 0; t < T; t++)
            acc[t] = l_add(acc[t], l_add(l_add(sum[0][t], sum[1][t]), l_add(sum[2][t], sum[3][t])));
    }
    for (size_t t = 0; t < T; t++)
        l_store(dst + t * stride, acc[t]);
}

INLINE void float_rows(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                       size_t first, size_t n, const uint32_t type, float *dst, size_t stride)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        float_tile(m, panel, rows, first + i, 4, type, dst + i * stride, stride);
    for (; i < n; i++)
        float_tile(m, panel, rows, first + i, 1, type, dst + i * stride, stride);
}

static void body_floats(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                        size_t first, size_t n, float *dst, size_t stride)
{
    if (m->type == QUANTS_F32)
        float_rows(m, panel, rows, first, n, QUANTS_F32, dst, stride);
    else if (m->type == QUANTS_F16)
        float_rows(m, panel, rows, first, n, QUANTS_F16, dst, stride);
    else
        float_rows(m, panel, rows, first, n, QUANTS_BF16, dst, stride);
}

#endif
