/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A code of an IQ type is the number of a point of a grid: 8 columns (4 in IQ3), each one of a few
 * values. The signs of IQ2 and IQ3 lie beside the codes: all 8 of them, or 7 and the eighth so that
 * an even number is negative. Scales are d times an odd integer over a power of two, so that the
 * integers of quants_block hold them exactly.
 */
#include "kernels/cpu/quants_iq.h"

#include "kernels/cpu/half.h"
#include "kernels/cpu/quants_grids.h"

struct iq2_xxs {
    uint8_t d[2], qs[64];
};
struct iq2_xs {
    uint8_t d[2], qs[64], scales[8];
};
struct iq2_s {
    uint8_t d[2], qs[32], signs[32], qh[8], scales[8];
};
struct iq3_xxs {
    uint8_t d[2], qs[64], signs[32];
};
struct iq3_s {
    uint8_t d[2], qs[64], qh[8], signs[32], scales[4];
};
struct iq1_s {
    uint8_t d[2], qs[32], qh[16];
};
struct iq1_m {
    uint8_t qs[32], qh[16], scales[8];
};

#define SIZE(type, n) _Static_assert(sizeof(struct type) == (n), #type)
SIZE(iq2_xxs, 66);
SIZE(iq2_xs, 74);
SIZE(iq2_s, 82);
SIZE(iq3_xxs, 98);
SIZE(iq3_s, 110);
SIZE(iq1_s, 50);
SIZE(iq1_m, 56);

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | get16(p + 2) << 16;
}

static void scales(struct quants_block *out, float d, int sc0, int sc1)
{
    out->d = d;
    out->dmin = 0;
    out->sc[0] = (int16_t)sc0;
    out->sc[1] = (int16_t)sc1;
    out->mn[0] = out->mn[1] = 0;
}

