/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/inspect.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/batch.h"
#include "engine/forward.h"
#include "model/chat.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/tokenizer.h"

#define NAME_MAX_BYTES 256 /* of general.name and architecture, which are anybody's text */

/* Where a string of the facts lies in text: text may move while it grows. */
struct part {
    size_t start;
    size_t len;
};

struct inspector {
    struct inspect_facts *out;
    struct part reason, architecture, name, quantization;
};

void inspect_free(struct inspect_facts *f)
{
    buf_free(&f->text);
    *f = (struct inspect_facts){0};
}

/* Text of the file may be anything: bytes that are not UTF-8 become '?', and it is cut where it is
 * long. */
static struct part add_text(struct inspector *in, const char *s, size_t len)
{
    struct buf *b = &in->out->text;
    struct part p = {.start = b->len};
    len = MIN(len, (size_t)NAME_MAX_BYTES);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = utf8_decode(s + i, len - i, &cp);
        if (n == 0 || cp < 0x20)
            buf_add_char(b, '?');
        else
            buf_add(b, s + i, n);
        i += MAX(n, (size_t)1);
    }
    p.len = b->len - p.start;
    return p;
}

static struct part add_key(struct inspector *in, const struct gguf *g, const char *key)
{
    struct gguf_str s;
    return gguf_get_str(g, key, &s) ? add_text(in, s.data, s.len) : (struct part){0};
}

static int inspect_model(struct inspector *in, const struct gguf *g, struct err *e)
{
    struct proto_facts *f = &in->out->facts;
    in->architecture = add_key(in, g, "general.architecture");
    in->name = add_key(in, g, "general.name");
    CLEANUP(model) struct model *m = model_read(g, e);
    if (!m)
        return -1;
    in->quantization = add_text(in, m->quantization, strlen(m->quantization));
    f->parameters = m->n_params;
    f->context = m->hp.context;
    f->vocabulary = m->hp.n_vocab;
    f->weights_bytes = m->weights_bytes;
    f->memory_needed = m->weights_bytes + forward_bytes(&m->hp, BATCH_ROWS);
    f->kv_per_token = m->kv_per_token;
    CLEANUP(tokenizer) struct tokenizer *t = tokenizer_new(g, e);
    return t ? 0 : -1;
}

static int inspect_all(struct inspector *in, const struct vfile *v, struct err *e)
{
    CLEANUP(gguf) struct gguf *g = gguf_read(v, e);
    if (!g || inspect_model(in, g, e) < 0)
        return -1;
    struct gguf_str text;
    if (gguf_get_str(g, "tokenizer.chat_template", &text)) {
        CLEANUP(chat) struct chat_template *chat = chat_parse(text.data, text.len, NULL);
        in->out->facts.chat = chat != NULL;
    }
    return 0;
}

static struct proto_str str_of(const struct inspector *in, struct part p)
{
    return (struct proto_str){.data = p.len ? in->out->text.data + p.start : "", .len = p.len};
}

void inspect_file(int fd, uint64_t size, struct inspect_facts *out)
{
    struct err e = {0};
    struct inspector in = {.out = out};
    *out = (struct inspect_facts){0};
    struct vfile_segment whole = {.fd = fd, .offset = 0, .len = size};
    CLEANUP(vfile) struct vfile *v = vfile_new(&whole, 1, &e);
    if (!v || inspect_all(&in, v, &e) < 0) {
        out->facts.validity = e.code == ENOEXEC ? PROTO_UNSUPPORTED : PROTO_DAMAGED;
        in.reason.start = out->text.len;
        buf_add_str(&out->text, e.text);
        in.reason.len = out->text.len - in.reason.start;
    }
    out->facts.reason = str_of(&in, in.reason);
    out->facts.architecture = str_of(&in, in.architecture);
    out->facts.name = str_of(&in, in.name);
    out->facts.quantization = str_of(&in, in.quantization);
}
