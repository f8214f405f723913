/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens to text. */
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer_impl.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

static void add_normal(const struct tokenizer *t, const char *text, size_t len, bool first,
                       struct buf *out)
{
    if (t->pre) {
        bpe_unspell(text, len, out);
        return;
    }
    size_t before = out->len;
    spm_unspell(text, len, out);
    if (first && t->space_prefix && out->len > before && out->data[before] == ' ') {
        memmove(out->data + before, out->data + before + 1, out->len - before); /* the NUL too */
        out->len--;
    }
}

void tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, bool first,
                     struct buf *out)
{
    if (id < 0 || (uint32_t)id >= t->vocab.n)
        return;
    size_t len;
    const char *text = vocab_text(&t->vocab, id, &len);
    switch (t->vocab.types[id]) {
    case VOCAB_NORMAL:
        add_normal(t, text, len, first, out);
        break;
    case VOCAB_BYTE:
        buf_add_char(out, (char)vocab_byte_of(text, len));
        break;
    case VOCAB_USER_DEFINED:
        buf_add(out, text, len);
        break;
    case VOCAB_CONTROL:
    case VOCAB_UNKNOWN:
        if (special)
            buf_add(out, text, len);
        break;
    default: /* unused: nothing that could be read */
        break;
    }
}

/* How many bytes at s are the beginning of a sequence that then goes wrong: at least 1. */
static size_t broken(const char *s, size_t n)
{
    for (size_t len = MIN(n, (size_t)3); len > 1; len--) {
        if (utf8_incomplete_tail(s, len) == len)
            return len;
    }
    return 1;
}

/* Moves what is whole from the pending bytes to out, and at the end the rest. */
static void hand_out(struct detokenizer *d, bool end, struct buf *out)
{
    const char *s = buf_str(&d->pending);
    size_t whole = d->pending.len - (end ? 0 : utf8_incomplete_tail(s, d->pending.len));
    for (size_t i = 0; i < whole;) {
        uint32_t c;
        size_t len = utf8_decode(s + i, whole - i, &c);
        if (len > 0) {
            buf_add(out, s + i, len);
        } else {
            len = broken(s + i, whole - i);
            buf_add_str(out, REPLACEMENT);
        }
        i += len;
    }
    buf_consume(&d->pending, whole);
}

void detokenizer_push(struct detokenizer *d, const struct tokenizer *t, int32_t id, struct buf *out)
{
    tokenizer_piece(t, id, false, !d->begun, &d->pending);
    d->begun = true;
    hand_out(d, false, out);
}

void detokenizer_end(struct detokenizer *d, struct buf *out)
{
    hand_out(d, true, out);
}

void detokenizer_free(struct detokenizer *d)
{
    buf_free(&d->pending);
    d->begun = false;
}
