/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spm: SentencePiece's byte-pair encoding, as Llama 2 and Gemma use it: of all neighbours whose
 * joined text is a token, those with the highest score become one. Spaces are written U+2581 in the
 * vocabulary. Private to the tokenizer.
 */
#ifndef LLMOSFS_MODEL_SPM_H
#define LLMOSFS_MODEL_SPM_H

#include "model/merge.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

struct spm {
    const struct vocab *vocab;
    int32_t bytes[256]; /* the tokens <0xHH>; -1: there is none */
};

void spm_init(struct spm *s, const struct vocab *v);

/*
 * Appends the tokens of a text, which need not be UTF-8: what is no token becomes byte tokens.
 * Bytes without one are counted in *dropped. space_prefix: a space is put in front.
 */
int spm_encode(const struct spm *s, struct merger *m, const char *text, size_t len,
               bool space_prefix, struct tokens *out, size_t *dropped, struct err *e);

/* The bytes of a normal token's text. */
void spm_unspell(const char *text, size_t len, struct buf *out);

#endif
