/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer: text to token ids and back, as the model's file says (tokenizer.ggml.*): byte-level
 * BPE ("gpt2") and SentencePiece-style
 * ("llama"). The vocabulary comes from a hostile file and is checked as a whole when the tokenizer
 * is made. Immutable once made: any number of threads may use it at once.
 */
#ifndef LLMOSFS_MODEL_TOKENIZER_H
#define LLMOSFS_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/gguf.h"

struct tokenizer;

struct tokens { /* a growing list; {0} is empty */
    int32_t *ids;
    size_t n;
    size_t cap;
};
void tokens_add(struct tokens *t, int32_t id);
void tokens_free(struct tokens *t);
#define CLEANUP_TOKENS __attribute__((cleanup(tokens_free)))

/*
 * Copies what it needs of g. EBADMSG: a vocabulary that contradicts itself; ENOEXEC: a kind of
 * tokenizer or pre-tokenizer that is not supported, named in the sentence; ENOMEM.
 */
struct tokenizer *tokenizer_new(const struct gguf *g, struct err *e);
void tokenizer_free(struct tokenizer *t);
DEFINE_CLEANUP(tokenizer, struct tokenizer *, tokenizer_free)

/* A piece of what is to be tokenized. Runs of pieces are tokenized as one text; where they come
 * from only matters for special tokens. */
struct tokenizer_span {
    const char *text;
    size_t len;
    bool special; /* texts of control tokens in it become those tokens (a template's own text);
                     never set for what a user wrote */
};

/*
 * Appends the tokens of all spans; tokens that out holds already are what comes before them.
 * add_special: BOS and EOS as the file says; BOS is added even before a text that begins with it, as
 * llama.cpp does: a template that brings its own (tokenizer_brings_bos) is encoded without. Time is
 * O(n log n) in the bytes of the text. Bytes for which the vocabulary has no token are dropped and
 * counted in *dropped, if not NULL. What is not UTF-8 is U+FFFD to a byte-level BPE; SentencePiece
 * keeps the bytes. ENOMEM; EFBIG: more text than 1 GiB.
 */
int tokenizer_encode(const struct tokenizer *t, const struct tokenizer_span *spans, size_t n,
                     bool add_special, struct tokens *out, size_t *dropped, struct err *e);

/* Whether the first span is special and begins with the text of BOS. */
bool tokenizer_brings_bos(const struct tokenizer *t, const struct tokenizer_span *spans, size_t n);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id); /* of generation: one of a set */
int32_t tokenizer_bos(const struct tokenizer *t);             /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *t);
/* The text of a token as the vocabulary spells it (not NUL-terminated; lives as long as t); NULL:
 * id out of range. */
const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len);

/*
 * Appends the bytes of a token as they stand in an answer; control tokens give nothing unless
 * `special`. A token may end inside a UTF-8 sequence. An id out of range gives nothing. `first`:
 * nothing came before it (SentencePiece drops the space that it puts in front of a text).
 */
void tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, bool first,
                     struct buf *out);

/* Turns tokens into a stream of whole UTF-8 sequences. {0} is a new one. */
struct detokenizer {
    struct buf pending; /* bytes that wait for more */
    bool begun;
};
/* Appends what is whole by now. Bytes that can never become a valid sequence become U+FFFD. */
void detokenizer_push(struct detokenizer *d, const struct tokenizer *t, int32_t id,
                      struct buf *out);
void detokenizer_end(struct detokenizer *d,
                     struct buf *out); /* an unfinished sequence becomes U+FFFD */
void detokenizer_free(struct detokenizer *d);

#endif
