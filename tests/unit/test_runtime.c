/* SPDX-License-Identifier: Apache-2.0 */
/* runtime: conversations, cancelling, errors and engines that misbehave, against echo_engine and a store on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/runtime.h"
#include "tests/lib/fake_supervisor.h"

#define ANN     1000
#define BOB     1001
#define LONG_MS 20000

struct world {
    char dir[40];
    struct store *store;
    struct rt *rt;
    pid_t supervisor;
    store_ino version;
};

/* --- a world for each test --- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static store_ino make_dir(struct world *w, store_ino parent, const char *name)
{
    const struct store_cred me = {getuid(), getgid(), 022};
    struct store_attr a;
    struct err e;
    if (store_make(w->store, parent, name, S_IFDIR | 0755, 0, 0, &me, &a, &e) < 0)
        fail_msg("%s: %s", name, e.text);
    return a.ino;
}

static void put(struct world *w, store_ino dir, const char *name, const char *text)
{
    const struct store_cred me = {getuid(), getgid(), 022};
    struct store_attr a;
    struct err e;
    if (store_lookup(w->store, dir, name, &a, &e) < 0 &&
        store_make(w->store, dir, name, S_IFREG | 0644, 0, 0, &me, &a, &e) < 0)
        fail_msg("%s: %s", name, e.text);
    if (store_content_write(w->store, a.ino, text, strlen(text), &e) < 0)
        fail_msg("%s: %s", name, e.text);
}

static void deploy(struct world *w, const char *text)
{
    put(w, w->version, RT_WEIGHTS, text);
    rt_weights_changed(w->rt, w->version);
}

static void set_param(struct world *w, const char *name, const char *value)
{
    struct store_attr a;
    if (store_lookup(w->store, w->version, RT_PARAMS, &a, NULL) < 0)
        a.ino = make_dir(w, w->version, RT_PARAMS);
    put(w, a.ino, name, value);
}

static struct world *open_world(const struct rt_config *with)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct rt_config config = *with;
    struct err e;
    w->supervisor = fake_supervisor_start(&config.supervisor);
    /* In memory where that is to be had: it is not the disk that is tested. */
    snprintf(w->dir, sizeof(w->dir), "%s/test_runtime.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->store = store_open(w->dir, &e);
    if (!w->store)
        fail_msg("%s", e.text);
    config.store = w->store;
    w->rt = rt_new(&config, &e);
    if (!w->rt)
        fail_msg("%s", e.text);
    w->version = make_dir(w, STORE_ROOT, "m@1");
    return w;
}

static void close_world(struct world *w)
{
    rt_free(w->rt);
    store_close(w->store);
    int left = fake_supervisor_stop(w->supervisor);
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    assert_int_equal(left, 0); /* every engine ended when its socket was closed */
}

static struct world *open_ready(void)
{
    struct world *w = open_world(&(struct rt_config){.hang_seconds = 3, .load_seconds = 3});
    deploy(w, "weights one");
    return w;
}

/* --- asking and waiting --- */

struct waiter {
    struct rt_wait wait;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken;
};

static void wake(struct rt_wait *wait)
{
    struct waiter *x = (struct waiter *)wait;
    pthread_mutex_lock(&x->lock);
    x->woken = true;
    pthread_cond_signal(&x->cond);
    pthread_mutex_unlock(&x->lock);
}

/* True if the answer had more than `beyond` bytes, or was done, within ms. */
static bool wait_beyond(struct rt_answer *a, uint64_t beyond, unsigned ms)
{
    struct waiter x = {.wait.wake = wake};
    struct timespec until = clock_wall();
    pthread_mutex_init(&x.lock, NULL);
    pthread_cond_init(&x.cond, NULL);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    bool now = rt_wait(a, &x.wait, beyond);
    if (!now) {
        pthread_mutex_lock(&x.lock);
        while (!x.woken && pthread_cond_timedwait(&x.cond, &x.lock, &until) == 0)
            ;
        now = x.woken;
        pthread_mutex_unlock(&x.lock);
        if (!now && !rt_unwait(&x.wait)) {
            pthread_mutex_lock(&x.lock);
            while (!x.woken)
                pthread_cond_wait(&x.cond, &x.lock);
            pthread_mutex_unlock(&x.lock);
            now = true;
        }
    }
    pthread_cond_destroy(&x.cond);
    pthread_mutex_destroy(&x.lock);
    return now;
}

