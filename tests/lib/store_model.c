/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/store_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static const struct store_cred cred = {1, 1, 0};

static const char *name_of(int i)
{
    static const char *const names[MODEL_NAMES] = {"a", "b", "c", "d", "e", "f"};
    return names[i];
}

uint64_t model_random(uint64_t *rng)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}

unsigned char model_byte(uint32_t seed, uint32_t at)
{
    uint32_t x = (seed ^ at * UINT32_C(2654435761)) * UINT32_C(2246822519);
    return (unsigned char)(x >> 24);
}

static void fill(char *p, uint32_t seed, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        p[i - from] = (char)model_byte(seed, i);
}

/* --- operations --- */

static void node_init(struct model_node *n, char type, mode_t mode, int parent)
{
    *n = (struct model_node){
        .type = type, .mode = mode, .nlink = type == 'd' ? 2 : 1, .parent = parent};
    for (int i = 0; i < MODEL_NAMES; i++)
        n->entry[i] = -1;
}

void model_init(struct model *m)
{
    memset(m, 0, sizeof(*m));
    node_init(&m->node[0], 'd', 0755, 0);
}

static int random_dir(const struct model *m, uint64_t *rng)
{
    for (;;) {
        int i = (int)(model_random(rng) % MODEL_NODES);
        if (m->node[i].type == 'd')
            return i;
    }
}

static uint32_t random_len(uint64_t *rng)
{
    static const uint32_t edges[] = {0, 1, 4095, 4096, 4097, 20000};
    uint64_t r = model_random(rng);
    return r % 3 ? edges[r / 3 % ARRAY_LEN(edges)] : (uint32_t)(r / 3 % 9000);
}

struct model_op model_random_op(const struct model *m, uint64_t *rng)
{
    struct model_op op = {.kind = (enum model_kind)(model_random(rng) % OP_KINDS)};
    op.dir = random_dir(m, rng);
    op.name = (int)(model_random(rng) % MODEL_NAMES);
    op.to_dir = random_dir(m, rng);
    op.to_name = (int)(model_random(rng) % MODEL_NAMES);
    op.seed = (uint32_t)model_random(rng) | 1;
    op.len = random_len(rng);
    static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    op.flags = flags[op.seed / 2 % 4];
    return op;
}

static int free_node(const struct model *m)
{
    for (int i = 1; i < MODEL_NODES; i++)
        if (!m->node[i].type)
            return i;
    return -1;
}

static int do_make(struct model *m, const struct model_op *op)
{
    struct model_node *dir = &m->node[op->dir];
    int i = free_node(m);
    if (dir->entry[op->name] >= 0)
        return EEXIST;
    if (i < 0)
        return 0; /* the store is not asked either */
    char type = op->kind == OP_MKDIR ? 'd' : op->kind == OP_SYMLINK ? 'l' : 'f';
    node_init(&m->node[i], type, type == 'l' ? 0777 : 0644, op->dir);
    if (type == 'l')
        m->node[i].seed = op->seed;
    dir->entry[op->name] = i;
    dir->nlink += type == 'd';
    return 0;
}

static bool is_empty(const struct model_node *dir)
{
    for (int i = 0; i < MODEL_NAMES; i++)
        if (dir->entry[i] >= 0)
            return false;
    return true;
}

static void drop(struct model_node *n)
{
    if (n->type == 'd' || --n->nlink == 0)
        n->type = 0;
}

static int do_remove(struct model *m, const struct model_op *op, struct model_node *n)
{
    if (op->kind == OP_UNLINK && n->type == 'd')
        return EISDIR;
    if (op->kind == OP_RMDIR && n->type != 'd')
        return ENOTDIR;
    if (op->kind == OP_RMDIR && !is_empty(n))
        return ENOTEMPTY;
    m->node[op->dir].nlink -= n->type == 'd';
    m->node[op->dir].entry[op->name] = -1;
    drop(n);
    return 0;
}

