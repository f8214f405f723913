/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t io_pread(int fd, void *data, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd, (char *)data + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int io_pwrite(int fd, const void *data, size_t n, uint64_t off)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = pwrite(fd, (const char *)data + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        done += (size_t)r;
    }
    return 0;
}

int io_write(int fd, const void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = write(fd, (const char *)data + done, n - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        done += (size_t)r;
    }
    return 0;
}

int io_read_file(const char *path, size_t max, struct buf *b, struct err *e)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, "%s", path);
    size_t start = b->len;
    for (;;) {
        char chunk[16384];
        ssize_t r = read(fd, chunk, sizeof(chunk));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_sys(e, "%s", path);
        if (r == 0)
            return 0;
        if ((size_t)r > max - (b->len - start))
            return err_set(e, EFBIG, "%s is longer than %zu bytes", path, max);
        buf_add(b, chunk, (size_t)r);
    }
}

ssize_t io_send(int sock, const void *data, size_t n, const int *fds, size_t n_fds, int flags)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
    } control;
    struct iovec iov = {(void *)(uintptr_t)data, n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds > IO_FDS_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (n_fds > 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    ssize_t r;
    do {
        r = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
    } while (r < 0 && errno == EINTR);
    return r;
}

/* Moves the descriptors of one control message to fds; those beyond `room` are closed. False if any
 * were. */
static bool take_fds(const struct cmsghdr *c, int *fds, size_t room, size_t *got)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    bool all = true;
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        if (*got < room) {
            fds[(*got)++] = fd;
        } else {
            close(fd);
            all = false;
        }
    }
    return all;
}

ssize_t io_recv(int sock, void *data, size_t n, int *fds, size_t *n_fds, int flags)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
    } control;
    struct iovec iov = {data, n};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    size_t room = n_fds ? *n_fds : 0;
    size_t got = 0;
    bool all = true;
    ssize_t r;
    do {
        r = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            all = take_fds(c, fds, room, &got) && all;
    if (n_fds)
        *n_fds = got;
    if (!all || (msg.msg_flags & MSG_CTRUNC)) {
        for (size_t i = 0; i < got; i++)
            close(fds[i]);
        if (n_fds)
            *n_fds = 0;
        errno = EPROTO;
        return -1;
    }
    return r;
}
