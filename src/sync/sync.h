/* SPDX-License-Identifier: MIT */
/*
 * What the kinds of synchronisation objects share: a handle of this process over a hold of an object in
 * the arena.  mp_lock, mp_rlock and so on are all this struct, told apart by the magic.
 */
#ifndef MP__SYNC_H
#define MP__SYNC_H

#include <multiproc/sync.h>

#include "arena/object.h"
#include "arena/wordlock.h"

/* Waits for anything but a lock: whoever owed the wake-up was killed, at the worst. */
#define MP__WAIT_SLICE MP_MS(100)

typedef struct mp__shared {
    mp__head head;
    mp__hold *hold;
    void *data;
} mp__shared;

/* A kind whose handles are larger than mp__shared, which they start with: their size, and what gives
 * back what they hold beside it.  The rest of a new handle is zeroed. */
MP__HIDDEN void mp__shared_describe(mp__object_kind kind, size_t size, void (*fini)(void *handle));

/* By object kind. */
static inline mp__magic mp__shared_magic(mp__object_kind kind)
{
    return (mp__magic)(MP__MAGIC_SHARED + (int)kind);
}

MP__HIDDEN void *mp__shared_new(mp__object_kind kind, size_t size);
MP__HIDDEN void *mp__shared_ref(void *handle, mp__object_kind kind);
MP__HIDDEN void mp__shared_free(void *handle, mp__object_kind kind);
/* Takes the hold over; NULL with errno. */
MP__HIDDEN void *mp__shared_wrap(mp__object_kind kind, mp__hold *hold);

static inline bool mp__shared_is(const void *handle, mp__object_kind kind)
{
    return mp__is(handle, mp__shared_magic(kind));
}

static inline void *mp__shared_data(const void *handle)
{
    return ((const mp__shared *)handle)->data;
}

/* Waits on *word while it is `seen`: -ETIMEDOUT when the deadline has passed, -EINTR for hosts. */
MP__HIDDEN int mp__sync_wait(_Atomic uint32_t *word, uint32_t seen, mp__deadline deadline);
MP__HIDDEN mp__deadline mp__sync_deadline(mp_time timeout);

/* barrier.c: the process with that tag will be one of the parties. */
MP__HIDDEN void mp__barrier_expect(void *barrier, mp__tag tag);

/* shm.c: a block whose bytes are not zeroed. */
MP__HIDDEN mp_shm *mp__shm_new_raw(size_t size);

/* event.c: of those who poll it (bell.h). */
struct mp__bells;
MP__HIDDEN struct mp__bells *mp__event_bells(const mp_event *event);

/* rlock.c: the state of a recursive lock, also inside a condition. */
typedef struct mp__recursive {
    _Atomic uint32_t word;
    _Atomic uint32_t count;
    _Atomic uint64_t thread; /* of the owner; 0 while it is being taken or given back */
} mp__recursive;

MP__HIDDEN int mp__recursive_acquire(mp__recursive *lock, mp_time timeout);
MP__HIDDEN int mp__recursive_release(mp__recursive *lock);
MP__HIDDEN bool mp__recursive_is_mine(const mp__recursive *lock);

#endif
