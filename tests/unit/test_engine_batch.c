/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sequence is answered does not depend on company: alone or in a batch, whatever the pieces in which its prompt is
 * read, with a cached beginning, taken out of the cache and computed again, with one thread or two, every bit of every
 * logit is the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/sampler.h"
#include "tests/lib/random_weights.h"
#include "tests/lib/rig.h"
#include "tests/lib/tiny_model.h"

#define N_SEQS    7
#define MADE_MAX  24
#define ALL_PAGES 64

/* One sequence, and what it was given. */
struct run {
    struct batch_seq seq;
    size_t n_prompt;
    uint32_t want;              /* tokens to make */
    uint64_t digests[MADE_MAX]; /* of the logits that each token was drawn from */
    int32_t made[MADE_MAX];
    uint32_t n_made;
    uint32_t admissions;
};

struct world {
    struct sampler *sampler;
    uint32_t n_vocab;
    uint32_t ended;
};

static uint64_t digest(const float *logits, uint32_t n) /* FNV-1a over the bits */
{
    uint64_t h = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof(bits));
        h = (h ^ bits) * 0x100000001b3u;
    }
    return h;
}

static void on_admitted(void *ctx, struct batch_seq *s)
{
    (void)ctx;
    list_entry(s, struct run, seq)->admissions++;
}

static int32_t on_logits(void *ctx, struct batch_seq *s, const float *logits)
{
    struct world *w = ctx;
    struct run *r = list_entry(s, struct run, seq);
    const struct proto_sampling p = {
        .temperature = 1, .top_p = 0.95, .repeat_penalty = 1, .seed = 9};
    int32_t id = sampler_pick(w->sampler, &p, logits, s->tokens.ids, s->tokens.n);
    assert_true(r->n_made < r->want);
    r->digests[r->n_made] = digest(logits, w->n_vocab);
    r->made[r->n_made++] = id;
    return r->n_made == r->want ? BATCH_END : id;
}

static void on_ended(void *ctx, struct batch_seq *s)
{
    (void)s;
    ((struct world *)ctx)->ended++;
}

/* Prompts of very different lengths; some begin alike. */
static void make_runs(struct run *runs, uint32_t n_vocab, uint64_t owner)
{
    static const size_t lengths[N_SEQS] = {1, 2, 33, 90, 90, 200, 31};
    for (size_t i = 0; i < N_SEQS; i++) {
        uint64_t rng = 3;
        runs[i] = (struct run){.n_prompt = lengths[i], .want = (uint32_t)(MADE_MAX - i)};
        runs[i].seq.owner = owner;
        for (size_t j = 0; j < lengths[i]; j++) {
            uint64_t r = random_next(&rng);
            if (j == 50 && i >= 4)
                rng += i;
            tokens_add(&runs[i].seq.tokens, (int32_t)(r % n_vocab));
        }
    }
}

static void free_runs(struct run *runs)
{
    for (size_t i = 0; i < N_SEQS; i++)
        tokens_free(&runs[i].seq.tokens);
}

enum how { ALONE, TOGETHER, ONE_BY_ONE_IN_BETWEEN };

static void answer(struct rig *rig, struct run *runs, enum how how, uint32_t chunk)
{
    struct world w = {.n_vocab = rig->m->hp.n_vocab};
    CLEANUP(sampler) struct sampler *sampler = sampler_new(w.n_vocab, NULL);
    struct batch_hooks hooks = {
        .ctx = &w, .admitted = on_admitted, .next = on_logits, .ended = on_ended};
    CLEANUP(batch) struct batch *b = batch_new(rig->fwd, rig->kv, &hooks);
    w.sampler = sampler;
    batch_set_chunk(b, chunk);
    for (size_t i = 0; i < N_SEQS; i++) {
        batch_add(b, &runs[i].seq);
        for (int k = 0; how == ONE_BY_ONE_IN_BETWEEN && k < 3; k++)
            batch_step(b);
        while (how == ALONE && !batch_idle(b))
            batch_step(b);
    }
    while (!batch_idle(b))
        batch_step(b);
    assert_int_equal(w.ended, N_SEQS);
    assert_true(kv_check(rig->kv));
}

static void check_same(const struct run *got, const struct run *want, const char *how)
{
    for (size_t i = 0; i < N_SEQS; i++) {
        if (got[i].n_made != want[i].n_made ||
            memcmp(got[i].made, want[i].made, want[i].n_made * sizeof(int32_t)) != 0 ||
            memcmp(got[i].digests, want[i].digests, want[i].n_made * sizeof(uint64_t)) != 0)
            fail_msg("%s: sequence %zu is answered differently", how, i);
    }
}

