/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prompt: from the messages of a question to the tokens that the model sees.
 *
 * chat: the messages rendered by a chat template; only the template's own text can become control
 * tokens. A message that brings its token ids (an earlier answer) stands there as those very ids,
 * if its text stands whole in what was rendered; a template that changed it gets it tokenized as it
 * now is. raw: the messages' texts one after the other.
 */
#ifndef LLMOSFS_ENGINE_PROMPT_H
#define LLMOSFS_ENGINE_PROMPT_H

#include "base/buf.h"
#include "base/err.h"
#include "model/chat.h"
#include "model/tokenizer.h"
#include "proto/proto.h"

struct prompt {
    struct tokens tokens;
    struct buf rendered; /* the text */
    size_t dropped;      /* bytes that the vocabulary has no token for */
};
void prompt_free(struct prompt *p);
#define CLEANUP_PROMPT __attribute__((cleanup(prompt_free)))

/* What a model says about its own template. */
struct prompt_template {
    struct chat_template *chat; /* NULL: it has none, or one that cannot be applied: */
    struct err refused;         /* then the reason; code 0: it has none */
};

/*
 * max_bytes: a longer text is refused before it is tokenized (EFBIG).
 * EINVAL: token ids out of range, a template that raises an exception or cannot be read, nothing to
 * ask. ENOEXEC: the model's own template cannot be applied, and neither mode raw nor another
 * template was asked for.
 */
int prompt_build(struct prompt *p, const struct tokenizer *t, const struct prompt_template *own,
                 const struct proto_ask *ask, size_t max_bytes, struct err *e);

#endif
