/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: llmosfs-engine's side of the protocol (proto/PROTOCOL.md). One thread: between two steps of
 * the engine it looks for what has come, and waits in poll(2) only when nothing is owed.
 */
#ifndef LLMOSFS_ENGINE_LOOP_H
#define LLMOSFS_ENGINE_LOOP_H

/* Takes over the socket, says HELLO, loads, answers until the other side closes. Returns the exit
 * code: 0, or 1 and a line in the log. */
int loop_run(int sock);

/* The same for the inspector: a FACTS for each INSPECT. */
int loop_inspect(int sock);

#endif
