/* SPDX-License-Identifier: MIT */
/* Waiting for queues: bounds, shutdown, descriptors, mp_wait; and queues at their limits. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "channel/queue.h"
#include "makers.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)
#define COUNT(array) (sizeof(array) / sizeof *(array))

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* That the call fails with -ETIMEDOUT, and not before its time. */
#define EXPECT_TIMEOUT(call, time)              \
    do {                                        \
        int64_t harness_from = now();           \
        EXPECT_EQ(call, -ETIMEDOUT);            \
        EXPECT(now() - harness_from >= (time)); \
    } while (0)

static int64_t get_int(mp_queue *q, mp_time timeout)
{
    mp_value *v;
    int64_t n = -1;
    EXPECT_OK(mp_queue_get(q, &v, timeout));
    EXPECT_OK(mp_value_get_int(v, &n));
    mp_value_free(v);
    return n;
}

/* ---- bounds and time ---- */

TEST(nothing_comes_before_its_time)
{
    mp_queue *q = mp_queue_new(2);
    mp_buffer *b;
    mp_value *v, *many[3];
    char data[8];
    for (int i = 0; i < 3; i++) {
        mp_time t = i == 2 ? MP_MS(30) : i ? -5 : MP_NOWAIT, least = t > 0 ? t : 0;
        EXPECT_TIMEOUT(mp_queue_get(q, &v, t), least);
        EXPECT_TIMEOUT(mp_queue_get_bytes(q, data, 8, t), least);
        EXPECT_TIMEOUT(mp_queue_get_buffer(q, &b, t), least);
        EXPECT_TIMEOUT(mp_queue_get_many(q, many, 3, t), least);
        EXPECT_TIMEOUT(mp_queue_get_many_bytes(q, data, 1, 3, t), least);
    }
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(mp_queue_full(q), 0);
        EXPECT_OK(mp_queue_put(q, mp_v(i), MP_NOWAIT));
        EXPECT_EQ(mp_queue_size(q), i + 1);
    }
    EXPECT_EQ(mp_queue_full(q), 1);
    EXPECT_EQ(mp_queue_max_items(q), 2);
    for (int i = 0; i < 3; i++) {
        mp_time t = i == 2 ? MP_MS(30) : i ? -5 : MP_NOWAIT, least = t > 0 ? t : 0;
        many[0] = mp_v(1);
        EXPECT_TIMEOUT(mp_queue_put(q, mp_v(i), t), least);
        EXPECT_TIMEOUT(mp_queue_put_bytes(q, data, 8, t), least);
        EXPECT_TIMEOUT(mp_queue_put_many(q, many, 1, t), least);
        EXPECT_TIMEOUT(mp_queue_put_many_bytes(q, "abc", 1, 3, t), least);
    }
    EXPECT_EQ(mp_queue_size(q), 2);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 0);
    EXPECT_EQ(mp_queue_full(q), 0);
    mp_queue_free(q);
}

TEST(bounded_by_bytes)
{
    mp_queue *q = queue_with(0, 1000, 0);
    static char data[5000];
    for (int round = 0; round < 50; round++) {
        EXPECT_OK(mp_queue_put_bytes(q, data, 600, MP_NOWAIT));
        EXPECT_OK(mp_queue_put_bytes(q, data, 400, MP_NOWAIT));
        EXPECT_EQ(mp_queue_full(q), 1);
        EXPECT_EQ(mp_queue_put_bytes(q, data, 1, MP_NOWAIT), -ETIMEDOUT);
        EXPECT_EQ(mp_queue_get_bytes(q, data, 1000, MP_NOWAIT), 600);
        EXPECT_EQ(mp_queue_put_bytes(q, data, 5000, MP_NOWAIT), -ETIMEDOUT); /* not empty */
        EXPECT_EQ(mp_queue_get_bytes(q, data, 1000, MP_NOWAIT), 400);
        EXPECT_OK(mp_queue_put_bytes(q, data, 5000, MP_NOWAIT)); /* larger than the bound */
        EXPECT_EQ(mp_queue_full(q), 1);
        EXPECT_EQ(mp_queue_put_bytes(q, data, 1, MP_MS(1)), -ETIMEDOUT);
        EXPECT_EQ(mp_queue_get_bytes(q, data, 5000, MP_NOWAIT), 5000);
        EXPECT_EQ(mp_queue_put_many_bytes(q, data, 300, 5, MP_NOWAIT), 3);
        EXPECT_EQ(mp_queue_get_many_bytes(q, data, 300, 5, MP_NOWAIT), 3);
    }
    mp_queue_free(q);
}

