/* SPDX-License-Identifier: Apache-2.0 */
/* Tiny models of every type and shape, and what model_read() makes of keys that are there, absent
 * or strange. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/gguf_internal.h"
#include "tests/lib/load_model.h"
#include "tests/lib/tiny_model.h"

static struct loaded load_tiny(const struct tiny_model *tm)
{
    struct loaded l = load_model(tiny_model_fd(tm));
    if (!l.model)
        print_error("%s\n", l.e.text);
    assert_non_null(l.model);
    load_model_walk(l.file, l.gguf, l.model);
    return l;
}

static void test_every_type(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < 64; type++) {
        const struct gguf_type_info *info = gguf_type_info(type);
        if (!info || (type >= GGUF_I8 && type <= GGUF_F64))
            continue;
        struct tiny_model tiny[] = {tiny_llama(type), tiny_gemma3(type)};
        for (size_t i = 0; i < ARRAY_LEN(tiny); i++) {
            CLEANUP_LOADED struct loaded l = load_tiny(&tiny[i]);
            const struct gguf_tensor *t = l.model->layers[1].ffn_down;
            assert_int_equal(t->type, type);
            assert_int_equal(t->bytes, 512 / info->block * info->block_bytes * 256);
        }
    }
}

static void test_no_weights(void **state)
{
    (void)state;
    for (uint32_t type = GGUF_I8; type <= GGUF_F64; type++) {
        struct tiny_model tm = tiny_llama(type);
        CLEANUP_LOADED struct loaded l = load_model(tiny_model_fd(&tm));
        assert_null(l.model);
        assert_int_equal(l.e.code, ENOEXEC);
        assert_non_null(strstr(l.e.text, gguf_type_info(type)->name));
    }
}

/* --- keys that are there, absent or strange --- */

/* A model whose key or tensor `omit` is left out, and which has one more key, of the type that `as` says. */
struct variant {
    const char *omit;
    const char *key; /* NULL: none */
    char as;         /* 'u'nsigned, 'i'nt, 'f'loat, 's'tring, 'b'ool */
    double number;
    const char *str;
    int code;         /* 0: it is accepted */
    const char *says; /* a part of the sentence */
};

static void add_key(struct gguf_build *b, const struct variant *v)
{
    int32_t i = (int32_t)v->number;
    switch (v->as) {
    case 'u':
        gguf_build_u32(b, v->key, (uint32_t)v->number);
        break;
    case 'i':
        gguf_build_raw(b, v->key, GGUF_VALUE_I32, &i, sizeof(i));
        break;
    case 'f':
        gguf_build_f32(b, v->key, (float)v->number);
        break;
    case 's':
        gguf_build_str(b, v->key, v->str);
        break;
    case 'b':
        gguf_build_bool(b, v->key, v->number != 0);
        break;
    }
}

static struct loaded load_variant(const struct tiny_model *tm, const struct variant *v)
{
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    gguf_build_init(&b);
    if (v->key)
        add_key(&b, v); /* before the one of that name is left out */
    b.omit = v->omit;
    tiny_model_build(tm, &b);
    gguf_build_end(&b, &file);
    return load_model(gguf_build_fd(file.data, file.len));
}

static void check_variants(const struct tiny_model *tm, const struct variant *v, size_t n)
{
    for (size_t i = 0; i < n; i++, v++) {
        CLEANUP_LOADED struct loaded l = load_variant(tm, v);
        if (l.e.code != v->code || !strstr(l.e.text, v->says ? v->says : ""))
            print_error("variant %zu (%s, without %s) gave %d: %s\n", i, v->key ? v->key : "",
                        v->omit ? v->omit : "nothing", l.e.code, l.e.text);
        assert_int_equal(l.e.code, v->code);
        assert_int_equal(l.model == NULL, v->code != 0);
        assert_non_null(strstr(l.e.text, v->says ? v->says : ""));
        if (l.model)
            load_model_walk(l.file, l.gguf, l.model);
    }
}

#define REPLACE(k) .omit = k, .key = k
#define ADD(k)     .key = k

