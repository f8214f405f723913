/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readdir. Offsets: 1 and 2 are after `.` and `..`; OFF_STORED + cookie after a stored name;
 * OFF_LAST + place after one of those that a kind puts last.
 *
 * Where regular names have no entry time-out, readdirplus tells of them no more than readdir does:
 * the kernel would look them up again anyway.
 */
#include <linux/fuse.h>
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

#define OFF_STORED UINT64_C(2)
#define OFF_LAST   (UINT64_C(1) << 62)

struct listing {
    struct call *c;
    struct node *dir;
    bool plus;
    uint64_t off;
    char *data;
    size_t size, used;
    bool full;
};

struct fs *listing_fs(const struct listing *l)
{
    return l->c->fs;
}

const struct node *listing_dir(const struct listing *l)
{
    return l->dir;
}

/* One entry; with plus and nodeid 0 the kernel learns the name only. */
static bool put(struct listing *l, const char *name, struct fuse_entry_param *entry, uint64_t off)
{
    char *at = l->data + l->used;
    size_t room = l->size - l->used;
    size_t n = l->plus ? fuse_add_direntry_plus(l->c->req, at, room, name, entry, (off_t)off)
                       : fuse_add_direntry(l->c->req, at, room, name, &entry->attr, (off_t)off);
    l->full = n > room;
    if (!l->full)
        l->used += n;
    return !l->full;
}

static bool put_number(struct listing *l, const char *name, uint64_t ino, mode_t type, uint64_t off)
{
    struct fuse_entry_param entry = {.attr = {.st_ino = ino, .st_mode = type}};
    return put(l, name, &entry, off);
}

bool listing_add(struct listing *l, const char *name, const struct store_attr *a, unsigned place)
{
    uint64_t off = OFF_LAST + place + 1;
    return l->off >= off || put_number(l, name, STORE_INO_MAX + 1 + place, a->mode, off);
}

static bool put_plus(struct listing *l, const struct store_dirent *d, uint64_t off)
{
    struct fuse_entry_param entry;
    struct err e;
    if (names_entry(l->c, l->dir, d->name, &d->attr, &entry, &e) < 0)
        return put_number(l, d->name, d->attr.ino, d->attr.mode, off);
    if (put(l, d->name, &entry, off))
        return true;
    node_forget(l->c->fs, entry.ino, 1);
    return false;
}

static bool comes_last(const struct listing *l, const struct store_dirent *d)
{
    return l->dir->ops->list && (role_is_live(d->attr.role) || strcmp(d->name, RT_WEIGHTS) == 0);
}

/* A parameter that holds nothing is one that is just being made, or was unset. */
static bool is_unset(const struct listing *l, const struct store_dirent *d)
{
    return l->dir->ops == &params_ops && d->attr.size == 0 && rt_param_known(d->name);
}

static bool each(void *ctx, const struct store_dirent *d)
{
    struct listing *l = ctx;
    if (comes_last(l, d) || is_unset(l, d))
        return true;
    uint64_t off = OFF_STORED + d->cookie;
    bool believed = !l->dir->ops->entry_timeout || l->dir->ops->entry_timeout(&d->attr) > 0;
    if (l->plus && believed)
        return put_plus(l, d, off);
    return put_number(l, d->name, d->attr.ino, d->attr.mode, off);
}

static bool put_dots(struct listing *l)
{
    store_ino parent = l->dir->ino;
    if (store_parent(l->c->fs->store, l->dir->ino, &parent, NULL) < 0)
        parent = l->dir->ino;
    return (l->off >= 1 || put_number(l, ".", l->dir->ino, S_IFDIR, 1)) &&
           (l->off >= 2 || put_number(l, "..", parent, S_IFDIR, 2));
}

static int fill(struct listing *l, struct err *e)
{
    if (!put_dots(l))
        return 0;
    if (l->dir->ops == &params_ops)
        values_settle(l->c->fs, l->dir->version);
    uint64_t after = l->off > OFF_STORED ? l->off - OFF_STORED : 0;
    if (l->off < OFF_LAST && l->dir->ino <= STORE_INO_MAX &&
        store_readdir(l->c->fs->store, l->dir->ino, after, each, l, e) < 0)
        return -1;
    if (!l->full && l->dir->ops->list)
        l->dir->ops->list(l);
    return 0;
}

void list_reply(struct call *c, uint64_t dir, size_t size, off_t off, bool plus)
{
    struct err e = {0};
    struct node space;
    struct listing l = {.c = c, .plus = plus, .off = (uint64_t)off, .size = size};
    l.dir = node_get(c->fs, dir, &space, &e);
    CLEANUP_FREE char *data = l.dir ? mem_array(size, 1, "a listing", &e) : NULL;
    l.data = data;
    if (l.dir && !l.dir->ops->child && !l.dir->ops->list)
        err_set(&e, ENOTDIR, "a %s is not a directory", l.dir->ops->kind);
    else if (l.data && fill(&l, &e) == 0)
        e.code = 0;
    if (l.data && e.code == 0)
        fuse_reply_buf(c->req, l.data, l.used);
    else
        fail(c, 0, &e);
    if (l.dir)
        node_put(c->fs, l.dir);
}
