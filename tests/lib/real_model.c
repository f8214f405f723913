/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/real_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

int real_model_open(const char *name)
{
    CLEANUP_BUF struct buf path = {0};
    const char *dir = getenv("LLMOSFS_MODELS"), *cache = getenv("XDG_CACHE_HOME");
    if (dir && *dir)
        buf_printf(&path, "%s", dir);
    else if (cache && *cache)
        buf_printf(&path, "%s/llmosfs/models", cache);
    else
        buf_printf(&path, "%s/.cache/llmosfs/models", getenv("HOME") ? getenv("HOME") : "");
    buf_printf(&path, "/%s", name);
    int fd = open(buf_str(&path), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fprintf(stderr, "%s is not there: `make models` fetches it\n", buf_str(&path));
    return fd;
}
