/* SPDX-License-Identifier: MIT */
/*
 * Blocks of memory that processes share.
 *
 * mp_shm is the usual kind: plain bytes at an address, without a name and without a descriptor.  A block
 * travels to other processes as an argument or in a message; in each of them its bytes stand at another
 * address.  It is given back when the last process that holds it drops it or dies.
 *
 * mp_named_shm has a name, by which any process of the machine finds it, Python's
 * multiprocessing.shared_memory among them.
 *
 * What is written is seen by the others as by other threads: guard it with a lock (a block can have one
 * of its own), or use atomic operations.
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

/**
 * The same with a recursive lock of its own: what Python calls Value and Array.
 *
 *   mp_shm *total = MP_SHM_NEW(double, 1);
 *   mp_shm_acquire(total, MP_FOREVER);
 *   *MP_SHM(double, total) += 0.5;
 *   mp_shm_release(total);
 */
MULTIPROC_API mp_shm *mp_shm_new_locked(size_t size);

/** n things of a type, all zero, with a lock; and their address. */
#define MP_SHM_NEW(type, n) mp_shm_new_array((n), sizeof(type))
#define MP_SHM(type, shm) ((type *)mp_shm_data(shm))

/** n things of `size` bytes each, with a lock.  NULL with EINVAL for none, ENOMEM also when their product
 *  is too large. */
MULTIPROC_API mp_shm *mp_shm_new_array(size_t n, size_t size);

/** The block's lock: as mp_rlock_acquire() and mp_rlock_release().  -EINVAL when it has none. */
MULTIPROC_API int mp_shm_acquire(mp_shm *shm, mp_time timeout);
MULTIPROC_API int mp_shm_release(mp_shm *shm);

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

/* ---- with a name ----------------------------------------------------------------------------- */

/**
 * A new block of `size` bytes, all zero, with a name: up to 250 bytes without a slash but at the start,
 * where it does not count; NULL for one that nobody has, "mp_" and 16 hexadecimal digits.  Readable and
 * writable by this user.
 *
 * The name belongs to the family: it is taken away when the last of the processes that the family has now
 * has ended, if nobody has unlinked it before.  It stays when the last one is killed, or one whose end
 * nobody of the family has seen; see also mp_named_shm_keep().
 * NULL with EEXIST, EINVAL for no bytes or a name that is none, ENOSPC, ENOMEM, EMFILE, ENFILE, EACCES,
 * EAGAIN.
 */
MULTIPROC_API mp_named_shm *mp_named_shm_create(const char *name, size_t size);

/** The block of that name, whoever made it.  Its end never takes the name away.  NULL with ENOENT, EINVAL,
 *  EACCES, ENOMEM, EMFILE, ENFILE; EBADMSG for a block of no bytes. */
MULTIPROC_API mp_named_shm *mp_named_shm_attach(const char *name);

/** Its bytes in this process; valid as long as a reference is held.  Whoever makes the file behind it
 *  shorter kills those that use it with SIGBUS; the library never does. */
MULTIPROC_API void *mp_named_shm_data(const mp_named_shm *shm);

/** Its size in bytes. */
MULTIPROC_API size_t mp_named_shm_size(const mp_named_shm *shm);

/** Its name, without a slash at the start; lives as long as the handle. */
MULTIPROC_API const char *mp_named_shm_name(const mp_named_shm *shm);

/** Takes the name away.  Those that have the block keep it.  -ENOENT, -EACCES. */
MULTIPROC_API int mp_named_shm_unlink(mp_named_shm *shm);

/** The name shall stay when the family has ended; for the one who created it. */
MULTIPROC_API int mp_named_shm_keep(mp_named_shm *shm);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_named_shm *mp_named_shm_ref(mp_named_shm *shm);

/** Gives a reference back; the last one unmaps the bytes in this process.  The name stays. */
MULTIPROC_API void mp_named_shm_free(mp_named_shm *shm);

MULTIPROC_END

#endif
