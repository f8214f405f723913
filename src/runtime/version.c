/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a version is: its weights (a content of the store), what is known about them, and what a
 * question takes from it at the moment that it is asked. Everything that touches the disk is done without the lock, in the asking thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "runtime/internal.h"

/* --- contents --- */

static void content_free(struct rt *rt, struct content *c)
{
    list_del(&c->cache_link);
    list_del(&c->inspect_link);
    map_remove(&rt->contents, c->id);
    buf_free(&c->facts_text);
    free(c);
}

static void trim_cache(struct rt *rt)
{
    struct content *c;
    list_for_each(c, &rt->cached, cache_link)
    {
        if (rt->n_cached <= FACTS_KEPT)
            return;
        if (c->versions > 0)
            continue;
        rt->n_cached--;
        content_free(rt, c);
    }
}

void content_use(struct rt *rt, struct content *c)
{
    if (c->users++ == 0 && !list_empty(&c->cache_link)) {
        list_del(&c->cache_link);
        rt->n_cached--;
    }
}

void content_unuse(struct rt *rt, struct content *c)
{
    if (--c->users > 0)
        return;
    rt_close_later(rt, c->fd);
    c->fd = -1;
    list_add(&rt->cached, &c->cache_link);
    rt->n_cached++;
    trim_cache(rt);
}

/* Takes over the descriptor. Counted as used. */
static struct content *content_get(struct rt *rt, const struct store_content *from)
{
    struct content *c = map_get(&rt->contents, from->id);
    if (!c) {
        c = xcalloc(1, sizeof(*c));
        c->id = from->id;
        c->size = from->size;
        c->fd = -1;
        list_init(&c->inspect_link);
        list_init(&c->waiting);
        list_init(&c->cache_link);
        map_put(&rt->contents, c->id, c);
    }
    if (c->fd < 0)
        c->fd = from->fd;
    else
        rt_close_later(rt, from->fd);
    content_use(rt, c);
    return c;
}

void content_free_all(struct rt *rt)
{
    struct content *c;
    size_t at = 0;
    while ((c = map_next(&rt->contents, &at))) {
        if (c->fd >= 0)
            close(c->fd);
        content_free(rt, c);
        at = 0;
    }
}

static struct proto_str keep(struct buf *b, struct proto_str s)
{
    struct proto_str kept = {b->data + b->len, s.len};
    buf_add(b, s.data, s.len);
    return kept;
}

void content_learn(struct content *c, const struct proto_facts *f)
{
    buf_clear(&c->facts_text);
    buf_reserve(&c->facts_text, f->reason.len + f->architecture.len + f->name.len +
                                    f->quantization.len); /* so that it does not move */
    c->facts = *f;
    c->facts.reason = keep(&c->facts_text, f->reason);
    c->facts.architecture = keep(&c->facts_text, f->architecture);
    c->facts.name = keep(&c->facts_text, f->name);
    c->facts.quantization = keep(&c->facts_text, f->quantization);
    c->known = true;
}

int content_check(const struct content *c, struct err *e)
{
    const struct proto_facts *f = &c->facts;
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (f->validity == PROTO_DAMAGED)
        return err_set(e, EBADMSG, "%.*s", (int)f->reason.len, f->reason.data);
    if (f->validity == PROTO_UNSUPPORTED)
        return err_set(e, ENOEXEC, "%.*s", (int)f->reason.len, f->reason.data);
    if (f->memory_needed > memory)
        return err_set(e, ENOMEM, "the model needs %llu MB of memory, this machine has %llu MB",
                       (unsigned long long)(f->memory_needed >> 20),
                       (unsigned long long)(memory >> 20));
    return 0;
}

/* What earlier mounts found out. */
static void load_facts(struct rt *rt, struct content *c)
{
    CLEANUP_BUF struct buf b = {0};
    struct proto_facts f;
    struct err e;
    if (store_facts_get(rt->config.store, c->id, &b, &e) < 0)
        return;
    if (proto_facts_unpack(b.data, b.len, &f, &e) < 0)
        return; /* of another version: it is inspected again */
    rt_lock(rt);
    if (!c->known)
        content_learn(c, &f);
    rt_unlock(rt);
}

void content_save_facts(struct rt *rt, struct content *c)
{
    CLEANUP_BUF struct buf b = {0};
    struct err e;
    rt_lock(rt);
    bool save = c->unsaved;
    c->unsaved = false;
    if (save)
        proto_facts_pack(&c->facts, &b);
    rt_unlock(rt);
    if (save && store_facts_set(rt->config.store, c->id, b.data, b.len, &e) < 0)
        log_warning("what was found out about weights is not kept: %s", e.text);
}

/* --- versions --- */

