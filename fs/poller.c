/* SPDX-License-Identifier: Apache-2.0 */
/* poll(2) on answers: wakes the kernel's pollers when there is more. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "fs/live.h"

struct poller {
    atomic_uint refs; /* the open file's, and the runtime's while it waits */
    struct rt_wait wait;
    struct rt_answer *answer; /* counted */
    struct fuse_pollhandle *ph;
};

static void unref(struct poller *p)
{
    if (atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    fuse_pollhandle_destroy(p->ph);
    rt_answer_put(p->answer);
    free(p);
}

static void on_wake(struct rt_wait *w)
{
    struct poller *p = list_entry(w, struct poller, wait);
    fuse_lowlevel_notify_poll(p->ph);
    unref(p);
}

void poller_end(struct poller **slot)
{
    struct poller *p = steal_ptr(slot);
    if (!p)
        return;
    if (rt_unwait(&p->wait))
        unref(p);
    unref(p);
}

bool poller_wait(struct poller **slot, struct rt_answer *answer, uint64_t beyond,
                 struct fuse_pollhandle *ph)
{

    struct rt_answer_info info;
    rt_answer_info(answer, &info);
    bool ready = info.done || info.size > beyond;
    if (!ph)
        return ready;
    poller_end(slot);
    struct poller *p = xcalloc(1, sizeof(*p));
    atomic_init(&p->refs, 2);
    p->wait.wake = on_wake;
    p->answer = rt_answer_ref(answer);
    p->ph = ph;
    if (!ready && !rt_wait(answer, &p->wait, beyond)) {
        *slot = p;
        return false;
    }
    unref(p);
    unref(p);
    return true;
}
