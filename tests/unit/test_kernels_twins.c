/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every set of kernels that this machine has gives the bits of the portable one, and a row gives the same bits alone or among others,
 * with one thread or several.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/quants.h"
#include "kernels/cpu/selftest.h"
#include "kernels/ops.h"
#include "tests/lib/kernels_data.h"

static const struct ops *ops = &ops_cpu;
static const char *const names[] = {"portable", "avx2", "avx512"};
static const uint32_t thread_counts[] = {1, 3};

/* backends[0] is portable with one thread: what all others are compared with. */
static struct ops_backend *backends[ARRAY_LEN(names) * ARRAY_LEN(thread_counts)];
static size_t n_backends;

static int setup(void **state)
{
    (void)state;
    struct err e;
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        for (size_t t = 0; t < ARRAY_LEN(thread_counts); t++) {
            struct ops_config config = {.threads = thread_counts[t], .kernels = names[k]};
            struct ops_backend *be = ops->open(&config, &e);
            if (be)
                backends[n_backends++] = be;
            else if (k == 0 || strstr(e.text, "does not have") == NULL)
                return -1;
            else
                printf("not on this machine: %s\n", names[k]);
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (n_backends > 0)
        ops->close(backends[--n_backends]);
    return 0;
}

static struct ops_matrix *matrix(struct ops_backend *be, uint32_t type, size_t rows, size_t cols,
                                 const uint8_t *host)
{
    struct err e;
    struct ops_matrix *m = ops->matrix_new(be, type, rows, cols, &e);
    assert_non_null(m);
    ops->matrix_fill(be, m, 0, rows, host);
    return m;
}

static void same(const char *what, size_t backend, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof(float)) != 0)
            fail_msg("%s (%s, %u threads): float %zu is %a and not %a", what,
                     ops->kernels(backends[backend]), ops->threads(backends[backend]), i,
                     (double)got[i], (double)want[i]);
}

/* One matrix on one backend: n rows of src together and cut in all ways that the tiles have. */
static void check_matmul(size_t b, const char *what, const struct ops_matrix *m, size_t rows,
                         size_t cols, const float *x, const float *want, bool precise)
{
    enum { N = 33 };
    float *got = xcalloc(N * rows, sizeof(float));
    static const size_t steps[] = {1, 2, 3, 7, 12, 33};
    for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
        size_t step = steps[s];
        memset(got, 0xFF, N * rows * sizeof(float));
        for (size_t at = 0; at < N; at += step) {
            float *dst = got + at * rows;
            uint32_t n = (uint32_t)MIN(step, N - at);
            if (precise)
                ops->matmul_precise(backends[b], dst, m, x + at * cols, n);
            else
                ops->matmul(backends[b], &dst, &m, 1, x + at * cols, n);
        }
        same(what, b, got, want, N * rows);
    }
    free(got);
}

static void test_matmul(void **state)
{
    (void)state;
    enum { N = 33 };
    static const size_t shapes[][2] = {{16, 256}, {35, 1024}};
    for (size_t t = 0; t < kd_n_types; t++) {
        const struct quants_info *info = quants_info(kd_types[t]);
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
            size_t rows = shapes[s][0];
            size_t cols = info->block == 256 ? shapes[s][1] : shapes[s][1] - 96;
            if (info->block == 1)
                cols -= 13;
            uint8_t *host = kd_matrix(kd_types[t], rows, cols, 1000 * t + s);
            float *x = xcalloc(N * cols, sizeof(float));
            float *want = xcalloc(N * rows, sizeof(float));
            float *precise = xcalloc(N * rows, sizeof(float));
            kd_floats(x, N * cols, s);
            memset(x + cols, 0, cols * sizeof(float)); /* a row of zeros */
            x[2 * cols] = 1e30f;                       /* and one with an outlier */
            for (size_t b = 0; b < n_backends; b++) {
                struct ops_matrix *m = matrix(backends[b], kd_types[t], rows, cols, host);
                if (b == 0) {
                    ops->matmul(backends[0], &want, (const struct ops_matrix *const *)&m, 1, x, N);
                    ops->matmul_precise(backends[0], precise, m, x, N);
                }
                check_matmul(b, info->name, m, rows, cols, x, want, false);
                check_matmul(b, info->name, m, rows, cols, x, precise, true);
                ops->matrix_free(backends[b], m);
            }
            free(host);
            free(x);
            free(want);
            free(precise);
        }
    }
}

