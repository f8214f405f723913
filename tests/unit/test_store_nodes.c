/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, names, attributes of the store: what each operation does and refuses, and that it is there
 * after a start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "store/store-internal.h"
#include "tests/lib/store_fixture.h"

#define fails_with(expr, errno_)                                                                   \
    do {                                                                                           \
        e.code = 0;                                                                                \
        assert_true((expr) < 0);                                                                   \
        assert_int_equal(e.code, errno_);                                                          \
        assert_true(e.text[0] != '\0');                                                            \
    } while (0)

static bool later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* --- making and removing --- */

static void new_nodes_have_the_attributes_of_their_maker(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    struct store_cred who = {7, 8, 027};
    assert_int_equal(store_make(f->s, STORE_ROOT, "a", S_IFREG | 06755, 0, 9, &who, &a, &e), 0);
    assert_int_equal(a.mode, S_IFREG | 06750);
    assert_int_equal(a.uid, 7);
    assert_int_equal(a.gid, 8);
    assert_int_equal(a.role, 9);
    assert_int_equal(a.nlink, 1);
    assert_int_equal(store_make(f->s, STORE_ROOT, "d", S_IFDIR | 0777, 0, 0, &who, &a, &e), 0);
    assert_int_equal(a.nlink, 2);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).nlink, 3);
    assert_int_equal(
        store_make(f->s, STORE_ROOT, "c", S_IFCHR | 0600, makedev(1, 3), 0, &who, &a, &e), 0);
    assert_int_equal(a.rdev, makedev(1, 3));
    assert_int_equal(store_make(f->s, STORE_ROOT, "p", S_IFIFO | 0666, 77, 0, &who, &a, &e), 0);
    assert_int_equal(a.rdev, 0);
    fixture_reopen(f);
    assert_int_equal(store_lookup(f->s, STORE_ROOT, "a", &a, &e), 0);
    assert_int_equal(a.mode, S_IFREG | 06750);
    assert_int_equal(a.role, 9);
    fails_with(store_make(f->s, STORE_ROOT, "a", S_IFREG, 0, 0, &who, &a, &e), EEXIST);
    fails_with(store_make(f->s, STORE_ROOT, "x", S_IFLNK, 0, 0, &who, &a, &e), EINVAL);
    fails_with(store_make(f->s, a.ino, "x", S_IFREG, 0, 0, &who, &a, &e), ENOTDIR);
    fails_with(store_make(f->s, 99999, "x", S_IFREG, 0, 0, &who, &a, &e), ENOENT);
}

static void a_setgid_directory_hands_on_its_group(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a, want = {.mode = 02775, .gid = 55};
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d");
    assert_int_equal(store_setattr(f->s, d, &want, STORE_SET_MODE | STORE_SET_GID, &a, &e), 0);
    assert_int_equal(a.mode, S_IFDIR | 02775);
    a = fixture_attr(f->s, fixture_create(f->s, d, "file"));
    assert_int_equal(a.gid, 55);
    assert_int_equal(a.mode, S_IFREG | 0644);
    a = fixture_attr(f->s, fixture_mkdir(f->s, d, "dir"));
    assert_int_equal(a.gid, 55);
    assert_int_equal(a.mode, S_IFDIR | 02755);
}

