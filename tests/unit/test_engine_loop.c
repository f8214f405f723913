/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs-engine as the daemon meets it: a process at the other end of a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "tests/lib/peer.h"
#include "tests/lib/tiny_model.h"

static int tiny_fd(void)
{
    struct tiny_model tm = tiny_llama(GGUF_Q4_1);
    return tiny_model_fd(&tm);
}

/* An engine with a tiny model. */
static struct peer *start_tiny(uint32_t context)
{
    CLEANUP_FD int fd = tiny_fd();
    struct peer *p = peer_start(NULL);
    struct proto_ready ready = peer_load(p, fd, context, 0);
    assert_int_equal(ready.context, context ? context : 512);
    assert_true(ready.memory > ready.kv_bytes && ready.kv_bytes > 0);
    return p;
}

static bool same_ids(const struct tokens *a, const struct tokens *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof(*a->ids)) == 0;
}

/* --- answers --- */

static void test_ask_and_ask_again(void **state)
{
    (void)state;
    struct proto_message m;
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    CLEANUP_PEER_ANSWER struct peer_answer b = {0};
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "the other inner hour", 12);
    peer_ask(p, &ask, &a);
    assert_int_equal(a.done.code, 0);
    assert_string_equal(buf_str(&a.rendered), "<|im_start|>user\nthe other inner hour<|im_end|>\n"
                                              "<|im_start|>assistant\n");
    assert_int_equal(a.prompt_tokens, a.prompt.n);
    assert_int_equal(a.prompt.ids[0], 1);
    assert_int_equal(a.cached_tokens, 0);
    assert_int_equal(a.ids.n, a.done.completion_tokens);
    assert_true(a.done.finish == PROTO_FINISH_LENGTH ? a.ids.n == 12 : a.ids.n < 12);
    assert_true(a.done.prefill_seconds > 0 && a.done.decode_seconds >= 0);

    ask.id = 2;
    peer_ask(p, &ask, &b);
    assert_int_equal(b.cached_tokens, a.prompt_tokens - 1);
    assert_true(same_ids(&a.ids, &b.ids));
    assert_string_equal(buf_str(&a.text), buf_str(&b.text));
    assert_int_equal(peer_end(p), 0);
}

/* The second turn goes on from the ids of the first answer: all of the first turn is in the cache. */
static void test_next_turn(void **state)
{
    (void)state;
    struct proto_message m[3];
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    CLEANUP_PEER_ANSWER struct peer_answer b = {0};
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(m, 1, "first", 9);
    peer_ask(p, &ask, &a);
    m[1] = (struct proto_message){.role = PROTO_ASSISTANT,
                                  .text = {.data = buf_str(&a.text), .len = a.text.len},
                                  .ids = {.ids = a.ids.ids, .n = a.ids.n}};
    m[2] = (struct proto_message){.role = PROTO_USER, .text = {.data = "more", .len = 4}};
    ask.id = 2;
    ask.n_messages = 3;
    peer_ask(p, &ask, &b);
    size_t whole = a.prompt.n + a.ids.n;
    assert_true(b.prompt.n > whole);
    assert_memory_equal(b.prompt.ids, a.prompt.ids, a.prompt.n * sizeof(int32_t));
    assert_memory_equal(b.prompt.ids + a.prompt.n, a.ids.ids, a.ids.n * sizeof(int32_t));
    assert_true(b.cached_tokens >=
                whole - 1); /* the last token that was made was never computed with */
    ask.id = 3;
    ask.owner = 2; /* another's question finds nothing */
    CLEANUP_PEER_ANSWER struct peer_answer c = {0};
    peer_ask(p, &ask, &c);
    assert_int_equal(c.cached_tokens, 0);
    assert_true(same_ids(&b.ids, &c.ids));
    assert_int_equal(peer_end(p), 0);
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { N = 1500, KINDS = 5 };
    static const char *const texts[KINDS] = {"one", "two and more", "the three", "f",
                                             "in the hour of five"};
    struct proto_message m;
    struct peer_answer alone[KINDS];
    struct peer_answer *all = xcalloc(N, sizeof(*all));
    struct peer *p = start_tiny(0);
    for (uint64_t i = 0; i < KINDS; i++) {
        struct proto_ask ask = peer_question(&m, 10000 + i, texts[i], 5);
        ask.owner = 0;
        peer_ask(p, &ask, &alone[i]);
    }
    for (uint64_t i = 0; i < N; i++) {
        struct proto_ask ask = peer_question(&m, i, texts[i % KINDS], 5);
        ask.owner = i % 7;
        peer_send(p, &(struct proto_msg){.type = PROTO_ASK, .u.ask = ask});
    }
    for (size_t done = 0; done < N;) {
        struct proto_msg got;
        assert_true(peer_next(p, &got));
        uint64_t id = got.type == PROTO_DONE      ? got.u.done.id
                      : got.type == PROTO_STARTED ? got.u.started.id
                                                  : got.u.piece.id;
        assert_true(id < N);
        done += peer_take(&all[id], &got);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(all[i].done.code, 0);
        assert_true(same_ids(&all[i].ids, &alone[i % KINDS].ids));
        peer_answer_free(&all[i]);
    }
    for (size_t i = 0; i < KINDS; i++)
        peer_answer_free(&alone[i]);
    free(all);
    assert_int_equal(peer_end(p), 0);
}

