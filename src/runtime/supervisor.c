/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/launch.h"

#define STOP_SECONDS 10

struct supervisor {
    const struct supervisor_config *config;
    struct launch *launch;
    int signals;
    int sock; /* to the daemon */
    int ready_fd;
    struct err failure; /* why the mount never answered */
    pid_t daemon;       /* 0 once it was waited for */
    int status;
    uint64_t kill_at; /* clock: when a daemon that was told to end is killed; 0: it was not told */
    bool killed;
};

/* --- the waiting parent --- */

void supervisor_tell_parent(int ready_fd, const struct err *e)
{
    if (ready_fd < 0)
        return;
    struct err good = {0};
    io_write(ready_fd, e ? e : &good, sizeof(good));
    close(ready_fd);
}

static int wait_for_word(int fd, struct err *e)
{
    struct err word;
    size_t n = 0;
    while (n < sizeof(word)) {
        ssize_t r = read(fd, (char *)&word + n, sizeof(word) - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return err_set(e, EIO, "the mount has ended before it answered; the log says why");
        n += (size_t)r;
    }
    if (word.code != 0 && e)
        *e = word;
    return word.code != 0 ? -1 : 0;
}

int supervisor_background(int log_fd, int *ready_fd, struct err *e)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(e, "no pipe");
    CLEANUP_FD int in = p[0];
    CLEANUP_FD int out = p[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(e, "no process");
    if (pid > 0) {
        close(steal_fd(&out));
        return wait_for_word(in, e);
    }
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0) {
        err_sys(e, "standard input and output");
        supervisor_tell_parent(out, e);
        _exit(1);
    }
    if (null > STDERR_FILENO)
        close(null);
    if (log_fd > STDERR_FILENO)
        close(log_fd);
    *ready_fd = steal_fd(&out);
    return 1;
}

/* --- from the daemon --- */

static int tell(int sock, uint32_t type, const char *text)
{
    struct spawn_packet p = {.type = type};
    snprintf(p.text, sizeof(p.text), "%.*s", (int)sizeof(p.text) - 1, text);
    return io_send(sock, &p, sizeof(p), NULL, 0, 0) == sizeof(p) ? 0 : -1;
}

int supervisor_tell_ready(int sock)
{
    return tell(sock, SPAWN_READY, "");
}

int supervisor_tell_failed(int sock, const struct err *why)
{
    return tell(sock, SPAWN_FAILED, why->text);
}

/* --- the supervisor --- */

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigprocmask(SIG_BLOCK, set, NULL);
}

/* In the daemon's process. */
__attribute__((noreturn)) static void become_daemon(struct supervisor *s, int sock, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    close(s->signals);
    close(s->sock);
    if (s->ready_fd >= 0)
        close(s->ready_fd);
    /* Ctrl-C at the terminal is for the supervisor to hear. */
    if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    sigprocmask(SIG_SETMASK, &none, NULL);
    _exit(s->config->daemon(s->config->ctx, sock));
}

