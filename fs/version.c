/* SPDX-License-Identifier: Apache-2.0 */
/* A version's directory: its live names, the hidden ones, the order in which readdir tells them. */
#include "base/log.h"
#include "base/mem.h"
#include "fs/node.h"
#include "fs/table.h"

#include <string.h>

/* In the order of readdir: a copy of a whole version then finds each name free when it makes it,
   since the weights, which bring the live names, come last. */
static const struct {
    const char *name;
    enum role role;
    mode_t mode;
} live_names[] = {
    {RT_PARAMS, ROLE_PARAMS, S_IFDIR | 0755},
    {"completion", ROLE_COMPLETION, S_IFREG | 0666},
    {"stream", ROLE_STREAM, S_IFREG | 0666},
    {"prompt", ROLE_PROMPT, S_IFREG | 0666},
};

enum role live_role(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(live_names); i++)
        if (strcmp(name, live_names[i].name) == 0)
            return live_names[i].role;
    return ROLE_NONE;
}

static int version_admit(struct call *c, const struct node *dir, const char *name, mode_t type,
                         bool excl, uint32_t *role, struct err *e)
{
    (void)c;
    (void)dir;
    (void)excl;
    *role = live_role(name);
    if (*role == ROLE_NONE) {
        if ((value_name_is_text(name) || strcmp(name, RT_WEIGHTS) == 0) && S_ISDIR(type))
            return err_set(e, EINVAL, "%s is a file", name);
        return 0;
    }
    if (*role == ROLE_PARAMS ? !S_ISDIR(type) : !S_ISREG(type))
        return err_set(e, EINVAL, "%s can only be a %s", name,
                       *role == ROLE_PARAMS ? "directory" : "regular file");
    return 0;
}

static const struct node_ops *version_child(const struct node *dir, const char *name,
                                            const struct store_attr *a)
{
    (void)dir;
    if (S_ISDIR(a->mode))
        return &dir_ops;
    if (!S_ISREG(a->mode))
        return &file_ops;
    if (strcmp(name, RT_WEIGHTS) == 0)
        return &weights_ops;
    return value_name_is_text(name) ? &value_ops : &file_ops;
}

/* The live names belong to the version's owner, whoever brought the weights. */
int version_make_live(struct fs *fs, store_ino version, struct err *e)
{
    struct store_attr dir, a;
    if (store_getattr(fs->store, version, &dir, e) < 0)
        return -1;
    struct store_cred owner = {.uid = dir.uid, .gid = dir.gid};
    bool made = false;
    for (size_t i = 0; i < ARRAY_LEN(live_names); i++) {
        struct err why = {0};
        if (store_make(fs->store, version, live_names[i].name, live_names[i].mode, 0,
                       live_names[i].role, &owner, &a, &why) == 0) {
            made = true;
        } else if (why.code != EEXIST) {
            *e = why;
            return -1;
        }
    }
    if (made) /* its times and count of links, which the kernel keeps */
        fuse_lowlevel_notify_inval_inode(fs->se, version, -1, 0);
    return 0;
}

static void version_changed(struct call *c, const struct node *dir, const char *name)
{
    struct store_attr a;
    struct err e = {0};
    bool is_weights = strcmp(name, RT_WEIGHTS) == 0;
    if (!is_weights && live_role(name) != ROLE_PROMPT)
        return;
    bool there = store_lookup(c->fs->store, dir->ino, name, &a, NULL) == 0;
    /* New weights come through their close (weights.c); these were renamed, linked or removed. */
    if (is_weights)
        weights_changed(c->fs, dir->ino);
    if (there && version_make_live(c->fs, dir->ino, &e) < 0)
        note_error(c, dir->ino, &e);
}

static double version_timeout(const struct store_attr *a)
{
    return S_ISREG(a->mode) ? 0 : TIMEOUT_LONG;
}

static int version_hidden(struct call *c, struct node *dir, const char *name,
                          struct fuse_entry_param *entry)
{
    struct err e = {0};
    struct node *n = table_find(c, dir->version, name);
    if (!n)
        n = control_find(c, dir->version, name);
    if (!n)
        return 0;
    int found = node_entry(c, n, 0, entry, &e) == 0;
    if (found)
        node_looked_up(c->fs, entry->ino);
    node_put(c->fs, n);
    return found;
}

/* The live names and the weights come last, with numbers above all stored ones. */
static void version_list(struct listing *l)
{
    struct store *s = listing_fs(l)->store;
    struct store_attr a;
    unsigned place = 0;
    for (size_t i = 0; i < ARRAY_LEN(live_names); i++, place++)
        if (store_lookup(s, listing_dir(l)->ino, live_names[i].name, &a, NULL) == 0 &&
            !listing_add(l, live_names[i].name, &a, place))
            return;
    if (store_lookup(s, listing_dir(l)->ino, RT_WEIGHTS, &a, NULL) == 0)
        listing_add(l, RT_WEIGHTS, &a, place);
}

const struct node_ops version_ops = {
    .kind = "version",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .child = version_child,
    .admit = version_admit,
    .changed = version_changed,
    .hidden = version_hidden,
    .entry_timeout = version_timeout,
    .list = version_list,
};