static void test_cancel(void **state)
{
    (void)state;
    struct proto_message m;
    struct proto_msg got;
    struct peer *p = start_tiny(0);
    for (uint64_t id = 1; id <= 3; id++) {
        struct proto_ask ask = peer_question(&m, id, "a long answer, please", -1);
        ask.sampling.temperature = 5; /* hardly ever the end token */
        ask.sampling.seed = id;
        peer_send(p, &(struct proto_msg){.type = PROTO_ASK, .u.ask = ask});
    }
    struct peer_answer a[4] = {0};
    bool sent = false;
    for (int done = 0; done < 3;) {
        assert_true(peer_next(p, &got));
        uint64_t id = got.type == PROTO_DONE      ? got.u.done.id
                      : got.type == PROTO_STARTED ? got.u.started.id
                                                  : got.u.piece.id;
        done += peer_take(&a[id], &got);
        if (got.type == PROTO_PIECE && !sent) {
            peer_send(p, &(struct proto_msg){.type = PROTO_CANCEL, .u.cancel = {.id = 2}});
            peer_send(p, &(struct proto_msg){.type = PROTO_CANCEL, .u.cancel = {.id = 77}});
            sent = true;
        }
    }
    assert_int_equal(a[2].done.finish, PROTO_FINISH_CANCELLED);
    assert_int_equal(a[2].done.completion_tokens, a[2].ids.n);
    assert_true(a[2].ids.n < 400);
    assert_int_not_equal(a[1].done.finish, PROTO_FINISH_CANCELLED);
    assert_int_not_equal(a[3].done.finish, PROTO_FINISH_CANCELLED);
    for (int i = 1; i <= 3; i++)
        peer_answer_free(&a[i]);
    assert_int_equal(peer_end(p), 0);
}

/* --- how answers end --- */

/* The engine's context, and one that a question brings. */
static void full_context(uint32_t engine, uint32_t question)
{
    struct proto_message m;
    struct peer *p = start_tiny(engine);
    bool seen = false;
    for (uint64_t seed = 0; seed < 20 && !seen; seed++) { /* some draw the end token before */
        CLEANUP_PEER_ANSWER struct peer_answer a = {0};
        struct proto_ask ask = peer_question(&m, seed, "on and on", -1);
        ask.context = question;
        ask.sampling.temperature = 3;
        ask.sampling.seed = seed;
        peer_ask(p, &ask, &a);
        assert_int_equal(a.done.code, 0);
        seen = a.done.finish == PROTO_FINISH_LENGTH;
        if (seen)
            assert_int_equal(a.prompt.n + a.ids.n, 64);
    }
    assert_true(seen);
    assert_int_equal(peer_end(p), 0);
}

