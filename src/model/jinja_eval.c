/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions to values. The recursion is as deep as the tree: JINJA_DEPTH_MAX. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/jinja.h"

int(jinja_fail)(const struct jinja *j, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(j->e, EINVAL, "the chat template fails in line %u: %s", j->line, text);
}

int jinja_steps(struct jinja *j, size_t n)
{
    j->steps += n;
    if (j->steps <= CHAT_STEPS_MAX)
        return 0;
    return err_set(j->e, ENOMEM, "the chat template takes more than %d steps", CHAT_STEPS_MAX);
}

void *jinja_get(struct jinja *j, size_t n)
{
    return jinja_alloc(&j->pool, n, j->e);
}

/* --- arithmetic --- */

static int overflow(const struct jinja *j)
{
    return jinja_fail(j, "a number is too large");
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static int power(const struct jinja *j, int64_t a, int64_t b, struct jinja_value *v)
{
    if (b < 0) {
        *v = (struct jinja_value){.kind = JINJA_FLOAT, .f = pow((double)a, (double)b)};
        return 0;
    }
    int64_t r = 1;
    if (a == 0 || a == 1)
        b = MIN(b, (int64_t)1);
    if (a == -1)
        b = b % 2;
    for (; b > 0; b--) { /* 64 rounds at most: then it is too large */
        if (__builtin_mul_overflow(r, a, &r))
            return overflow(j);
    }
    *v = jinja_of_int(r);
    return 0;
}

static int calculate_ints(const struct jinja *j, enum jinja_op op, int64_t a, int64_t b,
                          struct jinja_value *v)
{
    int64_t r = 0;
    bool over = false;
    if ((op == JINJA_DIV || op == JINJA_FLOORDIV || op == JINJA_MOD) && b == 0)
        return jinja_fail(j, "a division by zero");
    if ((op == JINJA_FLOORDIV || op == JINJA_MOD) && a == INT64_MIN && b == -1)
        return overflow(j);
    switch (op) {
    case JINJA_ADD:
        over = __builtin_add_overflow(a, b, &r);
        break;
    case JINJA_SUB:
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case JINJA_MUL:
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case JINJA_FLOORDIV:
        r = floor_div(a, b);
        break;
    case JINJA_MOD:
        r = a - floor_div(a, b) * b;
        break;
    case JINJA_POW:
        return power(j, a, b, v);
    default: /* DIV */
        *v = (struct jinja_value){.kind = JINJA_FLOAT, .f = (double)a / (double)b};
        return 0;
    }
    if (over)
        return overflow(j);
    *v = jinja_of_int(r);
    return 0;
}

static int calculate_floats(const struct jinja *j, enum jinja_op op, double a, double b,
                            struct jinja_value *v)
{
    double r;
    if ((op == JINJA_DIV || op == JINJA_FLOORDIV || op == JINJA_MOD) && b == 0)
        return jinja_fail(j, "a division by zero");
    switch (op) {
    case JINJA_ADD:
        r = a + b;
        break;
    case JINJA_SUB:
        r = a - b;
        break;
    case JINJA_MUL:
        r = a * b;
        break;
    case JINJA_DIV:
        r = a / b;
        break;
    case JINJA_FLOORDIV:
        r = floor(a / b);
        break;
    case JINJA_MOD:
        r = a - floor(a / b) * b;
        break;
    default: /* POW */
        r = pow(a, b);
        break;
    }
    *v = (struct jinja_value){.kind = JINJA_FLOAT, .f = r};
    return 0;
}

static int add_lists(struct jinja *j, const struct jinja_list *a, const struct jinja_list *b,
                     struct jinja_value *v)
{
    struct jinja_list *list;
    if (jinja_make_list(j, a->n + b->n, &list) < 0)
        return -1;
    memcpy(list->items, a->items, a->n * sizeof(*a->items));
    memcpy(list->items + a->n, b->items, b->n * sizeof(*b->items));
    *v = (struct jinja_value){.kind = JINJA_LIST, .list = list};
    return 0;
}

static int join_two(struct jinja *j, const struct jinja_str *a, const struct jinja_str *b,
                    struct jinja_value *v)
{
    struct jinja_builder out = {0};
    const struct jinja_str *s;
    int r =
        jinja_build(j, &out, a) < 0 || jinja_build(j, &out, b) < 0 || jinja_built(j, &out, &s) < 0
            ? -1
            : 0;
    jinja_builder_free(&out);
    if (r == 0)
        *v = jinja_of_str(s);
    return r;
}

static int repeat(struct jinja *j, const struct jinja_str *s, int64_t n, struct jinja_value *v)
{
    struct jinja_builder out = {0};
    const struct jinja_str *all;
    int r = 0;
    for (int64_t i = 0; r == 0 && i < n && s->len > 0; i++)
        r = jinja_build(j, &out, s);
    if (r == 0)
        r = jinja_built(j, &out, &all);
    jinja_builder_free(&out);
    if (r == 0)
        *v = jinja_of_str(all);
    return r;
}

static bool is_int(const struct jinja_value *v)
{
    return v->kind == JINJA_INT || v->kind == JINJA_BOOL;
}

static int64_t int_of(const struct jinja_value *v)
{
    return v->kind == JINJA_INT ? v->i : v->b;
}

static double float_of(const struct jinja_value *v)
{
    return v->kind == JINJA_FLOAT ? v->f : (double)int_of(v);
}

static int calculate(struct jinja *j, enum jinja_op op, const struct jinja_value *a,
                     const struct jinja_value *b, struct jinja_value *v)
{
    if (is_int(a) && is_int(b))
        return calculate_ints(j, op, int_of(a), int_of(b), v);
    if ((is_int(a) || a->kind == JINJA_FLOAT) && (is_int(b) || b->kind == JINJA_FLOAT))
        return calculate_floats(j, op, float_of(a), float_of(b), v);
    if (op == JINJA_ADD && a->kind == JINJA_STR && b->kind == JINJA_STR)
        return join_two(j, a->s, b->s, v);
    if (op == JINJA_ADD && a->kind == JINJA_LIST && b->kind == JINJA_LIST)
        return add_lists(j, a->list, b->list, v);
    if (op == JINJA_MUL && a->kind == JINJA_STR && is_int(b))
        return repeat(j, a->s, int_of(b), v);
    if (op == JINJA_MOD && a->kind == JINJA_STR)
        return jinja_fail(j, "formatting with %% is not supported");
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    return jinja_fail(j, "%s %s %s", jinja_kind_name(a), signs[op - JINJA_ADD], jinja_kind_name(b));
}

static int negate(struct jinja *j, enum jinja_op op, struct jinja_value *v)
{
    if (is_int(v)) {
        int64_t i = int_of(v);
        if (op == JINJA_NEG && __builtin_sub_overflow((int64_t)0, i, &i))
            return overflow(j);
        *v = jinja_of_int(i);
        return 0;
    }
    if (v->kind != JINJA_FLOAT)
        return jinja_fail(j, "a sign before %s", jinja_kind_name(v));
    v->f = op == JINJA_NEG ? -v->f : v->f;
    return 0;
}

/* --- comparison --- */

static int compare(struct jinja *j, enum jinja_op op, const struct jinja_value *a,
                   const struct jinja_value *b, bool *is)
{
    int order;
    int r;
    switch (op) {
    case JINJA_EQ:
    case JINJA_NE:
        r = jinja_equal(j, a, b, is);
        *is = *is == (op == JINJA_EQ);
        return r;
    case JINJA_IN:
    case JINJA_NOT_IN:
        r = jinja_contains(j, b, a, is);
        *is = *is == (op == JINJA_IN);
        return r;
    default:
        break;
    }
    r = jinja_order(j, a, b, &order);
    if (r == 0)
        *is = op == JINJA_LT   ? order == -1
              : op == JINJA_LE ? order == -1 || order == 0
              : op == JINJA_GT ? order == 1
                               : order == 1 || order == 0;
    return r;
}

static int compare_two(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value a;
    struct jinja_value b;
    bool is = false;
    if (jinja_eval(j, x->args[0], &a) < 0 || jinja_eval(j, x->args[1], &b) < 0 ||
        compare(j, x->op, &a, &b, &is) < 0)
        return -1;
    *v = jinja_of_bool(is);
    return 0;
}

/* a < b < c is a < b and b < c. */
static int compare_chain(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value a;
    bool is = true;
    if (jinja_eval(j, x->args[0], &a) < 0)
        return -1;
    for (size_t i = 1; is && i < x->n_args; i++) {
        struct jinja_value b;
        if (jinja_eval(j, x->args[i]->args[1], &b) < 0 ||
            compare(j, x->args[i]->op, &a, &b, &is) < 0)
            return -1;
        a = b;
    }
    *v = jinja_of_bool(is);
    return 0;
}

/* --- slices --- */

struct range {
    int64_t start;
    int64_t stop;
    int64_t step;
};

static int bound(struct jinja *j, const struct jinja_expr *x, int64_t none, int64_t *i)
{
    struct jinja_value v = {.kind = JINJA_NONE};
    if (x && jinja_eval(j, x, &v) < 0)
        return -1;
    if (v.kind != JINJA_NONE && !is_int(&v))
        return jinja_fail(j, "a slice by %s", jinja_kind_name(&v));
    *i = v.kind == JINJA_NONE ? none : int_of(&v);
    return 0;
}

/* Python's slice.indices(n). */
static int range_of(struct jinja *j, const struct jinja_expr *x, int64_t n, struct range *r)
{
    if (bound(j, x->args[3], 1, &r->step) < 0)
        return -1;
    if (r->step == 0)
        return jinja_fail(j, "a slice with step 0");
    int64_t low = r->step > 0 ? 0 : -1;
    int64_t high = r->step > 0 ? n : n - 1;
    int64_t *ends[2] = {&r->start, &r->stop};
    for (int i = 0; i < 2; i++) {
        if (bound(j, x->args[1 + i], INT64_MIN, ends[i]) < 0)
            return -1;
        if (*ends[i] == INT64_MIN)
            *ends[i] = (i == 0) == (r->step > 0) ? low : high;
        else
            *ends[i] = MIN(MAX(*ends[i] < 0 ? *ends[i] + n : *ends[i], low), high);
    }
    return 0;
}

static int slice_text(struct jinja *j, const struct jinja_str *s, const struct range *r,
                      struct jinja_value *v)
{
    const struct jinja_str *part;
    if (r->step != 1)
        return jinja_fail(j, "a slice of a text with a step");
    size_t at = 0;
    int64_t i = 0;
    for (; i < r->start; i++)
        at += jinja_char(s, at);
    size_t from = at;
    for (; i < r->stop; i++)
        at += jinja_char(s, at);
    if (jinja_slice(j, s, from, at, &part) < 0)
        return -1;
    *v = jinja_of_str(part);
    return 0;
}

static int slice_list(struct jinja *j, const struct jinja_list *l, const struct range *r,
                      struct jinja_value *v)
{
    struct jinja_list *part;
    size_t n = 0;
    for (int64_t i = r->start; r->step > 0 ? i < r->stop : i > r->stop; n++) {
        if (__builtin_add_overflow(i, r->step, &i))
            i = r->stop;
    }
    if (jinja_make_list(j, n, &part) < 0)
        return -1;
    for (size_t k = 0; k < n; k++)
        part->items[k] = l->items[r->start + (int64_t)k * r->step];
    *v = (struct jinja_value){.kind = JINJA_LIST, .list = part};
    return 0;
}

static int slice(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value object;
    int64_t n;
    struct range r;
    if (jinja_eval(j, x->args[0], &object) < 0)
        return -1;
    if (object.kind != JINJA_LIST && object.kind != JINJA_STR)
        return jinja_fail(j, "a slice of %s", jinja_kind_name(&object));
    if (jinja_length(j, &object, &n) < 0 || range_of(j, x, n, &r) < 0)
        return -1;
    return object.kind == JINJA_STR ? slice_text(j, object.s, &r, v)
                                    : slice_list(j, object.list, &r, v);
}

/* --- the rest --- */

static int make_list(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_list *list;
    if (jinja_make_list(j, x->n_args, &list) < 0)
        return -1;
    for (size_t i = 0; i < x->n_args; i++) {
        if (jinja_eval(j, x->args[i], &list->items[i]) < 0)
            return -1;
    }
    *v = (struct jinja_value){.kind = JINJA_LIST, .list = list};
    return 0;
}

static int make_dict(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_dict *dict;
    if (jinja_make_dict(j, x->n_args / 2, &dict) < 0)
        return -1;
    for (size_t i = 0; i + 1 < x->n_args; i += 2) {
        struct jinja_value key;
        struct jinja_value value;
        if (jinja_eval(j, x->args[i], &key) < 0 || jinja_eval(j, x->args[i + 1], &value) < 0)
            return -1;
        if (key.kind != JINJA_STR)
            return jinja_fail(j, "a key of a dict that is %s", jinja_kind_name(&key));
        if (jinja_dict_set(j, dict, key.s, &value) < 0)
            return -1;
    }
    *v = (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
    return 0;
}

static int concat(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value a;
    struct jinja_value b;
    const struct jinja_str *s;
    const struct jinja_str *t;
    if (jinja_eval(j, x->args[0], &a) < 0 || jinja_eval(j, x->args[1], &b) < 0 ||
        jinja_to_str(j, &a, &s) < 0 || jinja_to_str(j, &b, &t) < 0)
        return -1;
    return join_two(j, s, t, v);
}

static int logic(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    if (jinja_eval(j, x->args[0], v) < 0)
        return -1;
    if (x->op == JINJA_NOT) {
        *v = jinja_of_bool(!jinja_true(v));
        return 0;
    }
    if (x->op == JINJA_COND) {
        const struct jinja_expr *then = jinja_true(v) ? x->args[1] : x->args[2];
        *v = (struct jinja_value){.kind = JINJA_UNDEFINED};
        return then ? jinja_eval(j, then, v) : 0;
    }
    return jinja_true(v) == (x->op == JINJA_AND) ? jinja_eval(j, x->args[1], v) : 0;
}

static int name(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    *v = j->vars[x->var].value;
    if (v->kind == JINJA_ABSENT)
        *v = x->fn ? (struct jinja_value){.kind = JINJA_FUNCTION, .function = x->fn}
                   : (struct jinja_value){.kind = JINJA_UNDEFINED};
    return 0;
}

static int reach(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value object;
    struct jinja_value index;
    if (jinja_eval(j, x->args[0], &object) < 0)
        return -1;
    if (x->op == JINJA_ATTR)
        return jinja_attr(j, &object, x->str, v);
    return jinja_eval(j, x->args[1], &index) < 0 ? -1 : jinja_item(j, &object, &index, v);
}

static int two(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    struct jinja_value a;
    struct jinja_value b;
    if (jinja_eval(j, x->args[0], &a) < 0 || jinja_eval(j, x->args[1], &b) < 0)
        return -1;
    return calculate(j, x->op, &a, &b, v);
}

int jinja_eval(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v)
{
    j->line = x->line;
    if (jinja_steps(j, 1) < 0)
        return -1;
    switch (x->op) {
    case JINJA_CONST:
        *v = x->value;
        return 0;
    case JINJA_NAME:
        return name(j, x, v);
    case JINJA_MAKE_LIST:
        return make_list(j, x, v);
    case JINJA_MAKE_DICT:
        return make_dict(j, x, v);
    case JINJA_ATTR:
    case JINJA_ITEM:
        return reach(j, x, v);
    case JINJA_SLICE:
        return slice(j, x, v);
    case JINJA_CALL:
    case JINJA_TEST:
        return jinja_call(j, x, v);
    case JINJA_NOT:
    case JINJA_AND:
    case JINJA_OR:
    case JINJA_COND:
        return logic(j, x, v);
    case JINJA_NEG:
    case JINJA_POS:
        return jinja_eval(j, x->args[0], v) < 0 ? -1 : negate(j, x->op, v);
    case JINJA_CONCAT:
        return concat(j, x, v);
    case JINJA_COMPARE:
        return compare_chain(j, x, v);
    case JINJA_EQ:
    case JINJA_NE:
    case JINJA_LT:
    case JINJA_LE:
    case JINJA_GT:
    case JINJA_GE:
    case JINJA_IN:
    case JINJA_NOT_IN:
        return compare_two(j, x, v);
    default:
        return two(j, x, v);
    }
}
