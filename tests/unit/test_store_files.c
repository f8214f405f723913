/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the store: drafts, publishing, contents, holes, and what happens when the disk refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/lib/store_fixture.h"

#define BIG (300 * 1024) /* far more than what lies in the database */

static char big[BIG], other[BIG];

#define fails_with(expr, errno_)                                                                   \
    do {                                                                                           \
        e.code = 0;                                                                                \
        assert_true((expr) < 0);                                                                   \
        assert_int_equal(e.code, errno_);                                                          \
        assert_true(e.text[0] != '\0');                                                            \
    } while (0)

static struct store_file *open_it(struct store *s, store_ino ino, int flags)
{
    struct err e;
    struct store_file *f = store_file_open(s, ino, flags, &e);
    if (!f)
        fail_msg("%s", e.text);
    return f;
}

static void holds(struct store *s, store_ino ino, const void *data, size_t n)
{
    struct err e;
    struct store_file *f = open_it(s, ino, O_RDONLY);
    CLEANUP_FREE char *got = xmalloc(n + 10);
    assert_int_equal(store_file_read(f, got, n + 10, 0, &e), n);
    assert_memory_equal(got, data, n);
    assert_int_equal(fixture_attr(s, ino).size, n);
    store_file_close(f);
}

static void published_is(struct store *s, store_ino ino, const void *data, size_t n)
{
    struct err e;
    CLEANUP_BUF struct buf b = {0};
    assert_int_equal(store_content_read(s, ino, 10 * BIG, &b, &e), 0);
    assert_int_equal(b.len, n);
    if (n > 0)
        assert_memory_equal(b.data, data, n);
}

/* --- drafts and publishing --- */

static void what_was_published_is_there_after_a_start(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, BIG};
    store_ino ino[ARRAY_LEN(sizes)];
    char name[8];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        snprintf(name, sizeof(name), "f%zu", i);
        ino[i] = fixture_write(f->s, STORE_ROOT, name, big, sizes[i]);
    }
    assert_int_equal(fixture_count(f, "drafts"), 0);
    assert_int_equal(fixture_count(f, "blobs"), 2); /* small ones take none */
    fixture_reopen(f);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        holds(f->s, ino[i], big, sizes[i]);
        published_is(f->s, ino[i], big, sizes[i]);
        struct store_attr a = fixture_attr(f->s, ino[i]);
        assert_true(a.blocks * 512 >= sizes[i]);
        assert_true(a.blocks * 512 < sizes[i] + 65536);
    }
}

static void a_draft_is_seen_by_readers_and_not_by_asks(void **state)
{
    struct fixture *f = *state;
    struct err e;
    for (size_t n = 10; n <= BIG; n += BIG - 10) {
        store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, n);
        struct store_file *reader = open_it(f->s, ino, O_RDONLY), *w = open_it(f->s, ino, O_RDWR);
        char got[4];
        assert_false(store_file_dirty(w));
        assert_int_equal(store_file_read(reader, got, 4, 0, &e), 4);
        assert_int_equal(store_file_write(w, "new!", 4, 3, false, &e), 0);
        assert_true(store_file_dirty(w));
        assert_int_equal(store_file_read(reader, got, 4, 3, &e), 4);
        assert_memory_equal(got, "new!", 4);
        assert_int_equal(fixture_attr(f->s, ino).size, n);
        published_is(f->s, ino, big, n);
        memcpy(other, big, n);
        memcpy(other + 3, (const char[]){'n', 'e', 'w', '!'}, 4);
        holds(f->s, ino, other, n);
        store_file_close(reader);
        store_file_close(w); /* does not publish */
        published_is(f->s, ino, big, n);
        holds(f->s, ino, other, n);
        assert_int_equal(store_publish(f->s, ino, &e), 0);
        assert_int_equal(store_publish(f->s, ino, &e), 0);
        published_is(f->s, ino, other, n);
        assert_int_equal(store_unlink(f->s, STORE_ROOT, "f", &e), 0);
    }
    assert_true(fixture_wait(f, "blobs", 0));
    assert_int_equal(fixture_count(f, "drafts"), 0);
}

static void writing_goes_on_after_publishing(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "log");
    struct store_file *w = open_it(f->s, ino, O_WRONLY);
    for (size_t at = 0; at < BIG; at += 10000) {
        size_t n = MIN((size_t)10000, BIG - at);
        assert_int_equal(store_file_write(w, big + at, n, 4711, true, &e), 0);
        assert_int_equal(store_file_publish(w, &e), 0);
        assert_false(store_file_dirty(w));
        published_is(f->s, ino, big, at + n);
    }
    store_file_close(w);
    holds(f->s, ino, big, BIG);
    assert_true(fixture_wait(f, "blobs", 1));
}

