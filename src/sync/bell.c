/* SPDX-License-Identifier: MIT */
/* Owns the tables of bells (bell.h): every change is one atomic instruction. */
#include "sync/bell.h"

#include "os/os.h"

int mp__bell_enter(mp__bells *bells, uint64_t address)
{
    mp__tag self = mp__tag_self();
    for (int i = 0; self && i < MP__BELLS; i++) {
        mp__bell *b = &bells->bell[i];
        uint32_t owner = atomic_load(&b->owner);
        if (owner && !mp__tag_dead_now(owner))
            continue;
        if (!atomic_compare_exchange_strong(&b->owner, &owner, self))
            continue;
        atomic_store(&b->armed, 0);
        atomic_store(&b->address, address);
        uint32_t used = atomic_load(&bells->used);
        while (used < (uint32_t)i + 1 &&
               !atomic_compare_exchange_weak(&bells->used, &used, (uint32_t)i + 1))
            ;
        return i;
    }
    return mp__fail(-EAGAIN, "%d processes poll this object already", MP__BELLS);
}

void mp__bell_remove(mp__bells *bells, int index)
{
    atomic_store(&bells->bell[index].armed, 0);
    atomic_store(&bells->bell[index].owner, 0);
}

void mp__bell_arm(mp__bells *bells, int index)
{
    atomic_exchange(&bells->bell[index].armed, 1); /* before the owner looks for the last time */
}

void mp__bell_ring_all(mp__bells *bells)
{
    uint32_t used = atomic_load(&bells->used);
    for (uint32_t i = 0; i < used && i < MP__BELLS; i++) {
        mp__bell *b = &bells->bell[i];
        if (!atomic_load(&b->armed) || !atomic_exchange(&b->armed, 0))
            continue;
        uint32_t owner = atomic_load(&b->owner);
        if (owner && mp__os_bell_ring(atomic_load(&b->address)) == -ECONNREFUSED &&
            mp__tag_dead_now(owner))
            atomic_compare_exchange_strong(&b->owner, &owner, 0);
    }
}

void mp__bell_bury(mp__bells *bells, mp__tag tag)
{
    for (int i = 0; i < MP__BELLS; i++) {
        uint32_t owner = tag;
        atomic_compare_exchange_strong(&bells->bell[i].owner, &owner, 0);
    }
}
