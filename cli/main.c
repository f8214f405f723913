/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs: finds the command and runs it. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

const struct cli_command *const cli_commands[] = {
    &cli_mount, &cli_umount, &cli_add, &cli_ls, &cli_show, &cli_run, &cli_version, &cli_help, NULL};

const struct cli_command *cli_find(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

/* mount(8) runs /sbin/mount.fuse.llmosfs, a link to this program, with the arguments of a mount. */
static bool called_by_mount(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');
    return strncmp(slash ? slash + 1 : argv0, "mount.", strlen("mount.")) == 0;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* not LC_NUMERIC: numbers are written the same everywhere */
    log_init("llmosfs", LOG_LEVEL_INFO);
    if (argc > 0 && called_by_mount(argv[0]))
        return cli_mount.run(argc, argv);
    if (argc < 2) {
        cli_help.run(1, argv);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    const struct cli_command *c = cli_find(name);
    if (!c) {
        fprintf(stderr, "llmosfs: there is no command %s (llmosfs help lists them)\n", name);
        return CLI_USAGE;
    }
    argv[1] = (char *)c->name;
    int code = c->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && code == CLI_OK) {
        fprintf(stderr, "llmosfs: cannot write the output: %m\n");
        code = CLI_FAILED;
    }
    return code;
}
