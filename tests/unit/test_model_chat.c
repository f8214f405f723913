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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
    };
    return cmocka_run_group_tests(tests, load_goldens, free_goldens);
}
