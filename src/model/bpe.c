/* SPDX-License-Identifier: Apache-2.0 */
#include "model/bpe.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"

/*
 * GPT-2's bytes_to_unicode(): printable Latin-1 stands for itself, the other 68 bytes are U+0100 to
 * U+0143 in their order.
 */
static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

static uint32_t char_of_byte(unsigned byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    return byte == 0xAD ? 0x143 : 0x121 + byte - 0x7F;
}

static int byte_of_char(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

void bpe_spell(const char *bytes, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        char c[4];
        buf_add(out, c, utf8_encode(char_of_byte((unsigned char)bytes[i]), c));
    }
}

void bpe_unspell(const char *text, size_t len, struct buf *out)
{
    size_t step;
    for (size_t i = 0; i < len; i += step) {
        uint32_t c;
        step = utf8_decode(text + i, len - i, &c);
        int byte = step > 0 ? byte_of_char(c) : -1;
        step = MAX(step, (size_t)1);
        if (byte >= 0)
            buf_add_char(out, (char)byte);
        else
            buf_add(out, text + i, step);
    }
}

static uint32_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 11);
}

static struct bpe_merge *find_merge(const struct bpe *b, uint32_t left, uint32_t right)
{
    for (uint32_t i = hash_pair(left, right) & b->mask;; i = (i + 1) & b->mask) {
        struct bpe_merge *m = &b->merges[i];
        if (m->left == MERGE_NO_ID || (m->left == left && m->right == right))
            return m;
    }
}

static uint32_t spelled(const struct vocab *v, const char *text, size_t len)
{
    int32_t id = vocab_find(v, text, len);
    return id >= 0 && vocab_spelled(v, id) ? (uint32_t)id : MERGE_NO_ID;
}

/* "A B": parted at the first space that is not the first byte. False: one of A, B and AB is no
 * token. */
static bool read_merge(const struct vocab *v, struct gguf_str s, size_t space, struct bpe_merge *m,
                       char *joined)
{
    size_t right_len = s.len - space - 1;
    if (s.len - 1 > v->text_max)
        return false;
    memcpy(joined, s.data, space);
    memcpy(joined + space, s.data + space + 1, right_len);
    m->left = spelled(v, s.data, space);
    m->right = spelled(v, s.data + space + 1, right_len);
    m->id = spelled(v, joined, s.len - 1);
    return m->left != MERGE_NO_ID && m->right != MERGE_NO_ID && m->id != MERGE_NO_ID;
}

static int read_merges(struct bpe *b, const struct vocab *v, const struct gguf_array *merges,
                       size_t n, struct err *e)
{
    CLEANUP_FREE char *joined = mem_array(VOCAB_TEXT_MAX, 1, "a merge", e);
    if (!joined)
        return -1;
    size_t left_out = 0;
    for (uint32_t rank = 0; rank < n; rank++) {
        struct gguf_str s = gguf_array_str(merges, rank);
        const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
        if (!space || space + 1 == s.data + s.len)
            return err_set(
                e, EBADMSG,
                "tokenizer.ggml.merges: element %u is not two texts with a space between", rank);
        struct bpe_merge m = {.rank = rank};
        if (!read_merge(v, s, (size_t)(space - s.data), &m, joined)) {
            left_out++;
            continue;
        }
        struct bpe_merge *slot = find_merge(b, m.left, m.right);
        if (slot->left == MERGE_NO_ID)
            *slot = m;
    }
    if (left_out > 0)
        log_warning(
            "%zu of %zu merges of the tokenizer are of texts that are no tokens; they are left out",
            left_out, n);
    return 0;
}

int bpe_read(struct bpe *b, const struct vocab *v, const struct gguf *g, struct err *e)
{
    size_t n;
    const struct gguf_array *merges = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_KIND_STR, &n);
    if (!merges)
        return err_set(e, EBADMSG, "tokenizer.ggml.merges is missing or not an array of strings");
    if (n > BPE_MERGES_MAX)
        return err_set(e, EBADMSG,
                       "tokenizer.ggml.merges has %zu elements, at most %u are accepted", n,
                       BPE_MERGES_MAX);
    size_t n_slots = 64;
    while (n_slots < n * 2)
        n_slots *= 2;
    b->merges = mem_array(n_slots, sizeof(*b->merges), "the merges of the tokenizer", e);
    if (!b->merges)
        return -1;
    memset(b->merges, 0xFF, n_slots * sizeof(*b->merges)); /* MERGE_NO_ID */
    b->mask = (uint32_t)n_slots - 1;
    for (unsigned byte = 0; byte < 256; byte++) {
        char c[4];
        b->bytes[byte] = spelled(v, c, utf8_encode(char_of_byte(byte), c));
    }
    return read_merges(b, v, merges, n, e);
}

void bpe_free(struct bpe *b)
{
    free(b->merges);
    b->merges = NULL;
}

static bool find(const void *ctx, const struct merge_symbol *left, const struct merge_symbol *right,
                 uint32_t *priority, uint32_t *id)
{
    if (left->id == MERGE_NO_ID || right->id == MERGE_NO_ID)
        return false;
    const struct bpe_merge *m = find_merge(ctx, left->id, right->id);
    *priority = m->rank;
    *id = m->id;
    return m->left != MERGE_NO_ID;
}

int bpe_encode(const struct bpe *b, struct merger *m, const char *word, size_t len,
               struct tokens *out, size_t *dropped, struct err *e)
{
    if (len == 0)
        return 0;
    if (merger_begin(m, len, e) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        merger_add(m, (uint32_t)i, 1, b->bytes[(unsigned char)word[i]]);
    merger_run(m, find, b);
    for (uint32_t i = 0; i != MERGE_END; i = m->symbols[i].next) {
        if (m->symbols[i].id == MERGE_NO_ID)
            (*dropped)++; /* one byte: what has no token takes part in no merge */
        else
            tokens_add(out, (int32_t)m->symbols[i].id);
    }
    return 0;
}
