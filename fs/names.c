/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: looking them up, making and removing them, in every kind of directory. What is particular
 * to one kind is behind admit, child, changed and hidden of its table. Renaming: rename.c.
 */
#include <fcntl.h>
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

/* --- what a name is --- */

static const struct node_ops *const live_ops[] = {
    [ROLE_PROMPT] = &prompt_ops, [ROLE_COMPLETION] = &completion_ops, [ROLE_STREAM] = &stream_ops};

const struct node_ops *names_kind(const struct node *dir, const char *name,
                                  const struct store_attr *a)
{
    if (a->role < ARRAY_LEN(live_ops) && live_ops[a->role])
        return live_ops[a->role];
    if (a->role == ROLE_VERSION)
        return &version_ops;
    if (a->role == ROLE_PARAMS)
        return &params_ops;
    return dir->ops->child(dir, name, a);
}

static double entry_timeout(const struct node *dir, const struct store_attr *a)
{
    return dir->ops->entry_timeout ? dir->ops->entry_timeout(a) : TIMEOUT_LONG;
}

/* A live name: the node of the user who asks. */
static int live_entry(struct call *c, const struct node *dir, const struct store_attr *a,
                      struct fuse_entry_param *entry, struct err *e)
{
    struct node *n = live_front(c, dir->version, a);
    int rc = node_entry(c, n, 0, entry, e);
    if (rc == 0)
        node_looked_up(c->fs, entry->ino);
    node_put(c->fs, n);
    return rc;
}

int names_entry(struct call *c, const struct node *dir, const char *name,
                const struct store_attr *a, struct fuse_entry_param *entry, struct err *e)
{
    if (role_is_live_file(a->role))
        return live_entry(c, dir, a, entry, e);
    const struct node_ops *ops = names_kind(dir, name, a);
    node_note(c->fs, ops, a->ino, dir->version, name);
    *entry = (struct fuse_entry_param){
        .ino = a->ino, .attr_timeout = ops->attr_timeout, .entry_timeout = entry_timeout(dir, a)};
    attr_to_stat(a, &entry->attr);
    node_looked_up(c->fs, a->ino);
    return 0;
}

static void reply_entry(struct call *c, const struct fuse_entry_param *entry)
{
    if (fuse_reply_entry(c->req, entry) == -ENOENT)
        node_forget(c->fs, entry->ino, 1);
}

/* --- directories of requests --- */

/* The directory of a request, or NULL after a reply. */
static struct node *get_dir(struct call *c, uint64_t ino, struct node *space)
{
    struct err e = {0};
    struct node *dir = node_get(c->fs, ino, space, &e);
    if (dir && !dir->ops->child && !dir->ops->hidden) {
        err_set(&e, ENOTDIR, "a %s is not a directory", dir->ops->kind);
        node_put(c->fs, dir);
        dir = NULL;
    }
    if (!dir)
        fail(c, 0, &e);
    return dir;
}

static bool is_hidden(struct call *c, struct node *dir, const char *name)
{
    struct fuse_entry_param entry;
    if (!dir->ops->hidden || dir->ops->hidden(c, dir, name, &entry) == 0)
        return false;
    node_forget(c->fs, entry.ino, 1);
    return true;
}

static int find(struct call *c, struct node *dir, const char *name, struct fuse_entry_param *entry,
                struct err *e)
{
    if (dir->ops->hidden && dir->ops->hidden(c, dir, name, entry))
        return 0;
    if (!dir->ops->child)
        return err_set(e, ENOENT, "there is no %s", name);
    struct store_attr a;
    if (dir->ops == &params_ops)
        values_settle(c->fs, dir->version);
    if (store_lookup(c->fs->store, dir->ino, name, &a, e) < 0)
        return -1;
    return names_entry(c, dir, name, &a, entry, e);
}

void names_lookup(struct call *c, uint64_t parent, const char *name)
{
    struct err e = {0};
    struct fuse_entry_param entry;
    struct node space, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    if (find(c, dir, name, &entry, &e) < 0)
        fail(c, dir->version, &e);
    else
        reply_entry(c, &entry);
    node_put(c->fs, dir);
}

/* --- making --- */

/* May this name be made here, and what does it become? */
static int admit(struct call *c, struct node *dir, const char *name, mode_t type, bool excl,
                 uint32_t *role, struct err *e)
{
    *role = ROLE_NONE;
    if (!dir->ops->child)
        return err_set(e, EPERM, "nothing can be made in a %s", dir->ops->kind);
    if (is_hidden(c, dir, name))
        return err_set(e, EEXIST, "%s is there already", name);
    return dir->ops->admit ? dir->ops->admit(c, dir, name, type, excl, role, e) : 0;
}

/* Live names ignore the maker's mode and umask; they belong to the maker. */
static mode_t live_mode(uint32_t role, mode_t mode)
{
    return role_is_live_file(role) ? S_IFREG | 0666 : mode;
}

static int make(struct call *c, struct node *dir, const char *name, mode_t mode, dev_t rdev,
                uint32_t role, struct store_attr *a, struct err *e)
{
    struct store_cred who = {.uid = c->uid, .gid = c->gid, .umask = c->umask};
    if (role_is_live_file(role))
        who.umask = 0;
    if (store_make(c->fs->store, dir->ino, name, live_mode(role, mode), rdev, role, &who, a, e) < 0)
        return -1;
    if (role != ROLE_NONE && dir->ops->changed) /* weights count from their close */
        dir->ops->changed(c, dir, name);
    return 0;
}

