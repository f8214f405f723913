/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_kernels [KERNELS [THREADS]]: how fast the operations are, beside how fast this machine reads memory in the same
 * minute. Weights are random; each figure is the best of some rounds.
 *
 *     gemv    one row of activations: GB/s of weights read
 *     gemm    128 rows: GOPS (two for each multiply and add)
 *     attend  one query row at a depth of 1024; 256 rows at the end of 1024: µs
 *     decode, prefill   all operations of the forward pass of a model's shape: tokens/s
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/backend.h"
#include "kernels/cpu/quants.h"
#include "kernels/ops.h"
#include "tests/lib/kernels_data.h"

static const struct ops *ops = &ops_cpu;
static struct ops_backend *be;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void *must(void *p, const struct err *e)
{
    if (!p) {
        fprintf(stderr, "bench_kernels: %s\n", e->text);
        exit(1);
    }
    return p;
}

static struct ops_matrix *matrix(uint32_t type, size_t rows, size_t cols)
{
    struct err e;
    uint8_t *host = kd_matrix(type, 64, cols, 1);
    struct ops_matrix *m = must(ops->matrix_new(be, type, rows, cols, &e), &e);
    for (size_t r = 0; r < rows; r += 64)
        ops->matrix_fill(be, m, r, MIN((size_t)64, rows - r), host);
    free(host);
    return m;
}

static float *floats(size_t n)
{
    struct err e;
    float *p = must(ops->alloc(be, n, &e), &e);
    kd_floats(p, n, n);
    return p;
}

/* --- memory ------------------------------------------------------------------------------------- */

struct probe {
    const uint64_t *data;
    size_t words;
    uint64_t sums[64];
};

static void probe_part(void *arg, uint32_t part)
{
    struct probe *p = arg;
    const uint64_t *at = p->data + p->words / 64 * part;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < p->words / 64; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += at[i + j];
    p->sums[part] = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static void bench_memory(void)
{
    struct err e;
    struct slab *slab;
    const size_t size = (size_t)160 << 20;
    uint8_t *p = must(memory_take(be->memory, size, &slab, "the probe", &e), &e);
    memset(p, 1, size);
    struct probe probe = {.data = (const uint64_t *)(void *)p, .words = size / 8};
    double best = 1e9;
    for (int i = 0; i < 7; i++) {
        double t = now();
        pool_run(be->pool, probe_part, &probe, 64);
        best = MIN(best, now() - t);
    }
    memory_give(be->memory, slab);
    printf("memory read  %6.1f GB/s\n", (double)size / best * 1e-9);
}

/* --- matmul ------------------------------------------------------------------------------------- */

static double best_matmul(struct ops_matrix *m, float *dst, const float *x, uint32_t n, int rounds)
{
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
        double t = now();
        ops->matmul(be, &dst, (const struct ops_matrix *const *)&m, 1, x, n);
        best = MIN(best, now() - t);
    }
    return best;
}

static void bench_matmul(uint32_t type)
{
    enum { COLS = 2048, N = 128 };
    size_t row = quants_row_bytes(type, COLS);
    size_t rows = ((size_t)80 << 20) / row / 16 * 16; /* more than the caches hold */
    size_t few = 2048;
    struct ops_matrix *m = matrix(type, rows, COLS);
    struct ops_matrix *small = matrix(type, few, COLS);
    float *x = floats((size_t)N * COLS);
    float *dst = floats(MAX(rows, (size_t)N * few));
    double gemv = best_matmul(m, dst, x, 1, 5);
    double gemm = best_matmul(small, dst, x, N, 5);
    printf("%-8s gemv %6.1f GB/s   gemm %7.1f GOPS\n", quants_info(type)->name,
           (double)(rows * row) / gemv * 1e-9, 2.0 * N * few * COLS / gemm * 1e-9);
    fflush(stdout);
    ops->matrix_free(be, m);
    ops->matrix_free(be, small);
    ops->free(be, x);
    ops->free(be, dst);
}

