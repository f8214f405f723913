/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names. A directory has two tables: by name, for looking up, and by cookie, for reading it in an
 * order that nothing disturbs: each name gets the directory's next number when it comes and keeps
 * it until it goes, also when it comes to mean another node.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "store/store-internal.h"

int store_name_check(const char *name, struct err *e)
{
    size_t n = strlen(name);
    if (n > STORE_NAME_MAX)
        return err_set(e, ENAMETOOLONG, "a name is longer than %d bytes", STORE_NAME_MAX);
    if (n == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(e, EINVAL, "\"%s\" cannot be a name", name);
    return 0;
}

/* --- one name --- */

static struct store_key name_key(store_ino dir, const char *name)
{
    return store_key_name(dir, name, strlen(name));
}

static int dentry_put(struct store_txn *t, store_ino dir, const char *name,
                      const struct store_dentry *d, struct err *e)
{
    struct store_key by_name = name_key(dir, name);
    struct store_key by_cookie = store_key_pair(dir, d->cookie);
    unsigned char body[16], *p = body;
    store_w64(&p, d->ino);
    store_w64(&p, d->cookie);
    if (store_rec_put(t, TABLE_DENTRIES, &by_name, body, 16, NULL, 0, 0, e) < 0)
        return -1;
    return store_rec_put(t, TABLE_ORDER, &by_cookie, body, 8, name, strlen(name), 0, e);
}

int store_dentry_get(struct store_txn *t, store_ino dir, const char *name, struct store_dentry *d,
                     struct err *e)
{
    struct store_key k = name_key(dir, name);
    struct store_rec r;
    int rc = store_rec_get(t, TABLE_DENTRIES, &k, &r, e);
    if (rc <= 0)
        return rc;
    if (r.n != 16)
        return store_damaged(TABLE_DENTRIES, k.b, k.n, "its length is wrong", e);
    d->ino = store_r64(&r.data);
    d->cookie = store_r64(&r.data);
    return 1;
}

/* dentry_get where the name must be there. */
static int dentry_need(struct store_txn *t, store_ino dir, const char *name, struct store_dentry *d,
                       struct err *e)
{
    int rc = store_dentry_get(t, dir, name, d, e);
    if (rc == 0)
        return err_set(e, ENOENT, "there is no %s", name);
    return rc < 0 ? -1 : 0;
}

static void dir_touch(struct store_node *dir)
{
    dir->attr.mtime = dir->attr.ctime = clock_wall();
}

int store_dentry_add(struct store_txn *t, struct store_node *dir, const char *name, store_ino ino,
                     struct err *e)
{
    struct store_dentry d = {ino, dir->next_cookie++};
    if (d.cookie == 0 || d.cookie >= INT64_MAX)
        return err_set(e, ENOSPC, "the directory has no number left for a name");
    dir->entries++;
    dir_touch(dir);
    return dentry_put(t, dir->attr.ino, name, &d, e);
}

int store_dentry_remove(struct store_txn *t, struct store_node *dir, const char *name,
                        struct err *e)
{
    struct store_dentry d;
    if (dentry_need(t, dir->attr.ino, name, &d, e) < 0)
        return -1;
    struct store_key by_name = name_key(dir->attr.ino, name);
    struct store_key by_cookie = store_key_pair(dir->attr.ino, d.cookie);
    dir->entries -= dir->entries > 0;
    dir_touch(dir);
    return store_rec_del(t, TABLE_DENTRIES, &by_name, e) < 0 ||
                   store_rec_del(t, TABLE_ORDER, &by_cookie, e) < 0
               ? -1
               : 0;
}

int store_dentry_replace(struct store_txn *t, store_ino dir, const char *name, store_ino ino,
                         struct err *e)
{
    struct store_dentry d;
    if (dentry_need(t, dir, name, &d, e) < 0)
        return -1;
    d.ino = ino;
    return dentry_put(t, dir, name, &d, e);
}

/* --- looking up --- */

static int lookup_ino(struct store *s, store_ino parent, const char *name, store_ino *ino,
                      struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    struct store_node dir;
    struct store_dentry d;
    if (store_txn_read(s, &t, e) < 0 || store_node_dir(&t, parent, &dir, e) < 0)
        return -1;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        *ino = name[1] ? dir.parent : parent;
        return 0;
    }
    if (store_name_check(name, e) < 0 || dentry_need(&t, parent, name, &d, e) < 0)
        return -1;
    *ino = d.ino;
    return 0;
}

int store_lookup(struct store *s, store_ino parent, const char *name, struct store_attr *a,
                 struct err *e)
{
    store_ino ino;
    return lookup_ino(s, parent, name, &ino, e) < 0 ? -1 : store_attr_get(s, ino, a, e);
}

int store_parent(struct store *s, store_ino dir, store_ino *parent, struct err *e)
{
    return lookup_ino(s, dir, "..", parent, e);
}

/* --- names that come and go --- */

int store_link(struct store *s, store_ino ino, store_ino parent, const char *name,
               struct store_attr *a, struct err *e)
{
    struct store_node n, dir;
    struct store_dentry d;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_name_check(name, e) < 0 || store_txn_write(s, &t, e) < 0 ||
        store_node_get(&t, ino, &n, e) < 0 || store_node_dir(&t, parent, &dir, e) < 0)
        return -1;
    if (S_ISDIR(n.attr.mode))
        return err_set(e, EPERM, "a directory has one name");
    if (n.attr.nlink == 0 || dir.attr.nlink == 0)
        return err_set(e, ENOENT, "what to link, or where to, was removed");
    if (n.attr.nlink >= STORE_LINK_MAX)
        return err_set(e, EMLINK, "a file has at most %d names", STORE_LINK_MAX);
    int rc = store_dentry_get(&t, parent, name, &d, e);
    if (rc < 0)
        return -1;
    if (rc)
        return err_set(e, EEXIST, "%s exists", name);
    n.attr.nlink++;
    n.attr.ctime = clock_wall();
    if (store_dentry_add(&t, &dir, name, ino, e) < 0 || store_node_put(&t, &dir, e) < 0 ||
        store_node_put(&t, &n, e) < 0 || store_txn_commit(&t, e) < 0)
        return -1;
    return a ? store_attr_get(s, ino, a, e) : 0;
}

