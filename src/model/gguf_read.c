/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and checking a header, in one pass from the magic to the first tensor's data.
 *
 *     "GGUF" version:u32 n_tensors:u64 n_kv:u64
 *     n_kv      × key:str type:u32 value
 *     n_tensors × name:str n_dims:u32 ne:u64[n_dims] type:u32 offset:u64
 *     padding to the alignment, data
 *
 * str is len:u64 and its bytes; an array is type:u32 n:u64 and its elements. All little-endian.
 *
 * Every count and length goes through need() before it is believed: it must fit into what is left
 * of the file and of GGUF_HEADER_MAX, and its bytes must have been read, before a byte is allocated
 * for it.
 */
#include <errno.h>
#include <inttypes.h>

#include "model/gguf_internal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is read as it lies in memory: little-endian machines only"
#endif

#define VERSION_MAX    99    /* what is above is damage, not a format to come */
#define KVS_MAX        65536 /* models of today have about 50 */
#define TENSORS_MAX    65536 /* … and at most some thousand */
#define KEY_MAX        65535 /* bytes; GGUF's own limit */
#define NAME_MAX_BYTES 63    /* of a tensor; ggml's own limit */
#define KV_MIN         (8 + 1 + 4 + 1)
#define TENSOR_MIN     (8 + 1 + 4 + 8 + 4 + 8)
#define READ_FIRST     (64u << 10) /* bytes of the first read; each further one doubles them */

struct reader {
    const struct vfile *f;
    struct gguf *g;
    struct err *e;
    uint64_t size; /* of the file */
    size_t pos;
    size_t have; /* bytes of g->head that are read */
    size_t strings_cap;
};

/* --- bytes --- */

/* Reads on until `want` bytes are there; memory grows with what was really read, never at once with
 * what a length says. */
static int fill(struct reader *r, size_t want)
{
    size_t limit = (size_t)MIN(r->size, (uint64_t)GGUF_HEADER_MAX);
    while (r->have < want) {
        size_t next = MIN(MAX(2 * r->have, (size_t)READ_FIRST), limit);
        char *head = realloc(r->g->head, next);
        if (!head)
            return err_set(r->e, ENOMEM, "no memory for the header (%zu bytes)", next);
        r->g->head = head;
        if (vfile_read(r->f, head + r->have, next - r->have, r->have, r->e) < 0)
            return -1;
        r->have = next;
    }
    return 0;
}

/* Makes sure that n more bytes are there to be looked at. */
static int need(struct reader *r, uint64_t n)
{
    if (n > r->size - r->pos)
        return err_set(r->e, EBADMSG,
                       "needs %" PRIu64 " bytes at %zu, where %" PRIu64
                       " are left of the file: it is cut or damaged",
                       n, r->pos, r->size - r->pos);
    if (n > GGUF_HEADER_MAX - r->pos)
        return err_set(r->e, EBADMSG, "the header is larger than %u MiB", GGUF_HEADER_MAX >> 20);
    return fill(r, r->pos + (size_t)n);
}

static int take_u32(struct reader *r, uint32_t *v)
{
    if (need(r, sizeof(*v)) < 0)
        return -1;
    *v = gguf_load_u32(r->g->head + r->pos);
    r->pos += sizeof(*v);
    return 0;
}

static int take_u64(struct reader *r, uint64_t *v)
{
    if (need(r, sizeof(*v)) < 0)
        return -1;
    *v = gguf_load_u64(r->g->head + r->pos);
    r->pos += sizeof(*v);
    return 0;
}

/* Steps over a string of at most max bytes and says where its length stands. */
static int take_str(struct reader *r, uint64_t max, uint32_t *at)
{
    uint64_t len;
    *at = (uint32_t)r->pos;
    if (take_u64(r, &len) < 0)
        return -1;
    if (len > max)
        return err_set(r->e, EBADMSG,
                       "a name at %" PRIu32 " has %" PRIu64 " bytes, %" PRIu64 " are allowed", *at,
                       len, max);
    if (need(r, len) < 0)
        return -1;
    r->pos += (size_t)len;
    return 0;
}

/* --- metadata --- */