static void names_are_checked(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    char name[STORE_NAME_MAX + 2];
    memset(name, 'x', sizeof(name));
    name[STORE_NAME_MAX + 1] = '\0';
    fails_with(store_make(f->s, STORE_ROOT, name, S_IFREG, 0, 0, &fixture_cred, &a, &e),
               ENAMETOOLONG);
    fails_with(store_lookup(f->s, STORE_ROOT, name, &a, &e), ENAMETOOLONG);
    name[STORE_NAME_MAX] = '\0';
    store_ino ino = fixture_create(f->s, STORE_ROOT, name), found;
    assert_int_equal(fixture_lookup(f->s, STORE_ROOT, name, &found), 0);
    assert_int_equal(found, ino);
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fails_with(store_make(f->s, STORE_ROOT, bad[i], S_IFREG, 0, 0, &fixture_cred, &a, &e),
                   EINVAL);
        fails_with(store_rename(f->s, STORE_ROOT, name, STORE_ROOT, bad[i], 0, &e), EINVAL);
    }
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d"), parent;
    assert_int_equal(fixture_lookup(f->s, d, "..", &found), 0);
    assert_int_equal(found, STORE_ROOT);
    assert_int_equal(store_parent(f->s, d, &parent, &e), 0);
    assert_int_equal(parent, STORE_ROOT);
    assert_int_equal(store_parent(f->s, STORE_ROOT, &parent, &e), 0);
    assert_int_equal(parent, STORE_ROOT);
}

static void inode_numbers_are_never_used_again(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino last = STORE_ROOT;
    for (int i = 0; i < 5; i++) {
        store_ino ino = fixture_create(f->s, STORE_ROOT, "x");
        assert_true(ino > last);
        last = ino;
        assert_int_equal(store_unlink(f->s, STORE_ROOT, "x", &e), 0);
        if (i % 2)
            fixture_reopen(f);
    }
}

static void unlink_and_rmdir_know_what_they_remove(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d");
    fixture_create(f->s, d, "file");
    fails_with(store_unlink(f->s, STORE_ROOT, "d", &e), EISDIR);
    fails_with(store_rmdir(f->s, d, "file", &e), ENOTDIR);
    fails_with(store_rmdir(f->s, STORE_ROOT, "d", &e), ENOTEMPTY);
    fails_with(store_unlink(f->s, d, "other", &e), ENOENT);
    struct timespec before = fixture_attr(f->s, d).mtime;
    assert_int_equal(store_unlink(f->s, d, "file", &e), 0);
    assert_true(later(
        &(struct timespec){fixture_attr(f->s, d).mtime.tv_sec, fixture_attr(f->s, d).mtime.tv_nsec},
        &before));
    store_remember(f->s, d, 1);
    assert_int_equal(store_rmdir(f->s, STORE_ROOT, "d", &e), 0);
    assert_int_equal(fixture_attr(f->s, d).nlink, 0);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).nlink, 2);
    struct store_attr a;
    fails_with(store_make(f->s, d, "x", S_IFREG, 0, 0, &fixture_cred, &a, &e), ENOENT);
    fixture_create(f->s, STORE_ROOT, "y");
    fails_with(store_rename(f->s, STORE_ROOT, "y", d, "y", 0, &e), ENOENT);
    store_forget(f->s, d, 1);
    for (int i = 0; i < 500 && store_getattr(f->s, d, &a, &e) == 0; i++)
        usleep(10000);
    fails_with(store_getattr(f->s, d, &a, &e), ENOENT);
}

static void links_count(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d");
    store_ino ino = fixture_write(f->s, STORE_ROOT, "a", "text", 4);
    assert_int_equal(store_link(f->s, ino, d, "b", &a, &e), 0);
    assert_int_equal(a.nlink, 2);
    assert_int_equal(a.ino, ino);
    assert_int_equal(a.size, 4);
    fails_with(store_link(f->s, ino, d, "b", &a, &e), EEXIST);
    fails_with(store_link(f->s, d, STORE_ROOT, "e", &a, &e), EPERM);
    assert_int_equal(store_unlink(f->s, STORE_ROOT, "a", &e), 0);
    assert_int_equal(fixture_attr(f->s, ino).nlink, 1);
    CLEANUP_BUF struct buf b = {0};
    assert_int_equal(store_content_read(f->s, ino, 100, &b, &e), 0);
    assert_string_equal(b.data, "text");
    store_remember(f->s, ino, 1);
    assert_int_equal(store_unlink(f->s, d, "b", &e), 0);
    fails_with(store_link(f->s, ino, d, "c", &a, &e), ENOENT);
    store_forget(f->s, ino, 1);
}

