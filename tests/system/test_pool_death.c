/* SPDX-License-Identifier: MIT */
/* Owns the tests of what befalls tasks: workers that die, retries, limits on time, and cancelling. */
#include <pthread.h>
#include <signal.h>

#include "arena/heap.h"
#include "makers.h"

#define SECONDS MP_SECONDS(60)
#define IN mp_get_context(method)
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MANY 4000

static mp_call_options call_options(size_t chunk, int retries)
{
    mp_call_options o = MP_CALL_OPTIONS_INIT;
    o.chunk = chunk;
    o.retries = retries;
    return o;
}

static mp_pool_info info_of(mp_pool *pool)
{
    mp_pool_info info;
    EXPECT_OK(mp_pool_get_info(pool, &info));
    return info;
}

static int pid_of_worker(mp_pool *pool, unsigned i)
{
    mp_worker_info w;
    EXPECT_OK(mp_pool_get_worker(pool, i, &w));
    return w.pid;
}

/* ---- the tasks ---- */

/* Runs of each item, then flags; shared by the workers of a test. */
static _Atomic uint32_t *runs;
enum { GATE = MANY, SOFT, STARTED, SIZE };

MP_TASK(int, hold, (mp_shm *, shm))
{
    runs = mp_shm_data(mp_shm_ref(shm));
    runs[STARTED]++;
    return 0;
}

static mp_shm *counting(mp_pool_options *o)
{
    mp_shm *shm = mp_shm_new(SIZE * sizeof *runs);
    runs = mp_shm_data(shm);
    o->start = "hold";
    o->start_args = mp_tuple_of(mp_v(shm));
    return shm;
}

static void die(int64_t how)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer has handlers for these */
    signal(SIGABRT, SIG_DFL);
    if (how == 1)
        raise(SIGSEGV);
    if (how == 2)
        _exit(3);
    if (how == 3)
        abort();
    if (how == 4)
        exit(5);
    raise(SIGKILL);
}

MP_TASK(int64_t, square, (int64_t, n))
{
    return n * n;
}

MP_TASK(int64_t, die_so, (int64_t, how))
{
    die(how);
    return how;
}

/* 17, 67, ... kill their worker. */
MP_TASK(int64_t, some_die, (int64_t, n))
{
    if (runs)
        runs[n]++;
    if (n % 50 == 17)
        die(n / 50 % 5);
    return n * 3;
}

/* Kills its worker at the first runs, `n % 4` times. */
MP_TASK(int64_t, die_first, (int64_t, n))
{
    if (runs[n]++ < n % 4)
        die(0);
    return n * 3;
}

MP_TASK(int64_t, count, (int64_t, n))
{
    runs[n]++;
    for (volatile int i = 0; i < 20000; i++)
        ;
    return n * 3;
}

MP_TASK(int64_t, at_the_gate, (int64_t, n))
{
    if (runs[n]++ == 0 && n == 0)
        die(0);
    while (!runs[GATE])
        mp_wait(NULL, 0, MP_MS(1));
    return n;
}

MP_TASK(int64_t, slow_sevens, (int64_t, n))
{
    while (n % 10 == 7)
        mp_wait(NULL, 0, MP_MS(50));
    return n * 3;
}

MP_TASK(int64_t, until_cancelled, (int64_t, n))
{
    runs[SOFT]++;
    while (!mp_task_cancelled())
        mp_wait(NULL, 0, MP_MS(1));
    return n + 1;
}

MP_TASK(int, is_cancelled, (int, n))
{
    return mp_task_cancelled() + n - n;
}

/* ---- a worker that dies ---- */

TEST_METHODS(the_text_of_a_death)
{
    static const char *const texts[] = {
        "was killed by signal 9 (SIGKILL)", "was killed by signal 11 (SIGSEGV)",
        "ended with the exit code 3", "was killed by signal 6 (SIGABRT)",
        "ended with the exit code 5"};
    mp_pool_options o = options(method, 1);
    o.name = "victim";
    mp_pool *pool = pool_with(&o);
    for (int how = 0; how < 5; how++) {
        char name[40], pid[40];
        int64_t n = 6;
        snprintf(name, sizeof name, "worker victim-%d ", how + 1);
        EVENTUALLY(pid_of_worker(pool, 0) > 0);
        snprintf(pid, sizeof pid, "(pid %d)", pid_of_worker(pool, 0));
        mp_result *r = MP_APPLY(pool, die_so, how);
        EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EWORKER);
        EXPECT_HAS(mp_error_detail(), "task 'die_so' number 0");
        EXPECT_HAS(mp_error_detail(), name);
        EXPECT_HAS(mp_error_detail(), pid);
        EXPECT_HAS(mp_error_detail(), texts[how]);
        mp_result_free(r);
        n = result_int(MP_APPLY(pool, square, n));
        EXPECT_EQ(n, 36);
    }
    EXPECT_EQ(info_of(pool).lost, 5);
    EXPECT_EQ(info_of(pool).failed, 5);
    EXPECT_EQ(info_of(pool).done, 10);
    end(pool);
}

