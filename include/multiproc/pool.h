/* SPDX-License-Identifier: MIT */
/*
 * Pools: worker processes that run tasks.
 *
 * A task is a function that was registered by name, as a target is.  It gets a tuple of arguments and
 * returns a value, or it works on typed arrays, element by element; typed.h declares both at once:
 *
 *   MP_TASK(int64_t, square, (int64_t, n)) { return n * n; }
 *   MP_MAP(pool, square, in, out, count);
 *
 * A worker that dies takes with it the one task that it was running, which fails with MP_EWORKER (or is
 * run again, if retries are allowed), and is replaced; every other task finishes.
 *
 * A pool has one thread of its own in the process that made it, which looks after the workers and runs
 * callbacks.  A forked child cannot use its parent's pool: MP_EFOREIGN.
 */
#ifndef MULTIPROC_POOL_H
#define MULTIPROC_POOL_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/* ---- tasks ----------------------------------------------------------------------------------- */

/** A task.  Must stay where it is while the program runs; `next` is the library's.  Made by MP_TASK. */
typedef struct mp_task {
    const char *name; /* at most 63 bytes */
    /** Gets the tuple of arguments, borrowed; returns a new value.  NULL: it failed, see mp_task_fail(). */
    mp_value *(*call)(const mp_value *args);
    /** For typed arrays: one element.  NULL: not for arrays. */
    void (*each)(const void *in, void *out);
    size_t in_size, out_size; /* of an element, in bytes */
    /** For bytes that nobody but the task understands: 0 and a new buffer, or an error. */
    int (*bytes)(const void *data, size_t size, mp_buffer **ret_result);
    struct mp_task *next;
} mp_task;

/** Registers a task; call it before mp_main() or from a constructor, as MP_TASK does.  -EEXIST when another
 *  one has that name. */
MULTIPROC_API int mp_task_register(mp_task *task);

/**
 * Called inside a task: it has failed, with an error (a negative code of this library, or a positive number
 * of the program's own) and a text.  Whatever it returns does not count then.  Returns the error.
 */
MULTIPROC_API int mp_task_fail(int error, const char *format, ...) MULTIPROC_PRINTF(2, 3);

/** Called inside a task: 1 when it was cancelled, or its soft time limit is over; a long task looks now and
 *  then, and ends. */
MULTIPROC_API int mp_task_cancelled(void);

/* ---- pools ----------------------------------------------------------------------------------- */

typedef struct mp_pool_options {
    size_t size;         /* sizeof(mp_pool_options) */
    unsigned workers;    /* 0: mp_cpu_count() */
    mp_context *context; /* NULL: the default one */
    const char *name;    /* of the workers: name-1, name-2 ...; NULL: PoolWorker */
    const char
        *start; /* task that each worker runs first, or NULL; one that fails breaks the pool */
    mp_value *start_args; /* a tuple, which is taken over; NULL: none */
    const char *end;      /* task without arguments that each worker runs last, or NULL */
    uint64_t max_tasks;   /* a worker is replaced after so many tasks; 0: never */
    uint64_t max_memory;  /* or when it uses so many bytes of memory; 0: never */
    int lazy;             /* 1: workers are started when there is work for them */
    int daemon;       /* 0: tasks may have children of their own; workers still end with the pool */
    unsigned retries; /* a task is run again so often if its worker dies */
    mp_time timeout;  /* a worker whose task takes longer is killed; 0: no limit */
} mp_pool_options;

#define MP_POOL_OPTIONS_INIT                                                       \
    {                                                                              \
        sizeof(mp_pool_options), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 1, 0, 0 \
    }

/** A pool of so many workers (0: one for each processor; at most 1000: EINVAL).  NULL with EAGAIN, ENOMEM, EMFILE, MP_ENOMAIN,
 *  MP_EDAEMON. */
MULTIPROC_API mp_pool *mp_pool_new(unsigned workers);

/** The same with all options.  NULL also with EINVAL, MP_ENOTARGET for a task that is not registered. */
MULTIPROC_API mp_pool *mp_pool_new_with(const mp_pool_options *options);

/** No more tasks; the workers end when all are done. */
MULTIPROC_API int mp_pool_close(mp_pool *pool);