static bool inside(const struct model *m, int top, int at)
{
    for (; at != 0; at = m->node[at].parent)
        if (at == top)
            return true;
    return top == 0;
}

static void move(struct model *m, int i, int from, int to)
{
    if (i < 0 || m->node[i].type != 'd')
        return;
    m->node[from].nlink--;
    m->node[to].nlink++;
    m->node[i].parent = to;
}

static int rename_refused(const struct model *m, const struct model_op *op, int a, int b)
{
    bool dir = m->node[a].type == 'd', to_dir = b >= 0 && m->node[b].type == 'd';
    if (b >= 0 && op->flags & RENAME_NOREPLACE)
        return EEXIST;
    if (b < 0 && op->flags & RENAME_EXCHANGE)
        return ENOENT;
    if (dir && inside(m, a, op->to_dir))
        return EINVAL;
    if (op->flags & RENAME_EXCHANGE)
        return to_dir && inside(m, b, op->dir) ? EINVAL : 0;
    if (b < 0 || a == b)
        return 0;
    if (dir != to_dir)
        return dir ? ENOTDIR : EISDIR;
    return to_dir && !is_empty(&m->node[b]) ? ENOTEMPTY : 0;
}

static int do_rename(struct model *m, const struct model_op *op, int a)
{
    int *to = &m->node[op->to_dir].entry[op->to_name], b = *to;
    int refused = rename_refused(m, op, a, b);
    if (refused || a == b)
        return refused;
    move(m, a, op->dir, op->to_dir);
    *to = a;
    if (op->flags & RENAME_EXCHANGE) {
        move(m, b, op->to_dir, op->dir);
        m->node[op->dir].entry[op->name] = b;
        return 0;
    }
    m->node[op->dir].entry[op->name] = -1;
    if (b >= 0) {
        m->node[op->to_dir].nlink -= m->node[b].type == 'd';
        drop(&m->node[b]);
    }
    return 0;
}

static int do_link(struct model *m, const struct model_op *op, int i)
{
    if (m->node[i].type == 'd')
        return EPERM;
    if (m->node[op->to_dir].entry[op->to_name] >= 0)
        return EEXIST;
    m->node[op->to_dir].entry[op->to_name] = i;
    m->node[i].nlink++;
    return 0;
}

static int do_content(const struct model_op *op, struct model_node *n)
{
    if (n->type != 'f')
        return n->type == 'd' ? EISDIR : EINVAL;
    if (op->kind == OP_SHRINK)
        n->len = n->len ? op->seed % n->len : 0;
    else if (op->kind == OP_APPEND)
        n->len += n->len < 60000 ? op->len : 0;
    else
        n->len = op->len;
    if (op->kind == OP_WRITE || op->kind == OP_REPLACE)
        n->seed = op->seed;
    return 0;
}

int model_do(struct model *m, const struct model_op *op)
{
    int i = m->node[op->dir].entry[op->name];
    if (op->kind == OP_CREATE || op->kind == OP_MKDIR || op->kind == OP_SYMLINK)
        return do_make(m, op);
    if (i < 0)
        return ENOENT;
    struct model_node *n = &m->node[i];
    switch (op->kind) {
    case OP_UNLINK:
    case OP_RMDIR:
        return do_remove(m, op, n);
    case OP_RENAME:
        return do_rename(m, op, i);
    case OP_LINK:
        return do_link(m, op, i);
    case OP_CHMOD:
        n->mode = op->seed & 0777;
        return 0;
    case OP_SET_XATTR:
        n->xattr = op->seed;
        return 0;
    case OP_REMOVE_XATTR:
        if (!n->xattr)
            return ENODATA;
        n->xattr = 0;
        return 0;
    default:
        return do_content(op, n);
    }
}

/* --- the same to a store --- */