static void check_some_died(mp_result *r, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const char *text = NULL;
        EXPECT_EQ(mp_result_error(r, (size_t)i, &text), i % 50 == 17 ? MP_EWORKER : 0);
        if (text) {
            char wanted[60];
            snprintf(wanted, sizeof wanted, "task 'some_die' number %lld: worker", (long long)i);
            EXPECT_HAS(text, wanted);
        }
    }
    EXPECT_EQ(mp_result_done(r), n);
    EXPECT_EQ(mp_result_failed(r), (n + 32) / 50);
    mp_result_free(r);
}

/* Everything else, and other calls at the same time, are as if nothing had happened. */
TEST_METHODS(only_the_task_that_ran_is_lost)
{
    static const size_t chunks[] = {0, 1, 7, 1000};
    for (size_t c = 0; c < COUNT(chunks); c++) {
        mp_pool_options po = options(method, 2);
        mp_shm *shm = counting(&po);
        mp_pool *pool = pool_with(&po);
        mp_call_options o = call_options(chunks[c], -1);
        static int64_t in[400], out[400], in2[9000], out2[9000];
        for (int i = 0; i < 9000; i++)
            in2[i] = i;
        for (int i = 0; i < 400; i++)
            in[i] = i, out[i] = -9;
        mp_result *other = mp_pool_map_array_async(pool, MP_TASK_OF(square), in2, out2, 9000, NULL);
        mp_result *a = mp_pool_map_array_async(pool, MP_TASK_OF(some_die), in, out, 400, &o);
        EXPECT_EQ(mp_result_get(a, NULL, SECONDS), MP_EWORKER);
        EXPECT_HAS(mp_error_detail(), "number 17");
        for (int i = 0; i < 400; i++) {
            EXPECT_EQ(out[i], i % 50 == 17 ? -9 : 3 * i);
            EXPECT_EQ(runs[i], 1);
            runs[i] = 0;
        }
        check_some_died(a, 400);
        mp_result *v = mp_pool_map_async(pool, MP_TASK_OF(some_die), numbers(300), &o);
        EXPECT_EQ(mp_result_wait(v, SECONDS), 0);
        check_some_died(v, 300);
        for (int i = 0; i < 300; i++)
            EXPECT_EQ(runs[i], 1);
        EXPECT_OK(mp_result_get(other, NULL, SECONDS));
        for (int i = 0; i < 9000; i++)
            EXPECT_EQ(out2[i], (int64_t)i * i);
        mp_result_free(other);
        EXPECT_EQ(info_of(pool).lost, 14);
        end(pool);
        mp_shm_free(shm);
    }
}

TEST_METHODS(retries)
{
    static const size_t chunks[] = {0, 1, 5, 100};
    for (size_t c = 0; c < COUNT(chunks); c++) {
        mp_pool_options po = options(method, 2);
        mp_shm *shm = counting(&po);
        po.retries = 2;
        mp_pool *pool = pool_with(&po);
        mp_call_options o = call_options(chunks[c], -1);
        mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(die_first), numbers(16), &o);
        EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EWORKER);
        EXPECT_HAS(mp_error_detail(), "number 3");
        for (int i = 0; i < 16; i++) {
            EXPECT_EQ(mp_result_error(r, (size_t)i, NULL), i % 4 == 3 ? MP_EWORKER : 0);
            EXPECT_EQ(runs[i], i % 4 == 3 ? 3 : i % 4 + 1);
            runs[i] = 0;
        }
        mp_result_free(r);
        int64_t in[16], out[16];
        for (int i = 0; i < 16; i++)
            in[i] = i;
        o.retries = 3;
        r = mp_pool_map_array_async(pool, MP_TASK_OF(die_first), in, out, 16, &o);
        EXPECT_OK(mp_result_get(r, NULL, SECONDS));
        for (int i = 0; i < 16; i++) {
            EXPECT_EQ(out[i], 3 * i);
            EXPECT_EQ(runs[i], i % 4 + 1);
        }
        mp_result_free(r);
        EXPECT_OK(mp_pool_get_info(pool, &(mp_pool_info){0}));
        EXPECT_EQ(info_of(pool).lost, 48);
        end(pool);
        mp_shm_free(shm);
    }
}

