/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to bytes: one function a type, in the order of proto.h; decode.c is its mirror. */
#include "proto/wire.h"

static void put_load(struct buf *b, const struct proto_load *m)
{
    wire_put_u32(b, (uint32_t)m->n_segments);
    for (size_t i = 0; i < m->n_segments; i++) {
        wire_put_u32(b, m->segments[i].fd);
        wire_put_u64(b, m->segments[i].offset);
        wire_put_u64(b, m->segments[i].len);
    }
    wire_put_u32(b, m->threads);
    wire_put_u32(b, m->context);
    wire_put_u64(b, m->kv_bytes);
    wire_put_str(b, m->kernels);
}

static void put_sampling(struct buf *b, const struct proto_sampling *s)
{
    wire_put_f64(b, s->temperature);
    wire_put_u32(b, (uint32_t)s->top_k);
    wire_put_f64(b, s->top_p);
    wire_put_f64(b, s->min_p);
    wire_put_f64(b, s->repeat_penalty);
    wire_put_u32(b, (uint32_t)s->repeat_last_n);
    wire_put_f64(b, s->presence_penalty);
    wire_put_f64(b, s->frequency_penalty);
    wire_put_u64(b, s->seed);
}

static void put_ask(struct buf *b, const struct proto_ask *m)
{
    wire_put_u64(b, m->id);
    wire_put_u64(b, m->owner);
    wire_put_u8(b, (uint8_t)m->mode);
    wire_put_u32(b, (uint32_t)m->n_messages);
    for (size_t i = 0; i < m->n_messages; i++) {
        wire_put_u8(b, (uint8_t)m->messages[i].role);
        wire_put_str(b, m->messages[i].text);
        wire_put_ids(b, m->messages[i].ids);
    }
    wire_put_str(b, m->chat_template);
    put_sampling(b, &m->sampling);
    wire_put_u32(b, m->context);
    wire_put_u64(b, (uint64_t)m->max_tokens);
    wire_put_f64(b, m->time_limit);
    wire_put_u32(b, (uint32_t)m->n_stops);
    for (size_t i = 0; i < m->n_stops; i++)
        wire_put_str(b, m->stops[i]);
    wire_put_u32(b, m->logprobs);
}

static void put_ready(struct buf *b, const struct proto_ready *m)
{
    wire_put_u32(b, m->context);
    wire_put_u32(b, m->vocabulary);
    wire_put_u64(b, m->memory);
    wire_put_u64(b, m->kv_bytes);
    wire_put_str(b, m->backend);
    wire_put_str(b, m->kernels);
}

static void put_started(struct buf *b, const struct proto_started *m)
{
    wire_put_u64(b, m->id);
    wire_put_u32(b, m->prompt_tokens);
    wire_put_u32(b, m->cached_tokens);
    wire_put_ids(b, m->prompt);
    wire_put_str(b, m->rendered);
}

static void put_piece(struct buf *b, const struct proto_piece *m)
{
    wire_put_u64(b, m->id);
    wire_put_str(b, m->text);
    wire_put_ids(b, m->ids);
    wire_put_str(b, m->logprobs);
}

static void put_done(struct buf *b, const struct proto_done *m)
{
    wire_put_u64(b, m->id);
    wire_put_u8(b, (uint8_t)m->finish);
    wire_put_u32(b, (uint32_t)m->code);
    wire_put_str(b, m->text);
    wire_put_u32(b, m->completion_tokens);
    wire_put_f64(b, m->prefill_seconds);
    wire_put_f64(b, m->decode_seconds);
}

static void put_facts(struct buf *b, const struct proto_facts *m)
{
    wire_put_u8(b, (uint8_t)m->validity);
    wire_put_str(b, m->reason);
    wire_put_str(b, m->architecture);
    wire_put_str(b, m->name);
    wire_put_str(b, m->quantization);
    wire_put_u64(b, m->parameters);
    wire_put_u64(b, m->context);
    wire_put_u64(b, m->vocabulary);
    wire_put_u64(b, m->weights_bytes);
    wire_put_u64(b, m->memory_needed);
    wire_put_u64(b, m->kv_per_token);
    wire_put_u8(b, m->chat);
}

void wire_encode(const struct proto_msg *m, struct buf *b, const int **fds, size_t *n_fds)
{
    *fds = NULL;
    *n_fds = 0;
    switch (m->type) {
    case PROTO_LOAD:
        *fds = m->u.load.fds;
        *n_fds = m->u.load.n_fds;
        put_load(b, &m->u.load);
        break;
    case PROTO_ASK:
        put_ask(b, &m->u.ask);
        break;
    case PROTO_CANCEL:
        wire_put_u64(b, m->u.cancel.id);
        break;
    case PROTO_PING:
    case PROTO_BEAT:
        break;
    case PROTO_INSPECT:
        *fds = &m->u.inspect.fd;
        *n_fds = 1;
        wire_put_u64(b, m->u.inspect.size);
        break;
    case PROTO_HELLO:
        wire_put_u32(b, m->u.hello.version);
        wire_put_str(b, m->u.hello.engine);
        break;
    case PROTO_PROGRESS:
        wire_put_u64(b, m->u.progress.done);
        wire_put_u64(b, m->u.progress.total);
        break;
    case PROTO_READY:
        put_ready(b, &m->u.ready);
        break;
    case PROTO_FAILED:
        wire_put_u32(b, (uint32_t)m->u.failed.code);
        wire_put_str(b, m->u.failed.text);
        break;
    case PROTO_STARTED:
        put_started(b, &m->u.started);
        break;
    case PROTO_PIECE:
        put_piece(b, &m->u.piece);
        break;
    case PROTO_DONE:
        put_done(b, &m->u.done);
        break;
    case PROTO_FACTS:
        put_facts(b, &m->u.facts);
        break;
    }
}

void proto_facts_pack(const struct proto_facts *f, struct buf *b)
{
    wire_put_u32(b, PROTO_VERSION);
    put_facts(b, f);
}
