/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of filters, tests, methods and functions. Each stands in a table; what is in none is
 * refused when a template is parsed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "model/jinja_builtin.h"

#define RANGE_MAX 100000 /* elements of range(), as Jinja's sandbox has it */

/* --- parameters --- */

int jinja_arg_text(struct jinja *j, const struct jinja_value *v, const char *what,
                   const struct jinja_str **s)
{
    if (v->kind != JINJA_STR)
        return jinja_fail(j, "%s of %s", what, jinja_kind_name(v));
    *s = v->s;
    return 0;
}

/* A text, or NULL where it was not given or is none. */
int jinja_arg_text_or_null(struct jinja *j, const struct jinja_value *v, const char *what,
                           const struct jinja_str **s)
{
    *s = NULL;
    return v->kind == JINJA_ABSENT || v->kind == JINJA_NONE ? 0 : jinja_arg_text(j, v, what, s);
}

int jinja_arg_int(struct jinja *j, const struct jinja_value *v, int64_t otherwise, int64_t *i)
{
    *i = v->kind == JINJA_INT ? v->i : otherwise;
    if (v->kind != JINJA_INT && v->kind != JINJA_ABSENT && v->kind != JINJA_NONE)
        return jinja_fail(j, "%s where a number belongs", jinja_kind_name(v));
    return 0;
}

int jinja_give_text(int r, const struct jinja_str *s, struct jinja_value *v)
{
    if (r == 0)
        *v = jinja_of_str(s);
    return r;
}

int jinja_give_list(const struct jinja_list *list, struct jinja_value *v)
{
    *v = (struct jinja_value){.kind = JINJA_LIST, .list = list};
    return 0;
}

int jinja_give_bool(bool b, struct jinja_value *v)
{
    *v = jinja_of_bool(b);
    return 0;
}

/* --- functions --- */

static int raise_exception(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *s;
    (void)v;
    if (jinja_to_str(j, &a[1], &s) < 0)
        return -1;
    size_t len = MIN(s->len, (size_t)300);
    len -= utf8_incomplete_tail(s->data, len);
    return err_set(j->e, EINVAL, "the chat template says: %.*s", (int)len, s->data);
}

static int strftime_now(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *s;
    char format[64];
    char text[256];
    struct tm tm;
    time_t now = time(NULL);
    if (jinja_arg_text(j, &a[1], "strftime_now", &s) < 0)
        return -1;
    if (s->len >= sizeof(format))
        return jinja_fail(j, "a format of time of %zu bytes", s->len);
    memcpy(format, s->data, s->len);
    format[s->len] = 0;
    localtime_r(&now, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
    "-Wformat-nonliteral" /* strftime reads no arguments that a format could name too many of */
    text[strftime(text, sizeof(text), format, &tm)] = 0;
#pragma GCC diagnostic pop
    int r = jinja_c_str(j, text, &s);
    return jinja_give_text(r, s, v);
}

static int range(struct jinja *j, args_t a, struct jinja_value *v)
{
    int64_t start;
    int64_t stop;
    int64_t step;
    struct jinja_list *numbers;
    if (jinja_arg_int(j, &a[1], 0, &start) < 0 || jinja_arg_int(j, &a[2], start, &stop) < 0 ||
        jinja_arg_int(j, &a[3], 1, &step) < 0)
        return -1;
    if (a[2].kind == JINJA_ABSENT)
        start = 0;
    if (step == 0 || llabs(start) > INT32_MAX || llabs(stop) > INT32_MAX || llabs(step) > INT32_MAX)
        return jinja_fail(j, "a range with such numbers");
    int64_t n = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    if (n > RANGE_MAX)
        return jinja_fail(j, "a range of more than %d numbers", RANGE_MAX);
    if (jinja_make_list(j, (size_t)MAX(n, (int64_t)0), &numbers) < 0)
        return -1;
    for (size_t i = 0; i < numbers->n; i++)
        numbers->items[i] = jinja_of_int(start + (int64_t)i * step);
    return jinja_give_list(numbers, v);
}

static int namespace(struct jinja *j, args_t a, struct jinja_value *v)
{
    (void)j;
    *v = a[1];
    v->dict->is_namespace = true;
    return 0;
}

static int dict(struct jinja *j, args_t a, struct jinja_value *v)
{
    (void)j;
    *v = a[1];
    return 0;
}

static const struct jinja_builtin functions[] = {
    {"raise_exception", JINJA_GLOBAL, raise_exception, .params = {"message"}, .required = 1},
    {"strftime_now", JINJA_GLOBAL, strftime_now, .params = {"format"}, .required = 1},
    {"range", JINJA_GLOBAL, range, .params = {"start", "stop", "step"}, .required = 1},
    {"namespace", JINJA_GLOBAL, namespace, .keywords = true},
    {"dict", JINJA_GLOBAL, dict, .keywords = true},
    {.name = NULL},
};

const struct jinja_builtin *jinja_find_builtin(enum jinja_role role, const char *name, size_t len)
{
    static const struct jinja_builtin *const tables[] = {jinja_text_builtins, jinja_list_builtins,
                                                         jinja_tests, functions};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        for (const struct jinja_builtin *b = tables[i]; b->name; b++) {
            if (b->role == role && strlen(b->name) == len && memcmp(b->name, name, len) == 0)
                return b;
        }
    }
    return NULL;
}

/* name=value … as a dict. */
static int keywords(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_dict *d;
    if (jinja_make_dict(j, x->n_args / 2, &d) < 0)
        return -1;
    for (size_t i = 1; i + 1 < x->n_args; i += 2) {
        struct jinja_value value;
        if (jinja_eval(j, x->args[i + 1], &value) < 0 ||
            jinja_dict_set(j, d, x->args[i]->value.s, &value) < 0)
            return -1;
    }
    *v = (struct jinja_value){.kind = JINJA_DICT, .dict = d};
    return 0;
}

int jinja_call(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value a[1 + JINJA_PARAMS_MAX] = {{0}}; /* all ABSENT */
    if (x->fn->keywords) {
        if (keywords(j, x, &a[1]) < 0)
            return -1;
    } else {
        for (size_t i = 0; i < x->n_args; i++) {
            if (x->args[i] && jinja_eval(j, x->args[i], &a[i]) < 0)
                return -1;
        }
    }
    j->line = x->line;
    return x->fn->fn(j, a, v);
}
