/* SPDX-License-Identifier: Apache-2.0 */
#include "model/pretokenize.h"

#include <errno.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/log.h"

#define PASSES_MAX 4

/*
 * White space as the tokenizers' own engines understand \s: Unicode's White_Space (PCRE2's \s has
 * U+180E as well). S goes into a class, NOT_BEFORE_WORD is (?!\S).
 */
#define S                                                                                          \
    "\\x09-\\x0D\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
    "\\x{3000}"
#define SPACES     "[" S "]+(?![^" S "])|[" S "]+"
#define OTHER      "[^" S "\\p{L}\\p{N}]+"
#define CONTRACTED "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"
#define GPT2       "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?" OTHER "|" SPACES
#define LLAMA3(numbers)                                                                            \
    CONTRACTED "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?" OTHER "[\\r\\n]*|[" S               \
               "]*[\\r\\n]+|" SPACES

/*
 * Each pass cuts the pieces of the one before it: into its matches and what lies between them. A
 * look-ahead sees the end of its piece as the end of the text.
 */
struct rule {
    const char *passes[PASSES_MAX];
    bool whole_words;
    bool adds_bos;
    const char *names[24]; /* of tokenizer.ggml.pre */
};

static const struct rule rules[] = {
    {.passes = {GPT2},
     .names = {"gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "mpt", "olmo", "jais", "trillion",
               "granite-docling", "exaone4"}},
    {.passes = {"\\p{N}", GPT2},
     .names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
               "mellum2"}},
    {.passes = {LLAMA3("\\p{N}{1,3}")},
     .whole_words = true,
     .adds_bos = true,
     .names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
               "lfm2"}},
    {.passes = {LLAMA3("\\p{N}{1,3}")}, .names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}},
    {.passes = {LLAMA3("\\p{N}")},
     .names = {"qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open",
               "grok-2"}},
    {.passes = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, .names = {"default"}},
};

struct pretokenizer {
    const struct rule *rule;
    pcre2_code *passes[PASSES_MAX];
    size_t n_passes;
};

static const struct rule *find_rule(struct gguf_str name)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        for (const char *const *n = rules[i].names; *n; n++) {
            if (strlen(*n) == name.len && memcmp(*n, name.data, name.len) == 0)
                return &rules[i];
        }
    }
    return NULL;
}

static int compile(struct pretokenizer *p, const char *pattern, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                  &code, &at, NULL);
    if (!c)
        return err_set(e, EIO, "PCRE2 refuses a pattern of the tokenizer (error %d at %zu)", code,
                       (size_t)at);
    p->passes[p->n_passes++] = c;
    int r = pcre2_jit_compile(c, PCRE2_JIT_COMPLETE);
    if (r != 0)
        log_info("PCRE2 cannot compile the tokenizer's patterns to machine code (error %d), it "
                 "interprets them",
                 r);
    return 0;
}

struct pretokenizer *pretokenizer_new(struct gguf_str name, struct err *e)
{
    const struct rule *rule = find_rule(name);
    if (!rule) {
        err_set(e, ENOEXEC, "the pre-tokenizer \"%.*s\" (tokenizer.ggml.pre) is not supported",
                (int)MIN(name.len, (size_t)64), name.data);
        return NULL;
    }
    struct pretokenizer *p = xcalloc(1, sizeof(*p));
    p->rule = rule;
    for (size_t i = 0; i < PASSES_MAX && rule->passes[i]; i++) {
        if (compile(p, rule->passes[i], e) < 0) {
            pretokenizer_free(p);
            return NULL;
        }
    }
    return p;
}

void pretokenizer_free(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_passes; i++)
        pcre2_code_free(p->passes[i]);
    free(p);
}

bool pretokenizer_whole_words(const struct pretokenizer *p)
{
    return p->rule->whole_words;
}

bool pretokenizer_adds_bos(const struct pretokenizer *p)
{
    return p->rule->adds_bos;
}

struct split {
    const struct pretokenizer *p;
    pcre2_match_data *match;
    pretokenizer_word *word;
    void *ctx;
};

/* The recursion is as deep as there are passes. */
static int split_piece(const struct split *s, size_t pass, const char *text, size_t len,
                       struct err *e)
{
    if (len == 0)
        return 0;
    if (pass == s->p->n_passes)
        return s->word(s->ctx, text, len, e);
    for (size_t at = 0; at < len;) {
        int r = pcre2_match(s->p->passes[pass], (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK,
                            s->match, NULL);
        if (r < 0 && r != PCRE2_ERROR_NOMATCH)
            return err_set(e, EIO, "PCRE2 cannot split a text into words (error %d)", r);
        size_t start = len;
        size_t end = len;
        if (r >= 0) {
            const PCRE2_SIZE *o = pcre2_get_ovector_pointer(s->match);
            start = o[0];
            end = o[1];
        }
        if (split_piece(s, pass + 1, text + at, start - at, e) < 0)
            return -1;
        if (split_piece(s, pass + 1, text + start, end - start, e) < 0)
            return -1;
        at = end;
    }
    return 0;
}

int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len,
                       pretokenizer_word *word, void *ctx, struct err *e)
{
    struct split s = {p, pcre2_match_data_create(1, NULL), word, ctx};
    if (!s.match)
        return err_set(e, ENOMEM, "no memory to split a text into words");
    int r = split_piece(&s, 0, text, len, e);
    pcre2_match_data_free(s.match);
    return r;
}
