/* SPDX-License-Identifier: MIT */
/*
 * Locks, semaphores, events and conditions that processes share.
 *
 * They live in the family's shared memory, have no name and no descriptor, and travel to other
 * processes as arguments or in messages; every process of the family that has got one may use it, under
 * every start method.  They are given back when the last process that holds one drops it or dies.
 *
 * Death: whoever waits for a lock whose holder is killed gets the lock within 10 ms, with -EOWNERDEAD
 * as the news that what it guards may be half changed.  A process that is killed while it waits never
 * blocks the others.  A process that is only stopped is never taken for dead.
 *
 * Every wait spins for a moment before it sleeps.  Besides what is said below, waits return -EINTR when
 * the host asked for it, and every function -EINVAL for a wrong handle.
 */
#ifndef MULTIPROC_SYNC_H
#define MULTIPROC_SYNC_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/* ---- lock ------------------------------------------------------------------------------------ */

/**
 * A lock that one process or thread can hold.  It knows the process that took it, but as in Python any
 * process may release it.  NULL with ENOMEM, or EAGAIN when the family has no room for this process.
 */
MULTIPROC_API mp_lock *mp_lock_new(void);

/**
 * Takes the lock.  0; -EOWNERDEAD: taken, and the process that held it has died; -ETIMEDOUT.
 * Killed inside: it was not taken, or the next one gets it with -EOWNERDEAD.
 */
MULTIPROC_API int mp_lock_acquire(mp_lock *lock, mp_time timeout);

/** Gives it back, whoever took it.  -EPERM when nobody holds it. */
MULTIPROC_API int mp_lock_release(mp_lock *lock);

/** 1 while somebody holds it. */
MULTIPROC_API int mp_lock_locked(const mp_lock *lock);

/** The pid of the process that holds it, 0 when nobody does. */
MULTIPROC_API int mp_lock_owner(const mp_lock *lock);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_lock *mp_lock_ref(mp_lock *lock);

/** Gives a reference back.  A lock that is dropped while it is held stays held for the others. */
MULTIPROC_API void mp_lock_free(mp_lock *lock);

/* ---- recursive lock -------------------------------------------------------------------------- */

/** A lock that its holder, one thread of one process, can take again; errors as mp_lock_new(). */
MULTIPROC_API mp_rlock *mp_rlock_new(void);

/** As mp_lock_acquire(); at once when this thread holds it.  -ERANGE after 2**31 times. */
MULTIPROC_API int mp_rlock_acquire(mp_rlock *lock, mp_time timeout);

/** Gives it back as often as it was taken.  -EPERM when this thread does not hold it. */
MULTIPROC_API int mp_rlock_release(mp_rlock *lock);

/** How often this thread has taken it; 0 when it does not hold it. */
MULTIPROC_API int mp_rlock_count(const mp_rlock *lock);

/** 1 while somebody holds it. */
MULTIPROC_API int mp_rlock_locked(const mp_rlock *lock);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_rlock *mp_rlock_ref(mp_rlock *lock);

/** Gives a reference back. */
MULTIPROC_API void mp_rlock_free(mp_rlock *lock);

/* ---- semaphore ------------------------------------------------------------------------------- */

#define MP_SEMAPHORE_MAX 0x7fffffff

/**
 * A counter that is never negative.  `bound`: releasing beyond it is an error (0: no bound but
 * MP_SEMAPHORE_MAX).  A semaphore has no owner: what a dead process had taken stays taken.
 */
MULTIPROC_API mp_semaphore *mp_semaphore_new(unsigned value, unsigned bound);

/** Takes one, waiting while there is none.  0, -ETIMEDOUT. */
MULTIPROC_API int mp_semaphore_acquire(mp_semaphore *semaphore, mp_time timeout);

/** Gives n back.  -ERANGE, and nothing happens, when that is beyond the bound. */
MULTIPROC_API int mp_semaphore_release(mp_semaphore *semaphore, unsigned n);

/** How many can be taken at the moment. */
MULTIPROC_API int mp_semaphore_value(const mp_semaphore *semaphore);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_semaphore *mp_semaphore_ref(mp_semaphore *semaphore);

/** Gives a reference back. */
MULTIPROC_API void mp_semaphore_free(mp_semaphore *semaphore);

/* ---- event ----------------------------------------------------------------------------------- */

/** A flag that processes wait for; not set at first. */
MULTIPROC_API mp_event *mp_event_new(void);

/** Sets the flag and wakes all that wait. */
MULTIPROC_API int mp_event_set(mp_event *event);
/** Takes it back. */
MULTIPROC_API int mp_event_clear(mp_event *event);
/** 1 while it is set. */
MULTIPROC_API int mp_event_is_set(const mp_event *event);
/** Waits until it is set.  0, -ETIMEDOUT. */
MULTIPROC_API int mp_event_wait(mp_event *event, mp_time timeout);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_event *mp_event_ref(mp_event *event);

/** Gives a reference back. */
MULTIPROC_API void mp_event_free(mp_event *event);

/* ---- condition ------------------------------------------------------------------------------- */

/** At most so many can wait for one condition at once. */
#define MP_CONDITION_WAITERS 1000

/** A condition with a recursive lock of its own; errors as mp_lock_new(). */
MULTIPROC_API mp_condition *mp_condition_new(void);