/* --- whole models ------------------------------------------------------------------------------- */

struct shape {
    const char *name;
    uint32_t layers, dim, heads, kv, head_dim, ffn, vocab;
    uint32_t type, type_down, type_out;
    enum ops_glu act;
};

static const struct shape shapes[] = {
    {"SmolLM2-135M Q4_1", 30, 576, 9, 3, 64, 1536, 49152, QUANTS_Q4_1, QUANTS_Q4_1, QUANTS_Q8_0,
     OPS_SILU},
    {"Gemma-3-270M Q4_K_M", 18, 640, 4, 1, 256, 2048, 262144, QUANTS_Q5_0, QUANTS_Q6_K, QUANTS_Q8_0,
     OPS_GELU_TANH},
};

struct layer {
    struct ops_matrix *q, *k, *v, *o, *gate, *up, *down;
};

struct model {
    const struct shape *s;
    struct layer *layers;
    struct ops_matrix *out;
    struct ops_cache *cache;
    uint32_t pages[64];
    float *norm, *x, *h, *q, *k, *v, *a, *g, *u, *logits;
    double in_attention;
};

enum { BATCH = 512 };

static void model_make(struct model *m, const struct shape *s)
{
    struct err e;
    uint32_t qd = s->heads * s->head_dim;
    uint32_t kd = s->kv * s->head_dim;
    struct ops_cache_shape cs = {s->layers, s->kv, s->head_dim, 32, 64};
    *m = (struct model){.s = s, .layers = xcalloc(s->layers, sizeof(struct layer))};
    for (uint32_t i = 0; i < s->layers; i++)
        m->layers[i] = (struct layer){
            matrix(s->type, qd, s->dim),          matrix(s->type, kd, s->dim),
            matrix(s->type, kd, s->dim),          matrix(s->type, s->dim, qd),
            matrix(s->type, s->ffn, s->dim),      matrix(s->type, s->ffn, s->dim),
            matrix(s->type_down, s->dim, s->ffn),
        };
    m->out = matrix(s->type_out, s->vocab, s->dim);
    m->cache = must(ops->cache_new(be, &cs, &e), &e);
    for (uint32_t i = 0; i < 64; i++)
        m->pages[i] = i;
    m->norm = floats(s->ffn);
    m->x = floats((size_t)BATCH * s->dim);
    m->h = floats((size_t)BATCH * s->dim);
    m->q = floats((size_t)BATCH * qd);
    m->k = floats((size_t)BATCH * kd);
    m->v = floats((size_t)BATCH * kd);
    m->a = floats((size_t)BATCH * qd);
    m->g = floats((size_t)BATCH * s->ffn);
    m->u = floats((size_t)BATCH * s->ffn);
    m->logits = floats(s->vocab);
}

