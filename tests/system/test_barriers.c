/* SPDX-License-Identifier: MIT */
/* Waiting for each other: barriers, with all that breaks them, and the joining of queues. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "harness.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- rounds ---- */

/* Comes to n rounds, and looks that all have come to each of them before anybody went on. */
MP_TARGET(come, (mp_barrier *, b), (mp_semaphore *, arrived), (mp_queue *, indices), (int, n))
{
    int parties = mp_barrier_parties(b);
    for (int round = 0; round < n; round++) {
        EXPECT_OK(mp_semaphore_release(arrived, 1));
        int index = mp_barrier_wait(b, SECONDS);
        EXPECT(index >= 0);
        EXPECT(mp_semaphore_value(arrived) >= parties * (round + 1));
        int what[2] = {round, index};
        EXPECT_OK(mp_queue_put_bytes(indices, what, sizeof what, SECONDS));
    }
    return 0;
}

static void check_indices(mp_queue *indices, int parties, int n)
{
    char *seen = calloc((size_t)n, (size_t)parties);
    int what[2];
    EXPECT_EQ(mp_queue_size(indices), parties * n);
    for (int i = 0; i < parties * n; i++) {
        EXPECT_EQ(mp_queue_get_bytes(indices, what, sizeof what, MP_NOWAIT), sizeof what);
        EXPECT(what[0] >= 0 && what[0] < n && what[1] >= 0 && what[1] < parties);
        EXPECT_EQ(seen[what[0] * parties + what[1]]++, 0);
    }
    free(seen);
}

TEST_METHODS(rounds_of_processes)
{
    for (int parties = 1; parties <= 4; parties++) {
        mp_barrier *b = mp_barrier_new((unsigned)parties);
        mp_semaphore *arrived = mp_semaphore_new(0, 0);
        mp_queue *indices = mp_queue_new(0);
        mp_process *p[4];
        for (int i = 0; i < parties; i++)
            p[i] = started(MP_PROCESS_IN(IN, come, b, arrived, indices, 60));
        for (int i = 0; i < parties; i++)
            EXPECT_EQ(joined(p[i]), 0);
        check_indices(indices, parties, 60);
        EXPECT_EQ(mp_barrier_waiting(b), 0);
        EXPECT_EQ(mp_barrier_broken(b), 0);
        mp_barrier_free(b);
        mp_semaphore_free(arrived);
        mp_queue_free(indices);
    }
}

typedef struct party {
    mp_barrier *b;
    mp_semaphore *arrived;
    mp_queue *indices;
} party;

static void *come_thread(void *arg)
{
    party *t = arg;
    for (int round = 0; round < 200; round++) {
        EXPECT_OK(mp_semaphore_release(t->arrived, 1));
        int what[2] = {round, mp_barrier_wait(t->b, SECONDS)};
        EXPECT(mp_semaphore_value(t->arrived) >= 5 * (round + 1));
        EXPECT_OK(mp_queue_put_bytes(t->indices, what, sizeof what, SECONDS));
    }
    return NULL;
}

TEST(rounds_of_threads)
{
    party t = {mp_barrier_new(5), mp_semaphore_new(0, 0), mp_queue_new(0)};
    pthread_t threads[5];
    for (int i = 0; i < 5; i++)
        EXPECT_OK(pthread_create(&threads[i], NULL, come_thread, &t));
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    check_indices(t.indices, 5, 200);
    mp_barrier_free(t.b);
    mp_semaphore_free(t.arrived);
    mp_queue_free(t.indices);
}

static int count_one(void *data)
{
    return mp_semaphore_release(data, 1);
}

TEST(one_party_never_waits)
{
    mp_barrier *b = mp_barrier_new(1);
    mp_semaphore *acted = mp_semaphore_new(0, 0);
    EXPECT_EQ(mp_barrier_parties(b), 1);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(mp_barrier_wait(b, MP_NOWAIT), 0);
        EXPECT_EQ(mp_barrier_wait_with(b, count_one, acted, SECONDS), 0);
    }
    EXPECT_EQ(mp_semaphore_value(acted), 100);
    mp_barrier_free(b);
    mp_barrier_free(NULL);
    mp_semaphore_free(acted);
}

