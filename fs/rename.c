/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rename(2), which editors use to write:
 *
 *   onto prompt              asks with what the file holds; the file is removed, the name stays live
 *   onto completion, stream  puts what it holds in the place of the answer, likewise
 *   onto a value             checks it first: EINVAL leaves both as they were
 *   of a live name           EPERM: rm takes one away, creating it brings it back
 *   of a version             within the root, to another NAME@VERSION
 *
 * The kernel moves the renamed file's dentry onto the new name. Where that name is live, the next one who
 * walks there must not be led to the renamed file: regular names beside live ones have no entry time-out;
 * of a file from another directory the kernel is told to forget the name, and until it has, an open of
 * the file, which has no name any more, is answered ESTALE (stored.c).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "fs/live.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#endif

struct rename {
    struct call *c;
    struct node *from, *to;
    const char *name, *new_name;
    unsigned flags;
    struct store_attr a;   /* of what is renamed */
    struct store_attr old; /* of what the new name meant, if replaces */
    bool replaces;
    uint32_t role; /* what it becomes */
};

/* All that a small file holds, with what is not published yet. */
static int read_whole(struct fs *fs, const struct store_attr *a, size_t max, struct buf *b,
                      struct err *e)
{
    if (!S_ISREG(a->mode))
        return err_set(e, EINVAL, "only a regular file can be renamed to this name");
    if (a->size > max)
        return err_set(e, EFBIG, "%llu bytes are too many: at most %zu may be",
                       (unsigned long long)a->size, max);
    CLEANUP(store_file) struct store_file *f = store_file_open(fs->store, a->ino, O_RDONLY, e);
    CLEANUP_FREE char *data = f ? mem_array(a->size + 1, 1, "a file", e) : NULL;
    ssize_t n = data ? store_file_read(f, data, a->size, 0, e) : -1;
    if (n < 0)
        return -1;
    buf_add(b, data, (size_t)n);
    return 0;
}

/* --- onto a live name --- */

static int give_text(struct rename *r, const struct buf *text, struct err *e)
{
    struct call *c = r->c;
    struct rt_conv *conv = rt_conv_get(c->fs->rt, c->uid, r->to->version);
    live_settle(c, r->to->version);
    int rc = 0;
    if (r->role != ROLE_PROMPT)
        rc = rt_conv_replace(conv, buf_str(text), text->len, e);
    else if (text->len > 0)
        rc = rt_conv_ask(conv, false, buf_str(text), text->len, e);
    rt_conv_put(conv);
    return rc;
}

static int make_target(struct rename *r, struct err *e)
{
    struct call *c = r->c;
    struct store_cred who = {.uid = c->uid, .gid = c->gid};
    struct err made = {0};
    if (store_make(c->fs->store, r->to->ino, r->new_name, S_IFREG | 0666, 0, r->role, &who, &r->old,
                   &made) < 0 &&
        made.code != EEXIST) {
        *e = made;
        return -1;
    }
    r->to->ops->changed(c, r->to, r->new_name);
    return 0;
}

static int onto_live(struct rename *r, struct err *e)
{
    CLEANUP_BUF struct buf text = {0};
    if (r->flags & RENAME_EXCHANGE)
        return err_set(e, EINVAL, "%s cannot be exchanged with a file", r->new_name);
    if ((r->flags & RENAME_NOREPLACE) && r->replaces)
        return err_set(e, EEXIST, "%s is there already", r->new_name);
    if (read_whole(r->c->fs, &r->a, TEXT_MAX, &text, e) < 0 ||
        (!r->replaces && make_target(r, e) < 0) || give_text(r, &text, e) < 0)
        return -1;
    return store_unlink(r->c->fs->store, r->from->ino, r->name, e);
}

/* --- onto a value --- */

static int onto_value(struct rename *r, struct err *e)
{
    struct store *store = r->c->fs->store;
    CLEANUP_BUF struct buf text = {0}, normal = {0};
    if (read_whole(r->c->fs, &r->a, value_max(r->new_name), &text, e) < 0 ||
        value_check(r->new_name, buf_str(&text), text.len, &normal, e) < 0)
        return -1;
    if (store_rename(store, r->from->ino, r->name, r->to->ino, r->new_name, r->flags, e) < 0)
        return -1;
    if (normal.len == 0 && r->to->ops == &params_ops) /* nothing: the default again */
        return store_unlink(store, r->to->ino, r->new_name, e);
    return store_content_write(store, r->a.ino, buf_str(&normal), normal.len, e);
}

