/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight threads in one small tree. No operation may do half of what it does, no reader may see bytes of two contents, and in the end
 * nothing is left over. Each content says at its beginning what all of it must be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/store_fixture.h"
#include "tests/lib/store_model.h"

#define THREADS 8
#define STEPS   1500
#define NAMES   8
#define MAX_LEN 12000

struct worker {
    struct fixture *f;
    pthread_t thread;
    uint64_t rng;
    store_ino dirs[3];
    char failed[500]; /* empty: all was well */
};

struct head {
    uint32_t seed, len;
};

static unsigned make_content(char *p, uint64_t *rng)
{
    uint64_t r = model_random(rng);
    struct head h = {(uint32_t)r,
                     sizeof(struct head) + (r & 1 ? (uint32_t)(r >> 20) % 200
                                                  : (uint32_t)(r >> 20) % (MAX_LEN - sizeof(h)))};
    memcpy(p, &h, sizeof(h));
    for (uint32_t i = sizeof(h); i < h.len; i++)
        p[i] = (char)model_byte(h.seed, i);
    return h.len;
}

static void check_content(struct worker *w, const char *p, size_t n, const char *where)
{
    struct head h;
    if (n == 0)
        return; /* created, and not yet written */
    if (n < sizeof(h)) {
        snprintf(w->failed, sizeof(w->failed), "%s: %zu bytes", where, n);
        return;
    }
    memcpy(&h, p, sizeof(h));
    if (h.len != n)
        snprintf(w->failed, sizeof(w->failed), "%s: %zu bytes, not %u", where, n, h.len);
    for (uint32_t i = sizeof(h); i < n && !w->failed[0]; i++)
        if ((unsigned char)p[i] != model_byte(h.seed, i))
            snprintf(w->failed, sizeof(w->failed), "%s: the byte at %u is of another content",
                     where, i);
}

/* Errors that come of others' work; EIO is never one of them. */
static void check_error(struct worker *w, int rc, const struct err *e, const char *what)
{
    static const int fair[] = {ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL, ENODATA, EPERM};
    if (rc >= 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(fair); i++)
        if (e->code == fair[i])
            return;
    snprintf(w->failed, sizeof(w->failed), "%s: %s", what, e->text);
}

static void read_published(struct worker *w, store_ino ino)
{
    struct err e;
    char bytes[MAX_LEN];
    struct store_content c;
    int rc = store_content_open(w->f->s, ino, &c, &e);
    check_error(w, rc, &e, "content_open");
    if (rc < 0)
        return;
    ssize_t n = pread(c.fd, bytes, sizeof(bytes), 0);
    if (n < 0 || (uint64_t)n != c.size)
        snprintf(w->failed, sizeof(w->failed), "a content of %u bytes has %d", (unsigned)c.size,
                 (int)n);
    else
        check_content(w, bytes, c.size, "content");
    close(c.fd);
}

static void write_and_publish(struct worker *w, store_ino ino, bool whole)
{
    struct err e;
    char bytes[MAX_LEN];
    unsigned n = make_content(bytes, &w->rng);
    if (whole) {
        check_error(w, store_content_write(w->f->s, ino, bytes, n, &e), &e, "content_write");
        return;
    }
    /* Only by the thread that made the file: else two writers would mix, as they may. */
    struct store_file *f = store_file_open(w->f->s, ino, O_WRONLY | O_TRUNC, &e);
    check_error(w, f ? 0 : -1, &e, "open");
    if (!f)
        return;
    check_error(w, store_file_write(f, bytes, n / 2, 0, false, &e), &e, "write");
    check_error(w, store_file_write(f, bytes + n / 2, n - n / 2, 0, true, &e), &e, "append");
    check_error(w, store_file_publish(f, &e), &e, "publish");
    store_file_close(f);
}

static void use_removed(struct worker *w, store_ino ino)
{
    struct err e;
    char byte;
    struct store_attr a;
    size_t n = 1;
    store_remember(w->f->s, ino, 1);
    struct store_file *f = store_file_open(w->f->s, ino, O_RDONLY, &e);
    check_error(w, f ? 0 : -1, &e, "open to read");
    if (f) {
        check_error(w, store_file_read(f, &byte, 1, 0, &e) < 0 ? -1 : 0, &e, "read");
        int fd = store_file_dup(f, 0, &n);
        if (fd >= 0)
            close(fd);
        if (store_getattr(w->f->s, ino, &a, &e) < 0) /* open: it cannot be gone */
            snprintf(w->failed, sizeof(w->failed), "an open file: %s", e.text);
        store_file_close(f);
    }
    store_forget(w->f->s, ino, 1);
}

