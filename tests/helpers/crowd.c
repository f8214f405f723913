/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd VERSION-DIRECTORY READERS USERS FIRST-UID: a process for each reader, spread over that many
 * users, each of which opens `completion` and compares what it reads with what its user asked. The
 * users' questions must have been asked before. Prints "waiting" once all have been started; ends
 * when all have read: 0 if each got "user UID" as the first words of its answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_as(const char *dir, uid_t uid)
{
    char path[4096];
    char want[32];
    char got[64] = "";
    if (setgid(uid) < 0 || setuid(uid) < 0)
        return 3;
    snprintf(path, sizeof(path), "%s/completion", dir);
    int want_len = snprintf(want, sizeof(want), "user %u\n", (unsigned)uid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        return 4;
    }
    ssize_t n = read(fd, got, sizeof(got) - 1);
    close(fd);
    if (n < want_len || strncmp(got, want, (size_t)want_len - 1) != 0) {
        fprintf(stderr, "user %u read \"%.40s\"\n", (unsigned)uid, got);
        return 5;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: crowd VERSION-DIRECTORY READERS USERS FIRST-UID\n");
        return 2;
    }
    long readers = strtol(argv[2], NULL, 10);
    long users = strtol(argv[3], NULL, 10);
    long first = strtol(argv[4], NULL, 10);
    if (readers <= 0 || users <= 0 || first <= 0)
        return 2;
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_NPROC, &unlimited);
    for (long i = 0; i < readers; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 1;
        }
        if (pid == 0)
            _exit(read_as(argv[1], (uid_t)(first + i % users)));
    }
    printf("waiting\n");
    fflush(stdout);
    long failed = 0;
    for (long i = 0; i < readers; i++) {
        int status;
        if (wait(&status) < 0)
            return 1;
        failed += status != 0;
    }
    printf("%ld read, %ld failed\n", readers - failed, failed);
    return failed > 0;
}
