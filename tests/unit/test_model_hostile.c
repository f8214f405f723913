/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile files: every single-field corruption of a tiny valid file, every truncation of its header, and the holes that
 * other readers of GGUF had, by name. Each must be refused with an errno that means so and one sentence, or be harmless
 * and said so here; none may crash, take long, or take more than 64 MiB.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/utf8.h"
#include "model/gguf_internal.h"
#include "tests/lib/load_model.h"
#include "tests/lib/tiny_model.h"

#define TIME_MAX   (5 * CLOCK_NS_PER_SEC) /* for one file, under a sanitizer on a busy machine */
#define MEMORY_MAX (64u << 20)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

/* What every refusal must look like. */
static void check_refusal(const struct err *e)
{
    bool known = e->code == EBADMSG || e->code == ENOEXEC || e->code == ENOMEM;
    size_t len = strlen(e->text);
    if (!known || len < 8 || e->text[len - 1] == '.' || strchr(e->text, '\n'))
        print_error("a bad refusal: %d: %s\n", e->code, e->text);
    assert_true(known);
    assert_true(len >= 8 && e->text[len - 1] != '.' && !strchr(e->text, '\n'));
    assert_true(utf8_valid(e->text, len));
}

/* Time that this process has computed: others' load does not count. */
static uint64_t cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * CLOCK_NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* Loads the descriptor's file (and closes it). Whether it was accepted; *e says why not. */
static bool try_fd(int fd, struct err *e)
{
    uint64_t start = cpu_now();
    CLEANUP_LOADED struct loaded l = load_model(fd);
    assert_true(cpu_now() - start < TIME_MAX);
    if (l.gguf)
        load_model_walk(l.file, l.gguf, l.model);
    if (!l.model)
        check_refusal(&l.e);
    *e = l.e;
    return l.model != NULL;
}

static bool try_bytes(const void *data, size_t n, struct err *e)
{
    return try_fd(gguf_build_fd(data, n), e);
}

/* A small valid file; fields tells what is where. */
static void build_small(enum model_arch arch, struct gguf_build *b, struct buf *file)
{
    struct tiny_model tm = arch == MODEL_LLAMA ? tiny_llama(GGUF_F32) : tiny_gemma3(GGUF_Q8_0);
    tm.n_layers = 1;
    tm.n_embd = 32;
    tm.n_heads = 2;
    tm.n_kv_heads = 1;
    tm.head_dim = 32;
    tm.n_ff = 32;
    gguf_build_init(b);
    gguf_build_u32(b, "general.alignment", 32);
    tiny_model_build(&tm, b);
    gguf_build_end(b, file);
    struct err e;
    assert_true(try_bytes(file->data, file->len, &e));
}

/* --- every field --- */

static uint64_t load_field(const char *p, size_t size)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    return v;
}

