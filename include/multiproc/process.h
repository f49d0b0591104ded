/* SPDX-License-Identifier: MIT */
/*
 * Processes: start a function of this program in a process of its own, wait for it, end it.
 *
 * A target is a function that was registered by name, so that a fresh image of the program finds
 * it. typed.h declares targets with typed arguments; the functions here are what it is made of.
 */
#ifndef MULTIPROC_PROCESS_H
#define MULTIPROC_PROCESS_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/* ---- main and targets ------------------------------------------------------------------------ */

/**
 * Stands at the top of main(); only mp_target_add(), mp_preload_add() and mp_host_set() may come before
 * it.  In a program that was started by its user it returns at once; in a
 * child that was started by spawn or forkserver it runs the target and never returns.  Without it
 * these two start methods refuse to start a process (MP_ENOMAIN), because the child would run
 * main() again.
 */
MULTIPROC_API void mp_main(int argc, char **argv);

/**
 * What a process runs.  `args` is the tuple that was given to mp_process_new(), borrowed for the
 * call. What it returns, 0 to 255, becomes the exit code (of a larger
 * number its low 8 bits); it may also call exit().
 */
typedef int mp_target_fn(const mp_value *args);

/** A registered target.  Must stay where it is while the program runs; `next` is the library's. */
typedef struct mp_target {
    const char *name;
    mp_target_fn *run;
    struct mp_target *next;
} mp_target;

/** Registers a target.  Call it before mp_main(), or from a constructor as MP_TARGET does, so that
 *  every image of the program has the same ones.  -EEXIST when another target has that name. */
MULTIPROC_API int mp_target_register(mp_target *target);

/** The same from a name and a function; the name is copied. */
MULTIPROC_API int mp_target_add(const char *name, mp_target_fn *run);

/* ---- making ---------------------------------------------------------------------------------- */

/** What a child does when the process that started it is gone without having ended its children. */
typedef enum mp_orphan {
    MP_ORPHAN_DEFAULT = 0, /* a daemon is killed, another process goes on */
    MP_ORPHAN_KILL = 1,    /* SIGKILL, from the kernel: cannot be missed, blocked or ignored */
    MP_ORPHAN_TERM = 2,    /* SIGTERM */
    MP_ORPHAN_STAY = 3     /* goes on */
} mp_orphan;

typedef struct mp_process_options {
    size_t size;         /* sizeof(mp_process_options) */
    mp_context *context; /* NULL: the default context */
    const char *name; /* NULL: Process-1, Process-2, ...; of a child's children Process-1:1 ... */
    int daemon;       /* 1, 0, or -1: as the process that makes it */
    mp_orphan orphan;
} mp_process_options;

#define MP_PROCESS_OPTIONS_INIT                                       \
    {                                                                 \
        sizeof(mp_process_options), NULL, NULL, -1, MP_ORPHAN_DEFAULT \
    }

/**
 * A process that will run the target of that name with the given tuple of arguments (NULL options:
 * the defaults).  Takes `args` over.  NULL with MP_ENOTARGET, MP_ETYPE when args is not a tuple,
 * EINVAL, ENOMEM.
 */
MULTIPROC_API mp_process *mp_process_new(const char *target, mp_value *args,
                                         const mp_process_options *options);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_process *mp_process_ref(mp_process *process);

/** Gives a reference back.  A process that runs goes on, and is still joined or ended when the
 *  program exits. */
MULTIPROC_API void mp_process_free(mp_process *process);

/** The same for a registered target itself: -EEXIST as the error when another one has its name, as
 *  when two files of a program each declare a target `worker`. */
MULTIPROC_API mp_process *mp_process_new_target(const mp_target *target, mp_value *args,
                                                const mp_process_options *options);

/* ---- running --------------------------------------------------------------------------------- */

/**
 * Starts the process.  Returns when it exists, not when it runs: a child that cannot find its
 * target reports MP_ESTARTUP at mp_process_join(). NULL is passed on as
 * the error of the constructor. MP_ESTARTED; MP_ECLOSED; MP_EDAEMON in a daemon; MP_ENOMAIN;
 * MP_ETYPE or MP_ELIMIT when the arguments cannot travel; -EAGAIN, -ENOMEM, -EMFILE from the
 * system: nothing has then been started, and it can be tried again. Fork: under the method fork the
 * child gets a copy of the caller, in which only the calling thread goes on.  Standard streams are
 * flushed first; if the program has one thread, all streams are.
 */
