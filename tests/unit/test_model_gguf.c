/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of the two real models, as another program (gguf-dump of llama.cpp) shows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"
#include "tests/lib/real_model.h"

static void assert_str(struct gguf_str s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

struct opened {
    int fd;
    struct vfile *file;
    struct gguf *gguf;
    struct model *model;
};

static struct opened open_real(const char *name)
{
    struct err e = {0};
    struct opened o = {.fd = real_model_open(name)};
    assert_true(o.fd >= 0);
    o.file = vfile_from_fd(o.fd, &e);
    o.gguf = o.file ? gguf_read(o.file, &e) : NULL;
    o.model = o.gguf ? model_read(o.gguf, &e) : NULL;
    if (!o.model)
        print_error("%s: %s\n", name, e.text);
    assert_non_null(o.model);
    return o;
}

static void close_real(struct opened *o)
{
    model_free(o->model);
    gguf_free(o->gguf);
    vfile_free(o->file);
    close(o->fd);
}

static void test_smollm2(void **state)
{
    (void)state;
    struct opened o = open_real(REAL_MODEL_SMOLLM2);
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
    close_real(&o);
}

static void test_gemma3(void **state)
{
    (void)state;
    struct opened o = open_real(REAL_MODEL_GEMMA3);
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
    close_real(&o);
}

/* Values as they were seen in the file; the last token shows that the table of strings is right to
 * its end. */
static void test_metadata(void **state)
{
    (void)state;
    struct opened o = open_real(REAL_MODEL_SMOLLM2);
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
    close_real(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
