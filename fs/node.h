/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node: what the kernel's requests are about, and how each kind of it answers.
 *
 *     request ──> dispatch.c ──> node (nodes.c) ──> its kind's table of functions (struct node_ops)
 *
 *     kind                 file          its nodeid
 *     root                 root.c        STORE_ROOT
 *     version              version.c     the store's inode number
 *     params               params.c      the same
 *     directory            stored.c      the same
 *     file, symlink, …     stored.c      the same
 *     weights              weights.c     the same
 *     value                value.c       the same; a parameter, system, template
 *     prompt               prompt.c      one for each user
 *     completion           completion.c  one for each user and answer
 *     stream               stream.c      one for each user and answer
 *     table                table.c       one for each user: .status, .params, .error …
 *     control              control.c     one for each version, and one for each setting
 *
 * Nodeids up to STORE_INO_MAX are the store's own numbers: such a node needs no memory here unless
 * it is of a special kind. Those above are given in order and never again.
 *
 * A name in a directory is made, found and removed by names.c for all kinds of directory; what a
 * directory lets in, and what its children are, says its kind (admit, child, changed).
 *
 * Live names (prompt, completion, stream, params) are nodes of the store with a role, which holds
 * their mode, owner and attributes; lookup of one answers with the node of the user who asks.
 *
 * Threads: libfuse's workers run all of this at once. nodes.lock guards the table and the counts; what a
 * handle holds is guarded by its own lock; a node's other fields do not change. Nobody waits for an answer:
 * park.h.
 */
#ifndef LLMOSFS_FS_NODE_H
#define LLMOSFS_FS_NODE_H

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "runtime/runtime.h"
#include "store/store.h"

/* On disk (store_attr.role): never renumber. */
enum role {
    ROLE_NONE,
    ROLE_VERSION,
    ROLE_PARAMS,
    ROLE_COMPLETION,
    ROLE_STREAM,
    ROLE_PROMPT,
};
static inline bool role_is_live(uint32_t role)
{
    return role >= ROLE_PARAMS && role <= ROLE_PROMPT;
}
static inline bool role_is_live_file(uint32_t role)
{
    return role_is_live(role) && role != ROLE_PARAMS;
}

#define TIMEOUT_LONG 86400.0     /* of what changes through the mount alone */
#define TEXT_MAX     (64u << 20) /* most bytes that are written to an answer or a private prompt */

struct node_ops;
struct parked;

struct fs {
    struct store *store;
    struct rt *rt;
    struct fuse_session *se;
    int supervisor; /* to say SPAWN_READY on */

    pthread_mutex_t nodes_lock;
    struct map nodes;  /* nodeid -> struct node */
    struct map fronts; /* hash of a front's key -> first of the nodes with that hash */
    uint64_t next_ino;

    pthread_mutex_t handles_lock;
    struct list handles;         /* all that are open */
    struct list values;          /* of these, values open for writing */
    pthread_mutex_t settle_lock; /* held across the disk while values are unset */

    pthread_mutex_t weights_lock;
    struct map weights_pending; /* versions whose weights were written and not announced */

    struct parking *parking;

    pthread_mutex_t retries_lock;
    struct {
        pid_t tid;
        store_ino stored;
    } retries[64]; /* live.c */
    size_t next_retry;
};

/* Who a request is from. Lives on the stack of its handler; what is parked keeps a copy. */
struct call {
    struct fs *fs;
    fuse_req_t req;
    uid_t uid;
    gid_t gid;
    pid_t tid; /* the thread's; 0: in another pid namespace */
    mode_t umask;
};

struct node {
    const struct node_ops *ops;
    uint64_t ino;      /* nodeid */
    store_ino stored;  /* the store's node that has its mode and owner */
    store_ino version; /* the version that it belongs to; 0: none */
    uid_t uid;         /* whose, where users have nodes of their own */
    int which;         /* of those that one kind has: index of a table file, of a setting */
    char *name;        /* of a value, else NULL */

    struct rt_answer *answer; /* of completion and stream, counted */
    uint64_t number;          /* of the answer */
    bool filled;              /* the kernel has been given the whole answer (nodes_lock) */

    unsigned refs;           /* nodes_lock: open handles, running requests, and 1 for the table */
    uint64_t nlookup;        /* nodes_lock: what the kernel holds */
    unsigned writers;        /* nodes_lock: of weights */
    bool listed;             /* nodes_lock: node_get() finds it */
    bool front;              /* nodes_lock: lookups are answered with it */
    bool temporary;          /* on a handler's stack: a stored node of no special kind */
    struct node *next_front; /* same hash */
};