static void test_full_context_ends_the_answer(void **state)
{
    (void)state;
    full_context(64, 0);
    full_context(64, 1000);
    full_context(0, 64);
}

static void test_prompt_that_does_not_fit(void **state)
{
    (void)state;
    struct proto_message m;
    char text[200];
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    CLEANUP_PEER_ANSWER struct peer_answer b = {0};
    struct peer *p = start_tiny(64);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct proto_ask ask = peer_question(&m, 1, text, 4);
    peer_ask(p, &ask, &a);
    assert_int_equal(a.done.finish, PROTO_FINISH_ERROR);
    assert_int_equal(a.done.code, EFBIG);
    assert_non_null(strstr(a.error, "context of 64"));
    assert_false(a.started);
    ask = peer_question(&m, 2, "short", 4);
    peer_ask(p, &ask, &b);
    assert_int_equal(b.done.code, 0);
    assert_int_equal(peer_end(p), 0);
}

/* 100 MB: refused at once, without tokenizing them. */
static void test_prompt_of_a_hundred_megabytes(void **state)
{
    (void)state;
    enum { SIZE = 100 << 20 };
    struct proto_message m;
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    CLEANUP_FREE char *text = xmalloc(SIZE + 1);
    struct peer *p = start_tiny(0);
    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    struct proto_ask ask = peer_question(&m, 1, text, 4);
    uint64_t begun = clock_now();
    peer_ask(p, &ask, &a);
    assert_int_equal(a.done.code, EFBIG);
    assert_non_null(strstr(a.error, "bytes"));
    assert_true(clock_now() - begun < 20 * CLOCK_NS_PER_SEC);
    assert_int_equal(peer_end(p), 0);
}

/* Stops are found across the borders of tokens, and nothing of them is shown. */
static void test_stop_text(void **state)
{
    (void)state;
    struct proto_message m;
    CLEANUP_PEER_ANSWER struct peer_answer whole = {0};
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "say something", 40);
    peer_ask(p, &ask, &whole);
    assert_true(whole.text.len > 20);
    size_t cut = 0;
    for (size_t at = 1; at + 6 < whole.text.len; at += 2) {
        CLEANUP_PEER_ANSWER struct peer_answer a = {0};
        char stop[6];
        memcpy(stop, whole.text.data + at, 5);
        stop[5] = '\0';
        const struct proto_str stops[] = {{"never in any answer of this", 27}, {stop, 5}};
        const char *first = strstr(buf_str(&whole.text), stop);
        if (strlen(stop) < 5 || !first)
            continue;
        bool valid = utf8_valid(stop, 5);
        ask.id = 100 + at;
        ask.stops = stops;
        ask.n_stops = 2;
        peer_ask(p, &ask, &a);
        if (!valid) {
            assert_int_equal(a.done.code, EINVAL);
            continue;
        }
        cut++;
        assert_int_equal(a.done.finish, PROTO_FINISH_STOP_TEXT);
        assert_int_equal(a.text.len, first - whole.text.data);
        if (a.text.len > 0)
            assert_memory_equal(a.text.data, whole.text.data, a.text.len);
    }
    print_message("%zu answers were cut\n", cut);
    assert_true(cut > 3);
    assert_int_equal(peer_end(p), 0);
}

