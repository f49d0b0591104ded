/* SPDX-License-Identifier: MIT */
/*
 * Contexts: how processes are started.
 *
 *   fork        the child is a copy of the parent.  Quick while the parent is small; unsafe when other
 *               threads hold locks at that moment.
 *   spawn       the child is a fresh image of the program.  Costs the same for a parent of any size.
 *   forkserver  the child is a copy of a small server with one thread, which was started as a fresh
 *               image and has run the preload functions.  Quick for a parent of any size.
 */
#ifndef MULTIPROC_CONTEXT_H
#define MULTIPROC_CONTEXT_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/** Sets what the default context does: "fork" (how a program starts), "spawn" or "forkserver".
 *  MP_ECONTEXT when it was set, or used, before and `force` is 0, or when there is no such method.
 */
MULTIPROC_API int mp_set_start_method(const char *method, int force);

/** The start method of the default context; this fixes it, as in Python. */
MULTIPROC_API const char *mp_get_start_method(void);

/** The start methods, the default first; the list ends with NULL and is static. */
MULTIPROC_API const char *const *mp_get_all_start_methods(void);

/** The context of that start method (NULL: the default context), the same one every time; static,
 * not to be freed.  NULL with MP_ECONTEXT when there is no such method. */
MULTIPROC_API mp_context *mp_get_context(const char *method);

/** A context of its own: with its own fork server and preload list.  Free it after the processes
 *  that it made.
 */
MULTIPROC_API mp_context *mp_context_new(const char *method);
MULTIPROC_API void mp_context_free(mp_context *context);

/** "fork", "spawn" or "forkserver"; static. */
MULTIPROC_API const char *mp_context_method(const mp_context *context);

/** A process of that context (NULL: the default one); otherwise as mp_process_new(). */
MULTIPROC_API mp_process *mp_context_process(mp_context *context, const char *target,
                                             mp_value *args);

/** A function that a fork server runs once before it forks anything. */
typedef int mp_preload_fn(void);

/** Registers a preload function, as mp_target_add() does a target. */
MULTIPROC_API int mp_preload_add(const char *name, mp_preload_fn *run);

/**
 * What the fork server of this context runs before its first child, by name.  Takes effect when the
 * server is started next: MP_ESTARTED when it runs already.  MP_ENOTARGET for a name that is not
 * registered.  A preload function that returns other than 0, or a server that dies in it, makes the
 * start of a process fail with MP_ESTARTUP.
 */
MULTIPROC_API int mp_context_set_preload(mp_context *context, const char *const *names, size_t n);

/** Ends the fork server; its children go on.  The next start makes a new one. */
MULTIPROC_API int mp_context_stop(mp_context *context);

/** Process id of the fork server; MP_ENOTSTARTED when there is none. */
MULTIPROC_API int mp_context_server_pid(mp_context *context);

/** The program that spawn and forkserver execute; by default the one that is running, also when its
 *  file was replaced meanwhile.  NULL: back to the default. */
MULTIPROC_API int mp_set_executable(const char *path);

MULTIPROC_END

#endif
