/* SPDX-License-Identifier: MIT */
/* Locks and their relatives between processes: meaning, time, and the death of holders and waiters. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "harness.h"
#include "os/os.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)

/* ---- lock ---- */

TEST(lock_basics)
{
    mp_lock *lock = mp_lock_new();
    EXPECT(lock);
    EXPECT_EQ(mp_lock_locked(lock), 0);
    EXPECT_EQ(mp_lock_owner(lock), 0);
    EXPECT_EQ(mp_lock_release(lock), -EPERM);
    EXPECT_OK(mp_lock_acquire(lock, MP_FOREVER));
    EXPECT_EQ(mp_lock_locked(lock), 1);
    EXPECT_EQ(mp_lock_owner(lock), getpid());
    EXPECT_EQ(mp_lock_acquire(lock, MP_NOWAIT), -ETIMEDOUT);
    EXPECT_EQ(mp_lock_acquire(lock, MP_MS(5)), -ETIMEDOUT);
    EXPECT_OK(mp_lock_release(lock));
    EXPECT_EQ(mp_lock_release(lock), -EPERM);
    mp_lock_free(lock);
    mp_lock_free(NULL);
}

MP_TARGET(echo, (mp_connection *, c))
{
    mp_value *v;
    while (mp_connection_recv(c, &v, MP_FOREVER) == 0)
        if (mp_connection_send(c, v, SECONDS))
            return 1;
    return 0;
}

MP_TARGET(ping_under_lock, (mp_lock *, lock), (mp_connection *, c), (int, n))
{
    for (int i = 0; i < n; i++) {
        mp_value *v;
        if (mp_lock_acquire(lock, SECONDS) || mp_connection_send(c, mp_v(i), SECONDS) ||
            mp_connection_recv(c, &v, SECONDS))
            return 1;
        int64_t got;
        mp_value_get_int(v, &got);
        mp_value_free(v);
        if (got != i || mp_lock_release(lock)) /* somebody else's answer */
            return 2;
    }
    return 0;
}

TEST_METHODS(conversations_under_a_lock_are_not_mixed)
{
    mp_lock *lock = mp_lock_new();
    mp_connection *a, *b;
    mp_process *p[3], *server;
    EXPECT_OK(mp_pipe(1, &a, &b));
    server = started(MP_PROCESS_IN(IN, echo, a));
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(IN, ping_under_lock, lock, b, 300));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_OK(mp_process_kill(server));
    EXPECT_EQ(joined(server), -SIGKILL);
    mp_connection_free(a);
    mp_connection_free(b);
    EXPECT_EQ(mp_lock_locked(lock), 0);
    mp_lock_free(lock);
}

MP_TARGET(take_and_wait, (mp_lock *, lock), (mp_event *, taken))
{
    if (mp_lock_acquire(lock, SECONDS))
        return 1;
    mp_event_set(taken);
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

TEST_METHODS(a_dead_holders_lock_goes_on_with_the_news)
{
    for (int i = 0; i < 10; i++) {
        mp_lock *lock = mp_lock_new();
        mp_event *taken = mp_event_new();
        mp_process *p = started(MP_PROCESS_IN(IN, take_and_wait, lock, taken));
        EXPECT_OK(mp_event_wait(taken, SECONDS));
        EXPECT_EQ(mp_lock_owner(lock), mp_process_pid(p));
        EXPECT_EQ(mp_lock_acquire(lock, MP_MS(20)), -ETIMEDOUT);
        EXPECT_OK(mp_process_kill(p)); /* nobody joins it: the waiter sees for itself */
        EXPECT_EQ(mp_lock_acquire(lock, SECONDS), -EOWNERDEAD);
        EXPECT_EQ(mp_lock_owner(lock), getpid());
        EXPECT_OK(mp_lock_release(lock));
        EXPECT_OK(mp_lock_acquire(lock, MP_NOWAIT)); /* the news comes once */
        EXPECT_OK(mp_lock_release(lock));
        EXPECT_EQ(joined(p), -SIGKILL);
        mp_lock_free(lock);
        mp_event_free(taken);
    }
}

TEST_METHODS(a_stopped_holder_is_not_dead)
{
    mp_lock *lock = mp_lock_new();
    mp_event *taken = mp_event_new();
    mp_process *p = started(MP_PROCESS_IN(IN, take_and_wait, lock, taken));
    EXPECT_OK(mp_event_wait(taken, SECONDS));
    EXPECT_OK(kill(mp_process_pid(p), SIGSTOP));
    EXPECT_EQ(mp_lock_acquire(lock, MP_MS(150)), -ETIMEDOUT);
    EXPECT_OK(kill(mp_process_pid(p), SIGCONT));
    EXPECT_EQ(mp_lock_acquire(lock, MP_MS(30)), -ETIMEDOUT);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_EQ(mp_lock_acquire(lock, SECONDS), -EOWNERDEAD);
    EXPECT_EQ(joined(p), -SIGKILL);
    mp_lock_free(lock);
    mp_event_free(taken);
}

MP_TARGET(release_it, (mp_lock *, lock))
{
    return mp_lock_release(lock) != 0;
}

TEST_METHODS(another_process_may_release)
{
    mp_lock *lock = mp_lock_new();
    EXPECT_OK(mp_lock_acquire(lock, SECONDS));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, release_it, lock))), 0);
    EXPECT_OK(mp_lock_acquire(lock, MP_NOWAIT));
    EXPECT_OK(mp_lock_release(lock));
    mp_lock_free(lock);
}

