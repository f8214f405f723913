/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: every part once, nothing unseen, no wake-up lost, whatever the number of threads and the pauses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/pool.h"
#include "kernels/ops.h"
#include "tests/lib/kernels_data.h"

enum { PARTS_MAX = 200 };

/* Nothing here is atomic: the pool itself must order what threads write and the caller reads. */
struct job {
    uint32_t in;
    uint32_t times[PARTS_MAX];
    uint32_t out[PARTS_MAX];
    uint32_t pause_us;
};

static void part_fn(void *arg, uint32_t part)
{
    struct job *j = arg;
    if (j->pause_us) {
        struct timespec ts = {0, (long)j->pause_us * 1000};
        nanosleep(&ts, NULL);
    }
    j->times[part]++;
    j->out[part] = j->in + part;
}

static void run_and_check(struct pool *p, struct job *j, uint32_t n)
{
    memset(j->times, 0, sizeof(j->times));
    j->in += 7;
    pool_run(p, part_fn, j, n);
    for (uint32_t i = 0; i < PARTS_MAX; i++)
        assert_int_equal(j->times[i], i < n ? 1 : 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(j->out[i], j->in + i);
}

static void test_every_part_once(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 8};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        struct err e;
        struct job j = {0};
        uint64_t seed = t;
        struct pool *p = pool_new(threads[t], &e);
        assert_non_null(p);
        assert_int_equal(pool_threads(p), threads[t]);
        for (int i = 0; i < 2000; i++)
            run_and_check(p, &j, (uint32_t)(kd_random(&seed) % (PARTS_MAX + 1)));
        pool_free(p);
    }
}

/* Pauses as long as the threads spin, so that jobs meet them falling asleep. */
static void test_falling_asleep(void **state)
{
    (void)state;
    struct err e;
    struct job j = {0};
    uint64_t seed = 5;
    struct pool *p = pool_new(3, &e);
    assert_non_null(p);
    for (int i = 0; i < 300; i++) {
        struct timespec ts = {0, (long)(kd_random(&seed) % 100) * 1000};
        nanosleep(&ts, NULL);
        j.pause_us = i % 4 == 0 ? 20 : 0;
        run_and_check(p, &j, 2 + i % 9);
    }
    pool_free(p);
}

static void test_begin_and_end(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct err e;
        struct job j = {0};
        struct pool *p = pool_new(4, &e);
        assert_non_null(p);
        if (i % 2)
            run_and_check(p, &j, 10);
        pool_free(p);
    }
    pool_free(NULL);
}

static void test_cores(void **state)
{
    (void)state;
    cpu_set_t old;
    cpu_set_t one;
    assert_int_equal(sched_getaffinity(0, sizeof(old), &old), 0);
    assert_int_equal(pool_cores(), CPU_COUNT(&old));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &old))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(pool_cores(), 1);
    /* All threads on one core: spinning ones must give way. */
    struct err e;
    struct job j = {0};
    struct pool *p = pool_new(4, &e);
    assert_non_null(p);
    uint64_t began = clock_now();
    for (int i = 0; i < 200; i++)
        run_and_check(p, &j, 16);
    assert_true(clock_now() - began < 20 * CLOCK_NS_PER_SEC);
    pool_free(p);
    assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

/* Real work over it, for the thread sanitizer: a product and attention with several threads. */
static void test_operations(void **state)
{
    (void)state;
    struct err e;
    struct ops_config config = {.threads = 4};
    const struct ops *ops = &ops_cpu;
    struct ops_backend *be = ops->open(&config, &e);
    assert_non_null(be);
    enum { ROWS = 512, COLS = 256, N = 40, HEADS = 8, DIM = 32 };
    uint8_t *host = kd_matrix(8, ROWS, COLS, 1);
    struct ops_matrix *m = ops->matrix_new(be, 8, ROWS, COLS, &e);
    assert_non_null(m);
    ops->matrix_fill(be, m, 0, ROWS, host);
    struct ops_cache_shape shape = {1, HEADS, DIM, 32, 8};
    struct ops_attention at = {HEADS, HEADS, DIM, 0.2f, 0, 0};
    const uint32_t pages[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct ops_cache *c = ops->cache_new(be, &shape, &e);
    assert_non_null(c);
    float *x = ops->alloc(be, N * COLS, &e);
    float *y = ops->alloc(be, N * ROWS, &e);
    kd_floats(x, N * COLS, 2);
    for (uint32_t pos = 0; pos + N <= 240; pos += N) {
        struct ops_span span = {pages, pos, N};
        struct ops_span last = {pages, pos + N - 1, 1};
        ops->matmul(be, &y, (const struct ops_matrix *const *)&m, 1, x, N);
        ops->cache_put(be, c, 0, y, y + N * COLS, &span, 1);
        ops->attention(be, y, x, c, 0, &at, &span, 1);
        ops->attention(be, y, x, c, 0, &at, &last, 1);
        ops->glu(be, y, y, x, N * COLS, OPS_SILU);
    }
    for (int i = 0; i < N * COLS; i++)
        assert_true(y[i] == y[i]);
    ops->free(be, x);
    ops->free(be, y);
    ops->cache_free(be, c);
    ops->matrix_free(be, m);
    ops->close(be);
    free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_once), cmocka_unit_test(test_falling_asleep),
        cmocka_unit_test(test_begin_and_end),   cmocka_unit_test(test_cores),
        cmocka_unit_test(test_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