static void symlinks_keep_their_target(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    char target[5000];
    memset(target, 't', sizeof(target));
    target[4095] = '\0';
    assert_int_equal(store_symlink(f->s, STORE_ROOT, "l", target, &fixture_cred, &a, &e), 0);
    assert_int_equal(a.mode, S_IFLNK | 0777);
    assert_int_equal(a.size, 4095);
    fixture_reopen(f);
    CLEANUP_BUF struct buf b = {0};
    assert_int_equal(store_readlink(f->s, a.ino, &b, &e), 0);
    assert_string_equal(b.data, target);
    target[4095] = 't';
    target[4999] = '\0';
    fails_with(store_symlink(f->s, STORE_ROOT, "m", target, &fixture_cred, &a, &e), ENAMETOOLONG);
    fails_with(store_readlink(f->s, STORE_ROOT, &b, &e), EINVAL);
}

/* --- attributes --- */

static void setattr_sets_what_is_asked_and_ctime(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "a");
    struct store_attr was = fixture_attr(f->s, ino), a;
    struct store_attr want = {.role = 3, .atime = {-5, 999999999}, .mtime = {INT64_C(1) << 40, 1}};
    assert_int_equal(
        store_setattr(f->s, ino, &want, STORE_SET_ATIME | STORE_SET_MTIME | STORE_SET_ROLE, &a, &e),
        0);
    fixture_reopen(f);
    a = fixture_attr(f->s, ino);
    assert_true(a.atime.tv_sec == -5 && a.atime.tv_nsec == 999999999);
    assert_true(a.mtime.tv_sec == INT64_C(1) << 40 && a.mtime.tv_nsec == 1);
    assert_int_equal(a.role, 3);
    assert_int_equal(a.mode, was.mode);
    assert_true(later(&a.ctime, &was.ctime));
    want.mtime.tv_nsec = 1000000000;
    fails_with(store_setattr(f->s, ino, &want, STORE_SET_MTIME, &a, &e), EINVAL);
    want.mode = S_IFDIR | 0123;
    assert_int_equal(store_setattr(f->s, ino, &want, STORE_SET_MODE, &a, &e), 0);
    assert_int_equal(a.mode, S_IFREG | 0123); /* the type stays */
}

static void chown_takes_suid_and_sgid_away(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a, want = {.mode = 06755, .uid = 5};
    store_ino ino = fixture_create(f->s, STORE_ROOT, "a"), d = fixture_mkdir(f->s, STORE_ROOT, "d");
    store_setattr(f->s, ino, &want, STORE_SET_MODE, &a, &e);
    assert_int_equal(a.mode, S_IFREG | 06755);
    assert_int_equal(store_setattr(f->s, ino, &want, STORE_SET_UID, &a, &e), 0);
    assert_int_equal(a.mode, S_IFREG | 0755);
    want.mode = 02644; /* sgid without group execute is no privilege */
    store_setattr(f->s, ino, &want, STORE_SET_MODE, &a, &e);
    store_setattr(f->s, ino, &want, STORE_SET_UID, &a, &e);
    assert_int_equal(a.mode, S_IFREG | 02644);
    want.mode = 02755;
    store_setattr(f->s, d, &want, STORE_SET_MODE, &a, &e);
    store_setattr(f->s, d, &want, STORE_SET_UID, &a, &e);
    assert_int_equal(a.mode, S_IFDIR | 02755);
}

/* --- readdir --- */

struct stop {
    struct buf names;
    uint64_t last;
    int left;
};

static bool take(void *ctx, const struct store_dirent *d)
{
    struct stop *st = ctx;
    if (st->left-- == 0)
        return false;
    assert_true(d->cookie > st->last);
    assert_true(d->attr.ino > 0);
    st->last = d->cookie;
    buf_printf(&st->names, "%s ", d->name);
    return true;
}

