/* SPDX-License-Identifier: Apache-2.0 */
/* proto: every message there and back; every frame cut and spoiled is refused or harmless; no
 * descriptor is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/io.h"
#include "proto/proto.h"
#include "proto/wire.h"

#define S(text) ((struct proto_str){(text), sizeof(text) - 1})

static const int32_t some_ids[] = {1, -1, INT32_MAX, 49151};
static const struct proto_segment segments[] = {{0, 0, 4096}, {1, 17, UINT64_C(70) << 30}};
static const struct proto_message messages[] = {
    {PROTO_SYSTEM, {"be brief", 8}, {NULL, 0}},
    {PROTO_USER, {"what is\0this \xff", 14}, {NULL, 0}},
    {PROTO_ASSISTANT, {"an answer", 9}, {some_ids, 4}},
    {PROTO_USER, {"", 0}, {NULL, 0}},
};
static const struct proto_str stops[] = {{"\n\n", 2}, {"User:", 5}};
static int load_fds[2]; /* set by main */

/* One of each type; the loads' descriptors are filled in later. */
static struct proto_msg samples[] = {
    {PROTO_LOAD, {.load = {load_fds, 2, segments, 2, 8, 4096, 1u << 30, {"portable", 8}}}},
    {PROTO_ASK,
     {.ask = {.id = 7,
              .owner = UINT64_C(1) << 63,
              .mode = PROTO_MODE_RAW,
              .messages = messages,
              .n_messages = 4,
              .chat_template = {"{{ x }}", 7},
              .sampling = {0.8, 40, 0.95, 0.05, 1.1, -1, 0.5, -0.5, UINT64_MAX},
              .context = 4096,
              .max_tokens = -1,
              .time_limit = 1.5,
              .stops = stops,
              .n_stops = 2,
              .logprobs = 10}}},
    {PROTO_CANCEL, {.cancel = {UINT64_MAX}}},
    {PROTO_PING, {{0}}},
    {PROTO_INSPECT, {.inspect = {-1, 98362432}}},
    {PROTO_HELLO, {.hello = {PROTO_VERSION, {"llmosfs-engine 0.1.0", 20}}}},
    {PROTO_PROGRESS, {.progress = {1, 2}}},
    {PROTO_READY, {.ready = {8192, 49152, 1u << 28, 1u << 27, {"cpu", 3}, {"avx512 vnni", 11}}}},
    {PROTO_FAILED, {.failed = {EBADMSG, {"tensor x: too long", 18}}}},
    {PROTO_STARTED, {.started = {7, 4, 3, {some_ids, 4}, {"<|im_start|>\xff", 13}}}},
    {PROTO_PIECE, {.piece = {7, {"Tōkyō", 7}, {some_ids, 2}, {"{}\n{}\n", 6}}}},
    {PROTO_DONE, {.done = {7, PROTO_FINISH_ERROR, EFBIG, {"too long", 8}, 12, 0.25, 1.75}}},
    {PROTO_BEAT, {{0}}},
    {PROTO_FACTS,
     {.facts = {PROTO_DAMAGED,
                {"cut", 3},
                {"llama", 5},
                {"Smol", 4},
                {"Q4_1", 4},
                134515008,
                8192,
                49152,
                98362432,
                1u << 27,
                46080,
                true}}},
};

static void pair(struct proto_conn *c[2])
{
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    c[0] = proto_open(s[0]);
    c[1] = proto_open(s[1]);
}

static size_t count_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Closes what the receiver of m owns. */
static void close_received(const struct proto_msg *m)
{
    if (m->type == PROTO_INSPECT)
        close(m->u.inspect.fd);
    if (m->type == PROTO_LOAD)
        for (size_t i = 0; i < m->u.load.n_fds; i++)
            close(m->u.load.fds[i]);
}

static void body_of(const struct proto_msg *m, struct buf *b)
{
    const int *fds;
    size_t n;
    wire_encode(m, b, &fds, &n);
}