static bool wait_done(struct rt_answer *a, unsigned ms)
{
    return wait_beyond(a, RT_WHOLE, ms);
}

static void ask(struct rt_conv *c, bool append, const char *text)
{
    struct err e;
    if (rt_conv_ask(c, append, text, strlen(text), &e) < 0)
        fail_msg("%s: %s", text, e.text);
}

static struct rt_answer *asked(struct rt_conv *c, bool append, const char *text)
{
    ask(c, append, text);
    return rt_conv_answer(c);
}

static char *text_of(struct rt_answer *a)
{
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    char *text = xcalloc(1, info.size + 1);
    assert_int_equal(rt_answer_read(a, 0, text, info.size, false), info.size);
    return text;
}

static void assert_text(struct rt_answer *a, const char *want)
{
    struct rt_answer_info info;
    struct err e;
    assert_true(wait_done(a, LONG_MS));
    rt_answer_info(a, &info);
    rt_answer_error(a, &e);
    if (info.code != 0)
        fail_msg("it failed: %s", e.text);
    CLEANUP_FREE char *text = text_of(a);
    assert_string_equal(text, want);
}

/* Asks and compares the whole answer. */
static void assert_says(struct rt_conv *c, bool append, const char *text, const char *want)
{
    struct rt_answer *a = asked(c, append, text);
    assert_text(a, want);
    rt_answer_put(a);
}

static void assert_failed(struct rt_answer *a, int code, const char *part)
{
    struct rt_answer_info info;
    struct err e;
    assert_true(wait_done(a, LONG_MS));
    rt_answer_info(a, &info);
    rt_answer_error(a, &e);
    if (info.code != code || !strstr(e.text, part))
        fail_msg("code %d, not %d: %s", info.code, code, e.text);
}

static void assert_fails(struct world *w, struct rt_conv *c, const char *text, int code,
                         const char *part)
{
    struct rt_answer *a = asked(c, false, text);
    assert_failed(a, code, part);
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    CLEANUP_BUF struct buf b = {0};
    rt_error_text(w->rt, info.uid, w->version, &b);
    assert_non_null(strstr(buf_str(&b), part));
    assert_true(b.data[b.len - 1] == '\n');
    rt_answer_put(a);
}

static bool is_done(struct rt_answer *a)
{
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    return info.done;
}

static void nap(unsigned ms)
{
    poll(NULL, 0, (int)ms);
}

static void usage_has(struct rt_conv *c, const char *line)
{
    CLEANUP_BUF struct buf b = {0};
    rt_conv_usage(c, &b);
    if (!strstr(buf_str(&b), line))
        fail_msg("no '%s' in:\n%s", line, buf_str(&b));
}

static bool status_has(struct world *w, const char *line)
{
    CLEANUP_BUF struct buf b = {0};
    rt_version_status(w->rt, w->version, &b);
    return strstr(buf_str(&b), line) != NULL;
}

static void wait_status(struct world *w, const char *line)
{
    for (int i = 0; i < 400 && !status_has(w, line); i++)
        nap(25);
    if (!status_has(w, line)) {
        CLEANUP_BUF struct buf b = {0};
        rt_version_status(w->rt, w->version, &b);
        fail_msg("no '%s' in:\n%s", line, buf_str(&b));
    }
}

static pid_t engine_pid(struct world *w)
{
    CLEANUP_BUF struct buf b = {0};
    rt_version_status(w->rt, w->version, &b);
    const char *line = strstr(buf_str(&b), "\nengine ");
    return line ? (pid_t)strtol(line + 8, NULL, 10) : 0;
}

/* --- conversations --- */

static void test_empty(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_answer *a = rt_conv_answer(c);
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    assert_true(info.done && info.code == 0 && info.size == 0 && info.number > 0);
    assert_true(wait_done(a, 0));
    rt_answer_put(a);
    assert_false(rt_conv_commit(c));
    CLEANUP_BUF struct buf b = {0};
    rt_conv_usage(c, &b);
    rt_error_text(w->rt, ANN, w->version, &b);
    assert_int_equal(b.len, 0);
    rt_conv_put(c);
    close_world(w);
}

static void test_turns(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_says(c, false, "Tōkyō?\n", "Tōkyō?\n");
    usage_has(c, "finish stop\n");
    usage_has(c, "completion_tokens 1\n");
    usage_has(c, "seed ");
    assert_says(c, true, "history", "user: Tōkyō?\nassistant: Tōkyō?\nuser: history\n");
    rt_conv_put(c);
    close_world(w);
}

