/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prompt.
 *
 *   O_WRONLY   a draft of the user's conversation, which the runtime asks at the last close, at
 *              fsync, or when a reader comes after a flush. With O_APPEND it is the next turn.
 *   O_RDONLY   is empty.
 *   O_RDWR     a conversation of this open file alone: what was written is asked at the first read after
 *              it (or poll for one), reads give the answer as it is made, its end is the end of the file, and what is
 *              written then is the next turn. If it was never read, it was a program that opens so to
 *              write: its last close asks in the user's conversation.
 */
#include <poll.h>

#include "base/mem.h"
#include "fs/live.h"
#include "fs/text.h"

/* --- writing only --- */

struct draft_handle {
    struct handle h;
    struct rt_draft *draft; /* NULL: open for reading */
};

static struct rt_draft *draft_of(struct handle *h)
{
    return ((struct draft_handle *)h)->draft;
}

static void draft_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                       const struct fuse_entry_param *created)
{
    struct draft_handle *dh = handle_new(c, n, sizeof(*dh), fi);
    if (open_writes(fi->flags)) {
        struct rt_conv *conv = rt_conv_get(c->fs->rt, c->uid, n->version);
        dh->draft = rt_draft_open(conv, fi->flags & O_APPEND);
        rt_conv_put(conv);
    }
    fi->direct_io = 1;
    open_reply(c, &dh->h, fi, created);
}

static int draft_write(struct call *c, struct handle *h, const struct write_args *w, struct err *e)
{
    (void)c;
    return rt_draft_write(draft_of(h), w->data, w->n, (uint64_t)w->off, e);
}

static int draft_flush(struct call *c, struct handle *h, struct err *e)
{
    (void)c;
    (void)e;
    if (draft_of(h))
        rt_draft_flush(draft_of(h));
    return 0;
}

static int draft_fsync(struct call *c, struct handle *h, struct err *e)
{
    if (!draft_of(h))
        return 0;
    live_settle(c, h->node->version);
    return rt_draft_ask(draft_of(h), e);
}

static void draft_release(struct call *c, struct handle *h)
{
    struct err e = {0};
    if (draft_of(h)) {
        live_settle(c, h->node->version);
        if (rt_draft_close(draft_of(h), !c->req, &e) < 0)
            note_error(c, h->node->version, &e);
    }
    handle_free(c->fs, h);
}

/* --- reading and writing: a private conversation --- */

static const struct node_ops private_ops;

struct private_handle {
    struct text_handle t; /* text: written and not asked yet */
    struct rt_conv *conv; /* NULL: nothing was asked yet */
    struct rt_answer *answer;
    uint64_t at; /* how much of it was read */
    bool attends, read;
    struct poller *poller;
};

static void private_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                         const struct fuse_entry_param *created)
{
    struct private_handle *p = handle_new(c, n, sizeof(*p), fi);
    p->t.h.ops = &private_ops;
    fi->direct_io = 1;
    fi->nonseekable = 1;
    open_reply(c, &p->t.h, fi, created);
}

/* h.lock is held. */
static void private_leave(struct private_handle *p, bool dying)
{
    if (p->attends)
        rt_leave(p->answer, dying);
    p->attends = false;
}

/* Asks what was written since; h.lock is held. */
static int private_ask(struct call *c, struct private_handle *p, struct err *e)
{
    struct node *n = p->t.h.node;
    if (p->t.text.len == 0)
        return 0;
    bool first = !p->conv;
    if (first)
        p->conv = rt_conv_private(c->fs->rt, n->uid, n->version);
    private_leave(p, false);
    if (p->answer)
        rt_answer_put(steal_ptr(&p->answer));
    int rc = rt_conv_ask(p->conv, !first, buf_str(&p->t.text), p->t.text.len, e);
    buf_clear(&p->t.text);
    p->answer = rt_conv_answer(p->conv);
    p->at = 0;
    rt_attend(p->answer);
    p->attends = true;
    return rc;
}

