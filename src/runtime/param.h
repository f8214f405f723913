/* SPDX-License-Identifier: Apache-2.0 */
/* param: the table of parameters, and a set of values. Private to src/runtime; runtime.h has what the mount needs. */
#ifndef LLMOSFS_RUNTIME_PARAM_H
#define LLMOSFS_RUNTIME_PARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/proto.h"

#define PARAM_TEXT_MAX (64u << 10) /* bytes of a value */
#define PARAM_STOP_MAX 1024        /* bytes of one stop sequence */

struct params {                     /* what a question is asked with */
    struct proto_sampling sampling; /* seed counts unless random_seed */
    bool random_seed;
    int64_t max_tokens;
    double time_limit;
    enum proto_mode mode;
    uint32_t context;
    struct buf stop_text; /* the stops, unescaped, one behind the other */
    size_t stop_ends[PROTO_STOPS_MAX];
    size_t n_stops;
};

void params_init(struct params *p); /* the defaults */
void params_free(struct params *p);

/* Takes one value as it is stored; white space alone leaves the default. */
int params_set(struct params *p, const char *name, const char *text, size_t n, struct err *e);

/* The i-th row of the table, false at the end. Static storage. */
struct param_row {
    const char *name;
    const char *normal; /* the default, as text */
    const char *range;
    const char *meaning;
};
bool param_row(size_t i, struct param_row *row);

#endif
