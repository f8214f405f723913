/* SPDX-License-Identifier: Apache-2.0 */
/* table: the hidden names of a version's directory, found by lookup and not listed. */
#ifndef LLMOSFS_FS_TABLE_H
#define LLMOSFS_FS_TABLE_H

#include "fs/node.h"

/* The node of .status, .params … for this user; counted; NULL: no such name. */
struct node *table_find(struct call *c, store_ino version, const char *name);
/* The node of .control; likewise. */
struct node *control_find(struct call *c, store_ino version, const char *name);

#endif
