/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/quants.h"

#include <string.h>

#include "kernels/cpu/half.h"
#include "kernels/cpu/quants_iq.h"

/* Blocks as they lie in a file: only bytes, so that any address will do. */
struct q4_0 {
    uint8_t d[2], qs[16];
};
struct q4_1 {
    uint8_t d[2], m[2], qs[16];
};
struct q5_0 {
    uint8_t d[2], qh[4], qs[16];
};
struct q5_1 {
    uint8_t d[2], m[2], qh[4], qs[16];
};
struct q8_0 {
    uint8_t d[2];
    int8_t qs[32];
};
struct q2_k {
    uint8_t scales[16], qs[64], d[2], dmin[2];
};
struct q3_k {
    uint8_t hmask[32], qs[64], scales[12], d[2];
};
struct q4_k {
    uint8_t d[2], dmin[2], scales[12], qs[128];
};
struct q5_k {
    uint8_t d[2], dmin[2], scales[12], qh[32], qs[128];
};
struct q6_k {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint8_t d[2];
};
struct iq4_xs {
    uint8_t d[2], scales_h[2], scales_l[4], qs[128];
};
struct tq1_0 {
    uint8_t qs[48], qh[4], d[2];
};
struct tq2_0 {
    uint8_t qs[64], d[2];
};
struct mxfp4 {
    uint8_t e, qs[16];
};

#define SIZE(type, n) _Static_assert(sizeof(struct type) == (n), #type)
SIZE(q4_0, 18);
SIZE(q4_1, 20);
SIZE(q5_0, 22);
SIZE(q5_1, 24);
SIZE(q8_0, 34);
SIZE(q2_k, 84);
SIZE(q3_k, 110);
SIZE(q4_k, 144);
SIZE(q5_k, 176);
SIZE(q6_k, 210);
SIZE(iq4_xs, 136);
SIZE(tq1_0, 54);
SIZE(tq2_0, 66);
SIZE(mxfp4, 17);

const int8_t quants_iq4nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};
/* Twice the values of FP4 E2M1; the scale is halved. */
const int8_t quants_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float get_half(const uint8_t p[2])
{
    return half_to_float((uint16_t)(p[0] | p[1] << 8));
}

/* A block with one scale and one minimum for all of it. */
static void plain(struct quants_block *out, float d, float dmin)
{
    out->d = d;
    out->dmin = dmin;
    out->sc[0] = out->sc[1] = 1;
    out->mn[0] = out->mn[1] = 1;
}

/* 4-bit codes: the low nibbles are columns 0…15, the high ones 16…31. */
static void nibbles(const uint8_t qs[16], int offset, int8_t q[32])
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4) - offset);
    }
}

/* Bit i of qh is the fifth bit of column i. */
static void fifth_bits(const uint8_t qh[4], int8_t q[32])
{
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] + ((qh[i / 8] >> (i % 8) & 1) << 4));
}

static void lookup(const uint8_t qs[16], const int8_t values[16], int8_t q[32])
{
    for (int i = 0; i < 16; i++) {
        q[i] = values[qs[i] & 15];
        q[i + 16] = values[qs[i] >> 4];
    }
}

static void unpack_q4_0(const void *row, size_t i, struct quants_block *out)
{
    const struct q4_0 *b = (const struct q4_0 *)row + i;
    plain(out, get_half(b->d), 0);
    nibbles(b->qs, 8, out->q);
}

static void unpack_q4_1(const void *row, size_t i, struct quants_block *out)
{
    const struct q4_1 *b = (const struct q4_1 *)row + i;
    plain(out, get_half(b->d), -get_half(b->m));
    nibbles(b->qs, 0, out->q);
}

static void unpack_q5_0(const void *row, size_t i, struct quants_block *out)
{
    const struct q5_0 *b = (const struct q5_0 *)row + i;
    plain(out, get_half(b->d), 0);
    nibbles(b->qs, 16, out->q);
    fifth_bits(b->qh, out->q);
}

static void unpack_q5_1(const void *row, size_t i, struct quants_block *out)
{
    const struct q5_1 *b = (const struct q5_1 *)row + i;
    plain(out, get_half(b->d), -get_half(b->m));
    nibbles(b->qs, 0, out->q);
    fifth_bits(b->qh, out->q);
}

static void unpack_q8_0(const void *row, size_t i, struct quants_block *out)
{
    const struct q8_0 *b = (const struct q8_0 *)row + i;
    plain(out, get_half(b->d), 0);
    memcpy(out->q, b->qs, 32);
}

static void unpack_q2_k(const void *row, size_t i, struct quants_block *out)
{
    const struct q2_k *b = (const struct q2_k *)row + i / 8;
    size_t s = i % 8;
    out->d = get_half(b->d);
    out->dmin = get_half(b->dmin);
    for (int h = 0; h < 2; h++) {
        out->sc[h] = b->scales[2 * s + h] & 15;
        out->mn[h] = b->scales[2 * s + h] >> 4;
    }
    for (size_t j = 0; j < 32; j++)
        out->q[j] = b->qs[s / 4 * 32 + j] >> (2 * (s % 4)) & 3;
}

