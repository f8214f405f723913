/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of the two real models, as another program shows them, and of files of our own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/gguf_internal.h"
#include "tests/lib/load_model.h"
#include "tests/lib/real_model.h"
#include "tests/lib/tiny_model.h"

static void assert_str(struct gguf_str s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

static struct loaded open_real(const char *name)
{
    int fd = real_model_open(name);
    assert_true(fd >= 0);
    struct loaded l = load_model(fd);
    if (!l.model)
        print_error("%s: %s\n", name, l.e.text);
    assert_non_null(l.model);
    return l;
}

static void test_smollm2(void **state)
{
    (void)state;
    CLEANUP_LOADED struct loaded o = open_real(REAL_MODEL_SMOLLM2);
    const struct model_hparams *hp = &o.model->hp;
    assert_int_equal(hp->arch, MODEL_LLAMA);
    assert_int_equal(hp->n_layers, 30);
    assert_int_equal(hp->n_embd, 576);
    assert_int_equal(hp->n_heads, 9);
    assert_int_equal(hp->n_kv_heads, 3);
    assert_int_equal(hp->head_dim, 64);
    assert_int_equal(hp->n_ff, 1536);
    assert_int_equal(hp->n_vocab, 49152);
    assert_int_equal(hp->context, 8192);
    assert_float_equal(hp->rms_eps, 1e-5, 1e-9);
    assert_int_equal(hp->rope_dims, 64);
    assert_false(hp->rope_neox);
    assert_float_equal(hp->rope_base, 100000, 0);
    assert_float_equal(hp->rope_scale, 1, 0);
    assert_int_equal(hp->window, 0);
    assert_int_equal(hp->window_period, 0);
    assert_float_equal(hp->attention_scale, 0.125, 0);
    assert_float_equal(hp->embedding_scale, 1, 0);
    assert_ptr_equal(o.model->output, o.model->token_embd);
    assert_null(o.model->rope_freqs);
    assert_null(o.model->layers[0].attn_q_norm);
    assert_string_equal(o.model->quantization, "Q4_1");
    assert_int_equal(o.model->n_params, 134515008);
    assert_int_equal(o.model->weights_bytes, 98362432 - 1785664);
    assert_int_equal(o.model->kv_per_token, 30 * 2 * 3 * 64 * 2);

    assert_int_equal(gguf_n_tensors(o.gguf), 272);
    const struct gguf_tensor *t = gguf_find_tensor(o.gguf, "blk.1.attn_k.weight");
    assert_ptr_equal(t, o.model->layers[1].attn_k);
    assert_int_equal(t->type, GGUF_Q4_1);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->ne[0], 576);
    assert_int_equal(t->ne[1], 192);
    assert_int_equal(t->offset, 1785664 + 33960960);
    assert_int_equal(t->bytes, 576 / 32 * 20 * 192);
}

static void test_gemma3(void **state)
{
    (void)state;
    CLEANUP_LOADED struct loaded o = open_real(REAL_MODEL_GEMMA3);
    const struct model_hparams *hp = &o.model->hp;
    assert_int_equal(hp->arch, MODEL_GEMMA3);
    assert_int_equal(hp->n_layers, 18);
    assert_int_equal(hp->n_embd, 640);
    assert_int_equal(hp->n_heads, 4);
    assert_int_equal(hp->n_kv_heads, 1);
    assert_int_equal(hp->head_dim, 256);
    assert_int_equal(hp->n_ff, 2048);
    assert_int_equal(hp->n_vocab, 262144);
    assert_int_equal(hp->context, 32768);
    assert_int_equal(hp->rope_dims, 256);
    assert_true(hp->rope_neox);
    assert_float_equal(hp->rope_base, 1000000, 0);
    assert_float_equal(hp->rope_base_local, 10000, 0);
    assert_int_equal(hp->window, 512);
    assert_int_equal(hp->window_period, 6);
    assert_float_equal(hp->attention_scale, 0.0625, 0);
    assert_float_equal(hp->embedding_scale, 25.298221281347036, 1e-5);
    assert_float_equal(hp->logit_softcap, 0, 0);
    assert_ptr_equal(o.model->output, o.model->token_embd);
    assert_int_equal(o.model->layers[17].attn_q_norm->ne[0], 256);
    assert_string_equal(o.model->quantization, "Q4_K_M");
    assert_int_equal(o.model->token_embd->type, GGUF_Q8_0);
    assert_int_equal(o.model->kv_per_token, 18 * 2 * 256 * 2);
}

