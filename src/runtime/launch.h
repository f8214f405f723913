/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch: the supervisor's engines: starts them, ends them, tells the daemon (spawn.h) what became
 * of them.
 *
 * An engine gets one end of a socketpair as descriptor 3 and nothing else: standard input and
 * output are /dev/null, standard error is the supervisor's (the log), every other descriptor is
 * closed. It has no_new_privs, writes no core, and dies with the supervisor (PDEATHSIG). Where the
 * supervisor is root each engine has a user and group id of its own, uid_base + slot, and no
 * supplementary groups, so that no engine can trace or signal another.
 *
 * One thread: the supervisor's.
 */
#ifndef LLMOSFS_RUNTIME_LAUNCH_H
#define LLMOSFS_RUNTIME_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"
#include "runtime/spawn.h"

/* Not given out by Debian's adduser (it counts up from 1000), not among systemd's dynamic users
   (61184 and up), and inside what containers usually map. */
#define LAUNCH_UID_BASE 59744
#define LAUNCH_IDS                                                                                 \
    "/run/llmosfs-engine-ids" /* which of them are in use, on all mounts of this machine */
#define LAUNCH_MAX 256        /* engines at once, and ids in the range */

struct launch;

/* engine: path of the program. uid_base: 0 leaves the ids as they are; else only root may give
   it. */
struct launch *launch_new(const char *engine, uid_t uid_base, struct err *e);

/* Kills what still runs and waits for it. */
void launch_free(struct launch *l);
DEFINE_CLEANUP(launch, struct launch *, launch_free)

/*
 * Does what a START or KILL of the daemon asks for and answers on its socket. -1: the daemon broke
 * the rules or does not take the answer: it should be ended.
 */
int launch_handle(struct launch *l, int daemon, const struct spawn_packet *p, struct err *e);

/* Tells the daemon if `pid`, which was waited for, was an engine. */
void launch_ended(struct launch *l, int daemon, pid_t pid, int status);

#endif
