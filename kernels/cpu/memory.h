/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: room for weights and caches, in anonymous maps aligned to 2 MiB that ask for huge pages
 * (a third faster to read than 4 KiB pages, facts §0.8). Pieces are cut from slabs one after the
 * other; a slab goes back to the system with its last piece. Pages are zero and take no memory
 * until they are written. One thread at a time.
 */
#ifndef LLMOSFS_KERNELS_CPU_MEMORY_H
#define LLMOSFS_KERNELS_CPU_MEMORY_H

#include <stddef.h>

#include "base/err.h"

struct memory; /* the slabs of a backend */
struct slab;

struct memory *memory_new(void);
void memory_free(struct memory *m); /* after all pieces */

/* n zeroed bytes, aligned to 64; *slab is what to give back with them. NULL: ENOMEM; `what` names
 * it. */
void *memory_take(struct memory *m, size_t n, struct slab **slab, const char *what, struct err *e);
void memory_give(struct memory *m, struct slab *slab);

#endif
