/* SPDX-License-Identifier: MIT */
/* Owns the tests of the life of a pool: open, closed, terminated, forked, nested, its workers, its figures. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "arena/heap.h"
#include "arena/object.h"
#include "makers.h"

#define SECONDS MP_SECONDS(60)
#define IN mp_get_context(method)
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LONG_MS 100000 /* longer than any test may take */

static int failed(mp_result *result)
{
    EXPECT(result);
    int r = mp_result_get(result, NULL, SECONDS);
    EXPECT_EQ(mp_result_successful(result), 0);
    mp_result_free(result);
    return r;
}

static mp_pool_info info_of(mp_pool *pool)
{
    mp_pool_info info;
    EXPECT_OK(mp_pool_get_info(pool, &info));
    return info;
}

/* A zombie that nobody reaps does not count. */
static bool is_gone(int pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!harness_read(path, text, sizeof text))
        return true;
    const char *p = strrchr(text, ')');
    return !p || p[2] == 'Z' || p[2] == 'X';
}

/* ---- the tasks ---- */

/* What the workers of a test count in; given to each by its first task. */
static _Atomic int64_t *counts;
enum { STARTS, ENDS, CALLS, CANCELLED, PIDS = 8 };

MP_TASK(int, hold, (mp_shm *, shm), (int, code))
{
    counts = mp_shm_data(mp_shm_ref(shm));
    counts[STARTS]++;
    if (code == 999)
        raise(SIGKILL);
    return code ? mp_task_fail(code, "this worker will not") : 0;
}

MP_TASK(int, let_go)
{
    counts[ENDS]++;
    return 0;
}

MP_TASK(int64_t, count, (int64_t, n))
{
    counts[CALLS]++;
    return n;
}

MP_TASK(int64_t, square, (int64_t, n))
{
    return n * n;
}

MP_TASK(int64_t, wait_for_ms, (int64_t, ms))
{
    for (int64_t i = 0; i < ms && !mp_task_cancelled(); i++)
        mp_wait(NULL, 0, MP_MS(1));
    return mp_task_cancelled();
}

MP_TASK(int, stay, (int, deaf))
{
    if (deaf)
        signal(SIGTERM, SIG_IGN);
    for (;;)
        mp_wait(NULL, 0, MP_MS(10));
    return 0;
}

MP_TASK(int, pid_of, (int, n))
{
    return n < 0 ? n : (int)getpid();
}

MP_TASK(int, was_cancelled)
{
    return mp_task_cancelled() ? mp_task_fail(44, "cancelled at the start") : 0;
}

MP_TASK(const char *, name_of)
{
    return mp_process_name(mp_process_current());
}

MP_TASK(int, grow, (int, mb))
{
    static void *kept[8];
    static int n;
    char *p = kept[n++ % 8] = malloc((size_t)mb << 20);
    memset(p, n, (size_t)mb << 20);
    return p[mb] == n ? (int)getpid() : 0;
}

static mp_shm *counting(mp_pool_options *o, int code)
{
    mp_shm *shm = mp_shm_new(4096);
    counts = mp_shm_data(shm);
    o->start = "hold";
    o->start_args = mp_tuple_of(mp_v(shm), mp_v(code));
    return shm;
}

/* ---- the end ---- */

static void expect_closed(mp_pool *pool)
{
    int64_t in = 1, out = 2;
    mp_value *v = NULL;
    mp_bytes bytes = {"x", 1};
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v(1)), &v), MP_ECLOSED);
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(square), numbers(9), &v), MP_ECLOSED);
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(square), numbers(0), &v), MP_ECLOSED);
    EXPECT_EQ(mp_pool_starmap(pool, MP_TASK_OF(square), numbers(0), &v), MP_ECLOSED);
    EXPECT_EQ(mp_pool_map_array(pool, MP_TASK_OF(square), &in, &out, 1), MP_ECLOSED);
    EXPECT(MP_APPLY(pool, square, 3) == NULL && mp_error_code() == MP_ECLOSED);
    EXPECT(mp_pool_map_bytes_async(pool, MP_TASK_OF(square), &bytes, 1, NULL) == NULL);
    EXPECT_EQ(mp_error_code(), MP_ECLOSED);
    EXPECT(v == NULL && out == 2);
    EXPECT_EQ(info_of(pool).closed, 1);
}