static void frame_of(const struct proto_msg *m, struct buf *b, const int **fds, size_t *n_fds)
{
    CLEANUP_BUF struct buf body = {0};
    wire_encode(m, &body, fds, n_fds);
    wire_put_u32(b, (uint32_t)body.len);
    wire_put_u16(b, (uint16_t)m->type);
    wire_put_u16(b, (uint16_t)*n_fds);
    buf_add(b, body.data, body.len);
}

static void assert_same(const struct proto_msg *got, const struct proto_msg *want)
{
    CLEANUP_BUF struct buf a = {0};
    CLEANUP_BUF struct buf b = {0};
    assert_int_equal(got->type, want->type);
    body_of(got, &a);
    body_of(want, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(buf_str(&a), buf_str(&b), a.len);
}

static void assert_same_file(int a, int b)
{
    struct stat sa;
    struct stat sb;
    assert_int_equal(fstat(a, &sa), 0);
    assert_int_equal(fstat(b, &sb), 0);
    assert_true(sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev && a != b);
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t before = count_fds();
    struct proto_conn *c[2];
    struct proto_msg m;
    struct err e;
    pair(c);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        assert_int_equal(proto_send(c[0], &samples[i], &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        assert_int_equal(proto_receive(c[1], &m, &e), 1);
        assert_same(&m, &samples[i]);
        if (m.type == PROTO_LOAD) {
            assert_int_equal(m.u.load.n_fds, 2);
            assert_same_file(m.u.load.fds[0], load_fds[0]);
            assert_same_file(m.u.load.fds[1], load_fds[1]);
        }
        if (m.type == PROTO_INSPECT)
            assert_same_file(m.u.inspect.fd, load_fds[0]);
        close_received(&m);
    }
    assert_int_equal(proto_receive(c[1], &m, &e), 0);
    proto_close(c[0]);
    assert_int_equal(proto_receive(c[1], &m, &e), -1);
    assert_int_equal(e.code, EPIPE);
    assert_int_equal(proto_send(c[1], &samples[2], &e), -1);
    assert_int_equal(e.code, EPIPE);
    proto_close(c[1]);
    assert_int_equal(count_fds(), before);
}

/* The fields of an ASK as C values, not only as the bytes that they came from. */
static void test_ask_fields(void **state)
{
    (void)state;
    struct proto_conn *c[2];
    struct proto_msg m;
    struct err e;
    pair(c);
    assert_int_equal(proto_send(c[0], &samples[1], &e), 0);
    assert_int_equal(proto_receive(c[1], &m, &e), 1);
    const struct proto_ask *a = &m.u.ask;
    assert_int_equal(a->id, 7);
    assert_true(a->owner == UINT64_C(1) << 63);
    assert_int_equal(a->mode, PROTO_MODE_RAW);
    assert_int_equal(a->n_messages, 4);
    assert_int_equal(a->messages[1].text.len, 14);
    assert_memory_equal(a->messages[1].text.data, "what is\0this \xff", 14);
    assert_int_equal(a->messages[2].ids.n, 4);
    assert_memory_equal(a->messages[2].ids.ids, some_ids, sizeof(some_ids));
    assert_true(a->sampling.temperature == 0.8 && a->sampling.frequency_penalty == -0.5);
    assert_int_equal(a->sampling.repeat_last_n, -1);
    assert_true(a->sampling.seed == UINT64_MAX);
    assert_int_equal(a->max_tokens, -1);
    assert_int_equal(a->n_stops, 2);
    assert_memory_equal(a->stops[1].data, "User:", 5);
    proto_close(c[0]);
    proto_close(c[1]);
}

/* A message of many socket buffers, with others before and behind; descriptors keep to their
 * frames. */
static void test_large_and_interleaved(void **state)
{
    (void)state;
    size_t before = count_fds();
    struct proto_conn *c[2];
    struct proto_msg m;
    struct err e;
    pair(c);
    size_t n = 20u << 20;
    char *text = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * 7 + i / 4093);
    struct proto_message big = {PROTO_USER, {text, n}, {NULL, 0}};
    struct proto_msg ask = samples[1];
    ask.u.ask.messages = &big;
    ask.u.ask.n_messages = 1;
    const struct proto_msg *order[] = {&samples[0], &ask, &samples[4], &samples[0], &samples[2]};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        assert_int_equal(proto_send(c[0], order[i], &e), 0);
    for (size_t got = 0; got < ARRAY_LEN(order);) {
        int r = proto_receive(c[1], &m, &e);
        assert_true(r >= 0);
        if (r == 0) {
            assert_true(proto_flush(c[0], &e) >= 0);
            continue;
        }
        assert_same(&m, order[got++]);
        close_received(&m);
    }
    assert_int_equal(proto_flush(c[0], &e), 0);
    proto_close(c[0]);
    proto_close(c[1]);
    free(text);
    assert_int_equal(count_fds(), before);
}

static void test_too_long(void **state)
{
    (void)state;
    struct proto_conn *c[2];
    struct proto_msg m = {.type = PROTO_FAILED};
    struct err e;
    pair(c);
    char *text = xcalloc(1, 100000);
    m.u.failed.code = EIO;
    m.u.failed.text = (struct proto_str){text, 100000};
    assert_int_equal(proto_send(c[0], &m, &e), -1);
    assert_int_equal(e.code, EMSGSIZE);
    assert_int_equal(proto_send(c[0], &samples[2], &e), 0);
    assert_int_equal(proto_receive(c[1], &m, &e), 1);
    assert_int_equal(m.type, PROTO_CANCEL);
    proto_close(c[0]);
    proto_close(c[1]);
    free(text);
}

/* Sends raw bytes and receives until there is no more; what was received is re-encoded, so that
 * sanitizers see every field. */
static int feed(const void *data, size_t n, const int *fds, size_t n_fds, size_t *messages_got)
{
    int s[2];
    struct proto_msg m;
    struct err e;
    int r;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    struct proto_conn *c = proto_open(s[1]);
    if (n > 0)
        assert_int_equal(io_send(s[0], data, n, fds, n_fds, 0), (ssize_t)n);
    close(s[0]);
    *messages_got = 0;
    while ((r = proto_receive(c, &m, &e)) == 1) {
        CLEANUP_BUF struct buf again = {0};
        body_of(&m, &again);
        close_received(&m);
        ++*messages_got;
    }
    assert_int_equal(r, -1);
    assert_true(e.code == EPROTO || e.code == EPIPE);
    assert_true(strlen(e.text) > 0);
    int code = e.code;
    assert_int_equal(proto_receive(c, &m, &e), -1); /* for good */
    proto_close(c);
    return code;
}

static void test_truncated(void **state)
{
    (void)state;
    size_t before = count_fds();
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        CLEANUP_BUF struct buf frame = {0};
        const int *fds;
        size_t n_fds;
        size_t got;
        frame_of(&samples[i], &frame, &fds, &n_fds);
        for (size_t n = 0; n < frame.len; n++) {
            /* Cut on the wire: the peer is gone. */
            assert_int_equal(feed(frame.data, n, fds, n ? n_fds : 0, &got), EPIPE);
            assert_int_equal(got, 0);
            /* Cut inside the frame: it is broken, whatever the field. */
            if (n < WIRE_HEADER)
                continue;
            CLEANUP_BUF struct buf cut = {0};
            buf_add(&cut, frame.data, n);
            uint32_t len = (uint32_t)(n - WIRE_HEADER);
            memcpy(cut.data, &len, sizeof(len));
            assert_int_equal(feed(cut.data, n, fds, n_fds, &got), EPROTO);
            assert_int_equal(got, 0);
        }
        /* Longer than its fields. */
        CLEANUP_BUF struct buf more = {0};
        buf_add(&more, frame.data, frame.len);
        buf_add_char(&more, 0);
        uint32_t len = (uint32_t)(more.len - WIRE_HEADER);
        memcpy(more.data, &len, sizeof(len));
        assert_int_equal(feed(more.data, more.len, fds, n_fds, &got), EPROTO);
    }
    assert_int_equal(count_fds(), before);
}

