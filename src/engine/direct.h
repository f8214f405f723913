/* SPDX-License-Identifier: Apache-2.0 */
/* direct: the engine without a daemon, for those who develop or measure it. */
#ifndef LLMOSFS_ENGINE_DIRECT_H
#define LLMOSFS_ENGINE_DIRECT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "proto/proto.h"

struct direct_options {
    const char *file;
    struct engine_config engine;
    const char *prompt; /* --generate */
    const char *system; /* NULL: none */
    bool raw;
    int64_t max_tokens;
    struct proto_sampling sampling;
    uint32_t n_prompt; /* --bench */
    uint32_t n_decode;
    uint32_t repeat;
};

/* Prints the answer to standard output as it comes, and its figures to standard error. Returns the
 * exit code. */
int direct_generate(const struct direct_options *o);

/* Prints one figure a line, name and value. */
int direct_bench(const struct direct_options *o);

#endif