MULTIPROC_API int mp_process_start(mp_process *process);

/**
 * Waits until the process has ended.  0 when it has, whatever its exit code; -ETIMEDOUT;
 * MP_ENOTSTARTED; MP_ECLOSED; MP_ESTARTUP when it ended before it could run its target, with the reason in
 * mp_error_detail(); MP_EFOREIGN for a process that this one has not started (its parent process
 * excepted).  -EDEADLK for the calling process itself.
 * Any number of threads may join one process; all succeed.
 */
MULTIPROC_API int mp_process_join(mp_process *process, mp_time timeout);

/** 1 while it runs, 0 when it has ended or was not started. */
MULTIPROC_API int mp_process_is_alive(mp_process *process);

/** An exit code that nobody knows: the program itself, or its settings, reaped the child first. */
#define MP_EXIT_UNKNOWN (-1000000)

/**
 * The exit code: 0 to 255, or minus the number of the signal that ended it, or MP_EXIT_UNKNOWN.
 * MP_ERUNNING while it runs; MP_ENOTSTARTED; MP_ECLOSED.
 */
MULTIPROC_API int mp_process_exit_code(mp_process *process, int *ret_code);

/* Signals.  0 also when the process has ended already; MP_ENOTSTARTED; MP_EFOREIGN. */
MULTIPROC_API int mp_process_terminate(mp_process *process); /* SIGTERM */
MULTIPROC_API int mp_process_kill(mp_process *process);      /* SIGKILL */
MULTIPROC_API int mp_process_interrupt(mp_process *process); /* SIGINT */

/** Gives back what the handle holds of a process that has ended; MP_ERUNNING while it runs.  Later
 *  calls answer MP_ECLOSED.  Closing twice is no error. */
MULTIPROC_API int mp_process_close(mp_process *process);

/* ---- about it -------------------------------------------------------------------------------- */

/** The process id; MP_ENOTSTARTED. */
MULTIPROC_API int mp_process_pid(mp_process *process);

/** A copy would be stale at once after mp_process_set_name(), so this is the text itself: valid
 * until the name is set again or the handle is freed. */
MULTIPROC_API const char *mp_process_name(mp_process *process);
MULTIPROC_API int mp_process_set_name(mp_process *process, const char *name);

/** 1 for a daemon: ended with its parent, not waited for, without children of its own. */
MULTIPROC_API int mp_process_daemon(mp_process *process);

/** Before the start only: MP_ESTARTED. */
MULTIPROC_API int mp_process_set_daemon(mp_process *process, int daemon);

/** The key that authenticates connections: 32 random bytes made by the first process, handed down
 * to its descendants.  Returns its size; copies at most `capacity` bytes. */
MULTIPROC_API int mp_process_authkey(mp_process *process, void *key, size_t capacity);
MULTIPROC_API int mp_process_set_authkey(mp_process *process, const void *key, size_t size);

/** A descriptor that becomes readable when the process has ended; stays the handle's, until it is
 *  closed or freed.  MP_ENOTSTARTED, MP_ECLOSED. */
MULTIPROC_API int mp_process_sentinel(mp_process *process);

/* ---- this process and its relatives ---------------------------------------------------------- */

/** The calling process; borrowed, never NULL.  The first one is named MainProcess. */
MULTIPROC_API mp_process *mp_process_current(void);

/** The process that started this one, which can be joined and asked for name, pid and sentinel;
 *  borrowed; NULL in the first one. */
MULTIPROC_API mp_process *mp_process_parent(void);

/**
 * The living children of this process: writes at most `capacity` new references to `ret_children`
 * and returns how many there are.  Those that have ended are joined on the way.
 */
MULTIPROC_API int mp_process_children(mp_process **ret_children, size_t capacity);

/** Processors that this process may use: its affinity, bounded by the processor quota of its
 * control group, rounded up.  At least 1. */
MULTIPROC_API int mp_cpu_count(void);

MULTIPROC_END

#endif