static void test_spoiled(void **state)
{
    (void)state;
    static const unsigned char masks[] = {0x01, 0x80, 0xff, 0x7f};
    size_t before = count_fds();
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        CLEANUP_BUF struct buf frame = {0};
        const int *fds;
        size_t n_fds;
        size_t got;
        frame_of(&samples[i], &frame, &fds, &n_fds);
        for (size_t at = 0; at < frame.len; at++) {
            for (size_t k = 0; k < ARRAY_LEN(masks); k++) {
                frame.data[at] = (char)(frame.data[at] ^ masks[k]);
                feed(frame.data, frame.len, fds, n_fds, &got);
                assert_true(got <= 1);
                frame.data[at] = (char)(frame.data[at] ^ masks[k]);
            }
        }
        feed(frame.data, frame.len, fds, n_fds, &got);
        assert_int_equal(got, 1);
    }
    assert_int_equal(count_fds(), before);
}

/* Sends one well-formed frame of a message that says what cannot be. */
static void assert_refused(const struct proto_msg *m)
{
    CLEANUP_BUF struct buf frame = {0};
    const int *fds;
    size_t n_fds;
    size_t got;
    frame_of(m, &frame, &fds, &n_fds);
    assert_int_equal(feed(frame.data, frame.len, fds, n_fds, &got), EPROTO);
    assert_int_equal(got, 0);
}

