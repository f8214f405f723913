/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto: what the daemon and an engine say to each other, over one stream socketpair.
 *
 * PROTOCOL.md is the format byte by byte; this header is the same as C. One side is the daemon (it
 * asks), the other an engine of any kind: llmosfs-engine, or tests/helpers/echo_engine.
 *
 * Threads: a proto_conn belongs to one thread at a time. Messages that were received point into the
 * connection's buffer and are valid until the next proto_receive() on it; what is passed to
 * proto_send() stays the caller's. Hostile peers: each length is checked against the frame, each
 * frame against PROTO_FRAME_MAX, each enum against its range; a broken frame is EPROTO, after which
 * the connection is good for nothing but proto_close().
 */
#ifndef LLMOSFS_PROTO_PROTO_H
#define LLMOSFS_PROTO_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define PROTO_VERSION      1
#define PROTO_FRAME_MAX    (256u << 20)
#define PROTO_FDS_MAX      32    /* segments of weights that one LOAD can bring */
#define PROTO_MESSAGES_MAX 65536 /* messages of one conversation */
#define PROTO_SEGMENTS_MAX 65536 /* runs of one LOAD */
#define PROTO_STOPS_MAX    64    /* stop texts of one ASK */

enum proto_type {
    /* daemon to engine */
    PROTO_LOAD = 1, /* the weights, as descriptors; once */
    PROTO_ASK,      /* one question */
    PROTO_CANCEL,   /* give up a question: its DONE (finish CANCELLED) still follows */
    PROTO_PING,     /* answered by BEAT; the engine is alive */
    PROTO_INSPECT,  /* facts about a file, wanted from an engine started with --inspect; answered by
                       FACTS */
    /* engine to daemon */
    PROTO_HELLO = 64, /* first of all: version and what kind of engine this is */
    PROTO_PROGRESS,   /* bytes of the weights that are loaded so far */
    PROTO_READY,      /* loaded: what it is and holds */
    PROTO_FAILED,     /* the load failed; the engine ends afterwards */
    PROTO_STARTED,    /* the prompt was rendered, tokenized and admitted */
    PROTO_PIECE,      /* more of an answer */
    PROTO_DONE,       /* the end of an answer, good or bad: exactly one for each ASK */
    PROTO_BEAT,       /* a sign of life, at least every PROTO_BEAT_SECONDS while anything is owed */
    PROTO_FACTS,      /* what --inspect found */
};
#define PROTO_BEAT_SECONDS 2

struct proto_str { /* bytes, not NUL-terminated */
    const char *data;
    size_t len;
};

struct proto_ids {      /* token ids */
    const int32_t *ids; /* aligned: proto copies them out of the frame */
    size_t n;
};

struct proto_segment { /* a run of the weights: bytes [offset, offset + len) of fds[fd] */
    uint32_t fd;
    uint64_t offset;
    uint64_t len;
};

struct proto_load {
    const int *fds; /* sender's to keep; the receiver owns what it receives */
    size_t n_fds;
    const struct proto_segment *segments; /* their concatenation is the file */
    size_t n_segments;
    uint32_t threads;  /* 0: as many as the machine gives */
    uint32_t context;  /* most tokens of one sequence; 0: the model's own */
    uint64_t kv_bytes; /* budget of the KV cache; 0: the engine's default */
    struct proto_str
        kernels; /* "" picks the best; else a name as in READY ("portable", "avx2" …), for tests */
};

enum proto_role { PROTO_SYSTEM, PROTO_USER, PROTO_ASSISTANT, PROTO_ROLE_LAST = PROTO_ASSISTANT };

struct proto_message { /* one turn of a conversation */
    enum proto_role role;
    struct proto_str text;
    struct proto_ids ids; /* n > 0: these very tokens stand for the text (an answer that this or an
                             earlier engine made) */
};

enum proto_mode {
    PROTO_MODE_AUTO,
    PROTO_MODE_CHAT,
    PROTO_MODE_RAW,
    PROTO_MODE_LAST = PROTO_MODE_RAW
};

struct proto_sampling {
    double temperature;    /* 0: always the likeliest */
    int32_t top_k;         /* 0: off */
    double top_p;          /* 1: off */
    double min_p;          /* 0: off */
    double repeat_penalty; /* 1: off */
    int32_t repeat_last_n; /* 0: off, -1: the whole context */
    double presence_penalty;
    double frequency_penalty;
    uint64_t seed;
};

struct proto_ask {
    uint64_t id;    /* the daemon's number of this question, new for each */
    uint64_t owner; /* whose cache may be shared: the same for all questions of one user, 0 never
                       shared */
    enum proto_mode mode;
    const struct proto_message *messages; /* oldest first; the last is what is asked */
    size_t n_messages;
    struct proto_str chat_template; /* "": the model's own */
    struct proto_sampling sampling;
    uint32_t context;   /* most tokens of this conversation; 0: the engine's limit alone counts */
    int64_t max_tokens; /* -1: to the end of the context */
    double time_limit;  /* seconds from the ASK; 0: none */
    const struct proto_str *stops; /* the answer ends before the first of these */
    size_t n_stops;
    uint32_t logprobs; /* > 0: PIECE carries that many likeliest tokens (a test's use today) */
};

