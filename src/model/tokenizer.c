/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "model/tokenizer_impl.h"

#define TEXT_MAX (1u << 30) /* bytes that are tokenized at once */

void tokens_add(struct tokens *t, int32_t id)
{
    if (t->n == t->cap) {
        t->cap = MAX((size_t)64, t->cap * 2);
        t->ids = xrealloc(t->ids, t->cap * sizeof(*t->ids));
    }
    t->ids[t->n++] = id;
}

void tokens_free(struct tokens *t)
{
    free(t->ids);
    *t = (struct tokens){0};
}

/* --- made from a file --- */

int tokenizer_read_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t *id,
                      struct err *e)
{
    uint64_t v;
    *id = -1;
    if (!gguf_has(g, key))
        return 0;
    if (!gguf_get_u64(g, key, &v) || v >= t->vocab.n)
        return err_set(e, EBADMSG, "%s is no token: the vocabulary has %u", key, t->vocab.n);
    *id = (int32_t)v;
    return 0;
}

static int read_bool(const struct gguf *g, const char *key, bool *v, struct err *e)
{
    if (gguf_has(g, key) && !gguf_get_bool(g, key, v))
        return err_set(e, EBADMSG, "%s is neither true nor false", key);
    return 0;
}

static int read_bpe(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct gguf_str name = {"default", 7};
    if (!gguf_get_str(g, "tokenizer.ggml.pre", &name))
        log_warning("the model does not name its pre-tokenizer (tokenizer.ggml.pre): its answers "
                    "may be worse than "
                    "they should be");
    t->pre = pretokenizer_new(name, e);
    if (!t->pre)
        return -1;
    t->add_bos = pretokenizer_adds_bos(t->pre);
    return vocab_read(&t->vocab, g, false, e);
}

static int read_spm(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    t->add_bos = true;
    t->space_prefix = true;
    if (vocab_read(&t->vocab, g, true, e) < 0)
        return -1;
    return read_bool(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, e);
}

/* What SentencePiece's own trainer gives these tokens where the file does not say. */
#define SPM_BOS 1
#define SPM_EOS 2

static int read_special_ids(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    if (tokenizer_read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e) < 0 ||
        tokenizer_read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, e) < 0)
        return -1;
    if (!t->pre && t->bos < 0 && t->vocab.n > SPM_BOS)
        t->bos = SPM_BOS;
    if (!t->pre && t->eos < 0 && t->vocab.n > SPM_EOS)
        t->eos = SPM_EOS;
    if (read_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos, e) < 0 ||
        read_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos, e) < 0)
        return -1;
    if ((t->add_bos && t->bos < 0) || (t->add_eos && t->eos < 0))
        return err_set(e, EBADMSG, "the tokenizer is to add %s, but has none",
                       t->add_bos && t->bos < 0 ? "BOS" : "EOS");
    return 0;
}

static int read_all(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct gguf_str model;
    if (!gguf_get_str(g, "tokenizer.ggml.model", &model))
        return err_set(e, EBADMSG, "the model has no tokenizer (tokenizer.ggml.model)");
    bool bpe = model.len == 4 && memcmp(model.data, "gpt2", 4) == 0;
    bool spm = model.len == 5 && memcmp(model.data, "llama", 5) == 0;
    if (!bpe && !spm)
        return err_set(e, ENOEXEC, "the tokenizer \"%.*s\" (tokenizer.ggml.model) is not supported",
                       (int)MIN(model.len, (size_t)64), model.data);
    if ((bpe ? read_bpe(t, g, e) : read_spm(t, g, e)) < 0 || read_special_ids(t, g, e) < 0 ||
        tokenizer_find_ends(t, g, e) < 0 || special_init(&t->special, &t->vocab, e) < 0)
        return -1;
    if (bpe)
        return bpe_read(&t->bpe, &t->vocab, g, e);
    spm_init(&t->spm, &t->vocab);
    return 0;
}

struct tokenizer *tokenizer_new(const struct gguf *g, struct err *e)
{
    struct tokenizer *t = xcalloc(1, sizeof(*t));
    if (read_all(t, g, e) == 0)
        return t;
    tokenizer_free(t);
    return NULL;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_free(&t->vocab);
    special_free(&t->special);
    pretokenizer_free(t->pre);
    bpe_free(&t->bpe);
    free(t->ends);
    free(t);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len)
{
    return id >= 0 && (uint32_t)id < t->vocab.n ? vocab_text(&t->vocab, id, len) : NULL;
}

/* --- text to tokens --- */

struct encoder {
    const struct tokenizer *t;
    struct merger merger;
    struct buf spelled; /* a word in the alphabet of the vocabulary */
    struct tokens *out;
    size_t dropped;
};

