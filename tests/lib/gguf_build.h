/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_build: writes GGUF files for tests, valid ones and, by its overrides, others. Everything is
 * deterministic. It remembers where each field of the header lies, so that a test can spoil every
 * one of them.
 */
#ifndef LLMOSFS_TESTS_GGUF_BUILD_H
#define LLMOSFS_TESTS_GGUF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum gguf_field_kind {
    GGUF_FIELD_MAGIC,
    GGUF_FIELD_VERSION,
    GGUF_FIELD_COUNT,  /* of keys, of tensors, of elements of an array */
    GGUF_FIELD_LENGTH, /* of a string */
    GGUF_FIELD_TEXT,   /* bytes of a string */
    GGUF_FIELD_TYPE,   /* of a value, of elements, of a tensor */
    GGUF_FIELD_VALUE,  /* a number or bool */
    GGUF_FIELD_N_DIMS,
    GGUF_FIELD_DIM,
    GGUF_FIELD_OFFSET,
};

struct gguf_field {
    enum gguf_field_kind kind;
    bool of_tensor; /* else of the metadata or the very beginning */
    size_t at;      /* in the file */
    size_t size;    /* bytes */
    char owner[48]; /* the key or tensor it belongs to; "" for those at the very beginning */
};

struct gguf_build {
    uint32_t version; /* 3 */
    uint64_t n_kvs;   /* counted; may be changed before the end, as may n_tensors */
    uint64_t n_tensors;
    uint32_t alignment; /* 32; a key for it is the caller's to add */
    uint64_t seed;      /* of tensors' data */
    const char *omit;   /* a key or tensor that is left out wherever it is added, or NULL */
    struct buf kvs, infos, data;
    struct gguf_field *fields;
    size_t n_fields;
};

void gguf_build_init(struct gguf_build *b);
void gguf_build_free(struct gguf_build *b);
#define CLEANUP_GGUF_BUILD __attribute__((cleanup(gguf_build_free)))

void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v);
void gguf_build_f32(struct gguf_build *b, const char *key, float v);
void gguf_build_bool(struct gguf_build *b, const char *key, bool v);
void gguf_build_str(struct gguf_build *b, const char *key, const char *v);
void gguf_build_strs(struct gguf_build *b, const char *key, const char *const *v, size_t n);
void gguf_build_i32s(struct gguf_build *b, const char *key, const int32_t *v, size_t n);
void gguf_build_f32s(struct gguf_build *b, const char *key, const float *v, size_t n);
/* A value of any type (GGUF's number) from its raw bytes. */
void gguf_build_raw(struct gguf_build *b, const char *key, uint32_t type, const void *v, size_t n);

/*
 * A tensor of pseudo-random weights: about uniform in ±sqrt(3 / ne[0]), so that a product with it
 * keeps the size of what goes in; vectors lie around 1. Every block type of gguf.h gives finite
 * weights, made without a quantizer: the scales are chosen, the rest of a block is random.
 */
void gguf_build_tensor(struct gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne);
/* One with the data given. */
void gguf_build_tensor_data(struct gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                            const uint64_t *ne, const void *data, size_t n);

/* The whole file, appended to out (which is empty); from now on b->fields have their places in
   it. */
void gguf_build_end(struct gguf_build *b, struct buf *out);

/* The bytes as a file without a name; the caller closes it. Ends the program if there is no
   memory. */
int gguf_build_fd(const void *data, size_t n);

#endif
