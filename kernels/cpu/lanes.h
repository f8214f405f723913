/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes: sixteen floats (or 32-bit integers) side by side, in whatever registers the file that
 * includes this is compiled for: one of AVX-512, two of AVX2, four of SSE, NEON or plain C. Code
 * written over lanes gives the same bits in each of them: every operation is one IEEE operation in
 * each lane, none is fused, and sums over lanes are one tree.
 */
#ifndef LLMOSFS_KERNELS_CPU_LANES_H
#define LLMOSFS_KERNELS_CPU_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/cpu/half.h"

#define LANES  16
#define INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)

typedef struct {
    __m512 v;
} lanes;
typedef struct {
    __m512i v;
} ilanes;

#define LANES_OP(name, intrinsic)                                                                  \
    INLINE lanes name(lanes a, lanes b)                                                            \
    {                                                                                              \
        return (lanes){_mm512_##intrinsic##_ps(a.v, b.v)};                                         \
    }
LANES_OP(l_add, add)
LANES_OP(l_sub, sub)
LANES_OP(l_mul, mul)
LANES_OP(l_div, div)
LANES_OP(l_max, max)
LANES_OP(l_min, min)
#undef LANES_OP

INLINE lanes l_set(float x)
{
    return (lanes){_mm512_set1_ps(x)};
}
INLINE lanes l_load(const float *p)
{
    return (lanes){_mm512_loadu_ps(p)};
}
INLINE void l_store(float *p, lanes a)
{
    _mm512_storeu_ps(p, a.v);
}
INLINE lanes l_load_half(const uint16_t *p)
{
    return (lanes){_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p))};
}
INLINE void l_store_half(uint16_t *p, lanes a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE lanes l_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return (lanes){_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
/* a < b ? x : y in each lane. */
INLINE lanes l_less(lanes a, lanes b, lanes x, lanes y)
{
    return (lanes){_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
INLINE ilanes l_bits(lanes a)
{
    return (ilanes){_mm512_castps_si512(a.v)};
}
INLINE lanes l_of_bits(ilanes a)
{
    return (lanes){_mm512_castsi512_ps(a.v)};
}
INLINE ilanes l_iset(int32_t x)
{
    return (ilanes){_mm512_set1_epi32(x)};
}
INLINE ilanes l_iadd(ilanes a, ilanes b)
{
    return (ilanes){_mm512_add_epi32(a.v, b.v)};
}
INLINE ilanes l_iand(ilanes a, ilanes b)
{
    return (ilanes){_mm512_and_si512(a.v, b.v)};
}
INLINE ilanes l_imax(ilanes a, ilanes b)
{
    return (ilanes){_mm512_max_epi32(a.v, b.v)};
}
INLINE ilanes l_shift_left(ilanes a, int n)
{
    return (ilanes){_mm512_slli_epi32(a.v, (unsigned)n)};
}
INLINE void l_istore(int32_t *p, ilanes a)
{
    _mm512_storeu_si512(p, a.v);
}
/* The low byte of each lane. */
INLINE void l_store_bytes(int8_t *p, ilanes a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a.v));
}

#elif defined(__AVX2__)

typedef struct {
    __m256 v[2];
} lanes;
typedef struct {
    __m256i v[2];
} ilanes;

#define LANES_OP(name, intrinsic)                                                                  \
    INLINE lanes name(lanes a, lanes b)                                                            \
    {                                                                                              \
        return (lanes){                                                                            \
            {_mm256_##intrinsic##_ps(a.v[0], b.v[0]), _mm256_##intrinsic##_ps(a.v[1], b.v[1])}};   \
    }
LANES_OP(l_add, add)
LANES_OP(l_sub, sub)
LANES_OP(l_mul, mul)
LANES_OP(l_div, div)
LANES_OP(l_max, max)
LANES_OP(l_min, min)
#undef LANES_OP

INLINE lanes l_set(float x)
{
    return (lanes){{_mm256_set1_ps(x), _mm256_set1_ps(x)}};
}
INLINE lanes l_load(const float *p)
{
    return (lanes){{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}};
}
INLINE void l_store(float *p, lanes a)
{
    _mm256_storeu_ps(p, a.v[0]);
    _mm256_storeu_ps(p + 8, a.v[1]);
}
INLINE lanes l_load_half(const uint16_t *p)
{
    return (lanes){{_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))}};
}
INLINE void l_store_half(uint16_t *p, lanes a)
{
    for (int i = 0; i < 2; i++)
        _mm_storeu_si128((__m128i *)(p + 8 * i),
                         _mm256_cvtps_ph(a.v[i], _MM_FROUND_TO_NEAREST_INT));
}
INLINE lanes l_load_bf16(const uint16_t *p)
{
    lanes out;
    for (int i = 0; i < 2; i++) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8 * i)));
        out.v[i] = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    return out;
}
INLINE lanes l_less(lanes a, lanes b, lanes x, lanes y)
{
    for (int i = 0; i < 2; i++)
        a.v[i] = _mm256_blendv_ps(y.v[i], x.v[i], _mm256_cmp_ps(a.v[i], b.v[i], _CMP_LT_OQ));
    return a;
}
INLINE ilanes l_bits(lanes a)
{
    return (ilanes){{_mm256_castps_si256(a.v[0]), _mm256_castps_si256(a.v[1])}};
}
INLINE lanes l_of_bits(ilanes a)
{
    return (lanes){{_mm256_castsi256_ps(a.v[0]), _mm256_castsi256_ps(a.v[1])}};
}
INLINE ilanes l_iset(int32_t x)
{
    return (ilanes){{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}};
}
INLINE ilanes l_iadd(ilanes a, ilanes b)
{
    return (ilanes){{_mm256_add_epi32(a.v[0], b.v[0]), _mm256_add_epi32(a.v[1], b.v[1])}};
}
INLINE ilanes l_iand(ilanes a, ilanes b)
{
    return (ilanes){{_mm256_and_si256(a.v[0], b.v[0]), _mm256_and_si256(a.v[1], b.v[1])}};
}
INLINE ilanes l_imax(ilanes a, ilanes b)
{
    return (ilanes){{_mm256_max_epi32(a.v[0], b.v[0]), _mm256_max_epi32(a.v[1], b.v[1])}};
}
INLINE ilanes l_shift_left(ilanes a, int n)
{
    return (ilanes){{_mm256_slli_epi32(a.v[0], n), _mm256_slli_epi32(a.v[1], n)}};
}
INLINE void l_istore(int32_t *p, ilanes a)
{
    _mm256_storeu_si256((__m256i *)p, a.v[0]);
    _mm256_storeu_si256((__m256i *)(p + 8), a.v[1]);
}
INLINE void l_store_bytes(int8_t *p, ilanes a)
{
    /* Each lane is within [-127, 127] or its low byte is meant: mask before the packs that
     * saturate. */
    __m256i mask = _mm256_set1_epi32(255);
    __m256i words =
        _mm256_packus_epi32(_mm256_and_si256(a.v[0], mask), _mm256_and_si256(a.v[1], mask));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}

