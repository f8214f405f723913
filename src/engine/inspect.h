/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: what can be said about a file of weights without loading it. */
#ifndef LLMOSFS_ENGINE_INSPECT_H
#define LLMOSFS_ENGINE_INSPECT_H

#include <stdint.h>

#include "base/buf.h"
#include "proto/proto.h"

struct inspect_facts {
    struct proto_facts facts; /* its strings point into text */
    struct buf text;
};
void inspect_free(struct inspect_facts *f);

/*
 * size: of the whole file, whose descriptor stays the caller's. Never fails: what is wrong is the
 * facts' validity and reason, and facts that were found before that are filled in.
 */
void inspect_file(int fd, uint64_t size, struct inspect_facts *out);

#endif
