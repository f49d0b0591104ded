/* SPDX-License-Identifier: MIT */
/*
 * Owns the protocol of word locks (wordlock.h); the model is tools/models/wordlock.pml.  A process that
 * is killed in mp__word_lock() has either not taken it, or is the owner that others find dead; one that
 * is killed in mp__word_unlock() has either not released it, or owes a wake-up, which costs the waiters
 * one slice.
 */
#include "arena/wordlock.h"

#define ASK 32   /* slices between two questions to the system about the owner */
#define SPINS 60 /* looks at a held lock before sleeping; then a wake-up costs more than they do */

/* The lock as `seen` was found to be a dead owner's: true when it is ours now. */
static bool take_over(_Atomic uint32_t *word, uint32_t seen, mp__tag self)
{
    return atomic_compare_exchange_strong(word, &seen, self | MP__LOCK_WAITERS);
}

/* A little while of looking; returns what the word is then. */
static uint32_t look(_Atomic uint32_t *word)
{
    uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);
    for (int i = 0; seen && i < SPINS; i++) {
        mp__os_relax();
        seen = atomic_load_explicit(word, memory_order_relaxed);
    }
    return seen;
}

static int lock_slowly(_Atomic uint32_t *word, mp__tag self, mp_time timeout,
                       const _Atomic bool *interruptible)
{
    mp__deadline deadline = MP__NEVER;
    if (timeout != MP_FOREVER)
        deadline = mp__deadline_after(mp__os_now(), timeout);
    uint32_t mine = self; /* with the waiters' bit once we have slept: others may still sleep */
    for (unsigned slices = 0;; slices++) {
        uint32_t seen = look(word);
        if (!seen) {
            if (atomic_compare_exchange_strong_explicit(word, &seen, mine, memory_order_acquire,
                                                        memory_order_relaxed))
                return 0;
            continue;
        }
        if (mp__tag_dead(seen & MP__TAG_BITS) ||
            (slices % ASK == ASK - 1 && mp__tag_gone(seen & MP__TAG_BITS))) {
            if (take_over(word, seen, self))
                return -EOWNERDEAD;
            continue;
        }
        mp_time left = MP_FOREVER;
        if (deadline != MP__NEVER && !(left = mp__deadline_left(deadline, mp__os_now())))
            return -ETIMEDOUT;
        if (!(seen & MP__LOCK_WAITERS) &&
            !atomic_compare_exchange_strong(word, &seen, seen | MP__LOCK_WAITERS))
            continue;
        mine = self | MP__LOCK_WAITERS;
        int r = mp__os_futex_wait(word, seen | MP__LOCK_WAITERS,
                                  left < MP__LOCK_SLICE ? left : MP__LOCK_SLICE);
        if (r == -EINTR && interruptible && atomic_load(interruptible))
            return r;
    }
}

int mp__word_lock(_Atomic uint32_t *word, mp_time timeout, const _Atomic bool *interruptible)
{
    mp__tag self = mp__tag_self();
    uint32_t free = 0;
    if (mp__unlikely(!self))
        return mp__fail(-EAGAIN, "this process has no slot in its family");
    if (mp__likely(atomic_compare_exchange_strong_explicit(word, &free, self, memory_order_acquire,
                                                           memory_order_relaxed)))
        return 0;
    if (timeout <= 0) {
        uint32_t seen = free;
        if (seen && mp__tag_dead(seen & MP__TAG_BITS) && take_over(word, seen, self))
            return -EOWNERDEAD;
        return -ETIMEDOUT;
    }
    return lock_slowly(word, self, timeout, interruptible);
}

int mp__word_unlock(_Atomic uint32_t *word)
{
    uint32_t was = atomic_exchange(word, 0);
    if (mp__unlikely(was & MP__LOCK_WAITERS))
        mp__os_futex_wake(word, 1);
    return was ? 0 : -EPERM;
}
