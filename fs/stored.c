/* SPDX-License-Identifier: Apache-2.0 */
/* Ordinary files and directories: what the store holds, as it holds it. */
#include "base/mem.h"
#include "fs/live.h"

#define SPLICE_MIN (32u << 10) /* bytes below which a copy is quicker */

struct stored_handle {
    struct handle h;
    struct store_file *file;
};

struct store_file *stored_file(struct handle *h)
{
    return ((struct stored_handle *)h)->file;
}

/* O_TRUNC is part of the open, so that the kernel leaves suid and sgid to us. */
static void drop_privileges(struct call *c, struct node *n)
{
    struct store_attr a;
    if (c->uid == 0 || store_getattr(c->fs->store, n->stored, &a, NULL) < 0 ||
        !(a.mode & (S_ISUID | S_ISGID)))
        return;
    a.mode &= ~(mode_t)(a.mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
    struct err e;
    if (store_setattr(c->fs->store, n->stored, &a, STORE_SET_MODE, &a, &e) < 0)
        note_error(c, n->version, &e);
}

/*
 * A path that still leads to a file without a name (rename.c) is walked anew after ESTALE; a
 * descriptor that is opened anew leads here a second time.
 */
static bool is_left_behind(struct call *c, struct node *n)
{
    struct store_attr a;
    if (store_getattr(c->fs->store, n->stored, &a, NULL) < 0 || a.nlink > 0 ||
        live_retry_take(c->fs, c->tid, n->stored))
        return false;
    live_retry_put(c->fs, c->tid, n->stored);
    fuse_reply_err(c->req, ESTALE);
    return true;
}

void stored_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                 const struct fuse_entry_param *created)
{
    struct err e = {0};
    if (is_left_behind(c, n))
        return;
    int flags = fi->flags & (O_ACCMODE | O_TRUNC);
    struct store_file *f = store_file_open(c->fs->store, n->stored, flags, &e);
    if (!f) {
        fail(c, n->version, &e);
        return;
    }
    if (flags & O_TRUNC)
        drop_privileges(c, n);
    struct stored_handle *sh = handle_new(c, n, sizeof(*sh), fi);
    sh->file = f;
    fi->keep_cache = n->ops != &value_ops; /* else all change goes through the kernel's pages */
    open_reply(c, &sh->h, fi, created);
}

/* From the store's file to the kernel without a copy. False: nothing was replied. */
static bool read_spliced(struct call *c, struct handle *h, size_t n, off_t off)
{
    if (n < SPLICE_MIN)
        return false;
    CLEANUP_FD int fd = store_file_dup(stored_file(h), (uint64_t)off, &n);
    if (fd < 0)
        return false;
    struct fuse_bufvec data = FUSE_BUFVEC_INIT(n);
    data.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
    data.buf[0].fd = fd;
    data.buf[0].pos = off;
    fuse_reply_data(c->req, &data, 0);
    return true;
}

void stored_read(struct call *c, struct handle *h, size_t n, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    if (read_spliced(c, h, n, off))
        return;
    struct err e = {0};
    CLEANUP_FREE char *data = mem_array(n, 1, "a read", &e);
    ssize_t got = data ? store_file_read(stored_file(h), data, n, (uint64_t)off, &e) : -1;
    if (got < 0)
        fail(c, h->node->version, &e);
    else
        fuse_reply_buf(c->req, data, (size_t)got);
}

int stored_write(struct call *c, struct handle *h, const struct write_args *w, struct err *e)
{
    (void)c;
    return store_file_write(stored_file(h), w->data, w->n, (uint64_t)w->off, w->flags & O_APPEND,
                            e);
}

int stored_flush(struct call *c, struct handle *h, struct err *e)
{
    (void)c;
    struct store_file *f = stored_file(h);
    return store_file_dirty(f) ? store_file_publish(f, e) : 0;
}

/* What came after the last flush: pages of a mapping that outlived its descriptor. */
void stored_release(struct call *c, struct handle *h)
{
    struct store_file *f = stored_file(h);
    struct err e = {0};
    if (open_writes(h->flags) && store_file_dirty(f) && store_file_publish(f, &e) < 0 && c->req)
        note_error(c, h->node->version, &e);
    store_file_close(f);
    handle_free(c->fs, h);
}

int stored_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size, struct err *e)
{
    if (h && h->ops->file)
        return store_file_truncate(h->ops->file(h), size, e);
    struct store_attr a = {.size = size};
    return store_setattr(c->fs->store, n->stored, &a, STORE_SET_SIZE, &a, e);
}

const struct node_ops file_ops = {
    .kind = "file",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .truncate = stored_truncate,
    .open = stored_open,
    .read = stored_read,
    .write = stored_write,
    .flush = stored_flush,
    .fsync = stored_flush,
    .release = stored_release,
    .file = stored_file,
};

/* --- directories --- */

static const struct node_ops *dir_child(const struct node *dir, const char *name,
                                        const struct store_attr *a)
{
    (void)dir;
    (void)name;
    return S_ISDIR(a->mode) ? &dir_ops : &file_ops;
}

const struct node_ops dir_ops = {
    .kind = "directory",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .child = dir_child,
};
