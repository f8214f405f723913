/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Template to tokens. As Jinja with trim_blocks and lstrip_blocks: one newline after a block or
 * comment goes, and so do blanks between the beginning of a line and a block or comment; {%- and
 * -%} take all white space on their side, {%+ and +%} none.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "model/jinja.h"

struct lexer {
    struct jinja_pool *pool;
    const char *s;
    size_t len;
    size_t at;
    uint32_t line;
    bool line_start; /* the text at `at` begins a line */
    struct jinja_tokens *out;
    struct err *e;
};

static int refuse(const struct lexer *l, const char *what)
{
    return err_set(l->e, ENOEXEC, "line %u: %s", l->line, what);
}

static struct jinja_token *add(struct lexer *l, enum jinja_token_kind kind)
{
    struct jinja_tokens *o = l->out;
    if (o->n == o->cap) {
        size_t cap = MAX((size_t)64, o->cap * 2);
        o->t = xrealloc(o->t,
                        cap * sizeof(*o->t)); /* at most one token for each byte of the template */
        o->cap = cap;
    }
    struct jinja_token *t = &o->t[o->n++];
    *t = (struct jinja_token){.kind = kind, .line = l->line};
    return t;
}

static bool at(const struct lexer *l, const char *what)
{
    size_t n = strlen(what);
    return l->len - l->at >= n && memcmp(l->s + l->at, what, n) == 0;
}

static void advance(struct lexer *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->line += l->s[l->at + i] == '\n';
    l->at += n;
}

static void skip_space(struct lexer *l)
{
    size_t n;
    while (l->at < l->len && jinja_space(l->s + l->at, l->len - l->at, &n))
        advance(l, n);
}

static size_t without_trailing_space(const char *s, size_t len)
{
    for (size_t end = len; end > 0;) {
        size_t start = end - 1;
        size_t n;
        while (start > 0 && ((unsigned char)s[start] & 0xC0) == 0x80 && end - start < 4)
            start--;
        if (!jinja_space(s + start, end - start, &n) || n != end - start)
            return end;
        end = start;
    }
    return 0;
}

/* Where the blanks begin that stand alone between the beginning of a line and the end of the data;
 * else its length. */
static size_t without_indent(const char *s, size_t len, bool line_start)
{
    const char *newline = memrchr(s, '\n', len);
    size_t start = newline ? (size_t)(newline - s) + 1 : 0;
    if (start == 0 && !line_start)
        return len;
    return without_trailing_space(s + start, len - start) == 0 ? start : len;
}

/* Data up to the next {{, {% or {#, whose kind is the character after the brace; 0 at the end. */
static char lex_data(struct lexer *l)
{
    const char *from = l->s + l->at;
    size_t n = 0;
    size_t left = l->len - l->at;
    char kind = 0;
    for (; n < left; n++) {
        const char *brace = memchr(from + n, '{', left - n);
        n = brace ? (size_t)(brace - from) : left;
        if (n + 1 < left && (from[n + 1] == '{' || from[n + 1] == '%' || from[n + 1] == '#')) {
            kind = from[n + 1];
            break;
        }
    }
    n = MIN(n, left);
    size_t keep = n;
    char sign = kind && n + 2 < left ? from[n + 2] : 0;
    if (kind && sign == '-')
        keep = without_trailing_space(from, n);
    else if (kind && kind != '{' && sign != '+')
        keep = without_indent(from, n, l->line_start);
    if (keep > 0) {
        struct jinja_token *t = add(l, JINJA_T_DATA);
        t->text = from;
        t->len = keep;
    }
    advance(l, n);
    if (kind)
        advance(l, 2 + (sign == '-' || sign == '+'));
    l->line_start = false;
    return kind;
}

/* After the end of a block or comment. */
static void trim_newline(struct lexer *l)
{
    if (l->at < l->len && l->s[l->at] == '\n') {
        advance(l, 1);
        l->line_start = true;
    }
}