/* The same, but the ids of earlier answers are looked at, and a new prompt forgets all. */
static void test_ids_and_new(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_says(c, false, "one", "one\n");
    struct rt_answer *a = asked(c, true, "params");
    assert_true(wait_done(a, LONG_MS));
    CLEANUP_FREE char *text = text_of(a);
    assert_non_null(strstr(text, "ids_of_message_1 1\n"));
    assert_non_null(strstr(text, "owner 1001\n"));
    rt_answer_put(a);
    assert_says(c, false, "history", "user: history\n");
    /* What the model said ends without a newline; one that it said itself stays. */
    assert_says(c, false, "bytes 11", "0123456789\n");
    assert_says(c, true, "history", "user: bytes 11\nassistant: 0123456789\n\nuser: history\n");
    CLEANUP_BUF struct buf b = {0};
    rt_conv_rendered(c, &b);
    assert_string_equal(buf_str(&b), "user: bytes 11\nassistant: 0123456789\n\nuser: history\n");
    rt_conv_put(c);
    close_world(w);
}

static void test_next_turn_waits(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_answer *first = asked(c, false, "sleep 300ms say slow");
    struct rt_answer *second = asked(c, true, "say second");
    struct rt_answer *third = asked(c, true, "history");
    assert_false(is_done(first));
    assert_text(third, "user: sleep 300ms say slow\nassistant: slow\nuser: say second\n"
                       "assistant: second\nuser: history\n");
    assert_true(is_done(first) && is_done(second));
    rt_answer_put(first);
    rt_answer_put(second);
    rt_answer_put(third);
    rt_conv_put(c);
    close_world(w);
}

static void test_users_are_apart(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *ann = rt_conv_get(w->rt, ANN, w->version);
    struct rt_conv *bob = rt_conv_get(w->rt, BOB, w->version);
    struct rt_conv *own = rt_conv_private(w->rt, ANN, w->version);
    assert_says(ann, false, "ann's", "ann's\n");
    assert_says(bob, true, "history", "user: history\n");
    assert_says(own, true, "history", "user: history\n");
    assert_says(ann, true, "history", "user: ann's\nassistant: ann's\nuser: history\n");
    struct rt_conv *again = rt_conv_get(w->rt, ANN, w->version);
    assert_ptr_equal(ann, again);
    rt_conv_put(again);
    rt_conv_put(own);
    rt_conv_put(ann);
    rt_conv_put(bob);
    close_world(w);
}

static void test_replace(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct err e;
    assert_says(c, false, "what?", "what?\n");
    assert_int_equal(rt_conv_replace(c, "my words", 8, &e), 0);
    struct rt_answer *a = rt_conv_answer(c);
    assert_text(a, "my words\n");
    rt_answer_put(a);
    assert_says(c, true, "history", "user: what?\nassistant: my words\nuser: history\n");
    assert_int_equal(rt_conv_replace(c, "\xc3", 1, &e), -1);
    assert_int_equal(e.code, EINVAL);
    a = asked(c, false, "never");
    assert_int_equal(rt_conv_replace(c, "x\n", 2, &e), 0);
    assert_failed(a, ECANCELED, "cancelled");
    rt_answer_put(a);
    rt_conv_put(c);
    close_world(w);
}

/* --- drafts --- */

static void write_draft(struct rt_draft *d, const char *text, uint64_t off)
{
    struct err e;
    if (rt_draft_write(d, text, strlen(text), off, &e) < 0)
        fail_msg("%s", e.text);
}

