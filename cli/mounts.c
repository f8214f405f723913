/* SPDX-License-Identifier: Apache-2.0 */
/* Finding mounts of llmosfs in the kernel's table. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define MOUNT_TYPE "fuse.llmosfs"

void cli_mount_free(struct cli_mount *m)
{
    free(m->dir);
    free(m->source);
    *m = (struct cli_mount){0};
}

static void take(struct cli_mount *m, const struct mntent *entry)
{
    cli_mount_free(m);
    m->dir = xstrdup(entry->mnt_dir);
    m->source = xstrdup(entry->mnt_fsname);
}

/* Calls each() for every llmosfs mount until it returns false; the last of two at one place is on
 * top. */
static int each_mount(bool (*each)(void *ctx, const struct mntent *entry), void *ctx, struct err *e)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    if (!table)
        return err_sys(e, "cannot open /proc/self/mounts");
    for (const struct mntent *entry; (entry = getmntent(table));)
        if (strcmp(entry->mnt_type, MOUNT_TYPE) == 0 && !each(ctx, entry))
            break;
    endmntent(table);
    return 0;
}

/*
 * The path as the kernel's table has it. Only the directories above it are resolved: the mountpoint
 * itself may belong to a daemon that is dead or another user's, and is not to be asked.
 */
static char *absolute(const char *dir, struct err *e)
{
    CLEANUP_FREE char *copy = xstrdup(dir);
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    char real[PATH_MAX];
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        if (realpath(copy, real))
            return xstrdup(real);
        err_sys(e, "%s", dir);
        return NULL;
    }
    const char *parent = slash == copy ? "/" : slash ? copy : ".";
    if (slash && slash != copy)
        *slash = '\0';
    if (!realpath(parent, real)) {
        err_sys(e, "%s", dir);
        return NULL;
    }
    struct buf path = {0};
    buf_printf(&path, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
    return buf_steal(&path, NULL);
}

struct wanted {
    const char *what;
    struct cli_mount *found;
};

static bool match_dir(void *ctx, const struct mntent *entry)
{
    struct wanted *w = ctx;
    if (strcmp(entry->mnt_dir, w->what) == 0)
        take(w->found, entry);
    return true;
}

int cli_mount_at(const char *dir, struct cli_mount *m, struct err *e)
{
    *m = (struct cli_mount){0};
    CLEANUP_FREE char *path = absolute(dir, e);
    if (!path)
        return -1;
    if (each_mount(match_dir, &(struct wanted){path, m}, e) < 0)
        return -1;
    if (!m->dir) {
        /* The last part may be a symbolic link to the mountpoint. */
        char real[PATH_MAX];
        if (realpath(path, real) && each_mount(match_dir, &(struct wanted){real, m}, e) < 0)
            return -1;
    }
    if (!m->dir)
        return err_set(e, ENOENT, "no llmosfs is mounted at %s", path);
    return 0;
}

static bool match_source(void *ctx, const struct mntent *entry)
{
    struct wanted *w = ctx;
    if (strcmp(entry->mnt_fsname, w->what) == 0)
        take(w->found, entry);
    return true;
}

char *cli_mounted_on(const char *source)
{
    CLEANUP_MOUNT struct cli_mount m = {0};
    if (each_mount(match_source, &(struct wanted){source, &m}, NULL) < 0)
        return NULL;
    return steal_ptr(&m.dir);
}

struct search {
    char cwd[PATH_MAX];
    struct cli_mount inside; /* holds the working directory */
    struct cli_mount last;
    size_t count;
};

static bool look(void *ctx, const struct mntent *entry)
{
    struct search *s = ctx;
    size_t n = strlen(entry->mnt_dir);
    if (strncmp(s->cwd, entry->mnt_dir, n) == 0 && (s->cwd[n] == '/' || s->cwd[n] == '\0'))
        take(&s->inside, entry);
    if (!s->last.dir || strcmp(s->last.dir, entry->mnt_dir) != 0)
        s->count++;
    take(&s->last, entry);
    return true;
}

static int find_any(struct cli_mount *m, struct err *e)
{
    struct search s = {0};
    if (!getcwd(s.cwd, sizeof(s.cwd)))
        s.cwd[0] = '\0';
    int ret = each_mount(look, &s, e);
    struct cli_mount *chosen = s.inside.dir ? &s.inside : s.count == 1 ? &s.last : NULL;
    if (ret == 0 && chosen) {
        *m = *chosen;
        *chosen = (struct cli_mount){0};
    } else if (ret == 0 && s.count == 0) {
        ret = err_set(e, ENOENT, "no llmosfs is mounted (llmosfs mount DIR mounts one)");
    } else if (ret == 0) {
        ret = err_set(e, EINVAL, "more than one llmosfs is mounted: choose one with -m DIR");
    }
    cli_mount_free(&s.inside);
    cli_mount_free(&s.last);
    return ret;
}

int cli_mount_open(const char *dir, struct cli_mount *m, struct err *e)
{
    struct cli_mount own = {0};
    struct cli_mount *found = m ? m : &own;
    int ret = dir ? cli_mount_at(dir, found, e) : find_any(found, e);
    if (ret < 0 || !found->dir)
        return -1;
    int fd = open(found->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        err_sys(e, "cannot open %s", found->dir);
    cli_mount_free(&own);
    return fd;
}
