/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/memory.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define SLAB      ((size_t)64 << 20)

struct slab {
    struct list link;
    uint8_t *data;
    size_t size;
    size_t used;
    size_t pieces;
};

struct memory {
    struct list slabs; /* the newest last: pieces are cut from it */
};

struct memory *memory_new(void)
{
    struct memory *m = xmalloc(sizeof(*m));
    list_init(&m->slabs);
    return m;
}

static void slab_free(struct slab *s)
{
    list_del(&s->link);
    munmap(s->data, s->size);
    free(s);
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    struct slab *s;
    list_for_each(s, &m->slabs, link) slab_free(s);
    free(m);
}

/* A map of `size` bytes that begins at a huge page; what the alignment leaves over is unmapped. */
static uint8_t *map_aligned(size_t size)
{
    uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)p & (HUGE_PAGE - 1);
    if (before)
        munmap(p, before);
    munmap(p + before + size, HUGE_PAGE - before);
    (void)madvise(p + before, size,
                  MADV_HUGEPAGE); /* a wish: where it is not granted, small pages do */
    return p + before;
}

static struct slab *slab_new(struct memory *m, size_t n)
{
    if (n > PTRDIFF_MAX - 2 * SLAB)
        return NULL;
    size_t size = MAX(SLAB, (n + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    uint8_t *data = map_aligned(size);
    if (!data)
        return NULL;
    struct slab *s = xcalloc(1, sizeof(*s));
    s->data = data;
    s->size = size;
    list_add(&m->slabs, &s->link);
    return s;
}

/* No more is cut from s: what its last huge page holds beyond the last piece goes back to the
 * system. */
static void slab_trim(struct slab *s)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t end = (s->used + page - 1) & ~(page - 1);
    if (end < s->size)
        (void)madvise(s->data + end, s->size - end, MADV_DONTNEED);
}

void *memory_take(struct memory *m, size_t n, struct slab **slab, const char *what, struct err *e)
{
    struct slab *s = NULL;
    if (!list_empty(&m->slabs))
        s = list_entry(m->slabs.prev, struct slab, link);
    if (!s || s->size - s->used < n) {
        if (s)
            slab_trim(s);
        s = slab_new(m, n);
    }
    if (!s) {
        err_set(e, ENOMEM, "no memory for %s (%zu bytes)", what, n);
        return NULL;
    }
    uint8_t *p = s->data + s->used;
    s->used = MIN(s->size, s->used + ((n + 63) & ~(size_t)63));
    s->pieces++;
    *slab = s;
    return p;
}

void memory_give(struct memory *m, struct slab *slab)
{
    (void)m;
    if (--slab->pieces == 0)
        slab_free(slab);
}
