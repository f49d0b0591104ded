/* SPDX-License-Identifier: MIT */
/*
 * Owns the comparison of locks, semaphores, events, conditions and barriers with an atomic exchange and
 * with those of POSIX in shared memory: alone, and by two processes.
 *
 * The second process is one helper that waits for orders on a pipe.  It runs the same loop as the first
 * one, and a measurement lasts until both have ended.
 */
#include <errno.h>
#include <multiproc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static void check(int64_t result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name((int)result), mp_error_detail());
}

static void system_failed(const char *what)
{
    bench_fail("%s: %s", what, strerror(errno));
}

/* ---- what is compared ---- */

static struct shared {
    _Alignas(64) _Atomic int word;
    _Alignas(64) pthread_mutex_t plain;
    _Alignas(64) pthread_mutex_t robust;
    _Alignas(64) pthread_mutex_t recursive;
    _Alignas(64) sem_t semaphore;
    _Alignas(64) pthread_cond_t cond;
    _Alignas(64) pthread_barrier_t barrier;
    _Alignas(64) int flag;              /* of the event that is made of a mutex and a condition */
    _Alignas(64) volatile int64_t work; /* what the locks guard */
    _Alignas(64) volatile int turn;     /* whose it is at a condition */
} * shared;

static mp_lock *lock;
static mp_rlock *rlock;
static mp_semaphore *semaphore;
static mp_event *event;
static mp_condition *condition;
static mp_barrier *barrier;

static void init_mutex(pthread_mutex_t *mutex, int robust, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, robust);
    pthread_mutexattr_settype(&attributes, type);
    if (pthread_mutex_init(mutex, &attributes) != 0)
        bench_fail("pthread_mutex_init");
    pthread_mutexattr_destroy(&attributes);
}

static void make_all(void)
{
    pthread_condattr_t cond;
    pthread_barrierattr_t attributes;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        system_failed("mmap");
    init_mutex(&shared->plain, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL);
    init_mutex(&shared->robust, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL);
    init_mutex(&shared->recursive, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_RECURSIVE);
    pthread_condattr_init(&cond);
    pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (sem_init(&shared->semaphore, 1, 1) < 0 || pthread_cond_init(&shared->cond, &cond) != 0 ||
        pthread_barrier_init(&shared->barrier, &attributes, 2) != 0)
        bench_fail("what POSIX has cannot be made");
    lock = mp_lock_new();
    rlock = mp_rlock_new();
    semaphore = mp_semaphore_new(1, 0);
    event = mp_event_new();
    condition = mp_condition_new();
    barrier = mp_barrier_new(2);
    if (!lock || !rlock || !semaphore || !event || !condition || !barrier)
        check(mp_error_code(), "what is ours cannot be made");
}

static void free_all(void)
{
    mp_lock_free(lock);
    mp_rlock_free(rlock);
    mp_semaphore_free(semaphore);
    mp_event_free(event);
    mp_condition_free(condition);
    mp_barrier_free(barrier);
}

/* ---- the loops ---- */

static inline void must(int result)
{
    if (__builtin_expect(result < 0, 0))
        check(result, "ours");
}

static inline void zero(int result)
{
    if (__builtin_expect(result != 0, 0))
        bench_fail("the peer: %s", strerror(result < 0 ? errno : result));
}

static inline void spin_until_taken(void)
{
    while (atomic_exchange(&shared->word, 1))
        sched_yield();
}

/* Pairs of taking and giving back: by itself, and with a little work in between. */
#define PAIRS(name, take, give)                \
    static void name(int64_t n, int me)        \
    {                                          \
        (void)me;                              \
        while (n--) {                          \
            take;                              \
            give;                              \
        }                                      \
    }                                          \
    static void name##_work(int64_t n, int me) \
    {                                          \
        (void)me;                              \
        while (n--) {                          \
            take;                              \
            shared->work++;                    \
            give;                              \
        }                                      \
    }

PAIRS(ours_lock, must(mp_lock_acquire(lock, MP_FOREVER)), must(mp_lock_release(lock)))
PAIRS(ours_rlock, must(mp_rlock_acquire(rlock, MP_FOREVER)), must(mp_rlock_release(rlock)))
PAIRS(ours_semaphore, must(mp_semaphore_acquire(semaphore, MP_FOREVER)),
      must(mp_semaphore_release(semaphore, 1)))
PAIRS(exchange, spin_until_taken(), atomic_exchange(&shared->word, 0))
PAIRS(mutex, zero(pthread_mutex_lock(&shared->plain)), zero(pthread_mutex_unlock(&shared->plain)))
PAIRS(robust, zero(pthread_mutex_lock(&shared->robust)),
      zero(pthread_mutex_unlock(&shared->robust)))
PAIRS(recursive, zero(pthread_mutex_lock(&shared->recursive)),
      zero(pthread_mutex_unlock(&shared->recursive)))
PAIRS(posix_semaphore, zero(sem_wait(&shared->semaphore)), zero(sem_post(&shared->semaphore)))

static void ours_event(int64_t n, int me)
{
    (void)me;
    while (n--) {
        must(mp_event_set(event));
        must(mp_event_clear(event));
    }
}