TEST_METHODS(closing_lets_all_tasks_finish)
{
    mp_pool *pool = pool_of(method, 2);
    mp_result *r[50];
    EXPECT_EQ(mp_pool_join(pool, MP_FOREVER), -EBUSY);
    for (int i = 0; i < 50; i++)
        r[i] = MP_APPLY(pool, wait_for_ms, 10);
    mp_result *last = MP_APPLY(pool, square, 9);
    EXPECT_OK(mp_pool_close(pool));
    expect_closed(pool);
    EXPECT_EQ(mp_pool_join(pool, MP_MS(20)), -ETIMEDOUT);
    EXPECT_OK(mp_pool_close(pool));
    EXPECT_OK(mp_pool_join(pool, SECONDS));
    EXPECT_OK(mp_pool_join(pool, MP_NOWAIT));
    EXPECT_EQ(info_of(pool).alive, 0);
    EXPECT_OK(mp_pool_terminate(pool));
    EXPECT_OK(mp_pool_join(pool, MP_NOWAIT));
    expect_closed(pool);
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(result_int(r[i]), 0);
    mp_pool_free(pool);
    EXPECT_EQ(result_int(last), 81); /* after its pool */
}

TEST_METHODS(terminating_fails_what_is_not_done)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        mp_pool *pool = pool_of(method, 2);
        mp_result *first = MP_APPLY(pool, square, 4), *busy[2], *queued[20];
        int64_t in[3000] = {0}, out[3000];
        EXPECT_OK(mp_result_wait(first, SECONDS));
        for (int i = 0; i < 2; i++)
            busy[i] = MP_APPLY(pool, stay, deaf);
        for (int i = 0; i < 20; i++)
            queued[i] = MP_APPLY(pool, square, i);
        mp_result *array = mp_pool_map_array_async(pool, MP_TASK_OF(square), in, out, 3000, NULL);
        EVENTUALLY(info_of(pool).busy == 2);
        EXPECT_OK(mp_pool_terminate(pool));
        expect_closed(pool);
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(failed(busy[i]), MP_ECLOSED);
        EXPECT_EQ(mp_result_get(array, NULL, MP_NOWAIT), MP_ECLOSED);
        EXPECT_OK(mp_pool_join(pool, MP_SECONDS(8)));
        EXPECT_EQ(info_of(pool).alive, 0);
        EXPECT_OK(mp_pool_close(pool));
        mp_pool_free(pool);
        for (int i = 0; i < 20; i++)
            EXPECT_EQ(failed(queued[i]), MP_ECLOSED);
        EXPECT_EQ(result_int(first), 16);
        mp_result_free(array);
    }
}

TEST_METHODS(terminating_after_closing)
{
    mp_pool *pool = pool_of(method, 1);
    mp_result *r = MP_APPLY(pool, stay, 0);
    EXPECT_OK(mp_pool_close(pool));
    EXPECT_EQ(mp_pool_join(pool, MP_MS(20)), -ETIMEDOUT);
    EXPECT_OK(mp_pool_terminate(pool));
    EXPECT_OK(mp_pool_join(pool, MP_SECONDS(8)));
    EXPECT_EQ(failed(r), MP_ECLOSED);
    mp_pool_free(pool);
}

TEST_METHODS(freeing_a_pool_that_nobody_closed)
{
    mp_pool *idle = pool_of(method, 2), *busy = pool_of(method, 2);
    mp_result *r = MP_APPLY(busy, stay, 0);
    EXPECT(mp_pool_ref(busy) == busy);
    mp_result_free(MP_APPLY(busy, stay, 0)); /* before it is done */
    EVENTUALLY(info_of(busy).busy == 2);
    mp_result *q = MP_APPLY(busy, square, 1);
    mp_pool_free(busy);
    mp_pool_free(idle);
    EXPECT_EQ(mp_result_get(r, NULL, MP_MS(5)), -EAGAIN);
    mp_pool_free(busy);
    EXPECT_EQ(failed(r), MP_ECLOSED);
    EXPECT_EQ(failed(q), MP_ECLOSED);
    mp_pool_free(NULL);
}

