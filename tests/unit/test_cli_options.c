/* SPDX-License-Identifier: Apache-2.0 */
/* The options of a mount, and the values of .status that the commands show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/mount_options.h"

static void test_all_kinds(void **state)
{
    (void)state;
    CLEANUP_MOUNT_OPTIONS struct mount_options o = {0};
    struct err e;
    assert_int_equal(mount_options_parse(&o, "defaults,allow_other,threads=8,,kv=2G,dev", &e), 0);
    assert_int_equal(mount_options_parse(&o, "context=4096,hang=5,engine=/a/b,engine=/c,ro", &e),
                     0);
    assert_int_equal(mount_options_parse(&o, "nofail,_netdev,x-systemd.automount,comment=a", &e),
                     0);
    assert_true(o.allow_other);
    assert_int_equal(o.threads, 8);
    assert_int_equal(o.context, 4096);
    assert_int_equal(o.hang, 5);
    assert_true(o.kv == UINT64_C(2) << 30);
    assert_string_equal(o.engine, "/c");
    assert_null(o.log);
    assert_string_equal(buf_str(&o.kernel), "dev,ro");
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"nonsense",
                                      "threads",
                                      "threads=",
                                      "threads=-1",
                                      "threads=4x",
                                      "threads= 4",
                                      "kv=1Q",
                                      "kv=M",
                                      "kv=2048P",
                                      "kv=2097152T",
                                      "allow_other=1",
                                      "log=",
                                      "threads=99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP_MOUNT_OPTIONS struct mount_options o = {0};
        struct err e = {0};
        assert_int_equal(mount_options_parse(&o, bad[i], &e), -1);
        assert_int_equal(e.code, EINVAL);
        assert_true(strlen(e.text) > 0);
    }
}

static void test_status_values(void **state)
{
    (void)state;
    static const char status[] =
        "state ready\nreason\ncontext 8192\ncontext_used 5\nname  A model\n";
    static const struct {
        const char *key;
        const char *value;
    } cases[] = {{"state", "ready"},  {"context", "8192"}, {"context_used", "5"},
                 {"name", "A model"}, {"reason", NULL},    {"conte", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP_FREE char *value = cli_status_value(status, cases[i].key);
        if (cases[i].value)
            assert_string_equal(value, cases[i].value);
        else
            assert_null(value);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    char out[CLI_SIZE_MAX];
    assert_string_equal(cli_size(0, out), "0 B");
    assert_string_equal(cli_size(1023, out), "1023 B");
    assert_string_equal(cli_size(98362432, out), "93.8 MiB");
    assert_string_equal(cli_size(UINT64_C(4) << 30, out), "4.0 GiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_status_values),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