MP_TARGET(put_sized, (mp_queue *, q), (int, size), (mp_semaphore *, ready), (mp_semaphore *, done))
{
    char *data = calloc(1, (size_t)size);
    EXPECT_OK(mp_semaphore_release(ready, 1));
    int r = mp_queue_put_bytes(q, data, (size_t)size, SECONDS);
    EXPECT_OK(mp_semaphore_release(done, 1));
    free(data);
    return r == -EPIPE ? 7 : r == 0 ? 0 : 8;
}

static void blocked_put(const char *method, mp_queue *q, int size, int gets)
{
    static char data[100000];
    mp_semaphore *ready = mp_semaphore_new(0, 0), *done = mp_semaphore_new(0, 0);
    mp_process *p = started(MP_PROCESS_IN(IN, put_sized, q, size, ready, done));
    EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    for (int i = 0; i < gets; i++) {
        EXPECT_EQ(mp_semaphore_acquire(done, MP_MS(50)), -ETIMEDOUT);
        EXPECT_EQ(mp_queue_get_bytes(q, data, sizeof data, MP_NOWAIT), 10);
    }
    EXPECT_OK(mp_semaphore_acquire(done, SECONDS));
    EXPECT_EQ(joined(p), 0);
    int64_t r;
    while ((r = mp_queue_get_bytes(q, data, sizeof data, MP_NOWAIT)) == 10)
        ;
    EXPECT_EQ(r, size);
    EXPECT_EQ(mp_queue_empty(q), 1);
    mp_semaphore_free(ready);
    mp_semaphore_free(done);
}

TEST_METHODS(a_blocked_put_goes_on_when_there_is_room)
{
    mp_queue *q = mp_queue_new(3), *r = queue_with(0, 30, 0);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(mp_queue_put_many_bytes(q, "0123456789", 10, 1, MP_NOWAIT), 1);
        EXPECT_OK(mp_queue_put_bytes(r, "0123456789", 10, MP_NOWAIT));
    }
    blocked_put(method, q, 11, 1);
    blocked_put(method, r, 90000, 3); /* larger than the bound: when it is empty */
    for (int i = 0; i < 3; i++)
        EXPECT_OK(mp_queue_put_bytes(r, "0123456789", 10, MP_NOWAIT));
    blocked_put(method, r, 11, 2);
    mp_queue_free(q);
    mp_queue_free(r);
}

/* ---- shutdown and close ---- */

MP_TARGET(get_until_end, (mp_queue *, q), (mp_semaphore *, ready))
{
    mp_value *v;
    EXPECT_OK(mp_semaphore_release(ready, 1));
    int r = mp_queue_get(q, &v, SECONDS);
    return r == MP_EOF ? 7 : 8;
}

TEST_METHODS(shutdown_wakes_all)
{
    mp_queue *empty = mp_queue_new(0), *full = mp_queue_new(1), *small = queue_with(0, 10, 0);
    mp_semaphore *ready = mp_semaphore_new(0, 0), *done = mp_semaphore_new(0, 0);
    mp_process *p[6];
    mp_value *v;
    EXPECT_OK(mp_queue_put(full, mp_v(1), SECONDS));
    EXPECT_OK(mp_queue_put_bytes(small, "0123456789", 10, SECONDS));
    for (int i = 0; i < 6; i += 3) {
        p[i] = started(MP_PROCESS_IN(IN, get_until_end, empty, ready));
        p[i + 1] = started(MP_PROCESS_IN(IN, put_sized, full, 5, ready, done));
        p[i + 2] = started(MP_PROCESS_IN(IN, put_sized, small, 5, ready, done));
    }
    for (int i = 0; i < 6; i++)
        EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    mp_wait(NULL, 0, MP_MS(50));
    EXPECT_OK(mp_queue_shutdown(empty));
    EXPECT_OK(mp_queue_shutdown(full));
    EXPECT_OK(mp_queue_shutdown(small));
    for (int i = 0; i < 6; i++)
        EXPECT_EQ(joined(p[i]), 7);
    EXPECT_EQ(mp_queue_put(full, mp_v(2), SECONDS), -EPIPE);
    EXPECT_EQ(mp_queue_put_bytes(small, "", 0, SECONDS), -EPIPE);
    EXPECT_EQ(mp_queue_put_many_bytes(empty, "abc", 1, 3, MP_NOWAIT), -EPIPE);
    EXPECT_EQ(get_int(full, SECONDS), 1); /* what was there can be got */
    EXPECT_EQ(mp_queue_get(full, &v, SECONDS), MP_EOF);
    EXPECT_EQ(mp_queue_get(empty, &v, MP_NOWAIT), MP_EOF);
    mp_queue_free(empty);
    mp_queue_free(full);
    mp_queue_free(small);
    mp_semaphore_free(ready);
    mp_semaphore_free(done);
}

