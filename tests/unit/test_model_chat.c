/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chat templates: what Jinja itself makes of them (tests/data/chat-goldens.jsonl, by
 * make_chat_goldens.py), which bytes come from which message, what is refused, and limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <time.h>

#include "base/buf.h"
#include "model/chat.h"
#include "model/gguf.h"
#include "tests/lib/real_model.h"

/* --- the goldens --- */

#define CASES_MAX 512

static json_t *lines[CASES_MAX];
static size_t n_lines;

static int load_goldens(void **state)
{
    (void)state;
    json_error_t je;
    FILE *f = fopen("tests/data/chat-goldens.jsonl", "r");
    assert_non_null(f);
    json_t *line;
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, &je))) {
        assert_true(n_lines < CASES_MAX);
        lines[n_lines++] = line;
    }
    assert_true(feof(f));
    fclose(f);
    return 0;
}

static int free_goldens(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_lines; i++)
        json_decref(lines[i]);
    return 0;
}

static struct chat_template *smollm2_template(void)
{
    struct err e = {0};
    CLEANUP_FD int fd = real_model_open(REAL_MODEL_SMOLLM2);
    assert_true(fd >= 0);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, &e);
    CLEANUP(gguf) struct gguf *g = f ? gguf_read(f, &e) : NULL;
    assert_non_null(g);
    struct gguf_str text;
    assert_true(gguf_get_str(g, "tokenizer.chat_template", &text));
    struct chat_template *t = chat_parse(text.data, text.len, &e);
    assert_non_null(t);
    return t;
}

static struct chat_template *template_of(const char *name)
{
    for (size_t i = 0; i < n_lines; i++) {
        json_t *text = json_object_get(lines[i], "template");
        struct err e = {0};
        if (!text || strcmp(json_string_value(json_object_get(lines[i], "name")), name) != 0)
            continue;
        if (json_is_null(text))
            return smollm2_template();
        struct chat_template *t = chat_parse(json_string_value(text), json_string_length(text), &e);
        if (!t)
            print_error("%s: %s\n%s\n", name, e.text, json_string_value(text));
        return t;
    }
    return NULL;
}

static bool check_case(json_t *line)
{
    const char *name = json_string_value(json_object_get(line, "name"));
    json_t *list = json_object_get(line, "messages");
    json_t *expected = json_object_get(line, "expected");
    struct chat_message messages[16];
    size_t n = json_array_size(list);
    struct chat_prompt p = {0};
    struct err e = {0};
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++) {
        json_t *content = json_object_get(json_array_get(list, i), "content");
        messages[i] = (struct chat_message){
            json_string_value(json_object_get(json_array_get(list, i), "role")),
            json_string_value(content), json_string_length(content)};
    }
    CLEANUP(chat) struct chat_template *t = template_of(name);
    if (!t)
        return false;
    bool prompt = json_is_true(json_object_get(line, "add_generation_prompt"));
    int r = chat_render(t, messages, n, prompt, "<bos>", "<eos>", &p, &e);
    bool ok = json_is_null(expected) ? r < 0 && e.code == EINVAL
                                     : r == 0 && p.len == json_string_length(expected) &&
                                           memcmp(p.text, json_string_value(expected), p.len) == 0;
    if (!ok)
        print_error("%s: expected\n%s\n  got\n%.*s%s\n", name,
                    json_is_null(expected) ? "an error" : json_string_value(expected), (int)p.len,
                    p.text ? p.text : "", e.text);
    chat_prompt_free(&p);
    return ok;
}

static void test_goldens(void **state)
{
    (void)state;
    size_t n = 0;
    size_t wrong = 0;
    for (size_t i = 0; i < n_lines; i++) {
        if (!json_object_get(lines[i], "messages"))
            continue;
        n++;
        wrong += !check_case(lines[i]);
    }
    assert_true(n > 150);
    assert_int_equal(wrong, 0);
}

/* --- whose bytes are whose --- */

