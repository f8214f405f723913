/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: the tree of files that outlives the daemon. LMDB holds nodes, names and attributes; the
 * bytes of files lie beside it as blobs. FORMAT.md is the format on disk.
 *
 * Inode numbers are given once and never again. Node 1 is the root. What a file holds has two
 * states: published: an immutable blob, durable before the transaction that names it. It is what an
 * engine, an ask and a mount after a crash see. draft:     what was written since, in a file beside
 * the blobs. Every reader of the file through the mount sees it; it becomes the published content
 * by store_file_publish() and is forgotten after a crash.
 *
 * All functions may be called from any thread; none waits for anything but the disk. Each namespace
 * operation is one transaction: done whole or not at all, durable when it returns. Errors are errno
 * values in err, as POSIX names them for the system call of that name. Permissions are the kernel's
 * business (default_permissions); the store checks only what the kernel leaves to a filesystem.
 *
 * A node lives while it has names, open files or references: an unlinked file stays readable until
 * the last store_file_close() and store_forget().
 */
#ifndef LLMOSFS_STORE_STORE_H
#define LLMOSFS_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

typedef uint64_t store_ino;
#define STORE_ROOT 1
#define STORE_INO_MAX                                                                              \
    (UINT64_C(1) << 48) /* numbers above are the mount's own, for nodes that are not stored */
#define STORE_NAME_MAX 255

struct store;

/* Who makes a node: it becomes theirs, with their umask (unless the parent says otherwise: setgid,
 * default ACL). */
struct store_cred {
    uid_t uid;
    gid_t gid;
    mode_t umask;
};

struct store_attr {
    store_ino ino;
    uint32_t role; /* what the mount makes of the node; 0: an ordinary one. The store keeps it and
                      looks at nothing in it */
    mode_t mode;   /* type and permission bits */
    nlink_t nlink;
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    uint64_t size;   /* with the draft, if there is one */
    uint64_t blocks; /* of 512 bytes: honest, since cp takes a file with few for sparse */
    struct timespec atime;
    struct timespec mtime;
    struct timespec ctime;
};

/* Opens (and at first use makes) the store in directory `path`; one process at a time (EBUSY).
 * Drafts and orphans that a crash left are removed. */
struct store *store_open(const char *path, struct err *e);

/* No call is under way or comes any more. Drafts that nobody published are published now: only a crash forgets them. */
void store_close(struct store *s);
DEFINE_CLEANUP(store, struct store *, store_close)

/* --- nodes and names --- */
int store_lookup(struct store *s, store_ino parent, const char *name, struct store_attr *a,
                 struct err *e);
int store_getattr(struct store *s, store_ino ino, struct store_attr *a, struct err *e);

/* Which fields of *want store_setattr takes. */
enum store_set {
    STORE_SET_MODE = 1,
    STORE_SET_UID = 2,
    STORE_SET_GID = 4,
    STORE_SET_SIZE = 8, /* published at once, unless another has the file open for writing */
    STORE_SET_ATIME = 16,
    STORE_SET_MTIME = 32,
    STORE_SET_CTIME = 64,
    STORE_SET_ROLE = 128
};
int store_setattr(struct store *s, store_ino ino, const struct store_attr *want, unsigned set,
                  struct store_attr *a, struct err *e);

/* Makes a node of the type in mode (S_IFREG, S_IFDIR, S_IFIFO, S_IFSOCK …) and its name; EEXIST if
 * there is one. */
int store_make(struct store *s, store_ino parent, const char *name, mode_t mode, dev_t rdev,
               uint32_t role, const struct store_cred *who, struct store_attr *a, struct err *e);
int store_symlink(struct store *s, store_ino parent, const char *name, const char *target,
                  const struct store_cred *who, struct store_attr *a, struct err *e);
int store_readlink(struct store *s, store_ino ino, struct buf *target, struct err *e);
int store_link(struct store *s, store_ino ino, store_ino parent, const char *name,
               struct store_attr *a, struct err *e);
int store_unlink(struct store *s, store_ino parent, const char *name, struct err *e);
int store_rmdir(struct store *s, store_ino parent, const char *name, struct err *e);

/* flags as in renameat2(2): 0, RENAME_NOREPLACE, RENAME_EXCHANGE. */
int store_rename(struct store *s, store_ino parent, const char *name, store_ino new_parent,
                 const char *new_name, unsigned flags, struct err *e);

struct store_dirent {
    const char *name; /* valid during the call */
    uint64_t cookie;  /* > 0, for store_readdir's `after` */
    struct store_attr attr;
};

/*
 * Calls each() for the names of a directory after cookie `after` (0: from the first), in one order
 * that names being added or removed in the meantime do not disturb, until it returns false or all
 * are seen. `.` and `..` are not among them.
 */