/* The memory that pools take is given back. */
TEST_METHODS(a_pool_leaves_no_memory_behind)
{
    uint64_t blocks, bytes, blocks_after, bytes_after;
    static int64_t in[5000], out[5000];
    EXPECT(mp__tag_self());
    for (int round = 0; round < 3; round++) {
        EXPECT_OK(mp__heap_check(&blocks, &bytes));
        mp_pool *pool = pool_of(method, 2);
        EXPECT_OK(MP_MAP(pool, square, in, out, 5000));
        EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(500), NULL));
        mp_result_free(MP_APPLY(pool, stay, 0));
        if (round == 2)
            mp_result_free(mp_pool_map_async(pool, MP_TASK_OF(stay), numbers(3000), NULL));
        mp_pool_free(pool);
        mp_context_stop(IN);
        EXPECT_OK(mp__heap_check(&blocks_after, &bytes_after));
        EXPECT_EQ(blocks_after, blocks);
        EXPECT_EQ(bytes_after, bytes);
    }
}

/* ---- the end of the program ---- */

MP_TARGET(leave_busy, (const char *, method), (mp_shm *, shm), (int, daemon), (int, how))
{
    _Atomic int64_t *pids = mp_shm_data(shm);
    mp_pool_options o = options(method, 2);
    o.daemon = daemon;
    static mp_pool *pool; /* which nobody frees */
    pool = pool_with(&o);
    mp_result_free(MP_APPLY(pool, stay, how == 1));
    mp_result_free(MP_APPLY(pool, stay, 0));
    mp_result_free(MP_APPLY(pool, square, 0));
    EVENTUALLY(info_of(pool).busy == 2);
    for (unsigned i = 0; i < 2; i++) {
        mp_worker_info w;
        EXPECT_OK(mp_pool_get_worker(pool, i, &w));
        pids[PIDS + i] = w.pid;
    }
    if (how == 2)
        raise(SIGKILL);
    exit(how);
}

TEST_METHODS(leaving_with_a_busy_pool)
{
    for (int daemon = 0; daemon < 2; daemon++)
        for (int how = 0; how < 3; how++) { /* exit, with a deaf task, SIGKILL */
            mp_shm *shm = mp_shm_new(4096);
            _Atomic int64_t *pids = mp_shm_data(shm);
            int code = joined(started(MP_PROCESS_IN(IN, leave_busy, method, shm, daemon, how)));
            EXPECT_EQ(code, how == 2 ? -SIGKILL : how);
            for (int i = 0; i < 2; i++) {
                EXPECT(pids[PIDS + i] > 0);
                if (how == 2)
                    EVENTUALLY(is_gone((int)pids[PIDS + i]));
                EXPECT(is_gone((int)pids[PIDS + i]));
            }
            mp_shm_free(shm);
        }
}

/* ---- workers ---- */

TEST_METHODS(first_and_last_task)
{
    mp_pool_options o = options(method, 3);
    mp_shm *shm = counting(&o, 0);
    o.end = "let_go";
    mp_pool *pool = pool_with(&o);
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(count), numbers(40), NULL));
    EXPECT_EQ(counts[CALLS], 40);
    EVENTUALLY(counts[STARTS] == 3);
    EXPECT_EQ(counts[ENDS], 0);
    end(pool);
    EXPECT_EQ(counts[STARTS], 3);
    EXPECT_EQ(counts[ENDS], 3);
    mp_shm_free(shm);
}

/* It breaks the pool, after some tries. */
TEST_METHODS(a_first_task_that_fails)
{
    static const int codes[] = {7, -EPERM, 999};
    for (size_t i = 0; i < COUNT(codes); i++) {
        mp_pool_options o = options(method, 2);
        mp_shm *shm = counting(&o, codes[i]);
        mp_pool *pool = pool_with(&o);
        mp_result *r = MP_APPLY(pool, square, 2);
        if (r) {
            EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EBROKEN);
            EXPECT_HAS(mp_error_detail(), codes[i] == 999 ? "signal 9" : "this worker will not");
            mp_result_free(r);
        }
        EVENTUALLY(info_of(pool).broken);
        int64_t tries = counts[STARTS];
        EXPECT(tries >= 3 && tries <= 12);
        EXPECT(MP_APPLY(pool, square, 2) == NULL && mp_error_code() == MP_EBROKEN);
        EXPECT_HAS(mp_error_detail(), codes[i] == 999 ? "signal 9" : "this worker will not");
        EVENTUALLY(info_of(pool).alive == 0);
        tries = counts[STARTS];
        mp_wait(NULL, 0, MP_MS(50));
        EXPECT_EQ(counts[STARTS], tries);
        if (i)
            end(pool);
        else
            mp_pool_free(pool);
        mp_shm_free(shm);
    }
}

