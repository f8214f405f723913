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

#include <cmocka.h>
#include <jansson.h>

#include "model/tokenizer.h"
#include "tests/lib/real_model.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_smollm2),
        cmocka_unit_test(test_reference_gemma3),
    };
    return cmocka_run_group_tests(tests, load_both, free_both);
}
