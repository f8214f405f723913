/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_store [FOLDER [VERSIONS]]: speed of the store in a temporary folder below FOLDER (default /dev/shm), without FUSE. Each line: what, how many a second.
 * With VERSIONS also a store of that many directories with 20 small files each: time to open it, to list its root, and memory.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "tests/lib/store_fixture.h"

#define FILES 2000

static char bytes[1 << 20];

static void rate(const char *what, uint64_t n, uint64_t since)
{
    double s = (double)(clock_now() - since) / 1e9;
    printf("%-44s %12.0f /s\n", what, (double)n / s);
}

static void check(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "bench_store: %s\n", e->text);
    exit(1);
}

static bool count(void *ctx, const struct store_dirent *d)
{
    *(uint64_t *)ctx += d->attr.ino != 0;
    return true;
}

static void read_one(struct store *s, store_ino dir, const char *name, size_t n)
{
    struct err e;
    struct store_attr a;
    check(store_lookup(s, dir, name, &a, &e), &e);
    struct store_file *f = store_file_open(s, a.ino, O_RDONLY, &e);
    check(f ? 0 : -1, &e);
    check(store_file_read(f, bytes, n, 0, &e) == (ssize_t)n ? 0 : -1, &e);
    store_file_close(f);
}

static void publish_many(struct store *s, store_ino dir, const char *what, size_t n, int times)
{
    struct err e;
    store_ino ino = fixture_write(s, dir, "published", "", 0);
    uint64_t t = clock_now();
    for (int i = 0; i < times; i++) {
        struct store_file *f = store_file_open(s, ino, O_WRONLY | O_TRUNC, &e);
        check(f ? 0 : -1, &e);
        check(store_file_write(f, bytes, n, 0, false, &e), &e);
        check(store_file_publish(f, &e), &e);
        store_file_close(f);
    }
    rate(what, (uint64_t)times, t);
}

static void small_things(struct store *s)
{
    struct err e;
    char name[32];
    struct store_attr a;
    store_ino dir = fixture_mkdir(s, STORE_ROOT, "small");
    uint64_t t = clock_now(), seen = 0;
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        fixture_create(s, dir, name);
    }
    rate("create", FILES, t);
    t = clock_now();
    for (int i = 0; i < FILES * 20; i++) {
        snprintf(name, sizeof(name), "file%d", i % FILES);
        check(store_lookup(s, dir, name, &a, &e), &e);
    }
    rate("lookup with attributes", FILES * 20, t);
    fixture_write(s, dir, "64", bytes, 64);
    fixture_write(s, dir, "64k", bytes, 65536);
    t = clock_now();
    for (int i = 0; i < FILES * 20; i++)
        read_one(s, dir, "64", 64);
    rate("lookup, open, read 64 bytes, close", FILES * 20, t);
    t = clock_now();
    for (int i = 0; i < FILES * 5; i++)
        read_one(s, dir, "64k", 4096);
    rate("the same of a file of 64 KiB, 4 KiB", FILES * 5, t);
    t = clock_now();
    for (int i = 0; i < 100; i++)
        check(store_readdir(s, dir, 0, count, &seen, &e), &e);
    rate("readdir, names with attributes", seen, t);
    publish_many(s, dir, "open O_TRUNC, write 64 bytes, publish, close", 64, FILES);
    publish_many(s, dir, "the same, 64 KiB", 65536, FILES / 4);
    t = clock_now();
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        check(store_unlink(s, dir, name, &e), &e);
    }
    rate("unlink", FILES, t);
}

static void large_file(struct store *s)
{
    struct err e;
    store_ino ino = fixture_create(s, STORE_ROOT, "large");
    struct store_file *f = store_file_open(s, ino, O_WRONLY, &e);
    check(f ? 0 : -1, &e);
    uint64_t t = clock_now();
    for (uint64_t i = 0; i < 512; i++)
        check(store_file_write(f, bytes, sizeof(bytes), i * sizeof(bytes), false, &e), &e);
    check(store_file_publish(f, &e), &e);
    store_file_close(f);
    rate("write 512 MiB and publish, MiB", 512, t);
    check(store_unlink(s, STORE_ROOT, "large", &e), &e);
}

static void many_versions(struct fixture *f, unsigned versions)
{
    struct err e;
    char name[32];
    struct rusage use;
    for (unsigned i = 0; i < versions; i++) {
        snprintf(name, sizeof(name), "model@%u", i);
        store_ino dir = fixture_mkdir(f->s, STORE_ROOT, name);
        for (int j = 0; j < 20; j++) {
            snprintf(name, sizeof(name), "file%d", j);
            check(store_content_write(f->s, fixture_create(f->s, dir, name), bytes, 20, &e), &e);
        }
    }
    store_close(f->s);
    uint64_t t = clock_now(), seen = 0;
    f->s = store_open(f->dir, &e);
    check(f->s ? 0 : -1, &e);
    printf("open a store of %u × 20 files: %.1f ms\n", versions, (double)(clock_now() - t) / 1e6);
    t = clock_now();
    check(store_readdir(f->s, STORE_ROOT, 0, count, &seen, &e), &e);
    printf("list its root, %" PRIu64 " names with attributes: %.1f ms\n", seen,
           (double)(clock_now() - t) / 1e6);
    getrusage(RUSAGE_SELF, &use);
    printf("memory at most: %ld MiB\n", use.ru_maxrss / 1024);
}

int main(int argc, char **argv)
{
    struct err e;
    struct fixture f;
    unsigned versions = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (snprintf(f.dir, sizeof(f.dir), "%s/llmosfs-bench-XXXXXX",
                 argc > 1 ? argv[1] : "/dev/shm") >= (int)sizeof(f.dir) ||
        !mkdtemp(f.dir)) {
        fprintf(stderr, "bench_store: cannot make a folder in %s\n",
                argc > 1 ? argv[1] : "/dev/shm");
        return 1;
    }
    fixture_fill(bytes, sizeof(bytes), 1);
    f.s = store_open(f.dir, &e);
    check(f.s ? 0 : -1, &e);
    small_things(f.s);
    large_file(f.s);
    if (versions)
        many_versions(&f, versions);
    store_close(f.s);
    fixture_remove_tree(f.dir);
    return 0;
}
