/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

/* The length that a first byte promises, and the range of its second byte (RFC 3629 §4); 0: never
 * first. */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        return 2;
    if (c >= 0xE0 && c <= 0xEF) {
        if (c == 0xE0)
            *lo = 0xA0;
        if (c == 0xED)
            *hi = 0x9F;
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        if (c == 0xF0)
            *lo = 0x90;
        if (c == 0xF4)
            *hi = 0x8F;
        return 4;
    }
    return 0;
}

/* How many of the first n bytes can begin one sequence of length *len; less than *len if it is cut
 * or wrong. */
static size_t prefix(const unsigned char *s, size_t n, size_t *len)
{
    unsigned char lo;
    unsigned char hi;
    *len = lead(s[0], &lo, &hi);
    if (*len == 0)
        return 0;
    size_t i = 1;
    for (; i < *len && i < n; i++) {
        if (s[i] < lo || s[i] > hi)
            break;
        lo = 0x80;
        hi = 0xBF;
    }
    return i;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *u = (const unsigned char *)s;
    size_t len;
    if (prefix(u, n, &len) < len || len == 0)
        return 0;
    uint32_t v = u[0] & mask[len];
    for (size_t i = 1; i < len; i++)
        v = v << 6 | (u[i] & 0x3F);
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        cp = 0xFFFD;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char first[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    out[0] = (char)(first[len] | cp);
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    uint32_t cp;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_decode(s + i, n - i, &cp);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

size_t utf8_incomplete_tail(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        size_t len;
        size_t got = prefix((const unsigned char *)s + n - back, back, &len);
        if (len > back && got == back)
            return back;
        if (len > 0)
            return 0;
    }
    return 0;
}