MP_TARGET(answer, (mp_queue *, q), (mp_event *, closed))
{
    EXPECT_OK(mp_event_wait(closed, SECONDS));
    EXPECT_EQ(mp_queue_closed(q), 0);
    EXPECT_EQ(get_int(q, SECONDS), 1);
    EXPECT_OK(mp_queue_put(q, mp_v(2), SECONDS));
    return 0;
}

TEST_METHODS(close_is_for_this_process_only)
{
    mp_queue *q = mp_queue_new(0);
    mp_event *closed = mp_event_new();
    mp_value *v, *many[1];
    mp_buffer *b;
    char data[4];
    mp_process *p = started(MP_PROCESS_IN(IN, answer, q, closed));
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
    EXPECT_OK(mp_queue_close(q));
    EXPECT_OK(mp_queue_close(q));
    EXPECT_EQ(mp_queue_closed(q), 1);
    EXPECT_OK(mp_event_set(closed));
    EXPECT_EQ(joined(p), 0);
    many[0] = mp_v(1);
    EXPECT_EQ(mp_queue_put(q, mp_v(1), SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_put_bytes(q, "a", 1, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_put_many(q, many, 1, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_put_many_bytes(q, "a", 1, 1, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_get(q, &v, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_get_bytes(q, data, 4, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_get_buffer(q, &b, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_get_many(q, many, 1, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_get_many_bytes(q, data, 1, 1, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_queue_fd(q), MP_ECLOSED);
    mp_queue_free(q);
    mp_event_free(closed);
}

static void *get_closed(void *arg)
{
    mp_value *v;
    return (void *)(intptr_t)mp_queue_get(arg, &v, MP_FOREVER);
}

TEST(close_reaches_threads_that_wait)
{
    mp_queue *q = mp_queue_new(0);
    pthread_t t;
    void *r;
    EXPECT_OK(pthread_create(&t, NULL, get_closed, q));
    mp_wait(NULL, 0, MP_MS(30));
    EXPECT_OK(mp_queue_close(q));
    pthread_join(t, &r);
    EXPECT_EQ((intptr_t)r, MP_ECLOSED);
    mp_queue_free(q);
}

/* ---- the descriptor ---- */

static int readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms);
}

MP_TARGET(put_when_told, (mp_queue *, q), (mp_semaphore *, go), (int, n))
{
    for (int i = 0; i < n; i++) {
        EXPECT_OK(mp_semaphore_acquire(go, SECONDS));
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
    }
    return 0;
}

TEST_METHODS(the_descriptor_says_when_to_get)
{
    mp_queue *q = mp_queue_new(0);
    mp_semaphore *go = mp_semaphore_new(0, 0);
    mp_value *v;
    mp_process *p = started(MP_PROCESS_IN(IN, put_when_told, q, go, 300));
    int fd = mp_queue_fd(q);
    EXPECT(fd >= 0);
    for (int i = 0; i < 300;) {
        int n = i % 3 + 1;
        EXPECT_EQ(readable(fd, 0), 0);
        EXPECT_OK(mp_semaphore_release(go, (unsigned)n));
        for (int k = 0; k < n; k++, i++) {
            EXPECT_EQ(readable(fd, 20000), 1);
            EXPECT_EQ(get_int(q, MP_NOWAIT), i);
            EXPECT(mp_queue_size(q) == 0 ||
                   readable(fd, 20000) == 1); /* the ring follows the item */
        }
        EXPECT_EQ(mp_queue_get(q, &v, MP_NOWAIT), -ETIMEDOUT);
    }
    EXPECT_EQ(joined(p), 0);
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS)); /* its own put as well */
    EXPECT_EQ(readable(fd, 0), 1);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 1);
    EXPECT_EQ(readable(fd, 0), 0);
    EXPECT_OK(mp_queue_shutdown(q));
    EXPECT_EQ(readable(fd, 20000), 1);
    EXPECT_EQ(mp_queue_get(q, &v, MP_NOWAIT), MP_EOF);
    EXPECT_EQ(readable(fd, 20000), 1);
    mp_queue_free(q);
    mp_semaphore_free(go);
    q = mp_queue_new(0); /* asked for when there is something already */
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
    EXPECT_EQ(readable(mp_queue_fd(q), 0), 1);
    mp_queue_free(q);
}

MP_TARGET(poll_own, (mp_queue *, q), (mp_queue *, back))
{
    mp_value *v;
    int fd = mp_queue_fd(q);
    EXPECT(fd >= 0);
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(readable(fd, 0), 0);
        EXPECT_OK(mp_queue_put(back, mp_v(i), SECONDS));
        EXPECT_EQ(readable(fd, 20000), 1);
        EXPECT_EQ(get_int(q, MP_NOWAIT), i);
        EXPECT_EQ(mp_queue_get(q, &v, MP_NOWAIT), -ETIMEDOUT);
    }
    return 0;
}

TEST_METHODS(each_process_has_a_descriptor_of_its_own)
{
    mp_queue *q = mp_queue_new(0), *back = mp_queue_new(0);
    mp_value *v;
    int fd = mp_queue_fd(q), backs = mp_queue_fd(back);
    EXPECT(fd >= 0 && backs >= 0 && fd != backs);
    mp_process *p = started(MP_PROCESS_IN(IN, poll_own, q, back));
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(readable(backs, 20000), 1);
        EXPECT_EQ(get_int(back, MP_NOWAIT), i);
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
        EXPECT_EQ(readable(fd, 20000), 1);
        EVENTUALLY(mp_queue_empty(q));
        EXPECT_EQ(mp_queue_get(q, &v, MP_NOWAIT), -ETIMEDOUT);
        EXPECT_EQ(readable(fd, 0), 0);
    }
    EXPECT_EQ(joined(p), 0);
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS)); /* the child's end changes nothing */
    EXPECT_EQ(readable(fd, 20000), 1);
    mp_queue_free(q);
    mp_queue_free(back);
}

