/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hyperparameters, from the metadata keys "llama.block_count" and so on. A key that is there must
 * have the right type and be in range; one that may be absent has the default that llama.cpp gives
 * it. What would make the forward pass a different one (experts, YaRN, a window where the
 * architecture has none) is refused, never overlooked.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "model/gguf_internal.h"
#include "model/model_internal.h"

#define KEY_LEN 96

struct keys {
    const struct gguf *g;
    const char *prefix; /* the architecture's name */
    uint32_t n_layers;  /* once it is known: the length of arrays with a value for each layer */
    struct err *e;
};

static const char *make_key(const struct keys *k, const char *name, char out[KEY_LEN])
{
    snprintf(out, KEY_LEN, "%s.%s", k->prefix, name);
    return out;
}

static int bad_range(const struct keys *k, const char *key, int64_t v, uint64_t min, uint64_t max)
{
    return err_set(k->e, EBADMSG, "%s is %" PRId64 ", %" PRIu64 " to %" PRIu64 " are allowed", key,
                   v, min, max);
}

/* An array with one number for each layer, which must all be the same. */
static int get_per_layer(const struct keys *k, const char *key, uint64_t *v)
{
    size_t n;
    const struct gguf_array *a = gguf_get_array(k->g, key, GGUF_KIND_INT, &n);
    if (!a)
        return err_set(k->e, EBADMSG, "%s is no number", key);
    if (n == 0 || n != k->n_layers)
        return err_set(k->e, EBADMSG, "%s has %zu numbers for %" PRIu32 " layers", key, n,
                       k->n_layers);
    for (size_t i = 0; i < n; i++)
        if (gguf_array_int(a, i) != gguf_array_int(a, 0))
            return err_set(k->e, ENOEXEC, "%s differs between the layers, which is not supported",
                           key);
    if (gguf_array_int(a, 0) < 0)
        return err_set(k->e, EBADMSG, "%s is negative", key);
    *v = (uint64_t)gguf_array_int(a, 0);
    return 0;
}

/* A count from min to max; absent, it is *out as it stands, or an error if that is 0 and `min` is
 * not. */
static int get_u32(const struct keys *k, const char *name, uint32_t min, uint32_t max,
                   uint32_t *out)
{
    char key[KEY_LEN];
    uint64_t v;
    make_key(k, name, key);
    if (!gguf_has(k->g, key)) {
        if (*out < min)
            return err_set(k->e, EBADMSG, "%s is missing", key);
        return 0;
    }
    if (!gguf_get_u64(k->g, key, &v) && get_per_layer(k, key, &v) < 0)
        return -1;
    if (v < min || v > max)
        return bad_range(k, key, v > INT64_MAX ? INT64_MAX : (int64_t)v, min, max);
    *out = (uint32_t)v;
    return 0;
}

/* A finite number from min to max; absent, it is *out as it stands. */
static int get_f32(const struct keys *k, const char *name, double min, double max, float *out)
{
    char key[KEY_LEN];
    double v;
    make_key(k, name, key);
    if (!gguf_has(k->g, key))
        return 0;
    if (!gguf_get_f64(k->g, key, &v))
        return err_set(k->e, EBADMSG, "%s is no floating-point number", key);
    if (!(v >= min && v <= max)) /* also refuses NaN */
        return err_set(k->e, EBADMSG, "%s is %g, %g to %g are allowed", key, v, min, max);
    *out = (float)v;
    return 0;
}

/* Refuses a feature that is switched on by a number other than 0. */
static int refuse(const struct keys *k, const char *name, const char *what)
{
    char key[KEY_LEN];
    uint64_t u = 0;
    double f = 0;
    make_key(k, name, key);
    if (!gguf_has(k->g, key))
        return 0;
    if ((gguf_get_u64(k->g, key, &u) && u == 0) || (gguf_get_f64(k->g, key, &f) && f == 0))
        return 0;
    return err_set(k->e, ENOEXEC, "%s: %s not supported", key, what);
}

/* --- what every architecture has --- */

static int read_sizes(const struct keys *k, struct model_hparams *hp)
{
    if (get_u32(k, "context_length", 1, MODEL_CONTEXT_MAX, &hp->context) < 0 ||
        get_u32(k, "embedding_length", 1, MODEL_EMBD_MAX, &hp->n_embd) < 0 ||
        get_u32(k, "feed_forward_length", 1, MODEL_FF_MAX, &hp->n_ff) < 0 ||
        get_u32(k, "attention.head_count", 1, MODEL_HEADS_MAX, &hp->n_heads) < 0)
        return -1;
    hp->n_kv_heads = hp->n_heads;
    if (get_u32(k, "attention.head_count_kv", 1, MODEL_HEADS_MAX, &hp->n_kv_heads) < 0)
        return -1;
    if (hp->n_heads % hp->n_kv_heads != 0)
        return err_set(k->e, EBADMSG,
                       "%" PRIu32 " attention heads cannot share %" PRIu32
                       " key-value heads evenly",
                       hp->n_heads, hp->n_kv_heads);
    return 0;
}

