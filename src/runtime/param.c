/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/param.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "runtime/runtime.h"

enum kind { KIND_REAL, KIND_WHOLE, KIND_MODE, KIND_STOP, KIND_LATER };

struct row {
    struct param_row text;
    enum kind kind;
    double min; /* REAL, and WHOLE within 2^53 */
    double max;
};

static const struct row rows[] = {
    {{"temperature", "0.8", "0 to 100", "how freely it chooses; 0: always the likeliest token"},
     KIND_REAL,
     0,
     100},
    {{"top_k", "40", "0 to 1000000", "chooses among so many likeliest tokens; 0: all"},
     KIND_WHOLE,
     0,
     1000000},
    {{"top_p", "0.95", "0 to 1", "chooses among the likeliest that have this probability together"},
     KIND_REAL,
     0,
     1},
    {{"min_p", "0.05", "0 to 1", "leaves out what is less likely than this part of the likeliest"},
     KIND_REAL,
     0,
     1},
    {{"repeat_penalty", "1", "0.01 to 100", "above 1: makes tokens that came already less likely"},
     KIND_REAL,
     0.01,
     100},
    {{"repeat_last_n", "64", "-1 to 1000000", "how far back penalties look; 0: off, -1: all"},
     KIND_WHOLE,
     -1,
     1000000},
    {{"presence_penalty", "0", "-2 to 2", "taken off a token that came already"}, KIND_REAL, -2, 2},
    {{"frequency_penalty", "0", "-2 to 2", "taken off a token for each time that it came"},
     KIND_REAL,
     -2,
     2},
    {{"seed", "-1", "-1 to 9007199254740992", "of the random numbers; -1: another each time"},
     KIND_WHOLE,
     -1,
     9007199254740992.0},
    {{"max_tokens", "-1", "-1 to 2147483647", "most tokens of an answer; -1: to the context's end"},
     KIND_WHOLE,
     -1,
     2147483647},
    {{"time_limit", "0", "0 to 31536000", "seconds that an answer may take; 0: any"},
     KIND_REAL,
     0,
     31536000},
    {{"stop", "-", "text", "the answer ends before one of these, one a line; \\n \\t \\\\ escaped"},
     KIND_STOP,
     0,
     0},
    {{"mode", "auto", "auto chat raw", "raw: no chat template; auto: chat where there is one"},
     KIND_MODE,
     0,
     0},
    {{"context", "0", "0 to 2147483647", "most tokens of a conversation; 0: the model's"},
     KIND_WHOLE,
     0,
     2147483647},
    {{"grammar", "-", "not yet", "GBNF: what an answer must look like"}, KIND_LATER, 0, 0},
    {{"schema", "-", "not yet", "JSON Schema: what an answer must satisfy"}, KIND_LATER, 0, 0},
};

static const struct row *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].text.name, name) == 0)
            return &rows[i];
    return NULL;
}

bool param_row(size_t i, struct param_row *row)
{
    if (i >= ARRAY_LEN(rows))
        return false;
    *row = rows[i].text;
    return true;
}

bool rt_param_known(const char *name)
{
    return find(name) != NULL;
}

bool rt_param_is_number(const char *name)
{
    const struct row *r = find(name);
    return r && (r->kind == KIND_REAL || r->kind == KIND_WHOLE);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **text, size_t *n)
{
    while (*n > 0 && is_space((*text)[*n - 1]))
        --*n;
    while (*n > 0 && is_space(**text))
        ++*text, --*n;
}

static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* Decimal numbers only: strtod takes hexadecimal ones, infinities and "nan" as well. */
static int parse_number(const struct row *r, const char *text, size_t n, double *v, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *digits = r->kind == KIND_WHOLE ? "+-0123456789" : "+-.0123456789eE";
    char s[64];
    char *end = s;
    pthread_once(&once, make_locale);
    if (n < sizeof(s)) {
        memcpy(s, text, n);
        s[n] = '\0';
        if (strlen(s) == n && strspn(s, digits) == n)
            *v = strtod_l(s, &end, c_locale);
    }
    if (end == s || *end != '\0' || !isfinite(*v) || *v < r->min || *v > r->max)
        return err_set(e, EINVAL, "%s must be a %snumber, %s", r->text.name,
                       r->kind == KIND_WHOLE ? "whole " : "", r->text.range);
    return 0;
}

static int parse_mode(const char *text, size_t n, enum proto_mode *mode, struct err *e)
{
    static const char *const names[] = {"auto", "chat", "raw"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strlen(names[i]) == n && memcmp(names[i], text, n) == 0) {
            *mode = (enum proto_mode)i;
            return 0;
        }
    }
    if (n == 5 && memcmp(text, "embed", 5) == 0)
        return err_set(e, EINVAL, "this version of llmosfs has no mode embed yet");
    return err_set(e, EINVAL, "mode must be auto, chat or raw");
}

