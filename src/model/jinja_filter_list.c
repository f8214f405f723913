/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and methods of lists, dicts and numbers. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "model/jinja_builtin.h"

static int attr_of(struct jinja *j, const struct jinja_value *object,
                   const struct jinja_value *name, struct jinja_value *v)
{
    const struct jinja_str *s;
    if (jinja_arg_text(j, name, "an attribute named by", &s) < 0)
        return -1;
    if (memchr(s->data, '.', s->len))
        return jinja_fail(j, "an attribute of an attribute in a filter is not supported");
    return jinja_attr(j, object, s, v);
}

static int add_joined(struct jinja *j, struct jinja_builder *b, const struct jinja_value *item,
                      const struct jinja_value *attr)
{
    struct jinja_value v = *item;
    const struct jinja_str *s;
    if (attr && attr_of(j, item, attr, &v) < 0)
        return -1;
    return jinja_to_str(j, &v, &s) < 0 ? -1 : jinja_build(j, b, s);
}

static int join(struct jinja *j, const struct jinja_value *items, const struct jinja_str *by,
                const struct jinja_value *attr, struct jinja_value *v)
{
    const struct jinja_list *list;
    struct jinja_builder b = {0};
    const struct jinja_str *s = NULL;
    if (jinja_iterate(j, items, &list) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; r == 0 && i < list->n; i++) {
        if (i > 0 && by)
            r = jinja_build(j, &b, by);
        if (r == 0)
            r = add_joined(j, &b, &list->items[i], attr);
    }
    if (r == 0)
        r = jinja_built(j, &b, &s);
    jinja_builder_free(&b);
    return jinja_give_text(r, s, v);
}

static int filter_join(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *by;
    if (jinja_arg_text_or_null(j, &a[1], "join by", &by) < 0)
        return -1;
    return join(j, &a[0], by, a[2].kind == JINJA_ABSENT ? NULL : &a[2], v);
}

static int method_join(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *by;
    return jinja_arg_text(j, &a[0], "join", &by) < 0 ? -1 : join(j, &a[1], by, NULL, v);
}

/* --- lists and dicts --- */

static int length(struct jinja *j, args_t a, struct jinja_value *v)
{
    int64_t n;
    if (jinja_length(j, &a[0], &n) < 0)
        return -1;
    *v = jinja_of_int(n);
    return 0;
}

static int first_or_last(struct jinja *j, args_t a, bool last, struct jinja_value *v)
{
    const struct jinja_list *list;
    if (jinja_iterate(j, &a[0], &list) < 0)
        return -1;
    *v = (struct jinja_value){.kind = JINJA_UNDEFINED};
    if (list->n > 0)
        *v = list->items[last ? list->n - 1 : 0];
    return 0;
}

static int first(struct jinja *j, args_t a, struct jinja_value *v)
{
    return first_or_last(j, a, false, v);
}

static int last(struct jinja *j, args_t a, struct jinja_value *v)
{
    return first_or_last(j, a, true, v);
}

static int list(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_list *items;
    return jinja_iterate(j, &a[0], &items) < 0 ? -1 : jinja_give_list(items, v);
}

static int reverse(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_list *items;
    struct jinja_list *reversed;
    if (a[0].kind == JINJA_STR)
        return jinja_fail(j, "reverse of a text is not supported");
    if (jinja_iterate(j, &a[0], &items) < 0 || jinja_make_list(j, items->n, &reversed) < 0)
        return -1;
    for (size_t i = 0; i < items->n; i++)
        reversed->items[i] = items->items[items->n - 1 - i];
    return jinja_give_list(reversed, v);
}

enum part { KEYS, VALUES, ITEMS };

static int parts(struct jinja *j, const struct jinja_value *dict, enum part what,
                 struct jinja_value *v)
{
    struct jinja_list *all;
    if (dict->kind == JINJA_UNDEFINED && what == ITEMS)
        return jinja_make_list(j, 0, &all) < 0 ? -1 : jinja_give_list(all, v);
    if (dict->kind != JINJA_DICT)
        return jinja_fail(j, "keys, values or items of %s", jinja_kind_name(dict));
    if (jinja_make_list(j, dict->dict->n, &all) < 0)
        return -1;
    for (size_t i = 0; i < all->n; i++) {
        const struct jinja_entry *entry = &dict->dict->entries[i];
        struct jinja_list *pair;
        if (what == ITEMS) {
            if (jinja_make_list(j, 2, &pair) < 0)
                return -1;
            pair->items[0] = jinja_of_str(entry->key);
            pair->items[1] = entry->value;
            jinja_give_list(pair, &all->items[i]);
        } else {
            all->items[i] = what == KEYS ? jinja_of_str(entry->key) : entry->value;
        }
    }
    return jinja_give_list(all, v);
}

