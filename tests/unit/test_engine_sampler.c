/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler: its random numbers, the frequencies of what it draws, and its corners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/philox.h"
#include "engine/sampler.h"

#define N_VOCAB 60
#define N_DRAWS 200000

static const struct proto_sampling plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

/* Logits as a model gives them: some likely, many not, a few equal. */
static void make_logits(float *logits, uint32_t n, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) {
        logits[i] = (float)(4 * philox_uniform(seed, i) + 4 * philox_uniform(seed + 1, i));
        if (i % 7 == 3)
            logits[i] = logits[i - 1];
    }
}

/* --- random numbers --- */

/* The known answers that come with Random123, the authors' own implementation. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    const struct {
        struct philox_block ctr;
        uint32_t key[2];
        struct philox_block out;
    } cases[] = {
        {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{~0u, ~0u, ~0u, ~0u}}, {~0u, ~0u}, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {0xa4093822, 0x299f31d0},
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct philox_block out = philox4x32(cases[i].ctr, cases[i].key[0], cases[i].key[1]);
        assert_memory_equal(&out, &cases[i].out, sizeof(out));
    }
}

/* --- the distribution, written down a second time, as plainly as possible --- */

static bool comes_before(const float *l, int a, int b)
{
    return l[a] > l[b] || (l[a] == l[b] && a < b);
}

