/* SPDX-License-Identifier: Apache-2.0 */
/* The book of the KV cache. What a page "holds" is modelled by an array: which token lies in which slot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/kv.h"
#include "tests/lib/random_weights.h"

#define PAGE    4
#define N_PAGES 24

struct world {
    int32_t slots[N_PAGES * PAGE];
    uint32_t copies;
};

static void copy_page(void *ctx, uint32_t from, uint32_t to)
{
    struct world *w = ctx;
    memcpy(w->slots + to * PAGE, w->slots + from * PAGE, PAGE * sizeof(*w->slots));
    w->copies++;
}

/* Grows s and puts the tokens where the engine would put their keys and values. */
static bool grow(struct world *w, struct kv *kv, struct kv_seq *s, const int32_t *tokens, size_t n)
{
    size_t pos = kv_seq_len(s);
    size_t available = kv_available(kv);
    size_t need = kv_need(kv, s, pos + n);
    if (!kv_grow(kv, s, tokens, n))
        return false;
    assert_true(need <= available ||
                need == available + 1); /* the last: a shared page was freed instead */
    const uint32_t *pages = kv_seq_pages(s);
    for (size_t i = 0; i < n; i++)
        w->slots[pages[(pos + i) / PAGE] * PAGE + (pos + i) % PAGE] = tokens[i];
    return true;
}

static void check_content(const struct world *w, const struct kv_seq *s, const int32_t *tokens)
{
    const uint32_t *pages = kv_seq_pages(s);
    for (size_t i = 0; i < kv_seq_len(s); i++)
        assert_int_equal(w->slots[pages[i / PAGE] * PAGE + i % PAGE], tokens[i]);
}

static const int32_t a[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static void test_next_turn_takes_over(void **state)
{
    (void)state;
    struct world w = {0};
    struct kv_stats st;
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    struct kv_seq *s = kv_begin(kv, 1, a, 6);
    assert_int_equal(kv_seq_len(s), 0);
    assert_true(grow(&w, kv, s, a, 6));
    kv_end(kv, s, true);
    kv_stats(kv, &st);
    assert_int_equal(st.n_kept, 2);
    assert_int_equal(st.kept_seqs, 1);

    s = kv_begin(kv, 1, a, 12);
    assert_int_equal(kv_seq_len(s), 6);
    assert_true(grow(&w, kv, s, a + 6, 6));
    check_content(&w, s, a);
    assert_int_equal(w.copies, 0); /* nobody else had it */
    kv_stats(kv, &st);
    assert_int_equal(st.n_live, 3);
    assert_int_equal(st.kept_seqs, 0);
    assert_true(kv_check(kv));
}

static void test_prefix_is_shared_and_copied_on_write(void **state)
{
    (void)state;
    struct world w = {0};
    struct kv_stats st;
    const int32_t b[] = {1, 2, 3, 4, 5, 60, 61};
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    struct kv_seq *s = kv_begin(kv, 1, a, 8);
    assert_true(grow(&w, kv, s, a, 8));
    struct kv_seq *t = kv_begin(kv, 1, b, 7); /* while the first is alive */
    assert_int_equal(kv_seq_len(t), 5);
    assert_int_equal(kv_need(kv, t, 7), 1); /* the copy of the page with 5 … 8 */
    assert_true(grow(&w, kv, t, b + 5, 2));
    assert_int_equal(w.copies, 1);
    check_content(&w, s, a);
    check_content(&w, t, b);
    kv_stats(kv, &st);
    assert_int_equal(st.n_live, 3);
    kv_end(kv, s, false);
    check_content(&w, t, b);
    assert_true(kv_check(kv));
}

static void test_the_last_token_is_always_computed(void **state)
{
    (void)state;
    struct world w = {0};
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    struct kv_seq *s = kv_begin(kv, 1, a, 8);
    assert_true(grow(&w, kv, s, a, 8));
    kv_end(kv, s, true);
    s = kv_begin(kv, 1, a, 8); /* the very same question */
    assert_int_equal(kv_seq_len(s), 7);
    assert_true(grow(&w, kv, s, a + 7, 1));
    check_content(&w, s, a);
}

static void test_owners_share_nothing(void **state)
{
    (void)state;
    struct world w = {0};
    struct kv_stats st;
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    struct kv_seq *s = kv_begin(kv, 1, a, 8);
    assert_true(grow(&w, kv, s, a, 8));
    kv_end(kv, s, true);
    s = kv_begin(kv, 2, a, 8);
    assert_int_equal(kv_seq_len(s), 0);
    kv_end(kv, s, true);
    s = kv_begin(kv, 0, a, 8); /* nobody: neither takes nor leaves anything */
    assert_int_equal(kv_seq_len(s), 0);
    assert_true(grow(&w, kv, s, a, 8));
    kv_end(kv, s, true);
    kv_stats(kv, &st);
    assert_int_equal(st.kept_seqs, 1);
    assert_int_equal(st.n_live, 0);
}

static void test_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct world w = {0};
    int32_t tokens[N_PAGES * PAGE];
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    for (int i = 0; i < N_PAGES * PAGE; i++)
        tokens[i] = 1000 + i;
    for (int i = 0; i < 3; i++) { /* three kept sequences of 8 pages fill the pool */
        tokens[0] = i;
        struct kv_seq *s = kv_begin(kv, 1, tokens, 8 * PAGE);
        assert_true(grow(&w, kv, s, tokens, 8 * PAGE));
        kv_end(kv, s, true);
    }
    tokens[0] = 0; /* the first is used again … */
    kv_end(kv, kv_begin(kv, 1, tokens, 8 * PAGE + 1), true);
    tokens[0] = 77;
    struct kv_seq *s = kv_begin(kv, 1, tokens, PAGE);
    assert_true(grow(&w, kv, s, tokens, PAGE)); /* … so the second goes */
    const size_t want[] = {8 * PAGE, 0, 8 * PAGE};
    for (int i = 0; i < 3; i++) {
        tokens[0] = i;
        struct kv_seq *probe = kv_begin(kv, 1, tokens, 8 * PAGE + 1);
        assert_int_equal(kv_seq_len(probe), want[i]);
        kv_end(kv, probe, true);
    }
    assert_true(kv_check(kv));
}

