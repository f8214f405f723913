/* SPDX-License-Identifier: Apache-2.0 */
/* What a process in the sandbox can do no more, and what it still can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Runs fn in a child, in the sandbox; its exit code is what fn returns. */
static int in_sandbox(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err e;
        if (sandbox_enter(&e) < 0) {
            fprintf(stderr, "%s\n", e.text);
            _exit(100);
        }
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int fails(long result)
{
    return result == -1 && errno == EPERM ? 0 : 1;
}

/* The number of the first thing that should have been refused and was not; 0: all were. */
static int try_everything(void)
{
    char *const argv[] = {(char *)"true", NULL};
    const struct {
        int number;
        long result;
    } tries[] = {
        {1, fails(open("/etc/passwd", O_RDONLY))},
        {2, fails(open("/tmp", O_TMPFILE | O_RDWR, 0600))},
        {3, fails(socket(AF_INET, SOCK_STREAM, 0))},
        {4, fails(socket(AF_UNIX, SOCK_STREAM, 0))},
        {5, fails(execv("/bin/true", argv))},
        {6, fails(kill(getppid(), 0))},
        {7, fails(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL))},
        {8, fails(fork())},
        {9, fails(mkdir("/tmp/llmosfs-sandbox", 0700))},
        {10, fails(unlink("/tmp/llmosfs-sandbox"))},
        {11, fails(access("/etc/passwd", R_OK))},
        {12, fails(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))},
        {13, fails(setuid(0))},
        {14, fails(chdir("/"))},
    };
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
        if (tries[i].result)
            return tries[i].number;
    return 0;
}

static void test_refused(void **state)
{
    (void)state;
    if (SANITIZED)
        skip(); /* sanitizers read /proc and start processes themselves: sandbox.h */
    assert_int_equal(in_sandbox(try_everything), 0);
}

static void *thread_main(void *arg)
{
    void *p = malloc(1 << 20);
    memset(p, 1, 1 << 20);
    *(int *)arg = ((char *)p)[77];
    free(p);
    return NULL;
}

static int live_on(void)
{
    pthread_t t[3];
    int got[3] = {0};
    struct stat st;
    struct rlimit core;
    char byte;
    for (int i = 0; i < 3; i++)
        if (pthread_create(&t[i], NULL, thread_main, &got[i]) != 0)
            return 1;
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    if (got[0] + got[1] + got[2] != 3)
        return 2;
    if (fstat(0, &st) != 0)
        return 3;
    if (pread(0, &byte, 1, 0) < 0 && errno == EPERM)
        return 4;
    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max != 0 ? 6 : 0;
}

static void test_still_allowed(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(live_on), 0);
}

static int close_others_child(void)
{
    struct err e;
    int kept = fcntl(0, F_DUPFD, 10);
    int lost = fcntl(0, F_DUPFD, 5);
    int high = fcntl(0, F_DUPFD, 200);
    if (sandbox_close_others(kept, &e) < 0)
        return 1;
    if (fcntl(kept, F_GETFD) < 0 || fcntl(0, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0)
        return 2;
    return fcntl(lost, F_GETFD) >= 0 || fcntl(high, F_GETFD) >= 0 ? 3 : 0;
}

static void test_inherited_descriptors(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(close_others_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_still_allowed),
        cmocka_unit_test(test_inherited_descriptors),
    };
    return cmocka_run_group_tests_name("engine sandbox", tests, NULL, NULL);
}
