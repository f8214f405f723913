/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels_avx2: integer dot products by vpmaddubsw, which adds two products of an unsigned and a signed byte and saturates at
 * 16 bits. Codes of up to 6 bits cannot come near that: 2 · 63 · 127 = 16002, and as many are added in 16 bits as
 * stay below 32768 (8 vectors of 4 bits, 4 of 5, 2 of 6). Signed bytes go in as |w| and a with the sign of w: 2 · 128 · 127 = 32512.
 * A panel is two halves of eight rows.
 */
#include <cpuid.h>

#include "kernels/cpu/body_attention.h"

/* All of x86-64-v3. Three of its parts are names that clang 14 does not know: they are bits of cpuid. */
static bool supported(void)
{
    unsigned a, b, c1, c2, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __get_cpuid(1, &a, &b, &c1, &d) && (c1 & bit_F16C) && (c1 & bit_MOVBE) &&
           __get_cpuid(0x80000001, &a, &b, &c2, &d) && (c2 & bit_LZCNT);
}

struct form {
    int bits;    /* of a code */
    int offset;  /* of unsigned codes */
    bool values; /* codes are looked up, and signed */
    bool has_m;
    int n_sc; /* integer scales in 32 columns */
    bool has_mn;
    size_t per_d, group; /* blocks of 32 columns under one d, and in a group */
};

/* Eight vectors of four columns of eight rows: unsigned codes, or signed values (8 bits, and what is looked up). */
INLINE void unpack(const struct form f, const uint8_t *low, const uint8_t *high, __m256i w[8])
{
    const __m256i nibble = _mm256_set1_epi8(15);
    if (f.bits == 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            w[k] = _mm256_loadu_si256((const __m256i *)(low + 64 * k));
        return;
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(low + 64 * k));
        w[k] = _mm256_and_si256(v, nibble);
        w[k + 4] = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
    }
    if (f.bits > 4) {
        const __m256i bits = _mm256_set1_epi8(f.bits == 5 ? 0x10 : 0x30);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            const uint8_t *from = f.bits == 5 ? high : high + 64 * (k / 4);
            __m256i h = _mm256_loadu_si256((const __m256i *)from);
            int left = f.bits == 5 ? 4 - k : 4 - 2 * (k % 4);
            __m256i at4 = left >= 0 ? _mm256_slli_epi16(h, left) : _mm256_srli_epi16(h, -left);
            w[k] = _mm256_or_si256(w[k], _mm256_and_si256(at4, bits));
        }
    }
    if (f.values) {
        const __m256i table =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)quants_iq4nl_values));
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            w[k] = _mm256_shuffle_epi8(table, w[k]);
    }
}

INLINE __m256i four_columns(const int8_t *a)
{
    int32_t v;
    memcpy(&v, a, 4);
    return _mm256_set1_epi32(v);
}

/* Pairs of products of signed bytes, added. */
INLINE __m256i signed_pairs(__m256i w, __m256i a)
{
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
}

/* Σ w·a over vectors k … k + 3: 32-bit sums. */
INLINE __m256i dot4_signed(const __m256i *w, const int8_t *a, int k)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i pairs = signed_pairs(w[k + j], four_columns(a + 4 * (k + j)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    return sum;
}

/* The same of unsigned codes, two vectors in 16 bits. */
INLINE __m256i pairs2(const __m256i *w, const int8_t *a, int k)
{
    return _mm256_add_epi16(_mm256_maddubs_epi16(w[k], four_columns(a + 4 * k)),
                            _mm256_maddubs_epi16(w[k + 1], four_columns(a + 4 * k + 4)));
}

INLINE __m256i dot4_unsigned(const struct form f, const __m256i *w, const int8_t *a, int k)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i p = pairs2(w, a, k);
    __m256i q = pairs2(w, a, k + 2);
    if (f.bits < 6)
        return _mm256_madd_epi16(_mm256_add_epi16(p, q), ones);
    return _mm256_add_epi32(_mm256_madd_epi16(p, ones), _mm256_madd_epi16(q, ones));
}

INLINE __m256 halfs(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

INLINE __m256 bytes_f(const uint8_t *p, bool is_signed)
{
    __m128i b = _mm_loadl_epi64((const __m128i *)p);
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(b) : _mm256_cvtepu8_epi32(b));
}

/* Scales of block i: d with its integer scale in it (exact: 11 bits times 7), unless there are two; m likewise. */
struct scales {
    __m256 d, m, sc[2];
};

