/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files whose content is checked before it counts: parameters, system, template. What is written
 * stays in the open file until a flush finds it good; until then, and if it is bad, the old value
 * is in force and is what others read.
 *
 * Emptying one (`: > temperature`) unsets it. But a flush that finds nothing proves nothing, since bash flushes
 * between its open and its first write: nothing is unset before the last close, or an ask.
 */
#include <fcntl.h>
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"
#include "fs/text.h"

#define PARAM_MAX (64u << 10)

struct value_handle {
    struct text_handle t;
    struct list values; /* fs.values */
    bool emptied;       /* handles_lock: flushed with nothing in it */
    bool unset;         /* handles_lock: its name was taken away for that */
    bool refused;       /* a write was bad: that nothing is there is no wish to unset it */
};

bool value_name_is_text(const char *name)
{
    return strcmp(name, RT_SYSTEM) == 0 || strcmp(name, RT_TEMPLATE) == 0;
}

size_t value_max(const char *name)
{
    return value_name_is_text(name) ? RT_TEXT_MAX : PARAM_MAX;
}

int value_check(const char *name, const char *text, size_t n, struct buf *normal, struct err *e)
{
    if (!value_name_is_text(name))
        return rt_param_check(name, text, n, normal, e);
    if (rt_text_check(name, text, n, e) < 0)
        return -1;
    buf_add(normal, text, n);
    return 0;
}

/* --- unsetting --- */

static void set_emptied(struct fs *fs, struct value_handle *vh, bool emptied)
{
    pthread_mutex_lock(&fs->handles_lock);
    vh->emptied = emptied;
    pthread_mutex_unlock(&fs->handles_lock);
}

/* The name of a parameter is this very node's. *dir is where. */
static bool has_name(struct fs *fs, const struct node *n, store_ino *dir, struct store_attr *a)
{
    struct store_attr params;
    if (store_lookup(fs->store, n->version, RT_PARAMS, &params, NULL) < 0)
        return false;
    *dir = params.ino;
    return store_lookup(fs->store, params.ino, n->name, a, NULL) == 0 && a->ino == n->stored;
}

/* Parameters that are not set have no name, the other values are empty files. */
static int unset(struct fs *fs, const struct node *n, struct err *e)
{
    store_ino dir;
    struct store_attr a;
    if (value_name_is_text(n->name))
        return store_content_write(fs->store, n->stored, "", 0, e);
    if (!has_name(fs, n, &dir, &a))
        return 0;
    return store_unlink(fs->store, dir, n->name, e);
}

/* The node of a value of this version that was emptied, counted; NULL: none is left. */
static struct node *take_emptied(struct fs *fs, store_ino version)
{
    struct value_handle *vh;
    struct node *n = NULL;
    pthread_mutex_lock(&fs->handles_lock);
    list_for_each(vh, &fs->values, values)
    {
        if (vh->emptied && vh->t.h.node->version == version) {
            vh->emptied = false;
            vh->unset = true;
            n = node_ref(fs, vh->t.h.node);
            break;
        }
    }
    pthread_mutex_unlock(&fs->handles_lock);
    return n;
}

void values_settle(struct fs *fs, store_ino version)
{
    struct err e;
    pthread_mutex_lock(&fs->settle_lock); /* who finds nothing to do must find it done */
    for (struct node *n; (n = take_emptied(fs, version));) {
        if (unset(fs, n, &e) < 0)
            rt_error_note(fs->rt, 0, version, &e);
        node_put(fs, n);
    }
    pthread_mutex_unlock(&fs->settle_lock);
}

static bool others_write(struct fs *fs, const struct node *n)
{
    bool found = false;
    struct value_handle *vh;
    pthread_mutex_lock(&fs->handles_lock);
    list_for_each(vh, &fs->values, values) found = found || vh->t.h.node->stored == n->stored;
    pthread_mutex_unlock(&fs->handles_lock);
    return found;
}

/* A parameter that was made and not set has no name either, once nobody writes it. */
static void remove_unset(struct fs *fs, const struct node *n)
{
    store_ino dir;
    struct store_attr a;
    struct err e;
    if (!value_name_is_text(n->name) && has_name(fs, n, &dir, &a) && a.size == 0 &&
        !others_write(fs, n) && store_unlink(fs->store, dir, n->name, &e) < 0)
        rt_error_note(fs->rt, 0, n->version, &e);
}

/* --- the open file --- */

static void value_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                       const struct fuse_entry_param *created)
{
    if (!open_writes(fi->flags)) {
        values_settle(c->fs, n->version);
        stored_open(c, n, fi, created);
        return;
    }
    struct err e = {0};
    CLEANUP_BUF struct buf text = {0};
    if (!(fi->flags & O_TRUNC) &&
        store_content_read(c->fs->store, n->stored, value_max(n->name), &text, &e) < 0) {
        fail(c, n->version, &e);
        return;
    }
    struct value_handle *vh = handle_new(c, n, sizeof(*vh), fi);
    vh->t.text = text;
    vh->t.dirty = fi->flags & O_TRUNC;
    text = (struct buf){0};
    pthread_mutex_lock(&c->fs->handles_lock);
    list_add(&c->fs->values, &vh->values);
    pthread_mutex_unlock(&c->fs->handles_lock);
    fi->direct_io = 1;
    open_reply(c, &vh->t.h, fi, created);
}