static int read_head_dim(const struct keys *k, struct model_hparams *hp)
{
    uint32_t value_dim;
    char key[KEY_LEN];
    if (!gguf_has(k->g, make_key(k, "attention.key_length", key))) {
        if (hp->n_embd % hp->n_heads != 0)
            return err_set(k->e, EBADMSG,
                           "%" PRIu32 " attention heads do not divide an embedding of %" PRIu32,
                           hp->n_heads, hp->n_embd);
        hp->head_dim = hp->n_embd / hp->n_heads;
    }
    if (get_u32(k, "attention.key_length", 2, MODEL_HEAD_DIM_MAX, &hp->head_dim) < 0)
        return -1;
    if (hp->head_dim % 2 != 0 || hp->head_dim > MODEL_HEAD_DIM_MAX)
        return err_set(k->e, EBADMSG, "heads of %" PRIu32 " are not even, or above %d",
                       hp->head_dim, MODEL_HEAD_DIM_MAX);
    value_dim = hp->head_dim;
    if (get_u32(k, "attention.value_length", 2, MODEL_HEAD_DIM_MAX, &value_dim) < 0)
        return -1;
    if (value_dim != hp->head_dim)
        return err_set(k->e, ENOEXEC,
                       "values of %" PRIu32 " beside keys of %" PRIu32 " are not supported",
                       value_dim, hp->head_dim);
    return 0;
}

/* "linear" divides positions by a factor; YaRN and the like are other formulas. */
static int read_rope_scaling(const struct keys *k, struct model_hparams *hp)
{
    char key[KEY_LEN], show[GGUF_SHOW_MAX];
    struct gguf_str type;
    bool linear = true;
    make_key(k, "rope.scaling.type", key);
    if (gguf_get_str(k->g, key, &type)) {
        linear = type.len == 6 && memcmp(type.data, "linear", 6) == 0;
        if (!linear && !(type.len == 4 && memcmp(type.data, "none", 4) == 0))
            return err_set(k->e, ENOEXEC, "%s: \"%s\" is not supported", key,
                           gguf_show(type, show));
    } else if (gguf_has(k->g, key)) {
        return err_set(k->e, EBADMSG, "%s is no string", key);
    }
    float factor = 0; /* 0 stands for none, as in llama.cpp */
    if (get_f32(k, "rope.scale_linear", 0, MODEL_ROPE_FACTOR_MAX, &factor) < 0 ||
        get_f32(k, "rope.scaling.factor", 0, MODEL_ROPE_FACTOR_MAX, &factor) < 0)
        return -1;
    hp->rope_scale = linear && factor > 0 ? 1 / factor : 1;
    if (!isfinite(hp->rope_scale) || hp->rope_scale > MODEL_ROPE_FACTOR_MAX)
        return err_set(k->e, EBADMSG, "a RoPE scaling factor of %g is too small", (double)factor);
    return 0;
}

static int read_rope(const struct keys *k, struct model_hparams *hp)
{
    if (get_f32(k, "rope.freq_base", 1, MODEL_ROPE_BASE_MAX, &hp->rope_base) < 0 ||
        read_rope_scaling(k, hp) < 0)
        return -1;
    hp->rope_dims = hp->head_dim;
    if (get_u32(k, "rope.dimension_count", 2, hp->head_dim, &hp->rope_dims) < 0)
        return -1;
    if (hp->rope_dims % 2 != 0)
        return err_set(k->e, EBADMSG, "%s.rope.dimension_count is %" PRIu32 ", an odd number",
                       k->prefix, hp->rope_dims);
    return 0;
}

static int read_norm(const struct keys *k, struct model_hparams *hp)
{
    char key[KEY_LEN];
    if (!gguf_has(k->g, make_key(k, "attention.layer_norm_rms_epsilon", key)))
        return err_set(k->e, EBADMSG, "%s is missing", key);
    return get_f32(k, "attention.layer_norm_rms_epsilon", 1e-20, 1, &hp->rms_eps);
}

static int read_vocab(const struct keys *k, struct model_hparams *hp)
{
    size_t n;
    if (!gguf_get_array(k->g, "tokenizer.ggml.tokens", GGUF_KIND_STR, &n))
        return err_set(k->e, EBADMSG,
                       "tokenizer.ggml.tokens is missing or no array of strings: the model has no "
                       "vocabulary");
    if (n == 0 || n > MODEL_VOCAB_MAX)
        return bad_range(k, "the number of tokens", (int64_t)n, 1, MODEL_VOCAB_MAX);
    hp->n_vocab = (uint32_t)n;
    return 0;
}

