/* SPDX-License-Identifier: Apache-2.0 */
/* io: whole reads and writes, and descriptors passed over sockets. */
#ifndef LLMOSFS_BASE_IO_H
#define LLMOSFS_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Reads n bytes at off; EINTR is tried again. Returns the bytes read, fewer than n only at the end
 * of the file; -1 and errno. */
ssize_t io_pread(int fd, void *data, size_t n, uint64_t off);

/* Writes all n bytes at off. 0, or -1 and errno (what was written before stays). */
int io_pwrite(int fd, const void *data, size_t n, uint64_t off);

/* Writes all n bytes to a blocking descriptor. 0, or -1 and errno. */
int io_write(int fd, const void *data, size_t n);

/* Appends the whole file (at most max bytes, else EFBIG) to b. */
int io_read_file(const char *path, size_t max, struct buf *b, struct err *e);

/*
 * Sends n bytes over a socket with n_fds (0 to IO_FDS_MAX) descriptors beside the first byte.
 * Returns the bytes sent, or -1 and errno; never raises SIGPIPE. The descriptors stay the caller's.
 */
#define IO_FDS_MAX 64
ssize_t io_send(int sock, const void *data, size_t n, const int *fds, size_t n_fds, int flags);

/*
 * Receives up to n bytes; descriptors that came along are put into fds (close-on-exec, the
 * caller's) and counted in *n_fds, which says on entry how many there is room for; more than that
 * are closed, and EPROTO is the error. 0 at the end.
 */
ssize_t io_recv(int sock, void *data, size_t n, int *fds, size_t *n_fds, int flags);

#endif
