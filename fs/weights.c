/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.gguf: an ordinary file, whose change is announced. What was written is published at each
 * flush, so that close(2) tells what goes wrong, and announced to the runtime when the last writer
 * has closed it or when somebody asks: a flush in the middle of writing should not have half a
 * file inspected.
 */
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

/* --- versions whose weights are to be announced --- */

static void mark(struct fs *fs, store_ino version)
{
    pthread_mutex_lock(&fs->weights_lock);
    map_put(&fs->weights_pending, version, fs);
    pthread_mutex_unlock(&fs->weights_lock);
}

static bool take(struct fs *fs, store_ino version)
{
    pthread_mutex_lock(&fs->weights_lock);
    bool was = map_remove(&fs->weights_pending, version) != NULL;
    pthread_mutex_unlock(&fs->weights_lock);
    return was;
}

void weights_settle(struct fs *fs, store_ino version)
{
    if (take(fs, version))
        rt_weights_changed(fs->rt, version);
}

void weights_changed(struct fs *fs, store_ino version)
{
    take(fs, version);
    rt_weights_changed(fs->rt, version);
}

/* --- one file may be the weights of several versions, by hard links --- */

struct owners {
    struct fs *fs;
    store_ino ino;
    void (*each)(struct fs *fs, store_ino version);
};

static bool visit(void *ctx, const struct store_dirent *d)
{
    struct owners *o = ctx;
    struct store_attr a;
    if (d->attr.role == ROLE_VERSION &&
        store_lookup(o->fs->store, d->attr.ino, RT_WEIGHTS, &a, NULL) == 0 && a.ino == o->ino)
        o->each(o->fs, d->attr.ino);
    return true;
}

static void for_owners(struct fs *fs, struct node *n, void (*each)(struct fs *, store_ino))
{
    struct store_attr a;
    struct owners o = {.fs = fs, .ino = n->stored, .each = each};
    if (store_getattr(fs->store, n->stored, &a, NULL) == 0 && a.nlink > 1)
        store_readdir(fs->store, STORE_ROOT, 0, visit, &o, NULL);
    else
        each(fs, n->version);
}

/* --- the file --- */

static void weights_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                         const struct fuse_entry_param *created)
{
    if (open_writes(fi->flags)) {
        pthread_mutex_lock(&c->fs->nodes_lock);
        n->writers++;
        pthread_mutex_unlock(&c->fs->nodes_lock);
    }
    stored_open(c, n, fi, created);
}

static void mark_written(struct fs *fs, store_ino version)
{
    struct err e;
    mark(fs, version);
    if (version_make_live(fs, version, &e) < 0)
        rt_error_note(fs->rt, 0, version, &e);
}

static int weights_flush(struct call *c, struct handle *h, struct err *e)
{
    if (!open_writes(h->flags) || !store_file_dirty(stored_file(h)))
        return 0;
    if (stored_flush(c, h, e) < 0)
        return -1;
    for_owners(c->fs, h->node, mark_written);
    return 0;
}

static void weights_release(struct call *c, struct handle *h)
{
    struct fs *fs = c->fs;
    struct node *n = node_ref(fs, h->node);
    bool writer = open_writes(h->flags);
    bool written = writer && (store_file_dirty(stored_file(h)) || h->flags & O_CREAT);
    stored_release(c, h);
    pthread_mutex_lock(&fs->nodes_lock);
    if (writer)
        n->writers--;
    bool last = writer && n->writers == 0;
    pthread_mutex_unlock(&fs->nodes_lock);
    if (written && c->req)
        for_owners(fs, n, mark_written);
    if (last && c->req)
        for_owners(fs, n, weights_settle);
    node_put(fs, n);
}

static int weights_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size,
                            struct err *e)
{
    if (stored_truncate(c, n, h, size, e) < 0)
        return -1;
    if (!h) /* truncate(2): nothing will be closed */
        for_owners(c->fs, n, weights_changed);
    return 0;
}

const struct node_ops weights_ops = {
    .kind = "weights file",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .truncate = weights_truncate,
    .open = weights_open,
    .read = stored_read,
    .write = stored_write,
    .flush = weights_flush,
    .fsync = weights_flush,
    .release = weights_release,
    .file = stored_file,
};