TEST_METHODS(a_first_task_is_not_cancelled)
{
    mp_pool_options o = options(method, 1);
    o.start = "was_cancelled";
    mp_pool *pool = pool_with(&o);
    mp_value *v;
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v(2)), &v));
    EXPECT_STR(harness_repr(v), "4");
    end(pool);
}

static int different(const mp_value *list)
{
    int n = 0;
    for (size_t i = 0; i < (size_t)mp_value_len(list); i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen = seen || mp_value_equal(mp_value_item(list, i), mp_value_item(list, k));
        n += !seen;
    }
    return n;
}

TEST_METHODS(workers_that_are_used_up)
{
    mp_pool_options o = options(method, 2);
    mp_call_options one = MP_CALL_OPTIONS_INIT;
    mp_value *v;
    mp_shm *shm = counting(&o, 0);
    o.end = "let_go";
    o.max_tasks = 4;
    one.chunk = 1;
    mp_pool *pool = pool_with(&o);
    mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(pid_of), numbers(40), &one);
    EXPECT_OK(mp_result_get(r, &v, SECONDS));
    EXPECT_EQ(mp_value_len(v), 40);
    EXPECT_EQ(different(v), 10);
    mp_value_free(v);
    mp_result_free(r);
    EXPECT_EQ(info_of(pool).lost, 0);
    end(pool);
    EXPECT(counts[STARTS] >= 10 && counts[STARTS] <= 13);
    EXPECT_EQ(counts[ENDS], counts[STARTS]);
    mp_shm_free(shm);
}

TEST_METHODS(workers_that_take_too_much_memory)
{
    mp_pool_options o = options(method, 1);
    o.max_memory = 150u << 20;
    mp_pool *pool = pool_with(&o);
    int64_t first = result_int(MP_APPLY(pool, grow, 1)),
            second = result_int(MP_APPLY(pool, grow, 200));
    int64_t third = result_int(MP_APPLY(pool, pid_of, 1));
    EXPECT_EQ(first, second);
    EXPECT(third != second);
    end(pool);
    o.max_memory = 1; /* less than any process has: each does something at least */
    pool = pool_with(&o);
    mp_result *r = MP_APPLY(pool, square, 5);
    EXPECT_OK(mp_result_wait(r, MP_SECONDS(10)));
    EXPECT_EQ(result_int(r), 25);
    end(pool);
}

TEST_METHODS(lazy_workers_and_their_names)
{
    mp_pool_options o = options(method, 3);
    o.lazy = 1;
    o.name = "crew";
    mp_pool *pool = pool_with(&o);
    mp_worker_info w;
    mp_wait(NULL, 0, MP_MS(20));
    EXPECT_EQ(info_of(pool).alive, 0);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_OK(mp_pool_get_worker(pool, i, &w));
        EXPECT_EQ(w.pid, 0);
    }
    mp_value *v;
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(name_of), mp_value_tuple(NULL, 0), &v));
    EXPECT_STR(harness_repr(v), "'crew-1'");
    EXPECT_EQ(info_of(pool).alive, 1);
    mp_result *r[3];
    for (int i = 0; i < 3; i++)
        r[i] = MP_APPLY(pool, wait_for_ms, 200);
    EVENTUALLY(info_of(pool).alive == 3);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(result_int(r[i]), 0);
    end(pool);
    pool = pool_of(method, 1);
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(name_of), mp_value_tuple(NULL, 0), &v));
    EXPECT_STR(harness_repr(v), "'PoolWorker-1'");
    end(pool);
}

static void expect_no_pool(const mp_pool_options *o, int error)
{
    EXPECT(mp_pool_new_with(o) == NULL);
    EXPECT_EQ(mp_error_code(), error);
}

