/* SPDX-License-Identifier: Apache-2.0 */
/* jinja_builtin: what the files of the builtins share. */
#ifndef LLMOSFS_MODEL_JINJA_BUILTIN_H
#define LLMOSFS_MODEL_JINJA_BUILTIN_H

#include "model/jinja.h"

typedef const struct jinja_value *args_t;

/* A parameter as text. `what` is for the sentence: "WHAT of a number". */
int jinja_arg_text(struct jinja *j, const struct jinja_value *v, const char *what,
                   const struct jinja_str **s);
/* A text, or NULL where it was not given or is none. */
int jinja_arg_text_or_null(struct jinja *j, const struct jinja_value *v, const char *what,
                           const struct jinja_str **s);
int jinja_arg_int(struct jinja *j, const struct jinja_value *v, int64_t otherwise, int64_t *i);

/* Results: r is what is returned, and says whether there is one. */
int jinja_give_text(int r, const struct jinja_str *s, struct jinja_value *v);
int jinja_give_list(const struct jinja_list *list, struct jinja_value *v);
int jinja_give_bool(bool b, struct jinja_value *v);

/* Tables, each with its own file; they end with a name that is NULL. */
extern const struct jinja_builtin jinja_text_builtins[];
extern const struct jinja_builtin jinja_list_builtins[];
extern const struct jinja_builtin jinja_tests[];

#endif
