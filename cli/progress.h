/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: a bar for what takes long, on standard error and only where that is a terminal.
 *
 *     model.gguf  [##########··········]  50 %  47.0 MiB  310 MiB/s
 */
#ifndef LLMOSFS_CLI_PROGRESS_H
#define LLMOSFS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name;
    uint64_t total;
    uint64_t begun; /* clock_now() */
    uint64_t drawn; /* the last time */
    bool on;
};

void progress_begin(struct progress *p, const char *name, uint64_t total);
void progress_update(struct progress *p, uint64_t done); /* cheap: draws ten times a second */
void progress_end(struct progress *p, uint64_t done);    /* draws a last time and ends the line */

#endif
