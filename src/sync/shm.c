/* SPDX-License-Identifier: MIT */
/* Owns mp_shm: an object of the arena whose data are the program's own.  Nothing to recover. */
#include <multiproc/shm.h>

#include "sync/sync.h"

#define KIND MP__OBJECT_SHM

mp_shm *mp_shm_new(size_t size)
{
    mp__clear_detail();
    if (!size)
        return mp__null(mp__fail(-EINVAL, "a shared block of no bytes"));
    return mp__shared_new(KIND, size);
}

void *mp_shm_data(const mp_shm *shm)
{
    MP__CHECK_NULL(mp__shared_is(shm, KIND));
    return mp__shared_data(shm);
}

size_t mp_shm_size(const mp_shm *shm)
{
    return mp__shared_is(shm, KIND) ? (size_t)mp__hold_object(((const mp__shared *)shm)->hold)->size
                                    : 0;
}

mp_shm *mp_shm_ref(mp_shm *shm)
{
    return mp__shared_ref(shm, KIND);
}

void mp_shm_free(mp_shm *shm)
{
    mp__shared_free(shm, KIND);
}
