/* SPDX-License-Identifier: MIT */
/*
 * Words that every other header uses: attributes, error codes, time.
 *
 * Conventions, which hold for every function unless its comment says otherwise:
 *
 *   Results    0 or a positive count, or a negative error: -errno, or an MP_E... code below -4095.
 *              Constructors return a handle, or NULL; mp_error_code() then tells the error.
 *              An out-parameter is not touched on failure.
 *   Values     a function that is given an mp_value takes it over, also when it fails: the caller's
 *              reference is gone.  Keep one with mp_value_ref().  A NULL value is passed on as the
 *              error of the constructor that failed, so constructors can be nested.
 *   Ownership  every other handle stays the caller's.  What a function returns through ret_... is
 *              the caller's, and is given back with the noun's _free().  Every _free() accepts NULL.
 *   Time       mp_time is in nanoseconds, relative, on the monotonic clock.
 *   Threads    any thread may call any function on any handle at any time; only _free() must be
 *              the last use of that reference.
 *   Fork       handles that a forked child inherits go on working there, except process handles of
 *              the parent's children, which answer MP_EFOREIGN.
 *   Signals    a wait that a signal interrupts goes on with the same deadline, unless the host asked
 *              to be told (mp_host.interruptible); then it returns -EINTR and nothing has happened.
 *              No function changes a signal's disposition or the caller's signal mask.
 *   Death      a process that is killed inside a function leaves nothing half done for others to
 *              see: the operation has happened wholly or not at all.
 *   Misuse     NULL where a handle is needed, a handle of the wrong kind or one that was freed is
 *              -EINVAL in a release build; a debug build says which on stderr and aborts.
 */
#ifndef MULTIPROC_BASE_H
#define MULTIPROC_BASE_H

#include <stddef.h>
#include <stdint.h>

#define MULTIPROC_VERSION_MAJOR 0
#define MULTIPROC_VERSION_MINOR 1
#define MULTIPROC_VERSION_PATCH 0

#ifdef __cplusplus
#define MULTIPROC_BEGIN extern "C" {
#define MULTIPROC_END }
#else
#define MULTIPROC_BEGIN
#define MULTIPROC_END
#endif

#define MULTIPROC_API __attribute__((visibility("default")))
#define MULTIPROC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

MULTIPROC_BEGIN

/** A relative time in nanoseconds.  Zero or less: do not wait.  MP_FOREVER: no limit. */
typedef int64_t mp_time;

#define MP_NOWAIT ((mp_time)0)
#define MP_FOREVER ((mp_time)INT64_MAX)
#define MP_MS(n) ((mp_time)(n)*1000000)
#define MP_SECONDS(n) ((mp_time)(n)*1000000000)

/** A range of bytes that somebody else owns. */
typedef struct mp_bytes {
    const void *data;
    size_t size;
} mp_bytes;

typedef struct mp_value mp_value;
typedef struct mp_buffer mp_buffer;
typedef struct mp_connection mp_connection;
typedef struct mp_process mp_process;
typedef struct mp_context mp_context;
typedef struct mp_lock mp_lock;
typedef struct mp_rlock mp_rlock;
typedef struct mp_semaphore mp_semaphore;
typedef struct mp_event mp_event;
typedef struct mp_condition mp_condition;
typedef struct mp_barrier mp_barrier;
typedef struct mp_queue mp_queue;
typedef struct mp_shm mp_shm;
typedef struct mp_named_shm mp_named_shm;
typedef struct mp_pool mp_pool;
typedef struct mp_result mp_result;
typedef struct mp_imap mp_imap;

/*
 * Errors that no errno value describes.  Their names and texts: mp_error_name(), mp_error_text().
 */
#define MP_EOF (-4096)         /* the other end was closed, or all its holders are dead */
#define MP_ECLOSED (-4097)     /* this handle was closed by this program */
#define MP_EREMOTE (-4098)     /* the other side ran the call, and it failed there */
#define MP_EFOREIGN (-4099)    /* the handle belongs to another process or another family */
#define MP_ETYPE (-4100)       /* the value is not of the kind asked for */
#define MP_EUNSAFE (-4101)     /* a message asked to import or call something */
#define MP_ELIMIT (-4102)      /* nested too deep, or larger than the limit given */
#define MP_ESTARTED (-4103)    /* the process was started before */
#define MP_ENOTSTARTED (-4104) /* the process was not started */
#define MP_ERUNNING (-4105)    /* the process is still running */
#define MP_ENOTARGET (-4106)   /* no target of that name is registered in this program */
#define MP_ENOMAIN (-4107)     /* mp_main() was not called at the top of main() */
#define MP_EDAEMON (-4108)     /* daemon processes may not have children */
#define MP_ECONTEXT (-4109)    /* the start method was set before, or is not known */
#define MP_ESTARTUP (-4110)    /* the child ended before it could run its target */
#define MP_ECHANGED (-4111)    /* the child runs another program or library than its parent */
#define MP_EDIRECTION (-4112)  /* sending on a receive-only end, or the other way round */
#define MP_EBROKEN (-4113)     /* the barrier, or the pool, is broken */
#define MP_EWORKER (-4114)     /* the worker that ran the task has died */

/** The name of an error: "MP_EOF", "ETIMEDOUT"; "unknown" when there is none.  Never NULL. */
MULTIPROC_API const char *mp_error_name(int error);

/** What an error means, in a few words.  Never NULL; static storage. */
MULTIPROC_API const char *mp_error_text(int error);

/**
 * What went wrong in this thread's last call, if it failed: which object, which process and why.  An
 * empty string when there is nothing to add to mp_error_text().  Valid until the thread's next call of
 * a function of this library, _free() and functions that only look at something excepted.
 */
MULTIPROC_API const char *mp_error_detail(void);

/** The negative error code of a constructor that has just returned NULL: -errno as mp_ code. */
MULTIPROC_API int mp_error_code(void);

/** "0.1.0": the version of the library that is running, which may be newer than the headers. */
MULTIPROC_API const char *mp_version(void);

/*
 * The log.  The library never prints on its own; it calls the handler that was given.
 */
#define MP_LOG_ERROR 1
#define MP_LOG_WARNING 2
#define MP_LOG_INFO 3
#define MP_LOG_DEBUG 4

typedef void mp_log_fn(void *data, int level, const char *message);

/**
 * Sends messages of the given level and all more important ones to `fn`.  NULL turns the log off,
 * which is how a program starts.  Children started by fork keep the handler; fresh images start
 * without one, but for mp_log_to_stderr(), which travels with its level.
 * `fn` may be called from any thread, with no lock of the library held.
 */
MULTIPROC_API void mp_log_set(mp_log_fn *fn, void *data, int level);

/** Writes messages as lines "[LEVEL/process name] text" to standard error, one write(2) each. */
MULTIPROC_API void mp_log_to_stderr(int level);

MULTIPROC_END

#endif