static void test_full_pool(void **state)
{
    (void)state;
    struct world w = {0};
    int32_t tokens[N_PAGES * PAGE + 1] = {0};
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    struct kv_seq *s = kv_begin(kv, 1, tokens, ARRAY_LEN(tokens));
    assert_true(grow(&w, kv, s, tokens, N_PAGES * PAGE - 2));
    struct kv_seq *t =
        kv_begin(kv, 1, tokens, N_PAGES * PAGE); /* shares all, its last page half full */
    assert_false(grow(&w, kv, t, tokens, 1));    /* no page for the copy */
    assert_int_equal(kv_seq_len(t), N_PAGES * PAGE - 2);
    kv_end(kv, t, true);
    assert_true(grow(&w, kv, s, tokens, 2)); /* the kept one gives way: s alone always fits */
    assert_false(grow(&w, kv, s, tokens, 1));
    assert_true(kv_check(kv));
}

/* 8 sequences of 3 owners over a small alphabet, so that they share much; anything may happen at any time. */
static void test_any_order_of_events(void **state)
{
    (void)state;
    enum { N = 8, LEN = 40 };
    struct world w = {0};
    uint64_t rng = 5;
    struct kv_seq *seqs[N] = {NULL};
    int32_t tokens[N][LEN];
    uint32_t refused = 0;
    uint32_t shared = 0;
    CLEANUP(kv) struct kv *kv = kv_new(N_PAGES, PAGE, copy_page, &w, NULL);
    for (int event = 0; event < 20000; event++) {
        size_t i = random_next(&rng) % N;
        if (!seqs[i]) {
            for (int j = 0; j < LEN; j++)
                tokens[i][j] = random_next(&rng) % 8 == 0;
            seqs[i] = kv_begin(kv, 1 + random_next(&rng) % 3, tokens[i], LEN);
            shared += kv_seq_len(seqs[i]) > 0;
        } else if (kv_seq_len(seqs[i]) < LEN && random_next(&rng) % 8 != 0) {
            size_t n = 1 + random_next(&rng) % 9;
            size_t pos = kv_seq_len(seqs[i]);
            refused += !grow(&w, kv, seqs[i], tokens[i] + pos, MIN(n, LEN - pos));
        } else {
            kv_end(kv, seqs[i], random_next(&rng) % 4 != 0);
            seqs[i] = NULL;
        }
        assert_true(kv_check(kv));
        for (size_t j = 0; j < N; j++)
            if (seqs[j])
                check_content(&w, seqs[j], tokens[j]);
    }
    print_message("%u copies, %u refused, %u began with a shared part\n", w.copies, refused,
                  shared);
    assert_true(w.copies > 100 && refused > 100 && shared > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_turn_takes_over),
        cmocka_unit_test(test_prefix_is_shared_and_copied_on_write),
        cmocka_unit_test(test_the_last_token_is_always_computed),
        cmocka_unit_test(test_owners_share_nothing),
        cmocka_unit_test(test_least_recently_used_goes_first),
        cmocka_unit_test(test_full_pool),
        cmocka_unit_test(test_any_order_of_events),
    };
    return cmocka_run_group_tests_name("engine kv", tests, NULL, NULL);
}