/* One line to one stop sequence at the end of b. */
static int unescape(const char *line, size_t n, struct buf *b, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (line[i] != '\\') {
            buf_add_char(b, line[i]);
            continue;
        }
        char c = i + 1 < n ? line[++i] : '\0';
        if (c != 'n' && c != 't' && c != '\\')
            return err_set(e, EINVAL, "stop: after a backslash comes n, t or another backslash");
        buf_add_char(b, (char)(c == 'n' ? '\n' : c == 't' ? '\t' : '\\'));
    }
    return 0;
}

static int parse_stops(const char *text, size_t n, struct params *p, struct err *e)
{
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (!utf8_valid(text, n) || memchr(text, '\0', n))
        return err_set(e, EINVAL, "stop is not a text in UTF-8");
    buf_clear(&p->stop_text);
    p->n_stops = 0;
    while (n > 0) {
        const char *nl = memchr(text, '\n', n);
        size_t line = nl ? (size_t)(nl - text) : n;
        size_t before = p->stop_text.len;
        if (p->n_stops == PROTO_STOPS_MAX)
            return err_set(e, EINVAL, "stop has more than %d lines", PROTO_STOPS_MAX);
        if (line == 0 || line > PARAM_STOP_MAX)
            return err_set(e, EINVAL, "stop: line %zu must have 1 to %d bytes", p->n_stops + 1,
                           PARAM_STOP_MAX);
        if (unescape(text, line, &p->stop_text, e) < 0)
            return -1;
        if (p->stop_text.len > before)
            p->stop_ends[p->n_stops++] = p->stop_text.len;
        line += nl != NULL;
        text += line;
        n -= line;
    }
    return 0;
}

void params_init(struct params *p)
{
    memset(p, 0, sizeof(*p));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].kind != KIND_STOP && rows[i].kind != KIND_LATER)
            params_set(p, rows[i].text.name, rows[i].text.normal, strlen(rows[i].text.normal),
                       NULL);
}

void params_free(struct params *p)
{
    buf_free(&p->stop_text);
}

static void store_number(struct params *p, const char *name, double v)
{
    struct proto_sampling *s = &p->sampling;
    if (strcmp(name, "temperature") == 0)
        s->temperature = v;
    else if (strcmp(name, "top_k") == 0)
        s->top_k = (int32_t)v;
    else if (strcmp(name, "top_p") == 0)
        s->top_p = v;
    else if (strcmp(name, "min_p") == 0)
        s->min_p = v;
    else if (strcmp(name, "repeat_penalty") == 0)
        s->repeat_penalty = v;
    else if (strcmp(name, "repeat_last_n") == 0)
        s->repeat_last_n = (int32_t)v;
    else if (strcmp(name, "presence_penalty") == 0)
        s->presence_penalty = v;
    else if (strcmp(name, "frequency_penalty") == 0)
        s->frequency_penalty = v;
    else if (strcmp(name, "seed") == 0)
        p->random_seed = v < 0, s->seed = v < 0 ? 0 : (uint64_t)v;
    else if (strcmp(name, "max_tokens") == 0)
        p->max_tokens = (int64_t)v;
    else if (strcmp(name, "time_limit") == 0)
        p->time_limit = v;
    else if (strcmp(name, "context") == 0)
        p->context = (uint32_t)v;
}

int params_set(struct params *p, const char *name, const char *text, size_t n, struct err *e)
{
    const struct row *r = find(name);
    if (!r)
        return err_set(e, EINVAL, "there is no parameter %s", name);
    if (n > PARAM_TEXT_MAX)
        return err_set(e, EINVAL, "%s has more than %u bytes", name, PARAM_TEXT_MAX);
    const char *bare = text;
    size_t n_bare = n;
    double v = 0;
    trim(&bare, &n_bare);
    if (n_bare == 0)
        return 0;
    switch (r->kind) {
    case KIND_REAL:
    case KIND_WHOLE:
        if (parse_number(r, bare, n_bare, &v, e) < 0)
            return -1;
        store_number(p, name, v);
        return 0;
    case KIND_MODE:
        return parse_mode(bare, n_bare, &p->mode, e);
    case KIND_STOP:
        return parse_stops(text, n, p, e);
    case KIND_LATER:
        break;
    }
    return err_set(e, EINVAL, "this version of llmosfs cannot follow a %s yet", name);
}

int rt_param_check(const char *name, const char *text, size_t n, struct buf *normal, struct err *e)
{
    struct params p;
    const struct row *r = find(name);
    params_init(&p);
    int result = params_set(&p, name, text, n, e);
    params_free(&p);
    if (result < 0 || !normal)
        return result;
    const char *bare = text;
    trim(&bare, &n);
    if (n == 0)
        return 0;
    if (r->kind == KIND_STOP) /* a space in front of a sequence is part of it */
        n += (size_t)(bare - text), bare = text;
    buf_add(normal, bare, n);
    buf_add_char(normal, '\n');
    return 0;
}

int rt_text_check(const char *name, const char *text, size_t n, struct err *e)
{
    if (n > RT_TEXT_MAX)
        return err_set(e, EFBIG, "%s has more than %u bytes", name, RT_TEXT_MAX);
    if (!utf8_valid(text, n) || memchr(text, '\0', n))
        return err_set(e, EINVAL, "%s is not a text in UTF-8", name);
    return 0;
}
