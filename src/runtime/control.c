/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a version on this machine (.control). They lie in the store; a copy of what the runtime needs is in struct version. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

#define KEEP_ALIVE_NAME "keep_alive"
#define KEEP_ALIVE_MAX  31536000 /* a year */

const char *const *rt_control_names(void)
{
    static const char *const names[] = {KEEP_ALIVE_NAME, NULL};
    return names;
}

static int parse_keep_alive(const char *text, size_t n, int64_t *v, struct err *e)
{
    char s[32];
    char *end = s;
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    while (n > 0 && strchr(" \t\r\n", *text))
        text++, n--;
    if (n > 0 && n < sizeof(s)) {
        memcpy(s, text, n);
        s[n] = '\0';
        if (strspn(s, "-0123456789") == n)
            *v = strtoll(s, &end, 10);
    }
    if (end == s || *end != '\0' || *v < -1 || *v > KEEP_ALIVE_MAX)
        return err_set(e, EINVAL, "keep_alive must be seconds, 0 to %d, or -1 for ever",
                       KEEP_ALIVE_MAX);
    return 0;
}

/* Lock held. */
static void set_keep_alive(struct rt *rt, struct version *v, int64_t seconds)
{
    v->keep_alive = seconds;
    v->keep_alive_known = true;
    if (v->content && v->content->engine)
        v->content->engine->keep_alive = seconds;
    rt_kick(rt);
}

void control_load(struct rt *rt, store_ino version)
{
    CLEANUP_BUF struct buf b = {0};
    int64_t seconds = KEEP_ALIVE;
    rt_lock(rt);
    struct version *v = version_get(rt, version);
    bool known = v->keep_alive_known;
    rt_unlock(rt);
    if (known)
        return;
    if (store_setting_get(rt->config.store, version, KEEP_ALIVE_NAME, &b, NULL) < 0 ||
        parse_keep_alive(buf_str(&b), b.len, &seconds, NULL) < 0)
        seconds = KEEP_ALIVE;
    rt_lock(rt);
    v = version_get(rt, version);
    if (!v->keep_alive_known)
        set_keep_alive(rt, v, seconds);
    rt_unlock(rt);
}

static int check_name(const char *name, struct err *e)
{
    if (strcmp(name, KEEP_ALIVE_NAME) == 0)
        return 0;
    return err_set(e, ENOENT, "there is no setting %s", name);
}

int rt_control_get(struct rt *rt, store_ino version, const char *name, struct buf *text,
                   struct err *e)
{
    if (check_name(name, e) < 0)
        return -1;
    control_load(rt, version);
    rt_lock(rt);
    buf_printf(text, "%" PRId64 "\n", version_get(rt, version)->keep_alive);
    rt_unlock(rt);
    return 0;
}

int rt_control_set(struct rt *rt, store_ino version, const char *name, const char *text, size_t n,
                   struct err *e)
{
    char stored[32];
    int64_t seconds = 0;
    if (check_name(name, e) < 0 || parse_keep_alive(text, n, &seconds, e) < 0)
        return -1;
    int len = snprintf(stored, sizeof(stored), "%" PRId64, seconds);
    if (store_setting_set(rt->config.store, version, name, stored, (size_t)len, e) < 0)
        return -1;
    rt_lock(rt);
    set_keep_alive(rt, version_get(rt, version), seconds);
    rt_unlock(rt);
    return 0;
}
