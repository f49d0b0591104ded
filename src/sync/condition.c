/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_condition: a recursive lock and a table of waiters.  Each waiter has an entry of its own, with
 * the tag of its process, and sleeps on it until the SIGNALED bit is set:
 *
 *   0 -> tag              by the waiter, with the lock held
 *   tag -> tag|SIGNALED   by a notifier, with the lock held
 *   tag -> 0              by the waiter whose time is up, or by a notifier or burial that finds it dead
 *   tag|SIGNALED -> 0     by the waiter, when it holds the lock again; or by a burial, which has passed the
 *                         notification on
 *
 * A notifier wakes those whom it has signaled when it releases the lock, which they need first; until then
 * their entries stand in the list `owed`.  One that is killed before leaves the list to the next holder of
 * the lock; one that is killed between its release and the wake-ups costs the waiters one slice.
 *
 * Every step is one compare-and-swap, so there are no counts that a dead process could leave wrong.
 * Entries are taken and notified in about the order of arrival.
 */
#include "os/os.h"
#include "sync/sync.h"

#define KIND MP__OBJECT_CONDITION
#define SIGNALED 0x80000000u
#define OWED 16

typedef struct state {
    mp__recursive lock;
    _Atomic uint64_t arrivals; /* with the lock held; also the hint where a free entry is */
    _Atomic uint64_t quiet;    /* as many had arrived when nobody waited; with the lock held */
    _Atomic uint32_t notified; /* hint: where to look for the oldest waiter */
    _Atomic uint32_t owed_count;
    uint32_t owed[OWED]; /* guarded by the lock */
    _Alignas(64) _Atomic uint32_t entries[MP_CONDITION_WAITERS];
} state;

mp_condition *mp_condition_new(void)
{
    return mp__shared_new(KIND, sizeof(state));
}

int mp_condition_acquire(mp_condition *condition, mp_time timeout)
{
    MP__CHECK(mp__shared_is(condition, KIND));
    return mp__recursive_acquire(&((state *)mp__shared_data(condition))->lock, timeout);
}

/* Releases the lock, once, and wakes those who were signaled. */
static int release(state *s)
{
    uint32_t owed[OWED], n = atomic_load_explicit(&s->owed_count, memory_order_relaxed);
    if (mp__likely(!n) || !mp__recursive_is_mine(&s->lock) || atomic_load(&s->lock.count) > 1)
        return mp__recursive_release(&s->lock);
    n = n < OWED ? n : OWED;
    memcpy(owed, s->owed, n * sizeof *owed);
    atomic_store_explicit(&s->owed_count, 0, memory_order_relaxed);
    int r = mp__recursive_release(&s->lock);
    for (uint32_t i = 0; i < n; i++)
        mp__os_futex_wake(&s->entries[owed[i] % MP_CONDITION_WAITERS], 1);
    return r;
}

int mp_condition_release(mp_condition *condition)
{
    MP__CHECK(mp__shared_is(condition, KIND));
    return release(mp__shared_data(condition));
}

/* ---- waiting ---- */

static _Atomic uint32_t *enter(state *s)
{
    uint64_t from = atomic_fetch_add(&s->arrivals, 1);
    for (uint32_t k = 0; k < MP_CONDITION_WAITERS; k++) {
        _Atomic uint32_t *entry = &s->entries[(from + k) % MP_CONDITION_WAITERS];
        uint32_t nobody = 0;
        if (atomic_compare_exchange_strong(entry, &nobody, mp__tag_self()))
            return entry;
    }
    return NULL;
}

/* Sleeps until the entry is signaled, and leaves it so: 0.  At an error it is free again. */
static int sleep_on(_Atomic uint32_t *entry, mp__deadline deadline)
{
    uint32_t self = mp__tag_self();
    int r = 0;
    while (atomic_load(entry) == self && r == 0)
        r = mp__sync_wait(entry, self, deadline);
    uint32_t seen = self;
    if (r < 0 && atomic_compare_exchange_strong(entry, &seen, 0))
        return r;
    return 0; /* signaled, perhaps at the last moment */
}

int mp_condition_wait(mp_condition *condition, mp_time timeout)
{
    MP__CHECK(mp__shared_is(condition, KIND));
    state *s = mp__shared_data(condition);
    mp__deadline deadline = mp__sync_deadline(timeout);
    if (!mp__recursive_is_mine(&s->lock))
        return mp__fail(-EPERM, "the condition's lock is not held by this thread");
    _Atomic uint32_t *entry = enter(s);
    if (!entry)
        return mp__fail(-EAGAIN, "%d wait for the condition already", MP_CONDITION_WAITERS);
    uint32_t count = atomic_load(&s->lock.count);
    atomic_store(&s->lock.count, 1);
    release(s);
    int r = sleep_on(entry, deadline), locked;
    bool signaled = r == 0;
    while ((locked = mp__recursive_acquire(&s->lock, MP_FOREVER)) == -EINTR)
        r = r == 0 ? r : -EINTR;
    atomic_store(&s->lock.count, count);
    if (signaled) /* only now: until we hold the lock, our death passes the notification on */
        atomic_store(entry, 0);
    return locked == -EOWNERDEAD ? locked : r;
}

