/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logprobs: the likeliest tokens and their natural logarithms, over the whole vocabulary, before
 * any sampling.
 *
 *     {"id":4011,"token":" cold","logprob":-0.34939,"top":[{"id":4011,"token":"
 * cold","logprob":-0.34939},…]}
 */
#ifndef LLMOSFS_ENGINE_LOGPROBS_H
#define LLMOSFS_ENGINE_LOGPROBS_H

#include <stdint.h>

#include "model/tokenizer.h"

#define LOGPROBS_MAX 1024

/* log(sum(exp(logits))), in double: a token's log-probability is its logit minus this. */
double logprobs_total(const float *logits, uint32_t n);

/* The ids of the k ≤ n likeliest, the likeliest first, the lower id first among equals. */
void logprobs_top(const float *logits, uint32_t n, uint32_t k, int32_t *ids);

/* The line for a token that was chosen, without a newline at its end; the caller frees it. k is cut
 * to the vocabulary and LOGPROBS_MAX. */
char *logprobs_line(const struct tokenizer *t, const float *logits, uint32_t n, int32_t chosen,
                    uint32_t k);

#endif