static int remove_name(struct store *s, store_ino parent, const char *name, bool want_dir,
                       struct err *e)
{
    struct store_node n, dir;
    struct store_dentry d;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_name_check(name, e) < 0 || store_txn_write(s, &t, e) < 0 ||
        store_node_dir(&t, parent, &dir, e) < 0 || dentry_need(&t, parent, name, &d, e) < 0 ||
        store_node_get(&t, d.ino, &n, e) < 0)
        return -1;
    if (want_dir && !S_ISDIR(n.attr.mode))
        return err_set(e, ENOTDIR, "%s is no directory", name);
    if (!want_dir && S_ISDIR(n.attr.mode))
        return err_set(e, EISDIR, "%s is a directory", name);
    if (want_dir && n.entries > 0)
        return err_set(e, ENOTEMPTY, "%s is not empty", name);
    if (store_dentry_remove(&t, &dir, name, e) < 0)
        return -1;
    dir.attr.nlink -= want_dir;
    if (store_node_put(&t, &dir, e) < 0 || store_node_drop(&t, &n, &dir.attr.ctime, e) < 0)
        return -1;
    return store_txn_commit(&t, e);
}

int store_unlink(struct store *s, store_ino parent, const char *name, struct err *e)
{
    return remove_name(s, parent, name, false, e);
}

int store_rmdir(struct store *s, store_ino parent, const char *name, struct err *e)
{
    return remove_name(s, parent, name, true, e);
}

/* --- reading a directory --- */

#define BATCH 64

struct batch {
    size_t n;
    bool end;
    struct {
        struct store_dentry d;
        struct store_overlay over;
        struct store_attr attr; /* ino 0: has gone meanwhile */
        char name[STORE_NAME_MAX + 1];
    } v[BATCH];
};

static int batch_name(struct batch *b, const struct store_rec *r, struct err *e)
{
    size_t n = r->n - 8;
    if (r->n <= 8 || r->key_n != 16 || n > STORE_NAME_MAX || memchr(r->data + 8, 0, n) ||
        memchr(r->data + 8, '/', n))
        return store_damaged(TABLE_ORDER, r->key, r->key_n, "its name is none", e);
    const unsigned char *p = r->data;
    b->v[b->n].d.ino = store_r64(&p);
    memcpy(b->v[b->n].name, p, n);
    b->v[b->n].name[n] = '\0';
    uint64_t cookie = 0;
    for (int i = 8; i < 16; i++)
        cookie = cookie << 8 | r->key[i];
    b->v[b->n].d.cookie = cookie;
    b->n++;
    return 0;
}

static int batch_names(struct store *s, store_ino dir, uint64_t after, struct batch *b,
                       struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    CLEANUP_SCAN struct store_scan sc = {0};
    struct store_node n;
    struct store_key from = store_key_pair(dir, after + 1);
    struct store_rec r;
    if (store_txn_read(s, &t, e) < 0 || store_node_dir(&t, dir, &n, e) < 0 ||
        store_scan_begin(&sc, &t, TABLE_ORDER, &from, 8, e) < 0)
        return -1;
    int rc = 1;
    while (b->n < BATCH && (rc = store_scan_next(&sc, &r, e)) > 0)
        if (batch_name(b, &r, e) < 0)
            return -1;
    b->end = rc == 0;
    return rc < 0 ? -1 : 0;
}

/* Attributes in the order of store_attr_get: memory first, then the records. */
static int batch_attrs(struct store *s, struct batch *b, struct err *e)
{
    for (size_t i = 0; i < b->n; i++)
        store_live_overlay(s, b->v[i].d.ino, &b->v[i].over);
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0)
        return -1;
    for (size_t i = 0; i < b->n; i++) {
        struct store_node n;
        struct err why;
        b->v[i].attr.ino = 0;
        if (store_node_get(&t, b->v[i].d.ino, &n, &why) < 0) {
            if (why.code == ENOENT)
                continue;
            return err_set(e, why.code, "%s", why.text);
        }
        b->v[i].attr = n.attr;
        store_overlay_apply(&b->v[i].over, &b->v[i].attr);
    }
    return 0;
}

int store_readdir(struct store *s, store_ino dir, uint64_t after,
                  bool (*each)(void *ctx, const struct store_dirent *d), void *ctx, struct err *e)
{
    CLEANUP_FREE struct batch *b = xmalloc(sizeof(*b));
    do {
        b->n = 0;
        if (after >= INT64_MAX || batch_names(s, dir, after, b, e) < 0 || batch_attrs(s, b, e) < 0)
            return after >= INT64_MAX ? err_set(e, EINVAL, "there is no such place in a directory")
                                      : -1;
        for (size_t i = 0; i < b->n; i++) {
            struct store_dirent d = {b->v[i].name, b->v[i].d.cookie, b->v[i].attr};
            after = d.cookie;
            if (d.attr.ino && !each(ctx, &d))
                return 0;
        }
    } while (!b->end);
    return 0;
}
