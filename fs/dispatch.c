/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests: each finds its node or open file and hands on. What a kind of node does
 * not know is refused here, in one place.
 */
#include "fs/dispatch.h"

#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "runtime/supervisor.h"

#define COPY_MAX   (32u << 20) /* bytes of one copy_file_range; callers go on */
#define COPY_CHUNK (1u << 20)

static struct call call_of(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    return (struct call){.fs = fuse_req_userdata(req),
                         .req = req,
                         .uid = ctx->uid,
                         .gid = ctx->gid,
                         .tid = ctx->pid,
                         .umask = ctx->umask};
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
    struct fs *fs = userdata;
    /* Modes are made here, since live names ignore the umask. */
    conn->want |= conn->capable & FUSE_CAP_DONT_MASK;
    /* All change comes through the mount: a new mtime says nothing about cached pages. */
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
    /* The kernel clears suid and sgid at write, truncate and chown by setattr. */
    conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
    if (fs->supervisor >= 0 && supervisor_tell_ready(fs->supervisor) < 0)
        log_warning("the supervisor is gone");
}

/* --- names --- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct call c = call_of(req);
    names_lookup(&c, parent, name);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    node_forget(call_of(req).fs, ino, n);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list)
{
    for (size_t i = 0; i < count; i++)
        node_forget(call_of(req).fs, list[i].ino, list[i].nlookup);
    fuse_reply_none(req);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct call c = call_of(req);
    names_make(&c, parent, name, mode, rdev);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct call c = call_of(req);
    names_make(&c, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct call c = call_of(req);
    names_create(&c, parent, name, mode, fi);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct call c = call_of(req);
    names_symlink(&c, target, parent, name);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct call c = call_of(req);
    names_link(&c, ino, parent, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct call c = call_of(req);
    names_remove(&c, parent, name, false);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct call c = call_of(req);
    names_remove(&c, parent, name, true);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    struct call c = call_of(req);
    names_rename(&c, parent, name, new_parent, new_name, flags);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct call c = call_of(req);
    struct err e = {0};
    CLEANUP_BUF struct buf target = {0};
    if (store_readlink(c.fs->store, ino, &target, &e) < 0)
        fail(&c, 0, &e);
    else
        fuse_reply_readlink(req, buf_str(&target));
}

/* --- attributes --- */

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct call c = call_of(req);
    attr_get(&c, ino);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int set,
                       struct fuse_file_info *fi)
{
    struct call c = call_of(req);
    attr_set(&c, ino, st, set, fi);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct call c = call_of(req);
    attr_xattr_get(&c, ino, name, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct call c = call_of(req);
    attr_xattr_list(&c, ino, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    struct call c = call_of(req);
    attr_xattr_set(&c, ino, name, value, size, flags);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct call c = call_of(req);
    attr_xattr_set(&c, ino, name, NULL, 0, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    struct call c = call_of(req);
    struct err e = {0};
    struct statvfs st;
    if (store_statfs(c.fs->store, &st, &e) < 0)
        fail(&c, 0, &e);
    else
        fuse_reply_statfs(req, &st);
}

/* --- directories --- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->fh = 0;
    fuse_reply_open(req, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    (void)fi;
    struct call c = call_of(req);
    list_reply(&c, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    (void)fi;
    struct call c = call_of(req);
    list_reply(&c, ino, size, off, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* Whatever changed a directory was durable when it was answered. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* --- open files --- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call c = call_of(req);
    struct err e = {0};
    struct node space, *n = node_get(c.fs, ino, &space, &e);
    if (!n) {
        fail(&c, 0, &e);
        return;
    }
    if (n->ops->open)
        n->ops->open(&c, n, fi, NULL);
    else
        fail_set(&c, 0, n->ops->child ? EISDIR : EOPNOTSUPP, "a %s cannot be opened", n->ops->kind);
    node_put(c.fs, n);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    (void)ino;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    if (h->ops->read)
        h->ops->read(&c, h, size, off, fi);
    else
        fuse_reply_buf(req, NULL, 0);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t n, off_t off,
                     struct fuse_file_info *fi)
{
    (void)ino;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    struct write_args w = {.data = data, .n = n, .off = off, .flags = fi->flags};
    struct err e = {.code = EBADF};
    if (h->ops->write && h->ops->write(&c, h, &w, &e) == 0)
        fuse_reply_write(req, n);
    else
        fail(&c, h->node->version, &e);
}

/* Flush and release may come from the kernel's own threads: they are the opener's. */
static struct call call_of_opener(fuse_req_t req, const struct handle *h)
{
    struct call c = call_of(req);
    c.uid = h->uid;
    return c;
}

static void reply_done(struct call *c, struct handle *h, int rc, const struct err *e)
{
    if (rc < 0)
        fail(c, h->node->version, e);
    else
        fuse_reply_err(c->req, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *h = handle_of(fi);
    struct call c = call_of_opener(req, h);
    struct err e = {0};
    reply_done(&c, h, h->ops->flush ? h->ops->flush(&c, h, &e) : 0, &e);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    struct err e = {0};
    reply_done(&c, h, h->ops->fsync ? h->ops->fsync(&c, h, &e) : 0, &e);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *h = handle_of(fi);
    struct call c = call_of_opener(req, h);
    h->ops->release(&c, h);
    fuse_reply_err(req, 0);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                    struct fuse_pollhandle *ph)
{
    (void)ino;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    if (h->ops->poll) {
        h->ops->poll(&c, h, ph, (short)fi->poll_events);
        return;
    }
    if (ph)
        fuse_pollhandle_destroy(ph);
    fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}

static struct store_file *file_of(struct handle *h)
{
    return h->ops->file ? h->ops->file(h) : NULL;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t n,
                         struct fuse_file_info *fi)
{
    (void)ino;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    struct store_file *f = file_of(h);
    struct err e = {.code = EOPNOTSUPP};
    int rc = f ? store_file_allocate(f, mode, (uint64_t)off, (uint64_t)n, &e) : -1;
    reply_done(&c, h, rc, &e);
}

/* In a file without holes data goes on to the end, where the one hole is. */
static int seek_plain(struct call *c, struct node *n, off_t off, int whence, off_t *at,
                      struct err *e)
{
    struct stat st;
    if (n->ops->getattr(c, n, &st, e) < 0)
        return -1;
    if (off < 0 || off >= st.st_size)
        return err_set(e, ENXIO, "the offset is beyond the end");
    *at = whence == SEEK_DATA ? off : st.st_size;
    return 0;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    (void)ino;
    struct call c = call_of(req);
    struct handle *h = handle_of(fi);
    struct store_file *f = file_of(h);
    struct err e = {0};
    off_t at = -1;
    if (f)
        at = store_file_seek(f, off, whence, &e);
    else if (seek_plain(&c, h->node, off, whence, &at, &e) < 0)
        at = -1;
    if (at < 0)
        fail(&c, 0, &e);
    else
        fuse_reply_lseek(req, at);
}

struct copy {
    struct store_file *from, *to;
    uint64_t at, to_at;
    size_t n;
};

static ssize_t copy_range(struct copy *cp, struct err *e)
{
    CLEANUP_FREE char *chunk = xmalloc(COPY_CHUNK);
    size_t done = 0;
    while (done < cp->n) {
        ssize_t n =
            store_file_read(cp->from, chunk, MIN(cp->n - done, COPY_CHUNK), cp->at + done, e);
        if (n == 0)
            break;
        if (n < 0 || store_file_write(cp->to, chunk, (size_t)n, cp->to_at + done, false, e) < 0)
            return done > 0 ? (ssize_t)done : -1;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* EOPNOTSUPP lets the kernel copy by reading and writing. */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                               struct fuse_file_info *fi_out, size_t len, int flags)
{
    (void)ino_in;
    (void)ino_out;
    (void)flags;
    struct call c = call_of(req);
    struct handle *in = handle_of(fi_in), *out = handle_of(fi_out);
    struct copy cp = {.from = file_of(in),
                      .to = file_of(out),
                      .at = (uint64_t)off_in,
                      .to_at = (uint64_t)off_out,
                      .n = MIN(len, COPY_MAX)};
    struct err e = {.code = EOPNOTSUPP};
    ssize_t n = cp.from && cp.to ? copy_range(&cp, &e) : -1;
    if (n < 0)
        fail(&c, out->node->version, &e);
    else
        fuse_reply_write(req, (size_t)n);
}

const struct fuse_lowlevel_ops dispatch_ops = {
    .init = init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .create = op_create,
    .poll = op_poll,
    .fallocate = op_fallocate,
    .readdirplus = op_readdirplus,
    .copy_file_range = op_copy_file_range,
    .lseek = op_lseek,
};
