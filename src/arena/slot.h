/* SPDX-License-Identifier: MIT */
/*
 * Process slots: what a family knows about each of its processes, in shared memory, for the process
 * itself, its parent, its fork server and anyone who looks on from outside.
 *
 * A slot is claimed by the parent, before the child exists, and given back by the parent when the child
 * has ended; when the parent is dead too, by whoever needs a slot next.  Its life is one 64-bit word,
 * (generation, parent's pid, state), that changes by compare-and-swap only:
 *
 *   FREE -> CLAIMED     by the parent: the other fields are the parent's to fill
 *   CLAIMED -> RUNNING  by the child, before it runs anything
 *   CLAIMED -> REVOKED  by the parent, when it does not know whether there is a child (its fork server
 *                       was killed): the child, if there is one, ends at once.  So a child runs
 *                       exactly when its parent knows of it.
 *   any -> FREE         until the next claim, which has the next generation
 *
 * A process that is killed leaves its slot as it was: the state says what it was doing, and nobody
 * waits for a slot.
 */
#ifndef MP__SLOT_H
#define MP__SLOT_H

#include <pthread.h>

#include "arena/arena.h"

#define MP__SLOT_COUNT 2048 /* index 0 is nobody's */
#define MP__SLOT_TEXT 256
#define MP__SLOT_SIZE 512

typedef enum mp__slot_state {
    MP__SLOT_FREE = 0,
    MP__SLOT_CLAIMED = 1,
    MP__SLOT_RUNNING = 2,
    MP__SLOT_REVOKED = 3,
} mp__slot_state;

typedef struct mp__slot {
    _Atomic uint64_t word;   /* generation (24 bits), parent's pid (32), mp__slot_state (8) */
    _Atomic int64_t made_at; /* monotonic time of the claim, ns */
    _Atomic uint32_t pid;    /* 0 until there is a child */
    _Atomic uint32_t
        has_exit; /* futex: 1 when exit_code is known to the child or its fork server */
    _Atomic int32_t exit_code;
    _Atomic uint32_t failed; /* 1 when `text` says why the child could not run its target */
    char name[128];
    char text[MP__SLOT_TEXT];
    _Atomic uint32_t over;   /* 1: the mutex was found without a holder; it is not asked again */
    _Atomic int64_t born_at; /* time since boot when the process claimed to run, ns */
    pthread_mutex_t life;    /* robust; held by the process for its whole life */
} mp__slot;

_Static_assert(sizeof(mp__slot) <= MP__SLOT_SIZE, "a slot has its place");

/* A slot as others refer to it. */
typedef struct mp__slot_ref {
    uint32_t index; /* 0: none */
    uint32_t generation;
} mp__slot_ref;

/* Claims a free slot for a child that is about to be made.  -EAGAIN when all are taken. */
MP__HIDDEN int mp__slot_claim(const char *name, mp__slot_ref *ret_ref);

/* The slot, or NULL when the reference is stale or nonsense. */
MP__HIDDEN mp__slot *mp__slot_get(mp__slot_ref ref);

/* CLAIMED -> `state`; false when it was in another state. */
MP__HIDDEN bool mp__slot_advance(mp__slot_ref ref, mp__slot_state state);

/* Gives the slot back, and before that all that its process, which is dead or never was, held in the
 * arena. */
MP__HIDDEN void mp__slot_free(mp__slot_ref ref);

/* By the child or its fork server: how it ended.  Wakes nobody; see mp__slot.has_exit. */
MP__HIDDEN void mp__slot_set_exit(mp__slot_ref ref, int code);
/* By the child: why it cannot run its target. */
MP__HIDDEN void mp__slot_set_failure(mp__slot_ref ref, const char *text);

/*
 * A tag names a slot and its generation in 31 bits, so that it fits into a word together with a flag:
 * it is how locks and memory in the arena name their owner.  Never 0.
 */
typedef uint32_t mp__tag;
#define MP__TAG_BITS 0x7fffffffu

static inline mp__tag mp__tag_of(mp__slot_ref ref)
{
    return ref.index << 20 | (ref.generation & 0xfffff);
}

static inline uint32_t mp__tag_index(mp__tag tag)
{
    return (tag & MP__TAG_BITS) >> 20;
}

/* This process's own; makes the arena and claims a slot when it has none.  0 when that fails. */
MP__HIDDEN mp__tag mp__tag_self(void);
MP__HIDDEN extern _Atomic mp__tag mp__tag_known; /* the same, if it has one */

MP__HIDDEN uint32_t mp__tag_pid(mp__tag tag); /* 0 when there is no such process */

/* The tag of the process in the slot at that index; 0 when it is free. */
MP__HIDDEN mp__tag mp__tag_at(uint32_t index);

/* True when a dead process did not end with the exit code 0. */
MP__HIDDEN bool mp__tag_failed(mp__tag tag);

/* By a child that was given a slot: it is alive from now on. */
MP__HIDDEN int mp__slot_live(mp__slot_ref ref);

/*
 * True when the process that the tag names is dead, also while nobody has reaped it.  Decided by the
 * kernel's word on the slot's robust mutex, never by time: a stopped process is alive.
 */
MP__HIDDEN bool mp__tag_dead(mp__tag tag);

/* The same asked of the system, which costs system calls: for kernels and emulators that do not keep
 * robust mutexes. */
MP__HIDDEN bool mp__tag_gone(mp__tag tag);

/* Both: the one always, the other now and then. */
MP__HIDDEN bool mp__tag_dead_now(mp__tag tag);

/* In a forked child: it has no slot of its own until it is given or claims one. */
MP__HIDDEN void mp__slot_after_fork(void);

MP__HIDDEN unsigned mp__slot_used(void); /* for tests and figures */

#endif