static bool starts(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* Metadata that says nothing about how to compute: what the tokenizer and people read. */
static bool is_other_data(const struct gguf_field *f)
{
    return starts(f->owner, "tokenizer.") || starts(f->owner, "general.name");
}

/*
 * The spoilt files that may be accepted, because they say something else that is valid as well. All others must be refused.
 */
static bool may_be_accepted(const struct gguf_field *f, uint64_t v)
{
    const struct gguf_type_info *info = gguf_type_info((uint32_t)v);
    switch (f->kind) {
    case GGUF_FIELD_VERSION:
        return v == 2;
    case GGUF_FIELD_TEXT: /* a key that is absent then has a default; tokens are the tokenizer's to check */
        return !f->of_tensor;
    case GGUF_FIELD_VALUE:
        if (strstr(f->owner, "alignment")) /* a smaller one that the places of all tensors fit */
            return v < 64 && (v & (v - 1)) == 0;
        return is_other_data(f) || strstr(f->owner, "context_length") ||
               strstr(f->owner, "rms_epsilon") || strstr(f->owner, "freq_base") ||
               strstr(f->owner, "sliding_window") || strstr(f->owner, "dimension_count");
    case GGUF_FIELD_TYPE: /* one as wide may serve as well: i32 for u32; the last tensor may be smaller */
        return !f->of_tensor || (starts(f->owner, "blk.0.ffn_down.weight") && info &&
                                 info->block_bytes < 4 * info->block);
    default:
        return false;
    }
}

struct tally {
    unsigned refused, accepted;
};

static void try_value(struct buf *file, const struct gguf_field *f, size_t size, uint64_t v,
                      struct tally *t)
{
    struct err e;
    char *p = file->data + f->at;
    uint64_t old = load_field(p, size);
    if (size < 8)
        v &= (UINT64_C(1) << (8 * size)) - 1;
    if (v == old)
        return;
    memcpy(p, &v, size);
    bool accepted = try_bytes(file->data, file->len, &e);
    memcpy(p, &old, size);
    if (accepted && !may_be_accepted(f, v))
        print_error("accepted: field of kind %d of \"%s\" at %zu as %" PRIu64 "\n", f->kind,
                    f->owner, f->at, v);
    assert_false(accepted && !may_be_accepted(f, v));
    t->accepted += accepted;
    t->refused += !accepted;
}

/* A number: by what it is, by its neighbours, by every power of two and what lies beside it. */
static void spoil_number(struct buf *file, const struct gguf_field *f, struct tally *t)
{
    size_t size = MIN(f->size, sizeof(uint64_t));
    uint64_t old = load_field(file->data + f->at, size);
    const uint64_t values[] = {0,       1,       old - 1,    old + 1,
                               old * 2, old / 2, UINT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        try_value(file, f, size, values[i], t);
    for (unsigned bit = 0; bit < 8 * size; bit++) {
        try_value(file, f, size, UINT64_C(1) << bit, t);
        try_value(file, f, size, (UINT64_C(1) << bit) - 1, t);
        try_value(file, f, size, old ^ (UINT64_C(1) << bit), t);
    }
}

static void spoil_text(struct buf *file, const struct gguf_field *f, struct tally *t)
{
    for (size_t i = 0; i < MIN(f->size, (size_t)8); i++) {
        struct gguf_field byte = *f;
        byte.at += i;
        try_value(file, &byte, 1, 0, t);
        try_value(file, &byte, 1, 0xff, t);
        try_value(file, &byte, 1, (unsigned char)file->data[byte.at] ^ 1u, t);
    }
}

static void spoil_all(enum model_arch arch)
{
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    struct tally t = {0};
    build_small(arch, &b, &file);
    for (size_t i = 0; i < b.n_fields; i++) {
        const struct gguf_field *f = &b.fields[i];
        /* of hundreds of alike tokens the first and last few are enough */
        bool is_token = !f->of_tensor && i > 3 && i + 3 < b.n_fields &&
                        strcmp(b.fields[i - 3].owner, f->owner) == 0 &&
                        strcmp(b.fields[i + 3].owner, f->owner) == 0 &&
                        starts(f->owner, "tokenizer.ggml.");
        if (is_token && i % 16 > 1)
            continue;
        if (f->kind == GGUF_FIELD_TEXT || f->kind == GGUF_FIELD_MAGIC)
            spoil_text(&file, f, &t);
        else
            spoil_number(&file, f, &t);
    }
    print_message("%u refused, %u accepted as harmless\n", t.refused, t.accepted);
    assert_true(t.refused > 10000);
    assert_true(t.accepted > 100);
}

static void test_every_field_of_llama(void **state)
{
    (void)state;
    spoil_all(MODEL_LLAMA);
}

static void test_every_field_of_gemma3(void **state)
{
    (void)state;
    spoil_all(MODEL_GEMMA3);
}

/* Cut anywhere, up to the last byte of its data. */
static void test_every_truncation(void **state)
{
    (void)state;
    CLEANUP_GGUF_BUILD struct gguf_build b;
    CLEANUP_BUF struct buf file = {0};
    struct err e;
    build_small(MODEL_LLAMA, &b, &file);
    size_t header = file.len - b.data.len;
    for (size_t n = 0; n < file.len; n += n < header + 64 ? 1 : 97) {
        bool accepted = try_bytes(file.data, n, &e);
        assert_false(accepted);
        assert_int_equal(e.code, EBADMSG);
    }
    assert_false(try_bytes(file.data, file.len - 1, &e));
}

/* --- holes that other readers had --- */

/* A builder to begin with, as most cases below need it: empty, or with what makes a model. */
struct craft {
    struct gguf_build b;
    struct buf file;
};

static void craft_end(struct craft *c)
{
    gguf_build_free(&c->b);
    buf_free(&c->file);
}
#define CRAFT(name)                                                                                \
    __attribute__((cleanup(craft_end))) struct craft name = {0};                                   \
    gguf_build_init(&name.b)

/* Ends the file and asserts that it is refused so. A virtual size above the file's real one makes a hole at its end. */
static void refused(struct craft *c, uint64_t virtual_size, int code, const char *says)
{
    struct err e;
    gguf_build_end(&c->b, &c->file);
    int fd = gguf_build_fd(c->file.data, c->file.len);
    if (virtual_size > c->file.len)
        assert_int_equal(ftruncate(fd, (off_t)virtual_size), 0);
    assert_false(try_fd(fd, &e));
    if (e.code != code || !strstr(e.text, says))
        print_error("got %d: %s\n", e.code, e.text);
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.text, says));
}

