/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations: who has one, what is asked in it, and which are kept when nobody has them open. */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "runtime/internal.h"

/* --- versions, as what conversations belong to --- */

struct version *version_get(struct rt *rt, store_ino ino)
{
    struct version *v = map_get(&rt->versions, ino);
    if (!v) {
        v = xcalloc(1, sizeof(*v));
        v->ino = ino;
        v->keep_alive = KEEP_ALIVE;
        map_put(&rt->versions, ino, v);
    }
    return v;
}

void version_ref(struct version *v)
{
    v->refs++;
}

static void version_free(struct rt *rt, struct version *v)
{
    map_remove(&rt->versions, v->ino);
    map_free(&v->convs);
    map_free(&v->errors);
    free(v);
}

void version_unref(struct rt *rt, struct version *v)
{
    if (--v->refs == 0 && (v->removed || rt->dead))
        version_free(rt, v);
}

void version_free_unused(struct rt *rt)
{
    struct version *v;
    size_t at = 0;
    while ((v = map_next(&rt->versions, &at))) {
        if (v->refs > 0)
            continue;
        version_free(rt, v);
        at = 0;
    }
}

/* --- making and forgetting them --- */

static struct rt_conv *conv_new(struct rt *rt, uid_t uid, struct version *v)
{
    struct rt_conv *c = xcalloc(1, sizeof(*c));
    c->rt = rt;
    c->uid = uid;
    c->version = v;
    version_ref(v);
    c->newest = answer_new(rt, uid, v);
    list_init(&c->armed);
    list_init(&c->lru);
    rt->objects++;
    return c;
}

static void conv_free(struct rt_conv *c)
{
    struct rt *rt = c->rt;
    if (!list_empty(&c->lru))
        rt->n_idle_convs--;
    list_del(&c->lru);
    if (!c->private_)
        map_remove(&c->version->convs, c->uid);
    answer_unref(c->newest);
    answer_unref(c->before);
    version_unref(rt, c->version);
    rt->objects--;
    free(c);
}

static bool over_limits(const struct rt *rt)
{
    return rt->n_idle_convs > rt->config.conv_max || rt->bytes > rt->config.conv_bytes;
}

void conv_trim(struct rt *rt)
{
    struct rt_conv *c;
    if (!over_limits(rt))
        return;
    list_for_each(c, &rt->idle_convs, lru)
    {
        if (c->newest->state == DONE)
            conv_free(c);
        if (!over_limits(rt))
            return;
    }
}

void conv_forget_all(struct rt *rt)
{
    struct rt_conv *c;
    list_for_each(c, &rt->idle_convs, lru) conv_free(c);
}

void conv_forget(struct rt *rt, struct version *v)
{
    struct rt_conv *c;
    size_t at = 0;
    while ((c = map_next(&v->convs, &at))) {
        if (c->refs > 0 || c->newest->state != DONE)
            continue;
        conv_free(c);
        at = 0;
    }
    (void)rt;
}

struct rt_conv *rt_conv_get(struct rt *rt, uid_t uid, store_ino version)
{
    rt_lock(rt);
    struct version *v = version_get(rt, version);
    struct rt_conv *c = map_get(&v->convs, uid);
    if (!c) {
        c = conv_new(rt, uid, v);
        map_put(&v->convs, uid, c);
    } else if (!list_empty(&c->lru)) {
        list_del(&c->lru);
        rt->n_idle_convs--;
    }
    c->refs++;
    rt_unlock(rt);
    return c;
}

struct rt_conv *rt_conv_private(struct rt *rt, uid_t uid, store_ino version)
{
    rt_lock(rt);
    struct rt_conv *c = conv_new(rt, uid, version_get(rt, version));
    c->private_ = true;
    c->refs = 1;
    rt_unlock(rt);
    return c;
}

struct rt_conv *rt_conv_ref(struct rt_conv *c)
{
    rt_lock(c->rt);
    c->refs++;
    rt_unlock(c->rt);
    return c;
}

/* Ends what is being made for nobody: an answer and those before it that it waits for. */
static void cancel_unattended(struct rt_answer *a)
{
    for (; a && a->state != DONE; a = a->parent)
        if (a->attending == 0)
            answer_want_cancel(a);
}