/* Values as they were seen in the file; the last token shows that the table of strings is right to
 * its end. */
static void test_metadata(void **state)
{
    (void)state;
    CLEANUP_LOADED struct loaded o = open_real(REAL_MODEL_SMOLLM2);
    struct gguf_str s;
    size_t n;
    uint64_t u;
    double d;
    bool b;
    assert_true(gguf_get_str(o.gguf, "tokenizer.ggml.pre", &s));
    assert_str(s, "smollm");
    assert_false(gguf_get_u64(o.gguf, "tokenizer.ggml.pre", &u));
    assert_false(gguf_get_str(o.gguf, "tokenizer.ggml.no_such_key", &s));
    assert_true(gguf_get_u64(o.gguf, "tokenizer.ggml.eos_token_id", &u));
    assert_int_equal(u, 2);
    assert_true(gguf_get_bool(o.gguf, "tokenizer.ggml.add_bos_token", &b));
    assert_false(b);
    assert_true(gguf_get_f64(o.gguf, "llama.rope.freq_base", &d));
    assert_float_equal(d, 100000, 0);

    const struct gguf_array *a = gguf_get_array(o.gguf, "tokenizer.ggml.tokens", GGUF_KIND_STR, &n);
    assert_non_null(a);
    assert_int_equal(n, 49152);
    assert_str(gguf_array_str(a, 0), "<|endoftext|>");
    assert_str(gguf_array_str(a, 2), "<|im_end|>");
    assert_null(gguf_get_array(o.gguf, "tokenizer.ggml.tokens", GGUF_KIND_INT, &n));
    a = gguf_get_array(o.gguf, "tokenizer.ggml.merges", GGUF_KIND_STR, &n);
    assert_int_equal(n, 48900);
    assert_str(gguf_array_str(a, 0), "Ġ t");
    a = gguf_get_array(o.gguf, "tokenizer.ggml.token_type", GGUF_KIND_INT, &n);
    assert_int_equal(gguf_array_int(a, 0), 3);
}

/* --- files of our own --- */

static struct loaded load_built(struct gguf_build *b)
{
    CLEANUP_BUF struct buf file = {0};
    gguf_build_end(b, &file);
    struct loaded l = load_model(gguf_build_fd(file.data, file.len));
    if (!l.gguf)
        print_error("%s\n", l.e.text);
    assert_non_null(l.gguf);
    return l;
}

static void test_every_value(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t type;
        const char *bytes;
        bool is_u64;
        uint64_t u;
        bool is_f64;
        double f;
    } values[] = {
        {"u8", GGUF_VALUE_U8, "\xff", true, 255, false, 0},
        {"i8", GGUF_VALUE_I8, "\x7f", true, 127, false, 0},
        {"i8-", GGUF_VALUE_I8, "\xff", false, 0, false, 0},
        {"u16", GGUF_VALUE_U16, "\xfe\xff", true, 65534, false, 0},
        {"i16", GGUF_VALUE_I16, "\xff\x7f", true, 32767, false, 0},
        {"i16-", GGUF_VALUE_I16, "\xff\xff", false, 0, false, 0},
        {"u32", GGUF_VALUE_U32, "\xff\xff\xff\xff", true, 4294967295, false, 0},
        {"i32", GGUF_VALUE_I32, "\x01\x00\x00\x7f", true, 0x7f000001, false, 0},
        {"i32-", GGUF_VALUE_I32, "\xff\xff\xff\xff", false, 0, false, 0},
        {"u64", GGUF_VALUE_U64, "\xff\xff\xff\xff\xff\xff\xff\xff", true, UINT64_MAX, false, 0},
        {"i64", GGUF_VALUE_I64, "\xff\xff\xff\xff\xff\xff\xff\x7f", true, INT64_MAX, false, 0},
        {"i64-", GGUF_VALUE_I64, "\x00\x00\x00\x00\x00\x00\x00\x80", false, 0, false, 0},
        {"f32", GGUF_VALUE_F32, "\x00\x00\xc0\x3f", false, 0, true, 1.5},
        {"f64", GGUF_VALUE_F64, "\x00\x00\x00\x00\x00\x00\x04\xc0", false, 0, true, -2.5},
        {"bool", GGUF_VALUE_BOOL, "\x01", false, 0, false, 0},
    };
    CLEANUP_GGUF_BUILD struct gguf_build b;
    gguf_build_init(&b);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        gguf_build_raw(&b, values[i].key, values[i].type, values[i].bytes,
                       gguf_value_size(values[i].type));
    CLEANUP_LOADED struct loaded l = load_built(&b);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        uint64_t u = 0;
        double f = 0;
        bool is_true = false;
        struct gguf_str s;
        assert_true(gguf_has(l.gguf, values[i].key));
        assert_int_equal(gguf_get_u64(l.gguf, values[i].key, &u), values[i].is_u64);
        assert_true(u == values[i].u);
        assert_int_equal(gguf_get_f64(l.gguf, values[i].key, &f), values[i].is_f64);
        assert_true(f == values[i].f);
        assert_int_equal(gguf_get_bool(l.gguf, values[i].key, &is_true),
                         values[i].type == GGUF_VALUE_BOOL);
        assert_int_equal(is_true, values[i].type == GGUF_VALUE_BOOL);
        assert_false(gguf_get_str(l.gguf, values[i].key, &s));
    }
}

