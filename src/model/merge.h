/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge: the loop that byte-pair encoding and SentencePiece share: of all neighbours that may
 * become one symbol take the best, the leftmost among equals, until there are none. A linked list
 * and a heap: O(n log n) for n symbols. Private to the tokenizer.
 */
#ifndef LLMOSFS_MODEL_MERGE_H
#define LLMOSFS_MODEL_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MERGE_END     UINT32_MAX /* no neighbour */
#define MERGE_NO_ID   UINT32_MAX /* a symbol that is no token */
#define MERGE_LEN_MAX (UINT32_MAX / 4)

struct merge_symbol {
    uint32_t prev;
    uint32_t next;  /* symbol 0 is always the first; follow next from it */
    uint32_t start; /* in the text */
    uint32_t len;   /* 0: it went into its left neighbour */
    uint32_t id;
};

struct merge_pair {
    uint64_t key; /* priority, then the index of the left symbol: smaller first */
    uint32_t
        len; /* of both: another one by now means that a neighbour took part in another merge */
    uint32_t id;
};

struct merger { /* scratch memory; {0} is an empty one */
    struct merge_symbol *symbols;
    struct merge_pair *heap;
    uint32_t n;
    uint32_t n_heap;
    size_t cap;
};

/* Room for n symbols; the list is empty afterwards. */
int merger_begin(struct merger *m, size_t n, struct err *e);
void merger_add(struct merger *m, uint32_t start, uint32_t len, uint32_t id); /* at most n times */

/* Says whether two neighbours may become one: with which priority (less is better), and which id
 * they then have. */
typedef bool merge_find(const void *ctx, const struct merge_symbol *left,
                        const struct merge_symbol *right, uint32_t *priority, uint32_t *id);
void merger_run(struct merger *m, merge_find *find, const void *ctx);
void merger_free(struct merger *m);

#endif