static void readdir_is_not_disturbed_by_changes(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d"),
              other = fixture_mkdir(f->s, STORE_ROOT, "e");
    for (const char *n = "zyxabc"; *n; n++)
        fixture_create(f->s, d, (char[]){*n, '\0'});
    fixture_create(f->s, other, "not-here");
    struct stop st = {.left = 3};
    assert_int_equal(store_readdir(f->s, d, 0, take, &st, &e), 0);
    assert_string_equal(st.names.data, "z y x ");
    store_unlink(f->s, d, "x", &e); /* where we stand */
    store_unlink(f->s, d, "a", &e);
    store_unlink(f->s, d, "y", &e);
    fixture_create(f->s, d, "y"); /* a new one: comes again */
    fixture_create(f->s, d, "new");
    fixture_create(f->s, d, "tmp");
    assert_int_equal(store_rename(f->s, d, "tmp", d, "b", 0, &e), 0); /* b stays where it is */
    st.left = 100;
    assert_int_equal(store_readdir(f->s, d, st.last, take, &st, &e), 0);
    assert_string_equal(st.names.data, "z y x b c y new ");
    assert_int_equal(fixture_attr(f->s, d).size, 5);
    buf_free(&st.names);
    fails_with(store_readdir(f->s, d, UINT64_MAX, take, &st, &e), EINVAL);
    fails_with(store_readdir(f->s, 4711, 0, take, &st, &e), ENOENT);
}

static void readdir_of_many(void **state)
{
    struct fixture *f = *state;
    struct err e;
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        fixture_create(f->s, STORE_ROOT, name);
    }
    struct stop st = {.left = 1000};
    assert_int_equal(store_readdir(f->s, STORE_ROOT, 0, take, &st, &e), 0);
    assert_int_equal(st.left, 700);
    buf_free(&st.names);
}

/* --- rename --- */

static void names_are(struct fixture *f, store_ino dir, const char *want)
{
    CLEANUP_FREE char *names = fixture_names(f->s, dir);
    assert_string_equal(names, want);
}

static void rename_moves_and_replaces(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d"), found;
    store_ino a = fixture_write(f->s, STORE_ROOT, "a", "A", 1),
              b = fixture_write(f->s, d, "b", "B", 1);
    struct store_attr was = fixture_attr(f->s, a);
    assert_int_equal(store_rename(f->s, STORE_ROOT, "a", d, "b", 0, &e), 0);
    names_are(f, STORE_ROOT, "d ");
    names_are(f, d, "b ");
    assert_int_equal(fixture_lookup(f->s, d, "b", &found), 0);
    assert_int_equal(found, a);
    struct store_attr is = fixture_attr(f->s, a);
    assert_true(later(&is.ctime, &was.ctime));
    assert_int_equal(is.nlink, 1);
    struct store_attr gone;
    for (int i = 0; i < 500 && store_getattr(f->s, b, &gone, &e) == 0; i++)
        usleep(10000);
    fails_with(store_getattr(f->s, b, &gone, &e), ENOENT);
    fails_with(store_rename(f->s, STORE_ROOT, "none", d, "b", 0, &e), ENOENT);
    fails_with(store_rename(f->s, d, "b", d, "c", 1 << 5, &e), EINVAL);
    fails_with(store_rename(f->s, d, "b", d, "c", RENAME_NOREPLACE | RENAME_EXCHANGE, &e), EINVAL);
    fixture_create(f->s, d, "c");
    fails_with(store_rename(f->s, d, "b", d, "c", RENAME_NOREPLACE, &e), EEXIST);
    assert_int_equal(store_rename(f->s, d, "b", d, "n", RENAME_NOREPLACE, &e), 0);
    names_are(f, d, "c n ");
}

