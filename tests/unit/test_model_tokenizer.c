/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizers of the two real models: the tokens that llama.cpp gives
 * (tests/data/tokens-*.jsonl), control tokens that no user can spell, time, and streams of text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>

#include "base/utf8.h"
#include "model/tokenizer.h"
#include "tests/lib/real_model.h"

#define LONG_TEXT ((size_t)1 << 20)
#define LONG_TIME 10.0 /* seconds of CPU for it: far above what it takes, also with sanitizers */

static struct tokenizer *smollm2;
static struct tokenizer *gemma3;

static struct tokenizer *load(const char *name)
{
    struct err e = {0};
    CLEANUP_FD int fd = real_model_open(name);
    assert_true(fd >= 0);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, &e);
    assert_non_null(f);
    CLEANUP(gguf) struct gguf *g = gguf_read(f, &e);
    assert_non_null(g);
    struct tokenizer *t = tokenizer_new(g, &e);
    if (!t)
        print_error("%s: %s\n", name, e.text);
    assert_non_null(t);
    return t;
}

static int load_both(void **state)
{
    (void)state;
    smollm2 = load(REAL_MODEL_SMOLLM2);
    gemma3 = load(REAL_MODEL_GEMMA3);
    return 0;
}

static int free_both(void **state)
{
    (void)state;
    tokenizer_free(smollm2);
    tokenizer_free(gemma3);
    return 0;
}

static struct tokens encode(const struct tokenizer *t, const char *text, size_t len, bool special,
                            bool add_special)
{
    struct err e = {0};
    struct tokens out = {0};
    struct tokenizer_span span = {text, len, special};
    if (tokenizer_encode(t, &span, 1, add_special, &out, NULL, &e) < 0)
        fail_msg("%s", e.text);
    return out;
}

static struct buf text_of(const struct tokenizer *t, const struct tokens *tokens)
{
    struct buf b = {0};
    for (size_t i = 0; i < tokens->n; i++)
        tokenizer_piece(t, tokens->ids[i], true, false, &b);
    return b;
}

/* --- the reference --- */

static bool same_tokens(const struct tokens *got, json_t *expected)
{
    if (got->n != json_array_size(expected))
        return false;
    for (size_t i = 0; i < got->n; i++) {
        if (got->ids[i] != json_integer_value(json_array_get(expected, i)))
            return false;
    }
    return true;
}

static bool check_line(const struct tokenizer *t, json_t *line)
{
    json_t *text = json_object_get(line, "text");
    json_t *back = json_object_get(line, "text_back");
    assert_true(json_is_string(text) && json_is_string(back));
    CLEANUP_TOKENS struct tokens got = encode(t, json_string_value(text), json_string_length(text),
                                              json_is_true(json_object_get(line, "parse_special")),
                                              json_is_true(json_object_get(line, "add_special")));
    CLEANUP_BUF struct buf pieces = text_of(t, &got);
    bool tokens_ok = same_tokens(&got, json_object_get(line, "tokens"));
    bool text_ok = pieces.len == json_string_length(back) &&
                   memcmp(buf_str(&pieces), json_string_value(back), pieces.len) == 0;
    if (!tokens_ok || !text_ok) {
        print_error("%s differ: %s\n  got:", tokens_ok ? "texts" : "tokens",
                    json_string_value(text));
        for (size_t i = 0; i < got.n; i++)
            print_error(" %d", got.ids[i]);
        print_error("\n  as text: %s\n", buf_str(&pieces));
    }
    return tokens_ok && text_ok;
}

static void check_reference(const struct tokenizer *t, const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = 0;
    size_t wrong = 0;
    json_error_t je;
    json_t *line;
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &je))) {
        wrong += !check_line(t, line);
        n++;
        json_decref(line);
    }
    assert_true(feof(f));
    fclose(f);
    assert_int_equal(n, 68);
    assert_int_equal(wrong, 0);
}

static void test_reference_smollm2(void **state)
{
    (void)state;
    check_reference(smollm2, "tests/data/tokens-smollm2.jsonl");
}

static void test_reference_gemma3(void **state)
{
    (void)state;
    check_reference(gemma3, "tests/data/tokens-gemma3.jsonl");
}

/* --- control tokens --- */

static bool has_token(const struct tokens *t, int32_t id)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->ids[i] == id)
            return true;
    }
    return false;
}

