/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime: conversations, questions and answers, parameters, and the engines that answer.
 *
 *   user, version ──> conversation ──> draft (what is being written to a prompt)
 *                          │
 *                          └──> answer, answer, …   one for each question; the newest is current
 *                                  │
 *   version's content ──> engine <─┘                one process for each resident content
 *
 * Threads and locks. All state is guarded by one mutex that is never held across the disk, a
 * socket that could block, or a callback. Every function may be called from any thread and returns
 * at once: none waits for an engine. Whoever must wait queues an rt_wait and is called back from
 * the runtime's own thread with no lock held. Conversations and answers are counted; *_put gives
 * one back.
 *
 * A conversation belongs to a user id, which the caller gives; who may ask at all was decided by
 * the kernel before.
 */
#ifndef LLMOSFS_RUNTIME_RUNTIME_H
#define LLMOSFS_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "store/store.h"

struct rt;
struct rt_conv;
struct rt_draft;
struct rt_answer;

/* Names in a version's directory that mean something. */
#define RT_WEIGHTS  "model.gguf"
#define RT_SYSTEM   "system"
#define RT_TEMPLATE "template"
#define RT_PARAMS   "params"

#define RT_TEXT_MAX (1u << 20) /* bytes of a system prompt or template */

struct rt_config {
    struct store *store; /* outlives the rt */
    int supervisor;      /* socket to the supervisor, which starts engines (spawn.h); taken over */
    uint32_t threads;    /* of each engine; 0: the engine's choice */
    uint64_t kv_bytes;   /* cache budget of each engine; 0: the engine's choice */
    uint32_t context;    /* most tokens of a conversation; 0: the model's */
    uint32_t
        hang_seconds; /* an engine that owes a word is ended after so long without one; 0: 30 */
    uint32_t load_seconds; /* the same while it loads; 0: 120 */
    size_t prompt_max;     /* bytes of one prompt; 0: 64 MiB */
    uint32_t waiting_max;  /* unanswered questions of one user; 0: 1024 */
    uint32_t conv_max;     /* conversations kept when nobody has them open; 0: 4096 */
    uint64_t conv_bytes; /* that conversations may take until the oldest of these go; 0: 256 MiB */
    const char *kernels; /* "" or a name for tests, passed on to engines */
};

/* Starts the runtime's thread. */
struct rt *rt_new(const struct rt_config *config, struct err *e);

/* Ends the engines and wakes everyone who waits; answers that are still held stay readable. */
void rt_free(struct rt *rt);

/* --- versions --- */

/*
 * The weights of a version were closed after writing, renamed into place, replaced or removed:
 * has what is there now inspected. Cheap to repeat. Questions asked from now on are answered by
 * what was published when they were asked.
 */
void rt_weights_changed(struct rt *rt, store_ino version);
/* The directory is gone: its engine ends when it has answered. */
void rt_version_removed(struct rt *rt, store_ino version);

/* The texts of .status and .params (interface.md, "Versions"). */
void rt_version_status(struct rt *rt, store_ino version, struct buf *text);
void rt_version_params(struct rt *rt, store_ino version, struct buf *text);

/* Settings in .control, one value each: "keep_alive" (seconds; 0: leave at once, -1: stay). */
const char *const *rt_control_names(void); /* NULL at the end */
int rt_control_get(struct rt *rt, store_ino version, const char *name, struct buf *text,
                   struct err *e);
int rt_control_set(struct rt *rt, store_ino version, const char *name, const char *text, size_t n,
                   struct err *e);

/* --- parameters: the table of names, ranges and defaults --- */
bool rt_param_known(const char *name);
bool rt_param_is_number(const char *name); /* checked at write(2); others at close(2) */

/*
 * Checks a value as it was written, white space around it allowed: EINVAL and a sentence that says
 * what would be right. Adds it as it is stored (one newline at its end) to *normal if not NULL;
 * nothing if there is nothing but white space, which means the default.
 */
int rt_param_check(const char *name, const char *text, size_t n, struct buf *normal, struct err *e);

/* The same for RT_SYSTEM and RT_TEMPLATE (length, UTF-8); a template's syntax is the engine's to
 * judge. */
int rt_text_check(const char *name, const char *text, size_t n, struct err *e);

/* --- conversations --- */

/* The conversation of a user with a version, made at first use; counted for the caller. */
struct rt_conv *rt_conv_get(struct rt *rt, uid_t uid, store_ino version);
/* One that belongs to an open file alone (prompt opened O_RDWR). */
struct rt_conv *rt_conv_private(struct rt *rt, uid_t uid, store_ino version);
struct rt_conv *rt_conv_ref(struct rt_conv *c);
void rt_conv_put(struct rt_conv *c);

