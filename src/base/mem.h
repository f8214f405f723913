/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem: allocation, and the one cleanup idiom.
 *
 * x*() are for sizes that the program itself bounds: when the system has no memory left they end
 * the process with a line in the log. What a file, a prompt or a socket asks for goes through
 * mem_array(), which checks the product and fails with ENOMEM.
 *
 * Cleanup: a local that owns something is declared with one of the CLEANUP macros and is given up
 * when it goes out of scope; steal_ptr() and steal_fd() hand it on.
 *
 *     CLEANUP_FREE char *name = xstrdup(from);
 *     CLEANUP_FD int fd = open(…);
 *     …
 *     out->fd = steal_fd(&fd);
 *
 * A module with its own type defines DEFINE_CLEANUP(gguf, struct gguf *, gguf_free) in its header
 * and gets CLEANUP(gguf) struct gguf *g = NULL.
 */
#ifndef LLMOSFS_BASE_MEM_H
#define LLMOSFS_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

#define NEVER_NULL __attribute__((returns_nonnull))
NEVER_NULL void *xmalloc(size_t n);
NEVER_NULL void *xcalloc(size_t n, size_t size);
NEVER_NULL void *xrealloc(void *p, size_t n);
NEVER_NULL char *xstrdup(const char *s);
NEVER_NULL char *xstrndup(const char *s, size_t n);
NEVER_NULL void *xmemdup(const void *p, size_t n);

/* n * size bytes, zeroed. NULL and ENOMEM if the product overflows or there is no memory; `what`
 * names it. */
void *mem_array(size_t n, size_t size, const char *what, struct err *e);

static inline void mem_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void mem_cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define CLEANUP_FREE __attribute__((cleanup(mem_cleanup_free)))
#define CLEANUP_FD   __attribute__((cleanup(mem_cleanup_fd)))

#define DEFINE_CLEANUP(name, type, func)                                                           \
    static inline void cleanup_##name(type *p)                                                     \
    {                                                                                              \
        if (*p)                                                                                    \
            func(*p);                                                                              \
    }
#define CLEANUP(name) __attribute__((cleanup(cleanup_##name)))

#define steal_ptr(pp)                                                                              \
    ({                                                                                             \
        __typeof__(*(pp)) stolen_ = *(pp);                                                         \
        *(pp) = NULL;                                                                              \
        stolen_;                                                                                   \
    })

static inline int steal_fd(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

#endif
