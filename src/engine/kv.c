/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kv.h"

#include <errno.h>
#include <string.h>

#include "base/list.h"

struct page {
    uint32_t refs; /* sequences that use it */
    uint32_t live; /* of these, live ones */
};

struct kv_seq {
    struct list link; /* in kv->live, or in kv->kept: the least recently used first */
    uint64_t owner;
    bool live;
    int32_t *tokens;
    size_t n;
    size_t tokens_cap;
    uint32_t *pages; /* ceil(n / page_size) of them */
    size_t n_pages;
    size_t pages_cap;
};

struct kv {
    uint32_t page_size;
    uint32_t n_pages;
    struct page *pages;
    uint32_t *free; /* a stack: what was used last is used next */
    uint32_t n_free;
    uint32_t n_live;
    uint32_t live_seqs;
    uint32_t kept_seqs;
    struct list live;
    struct list kept;
    kv_copy_fn *copy;
    void *ctx;
};

struct kv *kv_new(uint32_t n_pages, uint32_t page_size, kv_copy_fn *copy, void *ctx, struct err *e)
{
    CLEANUP(kv) struct kv *kv = xcalloc(1, sizeof(*kv));
    list_init(&kv->live);
    list_init(&kv->kept);
    kv->page_size = page_size;
    kv->copy = copy;
    kv->ctx = ctx;
    kv->pages = mem_array(n_pages, sizeof(*kv->pages), "the table of cache pages", e);
    kv->free = mem_array(n_pages, sizeof(*kv->free), "the list of free cache pages", e);
    if (!kv->pages || !kv->free)
        return NULL;
    kv->n_pages = n_pages;
    for (uint32_t i = n_pages; i > 0; i--)
        kv->free[kv->n_free++] = i - 1;
    return steal_ptr(&kv);
}

static void seq_free(struct kv_seq *s)
{
    list_del(&s->link);
    free(s->tokens);
    free(s->pages);
    free(s);
}

void kv_free(struct kv *kv)
{
    struct kv_seq *s;
    list_for_each(s, &kv->live, link) seq_free(s);
    list_for_each(s, &kv->kept, link) seq_free(s);
    free(kv->pages);
    free(kv->free);
    free(kv);
}

/* --- pages --- */

static void page_use(struct kv *kv, uint32_t p, bool live)
{
    kv->pages[p].refs++;
    if (live && kv->pages[p].live++ == 0)
        kv->n_live++;
}

static void page_unuse(struct kv *kv, uint32_t p, bool live)
{
    if (live && --kv->pages[p].live == 0)
        kv->n_live--;
    if (--kv->pages[p].refs == 0)
        kv->free[kv->n_free++] = p;
}

static size_t pages_for(const struct kv *kv, size_t n)
{
    return (n + kv->page_size - 1) / kv->page_size;
}

/* --- sequences --- */

static struct kv_seq *seq_new(struct kv *kv, uint64_t owner)
{
    struct kv_seq *s = xcalloc(1, sizeof(*s));
    s->owner = owner;
    s->live = true;
    list_add(&kv->live, &s->link);
    kv->live_seqs++;
    return s;
}

static void seq_reserve(struct kv_seq *s, size_t n_tokens, size_t n_pages)
{
    if (n_tokens > s->tokens_cap) {
        s->tokens_cap = MAX(n_tokens, s->tokens_cap * 2);
        s->tokens = xrealloc(s->tokens, s->tokens_cap * sizeof(*s->tokens));
    }
    if (n_pages > s->pages_cap) {
        s->pages_cap = MAX(n_pages, s->pages_cap * 2);
        s->pages = xrealloc(s->pages, s->pages_cap * sizeof(*s->pages));
    }
}

static void seq_add_tokens(struct kv_seq *s, const int32_t *tokens, size_t n)
{
    seq_reserve(s, s->n + n, 0);
    if (n > 0)
        memcpy(s->tokens + s->n, tokens, n * sizeof(*tokens));
    s->n += n;
}

