/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 at any moment. A child does random operations to a store and to a model and says of each when it begins and
 * when it was acknowledged; after its death the store holds exactly what was acknowledged, with or without the one operation that
 * was under way, and nothing else: no drafts, orphans or blobs that no node names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/lib/store_fixture.h"
#include "tests/lib/store_model.h"

#define KILLS 80
#define SCRATCH                                                                                    \
    "scratch" /* beside the model's names: files without a name, drafts never published */

/* Written by the child, read by us after its death. */
struct progress {
    volatile uint64_t begun, done; /* operations */
    volatile bool failed;
    char why[500];
};

/* --- the child --- */

static void scratch(struct store *s, store_ino dir, uint64_t *rng)
{
    struct err e;
    struct store_attr a;
    char name[16], bytes[9000];
    uint64_t r = model_random(rng);
    snprintf(name, sizeof(name), "s%u", (unsigned)(r % 10));
    r >>= 8;
    memset(bytes, (int)r, sizeof(bytes));
    if (store_lookup(s, dir, name, &a, &e) < 0 &&
        store_make(s, dir, name, S_IFREG | 0600, 0, 0, &fixture_cred, &a, &e) < 0)
        return;
    struct store_file *f = store_file_open(s, a.ino, O_RDWR, &e);
    if (!f)
        return;
    store_file_write(f, bytes, r % 2 ? 100 : sizeof(bytes), 0, false, &e);
    if (r & 2)
        store_file_publish(f, &e);
    if (r & 4)
        store_unlink(s, dir, name, &e);
    if (r & 8)
        store_file_write(f, bytes, sizeof(bytes), 0, true, &e);
    if (r & 16)
        store_file_close(f); /* else it stays open to the end */
}

static void child(const char *dir, struct model *m, uint64_t rng, struct progress *p)
{
    struct err e;
    struct store_attr a;
    struct store *s = store_open(dir, &e);
    if (!s ||
        (store_lookup(s, STORE_ROOT, SCRATCH, &a, &e) < 0 &&
         store_make(s, STORE_ROOT, SCRATCH, S_IFDIR | 0700, 0, 0, &fixture_cred, &a, &e) < 0)) {
        snprintf(p->why, sizeof(p->why), "the child: %s", e.text);
        p->failed = true;
        _exit(1);
    }
    m->node[0].nlink = 3; /* with the scratch directory */
    for (;;) {
        uint64_t extra = model_random(&rng);
        if (extra % 8 == 0)
            scratch(s, a.ino, &extra);
        struct model_op op = model_random_op(m, &rng);
        struct model before = *m;
        p->begun++;
        int got = model_do_store(s, &before, &op), want = model_do(m, &op);
        p->done++;
        if (got != want) {
            snprintf(p->why, sizeof(p->why), "operation %d of kind %d: errno %d, not %d",
                     (int)p->done, (int)op.kind, got, want);
            p->failed = true;
            _exit(1);
        }
    }
}

/* --- what is found afterwards --- */

/* Brings the model to where the child was n operations after the beginning. */
static void replay(struct model *m, uint64_t rng, uint64_t n)
{
    m->node[0].nlink += m->node[0].nlink == 2;
    for (uint64_t i = 0; i < n; i++) {
        model_random(&rng);
        struct model_op op = model_random_op(m, &rng);
        model_do(m, &op);
    }
}

static void kill_after(const struct fixture *f, struct model *m, uint64_t seed, useconds_t us,
                       struct progress *p)
{
    memset(p, 0, sizeof(*p));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(f->dir, m, seed, p);
    usleep(us);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    if (p->failed)
        fail_msg("seed %llu: %s", (unsigned long long)seed, p->why);
}

static void killed_at_any_moment(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct model m;
    uint64_t rng = 20260101, total = 0;
    const char *fixed = getenv("LLMOSFS_TEST_SEED");
    if (fixed)
        rng = strtoull(fixed, NULL, 0);
    model_init(&m);
    store_close(steal_ptr(&f->s));
    struct progress *p =
        mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    for (int i = 0; i < KILLS; i++) {
        uint64_t seed = model_random(&rng) | 1;
        char why[300], why_next[300];
        kill_after(f, &m, seed, (useconds_t)(model_random(&rng) % 40000), p);
        f->s = store_open(f->dir, &e);
        if (!f->s)
            fail_msg("%s", e.text);
        struct model done = m, next = m;
        if (p->begun == 0 && fixture_lookup(f->s, STORE_ROOT, SCRATCH, NULL) != 0) {
            store_close(steal_ptr(&f->s)); /* killed while it began */
            continue;
        }
        replay(&done, seed, p->done);
        replay(&next, seed, p->begun);
        if (model_equal(f->s, &done, why, sizeof(why)))
            m = done;
        else if (p->begun > p->done && model_equal(f->s, &next, why_next, sizeof(why_next)))
            m = next;
        else
            fail_msg("kill %d, seed %llu, after %llu operations: %s", i, (unsigned long long)seed,
                     (unsigned long long)p->done, why);
        if (!fixture_is_tidy(f, why, sizeof(why)))
            fail_msg("kill %d, seed %llu: %s", i, (unsigned long long)seed, why);
        store_close(steal_ptr(&f->s));
        total += p->done;
    }
    print_message("%d kills, %llu operations acknowledged\n", KILLS, (unsigned long long)total);
    assert_true(total > KILLS);
    munmap(p, sizeof(*p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_any_moment, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
