/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens to statements, and what both parsers share. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/map.h"
#include "model/jinja.h"

/* --- shared with jinja_expr.c --- */

int(jinja_refuse)(const struct jinja_parser *p, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(p->e, ENOEXEC, "line %u: %s", p->t->line, text);
}

const char *jinja_show(const struct jinja_token *t, char text[48])
{
    switch (t->kind) {
    case JINJA_T_NAME:
        snprintf(text, 48, "\"%.*s\"", (int)MIN(t->len, (size_t)40), t->text);
        return text;
    case JINJA_T_OP:
        snprintf(text, 48, "\"%s\"", t->op);
        return text;
    case JINJA_T_STRING:
        return "a string";
    case JINJA_T_INT:
    case JINJA_T_FLOAT:
        return "a number";
    case JINJA_T_PRINT_END:
        return "\"}}\"";
    case JINJA_T_BLOCK_END:
        return "\"%}\"";
    default:
        return "the end";
    }
}

bool jinja_is_op(const struct jinja_token *t, const char *op)
{
    return t->kind == JINJA_T_OP && strcmp(t->op, op) == 0;
}

bool jinja_is_name(const struct jinja_token *t, const char *name)
{
    return t->kind == JINJA_T_NAME && strlen(name) == t->len && memcmp(t->text, name, t->len) == 0;
}

bool jinja_skip_op(struct jinja_parser *p, const char *op)
{
    bool is = jinja_is_op(p->t, op);
    p->t += is;
    return is;
}

bool jinja_skip_name(struct jinja_parser *p, const char *name)
{
    bool is = jinja_is_name(p->t, name);
    p->t += is;
    return is;
}

int jinja_expect_op(struct jinja_parser *p, const char *op)
{
    char shown[48];
    if (jinja_skip_op(p, op))
        return 0;
    return jinja_refuse(p, "\"%s\" is missing before %s", op, jinja_show(p->t, shown));
}

int jinja_enter(struct jinja_parser *p)
{
    if (++p->depth <= JINJA_DEPTH_MAX)
        return 0;
    return jinja_refuse(p, "brackets or blocks are nested more than %d deep", JINJA_DEPTH_MAX);
}

void *jinja_new(struct jinja_parser *p, size_t size)
{
    return jinja_alloc(&p->template->pool, size, p->e);
}

const struct jinja_str *jinja_new_str(struct jinja_parser *p, const char *text, size_t len)
{
    struct jinja_str *s = jinja_new(p, sizeof(*s));
    if (s)
        *s = (struct jinja_str){.data = text, .len = len, .origin = JINJA_TEMPLATE};
    return s;
}

/* The number of a variable, a new one for a new name. */
static uint32_t var_of(struct jinja_parser *p, const char *name, size_t len)
{
    struct chat_template *t = p->template;
    uint64_t hash = XXH3_64bits(name, len);
    uintptr_t known;
    for (;; hash++) {
        known = (uintptr_t)map_get(p->names, hash);
        if (known == 0)
            break;
        const char *have = t->vars[known - 1];
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return (uint32_t)known - 1;
    }
    if ((t->n_vars & (t->n_vars - 1)) == 0)
        t->vars = xrealloc(t->vars, MAX((size_t)1, t->n_vars * 2) * sizeof(*t->vars));
    t->vars[t->n_vars++] = xstrndup(name, len);
    map_put(p->names, hash, (void *)(uintptr_t)t->n_vars);
    return (uint32_t)t->n_vars - 1;
}

uint32_t jinja_var(struct jinja_parser *p, const struct jinja_token *name)
{
    return var_of(p, name->text, name->len);
}

/* --- statements --- */

static struct jinja_stmt *make(struct jinja_parser *p, enum jinja_do what)
{
    struct jinja_stmt *s = jinja_new(p, sizeof(*s));
    if (s)
        *s = (struct jinja_stmt){.what = what, .line = p->t->line};
    return s;
}

static int parse_body(struct jinja_parser *p, const char *const *ends, struct jinja_stmt **body);

static int expect_block_end(struct jinja_parser *p)
{
    char shown[48];
    if (p->t->kind != JINJA_T_BLOCK_END)
        return jinja_refuse(p, "\"%%}\" is missing before %s", jinja_show(p->t, shown));
    p->t++;
    return 0;
}

