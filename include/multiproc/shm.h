/* SPDX-License-Identifier: MIT */
/*
 * Blocks of memory that processes share: plain bytes at an address, without a name and without a
 * descriptor.  A block travels to other processes as an argument or in a message; in each of them its
 * bytes stand at another address.  It is given back when the last process that holds it drops it or
 * dies.
 *
 * What is written is seen by the others as by other threads: guard it with a lock (sync.h), or use
 * atomic operations.
 */
#ifndef MULTIPROC_SHM_H
#define MULTIPROC_SHM_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/**
 * A block of `size` bytes, all zero, aligned for any type.  NULL with EINVAL for no bytes, ENOMEM when
 * the family's memory cannot grow so far, EAGAIN when the family has no room for this process.
 */
MULTIPROC_API mp_shm *mp_shm_new(size_t size);

/** Its bytes in this process; valid as long as a reference is held. */
MULTIPROC_API void *mp_shm_data(const mp_shm *shm);

/** Its size in bytes, as it was asked for. */
MULTIPROC_API size_t mp_shm_size(const mp_shm *shm);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_shm *mp_shm_ref(mp_shm *shm);

/** Gives a reference back. */
MULTIPROC_API void mp_shm_free(mp_shm *shm);

/** As a value, with a reference of its own; and back, borrowed from the value: MP_ETYPE. */
MULTIPROC_API mp_value *mp_value_shm(mp_shm *shm);
MULTIPROC_API int mp_value_get_shm(const mp_value *value, mp_shm **ret_shm);

MULTIPROC_END

#endif
