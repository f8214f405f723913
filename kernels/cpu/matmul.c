/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matmul: activations are made ready once for all matrices that share them, then panels of 16 rows
 * of weights are spread over the threads. A thread takes some panels and, for each, all rows of
 * activations in groups that stay in its cache.
 */
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/backend.h"

#define ROWS_AT_ONCE     128 /* of activations, over which a panel is unpacked once */
#define PARTS_PER_THREAD 8
#define PART_BYTES                                                                                 \
    32768 /* of weights, at least: each part begins without what the hardware fetches ahead */

struct matmul {
    struct ops_backend *be;
    float *const *dsts;
    const struct ops_matrix *const *ms;
    uint32_t n_ms;
    const float *src;
    uint32_t n;
    size_t cols;
    struct kernel_rows rows;
    float *padded; /* rows of src with zeros behind them, where a matrix of floats needs them */
    bool integers, floats;
    bool pairs;    /* each row of activations twice: rounded, and what the rounding lost */
    size_t panels; /* of all matrices */
    size_t bytes;
    uint32_t parts;
    uint32_t row_parts;
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Which forms of the activations are wanted, and room for them. */
static void make_room(struct matmul *mm, uint32_t n)
{
    struct kernel_rows *r = &mm->rows;
    for (uint32_t i = 0; i < mm->n_ms; i++) {
        mm->floats |= mm->ms[i]->kind == PACK_FLOATS;
        mm->integers |= mm->ms[i]->kind != PACK_FLOATS;
        mm->panels += mm->ms[i]->panels;
        mm->bytes += mm->ms[i]->panels * mm->ms[i]->panel_bytes;
    }
    mm->pairs &= mm->integers;
    r->n = mm->pairs ? 2 * (size_t)n : n;
    r->blocks = (mm->cols + 31) / 32;
    size_t count = r->n * r->blocks;
    bool pad = mm->floats && mm->cols % 32 != 0;
    size_t q = mm->integers ? round_up(count * 32, 64) : 0;
    size_t d = mm->integers ? round_up(count * 4, 64) : 0;
    uint8_t *p = backend_scratch(mm->be, q + 4 * d + (pad ? count * 32 * 4 : 0));
    r->q = (int8_t *)p;
    r->d = (float *)(void *)(p + q);
    r->s = (float *)(void *)(p + q + d);
    r->sums = (int32_t *)(void *)(p + q + 2 * d);
    mm->padded = pad ? (float *)(void *)(p + q + 4 * d) : NULL;
    r->x = pad ? mm->padded : mm->src;
    r->stride = pad ? r->blocks * 32 : mm->cols;
}

/* Row `to` becomes what is left of x beyond the row before it. */
static void quantize_rest(const struct matmul *mm, const float *x, size_t to)
{
    const struct kernel_rows *r = &mm->rows;
    for (size_t b = 0; b < r->blocks; b++) {
        float rest[32];
        size_t at = to * r->blocks + b;
        const int8_t *q = r->q + 32 * (at - r->blocks);
        float d = r->d[at - r->blocks];
        for (size_t i = 0; i < 32; i++)
            rest[i] = x[32 * b + i] - d * q[i];
        mm->be->kernels->quantize(rest, 1, r->q + 32 * at, r->d + at, r->s + at, r->sums + 2 * at);
    }
}

static void prepare_row(const struct matmul *mm, size_t i)
{
    const struct kernel_rows *r = &mm->rows;
    const float *x = mm->src + i * mm->cols;
    size_t row = mm->pairs ? 2 * i : i;
    size_t at = row * r->blocks;
    if (mm->padded) {
        float *to = mm->padded + i * r->stride;
        memcpy(to, x, mm->cols * sizeof(float));
        memset(to + mm->cols, 0, (r->stride - mm->cols) * sizeof(float));
    }
    if (mm->integers)
        mm->be->kernels->quantize(x, r->blocks, r->q + 32 * at, r->d + at, r->s + at,
                                  r->sums + 2 * at);
    if (mm->pairs)
        quantize_rest(mm, x, row + 1);
}

static void prepare_part(void *arg, uint32_t part)
{
    const struct matmul *mm = arg;
    size_t first = (size_t)mm->n * part / mm->row_parts;
    size_t end = (size_t)mm->n * (part + 1) / mm->row_parts;
    for (size_t i = first; i < end; i++)
        prepare_row(mm, i);
}

static void panel_of_pairs(const struct matmul *mm, uint32_t k, size_t panel, size_t first,
                           size_t n)
{
    const struct ops_matrix *m = mm->ms[k];
    _Alignas(64) float all[ROWS_AT_ONCE][PACK_ROWS];
    float *dst = mm->dsts[k] + first / 2 * m->rows + panel * PACK_ROWS;
    size_t lanes = MIN((size_t)PACK_ROWS, m->rows - panel * PACK_ROWS);
    kernels_dot(mm->be->kernels, m)(m, panel, &mm->rows, first, n, all[0], PACK_ROWS);
    for (size_t i = 0; i < n; i += 2)
        for (size_t lane = 0; lane < lanes; lane++)
            dst[i / 2 * m->rows + lane] = all[i][lane] + all[i + 1][lane];
}

static void one_panel(const struct matmul *mm, uint32_t k, size_t panel, size_t first, size_t n)
{
    if (mm->pairs) {
        panel_of_pairs(mm, k, panel, first, n);
        return;
    }
    const struct ops_matrix *m = mm->ms[k];
    kernel_dot *dot = kernels_dot(mm->be->kernels, m);
    float *dst = mm->dsts[k] + first * m->rows + panel * PACK_ROWS;
    size_t lanes = MIN((size_t)PACK_ROWS, m->rows - panel * PACK_ROWS);
    if (lanes == PACK_ROWS) {
        dot(m, panel, &mm->rows, first, n, dst, m->rows);
        return;
    }
    _Alignas(64) float all[ROWS_AT_ONCE][PACK_ROWS];
    dot(m, panel, &mm->rows, first, n, all[0], PACK_ROWS);
    for (size_t i = 0; i < n; i++)
        memcpy(dst + i * m->rows, all[i], lanes * sizeof(float));
}

static void matmul_part(void *arg, uint32_t part)
{
    struct matmul *mm = arg;
    size_t first = mm->panels * part / mm->parts;
    size_t end = mm->panels * (part + 1) / mm->parts;
    for (size_t row = 0; row < mm->rows.n; row += ROWS_AT_ONCE) {
        size_t n = MIN((size_t)ROWS_AT_ONCE, mm->rows.n - row);
        size_t before = 0; /* panels of the matrices before the k-th */
        for (uint32_t k = 0; k < mm->n_ms; k++) {
            size_t last = before + mm->ms[k]->panels;
            for (size_t p = MAX(first, before); p < MIN(end, last); p++)
                one_panel(mm, k, p - before, row, n);
            before = last;
        }
    }
}

static void run(struct matmul *mm, uint32_t n)
{
    struct ops_backend *be = mm->be;
    uint32_t threads = pool_threads(be->pool);
    mm->n = n;
    mm->cols = mm->ms[0]->cols;
    make_room(mm, n);
    mm->row_parts = MIN(n, threads * 4);
    if (mm->integers || mm->padded)
        backend_run(be, prepare_part, mm, mm->row_parts, (uint64_t)n * mm->cols * 4);
    size_t parts = MIN((size_t)threads * PARTS_PER_THREAD, mm->panels);
    if (n < 4)
        parts = MIN(parts, MAX(mm->bytes / PART_BYTES, (size_t)threads));
    mm->parts = (uint32_t)MIN(parts, mm->panels);
    backend_run(be, matmul_part, mm, mm->parts, (uint64_t)n * mm->cols * mm->panels * PACK_ROWS);
}

void matmul_run(struct ops_backend *be, float *const *dsts, const struct ops_matrix *const *ms,
                uint32_t n_ms, const float *src, uint32_t n)
{
    struct matmul mm = {.be = be, .dsts = dsts, .ms = ms, .n_ms = n_ms, .src = src};
    if (n > 0 && n_ms > 0)
        run(&mm, n);
}

void matmul_run_precise(struct ops_backend *be, float *dst, const struct ops_matrix *m,
                        const float *src, uint32_t n)
{
    struct matmul mm = {.be = be, .dsts = &dst, .ms = &m, .n_ms = 1, .src = src, .pairs = true};
    if (n > 0)
        run(&mm, n);
}