/* Answers the same prompts in a rig of these options, in this way, and compares with what they were answered alone. */
static void check_way(int fd, const struct rig_options *o, enum how how, uint32_t chunk,
                      uint64_t owner, const struct run *want, const char *name)
{
    struct run runs[N_SEQS];
    CLEANUP(rig) struct rig *rig = rig_open(fd, o);
    make_runs(runs, rig->m->hp.n_vocab, owner);
    answer(rig, runs, how, chunk);
    check_same(runs, want, name);
    if (owner != 0) { /* once more: now nearly all of each prompt is in the cache */
        struct run again[N_SEQS];
        make_runs(again, rig->m->hp.n_vocab, owner);
        answer(rig, again, how, chunk);
        check_same(again, want, name);
        for (size_t i = 0; i < N_SEQS && o->n_pages == ALL_PAGES; i++)
            assert_int_equal(again[i].seq.cached, again[i].n_prompt - 1);
        free_runs(again);
    }
    free_runs(runs);
}

static void check_model(const struct tiny_model *tm, const char *kernels, bool briefly)
{
    CLEANUP_FD int fd = tiny_model_fd(tm);
    struct rig_options wide = {.threads = 2, .kernels = kernels, .n_pages = ALL_PAGES};
    struct rig_options one_thread = {.threads = 1, .kernels = kernels, .n_pages = ALL_PAGES};
    struct rig_options narrow = {.threads = 2, .kernels = kernels, .n_pages = 8};
    struct run want[N_SEQS];
    {
        CLEANUP(rig) struct rig *rig = rig_open(fd, &wide);
        make_runs(want, rig->m->hp.n_vocab, 0);
        answer(rig, want, ALONE, 64);
    }
    check_way(fd, &one_thread, ALONE, 1, 0, want, "alone, token by token, one thread");
    check_way(fd, &wide, TOGETHER, 0, 0, want, "in a batch");
    if (briefly) {
        free_runs(want);
        return;
    }
    check_way(fd, &wide, TOGETHER, 7, 0, want, "in a batch, pieces of 7");
    check_way(fd, &one_thread, ONE_BY_ONE_IN_BETWEEN, 31, 0, want, "joining a batch, one thread");
    check_way(fd, &wide, ALONE, 0, 5, want, "with a cached beginning");
    check_way(fd, &wide, ONE_BY_ONE_IN_BETWEEN, 13, 5, want,
              "joining a batch with a cached beginning");
    check_way(fd, &narrow, TOGETHER, 0, 0, want, "in a cache too small for all");
    check_way(fd, &narrow, TOGETHER, 16, 5, want, "in a cache too small for all that is shared");
    free_runs(want);
}

static void test_llama_quantized(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_llama(GGUF_Q4_1);
    check_model(&tm, NULL, false);
    check_model(&tm, "portable", true);
}

static void test_llama_other_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {GGUF_F16, GGUF_Q5_0, GGUF_Q4_K, GGUF_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct tiny_model tm = tiny_llama(types[i]);
        check_model(&tm, NULL, true);
    }
}

static void test_gemma3(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_gemma3(GGUF_Q8_0);
    check_model(&tm, NULL, false);
}

/* A sequence that is taken out in the middle leaves the others as they are, and its pages. */
static void test_removal(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_llama(GGUF_Q8_0);
    CLEANUP_FD int fd = tiny_model_fd(&tm);
    CLEANUP(rig) struct rig *rig = rig_open(fd, &(struct rig_options){.n_pages = ALL_PAGES});
    struct world w = {.n_vocab = rig->m->hp.n_vocab};
    CLEANUP(sampler) struct sampler *sampler = sampler_new(w.n_vocab, NULL);
    struct batch_hooks hooks = {
        .ctx = &w, .admitted = on_admitted, .next = on_logits, .ended = on_ended};
    CLEANUP(batch) struct batch *b = batch_new(rig->fwd, rig->kv, &hooks);
    struct run runs[N_SEQS];
    struct kv_stats st;
    w.sampler = sampler;
    make_runs(runs, w.n_vocab, 0);
    for (size_t i = 0; i < N_SEQS; i++)
        batch_add(b, &runs[i].seq);
    batch_remove(b, &runs[6].seq); /* before it ran */
    for (int i = 0; i < 3; i++)
        batch_step(b);
    batch_remove(b, &runs[0].seq);
    batch_remove(b, &runs[5].seq); /* perhaps in the middle of its prompt */
    while (!batch_idle(b))
        batch_step(b);
    assert_int_equal(w.ended, N_SEQS - 3);
    kv_stats(rig->kv, &st);
    assert_int_equal(st.n_free, ALL_PAGES);
    free_runs(runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_quantized),
        cmocka_unit_test(test_llama_other_types),
        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_removal),
    };
    return cmocka_run_group_tests_name("engine batch", tests, NULL, NULL);
}