static void test_llama_variants(void **state)
{
    (void)state;
    static const struct variant variants[] = {
        {.omit = "general.architecture", .code = EBADMSG, .says = "general.architecture"},
        {REPLACE("general.architecture"), 'u', 1, NULL, EBADMSG, "no string"},
        {REPLACE("general.architecture"), 's', 0, "mamba", ENOEXEC, "\"mamba\" is not supported"},
        {REPLACE("general.architecture"), 's', 0, "llam", ENOEXEC, "\"llam\""},
        {REPLACE("general.architecture"), 's', 0, "a\nb\x1b[2J", ENOEXEC, "\"a?b?[2J\""},
        {ADD("general.type"), 's', 0, "adapter", ENOEXEC, "adapter"},
        {ADD("general.type"), 's', 0, "model", 0, NULL},
        {ADD("split.count"), 'u', 2, NULL, ENOEXEC, "split"},
        {ADD("split.count"), 'u', 1, NULL, 0, NULL},
        {.omit = "llama.block_count", .code = EBADMSG, .says = "llama.block_count is missing"},
        {REPLACE("llama.block_count"), 'u', 0, NULL, EBADMSG, "1 to 512"},
        {REPLACE("llama.block_count"), 'u', 513, NULL, EBADMSG, "1 to 512"},
        {REPLACE("llama.block_count"), 'u', 4294967295., NULL, EBADMSG, "1 to 512"},
        {REPLACE("llama.block_count"), 'i', -1, NULL, EBADMSG, "llama.block_count"},
        {REPLACE("llama.block_count"), 'f', 2, NULL, EBADMSG, "llama.block_count is no number"},
        {REPLACE("llama.block_count"), 's', 0, "2", EBADMSG, "llama.block_count is no number"},
        {REPLACE("llama.block_count"), 'b', 1, NULL, EBADMSG, "llama.block_count is no number"},
        {REPLACE("llama.block_count"), 'u', 3, NULL, EBADMSG, "blk.2.attn_norm.weight is missing"},
        {REPLACE("llama.block_count"), 'u', 1, NULL, ENOEXEC, "blk.1.attn_norm.weight"},
        {REPLACE("llama.block_count"), 'i', 2, NULL, 0, NULL},
        {.omit = "llama.context_length", .code = EBADMSG, .says = "llama.context_length"},
        {REPLACE("llama.context_length"), 'u', 0, NULL, EBADMSG, "llama.context_length"},
        {REPLACE("llama.context_length"), 'u', (1 << 24) + 1, NULL, EBADMSG, "context_length"},
        {.omit = "llama.embedding_length", .code = EBADMSG, .says = "embedding_length"},
        {REPLACE("llama.embedding_length"), 'u', 0, NULL, EBADMSG, "embedding_length"},
        {REPLACE("llama.embedding_length"), 'u', 65537, NULL, EBADMSG, "embedding_length"},
        {REPLACE("llama.embedding_length"), 'u', 128, NULL, EBADMSG, "token_embd.weight"},
        {.omit = "llama.feed_forward_length", .code = EBADMSG, .says = "feed_forward_length"},
        {REPLACE("llama.feed_forward_length"), 'u', 0, NULL, EBADMSG, "feed_forward_length"},
        {REPLACE("llama.feed_forward_length"), 'u', 511, NULL, EBADMSG, "ffn_gate.weight"},
        {.omit = "llama.attention.head_count", .code = EBADMSG, .says = "head_count is missing"},
        {REPLACE("llama.attention.head_count"), 'u', 0, NULL, EBADMSG, "1 to 1024"},
        {REPLACE("llama.attention.head_count"), 'u', 2000, NULL, EBADMSG, "1 to 1024"},
        {REPLACE("llama.attention.head_count"), 'u', 3, NULL, EBADMSG, "evenly"},
        {REPLACE("llama.attention.head_count"), 'u', 8, NULL, EBADMSG, "attn_q.weight"},
        {REPLACE("llama.attention.head_count_kv"), 'u', 0, NULL, EBADMSG, "head_count_kv"},
        {REPLACE("llama.attention.head_count_kv"), 'u', 8, NULL, EBADMSG, "evenly"},
        {REPLACE("llama.attention.head_count_kv"), 'u', 1, NULL, EBADMSG, "attn_k.weight"},
        {.omit = "llama.attention.head_count_kv", .code = EBADMSG, .says = "attn_k.weight"},
        {.omit = "llama.attention.key_length"}, /* 256 / 4 */
        {REPLACE("llama.attention.key_length"), 'u', 0, NULL, EBADMSG, "key_length"},
        {REPLACE("llama.attention.key_length"), 'u', 63, NULL, EBADMSG, "even"},
        {REPLACE("llama.attention.key_length"), 'u', 1026, NULL, EBADMSG, "key_length"},
        {REPLACE("llama.attention.value_length"), 'u', 32, NULL, ENOEXEC, "values of 32"},
        {.omit = "llama.attention.value_length"},
        {.omit = "llama.attention.layer_norm_rms_epsilon", .code = EBADMSG, .says = "missing"},
        {REPLACE("llama.attention.layer_norm_rms_epsilon"), 'f', 0, NULL, EBADMSG, "epsilon is 0"},
        {REPLACE("llama.attention.layer_norm_rms_epsilon"), 'f', -1, NULL, EBADMSG, "is -1"},
        {REPLACE("llama.attention.layer_norm_rms_epsilon"), 'f', NAN, NULL, EBADMSG, "nan"},
        {REPLACE("llama.attention.layer_norm_rms_epsilon"), 'f', INFINITY, NULL, EBADMSG, "inf"},
        {REPLACE("llama.attention.layer_norm_rms_epsilon"), 'u', 1, NULL, EBADMSG, "floating"},
        {.omit = "llama.rope.dimension_count"},
        {REPLACE("llama.rope.dimension_count"), 'u', 32, NULL, 0, NULL},
        {REPLACE("llama.rope.dimension_count"), 'u', 0, NULL, EBADMSG, "dimension_count"},
        {REPLACE("llama.rope.dimension_count"), 'u', 31, NULL, EBADMSG, "odd"},
        {REPLACE("llama.rope.dimension_count"), 'u', 66, NULL, EBADMSG, "2 to 64"},
        {.omit = "llama.rope.freq_base"},
        {REPLACE("llama.rope.freq_base"), 'f', 0, NULL, EBADMSG, "freq_base"},
        {REPLACE("llama.rope.freq_base"), 'f', -10000, NULL, EBADMSG, "freq_base"},
        {REPLACE("llama.rope.freq_base"), 'f', NAN, NULL, EBADMSG, "freq_base"},
        {REPLACE("llama.rope.freq_base"), 'f', INFINITY, NULL, EBADMSG, "freq_base"},
        {ADD("llama.rope.scaling.type"), 's', 0, "yarn", ENOEXEC, "\"yarn\" is not supported"},
        {ADD("llama.rope.scaling.type"), 's', 0, "longrope", ENOEXEC, "longrope"},
        {ADD("llama.rope.scaling.type"), 's', 0, "linear", 0, NULL},
        {ADD("llama.rope.scaling.type"), 's', 0, "none", 0, NULL},
        {ADD("llama.rope.scaling.type"), 'u', 1, NULL, EBADMSG, "no string"},
        {ADD("llama.rope.scaling.factor"), 'f', -2, NULL, EBADMSG, "scaling.factor"},
        {ADD("llama.rope.scaling.factor"), 'f', NAN, NULL, EBADMSG, "scaling.factor"},
        {ADD("llama.rope.scaling.factor"), 'f', 1e-30, NULL, EBADMSG, "too small"},
        {ADD("llama.rope.scaling.factor"), 'f', 0, NULL, 0, NULL},
        {ADD("llama.expert_count"), 'u', 8, NULL, ENOEXEC, "experts"},
        {ADD("llama.expert_count"), 'u', 0, NULL, 0, NULL},
        {ADD("llama.expert_used_count"), 'u', 2, NULL, ENOEXEC, "experts"},
        {ADD("llama.attention.sliding_window"), 'u', 4096, NULL, ENOEXEC, "sliding window"},
        {ADD("llama.attention.causal"), 'b', 0, NULL, ENOEXEC, "causal"},
        {ADD("llama.pooling_type"), 'u', 1, NULL, ENOEXEC, "embeddings"},
        {.omit = "tokenizer.ggml.tokens", .code = EBADMSG, .says = "no vocabulary"},
        {REPLACE("tokenizer.ggml.tokens"), 'u', 5, NULL, EBADMSG, "no vocabulary"},
        {.omit = "token_embd.weight", .code = EBADMSG, .says = "token_embd.weight is missing"},
        {.omit = "output_norm.weight", .code = EBADMSG, .says = "output_norm.weight is missing"},
        {.omit = "blk.1.ffn_down.weight", .code = EBADMSG, .says = "blk.1.ffn_down.weight is mis"},
    };
    struct tiny_model tm = tiny_llama(GGUF_Q4_0);
    check_variants(&tm, variants, ARRAY_LEN(variants));
}

