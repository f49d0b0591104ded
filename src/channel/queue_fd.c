/* SPDX-License-Identifier: MIT */
/*
 * Owns the descriptor of a queue: a bell of this process (sync/bell.h), entered in the queue when somebody
 * asks for it.  Its lock is the process's own; a forked child starts without a bell.
 */
#include "channel/queue.h"

#include "os/os.h"

#define BEING_MADE 0x80000000u

bool mp__queue_ready(const mp_queue *queue)
{
    const mp__ring *ring = mp__queue_ring(queue);
    return mp__ring_count(ring) > 0 || atomic_load(&ring->shut);
}

/* Before the first use in this process, by one thread. */
void mp__queue_bell_init(mp_queue *queue)
{
    uint32_t mine = atomic_load(&mp__fork_count) + 1, seen = atomic_load(&queue->bell.fork_count);
    while (seen != mine) {
        if (seen == (mine | BEING_MADE) ||
            !atomic_compare_exchange_weak(&queue->bell.fork_count, &seen, mine | BEING_MADE)) {
            mp__os_yield();
            seen = atomic_load(&queue->bell.fork_count);
            continue;
        }
        if (seen && !(seen & BEING_MADE)) /* the parent's: another process cannot empty it for us */
            mp__os_close(atomic_load(&queue->bell.state) - 1);
        pthread_mutex_init(&queue->bell.lock, NULL);
        atomic_store(&queue->bell.state, 0);
        atomic_store(&queue->bell.fork_count, mine);
        return;
    }
}

void mp__queue_bell_fini(mp_queue *queue)
{
    int fd = atomic_load(&queue->bell.state) - 1;
    if (fd < 0)
        return;
    if (atomic_load(&queue->bell.fork_count) == atomic_load(&mp__fork_count) + 1)
        mp__bell_remove(&mp__queue_ring(queue)->bells, queue->bell.index);
    mp__os_close(fd);
}

/* Empties the bell, arms it, and rings it at once if there is something. */
static void again(mp_queue *q, int fd)
{
    mp__bells *bells = &mp__queue_ring(q)->bells;
    mp__os_bell_quiet(fd);
    mp__bell_arm(bells, q->bell.index);
    if (mp__queue_ready(q))
        mp__bell_ring(bells);
}

void mp__queue_bell_again(mp_queue *queue)
{
    mp__queue_bell_init(queue);
    pthread_mutex_lock(&queue->bell.lock);
    int fd = atomic_load(&queue->bell.state) - 1;
    if (fd >= 0 && !mp__queue_ready(queue))
        again(queue, fd);
    pthread_mutex_unlock(&queue->bell.lock);
}

static int make_bell(mp_queue *q)
{
    uint64_t address;
    int fd = mp__os_bell_open(&address);
    if (fd < 0)
        return mp__fail(fd, "a queue's descriptor needs a socket");
    int index = mp__bell_enter(&mp__queue_ring(q)->bells, address);
    if (index < 0) {
        mp__os_close(fd);
        return index;
    }
    q->bell.index = index;
    atomic_store(&q->bell.state, fd + 1);
    again(q, fd);
    return fd;
}

int mp_queue_fd(mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    mp__clear_detail();
    int r = mp__queue_check(queue);
    if (r < 0)
        return r;
    mp__queue_bell_init(queue);
    pthread_mutex_lock(&queue->bell.lock);
    r = mp__queue_has_bell(queue) ? atomic_load(&queue->bell.state) - 1 : make_bell(queue);
    pthread_mutex_unlock(&queue->bell.lock);
    return r;
}
