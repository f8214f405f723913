/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's thread: the one that talks to engines and the supervisor, moves questions from state to state, keeps time
 * and calls those who wait. Other threads leave it work in the lists of struct rt and kick it.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/log.h"
#include "runtime/internal.h"

enum { TAG_KICK, TAG_SUPERVISOR }; /* of epoll's events; an engine's is its number, from 2 on */

void rt_kick(struct rt *rt)
{
    const uint64_t one = 1;
    if (rt->kicked || rt->dead)
        return;
    rt->kicked = true;
    if (write(rt->kick, &one, sizeof(one)) < 0)
        log_fatal("eventfd: %s", strerrordesc_np(errno));
}

void rt_close_later(struct rt *rt, int fd)
{
    if (fd < 0)
        return;
    struct closing *c = xmalloc(sizeof(*c));
    c->fd = fd;
    list_add(&rt->closing, &c->link);
    rt_kick(rt);
}

/* --- the supervisor --- */

int rt_spawn(struct rt *rt, const struct spawn_packet *p)
{
    if (rt->supervisor >= 0 &&
        io_send(rt->supervisor, p, sizeof(*p), NULL, 0, MSG_DONTWAIT) == (ssize_t)sizeof(*p))
        return 0;
    return -1;
}

/* False when there is nothing more for now. */
static bool take_packet(struct rt *rt)
{
    struct spawn_packet p;
    int fd = -1;
    size_t n_fds = 1;
    ssize_t n = io_recv(rt->supervisor, &p, sizeof(p), &fd, &n_fds, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    rt_lock(rt);
    if (n == (ssize_t)sizeof(p)) {
        rt_engine_packet(rt, &p, fd);
    } else {
        if (fd >= 0)
            close(fd);
        if (!rt->stopping)
            log_error("the supervisor is gone: no engine can be started");
        close(rt->supervisor);
        rt->supervisor = -1;
    }
    rt_unlock(rt);
    return n == (ssize_t)sizeof(p);
}

/* --- questions; lock held --- */

/* The nearest answer before it that is not done. */
static struct rt_answer *unfinished_parent(const struct rt_answer *a)
{
    struct rt_answer *p = a->parent;
    while (p && p->state == DONE)
        p = p->parent;
    return p;
}

/* What was never answered is no part of what was said. */
static void skip_unsaid(struct rt_answer *a)
{
    while (a->parent && !answer_is_said(a->parent)) {
        struct rt_answer *unsaid = a->parent;
        a->parent = unsaid->parent;
        if (a->parent)
            a->parent->refs++;
        answer_unref(unsaid);
    }
}

static void advance(struct rt *rt, struct rt_answer *a)
{
    struct rt_answer *before = unfinished_parent(a);
    struct err e;
    if (before) {
        list_add(&before->children, &a->link);
        return;
    }
    skip_unsaid(a);
    a->state = FACTS;
    if (!a->content->known) {
        list_add(&a->content->waiting, &a->link);
        inspect_want(rt, a->content);
    } else if (content_check(a->content, &e) < 0) {
        answer_fail(a, &e);
    } else {
        rt_engine_take(rt, a);
    }
}

static void end_cancelled(struct rt *rt)
{
    while (!list_empty(&rt->cancels)) {
        struct rt_answer *a = list_entry(rt->cancels.next, struct rt_answer, cancel_link);
        list_del(&a->cancel_link);
        rt_engine_cancel(rt, a);
    }
}

/* Cancels what all have left a while ago. The time of the next one. */
static uint64_t end_left(struct rt *rt, uint64_t now)
{
    while (!list_empty(&rt->graces)) {
        struct rt_answer *a = list_entry(rt->graces.next, struct rt_answer, grace);
        if (a->grace_at > now)
            return a->grace_at;
        list_del(&a->grace);
        answer_want_cancel(a);
    }
    return NEVER;
}

/* Does all that can be done now. The time when there is more. */
static uint64_t work(struct rt *rt)
{
    uint64_t now = clock_now();
    uint64_t next = end_left(rt, now);
    end_cancelled(rt);
    while (!list_empty(&rt->todo)) {
        struct rt_answer *a = list_entry(rt->todo.next, struct rt_answer, link);
        list_del(&a->link);
        advance(rt, a);
    }
    inspect_go_on(rt);
    uint64_t timers = rt_engine_timers(rt, now);
    conv_trim(rt);
    return MIN(next, timers);
}

/* --- the loop --- */

static void close_all(struct list *fds)
{
    while (!list_empty(fds)) {
        struct closing *c = list_entry(fds->next, struct closing, link);
        list_del(&c->link);
        close(c->fd);
        free(c);
    }
}

/* Takes the lock and gives it up again for each call. */
static void call_waiters(struct rt *rt)
{
    for (;;) {
        struct list fds = LIST_INIT(fds);
        struct rt_wait *w = NULL;
        rt_lock(rt);
        while (!list_empty(&rt->closing)) {
            struct list *c = rt->closing.next;
            list_del(c);
            list_add(&fds, c);
        }
        if (!list_empty(&rt->fired)) {
            w = list_entry(rt->fired.next, struct rt_wait, link);
            list_del(&w->link);
        }
        rt_unlock(rt);
        close_all(&fds);
        if (!w)
            return;
        w->wake(w);
    }
}

static void take_event(struct rt *rt, const struct epoll_event *ev)
{
    uint64_t count;
    if (ev->data.u64 == TAG_KICK) {
        rt_lock(rt);
        if (read(rt->kick, &count, sizeof(count)) > 0)
            rt->kicked = false;
        rt_unlock(rt);
    } else if (ev->data.u64 == TAG_SUPERVISOR) {
        while (rt->supervisor >= 0 && take_packet(rt))
            ;
    } else {
        rt_engine_event(rt, ev->data.u64, ev->events);
    }
}

static int timeout_until(uint64_t when)
{
    if (when == NEVER)
        return -1;
    uint64_t now = clock_now();
    return when <= now ? 0 : (int)MIN((when - now) / CLOCK_NS_PER_MS + 1, (uint64_t)INT32_MAX);
}

/* Nothing is answered any more. */
static void finish_all(struct rt *rt)
{
    const struct err ending = {EIO, "the mount is ending"};
    rt_lock(rt);
    while (!list_empty(&rt->active))
        answer_fail(list_entry(rt->active.next, struct rt_answer, active), &ending);
    rt_engine_free_all(rt);
    rt_unlock(rt);
    call_waiters(rt);
}

static void *run(void *arg)
{
    struct rt *rt = arg;
    for (;;) {
        rt_lock(rt);
        bool stopping = rt->stopping;
        uint64_t next = stopping ? 0 : work(rt);
        if (rt_engine_has_more(rt))
            next = 0;
        rt_unlock(rt);
        if (stopping)
            break;
        call_waiters(rt);
        struct epoll_event events[32];
        int n = epoll_wait(rt->epoll, events, ARRAY_LEN(events), timeout_until(next));
        if (n < 0 && errno != EINTR)
            log_fatal("epoll: %s", strerrordesc_np(errno));
        for (int i = 0; i < n; i++)
            take_event(rt, &events[i]);
        rt_engine_read_more(rt);
    }
    finish_all(rt);
    return NULL;
}

/* --- beginning and end --- */

static void set_defaults(struct rt_config *c)
{
    c->hang_seconds = c->hang_seconds ? c->hang_seconds : 30;
    c->load_seconds = c->load_seconds ? c->load_seconds : 120;
    c->prompt_max = c->prompt_max ? c->prompt_max : 64u << 20;
    c->waiting_max = c->waiting_max ? c->waiting_max : 1024;
    c->conv_max = c->conv_max ? c->conv_max : 4096;
    c->conv_bytes = c->conv_bytes ? c->conv_bytes : 256u << 20;
}

static void close_fds(struct rt *rt)
{
    int *const fds[] = {&rt->epoll, &rt->kick, &rt->supervisor};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (*fds[i] >= 0)
            close(steal_fd(fds[i]));
}

static void destroy(struct rt *rt)
{
    close_fds(rt);
    map_free(&rt->versions);
    map_free(&rt->contents);
    map_free(&rt->users);
    pthread_mutex_destroy(&rt->lock);
    free(rt->kernels);
    free(rt);
}

static int watch(struct rt *rt, int fd, uint64_t tag)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};
    return epoll_ctl(rt->epoll, EPOLL_CTL_ADD, fd, &ev);
}

