/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor: what `llmosfs mount` becomes. It is the parent of the daemon and of all engines,
 * belongs to no request, and parses nothing. It knows nothing of FUSE either: what it has to do
 * about the mount it does through the functions of its configuration.
 *
 *     llmosfs mount ── waits on a pipe until the mount answers, then exits
 *       └─ supervisor (supervisor_run)
 *            ├─ the daemon   config.daemon(), in a process of its own
 *            └─ engines      launch.h
 *
 * Ends:
 *   somebody unmounted           the daemon ends by itself; engines are ended; config.ended(); 0
 *   the daemon dies              the same, with a line in the log; 1
 *   SIGTERM, SIGINT, SIGHUP      SIGTERM to the daemon, SIGKILL after 10 s; then the same
 *   the supervisor itself dies   the kernel kills the daemon and the engines (PDEATHSIG)
 *
 * One thread; the caller must not have started any.
 */
#ifndef LLMOSFS_RUNTIME_SUPERVISOR_H
#define LLMOSFS_RUNTIME_SUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct supervisor_config {
    const char *engine; /* path of llmosfs-engine (or of a test's) */
    uid_t uid_base; /* as root: engines get ids from here on; 0: LAUNCH_UID_BASE. Without root it
                       must be 0 */
    bool keep_uid;  /* engines keep the supervisor's ids, even as root (tests) */
    int ready_fd;   /* from supervisor_background(), or -1 */

    /*
     * Runs the daemon, in a process of its own, and returns its exit status. `sock`
     * (rt_config.supervisor) is the daemon's: once the mount answers it must send SPAWN_READY there
     * (supervisor_tell_ready), or, if it never will, SPAWN_FAILED (supervisor_tell_failed) and
     * return non-zero. Signals have their default actions and none is blocked.
     */
    int (*daemon)(void *ctx, int sock);

    /*
     * The daemon is gone: gives up what the supervisor holds for it and takes the mount away if it
     * is still there (abort the connection, unmount). In the supervisor; may start processes if it
     * waits for them.
     */
    void (*ended)(void *ctx);
    void *ctx;
};

/* Runs until the daemon has ended; see above. The exit status of the process, 0 or 1; problems are
 * told in the log. */
int supervisor_run(const struct supervisor_config *config);

/*
 * Forks. In the child: returns 1, in a session of its own, standard input and output on /dev/null,
 * standard error on log_fd (which it takes over), and *ready_fd set for supervisor_run(). In the
 * parent: waits, and returns 0 when the mount answers or -1 with the daemon's sentence. A child
 * that fails before supervisor_run() says so with supervisor_tell_parent().
 */
int supervisor_background(int log_fd, int *ready_fd, struct err *e);

/* To the waiting parent: e NULL: the mount answers; else why it does not. Closes ready_fd. */
void supervisor_tell_parent(int ready_fd, const struct err *e);

/* From the daemon, on its sock. 0 or -1: the supervisor is gone. */
int supervisor_tell_ready(int sock);
int supervisor_tell_failed(int sock, const struct err *why);

#endif
