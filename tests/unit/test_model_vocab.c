/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vocabularies that are damaged or hostile, each refused with an errno and a sentence, and small ones that show rules which the real
 * models do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>

#include "model/tokenizer.h"
#include "tests/lib/gguf_build.h"

#define KEY "tokenizer.ggml."

/* --- two small files --- */

static const char *const bpe_tokens[] = {"<s>", "</s>", "a",      "b", "c",  "Ġ",  "ab",
                                         "abc", "Ġa",   "<tool>", "1", "12", "123"};
static const int32_t bpe_types[] = {3, 3, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1, 1};
static const char *const bpe_merges[] = {"a b", "ab c", "Ġ a"};

static void build_bpe(struct gguf_build *b)
{
    gguf_build_str(b, KEY "model", "gpt2");
    gguf_build_str(b, KEY "pre", "gpt-2");
    gguf_build_strs(b, KEY "tokens", bpe_tokens, ARRAY_LEN(bpe_tokens));
    gguf_build_i32s(b, KEY "token_type", bpe_types, ARRAY_LEN(bpe_types));
    gguf_build_strs(b, KEY "merges", bpe_merges, ARRAY_LEN(bpe_merges));
    gguf_build_u32(b, KEY "bos_token_id", 0);
    gguf_build_u32(b, KEY "eos_token_id", 1);
}

static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", "<0x41>", "<0x0a>", "▁",  "a",
                                         "b",     "▁a",  "ab",   "▁ab",    "<x>",    "x>", "<"};
static const int32_t spm_types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 3, 1, 1};
static const float spm_scores[] = {0, 0, 0, 0, 0, -1, -2, -3, -4, -5, -6, -1, -2, -3};

static void build_spm(struct gguf_build *b)
{
    gguf_build_str(b, KEY "model", "llama");
    gguf_build_strs(b, KEY "tokens", spm_tokens, ARRAY_LEN(spm_tokens));
    gguf_build_i32s(b, KEY "token_type", spm_types, ARRAY_LEN(spm_types));
    gguf_build_f32s(b, KEY "scores", spm_scores, ARRAY_LEN(spm_scores));
}

typedef void build_fn(struct gguf_build *b);

/* The file of `base` without a key, and with what `change` adds. */
static struct tokenizer *make(build_fn *base, const char *without, build_fn *change, struct err *e)
{
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    gguf_build_init(&b);
    b.omit = without;
    base(&b);
    b.omit = NULL;
    if (change)
        change(&b);
    gguf_build_end(&b, &file);
    CLEANUP_FD int fd = gguf_build_fd(file.data, file.len);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, e);
    CLEANUP(gguf) struct gguf *g = f ? gguf_read(f, e) : NULL;
    if (!g)
        print_error("%s\n", e->text);
    assert_non_null(g);
    return tokenizer_new(g, e);
}

static void assert_tokens(const struct tokenizer *t, const char *text, bool special, bool add,
                          const int32_t *ids, size_t n)
{
    CLEANUP_TOKENS struct tokens out = {0};
    struct tokenizer_span span = {text, strlen(text), special};
    assert_int_equal(tokenizer_encode(t, &span, 1, add, &out, NULL, NULL), 0);
    for (size_t i = 0; i < out.n && (out.n != n || out.ids[i] != ids[i]); i++)
        print_error("%s: token %zu is %d\n", text, i, out.ids[i]);
    assert_int_equal(out.n, n);
    assert_memory_equal(out.ids, ids, n * sizeof(*ids));
}