static void test_drafts(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct err e;
    struct rt_draft *d = rt_draft_open(c, false);
    rt_draft_flush(d); /* bash's, before it writes */
    assert_false(rt_conv_commit(c));
    write_draft(d, "one ", 0);
    assert_false(rt_conv_commit(c)); /* written, not flushed */
    rt_draft_flush(d);
    write_draft(d, "two\n", 4); /* disarms */
    assert_false(rt_conv_commit(c));
    rt_draft_flush(d);
    assert_true(rt_conv_commit(c));
    struct rt_answer *a = rt_conv_answer(c);
    assert_text(a, "one two\n");
    rt_answer_put(a);
    /* The last close has nothing left to ask. */
    assert_int_equal(rt_draft_close(d, false, &e), 0);
    struct rt_answer *b = rt_conv_answer(c);
    assert_ptr_equal(a, b);
    rt_answer_put(b);
    /* Offsets, holes, truncation. */
    d = rt_draft_open(c, false);
    write_draft(d, "hello world", 0);
    write_draft(d, "HELLO", 0);
    assert_int_equal(rt_draft_write(d, "x", 1, 12, &e), -1);
    assert_int_equal(e.code, EINVAL);
    assert_int_equal(rt_draft_truncate(d, 12, &e), -1);
    assert_int_equal(rt_draft_truncate(d, 7, &e), 0);
    write_draft(d, "W", 6);
    assert_int_equal(rt_draft_ask(d, &e), 0);
    a = rt_conv_answer(c);
    assert_text(a, "HELLO W\n");
    rt_answer_put(a);
    write_draft(d, "history", 7); /* afterwards: the next turn */
    assert_int_equal(rt_draft_close(d, false, &e), 0);
    a = rt_conv_answer(c);
    assert_text(a, "user: HELLO W\nassistant: HELLO W\nuser: history\n");
    rt_answer_put(a);
    rt_conv_put(c);
    close_world(w);
}

static void test_draft_append(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){.prompt_max = 100});
    deploy(w, "x");
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct err e;
    char big[101] = {0};
    struct rt_draft *d = rt_draft_open(c, true);
    write_draft(d, "a", 0);
    write_draft(d, "b", 0); /* the kernel's offsets of append writes say nothing */
    write_draft(d, "c", 77);
    assert_int_equal(rt_draft_close(d, false, &e), 0);
    struct rt_answer *a = rt_conv_answer(c);
    assert_text(a, "abc\n");
    rt_answer_put(a);
    d = rt_draft_open(c, true);
    assert_int_equal(rt_draft_write(d, big, 101, 0, &e), -1);
    assert_int_equal(e.code, EFBIG);
    write_draft(d, "dropped", 0);
    assert_int_equal(rt_draft_close(d, true, &e), 0);
    d = rt_draft_open(c, true);
    assert_int_equal(rt_draft_close(d, false, &e), 0); /* touch asks nothing */
    struct rt_answer *b = rt_conv_answer(c);
    assert_ptr_equal(a, b);
    rt_answer_put(b);
    /* Two armed ones are asked in the order in which they were armed. */
    struct rt_draft *first = rt_draft_open(c, false);
    struct rt_draft *second = rt_draft_open(c, true);
    write_draft(second, "history", 0);
    write_draft(first, "first", 0);
    rt_draft_flush(first);
    rt_draft_flush(second);
    assert_true(rt_conv_commit(c));
    a = rt_conv_answer(c);
    assert_text(a, "user: first\nassistant: first\nuser: history\n");
    rt_answer_put(a);
    assert_int_equal(rt_draft_close(first, false, &e), 0);
    assert_int_equal(rt_draft_close(second, false, &e), 0);
    rt_conv_put(c);
    close_world(w);
}

/* --- cancelling --- */

static void test_never_attended(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_says(c, false, "sleep 1300ms tokens 3", "t0 t1 t2 \n");
    rt_conv_put(c);
    close_world(w);
}

static void test_leave(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_answer *a = asked(c, false, "never");
    rt_attend(a);
    rt_leave(a, false);
    assert_false(wait_done(a, 500));
    rt_attend(a); /* a program that opens again */
    assert_false(wait_done(a, 1000));
    rt_attend(a);
    rt_leave(a, true); /* one of two dies */
    assert_false(wait_done(a, 200));
    uint64_t left = clock_now();
    rt_leave(a, false);
    assert_failed(a, ECANCELED, "cancelled");
    uint64_t took = (clock_now() - left) / CLOCK_NS_PER_MS;
    assert_in_range(took, 990, 3000);
    usage_has(c, "finish cancelled\n");
    rt_answer_put(a);
    rt_conv_put(c);
    close_world(w);
}

