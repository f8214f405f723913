/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/batch.h"
#include "engine/forward.h"
#include "engine/kv.h"
#include "engine/logprobs.h"
#include "engine/prompt.h"
#include "engine/question.h"
#include "engine/sampler.h"

struct engine {
    const struct ops *ops;
    struct ops_backend *be;
    struct weights *weights;
    struct tokenizer *tokenizer;
    struct prompt_template chat;
    struct ops_cache *cache;
    struct ops_cache_shape shape;
    struct kv *kv;
    struct forward *forward;
    struct batch *batch;
    struct sampler *sampler;
    uint32_t context;
    size_t token_bytes; /* of the longest token's text */
    bool ignore_end;
    struct list asked;  /* questions whose prompt was not built yet, in order */
    struct list active; /* those in the batch */
    engine_emit_fn *emit;
    void *ctx;
};

static void emit(struct engine *en, const struct proto_msg *m)
{
    if (en->emit)
        en->emit(en->ctx, m);
}

/* --- loading --- */

static uint64_t memory_of_machine(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* How long a sequence may be, and how many pages the cache gets. */
static int size_cache(struct engine *en, const struct engine_config *c,
                      const struct model_hparams *hp, struct err *e)
{
    uint32_t wanted = c->context ? c->context : hp->context;
    en->shape = (struct ops_cache_shape){.n_layers = hp->n_layers,
                                         .n_kv_heads = hp->n_kv_heads,
                                         .head_dim = hp->head_dim,
                                         .page_size = ENGINE_PAGE_SIZE,
                                         .n_pages = 1};
    uint64_t page = en->ops->cache_page_bytes(&en->shape);
    uint64_t one =
        ((uint64_t)wanted + ENGINE_PAGE_SIZE - 1) / ENGINE_PAGE_SIZE; /* pages of one sequence */
    uint64_t pages = c->kv_bytes / page;
    if (c->kv_bytes == 0)
        pages = MIN(one + one / 2 + 1, memory_of_machine() / 4 / page);
    pages = MIN(pages, UINT32_MAX / ENGINE_PAGE_SIZE);
    if (c->context && pages < one)
        return err_set(e, ENOMEM,
                       "a context of %" PRIu32 " tokens takes %" PRIu64
                       " bytes of cache, and %" PRIu64 " are allowed",
                       wanted, one * page, pages * page);
    if (pages < 1)
        return err_set(e, ENOMEM,
                       "the cache takes at least %" PRIu64 " bytes, and fewer are allowed", page);
    en->context = (uint32_t)MIN(wanted, pages * ENGINE_PAGE_SIZE);
    en->shape.n_pages = (uint32_t)pages;
    return 0;
}

static void copy_page(void *ctx, uint32_t from, uint32_t to)
{
    struct engine *en = ctx;
    en->ops->cache_copy_page(en->be, en->cache, from, to);
}

static void read_chat_template(struct engine *en, const struct gguf *g)
{
    struct gguf_str text;
    if (gguf_get_str(g, "tokenizer.chat_template", &text))
        en->chat.chat = chat_parse(text.data, text.len, &en->chat.refused);
}

static size_t longest_token(const struct tokenizer *t)
{
    size_t longest = 0;
    for (uint32_t id = 0; id < tokenizer_n_vocab(t); id++) {
        size_t len = 0;
        if (tokenizer_text(t, (int32_t)id, &len))
            longest = MAX(longest, len);
    }
    return longest;
}

static int load_model(struct engine *en, const struct vfile *f, const struct engine_config *config,
                      weights_progress_fn *progress, void *ctx, struct err *e)
{
    CLEANUP(gguf) struct gguf *g = gguf_read(f, e);
    if (!g)
        return -1;
    CLEANUP(model) struct model *m = model_read(g, e);
    if (!m)
        return -1;
    en->tokenizer = tokenizer_new(g, e);
    if (!en->tokenizer)
        return -1;
    if (tokenizer_n_vocab(en->tokenizer) != m->hp.n_vocab)
        return err_set(e, EBADMSG, "the tokenizer has %u tokens, and the model %u",
                       tokenizer_n_vocab(en->tokenizer), m->hp.n_vocab);
    en->token_bytes = longest_token(en->tokenizer);
    read_chat_template(en, g);
    if (size_cache(en, config, &m->hp, e) < 0)
        return -1;
    en->weights = weights_load(en->ops, en->be, m, f, progress, ctx, e);
    return en->weights ? 0 : -1;
}

static void on_admitted(void *ctx, struct batch_seq *s);
static int32_t on_logits(void *ctx, struct batch_seq *s, const float *logits);
static void on_ended(void *ctx, struct batch_seq *s);

struct engine *engine_load(const struct vfile *f, const struct engine_config *config,
                           weights_progress_fn *progress, void *ctx, struct err *e)
{
    CLEANUP(engine) struct engine *en = xcalloc(1, sizeof(*en));
    struct ops_config oc = {.threads = config->threads, .kernels = config->kernels};
    list_init(&en->asked);
    list_init(&en->active);
    en->ops = &ops_cpu;
    en->ignore_end = config->ignore_end;
    if (!(en->be = en->ops->open(&oc, e)) || load_model(en, f, config, progress, ctx, e) < 0 ||
        !(en->cache = en->ops->cache_new(en->be, &en->shape, e)) ||
        !(en->kv = kv_new(en->shape.n_pages, ENGINE_PAGE_SIZE, copy_page, en, e)) ||
        !(en->forward = forward_new(en->weights, en->cache, BATCH_ROWS, e)) ||
        !(en->sampler = sampler_new(en->weights->hp.n_vocab, e)))
        return NULL;
    struct batch_hooks hooks = {
        .ctx = en, .admitted = on_admitted, .next = on_logits, .ended = on_ended};
    en->batch = batch_new(en->forward, en->kv, &hooks);
    return steal_ptr(&en);
}

static void free_questions(struct list *head)
{
    struct question *q;
    list_for_each(q, head, link)
    {
        list_del(&q->link);
        question_free(q);
    }
}

void engine_free(struct engine *en)
{
    cleanup_batch(&en->batch); /* lets go of the sequences that the questions hold */
    free_questions(&en->asked);
    free_questions(&en->active);
    cleanup_sampler(&en->sampler);
    cleanup_forward(&en->forward);
    cleanup_kv(&en->kv);
    if (en->cache)
        en->ops->cache_free(en->be, en->cache);
    cleanup_weights(&en->weights);
    cleanup_chat(&en->chat.chat);
    cleanup_tokenizer(&en->tokenizer);
    if (en->be)
        en->ops->close(en->be);
    free(en);
}

void engine_listen(struct engine *en, engine_emit_fn *emit_fn, void (*tick)(void *ctx), void *ctx)
{
    en->emit = emit_fn;
    en->ctx = ctx;
    en->forward->tick = tick;
    en->forward->tick_ctx = ctx;
}

void engine_ready(const struct engine *en, struct proto_ready *out)
{
    const struct model_hparams *hp = &en->weights->hp;
    uint64_t kv_bytes = (uint64_t)en->shape.n_pages * en->ops->cache_page_bytes(&en->shape);
    const char *kernels = en->ops->kernels(en->be);
    *out = (struct proto_ready){
        .context = en->context,
        .vocabulary = hp->n_vocab,
        .memory = en->weights->bytes + forward_bytes(hp, BATCH_ROWS) + kv_bytes,
        .kv_bytes = kv_bytes,
        .backend = {.data = en->ops->backend, .len = strlen(en->ops->backend)},
        .kernels = {.data = kernels, .len = strlen(kernels)}};
}

/* --- the end of a question --- */

static double seconds(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / (double)CLOCK_NS_PER_SEC : 0;
}

static void emit_piece(struct engine *en, struct question *q)
{
    struct answer *a = &q->answer;
    if (a->text.len == 0 && a->ids.n == 0)
        return;
    struct proto_msg m = {
        .type = PROTO_PIECE,
        .u.piece = {.id = q->ask.id,
                    .text = {.data = a->text.data, .len = a->text.len},
                    .ids = {.ids = a->ids.ids, .n = a->ids.n},
                    .logprobs = {.data = a->logprobs.data, .len = a->logprobs.len}}};
    emit(en, &m);
    answer_clear(a);
}

/* The last word on a question that is out of the batch. */
static void finish(struct engine *en, struct question *q)
{
    if (q->finish != PROTO_FINISH_STOP_TEXT && q->answer.tokenizer)
        answer_end(&q->answer);
    emit_piece(en, q);
    bool failed = q->finish == PROTO_FINISH_ERROR;
    struct proto_msg m = {
        .type = PROTO_DONE,
        .u.done = {.id = q->ask.id,
                   .finish = q->finish,
                   .code = failed ? q->error.code : 0,
                   .text = {.data = q->error.text, .len = failed ? strlen(q->error.text) : 0},
                   .completion_tokens = q->made,
                   .prefill_seconds = q->first_at ? seconds(q->admitted_at, q->first_at) : 0,
                   .decode_seconds = q->first_at ? seconds(q->first_at, q->last_at) : 0}};
    emit(en, &m);
    list_del(&q->link);
    question_free(q);
}

static void give_up(struct engine *en, struct question *q, enum proto_finish why)
{
    if (q->prepared)
        batch_remove(en->batch, &q->seq);
    q->finish = why;
    finish(en, q);
}

/* --- the beginning of a question --- */

static void emit_started(struct engine *en, struct question *q)
{
    const struct tokens *t = &q->seq.tokens;
    struct proto_msg m = {
        .type = PROTO_STARTED,
        .u.started = {.id = q->ask.id,
                      .prompt_tokens = (uint32_t)t->n,
                      .cached_tokens = q->seq.cached,
                      .prompt = {.ids = t->ids, .n = t->n},
                      .rendered = {.data = q->rendered.data, .len = q->rendered.len}}};
    emit(en, &m);
    buf_free(&q->rendered);
    q->admitted_at = clock_now();
}

/* The parameter context can only make it shorter. */
static uint32_t context_of(const struct engine *en, const struct question *q)
{
    return q->ask.context > 0 ? MIN(q->ask.context, en->context) : en->context;
}

static int build(struct engine *en, struct question *q, struct err *e)
{
    CLEANUP_PROMPT struct prompt p = {0};
    if (question_check(q, e) < 0 ||
        answer_init(&q->answer, en->tokenizer, q->ask.stops, q->ask.n_stops, e) < 0 ||
        prompt_build(&p, en->tokenizer, &en->chat, &q->ask,
                     (size_t)context_of(en, q) * en->token_bytes, e) < 0)
        return -1;
    if (p.tokens.n >= context_of(en, q))
        return err_set(e, EFBIG,
                       "the prompt has %zu tokens, and the context of %" PRIu32
                       " must hold it and at least one token of the answer",
                       p.tokens.n, context_of(en, q));
    if (p.dropped > 0)
        log_warning("question %" PRIu64
                    ": the model has no token for %zu bytes of the prompt, which are left out",
                    q->ask.id, p.dropped);
    q->seq.tokens = p.tokens;
    q->rendered = p.rendered;
    p.tokens = (struct tokens){0};
    p.rendered = (struct buf){0};
    question_forget_text(q);
    return 0;
}

static void prepare(struct engine *en, struct question *q)
{
    if (build(en, q, &q->error) < 0) {
        give_up(en, q, PROTO_FINISH_ERROR);
        return;
    }
    list_del(&q->link);
    list_add(&en->active, &q->link);
    if (q->ask.max_tokens == 0) {
        emit_started(en, q);
        give_up(en, q, PROTO_FINISH_LENGTH);
        return;
    }
    q->prepared = true;
    batch_add(en->batch, &q->seq);
}

void engine_ask(struct engine *en, const struct proto_ask *ask)
{
    struct err e = {0};
    struct question *q = question_new(ask, &e);
    if (q) {
        list_add(&en->asked, &q->link);
        return;
    }
    struct proto_msg m = {.type = PROTO_DONE,
                          .u.done = {.id = ask->id,
                                     .finish = PROTO_FINISH_ERROR,
                                     .code = e.code,
                                     .text = {.data = e.text, .len = strlen(e.text)}}};
    emit(en, &m);
}

/* --- what the batch tells --- */

static struct question *question_of(struct batch_seq *s)
{
    return list_entry(s, struct question, seq);
}

static void on_admitted(void *ctx, struct batch_seq *s)
{
    emit_started(ctx, question_of(s));
}

/* Has the answer reached a limit with the token that was made now (and is not yet among
 * seq.tokens)? */
static bool is_full(const struct engine *en, const struct question *q)
{
    return (q->ask.max_tokens >= 0 && q->made >= (uint64_t)q->ask.max_tokens) ||
           q->seq.tokens.n + 1 >= context_of(en, q);
}

static int32_t end_with(struct question *q, enum proto_finish why)
{
    q->finish = why;
    return BATCH_END;
}

static int32_t on_logits(void *ctx, struct batch_seq *s, const float *logits)
{
    struct engine *en = ctx;
    struct question *q = question_of(s);
    uint32_t n_vocab = en->weights->hp.n_vocab;
    if (sampler_check_logits(logits, n_vocab, &q->error) < 0)
        return end_with(q, PROTO_FINISH_ERROR);

    int32_t id = sampler_pick(en->sampler, &q->ask.sampling, logits, s->tokens.ids, s->tokens.n);
    q->last_at = clock_now();
    if (q->first_at == 0)
        q->first_at = q->last_at;
    if (!en->ignore_end && tokenizer_is_end(en->tokenizer, id))
        return end_with(q, PROTO_FINISH_STOP);
    char *line = NULL;
    if (q->ask.logprobs > 0)
        line = logprobs_line(en->tokenizer, logits, n_vocab, id, q->ask.logprobs);
    q->made++;
    if (answer_push(&q->answer, id, line))
        return end_with(q, PROTO_FINISH_STOP_TEXT);
    if (is_full(en, q))
        return end_with(q, PROTO_FINISH_LENGTH);
    emit_piece(en, q);
    return id;
}

static void on_ended(void *ctx, struct batch_seq *s)
{
    finish(ctx, question_of(s));
}

/* --- steps --- */

static bool cancel_in(struct engine *en, struct list *head, uint64_t id)
{
    struct question *q;
    list_for_each(q, head, link)
    {
        if (q->ask.id == id) {
            give_up(en, q, PROTO_FINISH_CANCELLED);
            return true;
        }
    }
    return false;
}

void engine_cancel(struct engine *en, uint64_t id)
{
    if (!cancel_in(en, &en->active, id))
        cancel_in(en, &en->asked, id);
}

static void end_overdue(struct engine *en, struct list *head, uint64_t now)
{
    struct question *q;
    list_for_each(q, head, link) if (q->deadline != 0 && now >= q->deadline)
        give_up(en, q, PROTO_FINISH_TIME);
}

bool engine_idle(const struct engine *en)
{
    return list_empty(&en->asked) && list_empty(&en->active);
}

void engine_step(struct engine *en)
{
    uint64_t now = clock_now();
    end_overdue(en, &en->active, now);
    end_overdue(en, &en->asked, now);
    while (!list_empty(&en->asked) && batch_wants_more(en->batch))
        prepare(en, list_entry(en->asked.next, struct question, link));
    batch_step(en->batch);
}
