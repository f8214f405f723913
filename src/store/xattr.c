/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes. */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "store/store-internal.h"

static int name_check(const char *name, size_t *n, struct err *e)
{
    static const char *const prefixes[] = {"user.", "trusted.", "security."};
    *n = strlen(name);
    if (*n > STORE_XATTR_NAME_MAX)
        return err_set(e, ERANGE, "the name of an attribute is longer than %d bytes",
                       STORE_XATTR_NAME_MAX);
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], len) == 0)
            return *n > len ? 0 : err_set(e, EINVAL, "%s has no name behind the prefix", name);
    }
    return err_set(e, EOPNOTSUPP, "attributes like %s are not stored", name);
}

int store_xattr_get(struct store *s, store_ino ino, const char *name, struct buf *value,
                    struct err *e)
{
    size_t n;
    struct store_node node;
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (name_check(name, &n, e) < 0 || store_txn_read(s, &t, e) < 0)
        return -1;
    struct store_key k = store_key_name(ino, name, n);
    int rc = store_rec_get(&t, TABLE_XATTRS, &k, &r, e);
    if (rc < 0 || (rc == 0 && store_node_get(&t, ino, &node, e) < 0))
        return -1;
    if (rc == 0)
        return err_set(e, ENODATA, "there is no attribute %s", name);
    buf_add(value, r.data, r.n);
    return 0;
}

/* The bytes of all names and values of a node but that one. */
static int others(struct store_txn *t, store_ino ino, const struct store_key *but, size_t *total,
                  struct err *e)
{
    struct store_key from = store_key_id(ino);
    struct store_rec r;
    CLEANUP_SCAN struct store_scan sc = {0};
    int rc;
    *total = 0;
    if (store_scan_begin(&sc, t, TABLE_XATTRS, &from, from.n, e) < 0)
        return -1;
    while ((rc = store_scan_next(&sc, &r, e)) > 0)
        if (r.key_n != but->n || memcmp(r.key, but->b, but->n) != 0)
            *total += r.key_n + r.n;
    return rc;
}

/* ctime goes on; n is the node. */
static int touch(struct store_txn *t, struct store_node *n, struct err *e)
{
    n->attr.ctime = clock_wall();
    return store_node_put(t, n, e);
}

int store_xattr_set(struct store *s, store_ino ino, const char *name, const void *value, size_t n,
                    int flags, struct err *e)
{
    size_t name_n, total;
    struct store_node node;
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    if (name_check(name, &name_n, e) < 0)
        return -1;
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return err_set(e, EINVAL, "setxattr with unknown flags");
    if (n > STORE_XATTR_VALUE_MAX)
        return err_set(e, E2BIG, "the value of %s is longer than %d bytes", name,
                       STORE_XATTR_VALUE_MAX);
    struct store_key k = store_key_name(ino, name, name_n);
    if (store_txn_write(s, &t, e) < 0 || store_node_get(&t, ino, &node, e) < 0)
        return -1;
    int rc = store_rec_get(&t, TABLE_XATTRS, &k, &r, e);
    if (rc < 0)
        return -1;
    if (rc && flags & XATTR_CREATE)
        return err_set(e, EEXIST, "the attribute %s exists", name);
    if (!rc && flags & XATTR_REPLACE)
        return err_set(e, ENODATA, "there is no attribute %s", name);
    if (others(&t, ino, &k, &total, e) < 0)
        return -1;
    if (total + k.n + n > STORE_XATTR_TOTAL_MAX)
        return err_set(e, ENOSPC, "the attributes of a node take at most %d bytes",
                       STORE_XATTR_TOTAL_MAX);
    if (store_rec_put(&t, TABLE_XATTRS, &k, value, n, NULL, 0, 0, e) < 0 || touch(&t, &node, e) < 0)
        return -1;
    return store_txn_commit(&t, e);
}

int store_xattr_remove(struct store *s, store_ino ino, const char *name, struct err *e)
{
    size_t n;
    struct store_node node;
    CLEANUP_TXN struct store_txn t = {0};
    if (name_check(name, &n, e) < 0 || store_txn_write(s, &t, e) < 0 ||
        store_node_get(&t, ino, &node, e) < 0)
        return -1;
    struct store_key k = store_key_name(ino, name, n);
    int rc = store_rec_del(&t, TABLE_XATTRS, &k, e);
    if (rc == 0)
        return err_set(e, ENODATA, "there is no attribute %s", name);
    return rc < 0 || touch(&t, &node, e) < 0 ? -1 : store_txn_commit(&t, e);
}

int store_xattr_list(struct store *s, store_ino ino, struct buf *names, struct err *e)
{
    struct store_key from = store_key_id(ino);
    struct store_node node;
    struct store_rec r;
    CLEANUP_TXN struct store_txn t = {0};
    CLEANUP_SCAN struct store_scan sc = {0};
    int rc;
    if (store_txn_read(s, &t, e) < 0 || store_node_get(&t, ino, &node, e) < 0 ||
        store_scan_begin(&sc, &t, TABLE_XATTRS, &from, from.n, e) < 0)
        return -1;
    while ((rc = store_scan_next(&sc, &r, e)) > 0) {
        if (memchr(r.key + 8, 0, r.key_n - 8))
            return store_damaged(TABLE_XATTRS, r.key, r.key_n, "its name holds a NUL", e);
        buf_add(names, r.key + 8, r.key_n - 8);
        buf_add_char(names, '\0');
    }
    return rc;
}