/* The newest answer, counted for the caller. Never NULL: at first an empty one that is done. */
struct rt_answer *rt_conv_answer(struct rt_conv *c);

/*
 * Puts a text in the place of the newest answer (a write to completion): a new answer that is done.
 * One that is being made is cancelled. EINVAL: not UTF-8; EFBIG.
 */
int rt_conv_replace(struct rt_conv *c, const char *text, size_t n, struct err *e);

/* The texts of .usage and .rendered: of the newest answer that is done. "" if there is none. */
void rt_conv_usage(struct rt_conv *c, struct buf *text);
void rt_conv_rendered(struct rt_conv *c, struct buf *text);

/* --- drafts: what is being written to a prompt, one for each open file --- */

/* append: it will be the next turn; else it begins a new conversation. */
struct rt_draft *rt_draft_open(struct rt_conv *c, bool append);

/* Disarms. Appending drafts ignore off. EFBIG over prompt_max; EINVAL for a hole before off. */
int rt_draft_write(struct rt_draft *d, const void *data, size_t n, uint64_t off, struct err *e);
/* Cuts what was written and not asked yet; EINVAL beyond its end. */
int rt_draft_truncate(struct rt_draft *d, uint64_t size, struct err *e);

/* A flush (each close(2) of each descriptor): arms the draft if anything is written and not
   asked. */
void rt_draft_flush(struct rt_draft *d);

/*
 * Asks what is there, if it is more than nothing (one newline at its end is dropped). Afterwards
 * the draft is empty and further writes are a next turn. A refusal (EBUSY, EDQUOT …) is reported
 * here and is the question's answer as well: rt_conv_answer then gives one that failed.
 */
int rt_draft_ask(struct rt_draft *d, struct err *e);

/* The last close: asks (unless drop) and frees the draft. */
int rt_draft_close(struct rt_draft *d, bool drop, struct err *e);

/* Asks all armed drafts of a conversation, in the order they were armed. True if there was one. */
bool rt_conv_commit(struct rt_conv *c);

/* Asks a text at once (a rename onto prompt). */
int rt_conv_ask(struct rt_conv *c, bool append, const char *text, size_t n, struct err *e);

/* --- answers --- */

struct rt_answer_info {
    uint64_t number; /* of this answer, > 0, never used again in this daemon's life */
    uid_t uid;
    store_ino version;
    bool done;     /* whole, cut, cancelled or failed: nothing changes any more */
    int code;      /* errno that opens of completion and stream fail with; 0: the text counts */
    uint64_t size; /* bytes so far; when done, a text ends in a newline */
    struct timespec changed;
};
struct rt_answer *rt_answer_ref(struct rt_answer *a);
void rt_answer_put(struct rt_answer *a);
void rt_answer_info(struct rt_answer *a, struct rt_answer_info *info);

/*
 * Copies up to n bytes at off, fewer at the end of what there is. With whole_chars a copy into 4
 * bytes or more never ends inside a UTF-8 sequence.
 */
size_t rt_answer_read(struct rt_answer *a, uint64_t off, void *data, size_t n, bool whole_chars);

/* Why it failed; code 0 if it did not. */
void rt_answer_error(struct rt_answer *a, struct err *e);

/* Someone who waits; part of the caller's own struct, which lives until wake() was called or
   rt_unwait() gave true. Holds no count of the answer: the caller does. */
struct rt_wait {
    void (*wake)(struct rt_wait *w); /* exactly once, from the runtime's thread, no lock held */
    struct rt_answer *answer;        /* this and what follows is the runtime's */
    struct list link;
    uint64_t beyond;
};

#define RT_WHOLE UINT64_MAX

/*
 * Waits until the answer is done or has more than `beyond` bytes (RT_WHOLE: until it is done).
 * True: it is so already and nothing was queued. False: wake() will be called.
 */
bool rt_wait(struct rt_answer *a, struct rt_wait *w, uint64_t beyond);
/* True: taken out, wake() will not be called. False: it was called or is just being called. */
bool rt_unwait(struct rt_wait *w);

/*
 * Attendance: who waits for an answer or reads along. When the last one leaves and nobody attends
 * within a second the answer is cancelled; at once if the leaver is dying. An answer that nobody
 * ever attended is made to its end.
 */
void rt_attend(struct rt_answer *a);
void rt_leave(struct rt_answer *a, bool dying);
void rt_cancel(struct rt_answer *a); /* harmless if it is done */

/* --- the last error of a user with a version (.error) --- */
void rt_error_note(struct rt *rt, uid_t uid, store_ino version, const struct err *e);
/* "" if there is none, else the sentence and a newline. */
void rt_error_text(struct rt *rt, uid_t uid, store_ino version, struct buf *text);

#endif
