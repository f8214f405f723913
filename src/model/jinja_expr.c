/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens to expressions, by recursive descent. The order of the operators is that of Jinja's own
 * parser. */
#include <errno.h>
#include <string.h>

#include "model/jinja.h"

static struct jinja_expr *parse_unary(struct jinja_parser *p, bool with_filters);

static struct jinja_expr *make(struct jinja_parser *p, enum jinja_op op, size_t n_args)
{
    struct jinja_expr *x = jinja_new(p, sizeof(*x));
    if (!x)
        return NULL;
    *x = (struct jinja_expr){.op = op, .line = p->t->line, .n_args = n_args};
    if (n_args > 0)
        x->args = jinja_new(p, n_args * sizeof(struct jinja_expr *));
    return n_args > 0 && !x->args ? NULL : x;
}

/*
 * When all operands are there. The parser's own recursion bounds nesting only; a chain ("a + b + c
 * …") is as deep a tree, and a run recurses into it.
 */
static struct jinja_expr *finish(struct jinja_parser *p, struct jinja_expr *x)
{
    for (size_t i = 0; x && i < x->n_args; i++) {
        if (x->args[i])
            x->height = MAX(x->height, x->args[i]->height + 1);
    }
    if (x && x->height > JINJA_DEPTH_MAX) {
        jinja_refuse(p, "an expression has more than %d levels", JINJA_DEPTH_MAX);
        return NULL;
    }
    return x;
}

static struct jinja_expr *make_two(struct jinja_parser *p, enum jinja_op op, struct jinja_expr *a,
                                   struct jinja_expr *b)
{
    struct jinja_expr *x = a && b ? make(p, op, 2) : NULL;
    if (x) {
        x->args[0] = a;
        x->args[1] = b;
    }
    return finish(p, x);
}

static struct jinja_expr *make_one(struct jinja_parser *p, enum jinja_op op, struct jinja_expr *a)
{
    struct jinja_expr *x = a ? make(p, op, 1) : NULL;
    if (x)
        x->args[0] = a;
    return finish(p, x);
}

static struct jinja_expr *make_const(struct jinja_parser *p, struct jinja_value v)
{
    struct jinja_expr *x = make(p, JINJA_CONST, 0);
    if (x)
        x->value = v;
    return x;
}

/* --- lists of expressions --- */

struct list {
    struct jinja_expr **items;
    size_t n;
    size_t cap;
};

static int add(struct list *l, struct jinja_expr *x)
{
    if (!x)
        return -1;
    if (l->n == l->cap) {
        l->cap = MAX((size_t)8, l->cap * 2);
        l->items = xrealloc(
            l->items, l->cap * sizeof(struct jinja_expr *)); /* less than a template has bytes */
    }
    l->items[l->n++] = x;
    return 0;
}

static struct jinja_expr *make_listed(struct jinja_parser *p, enum jinja_op op, struct list *l)
{
    struct jinja_expr *x = make(p, op, l->n);
    for (size_t i = 0; x && i < l->n; i++)
        x->args[i] = l->items[i];
    return finish(p, x);
}

/* Items with commas between, up to the closing bracket, which is taken. The first may have been
 * parsed. */
static struct jinja_expr *parse_items(struct jinja_parser *p, struct jinja_expr *first,
                                      const char *close)
{
    struct list l = {0};
    struct jinja_expr *x = NULL;
    bool ok = !first || add(&l, first) == 0;
    while (ok && !jinja_is_op(p->t, close)) {
        ok = add(&l, jinja_parse_expr(p)) == 0;
        if (ok && !jinja_skip_op(p, ","))
            break;
    }
    if (ok && jinja_expect_op(p, close) == 0)
        x = make_listed(p, JINJA_MAKE_LIST, &l);
    free(l.items);
    return x;
}

static struct jinja_expr *parse_dict(struct jinja_parser *p)
{
    struct list l = {0};
    struct jinja_expr *x = NULL;
    bool ok = true;
    while (ok && !jinja_is_op(p->t, "}")) {
        ok = add(&l, jinja_parse_expr(p)) == 0 && jinja_expect_op(p, ":") == 0 &&
             add(&l, jinja_parse_expr(p)) == 0;
        if (ok && !jinja_skip_op(p, ","))
            break;
    }
    if (ok && jinja_expect_op(p, "}") == 0)
        x = make_listed(p, JINJA_MAKE_DICT, &l);
    free(l.items);
    return x;
}

