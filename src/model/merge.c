/* SPDX-License-Identifier: Apache-2.0 */
#include "model/merge.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

int merger_begin(struct merger *m, size_t n, struct err *e)
{
    m->n = 0;
    m->n_heap = 0;
    if (n <= m->cap)
        return 0;
    if (n > MERGE_LEN_MAX)
        return err_set(e, ENOMEM, "a text of %zu symbols is too long for the tokenizer", n);
    size_t cap = MAX(n, m->cap * 2);
    merger_free(m);
    /* A merge takes one pair out of the heap and puts in two at most: never more than two for each
     * symbol. */
    m->symbols = mem_array(cap, sizeof(*m->symbols), "a text to be tokenized", e);
    m->heap = mem_array(cap, 2 * sizeof(*m->heap), "a text to be tokenized", e);
    if (!m->symbols || !m->heap)
        return -1;
    m->cap = cap;
    return 0;
}

void merger_add(struct merger *m, uint32_t start, uint32_t len, uint32_t id)
{
    uint32_t i = m->n++;
    if (i > 0)
        m->symbols[i - 1].next = i;
    m->symbols[i] = (struct merge_symbol){i ? i - 1 : MERGE_END, MERGE_END, start, len, id};
}

static void push(struct merger *m, struct merge_pair p)
{
    uint32_t i = m->n_heap++;
    while (i > 0) {
        uint32_t up = (i - 1) / 2;
        if (m->heap[up].key <= p.key)
            break;
        m->heap[i] = m->heap[up];
        i = up;
    }
    m->heap[i] = p;
}

static struct merge_pair pop(struct merger *m)
{
    struct merge_pair top = m->heap[0];
    struct merge_pair last = m->heap[--m->n_heap];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= m->n_heap)
            break;
        if (child + 1 < m->n_heap && m->heap[child + 1].key < m->heap[child].key)
            child++;
        if (last.key <= m->heap[child].key)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

static void consider(struct merger *m, uint32_t left, uint32_t right, merge_find *find,
                     const void *ctx)
{
    if (left == MERGE_END || right == MERGE_END)
        return;
    const struct merge_symbol *l = &m->symbols[left];
    const struct merge_symbol *r = &m->symbols[right];
    uint32_t priority;
    uint32_t id;
    if (find(ctx, l, r, &priority, &id))
        push(m, (struct merge_pair){(uint64_t)priority << 32 | left, l->len + r->len, id});
}

void merger_run(struct merger *m, merge_find *find, const void *ctx)
{
    for (uint32_t i = 1; i < m->n; i++)
        consider(m, i - 1, i, find, ctx);
    while (m->n_heap > 0) {
        struct merge_pair p = pop(m);
        uint32_t left = (uint32_t)p.key;
        struct merge_symbol *l = &m->symbols[left];
        if (l->len == 0 || l->next == MERGE_END)
            continue;
        struct merge_symbol *r = &m->symbols[l->next];
        if (l->len + r->len != p.len)
            continue;
        l->len = p.len;
        l->id = p.id;
        l->next = r->next;
        r->len = 0;
        if (r->next != MERGE_END)
            m->symbols[r->next].prev = left;
        consider(m, l->prev, left, find, ctx);
        consider(m, left, l->next, find, ctx);
    }
}

void merger_free(struct merger *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (struct merger){0};
}