/* The largest codes, scales and activations there can be: where 16 bits would saturate. */
static void test_extremes(void **state)
{
    (void)state;
    enum { ROWS = 32, COLS = 512, N = 9 };
    for (size_t t = 0; t < kd_n_types; t++) {
        const struct quants_info *info = quants_info(kd_types[t]);
        if (info->block == 1)
            continue;
        size_t bytes = ROWS * quants_row_bytes(kd_types[t], COLS);
        static const uint8_t fills[] = {0x00, 0xFF, 0x80, 0x7F};
        for (size_t f = 0; f < ARRAY_LEN(fills); f++) {
            uint8_t *host = kd_matrix(kd_types[t], ROWS, COLS, t);
            for (size_t i = 0; i < bytes; i++)
                if (i % info->block_bytes >= 4 && i % info->block_bytes + 4 < info->block_bytes)
                    host[i] = fills[f];
            float x[N * COLS];
            float want[N * ROWS];
            float got[N * ROWS];
            float *dst = want;
            for (size_t i = 0; i < N * COLS; i++)
                x[i] = i / COLS % 3 == 0   ? 1.0f
                       : i / COLS % 3 == 1 ? -1.0f
                                           : (i % 2 ? -1.0f : 1.0f);
            for (size_t b = 0; b < n_backends; b++) {
                struct ops_matrix *m = matrix(backends[b], kd_types[t], ROWS, COLS, host);
                ops->matmul(backends[b], &dst, (const struct ops_matrix *const *)&m, 1, x, N);
                if (b > 0)
                    same(info->name, b, got, want, N * ROWS);
                ops->matrix_free(backends[b], m);
                dst = got;
            }
            free(host);
        }
    }
}

static void test_rows(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 15, 64, 577, 2048};
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        const uint32_t dim = dims[d];
        enum { N = 33 };
        size_t all = (size_t)N * dim;
        float *x = xcalloc(all, sizeof(float));
        float *u = xcalloc(all, sizeof(float));
        float *want = xcalloc(4 * all, sizeof(float));
        float *got = xcalloc(4 * all, sizeof(float));
        kd_floats(x, all, dim);
        kd_floats(u, all, dim + 1);
        for (size_t i = 0; i < all; i += 3)
            x[i] *= 40;
        for (size_t b = 0; b < n_backends; b++) {
            float *out = b == 0 ? want : got;
            ops->rmsnorm(backends[b], out, x, u, N, dim, 1e-6f);
            ops->glu(backends[b], out + all, x, u, all, OPS_SILU);
            ops->glu(backends[b], out + 2 * all, x, u, all, OPS_GELU_TANH);
            ops->add(backends[b], out + 3 * all, x, u, all);
            if (b > 0)
                same("rows", b, got, want, 4 * all);
            for (size_t i = 0; i < N; i++)
                ops->rmsnorm(backends[b], got + i * dim, x + i * dim, u, 1, dim, 1e-6f);
            same("a row alone", b, got, want, all);
        }
        free(x);
        free(u);
        free(want);
        free(got);
    }
}

static void test_rope(void **state)
{
    (void)state;
    enum { HEADS = 5, DIM = 64, N = 33 };
    const size_t all = (size_t)N * HEADS * DIM;
    for (int neox = 0; neox < 2; neox++) {
        struct ops_rope rope = {.n_dims = 48, .neox = neox, .base = 10000, .scale = 1};
        struct ops_span span = {.pos = 7, .n = N};
        float *want = xcalloc(all, sizeof(float));
        float *got = xcalloc(all, sizeof(float));
        for (size_t b = 0; b < n_backends; b++) {
            float *x = b == 0 ? want : got;
            kd_floats(x, all, 1);
            ops->rope(backends[b], x, HEADS, DIM, &rope, &span, 1);
            same("rope", b, x, want, all);
        }
        free(want);
        free(got);
    }
}

struct shape {
    uint32_t heads, kv, dim, window;
    float softcap;
};

enum { POSITIONS = 420 };

/* All positions of a sequence, `step` rows at a time. */
static void attend(struct ops_backend *be, const struct shape *s, uint32_t step, float *dst,
                   const float *q, const float *k, const float *v)
{
    struct err e;
    struct ops_cache_shape shape = {1, s->kv, s->dim, 32, 32};
    struct ops_attention at = {.n_heads = s->heads,
                               .n_kv_heads = s->kv,
                               .head_dim = s->dim,
                               .scale = 0.5f,
                               .softcap = s->softcap,
                               .window = s->window};
    struct ops_cache *c = ops->cache_new(be, &shape, &e);
    uint32_t pages[(POSITIONS + 31) / 32];
    assert_non_null(c);
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++)
        pages[i] = (i * 7 + step) % 32;
    for (uint32_t pos = 0; pos < POSITIONS; pos += step) {
        struct ops_span span = {pages, pos, MIN(step, POSITIONS - pos)};
        ops->cache_put(be, c, 0, k + (size_t)pos * s->kv * s->dim, v + (size_t)pos * s->kv * s->dim,
                       &span, 1);
        ops->attention(be, dst + (size_t)pos * s->heads * s->dim,
                       q + (size_t)pos * s->heads * s->dim, c, 0, &at, &span, 1);
    }
    ops->cache_free(be, c);
}

