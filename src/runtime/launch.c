/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"

#define ENGINE_SOCKET 3
#define ENGINE_FILES                                                                               \
    256 /* descriptors of one engine: 32 for weights, the rest for a GPU's driver */

struct slot {
    bool used;
    uint64_t id;
    pid_t pid;
};

struct launch {
    char *path;
    int program; /* the same file, for a user id that may not walk the path */
    uid_t uid_base;
    int ids; /* the file whose bytes are locked, one for each slot whose id is in use */
    struct slot slots[LAUNCH_MAX];
};

/* Other mounts of this machine give ids of the same range: byte i of one file is locked by whoever uses the i-th. */
static bool lock_id(int ids, size_t i, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)i, .l_len = 1};
    return ids < 0 || fcntl(ids, F_OFD_SETLK, &lock) == 0;
}

static int open_ids(uid_t uid_base, int *ids, struct err *e)
{
    if (uid_base == 0)
        return 0;
    if (geteuid() != 0)
        return err_set(e, EPERM, "only root can give engines user ids of their own");
    *ids = open(LAUNCH_IDS, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *ids < 0 ? err_sys(e, LAUNCH_IDS) : 0;
}

struct launch *launch_new(const char *engine, uid_t uid_base, struct err *e)
{
    CLEANUP_FD int ids = -1;
    CLEANUP_FD int program = open(engine, O_PATH | O_CLOEXEC);
    if (program < 0) {
        err_sys(e, "the engine %s", engine);
        return NULL;
    }
    if (open_ids(uid_base, &ids, e) < 0)
        return NULL;
    struct launch *l = xcalloc(1, sizeof(*l));
    l->path = xstrdup(engine);
    l->program = steal_fd(&program);
    l->uid_base = uid_base;
    l->ids = steal_fd(&ids);
    return l;
}

void launch_free(struct launch *l)
{
    for (size_t i = 0; i < LAUNCH_MAX; i++)
        if (l->slots[i].used)
            kill(l->slots[i].pid, SIGKILL);
    for (size_t i = 0; i < LAUNCH_MAX; i++)
        if (l->slots[i].used)
            while (waitpid(l->slots[i].pid, NULL, 0) < 0 && errno == EINTR)
                ;
    if (l->ids >= 0)
        close(l->ids);
    close(l->program);
    free(l->path);
    free(l);
}

static int put_fd(int fd, int at)
{
    return fd < 0 || dup2(fd, at) < 0 ? -1 : 0;
}

/* Descriptors 0 to 3 are what an engine may have; all others close at exec. */
static int child_files(int sock)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (put_fd(null, STDIN_FILENO) < 0 || put_fd(null, STDOUT_FILENO) < 0 ||
        put_fd(sock, ENGINE_SOCKET) < 0)
        return -1;
    return close_range(ENGINE_SOCKET + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

/* The user id before the death signal: the kernel forgets that when ids change. */
static int child_rights(uid_t uid, pid_t parent)
{
    const struct rlimit no_core = {0, 0};
    const struct rlimit files = {ENGINE_FILES, ENGINE_FILES};
    if (uid != 0 &&
        (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
        return -1;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        setrlimit(RLIMIT_CORE, &no_core) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0)
        return -1;
    if (getppid() != parent)
        _exit(1);
    return 0;
}

/* In the child. Returns only if it fails, with errno. */
static void become_engine(struct launch *l, int sock, uid_t uid, bool inspect, pid_t parent)
{
    sigset_t none;
    char name[] = "llmosfs-engine";
    char flag[] = "--inspect";
    char *argv[] = {name, inspect ? flag : NULL, NULL};
    sigemptyset(&none);
    /* A process group of its own: Ctrl-C at the terminal is for the supervisor to hear. */
    if (setpgid(0, 0) < 0 || child_files(sock) < 0 || child_rights(uid, parent) < 0 ||
        sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return;
    signal(SIGPIPE, SIG_DFL);
    execve(l->path, argv, environ);
    if (errno == EACCES)
        execveat(l->program, "", argv, environ, AT_EMPTY_PATH);
}

/* High enough not to be in the way of 0 to 3. */
static int move_up(int *fd)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, ENGINE_SOCKET + 1);
    if (up < 0)
        return -1;
    close(*fd);
    *fd = up;
    return 0;
}

/* Forks and executes; the pid, or -1 after the child's attempt failed too. */
static pid_t start(struct launch *l, int sock, uid_t uid, bool inspect, struct err *e)
{
    int tell[2];
    if (pipe2(tell, O_CLOEXEC) < 0)
        return err_sys(e, "no pipe for an engine");
    CLEANUP_FD int in = tell[0];
    CLEANUP_FD int out = tell[1];
    if (move_up(&out) < 0)
        return err_sys(e, "no pipe for an engine");
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(e, "no process for an engine");
    if (pid == 0) {
        become_engine(l, sock, uid, inspect, parent);
        int code = errno;
        io_write(out, &code, sizeof(code));
        _exit(127);
    }
    close(steal_fd(&out));
    int code = 0;
    ssize_t n;
    while ((n = read(in, &code, sizeof(code))) < 0 && errno == EINTR)
        ;
    if (n == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return err_set(e, n == sizeof(code) ? code : EIO, "the engine %s cannot be started: %s",
                   l->path, strerrordesc_np(n == sizeof(code) ? code : EIO));
}

static struct slot *find(struct launch *l, uint64_t id)
{
    for (size_t i = 0; i < LAUNCH_MAX; i++)
        if (l->slots[i].used && l->slots[i].id == id)
            return &l->slots[i];
    return NULL;
}

/* A slot that is free, here and on this machine. NULL: none. */
static struct slot *take_slot(struct launch *l)
{
    for (size_t i = 0; i < LAUNCH_MAX; i++)
        if (!l->slots[i].used && lock_id(l->ids, i, F_WRLCK))
            return &l->slots[i];
    return NULL;
}

static void free_slot(struct launch *l, struct slot *s)
{
    s->used = false;
    lock_id(l->ids, (size_t)(s - l->slots), F_UNLCK);
}

/* The daemon's end of the socket is put into *theirs. */
static int start_in_slot(struct launch *l, const struct spawn_packet *p, struct slot *slot,
                         int *theirs, struct err *e)
{
    int s[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
        return err_sys(e, "no socket for an engine");
    CLEANUP_FD int daemon_end = s[0];
    CLEANUP_FD int engine_end = s[1];
    if (move_up(&engine_end) < 0)
        return err_sys(e, "no socket for an engine");
    uid_t uid = l->uid_base ? l->uid_base + (uid_t)(slot - l->slots) : 0;
    pid_t pid = start(l, engine_end, uid, p->role == SPAWN_INSPECTOR, e);
    if (pid < 0)
        return -1;
    *slot = (struct slot){true, p->id, pid};
    *theirs = steal_fd(&daemon_end);
    return 0;
}

/* A daemon that has closed its end is about to end: it needs to be told nothing. */
static int tell(int daemon, const struct spawn_packet *p, int fd, struct err *e)
{
    if (io_send(daemon, p, sizeof(*p), &fd, fd >= 0 ? 1 : 0, MSG_DONTWAIT) == sizeof(*p) ||
        errno == EPIPE || errno == ECONNRESET)
        return 0;
    return err_sys(e, "the daemon takes no packets");
}

static int handle_start(struct launch *l, int daemon, const struct spawn_packet *p, struct err *e)
{
    struct spawn_packet answer = {.type = SPAWN_STARTED, .role = p->role, .id = p->id};
    CLEANUP_FD int theirs = -1;
    struct err why;
    if (p->role > SPAWN_INSPECTOR || find(l, p->id))
        return err_set(e, EPROTO, "the daemon asked for an engine that cannot be");
    struct slot *slot = take_slot(l);
    int result = -1;
    if (!slot)
        err_set(&why, EAGAIN, "%d engines run already", LAUNCH_MAX);
    else if ((result = start_in_slot(l, p, slot, &theirs, &why)) < 0)
        free_slot(l, slot);
    else
        answer.pid = slot->pid;
    if (result < 0)
        snprintf(answer.text, sizeof(answer.text), "%.*s", (int)sizeof(answer.text) - 1, why.text);
    return tell(daemon, &answer, theirs, e);
}

int launch_handle(struct launch *l, int daemon, const struct spawn_packet *p, struct err *e)
{
    struct slot *slot;
    switch (p->type) {
    case SPAWN_START:
        return handle_start(l, daemon, p, e);
    case SPAWN_KILL:
        slot = find(l, p->id);
        if (slot)
            kill(slot->pid, SIGKILL);
        return 0;
    default:
        return err_set(e, EPROTO, "the daemon sent a packet of type %u", p->type);
    }
}

void launch_ended(struct launch *l, int daemon, pid_t pid, int status)
{
    for (size_t i = 0; i < LAUNCH_MAX; i++) {
        struct slot *s = &l->slots[i];
        if (!s->used || s->pid != pid)
            continue;
        struct spawn_packet p = {.type = SPAWN_ENDED, .id = s->id, .pid = pid, .status = status};
        struct err e;
        free_slot(l, s);
        if (tell(daemon, &p, -1, &e) < 0)
            log_debug("engine %d has ended: %s", (int)pid, e.text);
        return;
    }
}