#else

typedef float lanes_f4 __attribute__((vector_size(16)));
typedef int32_t lanes_i4 __attribute__((vector_size(16)));
typedef struct {
    lanes_f4 v[4];
} lanes;
typedef struct {
    lanes_i4 v[4];
} ilanes;

#define LANES_OP(name, type, expression)                                                           \
    INLINE type name(type a, type b)                                                               \
    {                                                                                              \
        type out;                                                                                  \
        for (int i = 0; i < 4; i++)                                                                \
            out.v[i] = expression;                                                                 \
        return out;                                                                                \
    }
#define PICK(mask, x, y) ((lanes_f4)(((lanes_i4)(x) & (mask)) | ((lanes_i4)(y) & ~(mask))))
LANES_OP(l_add, lanes, a.v[i] + b.v[i])
LANES_OP(l_sub, lanes, a.v[i] - b.v[i])
LANES_OP(l_mul, lanes, a.v[i] * b.v[i])
LANES_OP(l_div, lanes, a.v[i] / b.v[i])
LANES_OP(l_max, lanes, PICK(a.v[i] > b.v[i], a.v[i], b.v[i]))
LANES_OP(l_min, lanes, PICK(a.v[i] < b.v[i], a.v[i], b.v[i]))
LANES_OP(l_iadd, ilanes, a.v[i] + b.v[i])
LANES_OP(l_iand, ilanes, a.v[i] & b.v[i])
LANES_OP(l_imax, ilanes, (a.v[i] & (a.v[i] > b.v[i])) | (b.v[i] & ~(a.v[i] > b.v[i])))
#undef LANES_OP

