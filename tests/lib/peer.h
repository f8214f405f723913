/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: a llmosfs-engine in a process of its own, and the daemon's side of the talk with it. It is killed when the test
 * ends, however that ends. What takes longer than PEER_SECONDS fails the test.
 */
#ifndef LLMOSFS_TESTS_PEER_H
#define LLMOSFS_TESTS_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/tokenizer.h"
#include "proto/proto.h"

#define PEER_SECONDS 60

struct peer {
    pid_t pid;
    struct proto_conn *conn; /* NULL: closed */
    uint64_t quiet_ns;       /* the longest that it said nothing while it was waited for */
};

/* Starts $BUILD/llmosfs-engine; `option` is one more argument or NULL. HELLO was received. */
struct peer *peer_start(const char *option);
/* Closes the socket and gives the exit code; 128 + n if signal n ended it. The peer is freed. */
int peer_end(struct peer *p);
/* The same for a peer that must end by itself. */
int peer_wait(struct peer *p);

void peer_send(struct peer *p, const struct proto_msg *m);
/* The next message but BEAT and PROGRESS. False: it closed the connection. */
bool peer_next(struct peer *p, struct proto_msg *m);

/* Sends LOAD of one whole file. kernels: NULL for the best. */
void peer_send_load(struct peer *p, int fd, uint32_t context, uint64_t kv_bytes,
                    const char *kernels);
/* The same, and waits for READY (which is copied; its strings are not). */
struct proto_ready peer_load(struct peer *p, int fd, uint32_t context, uint64_t kv_bytes);

/* A greedy question in one message; more is the caller's to set. m lives as long as the ask. */
struct proto_ask peer_question(struct proto_message *m, uint64_t id, const char *text,
                               int64_t max_tokens);

/* What came of a question. */
struct peer_answer {
    bool started;
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    struct buf rendered;
    struct tokens prompt;
    struct buf text;
    struct tokens ids;
    struct buf logprobs;
    uint32_t pieces;
    struct proto_done done; /* its text is in error */
    char error[400];
};
void peer_answer_free(struct peer_answer *a);
#define CLEANUP_PEER_ANSWER __attribute__((cleanup(peer_answer_free)))

/* Puts a message that belongs to this answer into it. True: it was the DONE. */
bool peer_take(struct peer_answer *a, const struct proto_msg *m);
/* Asks, and waits until it is answered. */
void peer_ask(struct peer *p, const struct proto_ask *ask, struct peer_answer *a);

#endif
