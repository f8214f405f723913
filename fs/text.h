/* SPDX-License-Identifier: Apache-2.0 */
/* text: open files whose text is kept in the handle, until its kind makes something of it. */
#ifndef LLMOSFS_FS_TEXT_H
#define LLMOSFS_FS_TEXT_H

#include "fs/node.h"

struct text_handle {
    struct handle h;
    struct buf text;
    bool dirty; /* changed since it was last taken */
};

/* For node_ops. */
void text_read(struct call *c, struct handle *h, size_t n, off_t off, struct fuse_file_info *fi);
void text_release(struct call *c, struct handle *h);

/* h.lock is held. Holes are EINVAL, more than max bytes EFBIG; nothing has changed then. */
int text_write(struct text_handle *th, const struct write_args *w, size_t max, struct err *e);
int text_cut(struct text_handle *th, uint64_t size, struct err *e);

#endif
