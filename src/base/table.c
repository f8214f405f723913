/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/mem.h"

/* Mixes as MurmurHash3's finalizer does. */
static size_t slot_of(const struct table *t, uint64_t a, uint64_t b)
{
    uint64_t h = a * UINT64_C(0x9E3779B97F4A7C15) ^ b;
    h = (h ^ h >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    h = (h ^ h >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return (h ^ h >> 33) & (t->n_slots - 1);
}

void table_free(struct table *t)
{
    free(t->slots);
    *t = (struct table){0};
}

struct table_node *table_find(const struct table *t, uint64_t a, uint64_t b)
{
    if (t->n == 0)
        return NULL;
    struct table_node *node = t->slots[slot_of(t, a, b)];
    while (node && (node->key[0] != a || node->key[1] != b))
        node = node->next;
    return node;
}

static void grow(struct table *t)
{
    struct table old = *t;
    t->n_slots = old.n_slots ? old.n_slots * 2 : 16;
    t->slots = xcalloc(t->n_slots, sizeof(struct table_node *));
    for (size_t i = 0; i < old.n_slots; i++) {
        for (struct table_node *node = old.slots[i], *next; node; node = next) {
            struct table_node **slot = &t->slots[slot_of(t, node->key[0], node->key[1])];
            next = node->next;
            node->next = *slot;
            *slot = node;
        }
    }
    free(old.slots);
}

void table_add(struct table *t, struct table_node *node, uint64_t a, uint64_t b)
{
    if (t->n >= t->n_slots)
        grow(t);
    struct table_node **slot = &t->slots[slot_of(t, a, b)];
    node->key[0] = a;
    node->key[1] = b;
    node->next = *slot;
    *slot = node;
    t->n++;
}

void table_del(struct table *t, struct table_node *node)
{
    struct table_node **at = &t->slots[slot_of(t, node->key[0], node->key[1])];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    t->n--;
}

struct table_node *table_any(const struct table *t)
{
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i])
            return t->slots[i];
    return NULL;
}
