/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map: a hash table from 64-bit numbers to pointers (open addressing, linear probing, at most half
 * full). {0} is an empty one. For keys that are strings take their XXH3 and compare the string
 * behind the pointer. Not safe for two threads at once.
 */
#ifndef LLMOSFS_BASE_MAP_H
#define LLMOSFS_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

struct map {
    struct map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t n;
};

void map_free(struct map *m);                     /* the table, not what its values point to */
void *map_get(const struct map *m, uint64_t key); /* NULL: none */
void *map_put(struct map *m, uint64_t key,
              void *value);                    /* value is not NULL; gives what was there before */
void *map_remove(struct map *m, uint64_t key); /* gives what was there */

/* Goes through all values: *at is 0 at first, NULL is the end. The map must not change on the
   way. */
void *map_next(const struct map *m, size_t *at);

#endif
