/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llmosfs run: one question, or a chat at a terminal, over one descriptor of `prompt` that is open
 * for reading and writing: a conversation of its own (llmosfs(5)).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "cli/cli.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* Why the last question failed: .error has the sentence, if it was the version's doing. */
static int answer_failed(int dir, int code, struct err *e)
{
    CLEANUP_BUF struct buf why = {0};
    if (cli_read_at(dir, ".error", &why, NULL) == 0 && why.len > 1)
        return err_set(e, code, "%.*s", (int)strcspn(why.data, "\n"), why.data);
    errno = code;
    return err_sys(e, "no answer");
}

/* Asks and copies the answer to standard output as it comes. 1: it was stopped by Ctrl-C. */
static int ask(int dir, int prompt, const char *text, size_t n, struct err *e)
{
    if (io_write(prompt, text, n) < 0)
        return answer_failed(dir, errno, e);
    for (;;) {
        char piece[65536];
        ssize_t got = interrupted ? 0 : read(prompt, piece, sizeof(piece));
        if (interrupted)
            return 1;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return answer_failed(dir, errno, e);
        if (got == 0)
            return 0;
        if (io_write(STDOUT_FILENO, piece, (size_t)got) < 0)
            return err_sys(e, "cannot write the answer");
    }
}

static void chat_signals(void)
{
    /* Without SA_RESTART: a waiting read of the answer, or of the keyboard, ends. */
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
}

/* One line of the person's; Ctrl-C begins it anew. False at the end of the input. */
static bool read_line(char **line, size_t *cap, size_t *n)
{
    for (;;) {
        interrupted = 0;
        fputs("> ", stdout);
        fflush(stdout);
        ssize_t got = getline(line, cap, stdin);
        if (got > 1) {
            *n = (size_t)got;
            return true;
        }
        if (got < 0 && !interrupted) {
            putchar('\n');
            return false;
        }
        if (got < 0) {
            clearerr(stdin);
            putchar('\n');
        }
    }
}

static int chat(int dir, int prompt)
{
    CLEANUP_FREE char *line = NULL;
    size_t cap = 0;
    size_t n = 0;
    fputs("Ctrl-C stops an answer, Ctrl-D ends.\n", stdout);
    chat_signals();
    while (read_line(&line, &cap, &n)) {
        struct err e;
        int ret = ask(dir, prompt, line, n, &e);
        if (ret < 0)
            cli_fail(&e);
        if (ret == 1)
            putchar('\n');
    }
    return CLI_OK;
}

static int once(int dir, int prompt, char **words, int n)
{
    CLEANUP_BUF struct buf text = {0};
    struct err e;
    if (n == 0 && cli_read_all(STDIN_FILENO, "standard input", &text, &e) < 0)
        return cli_fail(&e);
    for (int i = 0; i < n; i++)
        buf_printf(&text, "%s%s", i ? " " : "", words[i]);
    if (text.len == 0) {
        err_set(&e, EINVAL, "there is no text to ask");
        return cli_fail(&e);
    }
    return ask(dir, prompt, text.data, text.len, &e) < 0 ? cli_fail(&e) : CLI_OK;
}

static int run_run(int argc, char **argv)
{
    struct cli_options o;
    if (cli_options(&cli_run, "m", argc, argv, &o) != CLI_OK)
        return CLI_USAGE;
    if (argc - o.first < 1)
        return cli_usage(&cli_run, "run takes a version or alias");
    const char *name = argv[o.first];
    char **words = argv + o.first + 1;
    int n = argc - o.first - 1;
    struct err e;
    CLEANUP_FD int root = cli_mount_open(o.mount, NULL, &e);
    CLEANUP_FD int dir = root < 0 ? -1 : cli_version_open(root, name, &e);
    if (dir < 0)
        return cli_fail(&e);
    CLEANUP_FD int prompt = openat(dir, "prompt", O_RDWR | O_CLOEXEC);
    if (prompt < 0) {
        err_sys(&e, errno == ENOENT ? "%s has no weights yet" : "cannot ask %s", name);
        return cli_fail(&e);
    }
    return n == 0 && isatty(STDIN_FILENO) ? chat(dir, prompt) : once(dir, prompt, words, n);
}

const struct cli_command cli_run = {
    .name = "run",
    .arguments = "[-m DIR] NAME@VERSION [TEXT…]",
    .summary = "ask a model and print the answer as it comes, or chat",
    .help = "Without TEXT at a terminal it is a chat, a line a turn: Ctrl-C stops an answer, "
            "Ctrl-D ends. Otherwise the\n"
            "question is read from standard input, which is the way for what others on the machine "
            "may not see, since\n"
            "arguments are visible to them. The conversation is the command's own, apart from that "
            "of prompt and completion.\n\n"
            "  -m DIR   the mount; by default the one that holds the working directory, or the "
            "only one\n",
    .run = run_run,
};
