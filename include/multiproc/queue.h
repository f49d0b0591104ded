/* SPDX-License-Identifier: MIT */
/*
 * Queues: first in, first out, between any number of processes and threads.
 *
 * An item is a value, or plain bytes.  It is in the queue when the put has returned, and a process that
 * put something may end at once.  Items of one producer come out in their order.  A queue that is bounded
 * makes its producers wait; one that is not grows in the family's shared memory.  An item of more than
 * 4 KiB is written once, into memory that its receiver then shares.
 *
 * Killed inside a put, a process has put its item or not; killed inside a get, it has taken one item with
 * it or none.  Nobody else notices.  With put_many and get_many the same holds for each part of the work
 * that was done under one lock.
 *
 * There is one kind of queue for what Python calls Queue, SimpleQueue and JoinableQueue.
 */
#ifndef MULTIPROC_QUEUE_H
#define MULTIPROC_QUEUE_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/** What a queue can be asked for at its start. */
typedef struct mp_queue_options {
    size_t size;      /* sizeof(mp_queue_options) */
    size_t max_items; /* puts wait while there are so many; 0: no bound */
    uint64_t
        max_bytes; /* or while the items have so many bytes; an item that is larger waits until the
                           queue is empty; 0: no bound */
    int joinable;  /* 1: mp_queue_task_done() and mp_queue_join() work */
    const char *name; /* for those who look at the family from outside; NULL: none */
} mp_queue_options;

#define MP_QUEUE_OPTIONS_INIT                \
    {                                        \
        sizeof(mp_queue_options), 0, 0, 0, 0 \
    }

/** A queue of at most max_items (0: no bound).  NULL with ENOMEM, or EAGAIN when the family has no room
 *  for this process. */
MULTIPROC_API mp_queue *mp_queue_new(size_t max_items);

/** The same, with all options.  NULL also with EINVAL. */
MULTIPROC_API mp_queue *mp_queue_new_with(const mp_queue_options *options);

/* ---- putting --------------------------------------------------------------------------------- */

/**
 * Puts a value; takes it over.  Waits while the queue is full.
 * -ETIMEDOUT: it stayed full, nothing was put; MP_ECLOSED: this process has closed the queue; -EPIPE: it
 * was shut down; -EOPNOTSUPP: the value holds a connection or a descriptor, which travel by pipes only;
 * MP_ELIMIT: nested too deep; -ENOMEM: the family's memory cannot grow so far; -EBADMSG: the shared memory
 * is damaged.
 */
MULTIPROC_API int mp_queue_put(mp_queue *queue, mp_value *value, mp_time timeout);

/** Puts `size` bytes as they are.  Errors as mp_queue_put(). */
MULTIPROC_API int mp_queue_put_bytes(mp_queue *queue, const void *data, size_t size,
                                     mp_time timeout);

/** Puts n parts, one behind the other, as one item: each is copied once. */
MULTIPROC_API int mp_queue_put_parts(mp_queue *queue, const mp_bytes *parts, size_t n,
                                     mp_time timeout);

/**
 * Puts n values, in their order and next to each other as far as the bound allows; takes all of them over.
 * Returns how many were put, which is n unless the time was up or an error came after some; the error when
 * none was.  Faster than n puts.
 */
MULTIPROC_API int64_t mp_queue_put_many(mp_queue *queue, mp_value *const *values, size_t n,
                                        mp_time timeout);

/** The same for n items of `size` bytes each, which stand one behind the other. */
MULTIPROC_API int64_t mp_queue_put_many_bytes(mp_queue *queue, const void *items, size_t size,
                                              size_t n, mp_time timeout);

/** The same for n items of any sizes. */
MULTIPROC_API int64_t mp_queue_put_many_items(mp_queue *queue, const mp_bytes *items, size_t n,
                                              mp_time timeout);

/* ---- getting --------------------------------------------------------------------------------- */

/**
 * Gets the oldest item as a value, which is the caller's.  Waits while the queue is empty.
 * -ETIMEDOUT; MP_EOF: the queue is empty and was shut down; MP_ECLOSED: this process has closed it;
 * -EBADMSG, MP_EUNSAFE, MP_ETYPE, MP_ELIMIT, -EILSEQ: the item is not a plain value, and is gone.
 */
MULTIPROC_API int mp_queue_get(mp_queue *queue, mp_value **ret_value, mp_time timeout);

