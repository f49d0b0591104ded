/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_rlock: a word lock, and beside it the thread that holds it and how often.  Those two belong to
 * the holder; what a dead one left there is overwritten by the next.  `thread` is 0 before the word is
 * given back, so another thread of the same process never takes the old holder's entry for its own.
 */
#include "sync/sync.h"

#define KIND MP__OBJECT_RLOCK

/* An address that no other living thread of this process has. */
static uint64_t this_thread(void)
{
    static _Thread_local char here;
    return (uint64_t)(uintptr_t)&here;
}

bool mp__recursive_is_mine(const mp__recursive *lock)
{
    uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    return word && (word & MP__TAG_BITS) == mp__tag_self() &&
           atomic_load_explicit(&lock->thread, memory_order_relaxed) == this_thread();
}

int mp__recursive_acquire(mp__recursive *lock, mp_time timeout)
{
    if (mp__likely(mp__word_trylock(&lock->word))) {
        atomic_store_explicit(&lock->count, 1, memory_order_relaxed);
        atomic_store_explicit(&lock->thread, this_thread(), memory_order_relaxed);
        return 0;
    }
    if (mp__recursive_is_mine(lock)) {
        uint32_t count = atomic_load(&lock->count);
        if (count >= MP_SEMAPHORE_MAX)
            return mp__fail(-ERANGE, "the lock was taken 2**31 times");
        atomic_store(&lock->count, count + 1);
        return 0;
    }
    int r = mp__word_lock(&lock->word, timeout, &mp__interruptible);
    if (r == 0 || r == -EOWNERDEAD) {
        atomic_store_explicit(&lock->count, 1, memory_order_relaxed);
        atomic_store_explicit(&lock->thread, this_thread(), memory_order_relaxed);
    }
    return r;
}

int mp__recursive_release(mp__recursive *lock)
{
    if (!mp__recursive_is_mine(lock))
        return mp__fail(-EPERM, "the lock is not held by this thread");
    uint32_t count = atomic_load(&lock->count);
    if (count > 1) {
        atomic_store(&lock->count, count - 1);
        return 0;
    }
    atomic_store_explicit(&lock->count, 0, memory_order_relaxed);
    atomic_store_explicit(&lock->thread, 0, memory_order_relaxed);
    return mp__word_unlock(&lock->word);
}

mp_rlock *mp_rlock_new(void)
{
    return mp__shared_new(KIND, sizeof(mp__recursive));
}

int mp_rlock_acquire(mp_rlock *lock, mp_time timeout)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    return mp__recursive_acquire(mp__shared_data(lock), timeout);
}

int mp_rlock_release(mp_rlock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    return mp__recursive_release(mp__shared_data(lock));
}

int mp_rlock_count(const mp_rlock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    const mp__recursive *state = mp__shared_data(lock);
    return mp__recursive_is_mine(state) ? (int)atomic_load(&state->count) : 0;
}

int mp_rlock_locked(const mp_rlock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    return atomic_load(&((mp__recursive *)mp__shared_data(lock))->word) != 0;
}

mp_rlock *mp_rlock_ref(mp_rlock *lock)
{
    return mp__shared_ref(lock, KIND);
}

void mp_rlock_free(mp_rlock *lock)
{
    mp__shared_free(lock, KIND);
}
