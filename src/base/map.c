/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "base/mem.h"

/* The finalizer of SplitMix64: inode numbers and counters come in runs. */
static size_t home(const struct map *m, uint64_t key)
{
    key ^= key >> 30;
    key *= UINT64_C(0xBF58476D1CE4E5B9);
    key ^= key >> 27;
    key *= UINT64_C(0x94D049BB133111EB);
    key ^= key >> 31;
    return (size_t)key & (m->cap - 1);
}

/* The slot of the key, or the free one where it would go. */
static struct map_slot *find(const struct map *m, uint64_t key)
{
    size_t i = home(m, key);
    while (m->slots[i].value && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void map_free(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->cap ? find(m, key)->value : NULL;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap ? old.cap * 2 : 16;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].value)
            *find(m, old.slots[i].key) = old.slots[i];
    free(old.slots);
}

void *map_put(struct map *m, uint64_t key, void *value)
{
    if ((m->n + 1) * 2 > m->cap)
        grow(m);
    struct map_slot *slot = find(m, key);
    void *before = slot->value;
    *slot = (struct map_slot){key, value};
    m->n += !before;
    return before;
}

void *map_remove(struct map *m, uint64_t key)
{
    if (!m->cap)
        return NULL;
    struct map_slot *slot = find(m, key);
    void *before = slot->value;
    if (!before)
        return NULL;
    m->n--;
    /* Closes the gap: what was pushed past it by a collision moves back (Knuth, vol. 3, 6.4,
     * algorithm R). */
    size_t gap = (size_t)(slot - m->slots);
    for (size_t i = gap;;) {
        i = (i + 1) & (m->cap - 1);
        if (!m->slots[i].value)
            break;
        size_t h = home(m, m->slots[i].key);
        if (((i - h) & (m->cap - 1)) >= ((i - gap) & (m->cap - 1))) {
            m->slots[gap] = m->slots[i];
            gap = i;
        }
    }
    m->slots[gap].value = NULL;
    return before;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->cap) {
        void *value = m->slots[(*at)++].value;
        if (value)
            return value;
    }
    return NULL;
}
