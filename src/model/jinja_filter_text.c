/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and methods of texts. Filters take anything as a text, methods want one. */
#include <string.h>

#include "model/jinja_builtin.h"

/* --- texts. Filters take anything as text, methods want one. --- */

static int strip(struct jinja *j, args_t a, bool method, bool left, bool right,
                 struct jinja_value *v)
{
    const struct jinja_str *s;
    const struct jinja_str *chars;
    if ((method ? jinja_arg_text(j, &a[0], "strip", &s) : jinja_to_str(j, &a[0], &s)) < 0 ||
        jinja_arg_text_or_null(j, &a[1], "strip by", &chars) < 0)
        return -1;
    int r = jinja_strip(j, s, chars, left, right, &s);
    return jinja_give_text(r, s, v);
}

static int filter_trim(struct jinja *j, args_t a, struct jinja_value *v)
{
    return strip(j, a, false, true, true, v);
}

static int method_strip(struct jinja *j, args_t a, struct jinja_value *v)
{
    return strip(j, a, true, true, true, v);
}

static int method_lstrip(struct jinja *j, args_t a, struct jinja_value *v)
{
    return strip(j, a, true, true, false, v);
}

static int method_rstrip(struct jinja *j, args_t a, struct jinja_value *v)
{
    return strip(j, a, true, false, true, v);
}

static int recase(struct jinja *j, args_t a, enum jinja_case to, struct jinja_value *v)
{
    const struct jinja_str *s;
    if (a[0].kind == JINJA_LIST || jinja_to_str(j, &a[0], &s) < 0)
        return jinja_fail(j, "upper or lower case of %s", jinja_kind_name(&a[0]));
    int r = jinja_recase(j, s, to, &s);
    return jinja_give_text(r, s, v);
}

static int upper(struct jinja *j, args_t a, struct jinja_value *v)
{
    return recase(j, a, JINJA_UPPER, v);
}

static int lower(struct jinja *j, args_t a, struct jinja_value *v)
{
    return recase(j, a, JINJA_LOWER, v);
}

static int title(struct jinja *j, args_t a, struct jinja_value *v)
{
    return recase(j, a, JINJA_TITLE, v);
}

static int capitalize(struct jinja *j, args_t a, struct jinja_value *v)
{
    return recase(j, a, JINJA_CAPITALIZE, v);
}

static int replace(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *s;
    const struct jinja_str *old;
    const struct jinja_str *with;
    int64_t max;
    if (jinja_to_str(j, &a[0], &s) < 0 || jinja_arg_text(j, &a[1], "replace", &old) < 0 ||
        jinja_arg_text(j, &a[2], "replace by", &with) < 0 || jinja_arg_int(j, &a[3], -1, &max) < 0)
        return -1;
    int r = jinja_replace(j, s, old, with, max, &s);
    return jinja_give_text(r, s, v);
}

static int string(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *s;
    int r = jinja_to_str(j, &a[0], &s);
    return jinja_give_text(r, s, v);
}

static int same(struct jinja *j, args_t a, struct jinja_value *v)
{
    (void)j;
    *v = a[0];
    return 0;
}

static int split(struct jinja *j, args_t a, bool from_right, struct jinja_value *v)
{
    const struct jinja_str *s;
    const struct jinja_str *by;
    int64_t max;
    const struct jinja_list *list;
    if (jinja_arg_text(j, &a[0], "split", &s) < 0 ||
        jinja_arg_text_or_null(j, &a[1], "split by", &by) < 0 ||
        jinja_arg_int(j, &a[2], -1, &max) < 0 || jinja_split(j, s, by, max, from_right, &list) < 0)
        return -1;
    return jinja_give_list(list, v);
}

static int method_split(struct jinja *j, args_t a, struct jinja_value *v)
{
    return split(j, a, false, v);
}

static int method_rsplit(struct jinja *j, args_t a, struct jinja_value *v)
{
    return split(j, a, true, v);
}

static bool begins(const struct jinja_str *s, const struct jinja_str *with, bool at_end)
{
    return s->len >= with->len &&
           memcmp(at_end ? s->data + s->len - with->len : s->data, with->data, with->len) == 0;
}

/* startswith and endswith, of one text or several. */
static int with(struct jinja *j, args_t a, bool at_end, struct jinja_value *v)
{
    const struct jinja_str *s;
    const struct jinja_str *part;
    if (jinja_arg_text(j, &a[0], at_end ? "endswith" : "startswith", &s) < 0)
        return -1;
    bool several = a[1].kind == JINJA_LIST;
    size_t n = several ? a[1].list->n : 1;
    *v = jinja_of_bool(false);
    for (size_t i = 0; i < n && !v->b; i++) {
        if (jinja_arg_text(j, several ? &a[1].list->items[i] : &a[1],
                           at_end ? "endswith" : "startswith", &part) < 0)
            return -1;
        v->b = begins(s, part, at_end);
    }
    return jinja_steps(j, n);
}

static int method_startswith(struct jinja *j, args_t a, struct jinja_value *v)
{
    return with(j, a, false, v);
}

static int method_endswith(struct jinja *j, args_t a, struct jinja_value *v)
{
    return with(j, a, true, v);
}

static int tojson(struct jinja *j, args_t a, struct jinja_value *v)
{
    int64_t indent;
    const struct jinja_str *s;
    if (jinja_arg_int(j, &a[2], -1, &indent) < 0)
        return -1;
    if (jinja_true(&a[1]))
        return jinja_fail(j, "tojson with ensure_ascii is not supported");
    int r = jinja_json(j, &a[0], indent, &s);
    return jinja_give_text(r, s, v);
}

const struct jinja_builtin jinja_text_builtins[] = {
    {"trim", JINJA_FILTER, filter_trim, .params = {"chars"}},
    {"upper", JINJA_FILTER, upper, .required = 0},
    {"lower", JINJA_FILTER, lower, .required = 0},
    {"title", JINJA_FILTER, title, .required = 0},
    {"capitalize", JINJA_FILTER, capitalize, .required = 0},
    {"replace", JINJA_FILTER, replace, .params = {"old", "new", "count"}, .required = 2},
    {"string", JINJA_FILTER, string, .required = 0},
    {"safe", JINJA_FILTER, same, .required = 0},
    {"tojson", JINJA_FILTER, tojson, .params = {"ensure_ascii", "indent"}},
    {"strip", JINJA_METHOD, method_strip, .params = {"chars"}},
    {"lstrip", JINJA_METHOD, method_lstrip, .params = {"chars"}},
    {"rstrip", JINJA_METHOD, method_rstrip, .params = {"chars"}},
    {"startswith", JINJA_METHOD, method_startswith, .params = {"prefix"}, .required = 1},
    {"endswith", JINJA_METHOD, method_endswith, .params = {"suffix"}, .required = 1},
    {"split", JINJA_METHOD, method_split, .params = {"sep", "maxsplit"}},
    {"rsplit", JINJA_METHOD, method_rsplit, .params = {"sep", "maxsplit"}},
    {"upper", JINJA_METHOD, upper, .required = 0},
    {"lower", JINJA_METHOD, lower, .required = 0},
    {"title", JINJA_METHOD, title, .required = 0},
    {"capitalize", JINJA_METHOD, capitalize, .required = 0},
    {"replace", JINJA_METHOD, replace, .params = {"old", "new", "count"}, .required = 2},
    {.name = NULL},
};
