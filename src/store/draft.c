/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. The first write to a file makes a draft: a copy (without data moving, where the
 * filesystem can) of what is published, in memory while it is small, else in drafts/. Published
 * bytes are never written to again, so a writer who goes on after publishing begins a new draft.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "store/store-internal.h"

/* --- the draft of a file; its write_lock is held, so only we change body->draft --- */

/* Makes d (ours no longer) the draft. */
static void draft_install(struct store_file *f, struct store_data *d)
{
    struct store_shard *sh = store_shard(f->s, f->live->ino);
    pthread_mutex_lock(&sh->lock);
    struct store_data *old = f->live->body->draft;
    f->live->body->draft = d;
    if (!old)
        f->live->body->mtime = f->live->body->ctime = clock_wall();
    pthread_mutex_unlock(&sh->lock);
    store_data_unref(old);
}

static void draft_touch(struct store_file *f)
{
    struct store_shard *sh = store_shard(f->s, f->live->ino);
    pthread_mutex_lock(&sh->lock);
    f->live->body->mtime = f->live->body->ctime = clock_wall();
    pthread_mutex_unlock(&sh->lock);
}

static int draft_size(const struct store_data *d, uint64_t *size, struct err *e)
{
    struct stat st;
    if (fstat(d->fd, &st) < 0)
        return err_sys(e, "cannot look at a draft");
    *size = (uint64_t)st.st_size;
    return 0;
}

/* A draft with the first `keep` bytes of what is published. */
static struct store_data *draft_of_published(struct store_file *f, uint64_t end, uint64_t keep,
                                             struct err *e)
{
    struct store_view v = {0};
    if (keep > 0 && store_view_open(f->s, f->live->ino, &v, e) < 0)
        return NULL;
    keep = MIN(keep, v.size);
    bool small = MAX(end, keep) <= STORE_INLINE_MAX;
    struct store_data *d = small ? store_data_memory(f->s, e) : store_data_draft(f->s, e);
    int rc = d ? 0 : -1;
    if (d && v.data)
        rc = store_blob_copy(v.data->fd, d->fd, keep, e);
    else if (d && keep > 0 && io_pwrite(d->fd, v.bytes, keep, 0) < 0)
        rc = err_sys(e, "cannot copy the file for writing to it");
    store_data_unref(v.data);
    if (rc < 0 && d)
        store_data_unref(steal_ptr(&d));
    return d;
}

/*
 * Sees to it that there is a draft which can hold `end` bytes. Of what the file holds only the
 * first `keep` bytes are wanted, so the rest need not be copied.
 */
static struct store_data *draft_need(struct store_file *f, uint64_t end, uint64_t keep,
                                     struct err *e)
{
    struct store_data *d = f->live->body->draft, *fresh;
    uint64_t size = 0;
    if (d && !d->settled && (d->id || end <= STORE_INLINE_MAX))
        return d;
    if (!d) {
        fresh = draft_of_published(f, end, keep, e);
    } else { /* it outgrows memory, or may have been published by a commit of which we heard only that it failed */
        if (draft_size(d, &size, e) < 0)
            return NULL;
        fresh = store_data_draft(f->s, e);
        if (fresh && store_blob_copy(d->fd, fresh->fd, MIN(size, keep), e) < 0)
            store_data_unref(steal_ptr(&fresh));
    }
    if (fresh)
        draft_install(f, fresh);
    return fresh;
}

static int writable(const struct store_file *f, struct err *e)
{
    return (f->flags & O_ACCMODE) == O_RDONLY
               ? err_set(e, EBADF, "the file is open for reading only")
               : 0;
}

/* --- what changes a file --- */

/* What a failed write left behind the old end goes; what it wrote before that stays. */
static int write_failed(struct store_data *d, uint64_t old_size, struct err *e)
{
    int code = errno;
    uint64_t size = 0;
    if (draft_size(d, &size, NULL) == 0 && size > old_size && ftruncate(d->fd, (off_t)old_size) < 0)
        return err_sys(e, "cannot undo a write that failed");
    errno = code;
    return err_sys(e, "cannot write");
}

