/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/listing.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int listing_read(int dir, struct listing *l, struct err *e)
{
    *l = (struct listing){0};
    int fd = dup(dir);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return err_sys(e, "cannot list the directory");
    }
    rewinddir(d);
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(d)); errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        l->names = xrealloc(l->names, (l->count + 1) * sizeof(*l->names));
        l->names[l->count++] = xstrdup(entry->d_name);
    }
    int code = errno;
    closedir(d);
    if (code != 0) {
        listing_free(l);
        errno = code;
        return err_sys(e, "cannot list the directory");
    }
    if (l->count > 0)
        qsort(l->names, l->count, sizeof(*l->names), compare);
    return 0;
}

void listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    *l = (struct listing){0};
}

char *listing_link(int dir, const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dir, name, target, sizeof(target));
    return n < 0 ? NULL : xstrndup(target, (size_t)n);
}

/* A number, if it is written as numbers are: a digest or a version with zeros in front is a text. */
static json_t *value_json(const char *text)
{
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    char again[32];
    snprintf(again, sizeof(again), "%lld", number);
    return errno == 0 && strcmp(again, text) == 0 ? json_integer(number) : json_string(text);
}

json_t *listing_json(const char *lines)
{
    json_t *object = json_object();
    CLEANUP_FREE char *copy = xstrdup(lines);
    char *rest = copy;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (line[0] == '\0')
            continue;
        char *value = line + strcspn(line, " \t");
        if (*value)
            *value++ = '\0';
        value += strspn(value, " \t");
        json_object_set_new(object, line, value_json(value));
    }
    return object;
}

void listing_print(json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(j);
}
