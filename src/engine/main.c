/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llmosfs-engine: one process for one model. The supervisor starts it with a socket to the daemon;
 * for developers it also answers, and measures itself, without one.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/direct.h"
#include "engine/loop.h"
#include "engine/sandbox.h"

#define SLICE_NS       6000000 /* of each of its threads */
#define DEFAULT_SOCKET 3

static const char help[] =
    "llmosfs-engine answers questions with one model. llmosfs starts it; by hand it serves those "
    "who develop it.\n"
    "\n"
    "  llmosfs-engine [--socket N]             speak to the daemon over descriptor N (3)\n"
    "  llmosfs-engine --inspect [--socket N]   say what is in files of weights\n"
    "  llmosfs-engine --generate FILE --prompt TEXT [--system TEXT] [--raw] [-n TOKENS] [-t "
    "THREADS]\n"
    "                 [--temperature X] [--top-k N] [--top-p X] [--min-p X] [--seed N]\n"
    "                                          answer TEXT with the model FILE: the likeliest "
    "tokens, or drawn ones\n"
    "  llmosfs-engine --bench FILE [-p TOKENS] [-n TOKENS] [-t THREADS] [-r TIMES]\n"
    "                                          measure: a prompt of so many tokens (512), an "
    "answer of so many (128)\n"
    "\n"
    "  --kernels NAME   portable, avx2 or avx512 instead of the best that the machine has\n"
    "  --context N      most tokens of a prompt and its answer; --kv-bytes N: memory for the "
    "cache\n";

enum option_id {
    OPT_SOCKET = 256,
    OPT_INSPECT,
    OPT_GENERATE,
    OPT_BENCH,
    OPT_PROMPT,
    OPT_SYSTEM,
    OPT_RAW,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_SEED,
    OPT_KERNELS,
    OPT_CONTEXT,
    OPT_KV_BYTES,
};

static const struct option options[] = {{"socket", 1, NULL, OPT_SOCKET},
                                        {"inspect", 0, NULL, OPT_INSPECT},
                                        {"generate", 1, NULL, OPT_GENERATE},
                                        {"bench", 1, NULL, OPT_BENCH},
                                        {"prompt", 1, NULL, OPT_PROMPT},
                                        {"system", 1, NULL, OPT_SYSTEM},
                                        {"raw", 0, NULL, OPT_RAW},
                                        {"temperature", 1, NULL, OPT_TEMPERATURE},
                                        {"top-k", 1, NULL, OPT_TOP_K},
                                        {"top-p", 1, NULL, OPT_TOP_P},
                                        {"min-p", 1, NULL, OPT_MIN_P},
                                        {"seed", 1, NULL, OPT_SEED},
                                        {"kernels", 1, NULL, OPT_KERNELS},
                                        {"context", 1, NULL, OPT_CONTEXT},
                                        {"kv-bytes", 1, NULL, OPT_KV_BYTES},
                                        {"help", 0, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};

enum mode { MODE_ENGINE, MODE_INSPECT, MODE_GENERATE, MODE_BENCH, MODE_HELP };

struct arguments {
    enum mode mode;
    int socket;
    struct direct_options direct;
};

static void fail(const char *name, const char *value)
{
    fprintf(stderr, "llmosfs-engine: %s %s makes no sense; see llmosfs-engine --help\n", name,
            value);
    exit(2);
}

static uint64_t number(const char *name, const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || v > max)
        fail(name, text);
    return v;
}

static double real(const char *name, const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0')
        fail(name, text);
    return v;
}

