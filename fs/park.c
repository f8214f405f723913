/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/park.h"

#define LINGER_FIRST_NS (200 * CLOCK_NS_PER_MS) /* a signal has stopped its process by then */
#define LINGER_NEXT_NS  (500 * CLOCK_NS_PER_MS)

struct linger { /* one who waited and is perhaps stopped */
    struct list link;
    struct rt_answer *answer;
    pid_t tid;
    uint64_t check_at;
};

struct invalid { /* a name that the kernel is to look up anew */
    struct list link;
    uint64_t dir;
    char *name;
};

struct parking {
    struct fs *fs;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a lingerer came, or nothing is alive, or the end */
    struct list parked;
    unsigned alive;     /* struct parked that are not freed */
    struct map of_user; /* uid -> how many are parked, as a pointer */
    unsigned max_of_user;
    struct list lingerers;
    struct list invalids;
    bool ending;
    pthread_t warden;
};

/* --- what /proc says about the one who waits --- */

/* The line of /proc/TID/status that begins with `field`, or NULL. */
static const char *status_field(pid_t tid, const char *field, struct buf *b)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    if (tid <= 0 || io_read_file(path, 1 << 16, b, NULL) < 0)
        return NULL;
    const char *at = strstr(buf_str(b), field);
    return at ? at + strlen(field) : NULL;
}

/* A thread that SIGKILL, or another signal that ends it, has reached has SIGKILL pending. */
static bool is_dying(pid_t tid)
{
    CLEANUP_BUF struct buf b = {0};
    const char *pending = status_field(tid, "\nSigPnd:", &b);
    return pending && (strtoull(pending, NULL, 16) & 0x100);
}

static bool is_stopped(pid_t tid)
{
    CLEANUP_BUF struct buf b = {0};
    const char *state = status_field(tid, "\nState:", &b);
    if (!state)
        return false;
    state += strspn(state, " \t");
    return *state == 'T' || *state == 't';
}

/* --- counting (lock held) --- */

static unsigned user_count(struct parking *pk, uid_t uid)
{
    return (unsigned)(uintptr_t)map_get(&pk->of_user, uid);
}

static void user_add(struct parking *pk, uid_t uid, int n)
{
    uintptr_t count = user_count(pk, uid) + (uintptr_t)n;
    if (count == 0)
        map_remove(&pk->of_user, uid);
    else
        map_put(&pk->of_user, uid, (void *)count);
}

/* --- one parked request --- */

static void parked_free(struct parking *pk, struct parked *p)
{
    rt_answer_put(p->answer);
    if (p->node)
        node_put(p->call.fs, p->node);
    free(p);
    pthread_mutex_lock(&pk->lock);
    if (--pk->alive == 0)
        pthread_cond_broadcast(&pk->changed);
    pthread_mutex_unlock(&pk->lock);
}

static void unref(struct parking *pk, struct parked *p, unsigned n)
{
    pthread_mutex_lock(&pk->lock);
    p->refs -= n;
    bool last = p->refs == 0;
    pthread_mutex_unlock(&pk->lock);
    if (last)
        parked_free(pk, p);
}

/* Decides that the caller is the one who replies (lock held). */
static void claim(struct parking *pk, struct parked *p)
{
    p->claimed = true;
    list_del(&p->link);
    user_add(pk, p->call.uid, -1);
}

static void reply_finish(struct parked *p)
{
    /* Returns once no on_interrupt() for it runs; none will begin. */
    fuse_req_interrupt_func(p->call.req, NULL, NULL);
    p->finish(p);
}

static void reply_interrupted(struct parked *p)
{
    if (p->gone)
        p->gone(p, is_dying(p->call.tid));
    fuse_reply_err(p->call.req, EINTR);
}

/* From libfuse, which holds the request's lock: on the thread that got FUSE_INTERRUPT, or on the one that
   registers, and then it must not reply, since libfuse still uses the request. */
