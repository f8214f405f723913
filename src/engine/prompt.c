/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/prompt.h"

#include <errno.h>
#include <string.h>

void prompt_free(struct prompt *p)
{
    tokens_free(&p->tokens);
    buf_free(&p->rendered);
    *p = (struct prompt){0};
}

/* --- runs of text and ids, in order --- */

struct builder {
    struct prompt *p;
    const struct tokenizer *t;
    struct tokenizer_span *spans; /* text that was not tokenized yet */
    size_t n_spans;
    bool begun; /* something was tokenized: BOS belongs only to the first */
};

static void add_text(struct builder *b, const char *text, size_t len, bool special)
{
    if (len > 0)
        b->spans[b->n_spans++] =
            (struct tokenizer_span){.text = text, .len = len, .special = special};
}

static int tokenize(struct builder *b, struct err *e)
{
    size_t dropped = 0;
    if (b->n_spans == 0 && b->begun)
        return 0;
    /* A template that brings BOS of its own (Gemma's) is not given another. */
    bool add_special = !b->begun && !tokenizer_brings_bos(b->t, b->spans, b->n_spans);
    if (tokenizer_encode(b->t, b->spans, b->n_spans, add_special, &b->p->tokens, &dropped, e) < 0)
        return -1;
    b->p->dropped += dropped;
    b->n_spans = 0;
    b->begun = true;
    return 0;
}

static int add_ids(struct builder *b, const struct proto_ids *ids, struct err *e)
{
    if (tokenize(b, e) < 0)
        return -1;
    for (size_t i = 0; i < ids->n; i++)
        tokens_add(&b->p->tokens, ids->ids[i]);
    return 0;
}

static int check_ids(const struct proto_ask *ask, uint32_t n_vocab, struct err *e)
{
    for (size_t m = 0; m < ask->n_messages; m++) {
        const struct proto_ids *ids = &ask->messages[m].ids;
        for (size_t i = 0; i < ids->n; i++)
            if (ids->ids[i] < 0 || (uint32_t)ids->ids[i] >= n_vocab)
                return err_set(e, EINVAL,
                               "message %zu holds token %d, which this model does not have", m,
                               ids->ids[i]);
    }
    return 0;
}

/* More bytes than the tokens of a context could stand for are not even looked at. */
static int check_bytes(size_t len, size_t max, struct err *e)
{
    if (len <= max)
        return 0;
    return err_set(e, EFBIG,
                   "the prompt has %zu bytes, and the context could not hold more than %zu", len,
                   max);
}

static int check_messages(const struct proto_ask *ask, size_t max, struct err *e)
{
    size_t len = 0;
    for (size_t i = 0; i < ask->n_messages; i++)
        len += ask->messages[i].text.len;
    return check_bytes(len, max, e);
}

/* --- raw --- */

static int build_raw(struct builder *b, const struct proto_ask *ask, struct err *e)
{
    b->spans = mem_array(ask->n_messages + 1, sizeof(*b->spans), "the prompt", e);
    if (!b->spans)
        return -1;
    for (size_t i = 0; i < ask->n_messages; i++) {
        const struct proto_message *m = &ask->messages[i];
        buf_add(&b->p->rendered, m->text.data, m->text.len);
        if (m->ids.n == 0)
            add_text(b, m->text.data, m->text.len, false);
        else if (add_ids(b, &m->ids, e) < 0)
            return -1;
    }
    return tokenize(b, e);
}

/* --- chat --- */

static const char *role_name(enum proto_role role)
{
    static const char *const names[] = {"system", "user", "assistant"};
    return names[role];
}

