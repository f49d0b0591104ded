/* SPDX-License-Identifier: MIT */
/*
 * Host hooks: for an embedder, such as an interpreter, whose processes need more than a C main().
 */
#ifndef MULTIPROC_HOST_H
#define MULTIPROC_HOST_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/** Why a fresh image is started. */
typedef enum mp_image { MP_IMAGE_CHILD = 0, MP_IMAGE_SERVER = 1 } mp_image;

typedef struct mp_host {
    size_t size; /* sizeof(mp_host) */
    void *data;  /* handed to every hook */

    /* Around fork(), in the thread that starts a process: before, then in the parent (also when the
     * fork failed) and in the child. */
    void (*before_fork)(void *data);
    void (*after_fork_parent)(void *data);
    void (*after_fork_child)(void *data);

    /**
     * The command line and environment of a fresh image that calls mp_child_main(fd).  Writes two
     * arrays that end with NULL and stay valid until the hook's next call in that thread; a NULL
     * environment is the parent's.  The first word is the program's path.  Returns 0 or an error.
     */
    int (*command)(void *data, mp_image image, int fd, char ***ret_argv, char ***ret_envp);

    /**
     * Runs in the child, in place of looking the target up: gets the name and the arguments that
     * mp_process_new() was given, and returns the exit code.
     */
    int (*run)(void *data, const char *target, const mp_value *args);

    /** How the child leaves, after its children have been joined; does not return.  NULL: exit().
     */
    void (*leave)(void *data, int code);

    /** Runs in the fork server for each name of the preload list.  Returns 0 or an error. */
    int (*preload)(void *data, const char *name);

    /** Not 0: waits return -EINTR when a signal handler has run. */
    int interruptible;

    /** Called when a signal handler has run in the middle of sending a message over a stream, where
     *  -EINTR will not do; other than 0: leave it, the stream cannot be used for sending any more. */
    int (*interrupted)(void *data);
} mp_host;

#define MP_HOST_INIT                                                             \
    {                                                                            \
        sizeof(mp_host), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL \
    }

/** Installs the hooks; the struct is copied.  Once per process, before any other use, from one
 *  thread; NULL takes them back.  With a `run` hook, any name is a target. */
MULTIPROC_API int mp_host_set(const mp_host *host);

/** In a fresh image: reads what the parent left in `fd`, runs the child or the fork server, and
 * does not return.  Returns an error only when `fd` does not hold that: -EBADF, -EBADMSG. */
MULTIPROC_API int mp_child_main(int fd);

MULTIPROC_END

#endif
