/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged records. Every record of a small store is flipped, shortened, emptied, put under another version, and replaced by
 * nonsense with a right check value; then everything is done to the store that can be. It may refuse; it must not crash, and with a wrong check
 * value it must not hand out other bytes than were stored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/io.h"
#include "tests/lib/store_fixture.h"
#include "tests/lib/store_model.h"

#define BIG 20000

static const char *const tables[] = {"meta",     "nodes",  "dentries", "order",
                                     "symlinks", "xattrs", "contents", "orphans",
                                     "garbage",  "facts",  "settings"};

/* --- a store with a record of each kind --- */

struct sample {
    struct fixture *f;
    char db[100], blob[160], spare[100];
    struct buf image; /* of the database */
    store_ino dir, small, large, link;
    uint64_t content;
    char bytes[BIG];
};

static void find_blob(struct sample *m)
{
    char command[128];
    snprintf(command, sizeof(command), "find %s/blobs -type f", m->f->dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(m->blob, sizeof(m->blob), p));
    m->blob[strcspn(m->blob, "\n")] = '\0';
    pclose(p);
    assert_int_equal(link(m->blob, m->spare), 0);
}

static void make_sample(struct sample *m, struct fixture *f)
{
    struct err e;
    struct store_attr a;
    struct store_content c;
    m->f = f;
    snprintf(m->db, sizeof(m->db), "%s/db/data.mdb", f->dir);
    snprintf(m->spare, sizeof(m->spare), "%s/spare", f->dir);
    fixture_fill(m->bytes, BIG, 3);
    m->dir = fixture_mkdir(f->s, STORE_ROOT, "dir");
    m->small = fixture_write(f->s, m->dir, "small", m->bytes, 50);
    m->large = fixture_write(f->s, m->dir, "large", m->bytes, BIG);
    assert_int_equal(store_symlink(f->s, STORE_ROOT, "link", "target", &fixture_cred, &a, &e), 0);
    m->link = a.ino;
    assert_int_equal(store_xattr_set(f->s, m->large, "user.x", "value", 5, 0, &e), 0);
    assert_int_equal(store_setting_set(f->s, m->dir, "pin", "1", 1, &e), 0);
    assert_int_equal(store_content_open(f->s, m->large, &c, &e), 0);
    close(c.fd);
    m->content = c.id;
    assert_int_equal(store_facts_set(f->s, c.id, "facts", 5, &e), 0);
    find_blob(m);
    store_close(steal_ptr(&f->s));
    assert_int_equal(io_read_file(m->db, 1 << 24, &m->image, &e), 0);
}

static void restore_sample(struct sample *m)
{
    CLEANUP_FD int fd = open(m->db, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(fd, m->image.data, m->image.len, 0), 0);
    if (access(m->blob, F_OK) < 0)
        assert_int_equal(link(m->spare, m->blob), 0);
}

/* --- everything that can be done --- */

struct outcome {
    int eio;
    bool wrong;
};

static int note(struct outcome *o, int rc, const struct err *e)
{
    o->eio += rc < 0 && e->code == EIO;
    return rc;
}

static bool see(void *ctx, const struct store_dirent *d)
{
    struct outcome *o = ctx;
    o->wrong |= strlen(d->name) > STORE_NAME_MAX;
    return true;
}

static void read_back(struct sample *m, struct store *s, store_ino ino, size_t n, struct outcome *o)
{
    struct err e;
    char got[BIG];
    CLEANUP_BUF struct buf b = {0};
    if (note(o, store_content_read(s, ino, 1 << 20, &b, &e), &e) == 0)
        o->wrong |= b.len != n || memcmp(b.data, m->bytes, n) != 0;
    struct store_file *f = store_file_open(s, ino, O_RDWR, &e);
    if (note(o, f ? 0 : -1, &e) < 0)
        return;
    ssize_t len = store_file_read(f, got, sizeof(got), 0, &e);
    if (note(o, len < 0 ? -1 : 0, &e) == 0)
        o->wrong |= (size_t)len != n || memcmp(got, m->bytes, n) != 0;
    note(o, store_file_write(f, m->bytes, 1, 0, false, &e), &e);
    note(o, store_file_publish(f, &e), &e);
    store_file_close(f);
}

static void look(struct sample *m, struct store *s, struct outcome *o)
{
    struct err e;
    struct store_attr a;
    struct statvfs st;
    store_ino parent;
    static const char *const names[] = {"small", "large", "none"};
    CLEANUP_BUF struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        note(o, store_lookup(s, m->dir, names[i], &a, &e), &e);
    note(o, store_lookup(s, STORE_ROOT, "dir", &a, &e), &e);
    note(o, store_lookup(s, STORE_ROOT, "link", &a, &e), &e);
    note(o, store_readdir(s, STORE_ROOT, 0, see, o, &e), &e);
    note(o, store_readdir(s, m->dir, 0, see, o, &e), &e);
    note(o, store_parent(s, m->dir, &parent, &e), &e);
    note(o, store_readlink(s, m->link, &b, &e), &e);
    note(o, store_xattr_list(s, m->large, &b, &e), &e);
    note(o, store_xattr_get(s, m->large, "user.x", &b, &e), &e);
    note(o, store_setting_get(s, m->dir, "pin", &b, &e), &e);
    note(o, store_facts_get(s, m->content, &b, &e), &e);
    note(o, store_statfs(s, &st, &e), &e);
}