static int render(const struct chat_template *chat, const struct tokenizer *t,
                  const struct proto_ask *ask, struct chat_prompt *out, struct err *e)
{
    CLEANUP_FREE struct chat_message *messages =
        mem_array(ask->n_messages + 1, sizeof(*messages), "the messages", e);
    if (!messages)
        return -1;
    for (size_t i = 0; i < ask->n_messages; i++)
        messages[i] = (struct chat_message){.role = role_name(ask->messages[i].role),
                                            .text = ask->messages[i].text.data,
                                            .len = ask->messages[i].text.len};
    CLEANUP_BUF struct buf bos = {0};
    CLEANUP_BUF struct buf eos = {0};
    tokenizer_piece(t, tokenizer_bos(t), true, false, &bos);
    tokenizer_piece(t, tokenizer_eos(t), true, false, &eos);
    return chat_render(chat, messages, ask->n_messages, true, buf_str(&bos), buf_str(&eos), out, e);
}

/* Does this span hold the whole of a message that brings its ids, as it is? */
static const struct proto_ids *ids_of_span(const struct proto_ask *ask, const struct chat_prompt *c,
                                           const struct chat_span *s)
{
    if (s->message < 0)
        return NULL;
    const struct proto_message *m = &ask->messages[s->message];
    bool whole = m->ids.n > 0 && m->text.len == s->len &&
                 memcmp(m->text.data, c->text + s->start, s->len) == 0;
    return whole ? &m->ids : NULL;
}

static int build_chat(struct builder *b, const struct chat_template *chat,
                      const struct proto_ask *ask, size_t max_bytes, struct err *e)
{
    struct chat_prompt c = {0};
    if (render(chat, b->t, ask, &c, e) < 0)
        return -1;
    int r = -1;
    if (check_bytes(c.len, max_bytes, e) < 0)
        goto out;
    buf_add(&b->p->rendered, c.text, c.len);
    b->spans = mem_array(c.n_spans + 1, sizeof(*b->spans), "the prompt", e);
    if (!b->spans)
        goto out;
    for (size_t i = 0; i < c.n_spans; i++) {
        const struct chat_span *s = &c.spans[i];
        const struct proto_ids *ids = ids_of_span(ask, &c, s);
        if (!ids)
            add_text(b, c.text + s->start, s->len, s->message < 0);
        else if (add_ids(b, ids, e) < 0)
            goto out;
    }
    r = tokenize(b, e);
out:
    chat_prompt_free(&c);
    return r;
}

/* --- which of the two --- */

/* The template to apply, NULL for raw. A template that came with the question is put into *given,
 * for the caller to free. */
static int choose(const struct prompt_template *own, const struct proto_ask *ask,
                  const struct chat_template **chat, struct chat_template **given, struct err *e)
{
    *chat = NULL;
    if (ask->mode == PROTO_MODE_RAW)
        return 0;
    if (ask->chat_template.len > 0) {
        *chat = *given = chat_parse(ask->chat_template.data, ask->chat_template.len, e);
        if (*given)
            return 0;
        if (e)
            e->code = e->code == ENOEXEC
                          ? EINVAL
                          : e->code; /* the user's text is at fault, not the weights */
        return err_prefix(e, "the chat template");
    }
    *chat = own->chat;
    if (*chat)
        return 0;
    if (own->refused.code != 0)
        return err_set(e, own->refused.code, "the model's chat template cannot be applied: %s",
                       own->refused.text);
    if (ask->mode == PROTO_MODE_CHAT)
        return err_set(e, EINVAL, "mode is chat, and the model has no chat template");
    return 0;
}

int prompt_build(struct prompt *p, const struct tokenizer *t, const struct prompt_template *own,
                 const struct proto_ask *ask, size_t max_bytes, struct err *e)
{
    CLEANUP(chat) struct chat_template *given = NULL;
    const struct chat_template *chat;
    if (check_ids(ask, tokenizer_n_vocab(t), e) < 0 || check_messages(ask, max_bytes, e) < 0 ||
        choose(own, ask, &chat, &given, e) < 0)
        return -1;
    struct builder b = {.p = p, .t = t};
    int r = chat ? build_chat(&b, chat, ask, max_bytes, e) : build_raw(&b, ask, e);
    free(b.spans);
    if (r == 0 && p->tokens.n == 0)
        return err_set(e, EINVAL, "the prompt is empty: it gives no token");
    return r;
}