/* At the name of a tag that ends a body: takes it if it is this one. */
static bool skip_tag(struct jinja_parser *p, const char *name)
{
    if (p->t->kind != JINJA_T_BLOCK || !jinja_is_name(p->t + 1, name))
        return false;
    p->t += 2;
    return true;
}

static int parse_if(struct jinja_parser *p, struct jinja_stmt **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const end[] = {"endif", NULL};
    struct jinja_stmt **at = out;
    struct jinja_stmt *before = NULL;
    do {
        struct jinja_stmt *s = *at = make(p, JINJA_IF);
        if (!s)
            return -1;
        if (before)
            before->elif = true;
        before = s;
        s->expr = jinja_parse_tuple(p);
        if (!s->expr || expect_block_end(p) < 0 || parse_body(p, ends, &s->body) < 0)
            return -1;
        at = &s->otherwise;
    } while (skip_tag(p, "elif"));
    if (skip_tag(p, "else") && (expect_block_end(p) < 0 || parse_body(p, end, at) < 0))
        return -1;
    skip_tag(p, "endif");
    return expect_block_end(p);
}

/* Names with commas between, perhaps in brackets; with_attr: a point and an attribute may
   follow. */
static int parse_targets(struct jinja_parser *p, struct jinja_stmt *s, bool with_attr)
{
    bool bracket = jinja_skip_op(p, "(");
    do {
        char shown[48];
        if (s->n_targets == JINJA_TARGETS_MAX)
            return jinja_refuse(p, "more than %d names are assigned at once", JINJA_TARGETS_MAX);
        if (p->t->kind != JINJA_T_NAME)
            return jinja_refuse(p, "a name to assign to is missing before %s",
                                jinja_show(p->t, shown));
        struct jinja_target *target = &s->targets[s->n_targets++];
        target->var = jinja_var(p, p->t++);
        if (with_attr && jinja_is_op(p->t, ".") && p->t[1].kind == JINJA_T_NAME) {
            target->attr = jinja_new_str(p, p->t[1].text, p->t[1].len);
            if (!target->attr)
                return -1;
            p->t += 2;
        }
    } while (jinja_skip_op(p, ",") && p->t->kind == JINJA_T_NAME && !jinja_is_name(p->t, "in"));
    return bracket ? jinja_expect_op(p, ")") : 0;
}

static int parse_for(struct jinja_parser *p, struct jinja_stmt **out)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const end[] = {"endfor", NULL};
    struct jinja_stmt *s = *out = make(p, JINJA_FOR);
    if (!s || parse_targets(p, s, false) < 0)
        return -1;
    if (!jinja_skip_name(p, "in"))
        return jinja_refuse(p, "\"in\" is missing in for");
    s->expr = jinja_parse_no_cond(p);
    if (s->expr && jinja_skip_name(p, "if")) {
        s->filter = jinja_parse_expr(p);
        if (!s->filter)
            return -1;
    }
    if (!s->expr)
        return -1;
    if (jinja_is_name(p->t, "recursive"))
        return jinja_refuse(p, "a recursive for is not supported");
    p->loops++;
    int r = expect_block_end(p) < 0 ? -1 : parse_body(p, ends, &s->body);
    p->loops--;
    if (r == 0 && skip_tag(p, "else"))
        r = expect_block_end(p) < 0 ? -1 : parse_body(p, end, &s->otherwise);
    if (r < 0)
        return -1;
    skip_tag(p, "endfor");
    return expect_block_end(p);
}

static int parse_set(struct jinja_parser *p, struct jinja_stmt **out)
{
    static const char *const ends[] = {"endset", NULL};
    struct jinja_stmt *s = *out = make(p, JINJA_SET);
    if (!s || parse_targets(p, s, true) < 0)
        return -1;
    if (jinja_skip_op(p, "=")) {
        s->expr = jinja_parse_tuple(p);
        return s->expr ? expect_block_end(p) : -1;
    }
    if (s->n_targets != 1 || p->t->kind != JINJA_T_BLOCK_END)
        return jinja_refuse(p, "a set without \"=\" that is no block with one name");
    s->what = JINJA_SET_BLOCK;
    if (expect_block_end(p) < 0 || parse_body(p, ends, &s->body) < 0)
        return -1;
    skip_tag(p, "endset");
    return expect_block_end(p);
}

