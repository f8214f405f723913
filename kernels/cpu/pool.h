/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: threads that wait for work, and the one way to spread it.
 *
 * Work is cut into parts that do not depend on each other; the caller's thread takes parts as the
 * others do and, when none is left, waits for those that others still have. A thread that the
 * system gives no time takes no part, so a busy neighbour costs its share and no more: nobody waits
 * for a thread that has not begun.
 *
 * Waiting threads spin for some microseconds (between two operations of a forward pass) and then
 * sleep on a futex.
 */
#ifndef LLMOSFS_KERNELS_CPU_POOL_H
#define LLMOSFS_KERNELS_CPU_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

#define POOL_THREADS_MAX 256

/* Threads that this process may use: the cores of its affinity mask, 1 to POOL_THREADS_MAX. */
uint32_t pool_cores(void);

/* A pool in which `threads` take part, the caller's included: threads - 1 are started. NULL: EAGAIN
 * or ENOMEM. */
struct pool *pool_new(uint32_t threads, struct err *e);
void pool_free(struct pool *p); /* NULL is fine */
uint32_t pool_threads(const struct pool *p);

/*
 * Calls fn(arg, part) once for each part in [0, n), on any thread, and returns when all have
 * returned. What the caller wrote before is seen by all of them, and what they wrote by the caller.
 * One caller at a time; fn does not call pool_run.
 */
void pool_run(struct pool *p, void (*fn)(void *arg, uint32_t part), void *arg, uint32_t n);

#endif
