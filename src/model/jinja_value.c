/* SPDX-License-Identifier: Apache-2.0 */
/* Values of templates: memory, comparison, access. They behave as Python's do. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/jinja.h"

/* --- memory --- */

#define BLOCK_SIZE ((size_t)64 << 10)

struct jinja_block {
    struct jinja_block *next;
    size_t used;
    size_t size;
    char data[] __attribute__((aligned(16)));
};

void *jinja_alloc(struct jinja_pool *p, size_t n, struct err *e)
{
    if (n > p->limit - p->used) {
        err_set(e, ENOMEM, "the chat template needs more than %zu MiB of memory", p->limit >> 20);
        return NULL;
    }
    n = (n + 15) & ~(size_t)15;
    struct jinja_block *b = p->blocks;
    if (!b || n > b->size - b->used) {
        size_t size = MAX(n, BLOCK_SIZE);
        b = calloc(1, sizeof(*b) + size);
        if (!b) {
            err_set(e, ENOMEM, "no memory for a chat template");
            return NULL;
        }
        b->size = size;
        b->next = p->blocks;
        p->blocks = b;
    }
    void *at = b->data + b->used;
    b->used += n;
    p->used = MIN(p->used + n, p->limit);
    return at;
}

void jinja_pool_free(struct jinja_pool *p)
{
    while (p->blocks) {
        struct jinja_block *next = p->blocks->next;
        free(p->blocks);
        p->blocks = next;
    }
}

int jinja_make_list(struct jinja *j, size_t n, struct jinja_list **list)
{
    *list = jinja_get(j, sizeof(**list));
    if (!*list)
        return -1;
    if (jinja_steps(j, n / 16) < 0 || n > JINJA_MEMORY_MAX / sizeof(struct jinja_value))
        return jinja_fail(j, "a list of %zu elements", n);
    (*list)->items = jinja_get(j, n * sizeof(struct jinja_value));
    (*list)->n = n;
    return (*list)->items ? 0 : -1;
}

int jinja_make_dict(struct jinja *j, size_t n, struct jinja_dict **dict)
{
    *dict = jinja_get(j, sizeof(**dict));
    if (!*dict)
        return -1;
    (*dict)->cap = n;
    (*dict)->entries = jinja_get(j, n * sizeof(struct jinja_entry));
    return (*dict)->entries ? 0 : -1;
}

/* --- dicts --- */

