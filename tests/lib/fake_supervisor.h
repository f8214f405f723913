/* SPDX-License-Identifier: Apache-2.0 */
/* A supervisor for tests of the runtime: a child that starts echo_engines and tells what became of them. */
#ifndef LLMOSFS_TESTS_FAKE_SUPERVISOR_H
#define LLMOSFS_TESTS_FAKE_SUPERVISOR_H

#include <sys/types.h>

/* Before any thread is started. *sock is the daemon's end (rt_config.supervisor). The child ends with the test. */
pid_t fake_supervisor_start(int *sock);

/* Waits for its end, after the daemon's socket was closed. Returns how many engines it had to kill. */
int fake_supervisor_stop(pid_t pid);

/* A program of tests/helpers, in the build folder that this test is in. Static storage. */
const char *fake_supervisor_helper(const char *name);

#endif