static void rename_of_directories(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino a = fixture_mkdir(f->s, STORE_ROOT, "a"), b = fixture_mkdir(f->s, STORE_ROOT, "b");
    store_ino sub = fixture_mkdir(f->s, a, "sub"), deep = fixture_mkdir(f->s, sub, "deep"), parent;
    fixture_create(f->s, STORE_ROOT, "file");
    fails_with(store_rename(f->s, STORE_ROOT, "a", STORE_ROOT, "file", 0, &e), ENOTDIR);
    fails_with(store_rename(f->s, STORE_ROOT, "file", STORE_ROOT, "a", 0, &e), EISDIR);
    fails_with(store_rename(f->s, STORE_ROOT, "b", STORE_ROOT, "a", 0, &e), ENOTEMPTY);
    fails_with(store_rename(f->s, STORE_ROOT, "a", deep, "x", 0, &e), EINVAL);
    fails_with(store_rename(f->s, STORE_ROOT, "a", a, "x", 0, &e), EINVAL);
    fails_with(store_rename(f->s, sub, "deep", STORE_ROOT, "a", 0, &e), ENOTEMPTY);
    fails_with(store_rename(f->s, sub, "deep", STORE_ROOT, "a", RENAME_EXCHANGE, &e), EINVAL);
    assert_int_equal(store_rename(f->s, a, "sub", STORE_ROOT, "b", 0, &e),
                     0); /* over an empty one */
    assert_int_equal(fixture_attr(f->s, a).nlink, 2);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).nlink, 4);
    assert_int_equal(store_parent(f->s, sub, &parent, &e), 0);
    assert_int_equal(parent, STORE_ROOT);
    assert_int_equal(store_rename(f->s, STORE_ROOT, "b", a, "s", 0, &e), 0);
    assert_int_equal(fixture_attr(f->s, a).nlink, 3);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).nlink, 3);
    struct store_attr attr;
    for (int i = 0; i < 500 && store_getattr(f->s, b, &attr, &e) == 0; i++)
        usleep(10000);
    fails_with(store_getattr(f->s, b, &attr, &e), ENOENT);
}

static void rename_exchanges(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d"), sub = fixture_mkdir(f->s, d, "sub"), found,
              parent;
    store_ino file = fixture_create(f->s, STORE_ROOT, "file");
    assert_int_equal(store_rename(f->s, d, "sub", STORE_ROOT, "file", RENAME_EXCHANGE, &e), 0);
    assert_int_equal(fixture_lookup(f->s, d, "sub", &found), 0);
    assert_int_equal(found, file);
    assert_int_equal(fixture_lookup(f->s, STORE_ROOT, "file", &found), 0);
    assert_int_equal(found, sub);
    assert_int_equal(store_parent(f->s, sub, &parent, &e), 0);
    assert_int_equal(parent, STORE_ROOT);
    assert_int_equal(fixture_attr(f->s, d).nlink, 2);
    assert_int_equal(fixture_attr(f->s, STORE_ROOT).nlink, 4);
    names_are(f, STORE_ROOT, "d file ");
    fails_with(store_rename(f->s, STORE_ROOT, "file", STORE_ROOT, "none", RENAME_EXCHANGE, &e),
               ENOENT);
}

static void rename_to_another_name_of_the_same_does_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_attr a;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "a");
    assert_int_equal(store_link(f->s, ino, STORE_ROOT, "b", &a, &e), 0);
    assert_int_equal(store_rename(f->s, STORE_ROOT, "a", STORE_ROOT, "b", 0, &e), 0);
    assert_int_equal(store_rename(f->s, STORE_ROOT, "a", STORE_ROOT, "a", 0, &e), 0);
    names_are(f, STORE_ROOT, "a b ");
    assert_int_equal(fixture_attr(f->s, ino).nlink, 2);
}

/* --- attributes by name, facts, settings --- */