MP_TARGET(hammer, (mp_lock *, lock), (mp_semaphore *, turns))
{
    for (;;) {
        int r = mp_lock_acquire(lock, MP_FOREVER);
        if (r && r != -EOWNERDEAD)
            return 1;
        mp_semaphore_release(turns, 1);
        mp_lock_release(lock);
    }
}

TEST_METHODS(killing_those_that_hammer_a_lock)
{
    mp_lock *lock = mp_lock_new();
    mp_semaphore *turns = mp_semaphore_new(0, 0);
    mp_process *p[3];
    int trials = getenv("MULTIPROC_TEST_LONG") ? 1000 : 60;
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(IN, hammer, lock, turns));
    for (int t = 0; t < trials; t++) {
        int k = t % 3;
        for (int n = 0; n < 20; n++)
            EXPECT_OK(mp_semaphore_acquire(turns, SECONDS)); /* they go on */
        EXPECT_OK(mp_process_kill(p[k]));
        EXPECT_EQ(joined(p[k]), -SIGKILL);
        p[k] = started(MP_PROCESS_IN(IN, hammer, lock, turns));
    }
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(mp_process_kill(p[i]));
        EXPECT_EQ(joined(p[i]), -SIGKILL);
    }
    int r = mp_lock_acquire(lock, SECONDS);
    EXPECT(r == 0 || r == -EOWNERDEAD);
    EXPECT_OK(mp_lock_release(lock));
    mp_lock_free(lock);
    mp_semaphore_free(turns);
}

static void *lock_many(void *arg)
{
    static long counter;
    for (int i = 0; i < 20000; i++) {
        EXPECT_OK(mp_lock_acquire(arg, MP_FOREVER));
        counter++;
        EXPECT_OK(mp_lock_release(arg));
    }
    return &counter;
}

TEST(threads_exclude_each_other)
{
    mp_lock *lock = mp_lock_new();
    pthread_t t[4];
    void *r = NULL;
    for (int i = 0; i < 4; i++)
        EXPECT_OK(pthread_create(&t[i], NULL, lock_many, lock));
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], &r);
    EXPECT_EQ(*(long *)r, 80000);
    mp_lock_free(lock);
}

/* ---- recursive lock ---- */

static void *try_rlock(void *arg)
{
    return (void *)(intptr_t)mp_rlock_acquire(arg, MP_NOWAIT);
}

