/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

static void list(void)
{
    puts("llmosfs: large language models as files\n");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("  llmosfs %-8s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    puts("\n`llmosfs help COMMAND` says more of each; the files of a mount are described in "
         "llmosfs(5).");
}

static int run_help(int argc, char **argv)
{
    if (argc > 2)
        return cli_usage(&cli_help, "help takes one command");
    if (argc < 2) {
        list();
        return CLI_OK;
    }
    const struct cli_command *c = cli_find(argv[1]);
    if (!c)
        return cli_usage(&cli_help, "there is no command %s", argv[1]);
    printf("usage: llmosfs %s %s\n\n%s.\n", c->name, c->arguments, c->summary);
    if (c->help[0])
        printf("\n%s", c->help);
    return CLI_OK;
}

const struct cli_command cli_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "say what the commands do, or what one does",
    .help = "",
    .run = run_help,
};