/* ---- mp_wait ---- */

/* One of the kinds, by its number in `waited_for`, is made ready. */
MP_TARGET(make_ready, (mp_connection *, c), (mp_queue *, q), (mp_event *, e), (int, kind))
{
    mp_wait(NULL, 0, MP_MS(20));
    switch (kind) {
    case 0:
        return mp_connection_send(c, mp_v(1), SECONDS);
    case 1:
        return mp_queue_put(q, mp_v(1), SECONDS);
    case 2:
        return mp_event_set(e);
    case 3: /* its end */
        return 0;
    default:
        mp_wait(NULL, 0, MP_FOREVER);
    }
    return 1;
}

TEST_METHODS(wait_for_any_of_five_kinds)
{
    mp_connection *a, *b;
    mp_queue *q = mp_queue_new(0);
    mp_event *e = mp_event_new();
    mp_value *v;
    int pipe_fds[2];
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT_OK(pipe(pipe_fds));
    for (int round = 0; round < 10; round++) {
        int kind = round % 5;
        mp_process *p = started(MP_PROCESS_IN(IN, make_ready, b, q, e, kind));
        mp_process *sleeper = started(MP_PROCESS_IN(IN, make_ready, b, q, e, 4));
        mp_process *watched = kind == 3 ? p : sleeper;
        mp_waitable w[] = {MP_WAIT_CONNECTION(a), MP_WAIT_QUEUE(q), MP_WAIT_EVENT(e),
                           MP_WAIT_PROCESS(watched), MP_WAIT_FD(pipe_fds[0])};
        if (kind == 4)
            EXPECT_EQ(write(pipe_fds[1], "x", 1), 1);
        EXPECT_EQ(mp_wait(w, 5, SECONDS), 1);
        for (int i = 0; i < 5; i++)
            EXPECT_EQ(w[i].ready, i == kind);
        char x;
        if (kind == 0) {
            EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
            mp_value_free(v);
        } else if (kind == 1)
            EXPECT_EQ(get_int(q, MP_NOWAIT), 1);
        else if (kind == 2)
            EXPECT_OK(mp_event_clear(e));
        else if (kind == 4)
            EXPECT_EQ(read(pipe_fds[0], &x, 1), 1);
        EXPECT_OK(mp_process_kill(sleeper));
        EXPECT_EQ(joined(sleeper), -SIGKILL);
        if (kind == 4)
            EXPECT_OK(mp_process_kill(p));
        EXPECT_EQ(joined(p), kind == 4 ? -SIGKILL : 0);
        int64_t from = now(), waits = round % 2 ? 30 : 0;
        w[3].fd = pipe_fds[0];
        EXPECT_EQ(mp_wait(w, 5, MP_MS(waits)), 0);
        EXPECT(now() - from >= MP_MS(waits));
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_queue_free(q);
    mp_event_free(e);
}

TEST(wait_says_how_many_are_ready)
{
    enum { N = 200 };
    mp_queue *q[N];
    mp_waitable w[N];
    for (int i = 0; i < N; i++) {
        q[i] = mp_queue_new(0);
        w[i] = (mp_waitable)MP_WAIT_QUEUE(q[i]);
    }
    EXPECT_EQ(mp_wait(w, N, MP_MS(3)), 0);
    EXPECT_OK(mp_queue_put(q[7], mp_v(1), SECONDS));
    EXPECT_OK(mp_queue_shutdown(q[199]));
    EXPECT_EQ(mp_wait(w, N, SECONDS), 2);
    for (int i = 0; i < N; i++)
        EXPECT_EQ(w[i].ready, i == 7 || i == 199);
    EXPECT_OK(mp_queue_close(q[9]));
    EXPECT_EQ(mp_wait(w, N, SECONDS), MP_ECLOSED);
    mp_waitable both[] = {MP_WAIT_QUEUE(q[1]), MP_WAIT_FD(-1)};
    EXPECT_EQ(mp_wait(both, 2, MP_MS(3)), -EBADF);
    for (int i = 0; i < N; i++)
        mp_queue_free(q[i]);
}

static void *wait_on(void *arg)
{
    mp_waitable w = MP_WAIT_QUEUE(arg);
    return (void *)(intptr_t)mp_wait(&w, 1, SECONDS);
}

/* How many poll it at this moment. */
static int polled_by(const mp_queue *q)
{
    int n = 0;
    for (int i = 0; i < MP__BELLS; i++)
        n += atomic_load(&mp__queue_ring(q)->bells.bell[i].owner) != 0;
    return n;
}

TEST(sixteen_can_wait_for_a_queue)
{
    mp_queue *q = mp_queue_new(0);
    mp_waitable w = MP_WAIT_QUEUE(q), often[17];
    pthread_t t[16];
    void *r;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 16; i++)
            EXPECT_OK(pthread_create(&t[i], NULL, wait_on, q));
        EVENTUALLY(polled_by(q) == 16);
        EXPECT_EQ(mp_wait(&w, 1, MP_MS(1)), -EAGAIN);
        EXPECT_EQ(mp_queue_fd(q), -EAGAIN);
        EXPECT_EQ(mp_wait(&w, 1, MP_NOWAIT), 0); /* looking needs no place */
        EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
        for (int i = 0; i < 16; i++) {
            pthread_join(t[i], &r);
            EXPECT_EQ((intptr_t)r, 1);
        }
        EXPECT_EQ(get_int(q, MP_NOWAIT), 1);
    }
    for (int i = 0; i < 17; i++)
        often[i] = w;
    EXPECT_EQ(mp_wait(often, 17, MP_MS(1)), -EAGAIN);
    EXPECT_EQ(mp_wait(often, 16, MP_MS(1)), 0);
    mp_queue_free(q);
}

