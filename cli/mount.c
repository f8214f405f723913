/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llmosfs mount: reads the arguments, mounts, and becomes the supervisor (src/runtime/supervisor.h),
 * whose daemon is fs_serve().
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/io.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/mount_options.h"
#include "cli/paths.h"
#include "fs/fs.h"
#include "runtime/supervisor.h"

struct request {
    struct mount_options options;
    const char *store; /* NULL: the user's own */
    const char *mountpoint;
    bool foreground;
    bool fake; /* mount -f: check, but do not mount */
};

/* Of one mount, in the supervisor. */
struct mounted {
    const struct mount_options *options;
    char *store;
    char *engine;
    int lock; /* of the store's directory: held as long as one of our processes lives (umount.c) */
    struct fs_mounted fs;
};

/* mount(8) calls its helpers as `mount.TYPE SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`. */
static int parse_arguments(int argc, char **argv, struct request *r, struct err *e)
{
    bool by_mount = strcmp(argv[0], cli_mount.name) != 0;
    opterr = 0;
    optind = 1;
    for (int opt; (opt = getopt(argc, argv, by_mount ? ":fo:snvN:t:" : ":fo:")) != -1;) {
        if (opt == ':')
            return err_set(e, EINVAL, "-%c needs a value", optopt);
        if (opt == '?')
            return err_set(e, EINVAL, "mount has no option -%c", optopt);
        if (opt == 'o' && mount_options_parse(&r->options, optarg, e) < 0)
            return -1;
        if (opt == 'f')
            *(by_mount ? &r->fake : &r->foreground) = true;
    }
    int n = argc - optind;
    if (n < 1 || n > 2)
        return err_set(e, EINVAL,
                       "mount takes a mountpoint, and before it a store if it is not your own");
    r->mountpoint = argv[argc - 1];
    if (n == 2 && strcmp(argv[optind], "none") != 0)
        r->store = argv[optind];
    return 0;
}

/* Makes the store's directory at its first use and takes the lock that says whose it is. */
static int take_store(const char *wanted, struct mounted *m, struct err *e)
{
    CLEANUP_FREE char *path = wanted ? xstrdup(wanted) : paths_store(e);
    if (!path || paths_make_dirs(path, e) < 0)
        return -1;
    char real[PATH_MAX];
    if (!realpath(path, real))
        return err_sys(e, "cannot open the store %s", path);
    m->store = xstrdup(real);
    m->lock = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->lock < 0)
        return err_sys(e, "cannot open the store %s", real);
    if (flock(m->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_sys(e, "cannot lock the store %s", real);
    CLEANUP_FREE char *where = cli_mounted_on(real);
    return err_set(e, EBUSY, "the store %s is in use: it is mounted on %s", real,
                   where ? where : "a place that cannot be seen from here");
}

static int open_log(const char *wanted, struct err *e)
{
    CLEANUP_FREE char *path = wanted ? xstrdup(wanted) : paths_log(e);
    if (!path)
        return -1;
    CLEANUP_FREE char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash && slash != dir) {
        *slash = '\0';
        if (paths_make_dirs(dir, e) < 0)
            return -1;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, "cannot open the log %s", path) : fd;
}

/* fusermount3 would refuse it too, but says why only in the log. */
static int check_allow_other(struct err *e)
{
    CLEANUP_BUF struct buf conf = {0};
    bool allowed = false;
    if (io_read_file("/etc/fuse.conf", 1 << 20, &conf, NULL) == 0) {
        char *rest = conf.data;
        for (const char *line; (line = strsep(&rest, "\n"));)
            allowed |= strcmp(line, "user_allow_other") == 0;
    }
    return allowed ? 0
                   : err_set(e, EPERM,
                             "allow_other is root's alone, as long as /etc/fuse.conf has no line "
                             "user_allow_other");
}

static int mount_here(struct mounted *m, const char *mountpoint, struct err *e)
{
    CLEANUP_BUF struct buf options = {0};
    buf_add_str(&options, buf_str(&m->options->kernel));
    if (m->options->allow_other && geteuid() != 0)
        buf_printf(&options, "%sallow_other", options.len ? "," : "");
    struct fs_mount_config c = {
        .source = m->store, .mountpoint = mountpoint, .options = buf_str(&options)};
    return fs_mount(&c, &m->fs, e);
}

/* supervisor_config.daemon */
static int serve(void *ctx, int sock)
{
    struct mounted *m = ctx;
    const struct mount_options *o = m->options;
    struct fs_config c = {
        .store = m->store,
        .fuse_fd = m->fs.fd,
        .supervisor = sock,
        .rt = {.threads = o->threads,
               .kv_bytes = o->kv,
               .context = o->context,
               .hang_seconds = o->hang,
               .kernels = o->kernels ? o->kernels : ""},
    };
    m->fs.fd = -1; /* fs_serve closes it */
    return fs_serve(&c);
}

