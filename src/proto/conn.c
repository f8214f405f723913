/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: two queues of bytes, two of descriptors.
 *
 * Descriptors travel beside the first byte of their frame: the sender begins a new sendmsg(2) at
 * each frame that has some, and the kernel never merges such bytes with later ones that have
 * others, so whoever has a frame's first byte has its descriptors as well.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/io.h"
#include "proto/wire.h"

#define READ_STEP (64u << 10)
#define KEEP_CAP  (1u << 20) /* an emptied queue larger than this gives its memory back */

struct batch {   /* descriptors that wait to be sent */
    uint64_t at; /* position in the stream of the frame they belong to */
    size_t n;
    int fds[PROTO_FDS_MAX];
};

struct proto_conn {
    int sock;
    bool send_gone; /* the peer takes nothing any more */
    int recv_code;  /* what receiving failed with for good */

    struct buf out;
    size_t out_start; /* bytes of out that are sent */
    uint64_t out_pos; /* position in the stream of out.data[out_start] */
    struct batch *batches;
    size_t n_batches;

    struct buf in;
    size_t in_start; /* bytes of in that were handed out */
    int in_fds[2 * PROTO_FDS_MAX];
    size_t n_in_fds;
    int msg_fds[PROTO_FDS_MAX]; /* of the message at hand, the receiver's */
    struct wire_arena arena;
};

struct proto_conn *proto_open(int sock)
{
    struct proto_conn *c = xcalloc(1, sizeof(*c));
    c->sock = sock;
    int flags = fcntl(sock, F_GETFL);
    if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK) < 0)
        c->send_gone = true, c->recv_code = errno;
    return c;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

void proto_close(struct proto_conn *c)
{
    if (!c)
        return;
    close(c->sock);
    for (size_t i = 0; i < c->n_batches; i++)
        close_all(c->batches[i].fds, c->batches[i].n);
    free(c->batches);
    close_all(c->in_fds, c->n_in_fds);
    wire_arena_free(&c->arena);
    buf_free(&c->out);
    buf_free(&c->in);
    free(c);
}

int proto_fd(const struct proto_conn *c)
{
    return c->sock;
}

/* --- sending --- */

/* Duplicates the descriptors of a frame that begins at the end of the queue. */
static int queue_fds(struct proto_conn *c, const int *fds, size_t n, struct err *e)
{
    struct batch b = {.at = c->out_pos + (c->out.len - c->out_start)};
    for (; b.n < n; b.n++) {
        b.fds[b.n] = fcntl(fds[b.n], F_DUPFD_CLOEXEC, 0);
        if (b.fds[b.n] < 0) {
            err_sys(e, "a descriptor cannot be sent");
            close_all(b.fds, b.n);
            return -1;
        }
    }
    c->batches = xrealloc(c->batches, (c->n_batches + 1) * sizeof(*c->batches));
    c->batches[c->n_batches++] = b;
    return 0;
}

static void drop_batch(struct proto_conn *c)
{
    close_all(c->batches[0].fds, c->batches[0].n);
    c->n_batches--;
    memmove(c->batches, c->batches + 1, c->n_batches * sizeof(*c->batches));
}

static void trim(struct buf *b, size_t *start)
{
    if (*start == b->len) {
        *start = 0;
        if (b->cap > KEEP_CAP)
            buf_free(b);
        else
            buf_clear(b);
    } else if (*start > READ_STEP && *start > b->len / 2) {
        buf_consume(b, *start);
        *start = 0;
    }
}