/* ---- actions ---- */

MP_TARGET(come_with_action, (mp_barrier *, b), (mp_semaphore *, acted), (int, n))
{
    for (int round = 0; round < n; round++) {
        int index = mp_barrier_wait_with(b, count_one, acted, SECONDS);
        EXPECT(index >= 0 && index < mp_barrier_parties(b));
        EXPECT_EQ(mp_semaphore_value(acted), round + 1); /* the next one needs this process */
    }
    return 0;
}

TEST_METHODS(the_action_runs_once_before_all_go_on)
{
    mp_barrier *b = mp_barrier_new(3);
    mp_semaphore *acted = mp_semaphore_new(0, 0);
    mp_process *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(IN, come_with_action, b, acted, 60));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_EQ(mp_semaphore_value(acted), 60);
    mp_barrier_free(b);
    mp_semaphore_free(acted);
}

/* A thread that waits, and what it was told. */
typedef struct waiter {
    mp_barrier *b;
    mp_time timeout;
    pthread_t thread;
    int result;
    int64_t until;
    char detail[200];
} waiter;

static void *wait_thread(void *arg)
{
    waiter *w = arg;
    w->result = mp_barrier_wait(w->b, w->timeout);
    w->until = now();
    snprintf(w->detail, sizeof w->detail, "%s", mp_error_detail());
    return NULL;
}

/* Starts n of them, and returns when all wait. */
static void wait_in_threads(waiter *w, int n, mp_barrier *b, mp_time timeout)
{
    int before = mp_barrier_waiting(b);
    for (int i = 0; i < n; i++) {
        w[i] = (waiter){.b = b, .timeout = timeout};
        EXPECT_OK(pthread_create(&w[i].thread, NULL, wait_thread, &w[i]));
    }
    EVENTUALLY(mp_barrier_waiting(b) == before + n);
}

static void expect_result(waiter *w, int n, int result)
{
    for (int i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        EXPECT_EQ(w[i].result, result);
    }
}

static int return_it(void *data)
{
    return *(int *)data;
}

TEST(an_action_that_fails_breaks)
{
    static const int returned[] = {5, -EBUSY, MP_ETYPE, -EAGAIN, -ETIMEDOUT};
    for (size_t i = 0; i < sizeof returned / sizeof *returned; i++) {
        mp_barrier *b = mp_barrier_new(3);
        waiter w[2];
        int what = returned[i];
        wait_in_threads(w, 2, b, SECONDS);
        EXPECT_EQ(mp_barrier_wait_with(b, return_it, &what, SECONDS), what < 0 ? what : MP_EBROKEN);
        expect_result(w, 2, MP_EBROKEN);
        EXPECT_EQ(mp_barrier_broken(b), 1);
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), MP_EBROKEN);
        mp_barrier_free(b);
    }
}

static int die(void *data)
{
    mp_event_set(data);
    raise(SIGKILL);
    return 0;
}

MP_TARGET(die_in_action, (mp_barrier *, b), (mp_event *, inside))
{
    return mp_barrier_wait_with(b, die, inside, SECONDS);
}

TEST_METHODS(who_runs_the_action_is_killed)
{
    mp_barrier *b = mp_barrier_new(3);
    mp_event *inside = mp_event_new();
    waiter w[2];
    char pid[20];
    wait_in_threads(w, 2, b, SECONDS);
    mp_process *p = started(MP_PROCESS_IN(IN, die_in_action, b, inside));
    snprintf(pid, sizeof pid, "%d", mp_process_pid(p));
    EXPECT_OK(mp_event_wait(inside, SECONDS));
    expect_result(w, 2, MP_EBROKEN);
    EXPECT_HAS(w[0].detail, pid);
    EXPECT_HAS(w[1].detail, pid);
    EXPECT_EQ(joined(p), -SIGKILL);
    EXPECT_EQ(mp_barrier_broken(b), 1);
    EXPECT_OK(mp_barrier_reset(b));
    wait_in_threads(w, 2, b, SECONDS);
    EXPECT_EQ(mp_barrier_wait(b, SECONDS), 2);
    for (int i = 0; i < 2; i++)
        pthread_join(w[i].thread, NULL);
    EXPECT_EQ(w[0].result + w[1].result, 1);
    mp_barrier_free(b);
    mp_event_free(inside);
}