/* An open file. Kinds put their own struct around it. */
struct handle {
    const struct node_ops *ops;
    struct node *node; /* counted */
    int flags;         /* of open(2) */
    uid_t uid;         /* who opened it */
    pthread_mutex_t lock;
    struct list link; /* fs.handles */
};

struct write_args {
    const char *data;
    size_t n;
    off_t off;
    int flags; /* the file's flags now */
};

/* One entry of a directory as readdir tells it. */
struct listing;

/* Functions that return int give 0, or -1 and e. Void ones reply themselves. NULL: see dispatch.c. */
struct node_ops {
    const char *kind;
    double attr_timeout;

    /* attributes */
    int (*getattr)(struct call *c, struct node *n, struct stat *st, struct err *e);
    /* The size only; everything else is the stored node's. h: NULL if no open file is meant. */
    int (*truncate)(struct call *c, struct node *n, struct handle *h, uint64_t size, struct err *e);
    bool fixed; /* mode, owner and times cannot be set, nor extended attributes */

    /* directories; NULL in child: not a directory */
    const struct node_ops *(*child)(const struct node *dir, const char *name,
                                    const struct store_attr *a);
    /* May a node of this type get this name? excl: it must be new. *role is what it becomes. */
    int (*admit)(struct call *c, const struct node *dir, const char *name, mode_t type, bool excl,
                 uint32_t *role, struct err *e);
    /* The name now means another node, or none. */
    void (*changed)(struct call *c, const struct node *dir, const char *name);
    /* Names that are not stored: 1 and *entry, counted as looked up; 0: no such. */
    int (*hidden)(struct call *c, struct node *dir, const char *name,
                  struct fuse_entry_param *entry);
    double (*entry_timeout)(const struct store_attr *a);
    void (*list)(struct listing *l);

    /* Opens and replies by open_reply(); created: *created is the entry for fuse_reply_create(). */
    void (*open)(struct call *c, struct node *n, struct fuse_file_info *fi,
                 const struct fuse_entry_param *created);

    /* open files */
    void (*read)(struct call *c, struct handle *h, size_t n, off_t off, struct fuse_file_info *fi);
    int (*write)(struct call *c, struct handle *h, const struct write_args *w, struct err *e);
    int (*flush)(struct call *c, struct handle *h, struct err *e);
    int (*fsync)(struct call *c, struct handle *h, struct err *e);
    void (*poll)(struct call *c, struct handle *h, struct fuse_pollhandle *ph, short events);
    /* Takes the handle's own things down and frees it; c NULL: the daemon ends. */
    void (*release)(struct call *c, struct handle *h);
    struct store_file *(*file)(struct handle *h); /* of stored files */
};

extern const struct node_ops root_ops, version_ops, params_ops, dir_ops, file_ops, weights_ops,
    value_ops, prompt_ops, completion_ops, stream_ops, table_ops, control_ops, setting_ops;

/* --- nodes.c --- */

/* The node of a nodeid, counted, until node_put(). space: memory for one that needs none in the
   table. NULL: ESTALE or the store's error. */
struct node *node_get(struct fs *fs, uint64_t ino, struct node *space, struct err *e);
struct node *node_ref(struct fs *fs, struct node *n);
void node_put(struct fs *fs, struct node *n);
static inline void node_put_with(struct fs *fs, struct node **n)
{
    if (*n)
        node_put(fs, *n);
}

/* What a front is found by. */
struct node_key {
    const struct node_ops *ops;
    store_ino stored;
    store_ino version;
    uid_t uid;
    int which;
};

/* The node that lookups are answered with, made if there is none or it is about another answer
   (answer NULL: about none). Counted. */
struct node *node_front(struct fs *fs, const struct node_key *key, struct rt_answer *answer);
bool node_is_front(struct fs *fs, struct node *n);
void node_unfront(struct fs *fs, struct node *n);

/* Fills *entry for a node; node_looked_up(), while it is still held, counts that the kernel is told. */
int node_entry(struct call *c, struct node *n, double entry_timeout, struct fuse_entry_param *entry,
               struct err *e);
void node_looked_up(struct fs *fs, uint64_t ino);
void node_forget(struct fs *fs, uint64_t ino, uint64_t n);

