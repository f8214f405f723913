/* SPDX-License-Identifier: Apache-2.0 */
/* paths: where llmosfs keeps and finds its things. The strings are the caller's to free; NULL: see e. */
#ifndef LLMOSFS_CLI_PATHS_H
#define LLMOSFS_CLI_PATHS_H

#include "base/err.h"

char *
paths_store(struct err *e);     /* /var/lib/llmosfs; for others than root in their XDG_DATA_HOME */
char *paths_log(struct err *e); /* /var/log/llmosfs.log; in their XDG_STATE_HOME */

/* The engine's program: `wanted` if it is given, else beside this program or in ../lib/llmosfs. */
char *paths_engine(const char *wanted, struct err *e);

/* Makes a directory and those above it, for their owner alone where they are new. */
int paths_make_dirs(const char *path, struct err *e);

#endif