static int act_slowly(void *data)
{
    mp_event_set(data);
    mp_wait(NULL, 0, MP_MS(100));
    return 0;
}

MP_TARGET(come_slowly, (mp_barrier *, b), (mp_event *, inside))
{
    return mp_barrier_wait_with(b, act_slowly, inside, SECONDS) != 1;
}

/* Who comes while the action runs is one of the next round. */
TEST_METHODS(coming_while_the_action_runs)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_event *inside = mp_event_new();
    waiter first, late;
    wait_in_threads(&first, 1, b, SECONDS);
    mp_process *p = started(MP_PROCESS_IN(IN, come_slowly, b, inside));
    EXPECT_OK(mp_event_wait(inside, SECONDS));
    late = (waiter){.b = b, .timeout = SECONDS};
    EXPECT_OK(pthread_create(&late.thread, NULL, wait_thread, &late));
    expect_result(&first, 1, 0);
    EXPECT_EQ(joined(p), 0);
    EXPECT_EQ(mp_barrier_wait(b, SECONDS) + 0 >= 0, 1);
    pthread_join(late.thread, NULL);
    EXPECT(late.result >= 0);
    EXPECT_EQ(mp_barrier_broken(b), 0);
    mp_barrier_free(b);
    mp_event_free(inside);
}

/* ---- breaking and mending ---- */

TEST(a_timeout_breaks)
{
    mp_barrier *b = mp_barrier_new(4);
    waiter w[2];
    EXPECT_EQ(mp_barrier_waiting(b), 0);
    wait_in_threads(w, 2, b, SECONDS);
    EXPECT_EQ(mp_barrier_waiting(b), 2);
    EXPECT_EQ(mp_barrier_broken(b), 0);
    int64_t from = now();
    EXPECT_EQ(mp_barrier_wait(b, MP_MS(50)), -ETIMEDOUT);
    EXPECT(now() - from >= MP_MS(50));
    expect_result(w, 2, MP_EBROKEN);
    EXPECT_EQ(mp_barrier_broken(b), 1);
    EXPECT_EQ(mp_barrier_waiting(b), 0);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(mp_barrier_wait(b, i ? SECONDS : MP_NOWAIT), MP_EBROKEN);
    EXPECT_OK(mp_barrier_reset(b));
    EXPECT_EQ(mp_barrier_broken(b), 0);
    EXPECT_EQ(mp_barrier_wait(b, MP_NOWAIT), -ETIMEDOUT);
    EXPECT_EQ(mp_barrier_broken(b), 1);
    mp_barrier_free(b);
}

TEST(reset_with_waiters)
{
    mp_barrier *b = mp_barrier_new(3);
    waiter w[2];
    for (int i = 0; i < 30; i++) {
        wait_in_threads(w, 2, b, SECONDS);
        EXPECT_OK(mp_barrier_reset(b));
        expect_result(w, 2, MP_EBROKEN);
        EXPECT_EQ(mp_barrier_broken(b), 0);
        EXPECT_EQ(mp_barrier_waiting(b), 0);
        wait_in_threads(w, 2, b, SECONDS);
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), 2);
        for (int k = 0; k < 2; k++)
            pthread_join(w[k].thread, NULL);
        EXPECT_EQ(w[0].result + w[1].result, 1);
    }
    mp_barrier_free(b);
}