/** Ends the workers at once: SIGTERM, and SIGKILL after a second.  Tasks that are not done fail with
 *  MP_ECLOSED. */
MULTIPROC_API int mp_pool_terminate(mp_pool *pool);

/** After close or terminate: waits until all workers have ended.  -EBUSY when it is neither; -ETIMEDOUT;
 *  -EDEADLK in a callback of the pool. */
MULTIPROC_API int mp_pool_join(mp_pool *pool, mp_time timeout);

/** One more reference; returns it. */
MULTIPROC_API mp_pool *mp_pool_ref(mp_pool *pool);

/** Gives a reference back; the last one terminates and joins. */
MULTIPROC_API void mp_pool_free(mp_pool *pool);

/* ---- calls ----------------------------------------------------------------------------------- */

/** What a call can be asked for; NULL stands for MP_CALL_OPTIONS_INIT. */
typedef struct mp_call_options {
    size_t size;  /* sizeof(mp_call_options) */
    size_t chunk; /* tasks that are sent together; 0: by how long they take */
    mp_time
        timeout; /* of each task: its worker is killed, it fails with -ETIMEDOUT; 0: the pool's */
    mp_time soft_timeout; /* of each task: mp_task_cancelled() is 1 from then on; 0: none */
    int retries;          /* -1: the pool's */
    int progress;         /* 1: a bar on standard error, if that is a terminal */
    /** Called when it is done, by a thread of the library, with no lock held. */
    void (*done)(void *data, mp_result *result);
    void *data;
} mp_call_options;

#define MP_CALL_OPTIONS_INIT                                \
    {                                                       \
        sizeof(mp_call_options), 0, 0, 0, -1, 0, NULL, NULL \
    }

/**
 * One call of a task with a tuple of arguments, which is taken over; the result is the caller's to free,
 * also before it is done.  NULL with MP_ECLOSED: the pool is closed or terminated; MP_EBROKEN: its workers
 * cannot start; MP_EFOREIGN; MP_ETYPE: the arguments are no tuple or cannot travel; ENOMEM.  (A task that
 * the workers do not know fails with MP_ENOTARGET.)
 */
MULTIPROC_API mp_result *mp_pool_apply_async(mp_pool *pool, const mp_task *task, mp_value *args,
                                             const mp_call_options *options);

/** The same, and waits: 0 and the value, or the error of the task. */
MULTIPROC_API int mp_pool_apply(mp_pool *pool, const mp_task *task, mp_value *args,
                                mp_value **ret_value);

/**
 * A call for each item of a list or tuple, which is taken over: with the item as its one argument, or, for
 * starmap, with the item, which must be a tuple, as its arguments.  The result is a list in their
 * order.  If tasks fail, all others still finish; the error is that of the first one in order.
 */
MULTIPROC_API mp_result *mp_pool_map_async(mp_pool *pool, const mp_task *task, mp_value *items,
                                           const mp_call_options *options);
MULTIPROC_API mp_result *mp_pool_starmap_async(mp_pool *pool, const mp_task *task, mp_value *items,
                                               const mp_call_options *options);
MULTIPROC_API int mp_pool_map(mp_pool *pool, const mp_task *task, mp_value *items,
                              mp_value **ret_list);
MULTIPROC_API int mp_pool_starmap(mp_pool *pool, const mp_task *task, mp_value *items,
                                  mp_value **ret_list);

/**
 * A call for each of n elements of a typed array; results go into another one, which must stay until the
 * result is done.  Nothing is boxed, and the elements are copied once in each direction.  Elements of `out`
 * whose task failed are not touched.  Sizes of elements are the task's.
 */
MULTIPROC_API mp_result *mp_pool_map_array_async(mp_pool *pool, const mp_task *task, const void *in,
                                                 void *out, size_t n,
                                                 const mp_call_options *options);
MULTIPROC_API int mp_pool_map_array(mp_pool *pool, const mp_task *task, const void *in, void *out,
                                    size_t n);

/** n payloads, for a task with `bytes`; each is sent as one task. */
MULTIPROC_API mp_result *mp_pool_map_bytes_async(mp_pool *pool, const mp_task *task,
                                                 const mp_bytes *items, size_t n,
                                                 const mp_call_options *options);

/* ---- results --------------------------------------------------------------------------------- */

