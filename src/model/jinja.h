/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jinja: the language of chat templates, the part of Jinja 3 that they use, with the whitespace
 * rules that transformers sets (trim_blocks, lstrip_blocks). Private to chat.c.
 *
 *   jinja_lex.c       template → tokens           jinja_eval.c      expressions → values
 *   jinja_expr.c      tokens → expressions        jinja_run.c       statements → output
 *   jinja_parse.c     tokens → statements         jinja_builtin.c   filters, tests, methods,
 * functions jinja_value.c     values                      jinja_text.c      strings that know where
 * they come from
 *
 * A template is hostile: its parse is bounded by its length and JINJA_DEPTH_MAX, its run by steps,
 * memory and output. All memory of a parse or a run lies in a pool and goes with it.
 *
 * Errors at parse are ENOEXEC (not supported, or no Jinja at all) with the line; at run EINVAL, or
 * ENOMEM over a limit.
 */
#ifndef LLMOSFS_MODEL_JINJA_H
#define LLMOSFS_MODEL_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chat.h"

#define JINJA_DEPTH_MAX  200          /* of nested brackets, operators and blocks */
#define JINJA_MEMORY_MAX (256u << 20) /* bytes that a run may take */
#define JINJA_PARAMS_MAX 4            /* of a filter, test, method or function */
#define JINJA_TEMPLATE   (-1)         /* origin of text: the template; else a message's number */

/* --- memory --- */

struct jinja_pool {
    struct jinja_block *blocks;
    size_t used;
    size_t limit;
};
void *jinja_alloc(struct jinja_pool *p, size_t n, struct err *e); /* zeroed; NULL and ENOMEM */
void jinja_pool_free(struct jinja_pool *p);

/* --- values --- */

/* A run of bytes of one origin, up to `end`. */
struct jinja_run {
    size_t end;
    int origin;
};

/* Text that knows where each byte comes from. Immutable; may point into another's bytes. */
struct jinja_str {
    const char *data;
    size_t len;
    int origin;                   /* of all bytes, if n_runs is 0 */
    const struct jinja_run *runs; /* else these, of which the first ones may lie before `skip` */
    size_t n_runs;
    size_t skip; /* runs count from this many bytes before data */
};

enum jinja_kind {
    JINJA_ABSENT, /* an argument that was not given */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STR,
    JINJA_LIST,
    JINJA_DICT,
    JINJA_LOOP,
    JINJA_FUNCTION,
};

struct jinja_value {
    enum jinja_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const struct jinja_str *s;
        const struct jinja_list *list;
        struct jinja_dict *dict;
        const struct jinja_loop *loop;
        const struct jinja_builtin *function;
    };
};

struct jinja_list {
    struct jinja_value *items;
    size_t n;
};

struct jinja_entry {
    const struct jinja_str *key;
    struct jinja_value value;
};

struct jinja_dict { /* in the order of insertion; keys are strings */
    struct jinja_entry *entries;
    size_t n;
    size_t cap;
    bool is_namespace; /* the only thing whose attributes can be set */
};

struct jinja_loop {
    const struct jinja_list *items;
    size_t i;
};

/* --- the tree --- */

enum jinja_op {
    JINJA_CONST,
    JINJA_NAME,
    JINJA_MAKE_LIST,
    JINJA_MAKE_DICT,
    JINJA_ATTR,
    JINJA_ITEM,
    JINJA_SLICE,
    JINJA_CALL,
    JINJA_TEST,
    JINJA_NOT,
    JINJA_NEG,
    JINJA_POS,
    JINJA_AND,
    JINJA_OR,
    JINJA_COND,
    JINJA_CONCAT,
    JINJA_ADD,
    JINJA_SUB,
    JINJA_MUL,
    JINJA_DIV,
    JINJA_FLOORDIV,
    JINJA_MOD,
    JINJA_POW,
    JINJA_EQ,
    JINJA_NE,
    JINJA_LT,
    JINJA_LE,
    JINJA_GT,
    JINJA_GE,
    JINJA_IN,
    JINJA_NOT_IN,
    JINJA_COMPARE,
};

