/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body_attention: queries over a chunk of the cache, for each set of instructions the same source.
 *
 * Keys lie as [head_dim][positions of a page], so that the scores of a page are in the lanes and
 * q·k is added up over head_dim in order; values lie as [position][width], so that the output is in
 * the lanes and is added up over positions in order. Neither needs a sum across lanes, and a vector
 * that is loaded serves all queries of a tile.
 */
#ifndef LLMOSFS_KERNELS_CPU_BODY_ATTENTION_H
#define LLMOSFS_KERNELS_CPU_BODY_ATTENTION_H

#include "kernels/cpu/body.h"

/* Queries, and vectors of a row of values, that are computed at once: what fits the registers. */
#if defined(__AVX512F__)
#define QUERIES     8
#define VALUE_LANES 2
#else
#define QUERIES     4
#define VALUE_LANES 1
#endif

/* scores[t][0…31] = q[t] · k for T queries and one page. */
INLINE void page_scores(const float *const *q, const uint16_t *k, size_t head_dim, const size_t T,
                        float (*scores)[KERNEL_CHUNK])
{
    lanes acc[QUERIES][2];
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++)
        acc[t][0] = acc[t][1] = l_set(0.0f);
    for (size_t d = 0; d < head_dim; d++) {
        lanes k0 = l_load_half(k + d * KERNEL_PAGE);
        lanes k1 = l_load_half(k + d * KERNEL_PAGE + LANES);
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++) {
            lanes x = l_set(q[t][d]);
            acc[t][0] = l_add(acc[t][0], l_mul(k0, x));
            acc[t][1] = l_add(acc[t][1], l_mul(k1, x));
        }
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++) {
        l_store(scores[t], acc[t][0]);
        l_store(scores[t] + LANES, acc[t][1]);
    }
}

/* out[t][at…] += Σ p[t][i] v[i] over positions begin ≤ i < end of a page; N vectors of width from
 * `at` on. */
INLINE void page_values(const float (*p)[KERNEL_CHUNK], const uint16_t *v, size_t width,
                        size_t begin, size_t end, const size_t T, const size_t N, size_t at,
                        struct kernel_partial *partials)
{
    lanes acc[QUERIES][VALUE_LANES];
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++)
#pragma GCC unroll 8
        for (size_t j = 0; j < N; j++)
            acc[t][j] = l_load(partials[t].out + at + LANES * j);
    for (size_t i = begin; i < end; i++) {
        lanes value[VALUE_LANES];
#pragma GCC unroll 8
        for (size_t j = 0; j < N; j++)
            value[j] = l_load_half(v + i * width + at + LANES * j);
#pragma GCC unroll 8
        for (size_t t = 0; t < T; t++) {
            lanes x = l_set(p[t][i]);
#pragma GCC unroll 8
            for (size_t j = 0; j < N; j++)
                acc[t][j] = l_add(acc[t][j], l_mul(value[j], x));
        }
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < T; t++)
#pragma GCC unroll 8
        for (size_t j = 0; j < N; j++)
            l_store(partials[t].out + at + LANES * j, acc[t][j]);
}

INLINE void page_values_wide(const float (*p)[KERNEL_CHUNK], const uint16_t *v, size_t width,
                             size_t begin, size_t end, const size_t T,
                             struct kernel_partial *partials)
{
    size_t at = 0;
    for (; at + VALUE_LANES * LANES <= width; at += VALUE_LANES * LANES)
        page_values(p, v, width, begin, end, T, VALUE_LANES, at, partials);
    for (; at < width; at += LANES)
        page_values(p, v, width, begin, end, T, 1, at, partials);
}

static void page_scores_n(const float *const *q, const uint16_t *k, size_t head_dim, size_t n,
                          float (*scores)[KERNEL_CHUNK])
{
    for (; n >= QUERIES; n -= QUERIES, q += QUERIES, scores += QUERIES)
        page_scores(q, k, head_dim, QUERIES, scores);
    for (; n >= 4; n -= 4, q += 4, scores += 4)
        page_scores(q, k, head_dim, 4, scores);
    if (n == 3)
        page_scores(q, k, head_dim, 3, scores);
    else if (n == 2)
        page_scores(q, k, head_dim, 2, scores);
    else if (n == 1)
        page_scores(q, k, head_dim, 1, scores);
}

static void page_values_n(const float (*p)[KERNEL_CHUNK], const uint16_t *v, size_t width,
                          size_t begin, size_t end, size_t n, struct kernel_partial *partials)
{
    for (; n >= QUERIES; n -= QUERIES, p += QUERIES, partials += QUERIES)
        page_values_wide(p, v, width, begin, end, QUERIES, partials);
    for (; n >= 4; n -= 4, p += 4, partials += 4)
        page_values_wide(p, v, width, begin, end, 4, partials);
    if (n == 3)
        page_values_wide(p, v, width, begin, end, 3, partials);
    else if (n == 2)
        page_values_wide(p, v, width, begin, end, 2, partials);
    else if (n == 1)
        page_values_wide(p, v, width, begin, end, 1, partials);
}

