/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .status .params .error .usage .rendered: texts that are made when they are looked at. The kernel
 * keeps nothing of them (direct I/O); the size that stat tells is that of the text at that moment.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fs/live.h"
#include "fs/table.h"
#include "fs/text.h"

static void make_status(struct call *c, store_ino version, struct buf *b)
{
    weights_settle(c->fs, version);
    rt_version_status(c->fs->rt, version, b);
}

static void make_params(struct call *c, store_ino version, struct buf *b)
{
    values_settle(c->fs, version);
    rt_version_params(c->fs->rt, version, b);
}

static void make_error(struct call *c, store_ino version, struct buf *b)
{
    rt_error_text(c->fs->rt, c->uid, version, b);
}

static void of_conversation(struct call *c, store_ino version, struct buf *b,
                            void (*make)(struct rt_conv *, struct buf *))
{
    struct rt_conv *conv = rt_conv_get(c->fs->rt, c->uid, version);
    make(conv, b);
    rt_conv_put(conv);
}

static void make_usage(struct call *c, store_ino version, struct buf *b)
{
    of_conversation(c, version, b, rt_conv_usage);
}

static void make_rendered(struct call *c, store_ino version, struct buf *b)
{
    of_conversation(c, version, b, rt_conv_rendered);
}

static const struct {
    const char *name;
    void (*make)(struct call *c, store_ino version, struct buf *b);
    mode_t mode; /* 0400: the caller's own */
} tables[] = {
    {".status", make_status, 0444},     {".params", make_params, 0444},
    {".error", make_error, 0400},       {".usage", make_usage, 0400},
    {".rendered", make_rendered, 0400},
};

struct node *table_find(struct call *c, store_ino version, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        if (strcmp(name, tables[i].name) != 0)
            continue;
        struct node_key key = {
            .ops = &table_ops, .version = version, .uid = c->uid, .which = (int)i};
        return node_front(c->fs, &key, NULL);
    }
    return NULL;
}

/* The text for the node's user: getattr may come from another, through a descriptor. */
static void make_text(struct call *c, struct node *n, struct buf *b)
{
    struct call as = *c;
    as.uid = n->uid;
    tables[n->which].make(&as, n->version, b);
}

static int table_getattr(struct call *c, struct node *n, struct stat *st, struct err *e)
{
    struct store_attr version;
    CLEANUP_BUF struct buf text = {0};
    if (store_getattr(c->fs->store, n->version, &version, e) < 0)
        return -1;
    make_text(c, n, &text);
    bool own = tables[n->which].mode == 0400;
    *st = (struct stat){.st_ino = n->ino,
                        .st_mode = S_IFREG | tables[n->which].mode,
                        .st_nlink = 1,
                        .st_uid = own ? n->uid : version.uid,
                        .st_gid = version.gid,
                        .st_size = (off_t)text.len,
                        .st_blocks = (blkcnt_t)((text.len + 511) / 512),
                        .st_blksize = 4096,
                        .st_mtim = clock_wall()};
    st->st_atim = st->st_ctim = st->st_mtim;
    return 0;
}

static void table_open(struct call *c, struct node *n, struct fuse_file_info *fi,
                       const struct fuse_entry_param *created)
{
    if (!live_is_callers(c, n))
        return;
    if (open_writes(fi->flags)) {
        fail_set(c, n->version, EPERM, "%s can only be read", tables[n->which].name);
        return;
    }
    struct text_handle *th = handle_new(c, n, sizeof(*th), fi);
    make_text(c, n, &th->text);
    fi->direct_io = 1;
    open_reply(c, &th->h, fi, created);
}

const struct node_ops table_ops = {
    .kind = "table",
    .fixed = true,
    .getattr = table_getattr,
    .open = table_open,
    .read = text_read,
    .release = text_release,
};
