/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/direct.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/sandbox.h"
#include "model/vfile.h"

#define BENCH_QUESTION "What is the capital of Japan?"

/* One question, and what was heard of its answer. */
struct listener {
    bool print;
    bool done;
    uint64_t asked_at;
    uint64_t first_at;
    uint32_t prompt_tokens;
    struct proto_done last;
    struct err error;
};

static double seconds(uint64_t from, uint64_t to)
{
    return (double)(to - from) / (double)CLOCK_NS_PER_SEC;
}

static void on_emit(void *ctx, const struct proto_msg *m)
{
    struct listener *l = ctx;
    if (m->type == PROTO_STARTED) {
        l->prompt_tokens = m->u.started.prompt_tokens;
    } else if (m->type == PROTO_PIECE) {
        if (l->first_at == 0)
            l->first_at = clock_now();
        if (l->print) {
            fwrite(m->u.piece.text.data, 1, m->u.piece.text.len, stdout);
            fflush(stdout);
        }
    } else if (m->type == PROTO_DONE) {
        l->last = m->u.done;
        l->done = true;
        if (m->u.done.finish == PROTO_FINISH_ERROR)
            err_set(&l->error, m->u.done.code, "%.*s", (int)m->u.done.text.len,
                    m->u.done.text.data);
    }
}

static int ask(struct engine *en, const struct proto_ask *q, struct listener *l)
{
    *l = (struct listener){.print = l->print, .asked_at = clock_now()};
    engine_listen(en, on_emit, NULL, l);
    engine_ask(en, q);
    while (!l->done)
        engine_step(en);
    if (l->error.code == 0)
        return 0;
    fprintf(stderr, "llmosfs-engine: %s\n", l->error.text);
    return -1;
}

static struct engine *load(const struct direct_options *o)
{
    struct err e = {0};
    CLEANUP_FD int fd = open(o->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err_sys(&e, "%s", o->file);
    struct engine *en = NULL;
    if (fd >= 0 && sandbox_enter(&e) == 0) {
        CLEANUP(vfile) struct vfile *f = vfile_from_fd(fd, &e);
        en = f ? engine_load(f, &o->engine, NULL, NULL, &e) : NULL;
    }
    if (!en)
        fprintf(stderr, "llmosfs-engine: %s\n", e.text);
    return en;
}

int direct_generate(const struct direct_options *o)
{
    CLEANUP(engine) struct engine *en = load(o);
    if (!en)
        return 1;
    struct proto_message messages[2] = {
        {.role = PROTO_SYSTEM,
         .text = {.data = o->system, .len = o->system ? strlen(o->system) : 0}},
        {.role = PROTO_USER, .text = {.data = o->prompt, .len = strlen(o->prompt)}}};
    struct proto_ask q = {.id = 1,
                          .mode = o->raw ? PROTO_MODE_RAW : PROTO_MODE_AUTO,
                          .messages = o->system ? messages : messages + 1,
                          .n_messages = o->system ? 2 : 1,
                          .sampling = o->sampling,
                          .max_tokens = o->max_tokens};
    struct listener l = {.print = true};
    if (ask(en, &q, &l) < 0)
        return 1;
    fputc('\n', stdout);
    double decode = l.last.decode_seconds;
    fprintf(stderr,
            "%u tokens of prompt, first token after %.3f s, %u tokens of answer, %.1f tokens/s\n",
            l.prompt_tokens, l.first_at ? seconds(l.asked_at, l.first_at) : 0,
            l.last.completion_tokens, decode > 0 ? (l.last.completion_tokens - 1) / decode : 0);
    return 0;
}

/* n_prompt tokens that mean nothing, then n_decode tokens of answer. */
static int run_tokens(struct engine *en, uint32_t n_vocab, uint32_t n_prompt, uint32_t n_decode,
                      struct listener *l)
{
    CLEANUP_FREE int32_t *ids = xcalloc(n_prompt, sizeof(*ids));
    for (uint32_t i = 0; i < n_prompt; i++)
        ids[i] = (int32_t)((100 + 7919u * i) % n_vocab);
    struct proto_message m = {.role = PROTO_ASSISTANT, .ids = {.ids = ids, .n = n_prompt}};
    struct proto_ask q = {.id = 1,
                          .mode = PROTO_MODE_RAW,
                          .messages = &m,
                          .n_messages = 1,
                          .sampling = {.top_p = 1, .repeat_penalty = 1},
                          .max_tokens = n_decode};
    return ask(en, &q, l);
}

static int bench_question(struct engine *en)
{
    struct proto_message m = {.role = PROTO_USER,
                              .text = {.data = BENCH_QUESTION, .len = strlen(BENCH_QUESTION)}};
    struct proto_ask q = {.id = 1,
                          .messages = &m,
                          .n_messages = 1,
                          .sampling = {.top_p = 1, .repeat_penalty = 1},
                          .max_tokens = 16};
    struct listener l = {0};
    if (ask(en, &q, &l) < 0)
        return -1;
    printf("first_token_seconds %.4f\n", seconds(l.asked_at, l.first_at));
    return 0;
}

int direct_bench(const struct direct_options *o)
{
    uint64_t begun = clock_now();
    struct direct_options opt = *o;
    opt.engine.ignore_end = true;
    CLEANUP(engine) struct engine *en = load(&opt);
    if (!en)
        return 1;
    struct proto_ready ready;
    struct listener l = {0};
    engine_ready(en, &ready);
    printf("load_seconds %.3f\nkernels %.*s\nmemory %llu\n", seconds(begun, clock_now()),
           (int)ready.kernels.len, ready.kernels.data, (unsigned long long)ready.memory);
    for (uint32_t i = 0; i < o->repeat; i++) {
        if (run_tokens(en, ready.vocabulary, o->n_prompt, 1, &l) < 0)
            return 1;
        printf("prefill_tokens_per_second %.1f\n", o->n_prompt / l.last.prefill_seconds);
        if (run_tokens(en, ready.vocabulary, 1, o->n_decode + 1, &l) < 0)
            return 1;
        printf("decode_tokens_per_second %.1f\n", o->n_decode / l.last.decode_seconds);
        if (bench_question(en) < 0)
            return 1;
    }
    return 0;
}
