/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/load_model.h"

#include <math.h>

#include "base/log.h"
#include "model/gguf_internal.h"

struct loaded load_model(int fd)
{
    struct loaded l = {.fd = fd};
    l.file = vfile_from_fd(fd, &l.e);
    l.gguf = l.file ? gguf_read(l.file, &l.e) : NULL;
    l.model = l.gguf ? model_read(l.gguf, &l.e) : NULL;
    return l;
}

void load_model_end(struct loaded *l)
{
    model_free(l->model);
    gguf_free(l->gguf);
    vfile_free(l->file);
    close(l->fd);
}

static uint64_t sum_str(struct gguf_str s)
{
    uint64_t sum = s.len;
    for (size_t i = 0; i < s.len; i++)
        sum = sum * 31 + (unsigned char)s.data[i];
    return sum;
}

static uint64_t walk_array(const struct gguf *g, const char *key, enum gguf_kind kind)
{
    uint64_t sum = 0;
    size_t n = 0;
    const struct gguf_array *a = gguf_get_array(g, key, kind, &n);
    for (size_t i = 0; a && i < n; i++)
        if (kind == GGUF_KIND_STR)
            sum += sum_str(gguf_array_str(a, i));
        else if (kind == GGUF_KIND_FLOAT)
            sum += gguf_array_float(a, i) > 0;
        else
            sum += (uint64_t)gguf_array_int(a, i);
    return sum;
}

/* Every key, by every getter. */
static uint64_t walk_metadata(const struct gguf *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < g->n_kvs; i++) {
        struct gguf_str name = gguf_str_at(g, g->kvs[i].key), s;
        CLEANUP_FREE char *key = xstrndup(name.data, name.len); /* up to a NUL in it */
        uint64_t u;
        double f;
        bool is_true;
        sum += gguf_has(g, key) + gguf_get_u64(g, key, &u) + gguf_get_f64(g, key, &f) +
               gguf_get_bool(g, key, &is_true);
        if (gguf_get_str(g, key, &s))
            sum += sum_str(s);
        for (int kind = GGUF_KIND_STR; kind <= GGUF_KIND_BOOL; kind++)
            sum += walk_array(g, key, (enum gguf_kind)kind);
    }
    return sum;
}

static uint64_t walk_tensors(const struct vfile *f, const struct gguf *g)
{
    uint64_t sum = 0, end = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        if (t->bytes == 0 || t->offset < end || t->bytes > vfile_size(f) ||
            t->offset > vfile_size(f) - t->bytes)
            log_fatal("tensor %zu lies outside its place", i);
        end = t->offset + t->bytes;
        sum += sum_str(t->name) + t->offset;
    }
    return sum;
}

static void check_model(const struct model *m)
{
    const struct model_hparams *hp = &m->hp;
    const float numbers[] = {hp->rms_eps,         hp->rope_base,         hp->rope_scale,
                             hp->rope_base_local, hp->attention_scale,   hp->embedding_scale,
                             hp->logit_softcap,   hp->attention_softcap, 0};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!isfinite(numbers[i]))
            log_fatal("hyperparameter %zu is not finite", i);
    if (hp->n_layers < 1 || hp->n_kv_heads < 1 || hp->n_heads % hp->n_kv_heads != 0 ||
        hp->head_dim % 2 != 0 || hp->rope_dims % 2 != 0 || hp->rope_dims > hp->head_dim ||
        m->token_embd->ne[1] < hp->n_vocab || m->output->ne[1] < hp->n_vocab)
        log_fatal("the hyperparameters contradict each other");
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        const struct model_layer *layer = &m->layers[l];
        if (layer->attn_q->ne[0] != hp->n_embd || layer->ffn_down->ne[0] != hp->n_ff ||
            layer->attn_k->ne[1] != (uint64_t)hp->n_kv_heads * hp->head_dim ||
            layer->attn_norm->bytes != (uint64_t)hp->n_embd * 4)
            log_fatal("layer %u has a tensor of another shape", l);
    }
}

uint64_t load_model_walk(const struct vfile *f, const struct gguf *g, const struct model *m)
{
    if (m)
        check_model(m);
    return walk_metadata(g) + walk_tensors(f, g);
}
