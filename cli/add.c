/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs add: copies files into a version, each whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/io.h"
#include "cli/cli.h"
#include "cli/progress.h"

#define WEIGHTS "model.gguf"
#define PIECE   ((size_t)1 << 20)

/* GGUF is what the weights of a version are called by; every other file keeps its name. */
static const char *name_in_version(const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    size_t n = strlen(name);
    return n > 5 && strcasecmp(name + n - 5, ".gguf") == 0 ? WEIGHTS : name;
}

static int copy_bytes(int from, int to, const char *file, uint64_t size, struct err *e)
{
    CLEANUP_FREE char *piece = xmalloc(PIECE);
    struct progress p;
    progress_begin(&p, file, size);
    uint64_t done = 0;
    for (;;) {
        ssize_t n = io_pread(from, piece, PIECE, done);
        if (n < 0)
            return err_sys(e, "cannot read %s", file);
        if (n == 0)
            break;
        if (io_write(to, piece, (size_t)n) < 0)
            return err_sys(e, "cannot write into the mount");
        done += (uint64_t)n;
        progress_update(&p, done);
    }
    progress_end(&p, done);
    return 0;
}

/* Under a name that means nothing first, so that nobody is answered by half a file. */
static int copy_in(int dir, const char *file, bool replace, struct err *e)
{
    const char *name = name_in_version(file);
    CLEANUP_FD int from = open(file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return err_sys(e, "cannot open %s", file);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "%s is not a regular file", file);

    char scratch[64];
    snprintf(scratch, sizeof(scratch), ".add.%ld", (long)getpid());
    CLEANUP_FD int to =
        openat(dir, scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0666);
    if (to < 0)
        return err_sys(e, "cannot make a file in the version");
    int ret = copy_bytes(from, to, file, (uint64_t)st.st_size, e);
    if (ret == 0 && fsync(to) < 0)
        ret = err_sys(e, "cannot write into the mount");
    /* Closed before the rename, which publishes it. */
    if (ret == 0 && close(steal_fd(&to)) < 0)
        ret = err_sys(e, "cannot write into the mount");
    if (ret == 0 && renameat2(dir, scratch, dir, name, replace ? 0 : RENAME_NOREPLACE) < 0)
        ret = errno == EEXIST
                  ? err_set(e, EEXIST, "the version has a %s already (-f replaces it)", name)
                  : err_sys(e, "cannot rename onto %s", name);
    if (ret < 0)
        unlinkat(dir, scratch, 0);
    return ret;
}

/* Before anything is copied: what would fail at the end anyway. */
static int check_files(int dir, char **files, int n, bool replace, struct err *e)
{
    for (int i = 0; i < n; i++) {
        const char *name = name_in_version(files[i]);
        if (name[0] == '\0' || name[0] == '.')
            return err_set(e, EINVAL, "%s is not the name of a file to add", files[i]);
        for (int k = 0; k < i; k++)
            if (strcmp(name, name_in_version(files[k])) == 0)
                return err_set(e, EINVAL, "%s and %s would both become %s", files[k], files[i],
                               name);
        struct stat st;
        if (!replace && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return err_set(e, EEXIST, "the version has a %s already (-f replaces it)", name);
    }
    return 0;
}

#define INSPECT_SECONDS 60

/* True as long as the weights were not looked at: they are being loaded, but nothing is known of them. */
static bool unknown(const char *state, const char *status)
{
    CLEANUP_FREE char *architecture = cli_status_value(status, "architecture");
    return strcmp(state, "loading") == 0 && !architecture;
}

/* The daemon has the weights inspected now: a file that cannot be used is worth an error. */
static int check_valid(int dir, struct err *e)
{
    uint64_t end = clock_now() + INSPECT_SECONDS * CLOCK_NS_PER_SEC;
    for (;;) {
        CLEANUP_BUF struct buf status = {0};
        if (cli_read_at(dir, ".status", &status, e) < 0)
            return -1;
        CLEANUP_FREE char *state = cli_status_value(buf_str(&status), "state");
        if (state && unknown(state, buf_str(&status)) && clock_now() < end) {
            nanosleep(&(struct timespec){.tv_nsec = 10 * (long)CLOCK_NS_PER_MS}, NULL);
            continue;
        }
        if (!state || strcmp(state, "invalid") != 0)
            return 0;
        CLEANUP_FREE char *reason = cli_status_value(buf_str(&status), "reason");
        return err_set(e, EBADMSG, "the weights are there, but cannot be used: %s",
                       reason ? reason : "no reason known");
    }
}

static int add(int root, const char *version, char **files, int n, bool replace, struct err *e)
{
    if (strchr(version, '/'))
        return err_set(e, EINVAL, "%s is no name of a model version (NAME@VERSION)", version);
    bool made = mkdirat(root, version, 0777) == 0;
    if (!made && errno == EINVAL)
        return err_set(e, EINVAL, "%s is no name of a model version (NAME@VERSION)", version);
    if (!made && errno != EEXIST)
        return err_sys(e, "cannot make %s", version);
    CLEANUP_FD int dir = cli_version_open(root, version, e);
    if (dir < 0)
        return -1;
    int ret = check_files(dir, files, n, replace, e);
    int copied = 0;
    for (; ret == 0 && copied < n; copied++)
        ret = copy_in(dir, files[copied], replace, e);
    if (ret < 0 && made)
        unlinkat(root, version, AT_REMOVEDIR); /* stays if anything was added */
    return ret < 0 ? ret : check_valid(dir, e);
}

static int run_add(int argc, char **argv)
{
    struct cli_options o;
    if (cli_options(&cli_add, "mf", argc, argv, &o) != CLI_OK)
        return CLI_USAGE;
    if (argc - o.first < 2)
        return cli_usage(&cli_add, "add takes a version and at least one file");
    struct err e;
    CLEANUP_FD int root = cli_mount_open(o.mount, NULL, &e);
    if (root < 0 ||
        add(root, argv[o.first], argv + o.first + 1, argc - o.first - 1, o.force, &e) < 0)
        return cli_fail(&e);
    return CLI_OK;
}

const struct cli_command cli_add = {
    .name = "add",
    .arguments = "[-m DIR] [-f] NAME@VERSION FILE…",
    .summary = "copy files into a model version, which is made if it is not there",
    .help = "A FILE that ends in .gguf becomes model.gguf, the weights; others keep their names. "
            "Each appears whole\n"
            "or not at all. Weights that cannot be used are kept, and said to be so by the exit "
            "code.\n\n"
            "  -m DIR   the mount; by default the one that holds the working directory, or the "
            "only one\n"
            "  -f       replace files that the version has\n",
    .run = run_add,
};
