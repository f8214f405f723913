/* SPDX-License-Identifier: Apache-2.0 */
/* Statements to output. */
#include <errno.h>
#include <string.h>

#include "model/jinja.h"

enum flow { FLOW_ERROR = -1, FLOW_ON = 0, FLOW_BREAK, FLOW_CONTINUE };

static enum flow run_body(struct jinja *j, const struct jinja_stmt *s);

/* --- scopes: what a for assigns in its body is forgotten after each round --- */

static int assign(struct jinja *j, uint32_t var, const struct jinja_value *v)
{
    struct jinja_binding *b = &j->vars[var];
    if (b->depth < j->scope) {
        if (j->n_undo == j->undo_cap) {
            size_t cap = MAX((size_t)16, j->undo_cap * 2);
            struct jinja_undo *undo = reallocarray(j->undo, cap, sizeof(*undo));
            if (!undo)
                return err_set(j->e, ENOMEM, "no memory for the variables of a chat template");
            j->undo = undo;
            j->undo_cap = cap;
        }
        j->undo[j->n_undo++] = (struct jinja_undo){var, *b};
        b->depth = j->scope;
    }
    b->value = *v;
    return 0;
}

static size_t enter(struct jinja *j)
{
    j->scope++;
    return j->n_undo;
}

static void leave(struct jinja *j, size_t mark)
{
    while (j->n_undo > mark) {
        j->n_undo--;
        j->vars[j->undo[j->n_undo].var] = j->undo[j->n_undo].before;
    }
    j->scope--;
}

static int assign_target(struct jinja *j, const struct jinja_target *t, const struct jinja_value *v)
{
    if (!t->attr)
        return assign(j, t->var, v);
    const struct jinja_value *object = &j->vars[t->var].value;
    if (object->kind != JINJA_DICT || !object->dict->is_namespace)
        return jinja_fail(j, "an attribute is set of what is no namespace");
    return jinja_dict_set(j, object->dict, t->attr, v);
}

static int assign_all(struct jinja *j, const struct jinja_stmt *s, const struct jinja_value *v)
{
    const struct jinja_list *items;
    if (s->n_targets == 1)
        return assign_target(j, &s->targets[0], v);
    if (jinja_iterate(j, v, &items) < 0)
        return -1;
    if (items->n != s->n_targets)
        return jinja_fail(j, "%zu values are assigned to %zu names", items->n, s->n_targets);
    for (size_t i = 0; i < s->n_targets; i++) {
        if (assign_target(j, &s->targets[i], &items->items[i]) < 0)
            return -1;
    }
    return 0;
}

/* --- for --- */

/* Those elements for which the condition holds. */
static int filter_items(struct jinja *j, const struct jinja_stmt *s,
                        const struct jinja_list **items)
{
    struct jinja_list *kept;
    const struct jinja_list *all = *items;
    if (jinja_make_list(j, all->n, &kept) < 0)
        return -1;
    kept->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct jinja_value is;
        size_t mark = enter(j);
        int r = assign_all(j, s, &all->items[i]) < 0 ? -1 : jinja_eval(j, s->filter, &is);
        leave(j, mark);
        if (r < 0)
            return -1;
        if (jinja_true(&is))
            kept->items[kept->n++] = all->items[i];
    }
    *items = kept;
    return 0;
}

static enum flow run_round(struct jinja *j, const struct jinja_stmt *s,
                           const struct jinja_loop *loop)
{
    struct jinja_value v = {.kind = JINJA_LOOP, .loop = loop};
    size_t mark = enter(j);
    enum flow flow = FLOW_ERROR;
    if (assign(j, JINJA_VAR_LOOP, &v) == 0 && assign_all(j, s, &loop->items->items[loop->i]) == 0)
        flow = run_body(j, s->body);
    leave(j, mark);
    return flow;
}