static int start_daemon(struct supervisor *s, struct err *e)
{
    int p[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
        return err_sys(e, "no socket for the daemon");
    s->sock = p[0];
    pid_t parent = getpid();
    s->daemon = fork();
    if (s->daemon == 0)
        become_daemon(s, p[1], parent);
    close(p[1]);
    return s->daemon < 0 ? err_sys(e, "no process for the daemon") : 0;
}

/* The word to the parent; only the first counts. */
static void tell_once(struct supervisor *s, const struct err *e)
{
    supervisor_tell_parent(s->ready_fd, e);
    s->ready_fd = -1;
}

static void take_packet(struct supervisor *s, const struct spawn_packet *p)
{
    struct err e;
    switch (p->type) {
    case SPAWN_READY:
        tell_once(s, NULL);
        return;
    case SPAWN_FAILED: /* the parent hears it when the mount is taken away */
        err_set(&s->failure, EIO, "%.*s", (int)sizeof(p->text), p->text);
        log_error("%s", s->failure.text);
        return;
    default:
        if (launch_handle(s->launch, s->sock, p, &e) == 0)
            return;
        log_error("%s; it is ended", e.text);
        kill(s->daemon, SIGKILL);
    }
}

/* False once the daemon has closed its end. */
static bool receive(struct supervisor *s)
{
    struct spawn_packet p;
    ssize_t n = io_recv(s->sock, &p, sizeof(p), NULL, NULL, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n == (ssize_t)sizeof(p)) {
        take_packet(s, &p);
        return true;
    }
    if (n != 0 && !(n < 0 && errno == ECONNRESET)) {
        log_error("the daemon sent a packet of %zd bytes; it is ended", n);
        kill(s->daemon, SIGKILL);
    }
    return false;
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->daemon) {
            s->daemon = 0;
            s->status = status;
        } else {
            launch_ended(s->launch, s->sock, pid, status);
        }
    }
}

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
        } else if (s->daemon > 0 && s->kill_at == 0) {
            log_info("signal %u: the mount ends", info.ssi_signo);
            kill(s->daemon, SIGTERM);
            s->kill_at = clock_now() + STOP_SECONDS * CLOCK_NS_PER_SEC;
        }
    }
}

static int poll_timeout(const struct supervisor *s)
{
    if (s->kill_at == 0 || s->killed)
        return -1;
    uint64_t now = clock_now();
    return now >= s->kill_at ? 0 : (int)((s->kill_at - now) / CLOCK_NS_PER_MS) + 1;
}

static void serve(struct supervisor *s)
{
    struct pollfd fds[2] = {{.fd = s->signals, .events = POLLIN},
                            {.fd = s->sock, .events = POLLIN}};
    while (s->daemon > 0) {
        if (poll(fds, 2, poll_timeout(s)) < 0 && errno != EINTR)
            log_fatal("poll: %s", strerrordesc_np(errno));
        if (s->kill_at && !s->killed && clock_now() >= s->kill_at) {
            log_warning("the daemon did not end within %d s; it is killed", STOP_SECONDS);
            kill(s->daemon, SIGKILL);
            s->killed = true;
        }
        /* What the daemon said last comes before that it has ended. */
        if (fds[1].fd >= 0 && fds[1].revents && !receive(s))
            fds[1].fd = -1;
        else if (fds[0].revents)
            take_signals(s);
    }
    while (fds[1].fd >= 0 && receive(s) &&
           recv(s->sock, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        ;
}

static int verdict(const struct supervisor *s)
{
    if (WIFEXITED(s->status) && WEXITSTATUS(s->status) == 0)
        return 0;
    if (WIFSIGNALED(s->status))
        log_error("the daemon was killed by signal %d; the mount ends", WTERMSIG(s->status));
    else
        log_error("the daemon has failed (exit status %d); the mount ends", WEXITSTATUS(s->status));
    return 1;
}

static int prepare(struct supervisor *s, struct err *e)
{
    const struct supervisor_config *c = s->config;
    sigset_t set;
    uid_t base = c->uid_base;
    if (base == 0 && !c->keep_uid && geteuid() == 0)
        base = LAUNCH_UID_BASE;
    s->launch = launch_new(c->engine, base, e);
    if (!s->launch)
        return -1;
    block_signals(&set);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return err_sys(e, "signals");
    return start_daemon(s, e);
}

int supervisor_run(const struct supervisor_config *config)
{
    struct supervisor s = {
        .config = config, .signals = -1, .sock = -1, .ready_fd = config->ready_fd};
    struct err e;
    int result = 1;
    signal(SIGPIPE, SIG_IGN);
    if (prepare(&s, &e) < 0) {
        log_error("%s", e.text);
        s.failure = e;
    } else {
        serve(&s);
        result = verdict(&s);
    }
    if (s.launch)
        launch_free(s.launch);
    config->ended(config->ctx);
    if (s.failure.code == 0)
        err_set(&s.failure, EIO, "the mount has ended before it answered; the log says why");
    tell_once(&s, &s.failure);
    if (s.sock >= 0)
        close(s.sock);
    if (s.signals >= 0)
        close(s.signals);
    return result;
}
