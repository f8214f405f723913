/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/logprobs.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"

double logprobs_total(const float *logits, uint32_t n)
{
    float max = logits[0];
    for (uint32_t i = 1; i < n; i++)
        max = MAX(max, logits[i]);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

/* By insertion: k is small, and nearly every logit is turned away by one comparison. */
void logprobs_top(const float *logits, uint32_t n, uint32_t k, int32_t *ids)
{
    uint32_t have = 0;
    for (uint32_t i = 0; k > 0 && i < n; i++) {
        if (have == k && logits[i] <= logits[ids[k - 1]])
            continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && logits[i] > logits[ids[at - 1]]; at--)
            ids[at] = ids[at - 1];
        ids[at] = (int32_t)i;
    }
}

static void add_json_char(struct buf *b, const char *s, size_t n, uint32_t cp)
{
    if (cp == '"' || cp == '\\') {
        buf_add_char(b, '\\');
        buf_add_char(b, (char)cp);
    } else if (cp < 0x20 || cp == 0x7f) {
        buf_printf(b, "\\u%04x", cp);
    } else {
        buf_add(b, s, n);
    }
}

/* The text of a token may be a part of a UTF-8 sequence, which JSON has no way to say: it becomes
 * U+FFFD. */
static void add_token(struct buf *b, const struct tokenizer *t, int32_t id, double logprob)
{
    CLEANUP_BUF struct buf text = {0};
    tokenizer_piece(t, id, true, false, &text);
    buf_printf(b, "\"id\":%d,\"token\":\"", id);
    for (size_t i = 0; i < text.len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text.data + i, text.len - i, &cp);
        if (n == 0)
            buf_add_str(b, "\xef\xbf\xbd");
        else
            add_json_char(b, text.data + i, n, cp);
        i += MAX(n, (size_t)1);
    }
    buf_printf(b, "\",\"logprob\":%.6f", logprob);
}

char *logprobs_line(const struct tokenizer *t, const float *logits, uint32_t n, int32_t chosen,
                    uint32_t k)
{
    int32_t ids[LOGPROBS_MAX];
    k = MIN(k, MIN(n, (uint32_t)LOGPROBS_MAX));
    logprobs_top(logits, n, k, ids);
    double total = logprobs_total(logits, n);
    struct buf b = {0};
    buf_add_char(&b, '{');
    add_token(&b, t, chosen, logits[chosen] - total);
    buf_add_str(&b, ",\"top\":[");
    for (uint32_t i = 0; i < k; i++) {
        buf_add_str(&b, i ? ",{" : "{");
        add_token(&b, t, ids[i], logits[ids[i]] - total);
        buf_add_char(&b, '}');
    }
    buf_add_str(&b, "]}");
    return buf_steal(&b, NULL);
}
