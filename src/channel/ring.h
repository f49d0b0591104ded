/* SPDX-License-Identifier: MIT */
/*
 * The shared part of a queue (docs/design/queues.md): a chain of segments with a lock, a commit word and
 * two copies of its place for each end.
 *
 * Invariants.  The valid copy of an end's place is place[word & 1]; the other one is anybody's scratch who
 * holds the lock.  Items, place and bytes change together, by the one store of `word`.  Whatever is
 * between the two places, segments and blocks, has a transit count of one; a note tells what is on its
 * way in or out while one end's word is about to change.
 *
 * A process that is killed while it holds an end's lock has committed or not.  The next holder, or its
 * burial, settles the note: that is all that there is to repair.
 */
#ifndef MP__RING_H
#define MP__RING_H

#include "arena/object.h"
#include "sync/bell.h"
#include "sync/gate.h"

#define MP__JOINABLE UINT64_C(0x656c62616e696f6a)
#define MP__RING_INLINE 4096u /* the largest item that stands in a segment */

typedef struct mp__place {
    int64_t segment[2]; /* how objects are referred to; {0, 0}: the first one, inside the queue */
    uint64_t position;
    uint64_t bytes; /* of all items that have passed here */
} mp__place;

typedef struct mp__end {
    _Alignas(64) _Atomic uint32_t lock;
    _Atomic uint32_t noted; /* 1: the note counts */
    struct {
        uint64_t commit;  /* the word as it will be */
        int64_t words[2]; /* the object that goes in or out; 0: none */
        uint64_t taken;   /* out, joinable: of the slot `taker`, as they will be */
        uint64_t last;
        uint64_t taker;
    } note;
    uint64_t seen; /* the other end's word, as it was last read under this lock */
    _Alignas(64) mp__place place[2];
    _Alignas(64) _Atomic uint64_t word; /* items that have passed << 1 | which place is valid */
    mp__gate gate;                      /* of those who wait for the word to change */
} mp__end;

/* How many items the processes in a slot have taken, over all generations; how many they called done; how
 * many of a dead one's were done by others; and the number of the last one taken, of all from 1 on. */
typedef struct mp__taker {
    _Atomic uint64_t taken, done, settled, last;
} mp__taker;

typedef struct mp__segment {
    int64_t next[2];
    uint64_t size; /* of data */
    char data[];
} mp__segment;

typedef struct mp__ring {
    uint64_t max_items, max_bytes;
    uint64_t joinable; /* MP__JOINABLE: mp__taker[MP__SLOT_COUNT] stands behind the first segment */
    _Atomic uint32_t shut; /* 1: nothing more can be put */
    _Atomic uint32_t last_taker;
    _Atomic uint32_t done_count; /* changes with every item done: joiners sleep on it */
    mp__gate done_gate;
    _Atomic uint64_t lost; /* items that dead processes had taken and not done */
    mp__end in, out;
    mp__bells bells; /* of those who poll */
    _Alignas(64) mp__segment first;
} mp__ring;

/* A process's own knowledge of a ring, guarded by the ring's locks. */
typedef struct mp__ring_cache {
    struct {
        int64_t words[2];
        mp__segment *segment;
        uint64_t size;       /* of its data, as it was checked */
        uint32_t fork_count; /* a forked child does not trust what it inherits in the middle */
    } end[2];                /* in, out */
} mp__ring_cache;

/* The size of a ring's object, and its first contents. */
MP__HIDDEN size_t mp__ring_size(bool joinable);
MP__HIDDEN void mp__ring_init(mp__ring *ring, uint64_t max_items, uint64_t max_bytes,
                              bool joinable);

/* An item that goes in: bytes in this process's memory or, larger ones, a block that this process
 * holds, whose hold stays the caller's. */
typedef struct mp__item {
    const void *data;
    uint64_t size;
    mp__hold *block;  /* or NULL */
    bool has_handles; /* its bytes refer to objects, which must be let go if nobody gets it */
} mp__item;

/* Puts as many of n items as there is room for and returns how many; 0: full, *ret_seen is the other
 * end's word, which must change first.  -EPIPE, -ENOMEM, -EBADMSG, -ETIMEDOUT for the lock. */
MP__HIDDEN int64_t mp__ring_put(mp__ring *ring, mp__ring_cache *cache, const mp__item *items,
                                size_t n, mp__deadline deadline, uint64_t *ret_seen);

/* The usual case of a put, quickly: one item of at most MP__RING_INLINE bytes.  False, and nothing has
 * happened, when it is not the usual case.  Silently: whoever sleeps is not woken; the next put does. */
MP__HIDDEN bool mp__ring_put_quickly(mp__ring *ring, mp__ring_cache *cache, const mp__item *item,
                                     bool silently);

/* The same for a get into `capacity` bytes; *ret_size is the item's size. */
MP__HIDDEN bool mp__ring_take_quickly(mp__ring *ring, mp__ring_cache *cache, void *data,
                                      size_t capacity, size_t *ret_size);

/* What takes items out: called for each one with the lock held.  1: taken, 0: it stays and ends the
 * taking; a negative error likewise, which is returned if it was the first. */
typedef struct mp__sink {
    int (*take)(struct mp__sink *sink, const void *data, uint64_t size);
    int (*take_block)(struct mp__sink *sink, mp__hold *block, uint64_t size); /* and the hold */
    size_t most;
} mp__sink;

/* Takes up to sink->most items and returns how many; 0: empty, *ret_seen is the other end's word. */
MP__HIDDEN int64_t mp__ring_take(mp__ring *ring, mp__ring_cache *cache, mp__sink *sink,
                                 mp__deadline deadline, uint64_t *ret_seen);

/* Nothing more can be put; wakes everybody. */
MP__HIDDEN int mp__ring_shut(mp__ring *ring, mp__deadline deadline);

MP__HIDDEN uint64_t mp__ring_count(const mp__ring *ring);
MP__HIDDEN bool mp__ring_full(const mp__ring *ring);

/* The half of a word that waiters sleep on. */
static inline _Atomic uint32_t *mp__end_half(mp__end *end)
{
    return (_Atomic uint32_t *)(void *)&end->word; /* both machines are little-endian */
}

/* ---- joining (ring_join.c) ---- */

MP__HIDDEN int mp__ring_done(mp__ring *ring);
MP__HIDDEN uint64_t mp__ring_unfinished(const mp__ring *ring);
/* Counts as done what dead processes took; the process of slot `index` only, or with 0 all. */
MP__HIDDEN void mp__ring_sweep(mp__ring *ring, uint32_t index);
/* The table of takers, whose place does not depend on what stands in shared memory. */
MP__HIDDEN mp__taker *mp__ring_takers(const mp__ring *ring);
MP__HIDDEN bool mp__ring_is_joinable(const mp__ring *ring);

/* ---- death (ring.c) ---- */

/* Makes sure that what a dead process was taking is settled, also if somebody else is doing that. */
MP__HIDDEN void mp__ring_settle(mp__ring *ring);

/* By its burial: finishes or undoes what the process was doing, and wakes everybody. */
MP__HIDDEN void mp__ring_bury(mp__ring *ring, mp__tag tag);

/* Before a ring that nobody holds goes: lets go of what is in it.  `drop` is called for an item with
 * handles. */
MP__HIDDEN void mp__ring_drain(mp__ring *ring, void (*drop)(const void *data, uint64_t size));

#endif