static void test_dying(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_says(c, false, "warm", "warm\n");
    struct rt_answer *a = asked(c, false, "tokens 100000 every 5ms");
    rt_attend(a);
    assert_true(wait_beyond(a, 20, LONG_MS));
    uint64_t left = clock_now();
    rt_leave(a, true);
    assert_true(wait_done(a, LONG_MS));
    assert_in_range((clock_now() - left) / CLOCK_NS_PER_MS, 0, 500);
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    assert_int_equal(info.code, 0); /* what was made stays readable */
    CLEANUP_FREE char *text = text_of(a);
    assert_memory_equal(text, "t0 t1 t2 ", 9);
    assert_true(text[info.size - 1] == '\n');
    rt_answer_put(a);
    /* and is a part of the conversation */
    a = asked(c, true, "history");
    assert_true(wait_done(a, LONG_MS));
    CLEANUP_FREE char *history = text_of(a);
    assert_non_null(strstr(history, "assistant: t0 t1 t2"));
    rt_answer_put(a);
    rt_conv_put(c);
    close_world(w);
}

static void test_new_prompt_and_old_answer(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_answer *unread = asked(c, false, "never");
    struct rt_answer *turn = asked(c, true, "waits for it");
    struct rt_answer *read = asked(c, false, "tokens 20 every 50ms");
    assert_failed(unread, ECANCELED, "cancelled");
    assert_failed(turn, ECANCELED, "cancelled");
    rt_attend(read);
    assert_says(c, false, "new", "new\n");
    assert_false(is_done(read));
    assert_true(wait_done(read, LONG_MS));
    struct rt_answer_info info;
    rt_answer_info(read, &info);
    assert_int_equal(info.code, 0);
    assert_int_equal(info.size, 10 * 3 + 10 * 4 + 1);
    rt_leave(read, true); /* harmless: it is done */
    rt_answer_put(unread);
    rt_answer_put(turn);
    rt_answer_put(read);
    rt_conv_put(c);
    close_world(w);
}

/* In every state: before there is an engine, while it loads, in its queue, behind a parent. */
static void test_cancel_everywhere(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){0});
    deploy(w, "slow 1000ms");
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_conv *d = rt_conv_get(w->rt, BOB, w->version);
    struct rt_answer *a = asked(c, false, "x");
    rt_cancel(a);
    assert_failed(a, ECANCELED, "before the first token");
    rt_answer_put(a);
    a = asked(c, false, "say waits");
    struct rt_answer *b = asked(c, true, "behind");
    nap(300); /* it loads now */
    rt_cancel(b);
    assert_failed(b, ECANCELED, "cancelled");
    assert_false(is_done(a));
    struct rt_answer *other = asked(d, false, "say other");
    rt_cancel(a);
    assert_failed(a, ECANCELED, "cancelled");
    rt_cancel(a);
    assert_text(other, "other\n");
    rt_answer_put(a);
    rt_answer_put(b);
    rt_answer_put(other);
    /* What was cancelled without a word is not in the conversation. */
    assert_says(c, true, "history", "user: history\n");
    rt_conv_put(c);
    rt_conv_put(d);
    close_world(w);
}

/* --- refusals --- */

static void test_weights(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){0});
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_true(status_has(w, "state empty\n"));
    assert_fails(w, c, "x", ENOMEDIUM, "there is no model.gguf");
    put(w, w->version, RT_WEIGHTS, "");
    assert_fails(w, c, "x", ENOMEDIUM, "empty");
    deploy(w, "damaged tensor 3 is cut");
    assert_fails(w, c, "x", EBADMSG, "tensor 3 is cut");
    wait_status(w, "state invalid\nreason tensor 3 is cut\n");
    deploy(w, "unsupported architecture mamba");
    assert_fails(w, c, "x", ENOEXEC, "architecture mamba");
    deploy(w, "crash");
    assert_fails(w, c, "x", EBADMSG, "signal 11");
    deploy(w, "good");
    wait_status(w, "state ready\n");
    assert_true(status_has(w, "\nname Echo engine\n")); /* its newline is no line of ours */
    assert_says(c, true, "weights", "good\n");
    wait_status(w, "state resident\n");
    rt_conv_put(c);
    close_world(w);
}

static void test_loading_fails(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){.load_seconds = 1});
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    deploy(w, "failload 12 needs 9 GB");
    assert_fails(w, c, "x", ENOMEM, "needs 9 GB");
    deploy(w, "failload 512 strange code");
    assert_fails(w, c, "x", EIO, "strange code");
    deploy(w, "crashload");
    assert_fails(w, c, "x", EIO, "signal 11");
    deploy(w, "hangload");
    assert_fails(w, c, "x", EIO, "no sign of life for 1 s");
    deploy(w, "fine");
    assert_says(c, false, "y", "y\n");
    rt_conv_put(c);
    close_world(w);
}

