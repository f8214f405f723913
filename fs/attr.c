/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: getattr, setattr, extended attributes, of all kinds of node. */
#include <string.h>
#include <sys/xattr.h>

#include "base/mem.h"
#include "fs/dispatch.h"

void attr_to_stat(const struct store_attr *a, struct stat *st)
{
    *st = (struct stat){.st_ino = a->ino,
                        .st_mode = a->mode,
                        .st_nlink = a->nlink,
                        .st_uid = a->uid,
                        .st_gid = a->gid,
                        .st_rdev = a->rdev,
                        .st_size = (off_t)a->size,
                        .st_blocks = (blkcnt_t)a->blocks,
                        .st_blksize = 4096,
                        .st_atim = a->atime,
                        .st_mtim = a->mtime,
                        .st_ctim = a->ctime};
}

int attr_stored(struct call *c, struct node *n, struct stat *st, struct err *e)
{
    struct store_attr a;
    if (store_getattr(c->fs->store, n->stored, &a, e) < 0)
        return -1;
    attr_to_stat(&a, st);
    return 0;
}

static void reply_attr(struct call *c, struct node *n)
{
    struct err e = {0};
    struct stat st;
    if (n->ops->getattr(c, n, &st, &e) < 0)
        fail(c, 0, &e);
    else
        fuse_reply_attr(c->req, &st, n->ops->attr_timeout);
}

void attr_get(struct call *c, uint64_t ino)
{
    struct err e = {0};
    struct node space, *n = node_get(c->fs, ino, &space, &e);
    if (!n) {
        fail(c, 0, &e);
        return;
    }
    reply_attr(c, n);
    node_put(c->fs, n);
}

/* --- setattr --- */

/* What the kernel wants set, as the store takes it. */
static unsigned wanted(const struct stat *st, int set, struct store_attr *a)
{
    struct timespec now = clock_wall();
    *a = (struct store_attr){.mode = st->st_mode,
                             .uid = st->st_uid,
                             .gid = st->st_gid,
                             .atime = set & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim,
                             .mtime = set & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim,
                             .ctime = st->st_ctim};
    static const struct {
        int from;
        unsigned to;
    } table[] = {
        {FUSE_SET_ATTR_MODE, STORE_SET_MODE},       {FUSE_SET_ATTR_UID, STORE_SET_UID},
        {FUSE_SET_ATTR_GID, STORE_SET_GID},         {FUSE_SET_ATTR_ATIME, STORE_SET_ATIME},
        {FUSE_SET_ATTR_MTIME, STORE_SET_MTIME},     {FUSE_SET_ATTR_CTIME, STORE_SET_CTIME},
        {FUSE_SET_ATTR_ATIME_NOW, STORE_SET_ATIME}, {FUSE_SET_ATTR_MTIME_NOW, STORE_SET_MTIME}};
    unsigned which = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (set & table[i].from)
            which |= table[i].to;
    return which;
}

static int set_size(struct call *c, struct node *n, struct handle *h, off_t size, struct err *e)
{
    if (size < 0)
        return err_set(e, EINVAL, "a size cannot be negative");
    if (!n->ops->truncate)
        return err_set(e, n->ops->child ? EISDIR : EPERM, "a %s cannot be truncated", n->ops->kind);
    return n->ops->truncate(c, n, h, (uint64_t)size, e);
}

void attr_set(struct call *c, uint64_t ino, const struct stat *st, int set,
              struct fuse_file_info *fi)
{
    struct err e = {0};
    struct node space, *n = node_get(c->fs, ino, &space, &e);
    if (!n) {
        fail(c, 0, &e);
        return;
    }
    struct store_attr a;
    unsigned which = wanted(st, set, &a);
    int rc = 0;
    if (which && n->ops->fixed)
        rc = err_set(&e, EPERM, "the attributes of a %s cannot be set", n->ops->kind);
    if (rc == 0 && (set & FUSE_SET_ATTR_SIZE))
        rc = set_size(c, n, fi ? handle_of(fi) : NULL, st->st_size, &e);
    if (rc == 0 && which)
        rc = store_setattr(c->fs->store, n->stored, &a, which, &a, &e);
    if (rc < 0)
        fail(c, n->version, &e);
    else
        reply_attr(c, n);
    node_put(c->fs, n);
}

/* --- extended attributes --- */

/* ACLs are the kernel's to enforce and not asked for: accepting one that nobody enforces would be a lie. */
static int xattr_allowed(const struct node *n, const char *name, struct err *e)
{
    if (strncmp(name, "system.", 7) == 0)
        return err_set(e, EOPNOTSUPP, "%s is not supported", name);
    if (n->ops->fixed || !n->stored)
        return err_set(e, EOPNOTSUPP, "a %s has no extended attributes", n->ops->kind);
    return 0;
}

/* Replies with a value or, for size 0, with how long it is. */
static void reply_sized(struct call *c, const struct buf *b, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(c->req, b->len);
    else if (b->len > size)
        fuse_reply_err(c->req, ERANGE);
    else
        fuse_reply_buf(c->req, buf_str(b), b->len);
}

void attr_xattr_get(struct call *c, uint64_t ino, const char *name, size_t size)
{
    struct err e = {0};
    CLEANUP_BUF struct buf value = {0};
    struct node space, *n = node_get(c->fs, ino, &space, &e);
    if (n && xattr_allowed(n, name, &e) == 0 &&
        store_xattr_get(c->fs->store, n->stored, name, &value, &e) == 0)
        reply_sized(c, &value, size);
    else
        fail(c, 0, &e);
    if (n)
        node_put(c->fs, n);
}

void attr_xattr_list(struct call *c, uint64_t ino, size_t size)
{
    struct err e = {0};
    CLEANUP_BUF struct buf names = {0};
    struct node space, *n = node_get(c->fs, ino, &space, &e);
    bool none = n && (n->ops->fixed || !n->stored);
    if (n && (none || store_xattr_list(c->fs->store, n->stored, &names, &e) == 0))
        reply_sized(c, &names, size);
    else
        fail(c, 0, &e);
    if (n)
        node_put(c->fs, n);
}

/* value NULL: removes it. */
void attr_xattr_set(struct call *c, uint64_t ino, const char *name, const char *value, size_t size,
                    int flags)
{
    struct err e = {0};
    struct node space, *n = node_get(c->fs, ino, &space, &e);
    int rc = -1;
    if (n && xattr_allowed(n, name, &e) == 0)
        rc = value ? store_xattr_set(c->fs->store, n->stored, name, value, size, flags, &e)
                   : store_xattr_remove(c->fs->store, n->stored, name, &e);
    if (rc < 0)
        fail(c, n ? n->version : 0, &e);
    else
        fuse_reply_err(c->req, 0);
    if (n)
        node_put(c->fs, n);
}
