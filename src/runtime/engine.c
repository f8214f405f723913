/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an engine's process: started by the first question, told what to load, ended when it is idle, obsolete, broken or
 * silent. Questions and answers are in ask.c. All in the runtime's thread, with the lock unless said otherwise.
 *
 *     STARTING ── STARTED, HELLO ──> LOADING ── READY ──> READY
 *         └──────────────┴── any end ──┴────────────────────┴──> ENDING ── ENDED ──> freed
 *
 * An engine in ENDING takes no questions: the next one starts another.
 */
#include "runtime/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/log.h"

#define END_SECONDS  5  /* an engine whose socket was closed has so long to end */
#define KILL_SECONDS 10 /* after SIGKILL its end is waited for so long */
#define WHY_SECONDS  2  /* and the reason of one that closed its socket */

#define BURST        256 /* messages of one engine until others have their turn */

static const char *role_name(const struct engine *g)
{
    return g->role == SPAWN_INSPECTOR ? "inspector" : "engine";
}

/* --- beginning --- */

struct engine *rt_engine_start(struct rt *rt, enum spawn_role role)
{
    struct engine *g = xcalloc(1, sizeof(*g));
    g->id = ++rt->last_engine;
    g->role = role;
    g->state = ENGINE_STARTING;
    g->last_word = clock_now();
    list_init(&g->queue);
    list_init(&g->sent);
    list_add(&rt->engines, &g->link);
    const struct spawn_packet p = {.type = SPAWN_START, .role = role, .id = g->id};
    if (rt_spawn(rt, &p) < 0) {
        err_set(&g->why, EIO, "no engine can be started: the supervisor does not answer");
        g->state = ENGINE_ENDING;
        g->killed = true;
        g->end_at = 0;
    }
    return g;
}

static void send_kill(struct rt *rt, struct engine *g)
{
    const struct spawn_packet p = {.type = SPAWN_KILL, .id = g->id};
    g->killed = true;
    g->end_at = clock_now() + KILL_SECONDS * CLOCK_NS_PER_SEC;
    if (rt_spawn(rt, &p) < 0)
        g->end_at = 0;
}

static void watch(struct rt *rt, struct engine *g, int op)
{
    struct epoll_event ev = {.events = EPOLLIN | (g->want_out ? EPOLLOUT : 0u), .data.u64 = g->id};
    if (epoll_ctl(rt->epoll, op, proto_fd(g->conn), &ev) < 0)
        log_fatal("epoll: %s", strerrordesc_np(errno));
}

static void load(struct rt *rt, struct engine *g)
{
    const struct proto_segment all = {0, 0, g->content->size};
    struct proto_msg m = {.type = PROTO_LOAD};
    m.u.load.fds = &g->content->fd;
    m.u.load.n_fds = 1;
    m.u.load.segments = &all;
    m.u.load.n_segments = 1;
    m.u.load.threads = rt->config.threads;
    m.u.load.context = rt->config.context;
    m.u.load.kv_bytes = rt->config.kv_bytes;
    m.u.load.kernels = (struct proto_str){rt->kernels, strlen(rt->kernels)};
    g->state = ENGINE_LOADING;
    rt_engine_send(rt, g, &m);
}

/* --- sending --- */

static void set_want_out(struct rt *rt, struct engine *g, bool want)
{
    if (g->want_out == want)
        return;
    g->want_out = want;
    watch(rt, g, EPOLL_CTL_MOD);
}

/* A peer that is gone is noticed by reading. */
int rt_engine_send_or(struct rt *rt, struct engine *g, const struct proto_msg *m, struct err *e)
{
    if (!g->conn)
        return 0;
    int result = proto_send(g->conn, m, e);
    set_want_out(rt, g, proto_flush(g->conn, NULL) == 1);
    return result < 0 && e->code == EMSGSIZE ? -1 : 0;
}

void rt_engine_send(struct rt *rt, struct engine *g, const struct proto_msg *m)
{
    struct err e;
    if (rt_engine_send_or(rt, g, m, &e) < 0)
        log_error("%s %d: %s", role_name(g), (int)g->pid, e.text);
}

/* --- ending --- */

/* It takes no questions any more, and its socket is closed. */
static void detach(struct engine *g)
{
    if (g->content && g->content->engine == g)
        g->content->engine = NULL;
    if (g->conn)
        proto_close(g->conn); /* epoll forgets it with that */
    g->conn = NULL;
    g->more = false;
    g->state = ENGINE_ENDING;
}

