/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo_engine: an engine without a model, for tests of everything in front of the protocol. It answers with the text that
 * it was asked, unless that begins with orders, which it follows from left to right:
 *
 *     sleep 500ms            a pause (BEATs go on)
 *     tokens 100 every 10ms  so many tokens "t0 t1 …", one piece each (without "every": at once)
 *     bytes 5000             so many bytes of one known pattern: "0123456789\n" again and again
 *     history                all messages of the conversation, one a line: "role: text"
 *     params                 what it was asked with, "name value" lines
 *     weights                the first line of the file it was loaded from
 *     say TEXT               the rest of the text as it is
 *     crash | exit N         ends itself by SIGSEGV, or with this status
 *     hang                   never says a word again, on any question
 *     never                  goes on for ever, with BEATs, until it is cancelled
 *     fail ERRNO TEXT        DONE with this error
 *     garbage                bytes that are no message
 *
 * The weights are any file; what it begins with orders what loading does (--inspect knows the first three):
 *
 *     damaged REASON | unsupported REASON | crash    what it says
 *     slow 500ms                                     loads for so long
 *     failload ERRNO TEXT | hangload | crashload     valid, but no engine can load it
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/list.h"
#include "base/log.h"
#include "base/utf8.h"
#include "proto/proto.h"

#define PIECE_BYTES 65536

struct job { /* a question that is being answered */
    struct list link;
    uint64_t id;
    struct buf text; /* what is asked; orders are taken off its front */
    struct buf history;
    struct buf params;
    uint64_t due;      /* when it goes on */
    uint64_t deadline; /* of time_limit, 0: none */
    uint64_t started;
    uint64_t tokens_left; /* of "tokens" */
    uint64_t tokens_made;
    uint64_t every;
    int64_t max_tokens;
    uint32_t completion;
    bool never;
};

static struct proto_conn *conn;
static struct list jobs = LIST_INIT(jobs);
static struct buf weights;
static bool hanging;
static uint64_t beat_due;

static void send_msg(const struct proto_msg *m)
{
    struct err e;
    if (proto_send(conn, m, &e) < 0)
        exit(0);
}

/* --- orders --- */

/* Takes a word off the front of a text if it is there, with the blanks behind it. */
static bool take_word(struct buf *b, const char *word)
{
    size_t n = strlen(word);
    if (b->len < n || memcmp(b->data, word, n) != 0)
        return false;
    if (b->len > n && b->data[n] != ' ' && b->data[n] != '\n')
        return false;
    while (n < b->len && (b->data[n] == ' ' || b->data[n] == '\n'))
        n++;
    buf_consume(b, n);
    return true;
}

static uint64_t take_number(struct buf *b)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < b->len && b->data[n] >= '0' && b->data[n] <= '9'; n++)
        v = v * 10 + (uint64_t)(b->data[n] - '0');
    if (b->len - n >= 2 && memcmp(b->data + n, "ms", 2) == 0)
        n += 2;
    while (n < b->len && (b->data[n] == ' ' || b->data[n] == '\n'))
        n++;
    buf_consume(b, n);
    return v;
}

__attribute__((noreturn)) static void crash(void)
{
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    _exit(1);
}

static void say_garbage(void)
{
    static const char bytes[] = "this is no message, and its length is far too long";
    io_write(proto_fd(conn), bytes, sizeof(bytes));
}

/* --- answering --- */

static int32_t id_of(uint64_t n)
{
    return (int32_t)(n % 50000);
}

static void piece(struct job *j, const char *text, size_t n, uint64_t token)
{
    int32_t id = id_of(token);
    struct proto_msg m = {.type = PROTO_PIECE};
    m.u.piece.id = j->id;
    m.u.piece.text = (struct proto_str){text, n};
    m.u.piece.ids = (struct proto_ids){&id, 1};
    m.u.piece.logprobs = (struct proto_str){"", 0};
    send_msg(&m);
    j->completion++;
}

static void free_job(struct job *j)
{
    list_del(&j->link);
    buf_free(&j->text);
    buf_free(&j->history);
    buf_free(&j->params);
    free(j);
}

