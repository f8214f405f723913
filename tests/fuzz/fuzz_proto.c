/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes from a peer. What is taken for a message is encoded again, which reads each
 * field. */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/io.h"
#include "proto/proto.h"
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int s[2];
    struct proto_msg m;
    if (size > 64u << 10 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
        return -1;
    struct proto_conn *c = proto_open(s[1]);
    /* Descriptors go along as the input's first byte says, so that LOAD and INSPECT are reached. */
    int fds[3] = {s[0], s[0], s[0]};
    if (size > 1)
        io_send(s[0], data + 1, size - 1, fds, data[0] & 3, MSG_DONTWAIT);
    close(s[0]);
    while (proto_receive(c, &m, NULL) == 1) {
        CLEANUP_BUF struct buf again = {0};
        const int *own;
        size_t n;
        wire_encode(&m, &again, &own, &n);
        for (size_t i = 0; i < n; i++)
            close(own[i]);
    }
    proto_close(c);
    return 0;
}
