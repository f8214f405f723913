/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/paths.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

/* The XDG Base Directory Specification: the variable if it holds an absolute path, else below the home. */
static char *xdg(const char *variable, const char *below_home, const char *rest, struct err *e)
{
    const char *base = getenv(variable);
    struct buf b = {0};
    if (base && base[0] == '/') {
        buf_printf(&b, "%s/%s", base, rest);
        return buf_steal(&b, NULL);
    }
    const char *home = getenv("HOME");
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(geteuid());
        home = pw ? pw->pw_dir : NULL;
    }
    if (!home || home[0] != '/') {
        err_set(e, ENOENT, "neither %s nor HOME says where your files are", variable);
        return NULL;
    }
    buf_printf(&b, "%s/%s/%s", home, below_home, rest);
    return buf_steal(&b, NULL);
}

char *paths_store(struct err *e)
{
    if (geteuid() == 0)
        return xstrdup("/var/lib/llmosfs");
    return xdg("XDG_DATA_HOME", ".local/share", "llmosfs", e);
}

char *paths_log(struct err *e)
{
    if (geteuid() == 0)
        return xstrdup("/var/log/llmosfs.log");
    return xdg("XDG_STATE_HOME", ".local/state", "llmosfs/log", e);
}

char *paths_engine(const char *wanted, struct err *e)
{
    static const char *const places[] = {"llmosfs-engine", "../lib/llmosfs/llmosfs-engine"};
    char real[PATH_MAX];
    if (wanted) {
        if (realpath(wanted, real) && access(real, X_OK) == 0)
            return xstrdup(real);
        err_sys(e, "cannot use the engine %s", wanted);
        return NULL;
    }
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        err_sys(e, "cannot read /proc/self/exe");
        return NULL;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP_BUF struct buf path = {0};
        buf_printf(&path, "%s/%s", self, places[i]);
        if (realpath(buf_str(&path), real) && access(real, X_OK) == 0)
            return xstrdup(real);
    }
    err_set(e, ENOENT,
            "there is no llmosfs-engine beside %s/llmosfs or in ../lib/llmosfs (option engine=PATH "
            "names it)",
            self);
    return NULL;
}

int paths_make_dirs(const char *path, struct err *e)
{
    CLEANUP_FREE char *copy = xstrdup(path);
    for (char *slash = copy; slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return err_sys(e, "cannot make the directory %s", copy);
        if (slash)
            *slash = '/';
    }
    return 0;
}