static void test_engine_errors(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    assert_fails(w, c, "fail 27 9000 tokens, the context has 4096", EFBIG, "9000 tokens");
    assert_fails(w, c, "crash", EIO, "signal 11");
    assert_says(c, false, "after", "after\n");
    assert_fails(w, c, "exit 3", EIO, "exit status 3");
    assert_fails(w, c, "garbage never", EIO, "broke the protocol");
    assert_fails(w, c, "hang", EIO, "no sign of life for 3 s");
    assert_says(c, false, "after", "after\n");
    /* What was streamed before stays readable, though the whole failed. */
    struct rt_answer *a = asked(c, false, "bytes 3 crash");
    assert_failed(a, EIO, "signal 11");
    char text[8];
    assert_int_equal(rt_answer_read(a, 0, text, sizeof(text), true), 4);
    assert_memory_equal(text, "012\n", 4);
    rt_answer_put(a);
    rt_conv_put(c);
    close_world(w);
}

static void test_limits(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    set_param(w, "time_limit", "0.2\n");
    assert_fails(w, c, "sleep 5000ms", ETIME, "time limit");
    struct rt_answer *a = asked(c, false, "tokens 1000 every 20ms");
    assert_true(wait_done(a, LONG_MS));
    struct rt_answer_info info;
    rt_answer_info(a, &info);
    assert_true(info.code == 0 && info.size > 3);
    usage_has(c, "finish time\n");
    rt_answer_put(a);
    set_param(w, "time_limit", "");
    set_param(w, "max_tokens", "2\n");
    assert_says(c, false, "tokens 9", "t0 t1 \n");
    usage_has(c, "finish length\n");
    rt_conv_put(c);
    close_world(w);
}

static void test_busy(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){.waiting_max = 2});
    deploy(w, "x");
    struct rt_conv *c[3];
    struct rt_answer *a[2];
    struct err e;
    for (int i = 0; i < 3; i++)
        c[i] = rt_conv_private(w->rt, ANN, w->version);
    for (int i = 0; i < 2; i++)
        a[i] = asked(c[i], false, "never");
    assert_int_equal(rt_conv_ask(c[2], false, "x", 1, &e), -1);
    assert_int_equal(e.code, EBUSY);
    struct rt_answer *refused = rt_conv_answer(c[2]);
    assert_failed(refused, EBUSY, "2 of your questions");
    rt_answer_put(refused);
    struct rt_conv *bob = rt_conv_get(w->rt, BOB, w->version);
    assert_says(bob, false, "bob", "bob\n");
    rt_cancel(a[0]);
    assert_failed(a[0], ECANCELED, "cancelled");
    assert_says(c[2], false, "now", "now\n");
    for (int i = 0; i < 2; i++)
        rt_answer_put(a[i]);
    for (int i = 0; i < 3; i++)
        rt_conv_put(c[i]);
    rt_conv_put(bob);
    close_world(w);
}

/* --- what a version is --- */

static void test_version_parts(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    put(w, w->version, RT_SYSTEM, "be brief");
    put(w, w->version, RT_TEMPLATE, "{{ tpl }}");
    set_param(w, "temperature", "0\n");
    set_param(w, "seed", "42\n");
    set_param(w, "stop", "a\\n\nb\n");
    set_param(w, "mode", "raw\n");
    assert_says(c, false, "history", "system: be brief\nuser: history\n");
    struct rt_answer *a = asked(c, false, "params");
    assert_true(wait_done(a, LONG_MS));
    CLEANUP_FREE char *text = text_of(a);
    assert_non_null(strstr(text, "temperature 0\ntop_k 40\n"));
    assert_non_null(strstr(text, "seed 42\n"));
    assert_non_null(strstr(text, "mode 2\n"));
    assert_non_null(strstr(text, "template {{ tpl }}\nstop a\n\nstop b\n"));
    rt_answer_put(a);
    usage_has(c, "seed 42\n");
    CLEANUP_BUF struct buf b = {0};
    rt_version_params(w->rt, w->version, &b);
    assert_non_null(strstr(buf_str(&b), "temperature        0            version"));
    assert_non_null(strstr(buf_str(&b), "top_k              40           default"));
    assert_non_null(strstr(buf_str(&b), "a\\n|b"));
    rt_conv_put(c);
    close_world(w);
}