static void model_free(struct model *m)
{
    float *all[] = {m->norm, m->x, m->h, m->q, m->k, m->v, m->a, m->g, m->u, m->logits};
    for (uint32_t i = 0; i < m->s->layers; i++) {
        struct layer *l = &m->layers[i];
        struct ops_matrix *ms[] = {l->q, l->k, l->v, l->o, l->gate, l->up, l->down};
        for (size_t k = 0; k < ARRAY_LEN(ms); k++)
            ops->matrix_free(be, ms[k]);
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        ops->free(be, all[i]);
    ops->matrix_free(be, m->out);
    ops->cache_free(be, m->cache);
    free(m->layers);
}

static void one(struct ops_matrix *m, float *dst, const float *x, uint32_t n)
{
    ops->matmul(be, &dst, (const struct ops_matrix *const *)&m, 1, x, n);
}

static void attention_block(struct model *m, uint32_t i, const struct ops_span *span)
{
    const struct shape *s = m->s;
    const struct layer *l = &m->layers[i];
    const struct ops_rope rope = {.n_dims = s->head_dim, .base = 10000, .scale = 1};
    const struct ops_attention at = {s->heads, s->kv, s->head_dim, 0.1f, 0, 0};
    const struct ops_matrix *qkv[] = {l->q, l->k, l->v};
    float *to[] = {m->q, m->k, m->v};
    ops->rmsnorm(be, m->h, m->x, m->norm, span->n, s->dim, 1e-5f);
    ops->matmul(be, to, qkv, 3, m->h, span->n);
    ops->rope(be, m->q, s->heads, s->head_dim, &rope, span, 1);
    ops->rope(be, m->k, s->kv, s->head_dim, &rope, span, 1);
    double t = now();
    ops->cache_put(be, m->cache, i, m->k, m->v, span, 1);
    ops->attention(be, m->a, m->q, m->cache, i, &at, span, 1);
    m->in_attention += now() - t;
    one(l->o, m->h, m->a, span->n);
    ops->add(be, m->x, m->x, m->h, (size_t)span->n * s->dim);
}

static void forward(struct model *m, uint32_t pos, uint32_t n)
{
    const struct shape *s = m->s;
    struct ops_span span = {m->pages, pos, n};
    kd_floats(m->x, (size_t)n * s->dim, pos);
    for (uint32_t i = 0; i < s->layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct ops_matrix *gu[] = {l->gate, l->up};
        float *to[] = {m->g, m->u};
        attention_block(m, i, &span);
        ops->rmsnorm(be, m->h, m->x, m->norm, n, s->dim, 1e-5f);
        ops->matmul(be, to, gu, 2, m->h, n);
        ops->glu(be, m->g, m->g, m->u, (size_t)n * s->ffn, s->act);
        one(l->down, m->h, m->g, n);
        ops->add(be, m->x, m->x, m->h, (size_t)n * s->dim);
    }
    ops->rmsnorm(be, m->h, m->x, m->norm, 1, s->dim, 1e-5f);
    one(m->out, m->logits, m->h, 1);
}

/* Tokens a second of `count` steps of n rows from pos on; the best of some rounds. */
static void run(struct model *m, const char *what, uint32_t pos, uint32_t n, uint32_t count)
{
    double best = 1e9;
    double attention = 0;
    for (int round = 0; round < 3; round++) {
        m->in_attention = 0;
        double t = now();
        for (uint32_t i = 0; i < count; i++)
            forward(m, pos + i * n, n);
        t = now() - t;
        if (t < best) {
            best = t;
            attention = m->in_attention;
        }
    }
    printf("%-20s %-16s %8.1f tokens/s  (attention %4.1f %%)\n", m->s->name, what, n * count / best,
           100 * attention / best);
    fflush(stdout);
}

static void bench_model(const struct shape *s)
{
    struct model m;
    model_make(&m, s);
    run(&m, "prefill 512", 0, BATCH, 1);
    run(&m, "decode 0-64", 0, 1, 64);
    run(&m, "prefill at 1024", 1024, BATCH, 1);
    run(&m, "decode at 1024", 1024, 1, 32);
    model_free(&m);
}

int main(int argc, char **argv)
{
    static const uint32_t types[] = {QUANTS_Q4_0,   QUANTS_Q4_1, QUANTS_Q5_0, QUANTS_Q5_1,
                                     QUANTS_Q8_0,   QUANTS_Q4_K, QUANTS_Q5_K, QUANTS_Q6_K,
                                     QUANTS_IQ4_XS, QUANTS_F16,  QUANTS_F32};
    struct err e;
    struct ops_config config = {.kernels = argc > 1 ? argv[1] : NULL,
                                .threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0};
    be = must(ops->open(&config, &e), &e);
    printf("kernels      %s, %u threads\n", ops->kernels(be), ops->threads(be));
    bench_memory();
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        bench_matmul(types[i]);
    bench_memory();
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        bench_model(&shapes[i]);
    ops->close(be);
    return 0;
}
