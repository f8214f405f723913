/* SPDX-License-Identifier: Apache-2.0 */
/* live: what prompt, completion and stream share. */
#ifndef LLMOSFS_FS_LIVE_H
#define LLMOSFS_FS_LIVE_H

#include "fs/node.h"
#include "fs/park.h"

struct poller;

/* An open file that reads an answer. */
struct answer_handle {
    struct handle h;
    struct rt_answer *answer; /* counted */
    bool attends;             /* h.lock */
    uint64_t next;            /* h.lock: end of what was read last */
    struct poller *poller;    /* h.lock */
};

int live_getattr(struct call *c, struct node *n, struct stat *st, struct err *e);

/* A thread is told ESTALE about this node; when it comes again for it, take gives true. */
void live_retry_put(struct fs *fs, pid_t tid, store_ino stored);
bool live_retry_take(struct fs *fs, pid_t tid, store_ino stored);

/* An open by another than the node's user: replies and gives false. */
bool live_is_callers(struct call *c, struct node *n);

/* All that was closed before this open is asked and counts. Gives the answer that the open is about,
   counted, or replies (ESTALE) and gives NULL. *other: it is not the node's own. */
struct rt_answer *live_answer(struct call *c, struct node *n, bool *other);

/* What was written and closed but not taken notice of yet: before each ask. */
void live_settle(struct call *c, store_ino version);

/* parked.gone of one who attends while it waits. */
void live_gone(struct parked *p, bool dying);

/* Replies with why an answer failed (or, where it is not done, that it never will be). */
void live_fail(struct call *c, struct rt_answer *answer, const struct rt_answer_info *info);

/*
 * Part of a read of an answer as it is made: 0: nothing there yet; 1: *data (the caller's) holds *n
 * bytes, 0 at the end; -1: it has failed. off is where.
 */
int live_take(struct rt_answer *answer, uint64_t off, size_t size, char **data, size_t *n,
              struct rt_answer_info *info);

/* Opens of completion and stream for writing (answer_write.c). */
void answer_write_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                       const struct fuse_entry_param *created);
int answer_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size, struct err *e);

/*
 * poll(2) on an answer; NULL: nothing was asked, which is as good as done. True: it has more than
 * `beyond` bytes or is done. False: the kernel will be notified. Takes over ph, which may be NULL.
 * The slot's lock is held by the caller.
 */
bool poller_wait(struct poller **slot, struct rt_answer *answer, uint64_t beyond,
                 struct fuse_pollhandle *ph);

/* A read is about to say EAGAIN: whoever polled this open file before is notified once there is more. */
void poller_again(struct poller **slot, struct rt_answer *answer, uint64_t beyond);
void poller_end(struct poller **slot);

#endif
