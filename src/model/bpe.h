/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe: byte-level byte-pair encoding of words (GPT-2's). A token's text writes each byte as a
 * printable character: 0x20 is U+0120, 'Ġ'. Private to the tokenizer.
 */
#ifndef LLMOSFS_MODEL_BPE_H
#define LLMOSFS_MODEL_BPE_H

#include "base/buf.h"
#include "model/merge.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

#define BPE_MERGES_MAX (1u << 21)

struct bpe_merge {
    uint32_t left; /* MERGE_NO_ID: free */
    uint32_t right;
    uint32_t rank;
    uint32_t id; /* what they become */
};

struct bpe {
    struct bpe_merge *merges; /* a hash table */
    uint32_t mask;
    uint32_t bytes[256]; /* the token of each byte alone, or MERGE_NO_ID */
};

/* Reads tokenizer.ggml.merges. EBADMSG: a merge without a space. Merges of texts that are no tokens
 * are left out and logged. */
int bpe_read(struct bpe *b, const struct vocab *v, const struct gguf *g, struct err *e);
void bpe_free(struct bpe *b);

/* Appends the tokens of one word. Bytes without a token are counted in *dropped. */
int bpe_encode(const struct bpe *b, struct merger *m, const char *word, size_t len,
               struct tokens *out, size_t *dropped, struct err *e);

/* A token's text for these bytes, and the bytes of a token's text (what is not of that alphabet
 * stays as it is). */
void bpe_spell(const char *bytes, size_t len, struct buf *out);
void bpe_unspell(const char *text, size_t len, struct buf *out);

#endif