TEST_METHODS(options_with_bad_values)
{
    mp_pool_options o = options(method, 2);
    o.start = "no such task";
    o.start_args = mp_tuple_of(mp_v("lost?"));
    expect_no_pool(&o, MP_ENOTARGET);
    o = options(method, 2);
    o.end = "no such task";
    expect_no_pool(&o, MP_ENOTARGET);
    o = options(method, 2);
    o.start = "hold";
    o.start_args = mp_list_of(mp_v(1));
    expect_no_pool(&o, MP_ETYPE);
    expect_no_pool(&(mp_pool_options){.size = sizeof o, .workers = 1001}, -EINVAL);
    expect_no_pool(&(mp_pool_options){.size = sizeof o, .workers = UINT32_MAX}, -EINVAL);
    o = options(method, 2);
    o.timeout = -5; /* none */
    mp_pool *pool = pool_with(&o);
    EXPECT_EQ(result_int(MP_APPLY(pool, wait_for_ms, 20)), 0);
    end(pool);
    pool = mp_pool_new(0);
    EXPECT_EQ(info_of(pool).workers, mp_cpu_count());
    end(pool);
}

/* ---- other processes and threads ---- */

MP_TASK(int64_t, nested, (const char *, method), (int, lazy))
{
    static int64_t in[100], out[100];
    mp_pool_options o = options(method, 2);
    int64_t sum = 0;
    o.lazy = lazy;
    mp_pool *pool = mp_pool_new_with(&o);
    if (!pool)
        return mp_error_code();
    for (int i = 0; i < 100; i++)
        in[i] = i;
    mp_result *r = mp_pool_map_array_async(pool, MP_TASK_OF(square), in, out, 100, NULL);
    int e = r ? mp_result_get(r, NULL, MP_SECONDS(8)) : mp_error_code();
    for (int i = 0; i < 100; i++)
        sum += out[i];
    mp_result_free(r);
    mp_pool_free(pool);
    mp_context_stop(IN);
    return e ? e : sum;
}

TEST_METHODS(pools_in_pools)
{
    mp_pool_options o = options(method, 2);
    o.daemon = 0;
    mp_pool *pool = pool_with(&o);
    mp_result *r[4];
    for (int i = 0; i < 4; i++)
        r[i] = MP_APPLY(pool, nested, method, i / 2);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(result_int(r[i]), 328350);
    end(pool);
}

TEST_METHODS(daemons_have_no_pools)
{
    mp_pool *pool = pool_of(method, 1);
    EXPECT_EQ(result_int(MP_APPLY(pool, nested, method, 0)), MP_EDAEMON);
    end(pool);
}

/* Its workers are started later; whoever waits must be told that they cannot be. */
TEST_METHODS(daemons_have_no_lazy_pools)
{
    mp_pool *pool = pool_of(method, 1);
    EXPECT_EQ(result_int(MP_APPLY(pool, nested, method, 1)), MP_EDAEMON);
    end(pool);
}

static int use_foreign(mp_pool *pool, mp_result *done, mp_imap *imap)
{
    mp_pool_info info;
    mp_worker_info w;
    mp_value *v = NULL;
    int64_t in = 1, out;
    int bad = 0;
    bad += mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v(1)), &v) != MP_EFOREIGN;
    bad += MP_APPLY(pool, square, 1) != NULL || mp_error_code() != MP_EFOREIGN;
    bad += mp_pool_map_array(pool, MP_TASK_OF(square), &in, &out, 1) != MP_EFOREIGN;
    bad += mp_pool_close(pool) != MP_EFOREIGN || mp_pool_terminate(pool) != MP_EFOREIGN;
    bad += mp_pool_join(pool, MP_FOREVER) != MP_EFOREIGN;
    bad += mp_pool_get_info(pool, &info) != MP_EFOREIGN;
    bad += mp_pool_get_worker(pool, 0, &w) != MP_EFOREIGN;
    bad += mp_result_wait(done, MP_FOREVER) != MP_EFOREIGN;
    bad += mp_result_get(done, &v, MP_FOREVER) != MP_EFOREIGN;
    bad += mp_result_cancel(done) != MP_EFOREIGN;
    bad += mp_imap_next(imap, &v, MP_FOREVER) != MP_EFOREIGN;
    mp_imap_free(imap);
    mp_result_free(done);
    mp_pool_free(pool);
    return bad;
}

/* A leak check in a forked child would miss what the stacks of its parent's threads hold. */
static void leave_child(int code)
{
#ifdef __SANITIZE_ADDRESS__
    _exit(code);
#else
    exit(code);
#endif
}

static mp_value *give_ones(void *data)
{
    return (*(int *)data)-- > 0 ? mp_v(1) : NULL;
}