static void done(struct job *j, enum proto_finish finish, int code, const char *text)
{
    struct proto_msg m = {.type = PROTO_DONE};
    m.u.done.id = j->id;
    m.u.done.finish = finish;
    m.u.done.code = code;
    m.u.done.text = (struct proto_str){text, strlen(text)};
    m.u.done.completion_tokens = j->completion;
    m.u.done.decode_seconds = (double)(clock_now() - j->started) / (double)CLOCK_NS_PER_SEC;
    send_msg(&m);
    free_job(j);
}

/* Sends a text in pieces of whole UTF-8 sequences. */
static void say(struct job *j, const char *text, size_t n)
{
    CLEANUP_BUF struct buf valid = {0};
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_decode(text + i, n - i, &cp);
        if (len > 0)
            buf_add(&valid, text + i, len);
        else
            buf_add_str(&valid, "\xef\xbf\xbd"), len = 1;
    }
    for (size_t at = 0; at < valid.len;) {
        size_t step = MIN(valid.len - at, (size_t)PIECE_BYTES);
        step -= utf8_incomplete_tail(valid.data + at, step);
        piece(j, valid.data + at, step, at);
        at += step;
    }
}

static void say_bytes(struct job *j, uint64_t n)
{
    static const char pattern[] = "0123456789\n";
    CLEANUP_BUF struct buf b = {0};
    for (uint64_t i = 0; i < n; i++)
        buf_add_char(&b, pattern[i % 11]);
    say(j, b.data, b.len);
}

static void make_token(struct job *j)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "t%" PRIu64 " ", j->tokens_made);
    piece(j, text, (size_t)n, j->tokens_made);
    j->tokens_made++;
    j->tokens_left--;
    j->due = clock_now() + j->every * CLOCK_NS_PER_MS;
}

/* Follows the next order. False when the question was answered, or nothing is to be done until j->due. */
static bool follow(struct job *j)
{
    struct buf *t = &j->text;
    if (take_word(t, "sleep")) {
        j->due = clock_now() + take_number(t) * CLOCK_NS_PER_MS;
    } else if (take_word(t, "tokens")) {
        j->tokens_left = take_number(t);
        j->every = take_word(t, "every") ? take_number(t) : 0;
    } else if (take_word(t, "bytes")) {
        say_bytes(j, take_number(t));
    } else if (take_word(t, "history")) {
        say(j, buf_str(&j->history), j->history.len);
    } else if (take_word(t, "params")) {
        say(j, buf_str(&j->params), j->params.len);
    } else if (take_word(t, "weights")) {
        say(j, buf_str(&weights), weights.len);
    } else if (take_word(t, "crash")) {
        proto_flush(conn, NULL);
        crash();
    } else if (take_word(t, "exit")) {
        _exit((int)take_number(t));
    } else if (take_word(t, "hang")) {
        hanging = true;
    } else if (take_word(t, "never")) {
        j->never = true;
    } else if (take_word(t, "garbage")) {
        say_garbage();
    } else if (take_word(t, "fail")) {
        int code = (int)take_number(t);
        CLEANUP_BUF struct buf why = {0};
        buf_add(&why, buf_str(t), t->len);
        done(j, PROTO_FINISH_ERROR, code, buf_str(&why));
        return false;
    } else {
        take_word(t, "say");
        say(j, buf_str(t), t->len);
        done(j, PROTO_FINISH_STOP, 0, "");
        return false;
    }
    if (t->len == 0 && j->tokens_left == 0 && !j->never && !hanging && j->due <= clock_now()) {
        done(j, PROTO_FINISH_STOP, 0, "");
        return false;
    }
    return true;
}

/* Goes on with a question as far as it can now. */
static void work(struct job *j)
{
    while (!hanging) {
        if (j->deadline && clock_now() >= j->deadline) {
            done(j, PROTO_FINISH_TIME, 0, "");
            return;
        }
        if (j->due > clock_now() || j->never)
            return;
        if (j->max_tokens >= 0 && j->completion >= j->max_tokens && j->tokens_left > 0) {
            done(j, PROTO_FINISH_LENGTH, 0, "");
            return;
        }
        if (j->tokens_left > 0)
            make_token(j);
        else if (j->text.len == 0) {
            done(j, PROTO_FINISH_STOP, 0, "");
            return;
        } else if (!follow(j))
            return;
    }
}