int proto_flush(struct proto_conn *c, struct err *e)
{
    if (c->send_gone)
        return err_set(e, EPIPE, "the peer is gone");
    while (c->out_start < c->out.len) {
        size_t n = c->out.len - c->out_start;
        const struct batch *b = c->n_batches ? &c->batches[0] : NULL;
        bool with_fds = b && b->at == c->out_pos;
        const struct batch *next = with_fds ? (c->n_batches > 1 ? b + 1 : NULL) : b;
        if (next)
            n = MIN(n, next->at - c->out_pos);
        ssize_t sent = io_send(c->sock, c->out.data + c->out_start, n, with_fds ? b->fds : NULL,
                               with_fds ? b->n : 0, MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            return 1;
        if (sent < 0) {
            c->send_gone = true;
            return err_set(e, EPIPE, "the peer is gone: %s", strerrordesc_np(errno));
        }
        if (with_fds && sent > 0)
            drop_batch(c);
        c->out_start += (size_t)sent;
        c->out_pos += (size_t)sent;
        trim(&c->out, &c->out_start);
    }
    return 0;
}

int proto_send(struct proto_conn *c, const struct proto_msg *m, struct err *e)
{
    if (c->send_gone)
        return err_set(e, EPIPE, "the peer is gone");
    CLEANUP_BUF struct buf body = {0};
    const int *fds;
    size_t n_fds;
    wire_encode(m, &body, &fds, &n_fds);
    if (body.len > wire_body_max(m->type) || n_fds > wire_fds_max(m->type))
        return err_set(e, EMSGSIZE,
                       "a message of type %d is too long to be sent (%zu bytes, %zu descriptors)",
                       (int)m->type, body.len, n_fds);
    if (n_fds > 0 && queue_fds(c, fds, n_fds, e) < 0)
        return -1;
    wire_put_u32(&c->out, (uint32_t)body.len);
    wire_put_u16(&c->out, (uint16_t)m->type);
    wire_put_u16(&c->out, (uint16_t)n_fds);
    buf_add(&c->out, body.data, body.len);
    return proto_flush(c, e) < 0 ? -1 : 0;
}

/* --- receiving --- */

static int broken(struct proto_conn *c, int code)
{
    c->recv_code = code;
    close_all(c->in_fds, c->n_in_fds);
    c->n_in_fds = 0;
    return -1;
}

/* Moves the first n descriptors that came to those of the message at hand. */
static void take_fds(struct proto_conn *c, size_t n)
{
    memcpy(c->msg_fds, c->in_fds, n * sizeof(int));
    c->n_in_fds -= n;
    memmove(c->in_fds, c->in_fds + n, c->n_in_fds * sizeof(int));
}

/* 1: a frame was whole and *m is filled; 0: more bytes are needed; -1. */
static int take_frame(struct proto_conn *c, struct proto_msg *m, struct err *e)
{
    size_t have = c->in.len - c->in_start;
    if (have < WIRE_HEADER)
        return 0;
    const char *head = c->in.data + c->in_start;
    uint32_t len;
    uint16_t type;
    uint16_t n_fds;
    memcpy(&len, head, sizeof(len));
    memcpy(&type, head + 4, sizeof(type));
    memcpy(&n_fds, head + 6, sizeof(n_fds));
    len = le32toh(len);
    type = le16toh(type);
    n_fds = le16toh(n_fds);
    if (wire_body_max(type) == 0 || len > wire_body_max(type) || n_fds > wire_fds_max(type) ||
        n_fds > c->n_in_fds) {
        err_set(e, EPROTO, "a message of type %u with %u bytes and %u descriptors cannot be", type,
                len, n_fds);
        return broken(c, EPROTO);
    }
    if (have - WIRE_HEADER < len)
        return 0;
    if (wire_decode(type, head + WIRE_HEADER, len, c->in_fds, n_fds, &c->arena, m, e) < 0)
        return broken(c, EPROTO);
    c->in_start += WIRE_HEADER + len;
    if (c->in_start == c->in.len && c->n_in_fds > n_fds) {
        err_set(e, EPROTO, "descriptors came that belong to no message");
        return broken(c, EPROTO);
    }
    take_fds(c, n_fds);
    if (type == PROTO_LOAD)
        m->u.load.fds = c->msg_fds;
    return 1;
}

/* 1: more bytes are there; 0: none yet; -1. */
static int read_more(struct proto_conn *c, struct err *e)
{
    size_t room = ARRAY_LEN(c->in_fds) - c->n_in_fds;
    buf_reserve(&c->in, READ_STEP);
    ssize_t n = io_recv(c->sock, c->in.data + c->in.len, READ_STEP, c->in_fds + c->n_in_fds, &room,
                        MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        int code = n < 0 && errno == EPROTO ? EPROTO : EPIPE;
        err_set(e, code, "%s", code == EPROTO ? "too many descriptors came" : "the peer is gone");
        return broken(c, code);
    }
    c->n_in_fds += room;
    c->in.len += (size_t)n;
    return 1;
}

int proto_receive(struct proto_conn *c, struct proto_msg *m, struct err *e)
{
    wire_arena_free(&c->arena);
    if (c->recv_code)
        return err_set(e, c->recv_code, "the connection is closed");
    if (c->in_start > 0)
        trim(&c->in, &c->in_start);
    for (;;) {
        int r = take_frame(c, m, e);
        if (r != 0)
            return r;
        r = read_more(c, e);
        if (r <= 0)
            return r;
    }
}
