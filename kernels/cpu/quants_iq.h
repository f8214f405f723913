/* SPDX-License-Identifier: Apache-2.0 */
/* quants_iq: the IQ1, IQ2 and IQ3 types, whose codes are indices into grids. For quants.c; see
 * there for what unpack does. */
#ifndef LLMOSFS_KERNELS_CPU_QUANTS_IQ_H
#define LLMOSFS_KERNELS_CPU_QUANTS_IQ_H

#include "kernels/cpu/quants.h"

void quants_unpack_iq2_xxs(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq2_xs(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq2_s(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq3_xxs(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq3_s(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq1_s(const void *row, size_t i, struct quants_block *out);
void quants_unpack_iq1_m(const void *row, size_t i, struct quants_block *out);

#endif
