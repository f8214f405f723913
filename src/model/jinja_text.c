/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings that know where each of their bytes comes from. Whatever a template does to a message
 * (cut, replace, join …), the bytes of the message stay the message's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "model/jinja.h"

/* --- origins --- */

int jinja_origin(const struct jinja_str *s, size_t at, size_t *run_end)
{
    if (s->n_runs == 0) {
        *run_end = s->len;
        return s->origin;
    }
    size_t low = 0;
    size_t high = s->n_runs - 1;
    while (low < high) { /* the first run that ends behind it */
        size_t middle = (low + high) / 2;
        if (s->runs[middle].end > at + s->skip)
            high = middle;
        else
            low = middle + 1;
    }
    *run_end = MIN(s->runs[low].end - s->skip, s->len);
    return s->runs[low].origin;
}

int jinja_slice(struct jinja *j, const struct jinja_str *s, size_t start, size_t end,
                const struct jinja_str **out)
{
    struct jinja_str *part = jinja_get(j, sizeof(*part));
    if (!part)
        return -1;
    *part = *s;
    part->data += start;
    part->len = end - start;
    part->skip += start;
    *out = part;
    return 0;
}

int jinja_c_str(struct jinja *j, const char *text, const struct jinja_str **s)
{
    struct jinja_builder b = {0};
    int r = jinja_build_bytes(j, &b, text, strlen(text), JINJA_TEMPLATE);
    if (r == 0)
        r = jinja_built(j, &b, s);
    jinja_builder_free(&b);
    return r;
}

/* --- building --- */

static int reserve(struct jinja *j, struct jinja_builder *b, size_t more)
{
    size_t limit = b->limit ? b->limit : JINJA_MEMORY_MAX;
    if (more > limit - b->len)
        return err_set(j->e, ENOMEM, "the chat template makes more than %zu MiB of text",
                       limit >> 20);
    if (b->len + more <= b->cap)
        return 0;
    size_t cap = MAX(MAX((size_t)128, b->cap * 2), b->len + more);
    char *data = realloc(b->data, cap);
    if (!data)
        return err_set(j->e, ENOMEM, "no memory for %zu bytes of text", cap);
    b->data = data;
    b->cap = cap;
    return 0;
}

static int add_run(struct jinja *j, struct jinja_builder *b, int origin)
{
    if (b->n_runs > 0 && b->runs[b->n_runs - 1].origin == origin) {
        b->runs[b->n_runs - 1].end = b->len;
        return 0;
    }
    if (b->n_runs == b->runs_cap) {
        size_t cap = MAX((size_t)8, b->runs_cap * 2);
        struct jinja_run *runs = reallocarray(b->runs, cap, sizeof(*runs));
        if (!runs)
            return err_set(j->e, ENOMEM, "no memory for %zu runs of text", cap);
        b->runs = runs;
        b->runs_cap = cap;
    }
    b->runs[b->n_runs++] = (struct jinja_run){b->len, origin};
    return 0;
}

int jinja_build_bytes(struct jinja *j, struct jinja_builder *b, const char *text, size_t len,
                      int origin)
{
    if (len == 0)
        return 0;
    if (jinja_steps(j, len / 256 + 1) < 0 || reserve(j, b, len) < 0)
        return -1;
    memcpy(b->data + b->len, text, len);
    b->len += len;
    return add_run(j, b, origin);
}

int jinja_build(struct jinja *j, struct jinja_builder *b, const struct jinja_str *s)
{
    size_t end;
    for (size_t i = 0; i < s->len; i = end) {
        int origin = jinja_origin(s, i, &end);
        if (jinja_build_bytes(j, b, s->data + i, end - i, origin) < 0)
            return -1;
    }
    return 0;
}

int jinja_built(struct jinja *j, struct jinja_builder *b, const struct jinja_str **out)
{
    bool mixed = b->n_runs > 1;
    struct jinja_str *s = jinja_get(j, sizeof(*s));
    char *data = jinja_get(j, b->len + 1);
    struct jinja_run *runs = mixed ? jinja_get(j, b->n_runs * sizeof(*runs)) : NULL;
    if (!s || !data || (mixed && !runs))
        return -1;
    if (b->len > 0)
        memcpy(data, b->data, b->len);
    if (mixed)
        memcpy(runs, b->runs, b->n_runs * sizeof(*runs));
    *s = (struct jinja_str){
        .data = data, .len = b->len, .runs = runs, .n_runs = mixed ? b->n_runs : 0};
    s->origin = b->n_runs > 0 ? b->runs[0].origin : JINJA_TEMPLATE;
    *out = s;
    return 0;
}

