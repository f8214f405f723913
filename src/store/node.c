/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes: their records, their attributes, new ones, and the end of those that have no name. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "store/store-internal.h"

#define NODE_SIZE 112

/* --- the record --- */

static void put_time(unsigned char **p, const struct timespec *ts)
{
    store_w64(p, (uint64_t)ts->tv_sec);
    store_w32(p, (uint32_t)ts->tv_nsec);
}

static struct timespec get_time(const unsigned char **p)
{
    struct timespec ts;
    ts.tv_sec = (time_t)store_r64(p);
    ts.tv_nsec = store_r32(p);
    return ts;
}

int store_node_put(struct store_txn *t, const struct store_node *n, struct err *e)
{
    const struct store_attr *a = &n->attr;
    unsigned char body[NODE_SIZE], *p = body;
    store_w32(&p, a->role);
    store_w32(&p, a->mode);
    store_w32(&p, a->uid);
    store_w32(&p, a->gid);
    store_w32(&p, (uint32_t)a->nlink);
    put_time(&p, &a->atime);
    put_time(&p, &a->mtime);
    put_time(&p, &a->ctime);
    store_w64(&p, a->rdev);
    store_w64(&p, n->content);
    store_w64(&p, a->size);
    store_w64(&p, a->blocks);
    store_w64(&p, n->parent);
    store_w64(&p, n->entries);
    store_w64(&p, n->next_cookie);
    struct store_key k = store_key_id(a->ino);
    return store_rec_put(t, TABLE_NODES, &k, body, sizeof(body), NULL, 0, 0, e);
}

static bool type_known(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return false;
    }
}

static bool node_sane(const struct store_node *n)
{
    const struct store_attr *a = &n->attr;
    return type_known(a->mode) && (a->mode & ~(mode_t)(S_IFMT | 07777)) == 0 &&
           a->atime.tv_nsec < 1000000000 && a->mtime.tv_nsec < 1000000000 &&
           a->ctime.tv_nsec < 1000000000 && a->size <= INT64_MAX;
}

int store_node_get(struct store_txn *t, store_ino ino, struct store_node *n, struct err *e)
{
    struct store_key k = store_key_id(ino);
    struct store_rec r;
    int rc = store_rec_get(t, TABLE_NODES, &k, &r, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ENOENT, "there is no node %" PRIu64, ino);
    if (r.n != NODE_SIZE)
        return store_damaged(TABLE_NODES, k.b, k.n, "its length is wrong", e);
    struct store_attr *a = &n->attr;
    const unsigned char *p = r.data;
    a->ino = ino;
    a->role = store_r32(&p);
    a->mode = store_r32(&p);
    a->uid = store_r32(&p);
    a->gid = store_r32(&p);
    a->nlink = store_r32(&p);
    a->atime = get_time(&p);
    a->mtime = get_time(&p);
    a->ctime = get_time(&p);
    a->rdev = store_r64(&p);
    n->content = store_r64(&p);
    a->size = store_r64(&p);
    a->blocks = store_r64(&p);
    n->parent = store_r64(&p);
    n->entries = store_r64(&p);
    n->next_cookie = store_r64(&p);
    if (S_ISDIR(a->mode))
        a->size = n->entries;
    return node_sane(n) ? 0 : store_damaged(TABLE_NODES, k.b, k.n, "its fields make no sense", e);
}

int store_node_dir(struct store_txn *t, store_ino ino, struct store_node *n, struct err *e)
{
    if (store_node_get(t, ino, n, e) < 0)
        return -1;
    if (!S_ISDIR(n->attr.mode))
        return err_set(e, ENOTDIR, "node %" PRIu64 " is no directory", ino);
    return 0;
}

int store_node_root(struct store_txn *t, struct err *e)
{
    struct timespec now = clock_wall();
    struct store_node n = {.attr = {.ino = STORE_ROOT,
                                    .mode = S_IFDIR | 0755,
                                    .nlink = 2,
                                    .uid = geteuid(),
                                    .gid = getegid(),
                                    .atime = now,
                                    .mtime = now,
                                    .ctime = now},
                           .parent = STORE_ROOT,
                           .next_cookie = 1};
    return store_node_put(t, &n, e);
}

/* --- attributes --- */

/*
 * What is only in memory is looked at before the record: a draft that is published in between is
 * then in the record, while the other way round neither would show it.
 */
int store_attr_get(struct store *s, store_ino ino, struct store_attr *a, struct err *e)
{
    struct store_overlay over;
    struct store_node n;
    store_live_overlay(s, ino, &over);
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0 || store_node_get(&t, ino, &n, e) < 0)
        return -1;
    *a = n.attr;
    store_overlay_apply(&over, a);
    return 0;
}

