/* SPDX-License-Identifier: Apache-2.0 */
/* utf8: decoding and checking of UTF-8 (RFC 3629: no surrogates, no overlong forms, up to
 * U+10FFFF). */
#ifndef LLMOSFS_BASE_UTF8_H
#define LLMOSFS_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decodes the code point at s (n bytes are there, n > 0). Returns the bytes it takes, 1 to 4, or 0
 * if they are no valid sequence (*cp is then untouched).
 */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);

/* Writes cp as 1 to 4 bytes and returns how many; a value that is no code point becomes U+FFFD. */
size_t utf8_encode(uint32_t cp, char out[4]);

bool utf8_valid(const char *s, size_t n);

/*
 * How many bytes at the end of s are the beginning of a sequence that more bytes could complete: 0
 * to 3. What a stream may hand out is therefore all but that many.
 */
size_t utf8_incomplete_tail(const char *s, size_t n);

#endif