static void test_gemma3_variants(void **state)
{
    (void)state;
    static const struct variant variants[] = {
        {REPLACE("gemma3.attention.sliding_window"), 'u', (1 << 24) + 1, NULL, EBADMSG, "window"},
        {ADD("gemma3.attention.sliding_window_pattern"), 'u', 0, NULL, EBADMSG, "pattern"},
        {ADD("gemma3.attention.sliding_window_pattern"), 's', 0, "x", EBADMSG, "pattern"},
        {ADD("gemma3.rope.freq_base_swa"), 'f', 0, NULL, EBADMSG, "freq_base_swa"},
        {ADD("gemma3.final_logit_softcapping"), 'f', -30, NULL, EBADMSG, "softcapping"},
        {ADD("gemma3.final_logit_softcapping"), 'f', NAN, NULL, EBADMSG, "softcapping"},
        {.omit = "blk.3.attn_q_norm.weight", .code = EBADMSG, .says = "missing"},
        {.omit = "blk.0.post_ffw_norm.weight", .code = EBADMSG, .says = "missing"},
    };
    struct tiny_model tm = tiny_gemma3(GGUF_Q4_0);
    check_variants(&tm, variants, ARRAY_LEN(variants));
}

/* The same with the numbers that come of it. */
static void test_rope_scaling(void **state)
{
    (void)state;
    static const struct {
        struct variant v;
        float scale;
    } cases[] = {
        {{ADD("llama.rope.scaling.factor"), 'f', 4, NULL, 0, NULL}, 0.25f},
        {{ADD("llama.rope.scale_linear"), 'f', 2, NULL, 0, NULL}, 0.5f},
        {{ADD("llama.rope.scaling.factor"), 'f', 0, NULL, 0, NULL}, 1},
        {{.omit = NULL}, 1},
    };
    struct tiny_model tm = tiny_llama(GGUF_F32);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP_LOADED struct loaded l = load_variant(&tm, &cases[i].v);
        assert_non_null(l.model);
        assert_true(l.model->hp.rope_scale == cases[i].scale);
        assert_true(l.model->hp.rope_base == 10000);
    }
}

