/* SPDX-License-Identifier: Apache-2.0 */
/* listing: names of a directory, sorted; and files of key-value lines as JSON. */
#ifndef LLMOSFS_CLI_LISTING_H
#define LLMOSFS_CLI_LISTING_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

struct listing {
    char **names; /* as strcmp sorts them; without . and .. */
    size_t count;
};

int listing_read(int dir, struct listing *l, struct err *e);
void listing_free(struct listing *l);
#define CLEANUP_LISTING __attribute__((cleanup(listing_free)))

/* Where a symbolic link points, the caller's to free; NULL if it is none. */
char *listing_link(int dir, const char *name);

/* An object of `key value` lines; what is a number becomes one. */
json_t *listing_json(const char *lines);

/* Prints it with a newline and gives it back. */
void listing_print(json_t *j);

#endif
