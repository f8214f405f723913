/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be removed for good, removed by a thread of its own: nodes that lost their last name
 * and their last user, and the files of contents that no node names. Both are on record (orphans,
 * garbage) in the transaction that made them so, so that a start after a crash finds them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store-internal.h"

#define NODES_AT_ONCE 256                    /* in one transaction, which others wait for */
#define GATHER_NS     (50 * CLOCK_NS_PER_MS) /* rm -r removes more: one transaction for all of it */

void store_reaper_dead(struct store *s, store_ino ino)
{
    pthread_mutex_lock(&s->reaper.lock);
    store_ids_add(&s->reaper.dead, ino);
    pthread_cond_signal(&s->reaper.wake);
    pthread_mutex_unlock(&s->reaper.lock);
}

void store_reaper_garbage(struct store *s, const struct store_ids *ids)
{
    if (ids->n == 0)
        return;
    pthread_mutex_lock(&s->reaper.lock);
    for (size_t i = 0; i < ids->n; i++)
        store_ids_add(&s->reaper.garbage, ids->v[i]);
    pthread_cond_signal(&s->reaper.wake);
    pthread_mutex_unlock(&s->reaper.lock);
}

static int reap_nodes(struct store *s, const store_ino *inos, size_t n, struct err *e)
{
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_write(s, &t, e) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (store_node_purge(&t, inos[i], e) < 0)
            return -1;
    return store_txn_commit(&t, e);
}

static int reap_garbage(struct store *s, const struct store_ids *ids, struct err *e)
{
    for (size_t i = 0; i < ids->n; i++)
        store_blob_remove(s, ids->v[i]);
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_write(s, &t, e) < 0)
        return -1;
    for (size_t i = 0; i < ids->n; i++) {
        struct store_key k = store_key_id(ids->v[i]);
        if (store_rec_del(&t, TABLE_GARBAGE, &k, e) < 0)
            return -1;
    }
    return store_txn_commit(&t, e);
}

/* Does what is queued. What fails stays on record for the next start. */
static void reap(struct store *s, struct store_ids *dead, struct store_ids *garbage)
{
    struct err e;
    for (size_t i = 0; i < dead->n; i += NODES_AT_ONCE)
        if (reap_nodes(s, dead->v + i, MIN(dead->n - i, (size_t)NODES_AT_ONCE), &e) < 0)
            log_error("store: nodes without a name stay until the next start: %s", e.text);
    if (garbage->n > 0 && reap_garbage(s, garbage, &e) < 0)
        log_error("store: files without use stay on record until the next start: %s", e.text);
}

/* The lock is held. Returns when there are many, some time has passed, or the store is closed. */
static void gather(struct store_reaper *r)
{
    uint64_t until = clock_now() + GATHER_NS;
    struct timespec ts = {(time_t)(until / CLOCK_NS_PER_SEC), (long)(until % CLOCK_NS_PER_SEC)};
    while (!r->stop && r->dead.n < NODES_AT_ONCE &&
           pthread_cond_timedwait(&r->wake, &r->lock, &ts) == 0)
        ;
}

static void *reaper_main(void *arg)
{
    struct store *s = arg;
    struct store_reaper *r = &s->reaper;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->stop && r->dead.n == 0 && r->garbage.n == 0)
            pthread_cond_wait(&r->wake, &r->lock);
        gather(r);
        struct store_ids dead = r->dead, garbage = r->garbage;
        if (dead.n == 0 && garbage.n == 0)
            break;
        r->dead = r->garbage = (struct store_ids){0};
        pthread_mutex_unlock(&r->lock);
        reap(s, &dead, &garbage);
        store_ids_free(&dead);
        store_ids_free(&garbage);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int store_reaper_start(struct store *s, struct err *e)
{
    int rc = pthread_create(&s->reaper.thread, NULL, reaper_main, s);
    if (rc) {
        errno = rc;
        return err_sys(e, "cannot start a thread");
    }
    s->reaper.running = true;
    return 0;
}

void store_reaper_stop(struct store *s)
{
    if (s->reaper.running) {
        pthread_mutex_lock(&s->reaper.lock);
        s->reaper.stop = true;
        pthread_cond_signal(&s->reaper.wake);
        pthread_mutex_unlock(&s->reaper.lock);
        pthread_join(s->reaper.thread, NULL);
        s->reaper.running = false;
    }
    store_ids_free(&s->reaper.dead);
    store_ids_free(&s->reaper.garbage);
}

/* --- after a crash --- */

static int list_ids(struct store *s, enum store_table table, struct store_ids *ids, struct err *e)
{
    struct store_key from = store_key_id(0);
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    CLEANUP_SCAN struct store_scan sc = {0};
    int rc;
    if (store_txn_read(s, &t, e) < 0 || store_scan_begin(&sc, &t, table, &from, 0, e) < 0)
        return -1;
    while ((rc = store_scan_next(&sc, &r, e)) > 0) {
        if (r.key_n != 8)
            return store_damaged(table, r.key, r.key_n, "its key is wrong", e);
        uint64_t id = 0;
        for (int i = 0; i < 8; i++)
            id = id << 8 | r.key[i];
        store_ids_add(ids, id);
    }
    return rc;
}

int store_reaper_recover(struct store *s, struct err *e)
{
    struct store_ids dead = {0}, garbage = {0};
    int rc = list_ids(s, TABLE_ORPHANS, &dead, e);
    if (rc == 0 && dead.n > 0)
        reap(s, &dead, &garbage); /* which may make garbage, and queue it too */
    if (rc == 0)
        rc = list_ids(s, TABLE_GARBAGE, &garbage, e);
    if (rc == 0) {
        store_ids_free(&s->reaper.garbage);
        dead.n = 0;
        reap(s, &dead, &garbage);
    }
    store_ids_free(&dead);
    store_ids_free(&garbage);
    return rc;
}
