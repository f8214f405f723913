/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation of the table against plain arithmetic in double, written here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"
#include "kernels/ops.h"
#include "tests/lib/kernels_data.h"

static struct ops_backend *be;
static const struct ops *ops = &ops_cpu;

static int setup(void **state)
{
    (void)state;
    struct err e;
    struct ops_config config = {.threads = 2};
    be = ops->open(&config, &e);
    return be ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ops->close(be);
    return 0;
}

static struct ops_matrix *matrix(uint32_t type, size_t rows, size_t cols, const uint8_t *host)
{
    struct err e;
    struct ops_matrix *m = ops->matrix_new(be, type, rows, cols, &e);
    assert_non_null(m);
    size_t bytes = quants_row_bytes(type, cols);
    /* In uneven pieces, as a loader might. */
    for (size_t at = 0, n = 1; at < rows; at += n, n = MIN(n + 6, rows - at))
        ops->matrix_fill(be, m, at, n, host + at * bytes);
    return m;
}

/* dst[n][rows] of the exact weights and the exact activations. */
static void exact_matmul(float *dst, uint32_t type, const uint8_t *host, size_t rows, size_t cols,
                         const float *x, size_t n)
{
    float *w = xcalloc(cols, sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        quants_to_f32(type, host + r * quants_row_bytes(type, cols), w, cols);
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t c = 0; c < cols; c++)
                sum += (double)w[c] * x[i * cols + c];
            dst[i * rows + r] = (float)sum;
        }
    }
    free(w);
}

static void test_matmul(void **state)
{
    (void)state;
    struct err e;
    for (size_t t = 0; t < kd_n_types; t++) {
        uint32_t type = kd_types[t];
        bool floats = quants_info(type)->block == 1;
        const size_t rows = 75;
        const size_t cols = floats ? 519 : 512;
        const size_t n = 5;
        uint8_t *host = kd_matrix(type, rows, cols, 100 + t);
        struct ops_matrix *m = matrix(type, rows, cols, host);
        float *x = ops->alloc(be, n * cols, &e);
        float *dst = ops->alloc(be, n * rows, &e);
        float *want = xcalloc(n * rows, sizeof(float));
        kd_floats(x, n * cols, t);
        exact_matmul(want, type, host, rows, cols, x, n);
        ops->matmul(be, &dst, (const struct ops_matrix *const *)&m, 1, x, n);
        double nmse = kd_nmse(dst, want, n * rows);
        if (!(nmse < (floats ? 1e-12 : 5e-5)))
            fail_msg("%s: NMSE %g", quants_info(type)->name, nmse);
        ops->matmul_precise(be, dst, m, x, n);
        nmse = kd_nmse(dst, want, n * rows);
        if (!(nmse <
              1e-9)) /* the rest of a rounding to 8 bits, rounded to 8 bits: 254² times less */
            fail_msg("%s, precise: NMSE %g", quants_info(type)->name, nmse);
        ops->matrix_free(be, m);
        ops->free(be, x);
        ops->free(be, dst);
        free(want);
        free(host);
    }
}

/* Several matrices of different types and heights that share their input. */
static void test_matmul_together(void **state)
{
    (void)state;
    struct err e;
    static const uint32_t types[] = {QUANTS_Q5_0, QUANTS_Q8_0, QUANTS_F16, QUANTS_Q4_K};
    static const size_t rows[] = {16, 3, 41, 100};
    enum { COLS = 256, N = 3 };
    struct ops_matrix *ms[4];
    float *dsts[4];
    uint8_t *hosts[4];
    float *x = ops->alloc(be, N * COLS, &e);
    kd_floats(x, N * COLS, 5);
    for (int k = 0; k < 4; k++) {
        hosts[k] = kd_matrix(types[k], rows[k], COLS, k);
        ms[k] = matrix(types[k], rows[k], COLS, hosts[k]);
        dsts[k] = ops->alloc(be, N * rows[k], &e);
    }
    ops->matmul(be, dsts, (const struct ops_matrix *const *)ms, 4, x, N);
    for (int k = 0; k < 4; k++) {
        float *want = xcalloc(N * rows[k], sizeof(float));
        exact_matmul(want, types[k], hosts[k], rows[k], COLS, x, N);
        assert_true(kd_nmse(dsts[k], want, N * rows[k]) < 5e-5);
        free(want);
        free(hosts[k]);
        ops->free(be, dsts[k]);
        ops->matrix_free(be, ms[k]);
    }
    ops->free(be, x);
}

