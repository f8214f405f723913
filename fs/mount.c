/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and taking away the mount. libfuse knows how: by mount(2) as root, through the setuid
 * fusermount3 for others. Only the descriptor is kept of its session.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/fs.h"

/* What libfuse said last: it prints its reasons instead of returning them. */
static char fuse_said[ERR_TEXT_MAX];

__attribute__((format(printf, 2, 0))) static void keep_reason(enum fuse_log_level level,
                                                              const char *fmt, va_list args)
{
    if (level > FUSE_LOG_WARNING)
        return;
    vsnprintf(fuse_said, sizeof(fuse_said), fmt, args);
    fuse_said[strcspn(fuse_said, "\n")] = '\0';
}

static int mount_fail(struct err *e, const char *mountpoint, int code)
{
    const char *why = fuse_said;
    for (const char *skip = "fuse: "; strncmp(why, skip, strlen(skip)) == 0;)
        why += strlen(skip);
    if (*why == '\0')
        why = "fusermount3 refused it";
    return err_set(e, code, "cannot mount on %s: %s", mountpoint, why);
}

/* Runs fusermount3 -u, which others than root need for what only root may do. */
static int run_fusermount(const char *mountpoint, bool lazy, struct err *e)
{
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(e, "cannot start fusermount3");
    if (pid == 0) {
        execlp("fusermount3", "fusermount3", "-q", lazy ? "-uz" : "-u", "--", mountpoint,
               (char *)NULL);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_sys(e, "cannot wait for fusermount3");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return err_set(e, EBUSY, "cannot unmount %s: fusermount3 refused it", mountpoint);
}

int fs_unmount(const char *mountpoint, bool lazy, struct err *e)
{
    if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EPERM)
        return run_fusermount(mountpoint, lazy, e);
    return err_sys(e, "cannot unmount %s", mountpoint);
}

/* Checks the mountpoint, and takes away what a daemon that died left on it. */
static char *prepare(const char *mountpoint, struct err *e)
{
    struct stat st;
    struct statx sx; /* the kernel still answers stat(2) from what it keeps */
    if (statx(AT_FDCWD, mountpoint, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &sx) < 0 &&
        (errno == ENOTCONN || errno == ECONNABORTED)) {
        log_warning("%s: taking away the mount of a daemon that is dead", mountpoint);
        if (fs_unmount(mountpoint, true, e) < 0)
            return NULL;
    }
    char real[PATH_MAX];
    if (!realpath(mountpoint, real) || stat(real, &st) < 0) {
        err_sys(e, "cannot mount on %s", mountpoint);
        return NULL;
    }
    if (!S_ISDIR(st.st_mode)) {
        err_set(e, ENOTDIR, "cannot mount on %s: it is not a directory", mountpoint);
        return NULL;
    }
    return xstrdup(real);
}

/* The session is only mounted here, never served: it answers nothing. */
static const struct fuse_lowlevel_ops no_ops;

static struct fuse_session *new_session(const struct fs_mount_config *c, struct err *e)
{
    CLEANUP_BUF struct buf opts = {0};
    buf_add_str(&opts, "default_permissions,subtype=llmosfs,fsname=");
    for (const char *p = c->source; *p; p++) {
        if (*p == ',' || *p == '\\')
            buf_add_char(&opts, '\\');
        buf_add_char(&opts, *p);
    }
    if (geteuid() == 0)
        buf_add_str(&opts, ",allow_other");
    if (c->options && *c->options)
        buf_printf(&opts, ",%s", c->options);

    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *se = NULL;
    if (fuse_opt_add_arg(&args, "llmosfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
        fuse_opt_add_arg(&args, buf_str(&opts)) == 0)
        se = fuse_session_new(&args, &no_ops, sizeof(no_ops), NULL);
    fuse_opt_free_args(&args);
    if (!se)
        mount_fail(e, c->mountpoint, EINVAL);
    return se;
}

/* st_dev without asking the filesystem, which does not answer yet. */
static int find_device(const char *mountpoint, uint32_t *device, struct err *e)
{
    struct statx sx;
    if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC, 0, &sx) < 0)
        return err_sys(e, "cannot find the new mount on %s", mountpoint);
    *device = sx.stx_dev_minor;
    return 0;
}

int fs_mount(const struct fs_mount_config *c, struct fs_mounted *m, struct err *e)
{
    *m = (struct fs_mounted){.fd = -1};
    CLEANUP_FREE char *mountpoint = prepare(c->mountpoint, e);
    if (!mountpoint)
        return -1;
    fuse_said[0] = '\0';
    fuse_set_log_func(keep_reason);
    struct fuse_session *se = new_session(c, e);
    if (!se)
        return -1;
    errno = 0;
    if (fuse_session_mount(se, mountpoint) < 0) {
        mount_fail(e, mountpoint, errno ? errno : EPERM);
        fuse_session_destroy(se);
        return -1;
    }
    m->fd = dup(fuse_session_fd(se)); /* not fcntl: ThreadSanitizer would lose sight of what
                                         reading and writing it puts in order */
    if (m->fd >= 0)
        fcntl(m->fd, F_SETFD, FD_CLOEXEC);
    else
        err_sys(e, "cannot keep the mount's descriptor");
    fuse_session_destroy(se);
    if (m->fd < 0 || find_device(mountpoint, &m->device, e) < 0) {
        fs_unmount(mountpoint, true, NULL);
        fs_mounted_free(m);
        return -1;
    }
    m->mountpoint = steal_ptr(&mountpoint);
    return 0;
}

int fs_abort(const struct fs_mounted *m, struct err *e)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", m->device);
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || io_write(fd, "1", 1) < 0)
        return err_sys(e, "cannot abort the mount's connection through %s", path);
    return 0;
}

void fs_mounted_free(struct fs_mounted *m)
{
    if (m->fd >= 0)
        close(m->fd);
    free(m->mountpoint);
    *m = (struct fs_mounted){.fd = -1};
}
