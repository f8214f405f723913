/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents and drafts as files:
 *
 *     blobs/3f/000000000000123f   a published content (its number in hex, in the folder of its last
 * two digits) drafts/000000000000123f     a draft that becomes content 0x123f when it is published
 *
 * A draft is linked into blobs/ before the transaction that names it, and its old name goes after
 * it: what is in drafts/ after a crash says which blobs to ask the tables about.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "base/io.h"
#include "base/log.h"
#include "store/store-internal.h"

struct path {
    char s[32];
};

static struct path blob_path(uint64_t id)
{
    struct path p;
    snprintf(p.s, sizeof(p.s), "%02x/%016" PRIx64, (unsigned)(id & 0xff), id);
    return p;
}

static struct path draft_path(uint64_t id)
{
    struct path p;
    snprintf(p.s, sizeof(p.s), "%016" PRIx64, id);
    return p;
}

/* --- open ones --- */

static struct store_data *data_new(struct store *s, int fd, uint64_t id, bool draft)
{
    struct store_data *d = xcalloc(1, sizeof(*d));
    d->s = s;
    d->fd = fd;
    d->id = id;
    d->draft = draft;
    atomic_init(&d->refs, 1);
    return d;
}

struct store_data *store_data_ref(struct store_data *d)
{
    if (d)
        atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void store_data_unref(struct store_data *d)
{
    if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) > 1)
        return;
    close(d->fd);
    if (d->draft && d->id && !d->settled)
        store_draft_remove(d->s, d->id);
    free(d);
}

struct store_data *store_data_memory(struct store *s, struct err *e)
{
    int fd = memfd_create("llmosfs-draft", MFD_CLOEXEC);
    if (fd < 0) {
        err_sys(e, "cannot begin a draft");
        return NULL;
    }
    return data_new(s, fd, 0, true);
}

struct store_data *store_data_draft(struct store *s, struct err *e)
{
    uint64_t id;
    if (store_number_take(s, NUMBER_CONTENT, &id, e) < 0)
        return NULL;
    int fd = openat(s->drafts_fd, draft_path(id).s, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_sys(e, "cannot make the draft %s", draft_path(id).s);
        return NULL;
    }
    return data_new(s, fd, id, true);
}

struct store_data *store_data_blob(struct store *s, uint64_t id, struct err *e)
{
    int fd = openat(s->blobs_fd, blob_path(id).s, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(e, "cannot open the blob %s", blob_path(id).s);
        return NULL;
    }
    return data_new(s, fd, id, false);
}

/* --- their names --- */

static int fsync_folder(int at, const char *name)
{
    CLEANUP_FD int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

int store_blob_settle(struct store *s, struct store_data *d, struct err *e)
{
    struct path blob = blob_path(d->id);
    char folder[3] = {blob.s[0], blob.s[1], '\0'};
    if (fchmod(d->fd, 0400) < 0 || fdatasync(d->fd) < 0)
        return err_sys(e, "cannot make the draft %s durable", draft_path(d->id).s);
    /* EEXIST: from an attempt whose transaction failed */
    if (linkat(s->drafts_fd, draft_path(d->id).s, s->blobs_fd, blob.s, 0) < 0 && errno != EEXIST)
        return err_sys(e, "cannot make the blob %s", blob.s);
    if (fsync_folder(s->blobs_fd, folder) < 0)
        return err_sys(e, "cannot make the blob %s durable", blob.s);
    return 0;
}

void store_blob_remove(struct store *s, uint64_t id)
{
    if (unlinkat(s->blobs_fd, blob_path(id).s, 0) < 0 && errno != ENOENT)
        log_warning("store: cannot remove the blob %s: %s", blob_path(id).s,
                    strerrordesc_np(errno));
}

void store_draft_remove(struct store *s, uint64_t id)
{
    if (unlinkat(s->drafts_fd, draft_path(id).s, 0) < 0 && errno != ENOENT)
        log_warning("store: cannot remove the draft %s: %s", draft_path(id).s,
                    strerrordesc_np(errno));
}

/* --- copying --- */

/* Where copy_file_range does not go (from memory to a disk): sendfile. */
static ssize_t copy_some(int from, int to, off_t *at, size_t n)
{
    off_t in = *at, out = *at;
    ssize_t got = copy_file_range(from, &in, to, &out, n, 0);
    if (got >= 0 || (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS))
        return got;
    if (lseek(to, *at, SEEK_SET) < 0)
        return -1;
    return sendfile(to, from, &in, n);
}

static int copy_range(int from, int to, off_t at, off_t end, struct err *e)
{
    while (at < end) {
        ssize_t n = copy_some(from, to, &at, (size_t)MIN(end - at, 1 << 30));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "cannot copy the file for writing to it");
        if (n == 0)
            return err_set(e, EIO, "a stored file is shorter than it was");
        at += n;
    }
    return 0;
}

int store_blob_copy(int from, int to, uint64_t size, struct err *e)
{
    struct file_clone_range range = {.src_fd = from};
    struct stat st;
    if (fstat(from, &st) < 0)
        return err_sys(e, "cannot look at a stored file");
    if ((uint64_t)st.st_size == size && ioctl(to, FICLONERANGE, &range) == 0)
        return 0;
    off_t end = (off_t)MIN(size, (uint64_t)st.st_size);
    for (off_t at = 0; at < end;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        if (data < 0 || hole < 0)
            return err_sys(e, "cannot look for holes in a stored file");
        if (data < end && copy_range(from, to, data, MIN(hole, end), e) < 0)
            return -1;
        at = hole;
    }
    return ftruncate(to, (off_t)size) < 0 ? err_sys(e, "cannot size the draft") : 0;
}

/* --- after a crash --- */

static int recover_one(struct store *s, uint64_t id, struct err *e)
{
    struct store_key k = store_key_id(id);
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0)
        return -1;
    int rc = store_rec_get(&t, TABLE_CONTENTS, &k, &r, e);
    store_txn_end(&t);
    if (rc < 0)
        return -1;
    if (rc == 0)
        store_blob_remove(s, id);
    store_draft_remove(s, id);
    return 0;
}

int store_blob_recover(struct store *s, struct err *e)
{
    int fd = openat(s->drafts_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        err_sys(e, "cannot list the drafts");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int rc = 0;
    for (struct dirent *d; rc == 0 && (d = readdir(dir));) {
        char *end;
        uint64_t id = strtoull(d->d_name, &end, 16);
        if (*end == '\0' && strcmp(d->d_name, draft_path(id).s) == 0)
            rc = recover_one(s, id, e);
        else if (d->d_name[0] != '.')
            log_warning("store: drafts/%s is not mine; it stays", d->d_name);
    }
    closedir(dir);
    return rc;
}