static bool same_bytes(const struct jinja_str *a, const struct jinja_str *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static struct jinja_entry *find_entry(const struct jinja_dict *d, const struct jinja_str *key)
{
    for (size_t i = 0; i < d->n; i++) {
        if (same_bytes(d->entries[i].key, key))
            return &d->entries[i];
    }
    return NULL;
}

int jinja_dict_get(struct jinja *j, const struct jinja_dict *d, const struct jinja_str *key,
                   struct jinja_value *v)
{
    const struct jinja_entry *entry = find_entry(d, key);
    *v = entry ? entry->value : (struct jinja_value){.kind = JINJA_UNDEFINED};
    return jinja_steps(j, d->n / 4);
}

int jinja_dict_set(struct jinja *j, struct jinja_dict *d, const struct jinja_str *key,
                   const struct jinja_value *v)
{
    struct jinja_entry *entry = find_entry(d, key);
    if (jinja_steps(j, d->n / 4) < 0)
        return -1;
    if (entry) {
        entry->value = *v;
        return 0;
    }
    if (d->n == d->cap) {
        size_t cap = MAX((size_t)4, d->cap * 2);
        struct jinja_entry *entries = jinja_get(j, cap * sizeof(*entries));
        if (!entries)
            return -1;
        if (d->n > 0)
            memcpy(entries, d->entries, d->n * sizeof(*entries));
        d->entries = entries;
        d->cap = cap;
    }
    d->entries[d->n++] = (struct jinja_entry){key, *v};
    return 0;
}

/* --- simple ones --- */

struct jinja_value jinja_of_str(const struct jinja_str *s)
{
    return (struct jinja_value){.kind = JINJA_STR, .s = s};
}

struct jinja_value jinja_of_bool(bool b)
{
    return (struct jinja_value){.kind = JINJA_BOOL, .b = b};
}

struct jinja_value jinja_of_int(int64_t i)
{
    return (struct jinja_value){.kind = JINJA_INT, .i = i};
}

const char *jinja_kind_name(const struct jinja_value *v)
{
    static const char *const names[] = {"nothing",   "an undefined value",
                                        "none",      "true or false",
                                        "a number",  "a number",
                                        "a text",    "a list",
                                        "a dict",    "loop",
                                        "a function"};
    return names[v->kind];
}

bool jinja_true(const struct jinja_value *v)
{
    switch (v->kind) {
    case JINJA_BOOL:
        return v->b;
    case JINJA_INT:
        return v->i != 0;
    case JINJA_FLOAT:
        return v->f != 0;
    case JINJA_STR:
        return v->s->len > 0;
    case JINJA_LIST:
        return v->list->n > 0;
    case JINJA_DICT:
        return v->dict->n > 0 || v->dict->is_namespace;
    case JINJA_LOOP:
    case JINJA_FUNCTION:
        return true;
    default:
        return false;
    }
}

static bool as_int(const struct jinja_value *v, int64_t *i)
{
    if (v->kind == JINJA_INT)
        *i = v->i;
    else if (v->kind == JINJA_BOOL)
        *i = v->b;
    else
        return false;
    return true;
}

static bool as_number(const struct jinja_value *v, double *f)
{
    int64_t i;
    if (v->kind == JINJA_FLOAT)
        *f = v->f;
    else if (as_int(v, &i))
        *f = (double)i;
    else
        return false;
    return true;
}

/* --- comparison --- */

static int compare_bytes(const struct jinja_str *a, const struct jinja_str *b)
{
    int c =
        memcmp(a->data, b->data, MIN(a->len, b->len)); /* in UTF-8 the order of the characters */
    if (c == 0)
        return a->len < b->len ? -1 : a->len > b->len;
    return c < 0 ? -1 : 1;
}

int jinja_order(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                int *order)
{
    int64_t i;
    int64_t k;
    double f;
    double g;
    if (as_int(a, &i) && as_int(b, &k)) {
        *order = i < k ? -1 : i > k;
    } else if (as_number(a, &f) && as_number(b, &g)) {
        *order = f < g ? -1 : f > g ? 1 : f == g ? 0 : 2;
    } else if (a->kind == JINJA_STR && b->kind == JINJA_STR) {
        *order = compare_bytes(a->s, b->s);
        return jinja_steps(j, MIN(a->s->len, b->s->len) / 256);
    } else {
        return jinja_fail(j, "%s cannot be compared with %s", jinja_kind_name(a),
                          jinja_kind_name(b));
    }
    return 0;
}

static int equal_lists(struct jinja *j, const struct jinja_list *a, const struct jinja_list *b,
                       bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; *equal && i < a->n; i++) {
        if (jinja_equal(j, &a->items[i], &b->items[i], equal) < 0)
            return -1;
    }
    return 0;
}

static int equal_dicts(struct jinja *j, const struct jinja_dict *a, const struct jinja_dict *b,
                       bool *equal)
{
    *equal = a == b || (a->n == b->n && !a->is_namespace && !b->is_namespace);
    for (size_t i = 0; *equal && a != b && i < a->n; i++) {
        struct jinja_value other;
        if (jinja_dict_get(j, b, a->entries[i].key, &other) < 0 ||
            jinja_equal(j, &a->entries[i].value, &other, equal) < 0)
            return -1;
    }
    return 0;
}

int jinja_equal(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                bool *equal)
{
    double f;
    double g;
    int order;
    int r = 0;
    *equal = false;
    if (jinja_steps(j, 1) < 0)
        return -1;
    if ((as_number(a, &f) && as_number(b, &g)) || (a->kind == JINJA_STR && b->kind == JINJA_STR)) {
        r = jinja_order(j, a, b, &order);
        *equal = r == 0 && order == 0;
    } else if (a->kind == b->kind) {
        /* What holds itself (a namespace may) is not compared for ever: each level counts as one
         * more scope. */
        if (++j->nested > JINJA_DEPTH_MAX)
            return jinja_fail(j, "lists are compared that are nested more than %d deep",
                              JINJA_DEPTH_MAX);
        if (a->kind == JINJA_LIST)
            r = equal_lists(j, a->list, b->list, equal);
        else if (a->kind == JINJA_DICT)
            r = equal_dicts(j, a->dict, b->dict, equal);
        else
            *equal = a->kind == JINJA_NONE || a->kind == JINJA_UNDEFINED || a->loop == b->loop;
        j->nested--;
    }
    return r;
}

