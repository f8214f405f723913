/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: the parts of a frame (PROTOCOL.md). Private to src/proto.
 *
 * Writing cannot fail but for a string beyond 4 GiB, which makes the frame too long anyway. Reading
 * keeps a cursor that once it failed gives zeros, so that a message is read field by field and
 * checked once at its end. What a message needs beside the frame (token ids at an aligned address,
 * arrays of structs) comes from an arena, and only in proportion to the bytes that are really
 * there.
 */
#ifndef LLMOSFS_PROTO_WIRE_H
#define LLMOSFS_PROTO_WIRE_H

#include "base/buf.h"
#include "proto/proto.h"

#define WIRE_HEADER 8 /* u32 bytes of the body, u16 type, u16 descriptors */

struct wire_arena { /* memory that lives as long as one received message */
    void **blocks;
    size_t n;
    size_t cap;
};
void wire_arena_free(struct wire_arena *a);

struct wire_reader {
    const unsigned char *data;
    size_t n; /* bytes left */
    struct wire_arena *arena;
    const char *wrong; /* the first thing that is wrong with the frame; NULL: nothing */
};

/* Marks the frame as broken; the first reason stays. */
void wire_fail(struct wire_reader *r, const char *why);

uint8_t wire_get_u8(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
double wire_get_f64(struct wire_reader *r); /* finite */
uint32_t wire_get_enum(struct wire_reader *r, uint32_t last, const char *what);
struct proto_str wire_get_str(struct wire_reader *r);
struct proto_str wire_get_text(struct wire_reader *r); /* a string that must be UTF-8 */
struct proto_ids wire_get_ids(struct wire_reader *r);
/* A count of things that take at least `least` bytes each, at most max; then room for them, NULL if
 * there are none. */
void *wire_get_array(struct wire_reader *r, size_t max, size_t least, size_t size, size_t *n);

void wire_put_u8(struct buf *b, uint8_t v);
void wire_put_u16(struct buf *b, uint16_t v);
void wire_put_u32(struct buf *b, uint32_t v);
void wire_put_u64(struct buf *b, uint64_t v);
void wire_put_f64(struct buf *b, double v);
void wire_put_str(struct buf *b, struct proto_str s);
void wire_put_ids(struct buf *b, struct proto_ids ids);

/* The body of a message. Descriptors go beside it: *fds points into m. */
void wire_encode(const struct proto_msg *m, struct buf *b, const int **fds, size_t *n_fds);

/* Reads a body; the message's descriptors are those of fds. EPROTO. */
int wire_decode(uint32_t type, const void *body, size_t n, const int *fds, size_t n_fds,
                struct wire_arena *arena, struct proto_msg *m, struct err *e);

/* How long a body of this type may be; 0: no such type. */
size_t wire_body_max(uint32_t type);
/* How many descriptors may come with it. */
size_t wire_fds_max(uint32_t type);

#endif