TEST(abort_and_reset)
{
    mp_barrier *b = mp_barrier_new(3);
    waiter w[2];
    for (int i = 0; i < 10; i++) {
        wait_in_threads(w, 2, b, SECONDS);
        EXPECT_OK(mp_barrier_abort(b));
        EXPECT_OK(mp_barrier_abort(b));
        expect_result(w, 2, MP_EBROKEN);
        EXPECT_EQ(mp_barrier_broken(b), 1);
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), MP_EBROKEN);
        EXPECT_OK(mp_barrier_reset(b));
        EXPECT_EQ(mp_barrier_broken(b), 0);
    }
    mp_barrier_free(b);
}

MP_TARGET(wait_and_tell, (mp_barrier *, b), (mp_queue *, results))
{
    return mp_queue_put(results, mp_v(mp_barrier_wait(b, SECONDS)), SECONDS) != 0;
}

static int64_t next_result(mp_queue *results)
{
    mp_value *v;
    int64_t n = 0;
    EXPECT_OK(mp_queue_get(results, &v, SECONDS));
    EXPECT_OK(mp_value_get_int(v, &n));
    mp_value_free(v);
    return n;
}

TEST_METHODS(processes_are_told)
{
    mp_barrier *b = mp_barrier_new(3);
    mp_queue *results = mp_queue_new(0);
    for (int how = 0; how < 3; how++) {
        mp_process *p[2];
        for (int i = 0; i < 2; i++)
            p[i] = started(MP_PROCESS_IN(IN, wait_and_tell, b, results));
        EVENTUALLY(mp_barrier_waiting(b) == 2);
        if (how == 2)
            EXPECT_EQ(mp_barrier_wait_with(b, NULL, NULL, SECONDS), 2);
        else
            EXPECT_OK(how ? mp_barrier_abort(b) : mp_barrier_reset(b));
        int64_t first = next_result(results), second = next_result(results);
        if (how < 2)
            EXPECT(first == MP_EBROKEN && second == MP_EBROKEN);
        else
            EXPECT(first + second == 1);
        EXPECT_EQ(mp_barrier_broken(b), how == 1);
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(joined(p[i]), 0);
        EXPECT_OK(mp_barrier_reset(b));
    }
    mp_barrier_free(b);
    mp_queue_free(results);
}

/* ---- death ---- */

TEST_METHODS(a_killed_waiter_breaks)
{
    mp_barrier *b = mp_barrier_new(4);
    mp_queue *results = mp_queue_new(0);
    for (int i = 0; i < 5; i++) {
        waiter w[2];
        char pid[20];
        mp_process *p = started(MP_PROCESS_IN(IN, wait_and_tell, b, results));
        EVENTUALLY(mp_barrier_waiting(b) == 1);
        wait_in_threads(w, 2, b, SECONDS);
        snprintf(pid, sizeof pid, "process %d ", mp_process_pid(p));
        int64_t from = now();
        EXPECT_OK(mp_process_kill(p)); /* nobody joins it: the waiters see for themselves */
        expect_result(w, 2, MP_EBROKEN);
        for (int k = 0; k < 2; k++) {
            EXPECT(w[k].until - from < MP_SECONDS(1));
            EXPECT_HAS(w[k].detail, pid);
        }
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), MP_EBROKEN);
        EXPECT_HAS(mp_error_detail(), pid);
        EXPECT_EQ(joined(p), -SIGKILL);
        EXPECT_EQ(mp_barrier_broken(b), 1);
        EXPECT_OK(mp_barrier_reset(b));
    }
    mp_barrier_free(b);
    mp_queue_free(results);
}

MP_TARGET(never_comes, (mp_barrier *, b), (mp_event *, ready), (int, code))
{
    (void)b;
    mp_event_set(ready);
    if (code == 1000)
        mp_wait(NULL, 0, MP_FOREVER);
    if (code == 1001)
        _exit(0);
    return code;
}

