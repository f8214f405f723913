/* SPDX-License-Identifier: Apache-2.0 */
#include "model/vfile.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"

struct vfile {
    struct vfile_segment *segments;
    uint64_t *starts; /* of each segment in the whole */
    size_t n;
    uint64_t size; /* never above INT64_MAX, so that off_t holds it */
};

struct vfile *vfile_new(const struct vfile_segment *segments, size_t n, struct err *e)
{
    CLEANUP(vfile) struct vfile *f = mem_array(1, sizeof(*f), "a file of segments", e);
    if (!f)
        return NULL;
    f->segments = mem_array(n, sizeof(*segments), "the segments of a file", e);
    f->starts = f->segments ? mem_array(n, sizeof(*f->starts), "the segments of a file", e) : NULL;
    if (!f->starts)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const struct vfile_segment *s = &segments[i];
        if (s->len > INT64_MAX || s->offset > INT64_MAX - s->len || s->len > INT64_MAX - f->size) {
            err_set(e, EINVAL, "segment %zu of the file is too long", i);
            return NULL;
        }
        f->segments[i] = *s;
        f->starts[i] = f->size;
        f->size += s->len;
    }
    f->n = n;
    return steal_ptr(&f);
}

struct vfile *vfile_from_fd(int fd, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        err_sys(e, "the model's file");
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        err_set(e, EINVAL, "the model's file is not a regular file");
        return NULL;
    }
    struct vfile_segment whole = {.fd = fd, .len = (uint64_t)st.st_size};
    return vfile_new(&whole, 1, e);
}

void vfile_free(struct vfile *f)
{
    if (!f)
        return;
    free(f->segments);
    free(f->starts);
    free(f);
}

uint64_t vfile_size(const struct vfile *f)
{
    return f->size;
}

/* The segment that holds byte off, which is below the size: the last one that starts at or before
 * it. */
static size_t find_segment(const struct vfile *f, uint64_t off)
{
    size_t low = 0, high = f->n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (f->starts[mid] <= off)
            low = mid;
        else
            high = mid;
    }
    return low;
}

int vfile_read(const struct vfile *f, void *data, size_t n, uint64_t off, struct err *e)
{
    if (off > f->size || n > f->size - off)
        return err_set(e, EBADMSG,
                       "%zu bytes at %" PRIu64 " lie beyond the end of the file (%" PRIu64
                       " bytes)",
                       n, off, f->size);
    char *out = data;
    for (size_t i = n > 0 ? find_segment(f, off) : f->n; n > 0; i++) {
        const struct vfile_segment *s = &f->segments[i];
        uint64_t skip = off - f->starts[i];
        size_t take = (size_t)MIN((uint64_t)n, s->len - skip);
        ssize_t got = io_pread(s->fd, out, take, s->offset + skip);
        if (got < 0)
            return err_sys(e, "reading the model's file at %" PRIu64, off);
        if ((size_t)got < take)
            return err_set(e, EBADMSG, "the file was cut at byte %" PRIu64 " while it was in use",
                           off + (uint64_t)got);
        out += take;
        off += take;
        n -= take;
    }
    return 0;
}
