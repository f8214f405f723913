/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/gguf_build.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/log.h"
#include "tests/lib/random_weights.h"

#include "model/gguf.h"

/* Numbers of value types (GGUF's). */
enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STR = 8, ARRAY = 9 };

void gguf_build_init(struct gguf_build *b)
{
    *b = (struct gguf_build){.version = 3, .alignment = 32, .seed = 1};
}

void gguf_build_free(struct gguf_build *b)
{
    buf_free(&b->kvs);
    buf_free(&b->infos);
    buf_free(&b->data);
    free(b->fields);
    b->fields = NULL;
    b->n_fields = 0;
}

static bool is_omitted(const struct gguf_build *b, const char *owner)
{
    return b->omit && strcmp(b->omit, owner) == 0;
}

/* Appends a field to part of the header and remembers it; its place counts from that part's
 * beginning until the end. */
static void add(struct gguf_build *b, struct buf *part, enum gguf_field_kind kind,
                const char *owner, const void *v, size_t n)
{
    if (is_omitted(b, owner))
        return;
    if ((b->n_fields & (b->n_fields - 1)) == 0)
        b->fields = xrealloc(b->fields, (b->n_fields ? 2 * b->n_fields : 1) * sizeof(*b->fields));
    struct gguf_field *f = &b->fields[b->n_fields++];
    *f = (struct gguf_field){
        .kind = kind, .of_tensor = part == &b->infos, .at = part->len, .size = n};
    snprintf(f->owner, sizeof(f->owner), "%s", owner);
    buf_add(part, v, n);
}

static void add_u32(struct gguf_build *b, struct buf *part, enum gguf_field_kind kind,
                    const char *owner, uint32_t v)
{
    add(b, part, kind, owner, &v, sizeof(v));
}

static void add_u64(struct gguf_build *b, struct buf *part, enum gguf_field_kind kind,
                    const char *owner, uint64_t v)
{
    add(b, part, kind, owner, &v, sizeof(v));
}

static void add_str(struct gguf_build *b, struct buf *part, const char *owner, const char *s)
{
    add_u64(b, part, GGUF_FIELD_LENGTH, owner, strlen(s));
    add(b, part, GGUF_FIELD_TEXT, owner, s, strlen(s));
}

static void add_key(struct gguf_build *b, const char *key, uint32_t type)
{
    add_str(b, &b->kvs, key, key);
    add_u32(b, &b->kvs, GGUF_FIELD_TYPE, key, type);
    b->n_kvs += !is_omitted(b, key);
}

void gguf_build_raw(struct gguf_build *b, const char *key, uint32_t type, const void *v, size_t n)
{
    add_key(b, key, type);
    add(b, &b->kvs, GGUF_FIELD_VALUE, key, v, n);
}

void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t v)
{
    gguf_build_raw(b, key, U32, &v, sizeof(v));
}

void gguf_build_f32(struct gguf_build *b, const char *key, float v)
{
    gguf_build_raw(b, key, F32, &v, sizeof(v));
}

void gguf_build_bool(struct gguf_build *b, const char *key, bool v)
{
    gguf_build_raw(b, key, BOOL, &v, 1);
}

void gguf_build_str(struct gguf_build *b, const char *key, const char *v)
{
    add_key(b, key, STR);
    add_str(b, &b->kvs, key, v);
}

static void add_array(struct gguf_build *b, const char *key, uint32_t type, size_t n)
{
    add_key(b, key, ARRAY);
    add_u32(b, &b->kvs, GGUF_FIELD_TYPE, key, type);
    add_u64(b, &b->kvs, GGUF_FIELD_COUNT, key, n);
}

void gguf_build_strs(struct gguf_build *b, const char *key, const char *const *v, size_t n)
{
    add_array(b, key, STR, n);
    for (size_t i = 0; i < n; i++)
        add_str(b, &b->kvs, key, v[i]);
}

void gguf_build_i32s(struct gguf_build *b, const char *key, const int32_t *v, size_t n)
{
    add_array(b, key, I32, n);
    add(b, &b->kvs, GGUF_FIELD_VALUE, key, v, n * sizeof(*v));
}

void gguf_build_f32s(struct gguf_build *b, const char *key, const float *v, size_t n)
{
    add_array(b, key, F32, n);
    add(b, &b->kvs, GGUF_FIELD_VALUE, key, v, n * sizeof(*v));
}

/* --- tensors --- */

static void pad(struct buf *part, size_t to)
{
    while (part->len % to != 0)
        buf_add_char(part, 0);
}

static void add_info(struct gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                     const uint64_t *ne)
{
    pad(&b->data, b->alignment);
    add_str(b, &b->infos, name, name);
    add_u32(b, &b->infos, GGUF_FIELD_N_DIMS, name, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        add_u64(b, &b->infos, GGUF_FIELD_DIM, name, ne[i]);
    add_u32(b, &b->infos, GGUF_FIELD_TYPE, name, type);
    add_u64(b, &b->infos, GGUF_FIELD_OFFSET, name, b->data.len);
    b->n_tensors += !is_omitted(b, name);
}

void gguf_build_tensor_data(struct gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                            const uint64_t *ne, const void *data, size_t n)
{
    add_info(b, name, type, n_dims, ne);
    if (!is_omitted(b, name))
        buf_add(&b->data, data, n);
}

void gguf_build_tensor(struct gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne)
{
    add_info(b, name, type, n_dims, ne);
    uint64_t rows = 1;
    for (uint32_t i = 1; i < n_dims; i++)
        rows *= ne[i];
    uint64_t seed = b->seed * 1000003 + b->n_tensors;
    if (!is_omitted(b, name))
        random_weights(type, ne[0], rows, seed, &b->data);
}

/* --- the whole --- */

void gguf_build_end(struct gguf_build *b, struct buf *out)
{
    CLEANUP_BUF struct buf start = {0};
    size_t n_parts = b->n_fields;
    add(b, &start, GGUF_FIELD_MAGIC, "", "GGUF", 4);
    add_u32(b, &start, GGUF_FIELD_VERSION, "", b->version);
    add_u64(b, &start, GGUF_FIELD_COUNT, "", b->n_tensors);
    add_u64(b, &start, GGUF_FIELD_COUNT, "", b->n_kvs);
    for (size_t i = 0; i < n_parts; i++)
        b->fields[i].at += start.len + (b->fields[i].of_tensor ? b->kvs.len : 0);
    buf_add(out, start.data, start.len);
    buf_add(out, buf_str(&b->kvs), b->kvs.len);
    buf_add(out, buf_str(&b->infos), b->infos.len);
    pad(out, b->alignment);
    buf_add(out, buf_str(&b->data), b->data.len);
}

int gguf_build_fd(const void *data, size_t n)
{
    int fd = memfd_create("model.gguf", MFD_CLOEXEC);
    if (fd < 0 || io_pwrite(fd, data, n, 0) < 0)
        log_fatal("a file in memory of %zu bytes: %m", n);
    return fd;
}