static store_ino dir_ino(struct store *s, const struct model *m, int dir)
{
    struct store_attr a;
    if (dir == 0)
        return STORE_ROOT;
    int parent = m->node[dir].parent;
    for (int i = 0; i < MODEL_NAMES; i++)
        if (m->node[parent].entry[i] == dir &&
            store_lookup(s, dir_ino(s, m, parent), name_of(i), &a, NULL) == 0)
            return a.ino;
    return 0;
}

static int write_file(struct store *s, store_ino ino, const struct model_op *op,
                      const struct model_node *n, struct err *e)
{
    static char bytes[40000];
    bool append = op->kind == OP_APPEND;
    uint32_t from = append ? n->len : 0, len = append && n->len >= 60000 ? 0 : op->len;
    fill(bytes, append ? n->seed : op->seed, from, from + len);
    if (op->kind == OP_REPLACE)
        return store_content_write(s, ino, bytes, len, e);
    struct store_file *f = store_file_open(s, ino, O_WRONLY | (append ? 0 : O_TRUNC), e);
    if (!f)
        return -1;
    uint32_t half = len / 2;
    int rc = store_file_write(f, bytes, half, 0, append, e);
    if (rc == 0)
        rc = store_file_write(f, bytes + half, len - half, half, append, e);
    if (rc == 0)
        rc = store_file_publish(f, e);
    store_file_close(f);
    return rc;
}

static int make_node(struct store *s, store_ino dir, const struct model_op *op, struct err *e)
{
    struct store_attr a;
    char target[16];
    snprintf(target, sizeof(target), "%u", op->seed);
    if (op->kind == OP_SYMLINK)
        return store_symlink(s, dir, name_of(op->name), target, &cred, &a, e);
    mode_t mode = op->kind == OP_MKDIR ? S_IFDIR | 0644 : S_IFREG | 0644;
    return store_make(s, dir, name_of(op->name), mode, 0, 0, &cred, &a, e);
}

static int node_op(struct store *s, store_ino ino, const struct model_op *op,
                   const struct model_node *n, struct err *e)
{
    struct store_attr want = {.mode = op->seed & 0777};
    switch (op->kind) {
    case OP_CHMOD:
        return store_setattr(s, ino, &want, STORE_SET_MODE, NULL, e);
    case OP_SET_XATTR:
        return store_xattr_set(s, ino, "user.x", &op->seed, sizeof(op->seed), 0, e);
    case OP_REMOVE_XATTR:
        return store_xattr_remove(s, ino, "user.x", e);
    case OP_SHRINK:
        want.size = n->len ? op->seed % n->len : 0;
        return store_setattr(s, ino, &want, STORE_SET_SIZE, NULL, e);
    default:
        return write_file(s, ino, op, n, e);
    }
}

int model_do_store(struct store *s, const struct model *m, const struct model_op *op)
{
    struct err e = {0};
    struct store_attr a;
    store_ino dir = dir_ino(s, m, op->dir), to = dir_ino(s, m, op->to_dir);
    const char *name = name_of(op->name), *to_name = name_of(op->to_name);
    int i = m->node[op->dir].entry[op->name], rc;
    if (op->kind <= OP_SYMLINK) {
        if (i < 0 && free_node(m) < 0)
            return 0;
        rc = make_node(s, dir, op, &e);
    } else if (op->kind == OP_UNLINK) {
        rc = store_unlink(s, dir, name, &e);
    } else if (op->kind == OP_RMDIR) {
        rc = store_rmdir(s, dir, name, &e);
    } else if (op->kind == OP_RENAME) {
        rc = store_rename(s, dir, name, to, to_name, op->flags, &e);
    } else {
        rc = store_lookup(s, dir, name, &a, &e);
        if (rc == 0 && op->kind == OP_LINK)
            rc = store_link(s, a.ino, to, to_name, NULL, &e);
        else if (rc == 0)
            rc = node_op(s, a.ino, op, i < 0 ? NULL : &m->node[i], &e);
    }
    return rc < 0 ? e.code : 0;
}