static void change(struct sample *m, struct store *s, struct outcome *o)
{
    struct err e;
    struct store_attr a = {.mode = 0600, .size = 1};
    note(o, store_xattr_set(s, m->large, "user.y", "y", 1, 0, &e), &e);
    note(o, store_setattr(s, m->small, &a, STORE_SET_MODE | STORE_SET_SIZE, &a, &e), &e);
    note(o, store_make(s, m->dir, "new", S_IFREG | 0600, 0, 0, &fixture_cred, &a, &e), &e);
    note(o, store_link(s, m->small, m->dir, "second", &a, &e), &e);
    note(o, store_rename(s, m->dir, "small", STORE_ROOT, "moved", 0, &e), &e);
    note(o, store_rename(s, STORE_ROOT, "dir", m->dir, "inside", 0, &e), &e);
    note(o, store_rename(s, STORE_ROOT, "dir", STORE_ROOT, "link", RENAME_EXCHANGE, &e), &e);
    note(o, store_rename(s, STORE_ROOT, "moved", m->dir, "large", 0, &e), &e);
    note(o, store_unlink(s, m->dir, "second", &e), &e);
    note(o, store_unlink(s, m->dir, "large", &e), &e);
    note(o, store_unlink(s, STORE_ROOT, "dir", &e), &e);
    note(o, store_rmdir(s, STORE_ROOT, "link", &e), &e);
}

static void use(struct sample *m, struct outcome *o)
{
    struct err e;
    struct store *s = store_open(m->f->dir, &e);
    if (note(o, s ? 0 : -1, &e) < 0)
        return;
    look(m, s, o);
    read_back(m, s, m->small, 50, o);
    read_back(m, s, m->large, BIG, o);
    change(m, s, o);
    store_close(s);
}

/* --- damage --- */

enum harm {
    FLIP_KIND,
    FLIP_VERSION,
    FLIP_CHECK,
    FLIP_BODY,
    SHORTEN,
    EMPTY,
    HARMS_SEEN,
    NONSENSE = HARMS_SEEN,
    HARMS
};

static size_t harm_bytes(unsigned char *p, size_t n, enum harm harm, const MDB_val *key,
                         uint64_t *rng)
{
    static const size_t at[] = {0, 1, 5};
    switch (harm) {
    case FLIP_KIND:
    case FLIP_VERSION:
    case FLIP_CHECK:
        p[at[harm]] ^= (unsigned char)(1u << model_random(rng) % 8);
        return n;
    case FLIP_BODY: /* or, without a body, the check value */
        p[n > 8 ? 8 + model_random(rng) % (n - 8) : 4] ^=
            (unsigned char)(1u << model_random(rng) % 8);
        return n;
    case SHORTEN:
        return model_random(rng) % n;
    case EMPTY:
        return 0;
    default:
        for (size_t i = 8; i < n; i++)
            if (model_random(rng) % 3 == 0)
                p[i] = model_random(rng) % 2 ? 0xff : (unsigned char)model_random(rng);
        if (model_random(rng) % 4 == 0 && n > 8)
            n = 8 + model_random(rng) % (n - 8);
        uint32_t check =
            (uint32_t)XXH3_64bits_withSeed(p + 8, n - 8, XXH3_64bits(key->mv_data, key->mv_size));
        memcpy(p + 4, &check, 4); /* little-endian machines only, as the check below says */
        return n;
    }
}

/* Does harm to record number `index` of a table. False if there is none. */
static bool harm_record(struct sample *m, const char *table, int index, enum harm harm,
                        uint64_t *rng)
{
    char dir[100];
    MDB_env *env;
    MDB_txn *t;
    MDB_dbi dbi;
    MDB_cursor *c;
    MDB_val key, val;
    bool found = false;
    snprintf(dir, sizeof(dir), "%s/db", m->f->dir);
    assert_int_equal(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 16);
    assert_int_equal(mdb_env_open(env, dir, MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &t), 0);
    assert_int_equal(mdb_dbi_open(t, table, 0, &dbi), 0);
    assert_int_equal(mdb_cursor_open(t, dbi, &c), 0);
    int rc = mdb_cursor_get(c, &key, &val, MDB_FIRST);
    for (; rc == 0 && index > 0; index--)
        rc = mdb_cursor_get(c, &key, &val, MDB_NEXT);
    if (rc == 0) {
        unsigned char bytes[8192], name[512];
        assert_true(val.mv_size <= sizeof(bytes));
        memcpy(bytes, val.mv_data, val.mv_size);
        memcpy(name, key.mv_data, key.mv_size);
        MDB_val k = {key.mv_size, name},
                v = {harm_bytes(bytes, val.mv_size, harm, &key, rng), bytes};
        assert_int_equal(mdb_put(t, dbi, &k, &v, 0), 0);
        found = true;
    }
    mdb_cursor_close(c);
    assert_int_equal(mdb_txn_commit(t), 0);
    mdb_env_close(env);
    return found;
}

static void damage_is_refused(void **state)
{
    struct sample *m = xcalloc(1, sizeof(*m));
    uint64_t rng = 99;
    int records = 0;
    make_sample(m, *state);
    struct outcome healthy = {0};
    use(m, &healthy);
    assert_int_equal(healthy.eio, 0);
    assert_false(healthy.wrong);
    for (size_t table = 0; table < ARRAY_LEN(tables); table++)
        for (int i = 0;; i++, records++) {
            enum harm harm = 0;
            for (; harm < HARMS + 6; harm++) { /* nonsense is of many kinds */
                struct outcome o = {0};
                restore_sample(m);
                if (!harm_record(m, tables[table], i, harm, &rng))
                    break;
                use(m, &o);
                if (harm < HARMS_SEEN && (o.wrong || o.eio == 0))
                    fail_msg("record %d of %s, harm %d: %s", i, tables[table], (int)harm,
                             o.wrong ? "wrong bytes" : "nobody noticed");
            }
            if (harm == 0)
                break;
        }
    assert_true(records > 20);
    buf_free(&m->image);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damage_is_refused, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
