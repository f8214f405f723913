/* SPDX-License-Identifier: Apache-2.0 */
/* selftest: whether a set of kernels gives the bits of the portable one, on this machine and as this compiler made it. */
#ifndef LLMOSFS_KERNELS_CPU_SELFTEST_H
#define LLMOSFS_KERNELS_CPU_SELFTEST_H

#include "kernels/cpu/kernels.h"

/* NULL if it does; else the name of a kernel that does not. Takes some milliseconds. */
const char *selftest(const struct kernels *k);

#endif
