/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv: the book of the KV cache: which page holds which positions of which sequence. What is in the
 * pages belongs to the backend (kernels/ops.h); here are only their numbers.
 *
 *     sequence   tokens  t0 … t31 | t32 … t63 | t64 t65
 *                pages        7   |     2     |    9        position p lies in page p / page_size
 *
 * A page has one count for each sequence that uses it. Full pages never change, so sequences that
 * begin alike share them; who wants to write into a page that another uses as well gets a copy of
 * it first.
 *
 * A sequence that ended stays as a cache until its pages are needed: the next question of the same
 * owner that begins with the same tokens goes on from there. The one not used for the longest time
 * is given up first.
 *
 * Not safe for two threads at once.
 */
#ifndef LLMOSFS_ENGINE_KV_H
#define LLMOSFS_ENGINE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define KV_KEPT_MAX                                                                                \
    1024 /* sequences kept as a cache at most: each is looked at when a question begins */

struct kv;
struct kv_seq;

/* Copies the content of a page, before the other of its users changes it. */
typedef void kv_copy_fn(void *ctx, uint32_t from, uint32_t to);

struct kv *kv_new(uint32_t n_pages, uint32_t page_size, kv_copy_fn *copy, void *ctx, struct err *e);
void kv_free(struct kv *kv); /* all sequences with it */
DEFINE_CLEANUP(kv, struct kv *, kv_free)

/*
 * A new live sequence for these tokens. It begins with what is in the cache already: the longest
 * beginning that it has in common with a sequence of this owner, at most n - 1 tokens (the last is
 * always computed, for its logits). kv_seq_len() says how many. Owner 0 shares nothing and is never
 * kept.
 */
struct kv_seq *kv_begin(struct kv *kv, uint64_t owner, const int32_t *tokens, size_t n);

/* Makes room for the n tokens that are computed next. False, and nothing changed, if even with all
 * kept sequences given up there are not enough pages. */
bool kv_grow(struct kv *kv, struct kv_seq *s, const int32_t *tokens, size_t n);

/* Ends a sequence; keep: it stays as a cache. */
void kv_end(struct kv *kv, struct kv_seq *s, bool keep);

size_t kv_seq_len(const struct kv_seq *s);            /* tokens that it holds */
const uint32_t *kv_seq_pages(const struct kv_seq *s); /* valid until it grows or ends */

/* Pages that kv_grow() would take to bring s to `total` tokens. */
size_t kv_need(const struct kv *kv, const struct kv_seq *s, size_t total);
/* Pages that are free or would become so by giving up what is kept. */
size_t kv_available(const struct kv *kv);

struct kv_stats {
    uint32_t n_pages;
    uint32_t n_free;
    uint32_t n_live; /* used by a live sequence */
    uint32_t n_kept; /* used by kept sequences only */
    uint32_t live_seqs;
    uint32_t kept_seqs;
};
void kv_stats(const struct kv *kv, struct kv_stats *out);

/* Counts everything anew and compares: false if the book is wrong (for tests). */
bool kv_check(const struct kv *kv);

#endif
