/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as they are given out: whole characters, nothing of a stop sequence, ids that are the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/answer.h"
#include "model/vfile.h"
#include "tests/lib/tiny_model.h"

static struct tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_llama(GGUF_Q8_0);
    CLEANUP_FD int fd = tiny_model_fd(&tm);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, NULL);
    CLEANUP(gguf) struct gguf *g = gguf_read(f, NULL);
    tokenizer = tokenizer_new(g, NULL);
    return tokenizer ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

/* Every byte is a token here, and some words are. */
static struct tokens encode(const char *text)
{
    struct tokens t = {0};
    struct tokenizer_span s = {.text = text, .len = strlen(text)};
    assert_int_equal(tokenizer_encode(tokenizer, &s, 1, false, &t, NULL, NULL), 0);
    return t;
}

struct shown {
    struct buf text;
    struct tokens ids;
    size_t lines; /* of logprobs */
    bool stopped;
};

static void take(struct answer *a, struct shown *s)
{
    assert_true(utf8_valid(buf_str(&a->text), a->text.len));
    buf_add(&s->text, a->text.data, a->text.len);
    for (size_t i = 0; i < a->ids.n; i++)
        tokens_add(&s->ids, a->ids.ids[i]);
    for (size_t i = 0; i < a->logprobs.len; i++)
        s->lines += a->logprobs.data[i] == '\n';
    /* what was shown so far is what the ids say */
    CLEANUP_BUF struct buf again = {0};
    for (size_t i = 0; i < s->ids.n; i++)
        tokenizer_piece(tokenizer, s->ids.ids[i], false, i == 0, &again);
    assert_string_equal(buf_str(&again), buf_str(&s->text));
    answer_clear(a);
}

static struct shown show(const char *text, const char *const *stops, size_t n_stops)
{
    struct proto_str s[8];
    struct answer a;
    struct shown shown = {0};
    for (size_t i = 0; i < n_stops; i++)
        s[i] = (struct proto_str){stops[i], strlen(stops[i])};
    struct tokens t = encode(text);
    assert_int_equal(answer_init(&a, tokenizer, s, n_stops, NULL), 0);
    for (size_t i = 0; i < t.n && !shown.stopped; i++) {
        shown.stopped = answer_push(&a, t.ids[i], xstrdup("{}"));
        take(&a, &shown);
    }
    if (!shown.stopped) {
        answer_end(&a);
        take(&a, &shown);
    }
    assert_int_equal(shown.lines, shown.ids.n);
    answer_free(&a);
    tokens_free(&t);
    return shown;
}

static void check(const char *text, const char *stop, const char *want)
{
    const char *const stops[] = {"never, never", stop, ""};
    struct shown s = show(text, stops, 3);
    assert_string_equal(buf_str(&s.text), want);
    assert_int_equal(s.stopped, strlen(want) < strlen(text));
    buf_free(&s.text);
    tokens_free(&s.ids);
}

static void test_all_of_it(void **state)
{
    (void)state;
    check("the other inner hour", "x", "the other inner hour");
    check("häßlich 日本語 🙂🙂 the end", "x", "häßlich 日本語 🙂🙂 the end");
    check("", "x", "");
}

static void test_stops(void **state)
{
    (void)state;
    check("one two three", "two", "one ");
    check("one two three", "one", "");
    check("one two three", "e", "on"); /* in the middle of a token, perhaps */
    check("the other inner hour", "he other", "t");
    check("the other inner hour", "nner", "the other i");
    check("aaab aab ab", "aab", "a"); /* begins twice before it comes */
    check("日本語 日本 語", " 日本", "日本語");
    check("🙂🙃🙂", "🙃", "🙂");
    check("almost never, neve", "x",
          "almost never, neve"); /* begun and not finished: shown at the end */
}

static void test_the_first_of_several(void **state)
{
    (void)state;
    const char *const stops[] = {"hour", "inner hour", "r in"};
    struct shown s = show("the other inner hour", stops, 3);
    assert_string_equal(buf_str(&s.text), "the othe");
    buf_free(&s.text);
    tokens_free(&s.ids);
}

/* Cut inside a character by max_tokens: what is left of it becomes U+FFFD. */
static void test_unfinished_character(void **state)
{
    (void)state;
    struct answer a;
    struct tokens t = encode("é日");
    assert_int_equal(t.n, 5); /* bytes */
    assert_int_equal(answer_init(&a, tokenizer, NULL, 0, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_false(answer_push(&a, t.ids[i], NULL));
        assert_int_equal(a.text.len, i < 1 ? 0 : 2);
        assert_int_equal(a.ids.n, i < 1 ? 0 : 2);
    }
    answer_end(&a);
    assert_string_equal(buf_str(&a.text), "é\xef\xbf\xbd");
    assert_int_equal(a.ids.n, 4);
    answer_free(&a);
    tokens_free(&t);
}

static void test_bad_stops(void **state)
{
    (void)state;
    struct answer a;
    struct err e = {0};
    char *huge = xcalloc(1, ANSWER_STOP_BYTES_MAX + 1);
    const struct proto_str half = {"\xe6\x97", 2};
    const struct proto_str large = {huge, ANSWER_STOP_BYTES_MAX + 1};
    assert_int_equal(answer_init(&a, tokenizer, &half, 1, &e), -1);
    assert_int_equal(e.code, EINVAL);
    answer_free(&a);
    assert_int_equal(answer_init(&a, tokenizer, &large, 1, &e), -1);
    assert_int_equal(e.code, EINVAL);
    answer_free(&a);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_the_first_of_several),
        cmocka_unit_test(test_unfinished_character),
        cmocka_unit_test(test_bad_stops),
    };
    return cmocka_run_group_tests_name("engine answer", tests, set_up, tear_down);
}
