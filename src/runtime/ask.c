/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to an engine, and what it answers. All in the runtime's thread, with the lock unless said otherwise. */
#include <errno.h>
#include <string.h>

#include "runtime/engine.h"

/* --- asking --- */

static struct proto_message user_message(const struct rt_answer *a)
{
    return (struct proto_message){.role = PROTO_USER, .text = {a->user, a->user_len}};
}

static struct proto_message assistant_message(const struct rt_answer *a)
{
    return (struct proto_message){
        .role = PROTO_ASSISTANT,
        .text = {a->text.len ? a->text.data : "", a->text.len - (a->newline ? 1 : 0)},
        .ids = {a->ids, a->n_ids}};
}

/*
 * What was said, oldest first. The texts stay where they are: those of answers that are done change no more,
 * and the question holds them through its parents.
 */
static struct proto_message *gather(const struct rt_answer *a, size_t *n, struct err *e)
{
    size_t count = 1 + (a->system.len > 0);
    for (const struct rt_answer *p = a->parent; p; p = p->parent)
        if (answer_is_said(p))
            count += 1 + (p->user != NULL);
    if (count > PROTO_MESSAGES_MAX) {
        err_set(e, EFBIG, "the conversation has more than %d messages", PROTO_MESSAGES_MAX);
        return NULL;
    }
    struct proto_message *list = mem_array(count, sizeof(*list), "a conversation", e);
    if (!list)
        return NULL;
    struct proto_message *at = list + count;
    *--at = user_message(a);
    for (const struct rt_answer *p = a->parent; p; p = p->parent) {
        if (!answer_is_said(p))
            continue;
        *--at = assistant_message(p);
        if (p->user)
            *--at = user_message(p);
    }
    if (a->system.len > 0)
        *--at =
            (struct proto_message){.role = PROTO_SYSTEM, .text = {a->system.data, a->system.len}};
    *n = count;
    return list;
}

static void fill_stops(const struct params *p, struct proto_str *stops)
{
    size_t start = 0;
    for (size_t i = 0; i < p->n_stops; i++) {
        stops[i] = (struct proto_str){p->stop_text.data + start, p->stop_ends[i] - start};
        start = p->stop_ends[i];
    }
}

static void fill_ask(const struct rt_answer *a, struct proto_ask *m)
{
    m->id = a->number;
    m->owner = (uint64_t)a->uid + 1;
    m->mode = a->params.mode;
    m->chat_template = (struct proto_str){buf_str(&a->chat_template), a->chat_template.len};
    m->sampling = a->params.sampling;
    m->context = a->params.context;
    m->max_tokens = a->params.max_tokens;
    m->time_limit = a->params.time_limit;
    m->n_stops = a->params.n_stops;
}

/*
 * The lock is given up while the message is made: it copies all that was said. The question stays, as long as it is not
 * done, and it is only done here and in what this thread calls.
 */
static int send_ask(struct rt *rt, struct engine *g, struct rt_answer *a, struct err *e)
{
    struct proto_str stops[PROTO_STOPS_MAX];
    struct proto_msg m = {.type = PROTO_ASK};
    size_t n;
    CLEANUP_FREE struct proto_message *messages = gather(a, &n, e);
    if (!messages)
        return -1;
    fill_ask(a, &m.u.ask);
    fill_stops(&a->params, stops);
    m.u.ask.messages = messages;
    m.u.ask.n_messages = n;
    m.u.ask.stops = stops;
    rt_unlock(rt);
    int result = rt_engine_send_or(rt, g, &m, e);
    rt_lock(rt);
    if (result < 0)
        err_set(e, EFBIG, "the conversation is too long to be asked");
    return result;
}

void rt_engine_send_queue(struct rt *rt, struct engine *g)
{
    while (g->state == ENGINE_READY && !list_empty(&g->queue)) {
        struct rt_answer *a = list_entry(g->queue.next, struct rt_answer, link);
        struct err e;
        list_del(&a->link);
        g->n_queue--;
        if (g->n_sent == 0)
            g->last_word = clock_now();
        a->state = SENT;
        list_add(&g->sent, &a->link);
        map_put(&g->asked, a->number, a);
        g->n_sent++;
        if (send_ask(rt, g, a, &e) < 0)
            answer_fail_sent(g, a, &e);
    }
}