void names_make(struct call *c, uint64_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct err e = {0};
    struct store_attr a;
    uint32_t role;
    struct fuse_entry_param entry;
    struct node space, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    if (admit(c, dir, name, mode & S_IFMT, true, &role, &e) < 0 ||
        make(c, dir, name, mode, rdev, role, &a, &e) < 0 ||
        names_entry(c, dir, name, &a, &entry, &e) < 0)
        fail(c, dir->version, &e);
    else
        reply_entry(c, &entry);
    node_put(c->fs, dir);
}

void names_symlink(struct call *c, const char *target, uint64_t parent, const char *name)
{
    struct err e = {0};
    struct store_attr a;
    uint32_t role;
    struct fuse_entry_param entry;
    struct store_cred who = {.uid = c->uid, .gid = c->gid, .umask = c->umask};
    struct node space, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    if (admit(c, dir, name, S_IFLNK, true, &role, &e) < 0 ||
        store_symlink(c->fs->store, parent, name, target, &who, &a, &e) < 0 ||
        names_entry(c, dir, name, &a, &entry, &e) < 0)
        fail(c, dir->version, &e);
    else
        reply_entry(c, &entry);
    node_put(c->fs, dir);
}

/* The new file, or the one that another made in the meantime. */
static int make_or_find(struct call *c, struct node *dir, const char *name, mode_t mode, int flags,
                        struct fuse_entry_param *entry, struct err *e)
{
    struct store_attr a;
    uint32_t role;
    if (!(flags & O_EXCL) && find(c, dir, name, entry, NULL) == 0)
        return 0;
    if (admit(c, dir, name, S_IFREG, flags & O_EXCL, &role, e) < 0)
        return -1;
    struct err made = {0};
    if (make(c, dir, name, S_IFREG | (mode & 07777), 0, role, &a, &made) == 0)
        return names_entry(c, dir, name, &a, entry, e);
    if (made.code == EEXIST && !(flags & O_EXCL))
        return find(c, dir, name, entry, e);
    *e = made;
    return -1;
}

void names_create(struct call *c, uint64_t parent, const char *name, mode_t mode,
                  struct fuse_file_info *fi)
{
    struct err e = {0};
    struct fuse_entry_param entry;
    struct node space, node_space, *n = NULL, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    bool made = make_or_find(c, dir, name, mode, fi->flags, &entry, &e) == 0;
    if (made)
        n = node_get(c->fs, entry.ino, &node_space, &e);
    if (n && n->ops->open)
        n->ops->open(c, n, fi, &entry);
    else if (n)
        fail_set(c, dir->version, EOPNOTSUPP, "a %s cannot be opened", n->ops->kind);
    else
        fail(c, dir->version, &e);
    if (made) /* open_reply() has counted it anew */
        node_forget(c->fs, entry.ino, 1);
    if (n)
        node_put(c->fs, n);
    node_put(c->fs, dir);
}

/* A hard link to a live name would be a second door to everybody's conversations. */
static int check_link(struct call *c, uint64_t ino, struct node *dir, const char *name,
                      struct err *e)
{
    struct store_attr a;
    uint32_t role;
    if (ino > STORE_INO_MAX)
        return err_set(e, EPERM, "a live name cannot have a second name");
    if (store_getattr(c->fs->store, ino, &a, e) < 0 ||
        admit(c, dir, name, a.mode & S_IFMT, true, &role, e) < 0)
        return -1;
    if (role_is_live(role) || dir->ops == &params_ops)
        return err_set(e, EPERM, "%s cannot be a hard link", name);
    return 0;
}

void names_link(struct call *c, uint64_t ino, uint64_t parent, const char *name)
{
    struct err e = {0};
    struct store_attr a;
    struct fuse_entry_param entry;
    struct node space, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    if (check_link(c, ino, dir, name, &e) < 0 ||
        store_link(c->fs->store, ino, parent, name, &a, &e) < 0 ||
        names_entry(c, dir, name, &a, &entry, &e) < 0) {
        fail(c, dir->version, &e);
    } else {
        if (dir->ops->changed)
            dir->ops->changed(c, dir, name);
        reply_entry(c, &entry);
    }
    node_put(c->fs, dir);
}

/* --- removing --- */

static int remove_name(struct call *c, struct node *dir, const char *name, bool is_dir,
                       struct err *e)
{
    if (is_hidden(c, dir, name) || !dir->ops->child)
        return err_set(e, EPERM, "%s cannot be removed", name);
    struct store_attr a;
    if (store_lookup(c->fs->store, dir->ino, name, &a, e) < 0)
        return -1;
    int rc = is_dir ? store_rmdir(c->fs->store, dir->ino, name, e)
                    : store_unlink(c->fs->store, dir->ino, name, e);
    if (rc == 0 && a.role == ROLE_VERSION)
        rt_version_removed(c->fs->rt, a.ino);
    return rc;
}

void names_remove(struct call *c, uint64_t parent, const char *name, bool is_dir)
{
    struct err e = {0};
    struct node space, *dir = get_dir(c, parent, &space);
    if (!dir)
        return;
    if (remove_name(c, dir, name, is_dir, &e) < 0) {
        fail(c, dir->version, &e);
    } else {
        if (dir->ops->changed)
            dir->ops->changed(c, dir, name);
        fuse_reply_err(c->req, 0);
    }
    node_put(c->fs, dir);
}
