/* SPDX-License-Identifier: MIT */
/*
 * Owns the counter behind the fault points of fault.h.  Process-local; nothing here is shared, so a
 * process that dies inside leaves nothing behind.
 */
#include "base/fault.h"

#ifdef MULTIPROC_TEST_POINTS

static _Atomic long armed;  /* fail when the counter reaches this; 0: disarmed */
static _Atomic long passed; /* since arming */
static int armed_error;
static const char *_Atomic hit;
_Atomic int mp__planted;

void mp__fault_arm(long nth, int error)
{
    armed_error = error;
    atomic_store(&hit, NULL);
    atomic_store(&passed, 0);
    atomic_store(&armed, nth);
}

void mp__fault_disarm(void)
{
    atomic_store(&armed, 0);
}

long mp__fault_count(void)
{
    return atomic_load(&passed);
}

const char *mp__fault_hit(void)
{
    return atomic_load(&hit);
}

int mp__fault_next(const char *name)
{
    long at = atomic_load_explicit(&armed, memory_order_relaxed);
    if (mp__likely(at == 0))
        return 0;
    if (atomic_fetch_add(&passed, 1) + 1 != at)
        return 0;
    atomic_store(&hit, name);
    return armed_error;
}

#else
typedef int mp__fault_is_off; /* ISO C wants a declaration in every file */
#endif
