/* SPDX-License-Identifier: MIT */
/*
 * Bells: how a process that polls descriptors learns of a change in shared memory (docs/design/bells.md).
 *
 * A process that polls has a socket with an address of the system's choice and enters that in the
 * object's table.  Who changes the object sends an empty packet to every address that is armed, once:
 * the first one disarms it.  The owner empties its socket and arms it again when it has seen that there
 * is nothing.  A process that is killed between its change and the ring delays the news until the next
 * change; a dead owner's entry is removed by the first ring that finds nobody there, or by its burial.
 */
#ifndef MP__BELL_H
#define MP__BELL_H

#include "arena/slot.h"

#define MP__BELLS 16

typedef struct mp__bell {
    _Atomic uint32_t owner; /* tag; 0: free */
    _Atomic uint32_t armed;
    _Atomic uint64_t address;
} mp__bell;

struct mp__bells {
    _Atomic uint32_t used; /* entries from 0 on that were ever in use */
    mp__bell bell[MP__BELLS];
};
typedef struct mp__bells mp__bells;

/* This process's entry for a socket; its index, or -EAGAIN when the table is full. */
MP__HIDDEN int mp__bell_enter(mp__bells *bells, uint64_t address);
MP__HIDDEN void mp__bell_remove(mp__bells *bells, int index);
MP__HIDDEN void mp__bell_arm(mp__bells *bells, int index);
MP__HIDDEN void mp__bell_ring_all(mp__bells *bells);
MP__HIDDEN void mp__bell_bury(mp__bells *bells, mp__tag tag);

/* After a change, with an atomic read-modify-write in between. */
static inline void mp__bell_ring(mp__bells *bells)
{
    if (mp__unlikely(atomic_load_explicit(&bells->used, memory_order_relaxed)))
        mp__bell_ring_all(bells);
}

#endif
