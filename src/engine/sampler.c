/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/philox.h"

struct candidate {
    float logit;
    int32_t id;
};

struct sampler {
    uint32_t n_vocab;
    struct candidate *c; /* n_vocab of them */
    float *penalized;    /* n_vocab of them; made when it is needed */
    uint32_t *count;     /* of each token among the last ones; all 0 between calls */
};

struct sampler *sampler_new(uint32_t n_vocab, struct err *e)
{
    CLEANUP(sampler) struct sampler *s = xcalloc(1, sizeof(*s));
    s->n_vocab = n_vocab;
    s->c = mem_array(n_vocab, sizeof(*s->c), "the sampler's candidates", e);
    s->count = mem_array(n_vocab, sizeof(*s->count), "the sampler's counts", e);
    return s->c && s->count ? steal_ptr(&s) : NULL;
}

void sampler_free(struct sampler *s)
{
    free(s->c);
    free(s->penalized);
    free(s->count);
    free(s);
}

static int check_range(double v, double min, double max, const char *name, struct err *e)
{
    if (v >= min && v <= max) /* false for NaN */
        return 0;
    return err_set(e, EINVAL, "%s is %g, which is not between %g and %g", name, v, min, max);
}

int sampler_check(const struct proto_sampling *p, struct err *e)
{
    if (check_range(p->temperature, 0, 1e6, "temperature", e) < 0 ||
        check_range(p->top_p, 0, 1, "top_p", e) < 0 ||
        check_range(p->min_p, 0, 1, "min_p", e) < 0 ||
        check_range(p->repeat_penalty, 1e-3, 1e3, "repeat_penalty", e) < 0 ||
        check_range(p->presence_penalty, -1e3, 1e3, "presence_penalty", e) < 0 ||
        check_range(p->frequency_penalty, -1e3, 1e3, "frequency_penalty", e) < 0)
        return -1;
    if (p->top_k < 0)
        return err_set(e, EINVAL, "top_k is %d, which is below 0", p->top_k);
    if (p->repeat_last_n < -1)
        return err_set(e, EINVAL, "repeat_last_n is %d, which is below -1", p->repeat_last_n);
    return 0;
}

int sampler_check_logits(const float *logits, uint32_t n, struct err *e)
{
    uint32_t bad = 0; /* an exponent of all ones; no branch in the long loop */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof(bits));
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    if (!bad)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return err_set(e, EIO, "the model computed %g for token %u: its weights are damaged",
                           (double)logits[i], i);
    return 0;
}

/* --- penalties --- */

/* The logits after the penalties: the same memory if there are none, else the sampler's. */
static const float *penalize(struct sampler *s, const struct proto_sampling *p, const float *logits,
                             const int32_t *tokens, size_t n)
{
    size_t last = p->repeat_last_n < 0 ? n : MIN(n, (size_t)p->repeat_last_n);
    if (last == 0 ||
        (p->repeat_penalty == 1 && p->presence_penalty == 0 && p->frequency_penalty == 0))
        return logits;
    if (!s->penalized)
        s->penalized = xmalloc(s->n_vocab * sizeof(*s->penalized));
    memcpy(s->penalized, logits, s->n_vocab * sizeof(*logits));
    const int32_t *from = tokens + (n - last);
    for (size_t i = 0; i < last; i++)
        s->count[from[i]]++;
    for (size_t i = 0; i < last; i++) {
        uint32_t c = s->count[from[i]];
        s->count[from[i]] = 0; /* each token once, and the table is clean again */
        if (c == 0)
            continue;
        double l = logits[from[i]];
        l = l > 0 ? l / p->repeat_penalty : l * p->repeat_penalty;
        s->penalized[from[i]] = (float)(l - (c * p->frequency_penalty + p->presence_penalty));
    }
    return s->penalized;
}

/* --- choosing --- */

static int32_t likeliest(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    return before(a, b) ? -1 : 1; /* no two are equal: their ids differ */
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Restores the heap whose root, the candidate that comes last, was replaced. */
static void sift_down(struct candidate *h, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&h[child], &h[child + 1]))
            child++;
        if (!before(&h[i], &h[child]))
            return;
        swap(&h[i], &h[child]);
    }
}

static void heapify(struct candidate *h, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(h, n, i);
}