static void describe(struct job *j, const struct proto_ask *a)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < a->n_messages; i++) {
        const struct proto_message *m = &a->messages[i];
        buf_printf(&j->history, "%s: %.*s\n", roles[m->role], (int)m->text.len, m->text.data);
        if (m->ids.n > 0)
            buf_printf(&j->params, "ids_of_message_%zu %zu\n", i, m->ids.n);
    }
    buf_printf(&j->params, "temperature %g\ntop_k %d\ntop_p %g\nmin_p %g\nseed %" PRIu64 "\n",
               a->sampling.temperature, a->sampling.top_k, a->sampling.top_p, a->sampling.min_p,
               a->sampling.seed);
    buf_printf(&j->params,
               "max_tokens %" PRId64 "\ntime_limit %g\ncontext %u\nmode %d\nowner %" PRIu64 "\n",
               a->max_tokens, a->time_limit, a->context, (int)a->mode, a->owner);
    buf_printf(&j->params, "template %.*s\n", (int)a->chat_template.len, a->chat_template.data);
    for (size_t i = 0; i < a->n_stops; i++)
        buf_printf(&j->params, "stop %.*s\n", (int)a->stops[i].len, a->stops[i].data);
}

static void take_ask(const struct proto_ask *a)
{
    struct job *j = xcalloc(1, sizeof(*j));
    const struct proto_message *last = &a->messages[a->n_messages - 1];
    j->id = a->id;
    j->max_tokens = a->max_tokens;
    j->started = clock_now();
    if (a->time_limit > 0)
        j->deadline = j->started + (uint64_t)(a->time_limit * (double)CLOCK_NS_PER_SEC);
    buf_add(&j->text, last->text.data, last->text.len);
    describe(j, a);
    list_add(&jobs, &j->link);
    struct proto_msg m = {.type = PROTO_STARTED};
    m.u.started.id = j->id;
    m.u.started.prompt_tokens = (uint32_t)(j->history.len / 4 + 1);
    m.u.started.rendered = (struct proto_str){buf_str(&j->history), j->history.len};
    send_msg(&m);
    work(j);
}

static void cancel(uint64_t id)
{
    struct job *j;
    list_for_each(j, &jobs, link)
    {
        if (j->id == id) {
            done(j, PROTO_FINISH_CANCELLED, 0, "");
            return;
        }
    }
}

/* --- loading and inspecting --- */

/* What the file begins with, as orders. */
static void read_orders(int fd, uint64_t offset, struct buf *b)
{
    char text[256];
    ssize_t n = io_pread(fd, text, sizeof(text), offset);
    if (n > 0)
        buf_add(b, text, strcspn(text, "\n") < (size_t)n ? strcspn(text, "\n") : (size_t)n);
}

static void inspect(const struct proto_inspect *i)
{
    CLEANUP_BUF struct buf b = {0};
    read_orders(i->fd, 0, &b);
    close(i->fd);
    struct proto_msg m = {.type = PROTO_FACTS};
    struct proto_facts *f = &m.u.facts;
    if (take_word(&b, "crash"))
        crash();
    if (take_word(&b, "damaged"))
        f->validity = PROTO_DAMAGED;
    else if (take_word(&b, "unsupported"))
        f->validity = PROTO_UNSUPPORTED;
    if (f->validity != PROTO_VALID)
        f->reason = (struct proto_str){buf_str(&b), b.len};
    f->architecture = (struct proto_str){"echo", 4};
    f->name = (struct proto_str){"Echo\nengine", 11};
    f->quantization = (struct proto_str){"none", 4};
    f->parameters = 1;
    f->context = 4096;
    f->vocabulary = 50000;
    f->weights_bytes = i->size;
    f->memory_needed = i->size;
    f->chat = true;
    send_msg(&m);
}

