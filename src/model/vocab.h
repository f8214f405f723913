/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocab: the table of a model's tokens: text, type, score, and the way back from a text to its id.
 * Private to the tokenizer. Flat arrays, so that a vocabulary of 262,144 tokens is there in
 * milliseconds.
 */
#ifndef LLMOSFS_MODEL_VOCAB_H
#define LLMOSFS_MODEL_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/gguf.h"

#define VOCAB_TOKENS_MAX (1u << 22)
#define VOCAB_TEXT_MAX   8192u /* bytes of one token */

/* tokenizer.ggml.token_type, by GGUF's numbers. */
enum vocab_type {
    VOCAB_UNDEFINED = 0,
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2,
    VOCAB_CONTROL = 3,
    VOCAB_USER_DEFINED = 4,
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6,
};

struct vocab_slot {
    uint32_t tag; /* the upper half of the text's hash */
    uint32_t id;  /* + 1; 0: free */
};

struct vocab {
    uint32_t n;
    uint32_t text_max; /* bytes of the longest text */
    char *texts;       /* all of them, one after the other */
    uint32_t *starts;  /* n + 1 */
    uint8_t *types;    /* enum vocab_type */
    float *scores;     /* never NaN; NULL if not asked for */
    struct vocab_slot *slots;
    uint32_t mask; /* number of slots - 1 */
};

/*
 * Reads tokenizer.ggml.tokens, .token_type and, if `scored`, .scores. EBADMSG: arrays of different
 * lengths, a text that is empty, too long or there twice, a byte token that is not <0xHH>, a score
 * that is no number. v is to be freed in any case.
 */
int vocab_read(struct vocab *v, const struct gguf *g, bool scored, struct err *e);
void vocab_free(struct vocab *v);

int32_t vocab_find(const struct vocab *v, const char *text, size_t len); /* -1: no such token */

/* Whether plain text may become this token: control, unknown and byte tokens are never spelled. */
static inline bool vocab_spelled(const struct vocab *v, int32_t id)
{
    uint8_t type = v->types[id];
    return type != VOCAB_CONTROL && type != VOCAB_UNKNOWN && type != VOCAB_BYTE;
}

static inline const char *vocab_text(const struct vocab *v, int32_t id, size_t *len)
{
    *len = v->starts[id + 1] - v->starts[id];
    return v->texts + v->starts[id];
}

/* The byte that a byte token's text "<0xHH>" stands for; -1: it is none. */
int vocab_byte_of(const char *text, size_t len);

#endif
