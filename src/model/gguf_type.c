/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes of tensor types (the block structures of ggml-common.h) and of metadata values (ggml's
 * docs/gguf.md). */
#include <stdio.h>

#include "base/utf8.h"
#include "model/gguf_internal.h"

static const struct gguf_type_info types[] = {
    [GGUF_F32] = {"F32", 1, 4},
    [GGUF_F16] = {"F16", 1, 2},
    [GGUF_Q4_0] = {"Q4_0", 32, 2 + 16},
    [GGUF_Q4_1] = {"Q4_1", 32, 2 + 2 + 16},
    [GGUF_Q5_0] = {"Q5_0", 32, 2 + 4 + 16},
    [GGUF_Q5_1] = {"Q5_1", 32, 2 + 2 + 4 + 16},
    [GGUF_Q8_0] = {"Q8_0", 32, 2 + 32},
    [GGUF_Q2_K] = {"Q2_K", 256, 16 + 64 + 2 + 2},
    [GGUF_Q3_K] = {"Q3_K", 256, 32 + 64 + 12 + 2},
    [GGUF_Q4_K] = {"Q4_K", 256, 2 + 2 + 12 + 128},
    [GGUF_Q5_K] = {"Q5_K", 256, 2 + 2 + 12 + 32 + 128},
    [GGUF_Q6_K] = {"Q6_K", 256, 128 + 64 + 16 + 2},
    [GGUF_IQ2_XXS] = {"IQ2_XXS", 256, 2 + 64},
    [GGUF_IQ2_XS] = {"IQ2_XS", 256, 2 + 64 + 8},
    [GGUF_IQ3_XXS] = {"IQ3_XXS", 256, 2 + 96},
    [GGUF_IQ1_S] = {"IQ1_S", 256, 2 + 32 + 16},
    [GGUF_IQ4_NL] = {"IQ4_NL", 32, 2 + 16},
    [GGUF_IQ3_S] = {"IQ3_S", 256, 2 + 64 + 8 + 32 + 4},
    [GGUF_IQ2_S] = {"IQ2_S", 256, 2 + 64 + 8 + 8},
    [GGUF_IQ4_XS] = {"IQ4_XS", 256, 2 + 2 + 4 + 128},
    [GGUF_I8] = {"I8", 1, 1},
    [GGUF_I16] = {"I16", 1, 2},
    [GGUF_I32] = {"I32", 1, 4},
    [GGUF_I64] = {"I64", 1, 8},
    [GGUF_F64] = {"F64", 1, 8},
    [GGUF_IQ1_M] = {"IQ1_M", 256, 32 + 16 + 8},
    [GGUF_BF16] = {"BF16", 1, 2},
    [GGUF_TQ1_0] = {"TQ1_0", 256, 48 + 4 + 2},
    [GGUF_TQ2_0] = {"TQ2_0", 256, 64 + 2},
    [GGUF_MXFP4] = {"MXFP4", 32, 1 + 16},
};

const struct gguf_type_info *gguf_type_info(uint32_t type)
{
    return type < ARRAY_LEN(types) && types[type].block > 0 ? &types[type] : NULL;
}

size_t gguf_value_size(uint32_t type)
{
    switch (type) {
    case GGUF_VALUE_U8:
    case GGUF_VALUE_I8:
    case GGUF_VALUE_BOOL:
        return 1;
    case GGUF_VALUE_U16:
    case GGUF_VALUE_I16:
        return 2;
    case GGUF_VALUE_U32:
    case GGUF_VALUE_I32:
    case GGUF_VALUE_F32:
        return 4;
    case GGUF_VALUE_U64:
    case GGUF_VALUE_I64:
    case GGUF_VALUE_F64:
        return 8;
    default:
        return 0;
    }
}

const char *gguf_show(struct gguf_str s, char out[GGUF_SHOW_MAX])
{
    size_t len = 0, i = 0;
    while (i < s.len && len + 4 + sizeof("…") <= GGUF_SHOW_MAX) {
        uint32_t cp;
        size_t n = utf8_decode(s.data + i, s.len - i, &cp);
        if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            out[len++] = '?';
            n = n ? n : 1;
        } else {
            memcpy(out + len, s.data + i, n);
            len += n;
        }
        i += n;
    }
    snprintf(out + len, GGUF_SHOW_MAX - len, "%s", i < s.len ? "…" : "");
    return out;
}