MP_TARGET(wait_for_ever, (mp_queue *, q), (mp_semaphore *, ready))
{
    mp_waitable w = MP_WAIT_QUEUE(q);
    EXPECT(mp_queue_fd(q) >= 0);
    EXPECT_OK(mp_semaphore_release(ready, 1));
    return mp_wait(&w, 1, MP_FOREVER) != 1;
}

TEST_METHODS(the_dead_take_nobodys_place)
{
    mp_queue *q = mp_queue_new(0);
    mp_semaphore *ready = mp_semaphore_new(0, 0);
    mp_waitable w = MP_WAIT_QUEUE(q);
    mp_process *p[8];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++)
            p[i] = started(MP_PROCESS_IN(IN, wait_for_ever, q, ready));
        for (int i = 0; i < 8; i++)
            EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
        EVENTUALLY(polled_by(q) == 16);
        for (int i = 0; i < 8; i++)
            EXPECT_OK(mp_process_kill(p[i]));
        EVENTUALLY(mp_wait(&w, 1, MP_MS(1)) == 0); /* also before they are joined */
        for (int i = 0; i < 8; i++)
            EXPECT_EQ(joined(p[i]), -SIGKILL);
    }
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    mp_queue_free(q);
    mp_semaphore_free(ready);
}

/* ---- at the limits ---- */