static void xattrs_are_set_listed_and_removed(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "a"),
              next = fixture_create(f->s, STORE_ROOT, "b");
    CLEANUP_BUF struct buf b = {0};
    fails_with(store_xattr_get(f->s, ino, "user.x", &b, &e), ENODATA);
    fails_with(store_xattr_set(f->s, ino, "user.x", "1", 1, XATTR_REPLACE, &e), ENODATA);
    assert_int_equal(store_xattr_set(f->s, ino, "user.x", "12\0", 3, XATTR_CREATE, &e), 0);
    fails_with(store_xattr_set(f->s, ino, "user.x", "1", 1, XATTR_CREATE, &e), EEXIST);
    assert_int_equal(store_xattr_set(f->s, ino, "security.capability", "", 0, 0, &e), 0);
    assert_int_equal(store_xattr_set(f->s, next, "user.other", "o", 1, 0, &e), 0);
    fails_with(store_xattr_set(f->s, ino, "system.posix_acl_access", "", 0, 0, &e), EOPNOTSUPP);
    fails_with(store_xattr_set(f->s, ino, "user.", "", 0, 0, &e), EINVAL);
    fails_with(store_xattr_set(f->s, ino, "plain", "", 0, 0, &e), EOPNOTSUPP);
    fails_with(store_xattr_set(f->s, 4711, "user.x", "", 0, 0, &e), ENOENT);
    fixture_reopen(f);
    assert_int_equal(store_xattr_get(f->s, ino, "user.x", &b, &e), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "12\0", 3);
    buf_clear(&b);
    assert_int_equal(store_xattr_list(f->s, ino, &b, &e), 0);
    assert_int_equal(b.len, 27);
    assert_memory_equal(b.data, "security.capability\0user.x", 27);
    assert_int_equal(store_xattr_remove(f->s, ino, "user.x", &e), 0);
    fails_with(store_xattr_remove(f->s, ino, "user.x", &e), ENODATA);
}

static void xattrs_have_limits(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_create(f->s, STORE_ROOT, "a");
    CLEANUP_FREE char *big = xcalloc(1, 65537);
    char name[300] = "user.";
    memset(name + 5, 'n', 250);
    assert_int_equal(store_xattr_set(f->s, ino, name, big, 65536, 0, &e), 0);
    name[255] = 'n';
    fails_with(store_xattr_set(f->s, ino, name, "", 0, 0, &e), ERANGE);
    fails_with(store_xattr_set(f->s, ino, "user.big", big, 65537, 0, &e), E2BIG);
    int rc = 0;
    for (int i = 0; i < 20 && rc == 0; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        rc = store_xattr_set(f->s, ino, name, big, 65536, 0, &e);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(e.code, ENOSPC);
    assert_int_equal(store_xattr_set(f->s, ino, "user.0", "small", 5, 0, &e), 0);
}

static void facts_go_with_their_content(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino ino = fixture_write(f->s, STORE_ROOT, "a", "one", 3);
    struct store_content c;
    assert_int_equal(store_content_open(f->s, ino, &c, &e), 0);
    close(c.fd);
    CLEANUP_BUF struct buf b = {0};
    fails_with(store_facts_get(f->s, c.id, &b, &e), ENODATA);
    assert_int_equal(store_facts_set(f->s, c.id, "found", 5, &e), 0);
    fixture_reopen(f);
    assert_int_equal(store_facts_get(f->s, c.id, &b, &e), 0);
    assert_string_equal(b.data, "found");
    fixture_write(f->s, STORE_ROOT, "a", "two", 3);
    fails_with(store_facts_get(f->s, c.id, &b, &e), ENODATA);
    fails_with(store_facts_set(f->s, c.id, "late", 4, &e), ENODATA);
}

static void settings_go_with_their_node(void **state)
{
    struct fixture *f = *state;
    struct err e;
    store_ino d = fixture_mkdir(f->s, STORE_ROOT, "d");
    CLEANUP_BUF struct buf b = {0};
    fails_with(store_setting_get(f->s, d, "pin", &b, &e), ENODATA);
    assert_int_equal(store_setting_set(f->s, d, "pin", "1", 1, &e), 0);
    assert_int_equal(store_setting_set(f->s, d, "keep_alive", "5m", 2, &e), 0);
    fixture_reopen(f);
    assert_int_equal(store_setting_get(f->s, d, "pin", &b, &e), 0);
    assert_string_equal(b.data, "1");
    assert_int_equal(store_setting_set(f->s, d, "pin", NULL, 0, &e), 0);
    fails_with(store_setting_get(f->s, d, "pin", &b, &e), ENODATA);
    assert_int_equal(store_rmdir(f->s, STORE_ROOT, "d", &e), 0);
    fixture_reopen(f);
    fails_with(store_setting_get(f->s, d, "keep_alive", &b, &e), ENODATA);
    fails_with(store_setting_set(f->s, d, "pin", "1", 1, &e), ENOENT);
}

/* --- the store as a whole --- */

static void one_process_at_a_time_and_no_foreign_folder(void **state)
{
    struct fixture *f = *state;
    struct err e;
    assert_null(store_open(f->dir, &e));
    assert_int_equal(e.code, EBUSY);
    assert_non_null(strstr(e.text, "in use by another llmosfs"));
    char other[] = "/tmp/llmosfs-test-XXXXXX", file[64];
    assert_non_null(mkdtemp(other));
    snprintf(file, sizeof(file), "%s/thesis.tex", other);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    assert_null(store_open(other, &e));
    assert_int_equal(e.code, ENOTEMPTY);
    fixture_remove_tree(other);
}

static void statfs_counts(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct statvfs st;
    fixture_create(f->s, STORE_ROOT, "a");
    assert_int_equal(store_statfs(f->s, &st, &e), 0);
    assert_int_equal(st.f_files - st.f_ffree, 2);
    assert_int_equal(st.f_namemax, 255);
    assert_true(st.f_blocks > 0 && st.f_bavail <= st.f_blocks);
}

/* The database's map is as large as the address space lets it be. */
static void a_limited_address_space_is_no_obstacle(void **state)
{
    struct fixture *f = *state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)f;
    skip(); /* they need all of the address space themselves */
#endif
    store_close(steal_ptr(&f->s));
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct rlimit l = {UINT64_C(4) << 30, UINT64_C(4) << 30};
        if (setrlimit(RLIMIT_AS, &l) < 0 || !(f->s = store_open(f->dir, &e)))
            _exit(1);
        fixture_write(f->s, STORE_ROOT, "made", "x", 1);
        store_close(f->s);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fixture_reopen(f);
    assert_int_equal(fixture_lookup(f->s, STORE_ROOT, "made", NULL), 0);
}

