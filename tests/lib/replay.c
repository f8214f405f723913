/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/replay.h"

#include <dirent.h>

#include "base/io.h"
#include "base/log.h"

size_t replay(const char *name, int (*target)(const uint8_t *data, size_t n))
{
    CLEANUP_BUF struct buf path = {0};
    buf_printf(&path, "tests/fuzz/corpus/%s", name);
    DIR *dir = opendir(buf_str(&path));
    size_t n = 0;
    if (!dir)
        log_fatal("%s: %m (tests run from the root of the clone)", buf_str(&path));
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        CLEANUP_BUF struct buf input = {0};
        struct err e = {0};
        if (d->d_name[0] == '.')
            continue;
        buf_clear(&path);
        buf_printf(&path, "tests/fuzz/corpus/%s/%s", name, d->d_name);
        if (io_read_file(buf_str(&path), 1 << 20, &input, &e) < 0)
            log_fatal("%s", e.text);
        target((const uint8_t *)buf_str(&input), input.len);
        n++;
    }
    closedir(dir);
    if (n == 0)
        log_fatal("tests/fuzz/corpus/%s is empty", name);
    return n;
}
