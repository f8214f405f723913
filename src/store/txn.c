/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB: the environment, transactions, and numbers that are given once. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "store/store-internal.h"

#define MAP_SIZE_MAX    (UINT64_C(1) << 40) /* address space, not memory: reserved once */
#define MAP_SIZE_MIN    (UINT64_C(1) << 28)
#define READERS_MAX     1024
#define NUMBERS_AT_ONCE 1024

int(store_mdb_err)(int rc, const char *what, struct err *e)
{
    int code = EIO;
    if (rc > 0)
        code = rc == EACCES || rc == EPERM ? EIO : rc;
    else if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
        code = ENOSPC;
    else if (rc == MDB_READERS_FULL)
        code = EAGAIN;
    if (code == EIO)
        log_error("store: LMDB, %s: %s", what, mdb_strerror(rc));
    return err_set(e, code, "LMDB, %s: %s", what, mdb_strerror(rc));
}

/* --- the environment --- */

static int env_try(struct store *s, uint64_t map_size)
{
    CLEANUP_BUF struct buf path = {0};
    buf_printf(&path, "%s/db", s->path);
    int rc = mdb_env_create(&s->env);
    if (rc)
        return rc;
    mdb_env_set_maxdbs(s->env, TABLE_COUNT);
    mdb_env_set_maxreaders(s->env, READERS_MAX);
    mdb_env_set_mapsize(s->env, map_size);
    rc = mdb_env_open(s->env, path.data, MDB_NOTLS, 0600);
    if (rc) {
        mdb_env_close(s->env); /* required after a failed open too */
        s->env = NULL;
    }
    return rc;
}

static int env_tables(struct store *s, struct err *e)
{
    MDB_txn *t;
    int rc = mdb_txn_begin(s->env, NULL, 0, &t);
    if (rc)
        return store_mdb_err(rc, "begin", e);
    for (int i = 0; i < TABLE_COUNT; i++) {
        rc = mdb_dbi_open(t, store_table_names[i], MDB_CREATE, &s->dbi[i]);
        if (rc) {
            mdb_txn_abort(t);
            return store_mdb_err(rc, store_table_names[i], e);
        }
    }
    rc = mdb_txn_commit(t);
    return rc ? store_mdb_err(rc, "commit", e) : 0;
}

int store_env_open(struct store *s, struct err *e)
{
    int rc = ENOMEM;
    for (uint64_t size = MAP_SIZE_MAX; rc == ENOMEM && size >= MAP_SIZE_MIN; size /= 2) {
        rc = env_try(s, size);
        if (rc == 0 && size < MAP_SIZE_MAX)
            log_info("store: the address space is limited; the database may grow to %" PRIu64
                     " MiB",
                     size >> 20);
    }
    if (rc)
        return store_mdb_err(rc, "open", e);
    int dead;
    mdb_reader_check(s->env, &dead);
    return env_tables(s, e);
}

void store_env_close(struct store *s)
{
    for (size_t i = 0; i < s->pool.n; i++)
        mdb_txn_abort(s->pool.v[i].mdb);
    free(s->pool.v);
    s->pool.v = NULL;
    s->pool.n = 0;
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
}

/* --- transactions --- */

static MDB_txn *pool_take(struct store *s)
{
    pthread_mutex_lock(&s->pool.lock);
    MDB_txn *t = s->pool.n > 0 ? s->pool.v[--s->pool.n].mdb : NULL;
    pthread_mutex_unlock(&s->pool.lock);
    return t;
}

static void pool_give(struct store *s, MDB_txn *t)
{
    pthread_mutex_lock(&s->pool.lock);
    if (s->pool.n == s->pool.cap) {
        s->pool.cap = s->pool.cap ? 2 * s->pool.cap : 16;
        s->pool.v = xrealloc(s->pool.v, s->pool.cap * sizeof(*s->pool.v));
    }
    s->pool.v[s->pool.n++].mdb = t;
    pthread_mutex_unlock(&s->pool.lock);
}

int store_txn_read(struct store *s, struct store_txn *t, struct err *e)
{
    *t = (struct store_txn){.s = s};
    MDB_txn *mdb = pool_take(s);
    int rc = mdb ? mdb_txn_renew(mdb) : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &mdb);
    if (rc) {
        if (mdb)
            mdb_txn_abort(mdb);
        return store_mdb_err(rc, "begin to read", e);
    }
    t->mdb = mdb;
    return 0;
}

int store_txn_write(struct store *s, struct store_txn *t, struct err *e)
{
    *t = (struct store_txn){.s = s, .write = true};
    int rc = mdb_txn_begin(s->env, NULL, 0, &t->mdb);
    if (rc) {
        t->mdb = NULL;
        return store_mdb_err(rc, "begin to write", e);
    }
    return 0;
}

int store_txn_commit(struct store_txn *t, struct err *e)
{
    MDB_txn *mdb = steal_ptr(&t->mdb);
    int rc = mdb_txn_commit(mdb);
    if (rc == 0) {
        for (size_t i = 0; i < t->dead.n; i++)
            store_live_unlinked(t->s, t->dead.v[i]);
        store_reaper_garbage(t->s, &t->garbage);
    }
    store_txn_end(t);
    return rc ? store_mdb_err(rc, "commit", e) : 0;
}

void store_txn_end(struct store_txn *t)
{
    MDB_txn *mdb = steal_ptr(&t->mdb);
    if (mdb && t->write) {
        mdb_txn_abort(mdb);
    } else if (mdb) {
        mdb_txn_reset(mdb);
        pool_give(t->s, mdb);
    }
    store_ids_free(&t->dead);
    store_ids_free(&t->garbage);
}

/* --- numbers --- */

static int number_reserve(struct store *s, enum store_number which, struct err *e)
{
    static const char *const names[NUMBER_COUNT] = {"next-ino", "next-content"};
    static const uint64_t first[NUMBER_COUNT] = {STORE_ROOT + 1, 1};
    struct store_key k = store_key_text(names[which]);
    CLEANUP_TXN struct store_txn t = {0};
    struct store_rec r;
    if (store_txn_write(s, &t, e) < 0)
        return -1;
    int rc = store_rec_get(&t, TABLE_META, &k, &r, e);
    if (rc < 0)
        return -1;
    if (rc && r.n != 8)
        return store_damaged(TABLE_META, k.b, k.n, "its length is wrong", e);
    uint64_t next = first[which];
    if (rc)
        next = store_r64(&r.data);
    if (next > STORE_INO_MAX - NUMBERS_AT_ONCE)
        return err_set(e, ENOSPC, "the store has given out all its numbers");
    unsigned char body[8], *p = body;
    store_w64(&p, next + NUMBERS_AT_ONCE);
    if (store_rec_put(&t, TABLE_META, &k, body, sizeof(body), NULL, 0, 0, e) < 0 ||
        store_txn_commit(&t, e) < 0)
        return -1;
    s->numbers[which].next = next;
    s->numbers[which].limit = next + NUMBERS_AT_ONCE;
    return 0;
}

int store_number_take(struct store *s, enum store_number which, uint64_t *id, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&s->numbers[which].lock);
    if (s->numbers[which].next == s->numbers[which].limit)
        rc = number_reserve(s, which, e);
    if (rc == 0)
        *id = s->numbers[which].next++;
    pthread_mutex_unlock(&s->numbers[which].lock);
    return rc;
}
