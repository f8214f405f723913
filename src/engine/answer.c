/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/answer.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

#define END_UNKNOWN SIZE_MAX

int answer_init(struct answer *a, const struct tokenizer *t, const struct proto_str *stops,
                size_t n, struct err *e)
{
    *a = (struct answer){.tokenizer = t};
    if (n > ANSWER_STOPS_MAX)
        return err_set(e, EINVAL, "%zu stop sequences are more than %d", n, ANSWER_STOPS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (stops[i].len > ANSWER_STOP_BYTES_MAX)
            return err_set(e, EINVAL, "a stop sequence of %zu bytes is longer than %d",
                           stops[i].len, ANSWER_STOP_BYTES_MAX);
        if (!utf8_valid(stops[i].data,
                        stops[i].len)) /* an answer must not be cut inside a character */
            return err_set(e, EINVAL, "a stop sequence is not UTF-8");
    }
    a->stops = xcalloc(MAX(n, 1), sizeof(*a->stops));
    a->stop_lens = xcalloc(MAX(n, 1), sizeof(*a->stop_lens));
    for (size_t i = 0; i < n; i++) {
        if (stops[i].len == 0)
            continue;
        a->stops[a->n_stops] = xmemdup(stops[i].data, stops[i].len);
        a->stop_lens[a->n_stops++] = stops[i].len;
    }
    return 0;
}

void answer_free(struct answer *a)
{
    for (size_t i = 0; i < a->n_stops; i++)
        free(a->stops[i]);
    free(a->stops);
    free(a->stop_lens);
    for (size_t i = 0; i < a->n_tokens; i++)
        free(a->tokens[i].logprobs);
    free(a->tokens);
    detokenizer_free(&a->detokenizer);
    buf_free(&a->held);
    buf_free(&a->text);
    buf_free(&a->logprobs);
    tokens_free(&a->ids);
    *a = (struct answer){0};
}

void answer_clear(struct answer *a)
{
    buf_clear(&a->text);
    buf_clear(&a->logprobs);
    a->ids.n = 0;
}

/* --- stop sequences --- */

/* Where the first complete stop sequence begins in held; held.len if there is none. */
static size_t find_stop(const struct answer *a)
{
    size_t first = a->held.len;
    for (size_t i = 0; i < a->n_stops && a->held.len > 0; i++) {
        const char *at = memmem(a->held.data, MIN(a->held.len, first + a->stop_lens[i]),
                                a->stops[i], a->stop_lens[i]);
        if (at && (size_t)(at - a->held.data) < first)
            first = (size_t)(at - a->held.data);
    }
    return first;
}

/* Where the earliest beginning of a stop sequence starts that reaches to the end of held. */
static size_t find_stop_begun(const struct answer *a)
{
    size_t longest = 0;
    for (size_t i = 0; i < a->n_stops; i++) {
        size_t n = MIN(a->stop_lens[i] - 1, a->held.len);
        while (n > longest && memcmp(a->held.data + a->held.len - n, a->stops[i], n) != 0)
            n--;
        longest = MAX(longest, n);
    }
    return a->held.len - longest;
}

/* --- giving out --- */

static void give_token(struct answer *a, int32_t id, const char *logprobs)
{
    tokens_add(&a->ids, id);
    if (logprobs) {
        buf_add_str(&a->logprobs, logprobs);
        buf_add_char(&a->logprobs, '\n');
    }
}

/* The tokens whose text lies in the first n bytes of held, and that text. */
static void give(struct answer *a, size_t n)
{
    size_t whole = 0;
    size_t end = 0;
    while (whole < a->n_tokens && a->tokens[whole].end <= n) {
        give_token(a, a->tokens[whole].id, a->tokens[whole].logprobs);
        free(a->tokens[whole].logprobs);
        end = a->tokens[whole++].end;
    }
    if (whole == 0)
        return;
    a->n_tokens -= whole;
    memmove(a->tokens, a->tokens + whole, a->n_tokens * sizeof(*a->tokens));
    for (size_t i = 0; i < a->n_tokens; i++)
        a->tokens[i].end -= a->tokens[i].end == END_UNKNOWN ? 0 : end;
    buf_add(&a->text, a->held.data, end);
    buf_consume(&a->held, end);
}

/* Gives out what comes before the stop sequence at `at`, and forgets the rest. */
static void cut(struct answer *a, size_t at)
{
    size_t before = a->held.len;
    give(a, at);
    at -= before - a->held.len;
    if (at > 0) { /* a token stands across the border */
        CLEANUP_TOKENS struct tokens half = {0};
        struct tokenizer_span span = {.text = a->held.data, .len = at};
        struct err e;
        if (tokenizer_encode(a->tokenizer, &span, 1, false, &half, NULL, &e) == 0)
            for (size_t i = 0; i < half.n; i++)
                give_token(a, half.ids[i], a->tokens[0].logprobs ? "{}" : NULL);
        buf_add(&a->text, a->held.data, at);
    }
    for (size_t i = 0; i < a->n_tokens; i++)
        free(a->tokens[i].logprobs);
    a->n_tokens = 0;
    buf_clear(&a->held);
}

/*
 * A token that ends inside a UTF-8 sequence has its end where that sequence ends, which a later
 * token tells. Text was added to held at `from`: the sequence that they wait for is its first.
 */
static void resolve_ends(struct answer *a, size_t from)
{
    if (a->held.len == from)
        return;
    uint32_t cp;
    size_t n = utf8_decode(a->held.data + from, a->held.len - from, &cp);
    for (size_t i = a->n_tokens; i-- > 0 && a->tokens[i].end == END_UNKNOWN;)
        a->tokens[i].end = from + MAX(n, 1);
}

bool answer_push(struct answer *a, int32_t id, char *logprobs)
{
    size_t from = a->held.len;
    detokenizer_push(&a->detokenizer, a->tokenizer, id, &a->held);
    resolve_ends(a, from);
    if (a->n_tokens == a->tokens_cap) {
        a->tokens_cap = MAX(8, 2 * a->tokens_cap);
        a->tokens = xrealloc(a->tokens, a->tokens_cap * sizeof(*a->tokens));
    }
    size_t end = a->detokenizer.pending.len > 0 ? END_UNKNOWN : a->held.len;
    a->tokens[a->n_tokens++] = (struct answer_token){.id = id, .end = end, .logprobs = logprobs};
    size_t stop = find_stop(a);
    if (stop < a->held.len) {
        cut(a, stop);
        return true;
    }
    give(a, find_stop_begun(a));
    return false;
}

void answer_end(struct answer *a)
{
    detokenizer_end(&a->detokenizer, &a->held);
    for (size_t i = a->n_tokens; i-- > 0 && a->tokens[i].end == END_UNKNOWN;)
        a->tokens[i].end = a->held.len;
    give(a, a->held.len);
}
