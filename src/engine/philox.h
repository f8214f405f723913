/* SPDX-License-Identifier: Apache-2.0 */
/*
 * philox: random numbers as a function of (seed, position): no state, the same on every backend, in
 * any order. Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1,
 * 2, 3" (SC 2011).
 */
#ifndef LLMOSFS_ENGINE_PHILOX_H
#define LLMOSFS_ENGINE_PHILOX_H

#include <stdint.h>

struct philox_block {
    uint32_t v[4];
};

static inline struct philox_block philox4x32(struct philox_block ctr, uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * ctr.v[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * ctr.v[2];
        ctr = (struct philox_block){{(uint32_t)(b >> 32) ^ ctr.v[1] ^ k0, (uint32_t)b,
                                     (uint32_t)(a >> 32) ^ ctr.v[3] ^ k1, (uint32_t)a}};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return ctr;
}

/* Uniform in [0, 1), 53 bits. */
static inline double philox_uniform(uint64_t seed, uint64_t position)
{
    struct philox_block ctr = {{(uint32_t)position, (uint32_t)(position >> 32), 0, 0}};
    struct philox_block r = philox4x32(ctr, (uint32_t)seed, (uint32_t)(seed >> 32));
    uint64_t bits = ((uint64_t)r.v[1] << 32 | r.v[0]) >> 11;
    return (double)bits * 0x1p-53;
}

#endif
