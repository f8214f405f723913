/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: messages, options, tables, small files. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int cli_fail(const struct err *e)
{
    fflush(stdout);
    fprintf(stderr, "llmosfs: %s\n", e->text);
    return CLI_FAILED;
}

int cli_usage(const struct cli_command *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("llmosfs: ", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: llmosfs %s %s\n", c->name, c->arguments);
    return CLI_USAGE;
}

int cli_options(const struct cli_command *c, const char *which, int argc, char **argv,
                struct cli_options *o)
{
    static const struct option all[] = {{"mount", required_argument, NULL, 'm'},
                                        {"json", no_argument, NULL, 'j'},
                                        {"force", no_argument, NULL, 'f'},
                                        {NULL, 0, NULL, 0}};
    *o = (struct cli_options){0};
    opterr = 0;
    optind = 1;
    /* "+": options come first, so that a text may begin with a dash after them. */
    for (int opt; (opt = getopt_long(argc, argv, "+:m:jf", all, NULL)) != -1;) {
        if (opt == ':')
            return cli_usage(c, "%s needs a value", argv[optind - 1]);
        if (opt == '?' || !strchr(which, opt))
            return cli_usage(c, "%s has no option %s", c->name, argv[optind - 1]);
        if (opt == 'm')
            o->mount = optarg;
        else if (opt == 'j')
            o->json = true;
        else
            o->force = true;
    }
    o->first = optind;
    return CLI_OK;
}

int cli_version_open(int root, const char *name, struct err *e)
{
    if (strchr(name, '/') || name[0] == '.' || name[0] == '\0')
        return err_set(e, EINVAL, "%s is no name of a model version (NAME@VERSION or an alias)",
                       name);
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ENOENT, "there is no model version %s (llmosfs ls lists them)", name);
    return fd < 0 ? err_sys(e, "cannot open %s", name) : fd;
}

int cli_read_all(int fd, const char *name, struct buf *b, struct err *e)
{
    for (;;) {
        char piece[65536];
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "cannot read %s", name);
        if (n == 0)
            return 0;
        if (b->len + (size_t)n > CLI_READ_MAX)
            return err_set(e, EFBIG, "%s is larger than %zu MiB", name, CLI_READ_MAX >> 20);
        buf_add(b, piece, (size_t)n);
    }
}

int cli_read_at(int dir, const char *name, struct buf *b, struct err *e)
{
    CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, "cannot open %s", name) : cli_read_all(fd, name, b, e);
}

char *cli_status_value(const char *status, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = status; *line;) {
        const char *end = strchrnul(line, '\n');
        if (strncmp(line, key, n) == 0 && (line[n] == ' ' || line[n] == '\t')) {
            const char *value = line + n;
            while (*value == ' ' || *value == '\t')
                value++;
            return xstrndup(value, (size_t)(end - value));
        }
        line = *end ? end + 1 : end;
    }
    return NULL;
}

const char *cli_size(unsigned long long bytes, char out[CLI_SIZE_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, CLI_SIZE_MAX, "%.*f %s", unit == 0 || value >= 100 ? 0 : 1, value, units[unit]);
    return out;
}

/* --- tables --- */

void cli_table_row(struct cli_table *t, ...)
{
    va_list ap;
    va_start(ap, t);
    t->cells = xrealloc(t->cells, (t->rows + 1) * t->columns * sizeof(*t->cells));
    for (size_t i = 0; i < t->columns; i++) {
        const char *text = va_arg(ap, const char *);
        t->cells[t->rows * t->columns + i] = xstrdup(text ? text : "-");
    }
    t->rows++;
    va_end(ap);
}

/* Characters, which is columns of a terminal for all that the tables hold. */
static size_t width_of(const char *s)
{
    size_t width = 0;
    for (; *s; s++)
        width += ((unsigned char)*s & 0xC0) != 0x80;
    return width;
}

void cli_table_print(const struct cli_table *t)
{
    for (size_t row = 0; row < t->rows; row++) {
        char *const *cells = t->cells + row * t->columns;
        for (size_t i = 0; i < t->columns; i++) {
            fputs(cells[i], stdout);
            if (i + 1 == t->columns)
                break;
            size_t widest = 0;
            for (size_t r = 0; r < t->rows; r++)
                widest = MAX(widest, width_of(t->cells[r * t->columns + i]));
            for (size_t n = width_of(cells[i]); n < widest + 2; n++)
                putchar(' ');
        }
        putchar('\n');
    }
}

void cli_table_free(struct cli_table *t)
{
    for (size_t i = 0; i < t->rows * t->columns; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct cli_table){0};
}