static void a_store_of_a_later_format_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct store_key k = store_key_text("format");
    struct store_txn t;
    static const unsigned char body[8] = {2};
    assert_int_equal(store_txn_write(f->s, &t, &e), 0);
    assert_int_equal(store_rec_put(&t, TABLE_META, &k, body, sizeof(body), NULL, 0, 0, &e), 0);
    assert_int_equal(store_txn_commit(&t, &e), 0);
    store_close(steal_ptr(&f->s));
    assert_null(store_open(f->dir, &e));
    assert_int_equal(e.code, EPROTONOSUPPORT);
    assert_non_null(strstr(e.text, "format 2"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(new_nodes_have_the_attributes_of_their_maker),
        T(a_setgid_directory_hands_on_its_group),
        T(names_are_checked),
        T(inode_numbers_are_never_used_again),
        T(unlink_and_rmdir_know_what_they_remove),
        T(links_count),
        T(symlinks_keep_their_target),
        T(setattr_sets_what_is_asked_and_ctime),
        T(chown_takes_suid_and_sgid_away),
        T(readdir_is_not_disturbed_by_changes),
        T(readdir_of_many),
        T(rename_moves_and_replaces),
        T(rename_of_directories),
        T(rename_exchanges),
        T(rename_to_another_name_of_the_same_does_nothing),
        T(xattrs_are_set_listed_and_removed),
        T(xattrs_have_limits),
        T(facts_go_with_their_content),
        T(settings_go_with_their_node),
        T(one_process_at_a_time_and_no_foreign_folder),
        T(statfs_counts),
        T(a_limited_address_space_is_no_obstacle),
        T(a_store_of_a_later_format_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
