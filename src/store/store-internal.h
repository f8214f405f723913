/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store-internal: what the files of this room share. FORMAT.md has the records, the files and the
 * rules of a crash.
 *
 *     store.c      opening, closing, the folder, what a crash left
 *     txn.c        LMDB: the environment, transactions, numbers that are given once
 *     table.c      checked records in the tables
 *     node.c       attributes and new nodes      dir.c     names          rename.c
 *     xattr.c      extended attributes           record.c  facts and settings
 *     live.c       nodes in use, in memory       reaper.c  what is to be removed for good
 *     blob.c       contents and drafts as files on the disk
 *     file.c       open files                    draft.c   writing        content.c  published
 * contents
 *
 * Locks, in the order in which they may be taken:
 *   body->write_lock   one for each file in use: its writers, its publishing. Held while the disk
 * works. (LMDB's own lock of the one writer: from store_txn_write() to store_txn_commit() or
 * _end().) ids[].lock         takes numbers; may begin a write transaction itself, so never inside
 * one shard->lock, reaper lock, lock of the pool of readers: short, never held while the disk
 * works, never two at once.
 */
#ifndef LLMOSFS_STORE_STORE_INTERNAL_H
#define LLMOSFS_STORE_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "store/store.h"

#define STORE_FORMAT          1
#define STORE_INLINE_MAX      4096 /* contents up to this size lie in LMDB, longer ones in a file */
#define STORE_LINK_MAX        65000 /* names of one file */
#define STORE_XATTR_NAME_MAX  255
#define STORE_XATTR_VALUE_MAX 65536
#define STORE_XATTR_TOTAL_MAX (1 << 20) /* names and values of one node */
#define STORE_SYMLINK_MAX     4095
#define STORE_SHARDS          16

/* --- a list of numbers --- */
struct store_ids {
    uint64_t *v;
    size_t n;
    size_t cap;
};
void store_ids_add(struct store_ids *l, uint64_t id);
void store_ids_free(struct store_ids *l);

/* --- tables (table.c) --- */
enum store_table {
    TABLE_META,     /* name                -> number */
    TABLE_NODES,    /* ino                 -> struct store_node */
    TABLE_DENTRIES, /* dir, name           -> ino, cookie */
    TABLE_ORDER,    /* dir, cookie         -> ino, name */
    TABLE_SYMLINKS, /* ino                 -> target */
    TABLE_XATTRS,   /* ino, name           -> value */
    TABLE_CONTENTS, /* content id          -> size, blocks, references, bytes of a small one */
    TABLE_ORPHANS,  /* ino                 -> nothing: no name is left */
    TABLE_GARBAGE,  /* content id          -> nothing: its file is to be removed */
    TABLE_FACTS,    /* content id          -> the inspector's */
    TABLE_SETTINGS, /* ino, name           -> value */
    TABLE_COUNT
};
extern const char *const store_table_names[TABLE_COUNT];

struct store_key {
    size_t n;
    unsigned char b[8 + 256];
};
struct store_key store_key_id(uint64_t id);
struct store_key store_key_pair(uint64_t id, uint64_t number);
struct store_key store_key_name(uint64_t id, const char *name, size_t n); /* n <= 255 */
struct store_key store_key_text(const char *text);

/* The body of a record whose kind, version and check value are right; valid while the transaction
 * lasts. */
struct store_rec {
    const unsigned char *data;
    size_t n;
    const unsigned char *key; /* set by store_scan_next only */
    size_t key_n;
};

struct store_txn {
    struct store *s;
    MDB_txn *mdb; /* NULL: none */
    bool write;
    struct store_ids dead;    /* inodes that lost their last name in it */
    struct store_ids garbage; /* contents whose files go once it is committed */
};

/* 1: found, 0: there is none, -1: damaged (EIO, and a line in the log) or another error. */
int store_rec_get(struct store_txn *t, enum store_table table, const struct store_key *k,
                  struct store_rec *r, struct err *e);
