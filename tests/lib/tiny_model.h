/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiny_model: whole small models with random weights, that an engine can load and ask. What they
 * answer has no sense, but is the same on every run.
 *
 *     struct tiny_model tm = tiny_llama(GGUF_Q4_K);
 *     tm.n_layers = 3;
 *     CLEANUP_FD int fd = tiny_model_fd(&tm);
 */
#ifndef LLMOSFS_TESTS_TINY_MODEL_H
#define LLMOSFS_TESTS_TINY_MODEL_H

#include "model/model.h"
#include "tests/lib/gguf_build.h"

struct tiny_model {
    enum model_arch arch;
    uint32_t type;      /* of the matrices of layers */
    uint32_t embd_type; /* of token_embd and output */
    uint32_t n_layers;
    uint32_t n_embd;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t context;
    uint32_t window;    /* gemma3 */
    uint32_t more_rows; /* of token_embd than there are tokens */
    bool tied;
    bool biases;               /* on Q, K, V (llama) */
    bool rope_freqs;           /* llama */
    const char *chat_template; /* NULL: none */
    uint64_t seed;
};

/*
 * 2 layers, an embedding of 256, 4 heads of 64 that share 2 key-value heads, context 512: sizes
 * that fit every block type. gemma3 has 7 layers (one of them global) and a window of 16. The
 * embedding is Q8_0, ChatML the template.
 *
 * llama: byte-level BPE ("gpt2", pre "gpt-2"), 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|> (the
 * end), then every byte and some merges. gemma3: SentencePiece-style ("llama"), 0 <pad>, 1 <eos>, 2
 * <bos>, 3 <unk>, <start_of_turn>, <end_of_turn>, byte tokens and some pieces.
 */
struct tiny_model tiny_llama(uint32_t type);
struct tiny_model tiny_gemma3(uint32_t type);

/* Adds all keys and tensors to b, which was initialised. */
void tiny_model_build(const struct tiny_model *tm, struct gguf_build *b);

/* The file, as gguf_build_fd() gives it. */
int tiny_model_fd(const struct tiny_model *tm);

#endif