/*
 * What the operands (args) are:
 *   NAME        none, var: which                    MAKE_LIST     the items
 *   ATTR        object; str: the name               MAKE_DICT     key, value, key, value …
 *   ITEM        object, index                       SLICE         object, start, stop, step (NULL
 * where not given) CALL, TEST  the subject (filters, methods, tests), then the parameters of fn
 * (NULL where not given) COND        condition, then, else (or NULL)     COMPARE       a, then
 * comparisons with b, c … whose first operand is NULL
 */
struct jinja_expr {
    enum jinja_op op;
    uint32_t line;
    unsigned height; /* levels below */
    uint32_t var;
    const struct jinja_str *str;
    const struct jinja_builtin *fn;
    struct jinja_value value;
    struct jinja_expr **args;
    size_t n_args;
};

enum jinja_do {
    JINJA_TEXT,
    JINJA_PRINT,
    JINJA_IF,
    JINJA_FOR,
    JINJA_SET,
    JINJA_SET_BLOCK,
    JINJA_BODY,
    JINJA_BREAK,
    JINJA_CONTINUE
};

#define JINJA_TARGETS_MAX 8

struct jinja_target { /* of set and for: a variable, or an attribute of one (a namespace's) */
    uint32_t var;
    const struct jinja_str *attr; /* NULL: the variable */
};

struct jinja_stmt {
    enum jinja_do what;
    uint32_t line;
    struct jinja_stmt *next;
    const struct jinja_str *text; /* TEXT */
    struct jinja_expr *expr;      /* PRINT, SET; condition of IF; what FOR goes over */
    struct jinja_expr *filter;    /* FOR: if … */
    struct jinja_target targets[JINJA_TARGETS_MAX];
    size_t n_targets;
    struct jinja_stmt *body;
    struct jinja_stmt *otherwise; /* IF, FOR: else */
    bool elif;                    /* IF: `otherwise` is the IF of an elif */
};

/* Names of variables; those that the run itself sets come first. */
enum jinja_var {
    JINJA_VAR_LOOP,
    JINJA_VAR_MESSAGES,
    JINJA_VAR_PROMPT,
    JINJA_VAR_BOS,
    JINJA_VAR_EOS,
    JINJA_VAR_TOOLS,
    JINJA_VAR_DOCUMENTS,
    JINJA_VARS
};

struct chat_template {
    struct jinja_pool pool;
    struct jinja_stmt *body;
    const char **vars;
    size_t n_vars;
};

/* --- lexing and parsing --- */

enum jinja_token_kind {
    JINJA_T_DATA,
    JINJA_T_PRINT,
    JINJA_T_PRINT_END,
    JINJA_T_BLOCK,
    JINJA_T_BLOCK_END,
    JINJA_T_NAME,
    JINJA_T_STRING,
    JINJA_T_INT,
    JINJA_T_FLOAT,
    JINJA_T_OP,
    JINJA_T_END
};

struct jinja_token {
    enum jinja_token_kind kind;
    uint32_t line;
    char op[3]; /* OP: "+", "==" … */
    const char *text;
    size_t len; /* DATA, NAME, STRING */
    int64_t i;
    double f;
};

struct jinja_tokens { /* ends with JINJA_T_END */
    struct jinja_token *t;
    size_t n;
    size_t cap;
};
int jinja_lex(struct jinja_pool *p, const char *text, size_t len, struct jinja_tokens *out,
              struct err *e);

struct jinja_parser {
    struct chat_template *template;
    const struct jinja_token *t; /* the next one */
    struct map *names;           /* hash of a name → number of the variable + 1 */
    unsigned depth;
    unsigned loops; /* for statements around */
    struct err *e;
};