#define IDS(...)                                                                                   \
    (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

/* --- rules --- */

static void test_bpe_rules(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(build_bpe, NULL, NULL, &e);
    assert_non_null(t);
    assert_tokens(t, "abc ab a", false, false, IDS(7, 5, 6, 8));
    assert_tokens(t, "<s>abc", true, true, IDS(0, 7));
    assert_tokens(t, "ab<tool>c", false, false,
                  IDS(6, 9, 4)); /* user-defined: in everyone's text */
    assert_tokens(t, "123", false, false,
                  IDS(10)); /* no merge makes 12, and 2 and 3 have no token */
    CLEANUP_TOKENS struct tokens out = {0};
    struct tokenizer_span span = {"a?b!\n", 5, false};
    size_t dropped;
    assert_int_equal(tokenizer_encode(t, &span, 1, false, &out, &dropped, &e), 0);
    assert_int_equal(out.n, 2);
    assert_int_equal(dropped, 3);
}

static void llama_bpe(struct gguf_build *b)
{
    gguf_build_str(b, KEY "pre", "llama-bpe");
}

/* A word that is a token is taken whole, numbers are cut at three digits, BOS is added though the file does not say so. */
static void test_whole_words(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(build_bpe, KEY "pre", llama_bpe, &e);
    assert_non_null(t);
    assert_tokens(t, "12312", false, true, IDS(0, 12, 11));
    assert_tokens(t, "<s>", false, false, NULL, 0); /* a control token is no word */
}

static void test_spm_rules(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(build_spm, NULL, NULL, &e);
    assert_non_null(t);
    assert_tokens(t, "ab", false, true, IDS(1, 10)); /* a space in front of the text */
    assert_tokens(t, "bab", false, false, IDS(5, 7, 9));
    assert_tokens(t, "A\nb", false, false, IDS(5, 3, 4, 7)); /* bytes, in either case of digits */
    assert_tokens(t, "<s>a", true, false, IDS(1, 8)); /* a space after a special token as well */
    assert_tokens(t, "<x>", true, false, IDS(11));
    assert_tokens(t, "<x>", false, false, IDS(5, 13, 12)); /* merges would spell it */
    CLEANUP_TOKENS struct tokens goes_on = {0};
    struct tokenizer_span a = {"a", 1, false};
    tokens_add(&goes_on, 7);
    assert_int_equal(tokenizer_encode(t, &a, 1, false, &goes_on, NULL, NULL), 0);
    assert_int_equal(goes_on.ids[1], 6); /* no space where a text goes on */
    tokens_add(&goes_on, 2);
    assert_int_equal(tokenizer_encode(t, &a, 1, false, &goes_on, NULL, NULL), 0);
    assert_int_equal(goes_on.ids[3], 8);
    CLEANUP_BUF struct buf first = {0};
    tokenizer_piece(t, 8, false, true, &first);
    tokenizer_piece(t, 8, false, false, &first);
    tokenizer_piece(t, 3, false, false, &first);
    assert_string_equal(buf_str(&first), "a aA");
}

static const char *const overlap_tokens[] = {"<s>", "</s>", "a", "b", "ab", "bab", "bb", "Ġ"};
static const int32_t overlap_types[] = {3, 3, 1, 1, 4, 4, 3, 1};

static void overlap(struct gguf_build *b)
{
    gguf_build_str(b, KEY "model", "gpt2");
    gguf_build_str(b, KEY "pre", "gpt-2");
    gguf_build_strs(b, KEY "tokens", overlap_tokens, ARRAY_LEN(overlap_tokens));
    gguf_build_i32s(b, KEY "token_type", overlap_types, ARRAY_LEN(overlap_types));
    gguf_build_strs(b, KEY "merges", NULL, 0);
}

/* The longest special token first, over the whole text; then the leftmost. */
static void test_overlapping_special(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(overlap, NULL, NULL, &e);
    assert_non_null(t);
    assert_tokens(t, "abab", false, false, IDS(2, 5));
    assert_tokens(t, "ababab", false, false, IDS(2, 5, 4));
    assert_tokens(t, "babab", false, false, IDS(5, 4));
    assert_tokens(t, "abbb", true, false, IDS(4, 6));
    assert_tokens(t, "abbb", false, false, IDS(4, 3, 3));
}

/* --- refusals --- */

static void no_tokens(struct gguf_build *b)
{
    gguf_build_strs(b, KEY "tokens", NULL, 0);
}

static void tokens_are_numbers(struct gguf_build *b)
{
    gguf_build_i32s(b, KEY "tokens", bpe_types, ARRAY_LEN(bpe_types));
}

static void empty_token(struct gguf_build *b)
{
    const char *tokens[ARRAY_LEN(bpe_tokens)];
    memcpy(tokens, bpe_tokens, sizeof(tokens));
    tokens[5] = "";
    gguf_build_strs(b, KEY "tokens", tokens, ARRAY_LEN(tokens));
}

static void same_token_twice(struct gguf_build *b)
{
    const char *tokens[ARRAY_LEN(bpe_tokens)];
    memcpy(tokens, bpe_tokens, sizeof(tokens));
    tokens[5] = "ab";
    gguf_build_strs(b, KEY "tokens", tokens, ARRAY_LEN(tokens));
}

static void huge_token(struct gguf_build *b)
{
    CLEANUP_FREE char *huge = xcalloc(1, 10000);
    memset(huge, 'x', 9999);
    const char *tokens[ARRAY_LEN(bpe_tokens)];
    memcpy(tokens, bpe_tokens, sizeof(tokens));
    tokens[5] = huge;
    gguf_build_strs(b, KEY "tokens", tokens, ARRAY_LEN(tokens));
}

static void few_types(struct gguf_build *b)
{
    gguf_build_i32s(b, KEY "token_type", bpe_types, ARRAY_LEN(bpe_types) - 1);
}

static void many_types(struct gguf_build *b)
{
    int32_t types[ARRAY_LEN(bpe_types) + 1] = {0};
    gguf_build_i32s(b, KEY "token_type", types, ARRAY_LEN(types));
}

static void unknown_type(struct gguf_build *b)
{
    int32_t types[ARRAY_LEN(bpe_types)];
    memcpy(types, bpe_types, sizeof(types));
    types[3] = 7;
    gguf_build_i32s(b, KEY "token_type", types, ARRAY_LEN(types));
}

static void negative_type(struct gguf_build *b)
{
    int32_t types[ARRAY_LEN(bpe_types)];
    memcpy(types, bpe_types, sizeof(types));
    types[3] = -1;
    gguf_build_i32s(b, KEY "token_type", types, ARRAY_LEN(types));
}

static void types_are_texts(struct gguf_build *b)
{
    gguf_build_strs(b, KEY "token_type", bpe_tokens, ARRAY_LEN(bpe_tokens));
}

static void byte_token_without_digits(struct gguf_build *b)
{
    const char *tokens[ARRAY_LEN(spm_tokens)];
    memcpy(tokens, spm_tokens, sizeof(tokens));
    tokens[3] = "<0xG1>";
    gguf_build_strs(b, KEY "tokens", tokens, ARRAY_LEN(tokens));
}

static void short_byte_token(struct gguf_build *b)
{
    const char *tokens[ARRAY_LEN(spm_tokens)];
    memcpy(tokens, spm_tokens, sizeof(tokens));
    tokens[3] = "<0x";
    gguf_build_strs(b, KEY "tokens", tokens, ARRAY_LEN(tokens));
}

static void few_scores(struct gguf_build *b)
{
    gguf_build_f32s(b, KEY "scores", spm_scores, 3);
}

static void score_is_nan(struct gguf_build *b)
{
    float scores[ARRAY_LEN(spm_scores)];
    memcpy(scores, spm_scores, sizeof(scores));
    scores[6] = NAN;
    gguf_build_f32s(b, KEY "scores", scores, ARRAY_LEN(scores));
}

static void merge_without_space(struct gguf_build *b)
{
    static const char *const merges[] = {"a b", "abc"};
    gguf_build_strs(b, KEY "merges", merges, 2);
}

static void merge_with_nothing(struct gguf_build *b)
{
    static const char *const merges[] = {"a "};
    gguf_build_strs(b, KEY "merges", merges, 1);
}

static void empty_merge(struct gguf_build *b)
{
    static const char *const merges[] = {""};
    gguf_build_strs(b, KEY "merges", merges, 1);
}

static void bos_out_of_range(struct gguf_build *b)
{
    gguf_build_u32(b, KEY "bos_token_id", ARRAY_LEN(bpe_tokens));
}

static void eos_out_of_range(struct gguf_build *b)
{
    gguf_build_u32(b, KEY "eos_token_id", UINT32_MAX);
}

static void eot_out_of_range(struct gguf_build *b)
{
    gguf_build_u32(b, KEY "eot_token_id", 1u << 31);
}

static void eos_is_a_text(struct gguf_build *b)
{
    gguf_build_str(b, KEY "eos_token_id", "</s>");
}

static void add_bos_is_a_number(struct gguf_build *b)
{
    gguf_build_u32(b, KEY "add_bos_token", 1);
}

static void add_bos(struct gguf_build *b)
{
    gguf_build_bool(b, KEY "add_bos_token", true);
}

static void unknown_pre(struct gguf_build *b)
{
    gguf_build_str(b, KEY "pre", "deepseek-llm");
}

static void unknown_model(struct gguf_build *b)
{
    gguf_build_str(b, KEY "model", "bert");
}

static const struct refusal {
    build_fn *base;
    const char *without;
    build_fn *change;
    int code;
    const char *says;
} refusals[] = {
    {build_bpe, KEY "model", NULL, EBADMSG, "no tokenizer"},
    {build_bpe, KEY "model", unknown_model, ENOEXEC, "\"bert\""},
    {build_bpe, KEY "pre", unknown_pre, ENOEXEC, "\"deepseek-llm\""},
    {build_bpe, KEY "tokens", NULL, EBADMSG, "tokens is missing"},
    {build_bpe, KEY "tokens", no_tokens, EBADMSG, "0 elements"},
    {build_bpe, KEY "tokens", tokens_are_numbers, EBADMSG, "not an array of strings"},
    {build_bpe, KEY "tokens", empty_token, EBADMSG, "token 5"},
    {build_bpe, KEY "tokens", same_token_twice, EBADMSG, "tokens 5 and 6"},
    {build_bpe, KEY "tokens", huge_token, EBADMSG, "9999 bytes"},
    {build_bpe, KEY "token_type", few_types, EBADMSG, "12 elements for 13"},
    {build_bpe, KEY "token_type", many_types, EBADMSG, "14 elements for 13"},
    {build_bpe, KEY "token_type", unknown_type, EBADMSG, "token 3"},
    {build_bpe, KEY "token_type", negative_type, EBADMSG, "token 3"},
    {build_bpe, KEY "token_type", types_are_texts, EBADMSG, "integers"},
    {build_bpe, KEY "merges", NULL, EBADMSG, "merges is missing"},
    {build_bpe, KEY "merges", merge_without_space, EBADMSG, "element 1"},
    {build_bpe, KEY "merges", merge_with_nothing, EBADMSG, "element 0"},
    {build_bpe, KEY "merges", empty_merge, EBADMSG, "element 0"},
    {build_bpe, KEY "bos_token_id", bos_out_of_range, EBADMSG, "bos_token_id"},
    {build_bpe, KEY "bos_token_id", add_bos, EBADMSG, "BOS"},
    {build_bpe, KEY "eos_token_id", eos_out_of_range, EBADMSG, "eos_token_id"},
    {build_bpe, KEY "eos_token_id", eos_is_a_text, EBADMSG, "eos_token_id"},
    {build_bpe, NULL, eot_out_of_range, EBADMSG, "eot_token_id"},
    {build_bpe, NULL, add_bos_is_a_number, EBADMSG, "add_bos_token"},
    {build_spm, KEY "tokens", byte_token_without_digits, EBADMSG, "token 3"},
    {build_spm, KEY "tokens", short_byte_token, EBADMSG, "token 3"},
    {build_spm, KEY "scores", NULL, EBADMSG, "scores is missing"},
    {build_spm, KEY "scores", few_scores, EBADMSG, "3 elements for 14"},
    {build_spm, KEY "scores", score_is_nan, EBADMSG, "token 6"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct err e = {0};
        CLEANUP(tokenizer) struct tokenizer *t = make(r->base, r->without, r->change, &e);
        if (t || e.code != r->code || !strstr(e.text, r->says))
            print_error("refusal %zu: %d, %s\n", i, e.code, e.text);
        assert_null(t);
        assert_int_equal(e.code, r->code);
        assert_non_null(strstr(e.text, r->says));
    }
}

/* Merges of texts that are no tokens are left out; the others do their work. */
static void strange_merges(struct gguf_build *b)
{
    static const char *const merges[] = {"x y", "a c", "a b", "</ s>", "ab c"};
    gguf_build_strs(b, KEY "merges", merges, ARRAY_LEN(merges));
}

static void test_strange_merges(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(build_bpe, KEY "merges", strange_merges, &e);
    assert_non_null(t);
    assert_tokens(t, "abcac", false, false, IDS(7, 2, 4));
}

/* Infinite scores are numbers: they merge first and last. */
static void infinite_scores(struct gguf_build *b)
{
    float scores[ARRAY_LEN(spm_scores)];
    memcpy(scores, spm_scores, sizeof(scores));
    scores[9] = INFINITY;
    scores[8] = -INFINITY;
    gguf_build_f32s(b, KEY "scores", scores, ARRAY_LEN(scores));
}

static void test_infinite_scores(void **state)
{
    (void)state;
    struct err e = {0};
    CLEANUP(tokenizer) struct tokenizer *t = make(build_spm, KEY "scores", infinite_scores, &e);
    assert_non_null(t);
    assert_tokens(t, "ab", false, false, IDS(10)); /* ab first, then ▁ab */
    assert_tokens(t, "a", false, false, IDS(8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe_rules),       cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_spm_rules),       cmocka_unit_test(test_overlapping_special),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_strange_merges),
        cmocka_unit_test(test_infinite_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
