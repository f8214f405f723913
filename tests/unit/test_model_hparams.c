/* SPDX-License-Identifier: Apache-2.0 */
/* Tiny models of every type and shape, and what model_read() makes of keys that are there, absent
 * or strange. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/load_model.h"
#include "tests/lib/tiny_model.h"

static struct loaded load_tiny(const struct tiny_model *tm)
{
    struct loaded l = load_model(tiny_model_fd(tm));
    if (!l.model)
        print_error("%s\n", l.e.text);
    assert_non_null(l.model);
    load_model_walk(l.file, l.gguf, l.model);
    return l;
}

static void test_every_type(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < 64; type++) {
        const struct gguf_type_info *info = gguf_type_info(type);
        if (!info || (type >= GGUF_I8 && type <= GGUF_F64))
            continue;
        struct tiny_model tiny[] = {tiny_llama(type), tiny_gemma3(type)};
        for (size_t i = 0; i < ARRAY_LEN(tiny); i++) {
            CLEANUP_LOADED struct loaded l = load_tiny(&tiny[i]);
            const struct gguf_tensor *t = l.model->layers[1].ffn_down;
            assert_int_equal(t->type, type);
            assert_int_equal(t->bytes, 512 / info->block * info->block_bytes * 256);
        }
    }
}

static void test_no_weights(void **state)
{
    (void)state;
    for (uint32_t type = GGUF_I8; type <= GGUF_F64; type++) {
        struct tiny_model tm = tiny_llama(type);
        CLEANUP_LOADED struct loaded l = load_model(tiny_model_fd(&tm));
        assert_null(l.model);
        assert_int_equal(l.e.code, ENOEXEC);
        assert_non_null(strstr(l.e.text, gguf_type_info(type)->name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_no_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