/* Room for n more places of strings, which are known to fit into the header. */
static int reserve_strings(struct reader *r, size_t n)
{
    struct gguf *g = r->g;
    if (n <= r->strings_cap - g->n_strings)
        return 0;
    size_t cap = MAX(g->n_strings + n, r->strings_cap + r->strings_cap / 2);
    uint32_t *strings = realloc(g->strings, cap * sizeof(*strings));
    if (!strings)
        return err_set(r->e, ENOMEM, "no memory for the places of %zu strings", cap);
    g->strings = strings;
    r->strings_cap = cap;
    return 0;
}

static int take_strings(struct reader *r, struct gguf_array *a)
{
    a->strings = (uint32_t)r->g->n_strings;
    if (reserve_strings(r, a->n / GGUF_STRIDE + 1) < 0)
        return -1;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t at;
        if (take_str(r, UINT64_MAX, &at) < 0)
            return err_prefix(r->e, "string %" PRIu32, i);
        if (i % GGUF_STRIDE == 0)
            r->g->strings[r->g->n_strings++] = at;
    }
    return 0;
}

static int check_bools(struct reader *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)r->g->head[r->pos + i] > 1)
            return err_set(r->e, EBADMSG, "a bool is %d instead of 0 or 1",
                           (unsigned char)r->g->head[r->pos + i]);
    return 0;
}

static int take_array(struct reader *r, struct gguf_array *a)
{
    uint64_t n;
    a->g = r->g;
    if (take_u32(r, &a->type) < 0 || take_u64(r, &n) < 0)
        return -1;
    if (a->type == GGUF_VALUE_ARRAY)
        return err_set(r->e, ENOEXEC, "arrays of arrays are not supported");
    size_t size = a->type == GGUF_VALUE_STR ? sizeof(uint64_t) : gguf_value_size(a->type);
    if (size == 0)
        return err_set(r->e, EBADMSG, "an array of the unknown type %" PRIu32, a->type);
    uint64_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return err_set(r->e, EBADMSG, "an array of %" PRIu64 " elements", n);
    if (need(r, bytes) < 0)
        return err_prefix(r->e, "an array of %" PRIu64 " elements", n);
    a->at = (uint32_t)r->pos;
    a->n = (uint32_t)n;
    if (a->type == GGUF_VALUE_STR)
        return take_strings(r, a);
    if (a->type == GGUF_VALUE_BOOL && check_bools(r, a->n) < 0)
        return -1;
    r->pos += (size_t)bytes;
    return 0;
}

static int take_value(struct reader *r, struct gguf_kv *kv)
{
    uint32_t at;
    if (take_u32(r, &kv->type) < 0)
        return -1;
    kv->at = (uint32_t)r->pos;
    if (kv->type == GGUF_VALUE_STR)
        return take_str(r, UINT64_MAX, &at);
    if (kv->type == GGUF_VALUE_ARRAY)
        return take_array(r, &kv->array);
    size_t size = gguf_value_size(kv->type);
    if (size == 0)
        return err_set(r->e, EBADMSG, "a value of the unknown type %" PRIu32, kv->type);
    if (need(r, size) < 0 || (kv->type == GGUF_VALUE_BOOL && check_bools(r, 1) < 0))
        return -1;
    r->pos += size;
    return 0;
}

static int take_kv(struct reader *r, size_t i)
{
    struct gguf *g = r->g;
    struct gguf_kv *kv = &g->kvs[i];
    if (take_str(r, KEY_MAX, &kv->key) < 0)
        return err_prefix(r->e, "key %zu of the metadata", i);
    struct gguf_str key = gguf_str_at(g, kv->key);
    if (key.len == 0)
        return err_set(r->e, EBADMSG, "key %zu of the metadata is empty", i);
    char show[GGUF_SHOW_MAX];
    if (gguf_names_add(&g->keys, g, i) < 0)
        return err_set(r->e, EBADMSG, "%s: the key stands twice in the metadata",
                       gguf_show(key, show));
    if (take_value(r, kv) < 0) /* may move the header */
        return err_prefix(r->e, "%s", gguf_show(gguf_str_at(g, kv->key), show));
    return 0;
}

static int take_kvs(struct reader *r)
{
    struct gguf *g = r->g;
    g->kvs = mem_array(g->n_kvs, sizeof(*g->kvs), "the metadata", r->e);
    if (!g->kvs || gguf_names_init(&g->keys, &g->kvs->key, sizeof(*g->kvs), g->n_kvs, r->e) < 0)
        return -1;
    for (size_t i = 0; i < g->n_kvs; i++)
        if (take_kv(r, i) < 0)
            return -1;
    return 0;
}