TEST_METHODS(a_party_that_is_killed_before_it_waits)
{
    for (int late = 0; late < 2; late++) {
        mp_barrier *b = mp_barrier_new(2);
        mp_event *ready = mp_event_new();
        waiter w;
        char pid[20];
        mp_process *p = started(MP_PROCESS_IN(IN, never_comes, b, ready, 1000));
        EXPECT_OK(mp_event_wait(ready, SECONDS));
        snprintf(pid, sizeof pid, "process %d ", mp_process_pid(p));
        if (!late)
            wait_in_threads(&w, 1, b, SECONDS);
        EXPECT_OK(mp_process_kill(p));
        EXPECT_OK(mp_process_join(p, SECONDS));
        if (late)
            EXPECT_EQ(mp_barrier_wait(b, SECONDS), MP_EBROKEN);
        else
            expect_result(&w, 1, MP_EBROKEN);
        EXPECT_HAS(late ? mp_error_detail() : w.detail, pid);
        EXPECT_EQ(joined(p), -SIGKILL);
        mp_barrier_free(b);
        mp_event_free(ready);
    }
}

static void party_that_ends(const char *method, int code, bool reap_first, int result)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_event *ready = mp_event_new();
    mp_process *p = started(MP_PROCESS_IN(IN, never_comes, b, ready, code));
    EXPECT_OK(mp_event_wait(ready, SECONDS));
    if (reap_first)
        EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_EQ(mp_barrier_wait(b, result == -ETIMEDOUT ? MP_MS(300) : SECONDS), result);
    EXPECT_EQ(joined(p), code > 1000 ? 0 : code);
    mp_barrier_free(b);
    mp_event_free(ready);
}

TEST_METHODS(a_party_that_ends_without_waiting)
{
    for (int reap = 0; reap < 2; reap++) {
        party_that_ends(method, 0, reap, -ETIMEDOUT);
        party_that_ends(method, 3, reap, MP_EBROKEN);
    }
}

/* Its exit code is 0 as well, which its parent knows when it has reaped it. */
TEST_METHODS(a_party_that_calls_underscore_exit)
{
    party_that_ends(method, 1001, true, -ETIMEDOUT);
}

TEST_METHODS(a_party_that_has_come_and_ended)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_queue *results = mp_queue_new(0);
    for (int i = 0; i < 25; i++) { /* each time another process */
        mp_process *p = started(MP_PROCESS_IN(IN, wait_and_tell, b, results));
        EXPECT(mp_barrier_wait(b, SECONDS) >= 0);
        EXPECT(next_result(results) >= 0);
        if (i % 2)
            EXPECT_EQ(joined(p), 0);
        else
            mp_process_free(p);
    }
    EXPECT_EQ(mp_barrier_broken(b), 0);
    mp_process *left[32];
    int n = 0;
    EVENTUALLY((n = mp_process_children(left, 0)) == 0);
    mp_barrier_free(b);
    mp_queue_free(results);
}

MP_TARGET(come_and_stay, (mp_barrier *, b), (mp_event *, ready))
{
    EXPECT(mp_barrier_wait(b, SECONDS) >= 0);
    mp_event_set(ready);
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

TEST_METHODS(a_party_that_has_come_and_is_killed)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_event *ready = mp_event_new();
    mp_process *p = started(MP_PROCESS_IN(IN, come_and_stay, b, ready));
    EXPECT(mp_barrier_wait(b, SECONDS) >= 0);
    EXPECT_OK(mp_event_wait(ready, SECONDS));
    EXPECT_EQ(mp_barrier_broken(b), 0);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_EQ(mp_barrier_wait(b, SECONDS), MP_EBROKEN);
    EXPECT_EQ(joined(p), -SIGKILL);
    mp_barrier_free(b);
    mp_event_free(ready);
}