static void test_embed(void **state)
{
    (void)state;
    struct err e;
    enum { ROWS = 50, COLS = 64 };
    uint8_t *host = kd_matrix(QUANTS_Q8_0, ROWS, COLS, 3);
    struct ops_matrix *m = matrix(QUANTS_Q8_0, ROWS, COLS, host);
    const int32_t ids[] = {49, 0, 17, 17};
    float *dst = ops->alloc(be, 4 * COLS, &e);
    ops->embed(be, dst, m, ids, 4, 2.5f);
    for (int i = 0; i < 4; i++) {
        float want[COLS];
        quants_to_f32(QUANTS_Q8_0, host + ids[i] * quants_row_bytes(QUANTS_Q8_0, COLS), want, COLS);
        for (int c = 0; c < COLS; c++)
            assert_true(dst[i * COLS + c] == want[c] * 2.5f);
    }
    ops->free(be, dst);
    ops->matrix_free(be, m);
    free(host);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 16, 64, 77, 576, 4096};
    for (size_t k = 0; k < ARRAY_LEN(dims); k++) {
        uint32_t dim = dims[k];
        float *x = xcalloc(3 * dim, sizeof(float));
        float *w = xcalloc(dim, sizeof(float));
        float *want = xcalloc(3 * dim, sizeof(float));
        kd_floats(x, 3 * dim, dim);
        kd_floats(w, dim, dim + 1);
        for (int r = 0; r < 3; r++) {
            double sum = 0;
            for (uint32_t i = 0; i < dim; i++)
                sum += (double)x[r * dim + i] * x[r * dim + i];
            for (uint32_t i = 0; i < dim; i++)
                want[r * dim + i] = (float)(x[r * dim + i] / sqrt(sum / dim + 1e-5) * w[i]);
        }
        ops->rmsnorm(be, x, x, w, 3, dim, 1e-5f);
        assert_true(kd_nmse(x, want, 3 * dim) < 1e-12);
        free(x);
        free(w);
        free(want);
    }
}

static void test_glu(void **state)
{
    (void)state;
    enum { N = 40001 };
    float *g = xcalloc(N, sizeof(float));
    float *u = xcalloc(N, sizeof(float));
    float *got = xcalloc(N, sizeof(float));
    kd_floats(u, N, 1);
    for (int act = OPS_SILU; act <= OPS_GELU_TANH; act++) {
        for (int i = 0; i < N; i++)
            g[i] = (float)(i - N / 2) / 150.0f; /* ±133 */
        ops->glu(be, got, g, u, N, act);
        for (int i = 0; i < N; i++) {
            double x = g[i];
            double a = x / (1 + exp(-x));
            if (act == OPS_GELU_TANH)
                a = 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
            double want = a * u[i];
            if (!(fabs(got[i] - want) <= 4e-7 * fmax(fabs(x * u[i]), 1e-30)))
                fail_msg("act %d of %g is %g and not %g", act, x, (double)got[i], want);
        }
    }
    g[0] = NAN;
    g[1] = INFINITY;
    ops->glu(be, got, g, u, 2, OPS_SILU);
    assert_true(got[0] != got[0]);
    assert_true(isinf(got[1]));
    free(g);
    free(u);
    free(got);
}

static void exact_rope(float *x, uint32_t heads, uint32_t dim, const struct ops_rope *r,
                       uint32_t pos)
{
    for (uint32_t h = 0; h < heads; h++, x += dim) {
        for (uint32_t i = 0; i < r->n_dims / 2; i++) {
            double angle = pos * (double)r->scale * pow(r->base, -2.0 * i / r->n_dims);
            if (r->factors)
                angle /= r->factors[i];
            float *a = r->neox ? &x[i] : &x[2 * i];
            float *b = r->neox ? &x[i + r->n_dims / 2] : &x[2 * i + 1];
            double u = *a;
            double v = *b;
            *a = (float)(u * cos(angle) - v * sin(angle));
            *b = (float)(u * sin(angle) + v * cos(angle));
        }
    }
}

