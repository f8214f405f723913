/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes chat templates. The input is a template and messages, parted by NUL bytes; the first letter of a message is its role.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "model/chat.h"

#define MESSAGES_MAX 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *role_of(char c)
{
    static const char *const roles[] = {"user", "assistant", "system", "tool", "stranger"};
    return roles[(unsigned char)c % ARRAY_LEN(roles)];
}

static void check(const struct chat_prompt *p, size_t n_messages)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n_spans; i++) {
        const struct chat_span *s = &p->spans[i];
        if (s->start != at || s->len == 0 || s->message < -1 || s->message >= (int)n_messages)
            log_fatal("span %zu: %zu + %zu of %d", i, s->start, s->len, s->message);
        at += s->len;
    }
    if (at != p->len)
        log_fatal("spans of %zu bytes for %zu", at, p->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct chat_message messages[MESSAGES_MAX];
    size_t n_messages = 0;
    struct err e = {0};
    const char *text = n > 0 ? (const char *)data : "";
    const char *end = text + n;
    const char *nul = memchr(text, 0, n);
    size_t len = nul ? (size_t)(nul - text) : n;
    for (const char *at = text + len + 1; n_messages < MESSAGES_MAX && at < end; n_messages++) {
        nul = memchr(at, 0, (size_t)(end - at));
        const char *stop = nul ? nul : end;
        messages[n_messages] = (struct chat_message){role_of(*at), at, (size_t)(stop - at)};
        at = stop + 1;
    }
    CLEANUP(chat) struct chat_template *t = chat_parse(text, len, &e);
    if (!t) {
        if ((e.code != ENOEXEC && e.code != ENOMEM) || e.text[0] == 0)
            log_fatal("refused with %d: %s", e.code, e.text);
        return 0;
    }
    struct chat_prompt p = {0};
    if (chat_render(t, messages, n_messages, n & 1, "<bos>", "<eos>", &p, &e) == 0)
        check(&p, n_messages);
    else if ((e.code != EINVAL && e.code != ENOMEM) || e.text[0] == 0)
        log_fatal("failed with %d: %s", e.code, e.text);
    chat_prompt_free(&p);
    return 0;
}