/* Scales and caps the scores, hides what is not seen, and makes weights of them: exp(s - max). */
static void chunk_softmax(const struct kernel_chunk *c, size_t t, float *s,
                          struct kernel_partial *out)
{
    const lanes hidden = l_set(-INFINITY);
    lanes most = hidden;
    for (uint32_t i = 0; i < KERNEL_CHUNK; i += LANES) {
        lanes x = l_mul(l_load(s + i), l_set(c->scale));
        if (c->softcap > 0)
            x = l_mul(l_set(c->softcap), l_tanh(l_div(x, l_set(c->softcap))));
        l_store(s + i, x);
    }
    for (uint32_t i = 0; i < c->begin[t]; i++)
        s[i] = -INFINITY;
    for (uint32_t i = c->end[t]; i < KERNEL_CHUNK; i++)
        s[i] = -INFINITY;
    for (uint32_t i = 0; i < KERNEL_CHUNK; i += LANES)
        most = l_max(l_load(s + i), most);
    out->max = l_max_of(most);
    lanes sum = l_set(0.0f);
    for (uint32_t i = 0; i < KERNEL_CHUNK; i += LANES) {
        lanes e = l_exp(l_sub(l_load(s + i), l_set(out->max)));
        l_store(s + i, e);
        sum = l_add(sum, e);
    }
    out->sum = l_sum(sum);
}

/* Values of one page: where all queries see all of it, together; else each for itself, only what it
 * sees. */
static void chunk_values(const struct kernel_chunk *c, size_t page, float (*s)[KERNEL_CHUNK],
                         struct kernel_partial *partials)
{
    uint32_t first = (uint32_t)page * KERNEL_PAGE;
    bool all = true;
    for (size_t t = 0; t < c->n; t++)
        all = all && c->begin[t] <= first && c->end[t] >= first + KERNEL_PAGE;
    const float(*p)[KERNEL_CHUNK] = (const float(*)[KERNEL_CHUNK])(s[0] + first);
    if (all) {
        page_values_n(p, c->v[page], c->width, 0, KERNEL_PAGE, c->n, partials);
        return;
    }
    for (size_t t = 0; t < c->n;) {
        uint32_t begin = c->begin[t] > first ? c->begin[t] - first : 0;
        uint32_t end = c->end[t] > first ? c->end[t] - first : 0;
        size_t n = 1; /* heads of one row see the same */
        while (t + n < c->n && c->begin[t + n] == c->begin[t] && c->end[t + n] == c->end[t])
            n++;
        end = end > KERNEL_PAGE ? KERNEL_PAGE : end;
        if (begin < end)
            page_values_n(p + t, c->v[page], c->width, begin, end, n, partials + t);
        t += n;
    }
}

static void body_chunk(const struct kernel_chunk *c, struct kernel_partial *partials)
{
    _Alignas(64) float s[KERNEL_TILE][KERNEL_CHUNK];
    for (size_t page = 0; page < KERNEL_CHUNK / KERNEL_PAGE; page++) {
        float(*scores)[KERNEL_CHUNK] = (float(*)[KERNEL_CHUNK])(s[0] + page * KERNEL_PAGE);
        if (c->k[page]) {
            page_scores_n(c->q, c->k[page], c->head_dim, c->n, scores);
            continue;
        }
        for (size_t t = 0; t < c->n; t++)
            memset(scores[t], 0, KERNEL_PAGE * sizeof(float));
    }
    for (size_t t = 0; t < c->n; t++) {
        memset(partials[t].out, 0, c->width * sizeof(float));
        if (c->begin[t] < c->end[t]) {
            chunk_softmax(c, t, s[t], &partials[t]);
        } else {
            partials[t].max = -INFINITY;
            partials[t].sum = 0;
        }
    }
    for (size_t page = 0; page < KERNEL_CHUNK / KERNEL_PAGE; page++)
        if (c->v[page])
            chunk_values(c, page, s, partials);
}

static void body_fold(struct kernel_partial *into, const struct kernel_partial *later, size_t width)
{
    if (later->max == -INFINITY)
        return;
    float most = into->max > later->max ? into->max : later->max;
    lanes a = l_exp(l_set(into->max - most));
    lanes b = l_exp(l_set(later->max - most));
    float scales[2][LANES];
    l_store(scales[0], a);
    l_store(scales[1], b);
    into->max = most;
    into->sum = into->sum * scales[0][0] + later->sum * scales[1][0];
    for (size_t i = 0; i < width; i += LANES)
        l_store(into->out + i,
                l_add(l_mul(l_load(into->out + i), a), l_mul(l_load(later->out + i), b)));
}

static void body_finish(float *dst, const struct kernel_partial *from, size_t n)
{
    float by = 1.0f / from->sum;
    for (size_t i = 0; i < n; i++)
        dst[i] = from->out[i] * by;
}

#define BODY_KERNELS                                                                               \
    .quantize = body_quantize, .floats = body_floats, .rmsnorm = body_rmsnorm, .glu = body_glu,    \
    .add = body_add, .scale = body_scale, .rope = body_rope, .to_half = body_to_half,              \
    .chunk = body_chunk, .fold = body_fold, .finish = body_finish

#endif
