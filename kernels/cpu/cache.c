/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/backend.h"

static size_t width_of(uint32_t head_dim)
{
    return ((size_t)head_dim + 15) / 16 * 16;
}

size_t cache_page_bytes(const struct ops_cache_shape *shape)
{
    return (size_t)shape->n_layers * shape->n_kv_heads * KERNEL_PAGE *
           (shape->head_dim + width_of(shape->head_dim)) * sizeof(uint16_t);
}

struct ops_cache *cache_new(struct ops_backend *be, const struct ops_cache_shape *shape,
                            struct err *e)
{
    size_t bytes;
    size_t per_layer;
    if (shape->page_size != KERNEL_PAGE || shape->head_dim == 0 ||
        shape->head_dim > KERNEL_HEAD_MAX || shape->n_layers == 0 || shape->n_kv_heads == 0 ||
        shape->n_pages == 0) {
        err_set(
            e, EINVAL, "a cache cannot have %u layers, %u heads of %u, %u pages of %u positions",
            shape->n_layers, shape->n_kv_heads, shape->head_dim, shape->n_pages, shape->page_size);
        return NULL;
    }
    size_t head = KERNEL_PAGE * (shape->head_dim + width_of(shape->head_dim));
    if (__builtin_mul_overflow(head * shape->n_kv_heads, (size_t)shape->n_layers, &per_layer) ||
        __builtin_mul_overflow(per_layer, shape->n_pages * sizeof(uint16_t), &bytes)) {
        err_set(e, ENOMEM, "a cache of %u pages is too large", shape->n_pages);
        return NULL;
    }
    struct ops_cache *c = xcalloc(1, sizeof(*c));
    c->shape = *shape;
    c->width = width_of(shape->head_dim);
    c->head_halfs = head;
    c->page_halfs = head * shape->n_kv_heads * shape->n_layers;
    c->data = memory_take(be->memory, bytes, &c->slab, "the cache", e);
    if (!c->data) {
        free(c);
        return NULL;
    }
    return c;
}

void cache_free(struct ops_backend *be, struct ops_cache *c)
{
    if (!c)
        return;
    memory_give(be->memory, c->slab);
    free(c);
}

void cache_copy_page(struct ops_backend *be, struct ops_cache *c, uint32_t from, uint32_t to)
{
    (void)be;
    memcpy(c->data + to * c->page_halfs, c->data + from * c->page_halfs,
           c->page_halfs * sizeof(uint16_t));
}

uint16_t *cache_head(const struct ops_cache *c, uint32_t page, uint32_t layer, uint32_t head)
{
    return c->data + page * c->page_halfs +
           ((size_t)layer * c->shape.n_kv_heads + head) * c->head_halfs;
}

/* One head of one row: keys across the page, values along it. */
static void put_head(struct ops_backend *be, uint16_t *to, const struct ops_cache *c,
                     const float *k, const float *v, uint32_t at)
{
    uint16_t half[KERNEL_HEAD_MAX];
    uint32_t dim = c->shape.head_dim;
    be->kernels->to_half(half, k, dim);
    for (uint32_t d = 0; d < dim; d++)
        to[d * KERNEL_PAGE + at] = half[d];
    be->kernels->to_half(to + (size_t)dim * KERNEL_PAGE + at * c->width, v, dim);
}

void cache_put(struct ops_backend *be, struct ops_cache *c, uint32_t layer, const float *k,
               const float *v, const struct ops_span *spans, uint32_t n_spans)
{
    uint32_t dim = c->shape.head_dim;
    for (uint32_t s = 0; s < n_spans; s++) {
        for (uint32_t i = 0; i < spans[s].n; i++) {
            uint32_t pos = spans[s].pos + i;
            for (uint32_t h = 0; h < c->shape.n_kv_heads; h++, k += dim, v += dim)
                put_head(be, cache_head(c, spans[s].pages[pos / KERNEL_PAGE], layer, h), c, k, v,
                         pos % KERNEL_PAGE);
        }
    }
}