int mp_condition_wait_for(mp_condition *condition, int (*predicate)(void *data), void *data,
                          mp_time timeout)
{
    MP__CHECK(mp__shared_is(condition, KIND) && predicate);
    mp__deadline deadline = mp__sync_deadline(timeout);
    int met, r = 0;
    while (!(met = predicate(data)) && r == 0)
        r = mp_condition_wait(condition, deadline == MP__NEVER
                                             ? MP_FOREVER
                                             : mp__deadline_left(deadline, mp__os_now()));
    if (!met && r == -ETIMEDOUT)
        met = predicate(data);
    return met || r == -ETIMEDOUT ? met : r;
}

/* ---- notifying ---- */

/* Wakes a waiter, later if we hold the lock and there is room for it in the list. */
static void wake_entry(state *s, uint32_t index, bool locked)
{
    uint32_t n = atomic_load_explicit(&s->owed_count, memory_order_relaxed);
    if (!locked || n >= OWED) {
        mp__os_futex_wake(&s->entries[index], 1);
        return;
    }
    s->owed[n] = index;
    atomic_store_explicit(&s->owed_count, n + 1, memory_order_release);
}

/* Whether there are no entries at all, which is the usual case of a notification.  Entries come with the lock
 * held only, and after their arrival was counted: when that is as it was at the last look, nobody has come. */
static bool nobody_waits(state *s)
{
    uint64_t arrivals = atomic_load_explicit(&s->arrivals, memory_order_relaxed);
    if (atomic_load_explicit(&s->quiet, memory_order_relaxed) == arrivals)
        return true;
    for (uint32_t i = 0; i < MP_CONDITION_WAITERS; i++) {
        if (atomic_load_explicit(&s->entries[i], memory_order_relaxed))
            return false;
    }
    atomic_store_explicit(&s->quiet, arrivals, memory_order_relaxed);
    return true;
}

/* Signals up to n entries, from the oldest on. */
static unsigned signal_entries(state *s, unsigned n, bool locked)
{
    unsigned woken = 0;
    uint32_t from = atomic_load(&s->notified);
    for (uint32_t k = 0; k < MP_CONDITION_WAITERS && woken < n; k++) {
        _Atomic uint32_t *entry = &s->entries[(from + k) % MP_CONDITION_WAITERS];
        uint32_t seen = atomic_load(entry);
        if (!seen || (seen & SIGNALED))
            continue;
        if (mp__tag_dead(seen)) {
            atomic_compare_exchange_strong(entry, &seen, 0);
        } else if (atomic_compare_exchange_strong(entry, &seen, seen | SIGNALED)) {
            wake_entry(s, (from + k) % MP_CONDITION_WAITERS, locked);
            atomic_store(&s->notified, from + k + 1);
            woken++;
        }
    }
    return woken;
}

int mp_condition_notify(mp_condition *condition, unsigned n)
{
    MP__CHECK(mp__shared_is(condition, KIND));
    state *s = mp__shared_data(condition);
    if (!mp__recursive_is_mine(&s->lock))
        return mp__fail(-EPERM, "the condition's lock is not held by this thread");
    if (nobody_waits(s))
        return 0;
    return (int)signal_entries(s, n, true);
}

int mp_condition_notify_all(mp_condition *condition)
{
    return mp_condition_notify(condition, MP_CONDITION_WAITERS);
}

/* ---- death ---- */

/* A dead waiter's entry: its notification goes on before the entry is free, so that another burial does it
 * again if this one is killed; and a notifier that signals it in between is seen. */
static void bury_entry(state *s, _Atomic uint32_t *entry, mp__tag tag)
{
    uint32_t seen = atomic_load(entry);
    while ((seen & MP__TAG_BITS) == tag) {
        if (seen & SIGNALED)
            signal_entries(s, 1, false);
        if (atomic_compare_exchange_strong(entry, &seen, 0))
            return;
    }
}

static void bury(mp__object *object, mp__tag tag)
{
    state *s = (state *)(void *)object->data;
    for (uint32_t i = 0; i < MP_CONDITION_WAITERS; i++)
        bury_entry(s, &s->entries[i], tag);
}

__attribute__((constructor)) static void set_up(void)
{
    mp__object_on_death(KIND, bury);
}

mp_condition *mp_condition_ref(mp_condition *condition)
{
    return mp__shared_ref(condition, KIND);
}

void mp_condition_free(mp_condition *condition)
{
    mp__shared_free(condition, KIND);
}
