/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: the store, the runtime and the kernel's requests, from the start to the end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "fs/dispatch.h"
#include "fs/fs.h"
#include "fs/park.h"
#include "runtime/supervisor.h"

#define THREADS_DEFAULT    10
#define PARKED_MAX_DEFAULT 4096

static void fuse_log_line(enum fuse_log_level level, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
static void fuse_log_line(enum fuse_log_level level, const char *fmt, va_list args)
{
    char text[400];
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    if (level <= FUSE_LOG_ERR)
        log_error("libfuse: %s", text);
    else if (level <= FUSE_LOG_WARNING)
        log_warning("libfuse: %s", text);
}

/* Signals are the main thread's, which waits for the end; all others inherit that they are blocked. */
static void block_signals(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

/* Each open large file takes a descriptor of the store's; a limit on the size of files is an errno, no death. */
static void prepare_process(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGXFSZ, SIG_IGN);
}

static struct fs *fs_new(void)
{
    struct fs *fs = xcalloc(1, sizeof(*fs));
    fs->supervisor = -1;
    fs->next_ino = STORE_INO_MAX;
    pthread_mutex_init(&fs->nodes_lock, NULL);
    pthread_mutex_init(&fs->handles_lock, NULL);
    pthread_mutex_init(&fs->settle_lock, NULL);
    pthread_mutex_init(&fs->weights_lock, NULL);
    pthread_mutex_init(&fs->retries_lock, NULL);
    list_init(&fs->handles);
    list_init(&fs->values);
    return fs;
}

static int open_session(struct fs *fs, const struct fs_config *c, struct err *e)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    if (fuse_opt_add_arg(&args, "llmosfs") == 0)
        fs->se = fuse_session_new(&args, &dispatch_ops, sizeof(dispatch_ops), fs);
    fuse_opt_free_args(&args);
    if (!fs->se)
        return err_set(e, ENOMEM, "cannot begin a session of libfuse");
    char fd[40];
    snprintf(fd, sizeof(fd), "/dev/fd/%d", c->fuse_fd);
    if (fuse_session_mount(fs->se, fd) < 0)
        return err_set(e, EBADF, "cannot serve descriptor %d: it is not open", c->fuse_fd);
    return 0;
}

static int begin(struct fs *fs, const struct fs_config *c, struct err *e)
{
    fs->supervisor = fcntl(c->supervisor, F_DUPFD_CLOEXEC, 3);
    if (fs->supervisor < 0)
        return err_sys(e, "cannot keep the supervisor's socket");
    fs->store = store_open(c->store, e);
    if (!fs->store)
        return -1;
    struct rt_config rt = c->rt;
    rt.store = fs->store;
    rt.supervisor = c->supervisor;
    fs->rt = rt_new(&rt, e);
    if (!fs->rt || open_session(fs, c, e) < 0)
        return -1;
    fs->parking = parking_new(fs, c->parked_max ? c->parked_max : PARKED_MAX_DEFAULT);
    return 0;
}

static int loop(struct fs *fs, const struct fs_config *c, const sigset_t *signals, struct err *e)
{
    if (fuse_set_signal_handlers(fs->se) < 0)
        return err_set(e, EINVAL, "cannot handle signals");
    struct fuse_loop_config *cfg = fuse_loop_cfg_create();
    if (!cfg)
        return err_set(e, ENOMEM, "no memory for the loop of libfuse");
    fuse_loop_cfg_set_clone_fd(cfg, 0);
    fuse_loop_cfg_set_max_threads(cfg, c->threads ? c->threads : THREADS_DEFAULT);
    pthread_sigmask(SIG_SETMASK, signals, NULL);
    int rc = fuse_session_loop_mt(fs->se, cfg);
    fuse_loop_cfg_destroy(cfg);
    fuse_remove_signal_handlers(fs->se);
    if (rc < 0)
        return err_set(e, -rc, "the loop of libfuse has ended: %s", strerror(-rc));
    return 0;
}

/* Those who wait are answered, what is open is taken down, then what all of it stands on. */
static void end(struct fs *fs)
{
    if (fs->parking)
        parking_end(fs->parking);
    handles_free(fs);
    nodes_free(fs);
    if (fs->rt)
        rt_free(fs->rt);
    if (fs->parking)
        parking_free(fs->parking);
    if (fs->se)
        fuse_session_destroy(fs->se);
    if (fs->store)
        store_close(fs->store);
    map_free(&fs->weights_pending);
    if (fs->supervisor >= 0)
        close(fs->supervisor);
    pthread_mutex_destroy(&fs->nodes_lock);
    pthread_mutex_destroy(&fs->handles_lock);
    pthread_mutex_destroy(&fs->settle_lock);
    pthread_mutex_destroy(&fs->weights_lock);
    pthread_mutex_destroy(&fs->retries_lock);
    free(fs);
}

int fs_serve(const struct fs_config *c)
{
    struct err e = {0};
    sigset_t signals;
    fuse_set_log_func(fuse_log_line);
    prepare_process();
    block_signals(&signals);
    struct fs *fs = fs_new();
    int rc = begin(fs, c, &e);
    if (rc < 0)
        supervisor_tell_failed(c->supervisor, &e);
    else
        rc = loop(fs, c, &signals, &e);
    if (rc < 0)
        log_error("%s", e.text);
    end(fs);
    return rc < 0 ? 1 : 0;
}