static void beat(void)
{
    struct proto_msg m = {.type = PROTO_BEAT};
    send_msg(&m);
    beat_due = clock_now() + CLOCK_NS_PER_SEC;
}

static void load_slowly(uint64_t ms)
{
    for (uint64_t i = 0; i < 10; i++) {
        struct proto_msg m = {.type = PROTO_PROGRESS};
        m.u.progress.done = i;
        m.u.progress.total = 10;
        send_msg(&m);
        poll(NULL, 0, (int)(ms / 10));
    }
}

static void load(const struct proto_load *l)
{
    CLEANUP_BUF struct buf b = {0};
    struct proto_msg m = {.type = PROTO_READY};
    if (l->n_segments > 0)
        read_orders(l->fds[l->segments[0].fd], l->segments[0].offset, &b);
    buf_add(&weights, buf_str(&b), b.len);
    for (size_t i = 0; i < l->n_fds; i++)
        close(l->fds[i]);
    if (take_word(&b, "slow"))
        load_slowly(take_number(&b));
    if (take_word(&b, "crashload"))
        crash();
    if (take_word(&b, "hangload"))
        hanging = true;
    if (take_word(&b, "failload")) {
        m.type = PROTO_FAILED;
        m.u.failed.code = (int)take_number(&b);
        m.u.failed.text = (struct proto_str){buf_str(&b), b.len};
        send_msg(&m);
        exit(1);
    }
    if (hanging)
        return;
    m.u.ready.context = l->context ? l->context : 4096;
    m.u.ready.vocabulary = 50000;
    m.u.ready.memory = 1 << 20;
    m.u.ready.backend = (struct proto_str){"echo", 4};
    m.u.ready.kernels = l->kernels.len ? l->kernels : (struct proto_str){"none", 4};
    send_msg(&m);
}

/* --- the loop --- */

static void take(const struct proto_msg *m)
{
    switch (m->type) {
    case PROTO_LOAD:
        load(&m->u.load);
        break;
    case PROTO_ASK:
        take_ask(&m->u.ask);
        break;
    case PROTO_CANCEL:
        cancel(m->u.cancel.id);
        break;
    case PROTO_PING:
        beat();
        break;
    case PROTO_INSPECT:
        inspect(&m->u.inspect);
        break;
    default:
        exit(2);
    }
}

static int next_timeout(void)
{
    if (list_empty(&jobs) || hanging)
        return -1;
    uint64_t now = clock_now();
    uint64_t due = beat_due;
    struct job *j;
    list_for_each(j, &jobs, link)
    {
        if (j->deadline)
            due = MIN(due, j->deadline);
        if (!j->never)
            due = MIN(due, j->due);
    }
    return due <= now ? 0 : (int)((due - now) / CLOCK_NS_PER_MS) + 1;
}

int main(int argc, char **argv)
{
    struct proto_msg m = {.type = PROTO_HELLO};
    (void)argc;
    (void)argv;
    log_init("echo_engine", LOG_LEVEL_WARNING);
    prctl(PR_SET_NAME, "echo_engine");
    conn = proto_open(3);
    m.u.hello.version = PROTO_VERSION;
    m.u.hello.engine = (struct proto_str){"echo_engine", 11};
    send_msg(&m);
    for (;;) {
        int r = 0;
        struct job *j;
        while (!hanging && (r = proto_receive(conn, &m, NULL)) == 1)
            take(&m);
        if (r < 0)
            break;
        list_for_each(j, &jobs, link) work(j);
        if (!hanging && !list_empty(&jobs) && clock_now() >= beat_due)
            beat();
        r = proto_flush(conn, NULL);
        if (r < 0)
            break;
        struct pollfd p = {.fd = proto_fd(conn),
                           .events = (short)((hanging ? 0 : POLLIN) | (r ? POLLOUT : 0))};
        poll(&p, 1, next_timeout());
        if (hanging && (p.revents & POLLHUP))
            break;
    }
    while (!list_empty(&jobs))
        free_job(list_entry(jobs.next, struct job, link));
    proto_close(conn);
    buf_free(&weights);
    return 0;
}
