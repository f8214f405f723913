/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/peer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define ENGINE_FD 3

static void run_engine(int sock, const char *option)
{
    char path[512];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof(path), "%s/llmosfs-engine", build ? build : "build");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sock == ENGINE_FD)
        fcntl(sock, F_SETFD, 0);
    else
        dup2(sock, ENGINE_FD);
    execl(path, "llmosfs-engine", option, (char *)NULL);
    fprintf(stderr, "cannot start %s\n", path);
    _exit(127);
}

struct peer *peer_start(const char *option)
{
    int pair[2];
    struct proto_msg m;
    struct peer *p = xcalloc(1, sizeof(*p));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0)
        run_engine(pair[1], option);
    close(pair[1]);
    p->conn = proto_open(pair[0]);
    assert_true(peer_next(p, &m));
    assert_int_equal(m.type, PROTO_HELLO);
    assert_int_equal(m.u.hello.version, PROTO_VERSION);
    return p;
}

int peer_wait(struct peer *p)
{
    int status = 0;
    uint64_t until = clock_now() + PEER_SECONDS * CLOCK_NS_PER_SEC;
    while (waitpid(p->pid, &status, WNOHANG) == 0) {
        if (clock_now() > until) {
            kill(p->pid, SIGKILL);
            fail_msg("the engine did not end");
        }
        poll(NULL, 0, 2);
    }
    if (p->conn)
        proto_close(p->conn);
    free(p);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int peer_end(struct peer *p)
{
    proto_close(p->conn);
    p->conn = NULL;
    return peer_wait(p);
}

static void flush(struct peer *p)
{
    struct pollfd poller = {.fd = proto_fd(p->conn), .events = POLLOUT};
    while (proto_flush(p->conn, NULL) == 1)
        poll(&poller, 1, 1000);
}

void peer_send(struct peer *p, const struct proto_msg *m)
{
    struct err e = {0};
    if (proto_send(p->conn, m, &e) < 0)
        fail_msg("cannot send: %s", e.text);
    flush(p);
}

bool peer_next(struct peer *p, struct proto_msg *m)
{
    uint64_t begun = clock_now();
    uint64_t heard = begun;
    for (;;) {
        struct err e = {0};
        int r = proto_receive(p->conn, m, &e);
        uint64_t now = clock_now();
        if (r < 0)
            return false;
        if (r == 1) {
            p->quiet_ns = MAX(p->quiet_ns, now - heard);
            heard = now;
            if (m->type != PROTO_BEAT && m->type != PROTO_PROGRESS)
                return true;
            continue;
        }
        if (now - begun > PEER_SECONDS * CLOCK_NS_PER_SEC)
            fail_msg("nothing came for %d s", PEER_SECONDS);
        struct pollfd poller = {.fd = proto_fd(p->conn), .events = POLLIN};
        poll(&poller, 1, 1000);
    }
}

void peer_send_load(struct peer *p, int fd, uint32_t context, uint64_t kv_bytes,
                    const char *kernels)
{
    struct proto_segment whole = {.fd = 0, .offset = 0, .len = (uint64_t)lseek(fd, 0, SEEK_END)};
    struct proto_msg m = {.type = PROTO_LOAD,
                          .u.load = {.fds = &fd,
                                     .n_fds = 1,
                                     .segments = &whole,
                                     .n_segments = 1,
                                     .context = context,
                                     .kv_bytes = kv_bytes,
                                     .kernels = {.data = kernels ? kernels : "",
                                                 .len = kernels ? strlen(kernels) : 0}}};
    peer_send(p, &m);
}

struct proto_ready peer_load(struct peer *p, int fd, uint32_t context, uint64_t kv_bytes)
{
    struct proto_msg m;
    peer_send_load(p, fd, context, kv_bytes, NULL);
    assert_true(peer_next(p, &m));
    if (m.type == PROTO_FAILED)
        fail_msg("the load failed: %.*s", (int)m.u.failed.text.len, m.u.failed.text.data);
    assert_int_equal(m.type, PROTO_READY);
    struct proto_ready ready = m.u.ready;
    ready.backend = ready.kernels = (struct proto_str){0};
    return ready;
}

struct proto_ask peer_question(struct proto_message *m, uint64_t id, const char *text,
                               int64_t max_tokens)
{
    *m = (struct proto_message){.role = PROTO_USER, .text = {.data = text, .len = strlen(text)}};
    return (struct proto_ask){.id = id,
                              .owner = 1,
                              .messages = m,
                              .n_messages = 1,
                              .sampling = {.top_p = 1, .repeat_penalty = 1},
                              .max_tokens = max_tokens};
}

void peer_answer_free(struct peer_answer *a)
{
    buf_free(&a->rendered);
    buf_free(&a->text);
    buf_free(&a->logprobs);
    tokens_free(&a->prompt);
    tokens_free(&a->ids);
}

static void add_ids(struct tokens *t, const struct proto_ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        tokens_add(t, ids->ids[i]);
}

bool peer_take(struct peer_answer *a, const struct proto_msg *m)
{
    switch (m->type) {
    case PROTO_STARTED:
        assert_false(a->started);
        a->started = true;
        a->prompt_tokens = m->u.started.prompt_tokens;
        a->cached_tokens = m->u.started.cached_tokens;
        add_ids(&a->prompt, &m->u.started.prompt);
        buf_add(&a->rendered, m->u.started.rendered.data, m->u.started.rendered.len);
        return false;
    case PROTO_PIECE:
        assert_true(a->started);
        a->pieces++;
        buf_add(&a->text, m->u.piece.text.data, m->u.piece.text.len);
        buf_add(&a->logprobs, m->u.piece.logprobs.data, m->u.piece.logprobs.len);
        add_ids(&a->ids, &m->u.piece.ids);
        return false;
    case PROTO_DONE:
        a->done = m->u.done;
        snprintf(a->error, sizeof(a->error), "%.*s", (int)m->u.done.text.len, m->u.done.text.data);
        a->done.text.data = a->error;
        return true;
    default:
        fail_msg("a message of type %d is no part of an answer", m->type);
        return true;
    }
}

void peer_ask(struct peer *p, const struct proto_ask *ask, struct peer_answer *a)
{
    struct proto_msg m = {.type = PROTO_ASK, .u.ask = *ask};
    *a = (struct peer_answer){0};
    peer_send(p, &m);
    do
        if (!peer_next(p, &m))
            fail_msg("the engine is gone");
    while (!peer_take(a, &m));
}
