/* SPDX-License-Identifier: MIT */
/*
 * Owns the life of a child between its birth and its exit.  It has claimed its slot before that, so that
 * a child runs exactly when its parent knows of it (slot.h).
 */
#include <signal.h>
#include <stdio.h>

#include "process/process.h"

/* The kernel sends the signal when the life pipe's writing end is gone; if it is gone already, the
 * child sends it to itself. */
static void watch_parent(const mp__birth *birth)
{
    mp_orphan orphan = birth->orphan;
    if (orphan == MP_ORPHAN_DEFAULT)
        orphan = birth->daemon ? MP_ORPHAN_KILL : MP_ORPHAN_STAY;
    if (orphan == MP_ORPHAN_STAY)
        return;
    int signal = orphan == MP_ORPHAN_KILL ? SIGKILL : SIGTERM;
    int r = mp__os_signal_on_hangup(birth->life, signal);
    if (r < 0)
        mp__log(MP_LOG_WARNING, "cannot watch the parent: %s", mp_error_text(r));
    if (mp__os_readable(birth->life))
        raise(signal);
}

static int run_target(mp__birth *birth)
{
    const mp_host *host = mp__host();
    mp_target *target = mp__target_find(birth->target);
    bool own =
        target && strncmp(birth->target, "multiproc ", 10) == 0; /* the library's, with a space */
    if (host->run && !own)
        return host->run(host->data, birth->target, birth->args);
    if (target)
        return target->run(birth->args);
    char text[MP__SLOT_TEXT];
    snprintf(text, sizeof text, "target '%.120s' is not registered in %.90s", birth->target,
             mp__program_name());
    mp__self_fail(text);
    return 1;
}

void mp__child_run(mp__birth *birth)
{
    mp__self_born(birth);
    watch_parent(birth);
    mp__exit_guard(birth->forked);
    mp__log(MP_LOG_INFO, "child process calls target '%s'", birth->target);
    mp__exit_leave(run_target(birth));
}