struct rt *rt_new(const struct rt_config *config, struct err *e)
{
    struct rt *rt = xcalloc(1, sizeof(*rt));
    rt->config = *config;
    set_defaults(&rt->config);
    rt->kernels = xstrdup(config->kernels ? config->kernels : "");
    pthread_mutex_init(&rt->lock, NULL);
    list_init(&rt->cached);
    list_init(&rt->idle_convs);
    list_init(&rt->errors);
    list_init(&rt->engines);
    list_init(&rt->inspector.queue);
    list_init(&rt->active);
    list_init(&rt->todo);
    list_init(&rt->cancels);
    list_init(&rt->graces);
    list_init(&rt->fired);
    list_init(&rt->closing);
    rt->last_engine = TAG_SUPERVISOR;
    rt->supervisor = config->supervisor;
    rt->epoll = epoll_create1(EPOLL_CLOEXEC);
    rt->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rt->epoll >= 0 && rt->kick >= 0 && watch(rt, rt->kick, TAG_KICK) == 0 &&
        watch(rt, rt->supervisor, TAG_SUPERVISOR) == 0) {
        errno = pthread_create(&rt->thread, NULL, run, rt);
        if (errno == 0)
            return rt;
    }
    err_sys(e, "the runtime cannot be started");
    destroy(rt);
    return NULL;
}

void rt_unlock_after_put(struct rt *rt)
{
    bool last = rt->dead && rt->objects == 0;
    rt_unlock(rt);
    if (last)
        destroy(rt);
}

/* What is known about weights and not yet written down. */
static void save_all_facts(struct rt *rt)
{
    struct content *c;
    size_t at = 0;
    while ((c = map_next(&rt->contents, &at)))
        content_save_facts(rt, c);
}

void rt_free(struct rt *rt)
{
    rt_lock(rt);
    rt->stopping = true;
    rt_kick(rt);
    rt_unlock(rt);
    pthread_join(rt->thread, NULL);
    save_all_facts(rt);
    rt_lock(rt);
    struct version *v;
    size_t at = 0;
    conv_forget_all(rt);
    error_free_all(rt);
    while ((v = map_next(&rt->versions, &at)))
        if (v->content)
            v->content->versions--, v->content = NULL, v->refs--;
    content_free_all(rt);
    close_all(&rt->closing);
    close_fds(rt);
    rt->dead = true;
    version_free_unused(rt);
    rt_unlock_after_put(rt);
}
