/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels_avx512: integer dot products by VNNI (vpdpbusd: 16 times four products of an unsigned and a signed byte, added exactly).
 * Codes are the unsigned side: what they are too large by is taken off with the sum of the activations.
 */
#include "kernels/cpu/body_attention.h"

static bool supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
}

/* What a type is to the compiler, which makes a kernel of its own of each. */
struct form {
    int bits;    /* of a code */
    int offset;  /* of codes as unpack() gives them */
    bool values; /* codes are looked up */
    bool has_m;
    int n_sc; /* integer scales in 32 columns */
    bool has_mn;
    size_t per_d, group; /* blocks of 32 columns under one d, and in a group */
};

/* Eight vectors of four columns of each row, unsigned. */
INLINE void unpack(const struct form f, const uint8_t *low, const uint8_t *high, __m512i w[8])
{
    const __m512i nibble = _mm512_set1_epi8(15);
    if (f.bits == 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            w[k] = _mm512_xor_si512(_mm512_loadu_si512(low + 64 * k), _mm512_set1_epi8(-128));
        return;
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m512i v = _mm512_loadu_si512(low + 64 * k);
        w[k] = _mm512_and_si512(v, nibble);
        w[k + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
    }
    if (f.bits == 5) {
        const __m512i bit = _mm512_set1_epi8(16);
        __m512i h = _mm512_loadu_si512(high);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            __m512i at4 = k < 4 ? _mm512_slli_epi16(h, 4 - k) : _mm512_srli_epi16(h, k - 4);
            w[k] = _mm512_ternarylogic_epi32(w[k], at4, bit, 0xF8); /* a | (b & c) */
        }
    }
    if (f.bits == 6) {
        const __m512i bits = _mm512_set1_epi8(0x30);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            __m512i h = _mm512_loadu_si512(high + 64 * (k / 4));
            int j = k % 4;
            __m512i at4 = j < 2 ? _mm512_slli_epi16(h, 4 - 2 * j) : _mm512_srli_epi16(h, 2 * j - 4);
            w[k] = _mm512_ternarylogic_epi32(w[k], at4, bits, 0xF8);
        }
    }
    if (f.values) {
        /* Plus 128, so that they are unsigned. */
        const __m128i plus = _mm_xor_si128(_mm_loadu_si128((const __m128i *)quants_iq4nl_values),
                                           _mm_set1_epi8(-128));
        const __m512i table = _mm512_broadcast_i32x4(plus);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            w[k] = _mm512_shuffle_epi8(table, w[k]);
    }
}

INLINE __m512i four_columns(const int8_t *a)
{
    int32_t v;
    memcpy(&v, a, 4);
    return _mm512_set1_epi32(v);
}

/* Σ code·a over vectors k … k + 3 of a block, on top of `from`. */
INLINE __m512i dot4(__m512i from, const __m512i *w, const int8_t *a, int k)
{
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
        from = _mm512_dpbusd_epi32(from, w[k + j], four_columns(a + 4 * (k + j)));
    return from;
}

INLINE __m512 halfs(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* 16 integer scales as floats. */
INLINE __m512 bytes_f(const uint8_t *p, bool is_signed)
{
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(b) : _mm512_cvtepu8_epi32(b));
}

/* Scales of block i: d with its integer scale in it (exact: 11 bits times 7), unless there are two; m likewise. */
struct scales {
    __m512 d, m, sc[2];
};

INLINE struct scales load_scales(const struct form f, const struct ops_matrix *m,
                                 const uint8_t *group, size_t i)
{
    struct scales s = {.d = halfs(group + 32 * (i / f.per_d))};
    if (f.has_m)
        s.m = halfs(group + m->m + 32 * (i / f.per_d));
    if (f.n_sc == 1)
        s.d = _mm512_mul_ps(s.d, bytes_f(group + m->sc + 16 * i, true));
    if (f.has_mn)
        s.m = _mm512_mul_ps(s.m, bytes_f(group + m->mn + 16 * i, false));
    for (int h = 0; h < 2 && f.n_sc == 2; h++)
        s.sc[h] = bytes_f(group + m->sc + 16 * (2 * i + h), true);
    return s;
}