typedef struct tally {
    int64_t count[2], sum[2];
} tally;

static int64_t take(mp_queue *q, tally *t, mp_time timeout)
{
    int64_t item[2], r = mp_queue_get_bytes(q, item, sizeof item, timeout);
    if (r == sizeof item) {
        EXPECT(item[0] == 0 || item[0] == 1);
        t->count[item[0]]--;
        t->sum[item[0]] -= item[1];
    }
    return r;
}

MP_TARGET(hammer, (mp_queue *, q), (mp_queue *, results), (mp_event *, stop), (int, id))
{
    tally t = {{0}, {0}};
    for (int64_t i = 0; !mp_event_is_set(stop); i++) {
        int64_t item[2] = {id, i};
        EXPECT_OK(mp_queue_put_bytes(q, item, sizeof item, SECONDS));
        t.count[id]++;
        t.sum[id] += i;
    }
    return mp_queue_put_bytes(results, &t, sizeof t, SECONDS);
}

MP_TARGET(drink, (mp_queue *, q), (mp_queue *, results))
{
    tally t = {{0}, {0}};
    int64_t r;
    while ((r = take(q, &t, SECONDS)) == 16)
        ;
    EXPECT_EQ(r, MP_EOF);
    return mp_queue_put_bytes(results, &t, sizeof t, SECONDS);
}

TEST_METHODS(the_stopped_lose_nothing_and_nobody_robs_them)
{
    mp_queue *q = mp_queue_new(8), *results = mp_queue_new(0);
    mp_event *stop = mp_event_new();
    tally all = {{0}, {0}}, t;
    mp_process *p[3];
    for (int i = 0; i < 2; i++)
        p[i] = started(MP_PROCESS_IN(IN, hammer, q, results, stop, i));
    p[2] = started(MP_PROCESS_IN(IN, drink, q, results));
    for (int k = 0; k < 6; k++) {
        EXPECT_EQ(take(q, &all, SECONDS), 16); /* they run */
        EXPECT_OK(kill(mp_process_pid(p[k % 3]), SIGSTOP));
        for (int64_t from = now(); now() - from < MP_MS(300);) {
            int64_t r = take(q, &all, MP_MS(20));
            EXPECT(r == 16 || r == -ETIMEDOUT);
        }
        EXPECT_OK(kill(mp_process_pid(p[k % 3]), SIGCONT));
    }
    EXPECT_OK(mp_event_set(stop));
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_OK(mp_queue_shutdown(q));
    EXPECT_EQ(joined(p[2]), 0);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(mp_queue_get_bytes(results, &t, sizeof t, MP_NOWAIT), sizeof t);
        for (int id = 0; id < 2; id++) {
            all.count[id] += t.count[id];
            all.sum[id] += t.sum[id];
        }
    }
    EXPECT(!all.count[0] && !all.count[1] && !all.sum[0] && !all.sum[1]);
    mp_queue_free(q);
    mp_queue_free(results);
    mp_event_free(stop);
}

static void *pass_on(void *arg)
{
    for (int i = 0; i < 1000; i++)
        EXPECT_OK(mp_queue_put(arg, mp_v(i), SECONDS));
    return NULL;
}