static struct chat_prompt render(const char *template, const struct chat_message *messages,
                                 size_t n)
{
    struct err e = {0};
    struct chat_prompt p = {0};
    CLEANUP(chat) struct chat_template *t = chat_parse(template, strlen(template), &e);
    if (!t || chat_render(t, messages, n, true, "<s>", "</s>", &p, &e) < 0)
        fail_msg("%s: %s", template, e.text);
    size_t at = 0;
    for (size_t i = 0; i < p.n_spans; i++) { /* without gaps, in order, none empty */
        assert_int_equal(p.spans[i].start, at);
        assert_true(p.spans[i].len > 0);
        at += p.spans[i].len;
    }
    assert_int_equal(at, p.len);
    return p;
}

/* The rendered text with each run as [message:text], the template's own as it is. */
static void assert_runs(const char *template, const char *expected)
{
    static const struct chat_message messages[] = {{"user", " <|im_end|>,b\n", 14},
                                                   {"<bad>", "C", 1}};
    struct chat_prompt p = render(template, messages, 2);
    CLEANUP_BUF struct buf b = {0};
    for (size_t i = 0; i < p.n_spans; i++) {
        const struct chat_span *s = &p.spans[i];
        if (s->message < 0)
            buf_printf(&b, "%.*s", (int)s->len, p.text + s->start);
        else
            buf_printf(&b, "[%d:%.*s]", s->message, (int)s->len, p.text + s->start);
    }
    assert_string_equal(buf_str(&b), expected);
    chat_prompt_free(&p);
}

static void test_origins(void **state)
{
    (void)state;
#define C0 "messages[0].content"
    assert_runs("a{{ " C0 " }}b", "a[0: <|im_end|>,b\n]b");
    assert_runs("{{ '<' + " C0 "|trim + '>' }}", "<[0:<|im_end|>,b]>");
    assert_runs("{{ " C0 ".strip()[2:-4] ~ 'x' ~ messages[1].content }}", "[0:im_end]x[1:C]");
    assert_runs("{{ " C0 ".split(',')|join('+') }}", "[0: <|im_end|>]+[0:b\n]");
    assert_runs("{{ " C0 "|replace('im', '<X>')|trim }}", "[0:<|]<X>[0:_end|>,b]");
    assert_runs("{{ 'a.b'|replace('.', messages[1].content) }}", "a[1:C]b");
    assert_runs("{{ messages[1].content|lower * 2 }}", "[1:cc]");
    assert_runs("{{ " C0 "|tojson }}", "\"[0: <|im_end|>,b\\n]\"");
    assert_runs("{{ {'k': messages[1].content}|tojson }}", "{\"k\": \"[1:C]\"}");
    assert_runs("{{ messages|map(attribute='content')|join('|')|trim }}",
                "[0:<|im_end|>,b\n]|[1:C]");
    assert_runs("{% set x %}<{{ messages[1].content }}>{% endset %}{{ x + x }}", "<[1:C]><[1:C]>");
    assert_runs("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ "
                "m.content|trim ~ ';' %}{% endfor %}{{ ns.t }}",
                "[0:<|im_end|>,b];[1:C];");
    assert_runs("{% for c in 'x' ~ messages[1].content %}{{ c }}.{% endfor %}", "x.[1:C].");
    assert_runs("{{ (messages[1].content ~ 'yz')|list|reverse|join }}", "zy[1:C]");
    assert_runs("{{ (messages[1].content ~ 'yz')[0] ~ (messages[1].content ~ 'yz')[1:] }}",
                "[1:C]yz");
    /* A role that we know is the template's word, any other a stranger's. */
    assert_runs("{% for m in messages %}<|{{ m.role }}|>{% endfor %}", "<|user|><|[1:<bad>]|>");
    assert_runs("{{ dict(a=messages[1].content).get('a') ~ {'a': messages[1].role}['a'] }}",
                "[1:C<bad>]");
}

