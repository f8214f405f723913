/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox: what a process gives up before it reads what strangers made.
 *
 * Afterwards it cannot open, make or name a file, a socket or a process, start a program, trace or
 * signal another, or gain rights by a program that it starts; it cannot be traced by others of its
 * user, and leaves no core file with somebody's prompt in it. What is left: memory, threads,
 * clocks, and the descriptors that it has or is sent.
 */
#ifndef LLMOSFS_ENGINE_SANDBOX_H
#define LLMOSFS_ENGINE_SANDBOX_H

#include "base/err.h"

/* Closes all descriptors but 0, 1, 2 and `keep`. */
int sandbox_close_others(int keep, struct err *e);

/*
 * For ever, for this thread, those that there are and those to come. A build with sanitizers keeps
 * its system calls (they read /proc when they report); everything else holds there, too. EPERM,
 * EINVAL … with a sentence: the caller must not go on.
 */
int sandbox_enter(struct err *e);

#endif