static void an_orderly_end_publishes_and_a_truncating_open_counts(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", "before", 6);
    struct store_file *w = open_it(f->s, ino, O_WRONLY | O_TRUNC);
    assert_int_equal(fixture_attr(f->s, ino).size, 0);
    published_is(f->s, ino, "before", 6);
    assert_int_equal(store_file_write(w, "after", 5, 0, false, &e), 0);
    store_file_close(w);
    fixture_reopen(f);
    published_is(f->s, ino, "after", 5);
    w = open_it(f->s, ino, O_WRONLY | O_TRUNC);
    assert_int_equal(store_file_publish(w, &e), 0);
    store_file_close(w);
    published_is(f->s, ino, "", 0);
    struct store_content c;
    assert_int_equal(store_content_open(f->s, ino, &c, &e), 0);
    assert_int_equal(c.id, 0);
    close(c.fd);
}

static void a_content_never_changes(void **state)
{
    struct fixture *f = *state;
    struct err e;
    uint64_t last = 0;
    for (size_t n = 100; n <= BIG; n += BIG - 100) {
        store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, n);
        struct store_content c;
        char got[100];
        assert_int_equal(store_content_open(f->s, ino, &c, &e), 0);
        assert_true(c.id > last);
        assert_int_equal(c.size, n);
        last = c.id;
        fixture_write(f->s, STORE_ROOT, "f", other, n);
        assert_int_equal(store_unlink(f->s, STORE_ROOT, "f", &e), 0);
        fixture_reopen(f);
        assert_int_equal(pread(c.fd, got, 100, (off_t)n - 100), 100);
        assert_memory_equal(got, big + n - 100, 100);
        assert_int_equal(pwrite(c.fd, "x", 1, 0), -1);
        close(c.fd);
    }
}

static void sizes_change(void **state)
{
    struct fixture *f = *state;
    struct err e;
    CLEANUP_FREE char *want = xcalloc(1, BIG);
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    static const size_t sizes[] = {BIG - 1, 5000, 100, 0, 3, 4096, 4097, BIG, 17};
    size_t kept = BIG;
    memcpy(want, big, BIG);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(store_file_truncate(w, sizes[i], &e), 0);
        kept = MIN(kept, sizes[i]);
        memset(want + kept, 0, BIG - kept);
        holds(f->s, ino, want, sizes[i]);
        if (i % 3 == 1) {
            assert_int_equal(store_file_publish(w, &e), 0);
            published_is(f->s, ino, want, sizes[i]);
        }
    }
    store_file_close(w);
    fails_with(store_setattr(f->s, STORE_ROOT, &(struct store_attr){0}, STORE_SET_SIZE, NULL, &e),
               EISDIR);
    struct store_attr a;
    assert_int_equal(
        store_setattr(f->s, ino, &(struct store_attr){.size = 5}, STORE_SET_SIZE, &a, &e), 0);
    assert_int_equal(a.size, 5);
    memset(want, 0, 5);
    published_is(f->s, ino, want, 5);
}

static void a_truncate_beside_a_writer_is_published_by_the_writer(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", "0123456789", 10);
    struct store_file *w = open_it(f->s, ino, O_WRONLY);
    assert_int_equal(store_file_write(w, "abc", 3, 0, false, &e), 0);
    assert_int_equal(
        store_setattr(f->s, ino, &(struct store_attr){.size = 5}, STORE_SET_SIZE, NULL, &e), 0);
    published_is(f->s, ino, "0123456789", 10);
    holds(f->s, ino, "abc34", 5);
    assert_int_equal(store_file_publish(w, &e), 0);
    store_file_close(w);
    published_is(f->s, ino, "abc34", 5);
}

static void appends_of_two_do_not_overwrite(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "f");
    struct store_file *a = open_it(f->s, ino, O_WRONLY), *b = open_it(f->s, ino, O_WRONLY);
    assert_int_equal(store_file_write(a, "one ", 4, 0, true, &e), 0);
    assert_int_equal(store_file_write(b, "two ", 4, 0, true, &e), 0);
    assert_int_equal(store_file_publish(b, &e), 0);
    assert_int_equal(store_file_write(a, "three", 5, 0, true, &e), 0);
    store_file_close(a);
    store_file_close(b);
    holds(f->s, ino, "one two three", 13);
}

