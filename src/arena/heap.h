/* SPDX-License-Identifier: MIT */
/*
 * The arena's heap: blocks of shared memory, named by their offset.
 *
 * The heap is made of units of 64 KiB.  The unit table has a word for each; the word of a run's first
 * unit says what the run is:
 *
 *   FREE n         n units that nobody uses
 *   BIG n owner    one block of n units
 *   SLAB class     one unit full of blocks of one size; their owner words stand at its head
 *
 * An owner word is 0 (free), the tag of the process that owns the block (what a dead process owned is
 * given back), or MP__BLOCK_SHARED (it lives until it is freed).
 *
 * Commits: a small block is taken and given back by one compare-and-swap of its owner word, without a
 * lock.  Runs change under the heap's word lock, each by one store of its first word: a split writes
 * the rest's word first, which nobody looks at before the first one is stored; so a process that is
 * killed inside leaves nothing to repair.
 */
#ifndef MP__HEAP_H
#define MP__HEAP_H

#include "arena/slot.h"

#define MP__UNIT_SIZE (UINT64_C(64) << 10)
#define MP__UNIT_COUNT (UINT64_C(1) << 20)
#define MP__BLOCK_SHARED 0x80000000u
#define MP__SMALL_MAX 32768u

/* A block of at least `size` bytes, owned by this process; not initialised.  -ENOMEM, -EAGAIN,
 * -EBADMSG when the tables are damaged. */
MP__HIDDEN int mp__heap_alloc(size_t size, uint64_t *ret_offset);

/* Gives a block back; 0, or -EINVAL when there is no such block or it is free already. */
MP__HIDDEN int mp__heap_free(uint64_t offset);

/* From this process's own to shared, and back; false when it was not what it was thought to be. */
MP__HIDDEN bool mp__heap_share(uint64_t offset);
MP__HIDDEN bool mp__heap_own(uint64_t offset);

/* The memory of a block, or NULL when the offset is not the start of a block in use or the block is
 * smaller than `size`. */
MP__HIDDEN void *mp__heap_at(uint64_t offset, size_t size);
MP__HIDDEN uint32_t mp__heap_owner(uint64_t offset); /* 0 also when there is no such block */

/* Gives back all that the process with that tag owned. */
MP__HIDDEN void mp__heap_bury(mp__tag tag);

/* Calls fn for every shared block. */
MP__HIDDEN void mp__heap_each_shared(void (*fn)(void *context, uint64_t offset, size_t size),
                                     void *context);

/* Checks the tables; 0 or -EBADMSG.  Counts blocks and bytes in use into the arguments, if given. */
MP__HIDDEN int mp__heap_check(uint64_t *ret_blocks, uint64_t *ret_bytes);

#endif
