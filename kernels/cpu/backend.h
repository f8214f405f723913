/* SPDX-License-Identifier: Apache-2.0 */
/* backend: what the files of the CPU's operations share. Nothing outside kernels/cpu includes
   this. */
#ifndef LLMOSFS_KERNELS_CPU_BACKEND_H
#define LLMOSFS_KERNELS_CPU_BACKEND_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/rope.h"
#include "kernels/ops.h"

/* Memory that an operation needs while it runs; it only grows. */
struct scratch {
    uint8_t *data;
    size_t size;
};

struct ops_backend {
    const struct kernels *kernels;
    struct pool *pool;
    struct memory *memory;
    struct rope_tables ropes;
    struct scratch scratch;
};

struct ops_cache {
    struct ops_cache_shape shape;
    size_t width;      /* head_dim rounded up to a multiple of 16 */
    size_t head_halfs; /* of one key/value head of one layer in one page: keys, then values */
    size_t page_halfs; /* page after page, in each layer after layer, head after head */
    uint16_t *data;
    struct slab *slab;
};

/* At least n bytes, aligned to 64, until the next call. Ends the process if there is no memory: n
 * is bounded by the batch. */
void *backend_scratch(struct ops_backend *be, size_t n);

/*
 * Work of about `cost` floating point operations, in n parts: below a threshold it is not worth
 * waking anybody for. Never changes what is computed.
 */
void backend_run(struct ops_backend *be, void (*fn)(void *arg, uint32_t part), void *arg,
                 uint32_t n, uint64_t cost);

void matmul_run(struct ops_backend *be, float *const *dsts, const struct ops_matrix *const *ms,
                uint32_t n_ms, const float *src, uint32_t n);
void matmul_run_precise(struct ops_backend *be, float *dst, const struct ops_matrix *m,
                        const float *src, uint32_t n);

struct ops_cache *cache_new(struct ops_backend *be, const struct ops_cache_shape *shape,
                            struct err *e);
void cache_free(struct ops_backend *be, struct ops_cache *c);
size_t cache_page_bytes(const struct ops_cache_shape *shape);
void cache_copy_page(struct ops_backend *be, struct ops_cache *c, uint32_t from, uint32_t to);
void cache_put(struct ops_backend *be, struct ops_cache *c, uint32_t layer, const float *k,
               const float *v, const struct ops_span *spans, uint32_t n_spans);
/* Keys of one head in a page of the cache; its values follow head_dim * KERNEL_PAGE further on. */
uint16_t *cache_head(const struct ops_cache *c, uint32_t page, uint32_t layer, uint32_t head);

void attention_run(struct ops_backend *be, float *dst, const float *q, const struct ops_cache *c,
                   uint32_t layer, const struct ops_attention *at, const struct ops_span *spans,
                   uint32_t n_spans);

#endif
