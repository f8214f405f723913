/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes in use: the kernel's references, open files, drafts. An entry is there while one of them
 * is.
 *
 * A node without a name is purged when its last user goes. Whose use began after the last name went
 * gets nothing: store_file_open() takes its hold first and reads the record then, so that either
 * the unlink sees the hold, or the opener the missing name.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store-internal.h"

struct store_shard *store_shard(struct store *s, store_ino ino)
{
    return &s->shards[ino % STORE_SHARDS];
}

/* --- with the shard's lock held --- */

static struct store_live *live_need(struct store_shard *sh, store_ino ino)
{
    struct store_live *l = map_get(&sh->map, ino);
    if (l)
        return l;
    l = xcalloc(1, sizeof(*l));
    l->ino = ino;
    map_put(&sh->map, ino, l);
    return l;
}

static void body_free(struct store_body *b)
{
    if (!b)
        return;
    store_data_unref(b->draft);
    store_data_unref(b->published);
    pthread_mutex_destroy(&b->write_lock);
    free(b);
}

/* Lets go of what nobody needs any more, and of the lock. */
static void live_settle(struct store *s, struct store_shard *sh, struct store_live *l)
{
    struct store_body *gone = NULL;
    store_ino ino = l->ino;
    bool used = l->lookups > 0 || l->opens > 0;
    bool dead = !used && l->orphan;
    if (l->body && l->opens == 0 && (dead || !l->body->draft))
        gone = steal_ptr(&l->body);
    if (!used && !l->body) {
        map_remove(&sh->map, ino);
        free(l);
    }
    pthread_mutex_unlock(&sh->lock);
    body_free(gone);
    if (dead)
        store_reaper_dead(s, ino);
}

/* --- references --- */

void store_remember(struct store *s, store_ino ino, uint64_t n)
{
    struct store_shard *sh = store_shard(s, ino);
    pthread_mutex_lock(&sh->lock);
    live_need(sh, ino)->lookups += n;
    pthread_mutex_unlock(&sh->lock);
}

void store_forget(struct store *s, store_ino ino, uint64_t n)
{
    struct store_shard *sh = store_shard(s, ino);
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = map_get(&sh->map, ino);
    if (!l) {
        pthread_mutex_unlock(&sh->lock);
        return;
    }
    l->lookups -= MIN(n, l->lookups);
    live_settle(s, sh, l);
}

struct store_live *store_live_open(struct store *s, store_ino ino, bool writer)
{
    struct store_shard *sh = store_shard(s, ino);
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = live_need(sh, ino);
    l->opens++;
    if (!l->body) {
        l->body = xcalloc(1, sizeof(*l->body));
        pthread_mutex_init(&l->body->write_lock, NULL);
    }
    l->body->writers += writer;
    pthread_mutex_unlock(&sh->lock);
    return l;
}

void store_live_close(struct store *s, struct store_live *l, bool writer)
{
    struct store_shard *sh = store_shard(s, l->ino);
    pthread_mutex_lock(&sh->lock);
    l->opens--;
    l->body->writers -= writer;
    live_settle(s, sh, l);
}

bool store_live_is_orphan(struct store *s, store_ino ino)
{
    struct store_shard *sh = store_shard(s, ino);
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = map_get(&sh->map, ino);
    bool orphan = l && l->orphan;
    pthread_mutex_unlock(&sh->lock);
    return orphan;
}

void store_live_unlinked(struct store *s, store_ino ino)
{
    struct store_shard *sh = store_shard(s, ino);
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = map_get(&sh->map, ino);
    if (l) {
        l->orphan = true;
        live_settle(s, sh, l);
        return;
    }
    pthread_mutex_unlock(&sh->lock);
    store_reaper_dead(s, ino);
}

/* --- attributes that are only in memory --- */

void store_live_overlay(struct store *s, store_ino ino, struct store_overlay *o)
{
    struct store_shard *sh = store_shard(s, ino);
    struct stat st;
    o->any = false;
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = map_get(&sh->map, ino);
    struct store_body *b = l ? l->body : NULL;
    if (b && b->draft && fstat(b->draft->fd, &st) == 0) {
        o->any = true;
        o->size = (uint64_t)st.st_size;
        o->blocks = (uint64_t)st.st_blocks;
        o->mtime = b->mtime;
        o->ctime = b->ctime;
    }
    pthread_mutex_unlock(&sh->lock);
}

static bool time_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

void store_overlay_apply(const struct store_overlay *o, struct store_attr *a)
{
    if (!o->any)
        return;
    a->size = o->size;
    a->blocks = o->blocks;
    a->mtime = o->mtime;
    if (time_before(&a->ctime, &o->ctime))
        a->ctime = o->ctime;
}

void store_live_set_times(struct store *s, const struct store_attr *a, unsigned set)
{
    struct store_shard *sh = store_shard(s, a->ino);
    pthread_mutex_lock(&sh->lock);
    struct store_live *l = map_get(&sh->map, a->ino);
    if (l && l->body && l->body->draft) {
        if (set & STORE_SET_MTIME)
            l->body->mtime = a->mtime;
        l->body->ctime = a->ctime;
    }
    pthread_mutex_unlock(&sh->lock);
}

/* --- the end --- */

void store_live_publish_all(struct store *s)
{
    for (size_t i = 0; i < STORE_SHARDS; i++) {
        struct store_ids inos = {0};
        struct store_live *l;
        pthread_mutex_lock(&s->shards[i].lock);
        for (size_t at = 0; (l = map_next(&s->shards[i].map, &at));)
            if (l->body && l->body->draft && !l->orphan)
                store_ids_add(&inos, l->ino);
        pthread_mutex_unlock(&s->shards[i].lock);
        for (size_t j = 0; j < inos.n; j++) {
            struct err why;
            if (store_publish(s, inos.v[j], &why) < 0)
                log_error("store: what was written to node %llu is lost: %s",
                          (unsigned long long)inos.v[j], why.text);
        }
        store_ids_free(&inos);
    }
}

void store_live_free(struct store *s)
{
    for (size_t i = 0; i < STORE_SHARDS; i++) {
        struct store_live *l;
        for (size_t at = 0; (l = map_next(&s->shards[i].map, &at));) {
            body_free(l->body);
            free(l);
        }
        map_free(&s->shards[i].map);
        pthread_mutex_destroy(&s->shards[i].lock);
    }
}
