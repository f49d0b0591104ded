/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_event: one word, and a count of waiters that only decides whether setting it costs a system
 * call.  Nothing to own, nothing to recover; a setter that is killed between the store and the wake-up
 * costs the waiters one slice.
 */
#include "os/os.h"
#include "sync/bell.h"
#include "sync/sync.h"

#define KIND MP__OBJECT_EVENT

typedef struct state {
    _Atomic uint32_t word; /* how often it was set << 1 | set: who waits sees also a set that was
                              cleared at once */
    _Atomic uint32_t waiters;
    mp__bells bells; /* of those who poll */
} state;

mp_event *mp_event_new(void)
{
    return mp__shared_new(KIND, sizeof(state));
}

int mp_event_set(mp_event *event)
{
    MP__CHECK(mp__shared_is(event, KIND));
    state *s = mp__shared_data(event);
    uint32_t word = atomic_load(&s->word);
    while (!(word & 1))
        if (atomic_compare_exchange_weak(&s->word, &word, word + 3))
            break;
    if (atomic_load(&s->waiters))
        mp__os_futex_wake(&s->word, INT32_MAX);
    mp__bell_ring(&s->bells);
    return 0;
}

mp__bells *mp__event_bells(const mp_event *event)
{
    return &((state *)mp__shared_data(event))->bells;
}

int mp_event_clear(mp_event *event)
{
    MP__CHECK(mp__shared_is(event, KIND));
    atomic_fetch_and(&((state *)mp__shared_data(event))->word, ~1u);
    return 0;
}

int mp_event_is_set(const mp_event *event)
{
    MP__CHECK(mp__shared_is(event, KIND));
    return (int)(atomic_load(&((state *)mp__shared_data(event))->word) & 1);
}

int mp_event_wait(mp_event *event, mp_time timeout)
{
    MP__CHECK(mp__shared_is(event, KIND));
    state *s = mp__shared_data(event);
    uint32_t word = atomic_load(&s->word);
    if (word & 1)
        return 0;
    if (timeout <= 0)
        return -ETIMEDOUT;
    mp__deadline deadline = mp__sync_deadline(timeout);
    int r = 0;
    atomic_fetch_add(&s->waiters, 1);
    while (atomic_load(&s->word) == word && (r = mp__sync_wait(&s->word, word, deadline)) == 0)
        ;
    atomic_fetch_sub(&s->waiters, 1);
    return r;
}

static void bury(mp__object *object, mp__tag tag)
{
    mp__bell_bury(&((state *)(void *)object->data)->bells, tag);
}

__attribute__((constructor)) static void set_up(void)
{
    mp__object_on_death(KIND, bury);
}

mp_event *mp_event_ref(mp_event *event)
{
    return mp__shared_ref(event, KIND);
}

void mp_event_free(mp_event *event)
{
    mp__shared_free(event, KIND);
}