static void raw_value(struct craft *c, uint32_t type, const char *bytes, size_t n)
{
    gguf_build_raw(&c->b, "a", type, bytes, n);
}

#define MAX8 "\xff\xff\xff\xff\xff\xff\xff\xff"

/* CVE-2024-23496, 21802, 21825, 21836, 23605: sizes of strings and arrays, and the counts, in the first reader. */
static void test_cve_2024_sizes(void **state)
{
    (void)state;
    const struct {
        uint32_t type;
        const char *bytes;
        size_t n;
    } values[] = {
        {GGUF_VALUE_STR, MAX8, 8},                                 /* len + 1 is 0 */
        {GGUF_VALUE_STR, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8},   /* INT64_MAX */
        {GGUF_VALUE_STR, "\0\0\0\0\1\0\0\0", 8},                   /* 4 GiB */
        {GGUF_VALUE_ARRAY, "\x0a\0\0\0\1\0\0\0\0\0\0\x20", 12},    /* × 8 is 8 */
        {GGUF_VALUE_ARRAY, "\x08\0\0\0\0\0\0\0\0\0\0\x10", 12},    /* × 16 is 0 */
        {GGUF_VALUE_ARRAY, "\x08\0\0\0\1\0\0\0\0\0\0\0" MAX8, 20}, /* a string in it */
        {GGUF_VALUE_ARRAY, "\0\0\0\0" MAX8, 12},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        for (int hole = 0; hole <= 1; hole++) { /* as it is, and in a file of a terabyte */
            CRAFT(c);
            raw_value(&c, values[i].type, values[i].bytes, values[i].n);
            refused(&c, hole ? UINT64_C(1) << 40 : 0, EBADMSG, "");
        }
    const uint64_t counts[] = {UINT64_MAX, UINT64_C(1) << 61, UINT64_C(1) << 32, 1000000, 3};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        CRAFT(c);
        c.b.n_kvs = counts[i];
        refused(&c, 0, EBADMSG, "keys of metadata");
        CRAFT(d);
        d.b.n_tensors = counts[i];
        refused(&d, 0, EBADMSG, "tensors in a file");
        CRAFT(h);
        h.b.n_tensors = counts[i];
        h.b.n_kvs = counts[i];
        refused(&h, UINT64_C(1) << 40, EBADMSG, "");
    }
}

static void test_cve_2024_tensor_shapes(void **state)
{
    (void)state;
    static const uint64_t nes[][4] = {
        {UINT64_MAX, 1, 1, 1},
        {UINT64_C(1) << 63, 1, 1, 1},
        {UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1},
        {UINT64_C(1) << 32, UINT64_C(1) << 16, UINT64_C(1) << 16, 32},
        {0, 1, 1, 1},
        {32, 0, 1, 1},
        {UINT64_C(1) << 40, 1, 1, UINT64_C(1) << 40},
    };
    for (size_t i = 0; i < ARRAY_LEN(nes); i++) {
        CRAFT(c);
        gguf_build_tensor_data(&c.b, "t", GGUF_F32, 4, nes[i], "", 0);
        refused(&c, UINT64_C(1) << 40, EBADMSG, "tensor t: ");
    }
    static const uint64_t many[64];
    const uint32_t n_dims[] = {0, 5, 64};
    for (size_t i = 0; i < ARRAY_LEN(n_dims); i++) {
        CRAFT(c);
        gguf_build_tensor_data(&c.b, "t", GGUF_F32, n_dims[i], many, "", 0);
        refused(&c, 0, EBADMSG, "1 to 4 are allowed");
    }
    CRAFT(c);
    gguf_build_tensor_data(&c.b, "t", GGUF_Q4_K, 2, (uint64_t[]){128, 2}, "", 0);
    refused(&c, 0, EBADMSG, "no whole blocks of Q4_K");
}