static enum flow run_for(struct jinja *j, const struct jinja_stmt *s)
{
    struct jinja_value v;
    const struct jinja_list *items;
    if (jinja_eval(j, s->expr, &v) < 0 || jinja_iterate(j, &v, &items) < 0)
        return FLOW_ERROR;
    if (s->filter && filter_items(j, s, &items) < 0)
        return FLOW_ERROR;
    if (items->n == 0)
        return run_body(j, s->otherwise);
    struct jinja_loop *loop = jinja_get(j, sizeof(*loop));
    if (!loop)
        return FLOW_ERROR;
    *loop = (struct jinja_loop){.items = items};
    enum flow flow = FLOW_ON;
    for (; flow != FLOW_BREAK && loop->i < items->n; loop->i++) {
        flow = run_round(j, s, loop);
        if (flow == FLOW_ERROR)
            return FLOW_ERROR;
    }
    return FLOW_ON;
}

/* --- the others --- */

static enum flow run_if(struct jinja *j, const struct jinja_stmt *s)
{
    for (;;) {
        struct jinja_value v;
        if (jinja_eval(j, s->expr, &v) < 0)
            return FLOW_ERROR;
        if (jinja_true(&v))
            return run_body(j, s->body);
        if (!s->elif)
            return run_body(j, s->otherwise);
        s = s->otherwise;
    }
}

static int print(struct jinja *j, const struct jinja_stmt *s)
{
    struct jinja_value v;
    const struct jinja_str *text;
    if (jinja_eval(j, s->expr, &v) < 0 || jinja_to_str(j, &v, &text) < 0)
        return -1;
    return jinja_build(j, j->out, text);
}

static int set(struct jinja *j, const struct jinja_stmt *s)
{
    struct jinja_value v;
    return jinja_eval(j, s->expr, &v) < 0 ? -1 : assign_all(j, s, &v);
}

static enum flow set_block(struct jinja *j, const struct jinja_stmt *s)
{
    struct jinja_builder own = {0};
    struct jinja_builder *out = j->out;
    const struct jinja_str *text;
    j->out = &own;
    size_t mark = enter(j);
    enum flow flow = run_body(j, s->body);
    leave(j, mark);
    j->out = out;
    if (flow == FLOW_ON) {
        struct jinja_value v;
        flow = FLOW_ERROR;
        if (jinja_built(j, &own, &text) == 0) {
            v = jinja_of_str(text);
            flow = assign_all(j, s, &v) < 0 ? FLOW_ERROR : FLOW_ON;
        }
    }
    jinja_builder_free(&own);
    return flow;
}

static enum flow run_one(struct jinja *j, const struct jinja_stmt *s)
{
    switch (s->what) {
    case JINJA_TEXT:
        return jinja_build(j, j->out, s->text) < 0 ? FLOW_ERROR : FLOW_ON;
    case JINJA_PRINT:
        return print(j, s) < 0 ? FLOW_ERROR : FLOW_ON;
    case JINJA_SET:
        return set(j, s) < 0 ? FLOW_ERROR : FLOW_ON;
    case JINJA_SET_BLOCK:
        return set_block(j, s);
    case JINJA_IF:
        return run_if(j, s);
    case JINJA_FOR:
        return run_for(j, s);
    case JINJA_BODY:
        return run_body(j, s->body);
    case JINJA_BREAK:
        return FLOW_BREAK;
    default:
        return FLOW_CONTINUE;
    }
}

static enum flow run_body(struct jinja *j, const struct jinja_stmt *s)
{
    for (; s; s = s->next) {
        j->line = s->line;
        if (jinja_steps(j, 1) < 0)
            return FLOW_ERROR;
        enum flow flow = run_one(j, s);
        if (flow != FLOW_ON)
            return flow;
    }
    return FLOW_ON;
}

int jinja_render(struct jinja *j, struct jinja_builder *out)
{
    j->out = out;
    return run_body(j, j->template->body) == FLOW_ERROR ? -1 : 0;
}