TEST(counters_that_overflow)
{
    static const uint64_t starts[] = {UINT64_C(1) << 30, UINT64_C(1) << 31, UINT64_C(1) << 32,
                                      UINT64_C(1) << 62, UINT64_C(1) << 63};
    for (size_t k = 0; k < 3 * COUNT(starts); k++) {
        mp_queue *q = queue_with(k % 3 * 2, 0, starts[k / 3] >> 63 ? 0 : 1);
        mp__ring *ring = mp__queue_ring(q);
        uint64_t start = starts[k / 3] - 5;
        ring->in.word = ring->out.word = ring->in.seen = ring->out.seen = start << 1;
        if (ring->joinable)
            mp__ring_takers(ring)[0].done = start;
        for (int i = 0; i < 20; i++) {
            EXPECT_OK(mp_queue_put(q, mp_v(i), MP_NOWAIT));
            EXPECT_OK(mp_queue_put(q, mp_v(i), MP_NOWAIT));
            EXPECT_EQ(mp_queue_size(q), 2);
            EXPECT_EQ(mp_queue_full(q), k % 3 == 1);
            for (int n = 0; n < 2; n++)
                EXPECT_EQ(get_int(q, MP_NOWAIT), i);
            EXPECT_EQ(mp_queue_empty(q), 1);
            for (int n = 0; ring->joinable && n < 2; n++)
                EXPECT_OK(mp_queue_task_done(q));
        }
        if (ring->joinable)
            EXPECT_OK(mp_queue_join(q, MP_NOWAIT));
        ring->in.word = ring->out.word = ring->in.seen = ring->out.seen =
            (start - 500) << 1 | (ring->in.word & 1);
        ring->out.place[ring->in.word & 1] = ring->in.place[ring->in.word & 1];
        pthread_t t; /* over the edge while somebody waits */
        EXPECT_OK(pthread_create(&t, NULL, pass_on, q));
        for (int i = 0; i < 1000; i++)
            EXPECT_EQ(get_int(q, SECONDS), i);
        pthread_join(t, NULL);
        mp_queue_free(q);
    }
}

static void use_damaged(mp_queue *q)
{
    static char data[20000];
    mp_value *v[40] = {NULL};
    mp_buffer *b;
    for (int i = 0; i < 4; i++) {
        (void)(mp_queue_size(q) + mp_queue_full(q) + mp_queue_unfinished(q));
        (void)mp_queue_put_bytes(q, data, (size_t)rand() % sizeof data, MP_NOWAIT);
        (void)mp_queue_put(q, mp_v(i), MP_NOWAIT);
        if (mp_queue_get(q, v, MP_NOWAIT) == 0)
            mp_value_free(v[0]);
        int64_t n = mp_queue_get_many(q, v, 40, MP_NOWAIT);
        for (int64_t k = 0; k < n; k++)
            mp_value_free(v[k]);
        (void)mp_queue_get_bytes(q, data, sizeof data, MP_NOWAIT);
        if (mp_queue_get_buffer(q, &b, MP_NOWAIT) == 0)
            mp_buffer_free(b);
        (void)mp_queue_task_done(q);
        (void)mp_queue_join(q, MP_NOWAIT);
    }
}

/* Random bytes in some queues' memory, but for the locks, for which everybody would wait. */
static void damage(int region, int joinable)
{
    unsigned seed = getenv("TEST_SEED") ? (unsigned)atol(getenv("TEST_SEED")) : (unsigned)getpid();
    printf("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 600; round++) {
        mp_queue *q = queue_with(round % 3 ? 0 : 50, round % 5 ? 0 : 20000, joinable);
        mp__ring *ring = mp__queue_ring(q);
        static char data[10000];
        for (int i = 0; i < 30; i++)
            (void)mp_queue_put_bytes(q, data, (size_t)i * 30, MP_NOWAIT);
        (void)mp_queue_put_bytes(q, data, sizeof data, MP_NOWAIT);
        mp__object *o = mp__object_at(MP__OBJECT_BLOCK, ring->first.next);
        unsigned char *at = region == 1 && o ? (unsigned char *)o->data : (unsigned char *)ring;
        size_t size = region == 1 ? 4000 : offsetof(mp__ring, first) + 400;
        if (region == 2) { /* the counts of joining */
            at = (unsigned char *)mp__ring_takers(ring);
            size = 20 * sizeof(mp__taker);
        }
        uint32_t in = ring->in.lock, out = ring->out.lock;
        uint64_t was = ring->joinable, first = ring->first.size;
        for (int n = rand() % 4; n >= 0; n--)
            at[(size_t)rand() % size] = (unsigned char)rand();
        ring->in.lock = in;
        ring->out.lock = out;
        ring->joinable = was; /* these two have tests of their own */
        ring->first.size = first;
        if (region == 3)
            memset(&ring->joinable, rand(), (size_t)rand() % 8 + 1);
        use_damaged(q);
        mp_queue_free(q);
    }
}