static void test_limits_and_senseless_values(void **state)
{
    (void)state;
    struct proto_message m;
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "hello", 0);
    CLEANUP_PEER_ANSWER struct peer_answer none = {0};
    peer_ask(p, &ask, &none);
    assert_int_equal(none.done.finish, PROTO_FINISH_LENGTH);
    assert_true(none.started && none.ids.n == 0);

    CLEANUP_PEER_ANSWER struct peer_answer late = {0};
    ask = peer_question(&m, 2, "hello", -1);
    ask.time_limit = 1e-9;
    peer_ask(p, &ask, &late);
    assert_int_equal(late.done.finish, PROTO_FINISH_TIME);

    CLEANUP_PEER_ANSWER struct peer_answer ids = {0};
    const int32_t bad_ids[] = {5, 1 << 30};
    ask = peer_question(&m, 3, "hello", 4);
    m.ids = (struct proto_ids){.ids = bad_ids, .n = 2};
    peer_ask(p, &ask, &ids);
    assert_int_equal(ids.done.code, EINVAL);

    CLEANUP_PEER_ANSWER struct peer_answer template = {0};
    ask = peer_question(&m, 4, "hello", 4);
    ask.chat_template = (struct proto_str){"{% nonsense %}", 14};
    peer_ask(p, &ask, &template);
    assert_int_equal(template.done.code, EINVAL);

    CLEANUP_PEER_ANSWER struct peer_answer empty = {0};
    ask = peer_question(&m, 5, "", 4);
    ask.mode = PROTO_MODE_RAW;
    peer_ask(p, &ask, &empty);
    assert_int_equal(empty.done.code, EINVAL);
    assert_int_equal(peer_end(p), 0);
}

static void test_logprobs(void **state)
{
    (void)state;
    struct proto_message m;
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "hello", 6);
    ask.logprobs = 3;
    peer_ask(p, &ask, &a);
    size_t lines = 0;
    for (size_t i = 0; i < a.logprobs.len; i++)
        lines += a.logprobs.data[i] == '\n';
    assert_true(a.ids.n > 0);
    assert_int_equal(lines, a.ids.n);
    char head[64];
    snprintf(head, sizeof(head), "{\"id\":%d,\"token\":\"", a.ids.ids[0]);
    assert_memory_equal(a.logprobs.data, head, strlen(head));
    assert_int_equal(peer_end(p), 0);
}

/* --- a process --- */

static unsigned long cpu_ticks(pid_t pid)
{
    char path[64];
    unsigned long user = 0;
    unsigned long system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                            &user, &system),
                     2);
    fclose(f);
    return user + system;
}

static void test_idle_takes_no_time(void **state)
{
    (void)state;
    struct proto_message m;
    CLEANUP_PEER_ANSWER struct peer_answer a = {0};
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "hello", 4);
    peer_ask(p, &ask, &a);
    poll(NULL, 0, 50); /* threads that wait for work may look about for a moment */
    unsigned long before = cpu_ticks(p->pid);
    poll(NULL, 0, 500);
    assert_int_equal(cpu_ticks(p->pid), before);
    assert_int_equal(peer_end(p), 0);
}

/* The value of a field of /proc/PID/status. */
static long status_of(pid_t pid, const char *field)
{
    char path[64];
    char line[256];
    long value = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    fclose(f);
    return value;
}

