/* SPDX-License-Identifier: Apache-2.0 */
/* question: one ASK, from its arrival to its DONE. */
#ifndef LLMOSFS_ENGINE_QUESTION_H
#define LLMOSFS_ENGINE_QUESTION_H

#include "base/list.h"
#include "engine/answer.h"
#include "engine/batch.h"
#include "engine/prompt.h"
#include "proto/proto.h"

struct question {
    struct list link;
    struct proto_ask ask; /* a copy; its messages go once the prompt was built */
    void *memory;         /* what ask points into */
    uint64_t arrived;     /* clock_now() */
    uint64_t deadline;    /* 0: none */
    bool prepared;        /* the prompt was built, and seq is in the batch */
    struct batch_seq seq;
    struct answer answer;
    struct buf rendered; /* until STARTED */
    uint64_t admitted_at;
    uint64_t first_at; /* first token; 0: none yet */
    uint64_t last_at;
    uint32_t made; /* tokens of the answer */
    enum proto_finish finish;
    struct err error; /* of PROTO_FINISH_ERROR */
};

/* A copy of ask; ENOMEM. */
struct question *question_new(const struct proto_ask *ask, struct err *e);
void question_free(struct question *q);

/* EINVAL if one of the values that came with it makes no sense. */
int question_check(const struct question *q, struct err *e);

/* Gives up the memory of the messages: the tokens stand for them now. */
void question_forget_text(struct question *q);

#endif