static void on_interrupt(fuse_req_t req, void *data)
{
    (void)req;
    struct parked *p = data;
    struct parking *pk = p->call.fs->parking;
    pthread_mutex_lock(&pk->lock);
    bool mine = !p->registering && !p->claimed;
    p->interrupted = true;
    if (mine) {
        claim(pk, p);
        if (rt_unwait(&p->wait))
            p->refs--; /* wake() will not come */
    }
    pthread_mutex_unlock(&pk->lock);
    if (mine) {
        reply_interrupted(p);
        unref(pk, p, 1);
    }
}

static void on_wake(struct rt_wait *w)
{
    struct parked *p = list_entry(w, struct parked, wait);
    struct parking *pk = p->call.fs->parking;
    pthread_mutex_lock(&pk->lock);
    bool mine = !p->claimed;
    if (mine)
        claim(pk, p);
    pthread_mutex_unlock(&pk->lock);
    if (mine)
        reply_finish(p);
    unref(pk, p, mine ? 2 : 1);
}

static bool register_parked(struct parking *pk, struct parked *p)
{
    pthread_mutex_lock(&pk->lock);
    bool room = user_count(pk, p->call.uid) < pk->max_of_user;
    pk->alive++;
    if (room) {
        user_add(pk, p->call.uid, 1);
        list_add(&pk->parked, &p->link);
    }
    pthread_mutex_unlock(&pk->lock);
    return room;
}

void park(const struct parked *request, uint64_t beyond)
{
    struct parked *p = xmemdup(request, sizeof(*request));
    struct parking *pk = p->call.fs->parking;
    list_init(&p->link);
    p->wait.wake = on_wake;
    p->refs = 1;
    p->registering = true;
    if (!register_parked(pk, p)) {
        if (p->gone)
            p->gone(p, false);
        struct rt_answer_info info;
        rt_answer_info(p->answer, &info);
        fail_set(&p->call, info.version, EBUSY,
                 "%u requests of this user wait already, and no more may (parked_max)",
                 pk->max_of_user);
        parked_free(pk, p);
        return;
    }
    fuse_req_interrupt_func(p->call.req, on_interrupt, p);

    pthread_mutex_lock(&pk->lock);
    p->registering = false;
    bool interrupted = p->interrupted;
    bool now = !interrupted && rt_wait(p->answer, &p->wait, beyond);
    if (interrupted || now)
        claim(pk, p);
    else
        p->refs++; /* on_wake's */
    pthread_mutex_unlock(&pk->lock);
    if (now)
        reply_finish(p);
    else if (interrupted)
        reply_interrupted(p);
    if (now || interrupted)
        unref(pk, p, 1);
}

/* --- the warden: looks after those who were interrupted, and names to be looked up anew --- */

void park_linger(struct fs *fs, struct rt_answer *answer, pid_t tid)
{
    struct parking *pk = fs->parking;
    struct linger *l = xcalloc(1, sizeof(*l));
    *l = (struct linger){.answer = answer, .tid = tid, .check_at = clock_now() + LINGER_FIRST_NS};
    pthread_mutex_lock(&pk->lock);
    list_add(&pk->lingerers, &l->link);
    pthread_cond_broadcast(&pk->changed);
    pthread_mutex_unlock(&pk->lock);
}

void park_invalidate(struct fs *fs, uint64_t dir, const char *name)
{
    struct parking *pk = fs->parking;
    struct invalid *i = xcalloc(1, sizeof(*i));
    i->dir = dir;
    i->name = xstrdup(name);
    pthread_mutex_lock(&pk->lock);
    list_add(&pk->invalids, &i->link);
    pthread_cond_broadcast(&pk->changed);
    pthread_mutex_unlock(&pk->lock);
}

/* ENOENT is no error: the kernel does not know the name. */
static void invalidate(struct parking *pk, struct invalid *i)
{
    int rc = fuse_lowlevel_notify_inval_entry(pk->fs->se, i->dir, i->name, strlen(i->name));
    if (rc < 0 && rc != -ENOENT && rc != -ENOTDIR)
        log_warning("cannot invalidate a name: %s", strerror(-rc));
    free(i->name);
    free(i);
}

static void linger_end(struct linger *l)
{
    rt_leave(l->answer, false);
    rt_answer_put(l->answer);
    free(l);
}

