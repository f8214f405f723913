/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the runtime share. Private to src/runtime; the mount sees runtime.h.
 *
 * Everything here is guarded by rt.lock, but for what a line says otherwise. Functions
 * under a heading "lock held" want it held; nothing here keeps it across the disk.
 *
 * The life of a question:
 *
 *     COMPOSING   the asking thread reads what the version is now (version.c), without the lock
 *     PARENT      a next turn: waits in its parent's children until that is done
 *     FACTS       its weights are being inspected: waits in content.waiting
 *     QUEUED      in its engine's queue, which is loading or just about to take it
 *     SENT        the engine has it
 *     DONE
 *
 * From its ask to DONE it holds a count of itself. Only the runtime's thread moves it from state to
 * state after COMPOSING; other threads put it on rt.todo or ask for its end on rt.cancels.
 */
#ifndef LLMOSFS_RUNTIME_INTERNAL_H
#define LLMOSFS_RUNTIME_INTERNAL_H

#include <pthread.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "proto/proto.h"
#include "runtime/param.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"

#define GRACE_NS          CLOCK_NS_PER_SEC /* how long an answer that all have left goes on */
#define ANSWER_MAX        (64u << 20) /* bytes of one answer; an engine that says more is broken */
#define FACTS_KEPT        4096        /* contents that are known though nothing uses them */
#define ERRORS_KEPT       4096        /* sentences for .error */
#define KEEP_ALIVE        300         /* seconds */
#define INSPECTOR_SECONDS 10          /* that it stays idle */
#define NEVER             UINT64_MAX

struct engine;

/* What a file of weights holds, known by the store's number of that content. */
struct content {
    uint64_t id;
    uint64_t size;
    int fd;                   /* -1 while nobody uses it */
    unsigned users;           /* questions, an engine, an inspection: they need fd */
    unsigned versions;        /* of which it is the current content */
    bool known;               /* facts counts */
    bool unsaved;             /* the store does not have the facts yet */
    struct proto_facts facts; /* its strings are in facts_text */
    struct buf facts_text;
    bool inspecting;
    unsigned inspector_deaths; /* in a row, over this file */
    struct list inspect_link;  /* in inspector.queue */
    struct list waiting;       /* answers in FACTS */
    struct engine *engine;     /* the one that takes questions, or NULL */
    struct list cache_link;    /* in rt.cached while users == 0 */
};

struct version {
    store_ino ino;
    unsigned refs; /* conversations, answers, sentences for .error, and its content */
    bool removed;  /* goes with the last of these */
    struct content
        *content; /* the newest that is known; counts as one of its `versions`, not as a user */
    int64_t keep_alive; /* seconds, -1: for ever */
    bool keep_alive_known;
    struct map convs;  /* uid: rt_conv */
    struct map errors; /* uid: struct error_note */
};

struct error_note {
    struct list link; /* in rt.errors, oldest first */
    struct version *version;
    uid_t uid;
    char text[ERR_TEXT_MAX];
};

struct user {
    uid_t uid;
    uint32_t waiting; /* unanswered questions */
};

struct rt_conv {
    struct rt *rt;
    unsigned refs;
    uid_t uid;
    struct version *version;
    bool private_;            /* of an open file alone: not in version.convs */
    struct rt_answer *newest; /* counted; never NULL */
    struct rt_answer
        *before; /* counted: the newest that was done and asked before `newest` came; or NULL */
    struct list armed; /* drafts, in the order they were armed */
    struct list lru;   /* in rt.idle_convs while refs == 0 */
};

struct rt_draft {
    struct rt_conv *conv;
    bool append;
    bool asked; /* once it was, offsets say nothing any more */
    struct buf text;
    struct list link; /* in conv.armed */
};

enum answer_state { COMPOSING, PARENT, FACTS, QUEUED, SENT, DONE };

struct rt_answer {
    struct rt *rt;
    unsigned refs;
    uint64_t number;
    uid_t uid;
    struct version *version;
    enum answer_state state;
    struct err error; /* code 0: it did not fail */
    struct timespec changed;

    /* the conversation: what was said before is the chain of parents */
    struct rt_answer *parent; /* counted */
    char *user;               /* what was asked; NULL: this text was put there, nobody asked */
    size_t user_len;
    struct buf text; /* the answer */
    bool newline;    /* its last byte was added here, the model did not say it */
    int32_t *ids;
    size_t n_ids;
    size_t cap_ids;
    size_t charged; /* bytes of it in rt.bytes */