int content_of_version(struct rt *rt, store_ino version, struct content **c, struct err *e)
{
    struct store_attr attr;
    struct store_content from;
    if (store_lookup(rt->config.store, version, RT_WEIGHTS, &attr, e) < 0)
        return err_set(e, ENOMEDIUM, "there is no %s in this version", RT_WEIGHTS);
    if (!S_ISREG(attr.mode))
        return err_set(e, ENOMEDIUM, "%s is not a file", RT_WEIGHTS);
    if (store_content_open(rt->config.store, attr.ino, &from, e) < 0)
        return err_prefix(e, RT_WEIGHTS);
    if (from.id == 0) {
        if (from.fd >= 0)
            close(from.fd);
        return err_set(e, ENOMEDIUM, "%s is empty, or is still being written", RT_WEIGHTS);
    }
    rt_lock(rt);
    *c = content_get(rt, &from);
    bool known = (*c)->known;
    version_set_content(rt, version_get(rt, version), *c);
    rt_unlock(rt);
    if (!known)
        load_facts(rt, *c);
    content_save_facts(rt, *c);
    return 0;
}

void version_set_content(struct rt *rt, struct version *v, struct content *c)
{
    struct content *old = v->content;
    if (old == c)
        return;
    v->content = c;
    if (c) {
        c->versions++;
        version_ref(v);
    }
    if (old) {
        old->versions--;
        rt_kick(rt); /* its engine may go */
        version_unref(rt, v);
    }
}

void rt_weights_changed(struct rt *rt, store_ino version)
{
    struct content *c;
    if (content_of_version(rt, version, &c, NULL) < 0) {
        rt_lock(rt);
        struct version *v = map_get(&rt->versions, version);
        if (v)
            version_set_content(rt, v, NULL);
        rt_unlock(rt);
        return;
    }
    rt_lock(rt);
    if (!c->known)
        inspect_want(rt, c);
    content_unuse(rt, c);
    rt_unlock(rt);
}

void rt_version_removed(struct rt *rt, store_ino version)
{
    rt_lock(rt);
    struct version *v = map_get(&rt->versions, version);
    if (v) {
        version_ref(v);
        v->removed = true;
        conv_forget(rt, v);
        error_forget(rt, v);
        version_set_content(rt, v, NULL);
        version_unref(rt, v);
    }
    rt_unlock(rt);
}

/* --- what a question takes --- */

/* Adds a small file of a directory to b: nothing if there is none. */
static int read_small(struct rt *rt, store_ino dir, const char *name, size_t max, struct buf *b,
                      struct err *e)
{
    struct store_attr attr;
    struct err why;
    if (store_lookup(rt->config.store, dir, name, &attr, &why) < 0) {
        if (why.code == ENOENT)
            return 0;
        if (e)
            *e = why;
        return -1;
    }
    if (!S_ISREG(attr.mode))
        return 0;
    if (store_content_read(rt->config.store, attr.ino, max, b, e) < 0)
        return err_prefix(e, "%s", name);
    return 0;
}

int version_param_text(struct rt *rt, store_ino version, const char *name, struct buf *b,
                       struct err *e)
{
    struct store_attr dir;
    if (store_lookup(rt->config.store, version, RT_PARAMS, &dir, NULL) < 0 || !S_ISDIR(dir.mode))
        return 0;
    return read_small(rt, dir.ino, name, PARAM_TEXT_MAX, b, e);
}

static int read_params(struct rt *rt, store_ino version, struct params *p, struct err *e)
{
    struct param_row row;
    for (size_t i = 0; param_row(i, &row); i++) {
        CLEANUP_BUF struct buf b = {0};
        if (version_param_text(rt, version, row.name, &b, e) < 0 ||
            params_set(p, row.name, buf_str(&b), b.len, e) < 0)
            return -1;
    }
    return 0;
}

static int draw_seed(struct params *p, struct err *e)
{
    if (p->random_seed && getrandom(&p->sampling.seed, sizeof(p->sampling.seed), 0) !=
                              (ssize_t)sizeof(p->sampling.seed))
        return err_sys(e, "no random seed");
    if (p->random_seed)
        p->sampling.seed &= (UINT64_C(1) << 53) - 1; /* such that it can be given as parameter */
    return 0;
}

void composed_free(struct rt *rt, struct composed *c)
{
    if (c->content)
        content_unuse(rt, c->content);
    params_free(&c->params);
    buf_free(&c->system);
    buf_free(&c->chat_template);
}

int version_compose(struct rt *rt, store_ino version, struct composed *c, struct err *e)
{
    params_init(&c->params);
    if (content_of_version(rt, version, &c->content, e) < 0)
        return -1;
    control_load(rt, version);
    if (read_small(rt, version, RT_SYSTEM, RT_TEXT_MAX, &c->system, e) < 0 ||
        read_small(rt, version, RT_TEMPLATE, RT_TEXT_MAX, &c->chat_template, e) < 0 ||
        read_params(rt, version, &c->params, e) < 0)
        return -1;
    return draw_seed(&c->params, e);
}
