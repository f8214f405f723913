/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: what a header means. Hyperparameters and the table of tensors of an architecture, all
 * checked, so that an engine may compute with them without a look back: every count is in its
 * range, every tensor that the architecture needs is there, once, with the shape that the
 * hyperparameters give and a type that can be computed with. EBADMSG: it contradicts itself;
 * ENOEXEC: an architecture, feature or type that is not supported, named in the sentence.
 */
#ifndef LLMOSFS_MODEL_MODEL_H
#define LLMOSFS_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "model/gguf.h"

/* Limits on what a file may say: well above the models of today, low enough that no product of them
 * overflows 64 bits. */
#define MODEL_LAYERS_MAX      512
#define MODEL_EMBD_MAX        65536 /* 16384 in Llama 3.1 405B */
#define MODEL_HEADS_MAX       1024
#define MODEL_HEAD_DIM_MAX    1024      /* 256 in Gemma */
#define MODEL_FF_MAX          (1 << 20) /* 53248 in Llama 3.1 405B */
#define MODEL_VOCAB_MAX       (1 << 21) /* 262144 in Gemma */
#define MODEL_CONTEXT_MAX     (1 << 24) /* positions are exact as floats up to here */
#define MODEL_ROPE_BASE_MAX   1e12
#define MODEL_ROPE_FACTOR_MAX 1e6
#define MODEL_SOFTCAP_MAX     1e6

enum model_arch { MODEL_LLAMA, MODEL_GEMMA3 };

struct model_hparams {
    enum model_arch arch;
    uint32_t n_layers;
    uint32_t n_embd;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t n_vocab; /* tokens; token_embd and output may have more rows, never fewer */
    uint32_t context; /* most positions it was trained for */
    float rms_eps;
    uint32_t rope_dims;
    bool rope_neox;
    float rope_base;
    float rope_scale;       /* on positions: 1 / linear factor; layers with a window have 1 */
    float rope_base_local;  /* of layers with a window (Gemma 3) */
    uint32_t window;        /* of local layers; 0: none */
    uint32_t window_period; /* layer l is local unless (l + 1) % window_period == 0; 0: none is */
    float attention_scale;
    float attention_softcap; /* 0: none */
    float logit_softcap;     /* 0: none */
    float embedding_scale;
};

/* NULL where the architecture has none (or the model ties it). */
struct model_layer {
    const struct gguf_tensor *attn_norm, *attn_q, *attn_k, *attn_v, *attn_output;
    const struct gguf_tensor *attn_q_norm, *attn_k_norm, *attn_post_norm;
    const struct gguf_tensor *attn_q_bias, *attn_k_bias, *attn_v_bias;
    const struct gguf_tensor *ffn_norm, *ffn_gate, *ffn_up, *ffn_down, *ffn_post_norm;
};

struct model {
    struct model_hparams hp;
    const struct gguf_tensor *token_embd, *output_norm;
    const struct gguf_tensor *output; /* is token_embd where the file ties them */
    const struct gguf_tensor
        *rope_freqs;            /* f32[rope_dims / 2] or NULL; its values are not checked */
    struct model_layer *layers; /* n_layers */
    uint64_t n_params;
    uint64_t weights_bytes;
    uint64_t kv_per_token; /* bytes of f16 cache */
    char quantization[16]; /* "Q4_1", as general.file_type or the commonest type says */
};

/* g must outlive the model. */
struct model *model_read(const struct gguf *g, struct err *e);
void model_free(struct model *m);
DEFINE_CLEANUP(model, struct model *, model_free)

const char *model_arch_name(enum model_arch arch);

#endif