static void test_rope(void **state)
{
    (void)state;
    float factors[32];
    for (int i = 0; i < 32; i++)
        factors[i] = 1 + (float)i / 4;
    const struct ops_rope ropes[] = {
        {.n_dims = 64, .base = 100000, .scale = 1},
        {.n_dims = 64, .neox = true, .base = 1e6f, .scale = 0.125f},
        {.n_dims = 32, .neox = true, .base = 10000, .scale = 1},
        {.n_dims = 64, .base = 500000, .scale = 1, .factors = factors},
        {.n_dims = 6, .base = 10000, .scale = 1},
    };
    const struct ops_span spans[] = {
        {.pos = 5, .n = 3}, {.pos = 4000, .n = 200}, {.pos = 0, .n = 1}};
    enum { HEADS = 3, DIM = 64, N = 204 };
    for (int round = 0; round < 2; round++) {
        for (size_t k = 0; k < ARRAY_LEN(ropes); k++) {
            float *x = xcalloc(N * HEADS * DIM, sizeof(float));
            float *want = xcalloc(N * HEADS * DIM, sizeof(float));
            kd_floats(x, N * HEADS * DIM, k);
            memcpy(want, x, N * HEADS * DIM * sizeof(float));
            float *at = want;
            for (size_t s = 0; s < ARRAY_LEN(spans); s++)
                for (uint32_t i = 0; i < spans[s].n; i++, at += HEADS * DIM)
                    exact_rope(at, HEADS, DIM, &ropes[k], spans[s].pos + i);
            ops->rope(be, x, HEADS, DIM, &ropes[k], spans, ARRAY_LEN(spans));
            assert_true(kd_nmse(x, want, N * HEADS * DIM) < 1e-13);
            free(x);
            free(want);
        }
    }
}

struct heads {
    uint32_t n, kv, dim, window;
    float softcap;
};

static float rounded(float x)
{
    return half_to_float(half_of_float(x));
}

/* One query against rows 0…pos of k and v ([position][kv][dim]). */
static void exact_attention(float *dst, const float *q, const float *k, const float *v,
                            const struct heads *s, uint32_t pos, float scale)
{
    double *p = xcalloc(pos + 1, sizeof(double));
    for (uint32_t h = 0; h < s->n; h++) {
        uint32_t kv = h / (s->n / s->kv);
        double sum = 0;
        uint32_t from = s->window && pos >= s->window ? pos - s->window + 1 : 0;
        for (uint32_t i = from; i <= pos; i++) {
            double score = 0;
            for (uint32_t d = 0; d < s->dim; d++)
                score += (double)q[h * s->dim + d] * rounded(k[(i * s->kv + kv) * s->dim + d]);
            score *= scale;
            if (s->softcap > 0)
                score = s->softcap * tanh(score / s->softcap);
            p[i] = exp(score);
            sum += p[i];
        }
        for (uint32_t d = 0; d < s->dim; d++) {
            double out = 0;
            for (uint32_t i = from; i <= pos; i++)
                out += p[i] / sum * rounded(v[(i * s->kv + kv) * s->dim + d]);
            dst[h * s->dim + d] = (float)out;
        }
    }
    free(p);
}

/* A sequence of 300 positions put in and asked in pieces, with pages in no order and rubbish in
 * those that are not its own. */
static void check_attention(const struct heads *s)
{
    struct err e;
    enum { POSITIONS = 300 };
    struct ops_cache_shape shape = {
        .n_layers = 2, .n_kv_heads = s->kv, .head_dim = s->dim, .page_size = 32, .n_pages = 16};
    struct ops_cache *c = ops->cache_new(be, &shape, &e);
    assert_non_null(c);
    const uint32_t pages[] = {3, 1, 15, 2, 9, 0, 11, 12, 4, 5};
    struct ops_attention at = {.n_heads = s->n,
                               .n_kv_heads = s->kv,
                               .head_dim = s->dim,
                               .scale = 0.3f,
                               .softcap = s->softcap,
                               .window = s->window};
    size_t kv = (size_t)s->kv * s->dim;
    size_t qs = (size_t)s->n * s->dim;
    float *k = xcalloc(POSITIONS * kv, sizeof(float));
    float *v = xcalloc(POSITIONS * kv, sizeof(float));
    float *q = xcalloc(POSITIONS * qs, sizeof(float));
    float *got = xcalloc(POSITIONS * qs, sizeof(float));
    float *want = xcalloc(POSITIONS * qs, sizeof(float));
    kd_floats(k, POSITIONS * kv, 1);
    kd_floats(v, POSITIONS * kv, 2);
    kd_floats(q, POSITIONS * qs, 3);
    static const uint32_t steps[] = {1, 33, 100, 1, 17, 148};
    uint32_t pos = 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); pos += steps[i], i++) {
        struct ops_span span = {.pages = pages, .pos = pos, .n = steps[i]};
        ops->cache_put(be, c, 1, k + pos * kv, v + pos * kv, &span, 1);
        ops->attention(be, got + pos * qs, q + pos * qs, c, 1, &at, &span, 1);
    }
    assert_int_equal(pos, POSITIONS);
    for (uint32_t i = 0; i < POSITIONS; i++)
        exact_attention(want + i * qs, q + i * qs, k, v, s, i, at.scale);
    double nmse = kd_nmse(got, want, POSITIONS * qs);
    if (!(nmse < 1e-11))
        fail_msg("%u heads, %u kv, %u dim, window %u: NMSE %g", s->n, s->kv, s->dim, s->window,
                 nmse);
    ops->cache_free(be, c);
    free(k);
    free(v);
    free(q);
    free(got);
    free(want);
}

