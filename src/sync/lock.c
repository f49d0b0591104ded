/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_lock: a word lock (wordlock.h), which is all of its state.  A holder that is killed is found
 * dead by the next one that wants the lock.
 */
#include "sync/sync.h"

#define KIND MP__OBJECT_LOCK

static _Atomic uint32_t *word_of(const mp_lock *lock)
{
    return mp__shared_data(lock);
}

mp_lock *mp_lock_new(void)
{
    return mp__shared_new(KIND, sizeof(uint32_t));
}

int mp_lock_acquire(mp_lock *lock, mp_time timeout)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    if (mp__likely(mp__word_trylock(word_of(lock))))
        return 0;
    return mp__word_lock(word_of(lock), timeout, &mp__interruptible);
}

int mp_lock_release(mp_lock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    int r = mp__word_unlock(word_of(lock));
    return r < 0 ? mp__fail(r, "the lock is released and nobody holds it") : 0;
}

int mp_lock_locked(const mp_lock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    return atomic_load(word_of(lock)) != 0;
}

int mp_lock_owner(const mp_lock *lock)
{
    MP__CHECK(mp__shared_is(lock, KIND));
    return (int)mp__tag_pid(atomic_load(word_of(lock)) & MP__TAG_BITS);
}

mp_lock *mp_lock_ref(mp_lock *lock)
{
    return mp__shared_ref(lock, KIND);
}

void mp_lock_free(mp_lock *lock)
{
    mp__shared_free(lock, KIND);
}
