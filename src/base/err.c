/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#undef err_set
#undef err_sys
#undef err_prefix

/* vsnprintf may have cut the text inside a UTF-8 sequence. */
static void trim_text(struct err *e)
{
    size_t n = strlen(e->text);
    e->text[n - utf8_incomplete_tail(e->text, n)] = '\0';
}

int(err_set)(struct err *e, int code, const char *fmt, ...)
{
    if (!e)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    e->code = code;
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    trim_text(e);
    return -1;
}

int(err_sys)(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -1;
    int code = errno;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(e, code, "%s: %s", text, strerrordesc_np(code));
}

int(err_prefix)(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -1;
    char head[ERR_TEXT_MAX];
    char text[ERR_TEXT_MAX];
    memcpy(text, e->text, sizeof(text));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof(head), fmt, ap);
    va_end(ap);
    return err_set(e, e->code, "%s: %s", head, text);
}
