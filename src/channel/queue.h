/* SPDX-License-Identifier: MIT */
/* Queues, as the rest of this layer sees them. */
#ifndef MP__QUEUE_H
#define MP__QUEUE_H

#include <multiproc/queue.h>

#include <pthread.h>

#include "channel/message.h"
#include "channel/ring.h"

struct mp_queue {
    mp__shared shared;
    mp__ring_cache cache;
    mp__spin put_spin, get_spin;
    _Atomic bool closed;
    _Atomic uint64_t lost_seen; /* items lost that this process has heard of */
    struct {
        pthread_mutex_t lock;
        _Atomic int state;           /* 0: none; else fd + 1 */
        int index;                   /* in ring->bells */
        _Atomic uint32_t fork_count; /* + 1; 0: never used; with BEING_MADE */
    } bell;
};

static inline mp__ring *mp__queue_ring(const mp_queue *queue)
{
    return mp__shared_data(queue);
}

static inline bool mp__is_queue(const mp_queue *queue)
{
    return mp__shared_is(queue, MP__OBJECT_QUEUE);
}

/* 0, or why this process cannot use it. */
MP__HIDDEN int mp__queue_check(const mp_queue *queue);

/* Puts items, and waits for room; gets items, and waits for the first. */
MP__HIDDEN int64_t mp__queue_put_items(mp_queue *queue, const mp__item *items, size_t n,
                                       mp_time timeout);
MP__HIDDEN int64_t mp__queue_take(mp_queue *queue, mp__sink *sink, mp_time timeout);

/* queue_value.c: a view of a block, which takes the hold over; NULL, and it does not. */
MP__HIDDEN mp_buffer *mp__queue_view(mp__hold *block, size_t size);

/* queue_value.c: before a queue is freed. */
MP__HIDDEN void mp__queue_drain(mp__object *object);

/* queue_fd.c: after a get that may have left the queue empty. */
MP__HIDDEN void mp__queue_bell_again(mp_queue *queue);
MP__HIDDEN void mp__queue_bell_fini(mp_queue *queue);
MP__HIDDEN void mp__queue_bell_init(mp_queue *queue);
MP__HIDDEN bool mp__queue_ready(const mp_queue *queue); /* a get would not wait */

static inline bool mp__queue_has_bell(const mp_queue *queue)
{
    return atomic_load_explicit(&queue->bell.state, memory_order_relaxed) != 0;
}

/* The usual case of a get (ring.h): a small item that is there. */
static inline bool mp__queue_take_quickly(mp_queue *queue, void *data, size_t capacity,
                                          size_t *ret_size)
{
    return !mp__queue_has_bell(queue) &&
           mp__ring_take_quickly(mp__queue_ring(queue), &queue->cache, data, capacity, ret_size);
}

#endif