static void test_gemma3_numbers(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_gemma3(GGUF_F32);
    struct variant none = {0}, pattern = {ADD("gemma3.attention.sliding_window_pattern"), 'u', 3},
                   cap = {ADD("gemma3.final_logit_softcapping"), 'f', 30},
                   base = {.omit = "gemma3.rope.freq_base"};
    CLEANUP_LOADED struct loaded a = load_variant(&tm, &none);
    assert_int_equal(a.model->hp.window, 16);
    assert_int_equal(a.model->hp.window_period, 6);
    assert_true(a.model->hp.rope_base_local == 10000);
    CLEANUP_LOADED struct loaded b = load_variant(&tm, &pattern);
    assert_int_equal(b.model->hp.window_period, 3);
    CLEANUP_LOADED struct loaded c = load_variant(&tm, &cap);
    assert_true(c.model->hp.logit_softcap == 30);
    CLEANUP_LOADED struct loaded d = load_variant(&tm, &base);
    assert_true(d.model->hp.rope_base == 1000000);
    tm.window = 0;
    CLEANUP_LOADED struct loaded w = load_variant(&tm, &none);
    assert_int_equal(w.model->hp.window_period, 0);
    /* 62 layers: the 27B, whose scale is 1 / sqrt(n_embd / n_heads) whatever its head_dim */
    tm.n_layers = 62;
    tm.type = GGUF_Q4_0;
    tm.n_embd = 128;
    tm.n_ff = 32;
    tm.head_dim = 16;
    CLEANUP_LOADED struct loaded big = load_variant(&tm, &none);
    assert_non_null(big.model);
    assert_float_equal(big.model->hp.attention_scale, 1 / sqrt(128. / 4), 1e-7);
}

