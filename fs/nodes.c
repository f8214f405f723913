/* SPDX-License-Identifier: Apache-2.0 */
/* nodes: the table of nodes that are not just the store's, and how long they live. */
#include <string.h>

#include "base/mem.h"
#include "fs/node.h"

/* --- the table (nodes_lock held) --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 32);
}

static uint64_t key_hash(const struct node_key *k)
{
    uint64_t h = mix(0, (uintptr_t)k->ops);
    h = mix(h, k->stored);
    h = mix(h, k->version);
    return mix(h, (uint64_t)k->uid << 32 | (uint32_t)k->which);
}

static struct node_key key_of(const struct node *n)
{
    return (struct node_key){n->ops, n->stored, n->version, n->uid, n->which};
}

static bool key_equal(const struct node_key *a, const struct node_key *b)
{
    return a->ops == b->ops && a->stored == b->stored && a->version == b->version &&
           a->uid == b->uid && a->which == b->which;
}

static struct node *front_find(struct fs *fs, const struct node_key *key)
{
    struct node *n = map_get(&fs->fronts, key_hash(key));
    for (; n; n = n->next_front) {
        struct node_key k = key_of(n);
        if (key_equal(&k, key))
            return n;
    }
    return NULL;
}

static void front_add(struct fs *fs, struct node *n)
{
    struct node_key key = key_of(n);
    n->next_front = map_put(&fs->fronts, key_hash(&key), n);
    n->front = true;
}

static void front_remove(struct fs *fs, struct node *n)
{
    if (!n->front)
        return;
    struct node_key key = key_of(n);
    uint64_t hash = key_hash(&key);
    struct node *first = map_get(&fs->fronts, hash);
    if (first == n) {
        map_remove(&fs->fronts, hash);
        if (n->next_front)
            map_put(&fs->fronts, hash, n->next_front);
    } else {
        while (first->next_front != n)
            first = first->next_front;
        first->next_front = n->next_front;
    }
    n->front = false;
}

static bool is_dynamic(const struct node *n)
{
    return n->ino > STORE_INO_MAX;
}

/* Takes it out of the table if nobody needs it there. True: it is the caller's to destroy. */
static bool drop_if_unused(struct fs *fs, struct node *n)
{
    if (n->refs > 0 || (n->listed && n->nlookup > 0))
        return false;
    if (n->listed) {
        map_remove(&fs->nodes, n->ino);
        front_remove(fs, n);
        n->listed = false;
    }
    return true;
}

/* Without the lock. */
static void destroy(struct fs *fs, struct node *n)
{
    if (n->answer)
        rt_answer_put(n->answer);
    if (is_dynamic(n) && n->stored)
        store_forget(fs->store, n->stored, 1);
    free(n->name);
    free(n);
}

/* --- finding --- */

/* A stored node of no special kind, by its type and role. */
static int describe(struct fs *fs, store_ino ino, struct node *n, struct err *e)
{
    struct store_attr a;
    if (store_getattr(fs->store, ino, &a, e) < 0)
        return -1;
    *n = (struct node){.ops = &file_ops, .ino = ino, .stored = ino, .refs = 1, .temporary = true};
    if (ino == STORE_ROOT) {
        n->ops = &root_ops;
    } else if (a.role == ROLE_VERSION) {
        n->ops = &version_ops;
        n->version = ino;
    } else if (a.role == ROLE_PARAMS) {
        n->ops = &params_ops;
        return store_parent(fs->store, ino, &n->version, e);
    } else if (S_ISDIR(a.mode)) {
        n->ops = &dir_ops;
    }
    return 0;
}

struct node *node_get(struct fs *fs, uint64_t ino, struct node *space, struct err *e)
{
    pthread_mutex_lock(&fs->nodes_lock);
    struct node *n = map_get(&fs->nodes, ino);
    if (n)
        n->refs++;
    pthread_mutex_unlock(&fs->nodes_lock);
    if (n)
        return n;
    if (ino > STORE_INO_MAX) {
        err_set(e, ESTALE, "no node has the number %llu", (unsigned long long)ino);
        return NULL;
    }
    return describe(fs, ino, space, e) < 0 ? NULL : space;
}

struct node *node_ref(struct fs *fs, struct node *n)
{
    if (n->temporary) {
        struct node *copy = xmemdup(n, sizeof(*n));
        copy->temporary = false;
        copy->refs = 1;
        return copy;
    }
    pthread_mutex_lock(&fs->nodes_lock);
    n->refs++;
    pthread_mutex_unlock(&fs->nodes_lock);
    return n;
}

void node_put(struct fs *fs, struct node *n)
{
    if (n->temporary)
        return;
    pthread_mutex_lock(&fs->nodes_lock);
    n->refs--;
    bool gone = drop_if_unused(fs, n);
    pthread_mutex_unlock(&fs->nodes_lock);
    if (gone)
        destroy(fs, n);
}