/* More retries than fit into a byte. */
TEST(many_retries_have_an_end)
{
    mp_pool_options po = options("fork", 1);
    mp_shm *shm = counting(&po);
    po.retries = 300;
    mp_pool *pool = pool_with(&po);
    mp_value *v;
    mp_result *r = mp_pool_apply_async(pool, MP_TASK_OF(die_so), mp_tuple_of(mp_v(0)), NULL);
    EVENTUALLY(info_of(pool).lost >= 301);
    EXPECT_EQ(mp_result_get(r, &v, MP_SECONDS(5)), MP_EWORKER);
    EXPECT_EQ(info_of(pool).lost, 301);
    mp_result_free(r);
    mp_pool_free(pool);
    mp_shm_free(shm);
}

TEST_METHODS(idle_workers_that_are_killed)
{
    mp_pool *pool = pool_of(method, 3);
    for (int round = 0; round < 4; round++) {
        int64_t in[50], out[50];
        EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(30), NULL));
        EVENTUALLY(info_of(pool).alive == 3 && info_of(pool).busy == 0);
        for (unsigned i = 0; i < 3; i++) {
            int pid = pid_of_worker(pool, i);
            if (pid > 0)
                kill(pid, round % 2 ? SIGTERM : SIGKILL);
        }
        for (int i = 0; i < 50; i++)
            in[i] = i;
        EXPECT_OK(MP_MAP(pool, square, in, out, 50));
        for (int i = 0; i < 50; i++)
            EXPECT_EQ(out[i], in[i] * in[i]);
    }
    EXPECT_EQ(info_of(pool).failed, 0);
    end(pool);
}

/* ---- killed from outside ---- */

/* Kills a worker now and then, until the result is there or it has killed enough.  After each two it waits
 * until a worker has started: a pool whose workers die in their start again and again breaks. */
static unsigned kill_at_random(mp_pool *pool, mp_result *r, unsigned most)
{
    unsigned kills = 0;
    uint32_t started = 0;
    while (kills < most && mp_result_ready(r) == 0) {
        mp_result_wait(r, (mp_time)(rand() % 3000) * 1000);
        int pid = pid_of_worker(pool, (unsigned)rand() % 3);
        if (pid <= 0 || (kills % 2 == 0 && runs[STARTED] == started))
            continue;
        if (kills % 2 == 0)
            started = runs[STARTED];
        kills += kill(pid, SIGKILL) == 0;
    }
    return kills;
}