    /* who wants it */
    struct list whole; /* rt_wait until it is done */
    struct list more;  /* rt_wait for more bytes */
    unsigned attending;
    uint64_t grace_at;
    struct list grace; /* in rt.graces */

    /* while it is not done */
    struct list active; /* in rt.active */
    bool admitted;      /* counts among its user's unanswered questions */
    struct list
        link; /* by state: rt.todo, parent.children, content.waiting, engine.queue or .sent */
    struct list cancel_link; /* in rt.cancels */
    struct list children;    /* next turns that wait for it */
    bool cancelled;          /* CANCEL was sent */
    bool started;
    unsigned tries; /* engines that died before they began with it */
    struct content *content;
    struct engine *engine;
    struct params params;
    struct buf system;
    struct buf chat_template;

    /* told in .usage and .rendered */
    bool replaced; /* a text that was put there */
    uint64_t content_id;
    uint64_t asked_at; /* clock */
    uint64_t done_at;
    struct proto_done end; /* its text is not kept */
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    uint64_t seed;
    char *rendered;
    size_t rendered_len;
};

enum engine_state { ENGINE_STARTING, ENGINE_LOADING, ENGINE_READY, ENGINE_ENDING };

struct engine { /* a process; struct inspector has one too, without content */
    uint64_t id;
    enum spawn_role role;
    enum engine_state state;
    pid_t pid;
    struct proto_conn *conn; /* the runtime thread's alone; NULL before STARTED and after its end */
    bool want_out;           /* EPOLLOUT is asked for */
    struct list link;        /* in rt.engines */
    struct content *content;
    struct list queue;
    struct list sent;
    unsigned n_queue;
    unsigned n_sent;
    struct map asked; /* number: the answers in sent */
    bool was_ready;
    bool more;          /* messages may be left in conn's buffer */
    uint64_t last_word; /* clock: of the engine, or since when it owes one */
    uint64_t idle_since;
    uint64_t
        end_at; /* ENDING: when it is killed; when killed: when its ENDED is not waited for any more */
    bool killed;
    int64_t keep_alive;
    uint64_t progress_done;
    uint64_t progress_total;
    struct proto_ready ready; /* numbers only */
    char backend[32];
    char kernels[64];
    struct err why; /* what its questions fail with, once that is known; code 0: not yet */
};

struct inspector {
    struct engine *engine; /* NULL: not running */
    struct list queue;     /* contents; the first is the one in hand if `busy` */
    bool busy;
};

struct rt {
    struct rt_config config;
    char *kernels;
    pthread_mutex_t lock;
    pthread_t thread;
    int epoll;
    int kick;
    int supervisor;
    bool kicked;
    bool stopping;    /* rt_free was called */
    bool dead;        /* and has finished: what is left are objects that others hold */
    uint64_t objects; /* conversations and answers that are left */
    uint64_t bytes;   /* that they hold */
    uint64_t last_number;
    uint64_t last_engine;

    struct map versions; /* ino: struct version */
    struct map contents; /* id: struct content */
    struct map users;    /* uid: struct user */
    struct list cached;  /* contents without users, least recently used first */
    size_t n_cached;
    struct list idle_convs; /* least recently used first */
    size_t n_idle_convs;
    struct list errors;
    size_t n_errors;
    struct list engines; /* all processes, the inspector too */
    struct inspector inspector;

    struct list active;  /* all answers that are not done */
    struct list todo;    /* answers that can go a step on */
    struct list cancels; /* answers that are to end */
    struct list graces;  /* answers that all have left, by grace_at */
    struct list fired;   /* rt_waits to be called */
    struct list closing; /* struct closing: descriptors to close without the lock */
};

struct closing {
    struct list link;
    int fd;
};

static inline void rt_lock(struct rt *rt)
{
    pthread_mutex_lock(&rt->lock);
}

static inline void rt_unlock(struct rt *rt)
{
    pthread_mutex_unlock(&rt->lock);
}

/* --- rt.c; lock held --- */
void rt_kick(struct rt *rt); /* has the thread look at what there is to do */
int rt_spawn(struct rt *rt,
             const struct spawn_packet *p); /* the runtime's thread; -1: there is no supervisor */
void rt_close_later(struct rt *rt, int fd);
/* Gives up the lock; if this was the last object of a dead runtime its memory too. */
void rt_unlock_after_put(struct rt *rt);

