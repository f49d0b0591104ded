/* SPDX-License-Identifier: MIT */
/*
 * What the files of the pool share.
 *
 * Tasks go to the workers in chunks through one queue, which tells, for each process, which item it took
 * last, exactly, also when it was killed (ring_join.c).  Chunks carry the queue's count of items, so the
 * pool knows what a dead worker had; from the board, where each worker notes what it does,
 * it knows how far it had come.  Results come back through a second queue, one message for each value,
 * one for each chunk of an array.
 *
 * Everything in mp_pool and mp_result but the counts of references is guarded by the pool's lock.  No lock
 * is held while a task or a callback runs, or while anybody waits.
 */
#ifndef MP__POOL_H
#define MP__POOL_H

#include <multiproc/pool.h>
#include <multiproc/shm.h>

#include "channel/queue.h"
#include "process/process.h"

#define MP__WINDOW 512u /* chunks on their way at most */
#define MP__TASK_NAME 64
#define MP__WORKER_MAX 1000

/* ---- shared with the workers ---- */

/* What a worker does with the item in `run`. */
enum { MP__RUN_NOT_BEGUN = 0, MP__RUN_INSIDE = 1, MP__RUN_OVER = 2, MP__RUN_CONDEMNED = 3 };
/* The chunk (20 bits of its number, so that the same item of another one is told apart), the item, the
 * phase. */
#define MP__RUN(chunk, item, phase) \
    ((uint64_t)(chunk) << 44 | ((uint64_t)(item) << 2 & MP__RUN_ITEM) | (phase))
#define MP__RUN_ITEM ((UINT64_C(1) << 44) - 4)
#define MP__RUN_ITEM_OF(run) (((run)&MP__RUN_ITEM) >> 2)

typedef struct mp__desk { /* of one worker, who alone writes it, but for `run` and `quit` */
    _Alignas(64) _Atomic uint32_t pid;
    _Atomic uint32_t state;
    _Atomic uint64_t chunk; /* its number; 0: none */
    _Atomic uint64_t run;   /* MP__RUN() */
    _Atomic uint64_t quit;  /* the `run` that is asked to end: soft time limits */
    _Atomic int64_t since;  /* when that item, or the chunk, began */
    _Atomic uint64_t tasks, busy;
    char task[MP__TASK_NAME];
} mp__desk;

/* Whoever sets its flag first decides whether any task of a chunk runs. */
#define MP__CANCELLED 1u
#define MP__BEGUN 2u

typedef struct mp__board {
    _Atomic uint32_t cancelled[MP__WINDOW]; /* of the chunk in that place: the flags above */
    mp__desk desk[];
} mp__board;

typedef enum mp__chunk_kind {
    MP__CHUNK_CALLS = 0, /* each item is a tuple */
    MP__CHUNK_ITEMS = 1, /* each item is an argument */
    MP__CHUNK_BYTES = 2,
    MP__CHUNK_ARRAY = 3
} mp__chunk_kind;

/* A chunk in the queue: this, and for all but arrays the sizes of the items (uint32_t) and the items. */
typedef struct mp__chunk_head {
    uint64_t number, first; /* number: mp__pool.number * MP__WINDOW + its place in the window */
    uint32_t count;
    uint16_t kind;
    uint16_t timed; /* 1: somebody watches how long each task takes */
    int64_t in[2], out[2];
    char task[MP__TASK_NAME];
} mp__chunk_head;

typedef enum mp__news_kind {
    MP__NEWS_VALUE = 1,   /* item `first` is done: a pickle */
    MP__NEWS_BYTES = 2,   /* the same: bytes */
    MP__NEWS_FAILED = 3,  /* item `first` has failed: `error`, and a text */
    MP__NEWS_SKIPPED = 4, /* items from `first` on were cancelled */
    MP__NEWS_CHUNK = 5,   /* the chunk is done, in `elapsed` ns */
    MP__NEWS_READY = 6,   /* the worker can work */
    MP__NEWS_START = 7    /* its first task has failed: `error`, and a text */
} mp__news_kind;