static int items(struct jinja *j, args_t a, struct jinja_value *v)
{
    return parts(j, &a[0], ITEMS, v);
}

static int keys(struct jinja *j, args_t a, struct jinja_value *v)
{
    return parts(j, &a[0], KEYS, v);
}

static int values(struct jinja *j, args_t a, struct jinja_value *v)
{
    return parts(j, &a[0], VALUES, v);
}

static int method_get(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *key;
    if (a[0].kind != JINJA_DICT)
        return jinja_fail(j, "get of %s", jinja_kind_name(&a[0]));
    if (jinja_arg_text(j, &a[1], "get", &key) < 0 || jinja_dict_get(j, a[0].dict, key, v) < 0)
        return -1;
    if (v->kind == JINJA_UNDEFINED)
        *v = a[2];
    if (v->kind == JINJA_ABSENT)
        v->kind = JINJA_NONE;
    return 0;
}

/* --- filters that take others by their names --- */

/* Calls a filter or test on one element, with one parameter at most. */
static int apply(struct jinja *j, enum jinja_role role, const struct jinja_value *name,
                 const struct jinja_value *on, const struct jinja_value *param,
                 struct jinja_value *v)
{
    const struct jinja_str *s;
    struct jinja_value a[1 + JINJA_PARAMS_MAX] = {*on, *param};
    if (jinja_arg_text(j, name, "the name of a filter or test instead", &s) < 0)
        return -1;
    const struct jinja_builtin *fn = jinja_find_builtin(role, s->data, s->len);
    if (!fn)
        return jinja_fail(j, "%s \"%.*s\" is not supported",
                          role == JINJA_IS ? "the test" : "the filter",
                          (int)MIN(s->len, (size_t)64), s->data);
    if (fn->required > (param->kind != JINJA_ABSENT))
        return jinja_fail(j, "%s needs its parameter %s", fn->name, fn->params[0]);
    return jinja_steps(j, 1) < 0 ? -1 : fn->fn(j, a, v);
}

/* What these filters go through; nothing at all (none, 0) has no elements to them. */
static int elements(struct jinja *j, const struct jinja_value *v, const struct jinja_list **items)
{
    const struct jinja_value nothing = {.kind = JINJA_UNDEFINED};
    return jinja_iterate(j, jinja_true(v) ? v : &nothing, items);
}

static int map(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_list *from;
    struct jinja_list *to;
    const struct jinja_value *attr = &a[3];
    if ((a[1].kind == JINJA_ABSENT) == (attr->kind == JINJA_ABSENT))
        return jinja_fail(j, "map needs the name of a filter or of an attribute");
    if (elements(j, &a[0], &from) < 0 || jinja_make_list(j, from->n, &to) < 0)
        return -1;
    for (size_t i = 0; i < from->n; i++) {
        int r = attr->kind == JINJA_ABSENT
                    ? apply(j, JINJA_FILTER, &a[1], &from->items[i], &a[2], &to->items[i])
                    : attr_of(j, &from->items[i], attr, &to->items[i]);
        if (r < 0)
            return -1;
    }
    return jinja_give_list(to, v);
}

/* select, reject, selectattr, rejectattr: by a test (or whether it is true) of the element or an attribute of it. */
static int choose(struct jinja *j, args_t a, bool by_attr, bool keep, struct jinja_value *v)
{
    const struct jinja_list *all;
    struct jinja_list *kept;
    args_t test = by_attr ? a + 2 : a + 1;
    if (elements(j, a, &all) < 0 || jinja_make_list(j, all->n, &kept) < 0)
        return -1;
    kept->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct jinja_value on = all->items[i];
        struct jinja_value is;
        if (by_attr && attr_of(j, &all->items[i], &a[1], &on) < 0)
            return -1;
        is = on;
        if (test->kind != JINJA_ABSENT && apply(j, JINJA_IS, test, &on, test + 1, &is) < 0)
            return -1;
        if (jinja_true(&is) == keep)
            kept->items[kept->n++] = all->items[i];
    }
    return jinja_give_list(kept, v);
}

