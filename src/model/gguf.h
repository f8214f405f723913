/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf: the header of a GGUF file, versions 2 and 3, little-endian (format: ggml's docs/gguf.md).
 *
 * The file is hostile. A header that gguf_read() accepts holds: counts that the file has room for;
 * keys and tensor names that are unique; known types; tensors that lie inside the file one after
 * the other as ggml lays them out; nothing whose size overflows. It does not say that the model
 * makes sense: that is model.h. Errors: EBADMSG for what is damaged or hostile, ENOEXEC for a
 * version or tensor type that is not supported, ENOMEM.
 *
 * A gguf is immutable: any thread may use it. What it returns lives as long as it does.
 */
#ifndef LLMOSFS_MODEL_GGUF_H
#define LLMOSFS_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/vfile.h"

#define GGUF_HEADER_MAX    (48u << 20) /* bytes of metadata and tensor table that are accepted */
#define GGUF_ALIGNMENT_MAX (1u << 20)
#define GGUF_DIMS_MAX      4

/* Types of tensors, by GGUF's numbers. */
enum gguf_type {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q4_1 = 3,
    GGUF_Q5_0 = 6,
    GGUF_Q5_1 = 7,
    GGUF_Q8_0 = 8,
    GGUF_Q2_K = 10,
    GGUF_Q3_K = 11,
    GGUF_Q4_K = 12,
    GGUF_Q5_K = 13,
    GGUF_Q6_K = 14,
    GGUF_IQ2_XXS = 16,
    GGUF_IQ2_XS = 17,
    GGUF_IQ3_XXS = 18,
    GGUF_IQ1_S = 19,
    GGUF_IQ4_NL = 20,
    GGUF_IQ3_S = 21,
    GGUF_IQ2_S = 22,
    GGUF_IQ4_XS = 23,
    GGUF_I8 = 24,
    GGUF_I16 = 25,
    GGUF_I32 = 26,
    GGUF_I64 = 27,
    GGUF_F64 = 28,
    GGUF_IQ1_M = 29,
    GGUF_BF16 = 30,
    GGUF_TQ1_0 = 34,
    GGUF_TQ2_0 = 35,
    GGUF_MXFP4 = 39,
};

struct gguf_type_info {
    const char *name; /* "Q4_1" */
    uint32_t block;   /* elements in a block */
    uint32_t block_bytes;
};
const struct gguf_type_info *gguf_type_info(uint32_t type); /* NULL: unknown */

struct gguf_str { /* not NUL-terminated, may hold NULs, need not be UTF-8 */
    const char *data;
    size_t len;
};

struct gguf_tensor {
    struct gguf_str name;
    uint32_t type;
    uint32_t n_dims;
    uint64_t ne[GGUF_DIMS_MAX]; /* ne[0] is the length of a row; missing ones are 1 */
    uint64_t offset;            /* in the file */
    uint64_t bytes;
};

struct gguf;

struct gguf *gguf_read(const struct vfile *f, struct err *e);
void gguf_free(struct gguf *g);
DEFINE_CLEANUP(gguf, struct gguf *, gguf_free)

/* --- metadata. A getter gives false if there is no such key or it has another type or does not
 * fit. --- */
bool gguf_has(const struct gguf *g, const char *key);
bool gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *v);
bool gguf_get_u64(const struct gguf *g, const char *key,
                  uint64_t *v); /* any integer type that holds a value ≥ 0 */
bool gguf_get_f64(const struct gguf *g, const char *key, double *v); /* f32 or f64 */
bool gguf_get_bool(const struct gguf *g, const char *key, bool *v);

/* Arrays. gguf_array finds one and its length; the elements are then read by index (i < n, of that
 * array's kind). */
enum gguf_kind { GGUF_KIND_STR, GGUF_KIND_INT, GGUF_KIND_FLOAT, GGUF_KIND_BOOL };
struct gguf_array;
const struct gguf_array *gguf_get_array(const struct gguf *g, const char *key, enum gguf_kind kind,
                                        size_t *n);
struct gguf_str gguf_array_str(const struct gguf_array *a, size_t i); /* constant time */
int64_t gguf_array_int(const struct gguf_array *a, size_t i);
double gguf_array_float(const struct gguf_array *a, size_t i);

/* --- tensors --- */
size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); /* NULL */

#endif