static bool count_entry(void *ctx, const struct store_dirent *d)
{
    *(int *)ctx += d->attr.nlink > 0;
    return true;
}

static void step(struct worker *w)
{
    struct err e;
    struct store_attr a;
    uint64_t r = model_random(&w->rng);
    store_ino dir = w->dirs[r % 3], to = w->dirs[r / 3 % 3];
    char name[8], to_name[8];
    int entries = 0;
    snprintf(name, sizeof(name), "n%u", (unsigned)(r >> 8) % NAMES);
    snprintf(to_name, sizeof(to_name), "n%u", (unsigned)(r >> 16) % NAMES);
    struct store *s = w->f->s;
    int rc = store_lookup(s, dir, name, &a, &e);
    check_error(w, rc, &e, "lookup");
    if (rc < 0) {
        rc = store_make(s, dir, name, S_IFREG | 0600, 0, 0, &fixture_cred, &a, &e);
        check_error(w, rc, &e, "make");
        if (rc == 0)
            write_and_publish(w, a.ino, true);
        return;
    }
    switch (r >> 24 & 15) {
    case 0:
        check_error(w, store_unlink(s, dir, name, &e), &e, "unlink");
        break;
    case 1:
        check_error(w, store_rename(s, dir, name, to, to_name, 0, &e), &e, "rename");
        break;
    case 2:
        check_error(w, store_rename(s, dir, name, to, to_name, RENAME_EXCHANGE, &e), &e,
                    "exchange");
        break;
    case 3:
        check_error(w, store_link(s, a.ino, to, to_name, &a, &e), &e, "link");
        break;
    case 4:
        check_error(w, store_readdir(s, dir, 0, count_entry, &entries, &e), &e, "readdir");
        break;
    case 5:
        check_error(w, store_xattr_set(s, a.ino, "user.a", &r, 8, 0, &e), &e, "setxattr");
        break;
    case 6:
        check_error(w, store_setattr(s, a.ino, &a, STORE_SET_MODE | STORE_SET_MTIME, &a, &e), &e,
                    "setattr");
        break;
    case 7:
    case 8:
    case 9:
        write_and_publish(w, a.ino, true);
        break;
    case 10:
    case 11:
        use_removed(w, a.ino);
        break;
    default:
        read_published(w, a.ino);
    }
}

/* A file that only this thread writes, by draft. */
static void own_file(struct worker *w, store_ino ino)
{
    struct err e;
    char bytes[MAX_LEN];
    write_and_publish(w, ino, false);
    struct store_file *f = store_file_open(w->f->s, ino, O_RDONLY, &e);
    check_error(w, f ? 0 : -1, &e, "open own");
    if (!f)
        return;
    ssize_t n = store_file_read(f, bytes, sizeof(bytes), 0, &e);
    check_error(w, n < 0 ? -1 : 0, &e, "read own");
    if (n >= 0)
        check_content(w, bytes, (size_t)n, "own file");
    store_file_close(f);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    char name[24];
    snprintf(name, sizeof(name), "own-%llx", (unsigned long long)w->rng);
    store_ino own = fixture_create(w->f->s, STORE_ROOT, name);
    for (int i = 0; i < STEPS && !w->failed[0]; i++) {
        step(w);
        if (i % 8 == 0)
            own_file(w, own);
    }
    return NULL;
}

static void eight_threads_in_one_tree(void **state)
{
    struct fixture *f = *state;
    struct worker w[THREADS];
    char why[500];
    store_ino dirs[3] = {STORE_ROOT, fixture_mkdir(f->s, STORE_ROOT, "d"), 0};
    dirs[2] = fixture_mkdir(f->s, dirs[1], "e");
    for (int i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.f = f, .rng = 7919 * (uint64_t)(i + 1)};
        memcpy(w[i].dirs, dirs, sizeof(dirs));
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(w[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_string_equal(w[i].failed, "");
    fixture_reopen(f);
    if (!fixture_is_tidy(f, why, sizeof(why)))
        fail_msg("%s", why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(eight_threads_in_one_tree, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
