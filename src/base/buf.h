/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: a growing run of bytes, always followed by a NUL that does not count, so that data is a C
 * string as well. {0} is an empty one. Not safe for two threads at once.
 */
#ifndef LLMOSFS_BASE_BUF_H
#define LLMOSFS_BASE_BUF_H

#include <stddef.h>

#include "base/mem.h"

struct buf {
    char *data; /* NULL until something was added; buf_str() never is */
    size_t len;
    size_t cap;
};

void buf_free(struct buf *b);
void buf_clear(struct buf *b); /* len becomes 0, the memory stays */
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t n);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);

/* Removes n bytes at the beginning. */
void buf_consume(struct buf *b, size_t n);

const char *buf_str(const struct buf *b);

/* Hands the bytes to the caller, who frees them; b is empty afterwards. Never NULL. */
char *buf_steal(struct buf *b, size_t *len);

#define CLEANUP_BUF __attribute__((cleanup(buf_free)))

#endif