/** Waits until it is done.  0, -ETIMEDOUT. */
MULTIPROC_API int mp_result_wait(mp_result *result, mp_time timeout);
/** 1 when it is done. */
MULTIPROC_API int mp_result_ready(const mp_result *result);
/** 1 when all of it succeeded, 0 when not; MP_ERUNNING before it is done. */
MULTIPROC_API int mp_result_successful(const mp_result *result);

/**
 * Waits, and gives the value of the one call or the list of all: a new reference.  The error of the first
 * task that failed, with its text, which names the task: what mp_task_fail() was given (a positive number
 * or -EAGAIN comes as MP_EREMOTE), MP_EWORKER, -ETIMEDOUT of the task; -ECANCELED.  -EAGAIN: not done within `timeout`.
 * For arrays and bytes *ret_value is None; ret_value may be NULL.
 */
MULTIPROC_API int mp_result_get(mp_result *result, mp_value **ret_value, mp_time timeout);

/** The number of tasks; how many are done; how many of them failed. */
MULTIPROC_API int64_t mp_result_count(const mp_result *result);
MULTIPROC_API int64_t mp_result_done(const mp_result *result);
MULTIPROC_API int64_t mp_result_failed(const mp_result *result);

/** The error of task i, and its text (valid as long as the result); 0 when it did not fail. */
MULTIPROC_API int mp_result_error(const mp_result *result, size_t i, const char **ret_text);

/** What a task with `bytes` returned, borrowed; NULL when it failed or is not done. */
MULTIPROC_API mp_buffer *mp_result_bytes(const mp_result *result, size_t i);

/** Cancels what has not begun, and asks running tasks to end (mp_task_cancelled()).  Cancelled tasks fail
 *  with -ECANCELED.  Returns how many had not begun. */
MULTIPROC_API int64_t mp_result_cancel(mp_result *result);

/** One more reference; returns it. */
MULTIPROC_API mp_result *mp_result_ref(mp_result *result);
/** Gives a reference back.  The tasks go on. */
MULTIPROC_API void mp_result_free(mp_result *result);

/* ---- one after the other --------------------------------------------------------------------- */

/** The next argument of an imap: a new value, or NULL at the end. */
typedef mp_value *mp_imap_source(void *data);

/**
 * Calls a task with each value that `next(data)` gives, and hands the results out one by one, in order or
 * (unordered) as they come.  At most `outstanding` arguments (0: 4 for each worker and chunk) are taken
 * ahead of what was handed out.  `next` is called by mp_pool_imap() and mp_imap_next() only.
 */
MULTIPROC_API mp_imap *mp_pool_imap(mp_pool *pool, const mp_task *task, mp_imap_source *next,
                                    void *data, int unordered, size_t outstanding,
                                    const mp_call_options *options);

/** The next result: 1 and a new value; 0 at the end; the error of the task whose turn it is, after which it
 *  goes on; -EAGAIN: not within `timeout`. */
MULTIPROC_API int mp_imap_next(mp_imap *imap, mp_value **ret_value, mp_time timeout);

/** Gives it back; what runs is cancelled. */
MULTIPROC_API void mp_imap_free(mp_imap *imap);

/* ---- looking --------------------------------------------------------------------------------- */

typedef struct mp_pool_info {
    unsigned workers;         /* that there should be */
    unsigned alive, busy;     /* that there are, that run a task */
    uint64_t submitted, done; /* tasks */
    uint64_t failed, lost;    /* tasks that failed; workers that died */
    int closed, broken;
} mp_pool_info;

typedef struct mp_worker_info {
    int pid;           /* 0: none at the moment */
    int busy;          /* 1: it runs a task */
    uint64_t tasks;    /* that it has done */
    mp_time busy_time; /* that they took */
    mp_time running;   /* how long the present one has taken; 0: none */
    char task[64];     /* its name */
    uint64_t item;     /* its number in its call */
} mp_worker_info;

/** Figures of the pool, and of worker i; -ERANGE when there is no such worker. */
MULTIPROC_API int mp_pool_get_info(mp_pool *pool, mp_pool_info *ret_info);
MULTIPROC_API int mp_pool_get_worker(mp_pool *pool, unsigned i, mp_worker_info *ret_info);

MULTIPROC_END

#endif
