/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool same(const struct rope_table *t, const struct ops_rope *r)
{
    if (t->used == 0 || t->n_dims != r->n_dims || t->base != r->base || t->scale != r->scale)
        return false;
    if (!t->factors || !r->factors)
        return !t->factors && !r->factors;
    return memcmp(t->factors, r->factors, r->n_dims / 2 * sizeof(float)) == 0;
}

static void table_free(struct rope_table *t)
{
    free(t->factors);
    free(t->frequency);
    free(t->position);
    free(t->turns);
    *t = (struct rope_table){0};
}

static void table_fill(struct rope_table *t, const struct ops_rope *r)
{
    size_t half = r->n_dims / 2;
    table_free(t);
    t->n_dims = r->n_dims;
    t->base = r->base;
    t->scale = r->scale;
    if (r->factors)
        t->factors = xmemdup(r->factors, half * sizeof(float));
    t->frequency = xcalloc(half, sizeof(double));
    t->position = xcalloc(ROPE_POSITIONS, sizeof(uint32_t));
    t->turns = xcalloc((size_t)ROPE_POSITIONS * r->n_dims, sizeof(float));
    for (size_t i = 0; i < half; i++) {
        t->frequency[i] = (double)r->scale * pow(r->base, -2.0 * (double)i / r->n_dims);
        if (r->factors)
            t->frequency[i] /= r->factors[i];
    }
}

struct rope_table *rope_find(struct rope_tables *ts, const struct ops_rope *rope)
{
    struct rope_table *oldest = &ts->tables[0];
    for (int i = 0; i < ROPE_TABLES; i++) {
        struct rope_table *t = &ts->tables[i];
        if (same(t, rope)) {
            t->used = ++ts->clock;
            return t;
        }
        if (t->used < oldest->used)
            oldest = t;
    }
    table_fill(oldest, rope);
    oldest->used = ++ts->clock;
    return oldest;
}

const float *rope_turns(struct rope_table *t, uint32_t position)
{
    size_t half = t->n_dims / 2;
    size_t place = position % ROPE_POSITIONS;
    float *turns = t->turns + place * t->n_dims;
    if (t->position[place] == position + 1)
        return turns;
    for (size_t i = 0; i < half; i++) {
        double angle = position * t->frequency[i];
        turns[i] = (float)cos(angle);
        turns[half + i] = (float)sin(angle);
    }
    t->position[place] = position + 1;
    return turns;
}

void rope_free(struct rope_tables *ts)
{
    for (int i = 0; i < ROPE_TABLES; i++)
        table_free(&ts->tables[i]);
}
