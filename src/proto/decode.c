/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to messages: the mirror of encode.c. The bytes are hostile. Each function reads the fields
 * of its message in order and says with wire_fail() which value cannot be; wire_decode() looks once
 * at the end whether all was well and nothing is left over.
 */
#include <errno.h>
#include <string.h>

#include "proto/wire.h"

#define SMALL (64u << 10)

size_t wire_body_max(uint32_t type)
{
    switch (type) {
    case PROTO_LOAD:
        return 2u << 20;
    case PROTO_ASK:
    case PROTO_STARTED:
        return PROTO_FRAME_MAX - WIRE_HEADER;
    case PROTO_PIECE:
        return 16u << 20;
    case PROTO_CANCEL:
    case PROTO_PING:
    case PROTO_INSPECT:
    case PROTO_HELLO:
    case PROTO_PROGRESS:
    case PROTO_READY:
    case PROTO_FAILED:
    case PROTO_DONE:
    case PROTO_BEAT:
    case PROTO_FACTS:
        return SMALL;
    default:
        return 0;
    }
}

size_t wire_fds_max(uint32_t type)
{
    return type == PROTO_LOAD ? PROTO_FDS_MAX : type == PROTO_INSPECT ? 1 : 0;
}

static void get_load(struct wire_reader *r, size_t n_fds, struct proto_load *m)
{
    size_t n;
    struct proto_segment *s = wire_get_array(r, PROTO_SEGMENTS_MAX, 20, sizeof(*s), &n);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        s[i].fd = wire_get_u32(r);
        s[i].offset = wire_get_u64(r);
        s[i].len = wire_get_u64(r);
        uint64_t end;
        if (s[i].fd >= n_fds)
            wire_fail(r, "a segment names a descriptor that did not come");
        if (__builtin_add_overflow(s[i].offset, s[i].len, &end) || end > INT64_MAX ||
            __builtin_add_overflow(total, s[i].len, &total) || total > INT64_MAX)
            wire_fail(r, "a segment is too long");
    }
    m->segments = s;
    m->n_segments = n;
    m->threads = wire_get_u32(r);
    m->context = wire_get_u32(r);
    m->kv_bytes = wire_get_u64(r);
    m->kernels = wire_get_text(r);
}

static void get_sampling(struct wire_reader *r, struct proto_sampling *s)
{
    s->temperature = wire_get_f64(r);
    s->top_k = (int32_t)wire_get_u32(r);
    s->top_p = wire_get_f64(r);
    s->min_p = wire_get_f64(r);
    s->repeat_penalty = wire_get_f64(r);
    s->repeat_last_n = (int32_t)wire_get_u32(r);
    s->presence_penalty = wire_get_f64(r);
    s->frequency_penalty = wire_get_f64(r);
    s->seed = wire_get_u64(r);
    if (r->wrong)
        return;
    if (s->temperature < 0 || s->top_k < 0 || s->top_p < 0 || s->top_p > 1 || s->min_p < 0 ||
        s->min_p > 1 || s->repeat_penalty <= 0 || s->repeat_last_n < -1)
        wire_fail(r, "a sampling parameter is out of range");
}

static void get_messages(struct wire_reader *r, struct proto_ask *m)
{
    size_t n;
    struct proto_message *list = wire_get_array(r, PROTO_MESSAGES_MAX, 9, sizeof(*list), &n);
    for (size_t i = 0; i < n; i++) {
        list[i].role = wire_get_enum(r, PROTO_ROLE_LAST, "there is no such role");
        list[i].text = wire_get_str(r);
        list[i].ids = wire_get_ids(r);
    }
    if (n == 0)
        wire_fail(r, "it asks nothing");
    m->messages = list;
    m->n_messages = n;
}

static void get_ask(struct wire_reader *r, struct proto_ask *m)
{
    m->id = wire_get_u64(r);
    m->owner = wire_get_u64(r);
    m->mode = wire_get_enum(r, PROTO_MODE_LAST, "there is no such mode");
    get_messages(r, m);
    m->chat_template = wire_get_str(r);
    get_sampling(r, &m->sampling);
    m->context = wire_get_u32(r);
    m->max_tokens = (int64_t)wire_get_u64(r);
    m->time_limit = wire_get_f64(r);
    size_t n;
    struct proto_str *stops = wire_get_array(r, PROTO_STOPS_MAX, 4, sizeof(*stops), &n);
    for (size_t i = 0; i < n; i++) {
        stops[i] = wire_get_str(r);
        if (stops[i].len == 0)
            wire_fail(r, "a stop text is empty");
    }
    m->stops = stops;
    m->n_stops = n;
    m->logprobs = wire_get_u32(r);
    if (m->max_tokens < -1 || m->time_limit < 0)
        wire_fail(r, "a limit is out of range");
}

static void get_ready(struct wire_reader *r, struct proto_ready *m)
{
    m->context = wire_get_u32(r);
    m->vocabulary = wire_get_u32(r);
    m->memory = wire_get_u64(r);
    m->kv_bytes = wire_get_u64(r);
    m->backend = wire_get_text(r);
    m->kernels = wire_get_text(r);
}

/* An errno, or 0. */
static int32_t get_code(struct wire_reader *r)
{
    int32_t code = (int32_t)wire_get_u32(r);
    if (code < 0 || code > 4095)
        wire_fail(r, "a code is no errno");
    return code;
}