static void test_attention(void **state)
{
    (void)state;
    const struct heads shapes[] = {
        {9, 3, 64, 0, 0}, {4, 1, 256, 0, 0},  {4, 1, 256, 100, 0}, {4, 4, 80, 0, 0},
        {2, 1, 6, 0, 0},  {40, 2, 16, 31, 0}, {8, 2, 32, 0, 5},    {3, 3, 24, 1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        check_attention(&shapes[i]);
}

/* A page that is copied answers as the one it was copied from. */
static void test_copy_page(void **state)
{
    (void)state;
    struct err e;
    struct ops_cache_shape shape = {2, 1, 16, 32, 4};
    struct ops_attention at = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 16, .scale = 1};
    struct ops_cache *c = ops->cache_new(be, &shape, &e);
    float k[20 * 16];
    float v[20 * 16];
    float q[16];
    float a[16];
    float b[16];
    const uint32_t from = 1;
    const uint32_t to = 3;
    kd_floats(k, 20 * 16, 1);
    kd_floats(v, 20 * 16, 2);
    kd_floats(q, 16, 3);
    struct ops_span span = {.pages = &from, .pos = 0, .n = 20};
    struct ops_span last = {.pages = &from, .pos = 19, .n = 1};
    for (uint32_t layer = 0; layer < 2; layer++)
        ops->cache_put(be, c, layer, k, v, &span, 1);
    ops->cache_copy_page(be, c, from, to);
    for (uint32_t layer = 0; layer < 2; layer++) {
        last.pages = &from;
        ops->attention(be, a, q, c, layer, &at, &last, 1);
        last.pages = &to;
        ops->attention(be, b, q, c, layer, &at, &last, 1);
        assert_memory_equal(a, b, sizeof(a));
    }
    assert_int_equal(ops->cache_page_bytes(&shape), 2 * 32 * 16 * 2 * 2);
    ops->cache_free(be, c);
}

static void test_add_gather(void **state)
{
    (void)state;
    enum { N = 100000, DIM = 100 };
    float *a = xcalloc(N, sizeof(float));
    float *b = xcalloc(N, sizeof(float));
    float *sum = xcalloc(N, sizeof(float));
    kd_floats(a, N, 1);
    kd_floats(b, N, 2);
    ops->add(be, sum, a, b, N);
    for (int i = 0; i < N; i++)
        assert_true(sum[i] == a[i] + b[i]);
    const uint32_t rows[] = {999, 0, 7};
    ops->gather(be, b, a, rows, 3, DIM);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(b + i * DIM, a + rows[i] * DIM, DIM * sizeof(float));
    free(a);
    free(b);
    free(sum);
}

static void test_refused(void **state)
{
    (void)state;
    struct err e;
    struct ops_config config = {.threads = 1, .kernels = "sse9"};
    assert_null(ops->open(&config, &e));
    assert_int_equal(e.code, ENOTSUP);
    assert_null(ops->alloc(be, SIZE_MAX / 2, &e));
    assert_int_equal(e.code, ENOMEM);
    struct ops_cache_shape shape = {1, 1, 64, 16, 1};
    assert_null(ops->cache_new(be, &shape, &e));
    assert_int_equal(e.code, EINVAL);
    shape = (struct ops_cache_shape){1U << 31, 1U << 31, 64, 32, 1U << 31};
    assert_null(ops->cache_new(be, &shape, &e));
    assert_int_equal(e.code, ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),     cmocka_unit_test(test_matmul_together),
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_glu),        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention),  cmocka_unit_test(test_copy_page),
        cmocka_unit_test(test_add_gather), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