static struct jinja_expr *parse_parenthesis(struct jinja_parser *p)
{
    if (jinja_skip_op(p, ")"))
        return make(p, JINJA_MAKE_LIST, 0);
    struct jinja_expr *x = jinja_parse_expr(p);
    if (!x)
        return NULL;
    if (jinja_skip_op(p, ","))
        return parse_items(p, x, ")");
    return jinja_expect_op(p, ")") < 0 ? NULL : x;
}

struct jinja_expr *jinja_parse_tuple(struct jinja_parser *p)
{
    struct jinja_expr *x = jinja_parse_expr(p);
    if (!x || !jinja_is_op(p->t, ","))
        return x;
    struct list l = {0};
    bool ok = add(&l, x) == 0;
    while (ok && jinja_skip_op(p, ",") && p->t->kind != JINJA_T_BLOCK_END &&
           p->t->kind != JINJA_T_PRINT_END)
        ok = add(&l, jinja_parse_expr(p)) == 0;
    x = ok ? make_listed(p, JINJA_MAKE_LIST, &l) : NULL;
    free(l.items);
    return x;
}

/* --- arguments --- */

static int find_param(const struct jinja_builtin *fn, const struct jinja_token *name)
{
    for (int i = 0; i < JINJA_PARAMS_MAX && fn->params[i]; i++) {
        if (jinja_is_name(name, fn->params[i]))
            return i;
    }
    return -1;
}

/* One of name=value or value. */
static int parse_arg(struct jinja_parser *p, struct jinja_expr *call, int *next)
{
    const struct jinja_token *name = p->t;
    char shown[48];
    int at = *next;
    if (name->kind == JINJA_T_NAME && jinja_is_op(name + 1, "=")) {
        at = find_param(call->fn, name);
        if (at < 0)
            return jinja_refuse(p, "%s has no parameter %s that is supported", call->fn->name,
                                jinja_show(name, shown));
        p->t += 2;
    } else if (at >= JINJA_PARAMS_MAX || !call->fn->params[at]) {
        return jinja_refuse(p, "%s is given more parameters than are supported", call->fn->name);
    } else {
        ++*next;
    }
    if (call->args[1 + at])
        return jinja_refuse(p, "%s is given a parameter twice", call->fn->name);
    call->args[1 + at] = jinja_parse_expr(p);
    return call->args[1 + at] ? 0 : -1;
}

/* name=value, … to alternating names and values. */
static struct jinja_expr *parse_keywords(struct jinja_parser *p, const struct jinja_builtin *fn)
{
    struct list l = {0};
    bool ok = add(&l, make_const(p, (struct jinja_value){.kind = JINJA_ABSENT})) == 0;
    while (ok && !jinja_is_op(p->t, ")")) {
        const struct jinja_token *name = p->t;
        if (name->kind != JINJA_T_NAME || !jinja_is_op(name + 1, "=")) {
            jinja_refuse(p, "%s takes name=value only", fn->name);
            ok = false;
            break;
        }
        p->t += 2;
        const struct jinja_str *s = jinja_new_str(p, name->text, name->len);
        ok = s && add(&l, make_const(p, jinja_of_str(s))) == 0 && add(&l, jinja_parse_expr(p)) == 0;
        if (ok && !jinja_skip_op(p, ","))
            break;
    }
    struct jinja_expr *x =
        ok && jinja_expect_op(p, ")") == 0 ? make_listed(p, JINJA_CALL, &l) : NULL;
    free(l.items);
    if (x)
        x->fn = fn;
    return x;
}

/* A call of fn on a subject (NULL: none); the opening bracket was taken if there is one
 * (`bracket`). */
static struct jinja_expr *parse_call(struct jinja_parser *p, const struct jinja_builtin *fn,
                                     struct jinja_expr *subject, bool bracket)
{
    if (fn->keywords)
        return bracket ? parse_keywords(p, fn) : NULL;
    struct jinja_expr *x = make(p, JINJA_CALL, 1 + JINJA_PARAMS_MAX);
    if (!x)
        return NULL;
    x->fn = fn;
    x->args[0] = subject;
    int next = 0;
    while (bracket && !jinja_is_op(p->t, ")")) {
        if (parse_arg(p, x, &next) < 0)
            return NULL;
        if (!jinja_skip_op(p, ","))
            break;
    }
    if (bracket && jinja_expect_op(p, ")") < 0)
        return NULL;
    for (unsigned i = 0; i < fn->required; i++) {
        if (!x->args[1 + i]) {
            jinja_refuse(p, "%s needs its parameter %s", fn->name, fn->params[i]);
            return NULL;
        }
    }
    return finish(p, x);
}

