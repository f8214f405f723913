/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer: from the tokens of an answer to the text that may be shown.
 *
 * Text is held back while it could be the beginning of a stop sequence or of a UTF-8 sequence; a
 * token's id (and the line of its logprobs) is given out with the last of its bytes. So what was
 * given out are always ids and their very text. Where a stop sequence cuts a token in two, the half
 * before it is tokenized anew: ids stand for the text there, too.
 */
#ifndef LLMOSFS_ENGINE_ANSWER_H
#define LLMOSFS_ENGINE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/tokenizer.h"
#include "proto/proto.h"

#define ANSWER_STOPS_MAX      256
#define ANSWER_STOP_BYTES_MAX 4096

struct answer_token {
    int32_t id;
    size_t end;     /* of its text in held */
    char *logprobs; /* a line, or NULL */
};

struct answer {
    const struct tokenizer *tokenizer;
    struct detokenizer detokenizer;
    char **stops; /* not NUL-terminated: they may hold NULs */
    size_t *stop_lens;
    size_t n_stops;
    struct buf held;             /* text that was not given out */
    struct answer_token *tokens; /* that were not given out */
    size_t n_tokens;
    size_t tokens_cap;
    /* what may be given out; answer_clear() once it was */
    struct buf text;
    struct tokens ids;
    struct buf logprobs;
};

/* Empty stops are left out. EINVAL: too many, too long, not UTF-8. t outlives the answer. */
int answer_init(struct answer *a, const struct tokenizer *t, const struct proto_str *stops,
                size_t n, struct err *e);
void answer_free(struct answer *a);

/* One more token; logprobs: its line or NULL, taken over. True if a stop sequence is complete: the
 * answer ends before it, and all of it is in text. */
bool answer_push(struct answer *a, int32_t id, char *logprobs);

/* There is no more: everything that was held back is in text. */
void answer_end(struct answer *a);

void answer_clear(struct answer *a);

#endif
