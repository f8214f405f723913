/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch: continuous batching. Sequences come and go at any step; each step computes one token for
 * every sequence that decodes and, with what is left of the budget of rows, a piece of the prompts
 * that are not computed yet.
 *
 * A sequence is admitted, in the order of arrival, when its prompt has room in the cache. It then
 * grows page by page; if the cache is full the youngest gives its pages back, waits at the front of
 * the queue and is computed again later: its answer is the same, since what a row gives does not
 * depend on the batch (kernels/ops.h), and goes on where it was.
 *
 * The piece of prompts in a step is sized by time: shorter while others decode, so that their
 * tokens keep coming.
 *
 * Not safe for two threads at once.
 */
#ifndef LLMOSFS_ENGINE_BATCH_H
#define LLMOSFS_ENGINE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "engine/forward.h"
#include "engine/kv.h"
#include "model/tokenizer.h"

#define BATCH_RUNNING_MAX 64  /* sequences in the cache at once */
#define BATCH_ROWS        128 /* rows of a step */
#define BATCH_END         (-1)

/* One sequence. The caller's memory, {0} but for owner and tokens. */
struct batch_seq {
    uint64_t owner; /* whose cache may be used (kv.h) */
    struct tokens
        tokens;      /* the prompt (1 or more, fewer than the context) and what was made since */
    uint32_t cached; /* tokens found in the cache when it was first admitted */
    bool admitted;   /* it was, at least once */
    /* batch's own */
    struct list link;
    struct kv_seq *kv; /* NULL while it waits */
    uint32_t rows;     /* of the step at hand */
};

struct batch_hooks {
    void *ctx;
    /* s is in the cache and will be computed: told once */
    void (*admitted)(void *ctx, struct batch_seq *s);
    /* The logits after the last of s->tokens: gives the next token, which is put behind them, or
     * BATCH_END. */
    int32_t (*next)(void *ctx, struct batch_seq *s, const float *logits);
    /* s gave BATCH_END and is out of the batch: its memory is the caller's again */
    void (*ended)(void *ctx, struct batch_seq *s);
};

struct batch;

/* kv's pool holds at least one sequence of the longest length that will come. f, kv and hooks
 * outlive the batch. */
struct batch *batch_new(struct forward *f, struct kv *kv, const struct batch_hooks *hooks);
void batch_free(struct batch *b); /* sequences that are in it are let go */
DEFINE_CLEANUP(batch, struct batch *, batch_free)

void batch_add(struct batch *b, struct batch_seq *s); /* at the end of the queue */
void batch_remove(
    struct batch *b,
    struct batch_seq *s); /* at any time between steps; what it computed stays as a cache */

bool batch_idle(const struct batch *b);       /* nothing runs or waits */
bool batch_wants_more(const struct batch *b); /* nothing waits, and there is room to run one more */

/* One step, if there is anything to compute. */
void batch_step(struct batch *b);

/* Fixes the rows of prompts in a step, instead of by time; 0: by time. (Tests: the result must not
 * depend on it.) */
void batch_set_chunk(struct batch *b, uint32_t rows);

#endif