/* CVE-2024-32878, 41130: what is freed, or taken for there, after a read that failed half way. */
static void test_cve_2024_half_read(void **state)
{
    (void)state;
    CRAFT(c);
    gguf_build_str(&c.b, "general.architecture", "llama");
    raw_value(&c, GGUF_VALUE_ARRAY, "\x08\0\0\0\x9\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x", 21);
    refused(&c, 0, EBADMSG, "a: ");
    CRAFT(none);
    gguf_build_strs(&none.b, "tokenizer.ggml.tokens", NULL, 0);
    refused(&none, 0, EBADMSG, "general.architecture");
    CRAFT(empty);
    refused(&empty, 0, EBADMSG, "general.architecture");
    CRAFT(name);
    gguf_build_tensor_data(&name.b, "", GGUF_F32, 1, (uint64_t[]){1}, "1234", 4);
    refused(&name, 0, EBADMSG, "no name");
    CRAFT(key);
    gguf_build_u32(&key.b, "", 1);
    refused(&key, 0, EBADMSG, "empty");
}

/* CVE-2024-42477, and the negative types of CVE-2026-27940: a type that is an index beyond the table. */
static void test_cve_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {4,  5,  9,  15,   31,         33,         36,        38,
                                     40, 63, 64, 1000, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        CRAFT(c);
        gguf_build_tensor_data(&c.b, "t", types[i], 1, (uint64_t[]){256}, "", 0);
        refused(&c, 4096, ENOEXEC, "tensor t: its type");
    }
    static const uint32_t values[] = {13, 64, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        CRAFT(c);
        raw_value(&c, values[i], MAX8, 8);
        refused(&c, 0, EBADMSG, "unknown type");
        CRAFT(d);
        char array[20] = {0};
        memcpy(array, &values[i], 4);
        raw_value(&d, GGUF_VALUE_ARRAY, array, sizeof(array));
        refused(&d, 0, EBADMSG, "unknown type");
    }
    CRAFT(nested);
    raw_value(&nested, GGUF_VALUE_ARRAY, "\x09\0\0\0\1\0\0\0\0\0\0\0", 12);
    refused(&nested, 0, ENOEXEC, "arrays of arrays");
    CRAFT(boolean);
    raw_value(&boolean, GGUF_VALUE_BOOL, "\2", 1);
    refused(&boolean, 0, EBADMSG, "bool");
    CRAFT(bools);
    raw_value(&bools, GGUF_VALUE_ARRAY, "\x07\0\0\0\3\0\0\0\0\0\0\0\1\0\xff", 15);
    refused(&bools, 0, EBADMSG, "bool");
}

/* CVE-2025-53630, CVE-2026-27940, CVE-2026-33298: sizes whose sum, or product with the bytes of a block, wraps around. */
static void test_cve_size_sums(void **state)
{
    (void)state;
    CRAFT(product); /* 2^62 elements × 4 bytes: 0 */
    gguf_build_tensor_data(&product.b, "t", GGUF_F32, 2,
                           (uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 30}, "", 0);
    refused(&product, INT64_MAX, EBADMSG, "its size is too large");
    CRAFT(sum); /* 2^62 bytes each, four of them: 0 */
    for (char name[] = "a"; *name < 'e'; ++*name)
        gguf_build_tensor_data(&sum.b, name, GGUF_F32, 1, (uint64_t[]){UINT64_C(1) << 60}, "", 0);
    refused(&sum, INT64_MAX, EBADMSG, "tensor b: its data is said to begin at 0");
    CRAFT(small); /* an exabyte by its shape, four megabytes by its file */
    gguf_build_tensor_data(&small.b, "t", GGUF_Q8_0, 2,
                           (uint64_t[]){UINT64_C(1) << 30, UINT64_C(1) << 30}, "", 0);
    refused(&small, 4 << 20, EBADMSG, "beyond the file");
}

