/* SPDX-License-Identifier: Apache-2.0 */
/*
 * half: IEEE 754 binary16 and bfloat16, one number at a time. Exact and the same everywhere: what
 * the instructions of F16C and AVX-512 do, denormals and NaNs (made quiet) included.
 */
#ifndef LLMOSFS_KERNELS_CPU_HALF_H
#define LLMOSFS_KERNELS_CPU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t half_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t rest = (uint32_t)(h & 0x7FFF) << 13;
    if ((h & 0x7C00) == 0x7C00) {
        rest |= 0x7F800000;
        if (h & 0x03FF)
            rest |= 0x00400000; /* quiet */
        return half_from_bits(sign | rest);
    }
    /* The exponent's bias is 127 and not 15; denormals become normal by the same multiplication. */
    return half_from_bits(half_to_bits(half_from_bits(rest) * 0x1p112f) | sign);
}

/* Rounds to the nearest, ties to even; too large becomes infinite. */
static inline uint16_t half_of_float(float f)
{
    uint32_t bits = half_to_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t mag = bits & 0x7FFFFFFF;
    if (mag > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (mag >> 13 & 0x03FF));
    if (mag >= 0x477FF000)
        return sign | 0x7C00;
    if (mag < 0x38800000) { /* denormal: the sum's last bit is worth 2^-24 */
        float sum = half_from_bits(mag) + 0.5f;
        return (uint16_t)(sign | (half_to_bits(sum) - 0x3F000000));
    }
    mag += 0x0FFF + (mag >> 13 & 1);
    return (uint16_t)(sign | (mag - 0x38000000) >> 13);
}

static inline float half_from_bf16(uint16_t b)
{
    return half_from_bits((uint32_t)b << 16);
}

#endif
