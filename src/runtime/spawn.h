/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn: what the daemon and the supervisor say to each other, over a SOCK_SEQPACKET socketpair,
 * one struct a packet. The supervisor is the parent of every process; the daemon asks it for
 * engines and gets their sockets.
 */
#ifndef LLMOSFS_RUNTIME_SPAWN_H
#define LLMOSFS_RUNTIME_SPAWN_H

#include <stdint.h>

enum spawn_type {
    SPAWN_START = 1, /* daemon: start an engine; answered by STARTED */
    SPAWN_KILL,      /* daemon: end it (SIGKILL) */
    SPAWN_READY,     /* daemon: the mount answers */
    SPAWN_FAILED,    /* daemon: it cannot serve; text says why */
    SPAWN_STARTED,   /* supervisor: pid, and the engine's socket as the packet's one descriptor;
                        pid 0: it could not be started, text says why */
    SPAWN_ENDED,     /* supervisor: an engine has ended with this wait(2) status */
};

enum spawn_role { SPAWN_ENGINE, SPAWN_INSPECTOR };

struct spawn_packet {
    uint32_t type;
    uint32_t role;  /* START */
    uint64_t id;    /* the daemon's number of the engine, new for each */
    int32_t pid;    /* STARTED, ENDED */
    int32_t status; /* ENDED */
    char text[400]; /* FAILED; STARTED with pid 0 */
};

#endif
