/* SPDX-License-Identifier: MIT */
/*
 * Word locks: mutual exclusion between processes by one 32-bit word in the arena, which holds the tag
 * of its owner (slot.h) and a bit that says that somebody may be waiting.
 *
 * Everything that matters is in that word and changes with one instruction, so there is no moment at
 * which a lock is taken and nobody knows by whom.  A waiter sleeps on the word in slices of at most
 * MP__LOCK_SLICE and looks after each whether the owner is alive: a dead owner's lock is handed to
 * the first one that notices, with the news.  A wake-up that is lost, because the process that owed it
 * was killed between its release and the wake-up, costs one slice.
 */
#ifndef MP__WORDLOCK_H
#define MP__WORDLOCK_H

#include "arena/slot.h"

#define MP__LOCK_WAITERS 0x80000000u
#define MP__LOCK_SLICE MP_MS(8)

/* 0; -EOWNERDEAD: taken from a dead owner; -ETIMEDOUT; -EINTR when `interruptible`; -EAGAIN when this
 * process can have no slot. */
MP__HIDDEN int mp__word_lock(_Atomic uint32_t *word, mp_time timeout,
                             const _Atomic bool *interruptible);

/* The usual case of both, inline: true when it was free and is ours now; and gives back what is ours. */
static inline bool mp__word_trylock(_Atomic uint32_t *word)
{
    uint32_t free = 0;
    mp__tag self = atomic_load_explicit(&mp__tag_known, memory_order_relaxed);
    return self && atomic_compare_exchange_strong_explicit(word, &free, self, memory_order_acquire,
                                                           memory_order_relaxed);
}

/* Gives it back, whoever holds it; -EPERM when nobody does. */
MP__HIDDEN int mp__word_unlock(_Atomic uint32_t *word);

static inline void mp__word_release(_Atomic uint32_t *word)
{
    if (mp__unlikely(atomic_exchange(word, 0) & MP__LOCK_WAITERS))
        mp__os_futex_wake(word, 1);
}

#endif
