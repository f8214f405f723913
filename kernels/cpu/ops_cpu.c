/* SPDX-License-Identifier: Apache-2.0 */
/* ops_cpu: the table of operations on the CPU; what is more than a loop over rows has a file of its
 * own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "kernels/cpu/backend.h"
#include "kernels/cpu/selftest.h"

/* Operations on less than this many floats are done where they are called. */
#define WORTH_SPREADING 30000

/* --- backend ---------------------------------------------------------------------------------- */

static const struct kernels *const sets[] = {
#ifdef __x86_64__
    &kernels_avx512,
    &kernels_avx2,
#endif
    &kernels_portable,
};

/*
 * The best set that the machine has, or the one that is asked for. A set that does not give the portable bits here is left
 * out, with a warning: the next one is slower, not wrong.
 */
static const struct kernels *choose(const char *name, struct err *e)
{
    bool found = !name || !*name;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        bool asked = name && strcmp(name, sets[i]->name) == 0;
        if ((!found && !asked) || !sets[i]->supported()) {
            if (asked)
                break;
            continue;
        }
        found = true;
        const char *wrong = sets[i] == &kernels_portable ? NULL : selftest(sets[i]);
        if (!wrong)
            return sets[i];
        log_warning("kernels: %s fails its test (%s) on this machine and is not used",
                    sets[i]->label, wrong);
    }
    err_set(e, ENOTSUP, "this machine does not have the kernels %s", name);
    return NULL;
}

static struct ops_backend *op_open(const struct ops_config *config, struct err *e)
{
    const struct kernels *kernels = choose(config->kernels, e);
    if (!kernels)
        return NULL;
    struct ops_backend *be = xcalloc(1, sizeof(*be));
    be->kernels = kernels;
    be->pool = pool_new(config->threads ? config->threads : pool_cores(), e);
    if (!be->pool) {
        free(be);
        return NULL;
    }
    be->memory = memory_new();
    return be;
}

static void op_close(struct ops_backend *be)
{
    if (!be)
        return;
    pool_free(be->pool);
    memory_free(be->memory);
    rope_free(&be->ropes);
    free(be->scratch.data);
    free(be);
}

static const char *op_kernels(const struct ops_backend *be)
{
    return be->kernels->label;
}

static uint32_t op_threads(const struct ops_backend *be)
{
    return pool_threads(be->pool);
}

void *backend_scratch(struct ops_backend *be, size_t n)
{
    if (n > be->scratch.size) {
        free(be->scratch.data);
        be->scratch.size = (n + n / 4 + 63) & ~(size_t)63;
        be->scratch.data = aligned_alloc(64, be->scratch.size);
        if (!be->scratch.data)
            log_fatal("out of memory (%zu bytes for a batch)", be->scratch.size);
    }
    return be->scratch.data;
}

void backend_run(struct ops_backend *be, void (*fn)(void *arg, uint32_t part), void *arg,
                 uint32_t n, uint64_t cost)
{
    if (cost >= WORTH_SPREADING) {
        pool_run(be->pool, fn, arg, n);
        return;
    }
    for (uint32_t part = 0; part < n; part++)
        fn(arg, part);
}

/* --- memory ----------------------------------------------------------------------------------- */

static float *op_alloc(struct ops_backend *be, size_t n_floats, struct err *e)
{
    (void)be;
    size_t bytes;
    float *p = NULL;
    if (!__builtin_mul_overflow(n_floats, sizeof(float), &bytes) && bytes < PTRDIFF_MAX - 64) {
        bytes = MAX((size_t)64, (bytes + 63) & ~(size_t)63);
        p = aligned_alloc(64, bytes); /* pages are the system's until a batch needs them */
    }
    if (!p)
        err_set(e, ENOMEM, "no memory for %zu floats", n_floats);
    return p;
}

static void op_free(struct ops_backend *be, float *p)
{
    (void)be;
    free(p);
}