int jinja_parse(struct chat_template *t, const struct jinja_tokens *tokens, struct err *e);
struct jinja_expr *jinja_parse_expr(struct jinja_parser *p);    /* with the ternary */
struct jinja_expr *jinja_parse_tuple(struct jinja_parser *p);   /* a, b … is a list */
struct jinja_expr *jinja_parse_no_cond(struct jinja_parser *p); /* without: what for goes over */
struct jinja_expr *jinja_parse_filters(struct jinja_parser *p,
                                       struct jinja_expr *x); /* | name (…) | … */

bool jinja_is_op(const struct jinja_token *t, const char *op);
bool jinja_is_name(const struct jinja_token *t, const char *name);
bool jinja_skip_op(struct jinja_parser *p, const char *op);
bool jinja_skip_name(struct jinja_parser *p, const char *name);
int jinja_expect_op(struct jinja_parser *p, const char *op);
uint32_t jinja_var(struct jinja_parser *p, const struct jinja_token *name);
int jinja_enter(struct jinja_parser *p); /* a level deeper; p->depth-- leaves it */
void *jinja_new(struct jinja_parser *p, size_t size);
const struct jinja_str *jinja_new_str(struct jinja_parser *p, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) int jinja_refuse(const struct jinja_parser *p,
                                                       const char *fmt, ...);
const char *jinja_show(const struct jinja_token *t, char text[48]); /* a token, for a sentence */

/* --- running --- */

struct jinja_binding {
    struct jinja_value value;
    size_t depth; /* of the scope that set it */
};

struct jinja_undo {
    uint32_t var;
    struct jinja_binding before;
};

struct jinja {
    const struct chat_template *template;
    struct jinja_pool pool;
    uint64_t steps;
    struct jinja_binding *vars;
    struct jinja_undo *undo; /* what scopes must restore */
    size_t n_undo;
    size_t undo_cap;
    size_t scope;
    unsigned nested; /* comparisons of lists within lists */
    struct jinja_builder *out;
    uint32_t line; /* of what is being done, for errors */
    struct err *e;
};

int jinja_render(struct jinja *j, struct jinja_builder *out);
int jinja_eval(struct jinja *j, const struct jinja_expr *x, struct jinja_value *v);
int jinja_call(struct jinja *j, const struct jinja_expr *x,
               struct jinja_value *v);      /* CALL and TEST */
int jinja_steps(struct jinja *j, size_t n); /* counts n more */
void *jinja_get(struct jinja *j, size_t n); /* memory of the run */
__attribute__((format(printf, 2, 3))) int jinja_fail(const struct jinja *j, const char *fmt, ...);

/* --- values (jinja_value.c) --- */

struct jinja_value jinja_of_str(const struct jinja_str *s);
struct jinja_value jinja_of_bool(bool b);
struct jinja_value jinja_of_int(int64_t i);
bool jinja_true(const struct jinja_value *v);
const char *jinja_kind_name(const struct jinja_value *v);
int jinja_equal(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                bool *equal);
int jinja_order(struct jinja *j, const struct jinja_value *a, const struct jinja_value *b,
                int *order); /* -1, 0, 1; 2: not a number */
int jinja_contains(struct jinja *j, const struct jinja_value *box, const struct jinja_value *v,
                   bool *found);
int jinja_length(struct jinja *j, const struct jinja_value *v, int64_t *n);
int jinja_attr(struct jinja *j, const struct jinja_value *object, const struct jinja_str *name,
               struct jinja_value *v);
int jinja_item(struct jinja *j, const struct jinja_value *object, const struct jinja_value *index,
               struct jinja_value *v);
int jinja_iterate(struct jinja *j, const struct jinja_value *v, const struct jinja_list **items);
int jinja_make_list(struct jinja *j, size_t n, struct jinja_list **list);
int jinja_make_dict(struct jinja *j, size_t n, struct jinja_dict **dict);
int jinja_dict_get(struct jinja *j, const struct jinja_dict *d, const struct jinja_str *key,
                   struct jinja_value *v); /* UNDEFINED */