static void test_out_of_range(void **state)
{
    (void)state;
    static const struct proto_segment beyond[] = {{2, 0, 1}};
    static const struct proto_segment wraps[] = {{0, UINT64_MAX, 2}};
    struct proto_msg m = samples[0];
    m.u.load.segments = beyond;
    m.u.load.n_segments = 1;
    assert_refused(&m);
    m.u.load.segments = wraps;
    assert_refused(&m);

    struct proto_str empty = {"", 0};
    m = samples[1];
    m.u.ask.n_messages = 0;
    assert_refused(&m);
    m = samples[1];
    m.u.ask.sampling.temperature = -0.5;
    assert_refused(&m);
    m = samples[1];
    m.u.ask.sampling.top_p = __builtin_nan("");
    assert_refused(&m);
    m = samples[1];
    m.u.ask.sampling.repeat_penalty = 0;
    assert_refused(&m);
    m = samples[1];
    m.u.ask.time_limit = __builtin_inf();
    assert_refused(&m);
    m = samples[1];
    m.u.ask.max_tokens = -2;
    assert_refused(&m);
    m = samples[1];
    m.u.ask.stops = &empty;
    m.u.ask.n_stops = 1;
    assert_refused(&m);
    m = samples[1];
    m.u.ask.mode = PROTO_MODE_LAST + 1;
    assert_refused(&m);

    m = samples[9];
    m.u.started.cached_tokens = 5;
    assert_refused(&m);
    m = samples[10];
    m.u.piece.text = S("T\xc5"); /* cut inside a sequence */
    assert_refused(&m);
    m = samples[11];
    m.u.done.finish = PROTO_FINISH_STOP; /* with a code */
    assert_refused(&m);
    m = samples[11];
    m.u.done.code = -EFBIG;
    assert_refused(&m);
    m = samples[13];
    m.u.facts.reason = empty; /* damaged without one */
    assert_refused(&m);
}

