/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/rig.h"

#include <stdio.h>
#include <stdlib.h>

static void must(bool ok, const struct err *e)
{
    if (ok)
        return;
    fprintf(stderr, "rig: %s\n", e->text);
    exit(1);
}

static void copy_page(void *ctx, uint32_t from, uint32_t to)
{
    struct rig *r = ctx;
    r->ops->cache_copy_page(r->be, r->cache, from, to);
}

struct rig *rig_open(int fd, const struct rig_options *o)
{
    struct err e = {0};
    struct rig *r = xcalloc(1, sizeof(*r));
    struct ops_config config = {.threads = o->threads, .kernels = o->kernels};
    r->ops = &ops_cpu;
    must((r->be = r->ops->open(&config, &e)) != NULL, &e);
    must((r->f = vfile_from_fd(fd, &e)) != NULL, &e);
    must((r->g = gguf_read(r->f, &e)) != NULL, &e);
    must((r->m = model_read(r->g, &e)) != NULL, &e);
    must((r->w = weights_load(r->ops, r->be, r->m, r->f, NULL, NULL, &e)) != NULL, &e);
    struct ops_cache_shape shape = {
        .n_layers = r->m->hp.n_layers,
        .n_kv_heads = r->m->hp.n_kv_heads,
        .head_dim = r->m->hp.head_dim,
        .page_size = RIG_PAGE,
        .n_pages = o->n_pages ? o->n_pages : (r->m->hp.context + RIG_PAGE - 1) / RIG_PAGE};
    must((r->cache = r->ops->cache_new(r->be, &shape, &e)) != NULL, &e);
    must((r->kv = kv_new(shape.n_pages, RIG_PAGE, copy_page, r, &e)) != NULL, &e);
    must((r->fwd = forward_new(r->w, r->cache, o->max_rows ? o->max_rows : 128, &e)) != NULL, &e);
    return r;
}

void rig_close(struct rig *r)
{
    forward_free(r->fwd);
    kv_free(r->kv);
    r->ops->cache_free(r->be, r->cache);
    weights_free(r->w);
    model_free(r->m);
    gguf_free(r->g);
    vfile_free(r->f);
    r->ops->close(r->be);
    free(r);
}

void rig_run(struct rig *r, const int32_t *tokens, size_t n, uint32_t chunk, rig_logits_fn *fn,
             void *ctx)
{
    struct err e = {.text = "the cache is too small for the sequence"};
    struct kv_seq *s = kv_begin(r->kv, 0, tokens, n);
    chunk = chunk ? MIN(chunk, r->fwd->max_rows) : r->fwd->max_rows;
    for (size_t pos = 0; pos < n;) {
        uint32_t rows = (uint32_t)MIN(chunk, n - pos);
        must(kv_grow(r->kv, s, tokens + pos, rows), &e);
        struct ops_span span = {.pages = kv_seq_pages(s), .pos = (uint32_t)pos, .n = rows};
        struct forward_batch b = {.tokens = tokens + pos, .n = rows, .spans = &span, .n_spans = 1};
        forward_run(r->fwd, &b);
        for (uint32_t i = 0; i < rows; i += FORWARD_LOGITS_MAX) {
            uint32_t wanted[FORWARD_LOGITS_MAX];
            uint32_t k = MIN(rows - i, FORWARD_LOGITS_MAX);
            for (uint32_t j = 0; j < k; j++)
                wanted[j] = i + j;
            forward_logits(r->fwd, wanted, k);
            for (uint32_t j = 0; j < k; j++)
                fn(ctx, pos + i + j, forward_logits_row(r->fwd, j));
        }
        pos += rows;
    }
    kv_end(r->kv, s, false);
}
