/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a file of weights is found out by one process, `llmosfs-engine --inspect`, one file after the other.
 * A file over which it dies twice is damaged: it is not tried again.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "runtime/internal.h"

#define DEATHS_MAX 2

void inspect_want(struct rt *rt, struct content *c)
{
    if (c->inspecting)
        return;
    c->inspecting = true;
    content_use(rt, c);
    list_add(&rt->inspector.queue, &c->inspect_link);
    rt_kick(rt);
}

void inspect_go_on(struct rt *rt)
{
    struct inspector *i = &rt->inspector;
    if (i->busy || list_empty(&i->queue))
        return;
    if (!i->engine || i->engine->state == ENGINE_ENDING)
        i->engine = rt_engine_start(rt, SPAWN_INSPECTOR);
    if (i->engine->state != ENGINE_READY)
        return;
    struct content *c = list_entry(i->queue.next, struct content, inspect_link);
    struct proto_msg m = {.type = PROTO_INSPECT};
    m.u.inspect.fd = c->fd;
    m.u.inspect.size = c->size;
    i->busy = true;
    i->engine->last_word = clock_now();
    rt_engine_send(rt, i->engine, &m);
}

/* The first of the queue is finished with: those who wait for it go on, or fail. */
static void finish(struct rt *rt, const struct err *why)
{
    struct content *c = list_entry(rt->inspector.queue.next, struct content, inspect_link);
    rt->inspector.busy = false;
    if (rt->inspector.engine)
        rt->inspector.engine->idle_since = clock_now();
    list_del(&c->inspect_link);
    c->inspecting = false;
    while (!list_empty(&c->waiting)) {
        struct rt_answer *a = list_entry(c->waiting.next, struct rt_answer, link);
        list_del(&a->link);
        if (why)
            answer_fail(a, why);
        else
            list_add(&rt->todo, &a->link);
    }
    rt_kick(rt);
    content_unuse(rt, c);
}

bool inspect_facts(struct rt *rt, const struct proto_facts *f)
{
    if (!rt->inspector.busy)
        return false;
    struct content *c = list_entry(rt->inspector.queue.next, struct content, inspect_link);
    content_learn(c, f);
    /* What is wrong today may be right for the next version of the engine: only good news are kept. */
    c->unsaved = f->validity == PROTO_VALID;
    if (f->validity != PROTO_VALID)
        log_info("weights are not usable: %.*s", (int)f->reason.len, f->reason.data);
    finish(rt, NULL);
    return true;
}

void inspect_died(struct rt *rt, const struct err *why)
{
    struct inspector *i = &rt->inspector;
    struct proto_facts f = {.validity = PROTO_DAMAGED};
    struct err reason;
    if (list_empty(&i->queue))
        return;
    if (!i->busy) { /* it could not even be started */
        finish(rt, why);
        return;
    }
    struct content *c = list_entry(i->queue.next, struct content, inspect_link);
    i->busy = false;
    if (++c->inspector_deaths < DEATHS_MAX) {
        rt_kick(rt);
        return;
    }
    err_set(&reason, EBADMSG, "reading it, %s", why->text);
    f.reason = (struct proto_str){reason.text, strlen(reason.text)};
    content_learn(c, &f);
    finish(rt, NULL);
}