static void trim_space(struct lexer *l)
{
    skip_space(l);
    l->line_start = l->s[l->at - 1] == '\n';
}

static int lex_comment(struct lexer *l)
{
    const char *end = memmem(l->s + l->at, l->len - l->at, "#}", 2);
    if (!end)
        return refuse(l, "a comment has no end");
    size_t n = (size_t)(end - (l->s + l->at));
    char sign = n > 0 ? end[-1] : 0;
    advance(l, n + 2);
    if (sign == '-')
        trim_space(l);
    else if (sign != '+')
        trim_newline(l);
    return 0;
}

/* The end of {{ or {% at this place, if it is one: its length. */
static size_t end_of(const struct lexer *l, char kind, char *sign)
{
    const char *end = kind == '{' ? "}}" : "%}";
    *sign = l->s[l->at];
    if (at(l, end))
        return 2;
    if (*sign != '-' && (*sign != '+' || kind == '{'))
        return 0;
    return l->len - l->at >= 3 && memcmp(l->s + l->at + 1, end, 2) == 0 ? 3 : 0;
}

static int unhex(struct lexer *l, size_t n, uint32_t *v)
{
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = l->at + i < l->len ? (unsigned char)l->s[l->at + i] : 0;
        if (!isxdigit(c))
            return refuse(l, "a string has a broken escape");
        *v = *v << 4 | (uint32_t)(isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    l->at += n;
    return 0;
}

/* What follows a backslash, as in Python: an unknown escape stays as it is. */
static int unescape(struct lexer *l, char *out, size_t *n)
{
    static const char from[] = "\\'\"abfnrtv";
    static const char to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = l->s[l->at];
    const char *known = memchr(from, c, sizeof(from) - 1);
    if (known) {
        advance(l, 1);
        out[(*n)++] = to[known - from];
        return 0;
    }
    if (c == '\n') {
        advance(l, 1);
        return 0;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        uint32_t v;
        l->at++;
        if (unhex(l, c == 'x' ? 2 : c == 'u' ? 4 : 8, &v) < 0)
            return -1;
        *n += utf8_encode(v, out + *n);
        return 0;
    }
    if ((c >= '0' && c <= '7') || c == 'N')
        return refuse(l, "octal and named escapes in strings are not supported");
    out[(*n)++] = '\\';
    return 0;
}

static int lex_string(struct lexer *l)
{
    char quote = l->s[l->at];
    size_t end = l->at + 1;
    while (end < l->len && l->s[end] != quote)
        end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->len)
        return refuse(l, "a string has no end");
    /* An escape is never shorter than what it stands for, but for \x80 to \xFF: two bytes for
       four. */
    char *text = jinja_alloc(l->pool, end - l->at, l->e);
    if (!text)
        return -1;
    struct jinja_token *t = add(l, JINJA_T_STRING);
    t->text = text;
    size_t n = 0;
    advance(l, 1);
    while (l->at < end) {
        if (l->s[l->at] != '\\') {
            text[n++] = l->s[l->at];
            advance(l, 1);
            continue;
        }
        advance(l, 1);
        if (unescape(l, text, &n) < 0)
            return -1;
    }
    l->out->t[l->out->n - 1].len = n;
    advance(l, 1);
    return 0;
}

static int lex_number(struct lexer *l)
{
    char digits[64];
    size_t n = 0;
    bool whole = true;
    for (; l->at < l->len; l->at++) {
        char c = l->s[l->at];
        bool point =
            c == '.' && whole && l->at + 1 < l->len && isdigit((unsigned char)l->s[l->at + 1]);
        bool exponent = (c == 'e' || c == 'E') && n > 0;
        bool sign = (c == '-' || c == '+') && n > 0 && (digits[n - 1] | 0x20) == 'e';
        if (!isdigit((unsigned char)c) && c != '_' && !point && !exponent && !sign)
            break;
        whole = whole && !point && !exponent;
        if (c == '_')
            continue;
        if (n == sizeof(digits) - 1)
            return refuse(l, "a number is too long");
        digits[n++] = c;
    }
    digits[n] = 0;
    struct jinja_token *t = add(l, whole ? JINJA_T_INT : JINJA_T_FLOAT);
    char *end;
    errno = 0;
    if (whole)
        t->i = strtoll(digits, &end, 10);
    else
        t->f = strtod(digits, &end);
    if (*end || errno || (!whole && !isfinite(t->f)))
        return refuse(l, "a number is too large, or is none");
    return 0;
}

