/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: lines for the operator, on standard error (which the mount may have sent to a file or the
 * journal).
 *
 *     2026-11-22T10:19:27.123Z llmosfs[312] warning: engine 3 was killed by signal 9
 *
 * A line never holds what a user asked or was answered. Safe from any thread; one write(2) a line.
 */
#ifndef LLMOSFS_BASE_LOG_H
#define LLMOSFS_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The name in front of each line (static storage) and the last level that is written. Call before
 * threads start. */
void log_init(const char *program, enum log_level level);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *fmt, ...);

/* Writes the line and ends the process with abort(3): for what can only be a bug or the end of
 * memory. */
__attribute__((format(printf, 1, 2), noreturn)) void log_fatal(const char *fmt, ...);

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
