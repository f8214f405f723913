/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes tokenizers: a small vocabulary and a text from any bytes.
 *
 * The input is read from its beginning: a byte of switches; tokens, each a byte of type (0xFF ends them), one of score and a text;
 * merges, each a text (an empty one ends them); then spans to tokenize, each a byte that says whether it is special and a text. A text is
 * a byte of length and its bytes.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "model/tokenizer.h"
#include "tests/lib/gguf_build.h"

#define MAX_N 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct input {
    const uint8_t *data;
    size_t n;
};

static uint8_t take(struct input *in)
{
    if (in->n == 0)
        return 0xFF;
    in->n--;
    return *in->data++;
}

/* Texts of a GGUF file may hold any byte but, as gguf_build takes C strings, not NUL: it becomes 0x80. */
static char *take_text(struct input *in, size_t *len)
{
    size_t wanted = take(in);
    *len = MIN(wanted, in->n);
    char *s = xmalloc(*len + 1);
    memcpy(s, in->data, *len);
    s[*len] = 0;
    for (size_t i = 0; i < *len; i++)
        s[i] = s[i] ? s[i] : (char)0x80;
    in->data += *len;
    in->n -= *len;
    return s;
}

struct vocabulary {
    char *tokens[MAX_N];
    int32_t types[MAX_N];
    float scores[MAX_N];
    size_t n;
    char *merges[MAX_N];
    size_t n_merges;
};

static void take_vocabulary(struct input *in, struct vocabulary *v)
{
    size_t len;
    while (v->n < MAX_N) {
        uint8_t type = take(in);
        if (type == 0xFF)
            break;
        v->types[v->n] = type % 8;
        v->scores[v->n] = (float)(int8_t)take(in);
        v->tokens[v->n++] = take_text(in, &len);
    }
    while (v->n_merges < MAX_N) {
        v->merges[v->n_merges] = take_text(in, &len);
        if (len == 0) {
            free(v->merges[v->n_merges]);
            break;
        }
        v->n_merges++;
    }
}

static struct tokenizer *make(const struct vocabulary *v, uint8_t switches, struct err *e)
{
    static const char *const pres[] = {"gpt-2",   "smollm",  "llama-bpe", "qwen2",
                                       "default", "default", "none",      "gpt-2"};
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    gguf_build_init(&b);
    gguf_build_str(&b, "tokenizer.ggml.model", switches & 1 ? "llama" : "gpt2");
    gguf_build_str(&b, "tokenizer.ggml.pre", pres[switches >> 1 & 7]);
    gguf_build_strs(&b, "tokenizer.ggml.tokens", (const char *const *)v->tokens, v->n);
    gguf_build_f32s(&b, "tokenizer.ggml.scores", v->scores, v->n);
    gguf_build_i32s(&b, "tokenizer.ggml.token_type", v->types, v->n);
    gguf_build_strs(&b, "tokenizer.ggml.merges", (const char *const *)v->merges, v->n_merges);
    if (switches & 16)
        gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    gguf_build_bool(&b, "tokenizer.ggml.add_bos_token", switches & 32);
    gguf_build_bool(&b, "tokenizer.ggml.add_space_prefix", switches & 64);
    gguf_build_end(&b, &file);
    CLEANUP_FD int fd = gguf_build_fd(file.data, file.len);
    CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, e);
    CLEANUP(gguf) struct gguf *g = f ? gguf_read(f, e) : NULL;
    return g ? tokenizer_new(g, e) : NULL;
}

/* Text without a special span gives no control token: with and without them the pieces are the same. */
static void check(const struct tokenizer *t, const struct tokens *tokens, bool any_special)
{
    CLEANUP_BUF struct buf with = {0};
    CLEANUP_BUF struct buf without = {0};
    CLEANUP_BUF struct buf streamed = {0};
    struct detokenizer d = {0};
    for (size_t i = 0; i < tokens->n; i++) {
        if (tokens->ids[i] < 0 || (uint32_t)tokens->ids[i] >= tokenizer_n_vocab(t))
            log_fatal("token %d", tokens->ids[i]);
        tokenizer_piece(t, tokens->ids[i], true, i == 0, &with);
        tokenizer_piece(t, tokens->ids[i], false, i == 0, &without);
        detokenizer_push(&d, t, tokens->ids[i], &streamed);
        if (!utf8_valid(buf_str(&streamed), streamed.len))
            log_fatal("a stream that is not UTF-8");
    }
    detokenizer_end(&d, &streamed);
    detokenizer_free(&d);
    if (!any_special && with.len != without.len)
        log_fatal("a control token from a user's text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {data, n};
    struct vocabulary *v = xcalloc(1, sizeof(*v));
    struct err e = {0};
    log_init("fuzz", LOG_LEVEL_ERROR);
    uint8_t switches = take(&in);
    take_vocabulary(&in, v);
    struct tokenizer *t = make(v, switches, &e);
    if (!t && (e.text[0] == 0 || (e.code != EBADMSG && e.code != ENOEXEC && e.code != ENOMEM)))
        log_fatal("refused with %d: %s", e.code, e.text);
    struct tokenizer_span spans[8];
    size_t n_spans = 0;
    bool any_special = false;
    while (t && n_spans < ARRAY_LEN(spans) && in.n > 0) {
        struct tokenizer_span *s = &spans[n_spans++];
        s->special = take(&in) & 1;
        any_special = any_special || s->special;
        s->text = take_text(&in, &s->len);
    }
    CLEANUP_TOKENS struct tokens tokens = {0};
    size_t dropped;
    if (t && tokenizer_encode(t, spans, n_spans, false, &tokens, &dropped, &e) < 0)
        log_fatal("%s", e.text);
    if (t)
        check(t, &tokens, any_special);
    for (size_t i = 0; i < n_spans; i++)
        free((char *)spans[i].text);
    for (size_t i = 0; i < v->n; i++)
        free(v->tokens[i]);
    for (size_t i = 0; i < v->n_merges; i++)
        free(v->merges[i]);
    free(v);
    tokenizer_free(t);
    return 0;
}