TEST_METHODS(a_stopped_party_is_not_dead)
{
    mp_barrier *b = mp_barrier_new(3);
    mp_queue *results = mp_queue_new(0);
    waiter w;
    mp_process *p = started(MP_PROCESS_IN(IN, wait_and_tell, b, results));
    EVENTUALLY(mp_barrier_waiting(b) == 1);
    EXPECT_OK(kill(mp_process_pid(p), SIGSTOP));
    wait_in_threads(&w, 1, b, SECONDS);
    mp_wait(NULL, 0, MP_MS(150));
    EXPECT_EQ(mp_barrier_broken(b), 0);
    EXPECT_EQ(mp_barrier_wait(b, SECONDS), 2);
    expect_result(&w, 1, 1);
    EXPECT_OK(kill(mp_process_pid(p), SIGCONT));
    EXPECT_EQ(next_result(results), 0);
    EXPECT_EQ(joined(p), 0);
    mp_barrier_free(b);
    mp_queue_free(results);
}

/* ---- a waiter that looks late ---- */

static bool is_stopped(int pid)
{
    char path[40], text[400];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const char *state = harness_read(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    return state && state[2] == 'T';
}

/* A process waits and is stopped; its round ends, `later` rounds of others follow; what was it told? */
static int64_t told_late(const char *method, bool broken, int later)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_queue *results = mp_queue_new(0);
    waiter w;
    mp_process *p = started(MP_PROCESS_IN(IN, wait_and_tell, b, results));
    EVENTUALLY(mp_barrier_waiting(b) == 1);
    EXPECT_OK(kill(mp_process_pid(p), SIGSTOP));
    EVENTUALLY(is_stopped(mp_process_pid(p)));
    if (broken)
        EXPECT_OK(mp_barrier_reset(b));
    else
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), 1);
    for (int i = 0; i < later; i++) {
        wait_in_threads(&w, 1, b, SECONDS);
        EXPECT_EQ(mp_barrier_wait(b, SECONDS), 1);
        expect_result(&w, 1, 0);
    }
    EXPECT_EQ(mp_queue_size(results), 0);
    EXPECT_OK(kill(mp_process_pid(p), SIGCONT));
    int64_t told = next_result(results);
    EXPECT_EQ(joined(p), 0);
    mp_barrier_free(b);
    mp_queue_free(results);
    return told;
}

TEST_METHODS(a_slow_waiter_learns_how_its_round_ended)
{
    EXPECT_EQ(told_late(method, false, 0), 0);
    EXPECT_EQ(told_late(method, false, 1), 0);
    EXPECT_EQ(told_late(method, false, 30), 0);
    EXPECT_EQ(told_late(method, true, 0), MP_EBROKEN);
    EXPECT_EQ(told_late(method, true, 1), MP_EBROKEN);
    EXPECT_EQ(told_late(method, true, 18), MP_EBROKEN);
}

TEST(a_waiter_that_is_slower_than_twenty_rounds)
{
    EXPECT_EQ(told_late("fork", true, 30), MP_EBROKEN);
}

/* ---- bad input, and travelling ---- */

#ifndef MULTIPROC_DEBUG /* where misuse aborts */
TEST(misuse_of_barriers)
{
    mp_lock *lock = mp_lock_new();
    static const unsigned bad[] = {0, 4096, 5000, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(mp_barrier_new(bad[i]) == NULL);
        EXPECT_EQ(mp_error_code(), -EINVAL);
    }
    EXPECT_EQ(mp_barrier_wait(NULL, MP_NOWAIT), -EINVAL);
    EXPECT_EQ(mp_barrier_wait((mp_barrier *)lock, MP_NOWAIT), -EINVAL);
    EXPECT_EQ(mp_barrier_reset(NULL), -EINVAL);
    EXPECT_EQ(mp_barrier_abort((mp_barrier *)lock), -EINVAL);
    EXPECT_EQ(mp_barrier_parties(NULL), -EINVAL);
    EXPECT_EQ(mp_barrier_waiting(NULL), -EINVAL);
    EXPECT_EQ(mp_barrier_broken((mp_barrier *)lock), -EINVAL);
    EXPECT(mp_barrier_ref(NULL) == NULL);
    EXPECT(mp_value_barrier(NULL) == NULL);
    mp_lock_free(lock);
}
#endif