static void contents_are_replaced_whole(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "f");
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    assert_int_equal(store_file_write(w, "draft", 5, 0, false, &e), 0);
    assert_int_equal(store_content_write(f->s, ino, big, BIG, &e), 0);
    assert_false(store_file_dirty(w));
    holds(f->s, ino, big, BIG);
    assert_int_equal(store_content_write(f->s, ino, "small", 5, &e), 0);
    published_is(f->s, ino, "small", 5);
    assert_int_equal(store_content_write(f->s, ino, "", 0, &e), 0);
    published_is(f->s, ino, "", 0);
    store_file_close(w);
    assert_int_equal(store_content_write(f->s, ino, big, BIG, &e), 0);
    CLEANUP_BUF struct buf b = {0};
    fails_with(store_content_read(f->s, ino, BIG - 1, &b, &e), EFBIG);
    fails_with(store_content_write(f->s, STORE_ROOT, "x", 1, &e), EISDIR);
    assert_true(fixture_wait(f, "blobs", 1));
}

/* --- times, removed files --- */

static void times_of_a_draft(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", "x", 1);
    struct store_attr was = fixture_attr(f->s, ino), is, want = {.mtime = {1234, 5678}};
    struct store_file *w = open_it(f->s, ino, O_WRONLY);
    usleep(2000);
    assert_int_equal(store_file_write(w, "y", 1, 0, false, &e), 0);
    is = fixture_attr(f->s, ino);
    assert_true(is.mtime.tv_nsec != was.mtime.tv_nsec || is.mtime.tv_sec != was.mtime.tv_sec);
    assert_memory_equal(&is.mtime, &is.ctime, sizeof(is.mtime));
    assert_int_equal(store_setattr(f->s, ino, &want, STORE_SET_MTIME, &is, &e), 0); /* cp -p */
    assert_int_equal(is.mtime.tv_sec, 1234);
    assert_int_equal(store_file_publish(w, &e), 0);
    store_file_close(w);
    fixture_reopen(f);
    is = fixture_attr(f->s, ino);
    assert_int_equal(is.mtime.tv_sec, 1234);
    assert_int_equal(is.mtime.tv_nsec, 5678);
    w = open_it(f->s, ino, O_WRONLY);
    assert_int_equal(store_file_truncate(w, 1, &e), 0); /* the size that it has */
    store_file_close(w);
    assert_true(fixture_attr(f->s, ino).mtime.tv_sec > 1234);
}

static void an_open_file_outlives_its_name(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    assert_int_equal(store_unlink(f->s, STORE_ROOT, "f", &e), 0);
    assert_int_equal(fixture_attr(f->s, ino).nlink, 0);
    holds(f->s, ino, big, BIG);
    assert_int_equal(store_file_write(w, "more", 4, 0, true, &e), 0);
    assert_int_equal(fixture_attr(f->s, ino).size, BIG + 4);
    assert_int_equal(store_file_publish(w, &e), 0);
    store_file_close(w);
    assert_true(fixture_wait(f, "blobs", 0));
    assert_true(fixture_wait(f, "drafts", 0));
    for (int i = 0; i < 500 && store_getattr(f->s, ino, &a, &e) == 0; i++)
        usleep(10000);
    fails_with(store_getattr(f->s, ino, &a, &e), ENOENT);
    assert_null(store_file_open(f->s, ino, O_RDONLY, &e));
    assert_int_equal(e.code, ENOENT);
}

static void the_kernel_s_references_keep_a_file(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    store_remember(f->s, ino, 2);
    assert_int_equal(store_unlink(f->s, STORE_ROOT, "f", &e), 0);
    store_forget(f->s, ino, 1);
    holds(f->s, ino, big, BIG);
    store_forget(f->s, ino, 1);
    assert_true(fixture_wait(f, "blobs", 0));
    store_forget(f->s, ino, 1);   /* more than there were: harmless */
    store_remember(f->s, ino, 1); /* comes too late */
    assert_null(store_file_open(f->s, ino, O_RDONLY, &e));
    store_forget(f->s, ino, 1);
}

/* --- holes --- */