void jinja_builder_free(struct jinja_builder *b)
{
    free(b->data);
    free(b->runs);
    *b = (struct jinja_builder){0};
}

/* --- characters --- */

size_t jinja_char(const struct jinja_str *s, size_t at)
{
    uint32_t c;
    size_t len = utf8_decode(s->data + at, s->len - at, &c);
    return len ? len : 1;
}

size_t jinja_chars(const struct jinja_str *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->len; i += jinja_char(s, i))
        n++;
    return n;
}

/* str.isspace(): White_Space and the four separators U+001C to U+001F. */
bool jinja_space(const char *s, size_t n, size_t *len)
{
    uint32_t c;
    *len = utf8_decode(s, n, &c);
    if (*len == 0)
        return false;
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* --- what templates do to strings --- */

const char *jinja_find(const struct jinja_str *s, size_t from, const struct jinja_str *what)
{
    if (from > s->len)
        return NULL;
    return what->len == 0 ? s->data + from
                          : memmem(s->data + from, s->len - from, what->data, what->len);
}

/* The character at `at` is to be stripped: one of chars, or white space if that is NULL. */
static bool stripped(const struct jinja_str *s, size_t at, size_t len,
                     const struct jinja_str *chars)
{
    size_t n;
    if (!chars)
        return jinja_space(s->data + at, len, &n);
    for (size_t i = 0; i < chars->len; i += n) {
        n = jinja_char(chars, i);
        if (n == len && memcmp(chars->data + i, s->data + at, n) == 0)
            return true;
    }
    return false;
}

int jinja_strip(struct jinja *j, const struct jinja_str *s, const struct jinja_str *chars,
                bool left, bool right, const struct jinja_str **out)
{
    size_t start = 0;
    size_t end = s->len;
    if (jinja_steps(j, s->len / 256 * (chars ? chars->len + 1 : 1) + 1) < 0)
        return -1;
    while (left && start < end) {
        size_t n = jinja_char(s, start);
        if (!stripped(s, start, n, chars))
            break;
        start += n;
    }
    while (right && start < end) {
        size_t at = end - 1;
        while (at > start && end - at < 4 && ((unsigned char)s->data[at] & 0xC0) == 0x80)
            at--;
        if (jinja_char(s, at) != end - at)
            at = end - 1; /* no valid sequence: a byte alone */
        if (!stripped(s, at, end - at, chars))
            break;
        end = at;
    }
    return jinja_slice(j, s, start, end, out);
}

struct pieces {
    const struct jinja_str **items;
    size_t n;
    size_t cap;
};

static int add_piece(struct jinja *j, struct pieces *p, const struct jinja_str *s, size_t start,
                     size_t end)
{
    if (p->n == p->cap) {
        size_t cap = MAX((size_t)8, p->cap * 2);
        const struct jinja_str **items = reallocarray(p->items, cap, sizeof(struct jinja_str *));
        if (!items)
            return err_set(j->e, ENOMEM, "no memory for %zu pieces of text", cap);
        p->items = items;
        p->cap = cap;
    }
    return jinja_slice(j, s, start, end, &p->items[p->n++]);
}

static int split_by(struct jinja *j, const struct jinja_str *s, const struct jinja_str *by,
                    int64_t max, struct pieces *p)
{
    size_t from = 0;
    const char *found;
    while (max != 0 && (found = jinja_find(s, from, by))) {
        size_t at = (size_t)(found - s->data);
        if (jinja_steps(j, 1) < 0 || add_piece(j, p, s, from, at) < 0)
            return -1;
        from = at + by->len;
        max--;
    }
    return add_piece(j, p, s, from, s->len);
}

/* The pieces come in the order from the end to the beginning. */
static int split_by_from_right(struct jinja *j, const struct jinja_str *s,
                               const struct jinja_str *by, int64_t max, struct pieces *p)
{
    size_t end = s->len;
    for (size_t at = s->len; max != 0 && at >= by->len; at--) {
        if (at > end || memcmp(s->data + at - by->len, by->data, by->len) != 0)
            continue;
        if (jinja_steps(j, 1) < 0 || add_piece(j, p, s, at, end) < 0)
            return -1;
        end = at - by->len;
        at = end + 1;
        max--;
    }
    return add_piece(j, p, s, 0, end);
}

static int split_by_space(struct jinja *j, const struct jinja_str *s, int64_t max, struct pieces *p)
{
    size_t n;
    for (size_t i = 0; i < s->len;) {
        if (jinja_space(s->data + i, s->len - i, &n)) {
            i += n;
            continue;
        }
        size_t end = max == 0 ? s->len : i; /* the last piece has the rest as it is */
        while (end < s->len && !jinja_space(s->data + end, s->len - end, &n))
            end += MAX(n, (size_t)1);
        if (jinja_steps(j, 1) < 0 || add_piece(j, p, s, i, end) < 0)
            return -1;
        i = end;
        max--;
    }
    return 0;
}

int jinja_split(struct jinja *j, const struct jinja_str *s, const struct jinja_str *by, int64_t max,
                bool from_right, const struct jinja_list **out)
{
    struct pieces p = {0};
    int r;
    if (by && by->len == 0)
        return jinja_fail(j, "a string is split by an empty one");
    if (!by && from_right)
        return jinja_fail(j, "rsplit without a separator is not supported");
    if (jinja_steps(j, s->len / 256 + 1) < 0)
        return -1;
    if (!by)
        r = split_by_space(j, s, max, &p);
    else if (from_right)
        r = split_by_from_right(j, s, by, max, &p);
    else
        r = split_by(j, s, by, max, &p);
    struct jinja_list *list;
    if (r == 0)
        r = jinja_make_list(j, p.n, &list);
    for (size_t i = 0; r == 0 && i < p.n; i++)
        list->items[i] = jinja_of_str(p.items[from_right ? p.n - 1 - i : i]);
    free(p.items);
    if (r == 0)
        *out = list;
    return r;
}

int jinja_replace(struct jinja *j, const struct jinja_str *s, const struct jinja_str *old,
                  const struct jinja_str *with, int64_t max, const struct jinja_str **out)
{
    struct jinja_builder b = {0};
    const struct jinja_str *part;
    size_t from = 0;
    int r = old->len > 0 ? 0 : jinja_fail(j, "an empty string is replaced");
    while (r == 0) {
        const char *found = max == 0 ? NULL : jinja_find(s, from, old);
        size_t at = found ? (size_t)(found - s->data) : s->len;
        r = jinja_slice(j, s, from, at, &part) < 0 ? -1 : jinja_build(j, &b, part);
        if (!found || r < 0)
            break;
        r = jinja_build(j, &b, with);
        from = at + old->len;
        max--;
    }
    if (r == 0)
        r = jinja_built(j, &b, out);
    jinja_builder_free(&b);
    return r;
}

static char recased(char c, enum jinja_case to, bool first, bool after_letter)
{
    bool lower = c >= 'a' && c <= 'z';
    bool upper = c >= 'A' && c <= 'Z';
    bool up = to == JINJA_UPPER || (to == JINJA_TITLE && !after_letter) ||
              (to == JINJA_CAPITALIZE && first);
    if (up && lower)
        return (char)(c - 'a' + 'A');
    return !up && upper ? (char)(c - 'A' + 'a') : c;
}

int jinja_recase(struct jinja *j, const struct jinja_str *s, enum jinja_case to,
                 const struct jinja_str **out)
{
    struct jinja_str *copy = jinja_get(j, sizeof(*copy));
    char *data = jinja_get(j, s->len + 1);
    if (!copy || !data || jinja_steps(j, s->len / 256 + 1) < 0)
        return -1;
    bool after_letter = false;
    for (size_t i = 0; i < s->len; i++) {
        if ((unsigned char)s->data[i] >= 0x80)
            return jinja_fail(j, "upper and lower case of letters beyond ASCII are not supported");
        data[i] = recased(s->data[i], to, i == 0, after_letter);
        after_letter = (data[i] >= 'a' && data[i] <= 'z') || (data[i] >= 'A' && data[i] <= 'Z');
    }
    *copy = *s;
    copy->data = data;
    *out = copy;
    return 0;
}

/* --- JSON, as json.dumps(v, ensure_ascii=False) --- */

static int json_string(struct jinja *j, struct jinja_builder *b, const struct jinja_str *s)
{
    static const char from[] = "\"\\\n\r\t\b\f";
    static const char *const to[] = {"\\\"", "\\\\", "\\n", "\\r", "\\t", "\\b", "\\f"};
    if (jinja_build_bytes(j, b, "\"", 1, JINJA_TEMPLATE) < 0)
        return -1;
    for (size_t i = 0; i < s->len;) {
        size_t run_end;
        int origin = jinja_origin(s, i, &run_end);
        size_t n = i;
        while (n < run_end && (unsigned char)s->data[n] >= 0x20 && s->data[n] != '"' &&
               s->data[n] != '\\')
            n++;
        if (jinja_build_bytes(j, b, s->data + i, n - i, origin) < 0)
            return -1;
        if (n < run_end) {
            char c = s->data[n++];
            const char *known = memchr(from, c, sizeof(from) - 1);
            char escape[8] = {
                '\\', 'u', '0', '0', (char)('0' + (c >> 4)), "0123456789abcdef"[c & 15], 0, 0};
            const char *text = known ? to[known - from] : escape;
            if (jinja_build_bytes(j, b, text, strlen(text), origin) < 0)
                return -1;
        }
        i = n;
    }
    return jinja_build_bytes(j, b, "\"", 1, JINJA_TEMPLATE);
}

struct json {
    struct jinja *j;
    struct jinja_builder b;
    int64_t indent;
    int level;
};

static int json_text(struct json *d, const char *text)
{
    return jinja_build_bytes(d->j, &d->b, text, strlen(text), JINJA_TEMPLATE);
}

static int json_break(struct json *d)
{
    if (d->indent < 0)
        return 0;
    int r = json_text(d, "\n");
    for (int64_t i = 0; r == 0 && i < d->indent * d->level; i++)
        r = json_text(d, " ");
    return r;
}

static int json_value(struct json *d, const struct jinja_value *v);

static int json_items(struct json *d, const struct jinja_value *v)
{
    bool dict = v->kind == JINJA_DICT;
    size_t n = dict ? v->dict->n : v->list->n;
    int r = json_text(d, dict ? "{" : "[");
    d->level++;
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (i > 0)
            r = json_text(d, d->indent < 0 ? ", " : ",");
        if (r == 0)
            r = json_break(d);
        if (r == 0 && dict)
            r = json_string(d->j, &d->b, v->dict->entries[i].key) < 0 ? -1 : json_text(d, ": ");
        if (r == 0)
            r = json_value(d, dict ? &v->dict->entries[i].value : &v->list->items[i]);
    }
    d->level--;
    if (r == 0 && n > 0)
        r = json_break(d);
    return r == 0 ? json_text(d, dict ? "}" : "]") : -1;
}

