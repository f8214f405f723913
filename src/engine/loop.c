/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "proto/proto.h"

#define BEAT_NS                                                                                    \
    (PROTO_BEAT_SECONDS * CLOCK_NS_PER_SEC /                                                       \
     2) /* twice as often as promised: a step lies between */
#define PROGRESS_NS (100 * CLOCK_NS_PER_MS)

struct loop {
    struct proto_conn *conn;
    uint64_t said_at; /* when the last message was sent */
    bool gone;        /* the other side is */
    bool unsent;      /* the socket is full */
    bool broken;      /* the other side spoke nonsense, or something failed: the exit code is 1 */
};

static void say(struct loop *l, const struct proto_msg *m)
{
    struct err e;
    if (!l->gone && proto_send(l->conn, m, &e) < 0) {
        l->gone = true;
        if (e.code != EPIPE)
            log_error("cannot send: %s", e.text);
    }
    l->said_at = clock_now();
}

static void say_type(struct loop *l, enum proto_type type)
{
    say(l, &(struct proto_msg){.type = type});
}

static void flush(struct loop *l)
{
    int r = proto_flush(l->conn, NULL);
    l->unsent = r > 0;
    l->gone = l->gone || r < 0;
}

/* Called often during long work. */
static void tick(void *ctx)
{
    struct loop *l = ctx;
    if (clock_now() - l->said_at >= BEAT_NS)
        say_type(l, PROTO_BEAT);
}

static void on_emit(void *ctx, const struct proto_msg *m)
{
    say(ctx, m);
}

static void wait_for_word(const struct loop *l)
{
    struct pollfd p = {.fd = proto_fd(l->conn),
                       .events = (short)(POLLIN | (l->unsent ? POLLOUT : 0))};
    poll(&p, 1, -1); /* EINTR is as good as a message: we look again */
}

static void say_hello(struct loop *l)
{
    struct proto_msg m = {.type = PROTO_HELLO,
                          .u.hello = {.version = PROTO_VERSION,
                                      .engine = {.data = ENGINE_NAME, .len = strlen(ENGINE_NAME)}}};
    say(l, &m);
}

static void give_up(struct loop *l, const char *why)
{
    log_error("%s", why);
    l->gone = l->broken = true;
}

/* The next message, if one is there. */
static bool receive(struct loop *l, struct proto_msg *m)
{
    struct err e = {0};
    int r = l->gone ? 0 : proto_receive(l->conn, m, &e);
    if (r < 0) {
        l->gone = true;
        if (e.code != EPIPE)
            give_up(l, e.text);
    }
    return r == 1;
}

/* Waits for the next message; false: there will be none. */
static bool await(struct loop *l, struct proto_msg *m)
{
    while (!receive(l, m)) {
        flush(l);
        if (l->gone)
            return false;
        wait_for_word(l);
    }
    return true;
}

/* Sends all that is queued, however long the other side takes. */
static void drain(struct loop *l)
{
    for (flush(l); l->unsent && !l->gone; flush(l))
        wait_for_word(l);
}

/* --- loading --- */

struct load_progress {
    struct loop *loop;
    uint64_t told_at;
};

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct load_progress *p = ctx;
    uint64_t now = clock_now();
    if (now - p->told_at >= PROGRESS_NS || done == total) {
        p->told_at = now;
        say(p->loop, &(struct proto_msg){.type = PROTO_PROGRESS,
                                         .u.progress = {.done = done, .total = total}});
    }
    return !p->loop->gone;
}

static struct vfile *open_weights(const struct proto_load *load, struct err *e)
{
    CLEANUP_FREE struct vfile_segment *segments =
        mem_array(load->n_segments, sizeof(*segments), "the list of segments", e);
    if (!segments)
        return NULL;
    for (size_t i = 0; i < load->n_segments; i++)
        segments[i] = (struct vfile_segment){.fd = load->fds[load->segments[i].fd],
                                             .offset = load->segments[i].offset,
                                             .len = load->segments[i].len};
    return vfile_new(segments, load->n_segments, e);
}