static void seq_add_page(struct kv *kv, struct kv_seq *s, uint32_t page)
{
    seq_reserve(s, 0, s->n_pages + 1);
    s->pages[s->n_pages++] = page;
    page_use(kv, page, s->live);
}

/* Cuts s to its first n tokens. */
static void seq_cut(struct kv *kv, struct kv_seq *s, size_t n)
{
    while (s->n_pages > pages_for(kv, n))
        page_unuse(kv, s->pages[--s->n_pages], s->live);
    s->n = n;
}

static void seq_drop(struct kv *kv, struct kv_seq *s)
{
    seq_cut(kv, s, 0);
    if (s->live)
        kv->live_seqs--;
    else
        kv->kept_seqs--;
    seq_free(s);
}

static void seq_set_live(struct kv *kv, struct kv_seq *s, bool live)
{
    for (size_t i = 0; i < s->n_pages; i++) {
        page_use(kv, s->pages[i], live);
        page_unuse(kv, s->pages[i], s->live);
    }
    s->live = live;
    list_del(&s->link);
    list_add(live ? &kv->live : &kv->kept, &s->link);
    kv->live_seqs += live ? 1u : -1u;
    kv->kept_seqs += live ? -1u : 1u;
}

/* --- beginning: what is in the cache already --- */

static size_t common(const struct kv_seq *s, const int32_t *tokens, size_t n)
{
    size_t i = 0;
    while (i < s->n && i < n && s->tokens[i] == tokens[i])
        i++;
    return i;
}

static struct kv_seq *longest_in(struct list *head, uint64_t owner, const int32_t *tokens, size_t n,
                                 size_t *best)
{
    struct kv_seq *found = NULL;
    struct kv_seq *s;
    list_for_each(s, head, link)
    {
        size_t len = s->owner == owner ? common(s, tokens, n) : 0;
        if (len > *best) {
            *best = len;
            found = s;
        }
    }
    return found;
}

struct kv_seq *kv_begin(struct kv *kv, uint64_t owner, const int32_t *tokens, size_t n)
{
    size_t len = 0;
    struct kv_seq *from = NULL;
    if (owner != 0 && n > 1) {
        from = longest_in(&kv->kept, owner, tokens, n - 1, &len);
        struct kv_seq *live = longest_in(&kv->live, owner, tokens, n - 1, &len);
        from = live ? live : from;
    }
    /* A kept sequence that goes on as it was is taken over; of another the beginning is shared. */
    if (from && !from->live && len == from->n) {
        seq_set_live(kv, from, true);
        return from;
    }
    struct kv_seq *s = seq_new(kv, owner);
    if (!from)
        return s;
    seq_add_tokens(s, tokens, len);
    for (size_t i = 0; i < pages_for(kv, len); i++)
        seq_add_page(kv, s, from->pages[i]);
    if (!from->live) { /* it was of use: it becomes the youngest */
        list_del(&from->link);
        list_add(&kv->kept, &from->link);
    }
    return s;
}

/* --- growing --- */

/* Does the page that the next token goes to exist, and does another use it as well? */
static bool tail_is_shared(const struct kv *kv, const struct kv_seq *s)
{
    return s->n % kv->page_size != 0 && kv->pages[s->pages[s->n_pages - 1]].refs > 1;
}

size_t kv_need(const struct kv *kv, const struct kv_seq *s, size_t total)
{
    if (total <= s->n)
        return 0;
    return pages_for(kv, total) - s->n_pages + (tail_is_shared(kv, s) ? 1 : 0);
}

size_t kv_available(const struct kv *kv)
{
    return kv->n_pages - kv->n_live;
}

/* The caller has seen that there is one that is free or kept. */
static uint32_t take_page(struct kv *kv)
{
    while (kv->n_free == 0)
        seq_drop(kv, list_entry(kv->kept.next, struct kv_seq, link));
    return kv->free[--kv->n_free];
}

