/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <errno.h>
#include <stdio.h>

#include "model/model_internal.h"

/* What general.file_type numbers (llama.h's enum llama_ftype), which name a mixture of types as its
 * makers call it. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

const char *model_arch_name(enum model_arch arch)
{
    switch (arch) {
    case MODEL_LLAMA:
        return "llama";
    case MODEL_GEMMA3:
        return "gemma3";
    }
    return "?";
}

/* The type that holds most of the elements. */
static const char *commonest_type(const struct gguf *g)
{
    uint64_t elements[64] = {0};
    uint32_t best = GGUF_F32;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        elements[t->type] += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        if (elements[t->type] > elements[best])
            best = t->type;
    }
    return gguf_type_info(best)->name;
}

/* All tensors are the model's by now, and their shapes bounded: nothing overflows. */
static void sum_up(struct model *m, const struct gguf *g)
{
    const struct model_hparams *hp = &m->hp;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        m->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        m->weights_bytes += t->bytes;
    }
    m->kv_per_token = (uint64_t)hp->n_layers * 2 * hp->n_kv_heads * hp->head_dim * 2;

    uint64_t file_type;
    const char *name = NULL;
    if (gguf_get_u64(g, "general.file_type", &file_type) && file_type < ARRAY_LEN(file_types))
        name = file_types[file_type];
    snprintf(m->quantization, sizeof(m->quantization), "%s", name ? name : commonest_type(g));
}

struct model *model_read(const struct gguf *g, struct err *e)
{
    CLEANUP(model) struct model *m = mem_array(1, sizeof(*m), "the model", e);
    if (!m || model_read_hparams(m, g, e) < 0)
        return NULL;
    m->layers = mem_array(m->hp.n_layers, sizeof(*m->layers), "the table of layers", e);
    if (!m->layers || model_read_tensors(m, g, e) < 0)
        return NULL;
    sum_up(m, g);
    return steal_ptr(&m);
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free(m->layers);
    free(m);
}
