/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretokenize: cuts a text into the words in which byte-level BPE merges, as tokenizer.ggml.pre
 * says. Private to the tokenizer.
 */
#ifndef LLMOSFS_MODEL_PRETOKENIZE_H
#define LLMOSFS_MODEL_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/gguf.h"

struct pretokenizer;

/* ENOEXEC: the name is not known. Immutable: any thread may use it. */
struct pretokenizer *pretokenizer_new(struct gguf_str name, struct err *e);
void pretokenizer_free(struct pretokenizer *p);

bool pretokenizer_whole_words(
    const struct pretokenizer *p); /* a word that is a token is taken without merges */
bool pretokenizer_adds_bos(const struct pretokenizer *p); /* unless the file says otherwise */

typedef int pretokenizer_word(void *ctx, const char *word, size_t len, struct err *e);

/* Calls word() for each word of a text that is valid UTF-8, in order and without gaps. 0, or -1 as
 * soon as it fails. */
int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len,
                       pretokenizer_word *word, void *ctx, struct err *e);

#endif
