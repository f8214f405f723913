/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_model: a filesystem as a few arrays, and random operations that are done to it and to a store alike. What the
 * one does and refuses the other must too; after a crash the store must hold what the model holds.
 */
#ifndef LLMOSFS_TESTS_STORE_MODEL_H
#define LLMOSFS_TESTS_STORE_MODEL_H

#include "store/store.h"

#define MODEL_NODES 48
#define MODEL_NAMES 6 /* in each directory: "a" to "f" */

struct model_node {
    char type; /* 'd', 'f', 'l'; 0: free */
    unsigned nlink;
    mode_t mode;
    uint32_t seed,
        len; /* of the content: its bytes depend on seed and place, so that appending goes on with them */
    uint32_t xattr;         /* value of user.x; 0: none */
    int entry[MODEL_NAMES]; /* of a directory: nodes, -1 for none */
    int parent;             /* of a directory */
};

struct model {
    struct model_node node[MODEL_NODES]; /* 0 is the root */
};

enum model_kind {
    OP_CREATE,
    OP_MKDIR,
    OP_SYMLINK,
    OP_WRITE,   /* replaces the content through an open file, and publishes */
    OP_REPLACE, /* the same by store_content_write */
    OP_APPEND,
    OP_SHRINK,
    OP_UNLINK,
    OP_RMDIR,
    OP_RENAME,
    OP_LINK,
    OP_CHMOD,
    OP_SET_XATTR,
    OP_REMOVE_XATTR,
    OP_KINDS
};

struct model_op {
    enum model_kind kind;
    int dir, name, to_dir, to_name;
    unsigned flags;
    uint32_t seed, len;
};

void model_init(struct model *m);
struct model_op model_random_op(const struct model *m, uint64_t *rng);
uint64_t model_random(uint64_t *rng);

/* Do an operation: 0 or the errno with which it is refused. */
int model_do(struct model *m, const struct model_op *op);
int model_do_store(struct store *s, const struct model *m,
                   const struct model_op *op); /* m: before */

/* Where store and model differ, as a sentence (false). Names in the root that are no model's are not looked at. */
bool model_equal(struct store *s, const struct model *m, char *why, size_t size);

/* The byte at a place of a content. */
unsigned char model_byte(uint32_t seed, uint32_t at);

#endif