int store_getattr(struct store *s, store_ino ino, struct store_attr *a, struct err *e)
{
    return store_attr_get(s, ino, a, e);
}

/* chown(2): a file that is no directory loses what would let it run as its new owner. */
static void clear_privileges(struct store_attr *a)
{
    if (S_ISDIR(a->mode))
        return;
    a->mode &= ~(mode_t)S_ISUID;
    if (a->mode & S_IXGRP)
        a->mode &= ~(mode_t)S_ISGID;
}

static void attr_change(struct store_attr *a, const struct store_attr *want, unsigned set)
{
    if (set & (STORE_SET_UID | STORE_SET_GID))
        clear_privileges(a);
    if (set & STORE_SET_MODE)
        a->mode = (a->mode & S_IFMT) | (want->mode & 07777);
    if (set & STORE_SET_UID)
        a->uid = want->uid;
    if (set & STORE_SET_GID)
        a->gid = want->gid;
    if (set & STORE_SET_ROLE)
        a->role = want->role;
    if (set & STORE_SET_ATIME)
        a->atime = want->atime;
    if (set & STORE_SET_MTIME)
        a->mtime = want->mtime;
    a->ctime = set & STORE_SET_CTIME ? want->ctime : clock_wall();
}

static int set_size(struct store *s, store_ino ino, uint64_t size, struct err *e)
{
    struct store_file *f = store_file_open(s, ino, O_WRONLY, e);
    if (!f)
        return -1;
    int rc = store_file_truncate(f, size, e);
    /* With another writer at work the draft is that one's to publish. */
    if (rc == 0 && !store_file_shared(f))
        rc = store_file_publish(f, e);
    store_file_close(f);
    return rc;
}

int store_setattr(struct store *s, store_ino ino, const struct store_attr *want, unsigned set,
                  struct store_attr *a, struct err *e)
{
    if (set & STORE_SET_SIZE && set_size(s, ino, want->size, e) < 0)
        return -1;
    set &= ~(unsigned)STORE_SET_SIZE;
    if ((set & STORE_SET_ATIME && (unsigned long)want->atime.tv_nsec >= 1000000000) ||
        (set & STORE_SET_MTIME && (unsigned long)want->mtime.tv_nsec >= 1000000000))
        return err_set(e, EINVAL, "a time has more than 999999999 nanoseconds");
    if (set) {
        CLEANUP_TXN struct store_txn t = {0};
        struct store_node n;
        if (store_txn_write(s, &t, e) < 0 || store_node_get(&t, ino, &n, e) < 0)
            return -1;
        attr_change(&n.attr, want, set);
        if (store_node_put(&t, &n, e) < 0 || store_txn_commit(&t, e) < 0)
            return -1;
        store_live_set_times(s, &n.attr, set);
    }
    return a ? store_attr_get(s, ino, a, e) : 0;
}

/* --- new nodes --- */

/* Makes the node of n->attr.mode and its name in parent; everything but mode, rdev, role and size
 * is filled in here. */
static int node_make(struct store_txn *t, store_ino parent, const char *name,
                     const struct store_cred *who, struct store_node *n, struct err *e)
{
    struct store_node dir;
    struct store_dentry d;
    struct store_attr *a = &n->attr;
    if (store_node_dir(t, parent, &dir, e) < 0)
        return -1;
    if (dir.attr.nlink == 0)
        return err_set(e, ENOENT, "the directory was removed");
    int rc = store_dentry_get(t, parent, name, &d, e);
    if (rc < 0)
        return -1;
    if (rc)
        return err_set(e, EEXIST, "%s exists", name);
    a->uid = who->uid;
    a->gid = who->gid;
    if (dir.attr.mode & S_ISGID) {
        a->gid = dir.attr.gid;
        if (S_ISDIR(a->mode))
            a->mode |= S_ISGID;
    }
    a->nlink = S_ISDIR(a->mode) ? 2 : 1;
    a->atime = a->mtime = a->ctime = clock_wall();
    n->parent = S_ISDIR(a->mode) ? parent : 0;
    n->next_cookie = 1;
    if (S_ISDIR(a->mode) && dir.attr.nlink >= INT32_MAX)
        return err_set(e, EMLINK, "the directory holds too many directories");
    dir.attr.nlink += S_ISDIR(a->mode);
    if (store_dentry_add(t, &dir, name, a->ino, e) < 0)
        return -1;
    return store_node_put(t, &dir, e) < 0 || store_node_put(t, n, e) < 0 ? -1 : 0;
}

