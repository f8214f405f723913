/* SPDX-License-Identifier: Apache-2.0 */
/*
 * park: requests that wait for an answer without a thread.
 *
 * A handler that would have to wait fills in a struct parked, calls park() and returns. Later, on
 * the runtime's thread, finish() replies; or a signal came for the one who waits, and the reply is
 * EINTR. Exactly one of the two happens.
 *
 * Locks: parking.lock guards which of the two it is; it may be held while the runtime's is taken, never the
 * other way round. finish() and gone() run with no lock of ours held.
 */
#ifndef LLMOSFS_FS_PARK_H
#define LLMOSFS_FS_PARK_H

#include "fs/node.h"

struct parked {
    struct call call;
    struct rt_answer *answer; /* what is waited for; park() takes over the count */

    /* The answer has moved on (or the daemon ends): replies. Then *p is freed. */
    void (*finish)(struct parked *p);
    /* The one who waits got a signal; EINTR is replied afterwards. dying: it will not come back.
       May be NULL. */
    void (*gone)(struct parked *p, bool dying);

    struct node *node;        /* counted, may be NULL; park() takes over the count */
    struct handle *h;         /* stays open as long as a request on it runs */
    struct fuse_file_info fi; /* of an open */
    size_t size;              /* of a read */
    off_t off;
    bool direct;

    /* parking's own */
    struct rt_wait wait;
    struct list link;
    uint64_t beyond;
    bool registering, interrupted, claimed, woken;
    unsigned refs;
};

/* Copies *request. Waits until the answer has more than `beyond` bytes or is done (rt_wait()), at once
   if it is so already. EBUSY for one who has too many requests that wait. */
void park(const struct parked *request, uint64_t beyond);

/* One who waited got a signal: they stop attending in a moment, but not while they are stopped
   (Ctrl-Z, a debugger). Takes over the count of the answer and the attendance. */
void park_linger(struct fs *fs, struct rt_answer *answer, pid_t tid);

/* The kernel is to look this name up anew. Done on a thread of its own: the kernel holds the directory's lock
   until the request at hand is answered. */
void park_invalidate(struct fs *fs, uint64_t dir, const char *name);

struct parking *parking_new(struct fs *fs, unsigned max_of_user);
/* Replies to all who wait: no request runs any more. */
void parking_end(struct parking *pk);
void parking_free(struct parking *pk);

#endif
