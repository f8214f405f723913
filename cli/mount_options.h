/* SPDX-License-Identifier: Apache-2.0 */
/* mount_options: what stands behind -o of `llmosfs mount`, in fstab and with mount(8). */
#ifndef LLMOSFS_CLI_MOUNT_OPTIONS_H
#define LLMOSFS_CLI_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct mount_options {
    bool allow_other;
    uint32_t threads; /* 0 where nothing was said: the runtime's choice */
    uint32_t context;
    uint32_t hang;
    uint64_t kv;
    char *engine; /* NULL where nothing was said */
    char *kernels;
    char *log;
    struct buf kernel; /* what the kernel is to know: "ro,dev" */
};

/* Adds the options of one -o, parted by commas; later ones win. EINVAL names the one that is wrong. */
int mount_options_parse(struct mount_options *o, const char *text, struct err *e);
void mount_options_free(struct mount_options *o);
#define CLEANUP_MOUNT_OPTIONS __attribute__((cleanup(mount_options_free)))

#endif