int store_make(struct store *s, store_ino parent, const char *name, mode_t mode, dev_t rdev,
               uint32_t role, const struct store_cred *who, struct store_attr *a, struct err *e)
{
    struct store_node n = {.attr = {.role = role, .mode = mode & (S_IFMT | 07777)}};
    if (!type_known(mode) || S_ISLNK(mode))
        return err_set(e, EINVAL, "%o is no type of a node that can be made", mode & S_IFMT);
    n.attr.mode &= ~(who->umask & 0777);
    if (S_ISCHR(mode) || S_ISBLK(mode))
        n.attr.rdev = rdev;
    if (store_name_check(name, e) < 0 || store_number_take(s, NUMBER_INO, &n.attr.ino, e) < 0)
        return -1;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_write(s, &t, e) < 0 || node_make(&t, parent, name, who, &n, e) < 0 ||
        store_txn_commit(&t, e) < 0)
        return -1;
    if (a)
        *a = n.attr;
    return 0;
}

int store_symlink(struct store *s, store_ino parent, const char *name, const char *target,
                  const struct store_cred *who, struct store_attr *a, struct err *e)
{
    struct store_node n = {.attr = {.mode = S_IFLNK | 0777, .size = strlen(target)}};
    if (n.attr.size == 0)
        return err_set(e, ENOENT, "a symbolic link to nothing");
    if (n.attr.size > STORE_SYMLINK_MAX)
        return err_set(e, ENAMETOOLONG, "the target of a symbolic link is longer than %d bytes",
                       STORE_SYMLINK_MAX);
    if (store_name_check(name, e) < 0 || store_number_take(s, NUMBER_INO, &n.attr.ino, e) < 0)
        return -1;
    struct store_key k = store_key_id(n.attr.ino);
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_write(s, &t, e) < 0 || node_make(&t, parent, name, who, &n, e) < 0 ||
        store_rec_put(&t, TABLE_SYMLINKS, &k, target, n.attr.size, NULL, 0, 0, e) < 0 ||
        store_txn_commit(&t, e) < 0)
        return -1;
    if (a)
        *a = n.attr;
    return 0;
}

int store_readlink(struct store *s, store_ino ino, struct buf *target, struct err *e)
{
    struct store_key k = store_key_id(ino);
    struct store_node n;
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0 || store_node_get(&t, ino, &n, e) < 0)
        return -1;
    if (!S_ISLNK(n.attr.mode))
        return err_set(e, EINVAL, "node %" PRIu64 " is no symbolic link", ino);
    int rc = store_rec_get(&t, TABLE_SYMLINKS, &k, &r, e);
    if (rc < 0)
        return -1;
    if (rc == 0 || r.n != n.attr.size || memchr(r.data, 0, r.n))
        return store_damaged(TABLE_SYMLINKS, k.b, k.n, "the target is missing or not whole", e);
    buf_add(target, r.data, r.n);
    return 0;
}

/* --- the end --- */

int store_node_drop(struct store_txn *t, struct store_node *n, const struct timespec *now,
                    struct err *e)
{
    if (S_ISDIR(n->attr.mode))
        n->attr.nlink = 0;
    else if (n->attr.nlink > 0)
        n->attr.nlink--;
    n->attr.ctime = *now;
    if (n->attr.nlink == 0) {
        struct store_key k = store_key_id(n->attr.ino);
        if (store_rec_put(t, TABLE_ORPHANS, &k, NULL, 0, NULL, 0, 0, e) < 0)
            return -1;
        store_ids_add(&t->dead, n->attr.ino);
    }
    return store_node_put(t, n, e);
}

int store_node_purge(struct store_txn *t, store_ino ino, struct err *e)
{
    struct store_key k = store_key_id(ino);
    struct store_rec r;
    struct store_node n;
    int rc = store_rec_get(t, TABLE_NODES, &k, &r, e);
    if (rc > 0) {
        if (store_node_get(t, ino, &n, e) < 0 ||
            (n.content && store_content_drop(t, n.content, e) < 0))
            return -1;
        rc = store_rec_del(t, TABLE_NODES, &k, e);
    }
    if (rc < 0 || store_rec_del(t, TABLE_ORPHANS, &k, e) < 0 ||
        store_rec_del(t, TABLE_SYMLINKS, &k, e) < 0)
        return -1;
    return store_rec_del_all(t, TABLE_XATTRS, ino, e) < 0 ||
                   store_rec_del_all(t, TABLE_SETTINGS, ino, e) < 0
               ? -1
               : 0;
}