/* What a block adds to the 16 sums. */
INLINE __m512 block(const struct form f, const __m512i *w, const struct scales *s,
                    const struct kernel_rows *rows, size_t at)
{
    const int8_t *a = rows->q + 32 * at;
    const int32_t *sums = rows->sums + 2 * at;
    __m512i low = f.offset ? _mm512_set1_epi32(-f.offset * sums[0]) : _mm512_setzero_si512();
    __m512i high = f.offset ? _mm512_set1_epi32(-f.offset * sums[1]) : _mm512_setzero_si512();
    low = dot4(low, w, a, 0);
    high = dot4(high, w, a, 4);
    __m512 x;
    if (f.n_sc == 2)
        x = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(low), s->sc[0]),
                          _mm512_mul_ps(_mm512_cvtepi32_ps(high), s->sc[1]));
    else
        x = _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
    __m512 t = _mm512_mul_ps(s->d, x);
    if (f.has_m) {
        __m512 y = _mm512_mul_ps(s->m, _mm512_set1_ps(rows->s[at]));
        t = f.has_mn ? _mm512_sub_ps(t, y) : _mm512_add_ps(t, y);
    }
    return _mm512_mul_ps(_mm512_set1_ps(rows->d[at]), t);
}

/* T rows of activations over one panel. */
INLINE void tile(const struct form f, const struct ops_matrix *m, const uint8_t *panel,
                 const struct kernel_rows *rows, size_t first, const size_t T, float *dst,
                 size_t stride)
{
    const size_t low_bytes = f.bits == 8 ? 512 : 256;
    const size_t high_bytes = f.bits == 5 ? 64 : f.bits == 6 ? 128 : 0;
    __m512 acc[8];
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++)
        acc[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < m->blocks; i++) {
        __m512i w[8];
        const uint8_t *group = panel + i / f.group * m->group_bytes;
        size_t at = i % f.group;
        struct scales s = load_scales(f, m, group, at);
        const uint8_t *high = group + m->codes + at * (high_bytes + low_bytes);
        unpack(f, high + high_bytes, high, w);
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++)
            acc[t] = _mm512_add_ps(acc[t], block(f, w, &s, rows, (first + t) * rows->blocks + i));
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++)
        _mm512_storeu_ps(dst + t * stride, acc[t]);
}

INLINE void all_rows(const struct form f, const struct ops_matrix *m, size_t panel,
                     const struct kernel_rows *rows, size_t first, size_t n, float *dst,
                     size_t stride)
{
    const uint8_t *p = m->data + panel * m->panel_bytes;
    size_t t = 0;
    for (; t + 8 <= n; t += 8)
        tile(f, m, p, rows, first + t, 8, dst + t * stride, stride);
    for (; t + 4 <= n; t += 4)
        tile(f, m, p, rows, first + t, 4, dst + t * stride, stride);
    for (; t + 2 <= n; t += 2)
        tile(f, m, p, rows, first + t, 2, dst + t * stride, stride);
    for (; t < n; t++)
        tile(f, m, p, rows, first + t, 1, dst + t * stride, stride);
}

#define DOT(name, ...)                                                                             \
    static void dot_##name(const struct ops_matrix *m, size_t panel,                               \
                           const struct kernel_rows *rows, size_t first, size_t n, float *dst,     \
                           size_t stride)                                                          \
    {                                                                                              \
        const struct form f = {__VA_ARGS__};                                                       \
        all_rows(f, m, panel, rows, first, n, dst, stride);                                        \
    }

