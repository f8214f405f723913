/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table: a hash table through the elements themselves, for a key of two numbers. An element is in
 * one table at most for each node that it holds; the table owns none. {0} is an empty one. Not safe
 * for two threads at once.
 */
#ifndef LLMOSFS_BASE_TABLE_H
#define LLMOSFS_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node {
    uint64_t key[2];
    struct table_node *next;
};

struct table {
    struct table_node **slots;
    size_t n_slots; /* a power of two */
    size_t n;
};

void table_free(struct table *t); /* the elements stay as they are */

/* NULL: none. */
struct table_node *table_find(const struct table *t, uint64_t a, uint64_t b);

/* Adds a node under a key that is not there yet. */
void table_add(struct table *t, struct table_node *node, uint64_t a, uint64_t b);

/* Takes a node out that is there. */
void table_del(struct table *t, struct table_node *node);

/* Any node, NULL if there is none: to empty a table. */
struct table_node *table_any(const struct table *t);

#define table_entry(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
