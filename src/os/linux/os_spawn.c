/* SPDX-License-Identifier: MIT */
/*
 * Owns the start of a fresh image: clone with CLONE_VM and CLONE_VFORK on a stack of its own, then
 * exec, as posix_spawn does it, and with what posix_spawn has not: a process descriptor from the
 * kernel, and a child that gets the named descriptors and no others, whatever the program had open
 * without close-on-exec.
 *
 * The calling thread sleeps until the exec, so the child's few lines may use this memory; all
 * signals are blocked meanwhile, and the child puts handlers back to their defaults before it
 * unblocks.  If the child is killed before the exec, the parent sees a child that died of that
 * signal.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define STACK_SIZE (24 * 1024)

extern char **environ;

typedef struct plan {
    const mp__spawn *spawn;
    const int *keep; /* sorted */
    sigset_t mask;   /* the caller's */
    int error;
} plan;

static void close_between(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    struct rlimit limit; /* before Linux 5.9, or a sandbox that does not know the call */
    unsigned top = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (1u << 20)
                       ? (unsigned)limit.rlim_cur
                       : 1u << 20;
    for (unsigned fd = first; fd <= last && fd < top; fd++)
        close((int)fd);
}

/* Runs in the child, on the parent's memory: no allocation, no locks, no library state but errno.
 */
static int child(void *arg)
{
    plan *p = arg;
    const mp__spawn *spawn = p->spawn;
    struct sigaction action;
    for (int s = 1; s < 65; s++) {
        if (sigaction(s, NULL, &action) < 0 || action.sa_handler == SIG_DFL ||
            action.sa_handler == SIG_IGN)
            continue;
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        sigaction(s, &action, NULL);
    }
    unsigned from = 3;
    for (int i = 0; i < spawn->nkeep; i++) {
        if (fcntl(p->keep[i], F_SETFD, 0) < 0)
            goto failed;
        if (p->keep[i] < 3)
            continue;
        close_between(from, (unsigned)p->keep[i] - 1);
        from = (unsigned)p->keep[i] + 1;
    }
    close_between(from, ~0u);
    sigprocmask(SIG_SETMASK, &p->mask, NULL);
    execve(spawn->path ? spawn->path : "/proc/self/exe", spawn->argv,
           spawn->envp ? spawn->envp : environ);
failed:
    p->error = errno ? errno : ENOEXEC;
    _exit(127);
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int start(plan *p, pid_t *ret_pid, int *ret_pidfd)
{
    char *stack = mp__alloc(STACK_SIZE); /* warm, so cheaper than a mapping of its own */
    if (!stack)
        return -ENOMEM;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &p->mask);
    int pidfd = -1;
    pid_t pid =
        clone(child, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, p, &pidfd);
    int error = pid < 0 ? -errno : -p->error;
    free(stack);
    pthread_sigmask(SIG_SETMASK, &p->mask, NULL);
    if (error) {
        if (pid > 0) {
            mp__os_reap_wait(pidfd);
            close(pidfd);
        }
        return error;
    }
    *ret_pid = pid;
    *ret_pidfd = mp__os_raise_fd(pidfd);
    return 0;
}

int mp__os_spawn(const mp__spawn *spawn, pid_t *ret_pid, int *ret_pidfd)
{
    MP__FAULT("clone");
    plan p = {.spawn = spawn};
    int *keep = mp__alloc(sizeof(int) * (size_t)(spawn->nkeep + 1));
    if (!keep)
        return -ENOMEM;
    for (int i = 0; i < spawn->nkeep; i++)
        keep[i] = spawn->keep[i];
    qsort(keep, (size_t)spawn->nkeep, sizeof(int), by_number);
    p.keep = keep;
    int r = start(&p, ret_pid, ret_pidfd);
    free(keep);
    return r;
}
