/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: one model in memory, and the questions that it answers. What it has to say is given out
 * as messages of proto.h, to a function of the caller's: the main loop sends them to the daemon, a
 * benchmark counts them.
 *
 *     engine_ask → asked (its text only) → prompt built → batch: waiting → running → DONE
 *
 * Not safe for two threads at once; the backend has threads of its own.
 */
#ifndef LLMOSFS_ENGINE_ENGINE_H
#define LLMOSFS_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/weights.h"
#include "model/vfile.h"
#include "proto/proto.h"

#define ENGINE_NAME      "llmosfs-engine 0.1.0"
#define ENGINE_PAGE_SIZE 32 /* positions in a page of the KV cache */

struct engine_config {
    uint32_t threads;    /* 0: as many as the machine gives */
    uint32_t context;    /* most tokens of a sequence; 0: the model's own, or what kv_bytes hold if
                            that is less */
    uint64_t kv_bytes;   /* budget of the KV cache; 0: room for one and a half contexts, at most a
                            quarter of the memory */
    const char *kernels; /* NULL: the best */
    bool ignore_end;     /* an end token is a token like others (benchmarks) */
};

struct engine;

/*
 * f may go afterwards. EBADMSG, ENOEXEC: the file; ENOMEM: it does not fit (a context that was
 * asked for into kv_bytes, too); ENOTSUP: no such kernels; ECANCELED: progress gave up; EIO.
 */
struct engine *engine_load(const struct vfile *f, const struct engine_config *config,
                           weights_progress_fn *progress, void *ctx, struct err *e);
void engine_free(struct engine *en); /* without a word to those that wait */
DEFINE_CLEANUP(engine, struct engine *, engine_free)

/* Who is told (STARTED, PIECE, DONE; valid during the call), and what is called often during a long
 * step. Both may be NULL. */
typedef void engine_emit_fn(void *ctx, const struct proto_msg *m);
void engine_listen(struct engine *en, engine_emit_fn *emit_fn, void (*tick)(void *ctx), void *ctx);

void engine_ready(const struct engine *en,
                  struct proto_ready *out); /* its strings live as long as the engine */

/* Takes a copy. Exactly one DONE follows, from here or from a later call. */
void engine_ask(struct engine *en, const struct proto_ask *ask);
void engine_cancel(struct engine *en,
                   uint64_t id); /* one that is not known (any more) is no error */

bool engine_idle(const struct engine *en); /* owes nothing */

/* Works for a fraction of a second at most, if the machine and the model allow it. */
void engine_step(struct engine *en);

#endif
