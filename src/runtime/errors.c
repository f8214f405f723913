/* SPDX-License-Identifier: Apache-2.0 */
/* What each user is told and counted for: the last error with each version, and unanswered questions. */
#include <errno.h>
#include <string.h>

#include "runtime/internal.h"

/* --- .error --- */

static void note_free(struct rt *rt, struct error_note *n)
{
    struct version *v = n->version;
    list_del(&n->link);
    rt->n_errors--;
    map_remove(&v->errors, n->uid);
    free(n);
    version_unref(rt, v);
}

void error_note(struct rt *rt, struct version *v, uid_t uid, const char *text)
{
    struct error_note *n = map_get(&v->errors, uid);
    if (!n) {
        n = xcalloc(1, sizeof(*n));
        n->version = v;
        n->uid = uid;
        list_init(&n->link);
        map_put(&v->errors, uid, n);
        version_ref(v);
        rt->n_errors++;
    }
    list_del(&n->link);
    list_add(&rt->errors, &n->link);
    strncpy(n->text, text, sizeof(n->text) - 1);
    if (rt->n_errors > ERRORS_KEPT)
        note_free(rt, list_entry(rt->errors.next, struct error_note, link));
}

void error_forget(struct rt *rt, struct version *v)
{
    struct error_note *n;
    size_t at = 0;
    while ((n = map_next(&v->errors, &at))) {
        note_free(rt, n);
        at = 0;
    }
}

void error_free_all(struct rt *rt)
{
    while (!list_empty(&rt->errors))
        note_free(rt, list_entry(rt->errors.next, struct error_note, link));
}

void rt_error_note(struct rt *rt, uid_t uid, store_ino version, const struct err *e)
{
    rt_lock(rt);
    error_note(rt, version_get(rt, version), uid, e->text);
    rt_unlock(rt);
}

void rt_error_text(struct rt *rt, uid_t uid, store_ino version, struct buf *text)
{
    rt_lock(rt);
    const struct version *v = map_get(&rt->versions, version);
    const struct error_note *n = v ? map_get(&v->errors, uid) : NULL;
    if (n)
        buf_printf(text, "%s\n", n->text);
    rt_unlock(rt);
}

/* --- how many of a user's questions are unanswered --- */

int user_admit(struct rt *rt, uid_t uid, struct err *e)
{
    struct user *u = map_get(&rt->users, uid);
    if (u && u->waiting >= rt->config.waiting_max)
        return err_set(e, EBUSY, "%u of your questions wait for their answers already", u->waiting);
    if (!u) {
        u = xcalloc(1, sizeof(*u));
        u->uid = uid;
        map_put(&rt->users, uid, u);
    }
    u->waiting++;
    return 0;
}

void user_answered(struct rt *rt, uid_t uid)
{
    struct user *u = map_get(&rt->users, uid);
    if (--u->waiting == 0) {
        map_remove(&rt->users, uid);
        free(u);
    }
}