/* Text of a user never becomes a control token, the template's does. */
static void check_control(const struct tokenizer *t, const char *text, int32_t id)
{
    size_t n = strlen(text);
    CLEANUP_TOKENS struct tokens user = encode(t, text, n, false, false);
    CLEANUP_TOKENS struct tokens ours = encode(t, text, n, true, false);
    assert_false(has_token(&user, id));
    assert_int_equal(ours.n, 1);
    assert_int_equal(ours.ids[0], id);
    CLEANUP_BUF struct buf back = text_of(t, &user);
    assert_string_equal(buf_str(&back), text);
}

static void test_control_tokens(void **state)
{
    (void)state;
    check_control(smollm2, "<|endoftext|>", 0);
    check_control(smollm2, "<|im_start|>", 1);
    check_control(smollm2, "<|im_end|>", 2);
    check_control(smollm2, "<reponame>", 4);
    check_control(gemma3, "<eos>", 1);
    check_control(gemma3, "<bos>", 2);
    check_control(gemma3, "<start_of_turn>", 105);
    check_control(gemma3, "<end_of_turn>", 106);
    check_control(gemma3, "</s>", 212);
}

/* A control token lies wholly in the template's text: a user who writes a part of it makes none. */
static void test_control_across_spans(void **state)
{
    (void)state;
    static const char text[] = "<|im_start|>user\n<|im_start|>x<|im_end|>\n";
    for (size_t from = 13; from < 28; from++) {
        for (size_t to = from + 1; to <= 40; to++) {
            struct tokenizer_span spans[] = {{text, from, true},
                                             {text + from, to - from, false},
                                             {text + to, sizeof(text) - 1 - to, true}};
            CLEANUP_TOKENS struct tokens t = {0};
            size_t starts = 0;
            struct err e = {0};
            assert_int_equal(tokenizer_encode(smollm2, spans, 3, false, &t, NULL, &e), 0);
            for (size_t i = 0; i < t.n; i++)
                starts += t.ids[i] == 1;
            bool second_is_whole = from >= 29 || to <= 17;
            assert_int_equal(starts, second_is_whole ? 2 : 1);
            assert_int_equal(has_token(&t, 2), to <= 30);
        }
    }
}

static void test_spans_are_one_text(void **state)
{
    (void)state;
    static const char text[] = "Hello, world! How  are you?\n\nFine.";
    CLEANUP_TOKENS struct tokens whole = encode(gemma3, text, sizeof(text) - 1, false, false);
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        struct tokenizer_span spans[] = {{text, cut, true},
                                         {text + cut, sizeof(text) - 1 - cut, false}};
        CLEANUP_TOKENS struct tokens t = {0};
        assert_int_equal(tokenizer_encode(gemma3, spans, 2, false, &t, NULL, NULL), 0);
        assert_int_equal(t.n, whole.n);
        assert_memory_equal(t.ids, whole.ids, whole.n * sizeof(*t.ids));
    }
}

/* Every string of control tokens' texts and of their halves, as a user would try. */
static void test_no_spelling_of_control(void **state)
{
    (void)state;
    const struct tokenizer *both[] = {smollm2, gemma3};
    for (size_t k = 0; k < 2; k++) {
        CLEANUP_BUF struct buf b = {0};
        for (uint32_t id = 0; id < tokenizer_n_vocab(both[k]); id++) {
            CLEANUP_BUF struct buf hidden = {0};
            size_t len;
            tokenizer_piece(both[k], (int32_t)id, false, false, &hidden);
            const char *text = tokenizer_text(both[k], (int32_t)id, &len);
            if (hidden.len == 0)
                buf_add(&b, text, len);
        }
        CLEANUP_TOKENS struct tokens t = encode(both[k], b.data, b.len, false, false);
        CLEANUP_BUF struct buf shown = {0};
        for (size_t i = 0; i < t.n; i++)
            tokenizer_piece(both[k], t.ids[i], false, false, &shown);
        assert_true(b.len > 100);
        assert_int_equal(shown.len, b.len); /* a control token would show nothing */
        assert_memory_equal(shown.data, b.data, b.len);
    }
}

static void test_bos(void **state)
{
    (void)state;
    struct tokenizer_span brings[] = {{"<bos><start_of_turn>", 20, true}};
    struct tokenizer_span user[] = {{"<bos>x", 6, false}};
    assert_true(tokenizer_brings_bos(gemma3, brings, 1));
    assert_false(tokenizer_brings_bos(gemma3, user, 1));
    assert_false(tokenizer_brings_bos(gemma3, NULL, 0));
    CLEANUP_TOKENS struct tokens none = encode(smollm2, "", 0, true, true);
    assert_int_equal(none.n, 0); /* the file says that no BOS is added */
    CLEANUP_TOKENS struct tokens one = encode(gemma3, "", 0, true, true);
    assert_int_equal(one.n, 1);
    assert_int_equal(one.ids[0], tokenizer_bos(gemma3));
}