static void holes_stay_holes(void **state)
{
    struct fixture *f = *state;
    struct err e;
    const uint64_t far = UINT64_C(5) << 30;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "f");
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    assert_int_equal(store_file_write(w, "end", 3, far, false, &e), 0);
    assert_true(fixture_attr(f->s, ino).blocks < 1000);
    assert_int_equal(store_file_publish(w, &e), 0);
    assert_true(fixture_attr(f->s, ino).blocks < 1000);
    assert_int_equal(store_file_seek(w, 0, SEEK_HOLE, &e), 0);
    off_t data = store_file_seek(w, 0, SEEK_DATA, &e);
    assert_true(data > 0 && (uint64_t)data <= far && far - (uint64_t)data < 65536);
    assert_int_equal(store_file_write(w, "begin", 5, 0, false, &e), 0); /* a copy of it */
    assert_int_equal(store_file_publish(w, &e), 0);
    struct store_attr a = fixture_attr(f->s, ino);
    assert_int_equal(a.size, far + 3);
    assert_true(a.blocks < 1000);
    char got[5];
    assert_int_equal(store_file_read(w, got, 5, far, &e), 3);
    assert_memory_equal(got, "end", 3);
    fails_with(store_file_seek(w, (off_t)far + 3, SEEK_DATA, &e), ENXIO);
    fails_with(store_file_write(w, "x", 1, INT64_MAX, false, &e), EFBIG);
    fails_with(store_file_write(w, "x", 1, UINT64_MAX, false, &e), EFBIG);
    fails_with(store_file_truncate(w, UINT64_MAX, &e), EFBIG);
    store_file_close(w);
    ino = fixture_write(f->s, STORE_ROOT, "small", "12345", 5);
    w = open_it(f->s, ino, O_RDONLY);
    assert_int_equal(store_file_seek(w, 2, SEEK_DATA, &e), 2);
    assert_int_equal(store_file_seek(w, 2, SEEK_HOLE, &e), 5);
    fails_with(store_file_seek(w, 5, SEEK_HOLE, &e), ENXIO);
    fails_with(store_file_seek(w, 0, SEEK_END, &e), EINVAL);
    store_file_close(w);
}

static void room_is_allocated_punched_and_zeroed(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    uint64_t full = fixture_attr(f->s, ino).blocks;
    assert_int_equal(
        store_file_allocate(w, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BIG / 2, &e), 0);
    assert_int_equal(store_file_publish(w, &e), 0);
    assert_true(fixture_attr(f->s, ino).blocks < full);
    memcpy(other, big, BIG);
    memset(other, 0, BIG / 2);
    holds(f->s, ino, other, BIG);
    assert_int_equal(store_file_allocate(w, FALLOC_FL_ZERO_RANGE, BIG - 10, 10, &e), 0);
    memset(other + BIG - 10, 0, 10);
    holds(f->s, ino, other, BIG);
    assert_int_equal(store_file_allocate(w, 0, BIG, 4096, &e), 0);
    assert_int_equal(fixture_attr(f->s, ino).size, BIG + 4096);
    fails_with(store_file_allocate(w, FALLOC_FL_COLLAPSE_RANGE, 0, 4096, &e), EOPNOTSUPP);
    fails_with(store_file_allocate(w, 0, 0, 0, &e), EINVAL);
    fails_with(store_file_allocate(w, 0, INT64_MAX, 10, &e), EFBIG);
    store_file_close(w);
}

/* --- refusals --- */

static void opens_and_handles_are_checked(void **state)
{
    struct fixture *f = *state;
    struct err e;
    char c;
    size_t n = 10;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    assert_null(store_file_open(f->s, STORE_ROOT, O_RDONLY, &e));
    assert_int_equal(e.code, EISDIR);
    assert_null(store_file_open(f->s, 4711, O_RDONLY, &e));
    assert_int_equal(e.code, ENOENT);
    struct store_attr a;
    store_make(f->s, STORE_ROOT, "p", S_IFIFO | 0600, 0, 0, &fixture_cred, &a, &e);
    assert_null(store_file_open(f->s, a.ino, O_RDONLY, &e));
    assert_int_equal(e.code, EINVAL);
    struct store_file *r = open_it(f->s, ino, O_RDONLY), *w = open_it(f->s, ino, O_WRONLY);
    assert_int_equal(store_file_ino(r), ino);
    fails_with(store_file_write(r, "x", 1, 0, false, &e), EBADF);
    fails_with(store_file_truncate(r, 0, &e), EBADF);
    fails_with(store_file_allocate(r, 0, 0, 1, &e), EBADF);
    fails_with(store_file_read(w, &c, 1, 0, &e), EBADF);
    assert_int_equal(store_file_dup(w, 0, &n), -1);
    int fd = store_file_dup(r, BIG - 4, &n);
    assert_true(fd >= 0);
    assert_int_equal(n, 4);
    assert_int_equal(store_content_write(f->s, ino, "x", 1, &e), 0);
    assert_int_equal(pread(fd, &c, 1, BIG - 4), 1); /* ours, whatever became of the file */
    assert_int_equal(c, big[BIG - 4]);
    close(fd);
    assert_int_equal(store_file_dup(r, 0, &n), -1); /* small: nothing to take a descriptor of */
    assert_int_equal(store_file_read(r, &c, 1, 0, &e), 1);
    assert_int_equal(c, 'x');
    store_file_close(r);
    store_file_close(w);
}