/*
 * Brings the k candidates that come first to the front, sorted. A heap of the k best so far has the
 * worst of them at its root: nearly all of the others are turned away by one comparison.
 */
static void sort_first(struct candidate *c, size_t n, size_t k)
{
    if (k < n && k < n / 8) {
        heapify(c, k);
        for (size_t i = k; i < n; i++) {
            if (before(&c[i], &c[0])) {
                swap(&c[i], &c[0]);
                sift_down(c, k, 0);
            }
        }
        n = k;
    }
    qsort(c, n, sizeof(*c), compare);
}

/* The k candidates that come first, sorted, at the front of c. */
static void gather_first(struct candidate *c, const float *logits, uint32_t n, size_t k)
{
    size_t first = k < n / 8 ? k : n;
    for (size_t i = 0; i < first; i++)
        c[i] = (struct candidate){logits[i], (int32_t)i};
    heapify(c, first);
    for (size_t i = first; i < n; i++) {
        if (logits[i] > c[0].logit) { /* an equal one has the higher id: it comes later */
            c[0] = (struct candidate){logits[i], (int32_t)i};
            sift_down(c, first, 0);
        }
    }
    qsort(c, first, sizeof(*c), compare);
}

/* The candidates that min_p leaves (a share of the largest probability is a distance of logits), by
 * id; returns how many. */
static size_t gather(struct candidate *c, const float *logits, uint32_t n, float max, double min_p)
{
    float least = min_p > 0 ? (float)(max + log(min_p)) : -INFINITY;
    size_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (logits[i] >= least)
            c[kept++] = (struct candidate){logits[i], (int32_t)i};
    return kept;
}

static double mass(const struct candidate *c, size_t n, float max, double temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)c[i].logit - max) / temperature);
    return sum;
}

/* How many of the n sorted candidates reach p of `total`. */
static size_t reach(const struct candidate *c, size_t n, float max, double p, double total)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)c[i].logit - max);
        if (sum >= p * total)
            return i + 1;
    }
    return n;
}

/*
 * top_p of all n candidates (top_k is off): sorts only as many as it needs. `total` is the mass
 * before min_p took some away. Returns how many are left, sorted at the front of c.
 */
static size_t cut_top_p(struct candidate *c, size_t n, float max, double p, double total)
{
    for (size_t k = 256;; k *= 16) {
        size_t sorted = MIN(k, n);
        sort_first(c, n, sorted);
        size_t left = reach(c, sorted, max, p, total);
        if (left < sorted || sorted == n)
            return left;
    }
}

static int32_t draw(const struct candidate *c, size_t n, float max, double temperature, double u)
{
    double left = u * mass(c, n, max, temperature);
    for (size_t i = 0; i < n; i++) {
        left -= exp(((double)c[i].logit - max) / temperature);
        if (left < 0)
            return c[i].id;
    }
    return c[0].id; /* rounding left a crumb: max itself is among them */
}

int32_t sampler_pick(struct sampler *s, const struct proto_sampling *p, const float *logits,
                     const int32_t *tokens, size_t n_tokens)
{
    logits = penalize(s, p, logits, tokens, n_tokens);
    int32_t best = likeliest(logits, s->n_vocab);
    float max = logits[best];
    if (p->temperature == 0 || p->top_k == 1)
        return best;

    size_t n;
    if (p->top_k > 0) {
        size_t k = MIN((size_t)p->top_k, (size_t)s->n_vocab);
        gather_first(s->c, logits, s->n_vocab, k);
        n = k;
        if (p->top_p < 1)
            n = reach(s->c, n, max, p->top_p, mass(s->c, n, max, 1));
        float least = p->min_p > 0 ? (float)(max + log(p->min_p)) : -INFINITY;
        while (n > 1 && s->c[n - 1].logit < least)
            n--;
    } else if (p->top_p < 1) {
        n = gather(s->c, logits, s->n_vocab, max, 0);
        double total = mass(s->c, n, max, 1);
        n = gather(s->c, logits, s->n_vocab, max, p->min_p);
        n = cut_top_p(s->c, n, max, p->top_p, total);
    } else {
        n = gather(s->c, logits, s->n_vocab, max, p->min_p);
    }
    return draw(s->c, n, max, p->temperature, philox_uniform(p->seed, n_tokens));
}
