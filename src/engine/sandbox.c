/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

int sandbox_close_others(int keep, struct err *e)
{
    if ((keep > 3 && close_range(3, (unsigned)keep - 1, 0) < 0) ||
        close_range((unsigned)MAX(keep, 2) + 1, ~0u, 0) < 0)
        return err_sys(e, "cannot close inherited descriptors");
    return 0;
}

static int drop_rights(struct err *e)
{
    struct rlimit none = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        setrlimit(RLIMIT_CORE, &none) < 0)
        return err_sys(e, "cannot give up rights");
    return 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int sandbox_enter(struct err *e)
{
    return drop_rights(e);
}

#else

DEFINE_CLEANUP(seccomp, scmp_filter_ctx, seccomp_release)

/* Calls that touch nothing but memory, threads, clocks and descriptors that are there already. */
static const int allowed[] = {
    /* descriptors */
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
    SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(fstat), SCMP_SYS(lseek),
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    /* threads */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(set_tid_address),
    SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu), SCMP_SYS(membarrier), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(restart_syscall),
    /* signals to itself */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    /* clocks, chance and numbers of the machine */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(getrandom), SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo), SCMP_SYS(uname)};

/* Calls that are allowed with certain arguments. 0, or a negative errno. */
static int allow_some(scmp_filter_ctx ctx)
{
    int r = 0;
    /* glibc tries clone3, whose flags a filter cannot see; told that there is none it takes
       clone */
    r = r ? r : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    r = r ? r
          : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    r = r ? r
          : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())); /* abort() */
    r = r ? r
          : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                             SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
    /* fstat(2) in glibc's words */
    r = r ? r
          : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                             SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
    static const int fcntls[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC};
    for (size_t i = 0; i < ARRAY_LEN(fcntls); i++)
        r = r ? r
              : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                 SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntls[i]));
    return r;
}

static int load_filter(struct err *e)
{
    CLEANUP(seccomp) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return err_set(e, ENOMEM, "no memory for the filter of system calls");
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(allowed); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    r = r ? r : allow_some(ctx);
    r = r ? r : seccomp_load(ctx);
    if (r < 0)
        return err_set(e, -r, "cannot install the filter of system calls: %s", strerrordesc_np(-r));
    return 0;
}

int sandbox_enter(struct err *e)
{
    return drop_rights(e) < 0 ? -1 : load_filter(e);
}

#endif