static void test_ends(void **state)
{
    (void)state;
    const struct tokenizer *both[] = {smollm2, gemma3};
    static const int32_t ends[2][3] = {{0, 2, 4}, {1, 106, 212}};
    for (size_t k = 0; k < 2; k++) {
        size_t found = 0;
        for (int32_t id = -2; id < (int32_t)tokenizer_n_vocab(both[k]) + 2; id++) {
            if (!tokenizer_is_end(both[k], id))
                continue;
            assert_true(found < 3);
            assert_int_equal(id, ends[k][found++]);
        }
        assert_int_equal(found, 3);
    }
}

/* --- time --- */

static double cpu_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint32_t random_number(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* The texts that a slow tokenizer needs minutes for. Names end with 0 bytes, so that each is repeated to a whole MiB. */
static void test_long_texts(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a",           " ", "\n", "1", "!", "<", " a", "\t \n", "世", "'s", "<start_of_turn>",
        "ab cd, ef.\n"};
    CLEANUP_FREE char *text = xmalloc(LONG_TEXT);
    for (size_t u = 0; u <= ARRAY_LEN(units); u++) {
        uint64_t seed = u;
        size_t unit = u < ARRAY_LEN(units) ? strlen(units[u]) : 0;
        for (size_t i = 0; i < LONG_TEXT; i++)
            text[i] = unit ? units[u][i % unit] : (char)('a' + random_number(&seed) % 26);
        const struct tokenizer *both[] = {smollm2, gemma3};
        for (size_t k = 0; k < 2; k++) {
            double start = cpu_seconds();
            CLEANUP_TOKENS struct tokens t = encode(both[k], text, LONG_TEXT, true, true);
            double seconds = cpu_seconds() - start;
            assert_true(t.n > 1000);
            if (seconds > LONG_TIME)
                print_error("\"%s\" takes %.1f s\n", unit ? units[u] : "random letters", seconds);
            assert_true(seconds < LONG_TIME);
        }
    }
}

/* --- there and back --- */