static int json_value(struct json *d, const struct jinja_value *v)
{
    char number[40];
    if (jinja_steps(d->j, 1) < 0)
        return -1;
    switch (v->kind) {
    case JINJA_NONE:
        return json_text(d, "null");
    case JINJA_BOOL:
        return json_text(d, v->b ? "true" : "false");
    case JINJA_INT:
        snprintf(number, sizeof(number), "%lld", (long long)v->i);
        return json_text(d, number);
    case JINJA_FLOAT:
        jinja_print_float(v->f, number);
        return json_text(d, number);
    case JINJA_STR:
        return json_string(d->j, &d->b, v->s);
    case JINJA_LIST:
    case JINJA_DICT:
        if (d->level >= JINJA_DEPTH_MAX)
            return jinja_fail(d->j, "tojson of something nested more than %d deep",
                              JINJA_DEPTH_MAX);
        return json_items(d, v);
    default:
        return jinja_fail(d->j, "tojson of %s", jinja_kind_name(v));
    }
}

int jinja_json(struct jinja *j, const struct jinja_value *v, int64_t indent,
               const struct jinja_str **out)
{
    struct json d = {.j = j, .indent = MIN(indent, (int64_t)16)};
    int r = json_value(&d, v);
    if (r == 0)
        r = jinja_built(j, &d.b, out);
    jinja_builder_free(&d.b);
    return r;
}