static void expected(const float *logits, const struct proto_sampling *p, double *prob)
{
    int order[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++) {
        int at = i;
        for (; at > 0 && comes_before(logits, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    int n = p->top_k > 0 && p->top_k < N_VOCAB ? p->top_k : N_VOCAB;
    double total = 0;
    for (int i = 0; i < n; i++)
        total += exp((double)logits[order[i]]);
    double sum = 0;
    int reached = 0;
    while (reached < n && (reached == 0 || sum < p->top_p * total))
        sum += exp((double)logits[order[reached++]]);
    n = p->top_p < 1 ? reached : n;
    while (n > 1 && exp((double)logits[order[n - 1]] - logits[order[0]]) < p->min_p)
        n--;
    total = 0;
    for (int i = 0; i < n; i++)
        total += exp(logits[order[i]] / p->temperature);
    memset(prob, 0, N_VOCAB * sizeof(*prob));
    for (int i = 0; i < n; i++)
        prob[order[i]] = exp(logits[order[i]] / p->temperature) / total;
}

/* Pearson's statistic over what can be drawn at all; what cannot must never be. Five standard deviations are allowed. */
static void check_frequencies(const struct proto_sampling *p, const float *logits)
{
    double prob[N_VOCAB];
    uint32_t count[N_VOCAB] = {0};
    CLEANUP(sampler) struct sampler *s = sampler_new(N_VOCAB, NULL);
    expected(logits, p, prob);
    for (uint32_t i = 0; i < N_DRAWS; i++)
        count[sampler_pick(s, p, logits, NULL, i)]++;
    double chi2 = 0;
    int dof = -1;
    for (int i = 0; i < N_VOCAB; i++) {
        if (prob[i] == 0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        double want = prob[i] * N_DRAWS;
        chi2 += (count[i] - want) * (count[i] - want) / want;
        dof++;
    }
    double limit = dof + 5 * sqrt(2.0 * dof) + 1e-9;
    print_message(
        "temperature %g top_k %d top_p %g min_p %g: %d candidates, chi2 %.1f, limit %.1f\n",
        p->temperature, p->top_k, p->top_p, p->min_p, dof + 1, chi2, limit);
    assert_true(chi2 <= limit);
}

static void test_frequencies(void **state)
{
    (void)state;
    const struct {
        double temperature;
        int32_t top_k;
        double top_p, min_p;
    } cases[] = {{1, 0, 1, 0},       {0.8, 0, 1, 0},        {2.5, 0, 1, 0},
                 {1, 5, 1, 0},       {1, 1000, 1, 0},       {1, 0, 0.9, 0},
                 {1, 0, 0.3, 0},     {0.7, 0, 0, 0},        {1, 0, 1, 0.1},
                 {1, 0, 1, 1},       {0.8, 40, 0.95, 0.05}, {1.5, 0, 0.95, 0.05},
                 {1, 12, 0.8, 0.01}, {0.5, 0, 0.999, 0.2}};
    float logits[N_VOCAB];
    make_logits(logits, N_VOCAB, 7);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct proto_sampling p = plain;
        p.temperature = cases[i].temperature;
        p.top_k = cases[i].top_k;
        p.top_p = cases[i].top_p;
        p.min_p = cases[i].min_p;
        p.seed = 1000 + i;
        check_frequencies(&p, logits);
    }
}

/* --- the same for ever (the stream is from a second implementation, in Python) --- */

static void test_golden_stream(void **state)
{
    (void)state;
    static const int32_t golden[] = {37, 13, 44, 44, 53, 13, 35, 40, 4,  40, 44, 40, 4,  37,
                                     35, 13, 13, 37, 50, 4,  50, 40, 29, 58, 45, 4,  37, 4,
                                     0,  1,  50, 4,  13, 4,  37, 37, 13, 29, 0,  37};
    struct proto_sampling p = plain;
    float logits[N_VOCAB];
    p.temperature = 0.8;
    p.top_k = 40;
    p.top_p = 0.95;
    p.min_p = 0.05;
    p.seed = 42;
    make_logits(logits, N_VOCAB, 7);
    CLEANUP(sampler) struct sampler *s = sampler_new(N_VOCAB, NULL);
    for (size_t i = 0; i < ARRAY_LEN(golden); i++)
        assert_int_equal(sampler_pick(s, &p, logits, NULL, i), golden[i]);
}

/* --- large vocabularies take other ways through the code: the answer must be the same --- */

static void test_partial_selection_is_exact(void **state)
{
    (void)state;
    enum { N = 50000 };
    CLEANUP_FREE float *logits = xcalloc(N, sizeof(*logits));
    CLEANUP(sampler) struct sampler *s = sampler_new(N, NULL);
    for (uint64_t seed = 0; seed < 20; seed++) {
        make_logits(logits, N, 100 + seed);
        struct proto_sampling narrow = plain;
        narrow.seed = seed;
        narrow.top_p = 0.2 + 0.04 * (double)seed;
        struct proto_sampling wide = narrow;
        wide.top_k = N; /* sorts everything */
        for (size_t pos = 0; pos < 5; pos++)
            assert_int_equal(sampler_pick(s, &narrow, logits, NULL, pos),
                             sampler_pick(s, &wide, logits, NULL, pos));
    }
}

/* --- corners --- */

static void test_greedy(void **state)
{
    (void)state;
    float logits[N_VOCAB] = {0};
    struct proto_sampling p = plain;
    CLEANUP(sampler) struct sampler *s = sampler_new(N_VOCAB, NULL);
    p.temperature = 0;
    assert_int_equal(sampler_pick(s, &p, logits, NULL, 0), 0); /* all equal: the lowest id */
    logits[17] = logits[31] = 2;
    assert_int_equal(sampler_pick(s, &p, logits, NULL, 0), 17);
    p.temperature = 1e-300; /* no overflow, no NaN: it is the likeliest */
    logits[31] = 2.5f;
    assert_int_equal(sampler_pick(s, &p, logits, NULL, 3), 31);
}

static void test_penalties(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    const int32_t tokens[] = {5, 6, 5, 7};
    struct proto_sampling p = plain;
    CLEANUP(sampler) struct sampler *s = sampler_new(N_VOCAB, NULL);
    for (int i = 0; i < N_VOCAB; i++)
        logits[i] = -3;
    p.temperature = 0;
    logits[5] = 3, logits[6] = 2.5f, logits[7] = 2.25f, logits[8] = 1;
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 5);
    p.repeat_last_n = 4;
    p.frequency_penalty = 0.5; /* 5 came twice: 2, 6: 2, 7: 1.75 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 5);
    p.frequency_penalty = 0.6; /* 1.8, 1.9, 1.65 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 6);
    p.repeat_last_n = 2; /* only 5 and 7: 2.4, 2.5 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 6);
    p.repeat_last_n = -1;
    p.frequency_penalty = 0;
    p.presence_penalty = 2.5; /* 0.5, 0, -0.25, 8 keeps 1 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 8);
    p.presence_penalty = 0;
    p.repeat_penalty = 4; /* 0.75, 0.625, 0.5625 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 8);
    for (int i = 0; i < N_VOCAB; i++)
        logits[i] = -1.5f;
    logits[5] = -1; /* below 0 it is multiplied: -4 */
    assert_int_equal(sampler_pick(s, &p, logits, tokens, 4), 0);
    assert_true(logits[5] == -1); /* the caller's logits are as they were */
}

static void test_no_numbers(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float logits[N_VOCAB];
    struct err e = {0};
    make_logits(logits, N_VOCAB, 7);
    logits[0] = 3e38f;
    assert_int_equal(sampler_check_logits(logits, N_VOCAB, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        logits[N_VOCAB - 1] = bad[i];
        assert_int_equal(sampler_check_logits(logits, N_VOCAB, &e), -1);
        assert_int_equal(e.code, EIO);
        assert_non_null(strstr(e.text, "token 59"));
    }
}

static void test_parameters(void **state)
{
    (void)state;
    struct proto_sampling bad[] = {plain, plain, plain, plain, plain, plain, plain, plain, plain};
    struct err e = {0};
    assert_int_equal(sampler_check(&plain, &e), 0);
    bad[0].temperature = -0.1;
    bad[1].temperature = NAN;
    bad[2].top_p = 1.01;
    bad[3].min_p = -1;
    bad[4].repeat_penalty = 0;
    bad[5].presence_penalty = INFINITY;
    bad[6].frequency_penalty = -1e9;
    bad[7].top_k = -1;
    bad[8].repeat_last_n = -2;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(sampler_check(&bad[i], &e), -1);
        assert_int_equal(e.code, EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_golden_stream),
        cmocka_unit_test(test_partial_selection_is_exact),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_parameters),
    };
    return cmocka_run_group_tests_name("engine sampler", tests, NULL, NULL);
}