static void take_option(struct arguments *a, int opt, const char *v)
{
    struct direct_options *d = &a->direct;
    switch (opt) {
    case OPT_SOCKET:
        a->socket = (int)number("--socket", v, INT32_MAX);
        break;
    case OPT_INSPECT:
        a->mode = MODE_INSPECT;
        break;
    case OPT_GENERATE:
        a->mode = MODE_GENERATE, d->file = v;
        break;
    case OPT_BENCH:
        a->mode = MODE_BENCH, d->file = v;
        break;
    case OPT_PROMPT:
        d->prompt = v;
        break;
    case OPT_SYSTEM:
        d->system = v;
        break;
    case OPT_RAW:
        d->raw = true;
        break;
    case OPT_TEMPERATURE:
        d->sampling.temperature = real("--temperature", v);
        break;
    case OPT_TOP_K:
        d->sampling.top_k = (int32_t)number("--top-k", v, INT32_MAX);
        break;
    case OPT_TOP_P:
        d->sampling.top_p = real("--top-p", v);
        break;
    case OPT_MIN_P:
        d->sampling.min_p = real("--min-p", v);
        break;
    case OPT_SEED:
        d->sampling.seed = number("--seed", v, UINT64_MAX);
        break;
    case OPT_KERNELS:
        d->engine.kernels = v;
        break;
    case OPT_CONTEXT:
        d->engine.context = (uint32_t)number("--context", v, UINT32_MAX);
        break;
    case OPT_KV_BYTES:
        d->engine.kv_bytes = number("--kv-bytes", v, UINT64_MAX);
        break;
    case 'n':
        d->n_decode = (uint32_t)number("-n", v, 1u << 24), d->max_tokens = d->n_decode;
        break;
    case 'p':
        d->n_prompt = (uint32_t)number("-p", v, 1u << 24);
        break;
    case 'r':
        d->repeat = (uint32_t)number("-r", v, 1000);
        break;
    case 't':
        d->engine.threads = (uint32_t)number("-t", v, 1024);
        break;
    case 'h':
        a->mode = MODE_HELP;
        break;
    default:
        exit(2); /* getopt has said why */
    }
}

/*
 * The kernels keep every core busy from the first token on, and those who wait for that token (the
 * daemon, the reader) must not wait for a turn of theirs: since Linux 6.12 a task that wakes up
 * preempts one whose slice is longer (sched_setattr(2), sched_runtime; the default is about 3 ms).
 * Shares of the processor stay the same. Where the kernel does not know it nothing is lost.
 */
static void yield_to_wakers(void)
{
    struct { /* sched_attr, which linux/sched/types.h cannot declare beside sched.h */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = {.size = sizeof(attr),
              .policy = SCHED_OTHER,
              .nice = getpriority(PRIO_PROCESS, 0),
              .runtime = SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
        log_debug("the scheduler does not take a slice from here: %m");
}

static int run_socket(const struct arguments *a)
{
    struct err e = {0};
    yield_to_wakers();
    if (sandbox_close_others(a->socket, &e) < 0 || sandbox_enter(&e) < 0) {
        log_error("%s", e.text);
        return 1;
    }
    return a->mode == MODE_INSPECT ? loop_inspect(a->socket) : loop_run(a->socket);
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .socket = DEFAULT_SOCKET,
        .direct = {.max_tokens = -1,
                   .n_prompt = 512,
                   .n_decode = 128,
                   .repeat = 3,
                   .sampling = {.top_k = 40, .top_p = 0.95, .min_p = 0.05, .repeat_penalty = 1}}};
    log_init("llmosfs-engine", LOG_LEVEL_INFO);
    for (int opt; (opt = getopt_long(argc, argv, "n:p:r:t:h", options, NULL)) != -1;)
        take_option(&a, opt, optarg);
    if (optind < argc)
        fail("argument", argv[optind]);
    if (a.mode == MODE_GENERATE && !a.direct.prompt)
        fail("--generate", "without --prompt");
    if (a.mode == MODE_BENCH && (a.direct.n_prompt == 0 || a.direct.n_decode == 0))
        fail("--bench", "of no tokens");
    switch (a.mode) {
    case MODE_GENERATE:
        return direct_generate(&a.direct);
    case MODE_BENCH:
        return direct_bench(&a.direct);
    case MODE_HELP:
        fputs(help, stdout);
        return 0;
    default:
        return run_socket(&a);
    }
}