TEST(the_largest_barrier)
{
    mp_barrier *b = mp_barrier_new(MP_BARRIER_PARTIES);
    EXPECT_EQ(mp_barrier_parties(b), MP_BARRIER_PARTIES);
    EXPECT_EQ(mp_barrier_wait(b, MP_MS(1)), -ETIMEDOUT);
    mp_barrier_free(b);
}

MP_TARGET(find_barrier, (mp_connection *, c))
{
    mp_value *v;
    mp_barrier *b;
    EXPECT_OK(mp_connection_recv(c, &v, SECONDS));
    EXPECT_OK(mp_value_get_barrier(v, &b));
    EXPECT(mp_barrier_wait(b, SECONDS) >= 0);
    mp_value_free(v);
    return 0;
}

TEST_METHODS(barriers_travel)
{
    mp_barrier *b = mp_barrier_new(2);
    mp_connection *here, *there;
    EXPECT_OK(mp_pipe(1, &here, &there));
    mp_process *p = started(MP_PROCESS_IN(IN, find_barrier, there));
    EXPECT_OK(mp_connection_send(here, mp_v(b), SECONDS));
    EXPECT(mp_barrier_wait(b, SECONDS) >= 0);
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(here);
    mp_connection_free(there);
    mp_barrier_free(b);
}

/* ---- joinable queues ---- */

static mp_queue *joinable_queue(void)
{
    mp_queue_options o = MP_QUEUE_OPTIONS_INIT;
    o.joinable = 1;
    mp_queue *q = mp_queue_new_with(&o);
    EXPECT(q);
    return q;
}

#define EXPECT_TIMEOUT(call, time)              \
    do {                                        \
        int64_t harness_from = now();           \
        EXPECT_EQ(call, -ETIMEDOUT);            \
        EXPECT(now() - harness_from >= (time)); \
    } while (0)

MP_TARGET(work, (mp_queue *, q), (int, take), (int, finish), (int, die))
{
    for (int i = 0; i < take; i++)
        (void)next_result(q);
    for (int i = 0; i < finish; i++)
        EXPECT_OK(mp_queue_task_done(q));
    if (die)
        raise(SIGKILL);
    return 0;
}

TEST_METHODS(join_waits_until_all_is_done)
{
    mp_queue *q = joinable_queue();
    EXPECT_OK(mp_queue_join(q, SECONDS)); /* nothing to do */
    EXPECT_EQ(mp_queue_task_done(q), -EPERM);
    for (int i = 0; i < 30; i++)
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
    EXPECT_EQ(mp_queue_unfinished(q), 30);
    EXPECT_TIMEOUT(mp_queue_join(q, MP_NOWAIT), 0);
    EXPECT_TIMEOUT(mp_queue_join(q, MP_MS(30)), MP_MS(30));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, work, q, 10, 10, 0))), 0);
    EXPECT_EQ(mp_queue_unfinished(q), 20);
    EXPECT_EQ(next_result(q), 10);
    EXPECT_EQ(mp_queue_unfinished(q), 20); /* got is not done */
    mp_process *p = started(MP_PROCESS_IN(IN, work, q, 19, 19, 0));
    EVENTUALLY(mp_queue_unfinished(q) == 1);
    EXPECT_TIMEOUT(mp_queue_join(q, MP_MS(30)), MP_MS(30));
    EXPECT_OK(mp_queue_task_done(q));
    EXPECT_OK(mp_queue_join(q, SECONDS));
    EXPECT_EQ(mp_queue_task_done(q), -EPERM);
    EXPECT_EQ(joined(p), 0);
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS)); /* and again */
    p = started(MP_PROCESS_IN(IN, work, q, 1, 1, 0));
    EXPECT_OK(mp_queue_join(q, SECONDS));
    EXPECT_EQ(joined(p), 0);
    EXPECT_EQ(mp_queue_unfinished(q), 0);
    mp_queue_free(q);
    q = mp_queue_new(0);
    EXPECT_EQ(mp_queue_task_done(q), -EINVAL);
    EXPECT_EQ(mp_queue_join(q, MP_NOWAIT), -EINVAL);
    EXPECT_EQ(mp_queue_unfinished(q), -EINVAL);
    mp_queue_free(q);
}

