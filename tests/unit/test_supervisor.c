/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor: who ends when who dies, what the waiting parent hears, and that no process is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "base/log.h"
#include "proto/proto.h"
#include "runtime/launch.h"
#include "runtime/supervisor.h"
#include "tests/lib/fake_supervisor.h"

enum act { ACT_SERVE, ACT_FAIL, ACT_CRASH, ACT_EXIT, ACT_DEAF, ACT_BABBLE };

struct told { /* what daemon and supervisor of a test tell it, over a pipe */
    enum { TOLD_DAEMON = 1, TOLD_ENGINE, TOLD_ENDED } what;
    pid_t pid;
};

struct play {
    enum act act;
    int pipe;
};

static void tell(int fd, int what, pid_t pid)
{
    const struct told t = {what, pid};
    io_write(fd, &t, sizeof(t));
}

static struct spawn_packet next_packet(int sock, int *fd)
{
    struct spawn_packet p = {0};
    size_t n = 1;
    *fd = -1;
    if (io_recv(sock, &p, sizeof(p), fd, &n, 0) != (ssize_t)sizeof(p))
        _exit(9);
    return p;
}

/* A daemon that starts an engine and holds its socket. */
static int start_engine(int sock, int pipe)
{
    const struct spawn_packet start = {.type = SPAWN_START, .id = 7};
    int fd;
    io_send(sock, &start, sizeof(start), NULL, 0, 0);
    struct spawn_packet p = next_packet(sock, &fd);
    if (p.type != SPAWN_STARTED || p.id != 7 || p.pid <= 0 || fd < 0)
        _exit(8);
    tell(pipe, TOLD_ENGINE, p.pid);
    return fd;
}

static int play_daemon(void *ctx, int sock)
{
    const struct play *p = ctx;
    const struct err no = {EIO, "it cannot be"};
    tell(p->pipe, TOLD_DAEMON, getpid());
    if (p->act == ACT_FAIL) {
        supervisor_tell_failed(sock, &no);
        return 1;
    }
    start_engine(sock, p->pipe);
    supervisor_tell_ready(sock);
    if (p->act == ACT_CRASH)
        raise(SIGKILL);
    if (p->act == ACT_EXIT)
        return 0;
    if (p->act == ACT_BABBLE)
        io_send(sock, "what?", 5, NULL, 0, 0);
    if (p->act == ACT_DEAF)
        signal(SIGTERM, SIG_IGN);
    for (;;)
        pause();
}

static void play_ended(void *ctx)
{
    const struct play *p = ctx;
    tell(p->pipe, TOLD_ENDED, 0);
}

static pid_t run(enum act act, int *pipe_in, int ready_fd)
{
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct play play = {act, p[1]};
        const struct supervisor_config config = {.engine = fake_supervisor_helper("echo_engine"),
                                                 .ready_fd = ready_fd,
                                                 .keep_uid = true,
                                                 .daemon = play_daemon,
                                                 .ended = play_ended,
                                                 .ctx = &play};
        close(p[0]);
        log_init("supervisor", LOG_LEVEL_ERROR);
        _exit(supervisor_run(&config));
    }
    close(p[1]);
    *pipe_in = p[0];
    return pid;
}

static pid_t heard(int fd, int what)
{
    struct told t;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(read(fd, &t, sizeof(t)), sizeof(t));
    assert_int_equal(t.what, what);
    return t.pid;
}

static int exit_status(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Not there any more, or waited for by nobody in a container without an init. */
static bool is_gone(pid_t pid)
{
    char path[64];
    CLEANUP_BUF struct buf b = {0};
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (io_read_file(path, 4096, &b, NULL) < 0)
        return true;
    const char *state = strrchr(buf_str(&b), ')');
    return !state || state[2] == 'Z' || state[2] == 'X';
}

static void assert_gone(pid_t pid)
{
    for (int i = 0; i < 1000 && !is_gone(pid); i++)
        poll(NULL, 0, 10);
    assert_true(is_gone(pid));
}

/* One play: the exit status of the supervisor; daemon and engine must be gone, and the mount taken away. */
static int play(enum act act, int signal_supervisor)
{
    int in;
    pid_t supervisor = run(act, &in, -1);
    pid_t daemon = heard(in, TOLD_DAEMON);
    pid_t engine = act == ACT_FAIL ? 0 : heard(in, TOLD_ENGINE);
    if (signal_supervisor) {
        poll(NULL, 0, 100);
        assert_false(is_gone(daemon) || is_gone(engine));
        kill(supervisor, signal_supervisor);
    }
    int status = exit_status(supervisor);
    assert_gone(daemon);
    if (engine)
        assert_gone(engine);
    if (signal_supervisor != SIGKILL)
        heard(in, TOLD_ENDED);
    close(in);
    return status;
}

static void test_daemon_ends(void **state)
{
    (void)state;
    assert_int_equal(play(ACT_EXIT, 0), 0);
    assert_int_equal(play(ACT_CRASH, 0), 1);
    assert_int_equal(play(ACT_FAIL, 0), 1);
    assert_int_equal(play(ACT_BABBLE, 0), 1);
}

static void test_signals(void **state)
{
    (void)state;
    /* The daemon of this test dies of SIGTERM; fs's ends with 0. */
    assert_int_equal(play(ACT_SERVE, SIGTERM), 1);
    assert_int_equal(play(ACT_SERVE, SIGINT), 1);
    assert_int_equal(play(ACT_SERVE, SIGKILL), 128 + SIGKILL);
}

static void test_deaf_daemon(void **state)
{
    (void)state;
    assert_int_equal(play(ACT_DEAF, SIGTERM), 1); /* after 10 s */
}

/* --- the parent that waits --- */

static int background(enum act act, struct err *e)
{
    int ready = -1;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int r = supervisor_background(null, &ready, e);
    close(null);
    if (r != 1)
        return r;
    int in;
    pid_t pid = run(act, &in, ready);
    close(ready);
    if (act == ACT_SERVE) {
        heard(in, TOLD_DAEMON);
        heard(in, TOLD_ENGINE);
        poll(NULL, 0, 200);
        kill(pid, SIGTERM);
    }
    waitpid(pid, NULL, 0);
    _exit(0);
}

static void test_parent_waits(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(background(ACT_SERVE, &e), 0);
    assert_int_equal(background(ACT_FAIL, &e), -1);
    assert_string_equal(e.text, "it cannot be");
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

/* --- engines --- */

static void test_cannot_start(void **state)
{
    (void)state;
    int s[2];
    int fd;
    struct err e;
    char path[] = "/tmp/test_supervisor.XXXXXX";
    int file = mkstemp(path); /* no program, and not executable */
    assert_true(file >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    assert_null(launch_new("/nonexistent", 0, &e));
    assert_int_equal(e.code, ENOENT);
    struct launch *l = launch_new(path, 0, &e);
    assert_non_null(l);
    struct spawn_packet p = {.type = SPAWN_START, .id = 1};
    assert_int_equal(launch_handle(l, s[0], &p, &e), 0);
    p = next_packet(s[1], &fd);
    assert_int_equal(p.type, SPAWN_STARTED);
    assert_int_equal(p.pid, 0);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(p.text, "cannot be started"));
    p = (struct spawn_packet){.type = SPAWN_STARTED};
    assert_int_equal(launch_handle(l, s[0], &p, &e), -1);
    p = (struct spawn_packet){.type = SPAWN_KILL, .id = 99}; /* has ended already */
    assert_int_equal(launch_handle(l, s[0], &p, &e), 0);
    launch_free(l);
    close(file);
    unlink(path);
    close(s[0]);
    close(s[1]);
}

static size_t count_open(pid_t pid)
{
    size_t n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64];
        struct stat st;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        n += lstat(path, &st) == 0;
    }
    return n;
}

