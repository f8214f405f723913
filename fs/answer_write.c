/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to completion or stream puts the text in the place of the answer, at each flush that
 * finds something new. Emptying alone (`: > completion`) cancels the answer that is being made.
 * Such an open never waits; what it reads is the answer so far, and what it wrote.
 */
#include "base/mem.h"
#include "fs/live.h"
#include "fs/text.h"

static struct rt_answer *current_answer(struct call *c, struct node *n)
{
    struct rt_conv *conv = rt_conv_get(c->fs->rt, n->uid, n->version);
    struct rt_answer *answer = rt_conv_answer(conv);
    rt_conv_put(conv);
    return answer;
}

static void cancel(struct call *c, struct node *n)
{
    struct rt_answer *answer = current_answer(c, n);
    rt_cancel(answer);
    rt_answer_put(answer);
}

static void load(struct call *c, struct node *n, struct buf *text)
{
    struct rt_answer_info info;
    struct rt_answer *answer = current_answer(c, n);
    rt_answer_info(answer, &info);
    buf_reserve(text, info.size);
    CLEANUP_FREE char *data = xmalloc(info.size + 1);
    buf_add(text, data, rt_answer_read(answer, 0, data, info.size, false));
    rt_answer_put(answer);
}

static int write_text(struct call *c, struct handle *h, const struct write_args *w, struct err *e)
{
    (void)c;
    pthread_mutex_lock(&h->lock);
    int rc = text_write((struct text_handle *)h, w, TEXT_MAX, e);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static int flush_text(struct call *c, struct handle *h, struct err *e)
{
    struct text_handle *th = (struct text_handle *)h;
    CLEANUP_BUF struct buf text = {0};
    pthread_mutex_lock(&h->lock);
    bool dirty = th->dirty;
    th->dirty = false;
    if (dirty)
        buf_add(&text, buf_str(&th->text), th->text.len);
    pthread_mutex_unlock(&h->lock);
    if (!dirty)
        return 0;
    if (text.len == 0) {
        cancel(c, h->node);
        return 0;
    }
    struct rt_conv *conv = rt_conv_get(c->fs->rt, h->node->uid, h->node->version);
    int rc = rt_conv_replace(conv, buf_str(&text), text.len, e);
    rt_conv_put(conv);
    return rc;
}

static const struct node_ops answer_write_ops = {
    .kind = "completion",
    .read = text_read,
    .write = write_text,
    .flush = flush_text,
    .fsync = flush_text,
    .release = text_release,
};

void answer_write_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                       const struct fuse_entry_param *created)
{
    struct text_handle *th = handle_new(c, n, sizeof(*th), fi);
    th->h.ops = &answer_write_ops;
    if (fi->flags & O_TRUNC)
        cancel(c, n);
    else
        load(c, n, &th->text);
    fi->direct_io = 1;
    open_reply(c, &th->h, fi, created);
}

int answer_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size, struct err *e)
{
    if (h && h->ops == &answer_write_ops) {
        pthread_mutex_lock(&h->lock);
        int rc = text_cut((struct text_handle *)h, size, e);
        pthread_mutex_unlock(&h->lock);
        return rc;
    }
    if (c->uid != n->uid)
        return err_set(e, EACCES, "this answer is another user's");
    if (size > 0)
        return err_set(e, EINVAL, "an answer is written whole or emptied");
    cancel(c, n);
    return 0;
}