int jinja_contains(struct jinja *j, const struct jinja_value *box, const struct jinja_value *v,
                   bool *found)
{
    *found = false;
    switch (box->kind) {
    case JINJA_UNDEFINED:
        return 0;
    case JINJA_STR:
        if (v->kind != JINJA_STR)
            return jinja_fail(j, "%s is looked for in a text", jinja_kind_name(v));
        *found = jinja_find(box->s, 0, v->s) != NULL;
        return jinja_steps(j, box->s->len / 256);
    case JINJA_DICT:
        if (v->kind == JINJA_STR) {
            struct jinja_value value;
            if (jinja_dict_get(j, box->dict, v->s, &value) < 0)
                return -1;
            *found = find_entry(box->dict, v->s) != NULL;
        }
        return 0;
    case JINJA_LIST:
        for (size_t i = 0; !*found && i < box->list->n; i++) {
            if (jinja_equal(j, &box->list->items[i], v, found) < 0)
                return -1;
        }
        return 0;
    default:
        return jinja_fail(j, "something is looked for in %s", jinja_kind_name(box));
    }
}

/* --- access --- */

int jinja_length(struct jinja *j, const struct jinja_value *v, int64_t *n)
{
    switch (v->kind) {
    case JINJA_UNDEFINED:
        *n = 0;
        return 0;
    case JINJA_STR:
        *n = (int64_t)jinja_chars(v->s);
        return jinja_steps(j, v->s->len / 256);
    case JINJA_LIST:
        *n = (int64_t)v->list->n;
        return 0;
    case JINJA_DICT:
        *n = (int64_t)v->dict->n;
        return 0;
    default:
        return jinja_fail(j, "%s has no length", jinja_kind_name(v));
    }
}

static struct jinja_value loop_attr(const struct jinja_loop *l, const struct jinja_str *name)
{
    const struct jinja_value undefined = {.kind = JINJA_UNDEFINED};
    size_t n = l->items->n;
    const struct {
        const char *name;
        struct jinja_value value;
    } attrs[] = {
        {"index", jinja_of_int((int64_t)l->i + 1)},
        {"index0", jinja_of_int((int64_t)l->i)},
        {"revindex", jinja_of_int((int64_t)(n - l->i))},
        {"revindex0", jinja_of_int((int64_t)(n - l->i) - 1)},
        {"first", jinja_of_bool(l->i == 0)},
        {"last", jinja_of_bool(l->i + 1 == n)},
        {"length", jinja_of_int((int64_t)n)},
        {"depth", jinja_of_int(1)}, /* of recursion, which there is none of */
        {"depth0", jinja_of_int(0)},
        {"previtem", l->i > 0 ? l->items->items[l->i - 1] : undefined},
        {"nextitem", l->i + 1 < n ? l->items->items[l->i + 1] : undefined},
    };
    for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
        if (strlen(attrs[i].name) == name->len && memcmp(attrs[i].name, name->data, name->len) == 0)
            return attrs[i].value;
    }
    return undefined;
}

int jinja_attr(struct jinja *j, const struct jinja_value *object, const struct jinja_str *name,
               struct jinja_value *v)
{
    *v = (struct jinja_value){.kind = JINJA_UNDEFINED};
    if (object->kind == JINJA_UNDEFINED)
        return jinja_fail(j, "\"%.*s\" of an undefined value", (int)MIN(name->len, (size_t)64),
                          name->data);
    if (object->kind == JINJA_DICT)
        return jinja_dict_get(j, object->dict, name, v);
    if (object->kind == JINJA_LOOP)
        *v = loop_attr(object->loop, name);
    return 0;
}

