/* SPDX-License-Identifier: Apache-2.0 */
/* The root: versions (directories NAME@VERSION) and aliases (symbolic links). */
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

#define PART_MAX 126 /* bytes of NAME, and of VERSION */

static bool part_is_good(const char *s, size_t n)
{
    if (n == 0 || n > PART_MAX || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-", s[i]))
            return false;
    return true;
}

/* The last @ parts NAME from VERSION; NAME has none in it. */
static bool is_version_name(const char *name)
{
    const char *at = strrchr(name, '@');
    return at && part_is_good(name, (size_t)(at - name)) && part_is_good(at + 1, strlen(at + 1));
}

static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"sessions", "users",   "groups",
                                           "status",   "metrics", "events"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strcmp(name, reserved[i]) == 0)
            return true;
    return false;
}

static int root_admit(struct call *c, const struct node *dir, const char *name, mode_t type,
                      bool excl, uint32_t *role, struct err *e)
{
    (void)c;
    (void)dir;
    (void)excl;
    if (S_ISDIR(type)) {
        *role = ROLE_VERSION;
        if (is_version_name(name))
            return 0;
        return err_set(e, EINVAL,
                       "%s: a directory of the root is called NAME@VERSION, of letters, digits and "
                       "._+-",
                       name);
    }
    if (!S_ISLNK(type))
        return err_set(e, EINVAL, "%s: the root holds versions and aliases alone", name);
    if (is_reserved(name))
        return err_set(e, EINVAL, "%s: this name is reserved", name);
    return 0;
}

static const struct node_ops *root_child(const struct node *dir, const char *name,
                                         const struct store_attr *a)
{
    (void)dir;
    (void)name;
    return S_ISDIR(a->mode) ? &version_ops : &file_ops;
}

/* A directory that was moved here may hold weights already. */
static void root_changed(struct call *c, const struct node *dir, const char *name)
{
    struct store_attr a, weights;
    if (store_lookup(c->fs->store, dir->ino, name, &a, NULL) < 0 || a.role != ROLE_VERSION ||
        store_lookup(c->fs->store, a.ino, RT_WEIGHTS, &weights, NULL) < 0)
        return;
    struct err e;
    if (version_make_live(c->fs, a.ino, &e) < 0)
        note_error(c, a.ino, &e);
    weights_changed(c->fs, a.ino);
}

const struct node_ops root_ops = {
    .kind = "root",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .child = root_child,
    .admit = root_admit,
    .changed = root_changed,
};
