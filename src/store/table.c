/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in the tables. Each begins with eight bytes: kind (the table), version, two zeros, and a
 * check value of key and body, so that a flipped bit, a record under a wrong key and one of a newer
 * program are all noticed before use.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/log.h"
#include "store/store-internal.h"

#define REC_VERSION 1
#define REC_HEAD    8

const char *const store_table_names[TABLE_COUNT] = {"meta",     "nodes",  "dentries", "order",
                                                    "symlinks", "xattrs", "contents", "orphans",
                                                    "garbage",  "facts",  "settings"};

void store_ids_add(struct store_ids *l, uint64_t id)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 8;
        l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = id;
}

void store_ids_free(struct store_ids *l)
{
    free(l->v);
    *l = (struct store_ids){0};
}

/* --- keys: numbers are big-endian, so that their order is that of the bytes --- */

static void key_number(struct store_key *k, uint64_t v)
{
    for (int i = 7; i >= 0; i--)
        k->b[k->n++] = (unsigned char)(v >> (8 * i));
}

struct store_key store_key_id(uint64_t id)
{
    struct store_key k;
    k.n = 0;
    key_number(&k, id);
    return k;
}

struct store_key store_key_pair(uint64_t id, uint64_t number)
{
    struct store_key k = store_key_id(id);
    key_number(&k, number);
    return k;
}

struct store_key store_key_name(uint64_t id, const char *name, size_t n)
{
    struct store_key k = store_key_id(id);
    memcpy(k.b + k.n, name, n);
    k.n += n;
    return k;
}

struct store_key store_key_text(const char *text)
{
    struct store_key k;
    k.n = strlen(text);
    memcpy(k.b, text, k.n);
    return k;
}

/* --- records --- */

static void key_print(char *out, size_t size, const unsigned char *key, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && at + 3 < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%02x", key[i]);
}

int(store_damaged)(enum store_table table, const void *key, size_t n, const char *why,
                   struct err *e)
{
    char hex[64];
    key_print(hex, sizeof(hex), key, n);
    log_error("store: record %s of table %s is damaged: %s", hex, store_table_names[table], why);
    return err_set(e, EIO, "the store is damaged: record %s of table %s: %s", hex,
                   store_table_names[table], why);
}

static uint32_t rec_check(const void *key, size_t n_key, const void *body, size_t n)
{
    return (uint32_t)XXH3_64bits_withSeed(body, n, XXH3_64bits(key, n_key));
}

static int rec_open(enum store_table table, const MDB_val *key, const MDB_val *val,
                    struct store_rec *r, struct err *e)
{
    const unsigned char *p = val->mv_data;
    if (val->mv_size < REC_HEAD)
        return store_damaged(table, key->mv_data, key->mv_size, "it is too short", e);
    if (p[0] != table + 1 || p[2] != 0 || p[3] != 0)
        return store_damaged(table, key->mv_data, key->mv_size, "it is of another kind", e);
    if (p[1] != REC_VERSION)
        return store_damaged(table, key->mv_data, key->mv_size, "its version is unknown", e);
    const unsigned char *at = p + 4;
    r->data = p + REC_HEAD;
    r->n = val->mv_size - REC_HEAD;
    if (store_r32(&at) != rec_check(key->mv_data, key->mv_size, r->data, r->n))
        return store_damaged(table, key->mv_data, key->mv_size, "its check value is wrong", e);
    return 0;
}

int store_rec_get(struct store_txn *t, enum store_table table, const struct store_key *k,
                  struct store_rec *r, struct err *e)
{
    MDB_val key = {k->n, (void *)k->b}, val;
    int rc = mdb_get(t->mdb, t->s->dbi[table], &key, &val);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return store_mdb_err(rc, store_table_names[table], e);
    return rec_open(table, &key, &val, r, e) < 0 ? -1 : 1;
}

int store_rec_put(struct store_txn *t, enum store_table table, const struct store_key *k,
                  const void *head, size_t n_head, const void *tail, size_t n_tail, unsigned flags,
                  struct err *e)
{
    MDB_val key = {k->n, (void *)k->b};
    MDB_val val = {REC_HEAD + n_head + n_tail, NULL};
    int rc = mdb_put(t->mdb, t->s->dbi[table], &key, &val, flags | MDB_RESERVE);
    if (rc == MDB_KEYEXIST)
        return err_set(e, EEXIST, "there is such a record already in table %s",
                       store_table_names[table]);
    if (rc)
        return store_mdb_err(rc, store_table_names[table], e);
    unsigned char *p = val.mv_data;
    unsigned char *body = p + REC_HEAD;
    if (n_head > 0)
        memcpy(body, head, n_head);
    if (n_tail > 0)
        memcpy(body + n_head, tail, n_tail);
    *p++ = (unsigned char)(table + 1);
    *p++ = REC_VERSION;
    *p++ = 0;
    *p++ = 0;
    store_w32(&p, rec_check(k->b, k->n, body, n_head + n_tail));
    return 0;
}

int store_rec_del(struct store_txn *t, enum store_table table, const struct store_key *k,
                  struct err *e)
{
    MDB_val key = {k->n, (void *)k->b};
    int rc = mdb_del(t->mdb, t->s->dbi[table], &key, NULL);
    if (rc == MDB_NOTFOUND)
        return 0;
    return rc ? store_mdb_err(rc, store_table_names[table], e) : 1;
}

/* --- ranges --- */

int store_scan_begin(struct store_scan *sc, struct store_txn *t, enum store_table table,
                     const struct store_key *from, size_t n_prefix, struct err *e)
{
    *sc = (struct store_scan){.t = t, .table = table, .from = *from, .n_prefix = n_prefix};
    int rc = mdb_cursor_open(t->mdb, t->s->dbi[table], &sc->cursor);
    return rc ? store_mdb_err(rc, store_table_names[table], e) : 0;
}

/* The next key with the prefix: 1, 0, -1. */
static int scan_step(struct store_scan *sc, MDB_val *key, MDB_val *val, struct err *e)
{
    *key = (MDB_val){sc->from.n, sc->from.b};
    int rc = mdb_cursor_get(sc->cursor, key, val, sc->begun ? MDB_NEXT : MDB_SET_RANGE);
    sc->begun = true;
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return store_mdb_err(rc, store_table_names[sc->table], e);
    return key->mv_size >= sc->n_prefix && memcmp(key->mv_data, sc->from.b, sc->n_prefix) == 0;
}

int store_scan_next(struct store_scan *sc, struct store_rec *r, struct err *e)
{
    MDB_val key, val;
    int rc = scan_step(sc, &key, &val, e);
    if (rc <= 0)
        return rc;
    r->key = key.mv_data;
    r->key_n = key.mv_size;
    return rec_open(sc->table, &key, &val, r, e) < 0 ? -1 : 1;
}

void store_scan_end(struct store_scan *sc)
{
    if (sc->cursor)
        mdb_cursor_close(sc->cursor);
    sc->cursor = NULL;
}

int store_rec_del_all(struct store_txn *t, enum store_table table, uint64_t id, struct err *e)
{
    struct store_key k = store_key_id(id);
    CLEANUP_SCAN struct store_scan sc = {0};
    if (store_scan_begin(&sc, t, table, &k, k.n, e) < 0)
        return -1;
    for (;;) {
        MDB_val key, val;
        sc.begun = false; /* what was removed was the first of the range */
        int rc = scan_step(&sc, &key, &val, e);
        if (rc <= 0)
            return rc;
        rc = mdb_cursor_del(sc.cursor, 0);
        if (rc)
            return store_mdb_err(rc, store_table_names[table], e);
    }
}