/* Gives up the kept sequences that share the last page of s: it can then be written without a
   copy. */
static void drop_kept_sharers(struct kv *kv, const struct kv_seq *s)
{
    size_t last = s->n_pages - 1;
    struct kv_seq *other;
    list_for_each(other, &kv->kept,
                  link) if (other->n_pages > last && other->pages[last] == s->pages[last])
        seq_drop(kv, other);
}

bool kv_grow(struct kv *kv, struct kv_seq *s, const int32_t *tokens, size_t n)
{
    if (n > 0 && tail_is_shared(kv, s) && kv_need(kv, s, s->n + n) > kv_available(kv))
        drop_kept_sharers(kv, s);
    if (kv_need(kv, s, s->n + n) > kv_available(kv))
        return false;
    if (n > 0 && tail_is_shared(kv, s)) {
        uint32_t old = s->pages[s->n_pages - 1];
        uint32_t page =
            take_page(kv); /* may have given up the other user: old is still held by s */
        kv->copy(kv->ctx, old, page);
        s->pages[s->n_pages - 1] = page;
        page_use(kv, page, s->live);
        page_unuse(kv, old, s->live);
    }
    while (s->n_pages < pages_for(kv, s->n + n))
        seq_add_page(kv, s, take_page(kv));
    seq_add_tokens(s, tokens, n);
    return true;
}

void kv_end(struct kv *kv, struct kv_seq *s, bool keep)
{
    if (!keep || s->owner == 0 || s->n == 0) {
        seq_drop(kv, s);
        return;
    }
    seq_set_live(kv, s, false);
    if (kv->kept_seqs > KV_KEPT_MAX)
        seq_drop(kv, list_entry(kv->kept.next, struct kv_seq, link));
}

size_t kv_seq_len(const struct kv_seq *s)
{
    return s->n;
}

const uint32_t *kv_seq_pages(const struct kv_seq *s)
{
    return s->pages;
}

/* --- for those who look on --- */

void kv_stats(const struct kv *kv, struct kv_stats *out)
{
    *out = (struct kv_stats){.n_pages = kv->n_pages,
                             .n_free = kv->n_free,
                             .n_live = kv->n_live,
                             .n_kept = kv->n_pages - kv->n_free - kv->n_live,
                             .live_seqs = kv->live_seqs,
                             .kept_seqs = kv->kept_seqs};
}

static uint32_t count_refs(const struct kv *kv, const struct list *head, struct page *count,
                           bool live, bool *sound)
{
    uint32_t n = 0;
    for (const struct list *l = head->next; l != head; l = l->next, n++) {
        const struct kv_seq *s = list_entry(l, struct kv_seq, link);
        *sound = *sound && s->live == live && s->n_pages == pages_for(kv, s->n);
        for (size_t i = 0; i < s->n_pages; i++) {
            count[s->pages[i]].refs++;
            count[s->pages[i]].live += live;
        }
    }
    return n;
}

bool kv_check(const struct kv *kv)
{
    bool sound = true;
    CLEANUP_FREE struct page *count = xcalloc(kv->n_pages, sizeof(*count));
    CLEANUP_FREE bool *is_free = xcalloc(kv->n_pages, sizeof(*is_free));
    sound = count_refs(kv, &kv->live, count, true, &sound) == kv->live_seqs && sound;
    sound = count_refs(kv, &kv->kept, count, false, &sound) == kv->kept_seqs && sound;
    for (uint32_t i = 0; i < kv->n_free; i++) {
        sound = sound && !is_free[kv->free[i]];
        is_free[kv->free[i]] = true;
    }
    uint32_t n_live = 0;
    for (uint32_t p = 0; p < kv->n_pages; p++) {
        n_live += count[p].live > 0;
        sound = sound && count[p].refs == kv->pages[p].refs && count[p].live == kv->pages[p].live &&
                is_free[p] == (count[p].refs == 0);
    }
    return sound && n_live == kv->n_live;
}
