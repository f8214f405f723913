/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors of an architecture: a table says which there are and of which shape, and the file's
 * must match it. A tensor that the table does not know is refused as well: it would belong to a
 * forward pass other than ours.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "model/gguf_internal.h"
#include "model/model_internal.h"

enum dim { ONE, EMBD, Q_WIDTH, KV_WIDTH, HEAD, FF };

#define LLAMA  (1u << MODEL_LLAMA)
#define GEMMA3 (1u << MODEL_GEMMA3)

struct layer_tensor {
    const char *name;    /* after "blk.N." */
    size_t offset;       /* of its pointer in struct model_layer */
    enum dim cols, rows; /* rows ONE: a vector */
    unsigned needed;     /* by these architectures */
    unsigned known;      /* to these; where not needed, it may be absent */
};

#define AT(member) offsetof(struct model_layer, member)
static const struct layer_tensor layer_tensors[] = {
    {"attn_norm.weight", AT(attn_norm), EMBD, ONE, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"attn_q.weight", AT(attn_q), EMBD, Q_WIDTH, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"attn_k.weight", AT(attn_k), EMBD, KV_WIDTH, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"attn_v.weight", AT(attn_v), EMBD, KV_WIDTH, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"attn_output.weight", AT(attn_output), Q_WIDTH, EMBD, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"attn_q_norm.weight", AT(attn_q_norm), HEAD, ONE, GEMMA3, GEMMA3},
    {"attn_k_norm.weight", AT(attn_k_norm), HEAD, ONE, GEMMA3, GEMMA3},
    {"post_attention_norm.weight", AT(attn_post_norm), EMBD, ONE, GEMMA3, GEMMA3},
    {"attn_q.bias", AT(attn_q_bias), Q_WIDTH, ONE, 0, LLAMA},
    {"attn_k.bias", AT(attn_k_bias), KV_WIDTH, ONE, 0, LLAMA},
    {"attn_v.bias", AT(attn_v_bias), KV_WIDTH, ONE, 0, LLAMA},
    {"ffn_norm.weight", AT(ffn_norm), EMBD, ONE, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"ffn_gate.weight", AT(ffn_gate), EMBD, FF, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"ffn_up.weight", AT(ffn_up), EMBD, FF, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"ffn_down.weight", AT(ffn_down), FF, EMBD, LLAMA | GEMMA3, LLAMA | GEMMA3},
    {"post_ffw_norm.weight", AT(ffn_post_norm), EMBD, ONE, GEMMA3, GEMMA3},
};

static uint64_t dim_size(const struct model_hparams *hp, enum dim d)
{
    switch (d) {
    case ONE:
        return 1;
    case EMBD:
        return hp->n_embd;
    case Q_WIDTH:
        return (uint64_t)hp->n_heads * hp->head_dim;
    case KV_WIDTH:
        return (uint64_t)hp->n_kv_heads * hp->head_dim;
    case HEAD:
        return hp->head_dim;
    case FF:
        return hp->n_ff;
    }
    return 0;
}

/* A matrix may have any type that holds weights; which of them can be computed with is the
 * backend's word. */
static bool holds_weights(uint32_t type)
{
    switch (type) {
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
    case GGUF_F64:
        return false;
    default:
        return true;
    }
}

static int check_tensor(const struct gguf_tensor *t, uint64_t cols, uint64_t rows, struct err *e)
{
    char show[GGUF_SHOW_MAX];
    if (t->ne[0] != cols || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1)
        return err_set(e, EBADMSG,
                       "tensor %s is %" PRIu64 " × %" PRIu64 " × %" PRIu64 " × %" PRIu64
                       ", but the hyperparameters give %" PRIu64 " × %" PRIu64,
                       gguf_show(t->name, show), t->ne[0], t->ne[1], t->ne[2], t->ne[3], cols,
                       rows);
    if (rows == 1 ? t->type != GGUF_F32 : !holds_weights(t->type))
        return err_set(e, ENOEXEC, "tensor %s: the type %s is not supported there",
                       gguf_show(t->name, show), gguf_type_info(t->type)->name);
    return 0;
}

