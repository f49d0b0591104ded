/* SPDX-License-Identifier: MIT */
/*
 * Owns the joining of queues: who took how much, and how much of it is done.
 *
 * Each process slot has two counts, which only grow: items taken (written by takers under the consumers'
 * lock, ring.c) and items done (one atomic addition).  What is unfinished is the items ever put less all
 * that are done.  When a process is dead, what it took and nobody finished counts as done, by one
 * store, and as lost; what others had called done in its place is settled.  A burial does that before a
 * slot has its next process.
 */
#include "channel/ring.h"
#include "os/os.h"

static uint64_t total_done(const mp__ring *ring)
{
    const mp__taker *takers = mp__ring_takers(ring);
    uint64_t sum = 0;
    uint32_t last = atomic_load(&ring->last_taker);
    for (uint32_t i = 0; i <= last && i < MP__SLOT_COUNT; i++)
        sum += atomic_load_explicit(&takers[i].done, memory_order_relaxed);
    return sum;
}

uint64_t mp__ring_unfinished(const mp__ring *ring)
{
    uint64_t done = total_done(ring), put = atomic_load(&ring->in.word) >> 1;
    return put > done ? put - done : 0;
}

static void tell(mp__ring *ring)
{
    uint32_t before = atomic_load(&ring->done_gate);
    atomic_fetch_add(&ring->done_count, 1);
    mp__gate_open(&ring->done_gate, before, &ring->done_count, INT32_MAX);
}

int mp__ring_done(mp__ring *ring)
{
    uint32_t index = mp__tag_index(mp__tag_self());
    uint32_t last = atomic_load_explicit(&ring->last_taker, memory_order_relaxed);
    if (!mp__ring_unfinished(ring))
        return mp__fail(-EPERM, "more items are said to be done than were put");
    while (last < index && !atomic_compare_exchange_weak(&ring->last_taker, &last, index))
        ;
    atomic_fetch_add(&mp__ring_takers(ring)[index].done, 1);
    tell(ring);
    return 0;
}

/* Items that were taken and that nobody has called done. */
static uint64_t on_their_way(const mp__ring *ring)
{
    const mp__taker *takers = mp__ring_takers(ring);
    uint32_t last = atomic_load(&ring->last_taker);
    uint64_t taken = 0;
    for (uint32_t i = 0; i <= last && i < MP__SLOT_COUNT; i++)
        taken += atomic_load_explicit(&takers[i].taken, memory_order_relaxed);
    uint64_t done = total_done(ring);
    return taken > done ? taken - done : 0;
}

/* What a process in that slot took and has not called done itself. */
static uint64_t balance(const mp__taker *taker)
{
    uint64_t over = atomic_load(&taker->done) + atomic_load(&taker->settled),
             taken = atomic_load(&taker->taken);
    return taken > over ? taken - over : 0;
}

/* Of a dead process. */
static bool write_off(mp__ring *ring, uint32_t index)
{
    mp__taker *taker = &mp__ring_takers(ring)[index];
    uint64_t settled = atomic_load(&taker->settled), done = atomic_load(&taker->done);
    uint64_t open = balance(taker), all = on_their_way(ring), lost = open < all ? open : all;
    if (!open)
        return false;
    if (lost && !atomic_compare_exchange_strong(&taker->done, &done, done + lost))
        return false;
    if (open > lost) /* unless somebody else has done it meanwhile */
        atomic_compare_exchange_strong(&taker->settled, &settled, settled + open - lost);
    atomic_fetch_add(&ring->lost, lost);
    return lost != 0;
}

void mp__ring_sweep(mp__ring *ring, uint32_t index)
{
    bool found = false;
    mp__tag holder = atomic_load(&ring->out.lock) & MP__TAG_BITS;
    if (!index && holder && mp__tag_dead_now(holder))
        mp__ring_settle(ring); /* what it was taking when it died counts, too */
    uint32_t last = atomic_load(&ring->last_taker);
    for (uint32_t i = index ? index : 1; i <= last && i < MP__SLOT_COUNT; i++) {
        mp__tag tag = index ? 0 : mp__tag_at(i);
        mp__taker *taker = &mp__ring_takers(ring)[i];
        if (balance(taker) && (index || (tag && mp__tag_dead_now(tag))))
            found |= write_off(ring, i);
        if (index)
            break;
    }
    if (found)
        tell(ring);
}
