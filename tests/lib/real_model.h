/* SPDX-License-Identifier: Apache-2.0 */
/* real_model: the two models that `make models` fetches. */
#ifndef LLMOSFS_TESTS_REAL_MODEL_H
#define LLMOSFS_TESTS_REAL_MODEL_H

#define REAL_MODEL_SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"
#define REAL_MODEL_GEMMA3  "gemma-3-270m-q4_k_m.gguf"

/* Opens it for reading (the caller closes). Where it was not fetched, prints how to and fails the
 * test. */
int real_model_open(const char *name);

#endif
