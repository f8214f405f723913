/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

static void *arena_take(struct wire_arena *a, size_t n, size_t size)
{
    void *block = calloc(n, size);
    if (!block)
        return NULL;
    if (a->n == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 8;
        a->blocks = xrealloc(a->blocks, a->cap * sizeof(*a->blocks));
    }
    a->blocks[a->n++] = block;
    return block;
}

void wire_arena_free(struct wire_arena *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->blocks[i]);
    free(a->blocks);
    *a = (struct wire_arena){0};
}

void wire_fail(struct wire_reader *r, const char *why)
{
    if (!r->wrong)
        r->wrong = why;
    r->n = 0;
}

/* The next n bytes, NULL if they are not there. */
static const unsigned char *take(struct wire_reader *r, size_t n)
{
    if (n > r->n) {
        wire_fail(r, "it is too short");
        return NULL;
    }
    const unsigned char *p = r->data;
    r->data += n;
    r->n -= n;
    return p;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
    const unsigned char *p = take(r, 1);
    return p ? *p : 0;
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    uint32_t v = 0;
    const unsigned char *p = take(r, sizeof(v));
    if (p)
        memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
    uint64_t v = 0;
    const unsigned char *p = take(r, sizeof(v));
    if (p)
        memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

double wire_get_f64(struct wire_reader *r)
{
    uint64_t bits = wire_get_u64(r);
    double v;
    memcpy(&v, &bits, sizeof(v));
    if (!isfinite(v)) {
        wire_fail(r, "a number is not finite");
        return 0;
    }
    return v;
}

uint32_t wire_get_enum(struct wire_reader *r, uint32_t last, const char *what)
{
    uint8_t v = wire_get_u8(r);
    if (v > last) {
        wire_fail(r, what);
        return 0;
    }
    return v;
}

struct proto_str wire_get_str(struct wire_reader *r)
{
    size_t n = wire_get_u32(r);
    const unsigned char *p = take(r, n);
    return p ? (struct proto_str){(const char *)p, n} : (struct proto_str){"", 0};
}

struct proto_str wire_get_text(struct wire_reader *r)
{
    struct proto_str s = wire_get_str(r);
    if (utf8_valid(s.data, s.len))
        return s;
    wire_fail(r, "a text is not UTF-8");
    return (struct proto_str){"", 0};
}

void *wire_get_array(struct wire_reader *r, size_t max, size_t least, size_t size, size_t *n)
{
    size_t count = wire_get_u32(r);
    *n = 0;
    if (count > max || count > r->n / least) {
        wire_fail(r, "a count is more than fits");
        return NULL;
    }
    if (count == 0)
        return NULL;
    void *room = arena_take(r->arena, count, size);
    if (!room) {
        wire_fail(r, "there is no memory for it");
        return NULL;
    }
    *n = count;
    return room;
}

struct proto_ids wire_get_ids(struct wire_reader *r)
{
    size_t n;
    int32_t *ids = wire_get_array(r, PROTO_FRAME_MAX, sizeof(*ids), sizeof(*ids), &n);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)wire_get_u32(r);
    return (struct proto_ids){ids, n};
}

void wire_put_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, sizeof(v));
}

void wire_put_u16(struct buf *b, uint16_t v)
{
    v = htole16(v);
    buf_add(b, &v, sizeof(v));
}

void wire_put_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, &v, sizeof(v));
}

void wire_put_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, &v, sizeof(v));
}

void wire_put_f64(struct buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    wire_put_u64(b, bits);
}

void wire_put_str(struct buf *b, struct proto_str s)
{
    wire_put_u32(b, (uint32_t)s.len);
    buf_add(b, s.data, s.len);
}

void wire_put_ids(struct buf *b, struct proto_ids ids)
{
    wire_put_u32(b, (uint32_t)ids.n);
    for (size_t i = 0; i < ids.n; i++)
        wire_put_u32(b, (uint32_t)ids.ids[i]);
}