int store_readdir(struct store *s, store_ino dir, uint64_t after,
                  bool (*each)(void *ctx, const struct store_dirent *d), void *ctx, struct err *e);

/* The directory that holds dir; the root's is the root. */
int store_parent(struct store *s, store_ino dir, store_ino *parent, struct err *e);

/* A reference of the kernel's (FUSE lookup counts) that keeps an unlinked node. */
void store_remember(struct store *s, store_ino ino, uint64_t n);
void store_forget(struct store *s, store_ino ino, uint64_t n);

/* --- extended attributes; names with their prefix ("user.x"). ENODATA, EEXIST, E2BIG, ENOSPC … as
 * setxattr(2) --- */
int store_xattr_get(struct store *s, store_ino ino, const char *name, struct buf *value,
                    struct err *e);
int store_xattr_set(struct store *s, store_ino ino, const char *name, const void *value, size_t n,
                    int flags, struct err *e);
int store_xattr_remove(struct store *s, store_ino ino, const char *name, struct err *e);
int store_xattr_list(struct store *s, store_ino ino, struct buf *names /* each with its NUL */,
                     struct err *e);

/*
 * --- files ---
 * suid and sgid bits are not dropped by writing: with FUSE the kernel asks for that by setattr (FUSE_CAP_HANDLE_KILLPRIV off).
 * A file that is too long for RLIMIT_FSIZE raises SIGXFSZ as anywhere: the process ignores it, and gets EFBIG.
 */
struct store_file; /* an open file; any number at once for one node, all see the same draft */

/* flags: O_RDONLY, O_WRONLY or O_RDWR, and O_TRUNC. */
struct store_file *store_file_open(struct store *s, store_ino ino, int flags, struct err *e);
void store_file_close(struct store_file *f); /* does not publish */
store_ino store_file_ino(const struct store_file *f);

/* Returns the bytes read, fewer than n only at the end. */
ssize_t store_file_read(struct store_file *f, void *data, size_t n, uint64_t off, struct err *e);

/*
 * A descriptor from which [off, off + *n) can be read, for replies without a copy: the caller's to
 * close, soon. What it shows is what the file holds now; a later write may show through or not. *n
 * is cut at the end of the file. -1 (and no error) where there is none, as for small files: read
 * with store_file_read instead.
 */
int store_file_dup(struct store_file *f, uint64_t off, size_t *n);

/* Writes all or fails. With append the bytes go to the end, wherever that is by now. */
int store_file_write(struct store_file *f, const void *data, size_t n, uint64_t off, bool append,
                     struct err *e);
int store_file_truncate(struct store_file *f, uint64_t size, struct err *e);
int store_file_allocate(struct store_file *f, int mode, uint64_t off, uint64_t n, struct err *e);
off_t store_file_seek(struct store_file *f, off_t off, int whence /* SEEK_DATA, SEEK_HOLE */,
                      struct err *e);

/* True if there is a draft: written to since it was published last. */
bool store_file_dirty(const struct store_file *f);

/*
 * Makes the draft durable and then the content of the node. Does nothing where there is no draft, or no name
 * any more. Waits for the disk, and with it who else writes to this file; readers do not. If it fails the draft is still there.
 */
int store_file_publish(struct store_file *f, struct err *e);

/* Publishes the draft of a node if there is one, whoever wrote it. */
int store_publish(struct store *s, store_ino ino, struct err *e);

/* --- published content, for engines and asks --- */
struct store_content {
    uint64_t id; /* of this content, never used for another: 0 if the file is empty */
    uint64_t size;
    int fd; /* read-only, the caller's to close; shows the same though the file changes */
};
int store_content_open(struct store *s, store_ino ino, struct store_content *c, struct err *e);

/* Reads a small published file whole (EFBIG beyond max). */
int store_content_read(struct store *s, store_ino ino, size_t max, struct buf *b, struct err *e);

/* Replaces what a file holds by these bytes, at once and whole. */
int store_content_write(struct store *s, store_ino ino, const void *data, size_t n, struct err *e);

/* --- records that are no files --- */

/* What the inspector found about a content, opaque to the store; goes when the content goes.
 * ENODATA. */
int store_facts_get(struct store *s, uint64_t content_id, struct buf *facts, struct err *e);
int store_facts_set(struct store *s, uint64_t content_id, const void *facts, size_t n,
                    struct err *e);

/* Settings of this machine for a version (.control); n = 0 removes; ENODATA. They go with the
   node. */
int store_setting_get(struct store *s, store_ino ino, const char *name, struct buf *value,
                      struct err *e);
int store_setting_set(struct store *s, store_ino ino, const char *name, const void *value, size_t n,
                      struct err *e);

int store_statfs(struct store *s, struct statvfs *st, struct err *e);

#endif
