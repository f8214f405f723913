/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs: the mount. Two halves, in two processes:
 *
 *   the supervisor's   fs_mount(), fs_unmount(), fs_abort(): make and take away the mount. They
 *                      answer no request and start no thread.
 *   the daemon's       fs_serve(): opens the store, starts the runtime, answers the kernel's
 *                      requests until the mount is gone.
 *
 * How a request is answered: node.h.
 */
#ifndef LLMOSFS_FS_FS_H
#define LLMOSFS_FS_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "runtime/runtime.h"

/* --- the supervisor's half --- */

struct fs_mount_config {
    const char *source;     /* what /proc/mounts shows in front: the store's path */
    const char *mountpoint; /* a directory that is there */
    const char *options; /* the mount's own of -o, with commas between ("allow_other,ro"), or NULL;
                               libfuse and the kernel know them. Always added: default_permissions,
                               fsname, subtype=llmosfs, and as root allow_other. The kernel's mount
                               is nosuid,nodev unless root gives suid or dev here */
};

struct fs_mounted {
    int fd;           /* /dev/fuse: of the one who mounted, close-on-exec; the daemon serves it */
    uint32_t device;  /* minor number of st_dev: names the connection in /sys/fs/fuse */
    char *mountpoint; /* absolute */
};

/*
 * Mounts. What a dead daemon left on the mountpoint is taken away first. Nothing answers until
 * fs_serve() runs: whoever looks at the mountpoint waits. Errors: of mount(2); EPERM where only
 * fusermount3 may mount and did not.
 */
int fs_mount(const struct fs_mount_config *c, struct fs_mounted *m, struct err *e);

/* Takes the mount away; lazy: from the tree at once, whoever has it open keeps it until then. */
int fs_unmount(const char *mountpoint, bool lazy, struct err *e);

/* Ends the connection to the kernel: every request that waits fails with ECONNABORTED, all that
   follow with ENOTCONN. 0 also if it was gone already. */
int fs_abort(const struct fs_mounted *m, struct err *e);

void fs_mounted_free(struct fs_mounted *m); /* closes the descriptor; the mount stays */

/* --- the daemon's half --- */

struct fs_config {
    const char *store;   /* directory of the store, made at first use */
    int fuse_fd;         /* of fs_mount(); taken over */
    struct rt_config rt; /* store and supervisor are filled in by fs_serve */
    int supervisor;      /* socket to the supervisor (spawn.h); taken over */
    uint32_t threads;    /* that answer requests; 0: 10 */
    uint32_t parked_max; /* requests of one user that may wait for answers at once; 0: 4096.
                              Further ones are EBUSY */
};

/*
 * Serves until the mount is gone (somebody unmounted it: 0), SIGTERM, SIGINT or SIGHUP came (0) or it
 * could not begin (1). Tells the supervisor SPAWN_READY once the kernel's first request was
 * answered, or SPAWN_FAILED and why. Everything is closed when it returns.
 */
int fs_serve(const struct fs_config *c);

#endif
