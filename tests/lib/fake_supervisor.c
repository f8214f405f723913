/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"
#include "runtime/launch.h"

const char *fake_supervisor_helper(const char *name)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 100);
    if (n < 0)
        log_fatal("/proc/self/exe: %s", strerrordesc_np(errno));
    path[n] = '\0';
    for (int up = 0; up < 2; up++)
        *strrchr(path, '/') = '\0';
    n = (ssize_t)strlen(path);
    snprintf(path + n, sizeof(path) - (size_t)n, "/helpers/%s", name);
    return path;
}

static int reap(struct launch *l, int sock)
{
    int status;
    int n = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        launch_ended(l, sock, pid, status);
        n++;
    }
    return n;
}

__attribute__((noreturn)) static void serve(int sock)
{
    struct err e;
    struct launch *l = launch_new(fake_supervisor_helper("echo_engine"), 0, &e);
    int running = 0;
    if (!l)
        log_fatal("%s", e.text);
    for (;;) {
        struct spawn_packet p;
        struct pollfd pfd = {.fd = sock, .events = POLLIN};
        poll(&pfd, 1, 5);
        running -= reap(l, sock);
        ssize_t n = io_recv(sock, &p, sizeof(p), NULL, NULL, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        if (n <= 0)
            break;
        running += p.type == SPAWN_START;
        if (launch_handle(l, sock, &p, &e) < 0)
            log_fatal("%s", e.text);
    }
    /* The daemon is gone: engines notice that by themselves. */
    for (int i = 0; i < 400 && running > 0; i++) {
        poll(NULL, 0, 5);
        running -= reap(l, sock);
    }
    launch_free(l);
    _exit(running);
}

pid_t fake_supervisor_start(int *sock)
{
    int s[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) < 0)
        log_fatal("socketpair: %s", strerrordesc_np(errno));
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(s[0]);
        serve(s[1]);
    }
    close(s[1]);
    *sock = s[0];
    return pid;
}

int fake_supervisor_stop(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
