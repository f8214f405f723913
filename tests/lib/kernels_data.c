/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/kernels_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"

const uint32_t kd_types[] = {
    QUANTS_F32,   QUANTS_F16,    QUANTS_BF16,    QUANTS_Q4_0,   QUANTS_Q4_1,
    QUANTS_Q5_0,  QUANTS_Q5_1,   QUANTS_Q8_0,    QUANTS_Q2_K,   QUANTS_Q3_K,
    QUANTS_Q4_K,  QUANTS_Q5_K,   QUANTS_Q6_K,    QUANTS_IQ4_NL, QUANTS_IQ4_XS,
    QUANTS_IQ2_S, QUANTS_IQ2_XS, QUANTS_IQ2_XXS, QUANTS_IQ3_S,  QUANTS_IQ3_XXS,
    QUANTS_IQ1_S, QUANTS_IQ1_M,  QUANTS_TQ1_0,   QUANTS_TQ2_0,  QUANTS_MXFP4,
};
const size_t kd_n_types = ARRAY_LEN(kd_types);

uint64_t kd_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

float kd_uniform(uint64_t *state)
{
    return (float)(int32_t)(kd_random(state) >> 32) * 0x1p-31f;
}

void kd_floats(float *dst, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = kd_uniform(&seed);
}

/* Where in a block the f16 scales lie; -1 ends them. */
static const int *scales_of(uint32_t type)
{
    static const int first[] = {0, -1};
    static const int two[] = {0, 2, -1};
    static const int q2_k[] = {80, 82, -1};
    static const int q3_k[] = {108, -1};
    static const int q6_k[] = {208, -1};
    static const int tq1[] = {52, -1};
    static const int tq2[] = {64, -1};
    static const int none[] = {-1};
    switch (type) {
    case QUANTS_Q4_1:
    case QUANTS_Q5_1:
    case QUANTS_Q4_K:
    case QUANTS_Q5_K:
        return two;
    case QUANTS_Q2_K:
        return q2_k;
    case QUANTS_Q3_K:
        return q3_k;
    case QUANTS_Q6_K:
        return q6_k;
    case QUANTS_TQ1_0:
        return tq1;
    case QUANTS_TQ2_0:
        return tq2;
    case QUANTS_IQ1_M:
    case QUANTS_MXFP4:
        return none;
    default:
        return first;
    }
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put_scales(uint32_t type, uint8_t *block, uint64_t *state)
{
    for (const int *at = scales_of(type); *at >= 0; at++)
        put16(block + *at, half_of_float(kd_uniform(state) * 0.05f));
    if (type == QUANTS_MXFP4)
        block[0] = (uint8_t)(115 + kd_random(state) % 10);
    if (type == QUANTS_IQ1_M) {
        uint16_t d = half_of_float(kd_uniform(state) * 0.05f);
        for (int j = 0; j < 4; j++)
            block[48 + 2 * j + 1] =
                (uint8_t)((block[48 + 2 * j + 1] & 15) | (d >> (4 * j) & 15) << 4);
    }
}

void kd_row(uint32_t type, uint8_t *row, size_t cols, uint64_t *state)
{
    const struct quants_info *info = quants_info(type);
    size_t bytes = quants_row_bytes(type, cols);
    if (info->block == 1) {
        for (size_t i = 0; i < cols; i++) {
            float v = kd_uniform(state);
            if (type == QUANTS_F32)
                memcpy(row + 4 * i, &v, 4);
            else
                put16(row + 2 * i,
                      type == QUANTS_F16 ? half_of_float(v) : (uint16_t)(half_to_bits(v) >> 16));
        }
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)kd_random(state);
    for (size_t at = 0; at < bytes; at += info->block_bytes)
        put_scales(type, row + at, state);
}

uint8_t *kd_matrix(uint32_t type, size_t rows, size_t cols, uint64_t seed)
{
    size_t bytes = quants_row_bytes(type, cols);
    uint8_t *p = xmalloc(rows * bytes);
    for (size_t r = 0; r < rows; r++)
        kd_row(type, p + r * bytes, cols, &seed);
    return p;
}

double kd_nmse(const float *a, const float *b, size_t n)
{
    double err = 0;
    double all = 0;
    for (size_t i = 0; i < n; i++) {
        err += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return all > 0 ? err / all : err;
}
