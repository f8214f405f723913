/* SPDX-License-Identifier: Apache-2.0 */
#include "model/special.h"

#include <errno.h>
#include <string.h>

static bool in_set(const uint64_t *set, unsigned i)
{
    return set[i / 64] >> (i % 64) & 1;
}

static void put_in_set(uint64_t *set, unsigned i)
{
    set[i / 64] |= UINT64_C(1) << (i % 64);
}

static void add_pairs(struct special *s, const unsigned char *text, size_t len)
{
    for (unsigned second = 0; second < 256; second++) {
        if (len == 1 || text[1] == second)
            put_in_set(s->pairs, (unsigned)text[0] << 8 | second);
    }
}

int special_init(struct special *s, const struct vocab *v, struct err *e)
{
    /* The class of each length, or 0; then the classes from the longest to the shortest. */
    CLEANUP_FREE struct special_class *by_len =
        mem_array((size_t)v->text_max + 1, sizeof(*by_len), "special tokens", e);
    s->pairs = mem_array(65536 / 64, sizeof(*s->pairs), "special tokens", e);
    if (!by_len || !s->pairs)
        return -1;
    for (uint32_t id = 0; id < v->n; id++) {
        size_t len;
        const unsigned char *text = (const unsigned char *)vocab_text(v, (int32_t)id, &len);
        if (!special_type(v->types[id]))
            continue;
        s->n_classes += by_len[len].len == 0;
        by_len[len].len = (uint32_t)len;
        put_in_set(by_len[len].firsts, text[0]);
        add_pairs(s, text, len);
    }
    s->classes = mem_array(s->n_classes + 1, sizeof(*s->classes), "special tokens", e);
    if (!s->classes)
        return -1;
    size_t k = 0;
    for (uint32_t len = v->text_max; len > 0; len--) {
        if (by_len[len].len > 0)
            s->classes[k++] = by_len[len];
    }
    return 0;
}

void special_free(struct special *s)
{
    free(s->classes);
    free(s->pairs);
    *s = (struct special){0};
}

struct candidate { /* a place where some special token may begin */
    uint32_t start;
    uint32_t control_end; /* control tokens must end here at the latest; 0: none may be found */
};

struct search {
    const struct vocab *vocab;
    const char *text;
    size_t len;
    struct candidate *candidates;
    size_t n;
    size_t cap;
    uint64_t *taken; /* a set of bytes; NULL until there is a match */
    struct special_match *matches;
    size_t n_matches;
    size_t matches_cap;
};

/* Makes room for one more element. */
static int grow(void *array, size_t n, size_t *cap, size_t size, struct err *e)
{
    if (n < *cap)
        return 0;
    size_t more = MAX((size_t)64, *cap * 2);
    void *p = reallocarray(*(void **)array, more, size);
    if (!p)
        return err_set(e, ENOMEM, "no memory for the special tokens of a text");
    *(void **)array = p;
    *cap = more;
    return 0;
}

static int find_candidates(struct search *f, const struct special *s,
                           const struct special_region *regions, struct err *e)
{
    const unsigned char *t = (const unsigned char *)f->text;
    size_t start = 0;
    for (const struct special_region *r = regions; start < f->len; r++) {
        uint32_t control_end = r->control ? (uint32_t)r->end : 0;
        for (size_t i = start; i < r->end; i++) {
            unsigned second = i + 1 < f->len ? t[i + 1] : 0;
            if (!in_set(s->pairs, (unsigned)t[i] << 8 | second))
                continue;
            if (grow(&f->candidates, f->n, &f->cap, sizeof(*f->candidates), e) < 0)
                return -1;
            f->candidates[f->n++] = (struct candidate){(uint32_t)i, control_end};
        }
        start = r->end;
    }
    return 0;
}

/* The token of exactly this length that stands at a candidate, or -1. */
static int32_t match_at(const struct search *f, const struct special_class *k,
                        const struct candidate *c)
{
    size_t end = (size_t)c->start + k->len;
    if (end > f->len || !in_set(k->firsts, (unsigned char)f->text[c->start]))
        return -1;
    /* What is taken is at least as long as this: it covers one of its ends or nothing of it. */
    if (f->taken && (in_set(f->taken, c->start) || in_set(f->taken, (unsigned)end - 1)))
        return -1;
    int32_t id = vocab_find(f->vocab, f->text + c->start, k->len);
    if (id < 0 || !special_type(f->vocab->types[id]))
        return -1;
    return f->vocab->types[id] == VOCAB_USER_DEFINED || end <= c->control_end ? id : -1;
}

static int take(struct search *f, uint32_t start, uint32_t len, int32_t id, struct err *e)
{
    if (!f->taken) {
        f->taken = mem_array(f->len / 64 + 1, sizeof(*f->taken), "the special tokens of a text", e);
        if (!f->taken)
            return -1;
    }
    if (grow(&f->matches, f->n_matches, &f->matches_cap, sizeof(*f->matches), e) < 0)
        return -1;
    for (uint32_t i = 0; i < len; i++)
        put_in_set(f->taken, start + i);
    f->matches[f->n_matches++] = (struct special_match){start, id};
    return 0;
}

static int find_class(struct search *f, const struct special_class *k, struct err *e)
{
    size_t before = f->n_matches;
    for (size_t i = 0; i < f->n; i++) {
        int32_t id = match_at(f, k, &f->candidates[i]);
        if (id >= 0 && take(f, f->candidates[i].start, k->len, id, e) < 0)
            return -1;
    }
    if (f->n_matches == before)
        return 0;
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (!in_set(f->taken, f->candidates[i].start))
            f->candidates[kept++] = f->candidates[i];
    }
    f->n = kept;
    return 0;
}

static int by_start(const void *a, const void *b)
{
    uint32_t x = ((const struct special_match *)a)->start;
    uint32_t y = ((const struct special_match *)b)->start;
    return x < y ? -1 : x > y;
}

int special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                 const struct special_region *regions, struct special_match **matches, size_t *n,
                 struct err *e)
{
    struct search f = {.vocab = v, .text = text, .len = len};
    int r = find_candidates(&f, s, regions, e);
    for (size_t k = 0; r == 0 && f.n > 0 && k < s->n_classes; k++)
        r = find_class(&f, &s->classes[k], e);
    free(f.candidates);
    free(f.taken);
    if (r < 0) {
        free(f.matches);
        return -1;
    }
    if (f.n_matches > 1)
        qsort(f.matches, f.n_matches, sizeof(*f.matches), by_start);
    *matches = f.matches;
    *n = f.n_matches;
    return 0;
}
