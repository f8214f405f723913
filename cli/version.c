/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

static int run_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return cli_usage(&cli_version, "version takes no arguments");
    puts("llmosfs " CLI_VERSION);
    return CLI_OK;
}

const struct cli_command cli_version = {
    .name = "version",
    .arguments = "",
    .summary = "print the version of llmosfs",
    .help = "",
    .run = run_version,
};