TEST_METHODS(a_forked_child_cannot_use_it)
{
    mp_pool *pool = pool_of(method, 2);
    mp_result *r = MP_APPLY(pool, wait_for_ms, 100);
    int status, ones = 10;
    mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(square), give_ones, &ones, 0, 0, NULL);
    pid_t pid = fork();
    if (pid == 0)
        leave_child(use_foreign(pool, r, imap));
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(result_int(r), 0);
    mp_imap_free(imap);
    EXPECT_EQ(result_int(MP_APPLY(pool, square, 8)), 64);
    pid = fork(); /* and one that has a pool of its own */
    if (pid == 0) {
        mp_pool *own = pool_of(method, 1);
        leave_child(result_int(MP_APPLY(own, square, 3)) != 9);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    end(pool);
}

typedef struct user {
    mp_pool *pool;
    int64_t id;
    int error;
} user;

static void *use_pool(void *argument)
{
    user *u = argument;
    int64_t in[200], out[200];
    for (int64_t round = 0; round < 30; round++) {
        int64_t n = u->id * 1000 + round;
        EXPECT_EQ(result_int(MP_APPLY(u->pool, square, n)), n * n);
        for (int i = 0; i < 200; i++)
            in[i] = n + i;
        EXPECT_OK(MP_MAP(u->pool, square, in, out, 200));
        for (int i = 0; i < 200; i++)
            EXPECT_EQ(out[i], in[i] * in[i]);
        mp_value *v, *list = numbers(20);
        EXPECT_OK(mp_pool_map(u->pool, MP_TASK_OF(pid_of), list, &v));
        EXPECT_EQ(mp_value_len(v), 20);
        mp_value_free(v);
    }
    return NULL;
}

TEST_METHODS(eight_threads_use_one_pool)
{
    mp_pool *pool = pool_of(method, 2);
    pthread_t threads[8];
    user users[8];
    for (int i = 0; i < 8; i++) {
        users[i] = (user){pool, i, 0};
        EXPECT_OK(pthread_create(&threads[i], NULL, use_pool, &users[i]));
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(info_of(pool).failed, 0);
    EXPECT_EQ(info_of(pool).done, 8 * 30 * 221);
    end(pool);
}

static void *wait_in_vain(void *argument)
{
    user *u = argument;
    u->error = mp_pool_apply(u->pool, MP_TASK_OF(stay), mp_tuple_of(mp_v(0)), NULL);
    return NULL;
}

TEST_METHODS(a_thread_waits_while_another_one_terminates)
{
    mp_pool *pool = pool_of(method, 2);
    pthread_t threads[3];
    user users[3];
    for (int i = 0; i < 3; i++) {
        users[i] = (user){pool, 0, 0};
        EXPECT_OK(pthread_create(&threads[i], NULL, wait_in_vain, &users[i]));
    }
    EVENTUALLY(info_of(pool).busy == 2 && info_of(pool).submitted == 3);
    EXPECT_OK(mp_pool_terminate(pool));
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        EXPECT_EQ(users[i].error, MP_ECLOSED);
    }
    EXPECT_OK(mp_pool_join(pool, MP_SECONDS(8)));
    mp_pool_free(pool);
}

static void *make_pool(void *method)
{
    return pool_of(method, 2);
}

TEST_METHODS(the_thread_that_made_it_ends)
{
    pthread_t thread;
    void *pool;
    EXPECT_OK(pthread_create(&thread, NULL, make_pool, (void *)(uintptr_t)method));
    pthread_join(thread, &pool);
    mp_wait(NULL, 0, MP_MS(50));
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(50), NULL));
    EXPECT_EQ(info_of(pool).lost, 0);
    end(pool);
}

/* ---- looking ---- */

/* The last task's end may be noted after its result has come. */
static bool stays(mp_pool *pool)
{
    mp_worker_info w[2];
    for (unsigned i = 0; i < 2; i++)
        EXPECT_OK(mp_pool_get_worker(pool, i, &w[i]));
    return w[0].busy + w[1].busy == 1 && strcmp(w[w[1].busy].task, "stay") == 0;
}