/* --- tensors --- */

/* Sets t->bytes from type and shape, or says why they make no tensor. */
static int measure(struct gguf_tensor *t, struct err *e)
{
    const struct gguf_type_info *info = gguf_type_info(t->type);
    if (!info)
        return err_set(e, ENOEXEC, "its type %" PRIu32 " is not supported", t->type);
    uint64_t elements = 1;
    for (uint32_t d = 0; d < GGUF_DIMS_MAX; d++) {
        if (t->ne[d] == 0)
            return err_set(e, EBADMSG, "dimension %" PRIu32 " is 0", d);
        if (__builtin_mul_overflow(elements, t->ne[d], &elements) || elements > INT64_MAX)
            return err_set(e, EBADMSG, "its dimensions are too large");
    }
    if (t->ne[0] % info->block != 0)
        return err_set(e, EBADMSG, "rows of %" PRIu64 " elements are no whole blocks of %s",
                       t->ne[0], info->name);
    if (__builtin_mul_overflow(elements / info->block, info->block_bytes, &t->bytes) ||
        t->bytes > INT64_MAX)
        return err_set(e, EBADMSG, "its size is too large");
    return 0;
}

static int take_tensor_fields(struct reader *r, struct gguf_tensor *t)
{
    if (take_u32(r, &t->n_dims) < 0)
        return -1;
    if (t->n_dims == 0 || t->n_dims > GGUF_DIMS_MAX)
        return err_set(r->e, EBADMSG, "it has %" PRIu32 " dimensions, 1 to %d are allowed",
                       t->n_dims, GGUF_DIMS_MAX);
    for (uint32_t d = 0; d < GGUF_DIMS_MAX; d++) {
        t->ne[d] = 1;
        if (d < t->n_dims && take_u64(r, &t->ne[d]) < 0)
            return -1;
    }
    if (take_u32(r, &t->type) < 0 || take_u64(r, &t->offset) < 0)
        return -1;
    return measure(t, r->e);
}

static int take_tensor(struct reader *r, size_t i)
{
    struct gguf *g = r->g;
    if (take_str(r, NAME_MAX_BYTES, &g->tensor_at[i]) < 0)
        return err_prefix(r->e, "tensor %zu", i);
    struct gguf_str name = gguf_str_at(g, g->tensor_at[i]);
    if (name.len == 0)
        return err_set(r->e, EBADMSG, "tensor %zu has no name", i);
    char show[GGUF_SHOW_MAX];
    if (gguf_names_add(&g->names, g, i) < 0)
        return err_set(r->e, EBADMSG, "tensor %s stands twice in the file", gguf_show(name, show));
    if (take_tensor_fields(r, &g->tensors[i]) < 0) /* may move the header */
        return err_prefix(r->e, "tensor %s", gguf_show(gguf_str_at(g, g->tensor_at[i]), show));
    return 0;
}

static int take_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    g->tensors = mem_array(g->n_tensors, sizeof(*g->tensors), "the table of tensors", r->e);
    g->tensor_at = mem_array(g->n_tensors, sizeof(*g->tensor_at), "the table of tensors", r->e);
    if (!g->tensors || !g->tensor_at ||
        gguf_names_init(&g->names, g->tensor_at, sizeof(*g->tensor_at), g->n_tensors, r->e) < 0)
        return -1;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (take_tensor(r, i) < 0)
            return -1;
    return 0;
}

/* v rounded up to a multiple of the alignment (a power of two), or UINT64_MAX. */
static uint64_t pad(uint64_t v, uint64_t alignment)
{
    return v > UINT64_MAX - (alignment - 1) ? UINT64_MAX : (v + alignment - 1) & ~(alignment - 1);
}

/* Each tensor begins where the padded one before it ends, as ggml lays them out, and ends inside
 * the file. */