static void lex_name(struct lexer *l)
{
    struct jinja_token *t = add(l, JINJA_T_NAME);
    t->text = l->s + l->at;
    while (l->at < l->len && (isalnum((unsigned char)l->s[l->at]) || l->s[l->at] == '_'))
        l->at++;
    t->len = (size_t)(l->s + l->at - t->text);
}

static int lex_op(struct lexer *l, unsigned *brackets)
{
    static const char *const ops[] = {"==", "!=", ">=", "<=", "//", "**", ">", "<", "+",
                                      "-",  "*",  "/",  "%",  "~",  "|",  ".", ",", ":",
                                      "=",  "(",  ")",  "[",  "]",  "{",  "}"};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!at(l, ops[i]))
            continue;
        char c = ops[i][0];
        *brackets += c == '(' || c == '[' || c == '{';
        if (c == ')' || c == ']' || c == '}') {
            if (*brackets == 0)
                return refuse(l, "a bracket closes that was not opened");
            (*brackets)--;
        }
        struct jinja_token *t = add(l, JINJA_T_OP);
        memcpy(t->op, ops[i], strlen(ops[i]));
        l->at += strlen(ops[i]);
        return 0;
    }
    return refuse(l, "a character that has no meaning in an expression");
}

/* The inside of {{ … }} or {% … %}, with its end. */
static int lex_inside(struct lexer *l, char kind)
{
    unsigned brackets = 0;
    add(l, kind == '{' ? JINJA_T_PRINT : JINJA_T_BLOCK);
    for (;;) {
        char sign;
        int r = 0;
        skip_space(l);
        if (l->at == l->len)
            return refuse(l, kind == '{' ? "{{ has no end" : "{% has no end");
        size_t end = brackets == 0 ? end_of(l, kind, &sign) : 0;
        if (end > 0) {
            add(l, kind == '{' ? JINJA_T_PRINT_END : JINJA_T_BLOCK_END);
            l->at += end;
            if (end == 3 && sign == '-')
                trim_space(l);
            else if (kind == '%' && end == 2)
                trim_newline(l);
            return 0;
        }
        unsigned char c = (unsigned char)l->s[l->at];
        if (isalpha(c) || c == '_')
            lex_name(l);
        else if (isdigit(c))
            r = lex_number(l);
        else if (c == '\'' || c == '"')
            r = lex_string(l);
        else
            r = lex_op(l, &brackets);
        if (r < 0)
            return -1;
    }
}

/* Every kind of newline becomes \n, and one at the very end goes. */
static char *normalize(struct jinja_pool *p, const char *text, size_t *len, struct err *e)
{
    char *s = jinja_alloc(p, *len + 1, e);
    if (!s)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < *len; i++) {
        s[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < *len && text[i + 1] == '\n')
            i++;
    }
    if (n > 0 && s[n - 1] == '\n')
        n--;
    *len = n;
    return s;
}

int jinja_lex(struct jinja_pool *p, const char *text, size_t len, struct jinja_tokens *out,
              struct err *e)
{
    struct lexer l = {.pool = p, .len = len, .line = 1, .line_start = true, .out = out, .e = e};
    l.s = normalize(p, text, &l.len, e);
    if (!l.s)
        return -1;
    while (l.at < l.len) {
        char kind = lex_data(&l);
        if (kind == '#' && lex_comment(&l) < 0)
            return -1;
        if ((kind == '{' || kind == '%') && lex_inside(&l, kind) < 0)
            return -1;
    }
    add(&l, JINJA_T_END);
    return 0;
}