static void status_of(pid_t pid, struct buf *b)
{
    char path[64];
    struct err e;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (io_read_file(path, 65536, b, &e) < 0)
        fail_msg("%s", e.text);
}

/* All four ids of a process, which must be the same. */
static unsigned uid_of(pid_t pid)
{
    unsigned uid[4];
    CLEANUP_BUF struct buf status = {0};
    status_of(pid, &status);
    const char *line = strstr(buf_str(&status), "Uid:\t");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "Uid:\t%u\t%u\t%u\t%u", uid, uid + 1, uid + 2, uid + 3), 4);
    assert_true(uid[1] == uid[0] && uid[2] == uid[0] && uid[3] == uid[0]);
    return uid[0];
}

/* The id that another mount's launcher gives at the same time. */
static unsigned uid_of_another(uid_t base)
{
    int s[2];
    int fd;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    struct launch *l = launch_new(fake_supervisor_helper("echo_engine"), base, NULL);
    assert_non_null(l);
    struct spawn_packet p = {.type = SPAWN_START, .id = 1};
    assert_int_equal(launch_handle(l, s[0], &p, NULL), 0);
    p = next_packet(s[1], &fd);
    unsigned uid = uid_of(p.pid);
    launch_free(l);
    close(fd);
    close(s[0]);
    close(s[1]);
    return uid;
}

/* Four descriptors, its own process group, no_new_privs; and as root an id of its own. */
static void test_what_an_engine_has(void **state)
{
    (void)state;
    int s[2];
    int fd;
    int stray = open("/dev/null", O_RDONLY); /* without close-on-exec */
    struct err e;
    uid_t base = geteuid() == 0 ? LAUNCH_UID_BASE : 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    struct launch *l = launch_new(fake_supervisor_helper("echo_engine"), base, &e);
    assert_non_null(l);
    struct spawn_packet p = {.type = SPAWN_START, .id = 1};
    assert_int_equal(launch_handle(l, s[0], &p, &e), 0);
    p = next_packet(s[1], &fd);
    if (p.pid == 0)
        fail_msg("%s", p.text);
    CLEANUP(proto) struct proto_conn *c = proto_open(fd);
    struct proto_msg m;
    int r;
    while ((r = proto_receive(c, &m, &e)) == 0)
        poll(NULL, 0, 5);
    assert_int_equal(r, 1); /* HELLO: it runs */
    assert_int_equal(count_open(p.pid), 4);
    assert_int_equal(getpgid(p.pid), p.pid);
    CLEANUP_BUF struct buf status = {0};
    status_of(p.pid, &status);
    assert_non_null(strstr(buf_str(&status), "NoNewPrivs:\t1\n"));
    if (base) {
        assert_in_range(uid_of(p.pid), base, base + LAUNCH_MAX - 1);
        assert_non_null(strstr(buf_str(&status), "Groups:\t \n"));
        assert_int_not_equal(uid_of_another(base), uid_of(p.pid));
    }
    pid_t pid = p.pid;
    launch_free(l); /* kills and waits */
    assert_int_equal(kill(pid, 0), -1);
    close(stray);
    close(s[0]);
    close(s[1]);
}

int main(void)
{
    log_init("test_supervisor", LOG_LEVEL_ERROR); /* they are what is tested */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_daemon_ends),  cmocka_unit_test(test_signals),
        cmocka_unit_test(test_deaf_daemon),  cmocka_unit_test(test_parent_waits),
        cmocka_unit_test(test_cannot_start), cmocka_unit_test(test_what_an_engine_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
