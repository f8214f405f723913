/* SPDX-License-Identifier: Apache-2.0 */
#include "model/vocab.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int vocab_byte_of(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]);
    int low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* The slot that holds the text, or the free one where it belongs. There is always a free one. */
static struct vocab_slot *slot_of(const struct vocab *v, const char *text, size_t len,
                                  uint32_t *tag)
{
    uint64_t hash = XXH3_64bits(text, len);
    *tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot *s = &v->slots[i];
        if (s->id == 0)
            return s;
        if (s->tag != *tag)
            continue;
        size_t n;
        const char *have = vocab_text(v, (int32_t)(s->id - 1), &n);
        if (n == len && memcmp(have, text, len) == 0)
            return s;
    }
}

int32_t vocab_find(const struct vocab *v, const char *text, size_t len)
{
    uint32_t tag;
    if (len > v->text_max)
        return -1;
    return (int32_t)slot_of(v, text, len, &tag)->id - 1;
}

/* Counts and checks the texts, then copies them into one run of bytes. */
static int read_texts(struct vocab *v, const struct gguf_array *tokens, struct err *e)
{
    size_t total = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        size_t len = gguf_array_str(tokens, i).len;
        if (len == 0)
            return err_set(e, EBADMSG, "token %u: its text is empty", i);
        if (len > VOCAB_TEXT_MAX)
            return err_set(e, EBADMSG, "token %u: its text has %zu bytes, at most %u are accepted",
                           i, len, VOCAB_TEXT_MAX);
        v->text_max = MAX(v->text_max, (uint32_t)len);
        total += len;
    }
    if (total > UINT32_MAX)
        return err_set(e, EBADMSG, "the texts of the tokens have more than 4 GiB together");
    v->texts = mem_array(total, 1, "the texts of the tokens", e);
    v->starts = mem_array((size_t)v->n + 1, sizeof(*v->starts), "the vocabulary", e);
    if (!v->texts || !v->starts)
        return -1;
    for (uint32_t i = 0; i < v->n; i++) {
        struct gguf_str s = gguf_array_str(tokens, i);
        memcpy(v->texts + v->starts[i], s.data, s.len);
        v->starts[i + 1] = v->starts[i] + (uint32_t)s.len;
    }
    return 0;
}

static int index_texts(struct vocab *v, struct err *e)
{
    size_t n_slots = 64;
    while (n_slots < (size_t)v->n * 2)
        n_slots *= 2;
    v->slots = mem_array(n_slots, sizeof(*v->slots), "the index of the vocabulary", e);
    if (!v->slots)
        return -1;
    v->mask = (uint32_t)n_slots - 1;
    for (uint32_t i = 0; i < v->n; i++) {
        size_t len;
        const char *text = vocab_text(v, (int32_t)i, &len);
        uint32_t tag;
        struct vocab_slot *s = slot_of(v, text, len, &tag);
        if (s->id != 0)
            return err_set(e, EBADMSG, "tokens %u and %u have the same text", s->id - 1, i);
        *s = (struct vocab_slot){tag, i + 1};
    }
    return 0;
}

static int read_types(struct vocab *v, const struct gguf *g, struct err *e)
{
    const char *key = "tokenizer.ggml.token_type";
    v->types = mem_array(v->n, 1, "the types of the tokens", e);
    if (!v->types)
        return -1;
    if (!gguf_has(g, key)) {
        memset(v->types, VOCAB_NORMAL, v->n);
        return 0;
    }
    size_t n;
    const struct gguf_array *types = gguf_get_array(g, key, GGUF_KIND_INT, &n);
    if (!types)
        return err_set(e, EBADMSG, "%s is not an array of integers", key);
    if (n != v->n)
        return err_set(e, EBADMSG, "%s has %zu elements for %u tokens", key, n, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        int64_t type = gguf_array_int(types, i);
        if (type < VOCAB_UNDEFINED || type > VOCAB_BYTE)
            return err_set(e, EBADMSG, "token %u has the unknown type %lld", i, (long long)type);
        v->types[i] = (uint8_t)type;
        size_t len;
        const char *text = vocab_text(v, (int32_t)i, &len);
        if (type == VOCAB_BYTE && vocab_byte_of(text, len) < 0)
            return err_set(e, EBADMSG,
                           "token %u is a byte token, but its text is not of the form <0x41>", i);
    }
    return 0;
}

static int read_scores(struct vocab *v, const struct gguf *g, struct err *e)
{
    const char *key = "tokenizer.ggml.scores";
    size_t n;
    bool whole = false;
    const struct gguf_array *scores = gguf_get_array(g, key, GGUF_KIND_FLOAT, &n);
    if (!scores) {
        scores = gguf_get_array(g, key, GGUF_KIND_INT, &n);
        whole = true;
    }
    if (!scores)
        return err_set(e, EBADMSG, "%s is missing or not an array of numbers", key);
    if (n != v->n)
        return err_set(e, EBADMSG, "%s has %zu elements for %u tokens", key, n, v->n);
    v->scores = mem_array(v->n, sizeof(*v->scores), "the scores of the tokens", e);
    if (!v->scores)
        return -1;
    for (uint32_t i = 0; i < v->n; i++) {
        v->scores[i] =
            whole ? (float)gguf_array_int(scores, i) : (float)gguf_array_float(scores, i);
        if (isnan(v->scores[i]))
            return err_set(e, EBADMSG, "token %u: its score is not a number", i);
    }
    return 0;
}

int vocab_read(struct vocab *v, const struct gguf *g, bool scored, struct err *e)
{
    const char *key = "tokenizer.ggml.tokens";
    size_t n;
    const struct gguf_array *tokens = gguf_get_array(g, key, GGUF_KIND_STR, &n);
    if (!tokens)
        return err_set(e, EBADMSG, "%s is missing or not an array of strings", key);
    if (n == 0 || n > VOCAB_TOKENS_MAX)
        return err_set(e, EBADMSG, "%s has %zu elements, 1 to %u are accepted", key, n,
                       VOCAB_TOKENS_MAX);
    v->n = (uint32_t)n;
    if (read_texts(v, tokens, e) < 0 || index_texts(v, e) < 0 || read_types(v, g, e) < 0)
        return -1;
    return scored ? read_scores(v, g, e) : 0;
}

void vocab_free(struct vocab *v)
{
    free(v->texts);
    free(v->starts);
    free(v->types);
    free(v->scores);
    free(v->slots);
    *v = (struct vocab){0};
}