void rt_conv_put(struct rt_conv *c)
{
    struct rt *rt = c->rt;
    rt_lock(rt);
    if (--c->refs == 0) {
        if (c->private_ || rt->stopping) {
            cancel_unattended(c->newest);
            conv_free(c);
        } else {
            list_add(&rt->idle_convs, &c->lru);
            rt->n_idle_convs++;
            conv_trim(rt);
        }
    }
    rt_unlock_after_put(rt);
}

struct rt_answer *rt_conv_answer(struct rt_conv *c)
{
    rt_lock(c->rt);
    struct rt_answer *a = c->newest;
    a->refs++;
    rt_unlock(c->rt);
    return a;
}

/* --- asking --- */

/* The count that comes with `a` becomes the conversation's. */
static void set_newest(struct rt_conv *c, struct rt_answer *a)
{
    struct rt_answer *old = c->newest;
    c->newest = a;
    if (old->state == DONE && (old->user || old->replaced)) {
        answer_unref(c->before);
        c->before = old;
    } else {
        answer_unref(old);
    }
}

struct rt_answer *conv_begin(struct rt_conv *c, bool append, char *text, size_t n)
{
    struct rt *rt = c->rt;
    struct rt_answer *old = c->newest;
    struct rt_answer *a = answer_new(rt, c->uid, c->version);
    a->state = COMPOSING;
    a->user = text;
    a->user_len = n;
    a->asked_at = clock_now();
    list_add(&rt->active, &a->active);
    answer_charge(a);
    if (append && (old->state != DONE || old->user || old->replaced)) {
        old->refs++;
        a->parent = old;
    } else if (!append) {
        cancel_unattended(old);
    }
    a->refs = 3; /* the conversation's, its own until it is done, the caller's */
    set_newest(c, a);
    return a;
}

/* Takes what was composed, unless the question was given up in the meantime. */
static void install(struct rt_answer *a, struct composed *c)
{
    struct rt *rt = a->rt;
    a->content = steal_ptr(&c->content);
    a->content_id = a->content->id;
    a->params = c->params;
    a->system = c->system;
    a->chat_template = c->chat_template;
    a->seed = c->params.sampling.seed;
    memset(&c->params, 0, sizeof(c->params));
    c->system = (struct buf){0};
    c->chat_template = (struct buf){0};
    a->state = PARENT;
    list_add(&rt->todo, &a->link);
    rt_kick(rt);
}

void conv_submit(struct rt_answer *a)
{
    struct rt *rt = a->rt;
    struct composed composed = {0};
    struct err why = {0};
    int result = version_compose(rt, a->version->ino, &composed, &why);
    rt_lock(rt);
    if (a->state == COMPOSING && result == 0)
        install(a, &composed);
    else if (a->state == COMPOSING)
        answer_fail(a, &why);
    composed_free(rt, &composed);
    answer_unref(a);
    rt_unlock_after_put(rt);
}

/*
 * Asks. The text is taken over. The lock is held at first and given up: between the moment
 * that the draft is taken and that in which the conversation has its question nobody may look.
 */
static int ask(struct rt_conv *c, bool append, char *text, size_t n, struct err *e)
{
    struct rt *rt = c->rt;
    struct err why = {0};
    struct rt_answer *a = conv_begin(c, append, text, n);
    int admitted = 0;
    if (rt->stopping)
        admitted = err_set(&why, EIO, "the mount is ending");
    else if (user_admit(rt, c->uid, &why) < 0)
        admitted = -1;
    else
        a->admitted = true;
    if (admitted == 0) {
        rt_unlock(rt);
        conv_submit(a);
        return 0;
    }
    answer_fail(a, &why);
    answer_unref(a);
    rt_unlock_after_put(rt);
    if (e)
        *e = why;
    return -1;
}

int rt_conv_ask(struct rt_conv *c, bool append, const char *text, size_t n, struct err *e)
{
    if (n > c->rt->config.prompt_max)
        return err_set(e, EFBIG, "a prompt of more than %zu bytes", c->rt->config.prompt_max);
    n -= n > 0 && text[n - 1] == '\n';
    if (n == 0)
        return 0;
    char *copy = xmemdup(text, n);
    rt_lock(c->rt);
    return ask(c, append, copy, n, e);
}

