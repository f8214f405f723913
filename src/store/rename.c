/* SPDX-License-Identifier: Apache-2.0 */
/* renameat2(2). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/store-internal.h"

#define DEPTH_MAX 100000 /* of directories; more can only be a ring, made by damage */

struct move {
    struct store_txn t;
    unsigned flags;
    const char *name, *new_name;
    struct store_node dirs[2];
    struct store_node *from, *to; /* the same one if the directory is the same */
    struct store_node node;
    struct store_node target; /* what new_name means now; ino 0: nothing */
};

static int load(struct move *m, store_ino parent, store_ino new_parent, struct err *e)
{
    struct store_dentry d;
    if (store_node_dir(&m->t, parent, &m->dirs[0], e) < 0 ||
        store_node_dir(&m->t, new_parent, &m->dirs[1], e) < 0)
        return -1;
    m->from = &m->dirs[0];
    m->to = parent == new_parent ? m->from : &m->dirs[1];
    int rc = store_dentry_get(&m->t, parent, m->name, &d, e);
    if (rc == 0)
        return err_set(e, ENOENT, "there is no %s", m->name);
    if (rc < 0 || store_node_get(&m->t, d.ino, &m->node, e) < 0)
        return -1;
    rc = store_dentry_get(&m->t, new_parent, m->new_name, &d, e);
    if (rc < 0 || (rc && store_node_get(&m->t, d.ino, &m->target, e) < 0))
        return -1;
    return 0;
}

/* EINVAL if dir lies in the tree of top (which is no directory's business otherwise). */
static int check_not_inside(struct move *m, const struct store_node *top,
                            const struct store_node *dir, struct err *e)
{
    if (!S_ISDIR(top->attr.mode))
        return 0;
    store_ino at = dir->attr.ino, parent = dir->parent;
    for (int depth = 0; at != top->attr.ino; depth++) {
        struct store_node n;
        if (at == STORE_ROOT)
            return 0;
        if (depth > DEPTH_MAX)
            return err_set(e, EIO, "the directories above node %llu form a ring",
                           (unsigned long long)dir->attr.ino);
        if (store_node_dir(&m->t, parent, &n, e) < 0)
            return -1;
        at = parent;
        parent = n.parent;
    }
    return err_set(e, EINVAL, "a directory cannot be moved into itself");
}

static int check(struct move *m, struct err *e)
{
    bool exists = m->target.attr.ino != 0;
    bool dir = S_ISDIR(m->node.attr.mode), target_dir = S_ISDIR(m->target.attr.mode);
    if (m->to->attr.nlink == 0)
        return err_set(e, ENOENT, "the directory was removed");
    if (exists && m->flags & RENAME_NOREPLACE)
        return err_set(e, EEXIST, "%s exists", m->new_name);
    if (!exists && m->flags & RENAME_EXCHANGE)
        return err_set(e, ENOENT, "there is no %s", m->new_name);
    if (check_not_inside(m, &m->node, m->to, e) < 0)
        return -1;
    if (m->flags & RENAME_EXCHANGE)
        return check_not_inside(m, &m->target, m->from, e);
    if (!exists || m->target.attr.ino == m->node.attr.ino)
        return 0;
    if (dir && !target_dir)
        return err_set(e, ENOTDIR, "%s is no directory", m->new_name);
    if (!dir && target_dir)
        return err_set(e, EISDIR, "%s is a directory", m->new_name);
    if (target_dir && m->target.entries > 0)
        return err_set(e, ENOTEMPTY, "%s is not empty", m->new_name);
    return 0;
}

/* A directory that came from one directory to another has another parent, and each of them another
 * count. */
static void reparent(struct store_node *n, struct store_node *from, struct store_node *to)
{
    if (!S_ISDIR(n->attr.mode))
        return;
    from->attr.nlink--;
    to->attr.nlink++;
    n->parent = to->attr.ino;
}

static int exchange(struct move *m, const struct timespec *now, struct err *e)
{
    struct store_txn *t = &m->t;
    if (store_dentry_replace(t, m->from->attr.ino, m->name, m->target.attr.ino, e) < 0 ||
        store_dentry_replace(t, m->to->attr.ino, m->new_name, m->node.attr.ino, e) < 0)
        return -1;
    reparent(&m->node, m->from, m->to);
    reparent(&m->target, m->to, m->from);
    m->from->attr.mtime = m->from->attr.ctime = m->to->attr.mtime = m->to->attr.ctime = *now;
    m->target.attr.ctime = *now;
    return store_node_put(t, &m->target, e);
}

static int replace(struct move *m, const struct timespec *now, struct err *e)
{
    struct store_txn *t = &m->t;
    if (store_dentry_remove(t, m->from, m->name, e) < 0)
        return -1;
    reparent(&m->node, m->from, m->to);
    if (!m->target.attr.ino)
        return store_dentry_add(t, m->to, m->new_name, m->node.attr.ino, e);
    m->to->attr.mtime = m->to->attr.ctime = *now;
    m->to->attr.nlink -= S_ISDIR(m->target.attr.mode);
    if (store_dentry_replace(t, m->to->attr.ino, m->new_name, m->node.attr.ino, e) < 0)
        return -1;
    return store_node_drop(t, &m->target, now, e);
}

static int rename_in(struct move *m, store_ino parent, store_ino new_parent, struct err *e)
{
    if (load(m, parent, new_parent, e) < 0 || check(m, e) < 0)
        return -1;
    if (m->target.attr.ino == m->node.attr.ino)
        return 0; /* two names of one node: POSIX asks for nothing to happen */
    struct timespec now = clock_wall();
    m->node.attr.ctime = now;
    if ((m->flags & RENAME_EXCHANGE ? exchange(m, &now, e) : replace(m, &now, e)) < 0)
        return -1;
    if (store_node_put(&m->t, m->from, e) < 0 ||
        (m->to != m->from && store_node_put(&m->t, m->to, e) < 0))
        return -1;
    return store_node_put(&m->t, &m->node, e) < 0 ? -1 : store_txn_commit(&m->t, e);
}

int store_rename(struct store *s, store_ino parent, const char *name, store_ino new_parent,
                 const char *new_name, unsigned flags, struct err *e)
{
    struct move m = {.flags = flags, .name = name, .new_name = new_name};
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return err_set(e, EINVAL, "renameat2 with flags that are not supported");
    if (store_name_check(name, e) < 0 || store_name_check(new_name, e) < 0 ||
        store_txn_write(s, &m.t, e) < 0)
        return -1;
    int rc = rename_in(&m, parent, new_parent, e);
    store_txn_end(&m.t);
    return rc;
}