static const struct jinja_builtin *find(struct jinja_parser *p, enum jinja_role role,
                                        const struct jinja_token *name)
{
    static const char *const kinds[] = {"the filter", "the test", "the method", "the function"};
    char shown[48];
    const struct jinja_builtin *fn =
        name->kind == JINJA_T_NAME ? jinja_find_builtin(role, name->text, name->len) : NULL;
    if (!fn)
        jinja_refuse(p, "%s %s is not supported", kinds[role], jinja_show(name, shown));
    return fn;
}

/* --- what follows an operand --- */

static struct jinja_expr *parse_subscript(struct jinja_parser *p, struct jinja_expr *object)
{
    struct jinja_expr *part[3] = {NULL, NULL, NULL};
    size_t n = 0;
    bool slice = false;
    while (!jinja_is_op(p->t, "]")) {
        if (jinja_skip_op(p, ":")) {
            slice = true;
            if (++n > 2)
                break;
            continue;
        }
        if (part[n])
            break;
        part[n] = jinja_parse_expr(p);
        if (!part[n])
            return NULL;
    }
    if (jinja_expect_op(p, "]") < 0)
        return NULL;
    if (!slice && part[0])
        return make_two(p, JINJA_ITEM, object, part[0]);
    if (!slice) {
        jinja_refuse(p, "[] without an index");
        return NULL;
    }
    struct jinja_expr *x = make(p, JINJA_SLICE, 4);
    if (x) {
        x->args[0] = object;
        memcpy(x->args + 1, part, sizeof(part));
    }
    return finish(p, x);
}

static struct jinja_expr *parse_attr(struct jinja_parser *p, struct jinja_expr *object)
{
    const struct jinja_token *name = p->t++;
    if (name->kind == JINJA_T_INT)
        return make_two(p, JINJA_ITEM, object, make_const(p, jinja_of_int(name->i)));
    if (name->kind != JINJA_T_NAME) {
        p->t--;
        jinja_refuse(p, "a name is missing after a point");
        return NULL;
    }
    if (jinja_skip_op(p, "(")) {
        const struct jinja_builtin *fn = find(p, JINJA_METHOD, name);
        return fn ? parse_call(p, fn, object, true) : NULL;
    }
    struct jinja_expr *x = make_one(p, JINJA_ATTR, object);
    if (x)
        x->str = jinja_new_str(p, name->text, name->len);
    return x && x->str ? x : NULL;
}

static struct jinja_expr *parse_postfix(struct jinja_parser *p, struct jinja_expr *x)
{
    while (x) {
        if (jinja_skip_op(p, "."))
            x = parse_attr(p, x);
        else if (jinja_skip_op(p, "["))
            x = parse_subscript(p, x);
        else
            break;
    }
    if (x && jinja_is_op(p->t, "(")) {
        jinja_refuse(p, "a call of what is neither a known function nor a known method");
        return NULL;
    }
    return x;
}

struct jinja_expr *jinja_parse_filters(struct jinja_parser *p, struct jinja_expr *x)
{
    const struct jinja_builtin *fn = find(p, JINJA_FILTER, p->t);
    if (!fn || !x)
        return NULL;
    p->t++;
    return parse_call(p, fn, x, jinja_skip_op(p, "("));
}

static bool begins_operand(const struct jinja_token *t)
{
    bool word = jinja_is_name(t, "else") || jinja_is_name(t, "or") || jinja_is_name(t, "and") ||
                jinja_is_name(t, "is") || jinja_is_name(t, "if") || jinja_is_name(t, "in") ||
                jinja_is_name(t, "not");
    return (t->kind == JINJA_T_NAME && !word) || t->kind == JINJA_T_STRING ||
           t->kind == JINJA_T_INT || t->kind == JINJA_T_FLOAT || jinja_is_op(t, "[") ||
           jinja_is_op(t, "{");
}

