/* SPDX-License-Identifier: Apache-2.0 */
/* replay: gives the inputs that are kept for a fuzzer to its target again. */
#ifndef LLMOSFS_TESTS_REPLAY_H
#define LLMOSFS_TESTS_REPLAY_H

#include <stddef.h>
#include <stdint.h>

/* All files of tests/fuzz/corpus/NAME; returns how many. Ends the program where there are none. */
size_t replay(const char *name, int (*target)(const uint8_t *data, size_t n));

#endif
