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
    birth->args = mp_value_ref(p->args); /* the copied handle may be freed in the child */
    birth->forked = true;
}

int mp__fork_child(mp__slot_ref slot, pid_t *ret_pid, int *ret_pidfd)
{
    int place = mp__os_dup(mp__arena_fd());
    if (place < 0)
        return place;
    int r = mp__os_fork(ret_pid);
    mp__os_close(place);
    if (r < 0 || *ret_pid == 0)
        return r;
    int pidfd = mp__os_pidfd(*ret_pid);
    if (pidfd == -ESRCH) /* it has ended, and the program's settings or code reaped it */
        pidfd = mp__os_ended_sentinel();
    while (pidfd < 0) { /* another thread took the place meanwhile */
        if (mp__slot_advance(slot, MP__SLOT_REVOKED)) {
            mp__os_kill_and_reap(*ret_pid);
            return pidfd;
        }
        pidfd = mp__os_pidfd(*ret_pid); /* it runs already: it must not be lost */
        mp__os_poll(NULL, 0, MP_MS(1));
    }
    *ret_pidfd = pidfd;
    return 0;
}

int mp__start_fork(mp_process *p)
{
    const mp_host *host = mp__host();
    mp__birth birth;
    pid_t pid = 0;
    describe(p, &birth);
    if (host->before_fork)
        host->before_fork(host->data);
    mp__holds_give_at_fork(mp__tag_of(p->slot));
    mp__forking = p;
    int r = mp__fork_child(p->slot, &pid, &p->pidfd);
    mp__forking = NULL;
    if (r == 0 && pid == 0) {
        if (mp__slot_live(p->slot) < 0) /* before the host runs anything that uses shared objects */
            mp__os_exit_now(1);
        if (host->after_fork_child)
            host->after_fork_child(host->data);
        mp__child_run(&birth);
    }
    mp_value_free(birth.args);
    if (host->after_fork_parent)
        host->after_fork_parent(host->data);
    if (r < 0)
        return mp__fail(r, "cannot fork for process '%s'", p->name);
    p->pid = pid;
    return 0;
}