/* After `is`. */
static struct jinja_expr *parse_test(struct jinja_parser *p, struct jinja_expr *subject)
{
    bool negated = jinja_skip_name(p, "not");
    const struct jinja_builtin *fn = find(p, JINJA_IS, p->t);
    if (!fn)
        return NULL;
    p->t++;
    struct jinja_expr *x;
    if (!jinja_is_op(p->t, "(") && fn->params[0] && begins_operand(p->t)) {
        x = make(p, JINJA_CALL, 1 + JINJA_PARAMS_MAX);
        if (!x)
            return NULL;
        x->fn = fn;
        x->args[0] = subject;
        x->args[1] = parse_unary(p, false);
        x = x->args[1] ? finish(p, x) : NULL;
    } else {
        x = parse_call(p, fn, subject, jinja_skip_op(p, "("));
    }
    if (x)
        x->op = JINJA_TEST;
    return negated ? make_one(p, JINJA_NOT, x) : x;
}

static struct jinja_expr *parse_filters_and_tests(struct jinja_parser *p, struct jinja_expr *x)
{
    while (x) {
        if (jinja_skip_op(p, "|"))
            x = jinja_parse_filters(p, x);
        else if (jinja_skip_name(p, "is"))
            x = parse_test(p, x);
        else
            break;
    }
    return x;
}

/* --- operands --- */

static struct jinja_expr *parse_strings(struct jinja_parser *p)
{
    size_t len = 0;
    const struct jinja_token *end = p->t;
    for (; end->kind == JINJA_T_STRING; end++)
        len += end->len;
    char *text = jinja_new(p, len + 1);
    if (!text)
        return NULL;
    len = 0;
    for (; p->t < end; p->t++) {
        memcpy(text + len, p->t->text, p->t->len);
        len += p->t->len;
    }
    const struct jinja_str *s = jinja_new_str(p, text, len);
    return s ? make_const(p, jinja_of_str(s)) : NULL;
}

static struct jinja_expr *parse_name(struct jinja_parser *p)
{
    static const struct {
        const char *name;
        struct jinja_value value;
    } words[] = {
        {"true", {.kind = JINJA_BOOL, .b = true}},
        {"True", {.kind = JINJA_BOOL, .b = true}},
        {"false", {.kind = JINJA_BOOL, .b = false}},
        {"False", {.kind = JINJA_BOOL, .b = false}},
        {"none", {.kind = JINJA_NONE}},
        {"None", {.kind = JINJA_NONE}},
    };
    const struct jinja_token *name = p->t++;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (jinja_is_name(name, words[i].name))
            return make_const(p, words[i].value);
    }
    if (jinja_skip_op(p, "(")) {
        const struct jinja_builtin *fn = find(p, JINJA_GLOBAL, name);
        return fn ? parse_call(p, fn, NULL, true) : NULL;
    }
    struct jinja_expr *x = make(p, JINJA_NAME, 0);
    if (!x)
        return NULL;
    x->var = jinja_var(p, name);
    x->fn = jinja_find_builtin(JINJA_GLOBAL, name->text,
                               name->len); /* what it is while nothing was assigned */
    return x;
}

static struct jinja_expr *parse_operand(struct jinja_parser *p)
{
    const struct jinja_token *t = p->t;
    char shown[48];
    switch (t->kind) {
    case JINJA_T_NAME:
        return parse_name(p);
    case JINJA_T_STRING:
        return parse_strings(p);
    case JINJA_T_INT:
        p->t++;
        return make_const(p, jinja_of_int(t->i));
    case JINJA_T_FLOAT:
        p->t++;
        return make_const(p, (struct jinja_value){.kind = JINJA_FLOAT, .f = t->f});
    default:
        break;
    }
    if (jinja_skip_op(p, "("))
        return parse_parenthesis(p);
    if (jinja_skip_op(p, "["))
        return parse_items(p, NULL, "]");
    if (jinja_skip_op(p, "{"))
        return parse_dict(p);
    jinja_refuse(p, "a value is missing before %s", jinja_show(t, shown));
    return NULL;
}

/* --- operators, from the tightest to the loosest --- */

static struct jinja_expr *parse_unary(struct jinja_parser *p, bool with_filters)
{
    struct jinja_expr *x;
    if (jinja_enter(p) < 0)
        return NULL;
    if (jinja_skip_op(p, "-"))
        x = make_one(p, JINJA_NEG, parse_unary(p, false));
    else if (jinja_skip_op(p, "+"))
        x = make_one(p, JINJA_POS, parse_unary(p, false));
    else
        x = parse_operand(p);
    x = parse_postfix(p, x);
    if (with_filters)
        x = parse_filters_and_tests(p, x);
    p->depth--;
    return x;
}

struct level {
    const char *op;
    enum jinja_op to;
    int level;
};