int jinja_dict_set(struct jinja *j, struct jinja_dict *d, const struct jinja_str *key,
                   const struct jinja_value *v);
int jinja_to_str(struct jinja *j, const struct jinja_value *v,
                 const struct jinja_str **s); /* as it is printed */
size_t jinja_print_float(double f, char text[40]);

/* --- strings (jinja_text.c) --- */

/* Puts strings together from pieces. */
struct jinja_builder {
    char *data;
    size_t len;
    size_t cap;
    size_t limit;
    struct jinja_run *runs;
    size_t n_runs;
    size_t runs_cap;
};
int jinja_build(struct jinja *j, struct jinja_builder *b, const struct jinja_str *s);
int jinja_build_bytes(struct jinja *j, struct jinja_builder *b, const char *text, size_t len,
                      int origin);
int jinja_built(struct jinja *j, struct jinja_builder *b,
                const struct jinja_str **out); /* copies it into the pool, frees b */
void jinja_builder_free(struct jinja_builder *b);

int jinja_slice(struct jinja *j, const struct jinja_str *s, size_t start, size_t end,
                const struct jinja_str **out);
int jinja_origin(const struct jinja_str *s, size_t at,
                 size_t *run_end); /* of the byte at `at`, and where its run ends */
int jinja_c_str(struct jinja *j, const char *text, const struct jinja_str **s);
size_t jinja_char(const struct jinja_str *s,
                  size_t at); /* bytes of the character there (1 if it is broken) */
bool jinja_space(const char *s, size_t n,
                 size_t *len); /* begins with white space as Python sees it */
size_t jinja_chars(const struct jinja_str *s);
const char *jinja_find(const struct jinja_str *s, size_t from,
                       const struct jinja_str *what); /* NULL */
int jinja_strip(struct jinja *j, const struct jinja_str *s, const struct jinja_str *chars,
                bool left, bool right, const struct jinja_str **out);
int jinja_split(struct jinja *j, const struct jinja_str *s, const struct jinja_str *by, int64_t max,
                bool from_right, const struct jinja_list **out);
int jinja_replace(struct jinja *j, const struct jinja_str *s, const struct jinja_str *old,
                  const struct jinja_str *with, int64_t max, const struct jinja_str **out);
enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE, JINJA_CAPITALIZE };
int jinja_recase(struct jinja *j, const struct jinja_str *s, enum jinja_case to,
                 const struct jinja_str **out);
int jinja_json(struct jinja *j, const struct jinja_value *v, int64_t indent,
               const struct jinja_str **out); /* indent -1: one line */

/* --- builtins (jinja_builtin.c) --- */

enum jinja_role { JINJA_FILTER, JINJA_IS, JINJA_METHOD, JINJA_GLOBAL };

/* args[0] is the subject (ABSENT for functions), args[1] … the parameters. */
typedef int jinja_builtin_fn(struct jinja *j, const struct jinja_value *args,
                             struct jinja_value *v);

struct jinja_builtin {
    const char *name;
    enum jinja_role role;
    jinja_builtin_fn *fn;
    const char *params[JINJA_PARAMS_MAX];
    unsigned required; /* of them */
    bool keywords; /* takes any keyword arguments: names and values by turns follow the subject */
};
const struct jinja_builtin *jinja_find_builtin(enum jinja_role role, const char *name, size_t len);

/* As err.h does it: for compilers and analysers that follow what comes of a failure. */
#define jinja_refuse(...)                                                                          \
    ({                                                                                             \
        jinja_refuse(__VA_ARGS__);                                                                 \
        -1;                                                                                        \
    })
#define jinja_fail(...)                                                                            \
    ({                                                                                             \
        jinja_fail(__VA_ARGS__);                                                                   \
        -1;                                                                                        \
    })

#endif
