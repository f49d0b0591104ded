/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_semaphore: a value that changes by compare-and-swap, and a count of waiters that only decides
 * whether a wake-up is worth a system call.  A waiter that is killed leaves that count too high for
 * ever, which costs system calls; a releaser that is killed between its release and the wake-up costs
 * a waiter one slice.
 */
#include "os/os.h"
#include "sync/sync.h"

#define KIND MP__OBJECT_SEMAPHORE
#define SPINS 60

typedef struct state {
    _Atomic uint32_t value, waiters;
    uint32_t bound;
} state;

mp_semaphore *mp_semaphore_new(unsigned value, unsigned bound)
{
    MP__CHECK_NULL(value <= MP_SEMAPHORE_MAX && bound <= MP_SEMAPHORE_MAX &&
                   (!bound || value <= bound));
    mp_semaphore *s = mp__shared_new(KIND, sizeof(state));
    if (s) {
        state *data = mp__shared_data(s);
        data->bound = bound ? bound : MP_SEMAPHORE_MAX;
        atomic_store(&data->value, value);
    }
    return s;
}

static bool take(state *s)
{
    uint32_t value = atomic_load_explicit(&s->value, memory_order_relaxed);
    while (value)
        if (atomic_compare_exchange_weak_explicit(&s->value, &value, value - 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

int mp_semaphore_acquire(mp_semaphore *semaphore, mp_time timeout)
{
    MP__CHECK(mp__shared_is(semaphore, KIND));
    state *s = mp__shared_data(semaphore);
    if (mp__likely(take(s)))
        return 0;
    if (timeout <= 0)
        return -ETIMEDOUT;
    for (int i = 0; i < SPINS; i++) {
        mp__os_relax();
        if (take(s))
            return 0;
    }
    mp__deadline deadline = mp__sync_deadline(timeout);
    int r = 0;
    atomic_fetch_add(&s->waiters, 1);
    while (!take(s) && (r = mp__sync_wait(&s->value, 0, deadline)) == 0)
        ;
    atomic_fetch_sub(&s->waiters, 1);
    return r;
}

int mp_semaphore_release(mp_semaphore *semaphore, unsigned n)
{
    MP__CHECK(mp__shared_is(semaphore, KIND) && n > 0);
    state *s = mp__shared_data(semaphore);
    uint32_t value = atomic_load(&s->value);
    do {
        if (n > s->bound || value > s->bound - n)
            return mp__fail(-ERANGE, "the semaphore is released more often than its bound of %u",
                            s->bound);
    } while (!atomic_compare_exchange_weak(&s->value, &value, value + n));
    if (atomic_load(&s->waiters))
        mp__os_futex_wake(&s->value, (int)n);
    return 0;
}

int mp_semaphore_value(const mp_semaphore *semaphore)
{
    MP__CHECK(mp__shared_is(semaphore, KIND));
    return (int)atomic_load(&((state *)mp__shared_data(semaphore))->value);
}

mp_semaphore *mp_semaphore_ref(mp_semaphore *semaphore)
{
    return mp__shared_ref(semaphore, KIND);
}

void mp_semaphore_free(mp_semaphore *semaphore)
{
    mp__shared_free(semaphore, KIND);
}