/* --- fronts --- */

static struct node *front_new(struct fs *fs, const struct node_key *key, struct rt_answer *answer,
                              uint64_t number)
{
    struct node *n = xcalloc(1, sizeof(*n));
    *n = (struct node){.ops = key->ops,
                       .ino = ++fs->next_ino,
                       .stored = key->stored,
                       .version = key->version,
                       .uid = key->uid,
                       .which = key->which,
                       .answer = answer,
                       .number = number,
                       .listed = true};
    map_put(&fs->nodes, n->ino, n);
    front_add(fs, n);
    return n;
}

struct node *node_front(struct fs *fs, const struct node_key *key, struct rt_answer *answer)
{
    struct rt_answer_info info = {0};
    if (answer)
        rt_answer_info(answer, &info);
    pthread_mutex_lock(&fs->nodes_lock);
    struct node *n = front_find(fs, key);
    bool fresh = !n || n->number != info.number;
    if (fresh) {
        if (n)
            front_remove(fs, n);
        n = front_new(fs, key, answer ? rt_answer_ref(answer) : NULL, info.number);
    }
    n->refs++;
    pthread_mutex_unlock(&fs->nodes_lock);
    if (fresh && n->stored)
        store_remember(fs->store, n->stored, 1);
    return n;
}

bool node_is_front(struct fs *fs, struct node *n)
{
    pthread_mutex_lock(&fs->nodes_lock);
    bool front = n->front;
    pthread_mutex_unlock(&fs->nodes_lock);
    return front;
}

void node_unfront(struct fs *fs, struct node *n)
{
    pthread_mutex_lock(&fs->nodes_lock);
    front_remove(fs, n);
    pthread_mutex_unlock(&fs->nodes_lock);
}

/* --- what the kernel knows --- */

int node_entry(struct call *c, struct node *n, double entry_timeout, struct fuse_entry_param *entry,
               struct err *e)
{
    *entry = (struct fuse_entry_param){
        .ino = n->ino, .attr_timeout = n->ops->attr_timeout, .entry_timeout = entry_timeout};
    return n->ops->getattr(c, n, &entry->attr, e);
}

void node_looked_up(struct fs *fs, uint64_t ino)
{
    if (ino <= STORE_INO_MAX)
        store_remember(fs->store, ino, 1);
    pthread_mutex_lock(&fs->nodes_lock);
    struct node *n = map_get(&fs->nodes, ino);
    if (n)
        n->nlookup++;
    pthread_mutex_unlock(&fs->nodes_lock);
}

void node_forget(struct fs *fs, uint64_t ino, uint64_t n)
{
    if (ino == STORE_ROOT)
        return;
    if (ino <= STORE_INO_MAX)
        store_forget(fs->store, ino, n);
    pthread_mutex_lock(&fs->nodes_lock);
    struct node *node = map_get(&fs->nodes, ino);
    bool gone = false;
    if (node) {
        /* a stored node may have been looked up before it became special */
        node->nlookup -= MIN(node->nlookup, n);
        gone = drop_if_unused(fs, node);
    }
    pthread_mutex_unlock(&fs->nodes_lock);
    if (gone)
        destroy(fs, node);
}

static bool same_kind(const struct node *n, const struct node_ops *ops, store_ino version,
                      const char *name)
{
    return n->ops == ops && n->version == version && strcmp(n->name, name) == 0;
}

void node_note(struct fs *fs, const struct node_ops *ops, store_ino ino, store_ino version,
               const char *name)
{
    bool special = ops == &weights_ops || ops == &value_ops;
    pthread_mutex_lock(&fs->nodes_lock);
    struct node *old = map_get(&fs->nodes, ino);
    bool gone = false;
    uint64_t nlookup = 0;
    if (old && (!special || !same_kind(old, ops, version, name))) {
        nlookup = old->nlookup;
        map_remove(&fs->nodes, ino);
        old->listed = false;
        gone = drop_if_unused(fs, old);
    }
    if (special && (!old || !old->listed || gone)) {
        struct node *n = xcalloc(1, sizeof(*n));
        *n = (struct node){.ops = ops,
                           .ino = ino,
                           .stored = ino,
                           .version = version,
                           .name = xstrdup(name),
                           .nlookup = nlookup,
                           .listed = true};
        map_put(&fs->nodes, ino, n);
    }
    pthread_mutex_unlock(&fs->nodes_lock);
    if (gone)
        destroy(fs, old);
}

void nodes_free(struct fs *fs)
{
    size_t at = 0;
    for (struct node *n; (n = map_next(&fs->nodes, &at));)
        destroy(fs, n);
    map_free(&fs->nodes);
    map_free(&fs->fronts);
}