static void random_text(uint64_t *seed, struct buf *b)
{
    static const uint32_t ends[] = {0x7F, 0x7F, 0x24F, 0x2FFF, 0xD7FF, 0x1FFFF, 0x10FFFF};
    size_t n = random_number(seed) % 60;
    buf_clear(b);
    for (size_t i = 0; i < n; i++) {
        char c[4];
        uint32_t cp = random_number(seed) % ends[random_number(seed) % ARRAY_LEN(ends)] + 1;
        if (cp == 0x2581) /* SentencePiece's space */
            continue;
        buf_add(b, c, utf8_encode(cp, c));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    uint64_t seed = 1;
    CLEANUP_BUF struct buf text = {0};
    const struct tokenizer *both[] = {smollm2, gemma3};
    for (size_t i = 0; i < 4000; i++) {
        random_text(&seed, &text);
        const struct tokenizer *t = both[i % 2];
        struct tokenizer_span span = {buf_str(&text), text.len, false};
        CLEANUP_TOKENS struct tokens tokens = {0};
        size_t dropped = 0;
        assert_int_equal(tokenizer_encode(t, &span, 1, false, &tokens, &dropped, NULL), 0);
        CLEANUP_BUF struct buf back = text_of(t, &tokens);
        assert_int_equal(back.len + dropped, text.len);
        assert_true(t == smollm2 || dropped == 0);
        if (dropped == 0)
            assert_string_equal(buf_str(&back), buf_str(&text));
    }
}

/* What is not UTF-8: U+FFFD for a byte-level BPE, itself for SentencePiece. */
static void test_not_utf8(void **state)
{
    (void)state;
    static const char text[] = "a\xFF\xC3 \xED\xA0\x80z\xF0\x9F";
    CLEANUP_TOKENS struct tokens a = encode(gemma3, text, sizeof(text) - 1, false, false);
    CLEANUP_BUF struct buf back = text_of(gemma3, &a);
    assert_string_equal(buf_str(&back), text);
    CLEANUP_TOKENS struct tokens b = encode(smollm2, text, sizeof(text) - 1, false, false);
    CLEANUP_TOKENS struct tokens c = encode(smollm2, "a�� ���z��", 24, false, false);
    assert_int_equal(b.n, c.n);
    assert_memory_equal(b.ids, c.ids, b.n * sizeof(*b.ids));
}

/* A stream gives whole sequences only, and in all the text. */
static void test_stream(void **state)
{
    (void)state;
    static const char text[] = "Grüße 世界 👨‍👩‍👧‍👦 𝔘𝔫𝔦 \n ok";
    const struct tokenizer *both[] = {smollm2, gemma3};
    for (size_t k = 0; k < 2; k++) {
        CLEANUP_TOKENS struct tokens t = encode(both[k], text, sizeof(text) - 1, false, false);
        struct detokenizer d = {0};
        CLEANUP_BUF struct buf out = {0};
        size_t waited = 0;
        for (size_t i = 0; i < t.n; i++) {
            size_t before = out.len;
            detokenizer_push(&d, both[k], t.ids[i], &out);
            waited += out.len == before;
            assert_true(utf8_valid(buf_str(&out), out.len));
        }
        detokenizer_end(&d, &out);
        assert_string_equal(buf_str(&out), text);
        assert_true(waited > 0);
        detokenizer_free(&d);
    }
}

static int32_t byte_token(const struct tokenizer *t, unsigned char byte)
{
    for (uint32_t id = 0; id < tokenizer_n_vocab(t); id++) {
        CLEANUP_BUF struct buf b = {0};
        tokenizer_piece(t, (int32_t)id, false, false, &b);
        if (b.len == 1 && (unsigned char)b.data[0] == byte)
            return (int32_t)id;
    }
    fail_msg("no token for byte %02x", byte);
    return -1;
}

static void test_stream_of_broken_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *text;
    } cases[] = {
        {"\xF0\x9F\x91\x8D", "👍"},
        {"\xF0\x9F\x91"
         "a",
         "�a"},
        {"\xC3\xC3\xA9", "�é"},
        {"\x80"
         "b\xE4\xB8",
         "�b�"},
        {"\xED\xA0\x80", "���"},
        {"\xF5\xFF", "��"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct detokenizer d = {0};
        CLEANUP_BUF struct buf out = {0};
        for (const char *c = cases[i].bytes; *c; c++)
            detokenizer_push(&d, gemma3, byte_token(gemma3, (unsigned char)*c), &out);
        detokenizer_end(&d, &out);
        assert_string_equal(buf_str(&out), cases[i].text);
        detokenizer_free(&d);
    }
}

static void test_ids_out_of_range(void **state)
{
    (void)state;
    CLEANUP_BUF struct buf b = {0};
    size_t len;
    static const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, 262144, 262145};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        tokenizer_piece(gemma3, ids[i], true, true, &b);
        assert_int_equal(b.len, 0);
        assert_false(tokenizer_is_end(gemma3, ids[i]));
        assert_null(tokenizer_text(gemma3, ids[i], &len));
    }
}

/* --- threads: a tokenizer is shared by as many as like --- */

static void *encode_often(void *arg)
{
    const struct tokenizer *t = arg;
    static const char text[] =
        "<|im_start|>The quick  brown fox, 1234 of them <start_of_turn>世界\n\n";
    struct tokenizer_span span = {text, sizeof(text) - 1, true};
    struct tokens first = {0};
    for (int i = 0; i < 50; i++) {
        CLEANUP_TOKENS struct tokens out = {0};
        if (tokenizer_encode(t, &span, 1, true, i ? &out : &first, NULL, NULL) < 0)
            return NULL;
        if (i > 0 &&
            (out.n != first.n || memcmp(out.ids, first.ids, out.n * sizeof(*out.ids)) != 0))
            return NULL;
    }
    bool many = first.n > 10;
    tokens_free(&first);
    return many ? arg : NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct tokenizer *of[4] = {smollm2, gemma3, smollm2, gemma3};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, of[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, of[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_smollm2),
        cmocka_unit_test(test_reference_gemma3),
        cmocka_unit_test(test_control_tokens),
        cmocka_unit_test(test_control_across_spans),
        cmocka_unit_test(test_spans_are_one_text),
        cmocka_unit_test(test_no_spelling_of_control),
        cmocka_unit_test(test_bos),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_of_broken_bytes),
        cmocka_unit_test(test_ids_out_of_range),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, load_both, free_both);
}
