/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_impl: what the files of the tokenizer share. */
#ifndef LLMOSFS_MODEL_TOKENIZER_IMPL_H
#define LLMOSFS_MODEL_TOKENIZER_IMPL_H

#include "model/bpe.h"
#include "model/pretokenize.h"
#include "model/special.h"
#include "model/spm.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

struct tokenizer {
    struct vocab vocab;
    struct special special;
    struct pretokenizer *pre; /* byte-level BPE; NULL: SentencePiece */
    struct bpe bpe;
    struct spm spm;
    bool add_bos;
    bool add_eos;
    bool space_prefix; /* SentencePiece puts a space in front of a text, and after each special
                          token */
    int32_t bos;       /* -1: none */
    int32_t eos;
    uint64_t *ends; /* a set of ids: of generation */
};

/* Finds the tokens that end a generation, and those that are control tokens though the file does
 * not say so. */
int tokenizer_find_ends(struct tokenizer *t, const struct gguf *g, struct err *e);

/* A special token's id by its key: -1 if there is none. EBADMSG: it is no token. */
int tokenizer_read_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t *id,
                      struct err *e);

#endif
