/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"

static void *check(void *p)
{
    if (!p)
        log_fatal("out of memory");
    return p;
}

void *xmalloc(size_t n)
{
    return check(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
    return check(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
    return check(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    return check(strndup(s, n));
}

void *xmemdup(const void *p, size_t n)
{
    void *copy = xmalloc(n);
    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

void *mem_array(size_t n, size_t size, const char *what, struct err *e)
{
    size_t total;
    void *p = NULL;
    if (!__builtin_mul_overflow(n, size, &total) && total <= PTRDIFF_MAX)
        p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        err_set(e, ENOMEM, "no memory for %s (%zu × %zu bytes)", what, n, size);
    return p;
}
