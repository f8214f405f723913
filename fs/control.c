/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .control: settings of this machine for a version, one file each, which are the version's owner's.
 * They are not content: nothing that copies a version sees them.
 */
#include <string.h>

#include "base/mem.h"
#include "fs/table.h"
#include "fs/text.h"

#define SETTING_MAX 4096

static const char *setting_name(const struct node *n)
{
    return rt_control_names()[n->which];
}

struct node *control_find(struct call *c, store_ino version, const char *name)
{
    if (strcmp(name, ".control") != 0)
        return NULL;
    struct node_key key = {.ops = &control_ops, .version = version};
    return node_front(c->fs, &key, NULL);
}

static int fill_stat(struct call *c, struct node *n, mode_t mode, struct stat *st, struct err *e)
{
    struct store_attr version;
    if (store_getattr(c->fs->store, n->version, &version, e) < 0)
        return -1;
    *st = (struct stat){.st_ino = n->ino,
                        .st_mode = mode,
                        .st_nlink = S_ISDIR(mode) ? 2 : 1,
                        .st_uid = version.uid,
                        .st_gid = version.gid,
                        .st_blksize = 4096,
                        .st_atim = version.atime,
                        .st_mtim = version.mtime,
                        .st_ctim = version.ctime};
    return 0;
}

/* --- the directory --- */

static int control_getattr(struct call *c, struct node *n, struct stat *st, struct err *e)
{
    return fill_stat(c, n, S_IFDIR | 0755, st, e);
}

static struct node *setting_find(struct call *c, store_ino version, const char *name)
{
    const char *const *names = rt_control_names();
    for (int i = 0; names[i]; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        struct node_key key = {.ops = &setting_ops, .version = version, .which = i};
        return node_front(c->fs, &key, NULL);
    }
    return NULL;
}

static int control_hidden(struct call *c, struct node *dir, const char *name,
                          struct fuse_entry_param *entry)
{
    struct err e;
    struct node *n = setting_find(c, dir->version, name);
    if (!n)
        return 0;
    int found = node_entry(c, n, 0, entry, &e) == 0;
    if (found)
        node_looked_up(c->fs, entry->ino);
    node_put(c->fs, n);
    return found;
}

static void control_list(struct listing *l)
{
    struct store_attr a = {.mode = S_IFREG};
    const char *const *names = rt_control_names();
    for (unsigned i = 0; names[i]; i++)
        if (!listing_add(l, names[i], &a, i))
            return;
}

const struct node_ops control_ops = {
    .kind = "control directory",
    .fixed = true,
    .getattr = control_getattr,
    .hidden = control_hidden,
    .list = control_list,
};

/* --- one setting --- */

static int setting_getattr(struct call *c, struct node *n, struct stat *st, struct err *e)
{
    CLEANUP_BUF struct buf text = {0};
    if (fill_stat(c, n, S_IFREG | 0644, st, e) < 0 ||
        rt_control_get(c->fs->rt, n->version, setting_name(n), &text, e) < 0)
        return -1;
    st->st_size = (off_t)text.len;
    st->st_blocks = (blkcnt_t)((text.len + 511) / 512);
    return 0;
}

static void setting_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                         const struct fuse_entry_param *created)
{
    struct err e = {0};
    CLEANUP_BUF struct buf text = {0};
    if (!(fi->flags & O_TRUNC) &&
        rt_control_get(c->fs->rt, n->version, setting_name(n), &text, &e) < 0) {
        fail(c, n->version, &e);
        return;
    }
    struct text_handle *th = handle_new(c, n, sizeof(*th), fi);
    th->text = text;
    text = (struct buf){0};
    fi->direct_io = 1;
    open_reply(c, &th->h, fi, created);
}

static int apply(struct call *c, struct handle *h, const struct buf *text, struct err *e)
{
    return rt_control_set(c->fs->rt, h->node->version, setting_name(h->node), buf_str(text),
                          text->len, e);
}

/* Counts at once, so that whoever writes hears what is wrong: a shell does not hear what close(2) says. */
static int setting_write(struct call *c, struct handle *h, const struct write_args *w,
                         struct err *e)
{
    struct text_handle *th = (struct text_handle *)h;
    CLEANUP_BUF struct buf before = {0};
    pthread_mutex_lock(&h->lock);
    buf_add(&before, buf_str(&th->text), th->text.len);
    int rc = text_write(th, w, SETTING_MAX, e);
    if (rc == 0 && apply(c, h, &th->text, e) < 0) {
        buf_clear(&th->text);
        buf_add(&th->text, buf_str(&before), before.len);
        rc = -1;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static int setting_truncate(struct call *c, struct node *n, struct handle *h, uint64_t size,
                            struct err *e)
{
    (void)c;
    (void)n;
    if (h && h->ops == &setting_ops) {
        pthread_mutex_lock(&h->lock);
        int rc = text_cut((struct text_handle *)h, size, e);
        pthread_mutex_unlock(&h->lock);
        return rc;
    }
    return size == 0 ? 0 : err_set(e, EINVAL, "a setting is written whole");
}

const struct node_ops setting_ops = {
    .kind = "setting",
    .fixed = true,
    .getattr = setting_getattr,
    .truncate = setting_truncate,
    .open = setting_open,
    .read = text_read,
    .write = setting_write,
    .release = text_release,
};
