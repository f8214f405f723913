/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/vfile.h"
#include "tests/lib/gguf_build.h"

/* "0123456789" out of three files and an empty run. */
static void test_segments(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP_FD int a = gguf_build_fd("xx0123xx", 8);
    CLEANUP_FD int b = gguf_build_fd("7890", 4);
    CLEANUP_FD int c = gguf_build_fd("456", 3);
    const struct vfile_segment segments[] = {{a, 2, 4}, {b, 4, 0}, {c, 0, 3}, {b, 0, 3}, {c, 3, 0}};
    CLEANUP(vfile) struct vfile *f = vfile_new(segments, ARRAY_LEN(segments), &e);
    assert_non_null(f);
    assert_int_equal(vfile_size(f), 10);
    for (size_t from = 0; from <= 10; from++)
        for (size_t n = 0; n <= 12; n++) {
            char got[16];
            if (from + n > 10) {
                assert_int_equal(vfile_read(f, got, n, from, &e), -1);
                assert_int_equal(e.code, EBADMSG);
            } else {
                assert_int_equal(vfile_read(f, got, n, from, &e), 0);
                assert_memory_equal(got, &"0123456789"[from], n);
            }
        }
}

static void test_lengths_that_overflow(void **state)
{
    (void)state;
    static const struct vfile_segment bad[][2] = {
        {{0, 0, UINT64_MAX}, {0, 0, 2}},
        {{0, UINT64_MAX, 2}, {0, 0, 0}},
        {{0, 0, INT64_MAX}, {0, 0, 1}},
        {{0, INT64_MAX, 1}, {0, 0, 1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        assert_null(vfile_new(bad[i], 2, &e));
        assert_int_equal(e.code, EINVAL);
    }
}

static void test_ends(void **state)
{
    (void)state;
    struct err e = {0};
    char byte;
    CLEANUP(vfile) struct vfile *none = vfile_new(NULL, 0, &e);
    assert_non_null(none);
    assert_int_equal(vfile_size(none), 0);
    assert_int_equal(vfile_read(none, &byte, 0, 0, &e), 0);
    assert_int_equal(vfile_read(none, &byte, 1, 0, &e), -1);
    assert_int_equal(e.code, EBADMSG);
    assert_int_equal(vfile_read(none, &byte, SIZE_MAX, UINT64_MAX, &e), -1);
}

static void test_file_that_shrinks(void **state)
{
    (void)state;
    struct err e = {0};
    char got[8];
    CLEANUP_FD int fd = gguf_build_fd("12345678", 8);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, &e);
    assert_non_null(f);
    assert_int_equal(ftruncate(fd, 4), 0);
    assert_int_equal(vfile_read(f, got, 4, 0, &e), 0);
    assert_int_equal(vfile_read(f, got, 8, 0, &e), -1);
    assert_int_equal(e.code, EBADMSG);
    assert_non_null(strstr(e.text, "cut at byte 4"));
}

static void test_no_file(void **state)
{
    (void)state;
    struct err e = {0};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_null(vfile_from_fd(ends[0], &e));
    assert_int_equal(e.code, EINVAL);
    close(ends[0]);
    close(ends[1]);
    assert_null(vfile_from_fd(-1, &e));
    assert_int_equal(e.code, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments), cmocka_unit_test(test_lengths_that_overflow),
        cmocka_unit_test(test_ends),     cmocka_unit_test(test_file_that_shrinks),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
