/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler: from logits to the next token.
 *
 * The chain, in the order of llama.cpp's server, each step on what the one before left:
 *   penalties    for each token t that is among the last repeat_last_n (c times): l[t] is divided
 * by repeat_penalty if > 0, else multiplied; then l[t] -= c * frequency_penalty + presence_penalty
 *   top_k        the k largest
 *   top_p        of these, the fewest likeliest whose probabilities reach p together
 *   min_p        of these, those at least min_p times as likely as the likeliest
 *   temperature  l / temperature, then one is drawn with Philox(seed, position)
 * Among equals the lower id is the likelier. Temperature 0: the likeliest after the penalties.
 *
 * Stateless: (logits, tokens so far, parameters) → token, so that an answer that was interrupted
 * goes on as if it had not been.
 */
#ifndef LLMOSFS_ENGINE_SAMPLER_H
#define LLMOSFS_ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/proto.h"

struct sampler; /* scratch memory for one vocabulary; one thread at a time */

struct sampler *sampler_new(uint32_t n_vocab, struct err *e);
void sampler_free(struct sampler *s);
DEFINE_CLEANUP(sampler, struct sampler *, sampler_free)

/* EINVAL if a value is no number or outside of what the formulas above allow. */
int sampler_check(const struct proto_sampling *p, struct err *e);

/* EIO if a logit is NaN or infinite: nothing can be said about such an answer. */
int sampler_check_logits(const float *logits, uint32_t n, struct err *e);

/*
 * The next token. logits are n_vocab finite numbers. tokens (below n_vocab): all that came before,
 * prompt and answer; their number is the position for the random number.
 */
int32_t sampler_pick(struct sampler *s, const struct proto_sampling *p, const float *logits,
                     const int32_t *tokens, size_t n_tokens);

#endif
