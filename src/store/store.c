/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a store: its folder, its lock, its format, and what a crash left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/log.h"
#include "store/store-internal.h"

/* --- the folder --- */

static int make_folders(const char *path, struct err *e)
{
    CLEANUP_FREE char *p = xstrdup(path);
    for (char *at = p + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(p, 0777) < 0 && errno != EEXIST)
            return err_sys(e, "cannot make the directory %s", p);
        *at = '/';
    }
    if (mkdir(p, 0700) < 0 && errno != EEXIST)
        return err_sys(e, "cannot make the directory %s", path);
    return 0;
}

static bool is_ours(const char *name)
{
    static const char *const ours[] = {".", "..", "lock", "db", "blobs", "drafts", "lost+found"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

/* A folder without a database must be empty, but for what an interrupted first start left: else it
 * is somebody's. */
static int check_folder(struct store *s, struct err *e)
{
    if (faccessat(s->dir_fd, "db", F_OK, 0) == 0)
        return 0;
    DIR *dir = opendir(s->path);
    if (!dir)
        return err_sys(e, "cannot list %s", s->path);
    int rc = 0;
    for (struct dirent *d; rc == 0 && (d = readdir(dir));)
        if (!is_ours(d->d_name))
            rc = err_set(e, ENOTEMPTY, "%s is no llmosfs store, and not empty", s->path);
    closedir(dir);
    return rc;
}

static int lock_folder(struct store *s, struct err *e)
{
    s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(e, "cannot make %s/lock", s->path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(e, EBUSY, "store %s is in use by another llmosfs", s->path);
    return err_sys(e, "cannot lock %s", s->path);
}

static int need_folder(int at, const char *name, int *fd, struct err *e)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return err_sys(e, "cannot make the directory %s in the store", name);
    if (!fd)
        return 0;
    *fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? err_sys(e, "cannot open the directory %s in the store", name) : 0;
}

static int open_folders(struct store *s, const char *path, struct err *e)
{
    if (make_folders(path, e) < 0)
        return -1;
    s->path = realpath(path, NULL);
    s->dir_fd = s->path ? open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (s->dir_fd < 0)
        return err_sys(e, "cannot open %s", path);
    if (check_folder(s, e) < 0 || lock_folder(s, e) < 0 ||
        need_folder(s->dir_fd, "db", NULL, e) < 0 ||
        need_folder(s->dir_fd, "blobs", &s->blobs_fd, e) < 0 ||
        need_folder(s->dir_fd, "drafts", &s->drafts_fd, e) < 0)
        return -1;
    return 0;
}

/* --- the format --- */

/* 0: a new store. */
static int format_get(struct store *s, uint64_t *format, struct err *e)
{
    struct store_key k = store_key_text("format");
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0)
        return -1;
    int rc = store_rec_get(&t, TABLE_META, &k, &r, e);
    if (rc > 0 && r.n != 8)
        return store_damaged(TABLE_META, k.b, k.n, "its length is wrong", e);
    *format = rc > 0 ? store_r64(&r.data) : 0;
    return rc < 0 ? -1 : 0;
}

static int sync_folder(const char *path, struct err *e)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? err_sys(e, "cannot make %s durable", path) : 0;
}

static int format_new(struct store *s, struct err *e)
{
    char name[8];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof(name), "%02x", i);
        if (need_folder(s->blobs_fd, name, NULL, e) < 0)
            return -1;
    }
    CLEANUP_BUF struct buf path = {0};
    static const char *const folders[] = {"/blobs", "/db", "", "/.."};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        buf_clear(&path);
        buf_printf(&path, "%s%s", s->path, folders[i]);
        if (sync_folder(path.data, e) < 0)
            return -1;
    }
    CLEANUP_TXN struct store_txn t = {0};
    struct store_key k = store_key_text("format");
    unsigned char body[8], *p = body;
    store_w64(&p, STORE_FORMAT);
    if (store_txn_write(s, &t, e) < 0 || store_node_root(&t, e) < 0 ||
        store_rec_put(&t, TABLE_META, &k, body, sizeof(body), NULL, 0, 0, e) < 0)
        return -1;
    return store_txn_commit(&t, e);
}

static int check_format(struct store *s, struct err *e)
{
    uint64_t format;
    if (format_get(s, &format, e) < 0)
        return -1;
    if (format == 0)
        return format_new(s, e);
    if (format != STORE_FORMAT)
        return err_set(e, EPROTONOSUPPORT,
                       "store %s has format %" PRIu64 ", this llmosfs knows format %d", s->path,
                       format, STORE_FORMAT);
    return 0;
}

/* --- the whole --- */

static struct store *store_new(void)
{
    struct store *s = xcalloc(1, sizeof(*s));
    s->dir_fd = s->lock_fd = s->blobs_fd = s->drafts_fd = -1;
    pthread_mutex_init(&s->pool.lock, NULL);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        pthread_mutex_init(&s->numbers[i].lock, NULL);
    for (size_t i = 0; i < STORE_SHARDS; i++)
        pthread_mutex_init(&s->shards[i].lock, NULL);
    pthread_mutex_init(&s->reaper.lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->reaper.wake, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

struct store *store_open(const char *path, struct err *e)
{
    struct store *s = store_new();
    if (open_folders(s, path, e) < 0 || store_env_open(s, e) < 0 || check_format(s, e) < 0 ||
        store_blob_recover(s, e) < 0 || store_reaper_recover(s, e) < 0 ||
        store_reaper_start(s, e) < 0) {
        store_close(s);
        return NULL;
    }
    return s;
}

void store_close(struct store *s)
{
    if (s->reaper.running)
        store_live_publish_all(s);
    store_live_free(s);
    store_reaper_stop(s);
    store_env_close(s);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        pthread_mutex_destroy(&s->numbers[i].lock);
    pthread_mutex_destroy(&s->pool.lock);
    pthread_mutex_destroy(&s->reaper.lock);
    pthread_cond_destroy(&s->reaper.wake);
    int fds[] = {s->drafts_fd, s->blobs_fd, s->dir_fd, s->lock_fd}; /* the lock last */
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(s->path);
    free(s);
}

int store_statfs(struct store *s, struct statvfs *st, struct err *e)
{
    MDB_stat nodes;
    if (fstatvfs(s->dir_fd, st) < 0)
        return err_sys(e, "cannot ask the filesystem of the store");
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0)
        return -1;
    int rc = mdb_stat(t.mdb, s->dbi[TABLE_NODES], &nodes);
    if (rc)
        return store_mdb_err(rc, "stat", e);
    /* Nodes lie in the database and take no inodes of the disk's: its room bounds them, not its
     * count of inodes. */
    st->f_ffree = st->f_favail = st->f_bavail * (st->f_frsize / 512);
    st->f_files = nodes.ms_entries + st->f_ffree;
    st->f_namemax = STORE_NAME_MAX;
    return 0;
}
