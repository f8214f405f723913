/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf, inside: what gguf_read.c makes and gguf_get.c looks things up in.
 *
 * The header is kept as it lies in the file (`head`), and all else points into it by offset: keys,
 * values and names are never copied, and nothing in it is aligned, so it is read by memcpy alone.
 */
#ifndef LLMOSFS_MODEL_GGUF_INTERNAL_H
#define LLMOSFS_MODEL_GGUF_INTERNAL_H

#include <string.h>
#include <sys/types.h>

#include "model/gguf.h"

/* Types of metadata values, by GGUF's numbers. */
enum gguf_value {
    GGUF_VALUE_U8 = 0,
    GGUF_VALUE_I8 = 1,
    GGUF_VALUE_U16 = 2,
    GGUF_VALUE_I16 = 3,
    GGUF_VALUE_U32 = 4,
    GGUF_VALUE_I32 = 5,
    GGUF_VALUE_F32 = 6,
    GGUF_VALUE_BOOL = 7,
    GGUF_VALUE_STR = 8,
    GGUF_VALUE_ARRAY = 9,
    GGUF_VALUE_U64 = 10,
    GGUF_VALUE_I64 = 11,
    GGUF_VALUE_F64 = 12,
};

/* Bytes of a number or bool; 0: a string, an array, or unknown. */
size_t gguf_value_size(uint32_t type);

/*
 * The places of every GGUF_STRIDE-th string of an array are kept: finding one steps over fewer than
 * GGUF_STRIDE others, and the table never takes more than a sixteenth of the header, however many
 * empty strings that holds.
 */
#define GGUF_STRIDE 8

struct gguf_array {
    const struct gguf *g;
    uint32_t type;    /* of the elements */
    uint32_t n;       /* fits: each element takes at least a byte of the header */
    uint32_t at;      /* of the first element in the header */
    uint32_t strings; /* strings: where its places begin in g->strings */
};

struct gguf_kv {
    uint32_t key; /* where its length stands */
    uint32_t type;
    uint32_t at; /* of the value */
    struct gguf_array array;
};

/* An open-addressed table of names: slots hold index + 1. */
struct gguf_names {
    const uint32_t *at; /* name i is the string at at[i * step] of the header */
    size_t step;
    uint32_t *slots;
    uint32_t mask;
};

struct gguf {
    char *head; /* head_len bytes */
    size_t head_len;
    struct gguf_kv *kvs;
    size_t n_kvs;
    struct gguf_names keys;
    uint32_t *strings;
    size_t n_strings;
    struct gguf_tensor *tensors;
    uint32_t *tensor_at; /* where their names stand */
    size_t n_tensors;
    struct gguf_names names;
};

/* Room for n names (n ≤ 2^24) that stand as `at` and `step` say. -1: ENOMEM. */
int gguf_names_init(struct gguf_names *t, const uint32_t *at, size_t step, size_t n, struct err *e);
/* Adds name i. -1 if it is there already. */
int gguf_names_add(struct gguf_names *t, const struct gguf *g, size_t i);
/* The index of a name, or -1. */
ssize_t gguf_names_find(const struct gguf_names *t, const struct gguf *g, struct gguf_str name);

/* A name as it may stand in a sentence: cut, and without what a terminal would obey. */
#define GGUF_SHOW_MAX 84
const char *gguf_show(struct gguf_str s, char out[GGUF_SHOW_MAX]);

static inline uint32_t gguf_load_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t gguf_load_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* The string whose length stands at `at`; that it lies in the header was checked when it was
   read. */
static inline struct gguf_str gguf_str_at(const struct gguf *g, uint32_t at)
{
    return (struct gguf_str){g->head + at + 8, (size_t)gguf_load_u64(g->head + at)};
}

#endif
