/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/selftest.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { COLS = 512, ROWS = 13, DIM = 200, HEAD = 80 };

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void fill_floats(float *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)((int32_t)(next(&seed) & 0xFFFF) - 32768) / 4096.0f;
}

/* Any bits, but every f16, bf16 and f32 among them finite: bytes below 0x3C. Codes may be anything. */
static void fill_matrix(struct ops_matrix *m, uint32_t seed)
{
    for (size_t i = 0; i < m->panel_bytes; i++) {
        bool code = m->kind == PACK_PANEL && i % m->group_bytes >= m->sc;
        m->data[i] = (uint8_t)(code ? next(&seed) : next(&seed) % 0x3C);
    }
}

/* Bits, not values: the sign of a zero counts. */
static bool same_bits(const void *a, const void *b, size_t n)
{
    return memcmp(a, b, n) == 0;
}

static bool same_dot(const struct kernels *k, const struct ops_matrix *m,
                     const struct kernel_rows *rows)
{
    float want[ROWS][PACK_ROWS];
    float got[ROWS][PACK_ROWS];
    kernels_dot(&kernels_portable, m)(m, 0, rows, 0, ROWS, want[0], PACK_ROWS);
    kernels_dot(k, m)(m, 0, rows, 0, ROWS, got[0], PACK_ROWS);
    return same_bits(want, got, sizeof(want));
}

/* One panel of every type. */
static const char *test_dots(const struct kernels *k)
{
    float x[ROWS * COLS];
    struct memory *mem = memory_new();
    size_t blocks = ROWS * (COLS / 32);
    struct kernel_rows rows = {.n = ROWS, .blocks = COLS / 32, .x = x, .stride = COLS};
    rows.q = xmalloc(32 * blocks);
    rows.d = xcalloc(blocks, sizeof(float));
    rows.s = xcalloc(blocks, sizeof(float));
    rows.sums = xcalloc(2 * blocks, sizeof(int32_t));
    fill_floats(x, (size_t)ROWS * COLS, 1);
    kernels_portable.quantize(x, blocks, rows.q, rows.d, rows.s, rows.sums);
    const char *wrong = NULL;
    for (uint32_t type = 0; type < QUANTS_TYPES && !wrong; type++) {
        if (!quants_info(type))
            continue;
        struct ops_matrix *m = pack_new(mem, type, PACK_ROWS, COLS, NULL);
        if (!m)
            continue; /* no memory: what follows will say so */
        fill_matrix(m, type);
        if (!same_dot(k, m, &rows))
            wrong = quants_info(type)->name;
        pack_free(mem, m);
    }
    free(rows.q);
    free(rows.d);
    free(rows.s);
    free(rows.sums);
    memory_free(mem);
    return wrong;
}

/* Everything that is done to rows, into out; the number of floats. */
static void row_kernels(const struct kernels *k, float out[7][DIM])
{
    float a[DIM];
    float b[DIM];
    uint16_t half[DIM];
    int8_t q[DIM];
    int32_t sums[2 * (DIM / 32)];
    memset(out, 0, 7 * sizeof(*out));
    fill_floats(a, DIM, 2);
    fill_floats(b, DIM, 3);
    k->rmsnorm(out[0], a, b, DIM, 1e-5f);
    k->glu(out[1], a, b, DIM, OPS_SILU);
    k->glu(out[2], a, b, DIM, OPS_GELU_TANH);
    k->add(out[3], a, b, DIM);
    k->scale(out[3], DIM, 3.3f);
    memcpy(out[4], a, sizeof(a));
    k->rope(out[4], 2, DIM / 2, 52, false, b, b + 26);
    k->rope(out[4], 2, DIM / 2, 52, true, b, b + 26);
    k->to_half(half, a, DIM);
    memcpy(out[5], half, sizeof(half));
    k->quantize(a, DIM / 32, q, out[6], out[6] + 8, sums);
    memcpy(out[6] + 16, q, DIM / 32 * 32);
    memcpy(out[6] + 80, sums, sizeof(sums));
}

/* Five queries that see different parts of a chunk. */
static void attention_kernels(const struct kernels *k, float out[5][2 + HEAD])
{
    enum { PAGES = KERNEL_CHUNK / KERNEL_PAGE, QUERIES = 5 };
    uint16_t pages[PAGES][2 * KERNEL_PAGE * HEAD];
    float q[QUERIES][HEAD];
    float memory[QUERIES][HEAD];
    struct kernel_chunk c = {
        .n = QUERIES, .head_dim = HEAD, .width = HEAD, .scale = 0.1f, .softcap = 20};
    struct kernel_partial partials[QUERIES];
    uint32_t seed = 4;
    for (size_t i = 0; i < PAGES; i++)
        for (size_t j = 0; j < ARRAY_LEN(pages[i]); j++)
            pages[i][j] = (uint16_t)(0x2C00 + (next(&seed) & 0x8FFF));
    fill_floats(q[0], (size_t)QUERIES * HEAD, 5);
    for (uint32_t i = 0; i < QUERIES; i++) {
        c.q[i] = q[i];
        c.begin[i] = i == 4 ? 40 : 0;
        c.end[i] = 90 + 8 * i;
        partials[i].out = memory[i];
    }
    for (size_t i = 0; i < PAGES; i++) {
        c.k[i] = pages[i];
        c.v[i] = pages[i] + KERNEL_PAGE * HEAD;
    }
    k->chunk(&c, partials);
    for (uint32_t i = 1; i < QUERIES; i++)
        k->fold(&partials[i], &partials[i - 1], HEAD);
    for (uint32_t i = 0; i < QUERIES; i++) {
        out[i][0] = partials[i].max;
        out[i][1] = partials[i].sum;
        k->finish(out[i] + 2, &partials[i], HEAD);
    }
}

const char *selftest(const struct kernels *k)
{
    float rows[2][7][DIM];
    float attention[2][5][2 + HEAD];
    row_kernels(&kernels_portable, rows[0]);
    row_kernels(k, rows[1]);
    if (!same_bits(rows[0], rows[1], sizeof(rows[0])))
        return "rows";
    attention_kernels(&kernels_portable, attention[0]);
    attention_kernels(k, attention[1]);
    if (!same_bits(attention[0], attention[1], sizeof(attention[0])))
        return "attention";
    return test_dots(k);
}
