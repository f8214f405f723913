/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in a header that was read. Everything was checked by gguf_read.c: nothing here
 * can fail but by absence. */
#define XXH_INLINE_ALL
#include <sys/auxv.h>
#include <xxhash.h>

#include "model/gguf_internal.h"

/* --- names --- */

/* A seed that the file's author cannot know: names that all fall into one slot cannot be chosen
 * beforehand. */
static uint64_t hash_seed(void)
{
    const char *random = (const char *)getauxval(AT_RANDOM); /* 16 bytes from the kernel */
    return random ? gguf_load_u64(random + 8) : 0;
}

static uint32_t hash(struct gguf_str name)
{
    return (uint32_t)XXH3_64bits_withSeed(name.data, name.len, hash_seed());
}

static struct gguf_str name_of(const struct gguf_names *t, const struct gguf *g, size_t i)
{
    return gguf_str_at(g, *(const uint32_t *)((const char *)t->at + i * t->step));
}

int gguf_names_init(struct gguf_names *t, const uint32_t *at, size_t step, size_t n, struct err *e)
{
    size_t size = 4;
    while (size < 2 * n)
        size *= 2;
    t->at = at;
    t->step = step;
    t->mask = (uint32_t)(size - 1);
    t->slots = mem_array(size, sizeof(*t->slots), "the table of names", e);
    return t->slots ? 0 : -1;
}

/* The slot that holds the name, or the empty one where it belongs. */
static uint32_t *find_slot(const struct gguf_names *t, const struct gguf *g, struct gguf_str name)
{
    for (uint32_t i = hash(name) & t->mask;; i = (i + 1) & t->mask) {
        uint32_t *slot = &t->slots[i];
        if (*slot == 0)
            return slot;
        struct gguf_str other = name_of(t, g, *slot - 1);
        if (other.len == name.len && memcmp(other.data, name.data, name.len) == 0)
            return slot;
    }
}

int gguf_names_add(struct gguf_names *t, const struct gguf *g, size_t i)
{
    uint32_t *slot = find_slot(t, g, name_of(t, g, i));
    if (*slot != 0)
        return -1;
    *slot = (uint32_t)i + 1;
    return 0;
}

ssize_t gguf_names_find(const struct gguf_names *t, const struct gguf *g, struct gguf_str name)
{
    return (ssize_t)*find_slot(t, g, name) - 1;
}

/* --- metadata --- */

static const struct gguf_kv *find_kv(const struct gguf *g, const char *key)
{
    ssize_t i = gguf_names_find(&g->keys, g, (struct gguf_str){key, strlen(key)});
    return i < 0 ? NULL : &g->kvs[i];
}

bool gguf_has(const struct gguf *g, const char *key)
{
    return find_kv(g, key) != NULL;
}

bool gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *v)
{
    const struct gguf_kv *kv = find_kv(g, key);
    if (!kv || kv->type != GGUF_VALUE_STR)
        return false;
    *v = gguf_str_at(g, kv->at);
    return true;
}

/* An integer or bool as 64 bits; *negative says how to read them. False: it is none. */
static bool load_int(const char *p, uint32_t type, uint64_t *bits, bool *negative)
{
    int64_t i = 0;
    *bits = 0; /* little-endian: fewer bytes fill the low ones */
    switch (type) {
    case GGUF_VALUE_U8:
    case GGUF_VALUE_BOOL:
    case GGUF_VALUE_U16:
    case GGUF_VALUE_U32:
    case GGUF_VALUE_U64:
        memcpy(bits, p, gguf_value_size(type));
        *negative = false;
        return true;
    case GGUF_VALUE_I8:
        i = (int8_t)*p;
        break;
    case GGUF_VALUE_I16: {
        int16_t v;
        memcpy(&v, p, sizeof(v));
        i = v;
        break;
    }
    case GGUF_VALUE_I32:
        i = (int32_t)gguf_load_u32(p);
        break;
    case GGUF_VALUE_I64:
        i = (int64_t)gguf_load_u64(p);
        break;
    default:
        return false;
    }
    *bits = (uint64_t)i;
    *negative = i < 0;
    return true;
}

static bool load_float(const char *p, uint32_t type, double *v)
{
    float f;
    switch (type) {
    case GGUF_VALUE_F32:
        memcpy(&f, p, sizeof(f));
        *v = (double)f;
        return true;
    case GGUF_VALUE_F64:
        memcpy(v, p, sizeof(*v));
        return true;
    default:
        return false;
    }
}

bool gguf_get_u64(const struct gguf *g, const char *key, uint64_t *v)
{
    const struct gguf_kv *kv = find_kv(g, key);
    uint64_t bits;
    bool negative;
    if (!kv || kv->type == GGUF_VALUE_BOOL ||
        !load_int(g->head + kv->at, kv->type, &bits, &negative) || negative)
        return false;
    *v = bits;
    return true;
}

bool gguf_get_f64(const struct gguf *g, const char *key, double *v)
{
    const struct gguf_kv *kv = find_kv(g, key);
    return kv && load_float(g->head + kv->at, kv->type, v);
}

bool gguf_get_bool(const struct gguf *g, const char *key, bool *v)
{
    const struct gguf_kv *kv = find_kv(g, key);
    if (!kv || kv->type != GGUF_VALUE_BOOL)
        return false;
    *v = g->head[kv->at] != 0;
    return true;
}

/* --- arrays --- */

static bool kind_fits(enum gguf_kind kind, uint32_t type)
{
    switch (type) {
    case GGUF_VALUE_STR:
        return kind == GGUF_KIND_STR;
    case GGUF_VALUE_F32:
    case GGUF_VALUE_F64:
        return kind == GGUF_KIND_FLOAT;
    case GGUF_VALUE_BOOL:
        return kind == GGUF_KIND_BOOL;
    default:
        return kind == GGUF_KIND_INT;
    }
}

const struct gguf_array *gguf_get_array(const struct gguf *g, const char *key, enum gguf_kind kind,
                                        size_t *n)
{
    const struct gguf_kv *kv = find_kv(g, key);
    if (!kv || kv->type != GGUF_VALUE_ARRAY || !kind_fits(kind, kv->array.type))
        return NULL;
    for (size_t i = 0; kv->array.type == GGUF_VALUE_U64 && i < kv->array.n; i++)
        if (gguf_load_u64(g->head + kv->array.at + i * 8) > INT64_MAX)
            return NULL;
    *n = kv->array.n;
    return &kv->array;
}

struct gguf_str gguf_array_str(const struct gguf_array *a, size_t i)
{
    uint32_t at = a->g->strings[a->strings + i / GGUF_STRIDE];
    for (size_t skip = i % GGUF_STRIDE; skip > 0; skip--)
        at += 8 + (uint32_t)gguf_load_u64(a->g->head + at);
    return gguf_str_at(a->g, at);
}

int64_t gguf_array_int(const struct gguf_array *a, size_t i)
{
    uint64_t bits = 0;
    bool negative;
    load_int(a->g->head + a->at + i * gguf_value_size(a->type), a->type, &bits, &negative);
    return (int64_t)bits;
}

double gguf_array_float(const struct gguf_array *a, size_t i)
{
    double v = 0;
    load_float(a->g->head + a->at + i * gguf_value_size(a->type), a->type, &v);
    return v;
}

/* --- tensors --- */

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    ssize_t i = gguf_names_find(&g->names, g, (struct gguf_str){name, strlen(name)});
    return i < 0 ? NULL : &g->tensors[i];
}