/* Undoes a write that made a bad number of it. */
static int check_number(struct text_handle *th, struct buf *before, const char *name, struct err *e)
{
    if (!rt_param_is_number(name) ||
        rt_param_check(name, buf_str(&th->text), th->text.len, NULL, e) == 0)
        return 0;
    buf_clear(&th->text);
    buf_add(&th->text, buf_str(before), before->len);
    return -1;
}

static int value_write(struct call *c, struct handle *h, const struct write_args *w, struct err *e)
{
    struct text_handle *th = (struct text_handle *)h;
    const char *name = h->node->name;
    CLEANUP_BUF struct buf before = {0};
    pthread_mutex_lock(&h->lock);
    if (!value_name_is_text(name))
        buf_add(&before, buf_str(&th->text), th->text.len);
    int rc = text_write(th, w, value_max(name), e);
    if (rc == 0 && !value_name_is_text(name))
        rc = check_number(th, &before, name, e);
    if (rc < 0)
        ((struct value_handle *)h)->refused = true;
    pthread_mutex_unlock(&h->lock);
    set_emptied(c->fs, (struct value_handle *)h, false);
    return rc;
}

/*
 * Where this very open file was found empty and its name was taken away (a look at the directory
 * between the first flush of bash and its write), the name is made again.
 */
static int put_value(struct call *c, struct value_handle *vh, const struct buf *normal,
                     struct err *e)
{
    struct store *store = c->fs->store;
    struct node *n = vh->t.h.node;
    struct store_attr params, a = {.ino = n->stored};
    pthread_mutex_lock(&c->fs->handles_lock);
    bool anew = vh->unset;
    vh->unset = false;
    pthread_mutex_unlock(&c->fs->handles_lock);
    if (anew && !value_name_is_text(n->name)) {
        if (store_getattr(store, n->stored, &a, e) < 0 ||
            store_lookup(store, n->version, RT_PARAMS, &params, e) < 0)
            return -1;
        struct store_cred who = {.uid = a.uid, .gid = a.gid};
        struct err made = {0};
        if (store_make(store, params.ino, n->name, a.mode, 0, ROLE_NONE, &who, &a, &made) < 0 &&
            (made.code != EEXIST || store_lookup(store, params.ino, n->name, &a, e) < 0)) {
            *e = made;
            return -1;
        }
    }
    return store_content_write(store, a.ino, buf_str(normal), normal->len, e);
}

/* What there is to do at a flush: 1: *normal is the value, 0: nothing, or it was emptied; -1. */
static int take_value(struct value_handle *vh, struct buf *normal, bool *emptied, struct err *e)
{
    struct text_handle *th = &vh->t;
    int rc = 0;
    pthread_mutex_lock(&th->h.lock);
    if (th->dirty) {
        rc = value_check(th->h.node->name, buf_str(&th->text), th->text.len, normal, e);
        th->dirty = rc < 0;
        *emptied = rc == 0 && normal->len == 0 && !vh->refused;
    }
    pthread_mutex_unlock(&th->h.lock);
    return rc == 0 && normal->len > 0 ? 1 : rc;
}

static int value_flush(struct call *c, struct handle *h, struct err *e)
{
    struct value_handle *vh = (struct value_handle *)h;
    CLEANUP_BUF struct buf normal = {0};
    bool emptied = false;
    if (!open_writes(h->flags))
        return 0;
    int rc = take_value(vh, &normal, &emptied, e);
    if (rc > 0)
        rc = put_value(c, vh, &normal, e);
    if (emptied)
        set_emptied(c->fs, vh, true);
    return rc;
}

static void value_release(struct call *c, struct handle *h)
{
    struct value_handle *vh = (struct value_handle *)h;
    struct fs *fs = c->fs;
    if (!open_writes(h->flags)) {
        stored_release(c, h);
        return;
    }
    struct node *n = node_ref(fs, h->node);
    values_settle(fs, n->version);
    pthread_mutex_lock(&fs->handles_lock);
    list_del(&vh->values);
    pthread_mutex_unlock(&fs->handles_lock);
    text_release(c, h);
    remove_unset(fs, n);
    node_put(fs, n);
}

static int value_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size,
                          struct err *e)
{
    if (h && h->ops == &value_ops && open_writes(h->flags)) {
        pthread_mutex_lock(&h->lock);
        int rc = text_cut((struct text_handle *)h, size, e);
        pthread_mutex_unlock(&h->lock);
        return rc;
    }
    if (size > 0)
        return err_set(e, EINVAL, "%s is written whole or emptied", n->name);
    return unset(c->fs, n, e);
}

/* What an open for reading has: the store's file. */
static struct store_file *value_file(struct handle *h)
{
    return open_writes(h->flags) ? NULL : stored_file(h);
}

static void value_read(struct call *c, struct handle *h, size_t n, off_t off,
                       struct fuse_file_info *fi)
{
    if (open_writes(h->flags))
        text_read(c, h, n, off, fi);
    else
        stored_read(c, h, n, off, fi);
}

const struct node_ops value_ops = {
    .kind = "value",
    .getattr = attr_stored,
    .truncate = value_truncate,
    .open = value_open,
    .read = value_read,
    .write = value_write,
    .flush = value_flush,
    .fsync = value_flush,
    .release = value_release,
    .file = value_file,
};