/* --- the ordinary way --- */

static int set_role(struct rename *r, struct err *e)
{
    if (r->a.role == r->role)
        return 0;
    struct store_attr want = {.role = r->role};
    return store_setattr(r->c->fs->store, r->a.ino, &want, STORE_SET_ROLE, &want, e);
}

static int onto_name(struct rename *r, struct err *e)
{
    if (store_rename(r->c->fs->store, r->from->ino, r->name, r->to->ino, r->new_name, r->flags, e) <
            0 ||
        set_role(r, e) < 0)
        return -1;
    if (r->replaces && !(r->flags & RENAME_EXCHANGE) && r->old.role == ROLE_VERSION)
        rt_version_removed(r->c->fs->rt, r->old.ino);
    return 0;
}

/* --- what is allowed --- */

static bool is_stored_dir(const struct node *n)
{
    return n->ops->child != NULL;
}

static int check_source(struct rename *r, struct err *e)
{
    struct fuse_entry_param hidden;
    if (!is_stored_dir(r->from) || !is_stored_dir(r->to))
        return err_set(e, EPERM, "nothing here can be renamed");
    if (r->from->ops->hidden && r->from->ops->hidden(r->c, r->from, r->name, &hidden)) {
        node_forget(r->c->fs, hidden.ino, 1);
        return err_set(e, EPERM, "%s cannot be renamed", r->name);
    }
    if (store_lookup(r->c->fs->store, r->from->ino, r->name, &r->a, e) < 0)
        return -1;
    if (role_is_live(r->a.role))
        return err_set(e, EPERM, "%s is a live name and cannot be renamed", r->name);
    if (r->a.role == ROLE_VERSION && r->to->ops != &root_ops)
        return err_set(e, EINVAL, "a version cannot be moved into a directory");
    return 0;
}

static int check_target(struct rename *r, struct err *e)
{
    struct fuse_entry_param hidden;
    if (r->to->ops->hidden && r->to->ops->hidden(r->c, r->to, r->new_name, &hidden)) {
        node_forget(r->c->fs, hidden.ino, 1);
        return err_set(e, EPERM, "%s cannot be replaced", r->new_name);
    }
    r->replaces = store_lookup(r->c->fs->store, r->to->ino, r->new_name, &r->old, NULL) == 0;
    if (r->to->ops->admit &&
        r->to->ops->admit(r->c, r->to, r->new_name, r->a.mode & S_IFMT, true, &r->role, e) < 0)
        return -1;
    if (r->role == ROLE_PARAMS)
        return err_set(e, EPERM, "params is made by mkdir alone");
    return 0;
}

static int do_rename(struct rename *r, struct err *e)
{
    if (check_source(r, e) < 0 || check_target(r, e) < 0)
        return -1;
    if (role_is_live_file(r->role))
        return onto_live(r, e);
    bool value =
        names_kind(r->to, r->new_name, &(struct store_attr){.mode = r->a.mode}) == &value_ops;
    if (value && !(r->flags & RENAME_EXCHANGE))
        return onto_value(r, e);
    if (value)
        return err_set(e, EINVAL, "%s cannot be exchanged with a file", r->new_name);
    return onto_name(r, e);
}

void names_rename(struct call *c, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name, unsigned flags)
{
    struct err e = {0};
    struct node space, new_space;
    struct rename r = {.c = c, .name = name, .new_name = new_name, .flags = flags};
    r.from = node_get(c->fs, parent, &space, &e);
    r.to = r.from ? node_get(c->fs, new_parent, &new_space, &e) : NULL;
    if (!r.to || do_rename(&r, &e) < 0) {
        fail(c, r.to ? r.to->version : 0, &e);
    } else {
        if (r.from->ops->changed)
            r.from->ops->changed(c, r.from, name);
        if (r.to->ops->changed)
            r.to->ops->changed(c, r.to, new_name);
        bool believed = parent != new_parent && r.to->version;
        struct fs *fs = c->fs;
        fuse_reply_err(c->req, 0);
        if (believed)
            park_invalidate(fs, new_parent, new_name);
    }
    if (r.to)
        node_put(c->fs, r.to);
    if (r.from)
        node_put(c->fs, r.from);
}
