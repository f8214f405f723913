/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What prompt, completion and stream share. The name is a node of the store that holds mode and
 * owner; lookup answers with a node of the one who asks, and of completion and stream one for each
 * answer, so that a size, a page of cache and an answer never belong to two.
 *
 * Between the lookup of a name and the open of its node a new question may be asked, also by that
 * very open, which asks what was written and closed before it. The open is then answered ESTALE:
 * the kernel looks the name up anew, and opens again, once. A thread that comes again for the same
 * name is therefore not told ESTALE twice.
 */
#include <string.h>

#include "base/mem.h"
#include "fs/live.h"

struct node *live_front(struct call *c, store_ino version, const struct store_attr *a)
{
    static const struct node_ops *const ops[] = {[ROLE_PROMPT] = &prompt_ops,
                                                 [ROLE_COMPLETION] = &completion_ops,
                                                 [ROLE_STREAM] = &stream_ops};
    struct node_key key = {
        .ops = ops[a->role], .stored = a->ino, .version = version, .uid = c->uid};
    if (a->role == ROLE_PROMPT)
        return node_front(c->fs, &key, NULL);
    struct rt_conv *conv = rt_conv_get(c->fs->rt, c->uid, version);
    struct rt_answer *answer = rt_conv_answer(conv);
    struct node *n = node_front(c->fs, &key, answer);
    rt_answer_put(answer);
    rt_conv_put(conv);
    return n;
}

int live_getattr(struct call *c, struct node *n, struct stat *st, struct err *e)
{
    if (attr_stored(c, n, st, e) < 0)
        return -1;
    st->st_size = 0;
    st->st_blocks = 0;
    st->st_nlink = MAX(st->st_nlink, 1);
    if (!n->answer)
        return 0;
    struct rt_answer_info info;
    rt_answer_info(n->answer, &info);
    if (info.done || n->ops == &stream_ops)
        st->st_size = (off_t)info.size;
    st->st_blocks = (st->st_size + 511) / 512;
    if (info.changed.tv_sec)
        st->st_mtim = st->st_ctim = info.changed;
    return 0;
}

void live_settle(struct call *c, store_ino version)
{
    weights_settle(c->fs, version);
    values_settle(c->fs, version);
}

/* --- threads that were told ESTALE and come again --- */

bool live_retry_take(struct fs *fs, pid_t tid, store_ino stored)
{
    bool found = false;
    pthread_mutex_lock(&fs->retries_lock);
    for (size_t i = 0; i < ARRAY_LEN(fs->retries) && !found; i++) {
        found = fs->retries[i].tid == tid && fs->retries[i].stored == stored;
        if (found)
            fs->retries[i].stored = 0;
    }
    pthread_mutex_unlock(&fs->retries_lock);
    return found;
}

void live_retry_put(struct fs *fs, pid_t tid, store_ino stored)
{
    pthread_mutex_lock(&fs->retries_lock);
    fs->retries[fs->next_retry].tid = tid;
    fs->retries[fs->next_retry].stored = stored;
    fs->next_retry = (fs->next_retry + 1) % ARRAY_LEN(fs->retries);
    pthread_mutex_unlock(&fs->retries_lock);
}

bool live_is_callers(struct call *c, struct node *n)
{
    if (c->uid == n->uid)
        return true;
    /* A path leads to the caller's own node when it is walked again; /proc/self/fd does not. */
    uint64_t id = n->stored ? n->stored : n->ino;
    if (live_retry_take(c->fs, c->tid, id)) {
        fail_set(c, 0, EACCES, "this file is another user's");
        return false;
    }
    live_retry_put(c->fs, c->tid, id);
    fuse_reply_err(c->req, ESTALE);
    return false;
}

struct rt_answer *live_answer(struct call *c, struct node *n, bool *other)
{
    struct rt_conv *conv = rt_conv_get(c->fs->rt, c->uid, n->version);
    live_settle(c, n->version);
    rt_conv_commit(conv);
    struct rt_answer *now = rt_conv_answer(conv);
    rt_conv_put(conv);

    struct rt_answer_info info;
    rt_answer_info(now, &info);
    bool again = live_retry_take(c->fs, c->tid, n->stored);
    *other = info.number != n->number;
    if (!*other)
        return now;
    if (again && node_is_front(c->fs, n))
        return now; /* yet another question since the name was looked up anew */
    if (again) {    /* no name was looked up: a descriptor is opened anew, and bound as it was */
        rt_answer_put(now);
        *other = false;
        return rt_answer_ref(n->answer);
    }
    node_unfront(c->fs, n);
    live_retry_put(c->fs, c->tid, n->stored);
    rt_answer_put(now);
    fuse_reply_err(c->req, ESTALE);
    return NULL;
}

void live_gone(struct parked *p, bool dying)
{
    if (dying)
        rt_leave(p->answer, true);
    else
        park_linger(p->call.fs, rt_answer_ref(p->answer), p->call.tid);
}

void live_fail(struct call *c, struct rt_answer *answer, const struct rt_answer_info *info)
{
    struct err e = {0};
    rt_answer_error(answer, &e);
    if (e.code == 0)
        err_set(&e, info->code ? info->code : EIO, "the answer was not made to its end");
    fail(c, info->version, &e);
}

int live_take(struct rt_answer *answer, uint64_t off, size_t size, char **data, size_t *n,
              struct rt_answer_info *info)
{
    *data = NULL;
    *n = 0;
    rt_answer_info(answer, info); /* before reading: what is done then has all its bytes */
    uint64_t left = info->size > off ? info->size - off : 0;
    size = left < size ? (size_t)left : size;
    if (size > 0) {
        *data = xmalloc(size);
        *n = rt_answer_read(answer, off, *data, size, true);
    }
    if (*n > 0)
        return 1;
    free(*data);
    *data = NULL;
    if (!info->done)
        return 0;
    return info->code ? -1 : 1;
}
