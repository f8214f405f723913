/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tiny_model.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "tests/lib/random_weights.h"

#define TOKENS_MAX 320
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 }; /* tokenizer.ggml.token_type */

static const char chatml[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct tiny_model tiny_llama(uint32_t type)
{
    return (struct tiny_model){
        .arch = MODEL_LLAMA,
        .type = type,
        .embd_type = GGUF_Q8_0,
        .n_layers = 2,
        .n_embd = 256,
        .n_heads = 4,
        .n_kv_heads = 2,
        .head_dim = 64,
        .n_ff = 512,
        .context = 512,
        .tied = true,
        .chat_template = chatml,
        .seed = 1,
    };
}

struct tiny_model tiny_gemma3(uint32_t type)
{
    struct tiny_model tm = tiny_llama(type);
    tm.arch = MODEL_GEMMA3;
    tm.n_layers = 7;
    tm.window = 16;
    return tm;
}

/* --- vocabularies --- */

struct vocab {
    char text[TOKENS_MAX][24];
    const char *tokens[TOKENS_MAX];
    int32_t types[TOKENS_MAX];
    float scores[TOKENS_MAX];
    size_t n;
};

static void add_token(struct vocab *v, const char *text, int32_t type, float score)
{
    snprintf(v->text[v->n], sizeof(v->text[0]), "%s", text);
    v->tokens[v->n] = v->text[v->n];
    v->types[v->n] = type;
    v->scores[v->n] = score;
    v->n++;
}

/* GPT-2's bytes_to_unicode: bytes that print stand for themselves, the others for U+0100 on, in
 * order. */
static void add_gpt2_bytes(struct vocab *v)
{
    uint32_t others = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
        char text[5] = {0};
        utf8_encode(prints ? byte : others++, text);
        add_token(v, text, NORMAL, 0);
    }
}