/* A question is answered by the content that was there when it was asked. */
static void test_content_changes(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_conv *d = rt_conv_get(w->rt, BOB, w->version);
    struct rt_answer *old = asked(c, false, "sleep 700ms weights");
    struct rt_answer *turn = asked(c, true, "weights");
    nap(100);
    pid_t first = engine_pid(w);
    deploy(w, "weights two");
    assert_says(d, false, "weights", "weights two\n");
    assert_false(is_done(old));
    assert_text(old, "weights one\n");
    assert_text(turn, "weights one\n");
    for (int i = 0; i < 1000 && kill(first, 0) == 0; i++)
        nap(10);
    assert_int_equal(kill(first, 0), -1); /* nobody can ask it any more */
    assert_int_not_equal(engine_pid(w), 0);
    rt_answer_put(old);
    rt_answer_put(turn);
    rt_version_removed(w->rt, w->version);
    rt_conv_put(c);
    rt_conv_put(d);
    close_world(w);
}

static void control(struct world *w, const char *value)
{
    struct err e;
    if (rt_control_set(w->rt, w->version, "keep_alive", value, strlen(value), &e) < 0)
        fail_msg("%s", e.text);
}

static void test_keep_alive(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct err e;
    CLEANUP_BUF struct buf b = {0};
    assert_int_equal(rt_control_get(w->rt, w->version, "keep_alive", &b, &e), 0);
    assert_string_equal(buf_str(&b), "300\n");
    assert_int_equal(rt_control_set(w->rt, w->version, "keep_alive", "x", 1, &e), -1);
    assert_int_equal(e.code, EINVAL);
    assert_int_equal(rt_control_set(w->rt, w->version, "other", "1", 1, &e), -1);
    assert_says(c, false, "x", "x\n");
    assert_true(status_has(w, "state resident\n"));
    control(w, "0\n");
    wait_status(w, "state ready\n");
    assert_int_equal(engine_pid(w), 0);
    control(w, "1");
    assert_says(c, false, "y", "y\n");
    nap(500);
    assert_true(status_has(w, "state resident\n"));
    wait_status(w, "state ready\n");
    control(w, "-1");
    assert_says(c, false, "z", "z\n");
    nap(1500);
    assert_true(status_has(w, "state resident\n"));
    rt_conv_put(c);
    close_world(w);
}

static size_t count_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Somebody kills it: idle, nobody notices; in mid-answer, EIO; the next prompt is answered each time. */
static void test_killed(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    for (int i = 0; i < 10; i++) {
        assert_says(c, false, "x", "x\n");
        assert_int_equal(kill(engine_pid(w), SIGKILL), 0);
    }
    size_t before = 0;
    for (int i = 0; i < 10; i++) {
        struct rt_answer *a = asked(c, false, "tokens 1000 every 5ms");
        assert_true(wait_beyond(a, 10, LONG_MS));
        assert_int_equal(kill(engine_pid(w), SIGKILL), 0);
        assert_failed(a, EIO, "signal 9");
        rt_answer_put(a);
        assert_says(c, false, "x", "x\n");
        if (i == 0)
            before = count_fds();
    }
    assert_in_range(count_fds(), before - 2, before + 2); /* an inspector may have come or gone */
    rt_conv_put(c);
    close_world(w);
}

/* --- many --- */

static atomic_int woken;

static void count_wake(struct rt_wait *w)
{
    (void)w;
    atomic_fetch_add(&woken, 1);
}

struct unwaiter {
    struct rt_wait *waits;
    int n;
    int taken_out;
};

static void *unwait_all(void *arg)
{
    struct unwaiter *u = arg;
    for (int i = 0; i < u->n; i++)
        u->taken_out += rt_unwait(&u->waits[i]);
    return NULL;
}

/* 2000 wait; while they are woken two threads take them out: each is called or taken out, once. */
static void test_many_waiters(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct rt_wait waits[N];
    struct world *w = open_ready();
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    for (int round = 0; round < 5; round++) {
        struct rt_answer *a = asked(c, false, "sleep 100ms tokens 50 every 1ms");
        atomic_store(&woken, 0);
        for (int i = 0; i < N; i++) {
            waits[i].wake = count_wake;
            assert_false(rt_wait(a, &waits[i], i % 2 ? RT_WHOLE : 3));
        }
        struct unwaiter half[2] = {{waits, N / 2, 0}, {waits + N / 2, N / 2, 0}};
        pthread_t threads[2];
        assert_true(wait_beyond(a, 3, LONG_MS));
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, unwait_all, &half[i]);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_true(wait_done(a, LONG_MS));
        int out = half[0].taken_out + half[1].taken_out;
        for (int i = 0; i < 400 && atomic_load(&woken) + out < N; i++)
            nap(5);
        nap(20);
        assert_int_equal(atomic_load(&woken) + out, N);
        rt_answer_put(a);
    }
    rt_conv_put(c);
    close_world(w);
}