/**
 * Gets the bytes of the oldest item into the caller's memory and returns their number.  -EMSGSIZE when
 * there are more than `capacity`: the item stays where it is.  Other errors as mp_queue_get().
 */
MULTIPROC_API int64_t mp_queue_get_bytes(mp_queue *queue, void *data, size_t capacity,
                                         mp_time timeout);

/** Gets the bytes of the oldest item, whatever their number; many of them are not copied.  The buffer is
 *  the caller's. */
MULTIPROC_API int mp_queue_get_buffer(mp_queue *queue, mp_buffer **ret_buffer, mp_time timeout);

/**
 * Gets up to n items: waits for the first one, and takes as many more as are there.  Returns how many,
 * at least one; errors as mp_queue_get().  An item that is not a plain value is gone, and NULL stands in its
 * place; if it is the only one, the call answers its error.
 */
MULTIPROC_API int64_t mp_queue_get_many(mp_queue *queue, mp_value **ret_values, size_t n,
                                        mp_time timeout);

/** The same for items of exactly `size` bytes, one behind the other.  -EMSGSIZE when the first one has
 *  another size; another one of another size ends the call and stays. */
MULTIPROC_API int64_t mp_queue_get_many_bytes(mp_queue *queue, void *items, size_t size, size_t n,
                                              mp_time timeout);

/**
 * The same for items of any sizes: as many as there are and as `capacity` bytes at `data` have room for, one
 * behind the other; ret_items says where.  -EMSGSIZE when the first one has no room: it stays.
 */
MULTIPROC_API int64_t mp_queue_get_many_items(mp_queue *queue, void *data, size_t capacity,
                                              mp_bytes *ret_items, size_t n, mp_time timeout);

/* ---- looking --------------------------------------------------------------------------------- */

/** The number of items at this moment, exactly. */
MULTIPROC_API int64_t mp_queue_size(const mp_queue *queue);
/** 1 when there is no item at this moment. */
MULTIPROC_API int mp_queue_empty(const mp_queue *queue);
/** 1 when a put of one more item would wait at this moment. */
MULTIPROC_API int mp_queue_full(const mp_queue *queue);

/** The bound as it was given; 0: none. */
MULTIPROC_API size_t mp_queue_max_items(const mp_queue *queue);

/**
 * A descriptor for poll, select and epoll: readable while the queue is not empty or was shut down.  Made
 * when it is first asked for, for this process; stays the queue's; not inherited by children, who ask for
 * their own.  When other processes get from the same queue it may be readable with nothing left to get,
 * so get with MP_NOWAIT.  -EMFILE, -ENFILE; -EAGAIN when 16 processes have one for this queue.
 */
MULTIPROC_API int mp_queue_fd(mp_queue *queue);

/* ---- the end --------------------------------------------------------------------------------- */

/** This process will use the queue no more: later puts, gets and waits by this handle answer MP_ECLOSED.  For
 *  others nothing changes. */
MULTIPROC_API int mp_queue_close(mp_queue *queue);
/** 1 after mp_queue_close(). */
MULTIPROC_API int mp_queue_closed(const mp_queue *queue);

/** Nothing more can be put, by anybody (-EPIPE); what is there can be got, then gets answer MP_EOF, at
 *  once also those that wait. */
MULTIPROC_API int mp_queue_shutdown(mp_queue *queue);

/**
 * A joinable queue: an item that was got is done.  -EPERM when more are said to be done than were put;
 * -EINVAL when the queue is not joinable.
 */
MULTIPROC_API int mp_queue_task_done(mp_queue *queue);

/**
 * A joinable queue: waits until every item that was put is done.  -EOWNERDEAD: all are done, or were taken
 * by processes that died before they said so; the queue goes on, and they count as done.  Each handle
 * hears of a loss once.  -ETIMEDOUT.
 */
MULTIPROC_API int mp_queue_join(mp_queue *queue, mp_time timeout);

/** A joinable queue: items that were put and are not done. */
MULTIPROC_API int64_t mp_queue_unfinished(const mp_queue *queue);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_queue *mp_queue_ref(mp_queue *queue);

/** Gives a reference back.  What is in the queue is given back with the last process that holds it. */
MULTIPROC_API void mp_queue_free(mp_queue *queue);

/** As a value, with a reference of its own; and back, borrowed from the value: MP_ETYPE. */
MULTIPROC_API mp_value *mp_value_queue(mp_queue *queue);
MULTIPROC_API int mp_value_get_queue(const mp_value *value, mp_queue **ret_queue);

MULTIPROC_END

#endif