static void build_bpe(struct gguf_build *b, struct vocab *v)
{
    static const char *const merges[] = {"t h", "h e", "i n", "Ġ t", "Ġt he", "Ġ a", "e r", "o u"};
    add_token(v, "<|endoftext|>", CONTROL, 0);
    add_token(v, "<|im_start|>", CONTROL, 0);
    add_token(v, "<|im_end|>", CONTROL, 0);
    add_gpt2_bytes(v);
    for (size_t i = 0; i < ARRAY_LEN(merges); i++) {
        char text[16];
        const char *space = strchr(merges[i], ' ');
        snprintf(text, sizeof(text), "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
        add_token(v, text, NORMAL, 0);
    }
    gguf_build_str(b, "tokenizer.ggml.model", "gpt2");
    gguf_build_str(b, "tokenizer.ggml.pre", "gpt-2");
    gguf_build_strs(b, "tokenizer.ggml.tokens", v->tokens, v->n);
    gguf_build_i32s(b, "tokenizer.ggml.token_type", v->types, v->n);
    gguf_build_strs(b, "tokenizer.ggml.merges", merges, ARRAY_LEN(merges));
    gguf_build_u32(b, "tokenizer.ggml.bos_token_id", 1);
    gguf_build_u32(b, "tokenizer.ggml.eos_token_id", 2);
    gguf_build_bool(b, "tokenizer.ggml.add_bos_token", false);
}

static void build_spm(struct gguf_build *b, struct vocab *v)
{
    static const char *const pieces[] = {"▁", "▁t", "▁the", "th", "he", "in", "er", "e",  "t",
                                         "a", "o",  "n",    "i",  "s",  "h",  "r",  "▁▁", "the"};
    add_token(v, "<pad>", CONTROL, 0);
    add_token(v, "<eos>", CONTROL, 0);
    add_token(v, "<bos>", CONTROL, 0);
    add_token(v, "<unk>", UNKNOWN, 0);
    add_token(v, "<start_of_turn>", CONTROL, 0);
    add_token(v, "<end_of_turn>", CONTROL, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        add_token(v, text, BYTE, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        add_token(v, pieces[i], NORMAL, -(float)i);
    gguf_build_str(b, "tokenizer.ggml.model", "llama");
    gguf_build_strs(b, "tokenizer.ggml.tokens", v->tokens, v->n);
    gguf_build_f32s(b, "tokenizer.ggml.scores", v->scores, v->n);
    gguf_build_i32s(b, "tokenizer.ggml.token_type", v->types, v->n);
    gguf_build_u32(b, "tokenizer.ggml.bos_token_id", 2);
    gguf_build_u32(b, "tokenizer.ggml.eos_token_id", 1);
    gguf_build_u32(b, "tokenizer.ggml.unknown_token_id", 3);
    gguf_build_bool(b, "tokenizer.ggml.add_bos_token", true);
    gguf_build_bool(b, "tokenizer.ggml.add_space_prefix", false);
}

/* --- hyperparameters --- */

static void build_u32(struct gguf_build *b, const char *arch, const char *name, uint32_t v)
{
    char key[80];
    snprintf(key, sizeof(key), "%s.%s", arch, name);
    gguf_build_u32(b, key, v);
}

static void build_f32(struct gguf_build *b, const char *arch, const char *name, float v)
{
    char key[80];
    snprintf(key, sizeof(key), "%s.%s", arch, name);
    gguf_build_f32(b, key, v);
}

static void build_hparams(const struct tiny_model *tm, struct gguf_build *b)
{
    const char *arch = model_arch_name(tm->arch);
    gguf_build_str(b, "general.architecture", arch);
    gguf_build_str(b, "general.name", "tiny");
    build_u32(b, arch, "block_count", tm->n_layers);
    build_u32(b, arch, "context_length", tm->context);
    build_u32(b, arch, "embedding_length", tm->n_embd);
    build_u32(b, arch, "feed_forward_length", tm->n_ff);
    build_u32(b, arch, "attention.head_count", tm->n_heads);
    build_u32(b, arch, "attention.head_count_kv", tm->n_kv_heads);
    build_u32(b, arch, "attention.key_length", tm->head_dim);
    build_u32(b, arch, "attention.value_length", tm->head_dim);
    build_f32(b, arch, "attention.layer_norm_rms_epsilon", 1e-5f);
    build_f32(b, arch, "rope.freq_base", tm->arch == MODEL_GEMMA3 ? 1000000 : 10000);
    if (tm->arch == MODEL_LLAMA)
        build_u32(b, arch, "rope.dimension_count", tm->head_dim);
    else
        build_u32(b, arch, "attention.sliding_window", tm->window);
    if (tm->chat_template)
        gguf_build_str(b, "tokenizer.chat_template", tm->chat_template);
}

/* --- tensors --- */

static void build_matrix(struct gguf_build *b, const char *name, uint32_t type, uint64_t cols,
                         uint64_t rows)
{
    uint64_t ne[2] = {cols, rows};
    gguf_build_tensor(b, name, type, 2, ne);
}

static void build_vector(struct gguf_build *b, const char *name, uint64_t n)
{
    gguf_build_tensor(b, name, GGUF_F32, 1, &n);
}

static void build_layer(const struct tiny_model *tm, struct gguf_build *b, uint32_t l)
{
    const uint64_t q = (uint64_t)tm->n_heads * tm->head_dim,
                   kv = (uint64_t)tm->n_kv_heads * tm->head_dim;
    const struct {
        const char *name;
        uint64_t cols, rows; /* rows 0: a vector */
        bool there;
    } tensors[] = {
        {"attn_norm.weight", tm->n_embd, 0, true},
        {"attn_q.weight", tm->n_embd, q, true},
        {"attn_k.weight", tm->n_embd, kv, true},
        {"attn_v.weight", tm->n_embd, kv, true},
        {"attn_q.bias", q, 0, tm->biases},
        {"attn_k.bias", kv, 0, tm->biases},
        {"attn_v.bias", kv, 0, tm->biases},
        {"attn_q_norm.weight", tm->head_dim, 0, tm->arch == MODEL_GEMMA3},
        {"attn_k_norm.weight", tm->head_dim, 0, tm->arch == MODEL_GEMMA3},
        {"attn_output.weight", q, tm->n_embd, true},
        {"post_attention_norm.weight", tm->n_embd, 0, tm->arch == MODEL_GEMMA3},
        {"ffn_norm.weight", tm->n_embd, 0, true},
        {"ffn_gate.weight", tm->n_embd, tm->n_ff, true},
        {"ffn_up.weight", tm->n_embd, tm->n_ff, true},
        {"ffn_down.weight", tm->n_ff, tm->n_embd, true},
        {"post_ffw_norm.weight", tm->n_embd, 0, tm->arch == MODEL_GEMMA3},
    };
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++) {
        char name[48];
        snprintf(name, sizeof(name), "blk.%u.%s", l, tensors[i].name);
        if (tensors[i].there && tensors[i].rows > 0)
            build_matrix(b, name, tm->type, tensors[i].cols, tensors[i].rows);
        else if (tensors[i].there)
            build_vector(b, name, tensors[i].cols);
    }
}

void tiny_model_build(const struct tiny_model *tm, struct gguf_build *b)
{
    struct vocab *v = xcalloc(1, sizeof(*v));
    b->seed = tm->seed;
    build_hparams(tm, b);
    if (tm->arch == MODEL_LLAMA)
        build_bpe(b, v);
    else
        build_spm(b, v);
    uint64_t rows = v->n + tm->more_rows;
    free(v);
    build_matrix(b, "token_embd.weight", tm->embd_type, tm->n_embd, rows);
    build_vector(b, "output_norm.weight", tm->n_embd);
    if (!tm->tied)
        build_matrix(b, "output.weight", tm->embd_type, tm->n_embd, rows);
    if (tm->rope_freqs)
        build_vector(b, "rope_freqs.weight", tm->head_dim / 2);
    for (uint32_t l = 0; l < tm->n_layers; l++)
        build_layer(tm, b, l);
}

int tiny_model_fd(const struct tiny_model *tm)
{
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    gguf_build_init(&b);
    tiny_model_build(tm, &b);
    gguf_build_end(&b, &file);
    return gguf_build_fd(file.data, file.len);
}