/* Asks what a draft holds. The lock is held at first and given up. */
static int ask_draft(struct rt_draft *d, struct err *e)
{
    struct rt_conv *c = d->conv;
    bool append = d->append;
    size_t n;
    list_del(&d->link);
    if (d->text.len > 0) {
        d->append = true;
        d->asked = true;
    }
    char *text = buf_steal(&d->text, &n);
    n -= n > 0 && text[n - 1] == '\n';
    if (n > 0)
        return ask(c, append, text, n, e);
    rt_unlock(c->rt);
    free(text);
    return 0;
}

bool rt_conv_commit(struct rt_conv *c)
{
    bool any = false;
    for (;;) {
        rt_lock(c->rt);
        if (list_empty(&c->armed))
            break;
        ask_draft(list_entry(c->armed.next, struct rt_draft, link), NULL);
        any = true;
    }
    rt_unlock(c->rt);
    return any;
}

int rt_conv_replace(struct rt_conv *c, const char *text, size_t n, struct err *e)
{
    struct rt *rt = c->rt;
    if (n > ANSWER_MAX)
        return err_set(e, EFBIG, "an answer of more than %u bytes", ANSWER_MAX);
    if (!utf8_valid(text, n))
        return err_set(e, EINVAL, "an answer must be a text in UTF-8");
    rt_lock(rt);
    struct rt_answer *old = c->newest;
    struct rt_answer *a = answer_new(rt, c->uid, c->version);
    a->replaced = true;
    buf_add(&a->text, text, n);
    if (n > 0 && text[n - 1] != '\n') {
        buf_add_char(&a->text, '\n');
        a->newline = true;
    }
    if (old->user) {
        a->user = xmemdup(old->user, old->user_len);
        a->user_len = old->user_len;
        a->parent = old->parent;
        if (a->parent)
            a->parent->refs++;
    }
    answer_charge(a);
    answer_want_cancel(old);
    set_newest(c, a);
    rt_unlock_after_put(rt);
    return 0;
}

/* --- drafts --- */

struct rt_draft *rt_draft_open(struct rt_conv *c, bool append)
{
    struct rt_draft *d = xcalloc(1, sizeof(*d));
    d->conv = rt_conv_ref(c);
    d->append = append;
    list_init(&d->link);
    return d;
}

int rt_draft_write(struct rt_draft *d, const void *data, size_t n, uint64_t off, struct err *e)
{
    struct rt *rt = d->conv->rt;
    size_t max = rt->config.prompt_max;
    int result = 0;
    rt_lock(rt);
    if (d->append || d->asked)
        off = d->text.len;
    if (off > d->text.len) {
        result = err_set(e, EINVAL, "a prompt cannot have a hole");
    } else if (n > max || off > max - n) {
        result = err_set(e, EFBIG, "a prompt of more than %zu bytes", max);
    } else if (n > 0) {
        size_t over = MIN(n, d->text.len - off);
        list_del(&d->link);
        if (over > 0)
            memcpy(d->text.data + off, data, over);
        buf_add(&d->text, (const char *)data + over, n - over);
    }
    rt_unlock(rt);
    return result;
}

int rt_draft_truncate(struct rt_draft *d, uint64_t size, struct err *e)
{
    int result = 0;
    rt_lock(d->conv->rt);
    if (size > d->text.len) {
        result = err_set(e, EINVAL, "a prompt cannot have a hole");
    } else if (size < d->text.len) {
        d->text.len = size;
        d->text.data[size] = '\0';
        if (size == 0)
            list_del(&d->link);
    }
    rt_unlock(d->conv->rt);
    return result;
}

void rt_draft_flush(struct rt_draft *d)
{
    rt_lock(d->conv->rt);
    if (d->text.len > 0 && list_empty(&d->link))
        list_add(&d->conv->armed, &d->link);
    rt_unlock(d->conv->rt);
}

int rt_draft_ask(struct rt_draft *d, struct err *e)
{
    rt_lock(d->conv->rt);
    return ask_draft(d, e);
}

int rt_draft_close(struct rt_draft *d, bool drop, struct err *e)
{
    struct rt_conv *c = d->conv;
    int result = 0;
    rt_lock(c->rt);
    list_del(&d->link);
    if (drop)
        rt_unlock(c->rt);
    else
        result = ask_draft(d, e);
    buf_free(&d->text);
    free(d);
    rt_conv_put(c);
    return result;
}
