/* SPDX-License-Identifier: MIT */
/*
 * The arena: the family's one anonymous shared memory file.
 *
 * It is mapped once per process, over a range that is reserved for all it may become, so that it
 * grows without being mapped again; an object in it is an offset, never a pointer.  A forked child
 * inherits the mapping, a fresh image gets the descriptor.
 *
 * In it stand the header, the table of process slots (slot.h), the table of units and the units
 * themselves (heap.h), and in those the shared objects (object.h).
 */
#ifndef MP__ARENA_H
#define MP__ARENA_H

#include "os/os.h"

#define MP__ARENA_MAGIC UINT64_C(0x616e657261706d31)
#define MP__ARENA_LAYOUT 2u
#define MP__ARENA_RESERVE (UINT64_C(1) << 36) /* addresses; costs nothing until it is used */
#define MP__ARENA_LEAST (UINT64_C(1) << 26)   /* with a limit on addresses (RLIMIT_AS) */

typedef struct mp__arena_header {
    uint64_t magic;
    uint32_t layout, slot_size;
    uint64_t slots, slot_count;  /* offset of the table; number of slots */
    uint64_t units;              /* offset of the unit table (heap.h) */
    uint64_t heap;               /* offset of the first unit */
    _Atomic uint64_t size;       /* bytes of the file; grows only */
    unsigned char family[16];    /* a random name, to tell families apart */
    _Atomic uint64_t serial;     /* of the last object made */
    _Atomic uint32_t heap_lock;  /* word lock: changes of runs in the unit table */
    _Atomic uint32_t unit_count; /* units that were ever in use; the file reaches as far */
    _Atomic uint64_t warm;       /* bytes of free runs that still have their pages */
} mp__arena_header;

/* Makes the arena of a new family, once; later calls find it made. */
MP__HIDDEN int mp__arena_ensure(void);

/* In a fresh image: takes over the inherited descriptor.  -EBADMSG when it is not an arena of this
 * layout. */
MP__HIDDEN int mp__arena_attach(int fd);

MP__HIDDEN int mp__arena_fd(void);                           /* -1 before there is one */
MP__HIDDEN void *mp__arena_at(uint64_t offset, size_t size); /* NULL when it is outside */
MP__HIDDEN mp__arena_header *mp__arena_info(void);

/* Makes the file at least `size` bytes long.  -ENOMEM. */
MP__HIDDEN int mp__arena_grow(uint64_t size);

/* In a forked child: it shares the parent's family from now on, with locks of its own. */
MP__HIDDEN void mp__arena_after_fork(void);

#endif
