/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mount_options.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

enum kind { FLAG, COUNT, SIZE, TEXT, KERNEL, IGNORED };

static const struct option {
    const char *name;
    enum kind kind;
    size_t field; /* of struct mount_options */
} options[] = {
    {"allow_other", FLAG, offsetof(struct mount_options, allow_other)},
    {"threads", COUNT, offsetof(struct mount_options, threads)},
    {"context", COUNT, offsetof(struct mount_options, context)},
    {"hang", COUNT, offsetof(struct mount_options, hang)},
    {"kv", SIZE, offsetof(struct mount_options, kv)},
    {"engine", TEXT, offsetof(struct mount_options, engine)},
    {"kernels", TEXT, offsetof(struct mount_options, kernels)},
    {"log", TEXT, offsetof(struct mount_options, log)},
    /* the kernel's own */
    {"ro", KERNEL, 0},
    {"rw", KERNEL, 0},
    {"dev", KERNEL, 0},
    {"nodev", KERNEL, 0},
    {"suid", KERNEL, 0},
    {"nosuid", KERNEL, 0},
    {"exec", KERNEL, 0},
    {"noexec", KERNEL, 0},
    {"atime", KERNEL, 0},
    {"noatime", KERNEL, 0},
    {"sync", KERNEL, 0},
    {"async", KERNEL, 0},
    {"dirsync", KERNEL, 0},
    /* for mount(8), fstab and systemd alone */
    {"defaults", IGNORED, 0},
    {"auto", IGNORED, 0},
    {"noauto", IGNORED, 0},
    {"user", IGNORED, 0},
    {"nouser", IGNORED, 0},
    {"users", IGNORED, 0},
    {"nofail", IGNORED, 0},
    {"_netdev", IGNORED, 0},
    {"relatime", IGNORED, 0},
    {"norelatime", IGNORED, 0},
};

static const struct option *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

static int parse_count(const char *name, const char *text, uint32_t *out, struct err *e)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > INT32_MAX)
        return err_set(e, EINVAL, "option %s: %s is not a number from 0 to %d", name, text,
                       INT32_MAX);
    *out = (uint32_t)n;
    return 0;
}

static int parse_size(const char *name, const char *text, uint64_t *out, struct err *e)
{
    static const char suffixes[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (suffix)
        end++;
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > (UINT64_C(1) << 60) >> shift)
        return err_set(e, EINVAL, "option %s: %s is not a size (a number, and K, M, G or T)", name,
                       text);
    *out = (uint64_t)n << shift;
    return 0;
}

static int take(struct mount_options *o, const struct option *known, const char *name,
                const char *value, struct err *e)
{
    char *field = (char *)o + known->field;
    bool wants = known->kind == COUNT || known->kind == SIZE || known->kind == TEXT;
    if (wants != (value && value[0]) && known->kind != IGNORED)
        return err_set(e, EINVAL, wants ? "option %s needs a value" : "option %s takes no value",
                       name);
    switch (known->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case COUNT:
        return parse_count(name, value, (uint32_t *)(void *)field, e);
    case SIZE:
        return parse_size(name, value, (uint64_t *)(void *)field, e);
    case TEXT:
        free(*(char **)(void *)field);
        *(char **)(void *)field = xstrdup(value);
        return 0;
    case KERNEL:
        buf_printf(&o->kernel, "%s%s", o->kernel.len ? "," : "", name);
        return 0;
    case IGNORED:
        return 0;
    }
    return 0;
}

int mount_options_parse(struct mount_options *o, const char *text, struct err *e)
{
    CLEANUP_FREE char *copy = xstrdup(text);
    char *rest = copy;
    for (char *name; (name = strsep(&rest, ","));) {
        if (name[0] == '\0' || strncmp(name, "x-", 2) == 0 || strncmp(name, "comment=", 8) == 0)
            continue;
        char *value = strchr(name, '=');
        if (value)
            *value++ = '\0';
        const struct option *known = find(name);
        if (!known)
            return err_set(e, EINVAL, "there is no option %s (llmosfs help mount lists them)",
                           name);
        if (take(o, known, name, value, e) < 0)
            return -1;
    }
    return 0;
}

void mount_options_free(struct mount_options *o)
{
    free(o->engine);
    free(o->kernels);
    free(o->log);
    buf_free(&o->kernel);
    *o = (struct mount_options){0};
}