TEST(rlock_belongs_to_a_thread)
{
    mp_rlock *lock = mp_rlock_new();
    pthread_t t;
    void *r;
    EXPECT_EQ(mp_rlock_release(lock), -EPERM);
    for (int i = 1; i <= 3; i++) {
        EXPECT_OK(mp_rlock_acquire(lock, MP_NOWAIT));
        EXPECT_EQ(mp_rlock_count(lock), i);
    }
    EXPECT_OK(pthread_create(&t, NULL, try_rlock, lock));
    pthread_join(t, &r);
    EXPECT_EQ((intptr_t)r, -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        EXPECT_OK(mp_rlock_release(lock));
    EXPECT_EQ(mp_rlock_release(lock), -EPERM);
    EXPECT_EQ(mp_rlock_locked(lock), 0);
    mp_rlock_free(lock);
}

MP_TARGET(rlock_in_child, (mp_rlock *, lock), (int, die))
{
    if (mp_rlock_release(lock) != -EPERM || mp_rlock_acquire(lock, MP_MS(10)) != -ETIMEDOUT)
        return 1;
    if (!die)
        return 0;
    while (mp_rlock_acquire(lock, SECONDS))
        ;
    mp_rlock_acquire(lock, SECONDS);
    raise(SIGKILL);
    return 0;
}

TEST_METHODS(rlock_between_processes)
{
    mp_rlock *lock = mp_rlock_new();
    EXPECT_OK(mp_rlock_acquire(lock, SECONDS));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, rlock_in_child, lock, 0))), 0);
    mp_process *p = started(MP_PROCESS_IN(IN, rlock_in_child, lock, 1));
    mp_wait(NULL, 0, MP_MS(50));
    EXPECT_OK(mp_rlock_release(lock));
    EXPECT_EQ(joined(p), -SIGKILL);
    EXPECT_EQ(mp_rlock_acquire(lock, SECONDS), -EOWNERDEAD);
    EXPECT_EQ(mp_rlock_count(lock), 1);
    EXPECT_OK(mp_rlock_release(lock));
    mp_rlock_free(lock);
}

/* ---- semaphore ---- */

TEST(semaphore_counts)
{
    mp_semaphore *s = mp_semaphore_new(2, 3);
    EXPECT_EQ(mp_semaphore_value(s), 2);
    EXPECT_OK(mp_semaphore_acquire(s, MP_NOWAIT));
    EXPECT_OK(mp_semaphore_acquire(s, MP_NOWAIT));
    EXPECT_EQ(mp_semaphore_acquire(s, MP_NOWAIT), -ETIMEDOUT);
    EXPECT_EQ(mp_semaphore_acquire(s, MP_MS(3)), -ETIMEDOUT);
    EXPECT_OK(mp_semaphore_release(s, 3));
    EXPECT_EQ(mp_semaphore_release(s, 1), -ERANGE);
    EXPECT_EQ(mp_semaphore_value(s), 3);
    mp_semaphore_free(s);
    s = mp_semaphore_new(0, 0);
    EXPECT_OK(mp_semaphore_release(s, MP_SEMAPHORE_MAX));
    EXPECT_EQ(mp_semaphore_release(s, 1), -ERANGE);
    mp_semaphore_free(s);
}

MP_TARGET(pass_on, (mp_semaphore *, from), (mp_semaphore *, to), (int, n))
{
    for (int i = 0; i < n; i++)
        if (mp_semaphore_acquire(from, SECONDS) || mp_semaphore_release(to, 1))
            return 1;
    return 0;
}

TEST_METHODS(semaphores_signal)
{
    mp_semaphore *a = mp_semaphore_new(0, 0), *b = mp_semaphore_new(0, 0);
    mp_process *p = started(MP_PROCESS_IN(IN, pass_on, a, b, 500));
    for (int i = 0; i < 500; i++) {
        EXPECT_OK(mp_semaphore_release(a, 1));
        EXPECT_OK(mp_semaphore_acquire(b, SECONDS));
    }
    EXPECT_EQ(joined(p), 0);
    mp_semaphore_free(a);
    mp_semaphore_free(b);
}

/* ---- event ---- */

MP_TARGET(wait_event, (mp_event *, go), (mp_semaphore *, ready))
{
    mp_semaphore_release(ready, 1);
    return mp_event_wait(go, SECONDS) != 0;
}