/* head and tail together are the body. Replaces what is there; with MDB_NOOVERWRITE in flags
 * EEXIST. */
int store_rec_put(struct store_txn *t, enum store_table table, const struct store_key *k,
                  const void *head, size_t n_head, const void *tail, size_t n_tail, unsigned flags,
                  struct err *e);
/* 1: removed, 0: there was none. */
int store_rec_del(struct store_txn *t, enum store_table table, const struct store_key *k,
                  struct err *e);

/* Records whose key begins with the first n_prefix bytes of `from`, from that key on, in order of
 * the keys. */
struct store_scan {
    struct store_txn *t;
    enum store_table table;
    MDB_cursor *cursor;
    struct store_key from;
    size_t n_prefix;
    bool begun;
};
int store_scan_begin(struct store_scan *sc, struct store_txn *t, enum store_table table,
                     const struct store_key *from, size_t n_prefix, struct err *e);
int store_scan_next(struct store_scan *sc, struct store_rec *r,
                    struct err *e); /* 1, 0 at the end, -1 */
void store_scan_end(struct store_scan *sc);
#define CLEANUP_SCAN __attribute__((cleanup(store_scan_end)))

/* Removes all records whose key begins with that of id. */
int store_rec_del_all(struct store_txn *t, enum store_table table, uint64_t id, struct err *e);

/* Says in the log and in e (EIO) that a record is not what it must be. Returns -1. */
int store_damaged(enum store_table table, const void *key, size_t n, const char *why,
                  struct err *e);
#define store_damaged(...)                                                                         \
    ({                                                                                             \
        store_damaged(__VA_ARGS__);                                                                \
        -1;                                                                                        \
    })