/* Counts the tensors that were found, to tell afterwards whether the file has others. */
struct finder {
    const struct gguf *g;
    bool *claimed; /* by index */
    struct err *e;
};

static const struct gguf_tensor *claim(struct finder *f, const char *name)
{
    const struct gguf_tensor *t = gguf_find_tensor(f->g, name);
    if (t)
        f->claimed[t - gguf_tensor(f->g, 0)] = true;
    return t;
}

static int find_needed(struct finder *f, const char *name, const struct gguf_tensor **out)
{
    *out = claim(f, name);
    return *out ? 0 : err_set(f->e, EBADMSG, "tensor %s is missing", name);
}

static int read_layer(struct finder *f, const struct model_hparams *hp, uint32_t layer,
                      struct model_layer *out)
{
    for (size_t i = 0; i < ARRAY_LEN(layer_tensors); i++) {
        const struct layer_tensor *lt = &layer_tensors[i];
        const struct gguf_tensor **slot = (const struct gguf_tensor **)((char *)out + lt->offset);
        char name[64];
        snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", layer, lt->name);
        if (!(lt->known & (1u << hp->arch)))
            continue;
        if (lt->needed & (1u << hp->arch)) {
            if (find_needed(f, name, slot) < 0)
                return -1;
        } else {
            *slot = claim(f, name);
        }
        if (*slot && check_tensor(*slot, dim_size(hp, lt->cols), dim_size(hp, lt->rows), f->e) < 0)
            return -1;
    }
    return 0;
}

/* The embedding may have more rows than there are tokens (they pad it to a round number), never
 * fewer. */
static int read_ends(struct finder *f, struct model *m)
{
    const struct model_hparams *hp = &m->hp;
    if (find_needed(f, "token_embd.weight", &m->token_embd) < 0 ||
        find_needed(f, "output_norm.weight", &m->output_norm) < 0)
        return -1;
    uint64_t rows = m->token_embd->ne[1];
    if (rows < hp->n_vocab || rows > MODEL_VOCAB_MAX)
        return err_set(f->e, EBADMSG,
                       "tensor token_embd.weight has %" PRIu64 " rows for %" PRIu32
                       " tokens (%d rows at most)",
                       rows, hp->n_vocab, MODEL_VOCAB_MAX);
    if (check_tensor(m->token_embd, hp->n_embd, rows, f->e) < 0 ||
        check_tensor(m->output_norm, hp->n_embd, 1, f->e) < 0)
        return -1;
    m->output = claim(f, "output.weight");
    if (!m->output)
        m->output = m->token_embd;
    if (check_tensor(m->output, hp->n_embd, rows, f->e) < 0)
        return -1;
    m->rope_freqs = claim(f, "rope_freqs.weight");
    return m->rope_freqs ? check_tensor(m->rope_freqs, hp->rope_dims / 2, 1, f->e) : 0;
}

int model_read_tensors(struct model *m, const struct gguf *g, struct err *e)
{
    CLEANUP_FREE bool *claimed =
        mem_array(gguf_n_tensors(g), sizeof(*claimed), "the table of tensors", e);
    if (!claimed)
        return -1;
    struct finder f = {.g = g, .claimed = claimed, .e = e};
    if (read_ends(&f, m) < 0)
        return -1;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (read_layer(&f, &m->hp, l, &m->layers[l]) < 0)
            return -1;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        char show[GGUF_SHOW_MAX];
        if (!claimed[i])
            return err_set(e, ENOEXEC, "tensor %s is none that a %s model has",
                           gguf_show(gguf_tensor(g, i)->name, show), model_arch_name(m->hp.arch));
    }
    return 0;
}