static void limit_file_size(rlim_t n)
{
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = n == RLIM_INFINITY ? l.rlim_max : n;
    setrlimit(RLIMIT_FSIZE, &l);
}

static void a_write_that_fails_leaves_the_file_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct err e;
    signal(SIGXFSZ, SIG_IGN);
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, 100000);
    struct store_file *w = open_it(f->s, ino, O_RDWR);
    assert_int_equal(store_file_write(w, "draft", 5, 0, false, &e), 0);
    limit_file_size(200000);
    fails_with(store_file_write(w, big, BIG, 100000, false, &e), EFBIG);
    limit_file_size(RLIM_INFINITY);
    memcpy(other, big, 100000);
    memcpy(other, (const char[]){'d', 'r', 'a', 'f', 't'}, 5);
    holds(f->s, ino, other, 100000);
    assert_int_equal(store_file_publish(w, &e), 0);
    store_file_close(w);
    published_is(f->s, ino, other, 100000);
}

static void a_database_that_cannot_grow_refuses_and_recovers(void **state)
{
    struct fixture *f = *state;
    struct err e;
    char name[16];
    int made = 0, rc = 0;
    signal(SIGXFSZ, SIG_IGN);
    limit_file_size(512 * 1024);
    for (; rc == 0 && made < 10000; made++) {
        struct store_attr a;
        snprintf(name, sizeof(name), "n%d", made);
        rc = store_make(f->s, STORE_ROOT, name, S_IFREG | 0644, 0, 0, &fixture_cred, &a, &e);
    }
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(rc, -1);
    assert_int_equal(e.code, EFBIG);
    made--;
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).size, made);
    fixture_create(f->s, STORE_ROOT, "again");
    fixture_reopen(f);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).size, made + 1);
    assert_int_equal(fixture_lookup(f->s, STORE_ROOT, name, NULL), ENOENT);
}

/* The path of the only blob. */
static void only_blob(const struct fixture *f, char *path, size_t size)
{
    char command[128];
    snprintf(command, sizeof(command), "find %s/blobs -type f", f->dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(path, (int)size, p));
    path[strcspn(path, "\n")] = '\0';
    pclose(p);
}

static void a_blob_that_is_cut_or_missing_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct err e;
    char path[160], c;
    struct store_content content;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "f", big, BIG);
    only_blob(f, path, sizeof(path));
    fixture_reopen(f);
    chmod(path, 0600);
    assert_int_equal(truncate(path, BIG - 1), 0);
    fails_with(store_content_open(f->s, ino, &content, &e), EIO);
    struct store_file *r = open_it(f->s, ino, O_RDWR);
    fails_with(store_file_read(r, &c, 1, 0, &e), EIO);
    fails_with(store_file_write(r, "x", 1, 0, false, &e), EIO);
    assert_int_equal(unlink(path), 0);
    fails_with(store_file_read(r, &c, 1, 0, &e), EIO);
    assert_int_equal(store_file_truncate(r, 0, &e), 0); /* needs nothing of it */
    assert_int_equal(store_file_publish(r, &e), 0);
    store_file_close(r);
    published_is(f->s, ino, "", 0);
}

static int fill(void **state)
{
    (void)state;
    fixture_fill(big, BIG, 1);
    fixture_fill(other, BIG, 2);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_disk, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_was_published_is_there_after_a_start),
        T(a_draft_is_seen_by_readers_and_not_by_asks),
        T(writing_goes_on_after_publishing),
        T(an_orderly_end_publishes_and_a_truncating_open_counts),
        T(a_content_never_changes),
        T(sizes_change),
        T(a_truncate_beside_a_writer_is_published_by_the_writer),
        T(appends_of_two_do_not_overwrite),
        T(contents_are_replaced_whole),
        T(times_of_a_draft),
        T(an_open_file_outlives_its_name),
        T(the_kernel_s_references_keep_a_file),
        T(holes_stay_holes),
        T(room_is_allocated_punched_and_zeroed),
        T(opens_and_handles_are_checked),
        T(a_write_that_fails_leaves_the_file_as_it_was),
        cmocka_unit_test_setup_teardown(a_database_that_cannot_grow_refuses_and_recovers,
                                        fixture_setup, fixture_teardown),
        T(a_blob_that_is_cut_or_missing_is_an_error),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
