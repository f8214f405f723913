/* SPDX-License-Identifier: Apache-2.0 */
/* param: what is a good value, what is a bad one, and that the sentence says which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <string.h>

#include "runtime/param.h"
#include "runtime/runtime.h"

static void good(const char *name, const char *text, const char *stored)
{
    CLEANUP_BUF struct buf b = {0};
    struct err e = {0};
    if (rt_param_check(name, text, strlen(text), &b, &e) < 0)
        fail_msg("%s = '%s': %s", name, text, e.text);
    assert_string_equal(buf_str(&b), stored);
}

static void bad(const char *name, const char *text)
{
    CLEANUP_BUF struct buf b = {0};
    struct err e = {0};
    if (rt_param_check(name, text, strlen(text), &b, &e) == 0)
        fail_msg("%s = '%s' was taken", name, text);
    assert_int_equal(e.code, EINVAL);
    assert_non_null(strstr(e.text, name));
    assert_int_equal(b.len, 0);
}

static void test_numbers(void **state)
{
    (void)state;
    good("temperature", "0.7\n", "0.7\n");
    good("temperature", " \t 0 ", "0\n");
    good("temperature", "1e-3", "1e-3\n");
    good("temperature", "100", "100\n");
    good("top_k", "40", "40\n");
    good("repeat_last_n", "-1", "-1\n");
    good("seed", "9007199254740992", "9007199254740992\n");
    good("top_p", "\n", "");
    good("top_p", "", "");
    static const char *const bads[] = {"-0.1", "100.1", "x",   "0.7x", "0,7",   "inf", "nan",
                                       "0x1",  "1 2",   "1e9", "--1",  "1e999", ".",   "e"};
    for (size_t i = 0; i < ARRAY_LEN(bads); i++)
        bad("temperature", bads[i]);
    bad("top_k", "4.5");
    bad("top_k", "1e3");
    bad("top_k", "-1");
    bad("top_p", "1.01");
    bad("repeat_penalty", "0");
    bad("seed", "-2");
    bad("seed", "9007199254740993000");
    bad("max_tokens", "-2");
    bad("time_limit", "-1");
    struct err e;
    assert_int_equal(rt_param_check("top_k", "4\0 5", 5, NULL, &e), -1);
    char longish[200];
    memset(longish, '0', sizeof(longish));
    assert_int_equal(rt_param_check("top_k", longish, sizeof(longish), NULL, &e), -1);
}

/* A locale with a decimal comma changes nothing. */
static void test_locale(void **state)
{
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        setlocale(LC_ALL, "C.UTF-8");
    good("temperature", "0.7", "0.7\n");
    bad("temperature", "0,7");
    setlocale(LC_ALL, "C");
}

static void test_texts(void **state)
{
    (void)state;
    good("mode", "raw\n", "raw\n");
    good("mode", " auto ", "auto\n");
    bad("mode", "Raw");
    bad("mode", "embed");
    bad("grammar", "root ::= \"x\"");
    bad("schema", "{}");
    good("stop", "\\n\\n\nUser:\n", "\\n\\n\nUser:\n");
    good("stop", " User:", " User:\n");
    bad("stop", "a\\x");
    bad("stop", "a\\");
    bad("stop", "a\n\nb");
    bad("stop", "\xff");
    bad("stop", "1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n2\n3\n4\n5\n6\n7\n"
                "8\n9\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n1\n2\n3\n4\n"
                "5\n6\n7\n8\n9\n0\n1\n2\n3\n4\n5\n");
    bad("colour", "red");
    assert_true(rt_param_known("stop"));
    assert_false(rt_param_known("colour"));
    assert_true(rt_param_is_number("seed"));
    assert_false(rt_param_is_number("stop"));
    assert_false(rt_param_is_number("colour"));
}

static void test_values(void **state)
{
    (void)state;
    struct params p;
    params_init(&p);
    assert_true(p.sampling.temperature == 0.8 && p.sampling.top_p == 0.95);
    assert_true(p.sampling.min_p == 0.05 && p.sampling.repeat_penalty == 1);
    assert_int_equal(p.sampling.top_k, 40);
    assert_int_equal(p.sampling.repeat_last_n, 64);
    assert_int_equal(p.max_tokens, -1);
    assert_true(p.random_seed);
    assert_int_equal(p.mode, PROTO_MODE_AUTO);
    struct err e;
    assert_int_equal(params_set(&p, "seed", "7\n", 2, &e), 0);
    assert_true(!p.random_seed && p.sampling.seed == 7);
    const char *stops = "a\\\\b\n\\tx\n";
    assert_int_equal(params_set(&p, "stop", stops, strlen(stops), &e), 0);
    assert_int_equal(p.n_stops, 2);
    assert_int_equal(p.stop_ends[0], 3);
    assert_memory_equal(p.stop_text.data, "a\\b\tx", 5);
    assert_int_equal(params_set(&p, "max_tokens", "", 0, &e), 0);
    assert_int_equal(p.max_tokens, -1);
    params_free(&p);
    assert_int_equal(rt_text_check(RT_SYSTEM, "be brief", 8, &e), 0);
    assert_int_equal(rt_text_check(RT_SYSTEM, "\xc3", 1, &e), -1);
    assert_int_equal(e.code, EINVAL);
}

/* Each row's own default is a good value, and its range is said. */
static void test_table(void **state)
{
    (void)state;
    struct param_row row;
    size_t n = 0;
    for (; param_row(n, &row); n++) {
        assert_true(rt_param_known(row.name));
        assert_true(strlen(row.range) > 0 && strlen(row.meaning) > 0);
        if (strcmp(row.normal, "-") != 0)
            assert_int_equal(rt_param_check(row.name, row.normal, strlen(row.normal), NULL, NULL),
                             0);
    }
    assert_int_equal(n, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_locale), cmocka_unit_test(test_texts),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