/* Little-endian fields at a position that moves on. */
static inline void store_w32(unsigned char **p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        *(*p)++ = (unsigned char)(v >> (8 * i));
}
static inline void store_w64(unsigned char **p, uint64_t v)
{
    store_w32(p, (uint32_t)v);
    store_w32(p, (uint32_t)(v >> 32));
}
static inline uint32_t store_r32(const unsigned char **p)
{
    const unsigned char *b = *p;
    *p += 4;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t store_r64(const unsigned char **p)
{
    uint64_t lo = store_r32(p);
    return lo | (uint64_t)store_r32(p) << 32;
}

/* --- LMDB (txn.c) --- */
int store_env_open(struct store *s, struct err *e);
void store_env_close(struct store *s);
int store_mdb_err(int rc, const char *what, struct err *e); /* sets e from an error of LMDB's; -1 */
/* The result is -1 always, as with err_set(). */
#define store_mdb_err(...)                                                                         \
    ({                                                                                             \
        store_mdb_err(__VA_ARGS__);                                                                \
        -1;                                                                                        \
    })

/* A transaction is given up by store_txn_end(), which does nothing after a commit. Short: no wait
 * inside a read. */
int store_txn_read(struct store *s, struct store_txn *t, struct err *e);
int store_txn_write(struct store *s, struct store_txn *t, struct err *e);
int store_txn_commit(struct store_txn *t, struct err *e);
void store_txn_end(struct store_txn *t);
#define CLEANUP_TXN __attribute__((cleanup(store_txn_end)))

/* Numbers that are given once and never again, reserved many at a time. Not inside a write
 * transaction. */
enum store_number { NUMBER_INO, NUMBER_CONTENT, NUMBER_COUNT };
int store_number_take(struct store *s, enum store_number which, uint64_t *id, struct err *e);

/* --- nodes (node.c) --- */
struct store_node {
    struct store_attr
        attr; /* ino, role, mode, nlink, owner, times, rdev, size and blocks of what is published */
    uint64_t content;     /* of a file; 0: empty */
    store_ino parent;     /* of a directory */
    uint64_t entries;     /* of a directory */
    uint64_t next_cookie; /* of a directory */
};
int store_node_get(struct store_txn *t, store_ino ino, struct store_node *n,
                   struct err *e); /* ENOENT */
int store_node_dir(struct store_txn *t, store_ino ino, struct store_node *n,
                   struct err *e); /* also ENOTDIR */
int store_node_put(struct store_txn *t, const struct store_node *n, struct err *e);
int store_node_purge(struct store_txn *t, store_ino ino, struct err *e); /* an orphan, for good */
int store_node_root(struct store_txn *t, struct err *e); /* makes it in a new store */

/* Takes one name (of a directory: its last two) away; with none left the node is an orphan and in
 * t->dead. */
int store_node_drop(struct store_txn *t, struct store_node *n, const struct timespec *now,
                    struct err *e);

/* --- names (dir.c) --- */
struct store_dentry {
    store_ino ino;
    uint64_t cookie;
};
int store_name_check(const char *name, struct err *e); /* EINVAL, ENAMETOOLONG */
int store_dentry_get(struct store_txn *t, store_ino dir, const char *name, struct store_dentry *d,
                     struct err *e); /* 1, 0, -1 */
/* These change dir (count of entries, cookie, times), but do not store it. */
int store_dentry_add(struct store_txn *t, struct store_node *dir, const char *name, store_ino ino,
                     struct err *e);
int store_dentry_remove(struct store_txn *t, struct store_node *dir, const char *name,
                        struct err *e);
/* Lets a name that is there mean another node; it keeps its place in readdir. */
int store_dentry_replace(struct store_txn *t, store_ino dir, const char *name, store_ino ino,
                         struct err *e);

/* --- contents and drafts as files (blob.c) --- */

/* An open file of bytes; any number of users. */
struct store_data {
    struct store *s;
    atomic_uint refs;
    int fd;
    uint64_t id; /* of the content that it is, or that a draft on the disk becomes; 0: a draft in
                    memory */
    bool draft;  /* not published: its name in drafts/ goes with it */
    bool
        settled; /* a publish of it failed at the last step: no more writing, and the names stay for the next start */
};
struct store_data *store_data_ref(struct store_data *d);
void store_data_unref(struct store_data *d);

struct store_data *store_data_memory(struct store *s, struct err *e); /* a new draft in memory */
struct store_data *store_data_draft(struct store *s, struct err *e);  /* a new draft on the disk */
struct store_data *store_data_blob(struct store *s, uint64_t id,
                                   struct err *e); /* ENOENT: no such file */

/* The draft as what it will be published as: durable, under its name in blobs/, which no
 * transaction knows yet. */
int store_blob_settle(struct store *s, struct store_data *d, struct err *e);
void store_blob_remove(struct store *s, uint64_t id);  /* in blobs/; the log knows if it fails */
void store_draft_remove(struct store *s, uint64_t id); /* in drafts/ */
/* Copies [0, size), holes as holes, sharing what the filesystem can share. */
int store_blob_copy(int from, int to, uint64_t size, struct err *e);
int store_blob_recover(struct store *s, struct err *e); /* drafts that a crash left */

/* --- published contents (content.c) --- */
struct store_published {
    uint64_t id; /* 0: empty */
    uint64_t size;
    uint64_t blocks;
    uint32_t refs;
    bool is_inline;
    const unsigned char
        *bytes; /* of an inline one: size of them, valid while the transaction lasts */
};
/* The content of a node; EISDIR, EINVAL for what is no regular file. */
int store_published_get(struct store_txn *t, store_ino ino, struct store_node *n,
                        struct store_published *p, struct err *e);
int store_content_put(struct store_txn *t, const struct store_published *p, struct err *e);
int store_content_drop(struct store_txn *t, uint64_t id, struct err *e); /* one reference less */

/* A content outside of any transaction: in data (to be given back), or, if that is NULL, in
   bytes. */
struct store_view {
    uint64_t id;
    uint64_t size;
    struct store_data *data;
    unsigned char bytes[STORE_INLINE_MAX];
};
int store_view_open(struct store *s, store_ino ino, struct store_view *v,
                    struct err *e); /* what is published */

/* --- nodes in use (live.c) --- */

/* What a regular file has beyond its record while it is open or has a draft. */
struct store_body {
    pthread_mutex_t write_lock;
    /* the rest under the shard's lock */
    struct store_data *draft;
    struct store_data *published; /* the blob, opened at the first read */
    uint64_t generation;          /* how often it was published since the body is there */
    unsigned writers;             /* open files that may write */
    struct timespec mtime, ctime; /* of the draft */
};

struct store_live {
    store_ino ino;
    uint64_t lookups; /* the kernel's */
    unsigned opens;
    bool orphan; /* its last name went while it was in use */
    struct store_body *body;
};

struct store_shard {
    pthread_mutex_t lock;
    struct map map; /* ino -> struct store_live */
};
struct store_shard *store_shard(struct store *s, store_ino ino);

/* Holds a file open (body is there until store_live_close). */
struct store_live *store_live_open(struct store *s, store_ino ino, bool writer);
void store_live_close(struct store *s, struct store_live *l, bool writer);
bool store_live_is_orphan(struct store *s, store_ino ino);
void store_live_unlinked(struct store *s,
                         store_ino ino); /* after the commit that took the last name */

/* What of a node's attributes is only in memory. */
struct store_overlay {
    bool any;
    uint64_t size, blocks;
    struct timespec mtime, ctime;
};
void store_live_overlay(struct store *s, store_ino ino, struct store_overlay *o);
void store_overlay_apply(const struct store_overlay *o, struct store_attr *a);
/* Times that were set by hand hold for the draft too. */
void store_live_set_times(struct store *s, const struct store_attr *a, unsigned set);
void store_live_publish_all(struct store *s);
void store_live_free(struct store *s);

/* --- open files and writing (file.c, draft.c) --- */
struct store_file {
    struct store *s;
    struct store_live *live;
    int flags;
};
bool store_file_shared(const struct store_file *f); /* others have it open for writing */

/* Publishes the draft, if there is one; takes write_lock itself. */
int store_body_publish(struct store *s, struct store_live *l, struct err *e);
/* Makes d what the file holds, with these times; a draft that is there is forgotten: 1. 0: the node has no name. */
int store_body_publish_data(struct store *s, struct store_live *l, struct store_data *d,
                            const struct timespec *mtime, const struct timespec *ctime,
                            struct err *e);

/* --- removal for good (reaper.c) --- */
struct store_reaper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    struct store_ids dead;    /* inodes to purge */
    struct store_ids garbage; /* contents whose files are to be removed */
};
int store_reaper_recover(struct store *s,
                         struct err *e); /* what a crash left; before the thread starts */
int store_reaper_start(struct store *s, struct err *e);
void store_reaper_stop(struct store *s); /* finishes what is queued */
void store_reaper_dead(struct store *s, store_ino ino);
void store_reaper_garbage(struct store *s, const struct store_ids *ids);

struct store {
    char *path;
    int dir_fd, lock_fd, blobs_fd, drafts_fd;
    MDB_env *env;
    MDB_dbi dbi[TABLE_COUNT];
    struct {
        pthread_mutex_t lock;
        struct store_reader {
            MDB_txn *mdb;
        } * v;
        size_t n, cap;
    } pool; /* read transactions that were reset */
    struct {
        pthread_mutex_t lock;
        uint64_t next, limit;
    } numbers[NUMBER_COUNT];
    struct store_shard shards[STORE_SHARDS];
    struct store_reaper reaper;
};

/* A node's attributes as its users see them, with the draft. */
int store_attr_get(struct store *s, store_ino ino, struct store_attr *a, struct err *e);

#endif