static void op_copy(struct ops_backend *be, float *dst, const float *src, size_t n)
{
    (void)be;
    memcpy(dst, src, n * sizeof(float));
}

/* --- weights ---------------------------------------------------------------------------------- */

static struct ops_matrix *op_matrix_new(struct ops_backend *be, uint32_t type, uint64_t rows,
                                        uint64_t cols, struct err *e)
{
    return pack_new(be->memory, type, rows, cols, e);
}

struct fill {
    struct ops_matrix *m;
    uint64_t first, n;
    const uint8_t *host;
};

/* Part i fills the rows of the i-th panel that is touched: no two threads write into one. */
static void fill_part(void *arg, uint32_t part)
{
    struct fill *f = arg;
    uint64_t panel = f->first / PACK_ROWS + part;
    uint64_t from = MAX(f->first, panel * PACK_ROWS);
    uint64_t to = MIN(f->first + f->n, (panel + 1) * PACK_ROWS);
    for (uint64_t row = from; row < to; row++)
        pack_row(f->m, row, f->host + (row - f->first) * f->m->row_bytes);
}

static void op_matrix_fill(struct ops_backend *be, struct ops_matrix *m, uint64_t first, uint64_t n,
                           const void *host)
{
    const uint64_t at_once = 1U << 20; /* panels: fewer than a uint32_t holds */
    for (uint64_t done = 0; done < n;) {
        uint64_t some = MIN(n - done, at_once * PACK_ROWS - (first + done) % PACK_ROWS);
        struct fill f = {m, first + done, some, (const uint8_t *)host + done * m->row_bytes};
        uint64_t panels = (f.first + some - 1) / PACK_ROWS - f.first / PACK_ROWS + 1;
        backend_run(be, fill_part, &f, (uint32_t)panels, some * m->cols);
        done += some;
    }
}

static void op_matrix_free(struct ops_backend *be, struct ops_matrix *m)
{
    pack_free(be->memory, m);
}

static size_t op_matrix_bytes(const struct ops_matrix *m)
{
    return m->panels * m->panel_bytes;
}

/* --- operations on rows ----------------------------------------------------------------------- */

/* One operation on n rows, cut into parts of some rows. */
struct by_rows {
    struct ops_backend *be;
    void (*fn)(struct by_rows *o, size_t first, size_t end);
    size_t n;
    uint32_t parts;
    float *dst;
    const float *a, *b;
    size_t dim;
    float number; /* eps or scale */
    enum ops_glu act;
    const struct ops_matrix *m;
    const int32_t *ids;
};

static void rows_part(void *arg, uint32_t part)
{
    struct by_rows *o = arg;
    o->fn(o, o->n * part / o->parts, o->n * (part + 1) / o->parts);
}

static void run_rows(struct by_rows *o, uint64_t cost)
{
    o->parts = (uint32_t)MIN(o->n, (size_t)pool_threads(o->be->pool) * 4);
    backend_run(o->be, rows_part, o, o->parts, cost);
}

static void embed_rows(struct by_rows *o, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        float *dst = o->dst + i * o->dim;
        pack_row_to_f32(o->m, (uint64_t)o->ids[i], dst);
        if (o->number != 1.0f)
            o->be->kernels->scale(dst, o->dim, o->number);
    }
}

static void op_embed(struct ops_backend *be, float *dst, const struct ops_matrix *m,
                     const int32_t *ids, uint32_t n, float scale)
{
    struct by_rows o = {.be = be,
                        .fn = embed_rows,
                        .n = n,
                        .dst = dst,
                        .dim = m->cols,
                        .m = m,
                        .ids = ids,
                        .number = scale};
    run_rows(&o, (uint64_t)n * m->cols * 8);
}

static void rmsnorm_rows(struct by_rows *o, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        o->be->kernels->rmsnorm(o->dst + i * o->dim, o->a + i * o->dim, o->b, o->dim, o->number);
}