typedef struct mp__news { /* and what belongs to it */
    uint64_t number, first;
    uint32_t kind, worker;
    int32_t error;
    uint32_t count;
    int64_t elapsed;
} mp__news;

/* ---- this process's own ---- */

typedef struct mp__range { /* of items that have to be sent again */
    size_t first, count;
    struct mp__range *next;
} mp__range;

typedef struct mp__task_error {
    size_t item;
    int code;
    char *text;
} mp__task_error;

struct mp_result {
    mp__head head;
    mp__list node;    /* in pool->jobs until it is done */
    mp__list feeding; /* in pool->feeding while something has to be sent */
    mp_pool *pool;    /* its memory is held */
    mp__chunk_kind kind;
    bool single; /* the value is that of the one call */
    char task[MP__TASK_NAME];
    size_t n, chunk;
    mp_call_options options;
    char *input; /* items one behind the other; offsets[n] is the end */
    size_t *offsets;
    mp_shm *in, *out;
    void *user_out;
    size_t out_size;
    size_t next, sent; /* first item never sent; chunks on their way */
    mp__range *again;
    size_t finished;
    uint8_t *state;     /* of items: 1: done; but for arrays */
    uint16_t *attempts; /* when they may be run again */
    mp_value **values;
    mp_buffer **buffers;
    mp__task_error *errors; /* in no order */
    size_t nerrors, room;
    double each; /* ns that a task takes, about; 0: not known */
    bool ready, cancelled;
    bool quiet;               /* nobody but who waits for it need hear of it */
    struct mp_result *called; /* next one whose `done` has to be called */
    int64_t began, shown;     /* progress */
    mp_value *list;           /* of the values, once asked for */
};

typedef struct mp__chunk {
    uint64_t number;
    mp_result *job; /* NULL: not in use */
    size_t first, count;
    size_t reported; /* items that were reported one by one */
    size_t latest;   /* the last of them */
} mp__chunk;

typedef struct mp__worker {
    mp_process *process; /* NULL: none */
    bool starting;       /* a thread is starting it, without the pool's lock */
    bool ready;          /* its first task is over */
    bool condemned;      /* killed for its time limit */
} mp__worker;

typedef enum mp__pool_state { MP__POOL_OPEN, MP__POOL_CLOSED, MP__POOL_ENDED } mp__pool_state;

struct mp_pool {
    mp__head head;
    _Atomic uint32_t memory; /* references to the struct: the pool's own and those of results */
    uint32_t fork_count;
    mp__list node; /* in the list of this process's pools */
    pthread_mutex_t lock;
    pthread_cond_t
        changed; /* a result is done, the collector's place is free, or the pool is at its end */
    pthread_t thread;
    bool has_thread, joined, thread_over;
    bool orphaned; /* freed by a callback: its thread frees the rest */
    mp__pool_state state;
    int broken; /* why workers cannot start; 0: they can */
    char *broken_text;
    mp_pool_options options;
    mp_queue *tasks, *news;
    mp_shm *board_shm;
    mp__board *board;
    mp__worker *workers;
    unsigned nworkers, next_name, start_failures;
    mp__list jobs, feeding;
    mp__chunk chunks[MP__WINDOW];
    uint64_t number;                 /* of the last chunk */
    unsigned open;                   /* chunks on their way */
    unsigned waiting;                /* threads that wait for a result */
    bool collecting;                 /* one of them, or the pool's thread, takes news */
    bool wanted;                     /* the pool's thread has to take them next */
    mp_result *called, **called_end; /* whose `done` has to be called */
    int kick;                        /* wakes the pool's thread */
    bool kicked, guarding;           /* the thread sleeps in poll */
    uint64_t submitted, done, failed, lost;
    char *scratch; /* of the collector */
    mp__pollfd
        *polled; /* by the pool's thread: the kick and the workers, whose numbers are these */
    unsigned *polled_worker;
};

