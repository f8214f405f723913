/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion: open for reading waits until the answer is whole. Then it is a plain file: the kernel
 * is given all of it before the open returns, so that its size holds also for those who never ask
 * for it (sendfile, splice).
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "fs/live.h"

#define STORE_CHUNK (1u << 20)

static bool take_filled(struct fs *fs, struct node *n)
{
    pthread_mutex_lock(&fs->nodes_lock);
    bool filled = n->filled;
    pthread_mutex_unlock(&fs->nodes_lock);
    return filled;
}

/* Gives the kernel the whole answer as pages of the node's inode. */
static void fill_kernel(struct fs *fs, struct node *n, uint64_t size)
{
    if (take_filled(fs, n))
        return;
    CLEANUP_FREE char *chunk = xmalloc(STORE_CHUNK);
    int rc = 0;
    for (uint64_t off = 0; off < size && rc == 0;) {
        size_t got = rt_answer_read(n->answer, off, chunk, STORE_CHUNK, false);
        if (got == 0)
            break;
        struct fuse_bufvec data = FUSE_BUFVEC_INIT(got);
        data.buf[0].mem = chunk;
        rc = fuse_lowlevel_notify_store(fs->se, n->ino, (off_t)off, &data, 0);
        off += got;
    }
    if (rc < 0) {
        log_warning("the kernel did not take an answer: %s", strerror(-rc));
        return;
    }
    pthread_mutex_lock(&fs->nodes_lock);
    n->filled = true;
    pthread_mutex_unlock(&fs->nodes_lock);
}

/* The answer is done: replies to the open. Takes over its count. */
static void finish_open(struct call *c, struct node *n, struct rt_answer *answer, bool other,
                        struct fuse_file_info *fi)
{
    struct rt_answer_info info;
    rt_answer_info(answer, &info);
    if (!info.done || info.code) {
        live_fail(c, answer, &info);
        rt_answer_put(answer);
        return;
    }
    struct answer_handle *ah = handle_new(c, n, sizeof(*ah), fi);
    ah->answer = answer;
    if (other) { /* the inode's pages are another answer's */
        fi->direct_io = 1;
    } else {
        fill_kernel(c->fs, n, info.size);
        fi->keep_cache = 1;
    }
    open_reply(c, &ah->h, fi, NULL);
}

static void finish(struct parked *p)
{
    rt_leave(p->answer, false);
    finish_open(&p->call, p->node, rt_answer_ref(p->answer), p->direct, &p->fi);
}

static void completion_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                            const struct fuse_entry_param *created)
{
    if (!live_is_callers(c, n))
        return;
    if (open_writes(fi->flags) || created) {
        answer_write_open(c, n, fi, created);
        return;
    }
    bool other;
    struct rt_answer *answer = live_answer(c, n, &other);
    if (!answer)
        return;
    struct rt_answer_info info;
    rt_answer_info(answer, &info);
    if (info.done) {
        finish_open(c, n, answer, other, fi);
    } else if (fi->flags & O_NONBLOCK) {
        rt_answer_put(answer);
        fuse_reply_err(c->req, EAGAIN);
    } else {
        rt_attend(answer);
        struct parked p = {.call = *c,
                           .answer = answer,
                           .finish = finish,
                           .gone = live_gone,
                           .node = node_ref(c->fs, n),
                           .fi = *fi,
                           .direct = other};
        park(&p, RT_WHOLE);
    }
}

static void completion_read(struct call *c, struct handle *h, size_t n, off_t off,
                            struct fuse_file_info *fi)
{
    (void)fi;
    struct answer_handle *ah = (struct answer_handle *)h;
    CLEANUP_FREE char *data = xmalloc(n);
    size_t got = rt_answer_read(ah->answer, (uint64_t)off, data, n, false);
    fuse_reply_buf(c->req, data, got);
}

static void completion_release(struct call *c, struct handle *h)
{
    rt_answer_put(((struct answer_handle *)h)->answer);
    handle_free(c->fs, h);
}

const struct node_ops completion_ops = {
    .kind = "completion",
    .getattr = live_getattr,
    .truncate = answer_truncate,
    .open = completion_open,
    .read = completion_read,
    .release = completion_release,
};
