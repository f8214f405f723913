/* SPDX-License-Identifier: Apache-2.0 */
/* Open files, and replies. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

void *handle_new(struct call *c, struct node *n, size_t size, const struct fuse_file_info *fi)
{
    struct handle *h = xcalloc(1, size);
    h->ops = n->ops;
    h->node = node_ref(c->fs, n);
    h->flags = fi->flags;
    h->uid = c->uid;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_lock(&c->fs->handles_lock);
    list_add(&c->fs->handles, &h->link);
    pthread_mutex_unlock(&c->fs->handles_lock);
    return h;
}

void handle_free(struct fs *fs, struct handle *h)
{
    pthread_mutex_lock(&fs->handles_lock);
    list_del(&h->link);
    pthread_mutex_unlock(&fs->handles_lock);
    pthread_mutex_destroy(&h->lock);
    node_put(fs, h->node);
    free(h);
}

void handles_free(struct fs *fs)
{
    struct call nobody = {.fs = fs};
    while (!list_empty(&fs->handles)) {
        struct handle *h = list_entry(fs->handles.next, struct handle, link);
        h->ops->release(&nobody, h);
    }
}

void open_reply(struct call *c, struct handle *h, struct fuse_file_info *fi,
                const struct fuse_entry_param *created)
{
    fi->fh = (uintptr_t)h;
    int rc;
    if (created) {
        node_looked_up(c->fs, created->ino);
        rc = fuse_reply_create(c->req, created, fi);
    } else {
        rc = fuse_reply_open(c->req, fi);
    }
    if (rc != -ENOENT)
        return; /* the kernel has the handle now, and may have given it back already */
    h->ops->release(c, h);
    if (created)
        node_forget(c->fs, created->ino, 1);
}

/* Errors that are part of looking around, not of something that went wrong with a model. */
static bool worth_noting(int code)
{
    static const int ordinary[] = {ENOENT,  EEXIST, ENOTEMPTY, ENODATA,    EAGAIN, EINTR,  ESTALE,
                                   ENOTDIR, EISDIR, EXDEV,     EOPNOTSUPP, ERANGE, EMLINK, ENXIO};
    for (size_t i = 0; i < ARRAY_LEN(ordinary); i++)
        if (code == ordinary[i])
            return false;
    return true;
}

void note_error(struct call *c, store_ino version, const struct err *e)
{
    if (version && e->text[0] && worth_noting(e->code))
        rt_error_note(c->fs->rt, c->uid, version, e);
}

void fail(struct call *c, store_ino version, const struct err *e)
{
    note_error(c, version, e);
    fuse_reply_err(c->req, e->code > 0 ? e->code : EIO);
}

void fail_set(struct call *c, store_ino version, int code, const char *fmt, ...)
{
    struct err e = {.code = code};
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.text, sizeof(e.text), fmt, args);
    va_end(args);
    fail(c, version, &e);
}
