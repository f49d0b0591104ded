/* SPDX-License-Identifier: MIT */
/* Owns the handles of synchronisation objects and the way they wait.  Process-local. */
#include "sync/sync.h"

#include "os/os.h"

static struct {
    size_t size;
    void (*fini)(void *handle);
} described[MP__OBJECT_KINDS];

void mp__shared_describe(mp__object_kind kind, size_t size, void (*fini)(void *handle))
{
    described[kind].size = size;
    described[kind].fini = fini;
}

void *mp__shared_wrap(mp__object_kind kind, mp__hold *hold)
{
    size_t size = described[kind].size ? described[kind].size : sizeof(mp__shared);
    mp__shared *s = hold ? mp__alloc_zero(size) : NULL;
    if (!s) {
        if (hold)
            mp__hold_free(hold);
        return hold ? mp__null(-ENOMEM) : NULL;
    }
    mp__head_init(&s->head, mp__shared_magic(kind));
    s->hold = hold;
    s->data = mp__hold_data(hold);
    return s;
}

void *mp__shared_new(mp__object_kind kind, size_t size)
{
    mp__clear_detail();
    return mp__shared_wrap(kind, mp__object_new(kind, size));
}

void *mp__shared_ref(void *handle, mp__object_kind kind)
{
    MP__CHECK_NULL(mp__shared_is(handle, kind));
    mp__head_ref(handle);
    return handle;
}

void mp__shared_free(void *handle, mp__object_kind kind)
{
    mp__shared *s = handle;
    if (!mp__shared_is(handle, kind) || !mp__head_unref(&s->head))
        return;
    if (described[kind].fini)
        described[kind].fini(handle);
    mp__hold_free(s->hold);
    free(s);
}

mp__deadline mp__sync_deadline(mp_time timeout)
{
    return timeout == MP_FOREVER ? MP__NEVER : mp__deadline_after(mp__os_now(), timeout);
}

int mp__sync_wait(_Atomic uint32_t *word, uint32_t seen, mp__deadline deadline)
{
    mp_time left = MP_FOREVER;
    if (deadline != MP__NEVER && !(left = mp__deadline_left(deadline, mp__os_now())))
        return -ETIMEDOUT;
    int r = mp__os_futex_wait(word, seen, left < MP__WAIT_SLICE ? left : MP__WAIT_SLICE);
    return r == -EINTR && atomic_load(&mp__interruptible) ? r : 0;
}
