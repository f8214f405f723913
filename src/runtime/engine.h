/* SPDX-License-Identifier: Apache-2.0 */
/* What engine.c (processes) and ask.c (questions and answers) share. Private to src/runtime. */
#ifndef LLMOSFS_RUNTIME_ENGINE_H
#define LLMOSFS_RUNTIME_ENGINE_H

#include "runtime/internal.h"

/* ask.c */
void rt_engine_send_queue(struct rt *rt, struct engine *g); /* it is ready: asks what waits */
bool rt_engine_answer(struct rt *rt, struct engine *g,
                      const struct proto_msg *m); /* false: wrong */
int rt_engine_errno(int32_t code);                /* what an engine may say to users; else EIO */

/* engine.c */
int rt_engine_send_or(struct rt *rt, struct engine *g, const struct proto_msg *m, struct err *e);
void rt_engine_read(struct rt *rt, struct engine *g, size_t most);

#endif