static void test_counts_lie(void **state)
{
    (void)state;
    size_t got;
    /* An ASK that claims 65535 messages and has none. */
    CLEANUP_BUF struct buf b = {0};
    wire_put_u32(&b, 8 + 8 + 1 + 4);
    wire_put_u16(&b, PROTO_ASK);
    wire_put_u16(&b, 0);
    wire_put_u64(&b, 1);
    wire_put_u64(&b, 1);
    wire_put_u8(&b, 0);
    wire_put_u32(&b, 65535);
    assert_int_equal(feed(b.data, b.len, NULL, 0, &got), EPROTO);
    /* A header that claims more than may be is refused before its body came. */
    buf_clear(&b);
    wire_put_u32(&b, PROTO_FRAME_MAX);
    wire_put_u16(&b, PROTO_ASK);
    wire_put_u16(&b, 0);
    assert_int_equal(feed(b.data, b.len, NULL, 0, &got), EPROTO);
    /* An unknown type. */
    buf_clear(&b);
    wire_put_u32(&b, 0);
    wire_put_u16(&b, 63);
    wire_put_u16(&b, 0);
    assert_int_equal(feed(b.data, b.len, NULL, 0, &got), EPROTO);
}

static void test_stray_descriptors(void **state)
{
    (void)state;
    size_t before = count_fds();
    int fds[IO_FDS_MAX];
    size_t got;
    const int *none;
    size_t n_none;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = load_fds[0];
    CLEANUP_BUF struct buf frame = {0};
    frame_of(&samples[2], &frame, &none, &n_none);
    assert_int_equal(feed(frame.data, frame.len, fds, 1, &got), EPROTO);
    /* Whole frames of another kind, each with as many as one packet carries. */
    int s[2];
    struct proto_msg m;
    struct err e;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    struct proto_conn *c = proto_open(s[1]);
    assert_int_equal(io_send(s[0], frame.data, 1, fds, IO_FDS_MAX, 0), 1);
    assert_int_equal(proto_receive(c, &m, &e), 0);
    assert_int_equal(io_send(s[0], frame.data + 1, 1, fds, IO_FDS_MAX, 0), 1);
    assert_int_equal(proto_receive(c, &m, &e), -1);
    assert_int_equal(e.code, EPROTO);
    close(s[0]);
    proto_close(c);
    /* A frame that needs a descriptor and came without. */
    buf_clear(&frame);
    frame_of(&samples[4], &frame, &none, &n_none);
    assert_int_equal(feed(frame.data, frame.len, NULL, 0, &got), EPROTO);
    assert_int_equal(count_fds(), before);
}

/* What was never sent or never received is closed with the connection. */
static void test_unsent_descriptors(void **state)
{
    (void)state;
    size_t before = count_fds();
    struct proto_conn *c[2];
    struct err e;
    pair(c);
    for (int i = 0; i < 300; i++)
        assert_int_equal(proto_send(c[0], &samples[0], &e), 0);
    proto_close(c[0]);
    proto_close(c[1]);
    assert_int_equal(count_fds(), before);
}

static void test_hello_of_another_version(void **state)
{
    (void)state;
    CLEANUP_BUF struct buf b = {0};
    wire_put_u32(&b, 4 + 4 + 3 + 9);
    wire_put_u16(&b, PROTO_HELLO);
    wire_put_u16(&b, 0);
    wire_put_u32(&b, PROTO_VERSION + 1);
    wire_put_str(&b, S("new"));
    buf_add(&b, "more here", 9);
    size_t got;
    assert_int_equal(feed(b.data, b.len, NULL, 0, &got), EPIPE);
    assert_int_equal(got, 1);
}

int main(void)
{
    load_fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    load_fds[1] = open("/", O_RDONLY | O_CLOEXEC);
    samples[4].u.inspect.fd = load_fds[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_ask_fields),
        cmocka_unit_test(test_large_and_interleaved),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_spoiled),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_counts_lie),
        cmocka_unit_test(test_stray_descriptors),
        cmocka_unit_test(test_unsent_descriptors),
        cmocka_unit_test(test_hello_of_another_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
