/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"

#define BAR    24
#define REDRAW (CLOCK_NS_PER_SEC / 10)

static void draw(const struct progress *p, uint64_t done, uint64_t now)
{
    double part = p->total > 0 ? (double)done / (double)p->total : 1;
    double seconds = (double)(now - p->begun) / (double)CLOCK_NS_PER_SEC;
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    bar[BAR] = '\0';
    char size[CLI_SIZE_MAX];
    char speed[CLI_SIZE_MAX];
    cli_size(done, size);
    cli_size(seconds > 0 ? (unsigned long long)((double)done / seconds) : 0, speed);
    fprintf(stderr, "\r%s  [%s] %3.0f %%  %s  %s/s \033[K", p->name, bar, part * 100, size, speed);
}

void progress_begin(struct progress *p, const char *name, uint64_t total)
{
    *p = (struct progress){
        .name = name, .total = total, .begun = clock_now(), .on = isatty(STDERR_FILENO)};
}

void progress_update(struct progress *p, uint64_t done)
{
    uint64_t now = clock_now();
    if (!p->on || now - p->drawn < REDRAW)
        return;
    p->drawn = now;
    draw(p, done, now);
}

void progress_end(struct progress *p, uint64_t done)
{
    if (!p->on)
        return;
    draw(p, done, clock_now());
    fputc('\n', stderr);
}