static void test_gave_up_its_rights(void **state)
{
    (void)state;
    struct peer *p = start_tiny(0);
    assert_int_equal(status_of(p->pid, "NoNewPrivs"), 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_int_equal(status_of(p->pid, "Seccomp"), 2); /* a filter */
#endif
    assert_int_equal(peer_end(p), 0);
}

static void test_ping(void **state)
{
    (void)state;
    struct proto_msg m = {.type = PROTO_PING};
    struct peer *p = start_tiny(0);
    peer_send(p, &m);
    struct pollfd poller = {.fd = proto_fd(p->conn), .events = POLLIN};
    assert_int_equal(poll(&poller, 1, 5000), 1);
    assert_int_equal(proto_receive(p->conn, &m, NULL), 1);
    assert_int_equal(m.type, PROTO_BEAT);
    assert_int_equal(peer_end(p), 0);
}

/* The daemon goes in the middle of an answer: so does the engine. */
static void test_closing(void **state)
{
    (void)state;
    struct proto_message m;
    struct proto_msg got;
    struct peer *p = start_tiny(0);
    struct proto_ask ask = peer_question(&m, 1, "hello", -1);
    peer_send(p, &(struct proto_msg){.type = PROTO_ASK, .u.ask = ask});
    assert_true(peer_next(p, &got));
    assert_int_equal(peer_end(p), 0);
    assert_int_equal(peer_end(peer_start(NULL)), 0); /* and before a model came */
}

/* --- loads that fail --- */

static void check_failed(int fd, uint64_t len, uint64_t kv_bytes, const char *kernels, int code)
{
    struct peer *p = peer_start(NULL);
    struct proto_segment s = {.fd = 0, .len = len};
    struct proto_msg m = {.type = PROTO_LOAD,
                          .u.load = {.fds = &fd,
                                     .n_fds = 1,
                                     .segments = &s,
                                     .n_segments = 1,
                                     .context = kv_bytes ? 512 : 0,
                                     .kv_bytes = kv_bytes,
                                     .kernels = {.data = kernels, .len = strlen(kernels)}}};
    peer_send(p, &m);
    assert_true(peer_next(p, &m));
    assert_int_equal(m.type, PROTO_FAILED);
    print_message("%.*s\n", (int)m.u.failed.text.len, m.u.failed.text.data);
    assert_int_equal(m.u.failed.code, code);
    assert_true(m.u.failed.text.len > 10);
    assert_int_equal(peer_wait(p), 1);
}

static void test_bad_weights(void **state)
{
    (void)state;
    CLEANUP_FD int good = tiny_fd();
    uint64_t size = (uint64_t)lseek(good, 0, SEEK_END);
    check_failed(good, size / 2, 0, "", EBADMSG); /* cut */
    check_failed(good, size, 1000, "", ENOMEM);   /* no room for the context that is asked for */
    check_failed(good, size, 0, "of a dream", ENOTSUP);
    CLEANUP_FD int cut = tiny_fd();
    assert_int_equal(ftruncate(cut, (off_t)size / 2), 0);
    check_failed(cut, size, 0, "", EBADMSG); /* shorter than was said */
    CLEANUP_FD int noise = memfd_create("noise", MFD_CLOEXEC);
    char bytes[4096];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37 + i / 11);
    assert_int_equal(write(noise, bytes, sizeof(bytes)), sizeof(bytes));
    check_failed(noise, sizeof(bytes), 0, "", EBADMSG);
}

static void test_weights_in_pieces(void **state)
{
    (void)state;
    CLEANUP_FD int fd = tiny_fd();
    CLEANUP_FD int twin = dup(fd);
    uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
    struct proto_segment s[] = {{0, 0, 1000}, {1, 1000, 37}, {0, 1037, size - 1037}};
    struct proto_msg m = {
        .type = PROTO_LOAD,
        .u.load = {.fds = (const int[]){fd, twin}, .n_fds = 2, .segments = s, .n_segments = 3}};
    struct peer *p = peer_start(NULL);
    peer_send(p, &m);
    assert_true(peer_next(p, &m));
    assert_int_equal(m.type, PROTO_READY);
    assert_int_equal(peer_end(p), 0);
}

/* A weight that is no number: each question gets EIO, and the engine lives. */
static void test_weights_that_are_no_numbers(void **state)
{
    (void)state;
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    struct tiny_model tm = tiny_llama(GGUF_Q8_0);
    gguf_build_init(&b);
    tiny_model_build(&tm, &b);
    gguf_build_end(&b, &file);
    memset(file.data + file.len - 34 * 8, 0xff, 34 * 8); /* blocks whose scale is NaN */
    CLEANUP_FD int fd = gguf_build_fd(file.data, file.len);
    struct peer *p = peer_start(NULL);
    peer_load(p, fd, 0, 0);
    for (uint64_t id = 1; id <= 2; id++) {
        struct proto_message m;
        CLEANUP_PEER_ANSWER struct peer_answer a = {0};
        struct proto_ask ask = peer_question(&m, id, "hello", 4);
        peer_ask(p, &ask, &a);
        assert_int_equal(a.done.finish, PROTO_FINISH_ERROR);
        assert_int_equal(a.done.code, EIO);
    }
    assert_int_equal(peer_end(p), 0);
}