struct asker {
    struct world *w;
    uid_t uid;
    int wrong;
};

static void *ask_many(void *arg)
{
    struct asker *x = arg;
    struct rt_conv *c = rt_conv_get(x->w->rt, x->uid, x->w->version);
    for (int i = 0; i < 50; i++) {
        char text[64];
        char want[64];
        snprintf(text, sizeof(text), "question %d of %u", i, x->uid);
        snprintf(want, sizeof(want), "question %d of %u\n", i, x->uid);
        struct rt_draft *d = rt_draft_open(c, i % 2);
        rt_draft_write(d, text, strlen(text), 0, NULL);
        rt_draft_flush(d);
        if (i % 3)
            rt_conv_commit(c);
        rt_draft_close(d, false, NULL);
        struct rt_answer *a = rt_conv_answer(c);
        rt_attend(a);
        if (!wait_done(a, LONG_MS))
            x->wrong++;
        CLEANUP_FREE char *got = text_of(a);
        x->wrong += strcmp(got, want) != 0;
        rt_leave(a, false);
        rt_answer_put(a);
    }
    rt_conv_put(c);
    return NULL;
}

static void test_many_users(void **state)
{
    (void)state;
    struct world *w = open_ready();
    struct asker askers[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        askers[i] = (struct asker){w, (uid_t)(2000 + i), 0};
        pthread_create(&threads[i], NULL, ask_many, &askers[i]);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++)
        assert_int_equal(askers[i].wrong, 0);
    close_world(w);
}

static void test_forgetting(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){.conv_max = 2});
    deploy(w, "x");
    for (uid_t uid = 1; uid <= 4; uid++) {
        struct rt_conv *c = rt_conv_get(w->rt, uid, w->version);
        assert_says(c, false, "kept", "kept\n");
        rt_conv_put(c);
    }
    for (uid_t uid = 4; uid >= 1; uid--) { /* the newest two are there still */
        struct rt_conv *c = rt_conv_get(w->rt, uid, w->version);
        struct rt_answer *a = rt_conv_answer(c);
        struct rt_answer_info info;
        rt_answer_info(a, &info);
        assert_int_equal(info.size, uid >= 3 ? 5 : 0);
        rt_answer_put(a);
        rt_conv_put(c);
    }
    close_world(w);
}

/* The end comes while some wait, some are in queues; what is held stays readable. */
static void test_end(void **state)
{
    (void)state;
    struct world *w = open_world(&(struct rt_config){0});
    deploy(w, "slow 1000ms");
    struct rt_conv *c = rt_conv_get(w->rt, ANN, w->version);
    struct rt_answer *a = asked(c, false, "never");
    struct rt_answer *b = asked(c, true, "behind it");
    static struct rt_wait waits[2];
    atomic_store(&woken, 0);
    for (int i = 0; i < 2; i++) {
        waits[i].wake = count_wake;
        assert_false(rt_wait(i ? b : a, &waits[i], RT_WHOLE));
    }
    rt_conv_put(c);
    close_world(w);
    assert_int_equal(atomic_load(&woken), 2);
    assert_failed(a, EIO, "the mount is ending");
    assert_failed(b, EIO, "the mount is ending");
    rt_answer_put(a);
    rt_answer_put(b);
}

int main(void)
{
    log_init("test_runtime", LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_ids_and_new),
        cmocka_unit_test(test_next_turn_waits),
        cmocka_unit_test(test_users_are_apart),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_drafts),
        cmocka_unit_test(test_draft_append),
        cmocka_unit_test(test_never_attended),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_dying),
        cmocka_unit_test(test_new_prompt_and_old_answer),
        cmocka_unit_test(test_cancel_everywhere),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_loading_fails),
        cmocka_unit_test(test_engine_errors),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_version_parts),
        cmocka_unit_test(test_content_changes),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_many_waiters),
        cmocka_unit_test(test_many_users),
        cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
