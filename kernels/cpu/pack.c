/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/pack.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/half.h"

static const struct pack_format formats[QUANTS_TYPES] = {
    [QUANTS_Q4_0] = {.bits = 4, .offset = 8, .per_d = 1},
    [QUANTS_Q4_1] = {.bits = 4, .per_d = 1, .has_m = true},
    [QUANTS_Q5_0] = {.bits = 5, .offset = 16, .per_d = 1},
    [QUANTS_Q5_1] = {.bits = 5, .per_d = 1, .has_m = true},
    [QUANTS_Q8_0] = {.bits = 8, .per_d = 1},
    [QUANTS_IQ4_NL] = {.bits = 4, .values = quants_iq4nl_values, .per_d = 1},
    [QUANTS_IQ4_XS] = {.bits = 4, .values = quants_iq4nl_values, .per_d = 8, .n_sc = 1},
    [QUANTS_Q4_K] = {.bits = 4, .per_d = 8, .has_m = true, .n_sc = 1, .has_mn = true},
    [QUANTS_Q5_K] = {.bits = 5, .per_d = 8, .has_m = true, .n_sc = 1, .has_mn = true},
    [QUANTS_Q6_K] = {.bits = 6, .offset = 32, .per_d = 8, .n_sc = 2},
};

/* Bytes of the vectors of 32 columns. */
static size_t low_bytes(const struct pack_format *f)
{
    return f->bits == 8 ? 512 : 256;
}

static size_t high_bytes(const struct pack_format *f)
{
    return f->bits == 5 ? 64 : f->bits == 6 ? 128 : 0;
}

static size_t code_bytes(const struct pack_format *f)
{
    return high_bytes(f) + low_bytes(f);
}

/* Where the sections of a group lie, and how long groups and panels are. */
static void lay_out(struct ops_matrix *m)
{
    const struct pack_format *f = m->format;
    if (m->kind == PACK_FILE) {
        m->panel_bytes = PACK_ROWS * m->row_bytes;
        return;
    }
    if (m->kind == PACK_FLOATS) {
        m->panel_bytes = m->blocks * 32 * PACK_ROWS * quants_info(m->type)->block_bytes;
        return;
    }
    m->group = f->per_d == 8 ? 8 : 2;
    size_t scales = m->group / f->per_d * PACK_ROWS * 2;
    m->m = scales;
    m->sc = m->m + (f->has_m ? scales : 0);
    m->mn = m->sc + m->group * f->n_sc * PACK_ROWS;
    m->codes = (m->mn + (f->has_mn ? m->group * PACK_ROWS : 0) + 63) & ~(size_t)63;
    m->group_bytes = m->codes + m->group * code_bytes(f);
    m->panel_bytes = m->blocks / m->group * m->group_bytes;
    if (m->blocks % m->group)
        m->panel_bytes += m->codes + m->blocks % m->group * code_bytes(f);
}

struct ops_matrix *pack_new(struct memory *mem, uint32_t type, uint64_t rows, uint64_t cols,
                            struct err *e)
{
    const struct quants_info *info = quants_info(type);
    if (!info) {
        err_set(e, ENOEXEC, "the kernels do not have tensor type %u", type);
        return NULL;
    }
    uint64_t row_bytes = quants_row_bytes(type, cols);
    uint64_t total;
    if (rows == 0 || cols == 0 || row_bytes == 0) {
        err_set(e, EINVAL, "a matrix of %s cannot have %llu rows of %llu columns", info->name,
                (unsigned long long)rows, (unsigned long long)cols);
        return NULL;
    }
    /* All sizes below are less than 64 times this product. */
    if (__builtin_mul_overflow(row_bytes + 64, rows + PACK_ROWS, &total) ||
        total > SIZE_MAX / 128) {
        err_set(e, ENOMEM, "a matrix of %llu rows of %llu bytes is too large",
                (unsigned long long)rows, (unsigned long long)row_bytes);
        return NULL;
    }
    struct ops_matrix *m = xcalloc(1, sizeof(*m));
    m->type = type;
    m->rows = rows;
    m->cols = cols;
    m->row_bytes = row_bytes;
    m->blocks = (cols + 31) / 32;
    m->panels = (rows + PACK_ROWS - 1) / PACK_ROWS;
    m->format = &formats[type];
    m->kind = !info->unpack ? PACK_FLOATS : m->format->bits ? PACK_PANEL : PACK_FILE;
    lay_out(m);
    m->data = memory_take(mem, m->panels * m->panel_bytes, &m->slab, "weights", e);
    if (!m->data) {
        free(m);
        return NULL;
    }
    return m;
}

void pack_free(struct memory *mem, struct ops_matrix *m)
{
    if (!m)
        return;
    memory_give(mem, m->slab);
    free(m);
}

static void put_half(uint8_t *section_at, size_t i, size_t lane, float v)
{
    uint16_t h = half_of_float(v);
    memcpy(section_at + (i * PACK_ROWS + lane) * 2, &h, 2);
}

static float get_half(const uint8_t *section_at, size_t i, size_t lane)
{
    uint16_t h;
    memcpy(&h, section_at + (i * PACK_ROWS + lane) * 2, 2);
    return half_to_float(h);
}

