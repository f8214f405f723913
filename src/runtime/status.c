/* SPDX-License-Identifier: Apache-2.0 */
/* The texts that say how things are: .status and .params of a version, .usage and .rendered of an answer. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "runtime/internal.h"

/* --- .status --- */

/* Text from a stranger's file: no line of it may pass for one of ours. */
static void add_line(struct buf *b, const char *key, struct proto_str s)
{
    if (s.len == 0)
        return;
    buf_printf(b, "%s ", key);
    for (size_t i = 0; i < s.len; i++)
        buf_add_char(b, (unsigned char)s.data[i] < ' ' || s.data[i] == 0x7f ? ' ' : s.data[i]);
    buf_add_char(b, '\n');
}

static void add_number(struct buf *b, const char *key, uint64_t v)
{
    buf_printf(b, "%s %" PRIu64 "\n", key, v);
}

static void add_facts(struct buf *b, const struct content *c)
{
    const struct proto_facts *f = &c->facts;
    add_line(b, "architecture", f->architecture);
    add_line(b, "name", f->name);
    if (f->validity != PROTO_VALID)
        return;
    add_number(b, "parameters", f->parameters);
    add_line(b, "quantization", f->quantization);
    add_number(b, "context", f->context);
    add_number(b, "vocabulary", f->vocabulary);
    buf_printf(b, "chat %s\n", f->chat ? "yes" : "no");
    add_number(b, "memory_needed", f->memory_needed);
}

static void add_engine(struct buf *b, const struct engine *g)
{
    if (g->state == ENGINE_LOADING && g->progress_total > 0)
        buf_printf(b, "loaded %" PRIu64 " of %" PRIu64 " bytes\n", g->progress_done,
                   g->progress_total);
    if (g->state == ENGINE_READY) {
        add_number(b, "memory", g->ready.memory);
        add_number(b, "kv_bytes", g->ready.kv_bytes);
        buf_printf(b, "backend %s\nkernels %s\n", g->backend, g->kernels);
    }
    if (g->pid > 0)
        add_number(b, "engine", (uint64_t)g->pid);
    add_number(b, "waiting", g->n_queue);
    add_number(b, "running", g->n_sent);
}

static const char *state_of(const struct content *c, struct err *why)
{
    if (!c->known)
        return "loading";
    if (content_check(c, why) < 0)
        return "invalid";
    if (!c->engine)
        return "ready";
    return c->engine->state == ENGINE_READY ? "resident" : "loading";
}

void rt_version_status(struct rt *rt, store_ino version, struct buf *text)
{
    struct content *c;
    struct err e = {0};
    if (content_of_version(rt, version, &c, &e) < 0) {
        buf_printf(text, "state %s\nreason %s\n", e.code == ENOMEDIUM ? "empty" : "invalid",
                   e.text);
        return;
    }
    rt_lock(rt);
    if (!c->known)
        inspect_want(rt, c);
    buf_printf(text, "state %s\n", state_of(c, &e));
    add_line(text, "reason", (struct proto_str){e.text, strlen(e.text)});
    if (c->known)
        add_facts(text, c);
    buf_printf(text, "content %016" PRIx64 "\n", c->id);
    add_number(text, "bytes", c->size);
    if (c->engine)
        add_engine(text, c->engine);
    content_unuse(rt, c);
    rt_unlock(rt);
}

/* --- .params --- */

void rt_version_params(struct rt *rt, store_ino version, struct buf *text)
{
    struct param_row row;
    buf_printf(text, "%-18s %-12s %-8s %-24s %s\n", "name", "value", "from", "range", "meaning");
    for (size_t i = 0; param_row(i, &row); i++) {
        CLEANUP_BUF struct buf value = {0};
        struct err e;
        bool set = false;
        if (version_param_text(rt, version, row.name, &value, &e) < 0)
            buf_printf(&value, "? (%s)", e.text);
        else
            set = value.len > 0;
        for (size_t k = 0; k < value.len; k++) /* the lines of stop */
            if (value.data[k] == '\n')
                value.data[k] = k + 1 < value.len ? '|' : '\0';
        buf_printf(text, "%-18s %-12s %-8s %-24s %s\n", row.name, set ? value.data : row.normal,
                   set ? "version" : "default", row.range, row.meaning);
    }
}

/* --- .usage and .rendered --- */

/* The newest answer of an engine that is done; NULL: none. Lock held. */
static const struct rt_answer *last_done(const struct rt_conv *c)
{
    for (const struct rt_answer *a = c->newest; a; a = a->parent)
        if (a->state == DONE && a->user)
            return a;
    return c->before && c->before->user ? c->before : NULL;
}

static double seconds(uint64_t from, uint64_t to)
{
    return (double)(to - from) / (double)CLOCK_NS_PER_SEC;
}

static void add_usage(struct buf *b, const struct rt_answer *a)
{
    static const char *const finishes[] = {"stop", "stop", "length", "time", "cancelled", "error"};
    add_number(b, "prompt_tokens", a->prompt_tokens);
    add_number(b, "cached_tokens", a->cached_tokens);
    add_number(b, "completion_tokens", a->n_ids);
    buf_printf(b, "seconds %.6f\n", seconds(a->asked_at, a->done_at));
    buf_printf(b, "prefill_seconds %.6f\n", a->end.prefill_seconds);
    buf_printf(b, "decode_seconds %.6f\n", a->end.decode_seconds);
    buf_printf(b, "finish %s\n", finishes[a->end.finish]);
    buf_printf(b, "content %016" PRIx64 "\n", a->content_id);
    add_number(b, "seed", a->seed);
}

void rt_conv_usage(struct rt_conv *c, struct buf *text)
{
    rt_lock(c->rt);
    const struct rt_answer *a = last_done(c);
    if (a && !a->replaced)
        add_usage(text, a);
    rt_unlock(c->rt);
}

void rt_conv_rendered(struct rt_conv *c, struct buf *text)
{
    rt_lock(c->rt);
    const struct rt_answer *a = last_done(c);
    if (a && a->rendered)
        buf_add(text, a->rendered, a->rendered_len);
    rt_unlock(c->rt);
}