TEST_METHODS(an_event_wakes_all)
{
    mp_event *go = mp_event_new();
    mp_semaphore *ready = mp_semaphore_new(0, 0);
    mp_process *p[4];
    EXPECT_EQ(mp_event_wait(go, MP_MS(3)), -ETIMEDOUT);
    for (int i = 0; i < 4; i++)
        p[i] = started(MP_PROCESS_IN(IN, wait_event, go, ready));
    for (int i = 0; i < 4; i++)
        EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    EXPECT_OK(mp_process_kill(p[0])); /* a dead waiter is in nobody's way */
    EXPECT_OK(mp_event_set(go));
    EXPECT_EQ(mp_event_is_set(go), 1);
    int code = joined(p[0]);
    EXPECT(code == -SIGKILL || code == 0);
    for (int i = 1; i < 4; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_OK(mp_event_clear(go));
    EXPECT_EQ(mp_event_is_set(go), 0);
    mp_event_free(go);
    mp_semaphore_free(ready);
}

static void *wait_thread(void *arg)
{
    return (void *)(intptr_t)mp_event_wait(arg, SECONDS);
}

TEST(a_set_that_is_cleared_at_once_is_seen)
{
    mp_event *e = mp_event_new();
    pthread_t t;
    void *r;
    for (int i = 0; i < 20; i++) {
        EXPECT_OK(pthread_create(&t, NULL, wait_thread, e));
        mp_wait(NULL, 0, MP_MS(3));
        EXPECT_OK(mp_event_set(e));
        EXPECT_OK(mp_event_clear(e));
        if (i % 2 == 0) /* and for those that came too late */
            EXPECT_OK(mp_event_set(e));
        EXPECT_OK(mp_event_set(e));
        pthread_join(t, &r);
        EXPECT_OK((intptr_t)r);
        EXPECT_OK(mp_event_clear(e));
    }
    mp_event_free(e);
}

/* ---- condition ---- */

MP_TARGET(wait_condition, (mp_condition *, c), (mp_semaphore *, ready), (mp_semaphore *, woken))
{
    if (mp_condition_acquire(c, SECONDS) || mp_condition_acquire(c, SECONDS))
        return 1;
    mp_semaphore_release(ready, 1);
    if (mp_condition_wait(c, SECONDS))
        return 2;
    mp_semaphore_release(woken, 1);
    return mp_condition_release(c) || mp_condition_release(c) || mp_condition_release(c) != -EPERM;
}

TEST_METHODS(notify_wakes_as_many_as_it_says)
{
    mp_condition *c = mp_condition_new();
    mp_semaphore *ready = mp_semaphore_new(0, 0), *woken = mp_semaphore_new(0, 0);
    mp_process *p[5];
    EXPECT_EQ(mp_condition_notify(c, 1), -EPERM);
    EXPECT_EQ(mp_condition_wait(c, MP_NOWAIT), -EPERM);
    for (int i = 0; i < 5; i++)
        p[i] = started(MP_PROCESS_IN(IN, wait_condition, c, ready, woken));
    for (int i = 0; i < 5; i++)
        EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    EXPECT_OK(mp_condition_acquire(c, SECONDS)); /* so the last one waits by now */
    EXPECT_EQ(mp_condition_notify(c, 2), 2);
    EXPECT_OK(mp_condition_release(c));
    for (int i = 0; i < 2; i++)
        EXPECT_OK(mp_semaphore_acquire(woken, SECONDS));
    EXPECT_EQ(mp_semaphore_acquire(woken, MP_MS(120)), -ETIMEDOUT);
    EXPECT_OK(mp_condition_acquire(c, SECONDS));
    EXPECT_EQ(mp_condition_notify_all(c), 3);
    EXPECT_EQ(mp_condition_notify_all(c), 0);
    EXPECT_OK(mp_condition_release(c));
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(joined(p[i]), 0);
    mp_condition_free(c);
    mp_semaphore_free(ready);
    mp_semaphore_free(woken);
}

TEST_METHODS(dead_waiters_do_not_take_notifications)
{
    mp_condition *c = mp_condition_new();
    mp_semaphore *ready = mp_semaphore_new(0, 0), *woken = mp_semaphore_new(0, 0);
    mp_process *p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = started(MP_PROCESS_IN(IN, wait_condition, c, ready, woken));
        EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    }
    EXPECT_OK(mp_condition_acquire(c, SECONDS));
    EXPECT_OK(mp_condition_release(c));
    EXPECT_OK(mp_process_kill(p[0]));
    EXPECT_OK(mp_process_kill(p[1]));
    EXPECT_EQ(joined(p[0]), -SIGKILL);
    EVENTUALLY(mp_process_is_alive(p[1]) == 0);
    EXPECT_OK(mp_condition_acquire(c, SECONDS));
    EXPECT_EQ(mp_condition_notify(c, 1), 1);
    EXPECT_OK(mp_condition_release(c));
    EXPECT_EQ(joined(p[2]), 0);
    EXPECT_EQ(joined(p[1]), -SIGKILL);
    mp_condition_free(c);
    mp_semaphore_free(ready);
    mp_semaphore_free(woken);
}