/* Eight columns of IQ2: two bits of `point` for each. */
static void grid2(uint32_t point, uint32_t signs, int8_t q[8])
{
    static const int8_t values[4] = {8, 25, 43, 0};
    for (int i = 0; i < 8; i++) {
        int8_t v = values[point >> (2 * i) & 3];
        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

/* Four columns of IQ3: three bits of `point` for each. */
static void grid3(uint32_t point, uint32_t signs, const int8_t values[8], int8_t q[4])
{
    for (int i = 0; i < 4; i++) {
        int8_t v = values[point >> (3 * i) & 7];
        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

/* Eight columns of IQ1: -1, 0 or 1, plus or minus an eighth; in eighths. */
static void grid1(uint32_t point, int delta, int8_t q[8])
{
    for (int i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * ((int)(point >> (2 * i) & 3) - 1) + delta);
}

static uint32_t even_signs(uint32_t seven)
{
    return seven | (uint32_t)__builtin_parity(seven) << 7;
}

void quants_unpack_iq2_xxs(const void *row, size_t i, struct quants_block *out)
{
    const struct iq2_xxs *b = (const struct iq2_xxs *)row + i / 8;
    const uint8_t *qs = b->qs + i % 8 * 8;
    uint32_t bits = get32(qs + 4);
    int sc = 2 * (int)(bits >> 28) + 1;
    scales(out, half_to_float((uint16_t)get16(b->d)) * 0.125f, sc, sc);
    for (int k = 0; k < 4; k++)
        grid2(quants_grid_iq2_xxs[qs[k]], even_signs(bits >> (7 * k) & 127), out->q + 8 * k);
}

void quants_unpack_iq2_xs(const void *row, size_t i, struct quants_block *out)
{
    const struct iq2_xs *b = (const struct iq2_xs *)row + i / 8;
    size_t s = i % 8;
    scales(out, half_to_float((uint16_t)get16(b->d)) * 0.125f, 2 * (b->scales[s] & 15) + 1,
           2 * (b->scales[s] >> 4) + 1);
    for (size_t k = 0; k < 4; k++) {
        uint32_t code = get16(b->qs + 2 * (4 * s + k));
        grid2(quants_grid_iq2_xs[code & 511], even_signs(code >> 9), out->q + 8 * k);
    }
}

void quants_unpack_iq2_s(const void *row, size_t i, struct quants_block *out)
{
    const struct iq2_s *b = (const struct iq2_s *)row + i / 8;
    size_t s = i % 8;
    scales(out, half_to_float((uint16_t)get16(b->d)) * 0.125f, 2 * (b->scales[s] & 15) + 1,
           2 * (b->scales[s] >> 4) + 1);
    for (size_t k = 0; k < 4; k++) {
        uint32_t code = b->qs[4 * s + k] | (b->qh[s] >> (2 * k) & 3U) << 8;
        grid2(quants_grid_iq2_s[code], b->signs[4 * s + k], out->q + 8 * k);
    }
}

void quants_unpack_iq3_xxs(const void *row, size_t i, struct quants_block *out)
{
    static const int8_t values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const struct iq3_xxs *b = (const struct iq3_xxs *)row + i / 8;
    size_t s = i % 8;
    uint32_t bits = get32(b->signs + 4 * s);
    int sc = 2 * (int)(bits >> 28) + 1;
    scales(out, half_to_float((uint16_t)get16(b->d)) * 0.25f, sc, sc);
    for (size_t k = 0; k < 8; k++) {
        uint32_t signs = even_signs(bits >> (7 * (k / 2)) & 127) >> (4 * (k % 2));
        grid3(quants_grid_iq3_xxs[b->qs[8 * s + k]], signs, values, out->q + 4 * k);
    }
}

void quants_unpack_iq3_s(const void *row, size_t i, struct quants_block *out)
{
    static const int8_t values[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    const struct iq3_s *b = (const struct iq3_s *)row + i / 8;
    size_t s = i % 8;
    int sc = 2 * (b->scales[s / 2] >> (4 * (s % 2)) & 15) + 1;
    scales(out, half_to_float((uint16_t)get16(b->d)), sc, sc);
    for (size_t k = 0; k < 8; k++) {
        uint32_t code = b->qs[8 * s + k] | (b->qh[s] >> k & 1U) << 8;
        uint32_t signs = (uint32_t)b->signs[4 * s + k / 2] >> (4 * (k % 2));
        grid3(quants_grid_iq3_s[code], signs, values, out->q + 4 * k);
    }
}

void quants_unpack_iq1_s(const void *row, size_t i, struct quants_block *out)
{
    const struct iq1_s *b = (const struct iq1_s *)row + i / 8;
    size_t s = i % 8;
    uint32_t qh = get16(b->qh + 2 * s);
    int sc = 2 * (int)(qh >> 12 & 7) + 1;
    scales(out, half_to_float((uint16_t)get16(b->d)) * 0.125f, sc, sc);
    for (size_t k = 0; k < 4; k++) {
        uint32_t code = b->qs[4 * s + k] | (qh >> (3 * k) & 7) << 8;
        grid1(quants_grid_iq1[code], qh & 0x8000 ? -1 : 1, out->q + 8 * k);
    }
}

/* The f16 scale of a block is spread over the upper nibbles of the four words of scales. */
void quants_unpack_iq1_m(const void *row, size_t i, struct quants_block *out)
{
    const struct iq1_m *b = (const struct iq1_m *)row + i / 8;
    size_t s = i % 8;
    uint32_t d = 0;
    for (size_t j = 0; j < 4; j++)
        d |= get16(b->scales + 2 * j) >> 12 << (4 * j);
    uint32_t sc = get16(b->scales + 2 * (s / 2)) >> (6 * (s % 2));
    scales(out, half_to_float((uint16_t)d) * 0.125f, 2 * (int)(sc & 7) + 1,
           2 * (int)(sc >> 3 & 7) + 1);
    for (size_t k = 0; k < 4; k++) {
        uint32_t qh = (uint32_t)b->qh[2 * s + k / 2] >> (4 * (k % 2));
        uint32_t code = b->qs[4 * s + k] | (qh & 7) << 8;
        grid1(quants_grid_iq1[code], qh & 8 ? -1 : 1, out->q + 8 * k);
    }
}
