/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs show: all about one version. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/listing.h"

struct shown {
    int dir;
    struct listing files;
    struct buf status;
    struct buf params; /* the table of .params */
};

static int gather(int root, const char *name, struct shown *s, struct err *e)
{
    s->dir = cli_version_open(root, name, e);
    if (s->dir < 0 || cli_read_at(s->dir, ".status", &s->status, e) < 0 ||
        cli_read_at(s->dir, ".params", &s->params, e) < 0 || listing_read(s->dir, &s->files, e) < 0)
        return -1;
    return 0;
}

static void shown_free(struct shown *s)
{
    if (s->dir >= 0)
        close(s->dir);
    listing_free(&s->files);
    buf_free(&s->status);
    buf_free(&s->params);
}

static int stat_of(const struct shown *s, size_t i, struct stat *st)
{
    return fstatat(s->dir, s->files.names[i], st, AT_SYMLINK_NOFOLLOW);
}

static int show_people(const char *name, const struct shown *s)
{
    printf("%s\n%s\nfiles\n", name, buf_str(&s->status));
    CLEANUP_TABLE struct cli_table t = {.columns = 3};
    for (size_t i = 0; i < s->files.count; i++) {
        struct stat st;
        char size[CLI_SIZE_MAX];
        if (stat_of(s, i, &st) < 0)
            continue;
        bool dir = S_ISDIR(st.st_mode);
        cli_table_row(&t, "", dir ? "directory" : cli_size((unsigned long long)st.st_size, size),
                      s->files.names[i]);
    }
    cli_table_print(&t);
    printf("\nparameters\n%s", buf_str(&s->params));
    return CLI_OK;
}

/* The values that were set, by name. */
static json_t *params_json(const struct shown *s)
{
    json_t *object = json_object();
    struct err e;
    CLEANUP_FD int dir = openat(s->dir, "params", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_LISTING struct listing l = {0};
    if (dir < 0 || listing_read(dir, &l, &e) < 0)
        return object;
    for (size_t i = 0; i < l.count; i++) {
        CLEANUP_BUF struct buf value = {0};
        if (cli_read_at(dir, l.names[i], &value, &e) < 0)
            continue;
        while (value.len > 0 && value.data[value.len - 1] == '\n')
            value.data[--value.len] = '\0';
        json_object_set_new(object, l.names[i], json_stringn(buf_str(&value), value.len));
    }
    return object;
}

static int show_json(const char *name, const struct shown *s)
{
    json_t *files = json_object();
    for (size_t i = 0; i < s->files.count; i++) {
        struct stat st;
        if (stat_of(s, i, &st) == 0)
            json_object_set_new(files, s->files.names[i], json_integer((json_int_t)st.st_size));
    }
    listing_print(json_pack("{s:s, s:o, s:o, s:o}", "name", name, "status",
                            listing_json(buf_str(&s->status)), "params", params_json(s), "files",
                            files));
    return CLI_OK;
}

static int run_show(int argc, char **argv)
{
    struct cli_options o;
    if (cli_options(&cli_show, "mj", argc, argv, &o) != CLI_OK)
        return CLI_USAGE;
    if (argc - o.first != 1)
        return cli_usage(&cli_show, "show takes one version or alias");
    const char *name = argv[o.first];
    struct err e;
    CLEANUP_FD int root = cli_mount_open(o.mount, NULL, &e);
    if (root < 0)
        return cli_fail(&e);
    struct shown s = {.dir = -1};
    int code;
    if (gather(root, name, &s, &e) < 0) {
        err_prefix(&e, "%s", name);
        code = cli_fail(&e);
    } else {
        code = o.json ? show_json(name, &s) : show_people(name, &s);
    }
    shown_free(&s);
    return code;
}

const struct cli_command cli_show = {
    .name = "show",
    .arguments = "[-m DIR] [--json] NAME@VERSION",
    .summary = "show the state, files and parameters of a model version",
    .help = "  -m DIR   the mount; by default the one that holds the working directory, or the "
            "only one\n"
            "  --json   one JSON object: name, status, params (those that were set) and files with "
            "their sizes\n",
    .run = run_show,
};