/* Many runs, cut at every place. */
static void test_origins_of_slices(void **state)
{
    (void)state;
    struct chat_message m = {"user", "ab", 2};
    CLEANUP_BUF struct buf t = {0};
    for (int from = 0; from <= 12; from++) {
        for (int to = from; to <= 12; to++) {
            buf_clear(&t);
            buf_printf(&t,
                       "{%% set c = messages[0].content %%}{{ ('xy' ~ c ~ 'zw' ~ c ~ 'uv' ~ "
                       "c)[%d:][:%d] }}",
                       from, to - from);
            struct chat_prompt p = render(buf_str(&t), &m, 1);
            assert_int_equal(p.len, to - from);
            for (size_t i = 0; i < p.n_spans; i++) {
                for (size_t k = p.spans[i].start; k < p.spans[i].start + p.spans[i].len; k++)
                    assert_int_equal(p.spans[i].message, (from + (int)k) % 4 < 2 ? -1 : 0);
            }
            chat_prompt_free(&p);
        }
    }
}

static void test_strftime(void **state)
{
    (void)state;
    char today[32];
    struct tm tm;
    time_t now = time(NULL);
    localtime_r(&now, &tm);
    strftime(today, sizeof(today), "%Y", &tm);
    struct chat_prompt p = render("{{ strftime_now('%Y') }}", NULL, 0);
    assert_int_equal(p.len, strlen(today));
    assert_memory_equal(p.text, today, p.len);
    chat_prompt_free(&p);
}

/* --- refusals --- */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *template;
        const char *says;
    } cases[] = {
        {"{% macro f() %}{% endmacro %}", "line 1: the tag \"macro\""},
        {"a\nb\n{% include 'x' %}", "line 3: the tag \"include\""},
        {"{% raw %}{% endraw %}", "\"raw\""},
        {"{{ x | groupby('a') }}", "the filter \"groupby\""},
        {"{{ x is sameas y }}", "the test \"sameas\""},
        {"{{ x.append(1) }}", "the method \"append\""},
        {"{{ cycler(1) }}", "the function \"cycler\""},
        {"{{ x()() }}", "the function \"x\""},
        {"{{ [f][0](1) }}", "a call"},
        {"{% for x in y recursive %}{% endfor %}", "recursive"},
        {"{{ x | tojson(sort_keys=true) }}", "\"sort_keys\""},
        {"{{ x | trim('a', 'b') }}", "more parameters"},
        {"{{ x | replace('a') }}", "needs its parameter new"},
        {"{{ x.split(',', sep=',') }}", "twice"},
        {"{{ x }", "bracket"},
        {"{{ x", "no end"},
        {"{% if x %}", "\"endif\" is missing"},
        {"{% for x in y %}", "is missing"},
        {"{% endif %}", "\"endif\""},
        {"{# x", "no end"},
        {"{{ 'x }}", "no end"},
        {"{{ '\\N{DASH}' }}", "escapes"},
        {"{{ (1 }}", "bracket"},
        {"{{ 1) }}", "bracket"},
        {"{{ a b }}", "\"}}\" is missing"},
        {"{{ 99999999999999999999 }}", "too large"},
        {"{{ a @ b }}", "no meaning"},
        {"{{ }}", "value is missing"},
        {"{% set 1 = 2 %}", "a name to assign to"},
        {"{% break %}", "outside"},
        {"{{ a[] }}", "index"},
        {"{{ a. }}", "after a point"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        struct chat_template *t = chat_parse(cases[i].template, strlen(cases[i].template), &e);
        if (t || !strstr(e.text, cases[i].says))
            print_error("%s: %s\n", cases[i].template, e.text);
        assert_null(t);
        assert_int_equal(e.code, ENOEXEC);
        assert_non_null(strstr(e.text, cases[i].says));
    }
}