INLINE struct scales load_scales(const struct form f, const struct ops_matrix *m,
                                 const uint8_t *group, size_t i, size_t half)
{
    struct scales s = {.d = halfs(group + 32 * (i / f.per_d) + 16 * half)};
    if (f.has_m)
        s.m = halfs(group + m->m + 32 * (i / f.per_d) + 16 * half);
    if (f.n_sc == 1)
        s.d = _mm256_mul_ps(s.d, bytes_f(group + m->sc + 16 * i + 8 * half, true));
    if (f.has_mn)
        s.m = _mm256_mul_ps(s.m, bytes_f(group + m->mn + 16 * i + 8 * half, false));
    for (int h = 0; h < 2 && f.n_sc == 2; h++)
        s.sc[h] = bytes_f(group + m->sc + 16 * (2 * i + h) + 8 * half, true);
    return s;
}

INLINE __m256i less(__m256i dot, int offset, int32_t sum)
{
    return offset ? _mm256_sub_epi32(dot, _mm256_set1_epi32(offset * sum)) : dot;
}

/* Σ q·a of the whole block, or of its halves with their scales: exact either way. */
INLINE __m256 integers(const struct form f, const __m256i *w, const struct scales *s,
                       const int8_t *a, const int32_t *sums)
{
    if (f.bits == 8 || f.values)
        return _mm256_cvtepi32_ps(_mm256_add_epi32(dot4_signed(w, a, 0), dot4_signed(w, a, 4)));
    if (f.n_sc == 2) {
        __m256i low = less(dot4_unsigned(f, w, a, 0), f.offset, sums[0]);
        __m256i high = less(dot4_unsigned(f, w, a, 4), f.offset, sums[1]);
        return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(low), s->sc[0]),
                             _mm256_mul_ps(_mm256_cvtepi32_ps(high), s->sc[1]));
    }
    __m256i all;
    if (f.bits == 4) {
        __m256i p = _mm256_add_epi16(pairs2(w, a, 0), pairs2(w, a, 2));
        __m256i q = _mm256_add_epi16(pairs2(w, a, 4), pairs2(w, a, 6));
        all = _mm256_madd_epi16(_mm256_add_epi16(p, q), _mm256_set1_epi16(1));
    } else {
        all = _mm256_add_epi32(dot4_unsigned(f, w, a, 0), dot4_unsigned(f, w, a, 4));
    }
    return _mm256_cvtepi32_ps(less(all, f.offset, sums[0] + sums[1]));
}

/* What a block adds to the eight sums. */
INLINE __m256 block(const struct form f, const __m256i *w, const struct scales *s,
                    const struct kernel_rows *rows, size_t at)
{
    __m256 x = integers(f, w, s, rows->q + 32 * at, rows->sums + 2 * at);
    __m256 t = _mm256_mul_ps(s->d, x);
    if (f.has_m) {
        __m256 y = _mm256_mul_ps(s->m, _mm256_set1_ps(rows->s[at]));
        t = f.has_mn ? _mm256_sub_ps(t, y) : _mm256_add_ps(t, y);
    }
    return _mm256_mul_ps(_mm256_set1_ps(rows->d[at]), t);
}

/* T rows of activations over halves begin ≤ half < end of a panel. */
INLINE void tile(const struct form f, const struct ops_matrix *m, const uint8_t *panel,
                 const size_t begin, const size_t end, const struct kernel_rows *rows, size_t first,
                 const size_t T, float *dst, size_t stride)
{
    const size_t low_bytes = f.bits == 8 ? 512 : 256;
    const size_t high_bytes = f.bits == 5 ? 64 : f.bits == 6 ? 128 : 0;
    __m256 acc[2][4];
#pragma GCC unroll 2
    for (size_t half = begin; half < end; half++)
#pragma GCC unroll 4
        for (size_t t = 0; t < T; t++)
            acc[half][t] = _mm256_setzero_ps();
    for (size_t i = 0; i < m->blocks; i++) {
        const uint8_t *group = panel + i / f.group * m->group_bytes;
        size_t at = i % f.group;
        const uint8_t *high = group + m->codes + at * (high_bytes + low_bytes);
#pragma GCC unroll 2
        for (size_t half = begin; half < end; half++) {
            __m256i w[8];
            struct scales s = load_scales(f, m, group, at, half);
            unpack(f, high + high_bytes + 32 * half, high + 32 * half, w);
#pragma GCC unroll 4
            for (size_t t = 0; t < T; t++)
                acc[half][t] = _mm256_add_ps(acc[half][t],
                                             block(f, w, &s, rows, (first + t) * rows->blocks + i));
        }
    }
#pragma GCC unroll 2
    for (size_t half = begin; half < end; half++)
#pragma GCC unroll 4
        for (size_t t = 0; t < T; t++)
            _mm256_storeu_ps(dst + t * stride + 8 * half, acc[half][t]);
}