TEST_METHODS(figures)
{
    mp_pool *pool = pool_of(method, 2);
    mp_worker_info w[2];
    mp_pool_info info = info_of(pool);
    EXPECT_EQ(info.workers, 2);
    EXPECT_EQ(info.alive, 2);
    EXPECT_EQ(info.submitted + info.done + info.failed + info.lost, 0);
    EXPECT_EQ(info.closed + info.broken, 0);
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(100), NULL));
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(square), mp_list_of(mp_v("a"), mp_v(1)), NULL),
              MP_ETYPE);
    mp_result *r = MP_APPLY(pool, stay, 0);
    EVENTUALLY(stays(pool));
    info = info_of(pool);
    EXPECT_EQ(info.busy, 1);
    EXPECT_EQ(info.submitted, 103);
    EXPECT_EQ(info.done, 102);
    EXPECT_EQ(info.failed, 1);
    for (unsigned i = 0; i < 2; i++)
        EXPECT_OK(mp_pool_get_worker(pool, i, &w[i]));
    EXPECT_EQ(w[0].tasks + w[1].tasks, 102);
    EXPECT_EQ(w[0].busy + w[1].busy, 1);
    const mp_worker_info *busy = &w[w[1].busy], *idle = &w[!w[1].busy];
    EXPECT_STR(busy->task, "stay");
    EXPECT_EQ(busy->item, 0);
    EXPECT(busy->running > 0 && idle->running == 0 && w[0].busy_time + w[1].busy_time > 0);
    EXPECT_STR(idle->task, "");
    EXPECT(w[0].pid > 0 && w[1].pid > 0 && w[0].pid != w[1].pid);
    EXPECT_EQ(mp_pool_get_worker(pool, 2, &w[0]), -ERANGE);
    mp_pool_free(pool);
    mp_result_free(r);
}

/* ---- misuse ---- */

#ifndef MULTIPROC_DEBUG /* where misuse aborts */
TEST(misuse_of_pools)
{
    mp_lock *lock = mp_lock_new();
    mp_pool *const bad[] = {NULL, (mp_pool *)lock};
    mp_result *const none[] = {NULL, (mp_result *)lock};
    mp_pool_options o = options("fork", 1);
    mp_call_options call = MP_CALL_OPTIONS_INIT;
    mp_pool_info info;
    mp_value *v;
    for (int i = 0; i < 2; i++) {
        EXPECT(MP_APPLY(bad[i], square, 1) == NULL);
        EXPECT_EQ(mp_error_code(), -EINVAL);
        EXPECT_EQ(mp_pool_map(bad[i], MP_TASK_OF(square), numbers(3), &v), -EINVAL);
        EXPECT_EQ(mp_pool_close(bad[i]) + mp_pool_terminate(bad[i]), 2 * -EINVAL);
        EXPECT_EQ(mp_pool_join(bad[i], 0) + mp_pool_get_info(bad[i], &info), 2 * -EINVAL);
        EXPECT(mp_pool_ref(bad[i]) == NULL && mp_result_ref(none[i]) == NULL);
        EXPECT_EQ(mp_result_wait(none[i], 0) + mp_result_get(none[i], &v, 0), 2 * -EINVAL);
        EXPECT_EQ(mp_result_ready(none[i]) + mp_result_successful(none[i]), 2 * -EINVAL);
        EXPECT_EQ(mp_result_cancel(none[i]) + mp_result_error(none[i], 0, NULL), 2 * -EINVAL);
        EXPECT(mp_result_bytes(none[i], 0) == NULL);
        EXPECT_EQ(mp_imap_next((mp_imap *)none[i], &v, 0), -EINVAL);
    }
    mp_pool *pool = pool_with(&o);
    o.size = 8;
    EXPECT(mp_pool_new_with(&o) == NULL && mp_pool_new_with(NULL) == NULL);
    EXPECT_EQ(mp_pool_apply(pool, NULL, mp_tuple_of(mp_v(1)), &v), -EINVAL);
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(square), mp_value_str("\xff"), &v), -EILSEQ);
    EXPECT_EQ(mp_pool_get_info(pool, NULL) + mp_pool_get_worker(pool, 0, NULL), 2 * -EINVAL);
    call.size--;
    EXPECT(mp_pool_map_async(pool, MP_TASK_OF(square), numbers(3), &call) == NULL);
    mp_result *r = MP_APPLY(pool, square, 2);
    EXPECT_EQ(mp_result_error(r, 1, NULL), -EINVAL);
    EXPECT_EQ(result_int(r), 4);
    EXPECT(mp_pool_map_bytes_async(pool, MP_TASK_OF(square), NULL, 3, NULL) == NULL);
    end(pool);
    mp_lock_free(lock);
}
#endif
