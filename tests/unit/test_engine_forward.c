/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward passes against an oracle: the equations written down once more, in double, one position after the other, from
 * the tensors of the file itself. The file holds floats, so what differs is rounding: the engine's floats and its f16 cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/rig.h"
#include "tests/lib/tiny_model.h"

#define N_TOKENS 70 /* more than a page, more than gemma's window */

/* --- the oracle --- */

struct oracle {
    const struct rig *r;
    const struct model_hparams *hp;
    double *keys; /* of one layer at a time: [position][kv head][dim] */
    double *values;
};

/* A tensor of floats, by its name in the file; the caller frees it. NULL if the file has none. */
static double *tensor(const struct oracle *o, const char *name)
{
    const struct gguf_tensor *t = gguf_find_tensor(o->r->g, name);
    if (!t)
        return NULL;
    assert_int_equal(t->type, GGUF_F32);
    size_t n = t->bytes / sizeof(float);
    CLEANUP_FREE float *raw = xmalloc(t->bytes);
    assert_int_equal(vfile_read(o->r->f, raw, t->bytes, t->offset, NULL), 0);
    double *v = xcalloc(n, sizeof(*v));
    for (size_t i = 0; i < n; i++)
        v[i] = raw[i];
    return v;
}

static double *layer_tensor(const struct oracle *o, uint32_t layer, const char *what)
{
    char name[128];
    snprintf(name, sizeof(name), "blk.%u.%s", layer, what);
    return tensor(o, name);
}

/* y[rows] = W x (+ bias) */
static void linear(const struct oracle *o, uint32_t layer, const char *what, const double *x,
                   size_t cols, double *y, size_t rows)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.weight", what);
    CLEANUP_FREE double *w = layer_tensor(o, layer, name);
    snprintf(name, sizeof(name), "%s.bias", what);
    CLEANUP_FREE double *b = layer_tensor(o, layer, name);
    assert_non_null(w);
    for (size_t i = 0; i < rows; i++) {
        y[i] = b ? b[i] : 0;
        for (size_t j = 0; j < cols; j++)
            y[i] += w[i * cols + j] * x[j];
    }
}

