/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention: who computes which piece. A tile is up to KERNEL_TILE queries that look at the same
 * key/value head of the same sequence: some heads of some rows after each other. It goes through
 * the sequence in chunks of KERNEL_CHUNK positions, each of which gives a partial softmax; partials
 * are folded in the order of the chunks. If there are fewer tiles than would keep the threads busy,
 * their chunks are spread as well: the same pieces, folded in the same order.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/backend.h"

struct tile {
    const struct ops_span *span;
    size_t row;     /* of the batch, where the tile begins */
    uint32_t pos;   /* its position */
    uint32_t rows;  /* how many */
    uint32_t head;  /* first query head */
    uint32_t heads; /* for each row */
    uint32_t kv;
    uint32_t chunk, chunks; /* the first that anyone looks at, and how many */
};

struct attention {
    struct ops_backend *be;
    float *dst;
    const float *q;
    const struct ops_cache *c;
    uint32_t layer;
    const struct ops_attention *at;
    struct tile *tiles;
    uint32_t n_tiles;
    uint32_t max_chunks;
    float *partials; /* [tile][chunk][KERNEL_TILE][2 + width] where chunks are spread */
};

static uint32_t first_seen(const struct ops_attention *at, uint32_t pos)
{
    return at->window && pos >= at->window ? pos - at->window + 1 : 0;
}

static void tile_chunks(const struct attention *a, struct tile *t)
{
    t->chunk = first_seen(a->at, t->pos) / KERNEL_CHUNK;
    t->chunks = (t->pos + t->rows - 1) / KERNEL_CHUNK + 1 - t->chunk;
}

/* Cuts the batch into tiles; with `out` NULL it only counts them. */
static uint32_t cut(const struct attention *a, const struct ops_span *spans, uint32_t n_spans,
                    struct tile *out)
{
    uint32_t group = a->at->n_heads / a->at->n_kv_heads;
    uint32_t heads = MIN(group, (uint32_t)KERNEL_TILE);
    uint32_t rows = KERNEL_TILE / heads;
    uint32_t n = 0;
    size_t row = 0;
    for (uint32_t s = 0; s < n_spans; row += spans[s].n, s++) {
        for (uint32_t i = 0; i < spans[s].n; i += rows) {
            for (uint32_t h = 0; h < a->at->n_heads;) {
                uint32_t some = MIN(heads, group - h % group);
                if (out) {
                    out[n] = (struct tile){.span = &spans[s],
                                           .row = row + i,
                                           .pos = spans[s].pos + i,
                                           .rows = MIN(rows, spans[s].n - i),
                                           .head = h,
                                           .heads = some,
                                           .kv = h / group};
                    tile_chunks(a, &out[n]);
                }
                n++;
                h += some;
            }
        }
    }
    return n;
}

/* What the queries of a tile see of one chunk, and where that lies. */
static void describe(const struct attention *a, const struct tile *t, uint32_t chunk,
                     struct kernel_chunk *k)
{
    const struct ops_attention *at = a->at;
    uint32_t base = chunk * KERNEL_CHUNK;
    uint32_t low = KERNEL_CHUNK;
    uint32_t high = 0;
    *k = (struct kernel_chunk){.n = (size_t)t->rows * t->heads,
                               .head_dim = at->head_dim,
                               .width = a->c->width,
                               .scale = at->scale,
                               .softcap = at->softcap};
    for (uint32_t i = 0; i < k->n; i++) {
        uint32_t pos = t->pos + i / t->heads;
        uint32_t begin = first_seen(at, pos);
        k->q[i] =
            a->q + ((t->row + i / t->heads) * at->n_heads + t->head + i % t->heads) * at->head_dim;
        k->begin[i] = begin > base ? MIN(begin - base, (uint32_t)KERNEL_CHUNK) : 0;
        k->end[i] = pos >= base ? MIN(pos - base + 1, (uint32_t)KERNEL_CHUNK) : 0;
        if (k->begin[i] < k->end[i]) {
            low = MIN(low, k->begin[i]);
            high = MAX(high, k->end[i]);
        }
    }
    for (uint32_t p = 0; p < KERNEL_CHUNK / KERNEL_PAGE; p++) {
        if ((p + 1) * KERNEL_PAGE <= low || p * KERNEL_PAGE >= high)
            continue;
        uint32_t page = t->span->pages[base / KERNEL_PAGE + p];
        k->k[p] = cache_head(a->c, page, a->layer, t->kv);
        k->v[p] = k->k[p] + (size_t)at->head_dim * KERNEL_PAGE;
    }
}

static void partials_at(struct kernel_partial *partials, float *memory, size_t width, size_t n)
{
    for (size_t i = 0; i < n; i++)
        partials[i] = (struct kernel_partial){-INFINITY, 0, memory + i * width};
}

static void write_out(const struct attention *a, const struct tile *t,
                      const struct kernel_partial *total)
{
    const struct ops_attention *at = a->at;
    for (uint32_t i = 0; i < t->rows * t->heads; i++) {
        size_t head = (t->row + i / t->heads) * at->n_heads + t->head + i % t->heads;
        a->be->kernels->finish(a->dst + head * at->head_dim, &total[i], at->head_dim);
    }
}