static void get_failed(struct wire_reader *r, struct proto_failed *m)
{
    m->code = get_code(r);
    m->text = wire_get_text(r);
    if (m->code == 0)
        wire_fail(r, "a failure has no code");
}

static void get_started(struct wire_reader *r, struct proto_started *m)
{
    m->id = wire_get_u64(r);
    m->prompt_tokens = wire_get_u32(r);
    m->cached_tokens = wire_get_u32(r);
    m->prompt = wire_get_ids(r);
    m->rendered = wire_get_str(r);
    if (m->cached_tokens > m->prompt_tokens)
        wire_fail(r, "more tokens are cached than there are");
}

static void get_piece(struct wire_reader *r, struct proto_piece *m)
{
    m->id = wire_get_u64(r);
    m->text = wire_get_text(r);
    m->ids = wire_get_ids(r);
    m->logprobs = wire_get_text(r);
}

static void get_done(struct wire_reader *r, struct proto_done *m)
{
    m->id = wire_get_u64(r);
    m->finish = wire_get_enum(r, PROTO_FINISH_LAST, "there is no such finish");
    m->code = get_code(r);
    m->text = wire_get_text(r);
    m->completion_tokens = wire_get_u32(r);
    m->prefill_seconds = wire_get_f64(r);
    m->decode_seconds = wire_get_f64(r);
    if ((m->finish == PROTO_FINISH_ERROR) != (m->code != 0))
        wire_fail(r, "finish and code do not agree");
    if (m->prefill_seconds < 0 || m->decode_seconds < 0)
        wire_fail(r, "a time is negative");
}

static void get_facts(struct wire_reader *r, struct proto_facts *m)
{
    m->validity = wire_get_enum(r, PROTO_VALIDITY_LAST, "there is no such validity");
    m->reason = wire_get_text(r);
    m->architecture = wire_get_text(r);
    m->name = wire_get_text(r);
    m->quantization = wire_get_text(r);
    m->parameters = wire_get_u64(r);
    m->context = wire_get_u64(r);
    m->vocabulary = wire_get_u64(r);
    m->weights_bytes = wire_get_u64(r);
    m->memory_needed = wire_get_u64(r);
    m->kv_per_token = wire_get_u64(r);
    m->chat = wire_get_enum(r, 1, "a truth value is neither 0 nor 1");
    if ((m->validity == PROTO_VALID) != (m->reason.len == 0))
        wire_fail(r, "validity and reason do not agree");
}

/* A HELLO of another version may go on behind these two fields: that it is another is for the
 * receiver to judge. */
static void get_hello(struct wire_reader *r, struct proto_hello *m)
{
    m->version = wire_get_u32(r);
    m->engine = wire_get_text(r);
    if (m->version != PROTO_VERSION) {
        r->data += r->n;
        r->n = 0;
    }
}

static void get_body(struct wire_reader *r, size_t n_fds, struct proto_msg *m)
{
    switch (m->type) {
    case PROTO_LOAD:
        get_load(r, n_fds, &m->u.load);
        break;
    case PROTO_ASK:
        get_ask(r, &m->u.ask);
        break;
    case PROTO_CANCEL:
        m->u.cancel.id = wire_get_u64(r);
        break;
    case PROTO_PING:
    case PROTO_BEAT:
        break;
    case PROTO_INSPECT:
        m->u.inspect.size = wire_get_u64(r);
        if (n_fds != 1)
            wire_fail(r, "it came without its descriptor");
        break;
    case PROTO_HELLO:
        get_hello(r, &m->u.hello);
        break;
    case PROTO_PROGRESS:
        m->u.progress.done = wire_get_u64(r);
        m->u.progress.total = wire_get_u64(r);
        break;
    case PROTO_READY:
        get_ready(r, &m->u.ready);
        break;
    case PROTO_FAILED:
        get_failed(r, &m->u.failed);
        break;
    case PROTO_STARTED:
        get_started(r, &m->u.started);
        break;
    case PROTO_PIECE:
        get_piece(r, &m->u.piece);
        break;
    case PROTO_DONE:
        get_done(r, &m->u.done);
        break;
    case PROTO_FACTS:
        get_facts(r, &m->u.facts);
        break;
    }
}

int wire_decode(uint32_t type, const void *body, size_t n, const int *fds, size_t n_fds,
                struct wire_arena *arena, struct proto_msg *m, struct err *e)
{
    struct wire_reader r = {.data = body, .n = n, .arena = arena};
    memset(m, 0, sizeof(*m));
    m->type = type;
    get_body(&r, n_fds, m);
    if (!r.wrong && r.n > 0)
        wire_fail(&r, "it is too long");
    if (r.wrong)
        return err_set(e, EPROTO, "a message of type %u is broken: %s", type, r.wrong);
    if (type == PROTO_LOAD) {
        m->u.load.fds = fds;
        m->u.load.n_fds = n_fds;
    } else if (type == PROTO_INSPECT) {
        m->u.inspect.fd = fds[0];
    }
    return 0;
}

int proto_facts_unpack(const void *data, size_t n, struct proto_facts *f, struct err *e)
{
    struct wire_reader r = {.data = data, .n = n};
    if (wire_get_u32(&r) != PROTO_VERSION)
        wire_fail(&r, "they are of another version");
    get_facts(&r, f);
    if (r.wrong || r.n > 0)
        return err_set(e, EPROTO, "the facts cannot be read: %s", r.wrong ? r.wrong : "too long");
    return 0;
}
