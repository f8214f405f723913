/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens end a generation. Files name one (eos_token_id), models use several: the others are
 * known by their texts. The lists are those of llama.cpp (src/llama-vocab.cpp, "special_eog_ids"),
 * so that both stop at the same tokens.
 */
#include <errno.h>
#include <string.h>

#include "model/tokenizer_impl.h"

/* A token that the file names by a key; else the first of these texts that is a token is it. It is
 * a control token in any case. */
struct role {
    const char *key;
    bool end;
    const char *texts[12];
};

static const struct role roles[] = {
    {"tokenizer.ggml.eot_token_id",
     true,
     {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
      "<EOT>", "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"}},
    {"tokenizer.ggml.eom_token_id", true, {"<|eom_id|>"}},
    {"tokenizer.ggml.fim_pad_token_id",
     true,
     {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id",
     true,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", true, {"<|file_sep|>"}},
    {"tokenizer.ggml.fim_pre_token_id",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
      "<|code_prefix|>", "<|prefix|>"}},
    {"tokenizer.ggml.fim_suf_token_id",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {"tokenizer.ggml.fim_mid_token_id",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
      "<|code_middle|>", "<|middle|>"}},
};

/* Each of these ends a generation wherever it is a token. */
static const char *const end_texts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
};

static int32_t find_text(const struct tokenizer *t, const char *text)
{
    return vocab_find(&t->vocab, text, strlen(text));
}

static void set_end(struct tokenizer *t, int32_t id, bool end)
{
    uint64_t bit = UINT64_C(1) << (id % 64);
    t->ends[id / 64] = end ? t->ends[id / 64] | bit : t->ends[id / 64] & ~bit;
}

static bool ends_by(const struct tokenizer *t, const char *text)
{
    int32_t id = find_text(t, text);
    return id >= 0 && tokenizer_is_end(t, id);
}

static int play(struct tokenizer *t, const struct gguf *g, const struct role *r, struct err *e)
{
    int32_t id;
    if (tokenizer_read_id(t, g, r->key, &id, e) < 0)
        return -1;
    for (const char *const *text = r->texts; id < 0 && *text; text++) {
        id = find_text(t, *text);
        if (id >= 0)
            t->vocab.types[id] = VOCAB_CONTROL;
    }
    if (id >= 0 && r->end)
        set_end(t, id, true);
    return 0;
}

int tokenizer_find_ends(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    t->ends = mem_array(t->vocab.n / 64 + 1, sizeof(*t->ends), "the vocabulary", e);
    if (!t->ends)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (play(t, g, &roles[i], e) < 0)
            return -1;
    }
    if (t->eos >= 0)
        set_end(t, t->eos, true);
    for (size_t i = 0; i < ARRAY_LEN(end_texts); i++) {
        int32_t id = find_text(t, end_texts[i]);
        if (id < 0)
            continue;
        set_end(t, id, true);
        t->vocab.types[id] = VOCAB_CONTROL;
    }
    /* In the formats that have these (harmony, solar), <|end|> only ends a part of an answer. */
    bool parts = (ends_by(t, "<|call|>") || ends_by(t, "<|calls|>")) &&
                 (ends_by(t, "<|return|>") || ends_by(t, "<|flush|>"));
    if (parts && ends_by(t, "<|end|>"))
        set_end(t, find_text(t, "<|end|>"), false);
    return 0;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n && t->ends[id / 64] >> (id % 64) & 1;
}