/* CVE-2026-7482: a tensor that ends beyond the file, by one byte and by much; overlapping and swapped ones. */
static void test_cve_2026_beyond_the_file(void **state)
{
    (void)state;
    CRAFT(one);
    gguf_build_tensor_data(&one.b, "t", GGUF_F32, 1, (uint64_t[]){32}, MAX8, 8);
    buf_add(&one.b.data, (char[119]){0}, 119);
    refused(&one, 0, EBADMSG, "beyond the file");
    CRAFT(much);
    gguf_build_tensor_data(&much.b, "t", GGUF_F32, 1, (uint64_t[]){UINT64_C(1) << 40}, MAX8, 8);
    refused(&much, 0, EBADMSG, "beyond the file");
    CRAFT(overlap);
    gguf_build_tensor_data(&overlap.b, "t", GGUF_F32, 1, (uint64_t[]){64}, MAX8, 8);
    gguf_build_tensor_data(&overlap.b, "u", GGUF_F32, 1, (uint64_t[]){8}, MAX8, 8);
    refused(&overlap, 4096, EBADMSG, "tensor u: its data is said to begin at 32");
}

/* Alignments: of another type, 0, odd, and so large that rounding up wraps. */
static void test_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 3, 33, 2 << 20, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CRAFT(c);
        gguf_build_u32(&c.b, "general.alignment", bad[i]);
        refused(&c, 0, EBADMSG, "power of two");
    }
    CRAFT(str);
    gguf_build_str(&str.b, "general.alignment", "32");
    refused(&str, 0, EBADMSG, "general.alignment is no");
    CRAFT(wide);
    gguf_build_raw(&wide.b, "general.alignment", GGUF_VALUE_U64, "\x20\0\0\0\0\0\0\0", 8);
    refused(&wide, 0, EBADMSG, "general.alignment is no");
    CRAFT(array);
    gguf_build_i32s(&array.b, "general.alignment", (int32_t[]){32}, 1);
    refused(&array, 0, EBADMSG, "general.alignment is no");
}

static void test_names(void **state)
{
    (void)state;
    CRAFT(keys);
    gguf_build_u32(&keys.b, "general.alignment", 32);
    gguf_build_u32(&keys.b, "general.alignment", 64);
    refused(&keys, 0, EBADMSG, "general.alignment: the key stands twice");
    CRAFT(names);
    for (int i = 0; i < 2; i++)
        gguf_build_tensor(&names.b, "t", GGUF_F32, 1, (uint64_t[]){8});
    refused(&names, 0, EBADMSG, "tensor t stands twice");
    char name[65536 + 1];
    memset(name, 'k', sizeof(name));
    name[64] = 0;
    CRAFT(tensor);
    gguf_build_tensor(&tensor.b, name, GGUF_F32, 1, (uint64_t[]){8});
    refused(&tensor, 0, EBADMSG, "has 64 bytes, 63 are allowed");
    name[64] = 'k';
    name[65536] = 0;
    CRAFT(key);
    gguf_build_u32(&key.b, name, 1);
    refused(&key, 0, EBADMSG, "has 65536 bytes, 65535 are allowed");
}

static void test_no_gguf(void **state)
{
    (void)state;
    struct err e;
    assert_false(try_bytes("", 0, &e));
    assert_int_equal(e.code, EBADMSG);
    assert_false(try_bytes("GGU", 3, &e));
    assert_int_equal(e.code, EBADMSG);
    assert_false(try_bytes("PK\3\4 and so on, for long enough", 30, &e));
    assert_non_null(strstr(e.text, "no GGUF file"));
    static const struct {
        uint32_t version;
        int code;
    } versions[] = {{0, EBADMSG},  {1, ENOEXEC},          {4, ENOEXEC},
                    {99, ENOEXEC}, {0x03000000, ENOEXEC}, {0x12345678, EBADMSG}};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        CRAFT(c);
        c.b.version = versions[i].version;
        refused(&c, 0, versions[i].code, "GGUF");
    }
}

/* --- memory and time --- */

/* A key and the beginning of an array of n elements; what follows are zeros of the file's hole. */
static void array_in_a_hole(struct craft *c, uint32_t type, uint64_t n)
{
    char bytes[12];
    memcpy(bytes, &type, 4);
    memcpy(bytes + 4, &n, 8);
    raw_value(c, GGUF_VALUE_ARRAY, bytes, sizeof(bytes));
    c->b.n_kvs = 2; /* the second key is a zero too much: what is read so far is given up again */
}