/* Where the n-th character begins; s->len if there are fewer. */
static size_t char_at(const struct jinja_str *s, int64_t n)
{
    size_t i = 0;
    for (; n > 0 && i < s->len; n--)
        i += jinja_char(s, i);
    return i;
}

int jinja_item(struct jinja *j, const struct jinja_value *object, const struct jinja_value *index,
               struct jinja_value *v)
{
    int64_t n;
    int64_t i;
    *v = (struct jinja_value){.kind = JINJA_UNDEFINED};
    if (index->kind == JINJA_STR)
        return jinja_attr(j, object, index->s, v);
    if (object->kind == JINJA_UNDEFINED)
        return jinja_fail(j, "an element of an undefined value");
    if (!as_int(index, &i) || (object->kind != JINJA_LIST && object->kind != JINJA_STR))
        return 0;
    if (jinja_length(j, object, &n) < 0)
        return -1;
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return 0;
    if (object->kind == JINJA_LIST) {
        *v = object->list->items[i];
        return 0;
    }
    const struct jinja_str *part;
    size_t at = char_at(object->s, i);
    if (jinja_slice(j, object->s, at, at + jinja_char(object->s, at), &part) < 0)
        return -1;
    *v = jinja_of_str(part);
    return 0;
}

static int list_of_chars(struct jinja *j, const struct jinja_str *s, struct jinja_list *list)
{
    size_t at = 0;
    for (size_t i = 0; i < list->n; i++) {
        const struct jinja_str *part;
        size_t n = jinja_char(s, at);
        if (jinja_slice(j, s, at, at + n, &part) < 0)
            return -1;
        list->items[i] = jinja_of_str(part);
        at += n;
    }
    return 0;
}

int jinja_iterate(struct jinja *j, const struct jinja_value *v, const struct jinja_list **items)
{
    struct jinja_list *list;
    int64_t n;
    if (v->kind == JINJA_LIST) {
        *items = v->list;
        return 0;
    }
    if (v->kind != JINJA_UNDEFINED && v->kind != JINJA_DICT && v->kind != JINJA_STR)
        return jinja_fail(j, "%s has no elements to go through", jinja_kind_name(v));
    if (jinja_length(j, v, &n) < 0 || jinja_make_list(j, (size_t)n, &list) < 0)
        return -1;
    *items = list;
    for (size_t i = 0; v->kind == JINJA_DICT && i < list->n; i++)
        list->items[i] = jinja_of_str(v->dict->entries[i].key);
    return v->kind == JINJA_STR ? list_of_chars(j, v->s, list) : 0;
}

/* --- as text --- */

/* repr() of a float: the shortest digits that give it back. */
size_t jinja_print_float(double f, char text[40])
{
    char digits[40];
    int exponent = 0;
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof(digits), "%.*e", precision - 1, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    const char *e = strchr(digits, 'e');
    if (!e) /* inf, nan */
        return (size_t)snprintf(text, 40, "%s", digits);
    exponent = (int)strtol(e + 1, NULL, 10);
    int precision = (int)(e - digits) - (f < 0 || signbit(f)) - 1 -
                    (memchr(digits, '.', (size_t)(e - digits)) != NULL);
    if (exponent < -4 || exponent >= 16) {
        snprintf(text, 40, "%.*se%+03d", (int)(e - digits), digits, exponent);
        return strlen(text);
    }
    return (size_t)snprintf(text, 40, "%.*f", MAX(1, precision - exponent), f);
}

int jinja_to_str(struct jinja *j, const struct jinja_value *v, const struct jinja_str **s)
{
    char number[40];
    switch (v->kind) {
    case JINJA_STR:
        *s = v->s;
        return 0;
    case JINJA_UNDEFINED:
        return jinja_c_str(j, "", s);
    case JINJA_NONE:
        return jinja_c_str(j, "None", s);
    case JINJA_BOOL:
        return jinja_c_str(j, v->b ? "True" : "False", s);
    case JINJA_INT:
        snprintf(number, sizeof(number), "%lld", (long long)v->i);
        return jinja_c_str(j, number, s);
    case JINJA_FLOAT:
        jinja_print_float(v->f, number);
        return jinja_c_str(j, number, s);
    default:
        return jinja_fail(j, "%s cannot be printed", jinja_kind_name(v));
    }
}
