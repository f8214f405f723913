/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "llmosfs";
static enum log_level last_level = LOG_LEVEL_INFO;

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    last_level = level;
}

static void write_line(enum log_level level, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[1024];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s[%d] %s: ", ts.tv_nsec / 1000000,
                          program_name, (int)getpid(), names[level]);
    int m = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
    if (m > 0)
        n += (size_t)m;
    if (n > sizeof(line) - 1)
        n = sizeof(line) - 1;
    line[n++] = '\n';
    /* Nobody is left to tell if standard error cannot be written. */
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (level > last_level)
        return;
    va_list ap;
    va_start(ap, fmt);
    write_line(level, fmt, ap);
    va_end(ap);
}

void log_fatal(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    write_line(LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
    abort();
}