static const struct level levels[] = {
    {"+", JINJA_ADD, 0}, {"-", JINJA_SUB, 0},       {"~", JINJA_CONCAT, 1}, {"*", JINJA_MUL, 2},
    {"/", JINJA_DIV, 2}, {"//", JINJA_FLOORDIV, 2}, {"%", JINJA_MOD, 2},    {"**", JINJA_POW, 3},
};
#define LEVELS 4

static struct jinja_expr *parse_level(struct jinja_parser *p, int level)
{
    if (level == LEVELS)
        return parse_unary(p, true);
    struct jinja_expr *x = parse_level(p, level + 1);
    while (x) {
        const struct level *found = NULL;
        for (size_t i = 0; i < ARRAY_LEN(levels) && !found; i++) {
            if (levels[i].level == level && jinja_is_op(p->t, levels[i].op))
                found = &levels[i];
        }
        if (!found)
            break;
        p->t++;
        x = make_two(p, found->to, x, parse_level(p, level + 1));
    }
    return x;
}

static bool skip_comparison(struct jinja_parser *p, enum jinja_op *op)
{
    static const struct level comparisons[] = {{"==", JINJA_EQ, 0}, {"!=", JINJA_NE, 0},
                                               {"<=", JINJA_LE, 0}, {">=", JINJA_GE, 0},
                                               {"<", JINJA_LT, 0},  {">", JINJA_GT, 0}};
    for (size_t i = 0; i < ARRAY_LEN(comparisons); i++) {
        *op = comparisons[i].to;
        if (jinja_skip_op(p, comparisons[i].op))
            return true;
    }
    if (jinja_is_name(p->t, "not") && jinja_is_name(p->t + 1, "in")) {
        p->t += 2;
        *op = JINJA_NOT_IN;
        return true;
    }
    *op = JINJA_IN;
    return jinja_skip_name(p, "in");
}

/* a < b, or a chain of them, which is COMPARE. */
static struct jinja_expr *parse_compare(struct jinja_parser *p)
{
    struct list l = {0};
    struct jinja_expr *first = parse_level(p, 0);
    bool ok = add(&l, first) == 0;
    enum jinja_op op;
    while (ok && skip_comparison(p, &op)) {
        struct jinja_expr *x = make(p, op, 2);
        if (x)
            x->args[1] = parse_level(p, 0);
        ok = x && x->args[1] && add(&l, x) == 0;
    }
    struct jinja_expr *x = NULL;
    if (ok && l.n == 1) {
        x = first;
    } else if (ok && l.n == 2) {
        x = l.items[1];
        x->args[0] = first;
        x = finish(p, x);
    } else if (ok) {
        x = make_listed(p, JINJA_COMPARE, &l);
    }
    free(l.items);
    return x;
}

static struct jinja_expr *parse_not(struct jinja_parser *p)
{
    if (!jinja_skip_name(p, "not"))
        return parse_compare(p);
    if (jinja_enter(p) < 0)
        return NULL;
    struct jinja_expr *x = make_one(p, JINJA_NOT, parse_not(p));
    p->depth--;
    return x;
}

static struct jinja_expr *parse_and(struct jinja_parser *p)
{
    struct jinja_expr *x = parse_not(p);
    while (x && jinja_skip_name(p, "and"))
        x = make_two(p, JINJA_AND, x, parse_not(p));
    return x;
}

struct jinja_expr *jinja_parse_no_cond(struct jinja_parser *p)
{
    struct jinja_expr *x = parse_and(p);
    while (x && jinja_skip_name(p, "or"))
        x = make_two(p, JINJA_OR, x, parse_and(p));
    return x;
}

/* b if a else c; without else: undefined. */
static struct jinja_expr *parse_cond(struct jinja_parser *p, struct jinja_expr *then)
{
    struct jinja_expr *x = make(p, JINJA_COND, 3);
    if (!x)
        return NULL;
    x->args[0] = jinja_parse_no_cond(p);
    x->args[1] = then;
    if (!x->args[0])
        return NULL;
    if (jinja_skip_name(p, "else")) {
        x->args[2] = jinja_parse_expr(p);
        if (!x->args[2])
            return NULL;
    }
    return finish(p, x);
}

struct jinja_expr *jinja_parse_expr(struct jinja_parser *p)
{
    if (jinja_enter(p) < 0)
        return NULL;
    struct jinja_expr *x = jinja_parse_no_cond(p);
    while (x && jinja_skip_name(p, "if"))
        x = parse_cond(p, x);
    p->depth--;
    return x;
}
