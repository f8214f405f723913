/* SPDX-License-Identifier: Apache-2.0 */
/* Open files: reading, and who has what open. Writing is in draft.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/io.h"
#include "store/store-internal.h"

/* --- opening --- */

static int open_check(struct store *s, store_ino ino, int flags, struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    struct store_node n;
    if (flags & ~(O_ACCMODE | O_TRUNC) || (flags & O_ACCMODE) == O_ACCMODE)
        return err_set(e, EINVAL, "a file is opened with flags that the store does not know");
    if (store_txn_read(s, &t, e) < 0 || store_node_get(&t, ino, &n, e) < 0)
        return -1;
    if (S_ISDIR(n.attr.mode))
        return err_set(e, EISDIR, "node %" PRIu64 " is a directory", ino);
    if (!S_ISREG(n.attr.mode))
        return err_set(e, EINVAL, "node %" PRIu64 " is no regular file", ino);
    if (n.attr.nlink == 0 && !store_live_is_orphan(s, ino))
        return err_set(e, ENOENT, "node %" PRIu64 " was removed", ino);
    return 0;
}

static bool is_writer(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

struct store_file *store_file_open(struct store *s, store_ino ino, int flags, struct err *e)
{
    struct store_file *f = xcalloc(1, sizeof(*f));
    f->s = s;
    f->flags = flags;
    f->live = store_live_open(s, ino, is_writer(flags)); /* before the record is read: see live.c */
    if (open_check(s, ino, flags, e) < 0 ||
        (flags & O_TRUNC && is_writer(flags) && store_file_truncate(f, 0, e) < 0)) {
        store_file_close(f);
        return NULL;
    }
    return f;
}

void store_file_close(struct store_file *f)
{
    store_live_close(f->s, f->live, is_writer(f->flags));
    free(f);
}

store_ino store_file_ino(const struct store_file *f)
{
    return f->live->ino;
}

bool store_file_shared(const struct store_file *f)
{
    struct store_shard *sh = store_shard(f->s, f->live->ino);
    pthread_mutex_lock(&sh->lock);
    bool shared = f->live->body->writers > 1;
    pthread_mutex_unlock(&sh->lock);
    return shared;
}

bool store_file_dirty(const struct store_file *f)
{
    struct store_shard *sh = store_shard(f->s, f->live->ino);
    pthread_mutex_lock(&sh->lock);
    bool dirty = f->live->body->draft != NULL;
    pthread_mutex_unlock(&sh->lock);
    return dirty;
}

int store_file_publish(struct store_file *f, struct err *e)
{
    return store_body_publish(f->s, f->live, e);
}

int store_publish(struct store *s, store_ino ino, struct err *e)
{
    struct store_live *l = store_live_open(s, ino, false);
    int rc = store_body_publish(s, l, e);
    store_live_close(s, l, false);
    return rc;
}

/* --- reading --- */

/* What the file holds now: the draft or what is published. v->data, if any, is to be given back. */
static int view_now(struct store_file *f, struct store_view *v, struct err *e)
{
    struct store_shard *sh = store_shard(f->s, f->live->ino);
    struct store_body *b = f->live->body;
    pthread_mutex_lock(&sh->lock);
    v->data = store_data_ref(b->draft ? b->draft : b->published);
    uint64_t generation = b->generation;
    pthread_mutex_unlock(&sh->lock);
    if (v->data)
        return 0;
    if (store_view_open(f->s, f->live->ino, v, e) < 0)
        return -1;
    if (!v->data)
        return 0;
    pthread_mutex_lock(&sh->lock);
    if (!b->published && b->generation == generation) /* else it may be an older one */
        b->published = store_data_ref(v->data);
    pthread_mutex_unlock(&sh->lock);
    return 0;
}

ssize_t store_file_read(struct store_file *f, void *data, size_t n, uint64_t off, struct err *e)
{
    struct store_view v;
    if ((f->flags & O_ACCMODE) == O_WRONLY)
        return err_set(e, EBADF, "the file is open for writing only");
    if (off > INT64_MAX)
        return err_set(e, EINVAL, "no file has such an offset");
    n = MIN(n, (size_t)INT64_MAX - off);
    if (view_now(f, &v, e) < 0)
        return -1;
    if (v.data) {
        ssize_t got = io_pread(v.data->fd, data, n, off);
        if (got < 0)
            err_sys(e, "cannot read");
        store_data_unref(v.data);
        return got;
    }
    n = off < v.size ? MIN(n, v.size - off) : 0;
    memcpy(data, v.bytes + MIN(off, v.size), n);
    return (ssize_t)n;
}

int store_file_dup(struct store_file *f, uint64_t off, size_t *n)
{
    struct store_view v;
    struct stat st;
    if ((f->flags & O_ACCMODE) == O_WRONLY || view_now(f, &v, NULL) < 0 || !v.data)
        return -1;
    int fd = fstat(v.data->fd, &st) < 0 ? -1 : fcntl(v.data->fd, F_DUPFD_CLOEXEC, 0);
    store_data_unref(v.data);
    uint64_t left = fd >= 0 && off < (uint64_t)st.st_size ? (uint64_t)st.st_size - off : 0;
    *n = MIN(*n, left);
    return fd;
}

off_t store_file_seek(struct store_file *f, off_t off, int whence, struct err *e)
{
    struct store_view v;
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return err_set(e, EINVAL, "lseek: only SEEK_DATA and SEEK_HOLE are the store's");
    if (view_now(f, &v, e) < 0)
        return -1;
    off_t at;
    if (v.data) {
        at = lseek(v.data->fd, off, whence);
        if (at < 0)
            err_sys(e, "lseek");
        store_data_unref(v.data);
    } else if (off < 0 || (uint64_t)off >= v.size) {
        at = err_set(e, ENXIO, "lseek: beyond the end of the file");
    } else {
        at = whence == SEEK_DATA ? off : (off_t)v.size;
    }
    return at;
}
