/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/question.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "engine/sampler.h"

#define TIME_LIMIT_MAX 1e9 /* seconds: 30 years */

/* One block of memory for all that an ask points to: arrays first, then ids, then bytes, so that
 * each is aligned. */
struct layout {
    size_t ids;
    size_t bytes;
};

static struct layout measure(const struct proto_ask *ask)
{
    struct layout l = {0, ask->chat_template.len};
    for (size_t i = 0; i < ask->n_messages; i++) {
        l.ids += ask->messages[i].ids.n;
        l.bytes += ask->messages[i].text.len;
    }
    for (size_t i = 0; i < ask->n_stops; i++)
        l.bytes += ask->stops[i].len;
    return l;
}

static struct proto_str copy_str(char **to, struct proto_str s)
{
    struct proto_str copy = {.data = *to, .len = s.len};
    if (s.len > 0)
        memcpy(*to, s.data, s.len);
    *to += s.len;
    return copy;
}

static struct proto_ids copy_ids(int32_t **to, struct proto_ids ids)
{
    struct proto_ids copy = {.ids = *to, .n = ids.n};
    if (ids.n > 0)
        memcpy(*to, ids.ids, ids.n * sizeof(*ids.ids));
    *to += ids.n;
    return copy;
}

/* The sums cannot overflow: all of it came in one frame. */
static int copy_ask(struct question *q, const struct proto_ask *ask, struct err *e)
{
    struct layout l = measure(ask);
    size_t messages_size = ask->n_messages * sizeof(struct proto_message);
    size_t stops_size = ask->n_stops * sizeof(struct proto_str);
    size_t ids_size = l.ids * sizeof(int32_t);
    q->memory = mem_array(messages_size + stops_size + ids_size + l.bytes + 1, 1, "a question", e);
    if (!q->memory)
        return -1;
    struct proto_message *messages = q->memory;
    struct proto_str *stops = (struct proto_str *)(messages + ask->n_messages);
    int32_t *ids = (int32_t *)(stops + ask->n_stops);
    char *bytes = (char *)(ids + l.ids);
    q->ask = *ask;
    for (size_t i = 0; i < ask->n_messages; i++)
        messages[i] = (struct proto_message){.role = ask->messages[i].role,
                                             .text = copy_str(&bytes, ask->messages[i].text),
                                             .ids = copy_ids(&ids, ask->messages[i].ids)};
    for (size_t i = 0; i < ask->n_stops; i++)
        stops[i] = copy_str(&bytes, ask->stops[i]);
    q->ask.messages = messages;
    q->ask.stops = stops;
    q->ask.chat_template = copy_str(&bytes, ask->chat_template);
    return 0;
}

struct question *question_new(const struct proto_ask *ask, struct err *e)
{
    struct question *q = xcalloc(1, sizeof(*q));
    list_init(&q->link);
    list_init(&q->seq.link);
    q->arrived = clock_now();
    if (copy_ask(q, ask, e) < 0) {
        question_free(q);
        return NULL;
    }
    if (ask->time_limit > 0 && ask->time_limit <= TIME_LIMIT_MAX)
        q->deadline = q->arrived + (uint64_t)(ask->time_limit * (double)CLOCK_NS_PER_SEC);
    q->seq.owner = ask->owner;
    return q;
}

void question_free(struct question *q)
{
    answer_free(&q->answer);
    tokens_free(&q->seq.tokens);
    buf_free(&q->rendered);
    free(q->memory);
    free(q);
}

int question_check(const struct question *q, struct err *e)
{
    const struct proto_ask *a = &q->ask;
    if (a->max_tokens < -1)
        return err_set(e, EINVAL, "max_tokens is %lld, which is below -1",
                       (long long)a->max_tokens);
    if (!(a->time_limit >= 0 && a->time_limit <= TIME_LIMIT_MAX))
        return err_set(e, EINVAL, "time_limit is %g seconds, which is not between 0 and %g",
                       a->time_limit, TIME_LIMIT_MAX);
    return sampler_check(&a->sampling, e);
}

void question_forget_text(struct question *q)
{
    free(q->memory);
    q->memory = NULL;
    q->ask.messages = NULL;
    q->ask.stops = NULL;
    q->ask.n_messages = q->ask.n_stops = 0;
    q->ask.chat_template = (struct proto_str){0};
}
