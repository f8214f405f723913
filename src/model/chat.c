/* SPDX-License-Identifier: Apache-2.0 */
#include "model/chat.h"

#include <errno.h>
#include <string.h>

#include "model/jinja.h"

#define PARSE_MEMORY_MAX ((size_t)48 << 20)

void chat_prompt_free(struct chat_prompt *p)
{
    free(p->text);
    free(p->spans);
    *p = (struct chat_prompt){0};
}

struct chat_template *chat_parse(const char *text, size_t len, struct err *e)
{
    if (len > CHAT_TEMPLATE_MAX) {
        err_set(e, ENOEXEC, "a chat template of %zu bytes; at most %u are accepted", len,
                CHAT_TEMPLATE_MAX);
        return NULL;
    }
    struct jinja_tokens tokens = {0};
    struct chat_template *t = xcalloc(1, sizeof(*t));
    t->pool.limit = PARSE_MEMORY_MAX;
    int r = jinja_lex(&t->pool, text, len, &tokens, e) < 0 ? -1 : jinja_parse(t, &tokens, e);
    free(tokens.t);
    if (r == 0)
        return t;
    chat_free(t);
    return NULL;
}

void chat_free(struct chat_template *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_vars; i++)
        free((char *)t->vars[i]);
    free(t->vars);
    jinja_pool_free(&t->pool);
    free(t);
}

/* --- what a template sees --- */

/* Roles that this program knows are the template's own words (it may spell tokens with them); any
 * other one is a stranger's. */
static int origin_of_role(const char *role, int message)
{
    static const char *const known[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(role, known[i]) == 0)
            return JINJA_TEMPLATE;
    }
    return message;
}

static int set_text(struct jinja *j, struct jinja_dict *d, const char *name, const char *text,
                    size_t len, int origin)
{
    struct jinja_str *s = jinja_get(j, sizeof(*s));
    const struct jinja_str *key;
    if (!s || jinja_c_str(j, name, &key) < 0)
        return -1;
    *s = (struct jinja_str){.data = text, .len = len, .origin = origin};
    struct jinja_value v = jinja_of_str(s);
    return jinja_dict_set(j, d, key, &v);
}

static int make_messages(struct jinja *j, const struct chat_message *messages, size_t n,
                         struct jinja_value *v)
{
    struct jinja_list *list;
    if (jinja_make_list(j, n, &list) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct chat_message *m = &messages[i];
        struct jinja_dict *d;
        int origin = origin_of_role(m->role, (int)i);
        if (jinja_make_dict(j, 2, &d) < 0 ||
            set_text(j, d, "role", m->role, strlen(m->role), origin) < 0 ||
            set_text(j, d, "content", m->len > 0 ? m->text : "", m->len, (int)i) < 0)
            return -1;
        list->items[i] = (struct jinja_value){.kind = JINJA_DICT, .dict = d};
    }
    *v = (struct jinja_value){.kind = JINJA_LIST, .list = list};
    return 0;
}

static int set_var(struct jinja *j, enum jinja_var var, const char *text)
{
    const struct jinja_str *s;
    if (jinja_c_str(j, text, &s) < 0)
        return -1;
    j->vars[var].value = jinja_of_str(s);
    return 0;
}

/* Tools and documents are none, as transformers has it where there are none. */
static int set_vars(struct jinja *j, const struct chat_message *messages, size_t n,
                    bool add_generation_prompt, const char *bos, const char *eos)
{
    j->vars =
        mem_array(j->template->n_vars, sizeof(*j->vars), "the variables of a chat template", j->e);
    if (!j->vars || make_messages(j, messages, n, &j->vars[JINJA_VAR_MESSAGES].value) < 0 ||
        set_var(j, JINJA_VAR_BOS, bos) < 0 || set_var(j, JINJA_VAR_EOS, eos) < 0)
        return -1;
    j->vars[JINJA_VAR_PROMPT].value = jinja_of_bool(add_generation_prompt);
    j->vars[JINJA_VAR_TOOLS].value = (struct jinja_value){.kind = JINJA_NONE};
    j->vars[JINJA_VAR_DOCUMENTS].value = (struct jinja_value){.kind = JINJA_NONE};
    return 0;
}

/* Hands the text and its runs to the caller. */
static int give(struct jinja_builder *b, struct chat_prompt *out, struct err *e)
{
    out->spans = mem_array(b->n_runs, sizeof(*out->spans), "a prompt", e);
    if (!out->spans)
        return -1;
    size_t start = 0;
    for (size_t i = 0; i < b->n_runs; i++) {
        out->spans[i] = (struct chat_span){start, b->runs[i].end - start, b->runs[i].origin};
        start = b->runs[i].end;
    }
    out->n_spans = b->n_runs;
    out->text = b->data ? b->data : xcalloc(1, 1);
    out->len = b->len;
    b->data = NULL;
    return 0;
}

int chat_render(const struct chat_template *t, const struct chat_message *messages, size_t n,
                bool add_generation_prompt, const char *bos, const char *eos,
                struct chat_prompt *out, struct err *e)
{
    struct jinja j = {.template = t, .e = e, .pool.limit = JINJA_MEMORY_MAX, .scope = 1};
    struct jinja_builder b = {.limit = CHAT_OUTPUT_MAX};
    int r = set_vars(&j, messages, n, add_generation_prompt, bos, eos);
    if (r == 0)
        r = jinja_render(&j, &b);
    if (r == 0)
        r = give(&b, out, e);
    jinja_builder_free(&b);
    jinja_pool_free(&j.pool);
    free(j.vars);
    free(j.undo);
    return r;
}