/* An answer that it had not begun with is asked again of another engine, once: this one may have been dead already when it was sent. */
static bool try_again(struct rt *rt, const struct engine *g, struct rt_answer *a)
{
    if (a->started || a->cancelled || a->tries > 0 || !g->was_ready || g->why.code != 0)
        return false;
    a->tries++;
    a->engine = NULL;
    a->state = FACTS;
    list_del(&a->link);
    list_add(&rt->todo, &a->link);
    rt_kick(rt);
    return true;
}

static void fail_list(struct rt *rt, struct engine *g, struct list *l, const struct err *why)
{
    while (!list_empty(l)) {
        struct rt_answer *a = list_entry(l->next, struct rt_answer, link);
        if (try_again(rt, g, a))
            continue;
        if (a->cancelled)
            answer_end_cancelled(a);
        else
            answer_fail(a, why);
    }
}

static void fail_all(struct rt *rt, struct engine *g, const struct err *why)
{
    fail_list(rt, g, &g->sent, why);
    fail_list(rt, g, &g->queue, why);
    map_free(&g->asked);
    g->n_queue = 0;
    g->n_sent = 0;
}

static void free_engine(struct rt *rt, struct engine *g)
{
    detach(g);
    list_del(&g->link);
    map_free(&g->asked);
    if (g->content)
        content_unuse(rt, g->content);
    free(g);
}

/* Its process is gone, or it is given up. */
static void gone(struct rt *rt, struct engine *g, const struct err *reason)
{
    const struct err why = g->why.code ? g->why : *reason;
    detach(g);
    fail_all(rt, g, &why);
    bool inspector = rt->inspector.engine == g;
    if (inspector)
        rt->inspector.engine = NULL;
    free_engine(rt, g);
    if (inspector)
        inspect_died(rt, &why);
}

void rt_engine_kill(struct rt *rt, struct engine *g, const struct err *why)
{
    if (g->state == ENGINE_ENDING && g->killed)
        return;
    log_warning("%s %d is ended: %s", role_name(g), (int)g->pid, why->text);
    g->why = *why;
    detach(g);
    send_kill(rt, g);
    fail_all(rt, g, why);
}

void rt_engine_end(struct rt *rt, struct engine *g)
{
    (void)rt;
    detach(g);
    g->end_at = clock_now() + END_SECONDS * CLOCK_NS_PER_SEC;
}

/* It has closed its socket, or its process has ended: the supervisor will say why. */
static void hung_up(struct rt *rt, struct engine *g)
{
    if (g->state == ENGINE_ENDING)
        return;
    detach(g);
    send_kill(rt, g);
    g->end_at = clock_now() + WHY_SECONDS * CLOCK_NS_PER_SEC;
}

static void describe_end(const struct engine *g, int status, struct err *e)
{
    if (WIFSIGNALED(status))
        err_set(e, EIO, "the %s was ended by signal %d (%s)", role_name(g), WTERMSIG(status),
                sigdescr_np(WTERMSIG(status)));
    else
        err_set(e, EIO, "the %s has ended with exit status %d", role_name(g), WEXITSTATUS(status));
}

void rt_engine_free_all(struct rt *rt)
{
    const struct err ending = {EIO, "the mount is ending"};
    struct engine *g;
    list_for_each(g, &rt->engines, link)
    {
        fail_all(rt, g, &ending);
        free_engine(rt, g);
    }
    rt->inspector.engine = NULL;
}

/* --- packets of the supervisor --- */

static struct engine *find(struct rt *rt, uint64_t id)
{
    struct engine *g;
    list_for_each(g, &rt->engines, link) if (g->id == id) return g;
    return NULL;
}

static void started(struct rt *rt, struct engine *g, const struct spawn_packet *p, int fd)
{
    struct err why;
    if (p->pid == 0 || fd < 0) {
        err_set(&why, EIO, "%.*s", (int)sizeof(p->text), p->text);
        log_error("%s", why.text);
        gone(rt, g, &why);
        return;
    }
    g->pid = p->pid;
    if (g->state != ENGINE_STARTING) { /* it was given up already */
        close(fd);
        return;
    }
    g->conn = proto_open(fd);
    watch(rt, g, EPOLL_CTL_ADD);
    log_info("%s %d has started", role_name(g), (int)g->pid);
}