DOT(q4_0, .bits = 4, .offset = 8, .per_d = 1, .group = 2)
DOT(q4_1, .bits = 4, .has_m = true, .per_d = 1, .group = 2)
DOT(q5_0, .bits = 5, .offset = 16, .per_d = 1, .group = 2)
DOT(q5_1, .bits = 5, .has_m = true, .per_d = 1, .group = 2)
DOT(q8_0, .bits = 8, .offset = 128, .per_d = 1, .group = 2)
DOT(q4_k, .bits = 4, .has_m = true, .n_sc = 1, .has_mn = true, .per_d = 8, .group = 8)
DOT(q5_k, .bits = 5, .has_m = true, .n_sc = 1, .has_mn = true, .per_d = 8, .group = 8)
DOT(q6_k, .bits = 6, .offset = 32, .n_sc = 2, .per_d = 8, .group = 8)
DOT(iq4_nl, .bits = 4, .offset = 128, .values = true, .per_d = 1, .group = 2)
DOT(iq4_xs, .bits = 4, .offset = 128, .values = true, .n_sc = 1, .per_d = 8, .group = 8)

/* --- all other types: unpacked by the portable code, multiplied here ------------------------------ */

INLINE __m512 wide_block(const struct pack_wide *u, const __m512i *w,
                         const struct kernel_rows *rows, size_t at)
{
    const int8_t *a = rows->q + 32 * at;
    const int32_t *sums = rows->sums + 2 * at;
    __m512i x = _mm512_setzero_si512();
    __m512i y = _mm512_setzero_si512();
    for (int h = 0; h < 2; h++) {
        __m512i sum = _mm512_set1_epi32(sums[h]);
        __m512i dot = dot4(_mm512_set1_epi32(-128 * sums[h]), w, a, 4 * h);
        x = _mm512_add_epi32(x, _mm512_mullo_epi32(_mm512_loadu_si512(u->sc[h]), dot));
        y = _mm512_add_epi32(y, _mm512_mullo_epi32(_mm512_loadu_si512(u->mn[h]), sum));
    }
    __m512 t = _mm512_sub_ps(_mm512_mul_ps(_mm512_loadu_ps(u->d), _mm512_cvtepi32_ps(x)),
                             _mm512_mul_ps(_mm512_loadu_ps(u->dmin), _mm512_cvtepi32_ps(y)));
    return _mm512_mul_ps(_mm512_set1_ps(rows->d[at]), t);
}

static void dot_wide(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                     size_t first, size_t n, float *dst, size_t stride)
{
    struct pack_wide u;
    __m512i w[8];
    for (size_t t = 0; t < n; t++)
        _mm512_storeu_ps(dst + t * stride, _mm512_setzero_ps());
    for (size_t i = 0; i < m->blocks; i++) {
        pack_wide(m, panel, i, &u);
        for (int k = 0; k < 8; k++)
            w[k] = _mm512_xor_si512(_mm512_loadu_si512(u.q[k]), _mm512_set1_epi8(-128));
        for (size_t t = 0; t < n; t++) {
            float *to = dst + t * stride;
            __m512 add = wide_block(&u, w, rows, (first + t) * rows->blocks + i);
            _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), add));
        }
    }
}

const struct kernels kernels_avx512 = {
    .name = "avx512",
    .label = "avx512 vnni",
    .supported = supported,
    .wide = dot_wide,
    .dot =
        {
            [QUANTS_Q4_0] = dot_q4_0,
            [QUANTS_Q4_1] = dot_q4_1,
            [QUANTS_Q5_0] = dot_q5_0,
            [QUANTS_Q5_1] = dot_q5_1,
            [QUANTS_Q8_0] = dot_q8_0,
            [QUANTS_Q4_K] = dot_q4_k,
            [QUANTS_Q5_K] = dot_q5_k,
            [QUANTS_Q6_K] = dot_q6_k,
            [QUANTS_IQ4_NL] = dot_iq4_nl,
            [QUANTS_IQ4_XS] = dot_iq4_xs,
        },
    BODY_KERNELS,
};
