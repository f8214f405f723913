/* SPDX-License-Identifier: Apache-2.0 */
#include "model/spm.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

#define SPACE     "\xE2\x96\x81" /* U+2581 */
#define SPACE_LEN 3

void spm_init(struct spm *s, const struct vocab *v)
{
    s->vocab = v;
    for (int byte = 0; byte < 256; byte++) {
        char text[1] = {(char)byte};
        s->bytes[byte] =
            vocab_find(v, text, 1); /* what a vocabulary without byte tokens may have */
        if (s->bytes[byte] >= 0 && !vocab_spelled(v, s->bytes[byte]))
            s->bytes[byte] = -1;
    }
    for (uint32_t id = 0; id < v->n; id++) {
        if (v->types[id] != VOCAB_BYTE)
            continue;
        size_t len;
        const char *text = vocab_text(v, (int32_t)id, &len);
        s->bytes[vocab_byte_of(text, len)] = (int32_t)id;
    }
}

/* Maps a score to a number that is less for a higher score. */
static uint32_t priority_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof(bits));
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

struct encoding {
    const struct spm *spm;
    const char *text;
};

static bool find(const void *ctx, const struct merge_symbol *left, const struct merge_symbol *right,
                 uint32_t *priority, uint32_t *id)
{
    const struct encoding *c = ctx;
    const struct vocab *v = c->spm->vocab;
    int32_t found = vocab_find(v, c->text + left->start, (size_t)left->len + right->len);
    if (found < 0 || !vocab_spelled(v, found))
        return false;
    *priority = priority_of(v->scores[found]);
    *id = (uint32_t)found;
    return true;
}

static void escape(const char *text, size_t len, bool space_prefix, struct buf *out)
{
    if (space_prefix)
        buf_add(out, SPACE, SPACE_LEN);
    for (size_t i = 0; i < len;) {
        const char *space = memchr(text + i, ' ', len - i);
        size_t n = space ? (size_t)(space - text) - i : len - i;
        buf_add(out, text + i, n);
        if (space)
            buf_add(out, SPACE, SPACE_LEN);
        i += n + 1;
    }
}

void spm_unspell(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        if (len - i >= SPACE_LEN && memcmp(text + i, SPACE, SPACE_LEN) == 0) {
            buf_add_char(out, ' ');
            i += SPACE_LEN;
        } else {
            buf_add_char(out, text[i++]);
        }
    }
}

static void emit(const struct spm *s, const char *text, const struct merge_symbol *symbol,
                 struct tokens *out, size_t *dropped)
{
    if (symbol->id != MERGE_NO_ID) {
        tokens_add(out, (int32_t)symbol->id);
        return;
    }
    for (uint32_t i = 0; i < symbol->len; i++) {
        int32_t id = s->bytes[(unsigned char)text[symbol->start + i]];
        if (id < 0)
            (*dropped)++;
        else
            tokens_add(out, id);
    }
}

int spm_encode(const struct spm *s, struct merger *m, const char *text, size_t len,
               bool space_prefix, struct tokens *out, size_t *dropped, struct err *e)
{
    CLEANUP_BUF struct buf b = {0};
    if (len > MERGE_LEN_MAX / SPACE_LEN)
        return err_set(e, ENOMEM, "a text of %zu bytes is too long for the tokenizer", len);
    escape(text, len, space_prefix, &b);
    if (b.len == 0)
        return 0;
    if (merger_begin(m, b.len, e) < 0)
        return -1;
    size_t step;
    for (size_t i = 0; i < b.len; i += step) {
        uint32_t c;
        step = utf8_decode(b.data + i, b.len - i, &c);
        step += step == 0; /* a byte that is part of no sequence stands alone */
        int32_t id = vocab_find(s->vocab, b.data + i, step);
        bool token = id >= 0 && vocab_spelled(s->vocab, id);
        merger_add(m, (uint32_t)i, (uint32_t)step, token ? (uint32_t)id : MERGE_NO_ID);
    }
    merger_run(m, find, &(struct encoding){s, b.data});
    for (uint32_t i = 0; i != MERGE_END; i = m->symbols[i].next)
        emit(s, b.data, &m->symbols[i], out, dropped);
    return 0;
}
