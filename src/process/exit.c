/* SPDX-License-Identifier: MIT */
/*
 * Owns the end of a process: daemons are ended, other children are joined, fork servers are let go.
 *
 * In a forked child the at-exit handlers that its parent had registered must not run.  They stand
 * below the guard that is registered first thing in the child; the handlers that the child
 * registers stand above it and run first, whether the target returns or calls exit(); then the
 * guard ends the process. (exit() tells its code to on_exit handlers only, which musl does not
 * have: see KNOWN_ISSUES.md.)
 */
#include <stdio.h>

#include "process/process.h"

#define DAEMON_GRACE MP_SECONDS(1) /* between SIGTERM and SIGKILL */

static bool guard_forked;
static pid_t guard_pid;
static int leaving_code = MP_EXIT_UNKNOWN;

/* New references to the children; the caller frees each and the array.  NULL when there are none.
 */
static mp_process **children_now(int *ret_n)
{
    int n = mp_process_children(NULL, 0);
    mp_process **all = n > 0 ? mp__alloc((size_t)n * sizeof *all) : NULL;
    int got = all ? mp_process_children(all, (size_t)n) : 0;
    *ret_n = got < n ? got : n;
    return all;
}

static void end_children(void)
{
    int n;
    atomic_store(&mp__interruptible, false); /* nobody is there to be told */
    mp_process **all = children_now(&n);
    for (int i = 0; i < n; i++)
        if (all[i]->daemon)
            mp_process_terminate(all[i]);
    mp__deadline deadline = mp__deadline_after(mp__os_now(), DAEMON_GRACE);
    for (int i = 0; i < n; i++)
        if (!all[i]->daemon)
            while (mp_process_join(all[i], MP_FOREVER) == -EINTR)
                ;
    for (int i = 0; i < n; i++) {
        if (all[i]->daemon &&
            mp_process_join(all[i], mp__deadline_left(deadline, mp__os_now())) < 0) {
            mp_process_kill(all[i]);
            mp_process_join(all[i], DAEMON_GRACE);
        }
        mp_process_free(all[i]);
    }
    free(all);
    mp__contexts_stop();
    mp__objects_leave(MP__OBJECT_NAME);
}

static void record_exit(int code)
{
    if (code != MP_EXIT_UNKNOWN)
        mp__slot_set_exit(mp__self_slot(), code & 0xff);
}

/* Of the first process and of hosts: runs among the other at-exit handlers. */
static void at_exit(void)
{
    if (guard_pid == 0)
        end_children();
}

/* From the start, so that it runs after the program's own handlers, which may start processes. */
__attribute__((constructor)) static void set_up(void)
{
    atexit(at_exit);
}

static void guard(int code)
{
    if (mp__os_pid() != guard_pid) /* a fork of the program's own */
        return;
    end_children();
    if (guard_forked && code != MP_EXIT_UNKNOWN) {
        fflush(NULL);
        record_exit(code);
        mp__os_exit_now(code);
    }
    record_exit(code);
}

#ifdef __GLIBC__
static void guard_with_code(int code, void *unused)
{
    (void)unused;
    guard(code);
}
#else
static void guard_without_code(void)
{
    guard(leaving_code);
}
#endif

void mp__exit_guard(bool forked)
{
    guard_pid = mp__os_pid();
    guard_forked = forked;
#ifdef __GLIBC__
    on_exit(guard_with_code, NULL);
#else
    atexit(guard_without_code);
#endif
}

void mp__exit_leave(int code)
{
    const mp_host *host = mp__host();
    leaving_code = code;
    if (host->leave) {
        end_children();
        record_exit(code);
        host->leave(host->data, code);
    }
    exit(code);
}