static unsigned seeded(void)
{
    const char *given = getenv("MULTIPROC_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    srand(seed);
    return seed;
}

/* gcc's address sanitizer does not keep its allocator for a fork: a child that is forked while another thread
 * allocates may hang in its first malloc (2 of 300, in a program without this library). */
static bool cannot_fork_often(const char *method)
{
#ifdef __SANITIZE_ADDRESS__
    return strcmp(method, "fork") == 0;
#else
    (void)method;
    return false;
#endif
}

TEST_METHODS(random_kills_with_retries)
{
    if (cannot_fork_often(method))
        return;
    unsigned most = getenv("MULTIPROC_TEST_LONG") ? 1000 : 200, kills = 0, rounds = 0;
    mp_pool_options po = options(method, 3);
    mp_shm *shm = counting(&po);
    po.retries = 200;
    mp_pool *pool = pool_with(&po);
    static const size_t chunks[] = {0, 1, 9};
    static int64_t in[MANY], out[MANY];
    printf("random kills, %s: seed %u\n", method, seeded());
    fflush(stdout);
    for (; kills < most; rounds++) {
        mp_call_options o = call_options(chunks[rounds % 3], -1);
        mp_value *v = NULL;
        memset(out, 0, sizeof out);
        for (int i = 0; i < MANY; i++)
            in[i] = i;
        mp_result *r = rounds % 2
                           ? mp_pool_map_async(pool, MP_TASK_OF(count), numbers(MANY), &o)
                           : mp_pool_map_array_async(pool, MP_TASK_OF(count), in, out, MANY, &o);
        kills += kill_at_random(pool, r, most - kills);
        EXPECT_OK(mp_result_get(r, &v, SECONDS));
        for (int64_t i = 0; i < MANY; i++) {
            int64_t n = out[i];
            if (rounds % 2)
                EXPECT_OK(mp_value_get_int(mp_value_item(v, (size_t)i), &n));
            EXPECT_EQ(n, i * 3);
        }
        mp_value_free(v);
        mp_result_free(r);
    }
    EXPECT_EQ(info_of(pool).failed, 0);
    end(pool);
    mp_shm_free(shm);
}

/* Without retries each task runs once, and one that is lost is told of. */
TEST_METHODS(exactly_once)
{
    if (cannot_fork_often(method))
        return;
    mp_pool_options po = options(method, 3);
    mp_shm *shm = counting(&po);
    mp_pool *pool = pool_with(&po);
    unsigned kills = 0, lost = 0, rounds = getenv("MULTIPROC_TEST_LONG") ? 200 : 12;
    static int64_t in[MANY], out[MANY];
    printf("exactly once, %s: seed %u\n", method, seeded());
    fflush(stdout);
    for (unsigned round = 0; round < rounds; round++) {
        mp_call_options o = call_options((size_t[]){0, 1, 20, 300}[round / 2 % 4], 0);
        for (int i = 0; i < MANY; i++)
            in[i] = i, out[i] = -1, runs[i] = 0;
        mp_result *r = round % 2
                           ? mp_pool_map_async(pool, MP_TASK_OF(count), numbers(MANY), &o)
                           : mp_pool_map_array_async(pool, MP_TASK_OF(count), in, out, MANY, &o);
        kills += kill_at_random(pool, r, 12);
        EXPECT_OK(mp_result_wait(r, SECONDS));
        for (int i = 0; i < MANY; i++) {
            int error = mp_result_error(r, (size_t)i, NULL);
            EXPECT(error == 0 || error == MP_EWORKER);
            if (error ? runs[i] > 1 : runs[i] != 1)
                harness_fail(__FILE__, __LINE__, "task %d, error %d, ran %u times", i, error,
                             runs[i]);
            if (round % 2 == 0)
                EXPECT_EQ(out[i], error ? -1 : 3 * i);
            lost += error != 0;
        }
        mp_result_free(r);
    }
    EXPECT(kills > 0 && lost <= kills);
    end(pool);
    mp_shm_free(shm);
}

/* ---- limits on time ---- */

TEST_METHODS(a_task_that_takes_too_long)
{
    static const size_t chunks[] = {1, 5, 100};
    for (size_t c = 0; c < COUNT(chunks); c++) {
        mp_pool_options po = options(method, 2);
        po.timeout = c == 1 ? MP_MS(150) : 0;
        po.retries = 1; /* not for those */
        mp_pool *pool = pool_with(&po);
        mp_call_options o = call_options(chunks[c], -1);
        int64_t in[20], out[20];
        o.timeout = c == 1 ? 0 : MP_MS(150);
        mp_result *v = mp_pool_map_async(pool, MP_TASK_OF(slow_sevens), numbers(20), &o);
        EXPECT_EQ(mp_result_get(v, NULL, SECONDS), -ETIMEDOUT);
        EXPECT_HAS(mp_error_detail(), "task 'slow_sevens' number 7: it took longer");
        for (int i = 0; i < 20; i++)
            in[i] = i, out[i] = -1;
        mp_result *a = mp_pool_map_array_async(pool, MP_TASK_OF(slow_sevens), in, out, 20, &o);
        EXPECT_EQ(mp_result_get(a, NULL, SECONDS), -ETIMEDOUT);
        for (int i = 0; i < 20; i++) {
            EXPECT_EQ(mp_result_error(v, (size_t)i, NULL), i % 10 == 7 ? -ETIMEDOUT : 0);
            EXPECT_EQ(mp_result_error(a, (size_t)i, NULL), i % 10 == 7 ? -ETIMEDOUT : 0);
            EXPECT_EQ(out[i], i % 10 == 7 ? -1 : 3 * i);
        }
        EXPECT_EQ(info_of(pool).lost, 4);
        mp_result_free(v);
        mp_result_free(a);
        end(pool);
    }
}

TEST_METHODS(soft_limits)
{
    mp_pool_options po = options(method, 1);
    mp_shm *shm = counting(&po);
    mp_pool *pool = pool_with(&po);
    mp_call_options o = call_options(2, -1);
    mp_value *v;
    o.soft_timeout = MP_MS(30);
    mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(until_cancelled), numbers(3), &o);
    EXPECT_OK(mp_result_get(r, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "[1, 2, 3]");
    EXPECT_EQ(runs[SOFT], 3);
    mp_result_free(r);
    o.timeout = MP_MS(300); /* it looks first */
    r = mp_pool_map_async(pool, MP_TASK_OF(until_cancelled), numbers(1), &o);
    EXPECT_OK(mp_result_get(r, NULL, SECONDS));
    mp_result_free(r);
    EXPECT_EQ(info_of(pool).lost, 0);
    end(pool);
    mp_shm_free(shm);
}

/* The limit of one task says nothing about the next one. */
TEST_METHODS(a_soft_limit_that_is_over)
{
    mp_pool_options po = options(method, 1);
    mp_shm *shm = counting(&po);
    mp_pool *pool = pool_with(&po);
    mp_call_options o = call_options(1, -1);
    o.soft_timeout = MP_MS(10);
    mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(until_cancelled), numbers(1), &o);
    EXPECT_OK(mp_result_get(r, NULL, SECONDS));
    mp_result_free(r);
    EXPECT_EQ(result_int(MP_APPLY(pool, is_cancelled, 5)), 0);
    end(pool);
    mp_shm_free(shm);
}