/* Few rows read the panel once, from its beginning to its end; of many the sums would not fit the
 * registers, and the panel is in the cache. */
INLINE void all_rows(const struct form f, const struct ops_matrix *m, size_t panel,
                     const struct kernel_rows *rows, size_t first, size_t n, float *dst,
                     size_t stride)
{
    const uint8_t *p = m->data + panel * m->panel_bytes;
    size_t t = 0;
    for (; t + 4 <= n; t += 4) {
        tile(f, m, p, 0, 1, rows, first + t, 4, dst + t * stride, stride);
        tile(f, m, p, 1, 2, rows, first + t, 4, dst + t * stride, stride);
    }
    for (; t + 2 <= n; t += 2)
        tile(f, m, p, 0, 2, rows, first + t, 2, dst + t * stride, stride);
    for (; t < n; t++)
        tile(f, m, p, 0, 2, rows, first + t, 1, dst + t * stride, stride);
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
DOT(q8_0, .bits = 8, .per_d = 1, .group = 2)
DOT(q4_k, .bits = 4, .has_m = true, .n_sc = 1, .has_mn = true, .per_d = 8, .group = 8)
DOT(q5_k, .bits = 5, .has_m = true, .n_sc = 1, .has_mn = true, .per_d = 8, .group = 8)
DOT(q6_k, .bits = 6, .offset = 32, .n_sc = 2, .per_d = 8, .group = 8)
DOT(iq4_nl, .bits = 4, .values = true, .per_d = 1, .group = 2)
DOT(iq4_xs, .bits = 4, .values = true, .n_sc = 1, .per_d = 8, .group = 8)

/* --- all other types: unpacked by the portable code, multiplied here ------------------------------ */

INLINE __m256 wide_block(const struct pack_wide *u, size_t half, const struct kernel_rows *rows,
                         size_t at)
{
    const int8_t *a = rows->q + 32 * at;
    __m256i w[8];
    __m256i x = _mm256_setzero_si256();
    __m256i y = _mm256_setzero_si256();
    for (int k = 0; k < 8; k++)
        w[k] = _mm256_loadu_si256((const __m256i *)u->q[k][8 * half]);
    for (int h = 0; h < 2; h++) {
        __m256i sum = _mm256_set1_epi32(rows->sums[2 * at + h]);
        __m256i sc = _mm256_loadu_si256((const __m256i *)(u->sc[h] + 8 * half));
        __m256i mn = _mm256_loadu_si256((const __m256i *)(u->mn[h] + 8 * half));
        x = _mm256_add_epi32(x, _mm256_mullo_epi32(sc, dot4_signed(w, a, 4 * h)));
        y = _mm256_add_epi32(y, _mm256_mullo_epi32(mn, sum));
    }
    __m256 d = _mm256_loadu_ps(u->d + 8 * half);
    __m256 dmin = _mm256_loadu_ps(u->dmin + 8 * half);
    __m256 t = _mm256_sub_ps(_mm256_mul_ps(d, _mm256_cvtepi32_ps(x)),
                             _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(y)));
    return _mm256_mul_ps(_mm256_set1_ps(rows->d[at]), t);
}

static void dot_wide(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                     size_t first, size_t n, float *dst, size_t stride)
{
    struct pack_wide u;
    for (size_t t = 0; t < n; t++)
        memset(dst + t * stride, 0, PACK_ROWS * sizeof(float));
    for (size_t i = 0; i < m->blocks; i++) {
        pack_wide(m, panel, i, &u);
        for (size_t t = 0; t < n; t++) {
            for (size_t half = 0; half < 2; half++) {
                float *to = dst + t * stride + 8 * half;
                __m256 add = wide_block(&u, half, rows, (first + t) * rows->blocks + i);
                _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), add));
            }
        }
    }
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
    .label = "avx2",
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
