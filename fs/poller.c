/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll(2) and epoll on answers: wakes the kernel's pollers when there is more.
 *
 * A poller that asks for edges (Go's and Node's runtimes do) polls once, and from then on waits for a wake after each
 * read that said EAGAIN, without asking again. So the kernel's handle is kept as long as the file is open.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "fs/live.h"

struct bell { /* the kernel's handle, of which each wake needs one */
    atomic_uint refs;
    struct fuse_pollhandle *ph;
};

struct poller {
    atomic_uint refs; /* the open file's, and the runtime's while it waits */
    struct bell *bell;
    struct rt_wait wait;
    struct rt_answer *answer; /* counted; NULL: it does not wait */
};

static struct bell *bell_ref(struct bell *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

static void bell_unref(struct bell *b)
{
    if (atomic_fetch_sub(&b->refs, 1) > 1)
        return;
    fuse_pollhandle_destroy(b->ph);
    free(b);
}

static void unref(struct poller *p, unsigned n)
{
    if (atomic_fetch_sub(&p->refs, n) > n)
        return;
    bell_unref(p->bell);
    if (p->answer)
        rt_answer_put(p->answer);
    free(p);
}

static void on_wake(struct rt_wait *w)
{
    struct poller *p = list_entry(w, struct poller, wait);
    fuse_lowlevel_notify_poll(p->bell->ph);
    unref(p, 1);
}

void poller_end(struct poller **slot)
{
    struct poller *p = steal_ptr(slot);
    if (!p)
        return;
    unref(p, p->answer && rt_unwait(&p->wait) ? 2 : 1);
}

/* Puts a new poller into the slot, which takes over the bell. True: there is something already. */
static bool arm(struct poller **slot, struct bell *bell, struct rt_answer *answer, uint64_t beyond)
{
    poller_end(slot);
    struct poller *p = xcalloc(1, sizeof(*p));
    atomic_init(&p->refs, 1);
    p->bell = bell;
    *slot = p;
    if (!answer)
        return true;
    p->wait.wake = on_wake;
    p->answer = rt_answer_ref(answer);
    atomic_fetch_add(&p->refs, 1);
    if (!rt_wait(answer, &p->wait, beyond))
        return false;
    rt_answer_put(steal_ptr(&p->answer));
    atomic_fetch_sub(&p->refs, 1); /* the slot's stays */
    return true;
}

bool poller_wait(struct poller **slot, struct rt_answer *answer, uint64_t beyond,
                 struct fuse_pollhandle *ph)
{
    if (ph) {
        struct bell *bell = xcalloc(1, sizeof(*bell));
        atomic_init(&bell->refs, 1);
        bell->ph = ph;
        return arm(slot, bell, answer, beyond);
    }
    struct rt_answer_info info;
    if (!answer)
        return true;
    rt_answer_info(answer, &info);
    return info.done || info.size > beyond;
}

void poller_again(struct poller **slot, struct rt_answer *answer, uint64_t beyond)
{
    if (!*slot)
        return;
    struct bell *bell = bell_ref((*slot)->bell);
    if (arm(slot, bell, answer, beyond))
        fuse_lowlevel_notify_poll(bell->ph);
}