static int private_write(struct call *c, struct handle *h, const struct write_args *w,
                         struct err *e)
{
    (void)c;
    struct write_args at_end = *w;
    at_end.flags |= O_APPEND; /* offsets do not matter */
    pthread_mutex_lock(&h->lock);
    int rc = text_write((struct text_handle *)h, &at_end, TEXT_MAX, e);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

/* What a read gives now. 1: *data, *n; 0: nothing yet; -1: e. h.lock is held. */
static int private_take(struct private_handle *p, size_t size, char **data, size_t *n,
                        struct err *e)
{
    struct rt_answer_info info;
    *data = NULL;
    *n = 0;
    if (!p->answer)
        return 1;
    int rc = live_take(p->answer, p->at, size, data, n, &info);
    p->at += *n;
    if (rc < 0) {
        rt_answer_error(p->answer, e);
        e->code = e->code ? e->code : EIO;
    }
    return rc;
}

/* Replies if there is anything to say, else false. Asks first. */
static bool private_serve(struct call *c, struct private_handle *p, size_t size)
{
    struct err e = {0};
    CLEANUP_FREE char *data = NULL;
    size_t n = 0;
    pthread_mutex_lock(&p->t.h.lock);
    p->read = true;
    int rc = private_ask(c, p, &e);
    if (rc == 0)
        rc = private_take(p, size, &data, &n, &e);
    pthread_mutex_unlock(&p->t.h.lock);
    if (rc < 0)
        fail(c, p->t.h.node->version, &e);
    else if (rc > 0)
        fuse_reply_buf(c->req, data, n);
    return rc != 0;
}

static void private_finish(struct parked *parked)
{
    struct private_handle *p = (struct private_handle *)parked->h;
    if (!private_serve(&parked->call, p, parked->size))
        fuse_reply_err(parked->call.req, EIO); /* the daemon ends */
}

static void private_gone(struct parked *parked, bool dying)
{
    struct private_handle *p = (struct private_handle *)parked->h;
    pthread_mutex_lock(&p->t.h.lock);
    if (dying)
        private_leave(p, true);
    pthread_mutex_unlock(&p->t.h.lock);
}

static void private_read(struct call *c, struct handle *h, size_t size, off_t off,
                         struct fuse_file_info *fi)
{
    (void)off;
    struct private_handle *p = (struct private_handle *)h;
    live_settle(c, h->node->version);
    if (private_serve(c, p, size))
        return;
    if (fi->flags & O_NONBLOCK) {
        pthread_mutex_lock(&h->lock);
        poller_again(&p->poller, p->answer, p->at);
        pthread_mutex_unlock(&h->lock);
        fuse_reply_err(c->req, EAGAIN);
        return;
    }
    pthread_mutex_lock(&h->lock);
    struct parked parked = {.call = *c,
                            .answer = rt_answer_ref(p->answer),
                            .finish = private_finish,
                            .gone = private_gone,
                            .h = h,
                            .size = size};
    uint64_t at = p->at;
    pthread_mutex_unlock(&h->lock);
    park(&parked, at);
}

static void private_poll(struct call *c, struct handle *h, struct fuse_pollhandle *ph, short events)
{
    struct private_handle *p = (struct private_handle *)h;
    struct err e = {0};
    live_settle(c, h->node->version);
    pthread_mutex_lock(&h->lock);
    if ((events & POLLIN) && private_ask(c, p, &e) < 0)
        note_error(c, h->node->version, &e);
    bool ready = poller_wait(&p->poller, p->answer, p->at, ph);
    pthread_mutex_unlock(&h->lock);
    fuse_reply_poll(c->req, POLLOUT | POLLWRNORM | (ready ? POLLIN | POLLRDNORM : 0));
}

/* Written to and never read: asked in the user's own conversation. */
static void ask_instead(struct call *c, struct private_handle *p)
{
    struct node *n = p->t.h.node;
    struct err e = {0};
    live_settle(c, n->version);
    struct rt_conv *conv = rt_conv_get(c->fs->rt, n->uid, n->version);
    if (rt_conv_ask(conv, p->t.h.flags & O_APPEND, buf_str(&p->t.text), p->t.text.len, &e) < 0)
        note_error(c, n->version, &e);
    rt_conv_put(conv);
}

static void private_release(struct call *c, struct handle *h)
{
    struct private_handle *p = (struct private_handle *)h;
    if (!p->read && p->t.text.len > 0 && c->req)
        ask_instead(c, p);
    poller_end(&p->poller);
    if (p->answer) {
        private_leave(p, false);
        rt_answer_put(p->answer);
    }
    if (p->conv)
        rt_conv_put(p->conv);
    text_release(c, h);
}

static const struct node_ops private_ops = {
    .kind = "prompt",
    .read = private_read,
    .write = private_write,
    .poll = private_poll,
    .release = private_release,
};

/* --- both --- */

static void prompt_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                        const struct fuse_entry_param *created)
{
    if (!live_is_callers(c, n))
        return;
    if ((fi->flags & O_ACCMODE) == O_RDWR)
        private_open(c, n, fi, created);
    else
        draft_open(c, n, fi, created);
}

static int prompt_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size,
                           struct err *e)
{
    (void)c;
    (void)n;
    if (h && h->ops == &prompt_ops && draft_of(h))
        return rt_draft_truncate(draft_of(h), size, e);
    if (size > 0)
        return err_set(e, EINVAL, "prompt is empty, and cannot be made longer but by writing");
    if (!h || h->ops != &private_ops)
        return 0;
    pthread_mutex_lock(&h->lock);
    int rc = text_cut((struct text_handle *)h, 0, e);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

const struct node_ops prompt_ops = {
    .kind = "prompt",
    .getattr = live_getattr,
    .truncate = prompt_truncate,
    .open = prompt_open,
    .write = draft_write,
    .flush = draft_flush,
    .fsync = draft_fsync,
    .release = draft_release,
};
