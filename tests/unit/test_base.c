/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/io.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

static void utf8_accepts_exactly_rfc3629(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t cp;
    } good[] = {{"A", 'A'},
                {"\xC2\x80", 0x80},
                {"\xDF\xBF", 0x7FF},
                {"\xE0\xA0\x80", 0x800},
                {"\xED\x9F\xBF", 0xD7FF},
                {"\xEE\x80\x80", 0xE000},
                {"\xF0\x90\x80\x80", 0x10000},
                {"\xF4\x8F\xBF\xBF", 0x10FFFF}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint32_t cp = 0;
        char back[4];
        size_t n = strlen(good[i].bytes);
        assert_int_equal(utf8_decode(good[i].bytes, n, &cp), n);
        assert_int_equal(cp, good[i].cp);
        assert_int_equal(utf8_encode(cp, back), n);
        assert_memory_equal(back, good[i].bytes, n);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_decode(good[i].bytes, cut, &cp), 0);
            assert_int_equal(utf8_incomplete_tail(good[i].bytes, cut), cut);
        }
        assert_int_equal(utf8_incomplete_tail(good[i].bytes, n), 0);
    }
    static const char *const bad[] = {"\x80",         "\xC0\x80",         "\xC1\xBF",
                                      "\xE0\x9F\xBF", "\xED\xA0\x80",     "\xF0\x8F\xBF\xBF",
                                      "\xFF",         "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
        assert_int_equal(utf8_incomplete_tail(bad[i], strlen(bad[i])), 0);
    }
    char out[4];
    assert_int_equal(utf8_encode(0xD800, out), 3);
    assert_memory_equal(out, "\xEF\xBF\xBD", 3);
}

static void err_texts_are_cut_between_code_points(void **state)
{
    (void)state;
    char text[600];
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    text[598] = '\0';
    for (int pad = 0; pad < 2; pad++) {
        struct err e;
        assert_int_equal(err_set(&e, EINVAL, "%s%s", pad ? "x" : "", text), -1);
        assert_int_equal(e.code, EINVAL);
        assert_true(strlen(e.text) > ERR_TEXT_MAX - 4);
        assert_true(utf8_valid(e.text, strlen(e.text)));
    }
    struct err e;
    errno = ENOENT;
    err_sys(&e, "/nowhere");
    err_prefix(&e, "blob %d", 7);
    assert_int_equal(e.code, ENOENT);
    assert_string_equal(e.text, "blob 7: /nowhere: No such file or directory");
}

static void buf_grows_and_gives(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%03d,", i);
    assert_int_equal(b.len, 4000);
    buf_consume(&b, 3996);
    assert_string_equal(buf_str(&b), "999,");
    size_t n;
    char *s = buf_steal(&b, &n);
    assert_int_equal(n, 4);
    assert_null(b.data);
    free(s);
    s = buf_steal(&b, &n);
    assert_string_equal(s, "");
    free(s);
}

static void mem_array_checks_the_product(void **state)
{
    (void)state;
    struct err e;
    assert_null(mem_array(SIZE_MAX / 2, 3, "a list", &e));
    assert_int_equal(e.code, ENOMEM);
    assert_non_null(strstr(e.text, "a list"));
    void *p = mem_array(3, 5, "a list", &e);
    assert_non_null(p);
    free(p);
}

/* Against an array as the plainest model of a map; few keys, so that they collide and move. */
static void map_agrees_with_an_array(void **state)
{
    (void)state;
    enum { KEYS = 300 };
    static char things[KEYS];
    void *model[KEYS] = {0};
    struct map m = {0};
    uint64_t random = 1;
    size_t count = 0;
    for (int step = 0; step < 200000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
        size_t k = (random >> 33) % KEYS;
        void *value = &things[(random >> 20) % KEYS];
        if ((random >> 60) & 1) {
            count += !model[k];
            assert_ptr_equal(map_put(&m, k << 40, value), model[k]);
            model[k] = value;
        } else {
            count -= model[k] != NULL;
            assert_ptr_equal(map_remove(&m, k << 40), model[k]);
            model[k] = NULL;
        }
        k = (random >> 40) % KEYS;
        assert_ptr_equal(map_get(&m, k << 40), model[k]);
    }
    size_t seen = 0;
    for (size_t at = 0; map_next(&m, &at);)
        seen++;
    assert_int_equal(seen, count);
    assert_int_equal(m.n, count);
    map_free(&m);
}

struct item {
    int value;
    struct list link;
};

static void list_keeps_order_and_lets_go(void **state)
{
    (void)state;
    struct list head = LIST_INIT(head);
    struct item items[5];
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_add(&head, &items[i].link);
    }
    struct item *it;
    list_for_each(it, &head, link) if (it->value % 2) list_del(&it->link);
    int sum = 0;
    list_for_each(it, &head, link) sum = sum * 10 + it->value;
    assert_int_equal(sum, 24); /* 0, 2, 4 */
    list_del(&items[1].link);
    assert_false(list_empty(&head));
}

static void io_passes_descriptors(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int both[2] = {zero, zero};
    int got[2];
    char data[8];
    size_t n = 2;

    assert_int_equal(io_send(pair[0], "hi", 2, both, 2, 0), 2);
    assert_int_equal(io_recv(pair[1], data, sizeof(data), got, &n, 0), 2);
    assert_int_equal(n, 2);
    char byte = 1;
    assert_int_equal(read(got[1], &byte, 1), 1);
    assert_int_equal(byte, 0);
    close(got[0]);
    close(got[1]);

    /* One more than there is room for: all are closed and the sender is at fault. */
    n = 1;
    assert_int_equal(io_send(pair[0], "hi", 2, both, 2, 0), 2);
    assert_int_equal(io_recv(pair[1], data, sizeof(data), got, &n, 0), -1);
    assert_int_equal(errno, EPROTO);
    assert_int_equal(n, 0);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(next, zero + 1); /* nothing was left open below it */
    close(next);
    close(zero);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_accepts_exactly_rfc3629),
        cmocka_unit_test(err_texts_are_cut_between_code_points),
        cmocka_unit_test(buf_grows_and_gives),
        cmocka_unit_test(mem_array_checks_the_product),
        cmocka_unit_test(map_agrees_with_an_array),
        cmocka_unit_test(list_keeps_order_and_lets_go),
        cmocka_unit_test(io_passes_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