/* --- conv.c; lock held --- */
struct version *version_get(struct rt *rt, store_ino ino); /* made if there is none */
void conv_trim(struct rt *rt); /* forgets conversations over the limits */
void conv_forget_all(struct rt *rt);
void conv_forget(struct rt *rt, struct version *v); /* those of a version that nobody has open */
/* Makes the question the newest answer of c; text is taken over. Counted for the caller. */
struct rt_answer *conv_begin(struct rt_conv *c, bool append, char *text, size_t n);
/* After conv_begin, without the lock: reads the version and hands the question to the thread; gives the caller's count back. */
void conv_submit(struct rt_answer *a);
void version_ref(struct version *v);
void version_unref(struct rt *rt, struct version *v);
void version_free_unused(struct rt *rt);

/* --- answer.c; lock held --- */
struct rt_answer *answer_new(struct rt *rt, uid_t uid, struct version *v);
void answer_unref(struct rt_answer *a);
void answer_charge(struct rt_answer *a); /* counts its bytes anew */
void answer_append(struct rt_answer *a, const struct proto_piece *p);
void answer_finish(struct rt_answer *a, enum proto_finish finish, int code, const char *text);
void answer_fail(struct rt_answer *a, const struct err *e);
void answer_fail_sent(struct engine *g, struct rt_answer *a, const struct err *why); /* ask.c */
void answer_end_cancelled(struct rt_answer *a);                                      /* ask.c */
void answer_want_cancel(struct rt_answer *a); /* the thread ends it */
bool answer_is_said(
    const struct rt_answer
        *a); /* it is a part of what was said: whole, cut or cancelled, but with an answer */

/* --- version.c --- */
/* What a version is at one moment. */
struct composed {
    struct content *content; /* counted as used */
    struct params params;
    struct buf system;
    struct buf chat_template;
};
void composed_free(struct rt *rt, struct composed *c); /* lock held */
/* Without the lock. */
int version_compose(struct rt *rt, store_ino version, struct composed *c, struct err *e);
/* Lock held. */
void content_use(struct rt *rt, struct content *c);
void content_unuse(struct rt *rt, struct content *c);
void version_set_content(struct rt *rt, struct version *v, struct content *c);
void content_free_all(struct rt *rt);
void content_learn(struct content *c, const struct proto_facts *f);
/* EBADMSG, ENOEXEC, ENOMEM. */
int content_check(const struct content *c, struct err *e);
/* Without the lock. 0, or -1: ENOMEDIUM … ; *c is counted as used. */
int content_of_version(struct rt *rt, store_ino version, struct content **c, struct err *e);
/* Without the lock: writes what an inspector found to the store. c is counted as used by the caller. */
void content_save_facts(struct rt *rt, struct content *c);
/* Without the lock: the text of a parameter, nothing if it is not set. */
int version_param_text(struct rt *rt, store_ino version, const char *name, struct buf *b,
                       struct err *e);

/* --- engine.c; lock held, the runtime's thread --- */
void rt_engine_take(struct rt *rt, struct rt_answer *a); /* queues a question, starts the engine */
void rt_engine_cancel(struct rt *rt, struct rt_answer *a);
struct engine *rt_engine_start(struct rt *rt, enum spawn_role role);
void rt_engine_packet(struct rt *rt, const struct spawn_packet *p, int fd);
void rt_engine_event(struct rt *rt, uint64_t id, uint32_t events); /* without the lock */
bool rt_engine_has_more(const struct rt *rt);
void rt_engine_read_more(
    struct rt *rt); /* without the lock: messages that were left for another turn */
void rt_engine_send(struct rt *rt, struct engine *g, const struct proto_msg *m);
void rt_engine_kill(struct rt *rt, struct engine *g, const struct err *why);
void rt_engine_end(struct rt *rt, struct engine *g);    /* it is not needed any more */
uint64_t rt_engine_timers(struct rt *rt, uint64_t now); /* does what is due; the next time */
void rt_engine_free_all(struct rt *rt);

/* --- inspect.c; lock held, the runtime's thread unless said otherwise --- */
void inspect_want(struct rt *rt, struct content *c); /* any thread */
void inspect_go_on(struct rt *rt);
bool inspect_facts(struct rt *rt, const struct proto_facts *f); /* false: none was asked for */
void inspect_died(struct rt *rt, const struct err *why);

/* --- errors.c; lock held --- */
void error_note(struct rt *rt, struct version *v, uid_t uid, const char *text);
void error_forget(struct rt *rt, struct version *v);
void error_free_all(struct rt *rt);
int user_admit(struct rt *rt, uid_t uid, struct err *e); /* one more unanswered question: EBUSY */
void user_answered(struct rt *rt, uid_t uid);

/* --- control.c --- */
void control_load(struct rt *rt, store_ino version); /* without the lock: the settings, once */

#endif
