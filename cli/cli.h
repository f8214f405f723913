/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the command `llmosfs`. Each command is a file of its own that fills one struct cli_command;
 * main.c holds the table. Here is what they share.
 *
 * What a command has to say to people is one sentence on standard error, "llmosfs: …". Exit codes:
 * 0 it is done, 1 it failed, 2 it was called wrongly.
 */
#ifndef LLMOSFS_CLI_CLI_H
#define LLMOSFS_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define CLI_VERSION "0.1.0"

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_command {
    const char *name;
    const char *arguments;             /* as in the synopsis: "[-m DIR] NAME@VERSION FILE…" */
    const char *summary;               /* what it does, in one line */
    const char *help;                  /* the rest of `llmosfs help NAME`; lines end in a newline */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an enum cli_exit */
    bool hidden;                       /* not in the list of commands */
};

extern const struct cli_command cli_add, cli_daemon, cli_help, cli_ls, cli_mount, cli_run, cli_show,
    cli_umount, cli_version;

/* NULL at the end. */
extern const struct cli_command *const cli_commands[];
const struct cli_command *cli_find(const char *name); /* NULL: no such command */

/* Say why and return what the command returns. */
int cli_fail(const struct err *e);
__attribute__((format(printf, 2, 3))) int cli_usage(const struct cli_command *c, const char *fmt,
                                                    ...);

/* The options that most commands share. */
struct cli_options {
    const char *mount; /* -m DIR; NULL: found in the table of mounts */
    bool json;         /* --json */
    bool force;        /* -f */
    int first;         /* index of the first argument that is none */
};

/* Takes those of "m", "j" and "f" that `which` names. Returns CLI_OK or CLI_USAGE, after saying
 * why. */
int cli_options(const struct cli_command *c, const char *which, int argc, char **argv,
                struct cli_options *o);

/* --- mounts --- */

struct cli_mount {
    char *dir;    /* where it is mounted */
    char *source; /* the store */
};
void cli_mount_free(struct cli_mount *m);
#define CLEANUP_MOUNT __attribute__((cleanup(cli_mount_free)))

/* The mount at `dir` (any spelling of it); ENOENT if no llmosfs is mounted there. */
int cli_mount_at(const char *dir, struct cli_mount *m, struct err *e);

/* Where the store `source` is mounted, the caller's to free; NULL if nowhere that we can see. */
char *cli_mounted_on(const char *source);

/*
 * A descriptor of the mount's root: of `dir`, or where it is NULL of the mount that holds the
 * working directory, or of the only one. `m` may be NULL.
 */
int cli_mount_open(const char *dir, struct cli_mount *m, struct err *e);

/* --- versions in a mount --- */

/* Opens the directory of a version or alias. */
int cli_version_open(int root, const char *name, struct err *e);

/* Reads to the end, at most CLI_READ_MAX bytes (EFBIG); errors are told with `name`. */
#define CLI_READ_MAX ((size_t)256 << 20)
int cli_read_all(int fd, const char *name, struct buf *b, struct err *e);
int cli_read_at(int dir, const char *name, struct buf *b, struct err *e);

/*
 * The value of a key in `key value` lines (.status) as a string of its own, NULL if it is not
 * there. Frees nothing; the caller frees the value.
 */
char *cli_status_value(const char *status, const char *key);

/* --- tables for people --- */
struct cli_table {
    size_t columns;
    size_t rows;
    char **cells; /* rows × columns */
};
void cli_table_row(struct cli_table *t, ...); /* `columns` strings; NULL is shown as "-" */
void cli_table_print(const struct cli_table *t);
void cli_table_free(struct cli_table *t);
#define CLEANUP_TABLE __attribute__((cleanup(cli_table_free)))

/* "94.1 MiB" into out, which it returns. */
#define CLI_SIZE_MAX 24
const char *cli_size(unsigned long long bytes, char out[CLI_SIZE_MAX]);

#endif