static void test_attention(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {9, 3, 64, 0, 0}, {4, 1, 256, 200, 0}, {3, 3, 40, 0, 3}, {20, 1, 16, 33, 0}};
    static const uint32_t steps[] = {POSITIONS, 1, 5, 128};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *s = &shapes[i];
        size_t qs = (size_t)POSITIONS * s->heads * s->dim;
        size_t kv = (size_t)POSITIONS * s->kv * s->dim;
        float *q = xcalloc(qs, sizeof(float));
        float *k = xcalloc(kv, sizeof(float));
        float *v = xcalloc(kv, sizeof(float));
        float *want = xcalloc(qs, sizeof(float));
        float *got = xcalloc(qs, sizeof(float));
        kd_floats(q, qs, 1);
        kd_floats(k, kv, 2);
        kd_floats(v, kv, 3);
        attend(backends[0], s, 64, want, q, k, v);
        for (size_t b = 0; b < n_backends; b++) {
            attend(backends[b], s, steps[b % ARRAY_LEN(steps)], got, q, k, v);
            same("attention", b, got, want, qs);
        }
        free(q);
        free(k);
        free(v);
        free(want);
        free(got);
    }
}

/* Rows of several sequences in one batch are what they are alone. */
static void test_batch(void **state)
{
    (void)state;
    enum { SEQS = 3, DIM = 32, HEADS = 4, EACH = 40 };
    struct ops_cache_shape shape = {1, 2, DIM, 32, 8};
    struct ops_attention at = {HEADS, 2, DIM, 0.3f, 0, 0};
    static const uint32_t pages[SEQS][2] = {{5, 0}, {1, 7}, {3, 2}};
    float *k = xcalloc(SEQS * EACH * 2 * DIM, sizeof(float));
    float *v = xcalloc(SEQS * EACH * 2 * DIM, sizeof(float));
    float *q = xcalloc(SEQS * EACH * HEADS * DIM, sizeof(float));
    float *got = xcalloc(SEQS * EACH * HEADS * DIM, sizeof(float));
    float *want = xcalloc(SEQS * EACH * HEADS * DIM, sizeof(float));
    kd_floats(k, SEQS * EACH * 2 * DIM, 1);
    kd_floats(v, SEQS * EACH * 2 * DIM, 2);
    kd_floats(q, SEQS * EACH * HEADS * DIM, 3);
    for (size_t b = 0; b < n_backends; b++) {
        struct err e;
        struct ops_cache *c = ops->cache_new(backends[b], &shape, &e);
        struct ops_span spans[SEQS];
        assert_non_null(c);
        for (uint32_t s = 0; s < SEQS; s++)
            spans[s] = (struct ops_span){pages[s], 0, EACH};
        ops->cache_put(backends[b], c, 0, k, v, spans, SEQS);
        ops->attention(backends[b], got, q, c, 0, &at, spans, SEQS);
        for (uint32_t s = 0; s < SEQS; s++)
            ops->attention(backends[b], want + s * EACH * HEADS * DIM, q + s * EACH * HEADS * DIM,
                           c, 0, &at, &spans[s], 1);
        same("batch", b, got, want, SEQS * EACH * HEADS * DIM);
        ops->cache_free(backends[b], c);
    }
    free(k);
    free(v);
    free(q);
    free(got);
    free(want);
}

static void wrong_add(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = i == 150 ? nextafterf(a[i] + b[i], 1e9f) : a[i] + b[i];
}

static void wrong_chunk(const struct kernel_chunk *c, struct kernel_partial *partials)
{
    kernels_portable.chunk(c, partials);
    partials[c->n - 1].sum = nextafterf(partials[c->n - 1].sum, 1e9f);
}

static void wrong_dot(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                      size_t first, size_t n, float *dst, size_t stride)
{
    kernels_portable.wide(m, panel, rows, first, n, dst, stride);
    dst[(n - 1) * stride + 15] = nextafterf(dst[(n - 1) * stride + 15], 1e9f);
}

/* What open() does to a set of kernels finds one wrong bit, and nothing in those that are right. */
static void test_selftest(void **state)
{
    (void)state;
    struct kernels k = kernels_portable;
    assert_null(selftest(&k));
    k.add = wrong_add;
    assert_string_equal(selftest(&k), "rows");
    k = kernels_portable;
    k.chunk = wrong_chunk;
    assert_string_equal(selftest(&k), "attention");
    k = kernels_portable;
    k.dot[QUANTS_Q5_0] = wrong_dot;
    assert_string_equal(selftest(&k), "Q5_0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),    cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_batch),
        cmocka_unit_test(test_selftest),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
