/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs ls: the versions and aliases of a mount. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/listing.h"

/* "134.5 M" of "134515008"; NULL stays NULL. */
static char *count_text(const char *digits)
{
    if (!digits)
        return NULL;
    double n = strtod(digits, NULL);
    struct buf b = {0};
    if (n >= 1e9)
        buf_printf(&b, "%.1f B", n / 1e9);
    else
        buf_printf(&b, "%.1f M", n / 1e6);
    return buf_steal(&b, NULL);
}

static char *size_text(const char *digits)
{
    char size[CLI_SIZE_MAX];
    return digits ? xstrdup(cli_size(strtoull(digits, NULL, 10), size)) : NULL;
}

/* The .status of a version, or a line that says why it cannot be read. */
static void read_status(int root, const char *name, struct buf *status)
{
    struct err e;
    CLEANUP_FD int dir = cli_version_open(root, name, &e);
    if (dir < 0 || cli_read_at(dir, ".status", status, &e) < 0) {
        buf_clear(status);
        buf_add_str(status, "state unreadable\n");
    }
}

static void add_version(struct cli_table *t, const char *name, const char *status)
{
    CLEANUP_FREE char *state = cli_status_value(status, "state");
    CLEANUP_FREE char *architecture = cli_status_value(status, "architecture");
    CLEANUP_FREE char *parameters = cli_status_value(status, "parameters");
    CLEANUP_FREE char *quantization = cli_status_value(status, "quantization");
    CLEANUP_FREE char *context = cli_status_value(status, "context");
    CLEANUP_FREE char *bytes = cli_status_value(status, "bytes");
    CLEANUP_FREE char *count = count_text(parameters);
    CLEANUP_FREE char *size = size_text(bytes);
    cli_table_row(t, name, state, architecture, count, quantization, context, size);
}

static int list_people(int root, const struct listing *l)
{
    CLEANUP_TABLE struct cli_table t = {.columns = 7};
    cli_table_row(&t, "NAME", "STATE", "ARCHITECTURE", "PARAMETERS", "TYPE", "CONTEXT", "SIZE");
    for (size_t i = 0; i < l->count; i++) {
        CLEANUP_FREE char *target = listing_link(root, l->names[i]);
        CLEANUP_BUF struct buf text = {0};
        if (target) {
            buf_printf(&text, "-> %s", target);
            cli_table_row(&t, l->names[i], buf_str(&text), "", "", "", "", "");
        } else {
            read_status(root, l->names[i], &text);
            add_version(&t, l->names[i], buf_str(&text));
        }
    }
    cli_table_print(&t);
    return CLI_OK;
}

static int list_json(int root, const struct listing *l)
{
    json_t *versions = json_object();
    json_t *aliases = json_object();
    for (size_t i = 0; i < l->count; i++) {
        CLEANUP_FREE char *target = listing_link(root, l->names[i]);
        if (target) {
            json_object_set_new(aliases, l->names[i], json_string(target));
            continue;
        }
        CLEANUP_BUF struct buf status = {0};
        read_status(root, l->names[i], &status);
        json_object_set_new(versions, l->names[i], listing_json(buf_str(&status)));
    }
    listing_print(json_pack("{s:o, s:o}", "versions", versions, "aliases", aliases));
    return CLI_OK;
}

static int run_ls(int argc, char **argv)
{
    struct cli_options o;
    if (cli_options(&cli_ls, "mj", argc, argv, &o) != CLI_OK)
        return CLI_USAGE;
    if (argc != o.first)
        return cli_usage(&cli_ls, "ls takes no arguments");
    struct err e;
    CLEANUP_FD int root = cli_mount_open(o.mount, NULL, &e);
    CLEANUP_LISTING struct listing l = {0};
    if (root < 0 || listing_read(root, &l, &e) < 0)
        return cli_fail(&e);
    return o.json ? list_json(root, &l) : list_people(root, &l);
}

const struct cli_command cli_ls = {
    .name = "ls",
    .arguments = "[-m DIR] [--json]",
    .summary = "list the model versions and aliases of a mount",
    .help =
        "  -m DIR   the mount; by default the one that holds the working directory, or the only "
        "one\n"
        "  --json   one JSON object: versions (each with the keys of its .status) and aliases\n",
    .run = run_ls,
};