void rt_engine_take(struct rt *rt, struct rt_answer *a)
{
    struct content *c = a->content;
    if (!c->engine) {
        c->engine = rt_engine_start(rt, SPAWN_ENGINE);
        c->engine->content = c;
        content_use(rt, c);
    }
    struct engine *g = c->engine;
    g->keep_alive = a->version->keep_alive;
    a->engine = g;
    a->state = QUEUED;
    list_add(&g->queue, &a->link);
    g->n_queue++;
    if (g->state == ENGINE_READY)
        rt_engine_send_queue(rt, g);
}

/* --- cancelling --- */

void answer_end_cancelled(struct rt_answer *a)
{
    bool nothing = a->text.len == 0;
    answer_finish(a, PROTO_FINISH_CANCELLED, nothing ? ECANCELED : 0,
                  "it was cancelled before the first token");
}

void rt_engine_cancel(struct rt *rt, struct rt_answer *a)
{
    struct engine *g = a->engine;
    if (a->state == SENT) {
        struct proto_msg m = {.type = PROTO_CANCEL};
        m.u.cancel.id = a->number;
        a->cancelled = true;
        rt_engine_send(rt, g, &m);
        return;
    }
    if (a->state == QUEUED) {
        g->n_queue--;
        g->idle_since = clock_now();
    }
    answer_end_cancelled(a);
}

/* --- answers --- */

/* It is not with the engine any more. */
static void take_back(struct engine *g, struct rt_answer *a)
{
    map_remove(&g->asked, a->number);
    list_del(&a->link);
    g->n_sent--;
    g->idle_since = clock_now();
}

void answer_fail_sent(struct engine *g, struct rt_answer *a, const struct err *why)
{
    take_back(g, a);
    answer_fail(a, why);
}

int rt_engine_errno(int32_t code)
{
    static const int known[] = {EFBIG, EINVAL, ENOMEM, EBADMSG, ENOEXEC, EIO, EBUSY};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i] == code)
            return code;
    return EIO;
}

static bool answer_started(struct rt_answer *a, const struct proto_started *s)
{
    if (a->started)
        return false;
    a->started = true;
    a->prompt_tokens = s->prompt_tokens;
    a->cached_tokens = s->cached_tokens;
    a->rendered = xmemdup(s->rendered.data, s->rendered.len);
    a->rendered_len = s->rendered.len;
    answer_charge(a);
    return true;
}

static bool answer_piece(struct rt_answer *a, const struct proto_piece *p)
{
    if (!a->started || p->text.len > ANSWER_MAX - a->text.len ||
        p->ids.n > ANSWER_MAX / sizeof(int32_t) - a->n_ids)
        return false;
    answer_append(a, p);
    return true;
}

static void answer_done(struct engine *g, struct rt_answer *a, const struct proto_done *d)
{
    bool nothing = a->text.len == 0;
    take_back(g, a);
    a->end = *d;
    a->end.text = (struct proto_str){"", 0};
    if (d->finish == PROTO_FINISH_ERROR) {
        struct err why;
        err_set(&why, rt_engine_errno(d->code), "%.*s", (int)d->text.len, d->text.data);
        answer_fail(a, &why);
    } else if (d->finish == PROTO_FINISH_CANCELLED) {
        answer_end_cancelled(a);
    } else if (d->finish == PROTO_FINISH_TIME && nothing) {
        answer_finish(a, d->finish, ETIME, "the time limit was reached before the first token");
    } else {
        answer_finish(a, d->finish, 0, "");
    }
}

bool rt_engine_answer(struct rt *rt, struct engine *g, const struct proto_msg *m)
{
    const uint64_t id = m->type == PROTO_STARTED ? m->u.started.id
                        : m->type == PROTO_PIECE ? m->u.piece.id
                                                 : m->u.done.id;
    struct rt_answer *a = map_get(&g->asked, id);
    (void)rt;
    if (!a)
        return true; /* PROTOCOL.md: passed over */
    if (m->type == PROTO_STARTED)
        return answer_started(a, &m->u.started);
    if (m->type == PROTO_PIECE)
        return answer_piece(a, &m->u.piece);
    answer_done(g, a, &m->u.done);
    return true;
}