static void mutex_event(int64_t n, int me)
{
    (void)me;
    for (n *= 2; n--;) {
        zero(pthread_mutex_lock(&shared->plain));
        shared->flag = n & 1;
        if (n & 1)
            zero(pthread_cond_broadcast(&shared->cond));
        zero(pthread_mutex_unlock(&shared->plain));
    }
}

static void ours_condition(int64_t n, int me)
{
    while (n--) {
        must(mp_condition_acquire(condition, MP_FOREVER));
        while (shared->turn != me)
            must(mp_condition_wait(condition, MP_FOREVER));
        shared->turn = !me;
        must(mp_condition_notify(condition, 1));
        must(mp_condition_release(condition));
    }
}

static void posix_condition(int64_t n, int me)
{
    while (n--) {
        zero(pthread_mutex_lock(&shared->plain));
        while (shared->turn != me)
            zero(pthread_cond_wait(&shared->cond, &shared->plain));
        shared->turn = !me;
        zero(pthread_cond_signal(&shared->cond));
        zero(pthread_mutex_unlock(&shared->plain));
    }
}

static void ours_barrier(int64_t n, int me)
{
    (void)me;
    while (n--)
        must(mp_barrier_wait(barrier, MP_FOREVER));
}

static void posix_barrier(int64_t n, int me)
{
    (void)me;
    while (n--) {
        int r = pthread_barrier_wait(&shared->barrier);
        zero(r == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : r);
    }
}

enum { LOCK, RLOCK, SEMAPHORE, EXCHANGE, MUTEX, ROBUST, RECURSIVE, POSIX_SEMAPHORE };
enum { EVENT = POSIX_SEMAPHORE + 1, MUTEX_EVENT, CONDITION, POSIX_CONDITION, BARRIER };
enum { POSIX_BARRIER = BARRIER + 1, THINGS };

typedef void loop(int64_t n, int me);

static const struct thing {
    const char *name;
    loop *alone, *work;
} things[THINGS] = {
    [LOCK] = {"mp_lock", ours_lock, ours_lock_work},
    [RLOCK] = {"mp_rlock", ours_rlock, ours_rlock_work},
    [SEMAPHORE] = {"mp_semaphore", ours_semaphore, ours_semaphore_work},
    [EXCHANGE] = {"atomic exchange", exchange, exchange_work},
    [MUTEX] = {"pthread mutex", mutex, mutex_work},
    [ROBUST] = {"pthread mutex, robust", robust, robust_work},
    [RECURSIVE] = {"pthread mutex, recursive", recursive, recursive_work},
    [POSIX_SEMAPHORE] = {"sem_t", posix_semaphore, posix_semaphore_work},
    [EVENT] = {"mp_event", ours_event, NULL},
    [MUTEX_EVENT] = {"mutex + condition", mutex_event, NULL},
    [CONDITION] = {"mp_condition", NULL, ours_condition},
    [POSIX_CONDITION] = {"pthread condition", NULL, posix_condition},
    [BARRIER] = {"mp_barrier", NULL, ours_barrier},
    [POSIX_BARRIER] = {"pthread barrier", NULL, posix_barrier},
};

/* ---- two processes ---- */

typedef enum placement { ALONE, ONE_CORE, TWO_CORES } placement;

static const char *const places[] = {"alone", "two processes on one core",
                                     "two processes on two cores"};

typedef struct order {
    int thing, processor;
    int64_t n;
} order;

static int orders[2] = {-1, -1}, answers[2] = {-1, -1};

static int help(const mp_value *args)
{
    order o;
    (void)args;
    close(orders[1]);
    while (read(orders[0], &o, sizeof o) == sizeof o) {
        bench_pin(o.processor);
        if (write(answers[1], "r", 1) != 1)
            return 1;
        things[o.thing].work(o.n, 1);
        if (write(answers[1], "e", 1) != 1)
            return 1;
    }
    return 0;
}

static mp_process *helper_start(void)
{
    if (pipe(orders) < 0 || pipe(answers) < 0)
        system_failed("pipe");
    mp_process *p = mp_context_process(mp_get_context("fork"), "help", mp_value_tuple(NULL, 0));
    if (!p)
        check(mp_error_code(), "mp_context_process");
    check(mp_process_start(p), "mp_process_start");
    close(orders[0]);
    close(answers[1]);
    return p;
}

static void hear(void)
{
    char c;
    if (read(answers[0], &c, 1) != 1)
        bench_fail("the second process has ended");
}

/* Seconds for n turns; n of each process if there are two. */
static double run(int thing, placement place, int64_t n)
{
    const struct thing *t = &things[thing];
    if (place == ALONE) {
        double start = bench_now();
        t->alone(n, 0);
        return (bench_now() - start) / 1e6;
    }
    order o = {thing, place == TWO_CORES, n};
    int64_t before = shared->work;
    shared->turn = 0;
    if (write(orders[1], &o, sizeof o) != sizeof o)
        system_failed("write");
    hear();
    double start = bench_now();
    t->work(n, 0);
    hear();
    double seconds = (bench_now() - start) / 1e6;
    if (t->alone && shared->work - before != 2 * n)
        bench_fail("%s: it did not exclude the other process", t->name);
    return seconds;
}

