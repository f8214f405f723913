/* SPDX-License-Identifier: Apache-2.0 */
/* Tests: what may follow "is". */
#include "model/jinja_builtin.h"

#define KIND_TEST(name, condition)                                                                 \
    static int name(struct jinja *j, args_t a, struct jinja_value *v)                              \
    {                                                                                              \
        (void)j;                                                                                   \
        enum jinja_kind k = a[0].kind;                                                             \
        return jinja_give_bool(condition, v);                                                      \
    }

KIND_TEST(is_defined, k != JINJA_UNDEFINED)
KIND_TEST(is_undefined, k == JINJA_UNDEFINED)
KIND_TEST(is_none, k == JINJA_NONE)
KIND_TEST(is_boolean, k == JINJA_BOOL)
KIND_TEST(is_true, k == JINJA_BOOL && a[0].b)
KIND_TEST(is_false, k == JINJA_BOOL && !a[0].b)
KIND_TEST(is_integer, k == JINJA_INT)
KIND_TEST(is_float, k == JINJA_FLOAT)
KIND_TEST(is_number, k == JINJA_INT || k == JINJA_FLOAT || k == JINJA_BOOL)
KIND_TEST(is_string, k == JINJA_STR)
KIND_TEST(is_mapping, k == JINJA_DICT && !a[0].dict->is_namespace)
KIND_TEST(is_sequence, k == JINJA_STR || k == JINJA_LIST || k == JINJA_UNDEFINED ||
                           (k == JINJA_DICT && !a[0].dict->is_namespace))
KIND_TEST(is_callable, k == JINJA_FUNCTION)

static int modulo(struct jinja *j, args_t a, int64_t by, int64_t rest, struct jinja_value *v)
{
    if (a[0].kind != JINJA_INT || by == 0)
        return jinja_fail(j, "%s is divided by %lld", jinja_kind_name(&a[0]), (long long)by);
    return jinja_give_bool(by != -1 && a[0].i % by != 0 ? rest != 0 : rest == 0, v);
}

static int is_odd(struct jinja *j, args_t a, struct jinja_value *v)
{
    return modulo(j, a, 2, 1, v);
}

static int is_even(struct jinja *j, args_t a, struct jinja_value *v)
{
    return modulo(j, a, 2, 0, v);
}

static int is_divisible(struct jinja *j, args_t a, struct jinja_value *v)
{
    int64_t by;
    return jinja_arg_int(j, &a[1], 0, &by) < 0 ? -1 : modulo(j, a, by, 0, v);
}

static int is_equal(struct jinja *j, args_t a, struct jinja_value *v)
{
    bool equal;
    return jinja_equal(j, &a[0], &a[1], &equal) < 0 ? -1 : jinja_give_bool(equal, v);
}

static int is_unequal(struct jinja *j, args_t a, struct jinja_value *v)
{
    bool equal;
    return jinja_equal(j, &a[0], &a[1], &equal) < 0 ? -1 : jinja_give_bool(!equal, v);
}

static int is_in(struct jinja *j, args_t a, struct jinja_value *v)
{
    bool found;
    return jinja_contains(j, &a[1], &a[0], &found) < 0 ? -1 : jinja_give_bool(found, v);
}

static int ordered(struct jinja *j, args_t a, int one, int other, struct jinja_value *v)
{
    int order;
    return jinja_order(j, &a[0], &a[1], &order) < 0
               ? -1
               : jinja_give_bool(order == one || order == other, v);
}

static int is_less(struct jinja *j, args_t a, struct jinja_value *v)
{
    return ordered(j, a, -1, -1, v);
}

static int is_at_most(struct jinja *j, args_t a, struct jinja_value *v)
{
    return ordered(j, a, -1, 0, v);
}

static int is_greater(struct jinja *j, args_t a, struct jinja_value *v)
{
    return ordered(j, a, 1, 1, v);
}

static int is_at_least(struct jinja *j, args_t a, struct jinja_value *v)
{
    return ordered(j, a, 1, 0, v);
}

const struct jinja_builtin jinja_tests[] = {
    {"defined", JINJA_IS, is_defined, .required = 0},
    {"undefined", JINJA_IS, is_undefined, .required = 0},
    {"none", JINJA_IS, is_none, .required = 0},
    {"boolean", JINJA_IS, is_boolean, .required = 0},
    {"true", JINJA_IS, is_true, .required = 0},
    {"false", JINJA_IS, is_false, .required = 0},
    {"integer", JINJA_IS, is_integer, .required = 0},
    {"float", JINJA_IS, is_float, .required = 0},
    {"number", JINJA_IS, is_number, .required = 0},
    {"string", JINJA_IS, is_string, .required = 0},
    {"mapping", JINJA_IS, is_mapping, .required = 0},
    {"iterable", JINJA_IS, is_sequence, .required = 0},
    {"sequence", JINJA_IS, is_sequence, .required = 0},
    {"callable", JINJA_IS, is_callable, .required = 0},
    {"odd", JINJA_IS, is_odd, .required = 0},
    {"even", JINJA_IS, is_even, .required = 0},
    {"divisibleby", JINJA_IS, is_divisible, .params = {"num"}, .required = 1},
    {"equalto", JINJA_IS, is_equal, .params = {"other"}, .required = 1},
    {"eq", JINJA_IS, is_equal, .params = {"other"}, .required = 1},
    {"==", JINJA_IS, is_equal, .params = {"other"}, .required = 1},
    {"ne", JINJA_IS, is_unequal, .params = {"other"}, .required = 1},
    {"!=", JINJA_IS, is_unequal, .params = {"other"}, .required = 1},
    {"in", JINJA_IS, is_in, .params = {"seq"}, .required = 1},
    {"lt", JINJA_IS, is_less, .params = {"other"}, .required = 1},
    {"lessthan", JINJA_IS, is_less, .params = {"other"}, .required = 1},
    {"<", JINJA_IS, is_less, .params = {"other"}, .required = 1},
    {"le", JINJA_IS, is_at_most, .params = {"other"}, .required = 1},
    {"<=", JINJA_IS, is_at_most, .params = {"other"}, .required = 1},
    {"gt", JINJA_IS, is_greater, .params = {"other"}, .required = 1},
    {"greaterthan", JINJA_IS, is_greater, .params = {"other"}, .required = 1},
    {">", JINJA_IS, is_greater, .params = {"other"}, .required = 1},
    {"ge", JINJA_IS, is_at_least, .params = {"other"}, .required = 1},
    {">=", JINJA_IS, is_at_least, .params = {"other"}, .required = 1},
    {.name = NULL},
};
