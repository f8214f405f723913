/* SPDX-License-Identifier: Apache-2.0 */
/* Dequantization: the bits of gguf-py for every type, and of formulas written here from the
   format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/quants.h"
#include "tests/lib/kernels_data.h"

static void test_golden(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err e;
    bool seen[QUANTS_TYPES] = {false};
    if (io_read_file("tests/data/quants/golden.bin", 1 << 20, &b, &e) < 0)
        fail_msg("%s", e.text);
    for (size_t at = 0; at < b.len;) {
        uint32_t head[3];
        memcpy(head, b.data + at, sizeof(head));
        at += sizeof(head);
        const struct quants_info *info = quants_info(head[0]);
        assert_non_null(info);
        assert_int_equal(quants_row_bytes(head[0], head[2]), head[1]);
        float *got = xcalloc(head[2], sizeof(float));
        quants_to_f32(head[0], b.data + at, got, head[2]);
        at += head[1];
        for (uint32_t i = 0; i < head[2]; i++)
            if (memcmp(&got[i], b.data + at + 4 * i, 4) != 0)
                fail_msg("%s: float %u is %a", info->name, i, (double)got[i]);
        at += 4 * (size_t)head[2];
        seen[head[0]] = true;
        free(got);
    }
    for (uint32_t t = 0; t < QUANTS_TYPES; t++)
        if (quants_info(t) && t != QUANTS_F32 && !seen[t])
            fail_msg("%s is not among the goldens", quants_info(t)->name);
    buf_free(&b);
}

static float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    double m = (h & 1023) / 1024.0;
    int ex = h >> 10 & 31;
    double v = ex == 0 ? ldexp(m, -14) : ldexp(1 + m, ex - 15);
    return (float)(h & 0x8000 ? -v : v);
}

/* x = d * (q - offset) + m, from the description of the formats, for the types of 32 columns. */
static float simple(uint32_t type, const uint8_t *b, int i)
{
    bool has_m = type == QUANTS_Q4_1 || type == QUANTS_Q5_1;
    bool five = type == QUANTS_Q5_0 || type == QUANTS_Q5_1;
    const uint8_t *qh = b + (has_m ? 4 : 2);
    const uint8_t *qs = qh + (five ? 4 : 0);
    float d = f16_at(b);
    if (type == QUANTS_Q8_0)
        return d * (float)(int8_t)b[2 + i];
    int q = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    if (five)
        q += (qh[i / 8] >> (i % 8) & 1) * 16;
    if (has_m)
        return d * (float)q + f16_at(b + 2);
    return d * (float)(q - (five ? 16 : 8));
}

static void test_simple_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {QUANTS_Q4_0, QUANTS_Q4_1, QUANTS_Q5_0, QUANTS_Q5_1,
                                     QUANTS_Q8_0};
    uint64_t seed = 7;
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        uint8_t row[4096];
        float got[1024];
        size_t size = quants_info(types[t])->block_bytes;
        kd_row(types[t], row, 1024, &seed);
        quants_to_f32(types[t], row, got, 1024);
        for (int i = 0; i < 1024; i++) {
            float want = simple(types[t], row + i / 32 * size, i % 32);
            assert_memory_equal(&got[i], &want, 4);
        }
    }
}

static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint8_t bytes[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
        float f = half_to_float((uint16_t)h);
        if ((h & 0x7C00) == 0x7C00) {
            assert_true((h & 1023) ? f != f : isinf(f));
            continue;
        }
        assert_true(f == f16_at(bytes));
        assert_int_equal(half_of_float(f), h);
        /* Half way to the next goes to the even one, a little more or less to the nearer. */
        if ((h & 0x7FFF) >= 0x7BFF)
            continue;
        float next = half_to_float((uint16_t)(h + 1));
        float mid = (float)(((double)f + next) / 2);
        assert_int_equal(half_of_float(mid), h & 1 ? h + 1 : h);
        assert_int_equal(half_of_float(nextafterf(mid, f)), h);
        assert_int_equal(half_of_float(nextafterf(mid, next)), h + 1);
    }
    assert_int_equal(half_of_float(1e6f), 0x7C00);
    assert_int_equal(half_of_float(-1e6f), 0xFC00);
}

/* What is packed comes back: whole rows, in every lane of a panel, and the last panel not full. */
static void test_pack(void **state)
{
    (void)state;
    struct memory *mem = memory_new();
    struct err e;
    for (size_t t = 0; t < kd_n_types; t++) {
        const size_t rows = 37;
        const size_t cols = quants_info(kd_types[t])->block == 1 ? 77 : 512;
        size_t bytes = quants_row_bytes(kd_types[t], cols);
        uint8_t *host = kd_matrix(kd_types[t], rows, cols, t);
        struct ops_matrix *m = pack_new(mem, kd_types[t], rows, cols, &e);
        assert_non_null(m);
        for (size_t r = 0; r < rows; r++)
            pack_row(m, r, host + r * bytes);
        for (size_t r = 0; r < rows; r++) {
            float want[512];
            float got[512];
            quants_to_f32(kd_types[t], host + r * bytes, want, cols);
            pack_row_to_f32(m, r, got);
            assert_memory_equal(got, want, cols * sizeof(float));
        }
        pack_free(mem, m);
        free(host);
    }
    memory_free(mem);
}

static void test_refused(void **state)
{
    (void)state;
    struct memory *mem = memory_new();
    struct err e;
    assert_null(pack_new(mem, 9, 1, 32, &e)); /* Q8_1 is no type of weights */
    assert_int_equal(e.code, 8 /* ENOEXEC */);
    assert_null(pack_new(mem, 4, 1, 32, &e));
    assert_null(pack_new(mem, UINT32_MAX, 1, 32, &e));
    assert_null(pack_new(mem, QUANTS_Q4_K, 1, 128, &e));
    assert_int_equal(e.code, 22 /* EINVAL */);
    assert_null(pack_new(mem, QUANTS_Q4_0, 0, 32, &e));
    assert_null(pack_new(mem, QUANTS_Q4_0, 1, 0, &e));
    assert_null(pack_new(mem, QUANTS_F32, UINT64_MAX / 2, 32, &e));
    assert_int_equal(e.code, 12 /* ENOMEM */);
    assert_null(pack_new(mem, QUANTS_F32, 32, UINT64_MAX / 2, &e));
    assert_int_equal(quants_row_bytes(QUANTS_Q8_0, 33), 0);
    assert_int_equal(quants_row_bytes(QUANTS_F32, UINT64_MAX / 2), 0);
    memory_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),  cmocka_unit_test(test_simple_types),
        cmocka_unit_test(test_half),    cmocka_unit_test(test_pack),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