struct proto_inspect {
    int fd; /* the file, read-only; the receiver owns what it receives */
    uint64_t size;
};

struct proto_hello {
    uint32_t version;
    struct proto_str engine; /* "llmosfs-engine 0.1.0" */
};

struct proto_progress {
    uint64_t done; /* bytes */
    uint64_t total;
};

struct proto_ready {
    uint32_t context; /* most tokens of a sequence, as it now is */
    uint32_t vocabulary;
    uint64_t memory; /* bytes held: weights, cache and all */
    uint64_t kv_bytes;
    struct proto_str backend; /* "cpu" */
    struct proto_str kernels; /* "avx512 vnni" */
};

struct proto_failed {
    int32_t code; /* errno */
    struct proto_str text;
};

struct proto_started {
    uint64_t id;
    uint32_t prompt_tokens;
    uint32_t cached_tokens;    /* of these, found in the cache */
    struct proto_ids prompt;   /* all of them */
    struct proto_str rendered; /* the text as the model sees it */
};

struct proto_piece {
    uint64_t id;
    struct proto_str text;     /* whole UTF-8 sequences, may be empty */
    struct proto_ids ids;      /* the tokens made since the last PIECE */
    struct proto_str logprobs; /* "" or one JSON object a line, one for each of ids */
};

enum proto_finish {
    PROTO_FINISH_STOP,      /* the model ended it */
    PROTO_FINISH_STOP_TEXT, /* one of `stops` came */
    PROTO_FINISH_LENGTH,    /* max_tokens, or the context is full */
    PROTO_FINISH_TIME,      /* time_limit */
    PROTO_FINISH_CANCELLED,
    PROTO_FINISH_ERROR,
    PROTO_FINISH_LAST = PROTO_FINISH_ERROR
};

struct proto_done {
    uint64_t id;
    enum proto_finish finish;
    int32_t code;          /* errno for ERROR (EFBIG, EINVAL, ENOMEM, EIO …), else 0 */
    struct proto_str text; /* its sentence */
    uint32_t completion_tokens;
    double prefill_seconds; /* from admission to the first token */
    double decode_seconds;  /* from there to the last */
};

enum proto_validity {
    PROTO_VALID,
    PROTO_DAMAGED,
    PROTO_UNSUPPORTED,
    PROTO_VALIDITY_LAST = PROTO_UNSUPPORTED
};

struct proto_facts {              /* of a file of weights */
    enum proto_validity validity; /* DAMAGED: EBADMSG; UNSUPPORTED: ENOEXEC */
    struct proto_str reason;      /* a sentence, "" if valid */
    struct proto_str architecture;
    struct proto_str name;         /* general.name */
    struct proto_str quantization; /* "Q4_1" */
    uint64_t parameters;
    uint64_t context;
    uint64_t vocabulary;
    uint64_t weights_bytes; /* what its tensors take */
    uint64_t memory_needed; /* about what an engine will hold, without the KV cache */
    uint64_t kv_per_token;  /* bytes */
    bool chat;              /* has a chat template that can be applied */
};

struct proto_msg { /* one received message */
    enum proto_type type;
    union {
        struct proto_load load;
        struct proto_ask ask;
        struct {
            uint64_t id;
        } cancel;
        struct proto_inspect inspect;
        struct proto_hello hello;
        struct proto_progress progress;
        struct proto_ready ready;
        struct proto_failed failed;
        struct proto_started started;
        struct proto_piece piece;
        struct proto_done done;
        struct proto_facts facts;
    } u;
};

struct proto_conn;

/* Takes over the socket, which becomes non-blocking. Never NULL. */
struct proto_conn *proto_open(int sock);
void proto_close(struct proto_conn *c);
DEFINE_CLEANUP(proto, struct proto_conn *, proto_close)
int proto_fd(const struct proto_conn *c);

/*
 * Puts a message (type and its member of u) at the end of what is to be sent and sends what the
 * socket takes without waiting. Descriptors are duplicated, so the caller may close its own at
 * once. Fails with EMSGSIZE or once the peer is gone (EPIPE).
 */
int proto_send(struct proto_conn *c, const struct proto_msg *m, struct err *e);

/* Sends what is still queued. 0: all is sent; 1: the socket is full, call again at POLLOUT; -1: the
 * peer is gone. */
int proto_flush(struct proto_conn *c, struct err *e);

/*
 * Takes the next message. 1: *m is filled; 0: none is whole yet, poll for POLLIN; -1: EPROTO, or
 * the peer is gone (EPIPE), after all that it sent before was received.
 */
int proto_receive(struct proto_conn *c, struct proto_msg *m, struct err *e);

/* Facts as bytes to be kept, with the version in front. Unpacked strings point into data; EPROTO: of another version. */
void proto_facts_pack(const struct proto_facts *f, struct buf *b);
int proto_facts_unpack(const void *data, size_t n, struct proto_facts *f, struct err *e);

#endif