static struct engine *load_weights(struct loop *l, const struct proto_load *load, struct err *e)
{
    struct load_progress p = {.loop = l};
    CLEANUP_FREE char *kernels =
        xstrndup(load->kernels.data ? load->kernels.data : "", load->kernels.len);
    struct engine_config config = {.threads = load->threads,
                                   .context = load->context,
                                   .kv_bytes = load->kv_bytes,
                                   .kernels = kernels};
    CLEANUP(vfile) struct vfile *f = open_weights(load, e);
    return f ? engine_load(f, &config, on_progress, &p, e) : NULL;
}

static void say_ready(struct loop *l, const struct engine *en)
{
    struct proto_msg m = {.type = PROTO_READY};
    engine_ready(en, &m.u.ready);
    say(l, &m);
}

static void say_failed(struct loop *l, const struct err *e)
{
    struct proto_msg m = {
        .type = PROTO_FAILED,
        .u.failed = {.code = e->code, .text = {.data = e->text, .len = strlen(e->text)}}};
    say(l, &m);
    l->broken = true;
    log_error("cannot load the model: %s", e->text);
}

/* The engine that LOAD makes; NULL: there was none, or it failed. */
static struct engine *load(struct loop *l)
{
    struct proto_msg m;
    struct err e = {0};
    do {
        if (!await(l, &m))
            return NULL;
        if (m.type == PROTO_PING)
            say_type(l, PROTO_BEAT);
    } while (m.type == PROTO_PING);
    if (m.type != PROTO_LOAD) {
        give_up(l, "a model was expected, and something else came");
        return NULL;
    }
    struct engine *en = load_weights(l, &m.u.load, &e);
    for (size_t i = 0; i < m.u.load.n_fds; i++)
        close(m.u.load.fds[i]);
    if (en)
        say_ready(l, en);
    else
        say_failed(l, &e);
    return en;
}

/* --- answering --- */

static void handle(struct loop *l, struct engine *en, const struct proto_msg *m)
{
    switch (m->type) {
    case PROTO_ASK:
        engine_ask(en, &m->u.ask);
        break;
    case PROTO_CANCEL:
        engine_cancel(en, m->u.cancel.id);
        break;
    case PROTO_PING:
        say_type(l, PROTO_BEAT);
        break;
    case PROTO_LOAD:
        for (size_t i = 0; i < m->u.load.n_fds; i++)
            close(m->u.load.fds[i]);
        give_up(l, "a second model came");
        break;
    case PROTO_INSPECT:
        close(m->u.inspect.fd);
        give_up(l, "a file to inspect came to an engine");
        break;
    default:
        give_up(l, "a message came that only an engine sends");
    }
}

static void serve(struct loop *l, struct engine *en)
{
    struct proto_msg m;
    engine_listen(en, on_emit, tick, l);
    while (!l->gone) {
        while (receive(l, &m))
            handle(l, en, &m);
        if (!engine_idle(en)) {
            engine_step(en);
            tick(l);
            flush(l);
        } else {
            flush(l);
            if (!l->gone)
                wait_for_word(l);
        }
    }
}

int loop_run(int sock)
{
    CLEANUP(proto) struct proto_conn *conn = proto_open(sock);
    struct loop l = {.conn = conn};
    say_hello(&l);
    CLEANUP(engine) struct engine *en = load(&l);
    if (en)
        serve(&l, en);
    else
        drain(&l);
    return l.broken ? 1 : 0;
}

int loop_inspect(int sock)
{
    CLEANUP(proto) struct proto_conn *conn = proto_open(sock);
    struct loop l = {.conn = conn};
    struct proto_msg m;
    say_hello(&l);
    while (await(&l, &m)) {
        if (m.type == PROTO_PING) {
            say_type(&l, PROTO_BEAT);
        } else if (m.type == PROTO_INSPECT) {
            struct inspect_facts found;
            inspect_file(m.u.inspect.fd, m.u.inspect.size, &found);
            close(m.u.inspect.fd);
            say(&l, &(struct proto_msg){.type = PROTO_FACTS, .u.facts = found.facts});
            inspect_free(&found);
        } else {
            give_up(&l, "a file to inspect was expected, and something else came");
        }
    }
    return l.broken ? 1 : 0;
}