/** The condition's lock: as mp_rlock_acquire() and mp_rlock_release(). */
MULTIPROC_API int mp_condition_acquire(mp_condition *condition, mp_time timeout);
MULTIPROC_API int mp_condition_release(mp_condition *condition);

/**
 * Gives the lock back, however often it was taken, waits for a notification, and takes the lock again
 * as often.  0; -ETIMEDOUT; -EOWNERDEAD: notified or not, the lock is held and the process that held it
 * in between has died; -EPERM when this thread does not hold the lock; -EAGAIN when too many wait.  In
 * every case but -EPERM and -EAGAIN the lock was given back and is held again.
 */
MULTIPROC_API int mp_condition_wait(mp_condition *condition, mp_time timeout);

/**
 * Waits until `predicate(data)`, called with the lock held, returns other than 0, and returns that; 0
 * when the time is up; errors as mp_condition_wait().
 */
MULTIPROC_API int mp_condition_wait_for(mp_condition *condition, int (*predicate)(void *data),
                                        void *data, mp_time timeout);

/**
 * Wakes n of those that wait (fewer when fewer wait) and returns how many; dead ones do not count, and a
 * notification that reached a process which dies before it could act on it goes to another one when its
 * death is noticed.  -EPERM when this thread does not hold the lock.
 */
MULTIPROC_API int mp_condition_notify(mp_condition *condition, unsigned n);

/** Wakes all that wait, and returns how many. */
MULTIPROC_API int mp_condition_notify_all(mp_condition *condition);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_condition *mp_condition_ref(mp_condition *condition);

/** Gives a reference back. */
MULTIPROC_API void mp_condition_free(mp_condition *condition);

/* ---- barrier --------------------------------------------------------------------------------- */

/** The most parties that a barrier can have. */
#define MP_BARRIER_PARTIES 4095

/**
 * A place where `parties` threads or processes wait for each other, again and again.  NULL with EINVAL for
 * none or too many parties, ENOMEM, EAGAIN.
 *
 * A barrier that is broken stays so, and all that wait or will wait are told, until it is reset.  It breaks
 * when somebody's time is up or it is aborted, when an action fails, and when a party is killed: a
 * process that waits at it, has waited at it before, or was given it as an argument when it was started,
 * and that did not end with the exit code 0.
 */
MULTIPROC_API mp_barrier *mp_barrier_new(unsigned parties);

/**
 * Waits until all have come.  Returns a number from 0 to parties - 1, another one for each of them;
 * MP_EBROKEN; -ETIMEDOUT, and the barrier is broken.
 */
MULTIPROC_API int mp_barrier_wait(mp_barrier *barrier, mp_time timeout);

/** The same; whoever comes last calls `action(data)` before all go on.  An action that returns other than
 *  0 breaks the barrier, and its caller gets what it returned if that is negative, else MP_EBROKEN. */
MULTIPROC_API int mp_barrier_wait_with(mp_barrier *barrier, int (*action)(void *data), void *data,
                                       mp_time timeout);

/** As new: whoever waits gets MP_EBROKEN, the next ones start from none.  (A waiter that is stopped for more
 *  than 20 rounds and another reset is told that its round ended well.) */
MULTIPROC_API int mp_barrier_reset(mp_barrier *barrier);

/** Breaks it. */
MULTIPROC_API int mp_barrier_abort(mp_barrier *barrier);

/** How many it is for; how many wait at this moment; 1 when it is broken. */
MULTIPROC_API int mp_barrier_parties(const mp_barrier *barrier);
MULTIPROC_API int mp_barrier_waiting(const mp_barrier *barrier);
MULTIPROC_API int mp_barrier_broken(const mp_barrier *barrier);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_barrier *mp_barrier_ref(mp_barrier *barrier);

/** Gives a reference back. */
MULTIPROC_API void mp_barrier_free(mp_barrier *barrier);

/* ---- as values ------------------------------------------------------------------------------- */

/* Each as a value, to pass as an argument or in a message, with a reference of its own; and back,
 * borrowed from the value: MP_ETYPE. */
MULTIPROC_API mp_value *mp_value_lock(mp_lock *lock);
MULTIPROC_API mp_value *mp_value_rlock(mp_rlock *lock);
MULTIPROC_API mp_value *mp_value_semaphore(mp_semaphore *semaphore);
MULTIPROC_API mp_value *mp_value_event(mp_event *event);
MULTIPROC_API mp_value *mp_value_condition(mp_condition *condition);
MULTIPROC_API mp_value *mp_value_barrier(mp_barrier *barrier);
MULTIPROC_API int mp_value_get_lock(const mp_value *value, mp_lock **ret_lock);
MULTIPROC_API int mp_value_get_rlock(const mp_value *value, mp_rlock **ret_lock);
MULTIPROC_API int mp_value_get_semaphore(const mp_value *value, mp_semaphore **ret_semaphore);
MULTIPROC_API int mp_value_get_event(const mp_value *value, mp_event **ret_event);
MULTIPROC_API int mp_value_get_condition(const mp_value *value, mp_condition **ret_condition);
MULTIPROC_API int mp_value_get_barrier(const mp_value *value, mp_barrier **ret_barrier);

MULTIPROC_END

#endif
