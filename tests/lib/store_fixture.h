/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_fixture: a store in a temporary folder for a test, and short ways to use it. A failure that
 * is not asked for ends the test.
 *
 *     static int setup(void **state) { return fixture_setup(state); }     state is a struct fixture
 */
#ifndef LLMOSFS_TESTS_STORE_FIXTURE_H
#define LLMOSFS_TESTS_STORE_FIXTURE_H

#include "store/store.h"

struct fixture {
    char dir[64];
    struct store *s;
};

extern const struct store_cred fixture_cred; /* uid 1000, gid 100, umask 022 */

int fixture_setup(void **state);      /* in memory where there is /dev/shm: quick */
int fixture_setup_disk(void **state); /* in /tmp */
int fixture_teardown(void **state);
void fixture_reopen(struct fixture *f); /* closes and opens the store */

store_ino fixture_mkdir(struct store *s, store_ino parent, const char *name);
store_ino fixture_create(struct store *s, store_ino parent, const char *name);
/* Makes the file if there is none; what it holds afterwards, published. */
store_ino fixture_write(struct store *s, store_ino parent, const char *name, const void *data,
                        size_t n);
struct store_attr fixture_attr(struct store *s, store_ino ino);
/* The errno of a lookup, 0 if the name is there (then *ino, if not NULL). */
int fixture_lookup(struct store *s, store_ino parent, const char *name, store_ino *ino);
/* The names of a directory in the order of readdir, each with a space behind it; the caller's to
 * free. */
char *fixture_names(struct store *s, store_ino dir);
/* Files below a folder of the store ("blobs", "drafts"). */
unsigned fixture_count(const struct fixture *f, const char *folder);
/* Waits until there are that many files below the folder (the reaper works beside); false after 5
 * s. */
bool fixture_wait(const struct fixture *f, const char *folder, unsigned n);
/* Every node has a name, every file is whole, every blob has a node, there are no drafts. If not, why says what. */
bool fixture_is_tidy(const struct fixture *f, char *why, size_t size);
void fixture_remove_tree(const char *dir);
/* Bytes that depend on the seed, and not repeated soon. */
void fixture_fill(void *data, size_t n, uint64_t seed);

#endif
