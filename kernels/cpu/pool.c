/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

/* Rounds of spinning before a sleep: some 20 µs, more than lies between two operations of a forward
 * pass. */
#define SPIN_ROUNDS 600

/*
 * `work` is the number of the job (upper half) and how many of its parts nobody has taken yet
 * (lower half). A thread takes a part by lowering it; only then does it look at the job, which
 * cannot end, nor another begin, before that part is done.
 */
struct pool {
    uint32_t threads;
    pthread_t *ids;
    uint32_t started;

    _Alignas(64) _Atomic uint64_t work;
    _Alignas(
        64) _Atomic uint32_t done; /* parts of the job that are finished; the caller sleeps on it */
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t epoch; /* counts jobs; threads sleep on it */
    _Atomic uint32_t sleepers;
    _Atomic bool quit;

    void (*fn)(void *arg, uint32_t part);
    void *arg;
    uint32_t n;
    uint32_t job;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Takes one part of whatever job there is and does it. False if no part is left. */
static bool do_part(struct pool *p)
{
    uint64_t work = atomic_load_explicit(&p->work, memory_order_acquire);
    do {
        if ((uint32_t)work == 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&p->work, &work, work - 1, memory_order_acquire,
                                                    memory_order_acquire));
    uint32_t n = p->n;
    p->fn(p->arg, n - (uint32_t)work);
    if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->caller_sleeps))
        futex_wake(&p->done, 1);
    return true;
}

static bool has_work(struct pool *p)
{
    return (uint32_t)atomic_load(&p->work) != 0;
}

static void wait_for_work(struct pool *p)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (has_work(p) || atomic_load_explicit(&p->quit, memory_order_relaxed))
            return;
        relax();
    }
    uint32_t seen = atomic_load(&p->epoch);
    atomic_fetch_add(&p->sleepers, 1);
    /* Work is published first, then the epoch changes: either the work is seen here, or the kernel
     * sees another epoch. */
    if (!has_work(p) && !atomic_load(&p->quit))
        futex_wait(&p->epoch, seen);
    atomic_fetch_sub(&p->sleepers, 1);
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    while (!atomic_load(&p->quit))
        if (!do_part(p))
            wait_for_work(p);
    return NULL;
}

uint32_t pool_cores(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    else
        n = (int)sysconf(_SC_NPROCESSORS_ONLN); /* more cores than a cpu_set_t has */
    return (uint32_t)MAX(1, MIN(n, POOL_THREADS_MAX));
}

struct pool *pool_new(uint32_t threads, struct err *e)
{
    struct pool *p = aligned_alloc(64, sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "no memory for the threads of the kernels");
        return NULL;
    }
    *p = (struct pool){.threads = MAX(1U, MIN(threads, (uint32_t)POOL_THREADS_MAX))};
    p->ids = xcalloc(p->threads, sizeof(*p->ids));
    /* Signals are for the threads of the program, not for these. */
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = 0;
    while (!failed && p->started < p->threads - 1) {
        failed = pthread_create(&p->ids[p->started], NULL, thread_main, p);
        if (!failed)
            p->started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        err_set(e, failed, "cannot start thread %u of %u", p->started + 2, p->threads);
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    atomic_fetch_add(&p->epoch, 1);
    futex_wake(&p->epoch, POOL_THREADS_MAX);
    for (uint32_t i = 0; i < p->started; i++)
        pthread_join(p->ids[i], NULL);
    free(p->ids);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p->threads;
}

static void wait_for_others(struct pool *p, uint32_t n)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&p->done, memory_order_acquire) == n)
            return;
        relax();
    }
    atomic_store(&p->caller_sleeps, 1);
    for (uint32_t done; (done = atomic_load(&p->done)) != n;)
        futex_wait(&p->done, done);
    atomic_store(&p->caller_sleeps, 0);
}

void pool_run(struct pool *p, void (*fn)(void *arg, uint32_t part), void *arg, uint32_t n)
{
    if (n <= 1 || p->started == 0) {
        for (uint32_t part = 0; part < n; part++)
            fn(arg, part);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store(&p->work, (uint64_t)++p->job << 32 | n);
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) > 0)
        futex_wake(&p->epoch, (int)MIN(n - 1, p->started));
    while (do_part(p))
        ;
    wait_for_others(p, n);
}
