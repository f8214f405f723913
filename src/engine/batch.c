/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/batch.h"

#include <string.h>

#include "base/clock.h"

#define ROW_NS_PER_BYTE  0.02 /* of the weights: a guess, until a row was timed */
#define CHUNK_MIN        8
#define STEP_NS          (200 * CLOCK_NS_PER_MS) /* what a step should take that only reads prompts */
#define STEP_NS_DECODING (60 * CLOCK_NS_PER_MS) /* and one that others wait for with each token */

struct batch {
    struct forward *f;
    struct kv *kv;
    struct batch_hooks hooks;
    struct list waiting;
    struct list running; /* the oldest first */
    uint32_t n_running;
    uint32_t fixed_chunk;
    double row_ns; /* what a row of a prompt takes, smoothed */
    /* the step at hand */
    int32_t tokens[BATCH_ROWS];
    uint32_t n_rows;
    struct ops_span spans[BATCH_RUNNING_MAX];
    uint32_t n_spans;
    struct batch_seq *wanting[BATCH_RUNNING_MAX]; /* sequences whose logits are wanted */
    uint32_t wanted_rows[BATCH_RUNNING_MAX];
    uint32_t n_wanted;
};

struct batch *batch_new(struct forward *f, struct kv *kv, const struct batch_hooks *hooks)
{
    struct batch *b = xcalloc(1, sizeof(*b));
    b->f = f;
    b->kv = kv;
    b->hooks = *hooks;
    b->row_ns = (double)f->w->bytes * ROW_NS_PER_BYTE;
    list_init(&b->waiting);
    list_init(&b->running);
    return b;
}

void batch_free(struct batch *b)
{
    struct batch_seq *s;
    list_for_each(s, &b->running, link) batch_remove(b, s);
    list_for_each(s, &b->waiting, link) batch_remove(b, s);
    free(b);
}

void batch_add(struct batch *b, struct batch_seq *s)
{
    s->kv = NULL;
    list_add(&b->waiting, &s->link);
}

void batch_remove(struct batch *b, struct batch_seq *s)
{
    if (s->kv) {
        kv_end(b->kv, s->kv, true);
        s->kv = NULL;
        b->n_running--;
    }
    list_del(&s->link);
}

bool batch_idle(const struct batch *b)
{
    return list_empty(&b->waiting) && list_empty(&b->running);
}

bool batch_wants_more(const struct batch *b)
{
    return list_empty(&b->waiting) && b->n_running < BATCH_RUNNING_MAX;
}

void batch_set_chunk(struct batch *b, uint32_t rows)
{
    b->fixed_chunk = rows;
}

/* Tokens that are not in the cache yet. One: it decodes (or its prompt lacks only the last). */
static uint32_t pending(const struct batch_seq *s)
{
    return (uint32_t)(s->tokens.n - kv_seq_len(s->kv));
}

/* --- who runs --- */

/* Brings s into the cache if its tokens have room there, beside one page more for each that runs
 * already. */
static bool admit(struct batch *b, struct batch_seq *s)
{
    s->kv = kv_begin(b->kv, s->owner, s->tokens.ids, s->tokens.n);
    size_t need = kv_need(b->kv, s->kv, s->tokens.n + 1) + b->n_running;
    if (b->n_running > 0 && need > kv_available(b->kv)) {
        kv_end(b->kv, s->kv, true);
        s->kv = NULL;
        return false;
    }
    list_del(&s->link);
    list_add(&b->running, &s->link);
    b->n_running++;
    if (!s->admitted) {
        s->admitted = true;
        s->cached = (uint32_t)kv_seq_len(s->kv);
        b->hooks.admitted(b->hooks.ctx, s);
    }
    return true;
}

static void admit_all(struct batch *b)
{
    while (!list_empty(&b->waiting) && b->n_running < BATCH_RUNNING_MAX)
        if (!admit(b, list_entry(b->waiting.next, struct batch_seq, link)))
            return;
}