TEST(condition_times_out_and_predicates)
{
    mp_condition *c = mp_condition_new();
    EXPECT_OK(mp_condition_acquire(c, SECONDS));
    EXPECT_OK(mp_condition_acquire(c, SECONDS));
    EXPECT_EQ(mp_condition_wait(c, MP_MS(5)), -ETIMEDOUT);
    EXPECT_OK(mp_condition_release(c));
    EXPECT_OK(mp_condition_release(c));
    EXPECT_EQ(mp_condition_release(c), -EPERM);
    mp_condition_free(c);
}

/* ---- objects on their way ---- */

TEST(objects_travel_in_messages)
{
    mp_connection *a, *b;
    mp_value *v;
    mp_lock *lock = mp_lock_new(), *got;
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT_OK(mp_lock_acquire(lock, SECONDS));
    EXPECT_OK(mp_connection_send(a, mp_list_of(mp_v(lock), mp_v(lock)), SECONDS));
    mp_lock_free(lock); /* alive in the message */
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_OK(mp_value_get_lock(mp_value_item(v, 1), &got));
    EXPECT_EQ(mp_lock_locked(got), 1);
    EXPECT_OK(mp_lock_release(got));
    mp_event *wrong;
    EXPECT_EQ(mp_value_get_event(mp_value_item(v, 0), &wrong), MP_ETYPE);
    mp_value_free(v);
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST(stale_and_foreign_references_are_named)
{
    mp_connection *a, *b;
    mp_value *v;
    mp_buffer *buffer;
    /* ('multiproc', 17, offset, serial) as a persistent id, by hand */
    unsigned char pickle[] = "\x80\x04(\x8c\x09multiprocK\x11\x8a\x08--------\x8a\x08--------tQ.";
    EXPECT_OK(mp_pipe(1, &a, &b));
    for (int i = 0; i < 200; i++) {
        uint64_t words[2] = {(uint64_t)i * 123456789, (uint64_t)i * 3};
        memcpy(pickle + 18, &words[0], 8);
        memcpy(pickle + 28, &words[1], 8);
        EXPECT_OK(mp_connection_send_bytes(a, pickle, sizeof pickle - 1, SECONDS));
        EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), MP_EFOREIGN);
    }
    mp_lock *lock = mp_lock_new();
    EXPECT_EQ(mp_value_encode(mp_v(lock), &buffer), MP_ETYPE);
    mp_lock_free(lock);
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST(misuse_of_handles)
{
    mp_lock *lock = mp_lock_new();
    EXPECT_EQ(mp_lock_acquire(NULL, MP_NOWAIT), -EINVAL);
    EXPECT_EQ(mp_event_set((mp_event *)lock), -EINVAL);
    EXPECT_EQ(mp_rlock_acquire((mp_rlock *)lock, MP_NOWAIT), -EINVAL);
    EXPECT(mp_semaphore_new(5, 3) == NULL);
    mp_lock_free(lock);
}

/* ---- fairness ---- */

typedef struct turn {
    _Atomic long taken;
    _Atomic int64_t longest; /* wait, ns */
} turn;

MP_TARGET(take_turns, (mp_lock *, lock), (mp_shm *, turns), (int, me))
{
    turn *mine = &((turn *)mp_shm_data(turns))[me];
    int64_t until = mp__os_now() + MP_SECONDS(1), now;
    while ((now = mp__os_now()) < until) {
        EXPECT_OK(mp_lock_acquire(lock, SECONDS));
        int64_t waited = mp__os_now() - now;
        if (waited > mine->longest)
            mine->longest = waited;
        mine->taken++;
        for (volatile int i = 0; i < 500; i++)
            ;
        EXPECT_OK(mp_lock_release(lock));
    }
    return 0;
}

/* Four that always want the lock all get it, and nobody waits for seconds. */
TEST(nobody_starves)
{
    mp_lock *lock = mp_lock_new();
    mp_shm *turns = mp_shm_new(4 * sizeof(turn));
    mp_process *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = started(MP_PROCESS(take_turns, lock, turns, i));
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(joined(p[i]), 0);
    turn *all = mp_shm_data(turns);
    for (int i = 0; i < 4; i++) {
        printf("%ld times, longest wait %lld us\n", all[i].taken, (long long)all[i].longest / 1000);
        EXPECT(all[i].taken > 10);
        EXPECT(all[i].longest < MP_SECONDS(3));
    }
    mp_shm_free(turns);
    mp_lock_free(lock);
}
