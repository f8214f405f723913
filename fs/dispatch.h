/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch: the table that libfuse calls, and the handlers in attr.c that it calls. */
#ifndef LLMOSFS_FS_DISPATCH_H
#define LLMOSFS_FS_DISPATCH_H

#include "base/clock.h"
#include "fs/node.h"

extern const struct fuse_lowlevel_ops dispatch_ops;

void attr_get(struct call *c, uint64_t ino);
void attr_set(struct call *c, uint64_t ino, const struct stat *st, int set,
              struct fuse_file_info *fi);
void attr_xattr_get(struct call *c, uint64_t ino, const char *name, size_t size);
void attr_xattr_list(struct call *c, uint64_t ino, size_t size);
void attr_xattr_set(struct call *c, uint64_t ino, const char *name, const char *value, size_t size,
                    int flags);

#endif