static int place_tensors(struct reader *r, uint64_t alignment)
{
    struct gguf *g = r->g;
    uint64_t start = pad(r->pos, alignment), next = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        char show[GGUF_SHOW_MAX];
        t->name = gguf_str_at(g, g->tensor_at[i]);
        if (t->offset != next)
            return err_set(r->e, EBADMSG,
                           "tensor %s: its data is said to begin at %" PRIu64
                           ", but the one before ends at %" PRIu64,
                           gguf_show(t->name, show), t->offset, next);
        if (start > r->size || next > r->size - start || t->bytes > r->size - start - next)
            return err_set(r->e, EBADMSG, "tensor %s: its data ends beyond the file",
                           gguf_show(t->name, show));
        t->offset = start + next;
        next = pad(next + t->bytes, alignment); /* no overflow: it lies inside the file */
    }
    return 0;
}

/* --- the whole --- */

static int take_version(struct reader *r)
{
    uint32_t version;
    if (need(r, 4) < 0)
        return err_prefix(r->e, "the magic");
    if (memcmp(r->g->head, "GGUF", 4) != 0)
        return err_set(r->e, EBADMSG, "this is no GGUF file: it does not begin with \"GGUF\"");
    r->pos = 4;
    if (take_u32(r, &version) < 0)
        return err_prefix(r->e, "the version");
    if (version == 2 || version == 3)
        return 0;
    if (version != 0 && (version & 0xffff) == 0)
        return err_set(r->e, ENOEXEC, "a big-endian GGUF file is not supported");
    if (version != 0 && version <= VERSION_MAX)
        return err_set(r->e, ENOEXEC, "GGUF version %" PRIu32 " is not supported, 2 and 3 are",
                       version);
    return err_set(r->e, EBADMSG, "%" PRIu32 " is no version of GGUF", version);
}

static int take_counts(struct reader *r)
{
    struct gguf *g = r->g;
    uint64_t n_tensors, n_kvs;
    if (take_u64(r, &n_tensors) < 0 || take_u64(r, &n_kvs) < 0)
        return err_prefix(r->e, "the counts");
    uint64_t left = r->size - r->pos;
    if (n_kvs > KVS_MAX || n_kvs > left / KV_MIN)
        return err_set(r->e, EBADMSG, "%" PRIu64 " keys of metadata in a file of %" PRIu64 " bytes",
                       n_kvs, r->size);
    if (n_tensors > TENSORS_MAX || n_tensors > left / TENSOR_MIN)
        return err_set(r->e, EBADMSG, "%" PRIu64 " tensors in a file of %" PRIu64 " bytes",
                       n_tensors, r->size);
    g->n_kvs = (size_t)n_kvs;
    g->n_tensors = (size_t)n_tensors;
    return 0;
}

static int read_alignment(struct reader *r, uint64_t *alignment)
{
    const char *key = "general.alignment";
    ssize_t i = gguf_names_find(&r->g->keys, r->g, (struct gguf_str){key, strlen(key)});
    *alignment = 32;
    if (i < 0)
        return 0;
    if (r->g->kvs[i].type != GGUF_VALUE_U32)
        return err_set(r->e, EBADMSG, "%s is no unsigned number of 32 bits", key);
    *alignment = gguf_load_u32(r->g->head + r->g->kvs[i].at);
    if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0 || *alignment > GGUF_ALIGNMENT_MAX)
        return err_set(r->e, EBADMSG, "%s is %" PRIu64 ", not a power of two up to %u", key,
                       *alignment, GGUF_ALIGNMENT_MAX);
    return 0;
}

struct gguf *gguf_read(const struct vfile *f, struct err *e)
{
    CLEANUP(gguf) struct gguf *g = mem_array(1, sizeof(*g), "the header", e);
    if (!g)
        return NULL;
    struct reader r = {.f = f, .g = g, .e = e, .size = vfile_size(f)};
    uint64_t alignment;
    if (take_version(&r) < 0 || take_counts(&r) < 0 || take_kvs(&r) < 0 ||
        read_alignment(&r, &alignment) < 0 || take_tensors(&r) < 0)
        return NULL;
    char *head = realloc(g->head, MAX(r.pos, 1)); /* gives back what was read ahead */
    if (head)
        g->head = head;
    g->head_len = r.pos;
    if (place_tensors(&r, alignment) < 0)
        return NULL;
    return steal_ptr(&g);
}

void gguf_free(struct gguf *g)
{
    if (!g)
        return;
    free(g->head);
    free(g->kvs);
    free(g->keys.slots);
    free(g->strings);
    free(g->tensors);
    free(g->tensor_at);
    free(g->names.slots);
    free(g);
}
