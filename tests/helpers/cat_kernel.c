/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cat_kernel sendfile|splice FILE: copies a file to standard output without its bytes passing
 * through this program, and without asking for the file's size first: what it gets is what the
 * kernel believes that the file holds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

static ssize_t move_sendfile(int in)
{
    return sendfile(STDOUT_FILENO, in, NULL, 1 << 20);
}

/* splice needs a pipe at one end at least: through one, whatever standard output is. */
static ssize_t move_splice(int in)
{
    int pipe_ends[2];
    if (pipe(pipe_ends) < 0)
        return -1;
    ssize_t n = splice(in, NULL, pipe_ends[1], NULL, 1 << 16, 0);
    close(pipe_ends[1]);
    for (ssize_t left = n; left > 0;) {
        char data[4096];
        ssize_t r = read(pipe_ends[0], data, sizeof(data));
        if (r <= 0 || write(STDOUT_FILENO, data, (size_t)r) != r) {
            n = -1;
            break;
        }
        left -= r;
    }
    close(pipe_ends[0]);
    return n;
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "sendfile") != 0 && strcmp(argv[1], "splice") != 0)) {
        fprintf(stderr, "usage: cat_kernel sendfile|splice FILE\n");
        return 2;
    }
    int in = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        perror(argv[2]);
        return 1;
    }
    ssize_t n;
    do {
        n = strcmp(argv[1], "splice") == 0 ? move_splice(in) : move_sendfile(in);
    } while (n > 0);
    if (n < 0)
        perror(argv[1]);
    close(in);
    return n < 0;
}
