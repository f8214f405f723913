/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/text.h"

#include <string.h>

#include "base/mem.h"

void text_read(struct call *c, struct handle *h, size_t n, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    struct text_handle *th = (struct text_handle *)h;
    pthread_mutex_lock(&h->lock);
    size_t at = MIN((size_t)off, th->text.len);
    n = MIN(n, th->text.len - at);
    CLEANUP_FREE char *copy = xmemdup(buf_str(&th->text) + at, n + 1);
    pthread_mutex_unlock(&h->lock);
    fuse_reply_buf(c->req, copy, n);
}

void text_release(struct call *c, struct handle *h)
{
    buf_free(&((struct text_handle *)h)->text);
    handle_free(c->fs, h);
}

int text_write(struct text_handle *th, const struct write_args *w, size_t max, struct err *e)
{
    struct buf *b = &th->text;
    uint64_t off = w->flags & O_APPEND ? b->len : (uint64_t)w->off;
    if (off > b->len)
        return err_set(e, EINVAL, "a hole of %llu bytes was left",
                       (unsigned long long)(off - b->len));
    if (w->n > max || off > max - w->n)
        return err_set(e, EFBIG, "more than %zu bytes are too many", max);
    buf_reserve(b, w->n);
    size_t over = MIN(w->n, b->len - off);
    memcpy(b->data + off, w->data, over);
    buf_add(b, w->data + over, w->n - over);
    th->dirty = true;
    return 0;
}

int text_cut(struct text_handle *th, uint64_t size, struct err *e)
{
    if (size > th->text.len)
        return err_set(e, EINVAL, "the file is shorter than that");
    if (th->text.data)
        th->text.data[size] = '\0';
    th->text.len = size;
    th->dirty = true;
    return 0;
}