static int filter_select(struct jinja *j, args_t a, struct jinja_value *v)
{
    return choose(j, a, false, true, v);
}

static int filter_reject(struct jinja *j, args_t a, struct jinja_value *v)
{
    return choose(j, a, false, false, v);
}

static int selectattr(struct jinja *j, args_t a, struct jinja_value *v)
{
    return choose(j, a, true, true, v);
}

static int rejectattr(struct jinja *j, args_t a, struct jinja_value *v)
{
    return choose(j, a, true, false, v);
}

/* --- numbers and defaults --- */

static int filter_default(struct jinja *j, args_t a, struct jinja_value *v)
{
    const struct jinja_str *empty;
    bool missing = a[0].kind == JINJA_UNDEFINED || (jinja_true(&a[2]) && !jinja_true(&a[0]));
    *v = missing ? a[1] : a[0];
    if (v->kind != JINJA_ABSENT)
        return 0;
    int r = jinja_c_str(j, "", &empty);
    return jinja_give_text(r, empty, v);
}

static int filter_int(struct jinja *j, args_t a, struct jinja_value *v)
{
    int64_t otherwise;
    char text[32];
    char *end = text;
    if (jinja_arg_int(j, &a[1], 0, &otherwise) < 0)
        return -1;
    *v = jinja_of_int(otherwise);
    if (a[0].kind == JINJA_INT || a[0].kind == JINJA_BOOL)
        *v = jinja_of_int(a[0].kind == JINJA_INT ? a[0].i : a[0].b);
    else if (a[0].kind == JINJA_FLOAT && fabs(a[0].f) < 9e18)
        *v = jinja_of_int((int64_t)a[0].f);
    else if (a[0].kind == JINJA_STR && a[0].s->len > 0 && a[0].s->len < sizeof(text)) {
        memcpy(text, a[0].s->data, a[0].s->len);
        text[a[0].s->len] = 0;
        errno = 0;
        long long i = strtoll(text, &end, 10);
        if (errno == 0 && end == text + a[0].s->len)
            *v = jinja_of_int(i);
    }
    return 0;
}

static int filter_abs(struct jinja *j, args_t a, struct jinja_value *v)
{
    if (a[0].kind == JINJA_FLOAT)
        *v = (struct jinja_value){.kind = JINJA_FLOAT, .f = fabs(a[0].f)};
    else if (a[0].kind == JINJA_INT && a[0].i > INT64_MIN)
        *v = jinja_of_int(a[0].i < 0 ? -a[0].i : a[0].i);
    else
        return jinja_fail(j, "abs of %s", jinja_kind_name(&a[0]));
    return 0;
}

const struct jinja_builtin jinja_list_builtins[] = {
    {"join", JINJA_FILTER, filter_join, .params = {"d", "attribute"}},
    {"length", JINJA_FILTER, length, .required = 0},
    {"count", JINJA_FILTER, length, .required = 0},
    {"first", JINJA_FILTER, first, .required = 0},
    {"last", JINJA_FILTER, last, .required = 0},
    {"list", JINJA_FILTER, list, .required = 0},
    {"reverse", JINJA_FILTER, reverse, .required = 0},
    {"items", JINJA_FILTER, items, .required = 0},
    {"map", JINJA_FILTER, map, .params = {"filter", "parameter", "attribute"}},
    {"select", JINJA_FILTER, filter_select, .params = {"test", "parameter"}},
    {"reject", JINJA_FILTER, filter_reject, .params = {"test", "parameter"}},
    {"selectattr", JINJA_FILTER, selectattr, .params = {"attribute", "test", "parameter"},
     .required = 1},
    {"rejectattr", JINJA_FILTER, rejectattr, .params = {"attribute", "test", "parameter"},
     .required = 1},
    {"default", JINJA_FILTER, filter_default, .params = {"default_value", "boolean"}},
    {"d", JINJA_FILTER, filter_default, .params = {"default_value", "boolean"}},
    {"int", JINJA_FILTER, filter_int, .params = {"default"}},
    {"abs", JINJA_FILTER, filter_abs, .required = 0},
    {"join", JINJA_METHOD, method_join, .params = {"iterable"}, .required = 1},
    {"items", JINJA_METHOD, items, .required = 0},
    {"keys", JINJA_METHOD, keys, .required = 0},
    {"values", JINJA_METHOD, values, .required = 0},
    {"get", JINJA_METHOD, method_get, .params = {"key", "default"}, .required = 1},
    {.name = NULL},
};
