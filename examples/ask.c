/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask VERSION-DIRECTORY QUESTION: prints the answer as it is made.
 *
 *     cc -o ask ask.c && ./ask ~/llmosfs/smollm2 "What is the capital of Japan?"
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: ask VERSION-DIRECTORY QUESTION\n");
        return 2;
    }
    if (chdir(argv[1]) < 0) {
        perror(argv[1]);
        return 1;
    }
    /* Open for reading and writing: a conversation that belongs to this descriptor alone. */
    int prompt = open("prompt", O_RDWR);
    if (prompt < 0 || write(prompt, argv[2], strlen(argv[2])) < 0) {
        perror("prompt");
        return 1;
    }
    char piece[4096];
    ssize_t n;
    while ((n = read(prompt, piece, sizeof(piece))) > 0) {
        fwrite(piece, 1, (size_t)n, stdout);
        fflush(stdout);
    }
    if (n < 0)
        perror("no answer");
    close(prompt);
    return n < 0;
}