/* How many turns take about as long as one measurement shall. */
static int64_t turns(int thing, placement place)
{
    double seconds, wanted = bench_quick() ? 0.03 : 0.2;
    int64_t n = 500;
    while ((seconds = run(thing, place, n)) < 0.02)
        n *= 4;
    int64_t result = (int64_t)((double)n / seconds * wanted);
    return result > 0 ? result : 1;
}

/* ---- comparing ---- */

typedef struct pair {
    int ours, peer;
    double target;
    int picture;
} pair;

/* A lock may cost twice what two exchanges cost, and not more than a mutex. */
static const pair alone_pairs[] = {
    {LOCK, EXCHANGE, 0.5, 1},
    {LOCK, MUTEX, 1, 1},
    {LOCK, ROBUST, 0, 1},
    {RLOCK, EXCHANGE, 0, 0},
    {RLOCK, RECURSIVE, 0, 1},
    {SEMAPHORE, EXCHANGE, 0, 0},
    {SEMAPHORE, POSIX_SEMAPHORE, 0, 1},
    {EVENT, EXCHANGE, 0, 0},
    {EVENT, MUTEX_EVENT, 0, 1},
};
static const pair work_pairs[] = {
    {LOCK, EXCHANGE, 0, 0},
    {LOCK, MUTEX, 0, 1},
    {LOCK, ROBUST, 0, 1},
    {RLOCK, RECURSIVE, 0, 1},
    {SEMAPHORE, POSIX_SEMAPHORE, 0, 1},
    {CONDITION, POSIX_CONDITION, 0, 1},
    {BARRIER, POSIX_BARRIER, 0, 1},
};

static const char *work_name(int ours, placement place)
{
    const char *doing = ours == EVENT       ? "set + clear"
                        : ours == CONDITION ? "notify + wait, there and back"
                        : ours == BARRIER   ? "wait, 2 parties"
                                            : "acquire + release";
    return bench_text("%s %s, %s", things[ours].name, doing, places[place]);
}

static void report(bench_table *table, const pair *p, placement place, const double *medians)
{
    bench_result r = {work_name(p->ours, place),
                      p->peer == EXCHANGE && place == ALONE ? "two atomic exchanges"
                      : p->peer == EXCHANGE                 ? "atomic exchange + sched_yield"
                                                            : things[p->peer].name,
                      "ns",
                      medians[p->ours],
                      medians[p->peer],
                      0,
                      p->target,
                      p->picture};
    double ratio = bench_report(&r);
    bench_table_row(table, r.work, r.against, bench_text("%.1f", r.ours),
                    bench_text("%.1f", r.peer), bench_text("%.2f", ratio),
                    p->target > 0 ? bench_text("%.1f", p->target) : "",
                    bench_met(ratio, p->target));
}

static void compare(bench_table *table, placement place, const pair *pairs, size_t npairs)
{
    bench_samples samples[THINGS];
    double medians[THINGS];
    int64_t n[THINGS];
    int rounds = bench_quick() ? 3 : 5;
    memset(samples, 0, sizeof samples);
    bench_pin(0);
    for (int i = 0; i < THINGS; i++)
        n[i] = (place == ALONE ? things[i].alone : things[i].work) ? turns(i, place) : 0;
    for (int round = 0; round < rounds; round++) {
        for (int k = 0; k < THINGS; k++) {
            int i = (k + round) % THINGS; /* each time another one comes first */
            if (n[i])
                bench_sample(&samples[i], run(i, place, n[i]) / (double)n[i] * 1e9 /
                                              (place != ALONE && things[i].alone ? 2 : 1));
        }
    }
    bench_pin(-1);
    for (int i = 0; i < THINGS; i++) {
        medians[i] = bench_median(&samples[i]);
        bench_samples_free(&samples[i]);
    }
    for (size_t i = 0; i < npairs; i++)
        report(table, &pairs[i], place, medians);
}

int main(int argc, char **argv)
{
    static const char *const heads[] = {"work",  "against", "ours ns", "peer ns",
                                        "speed", "target",  "met"};
    static mp_target target = {"help", help, NULL};
    check(mp_target_register(&target), "mp_target_register");
    mp_main(argc, argv);
    bench_begin(argc, argv, "bench_locks");
    make_all();
    mp_process *helper = helper_start();
    bench_table *table =
        bench_table_new("Locks (medians; speed = peer's time / ours)", 7, 2, heads);
    compare(table, ALONE, alone_pairs, sizeof alone_pairs / sizeof *alone_pairs);
    compare(table, ONE_CORE, work_pairs, sizeof work_pairs / sizeof *work_pairs);
    if (bench_processors() > 1)
        compare(table, TWO_CORES, work_pairs, sizeof work_pairs / sizeof *work_pairs);
    else
        bench_note("skipped: two processes on two cores, there is one");
    bench_table_print(table);
    close(orders[1]);
    check(mp_process_join(helper, MP_FOREVER), "mp_process_join");
    mp_process_free(helper);
    free_all();
    bench_end();
    return 0;
}