/* --- nonsense over the socket: the engine ends, at once and in order --- */

static void test_nonsense(void **state)
{
    (void)state;
    static const char garbage[] = "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n";
    struct peer *p = peer_start(NULL);
    assert_true(send(proto_fd(p->conn), garbage, sizeof(garbage), MSG_NOSIGNAL) > 0);
    assert_int_equal(peer_wait(p), 1);

    struct proto_message m;
    struct proto_ask ask = peer_question(&m, 1, "too early", 4);
    p = peer_start(NULL);
    peer_send(p, &(struct proto_msg){.type = PROTO_ASK, .u.ask = ask});
    assert_int_equal(peer_wait(p), 1);

    CLEANUP_FD int fd = tiny_fd();
    p = start_tiny(0);
    peer_send_load(p, fd, 0, 0, NULL);
    assert_int_equal(peer_wait(p), 1);

    p = start_tiny(0);
    peer_send(p, &(struct proto_msg){.type = PROTO_INSPECT, .u.inspect = {.fd = fd, .size = 1}});
    assert_int_equal(peer_wait(p), 1);
}

/* --- the inspector --- */

static void inspect(struct peer *p, int fd, uint64_t size, struct proto_facts *f)
{
    struct proto_msg m = {.type = PROTO_INSPECT, .u.inspect = {.fd = fd, .size = size}};
    peer_send(p, &m);
    assert_true(peer_next(p, &m));
    assert_int_equal(m.type, PROTO_FACTS);
    *f = m.u.facts;
}

static void test_inspect(void **state)
{
    (void)state;
    struct proto_facts f;
    struct tiny_model gemma = tiny_gemma3(GGUF_Q4_0);
    gemma.chat_template = NULL;
    CLEANUP_FD int llama_fd = tiny_fd();
    CLEANUP_FD int gemma_fd = tiny_model_fd(&gemma);
    CLEANUP_FD int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint64_t size = (uint64_t)lseek(llama_fd, 0, SEEK_END);
    struct peer *p = peer_start("--inspect");
    inspect(p, llama_fd, size, &f);
    assert_int_equal(f.validity, PROTO_VALID);
    assert_int_equal(f.reason.len, 0);
    assert_memory_equal(f.architecture.data, "llama", f.architecture.len);
    assert_true(f.chat && f.context == 512 && f.parameters > 0 && f.vocabulary > 256);
    assert_true(f.weights_bytes < size && f.weights_bytes > size / 2);
    assert_true(f.memory_needed >= f.weights_bytes);
    assert_int_equal(f.kv_per_token, 2 * 2 * 64 * 2 * 2);

    inspect(p, gemma_fd, (uint64_t)lseek(gemma_fd, 0, SEEK_END), &f);
    assert_int_equal(f.validity, PROTO_VALID);
    assert_memory_equal(f.architecture.data, "gemma3", f.architecture.len);
    assert_false(f.chat);

    inspect(p, llama_fd, size / 2, &f);
    assert_int_equal(f.validity, PROTO_DAMAGED);
    assert_true(f.reason.len > 10);
    inspect(p, nothing, 0, &f);
    assert_int_equal(f.validity, PROTO_DAMAGED);
    assert_int_equal(peer_end(p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_and_ask_again),
        cmocka_unit_test(test_next_turn),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_full_context_ends_the_answer),
        cmocka_unit_test(test_prompt_that_does_not_fit),
        cmocka_unit_test(test_prompt_of_a_hundred_megabytes),
        cmocka_unit_test(test_stop_text),
        cmocka_unit_test(test_limits_and_senseless_values),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_idle_takes_no_time),
        cmocka_unit_test(test_gave_up_its_rights),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_bad_weights),
        cmocka_unit_test(test_weights_in_pieces),
        cmocka_unit_test(test_weights_that_are_no_numbers),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests_name("engine loop", tests, NULL, NULL);
}
