/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading of a model's file: header, hyperparameters, tensors.
 *
 * The first 8 bytes of an input are a size that the file pretends to have (a hole of zeros follows what is given), so that
 * headers that speak of gigabytes can be reached by inputs of a few kilobytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/log.h"
#include "tests/lib/load_model.h"

#define HOLE_MAX (UINT64_C(1) << 44)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int make_file(const uint8_t *data, size_t n, uint64_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || io_pwrite(fd, data, n, 0) < 0 || ftruncate(fd, (off_t)MAX(size, n)) < 0)
        log_fatal("a file of %zu bytes: %m", n);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint64_t size;
    if (n < sizeof(size))
        return 0;
    memcpy(&size, data, sizeof(size));
    int fd = make_file(data + sizeof(size), n - sizeof(size), size % HOLE_MAX);
    struct loaded l = load_model(fd);
    if (l.gguf)
        load_model_walk(l.file, l.gguf, l.model);
    if (!l.model && l.e.code != EBADMSG && l.e.code != ENOEXEC && l.e.code != ENOMEM)
        log_fatal("refused with %d: %s", l.e.code, l.e.text);
    if (!l.model && l.e.text[0] == 0)
        log_fatal("refused without a sentence");
    load_model_end(&l);
    return 0;
}