TEST_METHODS(what_a_killed_consumer_had_taken_counts_as_done)
{
    mp_queue *q = joinable_queue();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 5; i++)
            EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
        mp_process *p = started(MP_PROCESS_IN(IN, work, q, 4, 1, 1));
        if (round % 2)
            EXPECT_EQ(joined(p), -SIGKILL);
        else
            EVENTUALLY(mp_queue_size(q) == 1);
        EXPECT_TIMEOUT(mp_queue_join(q, MP_MS(30)), MP_MS(30)); /* one is there still */
        EXPECT_EQ(next_result(q), 4);
        EXPECT_OK(mp_queue_task_done(q));
        EXPECT_EQ(mp_queue_join(q, SECONDS), -EOWNERDEAD);
        EXPECT_HAS(mp_error_detail(), "3 items");
        EXPECT_OK(mp_queue_join(q, SECONDS)); /* once */
        EXPECT_EQ(mp_queue_unfinished(q), 0);
        EXPECT_EQ(mp_queue_task_done(q), -EPERM);
        if (round % 2 == 0)
            EXPECT_EQ(joined(p), -SIGKILL);
        EXPECT_OK(mp_queue_join(q, SECONDS));
    }
    mp_queue_free(q);
}

/* Python allows it: who takes an item and who finishes it may be two processes. */
TEST_METHODS(another_process_may_call_it_done)
{
    mp_queue *q = joinable_queue();
    for (int i = 0; i < 2; i++)
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
    mp_process *p = started(MP_PROCESS_IN(IN, work, q, 2, 0, 0));
    EVENTUALLY(mp_queue_size(q) == 0);
    for (int i = 0; i < 2; i++)
        EXPECT_OK(mp_queue_task_done(q));
    EXPECT_EQ(joined(p), 0);
    (void)mp_queue_join(q, SECONDS);
    EXPECT_EQ(mp_queue_unfinished(q), 0);
    for (int i = 0; i < 2; i++) /* the next ones are not done by that */
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
    EXPECT_EQ(mp_queue_unfinished(q), 2);
    EXPECT_EQ(mp_queue_join(q, MP_MS(30)), -ETIMEDOUT);
    mp_queue_free(q);
}

MP_TARGET(put_when_all_are_here, (mp_queue *, q), (mp_barrier *, b), (int, number))
{
    EXPECT(mp_barrier_wait(b, MP_SECONDS(60)) >= 0);
    return mp_queue_put(q, mp_v(number), SECONDS);
}

TEST(five_hundred_processes)
{
#ifdef __SANITIZE_ADDRESS__ /* whose processes take long to fork */
    enum { N = 100 };
#else
    enum { N = 500 };
#endif
    static bool seen[N];
    if (getenv("TEST_NO_PTRACE")) /* under emulation, where it takes minutes */
        return;
    mp_queue *q = mp_queue_new(0);
    mp_barrier *b = mp_barrier_new(N + 1);
    mp_process *p[N];
    for (int i = 0; i < N; i++)
        p[i] = started(MP_PROCESS_IN(mp_get_context("fork"), put_when_all_are_here, q, b, i));
    EXPECT(mp_barrier_wait(b, MP_SECONDS(60)) >= 0);
    for (int i = 0; i < N; i++) {
        int64_t n = next_result(q);
        EXPECT(n >= 0 && n < N && !seen[n]);
        seen[n] = true;
    }
    for (int i = 0; i < N; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_EQ(mp_queue_empty(q), 1);
    mp_queue_free(q);
    mp_barrier_free(b);
}