/* The address space that is in use, in bytes. */
static size_t address_space(void)
{
    char text[64] = {0};
    CLEANUP_FD int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Headers as large as they may be, made to take the most memory for the least file. */
static void build_greedy(int i, struct craft *c)
{
    char name[32];
    switch (i) {
    case 0: /* six million empty strings */
        array_in_a_hole(c, GGUF_VALUE_STR, GGUF_HEADER_MAX / 8 - 16);
        break;
    case 1: /* one long string */
        raw_value(c, GGUF_VALUE_STR, "\0\0\xf0\2\0\0\0\0", 8);
        c->b.n_kvs = 2;
        break;
    case 2:
        array_in_a_hole(c, GGUF_VALUE_U8, GGUF_HEADER_MAX - 64);
        break;
    case 3: /* as many keys and tensors as there may be */
        for (int k = 0; k < 65536; k++) {
            snprintf(name, sizeof(name), "key%d", k);
            gguf_build_bool(&c->b, name, true);
        }
        for (int t = 0; t < 65536; t++) {
            snprintf(name, sizeof(name), "t%d", t);
            gguf_build_tensor_data(&c->b, name, GGUF_I8, 1, (uint64_t[]){1}, "", 1);
        }
        break;
    default: /* many arrays of one string */
        for (int k = 0; k < 65000; k++) {
            const char *none = "";
            snprintf(name, sizeof(name), "key%d", k);
            gguf_build_strs(&c->b, name, &none, 1);
        }
        break;
    }
}

/*
 * Loads it with no more than `more` bytes of address space. (A sanitizer's own memory cannot be told apart: there is no
 * limit then.)
 */
static int code_within(struct craft *c, size_t more)
{
    struct rlimit old, limit;
    struct err e;
    int fd = gguf_build_fd(c->file.data, c->file.len);
    assert_int_equal(ftruncate(fd, INT64_C(1) << 40), 0);
    getrlimit(RLIMIT_AS, &old);
    limit = old;
    if (!IS_SANITIZED)
        limit.rlim_cur = address_space() + more;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    bool accepted = try_fd(fd, &e);
    setrlimit(RLIMIT_AS, &old);
    assert_false(accepted);
    return e.code;
}

/* No more than 64 MiB before a refusal: within them the reason is never that memory was lacking; within few it is. */
static void test_memory(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        CRAFT(c);
        build_greedy(i, &c);
        gguf_build_end(&c.b, &c.file);
        assert_int_equal(code_within(&c, MEMORY_MAX), EBADMSG);
        if (!IS_SANITIZED && i < 3) /* the headers of 48 MiB; the others find what the test freed */
            assert_int_equal(code_within(&c, 16 << 20), ENOMEM);
    }
}

/* --- what the fuzzer starts from, and what it found --- */

/*
 * Inputs of fuzz_gguf: a size that the file pretends to have, and its beginning. The seeds named after architectures are
 * valid; a find that is kept there is replayed here for ever.
 */
static void test_corpus(void **state)
{
    (void)state;
    CLEANUP_FD int dir_fd = open("tests/fuzz/corpus/gguf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir_fd >= 0); /* tests run from the root of the clone */
    DIR *dir = fdopendir(dup(dir_fd));
    assert_non_null(dir);
    unsigned n_valid = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        CLEANUP_BUF struct buf input = {0};
        char path[300];
        struct err e;
        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "tests/fuzz/corpus/gguf/%s", d->d_name);
        assert_int_equal(io_read_file(path, 1 << 20, &input, &e), 0);
        assert_true(input.len >= 8);
        int fd = gguf_build_fd(input.data + 8, input.len - 8);
        uint64_t size = gguf_load_u64(input.data) % (UINT64_C(1) << 44);
        assert_int_equal(ftruncate(fd, (off_t)MAX(size, input.len - 8)), 0);
        bool accepted = try_fd(fd, &e),
             is_seed = starts(d->d_name, "llama") || starts(d->d_name, "gemma3");
        if (is_seed && !accepted)
            print_error("%s: %s\n", path, e.text);
        assert_true(accepted || !is_seed);
        n_valid += accepted;
    }
    closedir(dir);
    assert_true(n_valid >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_of_llama),
        cmocka_unit_test(test_every_field_of_gemma3),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_cve_2024_sizes),
        cmocka_unit_test(test_cve_2024_tensor_shapes),
        cmocka_unit_test(test_cve_2024_half_read),
        cmocka_unit_test(test_cve_types),
        cmocka_unit_test(test_cve_size_sums),
        cmocka_unit_test(test_cve_2026_beyond_the_file),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_gguf),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