/* Takes the youngest out of the cache; it is the next to be admitted. */
static struct batch_seq *preempt_youngest(struct batch *b)
{
    struct batch_seq *s = list_entry(b->running.prev, struct batch_seq, link);
    kv_end(b->kv, s->kv, true); /* kept: what nobody else needs of it is found again */
    s->kv = NULL;
    b->n_running--;
    list_del(&s->link);
    list_add(b->waiting.next, &s->link); /* in front of the first */
    return s;
}

/* --- what a step computes --- */

static uint32_t chunk_rows(const struct batch *b, uint32_t n_decoding)
{
    uint32_t room = BATCH_ROWS - n_decoding;
    if (b->fixed_chunk)
        return MIN(b->fixed_chunk, room);
    double rows = (double)(n_decoding ? STEP_NS_DECODING : STEP_NS) / b->row_ns;
    return rows < CHUNK_MIN ? MIN(CHUNK_MIN, room) : (uint32_t)MIN(rows, room);
}

/* Puts the next n tokens of s into the step. False if it lost its place in the cache for want of
 * room. */
static bool take_rows(struct batch *b, struct batch_seq *s, uint32_t n)
{
    size_t pos = kv_seq_len(s->kv);
    while (!kv_grow(b->kv, s->kv, s->tokens.ids + pos, n))
        if (preempt_youngest(b) == s)
            return false;
    memcpy(b->tokens + b->n_rows, s->tokens.ids + pos, n * sizeof(*b->tokens));
    b->spans[b->n_spans++] =
        (struct ops_span){.pages = kv_seq_pages(s->kv), .pos = (uint32_t)pos, .n = n};
    b->n_rows += n;
    if (pending(s) == 0) {
        b->wanting[b->n_wanted] = s;
        b->wanted_rows[b->n_wanted++] = b->n_rows - 1;
    }
    return true;
}

/* Oldest first: who is preempted for want of room is always younger than those that have their
 * rows. */
static void assemble(struct batch *b)
{
    uint32_t n_decoding = 0;
    struct batch_seq *s;
    b->n_rows = b->n_spans = b->n_wanted = 0;
    list_for_each(s, &b->running, link) n_decoding += pending(s) == 1;
    uint32_t chunk = chunk_rows(b, n_decoding);
    for (struct list *l = b->running.next; l != &b->running; l = l->next) {
        s = list_entry(l, struct batch_seq, link);
        uint32_t n = pending(s);
        if (n > 1) {
            n = MIN(n, chunk);
            chunk -= n;
        }
        if (n > 0 && !take_rows(b, s, n))
            return; /* s was the youngest: nobody comes after it */
    }
}

static void learn_speed(struct batch *b, uint64_t ns)
{
    if (b->n_rows < CHUNK_MIN)
        return;
    double row = (double)ns / b->n_rows;
    b->row_ns = 0.5 * b->row_ns + 0.5 * row;
}

static void give_logits(struct batch *b)
{
    for (uint32_t first = 0; first < b->n_wanted; first += FORWARD_LOGITS_MAX) {
        uint32_t n = MIN(b->n_wanted - first, FORWARD_LOGITS_MAX);
        forward_logits(b->f, b->wanted_rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            struct batch_seq *s = b->wanting[first + i];
            int32_t id = b->hooks.next(b->hooks.ctx, s, forward_logits_row(b->f, i));
            if (id != BATCH_END) {
                tokens_add(&s->tokens, id);
                continue;
            }
            batch_remove(b, s);
            b->hooks.ended(b->hooks.ctx, s);
        }
    }
}

void batch_step(struct batch *b)
{
    admit_all(b);
    uint64_t begun = clock_now();
    assemble(b);
    if (b->n_rows == 0)
        return;
    struct forward_batch rows = {
        .tokens = b->tokens, .n = b->n_rows, .spans = b->spans, .n_spans = b->n_spans};
    forward_run(b->f, &rows);
    learn_speed(b, clock_now() - begun);
    give_logits(b);
}