static void rms(const struct oracle *o, const double *x, const double *weight, double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    double scale = 1 / sqrt(sum / (double)n + o->hp->rms_eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void layer_rms(const struct oracle *o, uint32_t layer, const char *what, const double *x,
                      double *y, size_t n)
{
    CLEANUP_FREE double *weight = layer_tensor(o, layer, what);
    assert_non_null(weight);
    rms(o, x, weight, y, n);
}

static bool local(const struct oracle *o, uint32_t layer)
{
    return o->hp->arch == MODEL_GEMMA3 && layer % 6 < 5;
}

/* Rotates pairs of one head: adjacent ones (llama) or halves (gemma3). */
static void rotate(const struct oracle *o, uint32_t layer, double *x, size_t pos)
{
    size_t d = o->hp->head_dim;
    bool halves = o->hp->arch == MODEL_GEMMA3;
    double base = local(o, layer) ? 10000.0 : o->hp->rope_base;
    CLEANUP_FREE double *factors = tensor(o, "rope_freqs.weight");
    for (size_t i = 0; i < d / 2; i++) {
        double *a = halves ? &x[i] : &x[2 * i];
        double *b = halves ? &x[i + d / 2] : &x[2 * i + 1];
        double angle =
            (double)pos * pow(base, -2.0 * (double)i / (double)d) / (factors ? factors[i] : 1);
        double turned = *a * cos(angle) - *b * sin(angle);
        *b = *a * sin(angle) + *b * cos(angle);
        *a = turned;
    }
}

static void attend(const struct oracle *o, uint32_t layer, const double *q, size_t pos, double *out)
{
    const struct model_hparams *hp = o->hp;
    size_t d = hp->head_dim;
    size_t first = local(o, layer) && pos + 1 > hp->window ? pos + 1 - hp->window : 0;
    double score[N_TOKENS];
    for (size_t h = 0; h < hp->n_heads; h++) {
        size_t kv = h / (hp->n_heads / hp->n_kv_heads);
        double max = -INFINITY;
        double sum = 0;
        for (size_t p = first; p <= pos; p++) {
            score[p] = 0;
            for (size_t i = 0; i < d; i++)
                score[p] += q[h * d + i] * o->keys[(p * hp->n_kv_heads + kv) * d + i];
            score[p] /= sqrt((double)d);
            max = fmax(max, score[p]);
        }
        for (size_t p = first; p <= pos; p++)
            sum += score[p] = exp(score[p] - max);
        for (size_t i = 0; i < d; i++) {
            out[h * d + i] = 0;
            for (size_t p = first; p <= pos; p++)
                out[h * d + i] += score[p] / sum * o->values[(p * hp->n_kv_heads + kv) * d + i];
        }
    }
}

static double activation(const struct oracle *o, double x)
{
    if (o->hp->arch == MODEL_LLAMA)
        return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

#define ROOM 2048 /* more than any vector of a tiny model */

static void head_norm(const struct oracle *o, uint32_t layer, const char *what, double *x,
                      size_t heads)
{
    for (size_t h = 0; h < heads && o->hp->arch == MODEL_GEMMA3; h++)
        layer_rms(o, layer, what, x + h * o->hp->head_dim, x + h * o->hp->head_dim,
                  o->hp->head_dim);
}

/* One layer for one position: x becomes what comes out of it. Keys and values of earlier positions are there. */
static void layer_at(struct oracle *o, uint32_t layer, double *x, size_t pos)
{
    const struct model_hparams *hp = o->hp;
    size_t d = hp->head_dim;
    bool gemma = hp->arch == MODEL_GEMMA3;
    double h[ROOM], q[ROOM], at[ROOM], gate[ROOM], up[ROOM];
    double *k = o->keys + pos * hp->n_kv_heads * d;
    double *v = o->values + pos * hp->n_kv_heads * d;

    layer_rms(o, layer, "attn_norm.weight", x, h, hp->n_embd);
    linear(o, layer, "attn_q", h, hp->n_embd, q, hp->n_heads * d);
    linear(o, layer, "attn_k", h, hp->n_embd, k, hp->n_kv_heads * d);
    linear(o, layer, "attn_v", h, hp->n_embd, v, hp->n_kv_heads * d);
    head_norm(o, layer, "attn_q_norm.weight", q, hp->n_heads);
    head_norm(o, layer, "attn_k_norm.weight", k, hp->n_kv_heads);
    for (size_t i = 0; i < hp->n_heads; i++)
        rotate(o, layer, q + i * d, pos);
    for (size_t i = 0; i < hp->n_kv_heads; i++)
        rotate(o, layer, k + i * d, pos);
    attend(o, layer, q, pos, at);
    linear(o, layer, "attn_output", at, hp->n_heads * d, h, hp->n_embd);
    if (gemma)
        layer_rms(o, layer, "post_attention_norm.weight", h, h, hp->n_embd);
    for (size_t i = 0; i < hp->n_embd; i++)
        x[i] += h[i];

    layer_rms(o, layer, "ffn_norm.weight", x, h, hp->n_embd);
    linear(o, layer, "ffn_gate", h, hp->n_embd, gate, hp->n_ff);
    linear(o, layer, "ffn_up", h, hp->n_embd, up, hp->n_ff);
    for (size_t i = 0; i < hp->n_ff; i++)
        gate[i] = activation(o, gate[i]) * up[i];
    linear(o, layer, "ffn_down", gate, hp->n_ff, h, hp->n_embd);
    if (gemma)
        layer_rms(o, layer, "post_ffw_norm.weight", h, h, hp->n_embd);
    for (size_t i = 0; i < hp->n_embd; i++)
        x[i] += h[i];
}

/* Logits after each position: [n][n_vocab]; the caller frees them. */
static double *oracle_logits(const struct rig *r, const int32_t *tokens, size_t n)
{
    const struct model_hparams *hp = &r->m->hp;
    size_t kv = (size_t)hp->n_kv_heads * hp->head_dim;
    CLEANUP_FREE double *keys = xcalloc(n * kv, sizeof(*keys));
    CLEANUP_FREE double *values = xcalloc(n * kv, sizeof(*values));
    CLEANUP_FREE double *x = xcalloc(n * hp->n_embd, sizeof(*x));
    struct oracle o = {.r = r, .hp = hp, .keys = keys, .values = values};
    CLEANUP_FREE double *embd = tensor(&o, "token_embd.weight");
    CLEANUP_FREE double *separate = tensor(&o, "output.weight");
    CLEANUP_FREE double *norm = tensor(&o, "output_norm.weight");
    const double *output = separate ? separate : embd;
    double scale = hp->arch == MODEL_GEMMA3 ? sqrt(hp->n_embd) : 1;
    double *logits = xcalloc(n * hp->n_vocab, sizeof(*logits));
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < hp->n_embd; i++)
            x[p * hp->n_embd + i] = embd[(size_t)tokens[p] * hp->n_embd + i] * scale;
    for (uint32_t layer = 0; layer < hp->n_layers; layer++)
        for (size_t p = 0; p < n; p++)
            layer_at(&o, layer, x + p * hp->n_embd, p);
    for (size_t p = 0; p < n; p++) {
        double h[ROOM];
        rms(&o, x + p * hp->n_embd, norm, h, hp->n_embd);
        for (size_t t = 0; t < hp->n_vocab; t++)
            for (size_t i = 0; i < hp->n_embd; i++)
                logits[p * hp->n_vocab + t] += output[t * hp->n_embd + i] * h[i];
    }
    return logits;
}

/* --- the engine against it --- */

struct comparison {
    const double *want;
    uint32_t n_vocab;
    double worst;   /* |difference| / standard deviation of the logits */
    double kld_sum; /* of the oracle's distribution and the engine's */
    size_t n;
};

static double log_sum(const double *l, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(l[i]);
    return log(sum);
}

static void compare(void *ctx, size_t pos, const float *logits)
{
    struct comparison *c = ctx;
    const double *want = c->want + pos * c->n_vocab;
    CLEANUP_FREE double *got = xcalloc(c->n_vocab, sizeof(*got));
    double mean = 0;
    double var = 0;
    for (uint32_t i = 0; i < c->n_vocab; i++) {
        got[i] = logits[i];
        mean += want[i] / c->n_vocab;
    }
    for (uint32_t i = 0; i < c->n_vocab; i++)
        var += (want[i] - mean) * (want[i] - mean) / c->n_vocab;
    double zw = log_sum(want, c->n_vocab);
    double zg = log_sum(got, c->n_vocab);
    for (uint32_t i = 0; i < c->n_vocab; i++) {
        c->worst = fmax(c->worst, fabs(want[i] - got[i]) / sqrt(var));
        c->kld_sum += exp(want[i] - zw) * ((want[i] - zw) - (got[i] - zg));
    }
    c->n++;
}

static void check_model(const struct tiny_model *tm, const char *what)
{
    int32_t tokens[N_TOKENS];
    CLEANUP_FD int fd = tiny_model_fd(tm);
    CLEANUP(rig) struct rig *r = rig_open(fd, &(struct rig_options){0});
    for (uint32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = (int32_t)((i * 37 + i * i) % r->m->hp.n_vocab);
    CLEANUP_FREE double *want = oracle_logits(r, tokens, N_TOKENS);
    struct comparison c = {.want = want, .n_vocab = r->m->hp.n_vocab};
    rig_run(r, tokens, N_TOKENS, 0, compare, &c);
    print_message("%s: worst difference %.2e standard deviations, mean KLD %.2e\n", what, c.worst,
                  c.kld_sum / (double)c.n);
    assert_int_equal(c.n, N_TOKENS);
    assert_true(c.worst <= 2e-2);
    assert_true(c.kld_sum / (double)c.n <= 1e-5);
}

static struct tiny_model floats(struct tiny_model tm)
{
    tm.embd_type = GGUF_F32;
    return tm;
}

static void test_llama(void **state)
{
    (void)state;
    struct tiny_model tm = floats(tiny_llama(GGUF_F32));
    check_model(&tm, "llama");
}

static void test_llama_with_all_that_is_optional(void **state)
{
    (void)state;
    struct tiny_model tm = floats(tiny_llama(GGUF_F32));
    tm.biases = tm.rope_freqs = true;
    tm.tied = false;
    tm.more_rows = 13;
    tm.n_kv_heads = 1;
    check_model(&tm, "llama with biases, RoPE factors, an output of its own, one kv head");
}

static void test_gemma3(void **state)
{
    (void)state;
    struct tiny_model tm = floats(tiny_gemma3(GGUF_F32));
    check_model(&tm, "gemma3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_llama_with_all_that_is_optional),
        cmocka_unit_test(test_gemma3),
    };
    return cmocka_run_group_tests_name("engine forward", tests, NULL, NULL);
}
