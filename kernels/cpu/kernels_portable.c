/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_portable: what every other set of kernels is measured against, and what runs where there
 * is no other. */
#include "kernels/cpu/body_attention.h"

static bool supported(void)
{
    return true;
}

/* Vectors of 16 bytes, which every machine of today has, by the compiler's extension. */
typedef int8_t bytes8 __attribute__((vector_size(8)));
typedef int16_t words8 __attribute__((vector_size(16)));
typedef int32_t ints4 __attribute__((vector_size(16)));
typedef uint32_t uints4 __attribute__((vector_size(16)));

/* Σ q·a over half a block, for each of the 16 rows: products fit 16 bits, and are added in pairs to 32. */
static void half_dot(const int8_t (*q)[PACK_ROWS][4], const int8_t *a, int32_t dot[PACK_ROWS])
{
    ints4 sum[8] = {{0}}; /* of two rows, two columns each */
    for (int k = 0; k < 4; k++) {
        const int8_t *c = a + 4 * k;
        const words8 columns = {c[0], c[1], c[2], c[3], c[0], c[1], c[2], c[3]};
        for (int i = 0; i < 8; i++) {
            bytes8 two_rows;
            memcpy(&two_rows, q[k][2 * i], sizeof(two_rows));
            ints4 products = (ints4)(__builtin_convertvector(two_rows, words8) * columns);
            sum[i] += (products >> 16) + ((ints4)((uints4)products << 16) >> 16);
        }
    }
    for (int r = 0; r < PACK_ROWS; r++)
        dot[r] = sum[r / 2][r % 2 * 2] + sum[r / 2][r % 2 * 2 + 1];
}

static void block_dot(const struct pack_wide *w, const struct kernel_rows *rows, size_t at,
                      float acc[PACK_ROWS])
{
    int32_t dot[2][PACK_ROWS];
    const int8_t *a = rows->q + 32 * at;
    const int32_t *sums = rows->sums + 2 * at;
    half_dot(w->q, a, dot[0]);
    half_dot(w->q + 4, a + 16, dot[1]);
    for (int r = 0; r < PACK_ROWS; r++) {
        float x = (float)(w->sc[0][r] * dot[0][r] + w->sc[1][r] * dot[1][r]);
        float y = (float)(w->mn[0][r] * sums[0] + w->mn[1][r] * sums[1]);
        acc[r] = acc[r] + rows->d[at] * (w->d[r] * x - w->dmin[r] * y);
    }
}

static void dot_wide(const struct ops_matrix *m, size_t panel, const struct kernel_rows *rows,
                     size_t first, size_t n, float *dst, size_t stride)
{
    struct pack_wide w;
    for (size_t t = 0; t < n; t++)
        memset(dst + t * stride, 0, PACK_ROWS * sizeof(float));
    for (size_t i = 0; i < m->blocks; i++) {
        pack_wide(m, panel, i, &w);
        for (size_t t = 0; t < n; t++)
            block_dot(&w, rows, (first + t) * rows->blocks + i, dst + t * stride);
    }
}

const struct kernels kernels_portable = {
    .name = "portable",
    .label = "portable",
    .supported = supported,
    .wide = dot_wide,
    BODY_KERNELS,
};