/* The j-th of 16 scales of 6 bits: low nibbles in bytes 0…7, high two bits in bytes 8…11. */
static int q3_k_scale(const uint8_t s[12], size_t j)
{
    int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
    return (low | (s[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32;
}

static void unpack_q3_k(const void *row, size_t i, struct quants_block *out)
{
    const struct q3_k *b = (const struct q3_k *)row + i / 8;
    size_t s = i % 8;
    plain(out, get_half(b->d), 0);
    for (int h = 0; h < 2; h++)
        out->sc[h] = (int16_t)q3_k_scale(b->scales, 2 * s + h);
    for (size_t j = 0; j < 32; j++) {
        int low = b->qs[s / 4 * 32 + j] >> (2 * (s % 4)) & 3;
        out->q[j] = (int8_t)(low - (b->hmask[j] >> s & 1 ? 0 : 4));
    }
}

/* The j-th of 8 pairs of a scale and a minimum, 6 bits each, in 12 bytes (Q4_K and Q5_K). */
static void k_scale_min(const uint8_t s[12], size_t j, struct quants_block *out)
{
    int sc = s[j % 4] & 63;
    int mn = s[j % 4 + 4] & 63;
    if (j >= 4) {
        sc = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        mn = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
    out->sc[0] = out->sc[1] = (int16_t)sc;
    out->mn[0] = out->mn[1] = (int16_t)mn;
}

static void unpack_q4_k(const void *row, size_t i, struct quants_block *out)
{
    const struct q4_k *b = (const struct q4_k *)row + i / 8;
    size_t s = i % 8;
    out->d = get_half(b->d);
    out->dmin = get_half(b->dmin);
    k_scale_min(b->scales, s, out);
    for (size_t j = 0; j < 32; j++)
        out->q[j] = b->qs[s / 2 * 32 + j] >> (4 * (s % 2)) & 15;
}

static void unpack_q5_k(const void *row, size_t i, struct quants_block *out)
{
    const struct q5_k *b = (const struct q5_k *)row + i / 8;
    size_t s = i % 8;
    out->d = get_half(b->d);
    out->dmin = get_half(b->dmin);
    k_scale_min(b->scales, s, out);
    for (size_t j = 0; j < 32; j++)
        out->q[j] =
            (int8_t)((b->qs[s / 2 * 32 + j] >> (4 * (s % 2)) & 15) | (b->qh[j] >> s & 1) << 4);
}

static void unpack_q6_k(const void *row, size_t i, struct quants_block *out)
{
    const struct q6_k *b = (const struct q6_k *)row + i / 8;
    size_t s = i % 8;
    size_t half = s / 4; /* of the block: 128 columns, 64 bytes of ql and 32 of qh */
    size_t t = s % 4;
    plain(out, get_half(b->d), 0);
    for (int h = 0; h < 2; h++)
        out->sc[h] = b->scales[2 * s + h];
    for (size_t j = 0; j < 32; j++) {
        int low = b->ql[half * 64 + t % 2 * 32 + j] >> (4 * (t / 2)) & 15;
        int high = b->qh[half * 32 + j] >> (2 * t) & 3;
        out->q[j] = (int8_t)((low | high << 4) - 32);
    }
}

static void unpack_iq4_nl(const void *row, size_t i, struct quants_block *out)
{
    const struct q4_0 *b = (const struct q4_0 *)row + i;
    plain(out, get_half(b->d), 0);
    lookup(b->qs, quants_iq4nl_values, out->q);
}

static void unpack_iq4_xs(const void *row, size_t i, struct quants_block *out)
{
    const struct iq4_xs *b = (const struct iq4_xs *)row + i / 8;
    size_t s = i % 8;
    int low = b->scales_l[s / 2] >> (4 * (s % 2)) & 15;
    int high = (b->scales_h[0] | b->scales_h[1] << 8) >> (2 * s) & 3;
    plain(out, get_half(b->d), 0);
    out->sc[0] = out->sc[1] = (int16_t)((low | high << 4) - 32);
    lookup(b->qs + 16 * s, quants_iq4nl_values, out->q);
}

/* Five digits of base 3 in a byte: 160 columns in bytes 0…31, 80 in 32…47, and four digits in each
 * byte of qh for the last 16. */
static void unpack_tq1_0(const void *row, size_t i, struct quants_block *out)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    const struct tq1_0 *b = (const struct tq1_0 *)row + i / 8;
    plain(out, get_half(b->d), 0);
    for (size_t j = 0; j < 32; j++) {
        size_t c = i % 8 * 32 + j;
        uint8_t v;
        if (c < 160)
            v = (uint8_t)(b->qs[c % 32] * power[c / 32]);
        else if (c < 240)
            v = (uint8_t)(b->qs[32 + c % 16] * power[(c - 160) / 16]);
        else
            v = (uint8_t)(b->qh[c % 4] * power[(c - 240) / 4]);
        out->q[j] = (int8_t)((v * 3 >> 8) - 1);
    }
}

static void unpack_tq2_0(const void *row, size_t i, struct quants_block *out)
{
    const struct tq2_0 *b = (const struct tq2_0 *)row + i / 8;
    size_t s = i % 8;
    plain(out, get_half(b->d), 0);
    for (size_t j = 0; j < 32; j++)
        out->q[j] = (int8_t)((b->qs[s / 4 * 32 + j] >> (2 * (s % 4)) & 3) - 1);
}

static void unpack_mxfp4(const void *row, size_t i, struct quants_block *out)
{
    const struct mxfp4 *b = (const struct mxfp4 *)row + i;
    /* 2^(e - 128): a denormal for the two smallest. */
    plain(out, half_from_bits(b->e < 2 ? 0x00200000U << b->e : (b->e - 1U) << 23), 0);
    lookup(b->qs, quants_mxfp4_values, out->q);
}

static const struct quants_info infos[QUANTS_TYPES] = {
    [QUANTS_F32] = {"F32", 1, 4, NULL},
    [QUANTS_F16] = {"F16", 1, 2, NULL},
    [QUANTS_BF16] = {"BF16", 1, 2, NULL},
    [QUANTS_Q4_0] = {"Q4_0", 32, 18, unpack_q4_0},
    [QUANTS_Q4_1] = {"Q4_1", 32, 20, unpack_q4_1},
    [QUANTS_Q5_0] = {"Q5_0", 32, 22, unpack_q5_0},
    [QUANTS_Q5_1] = {"Q5_1", 32, 24, unpack_q5_1},
    [QUANTS_Q8_0] = {"Q8_0", 32, 34, unpack_q8_0},
    [QUANTS_Q2_K] = {"Q2_K", 256, 84, unpack_q2_k},
    [QUANTS_Q3_K] = {"Q3_K", 256, 110, unpack_q3_k},
    [QUANTS_Q4_K] = {"Q4_K", 256, 144, unpack_q4_k},
    [QUANTS_Q5_K] = {"Q5_K", 256, 176, unpack_q5_k},
    [QUANTS_Q6_K] = {"Q6_K", 256, 210, unpack_q6_k},
    [QUANTS_IQ4_NL] = {"IQ4_NL", 32, 18, unpack_iq4_nl},
    [QUANTS_IQ4_XS] = {"IQ4_XS", 256, 136, unpack_iq4_xs},
    [QUANTS_IQ2_XXS] = {"IQ2_XXS", 256, 66, quants_unpack_iq2_xxs},
    [QUANTS_IQ2_XS] = {"IQ2_XS", 256, 74, quants_unpack_iq2_xs},
    [QUANTS_IQ2_S] = {"IQ2_S", 256, 82, quants_unpack_iq2_s},
    [QUANTS_IQ3_XXS] = {"IQ3_XXS", 256, 98, quants_unpack_iq3_xxs},
    [QUANTS_IQ3_S] = {"IQ3_S", 256, 110, quants_unpack_iq3_s},
    [QUANTS_IQ1_S] = {"IQ1_S", 256, 50, quants_unpack_iq1_s},
    [QUANTS_IQ1_M] = {"IQ1_M", 256, 56, quants_unpack_iq1_m},
    [QUANTS_TQ1_0] = {"TQ1_0", 256, 54, unpack_tq1_0},
    [QUANTS_TQ2_0] = {"TQ2_0", 256, 66, unpack_tq2_0},
    [QUANTS_MXFP4] = {"MXFP4", 32, 17, unpack_mxfp4},
};

const struct quants_info *quants_info(uint32_t type)
{
    return type < QUANTS_TYPES && infos[type].name ? &infos[type] : NULL;
}

uint64_t quants_row_bytes(uint32_t type, uint64_t cols)
{
    const struct quants_info *info = quants_info(type);
    uint64_t bytes;
    if (!info || cols % info->block != 0 ||
        __builtin_mul_overflow(cols / info->block, info->block_bytes, &bytes))
        return 0;
    return bytes;
}

void quants_block_to_f32(const struct quants_block *b, float dst[32])
{
    for (int h = 0; h < 2; h++) {
        float d = b->d * (float)b->sc[h];
        float m = b->dmin * (float)b->mn[h];
        for (int i = 0; i < 16; i++)
            dst[16 * h + i] = d * (float)b->q[16 * h + i] - m;
    }
}

static void floats_to_f32(uint32_t type, const uint8_t *row, float *dst, size_t cols)
{
    if (type == QUANTS_F32) {
        memcpy(dst, row, cols * sizeof(float));
        return;
    }
    for (size_t i = 0; i < cols; i++) {
        uint16_t v = (uint16_t)(row[2 * i] | row[2 * i + 1] << 8);
        dst[i] = type == QUANTS_F16 ? half_to_float(v) : half_from_bf16(v);
    }
}

void quants_to_f32(uint32_t type, const void *row, float *dst, size_t cols)
{
    const struct quants_info *info = &infos[type];
    struct quants_block b;
    if (!info->unpack) {
        floats_to_f32(type, row, dst, cols);
        return;
    }
    for (size_t i = 0; i < cols / 32; i++) {
        info->unpack(row, i, &b);
        quants_block_to_f32(&b, dst + 32 * i);
    }
}
