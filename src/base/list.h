/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: a doubly linked ring through the elements themselves, as in the Linux kernel. The head is
 * an element of its own; an element is in one list at most for each link that it holds.
 */
#ifndef LLMOSFS_BASE_LIST_H
#define LLMOSFS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

#define LIST_INIT(name)                                                                            \
    {                                                                                              \
        &(name), &(name)                                                                           \
    }

static inline void list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Puts item at the end of the list. */
static inline void list_add(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

/* Takes item out of its list; harmless for one that is in none (but was initialised). */
static inline void list_del(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

#define list_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* The element at hand may be taken out inside the loop, others may not. */
#define list_for_each(pos, head, member)                                                           \
    for (__typeof__(pos) pos##_next_ = (pos = list_entry((head)->next, __typeof__(*pos), member),  \
                                       list_entry(pos->member.next, __typeof__(*pos), member));    \
         &pos->member != (head);                                                                   \
         pos = pos##_next_, pos##_next_ =                                                          \
                                list_entry(pos##_next_->member.next, __typeof__(*pos), member))

#endif