static int refuse_features(const struct keys *k)
{
    bool causal;
    char key[KEY_LEN];
    if (gguf_get_bool(k->g, make_key(k, "attention.causal", key), &causal) && !causal)
        return err_set(k->e, ENOEXEC, "%s is false: models that write no text are not supported",
                       key);
    if (refuse(k, "expert_count", "mixtures of experts are") < 0 ||
        refuse(k, "expert_used_count", "mixtures of experts are") < 0 ||
        refuse(k, "pooling_type", "models of embeddings are") < 0)
        return -1;
    return 0;
}

/* --- what is one architecture's own --- */

static int read_llama(const struct keys *k, struct model_hparams *hp)
{
    hp->rope_neox = false; /* the converter permutes Q and K so that pairs are adjacent */
    hp->rope_base = 10000;
    if (refuse(k, "attention.sliding_window", "a sliding window is") < 0 || read_rope(k, hp) < 0)
        return -1;
    hp->rope_base_local = hp->rope_base;
    hp->attention_scale = 1 / sqrtf((float)hp->head_dim);
    hp->embedding_scale = 1;
    return 0;
}

/* The constants are Gemma 3's own; files hold some of them since 2026 only. */
static int read_gemma3(const struct keys *k, struct model_hparams *hp)
{
    hp->rope_neox = true;
    hp->rope_base = 1000000;
    hp->rope_base_local = 10000;
    hp->window_period = 6;
    if (read_rope(k, hp) < 0 ||
        get_f32(k, "rope.freq_base_swa", 1, MODEL_ROPE_BASE_MAX, &hp->rope_base_local) < 0 ||
        get_u32(k, "attention.sliding_window", 0, MODEL_CONTEXT_MAX, &hp->window) < 0 ||
        get_u32(k, "attention.sliding_window_pattern", 1, MODEL_LAYERS_MAX, &hp->window_period) <
            0 ||
        get_f32(k, "attn_logit_softcapping", 0, MODEL_SOFTCAP_MAX, &hp->attention_softcap) < 0 ||
        get_f32(k, "final_logit_softcapping", 0, MODEL_SOFTCAP_MAX, &hp->logit_softcap) < 0)
        return -1;
    if (hp->window == 0)
        hp->window_period = 0;
    bool is_27b = hp->n_layers == 62; /* the one size whose scale is of n_embd / n_heads = 168 */
    hp->attention_scale =
        1 / sqrtf((float)(is_27b ? MAX(hp->n_embd / hp->n_heads, 1) : hp->head_dim));
    hp->embedding_scale = sqrtf((float)hp->n_embd);
    return 0;
}

static int read_arch(const struct gguf *g, enum model_arch *arch, struct err *e)
{
    struct gguf_str name;
    char show[GGUF_SHOW_MAX];
    uint64_t n_files;
    if (!gguf_get_str(g, "general.architecture", &name))
        return err_set(e, EBADMSG, "general.architecture is missing or no string");
    if (gguf_get_u64(g, "split.count", &n_files) && n_files > 1)
        return err_set(e, ENOEXEC, "split.count is %" PRIu64 ": split files are not supported",
                       n_files);
    static const enum model_arch known[] = {MODEL_LLAMA, MODEL_GEMMA3};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        const char *is = model_arch_name(known[i]);
        if (name.len == strlen(is) && memcmp(name.data, is, name.len) == 0) {
            *arch = known[i];
            break;
        }
        if (i + 1 == ARRAY_LEN(known))
            return err_set(e, ENOEXEC, "the architecture \"%s\" is not supported",
                           gguf_show(name, show));
    }
    if (gguf_get_str(g, "general.type", &name) &&
        !(name.len == 5 && memcmp(name.data, "model", 5) == 0))
        return err_set(e, ENOEXEC, "general.type is \"%s\", not \"model\"", gguf_show(name, show));
    return 0;
}

int model_read_hparams(struct model *m, const struct gguf *g, struct err *e)
{
    struct model_hparams *hp = &m->hp;
    if (read_arch(g, &hp->arch, e) < 0)
        return -1;
    struct keys k = {.g = g, .prefix = model_arch_name(hp->arch), .e = e};
    if (refuse_features(&k) < 0 ||
        get_u32(&k, "block_count", 1, MODEL_LAYERS_MAX, &hp->n_layers) < 0)
        return -1;
    k.n_layers = hp->n_layers;
    if (read_sizes(&k, hp) < 0 || read_head_dim(&k, hp) < 0 || read_norm(&k, hp) < 0 ||
        read_vocab(&k, hp) < 0)
        return -1;
    switch (hp->arch) {
    case MODEL_LLAMA:
        return read_llama(&k, hp);
    case MODEL_GEMMA3:
        return read_gemma3(&k, hp);
    }
    return -1;
}