TEST(damage_of_a_queue_is_an_error)
{
    damage(0, 0);
    damage(1, 0);
}

/* The first one stands in the queue's object, others are objects. */
static void damage_size_of(bool first)
{
    static char data[4000];
    int r = 0;
    mp_queue *q = mp_queue_new(0);
    mp__segment *s = &mp__queue_ring(q)->first;
    for (int i = 0; i < (first ? 1 : 3); i++)
        EXPECT_OK(mp_queue_put_bytes(q, data, sizeof data, MP_NOWAIT));
    s = first ? s : (mp__segment *)(void *)mp__object_at(MP__OBJECT_BLOCK, s->next)->data;
    s->size = UINT64_C(1) << 40;
    for (int i = 0; i < 40000 && r == 0; i++) /* more than the arena's file has */
        r = mp_queue_put_bytes(q, data, sizeof data, MP_NOWAIT);
    EXPECT(r == 0 || r == -EBADMSG);
    mp_queue_free(q);
}

TEST(damage_of_the_first_segments_size_is_an_error)
{
    damage_size_of(true);
}

TEST(damage_of_another_segments_size_is_an_error)
{
    damage_size_of(false);
}

TEST(damage_of_the_counts_of_joining_is_an_error)
{
    damage(2, 1);
}

TEST(damage_of_the_place_of_these_counts_is_an_error)
{
    damage(3, 1);
}

MP_TARGET(get_large, (mp_queue *, q), (int, n))
{
    for (int i = 0; i < n; i++) {
        mp_buffer *b;
        EXPECT_OK(mp_queue_get_buffer(q, &b, SECONDS));
        EXPECT_EQ(mp_buffer_size(b), 1000000);
        EXPECT_EQ(((int *)mp_buffer_data(b))[249999], i);
        mp_buffer_free(b);
    }
    return 0;
}

/* A thousand items of 1 MB are on their way, with 64 descriptors at most. */
TEST_METHODS(items_need_no_descriptors)
{
    static int data[250000];
    mp_queue *q = mp_queue_new(0);
    struct rlimit old, few;
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &old));
    few = (struct rlimit){64, old.rlim_max};
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &few));
    for (int i = 0; i < 1000; i++) {
        data[249999] = i;
        EXPECT_OK(mp_queue_put_bytes(q, data, sizeof data, SECONDS));
    }
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, get_large, q, 1000))), 0);
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &old));
    mp_queue_free(q);
}

#if !defined(__SANITIZE_ADDRESS__) /* which needs all addresses */
__attribute__((constructor)) static void limit_addresses(void)
{
    const char *text = getenv("TEST_ADDRESSES");
    struct rlimit l = {text ? (rlim_t)atol(text) : 0, RLIM_INFINITY};
    if (text)
        setrlimit(RLIMIT_AS, &l);
}

MP_TARGET(put_all, (mp_queue *, q))
{
    static char data[1000000];
    int r;
    while ((r = mp_queue_put_bytes(q, data, sizeof data, SECONDS)) == 0)
        ;
    return r == -ENOMEM ? 0 : 1;
}

TEST(no_memory_is_an_error)
{
    static char data[1000000];
    mp_queue *q = mp_queue_new(0);
    EXPECT_OK(setenv("TEST_ADDRESSES", "500000000", 1));
    mp_process *p = started(MP_PROCESS_IN(mp_get_context("spawn"), put_all, q));
    EXPECT_OK(unsetenv("TEST_ADDRESSES"));
    EXPECT_EQ(joined(p), 0);
    int64_t n = mp_queue_size(q);
    EXPECT(n > 30);
    EXPECT_OK(mp_queue_put_bytes(q, data, 1000, SECONDS)); /* there is room for this process */
    for (int64_t i = 0; i < n; i++)
        EXPECT_EQ(mp_queue_get_bytes(q, data, sizeof data, MP_NOWAIT), sizeof data);
    EXPECT_EQ(mp_queue_get_bytes(q, data, sizeof data, MP_NOWAIT), 1000);
    mp_queue_free(q);
}
#endif