INLINE lanes l_set(float x)
{
    lanes_f4 v = {x, x, x, x};
    return (lanes){{v, v, v, v}};
}
INLINE lanes l_load(const float *p)
{
    lanes out;
    memcpy(&out, p, sizeof(out));
    return out;
}
INLINE void l_store(float *p, lanes a)
{
    memcpy(p, &a, sizeof(a));
}
INLINE lanes l_load_half(const uint16_t *p)
{
    float f[LANES];
    for (int i = 0; i < LANES; i++)
        f[i] = half_to_float(p[i]);
    return l_load(f);
}
INLINE void l_store_half(uint16_t *p, lanes a)
{
    float f[LANES];
    l_store(f, a);
    for (int i = 0; i < LANES; i++)
        p[i] = half_of_float(f[i]);
}
INLINE lanes l_load_bf16(const uint16_t *p)
{
    float f[LANES];
    for (int i = 0; i < LANES; i++)
        f[i] = half_from_bf16(p[i]);
    return l_load(f);
}
INLINE lanes l_less(lanes a, lanes b, lanes x, lanes y)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = PICK(a.v[i] < b.v[i], x.v[i], y.v[i]);
    return a;
}
INLINE ilanes l_bits(lanes a)
{
    ilanes out;
    memcpy(&out, &a, sizeof(out));
    return out;
}
INLINE lanes l_of_bits(ilanes a)
{
    lanes out;
    memcpy(&out, &a, sizeof(out));
    return out;
}
INLINE ilanes l_iset(int32_t x)
{
    lanes_i4 v = {x, x, x, x};
    return (ilanes){{v, v, v, v}};
}
INLINE ilanes l_shift_left(ilanes a, int n)
{
    for (int i = 0; i < 4; i++)
        a.v[i] = (lanes_i4)((__attribute__((vector_size(16))) uint32_t)a.v[i] << n);
    return a;
}
INLINE void l_istore(int32_t *p, ilanes a)
{
    memcpy(p, &a, sizeof(a));
}
INLINE void l_store_bytes(int8_t *p, ilanes a)
{
    int32_t v[LANES];
    l_istore(v, a);
    for (int i = 0; i < LANES; i++)
        p[i] = (int8_t)(uint8_t)(uint32_t)v[i];
}

#endif

/* The sum of the lanes: i with i + 8, then i + 4, i + 2, i + 1. */
INLINE float l_sum(lanes a)
{
    float f[LANES];
    l_store(f, a);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            f[i] = f[i] + f[i + half];
    return f[0];
}

INLINE float l_max_of(lanes a)
{
    float f[LANES];
    l_store(f, a);
    for (int i = 1; i < LANES; i++)
        f[0] = f[0] > f[i] ? f[0] : f[i];
    return f[0];
}

/* The largest of positive floats, given as bits. */
INLINE float l_max_of_bits(ilanes a)
{
    int32_t v[LANES];
    l_istore(v, a);
    for (int i = 1; i < LANES; i++)
        v[0] = v[0] > v[i] ? v[0] : v[i];
    return half_from_bits((uint32_t)v[0]);
}

INLINE int32_t l_isum(ilanes a)
{
    int32_t v[LANES];
    int32_t sum = 0;
    l_istore(v, a);
    for (int i = 0; i < LANES; i++)
        sum += v[i];
    return sum;
}

/* The first n of 16 floats, the rest 0. */
INLINE lanes l_load_some(const float *p, size_t n)
{
    float f[LANES] = {0};
    memcpy(f, p, n * sizeof(float));
    return l_load(f);
}

INLINE void l_store_some(float *p, lanes a, size_t n)
{
    float f[LANES];
    l_store(f, a);
    memcpy(p, f, n * sizeof(float));
}

#endif
