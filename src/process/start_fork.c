/* SPDX-License-Identifier: MIT */
/*
 * Owns the start method fork.  The child goes on inside mp_process_start() of its copy of the
 * calling thread, and never returns from it.
 */
#include <stdio.h>

#include "process/process.h"

static void describe(const mp_process *p, mp__birth *birth)
{
    const mp_process *self = mp__self();
    memset(birth, 0, sizeof *birth);
    snprintf(birth->name, sizeof birth->name, "%s", p->name);
    snprintf(birth->path, sizeof birth->path, "%s", p->path);
    snprintf(birth->parent_name, sizeof birth->parent_name, "%s", self->name);
    snprintf(birth->target, sizeof birth->target, "%s", p->target);
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

static void end_failed_child(mp_process *p, pid_t pid)
{
    mp__os_kill_and_reap(pid);
    mp__slot_advance(p->slot, MP__SLOT_REVOKED);
}

int mp__start_fork(mp_process *p)
{
    const mp_host *host = mp__host();
    mp__birth birth;
    pid_t pid;
    describe(p, &birth);
    if (host->before_fork)
        host->before_fork(host->data);
    mp__forking = p;
    int r = mp__os_fork(&pid);
    mp__forking = NULL;
    if (r == 0 && pid == 0) {
        if (host->after_fork_child)
            host->after_fork_child(host->data);
        mp__child_run(&birth);
    }
    if (host->after_fork_parent)
        host->after_fork_parent(host->data);
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
