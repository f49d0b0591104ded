/* SPDX-License-Identifier: MIT */
/* Owns gates (gate.h) and the looking before the sleep. */
#include "sync/gate.h"

#include "base/fault.h"
#include "os/os.h"

#define MAY_SLEEP 1u /* mp__gate_is_shut() */
#define ANNOUNCE 2u
#define SPIN_TIME 20000 /* ns */
#define DEBT_MOST 12
#define LINGER_LEAST 16 /* turns */
#define LINGER_MOST 256

int mp__gate_wait(mp__gate *gate, _Atomic uint32_t *word, uint32_t seen, mp__deadline deadline,
                  mp_time slice)
{
    mp_time left = MP_FOREVER;
    if (deadline != MP__NEVER && !(left = mp__deadline_left(deadline, mp__os_now())))
        return -ETIMEDOUT;
    uint32_t announced = atomic_load(gate);
    while (!atomic_compare_exchange_weak(gate, &announced, (announced | MAY_SLEEP) + ANNOUNCE))
        ;
    int r = mp__os_futex_wait(word, seen, left < slice ? left : slice);
    return r == -EINTR && atomic_load(&mp__interruptible) ? r : 0;
}

void mp__gate_open(mp__gate *gate, uint32_t before, _Atomic uint32_t *word, int n)
{
    if (mp__likely(!mp__gate_is_shut(gate)) || MP__PLANTED(LOST_WAKE))
        return;
    if (mp__os_futex_wake(word, n) <= 0 && (before & MAY_SLEEP))
        atomic_compare_exchange_strong(gate, &before, before & ~MAY_SLEEP);
}

static bool on_one_cpu(void)
{
    static _Atomic int known; /* 1: no, 2: yes */
    int k = atomic_load_explicit(&known, memory_order_relaxed);
    if (!k)
        atomic_store(&known, k = mp__os_one_cpu() ? 2 : 1);
    return k == 2;
}

bool mp__spin_while(mp__spin *spin, _Atomic uint32_t *word, uint32_t seen)
{
    int debt = atomic_load_explicit(&spin->debt, memory_order_relaxed);
    if (on_one_cpu() ||
        (debt >= DEBT_MOST &&
         atomic_fetch_add_explicit(&spin->skipped, 1, memory_order_relaxed) % 64 != 63))
        return atomic_load(word) != seen;
    int64_t until = 0;
    for (unsigned turn = 0;; turn++) {
        for (unsigned i = 0; i < (turn < 4 ? 1u << turn : 16u); i++)
            mp__os_relax(); /* less and less often, so that the other side has the line to itself */
        if (atomic_load_explicit(word, memory_order_acquire) != seen) {
            if (debt > 0)
                atomic_store_explicit(&spin->debt, debt > 4 ? debt - 4 : 0, memory_order_relaxed);
            return true;
        }
        if (turn % 4 != 3)
            continue;
        int64_t now = mp__os_now();
        if (until &&
            now > until + SPIN_TIME) { /* others want the processor, and have had it for long */
            debt = DEBT_MOST;
            break;
        }
        until = until ? until : now + SPIN_TIME;
        if (now >= until)
            break;
    }
    atomic_store_explicit(&spin->debt, debt < DEBT_MOST ? debt + 1 : DEBT_MOST,
                          memory_order_relaxed);
    return false;
}

bool mp__spin_linger(mp__spin *spin)
{
    unsigned turns = atomic_load_explicit(&spin->turns, memory_order_relaxed);
    if (!turns && atomic_fetch_add_explicit(&spin->lingered, 1, memory_order_relaxed) % 64 != 63)
        return false;
    for (unsigned i = 0; i < (turns ? turns : LINGER_LEAST); i++)
        mp__os_relax();
    return true;
}

void mp__spin_gathered(mp__spin *spin, uint64_t items)
{
    unsigned turns = atomic_load_explicit(&spin->turns, memory_order_relaxed);
    if (items <= 1)
        turns = 0;
    else if (items >= 8)
        turns = turns < LINGER_MOST / 2 ? 2 * (turns ? turns : LINGER_LEAST) : LINGER_MOST;
    else
        turns = LINGER_LEAST;
    atomic_store_explicit(&spin->turns, turns, memory_order_relaxed);
}