/* --- comparing --- */

struct compare {
    struct store *s;
    const struct model *m;
    char *why;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static bool differ(struct compare *c, const char *path,
                                                         const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(c->why, c->size, "%s: %s", path, text);
    return false;
}

static bool content_equal(struct compare *c, const char *path, store_ino ino,
                          const struct model_node *n)
{
    struct err e;
    CLEANUP_BUF struct buf b = {0};
    if (store_content_read(c->s, ino, 1 << 20, &b, &e) < 0)
        return differ(c, path, "%s", e.text);
    if (b.len != n->len)
        return differ(c, path, "%zu bytes, not %u", b.len, n->len);
    for (uint32_t i = 0; i < n->len; i++)
        if ((unsigned char)b.data[i] != model_byte(n->seed, i))
            return differ(c, path, "the byte at %u of %u is wrong", i, n->len);
    return true;
}

static bool target_equal(struct compare *c, const char *path, store_ino ino,
                         const struct model_node *n)
{
    struct err e;
    char want[16];
    CLEANUP_BUF struct buf b = {0};
    snprintf(want, sizeof(want), "%u", n->seed);
    if (store_readlink(c->s, ino, &b, &e) < 0)
        return differ(c, path, "%s", e.text);
    return strcmp(buf_str(&b), want) == 0 ||
           differ(c, path, "points to %s, not %s", buf_str(&b), want);
}

static bool xattr_equal(struct compare *c, const char *path, store_ino ino,
                        const struct model_node *n)
{
    struct err e;
    uint32_t value = 0;
    CLEANUP_BUF struct buf b = {0};
    if (store_xattr_get(c->s, ino, "user.x", &b, &e) < 0 && e.code != ENODATA)
        return differ(c, path, "%s", e.text);
    if (b.len == sizeof(value))
        memcpy(&value, b.data, sizeof(value));
    return value == n->xattr || differ(c, path, "user.x is %u, not %u", value, n->xattr);
}

static bool tree_equal(struct compare *c, const char *path, store_ino ino, int dir);

static bool node_equal(struct compare *c, const char *path, const struct store_attr *a, int i)
{
    const struct model_node *n = &c->m->node[i];
    mode_t type = n->type == 'd' ? S_IFDIR : n->type == 'l' ? S_IFLNK : S_IFREG;
    if (a->mode != (type | n->mode))
        return differ(c, path, "mode %o, not %o", a->mode, type | n->mode);
    if (a->nlink != n->nlink)
        return differ(c, path, "%u links, not %u", (unsigned)a->nlink, n->nlink);
    if (!xattr_equal(c, path, a->ino, n))
        return false;
    if (n->type == 'd')
        return tree_equal(c, path, a->ino, i);
    if (n->type == 'l')
        return target_equal(c, path, a->ino, n);
    return (a->size == n->len || differ(c, path, "size %u, not %u", (unsigned)a->size, n->len)) &&
           content_equal(c, path, a->ino, n);
}

static bool tree_equal(struct compare *c, const char *path, store_ino ino, int dir)
{
    for (int i = 0; i < MODEL_NAMES; i++) {
        struct err e;
        struct store_attr a;
        char sub[200];
        int node = c->m->node[dir].entry[i];
        snprintf(sub, sizeof(sub), "%s/%s", path, name_of(i));
        int rc = store_lookup(c->s, ino, name_of(i), &a, &e);
        if (rc < 0 && e.code != ENOENT)
            return differ(c, sub, "%s", e.text);
        if ((rc == 0) != (node >= 0))
            return differ(c, sub, rc == 0 ? "is there" : "is missing");
        if (rc == 0 && !node_equal(c, sub, &a, node))
            return false;
    }
    return true;
}

bool model_equal(struct store *s, const struct model *m, char *why, size_t size)
{
    struct compare c = {s, m, why, size};
    return tree_equal(&c, "", STORE_ROOT, 0);
}
