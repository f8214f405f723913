/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/store_fixture.h"

#include "base/map.h"

const struct store_cred fixture_cred = {1000, 100, 022};

static void need(bool ok, const char *what, const struct err *e)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s\n", what, e->text);
    abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void fixture_remove_tree(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int setup_in(const char *where, void **state)
{
    struct err e;
    struct fixture *f = xcalloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "%s/llmosfs-test-XXXXXX", where);
    if (!mkdtemp(f->dir) || !(f->s = store_open(f->dir, &e))) {
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

int fixture_setup(void **state)
{
    return setup_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", state);
}

int fixture_setup_disk(void **state)
{
    return setup_in("/tmp", state);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->s)
        store_close(f->s);
    fixture_remove_tree(f->dir);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f)
{
    struct err e;
    if (f->s)
        store_close(f->s);
    f->s = store_open(f->dir, &e);
    need(f->s, "store_open", &e);
}

store_ino fixture_mkdir(struct store *s, store_ino parent, const char *name)
{
    struct err e;
    struct store_attr a;
    need(store_make(s, parent, name, S_IFDIR | 0777, 0, 0, &fixture_cred, &a, &e) == 0, "mkdir",
         &e);
    return a.ino;
}

store_ino fixture_create(struct store *s, store_ino parent, const char *name)
{
    struct err e;
    struct store_attr a;
    need(store_make(s, parent, name, S_IFREG | 0666, 0, 0, &fixture_cred, &a, &e) == 0, "create",
         &e);
    return a.ino;
}

store_ino fixture_write(struct store *s, store_ino parent, const char *name, const void *data,
                        size_t n)
{
    struct err e;
    store_ino ino = 0;
    if (fixture_lookup(s, parent, name, &ino) != 0)
        ino = fixture_create(s, parent, name);
    struct store_file *f = store_file_open(s, ino, O_WRONLY | O_TRUNC, &e);
    need(f, "open", &e);
    need(store_file_write(f, data, n, 0, false, &e) == 0, "write", &e);
    need(store_file_publish(f, &e) == 0, "publish", &e);
    store_file_close(f);
    return ino;
}

struct store_attr fixture_attr(struct store *s, store_ino ino)
{
    struct err e;
    struct store_attr a = {0};
    need(store_getattr(s, ino, &a, &e) == 0, "getattr", &e);
    return a;
}

int fixture_lookup(struct store *s, store_ino parent, const char *name, store_ino *ino)
{
    struct err e;
    struct store_attr a;
    if (store_lookup(s, parent, name, &a, &e) < 0)
        return e.code;
    if (ino)
        *ino = a.ino;
    return 0;
}

static bool add_name(void *ctx, const struct store_dirent *d)
{
    buf_printf(ctx, "%s ", d->name);
    return true;
}

char *fixture_names(struct store *s, store_ino dir)
{
    struct err e;
    struct buf b = {0};
    need(store_readdir(s, dir, 0, add_name, &b, &e) == 0, "readdir", &e);
    return buf_steal(&b, NULL);
}

static unsigned files_seen;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)st, (void)ftw;
    files_seen += type == FTW_F;
    return 0;
}

unsigned fixture_count(const struct fixture *f, const char *folder)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%s", f->dir, folder);
    files_seen = 0;
    nftw(path, count_one, 16, FTW_PHYS);
    return files_seen;
}

bool fixture_wait(const struct fixture *f, const char *folder, unsigned n)
{
    for (int i = 0; i < 500; i++) {
        if (fixture_count(f, folder) == n)
            return true;
        usleep(10000);
    }
    return false;
}

struct census {
    struct store *s;
    struct map seen;
    unsigned nodes, blobs;
    struct buf dirs; /* still to be read */
    struct err e;
};

static bool census_one(void *ctx, const struct store_dirent *d)
{
    struct census *c = ctx;
    if (map_put(&c->seen, d->attr.ino, c))
        return true;
    c->nodes++;
    c->blobs += S_ISREG(d->attr.mode) && d->attr.size > 4096;
    if (S_ISDIR(d->attr.mode))
        buf_add(&c->dirs, &d->attr.ino, sizeof(d->attr.ino));
    if (S_ISREG(d->attr.mode)) {
        CLEANUP_BUF struct buf b = {0};
        if (store_content_read(c->s, d->attr.ino, 1 << 24, &b, &c->e) < 0)
            return false;
        if (b.len != d->attr.size)
            err_set(&c->e, EIO, "%s has %zu bytes, its size is %zu", d->name, b.len,
                    (size_t)d->attr.size);
    }
    return true;
}

static void census_take(struct census *c)
{
    store_ino dir = STORE_ROOT;
    buf_add(&c->dirs, &dir, sizeof(dir));
    c->nodes = 1;
    for (size_t at = 0; at < c->dirs.len && !c->e.code; at += sizeof(dir)) {
        memcpy(&dir, c->dirs.data + at, sizeof(dir));
        store_readdir(c->s, dir, 0, census_one, c, &c->e);
    }
    map_free(&c->seen);
    buf_free(&c->dirs);
}

bool fixture_is_tidy(const struct fixture *f, char *why, size_t size)
{
    struct statvfs st;
    struct census c = {.s = f->s};
    census_take(&c);
    if (c.e.code || store_statfs(f->s, &st, &c.e) < 0) {
        snprintf(why, size, "%s", c.e.text);
        return false;
    }
    unsigned nodes = (unsigned)(st.f_files - st.f_ffree), blobs = fixture_count(f, "blobs"),
             drafts = fixture_count(f, "drafts");
    snprintf(why, size, "%u of %u nodes have a name, %u of %u blobs a node, %u drafts", c.nodes,
             nodes, c.blobs, blobs, drafts);
    return nodes == c.nodes && blobs == c.blobs && drafts == 0;
}

void fixture_fill(void *data, size_t n, uint64_t seed)
{
    unsigned char *p = data;
    uint64_t x = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (unsigned char)(x >> 32);
    }
}