static void test_arrays(void **state)
{
    (void)state;
    enum { N = 1000 };
    static char texts[N][40];
    const char *strs[N];
    int32_t ints[N];
    float floats[N];
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%.*s%d", i % 30, "..............................", i);
        strs[i] = i % 7 == 0 ? "" : texts[i];
        ints[i] = 500 - i;
        floats[i] = (float)i / 4;
    }
    CLEANUP_GGUF_BUILD struct gguf_build b;
    gguf_build_init(&b);
    gguf_build_strs(&b, "few", strs, 3);
    gguf_build_strs(&b, "many", strs, N);
    gguf_build_strs(&b, "none", strs, 0);
    gguf_build_i32s(&b, "ints", ints, N);
    gguf_build_f32s(&b, "floats", floats, N);
    gguf_build_raw(&b, "u64s", GGUF_VALUE_ARRAY,
                   "\x0a\0\0\0\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 20);
    CLEANUP_LOADED struct loaded l = load_built(&b);
    size_t n;
    const struct gguf_array *few = gguf_get_array(l.gguf, "few", GGUF_KIND_STR, &n);
    assert_int_equal(n, 3);
    assert_str(gguf_array_str(few, 2), strs[2]);
    const struct gguf_array *many = gguf_get_array(l.gguf, "many", GGUF_KIND_STR, &n);
    const struct gguf_array *is = gguf_get_array(l.gguf, "ints", GGUF_KIND_INT, &n);
    const struct gguf_array *fs = gguf_get_array(l.gguf, "floats", GGUF_KIND_FLOAT, &n);
    assert_int_equal(n, N);
    for (int i = N - 1; i >= 0; i--) {
        assert_str(gguf_array_str(many, (size_t)i), strs[i]);
        assert_int_equal(gguf_array_int(is, (size_t)i), ints[i]);
        assert_true(gguf_array_float(fs, (size_t)i) == (double)floats[i]);
    }
    assert_non_null(gguf_get_array(l.gguf, "none", GGUF_KIND_STR, &n));
    assert_int_equal(n, 0);
    /* what does not fit into the int64_t that gguf_array_int() gives is no array of integers */
    assert_null(gguf_get_array(l.gguf, "u64s", GGUF_KIND_INT, &n));
    assert_null(gguf_get_array(l.gguf, "ints", GGUF_KIND_BOOL, &n));
}

static void test_version_2_and_alignment(void **state)
{
    (void)state;
    CLEANUP_GGUF_BUILD struct gguf_build b;
    gguf_build_init(&b);
    b.version = 2;
    b.alignment = 4096;
    gguf_build_u32(&b, "general.alignment", 4096);
    gguf_build_tensor(&b, "first", GGUF_Q8_0, 2, (uint64_t[]){32, 3});
    gguf_build_tensor(&b, "second", GGUF_F32, 4, (uint64_t[]){2, 3, 4, 5});
    CLEANUP_LOADED struct loaded l = load_built(&b);
    const struct gguf_tensor *t = gguf_find_tensor(l.gguf, "second");
    assert_ptr_equal(t, gguf_tensor(l.gguf, 1));
    assert_int_equal(t->offset, 8192);
    assert_int_equal(t->bytes, 480);
    assert_int_equal(t->n_dims, 4);
    assert_int_equal(gguf_tensor(l.gguf, 0)->bytes, 3 * 34);
    assert_null(gguf_find_tensor(l.gguf, "third"));
    assert_null(l.model);
    assert_int_equal(l.e.code, EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_version_2_and_alignment),
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
