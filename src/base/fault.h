/* SPDX-License-Identifier: MIT */
/*
 * Numbered fault points, for tests only: a build without MULTIPROC_TEST_POINTS has none.
 *
 * MP__FAULT("name") stands at the head of every system call wrapper and allocation.  A test arms the
 * n-th one to fail with an errno; mp__fault_hit() tells whether it was reached, so a test counts n up
 * until the operation succeeds.  Armed for one process: a forked child starts disarmed.
 */
#ifndef MP__FAULT_H
#define MP__FAULT_H

#include "base/base.h"

#ifdef MULTIPROC_TEST_POINTS

MULTIPROC_API void mp__fault_arm(long nth, int error);
MULTIPROC_API void mp__fault_disarm(void);
MULTIPROC_API long mp__fault_count(void);      /* points passed since arming */
MULTIPROC_API const char *mp__fault_hit(void); /* name of the point that failed, or NULL */
MULTIPROC_API int mp__fault_next(const char *name);

#define MP__FAULT(name)                             \
    do {                                            \
        int mp__fault_error = mp__fault_next(name); \
        if (mp__fault_error)                        \
            return -mp__fault_error;                \
    } while (0)

/* A planted error, which the harnesses of the tests must find. */
typedef enum mp__planted_error {
    MP__PLANT_NOTHING = 0,
    MP__PLANT_LOST_WAKE = 1,    /* a put that forgets to wake */
    MP__PLANT_EARLY_COMMIT = 2, /* a put that commits before it has copied */
    MP__PLANT_LEAK = 3          /* a takeover that forgets what was on its way */
} mp__planted_error;
MULTIPROC_API extern _Atomic int mp__planted;
#define MP__PLANTED(error) (atomic_load(&mp__planted) == MP__PLANT_##error)

#else

#define MP__PLANTED(error) false
#define MP__FAULT(name) ((void)0)
#define mp__fault_disarm() ((void)0)

#endif

#endif