static int write_locked(struct store_file *f, const void *data, size_t n, uint64_t off, bool append,
                        struct err *e)
{
    struct store_attr a;
    uint64_t end;
    if (append) {
        if (store_attr_get(f->s, f->live->ino, &a, e) < 0)
            return -1;
        off = a.size;
    }
    if (__builtin_add_overflow(off, n, &end) || end > INT64_MAX)
        return err_set(e, EFBIG, "a file cannot be that long");
    struct store_data *d = draft_need(f, end, UINT64_MAX, e);
    uint64_t old_size = 0;
    if (!d || draft_size(d, &old_size, e) < 0)
        return -1;
    if (io_pwrite(d->fd, data, n, off) < 0)
        return write_failed(d, old_size, e);
    draft_touch(f);
    return 0;
}

int store_file_write(struct store_file *f, const void *data, size_t n, uint64_t off, bool append,
                     struct err *e)
{
    if (writable(f, e) < 0)
        return -1;
    if (n == 0)
        return 0;
    pthread_mutex_lock(&f->live->body->write_lock);
    int rc = write_locked(f, data, n, off, append, e);
    pthread_mutex_unlock(&f->live->body->write_lock);
    return rc;
}

/* truncate(2) to the size that it has changes the times and no byte: no reason to copy the file. */
static int touch_published(struct store_file *f, struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    struct store_node n;
    if (store_txn_write(f->s, &t, e) < 0 || store_node_get(&t, f->live->ino, &n, e) < 0)
        return -1;
    n.attr.mtime = n.attr.ctime = clock_wall();
    return store_node_put(&t, &n, e) < 0 ? -1 : store_txn_commit(&t, e);
}

static int truncate_locked(struct store_file *f, uint64_t size, struct err *e)
{
    struct store_attr a;
    if (!f->live->body->draft) {
        if (store_attr_get(f->s, f->live->ino, &a, e) < 0)
            return -1;
        if (a.size == size)
            return touch_published(f, e);
    }
    struct store_data *d = draft_need(f, size, size, e);
    if (!d)
        return -1;
    if (ftruncate(d->fd, (off_t)size) < 0)
        return err_sys(e, "cannot change the size");
    draft_touch(f);
    return 0;
}

int store_file_truncate(struct store_file *f, uint64_t size, struct err *e)
{
    if (writable(f, e) < 0)
        return -1;
    if (size > INT64_MAX)
        return err_set(e, EFBIG, "a file cannot be that long");
    pthread_mutex_lock(&f->live->body->write_lock);
    int rc = truncate_locked(f, size, e);
    pthread_mutex_unlock(&f->live->body->write_lock);
    return rc;
}

int store_file_allocate(struct store_file *f, int mode, uint64_t off, uint64_t n, struct err *e)
{
    uint64_t end;
    if (writable(f, e) < 0)
        return -1;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return err_set(e, EOPNOTSUPP, "fallocate mode %#x is not supported", (unsigned)mode);
    if (n == 0)
        return err_set(e, EINVAL, "fallocate of nothing");
    if (__builtin_add_overflow(off, n, &end) || end > INT64_MAX)
        return err_set(e, EFBIG, "a file cannot be that long");
    pthread_mutex_lock(&f->live->body->write_lock);
    /* On the disk at any size: memory knows not all of the modes. */
    struct store_data *d = draft_need(f, INT64_MAX, UINT64_MAX, e);
    int rc = d ? 0 : -1;
    if (d && fallocate(d->fd, mode, (off_t)off, (off_t)n) < 0)
        rc = err_sys(e, "cannot allocate");
    if (rc == 0)
        draft_touch(f);
    pthread_mutex_unlock(&f->live->body->write_lock);
    return rc;
}

/* --- publishing --- */

/* What d is published as; a content on the disk is durable afterwards. bytes has room for a small
 * one. */
