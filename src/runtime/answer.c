/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: their text, who waits for it, who attends, how they end. */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "runtime/internal.h"

struct rt_answer *answer_new(struct rt *rt, uid_t uid, struct version *v)
{
    struct rt_answer *a = xcalloc(1, sizeof(*a));
    a->rt = rt;
    a->refs = 1;
    a->number = ++rt->last_number;
    a->uid = uid;
    a->version = v;
    a->state = DONE;
    a->changed = clock_wall();
    version_ref(v);
    list_init(&a->whole);
    list_init(&a->more);
    list_init(&a->grace);
    list_init(&a->active);
    list_init(&a->link);
    list_init(&a->cancel_link);
    list_init(&a->children);
    rt->objects++;
    return a;
}

static void answer_free(struct rt_answer *a)
{
    struct rt *rt = a->rt;
    rt->bytes -= a->charged;
    rt->objects--;
    version_unref(rt, a->version);
    buf_free(&a->text);
    free(a->user);
    free(a->ids);
    free(a->rendered);
    free(a);
}

/* A conversation is a chain of answers, so this is no recursion. */
void answer_unref(struct rt_answer *a)
{
    while (a && --a->refs == 0) {
        struct rt_answer *parent = a->parent;
        answer_free(a);
        a = parent;
    }
}

void answer_charge(struct rt_answer *a)
{
    size_t n =
        sizeof(*a) + a->user_len + a->text.cap + a->cap_ids * sizeof(*a->ids) + a->rendered_len;
    a->rt->bytes += n - a->charged;
    a->charged = n;
}

bool answer_is_said(const struct rt_answer *a)
{
    if (a->replaced)
        return a->user || a->text.len > 0;
    return a->user && (a->error.code == 0 || a->text.len > 0);
}

static void fire(struct rt *rt, struct rt_wait *w)
{
    list_del(&w->link);
    list_add(&rt->fired, &w->link);
    rt_kick(rt);
}

static void fire_waits(struct rt_answer *a)
{
    struct rt_wait *w;
    list_for_each(w, &a->more, link) if (a->state == DONE || a->text.len > w->beyond)
        fire(a->rt, w);
    if (a->state != DONE)
        return;
    list_for_each(w, &a->whole, link) fire(a->rt, w);
}

static void add_ids(struct rt_answer *a, const struct proto_ids *ids)
{
    if (ids->n > a->cap_ids - a->n_ids) {
        a->cap_ids = MAX(a->n_ids + ids->n, a->cap_ids * 2);
        a->ids = xrealloc(a->ids, a->cap_ids * sizeof(*a->ids));
    }
    if (ids->n > 0)
        memcpy(a->ids + a->n_ids, ids->ids, ids->n * sizeof(*a->ids));
    a->n_ids += ids->n;
}

void answer_append(struct rt_answer *a, const struct proto_piece *p)
{
    buf_add(&a->text, p->text.data, p->text.len);
    add_ids(a, &p->ids);
    a->changed = clock_wall();
    answer_charge(a);
    fire_waits(a);
}

/* What it needed to be made is not needed any more. */
static void give_up_question(struct rt_answer *a)
{
    struct rt *rt = a->rt;
    list_del(&a->link);
    list_del(&a->cancel_link);
    list_del(&a->grace);
    list_del(&a->active);
    if (a->content)
        content_unuse(rt, a->content);
    a->content = NULL;
    a->engine = NULL;
    params_free(&a->params);
    buf_free(&a->system);
    buf_free(&a->chat_template);
    if (a->admitted)
        user_answered(rt, a->uid);
    a->admitted = false;
}

static void let_children_go(struct rt_answer *a)
{
    struct rt_answer *child;
    list_for_each(child, &a->children, link)
    {
        list_del(&child->link);
        list_add(&a->rt->todo, &child->link);
        rt_kick(a->rt);
    }
}

/* Only the newest answer's .rendered can be asked for. */
static void drop_rendered(struct rt_answer *a)
{
    if (!a || !a->rendered)
        return;
    free(a->rendered);
    a->rendered = NULL;
    a->rendered_len = 0;
    answer_charge(a);
}

