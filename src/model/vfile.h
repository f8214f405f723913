/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vfile: a file put together from runs of descriptors, as an engine is handed it. Reading is by
 * pread only: a mapped file that is cut under its reader raises SIGBUS, a short read is an error
 * that can be told.
 */
#ifndef LLMOSFS_MODEL_VFILE_H
#define LLMOSFS_MODEL_VFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct vfile;

/* One run: bytes [offset, offset + len) of fd. */
struct vfile_segment {
    int fd;
    uint64_t offset;
    uint64_t len;
};

/* The descriptors stay the caller's and must outlive the vfile. EINVAL if the lengths overflow. */
struct vfile *vfile_new(const struct vfile_segment *segments, size_t n, struct err *e);
struct vfile *vfile_from_fd(int fd, struct err *e); /* a whole file, or block of memory (memfd) */
void vfile_free(struct vfile *f);
DEFINE_CLEANUP(vfile, struct vfile *, vfile_free)

uint64_t vfile_size(const struct vfile *f);

/* Reads exactly n bytes at off, or fails: EBADMSG beyond the end (also of a file that has shrunk),
 * EIO … Any thread. */
int vfile_read(const struct vfile *f, void *data, size_t n, uint64_t off, struct err *e);

#endif