static int publish_prepare(struct store *s, struct store_data *d, struct store_published *p,
                           unsigned char *bytes, struct err *e)
{
    struct stat st;
    *p = (struct store_published){.refs = 1, .bytes = bytes};
    if (fstat(d->fd, &st) < 0)
        return err_sys(e, "cannot look at a draft");
    p->size = (uint64_t)st.st_size;
    if (p->size == 0)
        return 0;
    if (p->size <= STORE_INLINE_MAX) {
        if (io_pread(d->fd, bytes, p->size, 0) != st.st_size)
            return err_set(e, EIO, "cannot read a draft back");
        p->is_inline = true;
        p->blocks = (p->size + 511) / 512;
        return store_number_take(s, NUMBER_CONTENT, &p->id, e);
    }
    p->id = d->id;
    if (store_blob_settle(s, d, e) < 0)
        return -1;
    if (fstat(d->fd, &st) < 0) /* only now the blocks are what they stay */
        return err_sys(e, "cannot look at a blob");
    p->blocks = (uint64_t)st.st_blocks;
    return 0;
}

static int publish_commit(struct store *s, store_ino ino, const struct store_published *p,
                          const struct timespec *mtime, const struct timespec *ctime, struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    struct store_node n;
    if (store_txn_write(s, &t, e) < 0 || store_node_get(&t, ino, &n, e) < 0)
        return -1;
    if (n.attr.nlink == 0)
        return 0;
    if (n.content && store_content_drop(&t, n.content, e) < 0)
        return -1;
    n.content = p->id;
    n.attr.size = p->size;
    n.attr.blocks = p->blocks;
    n.attr.mtime = *mtime;
    if (n.attr.ctime.tv_sec < ctime->tv_sec ||
        (n.attr.ctime.tv_sec == ctime->tv_sec && n.attr.ctime.tv_nsec < ctime->tv_nsec))
        n.attr.ctime = *ctime;
    if ((p->id && store_content_put(&t, p, e) < 0) || store_node_put(&t, &n, e) < 0)
        return -1;
    return store_txn_commit(&t, e) < 0 ? -1 : 1;
}

int store_body_publish_data(struct store *s, struct store_live *l, struct store_data *d,
                            const struct timespec *mtime, const struct timespec *ctime,
                            struct err *e)
{
    unsigned char bytes[STORE_INLINE_MAX];
    struct store_published p;
    if (publish_prepare(s, d, &p, bytes, e) < 0)
        return -1;
    /* If it fails the blob stays: the commit may be on the disk all the same. The draft's name
     * tells the next start. */
    int rc = publish_commit(s, l->ino, &p, mtime, ctime, e);
    bool on_disk = p.id && !p.is_inline;
    if (rc < 0) {
        d->settled = on_disk;
        return -1;
    }
    if (rc == 0) {
        if (on_disk)
            store_blob_remove(s, p.id);
        return 0;
    }
    if (on_disk) {
        d->draft = d->settled = false;
        store_draft_remove(s, p.id);
    }
    struct store_shard *sh = store_shard(s, l->ino);
    pthread_mutex_lock(&sh->lock);
    struct store_data *draft = steal_ptr(&l->body->draft);
    struct store_data *published = steal_ptr(&l->body->published);
    l->body->generation++;
    pthread_mutex_unlock(&sh->lock);
    store_data_unref(draft);
    store_data_unref(published);
    return 1;
}

int store_body_publish(struct store *s, struct store_live *l, struct err *e)
{
    struct store_shard *sh = store_shard(s, l->ino);
    pthread_mutex_lock(&l->body->write_lock);
    pthread_mutex_lock(&sh->lock);
    struct store_data *d = store_data_ref(l->body->draft);
    struct timespec mtime = l->body->mtime, ctime = l->body->ctime;
    pthread_mutex_unlock(&sh->lock);
    int rc = d && !store_live_is_orphan(s, l->ino)
                 ? store_body_publish_data(s, l, d, &mtime, &ctime, e)
                 : 0;
    store_data_unref(d);
    pthread_mutex_unlock(&l->body->write_lock);
    return rc < 0 ? -1 : 0;
}