static int encode_word(void *ctx, const char *word, size_t len, struct err *e)
{
    struct encoder *c = ctx;
    const struct vocab *v = &c->t->vocab;
    if (pretokenizer_whole_words(c->t->pre) && len <= v->text_max) {
        buf_clear(&c->spelled);
        bpe_spell(word, len, &c->spelled);
        int32_t id = vocab_find(v, c->spelled.data, c->spelled.len);
        if (id >= 0 && vocab_spelled(v, id)) {
            tokens_add(c->out, id);
            return 0;
        }
    }
    return bpe_encode(&c->t->bpe, &c->merger, word, len, c->out, &c->dropped, e);
}

/* Copies a text with U+FFFD for each byte that is part of no valid sequence. */
static void make_valid(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t step = utf8_decode(text + i, len - i, &c);
        if (step > 0)
            buf_add(out, text + i, step);
        else
            buf_add_str(out, "\xEF\xBF\xBD");
        i += MAX(step, (size_t)1);
    }
}

/* SentencePiece's space goes in front of a text and after special tokens, not where a text goes on. */
static bool begins_text(const struct encoder *c)
{
    if (c->out->n == 0)
        return true;
    int32_t last = c->out->ids[c->out->n - 1];
    return last < 0 || (uint32_t)last >= c->t->vocab.n || special_type(c->t->vocab.types[last]);
}

/* A run of text without special tokens: the beginning of all, or what follows one. */
static int encode_text(struct encoder *c, const char *text, size_t len, struct err *e)
{
    const struct tokenizer *t = c->t;
    if (len == 0)
        return 0;
    if (!t->pre)
        return spm_encode(&t->spm, &c->merger, text, len, t->space_prefix && begins_text(c), c->out,
                          &c->dropped, e);
    CLEANUP_BUF struct buf valid = {0};
    if (!utf8_valid(text, len)) {
        make_valid(text, len, &valid);
        text = valid.data;
        len = valid.len;
    }
    return pretokenizer_split(t->pre, text, len, encode_word, c, e);
}

static int encode_all(struct encoder *c, const char *text, size_t len,
                      const struct special_region *regions, struct err *e)
{
    CLEANUP_FREE struct special_match *matches = NULL;
    size_t n;
    if (special_find(&c->t->special, &c->t->vocab, text, len, regions, &matches, &n, e) < 0)
        return -1;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (encode_text(c, text + at, matches[i].start - at, e) < 0)
            return -1;
        tokens_add(c->out, matches[i].id);
        size_t special_len;
        vocab_text(&c->t->vocab, matches[i].id, &special_len);
        at = matches[i].start + special_len;
    }
    return encode_text(c, text + at, len - at, e);
}

/* Lays the spans side by side. Neighbours of one kind become one region. */
static size_t join(const struct tokenizer_span *spans, size_t n, char *text,
                   struct special_region *regions)
{
    size_t len = 0;
    size_t n_regions = 0;
    for (size_t i = 0; i < n; i++) {
        if (spans[i].len == 0)
            continue;
        memcpy(text + len, spans[i].text, spans[i].len);
        len += spans[i].len;
        if (n_regions == 0 || regions[n_regions - 1].control != spans[i].special)
            regions[n_regions++].control = spans[i].special;
        regions[n_regions - 1].end = len;
    }
    return len;
}

int tokenizer_encode(const struct tokenizer *t, const struct tokenizer_span *spans, size_t n,
                     bool add_special, struct tokens *out, size_t *dropped, struct err *e)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (spans[i].len > TEXT_MAX - total)
            return err_set(e, EFBIG, "a text of more than %u bytes cannot be tokenized", TEXT_MAX);
        total += spans[i].len;
    }
    CLEANUP_FREE char *text = mem_array(total + 1, 1, "a text to be tokenized", e);
    CLEANUP_FREE struct special_region *regions =
        mem_array(n + 1, sizeof(*regions), "a text to be tokenized", e);
    if (!text || !regions)
        return -1;
    struct encoder c = {.t = t, .out = out};
    join(spans, n, text, regions);
    if (add_special && t->add_bos)
        tokens_add(out, t->bos);
    int r = encode_all(&c, text, total, regions, e);
    if (r == 0 && add_special && t->add_eos)
        tokens_add(out, t->eos);
    merger_free(&c.merger);
    buf_free(&c.spelled);
    if (dropped)
        *dropped = c.dropped;
    return r;
}

bool tokenizer_brings_bos(const struct tokenizer *t, const struct tokenizer_span *spans, size_t n)
{
    if (t->bos < 0 || n == 0 || !spans[0].special)
        return false;
    size_t len;
    const char *text = vocab_text(&t->vocab, t->bos, &len);
    return spans[0].len >= len && memcmp(spans[0].text, text, len) == 0;
}
