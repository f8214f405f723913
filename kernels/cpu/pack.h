/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack: weights as the kernels read them.
 *
 * Sixteen rows make a panel, and lie across the lanes of a register: lane r is row r. What the file
 * has as blocks of one row lies here for sixteen. Groups of 64 columns (of 256 where the file's
 * blocks have as many) follow each other, so that a panel is read from its first byte to its last:
 * a stream that the hardware sees coming. A group holds, for each of its blocks of 32 columns or of
 * the file, one section after the other (high and low of a block together):
 *
 *     d     f16[16]            for each block of the file
 *     m     f16[16]            the same: minimum, or its scale
 *     sc    i8[1 or 2][16]     for each 32 columns: integer scales (two: one for each half of them)
 *     mn    u8[16]             integer minima
 *     high  u8[1 or 2][64]     fifth (and sixth) bits
 *     low   u8[4 or 8][64]     codes of 4 or 8 bits
 *
 * A 64-byte vector of codes holds four columns of each row: byte 4r + c is row r, column 4k + c,
 * for the k-th vector (8 bits); with 4 bits, the k-th vector has columns 4k + c in the low nibbles
 * and 16 + 4k + c in the high ones. Bit k of byte 4r + c of `high` is the fifth bit of column 4k +
 * c; of sixth bits there are two vectors, with 2 bits for k = 0…3 and 4…7. So one vector is an
 * operand of a dot product of bytes (VNNI), and as it is a row of a tile of AMX. Types that no
 * kernel is tuned for lie as in the file, row after row, and are unpacked when used. Floats lie as
 * [column][16].
 *
 * Nothing is lost: pack_block gives back what the file said. Rows beyond the last in its panel, and
 * columns of floats beyond the last up to a multiple of 32, are zero.
 */
#ifndef LLMOSFS_KERNELS_CPU_PACK_H
#define LLMOSFS_KERNELS_CPU_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/quants.h"

#define PACK_ROWS 16

enum pack_kind { PACK_PANEL, PACK_FILE, PACK_FLOATS };

struct pack_format {
    uint8_t bits;         /* of a code: 4, 5, 6 or 8; 0: the type is kept as in the file */
    uint8_t offset;       /* q = code - offset */
    const int8_t *values; /* or q = values[code] */
    uint8_t per_d;        /* blocks of 32 columns under one d: 1 or 8 */
    bool has_m;
    uint8_t n_sc; /* integer scales for 32 columns: 0 (they are 1), 1 or 2 */
    bool has_mn;  /* integer minima (else 1 if has_m) */
};

struct ops_matrix {
    uint32_t type;
    enum pack_kind kind;
    const struct pack_format *format;
    uint64_t rows;
    uint64_t cols;
    size_t blocks; /* of 32 columns, rounded up */
    size_t panels;
    size_t panel_bytes;
    size_t row_bytes; /* in the file */
    size_t group;     /* blocks of 32 columns in a group; the last may have fewer */
    size_t group_bytes;
    size_t m, sc, mn, codes; /* where in a group the sections begin; d is at 0 */
    uint8_t *data;
    struct slab *slab;
};

/* 32 columns of a panel, unpacked: what every integer kernel computes with. */
struct pack_wide {
    _Alignas(64) int8_t q[8][PACK_ROWS][4];
    int32_t sc[2][PACK_ROWS];
    int32_t mn[2][PACK_ROWS];
    float d[PACK_ROWS];
    float dmin[PACK_ROWS];
};

/* Room for a matrix. ENOEXEC: no such type; EINVAL: cols is no multiple of its block, or 0, or rows
 * is; ENOMEM. */
struct ops_matrix *pack_new(struct memory *mem, uint32_t type, uint64_t rows, uint64_t cols,
                            struct err *e);
void pack_free(struct memory *mem, struct ops_matrix *m);

/* Puts in one row as it lies in the file. Rows of different panels may be put in by different
 * threads. */
void pack_row(struct ops_matrix *m, uint64_t row, const void *src);

/* Block i of a row, not of PACK_FLOATS. */
void pack_block(const struct ops_matrix *m, uint64_t row, size_t i, struct quants_block *out);

/* The same for the rows of a panel. */
void pack_wide(const struct ops_matrix *m, size_t panel, size_t i, struct pack_wide *out);

/* A whole row as cols floats. */
void pack_row_to_f32(const struct ops_matrix *m, uint64_t row, float *dst);

#endif