static void test_counts_by_layer(void **state)
{
    (void)state;
    static const struct {
        int32_t counts[3];
        size_t n;
        int code;
    } cases[] = {
        {{4, 4}, 2, 0},         {{4, 2}, 2, ENOEXEC}, {{4, 4, 4}, 3, EBADMSG}, {{4}, 1, EBADMSG},
        {{-4, -4}, 2, EBADMSG}, {{0, 0}, 2, EBADMSG}, {{0}, 0, EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP_GGUF_BUILD struct gguf_build b;
        CLEANUP_BUF struct buf file = {0};
        struct tiny_model tm = tiny_llama(GGUF_Q4_0);
        const char *key = "llama.attention.head_count";
        gguf_build_init(&b);
        gguf_build_i32s(&b, key, cases[i].counts, cases[i].n);
        b.omit = key;
        tiny_model_build(&tm, &b);
        gguf_build_end(&b, &file);
        CLEANUP_LOADED struct loaded l = load_model(gguf_build_fd(file.data, file.len));
        assert_int_equal(l.e.code, cases[i].code);
        assert_int_equal(l.model == NULL, cases[i].code != 0);
    }
}

static void test_optional_tensors(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_llama(GGUF_Q5_0);
    tm.tied = false;
    tm.biases = true;
    tm.rope_freqs = true;
    tm.more_rows = 13;
    CLEANUP_LOADED struct loaded l = load_tiny(&tm);
    assert_string_equal(l.model->quantization, "Q5_0");
    assert_ptr_not_equal(l.model->output, l.model->token_embd);
    assert_int_equal(l.model->output->ne[1], l.model->hp.n_vocab + 13);
    assert_int_equal(l.model->layers[1].attn_k_bias->ne[0], 128);
    assert_int_equal(l.model->rope_freqs->ne[0], 32);
    tm.arch = MODEL_GEMMA3; /* which has none of these */
    CLEANUP_LOADED struct loaded g = load_model(tiny_model_fd(&tm));
    assert_null(g.model);
}

/* One more tensor, of a name, type and shape. */
static int load_with_tensor(const char *name, uint32_t type, uint64_t cols, uint64_t rows)
{
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    struct tiny_model tm = tiny_llama(GGUF_Q4_0);
    gguf_build_init(&b);
    gguf_build_tensor(&b, name, type, 2, (uint64_t[]){cols, rows});
    b.omit = name;
    tiny_model_build(&tm, &b);
    gguf_build_end(&b, &file);
    CLEANUP_LOADED struct loaded l = load_model(gguf_build_fd(file.data, file.len));
    return l.e.code;
}

static void test_shapes_and_types(void **state)
{
    (void)state;
    assert_int_equal(load_with_tensor("blk.0.ffn_norm.weight", GGUF_F32, 256, 1), 0);
    assert_int_equal(load_with_tensor("blk.0.ffn_norm.weight", GGUF_F16, 256, 1), ENOEXEC);
    assert_int_equal(load_with_tensor("blk.0.ffn_norm.weight", GGUF_Q8_0, 256, 1), ENOEXEC);
    assert_int_equal(load_with_tensor("blk.0.ffn_norm.weight", GGUF_F32, 128, 2), EBADMSG);
    assert_int_equal(load_with_tensor("blk.0.ffn_up.weight", GGUF_Q6_K, 256, 512), 0);
    assert_int_equal(load_with_tensor("blk.0.ffn_up.weight", GGUF_Q6_K, 512, 256), EBADMSG);
    assert_int_equal(load_with_tensor("blk.0.ffn_up.weight", GGUF_F64, 256, 512), ENOEXEC);
    assert_int_equal(load_with_tensor("blk.0.ffn_up.bias", GGUF_F32, 512, 1), ENOEXEC);
    assert_int_equal(load_with_tensor("token_embd.weight", GGUF_F16, 256, 266), EBADMSG);
    assert_int_equal(load_with_tensor("token_embd.weight", GGUF_F16, 256, 300), 0);
    assert_int_equal(load_with_tensor("output.weight", GGUF_F16, 256, 266), EBADMSG);
    assert_int_equal(load_with_tensor("rope_freqs.weight", GGUF_F32, 32, 1), 0);
    assert_int_equal(load_with_tensor("rope_freqs.weight", GGUF_F32, 33, 1), EBADMSG);
}

static void test_quantization_name(void **state)
{
    (void)state;
    struct tiny_model tm = tiny_llama(GGUF_Q6_K);
    struct variant named = {ADD("general.file_type"), 'u', 15},
                   odd = {ADD("general.file_type"), 'u', 6};
    CLEANUP_LOADED struct loaded l = load_variant(&tm, &named);
    assert_string_equal(l.model->quantization, "Q4_K_M");
    CLEANUP_LOADED struct loaded m = load_variant(&tm, &odd);
    assert_string_equal(m.model->quantization, "Q6_K");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),       cmocka_unit_test(test_no_weights),
        cmocka_unit_test(test_llama_variants),   cmocka_unit_test(test_gemma3_variants),
        cmocka_unit_test(test_rope_scaling),     cmocka_unit_test(test_gemma3_numbers),
        cmocka_unit_test(test_counts_by_layer),  cmocka_unit_test(test_optional_tensors),
        cmocka_unit_test(test_shapes_and_types), cmocka_unit_test(test_quantization_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