/* The codes that stand for the integers of a block. */
static void to_codes(const struct pack_format *f, const int8_t q[32], uint8_t codes[32])
{
    for (int i = 0; i < 32; i++)
        codes[i] = (uint8_t)(q[i] + f->offset);
    for (int i = 0; f->values && i < 32; i++)
        for (int v = 0; v < 16; v++)
            if (f->values[v] == q[i])
                codes[i] = (uint8_t)v;
}

/* Writes the codes of one row, four columns at a time: word k of `codes` is columns 4k … 4k + 3. */
static void put_codes(const struct pack_format *f, uint8_t *low, uint8_t *high, size_t lane,
                      const uint8_t codes[32])
{
    uint32_t c[8];
    uint32_t top[2] = {0, 0};
    memcpy(c, codes, sizeof(c));
    for (size_t k = 0; k < 8 && f->bits == 8; k++)
        memcpy(low + 64 * k + 4 * lane, &c[k], 4);
    for (size_t k = 0; k < 4 && f->bits != 8; k++) {
        uint32_t both = (c[k] & 0x0F0F0F0F) | (c[k + 4] & 0x0F0F0F0F) << 4;
        memcpy(low + 64 * k + 4 * lane, &both, 4);
    }
    if (f->bits == 5) {
        for (size_t k = 0; k < 8; k++)
            top[0] |= (c[k] >> 4 & 0x01010101) << k;
        memcpy(high + 4 * lane, &top[0], 4);
    }
    if (f->bits == 6) {
        for (size_t k = 0; k < 8; k++)
            top[k / 4] |= (c[k] >> 4 & 0x03030303) << (2 * (k % 4));
        memcpy(high + 4 * lane, &top[0], 4);
        memcpy(high + 64 + 4 * lane, &top[1], 4);
    }
}

static int get_code(const struct pack_format *f, const uint8_t *low, const uint8_t *high, size_t k,
                    size_t byte)
{
    if (f->bits == 8)
        return (int8_t)low[64 * k + byte];
    int code = low[64 * (k % 4) + byte] >> (4 * (k / 4)) & 15;
    if (f->bits == 5)
        code |= (high[byte] >> k & 1) << 4;
    if (f->bits == 6)
        code |= (high[64 * (k / 4) + byte] >> (2 * (k % 4)) & 3) << 4;
    return f->values ? f->values[code] : code - f->offset;
}

static void put_block(const struct ops_matrix *m, uint8_t *group, size_t i, size_t lane,
                      const struct quants_block *b)
{
    const struct pack_format *f = m->format;
    uint8_t codes[32];
    to_codes(f, b->q, codes);
    uint8_t *high = group + m->codes + i * code_bytes(f);
    put_codes(f, high + high_bytes(f), high, lane, codes);
    if (i % f->per_d == 0) {
        put_half(group, i / f->per_d, lane, b->d);
        if (f->has_m)
            put_half(group + m->m, i / f->per_d, lane, f->has_mn ? b->dmin : -b->dmin);
    }
    for (size_t h = 0; h < f->n_sc; h++)
        group[m->sc + (i * f->n_sc + h) * PACK_ROWS + lane] = (uint8_t)b->sc[h];
    if (f->has_mn)
        group[m->mn + i * PACK_ROWS + lane] = (uint8_t)b->mn[0];
}

static void put_row_panel(struct ops_matrix *m, uint8_t *panel, size_t lane, const void *src)
{
    const struct quants_info *info = quants_info(m->type);
    struct quants_block b;
    for (size_t i = 0; i < m->blocks; i++) {
        info->unpack(src, i, &b);
        put_block(m, panel + i / m->group * m->group_bytes, i % m->group, lane, &b);
    }
}

void pack_row(struct ops_matrix *m, uint64_t row, const void *src)
{
    uint8_t *panel = m->data + row / PACK_ROWS * m->panel_bytes;
    size_t lane = row % PACK_ROWS;
    if (m->kind == PACK_PANEL) {
        put_row_panel(m, panel, lane, src);
    } else if (m->kind == PACK_FILE) {
        memcpy(panel + lane * m->row_bytes, src, m->row_bytes);
    } else {
        size_t size = quants_info(m->type)->block_bytes;
        for (size_t c = 0; c < m->cols; c++)
            memcpy(panel + (c * PACK_ROWS + lane) * size, (const uint8_t *)src + c * size, size);
    }
}

/* Scales and minima of block i of a group, of the row in `lane`. */
static void get_scales(const struct ops_matrix *m, const uint8_t *group, size_t lane, size_t i,
                       struct quants_block *out)
{
    const struct pack_format *f = m->format;
    out->d = get_half(group, i / f->per_d, lane);
    out->dmin = f->has_m ? get_half(group + m->m, i / f->per_d, lane) : 0;
    if (f->has_m && !f->has_mn)
        out->dmin = -out->dmin;
    out->mn[0] = out->mn[1] = f->has_mn ? group[m->mn + i * PACK_ROWS + lane] : 1;
    out->sc[0] = out->sc[1] = 1;
    for (size_t h = 0; h < 2 && f->n_sc > 0; h++)
        out->sc[h] = (int8_t)group[m->sc + (i * f->n_sc + h % f->n_sc) * PACK_ROWS + lane];
}

