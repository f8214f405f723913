/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/random_weights.h"

#include <math.h>
#include <string.h>

#include "model/gguf.h"

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

float random_uniform(uint64_t *state, float min, float max)
{
    return min + (max - min) * (float)(random_next(state) >> 40) / (float)(1 << 24);
}

uint16_t random_f16(float v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    float a = fabsf(v);
    if (a < 0x1p-14f) /* subnormal: steps of 2^-24; the carry into the exponent is right as well */
        return sign | (uint16_t)lrintf(a * 0x1p24f);
    int exp;
    float mantissa = frexpf(a, &exp); /* 0.5 … 1 */
    return (uint16_t)(sign | (((exp + 14) << 10) + (int)lrintf((mantissa * 2 - 1) * 1024)));
}

/*
 * Where a block keeps its f16 scale d and, in the types that have one, its minimum; `max` is the
 * largest |x| / d that random bits give, `min` the minimum (as a multiple of d) that centres them
 * on 0.
 */
static const struct scales {
    uint32_t type;
    int d_at;
    int min_at; /* -1: none */
    float max;
    float min;
} all_scales[] = {
    {GGUF_Q4_0, 0, -1, 8, 0},       {GGUF_Q4_1, 0, 2, 7.5, -7.5},  {GGUF_Q5_0, 0, -1, 16, 0},
    {GGUF_Q5_1, 0, 2, 15.5, -15.5}, {GGUF_Q8_0, 0, -1, 128, 0},    {GGUF_Q2_K, 80, 82, 23, 1.5},
    {GGUF_Q3_K, 108, -1, 128, 0},   {GGUF_Q4_K, 0, 2, 473, 7.5},   {GGUF_Q5_K, 0, 2, 977, 15.5},
    {GGUF_Q6_K, 208, -1, 4096, 0},  {GGUF_IQ2_XXS, 0, -1, 167, 0}, {GGUF_IQ2_XS, 0, -1, 167, 0},
    {GGUF_IQ2_S, 0, -1, 167, 0},    {GGUF_IQ3_XXS, 0, -1, 481, 0}, {GGUF_IQ3_S, 0, -1, 465, 0},
    {GGUF_IQ1_S, 0, -1, 17, 0},     {GGUF_IQ4_NL, 0, -1, 127, 0},  {GGUF_IQ4_XS, 0, -1, 4064, 0},
    {GGUF_TQ1_0, 52, -1, 1, 0},     {GGUF_TQ2_0, 64, -1, 2, 0},
};

static void put_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* IQ1_M spreads its f16 scale over the top four bits of the four 16-bit words of scales at
   byte 48. */
static void scale_iq1_m(uint8_t *block, float d)
{
    uint16_t bits = random_f16(d);
    for (int i = 0; i < 4; i++) {
        uint8_t *high = block + 48 + 2 * i + 1;
        *high = (uint8_t)((*high & 0x0f) | (((bits >> (4 * i)) & 0x0f) << 4));
    }
}

/* Sets the scales of a block of random bytes so that its weights lie in ±a. */
static void scale_block(uint32_t type, uint8_t *block, float a)
{
    if (type == GGUF_IQ1_M)
        scale_iq1_m(block, a / 17);
    if (type == GGUF_MXFP4) /* one byte e: 2^(e - 127), the largest value is 6 of these */
        block[0] = (uint8_t)(127 + (int)floorf(log2f(a / 6)));
    for (size_t i = 0; i < ARRAY_LEN(all_scales); i++) {
        const struct scales *s = &all_scales[i];
        if (s->type != type)
            continue;
        put_u16(block + s->d_at, random_f16(a / s->max));
        if (s->min_at >= 0)
            put_u16(block + s->min_at, random_f16(a / s->max * s->min));
    }
}

/* One float in one of the types without blocks; false for other types. */
static bool put_float(uint32_t type, uint8_t *p, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    if (type == GGUF_F32)
        memcpy(p, &v, sizeof(v));
    else if (type == GGUF_F16)
        put_u16(p, random_f16(v));
    else if (type == GGUF_BF16)
        put_u16(p, (uint16_t)(bits >> 16));
    else
        return false;
    return true;
}

void random_weights(uint32_t type, uint64_t cols, uint64_t rows, uint64_t seed, struct buf *out)
{
    const struct gguf_type_info *info = gguf_type_info(type);
    uint64_t n = cols / info->block * rows;
    float a = sqrtf(3 / (float)cols);
    buf_reserve(out, n * info->block_bytes);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t block[256];
        for (size_t at = 0; at < sizeof(block); at += sizeof(uint64_t)) {
            uint64_t bits = at < info->block_bytes ? random_next(&seed) : 0;
            memcpy(block + at, &bits, sizeof(bits));
        }
        float v = rows > 1 ? random_uniform(&seed, -a, a) : random_uniform(&seed, 0.75f, 1.25f);
        if (!put_float(type, block, v))
            scale_block(type, block, rows > 1 ? a : 1);
        buf_add(out, block, info->block_bytes);
    }
}
