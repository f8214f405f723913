/* SPDX-License-Identifier: Apache-2.0 */
/* llmosfs umount: takes a mount away and waits until its processes have ended. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "fs/fs.h"

#define WAIT_SECONDS 30

/* The process that serves a store holds a lock of its directory (mount.c) as long as it lives. */
static int wait_for_end(const char *store, struct err *e)
{
    CLEANUP_FD int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* not ours to look at: nothing to wait for */
    uint64_t end = clock_now() + WAIT_SECONDS * CLOCK_NS_PER_SEC;
    while (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "cannot look at the lock of %s", store);
        if (clock_now() > end)
            return err_set(e, EBUSY,
                           "it is unmounted, but the process that served %s has not ended", store);
        nanosleep(&(struct timespec){.tv_nsec = 20 * (long)CLOCK_NS_PER_MS}, NULL);
    }
    return 0;
}

static int run_umount(int argc, char **argv)
{
    struct cli_options o;
    if (cli_options(&cli_umount, "", argc, argv, &o) != CLI_OK)
        return CLI_USAGE;
    if (argc - o.first != 1)
        return cli_usage(&cli_umount, "umount takes one mountpoint");
    struct err e;
    CLEANUP_MOUNT struct cli_mount m = {0};
    if (cli_mount_at(argv[o.first], &m, &e) < 0 || fs_unmount(m.dir, false, &e) < 0 ||
        wait_for_end(m.source, &e) < 0)
        return cli_fail(&e);
    return CLI_OK;
}

const struct cli_command cli_umount = {
    .name = "umount",
    .arguments = "MOUNTPOINT",
    .summary = "unmount, and wait until all processes of the mount have ended",
    .help = "What was deployed stays in the store. It fails while a program has a file of the "
            "mount open or\n"
            "works in one of its directories.\n",
    .run = run_umount,
};