static void op_rmsnorm(struct ops_backend *be, float *dst, const float *src, const float *weight,
                       uint32_t n, uint32_t dim, float eps)
{
    struct by_rows o = {.be = be,
                        .fn = rmsnorm_rows,
                        .n = n,
                        .dst = dst,
                        .a = src,
                        .b = weight,
                        .dim = dim,
                        .number = eps};
    run_rows(&o, (uint64_t)n * dim);
}

/* The elementwise ones are cut at multiples of 64 floats. */
#define PIECE 64

static void glu_rows(struct by_rows *o, size_t first, size_t end)
{
    size_t from = first * PIECE;
    size_t to = MIN(end * PIECE, o->dim);
    o->be->kernels->glu(o->dst + from, o->a + from, o->b + from, to - from, o->act);
}

static void op_glu(struct ops_backend *be, float *dst, const float *gate, const float *up, size_t n,
                   enum ops_glu act)
{
    struct by_rows o = {.be = be,
                        .fn = glu_rows,
                        .n = (n + PIECE - 1) / PIECE,
                        .dst = dst,
                        .a = gate,
                        .b = up,
                        .dim = n,
                        .act = act};
    run_rows(&o, (uint64_t)n * 4);
}

static void add_rows(struct by_rows *o, size_t first, size_t end)
{
    size_t from = first * PIECE;
    size_t to = MIN(end * PIECE, o->dim);
    o->be->kernels->add(o->dst + from, o->a + from, o->b + from, to - from);
}

static void op_add(struct ops_backend *be, float *dst, const float *a, const float *b, size_t n)
{
    struct by_rows o = {.be = be,
                        .fn = add_rows,
                        .n = (n + PIECE - 1) / PIECE,
                        .dst = dst,
                        .a = a,
                        .b = b,
                        .dim = n};
    run_rows(&o, n / 2);
}

static void op_gather(struct ops_backend *be, float *dst, const float *src, const uint32_t *rows,
                      uint32_t n, uint32_t dim)
{
    (void)be;
    for (uint32_t i = 0; i < n; i++)
        memcpy(dst + (size_t)i * dim, src + (size_t)rows[i] * dim, dim * sizeof(float));
}

static void op_rope(struct ops_backend *be, float *x, uint32_t n_heads, uint32_t head_dim,
                    const struct ops_rope *rope, const struct ops_span *spans, uint32_t n_spans)
{
    struct rope_table *table = rope_find(&be->ropes, rope);
    for (uint32_t s = 0; s < n_spans; s++) {
        for (uint32_t i = 0; i < spans[s].n; i++, x += (size_t)n_heads * head_dim) {
            const float *turns = rope_turns(table, spans[s].pos + i);
            be->kernels->rope(x, n_heads, head_dim, rope->n_dims, rope->neox, turns,
                              turns + rope->n_dims / 2);
        }
    }
}

const struct ops ops_cpu = {
    .backend = "cpu",
    .open = op_open,
    .close = op_close,
    .kernels = op_kernels,
    .threads = op_threads,
    .alloc = op_alloc,
    .free = op_free,
    .upload = op_copy,
    .download = op_copy,
    .matrix_new = op_matrix_new,
    .matrix_fill = op_matrix_fill,
    .matrix_free = op_matrix_free,
    .matrix_bytes = op_matrix_bytes,
    .cache_new = cache_new,
    .cache_free = cache_free,
    .cache_page_bytes = cache_page_bytes,
    .cache_copy_page = cache_copy_page,
    .embed = op_embed,
    .rmsnorm = op_rmsnorm,
    .matmul = matmul_run,
    .matmul_precise = matmul_run_precise,
    .rope = op_rope,
    .cache_put = cache_put,
    .attention = attention_run,
    .glu = op_glu,
    .add = op_add,
    .gather = op_gather,
};
