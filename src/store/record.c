/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about contents, settings of versions. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "store/store-internal.h"

#define SETTING_NAME_MAX 255

static int value_get(struct store *s, enum store_table table, const struct store_key *k,
                     struct buf *value, struct err *e)
{
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_read(s, &t, e) < 0)
        return -1;
    int rc = store_rec_get(&t, table, k, &r, e);
    if (rc == 0)
        return err_set(e, ENODATA, "there is no such record");
    if (rc > 0)
        buf_add(value, r.data, r.n);
    return rc < 0 ? -1 : 0;
}

int store_facts_get(struct store *s, uint64_t content_id, struct buf *facts, struct err *e)
{
    struct store_key k = store_key_id(content_id);
    return value_get(s, TABLE_FACTS, &k, facts, e);
}

int store_facts_set(struct store *s, uint64_t content_id, const void *facts, size_t n,
                    struct err *e)
{
    struct store_key k = store_key_id(content_id);
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (store_txn_write(s, &t, e) < 0)
        return -1;
    int rc = store_rec_get(&t, TABLE_CONTENTS, &k, &r, e);
    if (rc == 0)
        return err_set(e, ENODATA, "content %" PRIu64 " is gone", content_id);
    if (rc < 0 || store_rec_put(&t, TABLE_FACTS, &k, facts, n, NULL, 0, 0, e) < 0)
        return -1;
    return store_txn_commit(&t, e);
}

static int setting_key(store_ino ino, const char *name, struct store_key *k, struct err *e)
{
    size_t n = strlen(name);
    if (n == 0 || n > SETTING_NAME_MAX)
        return err_set(e, EINVAL, "a setting cannot be named so");
    *k = store_key_name(ino, name, n);
    return 0;
}

int store_setting_get(struct store *s, store_ino ino, const char *name, struct buf *value,
                      struct err *e)
{
    struct store_key k;
    return setting_key(ino, name, &k, e) < 0 ? -1 : value_get(s, TABLE_SETTINGS, &k, value, e);
}

int store_setting_set(struct store *s, store_ino ino, const char *name, const void *value, size_t n,
                      struct err *e)
{
    struct store_key k;
    struct store_node node;
    CLEANUP_TXN struct store_txn t = {0};
    if (setting_key(ino, name, &k, e) < 0 || store_txn_write(s, &t, e) < 0 ||
        store_node_get(&t, ino, &node, e) < 0)
        return -1;
    int rc = n > 0 ? store_rec_put(&t, TABLE_SETTINGS, &k, value, n, NULL, 0, 0, e)
                   : store_rec_del(&t, TABLE_SETTINGS, &k, e);
    return rc < 0 ? -1 : store_txn_commit(&t, e);
}