/* The first one whose time has come, taken out of the list; else NULL, and when the next one's will. */
static struct linger *due(struct parking *pk, uint64_t *next)
{
    uint64_t now = clock_now();
    struct linger *l;
    *next = UINT64_MAX;
    list_for_each(l, &pk->lingerers, link)
    {
        if (l->check_at <= now) {
            list_del(&l->link);
            return l;
        }
        *next = MIN(*next, l->check_at);
    }
    return NULL;
}

static void warden_wait(struct parking *pk, uint64_t until)
{
    if (until == UINT64_MAX) {
        pthread_cond_wait(&pk->changed, &pk->lock);
        return;
    }
    struct timespec at = {.tv_sec = (time_t)(until / CLOCK_NS_PER_SEC),
                          .tv_nsec = (long)(until % CLOCK_NS_PER_SEC)};
    pthread_cond_timedwait(&pk->changed, &pk->lock, &at);
}

static void *warden_main(void *arg)
{
    struct parking *pk = arg;
    pthread_mutex_lock(&pk->lock);
    while (!pk->ending) {
        uint64_t next;
        if (!list_empty(&pk->invalids)) {
            struct invalid *i = list_entry(pk->invalids.next, struct invalid, link);
            list_del(&i->link);
            pthread_mutex_unlock(&pk->lock);
            invalidate(pk, i);
            pthread_mutex_lock(&pk->lock);
            continue;
        }
        struct linger *l = due(pk, &next);
        if (!l) {
            warden_wait(pk, next);
            continue;
        }
        pthread_mutex_unlock(&pk->lock);
        if (is_stopped(l->tid)) {
            pthread_mutex_lock(&pk->lock);
            l->check_at = clock_now() + LINGER_NEXT_NS;
            list_add(&pk->lingerers, &l->link);
        } else {
            linger_end(l);
            pthread_mutex_lock(&pk->lock);
        }
    }
    pthread_mutex_unlock(&pk->lock);
    return NULL;
}

struct parking *parking_new(struct fs *fs, unsigned max_of_user)
{
    struct parking *pk = xcalloc(1, sizeof(*pk));
    pthread_mutex_init(&pk->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pk->changed, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&pk->parked);
    list_init(&pk->lingerers);
    list_init(&pk->invalids);
    pk->fs = fs;
    pk->max_of_user = max_of_user;
    int rc = pthread_create(&pk->warden, NULL, warden_main, pk);
    if (rc != 0)
        log_fatal("cannot start a thread: %s", strerror(rc));
    return pk;
}

/* Takes one who waits away from the runtime; NULL if all are gone or are being woken. */
static struct parked *take_parked(struct parking *pk)
{
    struct parked *p;
    list_for_each(p, &pk->parked, link)
    {
        claim(pk, p);
        if (rt_unwait(&p->wait))
            p->refs--;
        return p;
    }
    return NULL;
}

void parking_end(struct parking *pk)
{
    pthread_mutex_lock(&pk->lock);
    pk->ending = true;
    pthread_cond_broadcast(&pk->changed);
    for (struct parked *p; (p = take_parked(pk));) {
        pthread_mutex_unlock(&pk->lock);
        reply_finish(p);
        unref(pk, p, 1);
        pthread_mutex_lock(&pk->lock);
    }
    while (pk->alive > 0)
        pthread_cond_wait(&pk->changed, &pk->lock);
    pthread_mutex_unlock(&pk->lock);
    pthread_join(pk->warden, NULL);
    for (struct linger *l; !list_empty(&pk->lingerers);) {
        l = list_entry(pk->lingerers.next, struct linger, link);
        list_del(&l->link);
        linger_end(l);
    }
    for (struct invalid *i; !list_empty(&pk->invalids);) {
        i = list_entry(pk->invalids.next, struct invalid, link);
        list_del(&i->link);
        invalidate(pk, i);
    }
}

void parking_free(struct parking *pk)
{
    map_free(&pk->of_user);
    pthread_cond_destroy(&pk->changed);
    pthread_mutex_destroy(&pk->lock);
    free(pk);
}
