/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_shm: an object of the arena whose data are the program's own, behind a recursive lock if it has
 * one.  Nothing to recover but that lock (rlock.c).
 */
#include <multiproc/shm.h>

#include "sync/sync.h"

#define KIND MP__OBJECT_SHM
#define LOCKED 1u     /* flag of the object */
#define LOCK_SIZE 64u /* in front of the data */

static bool is_locked(const mp_shm *shm)
{
    return mp__hold_object(((const mp__shared *)shm)->hold)->flags & LOCKED;
}

static mp_shm *make(size_t size, uint32_t flags)
{
    size_t total;
    mp__clear_detail();
    if (!size)
        return mp__null(mp__fail(-EINVAL, "a shared block of no bytes"));
    if (!mp__add(size, flags & LOCKED ? LOCK_SIZE : 0, &total))
        return mp__null(mp__fail(-ENOMEM, "%zu bytes are more than shared memory can hold", size));
    mp_shm *shm = mp__shared_new(KIND, total);
    if (shm)
        mp__hold_object(((mp__shared *)shm)->hold)->flags = flags;
    return shm;
}

mp_shm *mp_shm_new(size_t size)
{
    return make(size, 0);
}

mp_shm *mp__shm_new_raw(size_t size)
{
    return mp__shared_wrap(KIND, mp__object_new_raw(KIND, size));
}

mp_shm *mp_shm_new_locked(size_t size)
{
    return make(size, LOCKED);
}

mp_shm *mp_shm_new_array(size_t n, size_t size)
{
    size_t total;
    if (!mp__mul(n, size, &total))
        return mp__null(
            mp__fail(-ENOMEM, "%zu times %zu bytes are more than shared memory can hold", n, size));
    return make(total, LOCKED);
}

static mp__recursive *lock_of(mp_shm *shm)
{
    if (is_locked(shm))
        return mp__shared_data(shm);
    mp__fail(-EINVAL, "the shared block has no lock: make it with mp_shm_new_locked()");
    return NULL;
}

int mp_shm_acquire(mp_shm *shm, mp_time timeout)
{
    MP__CHECK(mp__shared_is(shm, KIND));
    mp__recursive *lock = lock_of(shm);
    return lock ? mp__recursive_acquire(lock, timeout) : -EINVAL;
}

int mp_shm_release(mp_shm *shm)
{
    MP__CHECK(mp__shared_is(shm, KIND));
    mp__recursive *lock = lock_of(shm);
    return lock ? mp__recursive_release(lock) : -EINVAL;
}

void *mp_shm_data(const mp_shm *shm)
{
    MP__CHECK_NULL(mp__shared_is(shm, KIND));
    return (char *)mp__shared_data(shm) + (is_locked(shm) ? LOCK_SIZE : 0);
}

size_t mp_shm_size(const mp_shm *shm)
{
    if (!mp__shared_is(shm, KIND))
        return 0;
    return (size_t)mp__hold_object(((const mp__shared *)shm)->hold)->size -
           (is_locked(shm) ? LOCK_SIZE : 0);
}

mp_shm *mp_shm_ref(mp_shm *shm)
{
    return mp__shared_ref(shm, KIND);
}

void mp_shm_free(mp_shm *shm)
{
    mp__shared_free(shm, KIND);
}