static void ended(struct rt *rt, struct engine *g, int status)
{
    struct err why;
    bool expected = g->state == ENGINE_ENDING && !g->why.code && !g->killed;
    if (g->conn)
        rt_engine_read(rt, g, SIZE_MAX); /* what it said last */
    describe_end(g, status, &why);
    if (expected)
        log_info("%s %d has ended", role_name(g), (int)g->pid);
    else
        log_warning("%s (process %d)", why.text, (int)g->pid);
    gone(rt, g, &why);
}

void rt_engine_packet(struct rt *rt, const struct spawn_packet *p, int fd)
{
    struct engine *g = find(rt, p->id);
    if (g && p->type == SPAWN_STARTED && !g->conn) {
        started(rt, g, p, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (g && p->type == SPAWN_ENDED)
        ended(rt, g, p->status);
}

/* --- what it says --- */

static void violation(struct rt *rt, struct engine *g, const char *what)
{
    struct err why;
    err_set(&why, EIO, "the %s broke the protocol: %s", role_name(g), what);
    rt_engine_kill(rt, g, &why);
}

static void hello(struct rt *rt, struct engine *g, const struct proto_hello *h)
{
    struct err why;
    if (g->state != ENGINE_STARTING) {
        violation(rt, g, "a second HELLO");
    } else if (h->version != PROTO_VERSION) {
        err_set(&why, EIO, "the engine speaks version %u of the protocol, the daemon version %u",
                h->version, PROTO_VERSION);
        rt_engine_kill(rt, g, &why);
    } else if (g->role == SPAWN_INSPECTOR) {
        g->state = ENGINE_READY;
        inspect_go_on(rt);
    } else {
        load(rt, g);
    }
}

static void copy_str(char *to, size_t size, struct proto_str s)
{
    snprintf(to, size, "%.*s", (int)MIN(s.len, size - 1), s.data);
}

static void ready(struct rt *rt, struct engine *g, const struct proto_ready *r)
{
    g->state = ENGINE_READY;
    g->was_ready = true;
    g->ready = *r;
    g->ready.backend = (struct proto_str){"", 0};
    g->ready.kernels = (struct proto_str){"", 0};
    copy_str(g->backend, sizeof(g->backend), r->backend);
    copy_str(g->kernels, sizeof(g->kernels), r->kernels);
    g->idle_since = clock_now();
    log_info("engine %d is ready: %s, %s, %llu MB", (int)g->pid, g->backend, g->kernels,
             (unsigned long long)(r->memory >> 20));
    rt_engine_send_queue(rt, g);
}

static void failed(struct rt *rt, struct engine *g, const struct proto_failed *f)
{
    struct err why;
    err_set(&why, rt_engine_errno(f->code), "%.*s", (int)f->text.len, f->text.data);
    log_warning("engine %d cannot load the weights: %s", (int)g->pid, why.text);
    g->why = why;
    rt_engine_end(rt, g);
    fail_all(rt, g, &why);
}

/* One message. False: it may not come now. */
static bool take(struct rt *rt, struct engine *g, const struct proto_msg *m)
{
    bool loading = g->state == ENGINE_LOADING;
    bool answering = g->state == ENGINE_READY && g->role == SPAWN_ENGINE;
    g->last_word = clock_now();
    if (g->state == ENGINE_STARTING && m->type != PROTO_HELLO)
        return false;
    switch (m->type) {
    case PROTO_HELLO:
        hello(rt, g, &m->u.hello);
        return true;
    case PROTO_PROGRESS:
        g->progress_done = m->u.progress.done;
        g->progress_total = m->u.progress.total;
        return loading;
    case PROTO_READY:
        if (loading)
            ready(rt, g, &m->u.ready);
        return loading;
    case PROTO_FAILED:
        if (loading)
            failed(rt, g, &m->u.failed);
        return loading;
    case PROTO_STARTED:
    case PROTO_PIECE:
    case PROTO_DONE:
        return answering && rt_engine_answer(rt, g, m);
    case PROTO_FACTS:
        return g->role == SPAWN_INSPECTOR && inspect_facts(rt, &m->u.facts);
    case PROTO_BEAT:
        return true;
    default:
        return false;
    }
}

/* Receives without the lock, which is held before and after. */
void rt_engine_read(struct rt *rt, struct engine *g, size_t most)
{
    g->more = false;
    for (size_t i = 0; g->conn; i++) {
        struct proto_msg m;
        struct err e;
        if (i == most) {
            g->more = true;
            return;
        }
        rt_unlock(rt);
        int r = proto_receive(g->conn, &m, &e);
        rt_lock(rt);
        if (r == 0)
            return;
        if (r < 0 && e.code == EPROTO)
            violation(rt, g, e.text);
        else if (r < 0)
            hung_up(rt, g);
        else if (!take(rt, g, &m))
            violation(rt, g, "a message that may not come now");
    }
}

void rt_engine_event(struct rt *rt, uint64_t id, uint32_t events)
{
    rt_lock(rt);
    struct engine *g = find(rt, id);
    if (g && g->conn && (events & EPOLLOUT))
        set_want_out(rt, g, proto_flush(g->conn, NULL) == 1);
    if (g && g->conn && (events & ~(uint32_t)EPOLLOUT))
        rt_engine_read(rt, g, BURST);
    rt_unlock(rt);
}

bool rt_engine_has_more(const struct rt *rt)
{
    struct engine *g;
    list_for_each(g, &rt->engines, link) if (g->more) return true;
    return false;
}

void rt_engine_read_more(struct rt *rt)
{
    rt_lock(rt);
    struct engine *g;
    list_for_each(g, &rt->engines, link) if (g->more) rt_engine_read(rt, g, BURST);
    rt_unlock(rt);
}

/* --- time --- */

/* When an engine that owes a word has been silent for too long; NEVER if it owes none. */
static uint64_t silent_at(const struct rt *rt, const struct engine *g)
{
    uint64_t seconds = rt->config.load_seconds;
    if (g->state == ENGINE_READY) {
        bool owes = g->n_sent > 0 || (g == rt->inspector.engine && rt->inspector.busy);
        if (!owes)
            return NEVER;
        seconds = rt->config.hang_seconds;
    }
    return g->last_word + seconds * CLOCK_NS_PER_SEC;
}

/* When it is not kept any longer; NEVER while it is needed. */
static uint64_t idle_at(const struct rt *rt, const struct engine *g)
{
    if (g->state != ENGINE_READY || g->n_queue + g->n_sent > 0)
        return NEVER;
    if (g->role == SPAWN_INSPECTOR)
        return rt->inspector.busy ? NEVER : g->idle_since + INSPECTOR_SECONDS * CLOCK_NS_PER_SEC;
    if (g->content->versions == 0)
        return 0;
    if (g->keep_alive < 0)
        return NEVER;
    return g->idle_since + (uint64_t)g->keep_alive * CLOCK_NS_PER_SEC;
}

static void end_idle(struct rt *rt, struct engine *g)
{
    if (g->role == SPAWN_ENGINE)
        log_info("engine %d is not needed any more", (int)g->pid);
    rt_engine_end(rt, g);
}

static void end_silent(struct rt *rt, struct engine *g)
{
    struct err why;
    err_set(&why, EIO, "the %s has given no sign of life for %u s", role_name(g),
            g->state == ENGINE_READY ? rt->config.hang_seconds : rt->config.load_seconds);
    rt_engine_kill(rt, g, &why);
}

static uint64_t rt_engine_timer(struct rt *rt, struct engine *g, uint64_t now)
{
    if (g->state == ENGINE_ENDING) {
        const struct err why = {EIO, "the engine closed its connection and does not end"};
        if (now < g->end_at)
            return g->end_at;
        if (g->killed) {
            gone(rt, g, &why);
            return NEVER;
        }
        send_kill(rt, g);
        return g->end_at;
    }
    uint64_t silent = silent_at(rt, g);
    uint64_t idle = idle_at(rt, g);
    if (now >= silent)
        end_silent(rt, g);
    else if (now >= idle)
        end_idle(rt, g);
    else
        return MIN(silent, idle);
    return g->end_at;
}

uint64_t rt_engine_timers(struct rt *rt, uint64_t now)
{
    uint64_t next = NEVER;
    struct engine *g;
    list_for_each(g, &rt->engines, link)
    {
        uint64_t at = rt_engine_timer(rt, g, now);
        next = MIN(next, at);
    }
    return next;
}