/*
 * The mountpoint may be another's by now, if somebody unmounted and mounted again: what counts is whether
 * our device is still in the table.
 */
static bool still_mounted(const struct fs_mounted *fs)
{
    FILE *table = fopen("/proc/self/mountinfo", "re");
    if (!table)
        return true;
    char *line = NULL;
    size_t cap = 0;
    bool found = false;
    while (!found && getline(&line, &cap, table) > 0) {
        unsigned major;
        unsigned minor;
        found =
            sscanf(line, "%*s %*s %u:%u", &major, &minor) == 2 && major == 0 && minor == fs->device;
    }
    free(line);
    fclose(table);
    return found;
}

/* supervisor_config.ended */
static void give_up(void *ctx)
{
    struct mounted *m = ctx;
    struct err e;
    if (fs_abort(&m->fs, &e) < 0)
        log_warning("%s", e.text);
    if (still_mounted(&m->fs) && fs_unmount(m->fs.mountpoint, true, &e) < 0)
        log_error("%s", e.text);
}

/* In the process that stays. ready_fd: -1 in the foreground, where the answer is returned. */
static int supervise(struct mounted *m, const char *mountpoint, int ready_fd)
{
    struct err e;
    if (mount_here(m, mountpoint, &e) < 0) {
        if (ready_fd < 0)
            return cli_fail(&e);
        supervisor_tell_parent(ready_fd, &e);
        return CLI_FAILED;
    }
    /* Nobody's directory is kept busy by us. */
    if (chdir("/") < 0)
        log_warning("cannot change to the root directory: %m");
    struct supervisor_config c = {
        .engine = m->engine, .ready_fd = ready_fd, .daemon = serve, .ended = give_up, .ctx = m};
    int code = supervisor_run(&c);
    fs_mounted_free(&m->fs);
    return code;
}

static int start(const struct request *r, struct mounted *m)
{
    struct err e;
    int ready_fd = -1;
    m->engine = paths_engine(r->options.engine, &e);
    if (!m->engine)
        return cli_fail(&e);
    if (r->options.allow_other && geteuid() != 0 && check_allow_other(&e) < 0)
        return cli_fail(&e);
    if (take_store(r->store, m, &e) < 0)
        return cli_fail(&e);
    if (!r->foreground) {
        int log_fd = open_log(r->options.log, &e);
        if (log_fd < 0)
            return cli_fail(&e);
        int child = supervisor_background(log_fd, &ready_fd, &e);
        if (child <= 0)
            return child < 0 ? cli_fail(&e) : CLI_OK;
    }
    return supervise(m, r->mountpoint, ready_fd);
}

static int run_mount(int argc, char **argv)
{
    struct request r = {0};
    struct err e;
    int code = CLI_OK;
    struct mounted m = {.options = &r.options, .lock = -1, .fs = {.fd = -1}};
    if (parse_arguments(argc, argv, &r, &e) < 0)
        code = cli_usage(&cli_mount, "%s", e.text);
    else if (!r.fake)
        code = start(&r, &m);
    free(m.store);
    free(m.engine);
    if (m.lock >= 0)
        close(m.lock);
    mount_options_free(&r.options);
    return code;
}

const struct cli_command cli_mount = {
    .name = "mount",
    .arguments = "[-f] [-o OPTIONS] [STORE] MOUNTPOINT",
    .summary = "mount a store of models; return when the mount answers",
    .help =
        "STORE is the directory that holds what is deployed, made at first use: /var/lib/llmosfs "
        "for root,\n"
        "$XDG_DATA_HOME/llmosfs or ~/.local/share/llmosfs for others.\n\n"
        "  -f           stay in the foreground, with the log on standard error\n"
        "  -o OPTIONS   parted by commas:\n"
        "     allow_other     let other users in (always so as root)\n"
        "     threads=N       of each engine; by default one for each core\n"
        "     kv=SIZE         memory of each engine's cache, as 512M\n"
        "     context=TOKENS  the most tokens of a conversation; by default the model's\n"
        "     hang=SECONDS    end an engine that owes a word for so long (30)\n"
        "     kernels=NAME    portable, avx2 or avx512; by default the best that the machine has\n"
        "     engine=PATH     the engine's program; by default beside this one\n"
        "     log=PATH        by default /var/log/llmosfs.log or ~/.local/state/llmosfs/log\n"
        "     ro, dev …       as with mount(8)\n",
    .run = run_mount,
};
