/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: the answer as it is produced. open waits for the first byte, reads give what there is and
 * wait for more. Its size grows with the answer; nothing of it is cached. Whoever has it open reads
 * along, and keeps the answer from being cancelled.
 */
#include <poll.h>

#include "base/mem.h"
#include "fs/live.h"

/* --- open --- */

/* There is something to read, or nothing ever will be. Takes over the answer's count, and the
   attendance. */
static void finish_open(struct call *c, struct node *n, struct rt_answer *answer,
                        struct fuse_file_info *fi)
{
    struct rt_answer_info info;
    rt_answer_info(answer, &info);
    if (info.size == 0 && (info.code || !info.done)) {
        live_fail(c, answer, &info);
        rt_leave(answer, false);
        rt_answer_put(answer);
        return;
    }
    struct answer_handle *ah = handle_new(c, n, sizeof(*ah), fi);
    ah->answer = answer;
    ah->attends = true;
    fi->direct_io = 1;
    open_reply(c, &ah->h, fi, NULL);
}

static void open_finish(struct parked *p)
{
    finish_open(&p->call, p->node, rt_answer_ref(p->answer), &p->fi);
}

static void stream_open(struct call *c, struct node *n, struct fuse_file_info *fi,
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
    if (!info.done && info.size == 0 && (fi->flags & O_NONBLOCK)) {
        rt_answer_put(answer);
        fuse_reply_err(c->req, EAGAIN);
        return;
    }
    rt_attend(answer);
    if (info.done || info.size > 0) {
        finish_open(c, n, answer, fi);
        return;
    }
    struct parked p = {.call = *c,
                       .answer = answer,
                       .finish = open_finish,
                       .gone = live_gone,
                       .node = node_ref(c->fs, n),
                       .fi = *fi};
    park(&p, 0);
}

/* --- read --- */

/* Replies if there is anything to say; else false. */
static bool serve(struct call *c, struct answer_handle *ah, size_t size, off_t off)
{
    CLEANUP_FREE char *data = NULL;
    size_t n;
    struct rt_answer_info info;
    int rc = live_take(ah->answer, (uint64_t)off, size, &data, &n, &info);
    if (rc == 0)
        return false;
    if (rc < 0) {
        live_fail(c, ah->answer, &info);
        return true;
    }
    pthread_mutex_lock(&ah->h.lock);
    ah->next = (uint64_t)off + n;
    pthread_mutex_unlock(&ah->h.lock);
    fuse_reply_buf(c->req, data, n);
    return true;
}

static void read_finish(struct parked *p)
{
    if (!serve(&p->call, (struct answer_handle *)p->h, p->size, p->off))
        fuse_reply_err(p->call.req, EIO); /* the daemon ends */
}

/* One who is dying leaves at once; others still have the file open. */
static void read_gone(struct parked *p, bool dying)
{
    struct answer_handle *ah = (struct answer_handle *)p->h;
    pthread_mutex_lock(&ah->h.lock);
    bool leave = dying && ah->attends;
    if (leave)
        ah->attends = false;
    pthread_mutex_unlock(&ah->h.lock);
    if (leave)
        rt_leave(ah->answer, true);
}

static void stream_read(struct call *c, struct handle *h, size_t size, off_t off,
                        struct fuse_file_info *fi)
{
    struct answer_handle *ah = (struct answer_handle *)h;
    if (serve(c, ah, size, off))
        return;
    if (fi->flags & O_NONBLOCK) {
        pthread_mutex_lock(&h->lock);
        poller_again(&ah->poller, ah->answer, (uint64_t)off);
        pthread_mutex_unlock(&h->lock);
        fuse_reply_err(c->req, EAGAIN);
        return;
    }
    struct parked p = {.call = *c,
                       .answer = rt_answer_ref(ah->answer),
                       .finish = read_finish,
                       .gone = read_gone,
                       .h = h,
                       .size = size,
                       .off = off};
    park(&p, (uint64_t)off);
}

static void stream_poll(struct call *c, struct handle *h, struct fuse_pollhandle *ph, short events)
{
    (void)events;
    struct answer_handle *ah = (struct answer_handle *)h;
    pthread_mutex_lock(&h->lock);
    bool ready = poller_wait(&ah->poller, ah->answer, ah->next, ph);
    pthread_mutex_unlock(&h->lock);
    fuse_reply_poll(c->req, ready ? POLLIN | POLLRDNORM : 0);
}

static void stream_release(struct call *c, struct handle *h)
{
    struct answer_handle *ah = (struct answer_handle *)h;
    poller_end(&ah->poller);
    if (ah->attends)
        rt_leave(ah->answer, false);
    rt_answer_put(ah->answer);
    handle_free(c->fs, h);
}

const struct node_ops stream_ops = {
    .kind = "stream",
    .getattr = live_getattr,
    .truncate = answer_truncate,
    .open = stream_open,
    .read = stream_read,
    .poll = stream_poll,
    .release = stream_release,
};