void pack_block(const struct ops_matrix *m, uint64_t row, size_t i, struct quants_block *out)
{
    const struct pack_format *f = m->format;
    const uint8_t *panel = m->data + row / PACK_ROWS * m->panel_bytes;
    size_t lane = row % PACK_ROWS;
    if (m->kind == PACK_FILE) {
        quants_info(m->type)->unpack(panel + lane * m->row_bytes, i, out);
        return;
    }
    const uint8_t *group = panel + i / m->group * m->group_bytes;
    i %= m->group;
    const uint8_t *high = group + m->codes + i * code_bytes(f);
    const uint8_t *low = high + high_bytes(f);
    for (size_t c = 0; c < 32; c++)
        out->q[c] = (int8_t)get_code(f, low, high, c / 4, 4 * lane + c % 4);
    get_scales(m, group, lane, i, out);
}

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* Eight codes of vector k, from byte 8 * i of it on; less the offset, each in its byte. */
static uint64_t eight_codes(const struct pack_format *f, const uint8_t *low, const uint8_t *high,
                            size_t k, size_t i)
{
    uint64_t v;
    uint64_t h;
    memcpy(&v, low + 64 * (k % 4) + 8 * i, sizeof(v));
    v = v >> (4 * (k / 4)) & 15 * EACH_BYTE;
    if (f->bits > 4) {
        memcpy(&h, (f->bits == 6 ? high + 64 * (k / 4) : high) + 8 * i, sizeof(h));
        h = f->bits == 6 ? h >> (2 * (k % 4)) & 3 * EACH_BYTE : h >> k & EACH_BYTE;
        v |= h << 4;
    }
    /* With 128 in each byte no borrow leaves it; flipping that bit takes them off again. */
    return ((v | 128 * EACH_BYTE) - f->offset * EACH_BYTE) ^ 128 * EACH_BYTE;
}

/* The integers of all 16 rows, eight at a time. */
static void wide_codes(const struct pack_format *f, const uint8_t *low, const uint8_t *high,
                       int8_t (*q)[4 * PACK_ROWS])
{
    if (f->bits == 8) {
        memcpy(q, low, low_bytes(f));
        return;
    }
    for (size_t k = 0; k < 8; k++) {
        for (size_t i = 0; i < 8; i++) {
            uint64_t v = eight_codes(f, low, high, k, i);
            memcpy(q[k] + 8 * i, &v, sizeof(v));
        }
        for (size_t i = 0; i < 4 * PACK_ROWS && f->values; i++)
            q[k][i] = f->values[(uint8_t)q[k][i]];
    }
}

static void wide_set(struct pack_wide *out, size_t r, const struct quants_block *b)
{
    for (size_t h = 0; h < 2; h++) {
        out->sc[h][r] = b->sc[h];
        out->mn[h][r] = b->mn[h];
    }
    out->d[r] = b->d;
    out->dmin[r] = b->dmin;
}

void pack_wide(const struct ops_matrix *m, size_t panel, size_t i, struct pack_wide *out)
{
    const struct pack_format *f = m->format;
    const uint8_t *p = m->data + panel * m->panel_bytes;
    struct quants_block b;
    if (m->kind == PACK_PANEL) {
        p += i / m->group * m->group_bytes;
        i %= m->group;
        const uint8_t *high = p + m->codes + i * code_bytes(f);
        wide_codes(f, high + high_bytes(f), high, (int8_t(*)[4 * PACK_ROWS]) out->q);
    }
    for (size_t r = 0; r < PACK_ROWS; r++) {
        if (m->kind == PACK_PANEL) {
            get_scales(m, p, r, i, &b);
        } else {
            quants_info(m->type)->unpack(p + r * m->row_bytes, i, &b);
            for (size_t k = 0; k < 8; k++)
                memcpy(out->q[k][r], b.q + 4 * k, 4);
        }
        wide_set(out, r, &b);
    }
}

static void floats_row(const struct ops_matrix *m, const uint8_t *panel, size_t lane, float *dst)
{
    for (size_t c = 0; c < m->cols; c++) {
        size_t at = c * PACK_ROWS + lane;
        uint16_t v;
        if (m->type == QUANTS_F32) {
            memcpy(&dst[c], panel + 4 * at, 4);
            continue;
        }
        memcpy(&v, panel + 2 * at, 2);
        dst[c] = m->type == QUANTS_F16 ? half_to_float(v) : half_from_bf16(v);
    }
}

void pack_row_to_f32(const struct ops_matrix *m, uint64_t row, float *dst)
{
    struct quants_block b;
    if (m->kind == PACK_FLOATS) {
        floats_row(m, m->data + row / PACK_ROWS * m->panel_bytes, row % PACK_ROWS, dst);
        return;
    }
    for (size_t i = 0; i < m->blocks; i++) {
        pack_block(m, row, i, &b);
        quants_block_to_f32(&b, dst + 32 * i);
    }
}