/* transformers' own tag: marks what the assistant said, for training. */
static int parse_generation(struct jinja_parser *p, struct jinja_stmt **out)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct jinja_stmt *s = *out = make(p, JINJA_BODY);
    if (!s || expect_block_end(p) < 0 || parse_body(p, ends, &s->body) < 0)
        return -1;
    skip_tag(p, "endgeneration");
    return expect_block_end(p);
}

static int parse_jump(struct jinja_parser *p, enum jinja_do what, struct jinja_stmt **out)
{
    *out = make(p, what);
    if (p->loops == 0)
        return jinja_refuse(p, "a break or continue outside of any for");
    return *out ? expect_block_end(p) : -1;
}

/* After {%. */
static int parse_tag(struct jinja_parser *p, struct jinja_stmt **out)
{
    char shown[48];
    if (jinja_skip_name(p, "if"))
        return parse_if(p, out);
    if (jinja_skip_name(p, "for"))
        return parse_for(p, out);
    if (jinja_skip_name(p, "set"))
        return parse_set(p, out);
    if (jinja_skip_name(p, "generation"))
        return parse_generation(p, out);
    if (jinja_skip_name(p, "break"))
        return parse_jump(p, JINJA_BREAK, out);
    if (jinja_skip_name(p, "continue"))
        return parse_jump(p, JINJA_CONTINUE, out);
    return jinja_refuse(p, "the tag %s is not supported here", jinja_show(p->t, shown));
}

static int parse_print(struct jinja_parser *p, struct jinja_stmt **out)
{
    char shown[48];
    struct jinja_stmt *s = *out = make(p, JINJA_PRINT);
    if (!s)
        return -1;
    s->expr = jinja_parse_tuple(p);
    if (!s->expr)
        return -1;
    if (p->t->kind != JINJA_T_PRINT_END)
        return jinja_refuse(p, "\"}}\" is missing before %s", jinja_show(p->t, shown));
    p->t++;
    return 0;
}

static int parse_one(struct jinja_parser *p, struct jinja_stmt **out)
{
    if (p->t->kind == JINJA_T_DATA) {
        *out = make(p, JINJA_TEXT);
        if (!*out)
            return -1;
        (*out)->text = jinja_new_str(p, p->t->text, p->t->len);
        p->t++;
        return (*out)->text ? 0 : -1;
    }
    bool print = p->t->kind == JINJA_T_PRINT;
    p->t++;
    return print ? parse_print(p, out) : parse_tag(p, out);
}

static bool at_end(const struct jinja_parser *p, const char *const *ends)
{
    for (; p->t->kind == JINJA_T_BLOCK && *ends; ends++) {
        if (jinja_is_name(p->t + 1, *ends))
            return true;
    }
    return false;
}

static const char *last_of(const char *const *names)
{
    while (names[1])
        names++;
    return *names;
}

/* Statements up to one of the tags, which is not taken. */
static int parse_body(struct jinja_parser *p, const char *const *ends, struct jinja_stmt **body)
{
    if (jinja_enter(p) < 0)
        return -1;
    while (!at_end(p, ends)) {
        if (p->t->kind == JINJA_T_END)
            return *ends ? jinja_refuse(p, "the tag \"%s\" is missing", last_of(ends)) : 0;
        if (parse_one(p, body) < 0)
            return -1;
        body = &(*body)->next;
    }
    p->depth--;
    return 0;
}

int jinja_parse(struct chat_template *t, const struct jinja_tokens *tokens, struct err *e)
{
    static const char *const known[JINJA_VARS] = {"loop",      "messages",  "add_generation_prompt",
                                                  "bos_token", "eos_token", "tools",
                                                  "documents"};
    static const char *const no_end[] = {NULL};
    struct map names = {0};
    struct jinja_parser p = {.template = t, .t = tokens->t, .names = &names, .e = e};
    for (size_t i = 0; i < JINJA_VARS; i++)
        var_of(&p, known[i], strlen(known[i]));
    int r = parse_body(&p, no_end, &t->body);
    map_free(&names);
    return r;
}
