/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: the one way to report that something failed.
 *
 * A function that can fail returns 0 or -1 (or a pointer or NULL) and takes a `struct err *` as its
 * last parameter, which says why: an errno for the kernel and a sentence for people. The sentence
 * names what is wrong and where ("tensor blk.0.attn_q.weight: its data ends beyond the file"),
 * begins without a capital (unless with a name), and has no full stop at its end.
 *
 * The pointer may be NULL where the caller does not want to know. Functions never read it, and set
 * it only when they fail. An err owns no memory.
 */
#ifndef LLMOSFS_BASE_ERR_H
#define LLMOSFS_BASE_ERR_H

#define ERR_TEXT_MAX 400

struct err {
    int code;                /* an errno value, > 0; 0: nothing failed */
    char text[ERR_TEXT_MAX]; /* one sentence, UTF-8, cut (never inside a code point) if too long */
};

/* Sets *e and returns -1, so that `return err_set(e, EINVAL, "…")` is how a function fails. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, int code, const char *fmt, ...);

/* err_set with ": " and the system's text of errno at the end; the code is errno. */
__attribute__((format(printf, 2, 3))) int err_sys(struct err *e, const char *fmt, ...);

/* Puts "…: " in front of the sentence of an error that is already set. Returns -1. */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *e, const char *fmt, ...);

/* That the result is -1 is said here again, for compilers and analysers that follow what comes of it. */
#define err_set(...)                                                                               \
    ({                                                                                             \
        err_set(__VA_ARGS__);                                                                      \
        -1;                                                                                        \
    })
#define err_sys(...)                                                                               \
    ({                                                                                             \
        err_sys(__VA_ARGS__);                                                                      \
        -1;                                                                                        \
    })
#define err_prefix(...)                                                                            \
    ({                                                                                             \
        err_prefix(__VA_ARGS__);                                                                   \
        -1;                                                                                        \
    })

#endif
