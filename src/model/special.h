/* SPDX-License-Identifier: Apache-2.0 */
/*
 * special: tokens that are found in a text by their spelling, before anything else is done with it:
 * user-defined ones everywhere, control (and unknown) ones only in text that may bring them.
 * Private to the tokenizer.
 *
 * The longest token goes first, over the whole text; among equally long ones the leftmost. What one
 * has taken no other may touch.
 */
#ifndef LLMOSFS_MODEL_SPECIAL_H
#define LLMOSFS_MODEL_SPECIAL_H

#include "model/vocab.h"

struct special_class { /* the tokens of one length */
    uint32_t len;
    uint64_t firsts[4]; /* a set of their first bytes */
};

struct special {
    struct special_class *classes; /* the longest first */
    size_t n_classes;
    uint64_t *
        pairs; /* a set of the first two bytes of all (any second byte after a token of one byte) */
};

struct special_region { /* a run of the text; regions lie side by side */
    size_t end;
    bool control; /* control tokens may be found wholly inside it */
};

struct special_match {
    uint32_t start;
    int32_t id;
};

static inline bool special_type(uint8_t type) /* enum vocab_type: found by its spelling */
{
    return type == VOCAB_CONTROL || type == VOCAB_UNKNOWN || type == VOCAB_USER_DEFINED;
}

int special_init(struct special *s, const struct vocab *v, struct err *e);
void special_free(struct special *s);

/* The tokens in a text of at most UINT32_MAX bytes, in order, for the caller to free (NULL if there
 * are none). 0, or -1 (ENOMEM). */
int special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                 const struct special_region *regions, struct special_match **matches, size_t *n,
                 struct err *e);

#endif