/* task.c */
MP__HIDDEN const mp_task *mp__task_find(const char *name);
typedef struct mp__task_state {
    int error; /* 0: it has not failed */
    char text[512];
    mp__board *board; /* NULL: not in a worker */
    mp__desk *desk;
} mp__task_state;
MP__HIDDEN extern _Thread_local mp__task_state mp__task_now;

/* worker.c */
MP__HIDDEN extern mp_target mp__worker_target;

/* job.c: under the lock */
MP__HIDDEN mp_result *mp__job_new(mp_pool *pool, mp__chunk_kind kind, const mp_task *task, size_t n,
                                  const mp_call_options *options);
MP__HIDDEN int mp__job_input(mp_result *job, mp_value *const *items);
MP__HIDDEN int mp__job_input_bytes(mp_result *job, const mp_bytes *items);
MP__HIDDEN void mp__job_fail(mp_result *job, size_t item, int code, const char *format, ...)
    MULTIPROC_PRINTF(4, 5);
MP__HIDDEN void mp__job_finish(mp_result *job, size_t items); /* so many more are done */
MP__HIDDEN bool mp__job_again(mp_result *job, size_t first, size_t count);
MP__HIDDEN void mp__job_end(mp_result *job, int code,
                            const char *text);  /* all that is not done fails */
MP__HIDDEN void mp__job_let_go(mp_result *job); /* of its input: nobody works on it any more */
MP__HIDDEN int mp__job_start(mp_result *job);   /* hands it to the pool */

/* feed.c: under the lock */
MP__HIDDEN void mp__pool_feed(mp_pool *pool);
MP__HIDDEN void mp__pool_hear(mp_pool *pool, const mp__news *news, const char *data, size_t size,
                              mp_buffer *owner);
MP__HIDDEN mp__chunk *mp__pool_chunk(mp_pool *pool, uint64_t number);
MP__HIDDEN void mp__chunk_close(mp_pool *pool, mp__chunk *chunk);
/* Takes news, for at most `timeout`, and hears them; the lock is given back meanwhile.  How many, or an
 * error. */
MP__HIDDEN int mp__pool_collect(mp_pool *pool, mp_time timeout);
/* Collects, or waits for whoever does, until done(argument): 0, -EAGAIN at the deadline, or an error. */
MP__HIDDEN int mp__pool_wait(mp_pool *pool, mp__deadline deadline, bool (*done)(void *),
                             void *argument);

/* supervise.c */
MP__HIDDEN void *mp__pool_run(void *pool);
MP__HIDDEN void mp__pool_kick(mp_pool *pool);
MP__HIDDEN int mp__worker_start(mp_pool *pool, unsigned i); /* gives the lock back meanwhile */
MP__HIDDEN void mp__pool_break(mp_pool *pool, int code, const char *text);
MP__HIDDEN bool mp__pool_is_idle(const mp_pool *pool);

/* death.c: a worker's process has ended */
MP__HIDDEN void mp__worker_ended(mp_pool *pool, unsigned i);
MP__HIDDEN void mp__workers_watch(mp_pool *pool);        /* time limits */
MP__HIDDEN mp_time mp__workers_due(const mp_pool *pool); /* until the next one; MP_FOREVER: none */

/* progress.c */
MP__HIDDEN void mp__progress_show(mp_result *job);

/* pool.c */
MP__HIDDEN int mp__pool_check(const mp_pool *pool);
MP__HIDDEN void mp__pool_unref_memory(mp_pool *pool);
MP__HIDDEN void mp__pool_forget(mp_pool *pool); /* at its very end */
MP__HIDDEN void mp__timed_wait(pthread_cond_t *cond, pthread_mutex_t *lock, mp_time timeout);

#endif