/* A stored node of a special kind was found under this name: node_get() gives it from now on. ops
   file_ops or dir_ops: it is an ordinary one. */
void node_note(struct fs *fs, const struct node_ops *ops, store_ino ino, store_ino version,
               const char *name);
void nodes_free(struct fs *fs);

/* --- names.c --- */

/* What a name that is there (a) is, as lookup tells it, and counts it as looked up. */
int names_entry(struct call *c, const struct node *dir, const char *name,
                const struct store_attr *a, struct fuse_entry_param *entry, struct err *e);
const struct node_ops *names_kind(const struct node *dir, const char *name,
                                  const struct store_attr *a);
void names_lookup(struct call *c, uint64_t parent, const char *name);
void names_make(struct call *c, uint64_t parent, const char *name, mode_t mode, dev_t rdev);
void names_create(struct call *c, uint64_t parent, const char *name, mode_t mode,
                  struct fuse_file_info *fi);
void names_symlink(struct call *c, const char *target, uint64_t parent, const char *name);
void names_link(struct call *c, uint64_t ino, uint64_t parent, const char *name);
void names_remove(struct call *c, uint64_t parent, const char *name, bool dir);
/* rename.c */
void names_rename(struct call *c, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name, unsigned flags);

/* --- list.c: readdir --- */
void list_reply(struct call *c, uint64_t dir, size_t size, off_t off, bool plus);
/* For node_ops.list: adds a name at its place (0, 1, 2 …) behind all stored ones. False: no more room, stop. */
bool listing_add(struct listing *l, const char *name, const struct store_attr *a, unsigned place);
struct fs *listing_fs(const struct listing *l);
const struct node *listing_dir(const struct listing *l);

/* --- open files (handle.c) --- */

/* Fills in what all have; size is that of the kind's own struct, which begins with the handle. */
void *handle_new(struct call *c, struct node *n, size_t size, const struct fuse_file_info *fi);
void handle_free(struct fs *fs, struct handle *h); /* after the kind's own things are gone */
static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}
void handles_free(struct fs *fs);

/* Replies to an open or a create, and takes the handle down if nobody hears the reply. */
void open_reply(struct call *c, struct handle *h, struct fuse_file_info *fi,
                const struct fuse_entry_param *created);

static inline bool open_writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* --- replies --- */

/* Replies with an error, and keeps its sentence for .error where there is one worth reading. */
void fail(struct call *c, store_ino version, const struct err *e);
void fail_set(struct call *c, store_ino version, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void note_error(struct call *c, store_ino version, const struct err *e);

/* --- attributes (attr.c) --- */
void attr_to_stat(const struct store_attr *a, struct stat *st);
int attr_stored(struct call *c, struct node *n, struct stat *st, struct err *e);

DEFINE_CLEANUP(store_file, struct store_file *, store_file_close)

/* --- stored.c, shared by weights --- */
void stored_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                 const struct fuse_entry_param *created);
void stored_read(struct call *c, struct handle *h, size_t n, off_t off, struct fuse_file_info *fi);
int stored_write(struct call *c, struct handle *h, const struct write_args *w, struct err *e);
int stored_flush(struct call *c, struct handle *h, struct err *e);
void stored_release(struct call *c, struct handle *h);
int stored_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size, struct err *e);
struct store_file *stored_file(struct handle *h);

/* --- version.c --- */

/* The role of a live name; ROLE_NONE if it is none. */
enum role live_role(const char *name);
/* Makes the live names of a version that are missing. */
int version_make_live(struct fs *fs, store_ino version, struct err *e);

/* --- weights.c --- */
void weights_changed(struct fs *fs, store_ino version); /* now: a name was made or removed */
void weights_settle(struct fs *fs,
                    store_ino version); /* before an ask: announces what is pending */

/* --- value.c --- */
bool value_name_is_text(const char *name); /* system, template */
/* Checks what a file of the store holds as the value of this name; *normal is how it is stored. */
int value_check(const char *name, const char *text, size_t n, struct buf *normal, struct err *e);
size_t value_max(const char *name);
/* Before an ask: values that were emptied and closed are unset. */
void values_settle(struct fs *fs, store_ino version);

/* --- live.c --- */
/* The node that a live name is for the one who asks; counted. */
struct node *live_front(struct call *c, store_ino version, const struct store_attr *a);

#endif