/* A whole tile: all its chunks, one after the other. */
static void tile_part(void *arg, uint32_t part)
{
    const struct attention *a = arg;
    const struct tile *t = &a->tiles[part];
    const struct kernels *k = a->be->kernels;
    _Alignas(64) float memory[2][KERNEL_TILE * KERNEL_HEAD_MAX];
    struct kernel_partial total[KERNEL_TILE];
    struct kernel_partial one[KERNEL_TILE];
    size_t n = (size_t)t->rows * t->heads;
    partials_at(total, memory[0], a->c->width, n);
    partials_at(one, memory[1], a->c->width, n);
    memset(memory[0], 0, n * a->c->width * sizeof(float));
    for (uint32_t c = 0; c < t->chunks; c++) {
        struct kernel_chunk chunk;
        describe(a, t, t->chunk + c, &chunk);
        k->chunk(&chunk, one);
        for (size_t i = 0; i < n; i++)
            k->fold(&total[i], &one[i], a->c->width);
    }
    write_out(a, t, total);
}

/* The same in two steps, for few tiles and many chunks: partials into memory, … */
static float *stored(const struct attention *a, uint32_t tile, uint32_t chunk)
{
    size_t each = KERNEL_TILE * (2 + a->c->width);
    return a->partials + ((size_t)tile * a->max_chunks + chunk) * each;
}

static void chunk_part(void *arg, uint32_t part)
{
    const struct attention *a = arg;
    const struct tile *t = &a->tiles[part / a->max_chunks];
    uint32_t c = part % a->max_chunks;
    struct kernel_chunk chunk;
    struct kernel_partial one[KERNEL_TILE];
    if (c >= t->chunks)
        return;
    float *to = stored(a, part / a->max_chunks, c);
    describe(a, t, t->chunk + c, &chunk);
    partials_at(one, to + 2 * KERNEL_TILE, a->c->width, chunk.n);
    a->be->kernels->chunk(&chunk, one);
    for (size_t i = 0; i < chunk.n; i++) {
        to[2 * i] = one[i].max;
        to[2 * i + 1] = one[i].sum;
    }
}

/* … and then folded. */
static void fold_tile(const struct attention *a, uint32_t tile)
{
    const struct tile *t = &a->tiles[tile];
    size_t n = (size_t)t->rows * t->heads;
    _Alignas(64) float memory[KERNEL_TILE * KERNEL_HEAD_MAX];
    struct kernel_partial total[KERNEL_TILE];
    partials_at(total, memory, a->c->width, n);
    memset(memory, 0, n * a->c->width * sizeof(float));
    for (uint32_t c = 0; c < t->chunks; c++) {
        float *from = stored(a, tile, c);
        for (size_t i = 0; i < n; i++) {
            struct kernel_partial one = {from[2 * i], from[2 * i + 1],
                                         from + 2 * KERNEL_TILE + i * a->c->width};
            a->be->kernels->fold(&total[i], &one, a->c->width);
        }
    }
    write_out(a, t, total);
}

void attention_run(struct ops_backend *be, float *dst, const float *q, const struct ops_cache *c,
                   uint32_t layer, const struct ops_attention *at, const struct ops_span *spans,
                   uint32_t n_spans)
{
    struct attention a = {.be = be, .dst = dst, .q = q, .c = c, .layer = layer, .at = at};
    uint64_t cost = 0;
    a.n_tiles = cut(&a, spans, n_spans, NULL);
    if (a.n_tiles == 0)
        return;
    size_t tiles_bytes = (a.n_tiles * sizeof(struct tile) + 63) & ~(size_t)63;
    a.tiles = backend_scratch(be, tiles_bytes);
    cut(&a, spans, n_spans, a.tiles);
    for (uint32_t i = 0; i < a.n_tiles; i++) {
        a.max_chunks = MAX(a.max_chunks, a.tiles[i].chunks);
        cost += (uint64_t)a.tiles[i].rows * a.tiles[i].heads * a.tiles[i].chunks * KERNEL_CHUNK *
                at->head_dim * 2;
    }
    if (a.max_chunks == 1 || a.n_tiles >= pool_threads(be->pool) * 4) {
        backend_run(be, tile_part, &a, a.n_tiles, cost);
        return;
    }
    size_t each = KERNEL_TILE * (2 + c->width) * sizeof(float);
    uint8_t *p = backend_scratch(be, tiles_bytes + each * a.n_tiles * a.max_chunks);
    a.tiles = (struct tile *)(void *)p;
    a.partials = (float *)(void *)(p + tiles_bytes);
    cut(&a, spans, n_spans, a.tiles);
    backend_run(be, chunk_part, &a, a.n_tiles * a.max_chunks, cost);
    for (uint32_t i = 0; i < a.n_tiles; i++)
        fold_tile(&a, i);
}
