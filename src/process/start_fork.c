/* SPDX-License-Identifier: MIT */
/*
 * Owns the start method fork.  The child goes on inside mp_process_start() of its copy of the
 * calling thread, and never returns from it.
 */
#include "process/process.h"

/* Without printf, whose code a small child would otherwise fault in. */
static void copy_text(char *to, size_t size, const char *from)
{
    size_t n = strnlen(from, size - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

static void describe(const mp_process *p, mp__birth *birth)
{
    const mp_process *self = mp__self();
    memset(birth, 0, sizeof *birth);
    copy_text(birth->name, sizeof birth->name, p->name);
    copy_text(birth->path, sizeof birth->path, p->path);
    copy_text(birth->parent_name, sizeof birth->parent_name, self->name);
    copy_text(birth->target, sizeof birth->target, p->target);
    birth->parent_pid = self->pid;
    birth->daemon = p->daemon;
    birth->orphan = p->orphan;
    memcpy(birth->authkey, p->authkey, p->authkey_size);
    birth->authkey_size = p->authkey_size;
    birth->slot = p->slot;
    birth->life = p->life[0];
    birth->args = p->args;
    birth->forked = true;
}

/* Another thread took the place meanwhile.  A child that has not claimed its slot has not run. */
static void end_failed_child(mp_process *p, pid_t pid)
{
    mp__slot_advance(p->slot, MP__SLOT_REVOKED);
    mp__os_kill_and_reap(pid);
}

int mp__start_fork(mp_process *p)
{
    const mp_host *host = mp__host();
    mp__birth birth;
    pid_t pid = 0;
    describe(p, &birth);
    if (host->before_fork)
        host->before_fork(host->data);
    /* The place of the child's descriptor, so that it is there when the child is. */
    int place = mp__os_dup(p->life[0]), r = place < 0 ? place : 0;
    mp__forking = p;
    if (r == 0)
        r = mp__os_fork(&pid);
    mp__forking = NULL;
    if (r == 0 && pid == 0) {
        mp__os_close(place);
        if (host->after_fork_child)
            host->after_fork_child(host->data);
        mp__child_run(&birth);
    }
    if (host->after_fork_parent)
        host->after_fork_parent(host->data);
    mp__os_close(place);
    if (r < 0)
        return mp__fail(r, "cannot fork for process '%s'", p->name);
    int pidfd = mp__os_pidfd(pid);
    if (pidfd == -ESRCH) /* it has ended, and the program's settings or code reaped it */
        pidfd = mp__os_ended_sentinel();
    if (pidfd < 0) {
        end_failed_child(p, pid);
        return mp__fail(pidfd, "cannot get a descriptor of process '%s'", p->name);
    }
    p->pid = pid;
    p->pidfd = pidfd;
    return 0;
}