/* An exception is told with its own words. */
static void test_exception(void **state)
{
    (void)state;
    struct err e = {0};
    struct chat_prompt p = {0};
    static const char text[] = "{{ raise_exception('Only ' ~ 1 ~ ' question') }}";
    CLEANUP(chat) struct chat_template *t = chat_parse(text, sizeof(text) - 1, &e);
    assert_non_null(t);
    assert_int_equal(chat_render(t, NULL, 0, true, "", "", &p, &e), -1);
    assert_int_equal(e.code, EINVAL);
    assert_non_null(strstr(e.text, "Only 1 question"));
}

/* --- limits --- */

static int run(const char *text, size_t len, struct err *e)
{
    struct chat_message m = {"user", "hello", 5};
    struct chat_prompt p = {0};
    CLEANUP(chat) struct chat_template *t = chat_parse(text, len, e);
    if (!t)
        return -1;
    int r = chat_render(t, &m, 1, true, "", "", &p, e);
    chat_prompt_free(&p);
    return r;
}

static void repeat(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_add_str(b, s);
}

static void test_depth(void **state)
{
    (void)state;
    static const char *const parts[][3] = {
        {"{{ ", "(", "1"},           {"{{ ", "[", ""},
        {"{{ ", "not ", "1 }}"},     {"{{ ", "-", "1 }}"},
        {"", "{% if 1 %}", ""},      {"{{ 1", " + 1", " }}"},
        {"{{ x", ".a", " }}"},       {"{{ x", "|trim", " }}"},
        {"{{ x", "[0]", " }}"},      {"{{ 1", " and 1", " }}"},
        {"{{ 1", " ** 1", " }}"},    {"{{ 1", " if 1 else 1", " }}"},
        {"{{ 1", " is defined", ""}, {"", "{% for a in b %}", ""},
        {"{{ x", "(1 + x", " }}"},   {"{{ ", "{'a': ", " }}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        CLEANUP_BUF struct buf b = {0};
        struct err e = {0};
        buf_add_str(&b, parts[i][0]);
        repeat(&b, parts[i][1], 10000);
        buf_add_str(&b, parts[i][2]);
        assert_int_equal(run(b.data, b.len, &e), -1);
        assert_int_equal(e.code, ENOEXEC);
    }
}

/* A long chain of elif is no depth. */
static void test_many_elifs(void **state)
{
    (void)state;
    CLEANUP_BUF struct buf b = {0};
    struct err e = {0};
    buf_add_str(&b, "{% if 0 %}");
    repeat(&b, "{% elif 0 %}", 10000);
    buf_add_str(&b, "{% endif %}");
    assert_int_equal(run(b.data, b.len, &e), 0);
}

static void test_limits(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for a in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% "
        "endfor %}",
        "{% set s = 'abcdefgh' * 1000000 %}{% for a in range(1000) %}{{ s }}{% endfor %}",
        "{% set ns = namespace(l=[1, 2]) %}{% for a in range(64) %}{% set ns.l = ns.l + ns.l %}{% "
        "endfor %}",
        "{{ 'a' * 999999999999 }}",
        "{% set s = 'a' * 5000000 %}{% for a in range(99999) %}{% if s.split('b') %}{% endif %}{% "
        "endfor %}",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        if (run(cases[i], strlen(cases[i]), &e) != -1 || e.code != ENOMEM)
            print_error("%s: %d %s\n", cases[i], e.code, e.text);
        assert_int_equal(e.code, ENOMEM);
    }
    CLEANUP_BUF struct buf b = {0};
    struct err e = {0};
    repeat(&b, "abcd", CHAT_TEMPLATE_MAX / 4);
    assert_int_equal(run(b.data, b.len, &e), 0);
    buf_add_char(&b, 'x');
    assert_int_equal(run(b.data, b.len, &e), -1);
    assert_int_equal(e.code, ENOEXEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_origins_of_slices),
        cmocka_unit_test(test_strftime),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_exception),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_elifs),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, load_goldens, free_goldens);
}
