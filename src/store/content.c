/* SPDX-License-Identifier: Apache-2.0 */
/* Published contents: what an engine and an ask see. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "store/store-internal.h"

/* --- records --- */

#define CONTENT_HEAD   24
#define CONTENT_INLINE 1 /* flag: the bytes follow */

static int content_get(struct store_txn *t, uint64_t id, struct store_published *p, struct err *e)
{
    struct store_key k = store_key_id(id);
    struct store_rec r;
    int rc = store_rec_get(t, TABLE_CONTENTS, &k, &r, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return store_damaged(TABLE_CONTENTS, k.b, k.n, "a file names it, but it is missing", e);
    if (r.n < CONTENT_HEAD)
        return store_damaged(TABLE_CONTENTS, k.b, k.n, "it is too short", e);
    const unsigned char *at = r.data;
    p->id = id;
    p->refs = store_r32(&at);
    p->is_inline = store_r32(&at) & CONTENT_INLINE;
    p->size = store_r64(&at);
    p->blocks = store_r64(&at);
    p->bytes = at;
    if (p->refs == 0 || p->size > INT64_MAX || r.n - CONTENT_HEAD != (p->is_inline ? p->size : 0) ||
        (p->is_inline && p->size > STORE_INLINE_MAX))
        return store_damaged(TABLE_CONTENTS, k.b, k.n, "its fields make no sense", e);
    return 0;
}

int store_content_put(struct store_txn *t, const struct store_published *p, struct err *e)
{
    struct store_key k = store_key_id(p->id);
    unsigned char head[CONTENT_HEAD], *at = head;
    store_w32(&at, p->refs);
    store_w32(&at, p->is_inline ? CONTENT_INLINE : 0);
    store_w64(&at, p->size);
    store_w64(&at, p->blocks);
    return store_rec_put(t, TABLE_CONTENTS, &k, head, sizeof(head), p->bytes,
                         p->is_inline ? p->size : 0, 0, e);
}

int store_content_drop(struct store_txn *t, uint64_t id, struct err *e)
{
    struct store_key k = store_key_id(id);
    struct store_published p;
    if (content_get(t, id, &p, e) < 0)
        return -1;
    if (--p.refs > 0)
        return store_content_put(t, &p, e);
    if (store_rec_del(t, TABLE_CONTENTS, &k, e) < 0 || store_rec_del(t, TABLE_FACTS, &k, e) < 0)
        return -1;
    if (p.is_inline)
        return 0;
    store_ids_add(&t->garbage, id);
    return store_rec_put(t, TABLE_GARBAGE, &k, NULL, 0, NULL, 0, 0, e);
}

int store_published_get(struct store_txn *t, store_ino ino, struct store_node *n,
                        struct store_published *p, struct err *e)
{
    if (store_node_get(t, ino, n, e) < 0)
        return -1;
    if (S_ISDIR(n->attr.mode))
        return err_set(e, EISDIR, "node %" PRIu64 " is a directory", ino);
    if (!S_ISREG(n->attr.mode))
        return err_set(e, EINVAL, "node %" PRIu64 " is no regular file", ino);
    *p = (struct store_published){0};
    return n->content ? content_get(t, n->content, p, e) : 0;
}

/* --- as descriptors --- */

int store_view_open(struct store *s, store_ino ino, struct store_view *v, struct err *e)
{
    uint64_t tried = 0;
    for (;;) {
        struct store_node n;
        struct store_published p;
        struct err why;
        CLEANUP_TXN struct store_txn t = {0};
        if (store_txn_read(s, &t, e) < 0 || store_published_get(&t, ino, &n, &p, e) < 0)
            return -1;
        v->id = p.id;
        v->size = p.size;
        v->data = NULL;
        if (p.is_inline)
            memcpy(v->bytes, p.bytes, p.size);
        if (p.is_inline || p.id == 0)
            return 0;
        store_txn_end(&t);
        v->data = store_data_blob(s, p.id, &why);
        if (v->data)
            break;
        /* Another publish may have removed it since; then the node names another content by now. */
        struct store_key k = store_key_id(p.id);
        if (why.code == ENOENT && p.id == tried)
            return store_damaged(TABLE_CONTENTS, k.b, k.n, "its blob is missing", e);
        if (why.code != ENOENT)
            return err_set(e, why.code, "%s", why.text);
        tried = p.id;
    }
    struct stat st;
    if (fstat(v->data->fd, &st) == 0 && (uint64_t)st.st_size == v->size)
        return 0;
    store_data_unref(v->data);
    log_error("store: the blob %016" PRIx64 " is not %" PRIu64 " bytes long", v->id, v->size);
    return err_set(e, EIO,
                   "the store is damaged: the blob %016" PRIx64 " is not %" PRIu64 " bytes long",
                   v->id, v->size);
}

/* The bytes of a small content as a descriptor that nobody can change. */
static int sealed(const void *bytes, size_t n, struct err *e)
{
    CLEANUP_FD int fd = memfd_create("llmosfs-content", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || io_pwrite(fd, bytes, n, 0) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return err_sys(e, "cannot make a descriptor of a small file");
    return steal_fd(&fd);
}

int store_content_open(struct store *s, store_ino ino, struct store_content *c, struct err *e)
{
    struct store_view v;
    if (store_view_open(s, ino, &v, e) < 0)
        return -1;
    if (v.data) {
        c->fd = fcntl(v.data->fd, F_DUPFD_CLOEXEC, 0);
        if (c->fd < 0)
            err_sys(e, "cannot open the content");
        store_data_unref(v.data);
    } else {
        c->fd = sealed(v.bytes, v.size, e);
    }
    c->id = v.id;
    c->size = v.size;
    return c->fd < 0 ? -1 : 0;
}

int store_content_read(struct store *s, store_ino ino, size_t max, struct buf *b, struct err *e)
{
    struct store_view v;
    if (store_view_open(s, ino, &v, e) < 0)
        return -1;
    int rc = 0;
    if (v.size > max) {
        rc = err_set(e, EFBIG, "the file has %" PRIu64 " bytes, more than %zu", v.size, max);
    } else if (!v.data) {
        buf_add(b, v.bytes, v.size);
    } else {
        buf_reserve(b, v.size);
        ssize_t got = io_pread(v.data->fd, b->data + b->len, v.size, 0);
        if (got < 0 || (uint64_t)got < v.size)
            rc = got < 0 ? err_sys(e, "cannot read the content")
                         : err_set(e, EIO, "the content is cut short");
        else
            b->len += v.size;
        b->data[b->len] = '\0';
    }
    store_data_unref(v.data);
    return rc;
}

/* --- replacing --- */

int store_content_write(struct store *s, store_ino ino, const void *data, size_t n, struct err *e)
{
    struct store_file *f = store_file_open(s, ino, O_WRONLY, e);
    if (!f)
        return -1;
    struct timespec now = clock_wall();
    pthread_mutex_lock(&f->live->body->write_lock);
    struct store_data *d = n > STORE_INLINE_MAX ? store_data_draft(s, e) : store_data_memory(s, e);
    int rc = d ? 0 : -1;
    if (d && io_pwrite(d->fd, data, n, 0) < 0)
        rc = err_sys(e, "cannot write the content");
    if (rc == 0)
        rc = store_body_publish_data(s, f->live, d, &now, &now, e);
    if (rc == 0)
        rc = err_set(e, ENOENT, "node %" PRIu64 " was removed", ino);
    store_data_unref(d);
    pthread_mutex_unlock(&f->live->body->write_lock);
    store_file_close(f);
    return rc < 0 ? -1 : 0;
}
