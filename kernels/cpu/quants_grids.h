/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quants_grids: the grids of the IQ types, constants of the GGUF format. A point packs the numbers
 * of its values, the first column lowest: 8 columns of 2 bits (IQ1: 0, 1, 2 are -1, 0, 1; IQ2: 8,
 * 25, 43), or 4 columns of 3 bits (IQ3).
 */
#ifndef LLMOSFS_KERNELS_CPU_QUANTS_GRIDS_H
#define LLMOSFS_KERNELS_CPU_QUANTS_GRIDS_H

#include <stdint.h>

extern const uint16_t quants_grid_iq2_xxs[256];
extern const uint16_t quants_grid_iq2_xs[512];
extern const uint16_t quants_grid_iq2_s[1024];
extern const uint16_t quants_grid_iq3_xxs[256];
extern const uint16_t quants_grid_iq3_s[512];
extern const uint16_t quants_grid_iq1[2048];

#endif