/* ---- cancelling ---- */

TEST_METHODS(cancelling)
{
    mp_pool_options po = options(method, 1);
    mp_shm *shm = counting(&po);
    mp_pool *pool = pool_with(&po);
    mp_call_options one = call_options(1, -1);
    mp_result *running = MP_APPLY(pool, until_cancelled, 4);
    EVENTUALLY(runs[SOFT] == 1);
    mp_result *queued = mp_pool_apply_async(pool, MP_TASK_OF(count), mp_tuple_of(mp_v(9)), &one);
    mp_result *map = mp_pool_map_async(pool, MP_TASK_OF(count), numbers(1500), &one);
    EXPECT(mp_result_cancel(queued) >= 0);
    EXPECT(mp_result_cancel(map) >= 900);
    EXPECT_EQ(mp_result_cancel(map), 0);
    EXPECT_EQ(mp_result_ready(running), 0);
    EXPECT_EQ(mp_result_cancel(running), 0);
    EXPECT_EQ(result_int(running), 5); /* it went on to its end */
    EXPECT_EQ(mp_result_get(queued, NULL, SECONDS), -ECANCELED);
    EXPECT_EQ(mp_result_get(map, NULL, SECONDS), -ECANCELED);
    EXPECT_EQ(mp_result_failed(map), 1500);
    EXPECT_EQ(mp_result_done(map), 1500);
    for (int i = 0; i < MANY; i++)
        EXPECT_EQ(runs[i], 0);
    mp_result *done = MP_APPLY(pool, square, 3);
    EXPECT_OK(mp_result_wait(done, SECONDS));
    EXPECT_EQ(mp_result_cancel(done), 0);
    EXPECT_EQ(result_int(done), 9);
    mp_result_free(queued);
    mp_result_free(map);
    end(pool);
    mp_shm_free(shm);
}

/* How many had not begun, also of those that were sent. */
TEST_METHODS(cancel_counts_what_was_sent_but_had_not_begun)
{
    mp_pool_options po = options(method, 1);
    mp_shm *shm = counting(&po);
    mp_pool *pool = pool_with(&po);
    mp_result *running = MP_APPLY(pool, until_cancelled, 4);
    EVENTUALLY(runs[SOFT] == 1);
    mp_result *queued = MP_APPLY(pool, count, 9);
    EXPECT_EQ(mp_result_cancel(queued), 1);
    EXPECT_EQ(mp_result_cancel(running), 0);
    EXPECT_EQ(mp_result_wait(queued, SECONDS), 0);
    mp_result_free(queued);
    mp_result_free(running);
    end(pool);
    mp_shm_free(shm);
}

/* Tasks that wait to be sent once more, after a death, are cancelled like others. */
TEST_METHODS(cancelling_after_a_death)
{
    mp_pool_options po = options(method, 1);
    mp_shm *shm = counting(&po);
    po.retries = 1;
    mp_pool *pool = pool_with(&po);
    mp_call_options o = call_options(3, -1);
    mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(at_the_gate), numbers(3000), &o);
    EVENTUALLY(runs[0] == 1 && runs[3] == 1); /* 0 has died, the window is full */
    EXPECT(mp_result_cancel(r) > 0);
    runs[GATE] = 1;
    EXPECT_EQ(mp_result_get(r, NULL, SECONDS), -ECANCELED);
    EXPECT_EQ(mp_result_done(r), 3000);
    EXPECT_EQ(runs[0], 1);
    for (int i = 1; i < 3000; i++)
        if (runs[i] != (i == 3))
            harness_fail(__FILE__, __LINE__, "task %d ran %u times", i, runs[i]);
    mp_result_free(r);
    end(pool);
    mp_shm_free(shm);
}
