/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat: chat templates, a bounded subset of Jinja over untrusted text. What it does not know is
 * refused when the template is read (ENOEXEC and the construct's name), never guessed.
 *
 * A rendered prompt remembers which of its bytes came from messages: those never become control
 * tokens, whatever they say.
 */
#ifndef LLMOSFS_MODEL_CHAT_H
#define LLMOSFS_MODEL_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

#define CHAT_TEMPLATE_MAX (256u << 10) /* bytes of a template */
#define CHAT_OUTPUT_MAX   (256u << 20) /* bytes rendered */
#define CHAT_STEPS_MAX    10000000     /* of the interpreter */

struct chat_template;

struct chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
    size_t len;
};

/* A run of rendered bytes. message < 0: the template's own text; else from the content of
 * messages[message]. */
struct chat_span {
    size_t start;
    size_t len;
    int message;
};

struct chat_prompt {
    char *text;
    size_t len;
    struct chat_span *spans; /* without gaps, in order */
    size_t n_spans;
};
void chat_prompt_free(struct chat_prompt *p);

struct chat_template *chat_parse(const char *text, size_t len, struct err *e);
void chat_free(struct chat_template *t);
DEFINE_CLEANUP(chat, struct chat_template *, chat_free)

/* bos and eos: the texts of these tokens, "" if there are none. EINVAL: the template raised an
 * exception, with its words; ENOMEM: over a limit. */
int chat_render(const struct chat_template *t, const struct chat_message *messages, size_t n,
                bool add_generation_prompt, const char *bos, const char *eos,
                struct chat_prompt *out, struct err *e);

#endif