void answer_finish(struct rt_answer *a, enum proto_finish finish, int code, const char *text)
{
    if (a->state == DONE)
        return;
    give_up_question(a);
    a->state = DONE;
    a->end.finish = finish;
    a->done_at = clock_now();
    a->changed = clock_wall();
    if (code != 0) {
        err_set(&a->error, code, "%s", text);
        error_note(a->rt, a->version, a->uid, a->error.text);
    }
    if (a->text.len > 0 ? a->text.data[a->text.len - 1] != '\n' : code == 0) {
        buf_add_char(&a->text, '\n');
        a->newline = true;
    }
    answer_charge(a);
    drop_rendered(a->parent);
    let_children_go(a);
    fire_waits(a);
    answer_unref(a); /* its own */
}

void answer_fail(struct rt_answer *a, const struct err *e)
{
    answer_finish(a, PROTO_FINISH_ERROR, e->code ? e->code : EIO, e->text);
}

void answer_want_cancel(struct rt_answer *a)
{
    if (a->state == DONE || a->cancelled || !list_empty(&a->cancel_link))
        return;
    list_add(&a->rt->cancels, &a->cancel_link);
    rt_kick(a->rt);
}

/* --- runtime.h --- */

struct rt_answer *rt_answer_ref(struct rt_answer *a)
{
    rt_lock(a->rt);
    a->refs++;
    rt_unlock(a->rt);
    return a;
}

void rt_answer_put(struct rt_answer *a)
{
    struct rt *rt = a->rt;
    rt_lock(rt);
    answer_unref(a);
    rt_unlock_after_put(rt);
}

void rt_answer_info(struct rt_answer *a, struct rt_answer_info *info)
{
    rt_lock(a->rt);
    *info = (struct rt_answer_info){.number = a->number,
                                    .uid = a->uid,
                                    .version = a->version->ino,
                                    .done = a->state == DONE,
                                    .code = a->error.code,
                                    .size = a->text.len,
                                    .changed = a->changed};
    rt_unlock(a->rt);
}

size_t rt_answer_read(struct rt_answer *a, uint64_t off, void *data, size_t n, bool whole_chars)
{
    rt_lock(a->rt);
    size_t got = off < a->text.len ? MIN(n, a->text.len - off) : 0;
    if (got > 0)
        memcpy(data, a->text.data + off, got);
    rt_unlock(a->rt);
    if (whole_chars && n >= 4)
        got -= utf8_incomplete_tail(data, got);
    return got;
}

void rt_answer_error(struct rt_answer *a, struct err *e)
{
    rt_lock(a->rt);
    *e = a->error;
    rt_unlock(a->rt);
}

bool rt_wait(struct rt_answer *a, struct rt_wait *w, uint64_t beyond)
{
    rt_lock(a->rt);
    bool now = a->state == DONE || a->text.len > beyond;
    w->answer = a;
    w->beyond = beyond;
    list_init(&w->link);
    if (!now)
        list_add(beyond == RT_WHOLE ? &a->whole : &a->more, &w->link);
    rt_unlock(a->rt);
    return now;
}

bool rt_unwait(struct rt_wait *w)
{
    struct rt *rt = w->answer->rt;
    rt_lock(rt);
    bool queued = !list_empty(&w->link);
    list_del(&w->link);
    rt_unlock(rt);
    return queued;
}

void rt_attend(struct rt_answer *a)
{
    rt_lock(a->rt);
    a->attending++;
    list_del(&a->grace);
    rt_unlock(a->rt);
}

void rt_leave(struct rt_answer *a, bool dying)
{
    struct rt *rt = a->rt;
    rt_lock(rt);
    a->attending--;
    if (a->attending == 0 && a->state != DONE) {
        if (dying) {
            answer_want_cancel(a);
        } else {
            a->grace_at = clock_now() + GRACE_NS;
            list_add(&rt->graces, &a->grace);
            rt_kick(rt);
        }
    }
    rt_unlock(rt);
}

void rt_cancel(struct rt_answer *a)
{
    rt_lock(a->rt);
    answer_want_cancel(a);
    rt_unlock(a->rt);
}
