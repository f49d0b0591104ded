/* SPDX-License-Identifier: MIT */
/*
 * Owns the comparison of pools with a pool written by hand, threads, xargs and Python's multiprocessing:
 * empty tasks, round trips, work on all processors, and start and end.
 *
 * Each side of a comparison is measured in turn, several times over; the peers with a runtime of their own
 * are processes of their own, which measure themselves and wait on a pipe meanwhile.
 */
#include <errno.h>
#include <multiproc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "pool_peers.h"

#define ELEMENTS 2000000 /* of a typed array */
#define VALUES 100000
#define STREAMED 20000
#define OUTSTANDING 2000
#define TRIPS 200
#define START_WORKERS 4
#define COARSE_TASKS 200
#define PYTHON "/usr/bin/python3"

/* The speed that is asked for: so many empty tasks per second, or so many times the hand-written pool. */
#define TARGET_RATE 5e6
#define TARGET_SPEED 10.0

MP_TASK(int64_t, work, (int64_t, rounds))
{
    return pool_work(rounds);
}

static void check(int result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name(result), mp_error_detail());
}

static void made(const void *handle, const char *what)
{
    if (!handle)
        check(mp_error_code(), what);
}

/* ---- what there is to measure ---- */

static int processors;
static int64_t rounds_of_ms; /* of pool_work(), in a millisecond */
static mp_pool *pool, *single;
static pool_hand *by_hand, *single_hand;
static pool_peer openmp, python, python_starter;
static int64_t *in, *out;
static mp_value *numbers; /* that mean no work */

static double least(void) /* us of one measurement */
{
    return bench_quick() ? 50e3 : 250e3;
}

typedef struct side {
    const char *name;
    double (*run)(const struct side *side);  /* a figure */
    const char *word;                        /* for a peer, or a start method */
    size_t (*once)(const struct side *side); /* for repeat(): so many tasks were done */
    int number;                              /* depth, or number of workers */
} side;

/* Tasks per second. */
static double repeat(const side *s)
{
    double start = bench_now(), time, done = 0;
    do {
        done += (double)s->once(s);
        time = bench_now() - start;
    } while (time < least());
    return done / time * 1e6;
}

/* Microseconds of a task. */
static double repeat_time(const side *s)
{
    return 1e6 / repeat(s);
}

static double ask_openmp(const side *s)
{
    return pool_peer_ask(&openmp, bench_text("%s %g", s->word, least() / 1e6));
}

static double ask_python(const side *s)
{
    return pool_peer_ask(&python, bench_text("%s %g", s->word, least() / 1e6));
}

static double ask_python_time(const side *s)
{
    return 1e6 / ask_python(s);
}

static double ask_python_start(const side *s)
{
    return pool_peer_ask(&python_starter, bench_text("start %s %g", s->word, least() / 1e6));
}

static int is_there(const side *s)
{
    if (s->run == ask_openmp)
        return openmp.pid != 0;
    if (s->run == ask_python || s->run == ask_python_time)
        return python.pid != 0;
    return s->run != ask_python_start || python_starter.pid != 0;
}

static mp_pool *new_pool(int workers, const char *method)
{
    mp_pool_options options = MP_POOL_OPTIONS_INIT;
    options.workers = (unsigned)workers;
    options.context = mp_get_context(method);
    mp_pool *p = mp_pool_new_with(&options);
    made(p, "mp_pool_new_with");
    return p;
}

/* ---- empty tasks ---- */

static size_t map_array(const side *s)
{
    (void)s;
    check(MP_MAP(pool, work, in, out, ELEMENTS), "mp_pool_map_array");
    return ELEMENTS;
}

static size_t map_values(const side *s)
{
    mp_value *results;
    (void)s;
    check(mp_pool_map(pool, MP_TASK_OF(work), mp_value_ref(numbers), &results), "mp_pool_map");
    mp_value_free(results);
    return VALUES;
}

static mp_value *next_zero(void *data)
{
    int *left = data;
    return (*left)-- > 0 ? mp_v(0) : NULL;
}

static size_t stream(const side *s)
{
    mp_call_options options = MP_CALL_OPTIONS_INIT;
    int left = STREAMED, r;
    options.chunk = (size_t)s->number;
    mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(work), next_zero, &left, 1,
                                 (size_t)(POOL_DEPTH * processors), &options);
    made(imap, "mp_pool_imap");
    for (mp_value *value; (r = mp_imap_next(imap, &value, MP_FOREVER)) > 0;)
        mp_value_free(value);
    check(r, "mp_imap_next");
    mp_imap_free(imap);
    return STREAMED;
}

static size_t apply_async(const side *s)
{
    static mp_result *results[OUTSTANDING];
    (void)s;
    for (int i = 0; i < OUTSTANDING; i++) {
        results[i] = MP_APPLY(pool, work, 0);
        made(results[i], "mp_pool_apply_async");
    }
    for (int i = 0; i < OUTSTANDING; i++) {
        mp_value *value;
        check(mp_result_get(results[i], &value, MP_FOREVER), "mp_result_get");
        mp_value_free(value);
        mp_result_free(results[i]);
    }
    return OUTSTANDING;
}

static size_t apply(const side *s)
{
    (void)s;
    for (int i = 0; i < TRIPS; i++) {
        mp_value *value;
        check(mp_pool_apply(single, MP_TASK_OF(work), mp_tuple_of(mp_v(0)), &value),
              "mp_pool_apply");
        mp_value_free(value);
    }
    return TRIPS;
}

static size_t hand_map(const side *s)
{
    pool_hand_map(by_hand, in, out, STREAMED, s->number);
    return STREAMED;
}

static size_t hand_call(const side *s)
{
    (void)s;
    for (int i = 0; i < TRIPS; i++)
        pool_hand_call(single_hand, 0, 0);
    return TRIPS;
}

/* ---- comparing ---- */

#define SIDES_MOST 16

typedef struct versus {
    int ours, peer; /* numbers of sides */
    double target;  /* of speed; < 0: the one for empty tasks */
    int picture;
} versus;

typedef struct contest {
    const char *title, *work, *unit;
    int more_is_better;
    const side *sides;
    int nsides;
    const versus *pairs;
    int npairs;
} contest;

static void measure(const contest *c, double *ret_medians)
{
    bench_samples samples[SIDES_MOST];
    memset(samples, 0, sizeof samples);
    for (int round = -1; round < (bench_quick() ? 2 : 5); round++) {
        for (int k = 0; k < c->nsides; k++) {
            int i = (k + round + 1) % c->nsides; /* each time another one comes first */
            if (!is_there(&c->sides[i]))
                continue;
            double figure = c->sides[i].run(&c->sides[i]);
            if (round >= 0)
                bench_sample(&samples[i], figure);
        }
    }
    for (int i = 0; i < c->nsides; i++) {
        ret_medians[i] = bench_median(&samples[i]);
        bench_samples_free(&samples[i]);
    }
}

static const char *figure(double x)
{
    return x >= 1000 ? bench_text("%.0f", x) : bench_text("%.4g", x);
}

static void compare(const contest *c)
{
    const char *const heads[] = {c->work, "against", "ours",   "peer",
                                 "unit",  "speed",   "target", "met"};
    double medians[SIDES_MOST];
    bench_table *table = bench_table_new(c->title, 8, 2, heads);
    measure(c, medians);
    for (int i = 0; i < c->npairs; i++) {
        const versus *v = &c->pairs[i];
        double target = v->target, peer = medians[v->peer];
        if (!peer)
            continue;
        if (target < 0)
            target = TARGET_RATE / peer < TARGET_SPEED ? TARGET_RATE / peer : TARGET_SPEED;
        bench_result r = {bench_text("%s, %s", c->work, c->sides[v->ours].name),
                          c->sides[v->peer].name,
                          c->unit,
                          medians[v->ours],
                          peer,
                          c->more_is_better,
                          target,
                          v->picture};
        double ratio = bench_report(&r);
        bench_table_row(table, c->sides[v->ours].name, r.against, figure(r.ours), figure(r.peer),
                        c->unit, bench_text("%.3g", ratio),
                        target > 0 ? bench_text("%.3g", target) : "", bench_met(ratio, target));
    }
    bench_table_print(table);
}

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- contests ---- */

static void empty_tasks(void)
{
    enum {
        ARRAY,
        MAP,
        IMAP,
        IMAP_1,
        ASYNC,
        HAND,
        HAND_1,
        FOR,
        TASK,
        PY_MAP,
        PY_MAP1,
        PY_IMAP,
        PY_ASYNC
    };
    static const side sides[] = {
        {"map of a typed array", repeat, NULL, map_array, 0},
        {"map of values", repeat, NULL, map_values, 0},
        {"imap_unordered", repeat, NULL, stream, 0},
        {"imap_unordered, chunks of 1", repeat, NULL, stream, 1},
        {"2,000 apply_async", repeat, NULL, apply_async, 0},
        {"hand-written pool, 64 on their way", repeat, NULL, hand_map, POOL_DEPTH},
        {"hand-written pool, 1 on its way", repeat, NULL, hand_map, 1},
        {"OpenMP parallel for", ask_openmp, "for", NULL, 0},
        {"OpenMP tasks", ask_openmp, "task", NULL, 0},
        {"Python map", ask_python, "map", NULL, 0},
        {"Python map, chunksize 1", ask_python, "map1", NULL, 0},
        {"Python imap_unordered, chunksize 1", ask_python, "imap", NULL, 0},
        {"Python 2,000 apply_async", ask_python, "async", NULL, 0},
    };
    static const versus pairs[] = {
        {ARRAY, HAND, -1, 1}, {ARRAY, HAND_1, 0, 0},  {ARRAY, FOR, 0, 0},
        {ARRAY, TASK, 0, 0},  {ARRAY, PY_MAP, 0, 1},  {MAP, HAND, 0, 1},
        {MAP, HAND_1, 0, 0},  {MAP, TASK, 0, 0},      {MAP, PY_MAP, 0, 1},
        {MAP, PY_MAP1, 0, 0}, {IMAP, HAND, 0, 0},     {IMAP, PY_IMAP, 0, 0},
        {IMAP_1, HAND, 0, 1}, {IMAP_1, HAND_1, 0, 0}, {IMAP_1, PY_IMAP, 0, 1},
        {ASYNC, HAND, 0, 1},  {ASYNC, HAND_1, 0, 0},  {ASYNC, PY_ASYNC, 0, 1},
    };
    static const contest c = {"Empty tasks (medians; speed = ours / peer)",
                              "empty tasks",
                              "tasks/s",
                              1,
                              sides,
                              COUNT(sides),
                              pairs,
                              COUNT(pairs)};
    compare(&c);
}

/* Whether the scheduler puts the two on one core or on two makes a factor of 10. */
static const struct {
    const char *work;
    int processor, worker; /* where this process and its worker run */
} places[] = {{"round trip of an empty task, both free", -1, -1},
              {"round trip of an empty task, on one core", 0, 0},
              {"round trip of an empty task, on two cores", 0, 1}};

static void round_trips(void)
{
    static const side sides[] = {
        {"apply", repeat_time, NULL, apply, 0},
        {"hand-written pool", repeat_time, NULL, hand_call, 0},
        {"Python apply", ask_python_time, "apply", NULL, 0}, /* is nowhere but free */
    };
    static const versus pairs[] = {{0, 1, 0, 1}, {0, 2, 0, 1}};
    for (int i = 0; i < COUNT(places); i++) {
        int bound = places[i].processor >= 0;
        const contest c = {"Round trips (medians; speed = peer's time / ours)",
                           places[i].work,
                           "us",
                           0,
                           sides,
                           COUNT(sides) - bound,
                           pairs,
                           COUNT(pairs) - bound};
        if (places[i].worker >= processors)
            continue;
        bench_pin(places[i].worker);
        single = new_pool(1, "fork");
        single_hand = pool_hand_new(1);
        bench_pin(places[i].processor);
        compare(&c);
        bench_pin(-1);
        mp_pool_free(single);
        pool_hand_free(single_hand);
    }
}

/* Milliseconds that 1 ms tasks take. */
static int fine_tasks(void)
{
    return bench_quick() ? 60 : 250;
}

static double alone_time(const side *s)
{
    double start = bench_now();
    (void)s;
    for (int i = 0; i < fine_tasks(); i++)
        out[i] = pool_work(rounds_of_ms);
    return (bench_now() - start) / 1e3;
}

static double pool_time(const side *s)
{
    mp_pool *p = s->number == 1 ? single : pool;
    int n = fine_tasks();
    for (int i = 0; i < n; i++)
        in[i] = rounds_of_ms;
    double start = bench_now();
    check(MP_MAP(p, work, in, out, (size_t)n), "mp_pool_map_array");
    return (bench_now() - start) / 1e3;
}

static double hand_time(const side *s)
{
    int n = fine_tasks();
    (void)s;
    for (int i = 0; i < n; i++)
        in[i] = rounds_of_ms;
    double start = bench_now();
    pool_hand_map(by_hand, in, out, (size_t)n, 2);
    return (bench_now() - start) / 1e3;
}

static double openmp_time(const side *s)
{
    (void)s;
    return pool_peer_ask(&openmp,
                         bench_text("work %d %lld", fine_tasks(), (long long)rounds_of_ms)) /
           1e3;
}

static void scaling(void)
{
    const side sides[] = {
        {"1 worker", pool_time, NULL, NULL, 1},
        {bench_text("%d workers", processors), pool_time, NULL, NULL, 0},
        {"one process without a pool", alone_time, NULL, NULL, 0},
        {"hand-written pool", hand_time, NULL, NULL, 0},
        {"OpenMP parallel for", openmp_time, NULL, NULL, 0},
    };
    static const versus pairs[] = {
        {0, 2, 0, 0}, {1, 2, 0, 1}, {1, 0, 0, 0}, {1, 3, 0, 0}, {1, 4, 0, 1}};
    const contest c = {"Tasks of 1 ms of arithmetic (medians; speed = peer's time / ours)",
                       "tasks of 1 ms",
                       "ms",
                       0,
                       sides,
                       COUNT(sides),
                       pairs,
                       openmp.pid ? COUNT(pairs) : COUNT(pairs) - 1};
    contest without = c;
    without.nsides -= !openmp.pid;
    compare(&without);
}

/* ---- with start and end ---- */

static void end_pool(mp_pool *p)
{
    check(mp_pool_close(p), "mp_pool_close");
    check(mp_pool_join(p, MP_FOREVER), "mp_pool_join");
    mp_pool_free(p);
}

static size_t start_ours(const side *s)
{
    mp_pool *p = new_pool(START_WORKERS, s->word);
    check(mp_pool_apply(p, MP_TASK_OF(work), mp_tuple_of(mp_v(0)), NULL), "mp_pool_apply");
    end_pool(p);
    return 1;
}

static size_t start_hand(const side *s)
{
    (void)s;
    pool_hand *p = pool_hand_new(START_WORKERS);
    pool_hand_call(p, 0, 0);
    pool_hand_free(p);
    return 1;
}

static void starts(void)
{
    static const side sides[] = {
        {"by fork", repeat_time, "fork", start_ours, 0},
        {"by spawn", repeat_time, "spawn", start_ours, 0},
        {"by forkserver", repeat_time, "forkserver", start_ours, 0},
        {"hand-written pool, by fork", repeat_time, NULL, start_hand, 0},
        {"Python, by fork", ask_python_start, "fork", NULL, 0},
        {"Python, by spawn", ask_python_start, "spawn", NULL, 0},
        {"Python, by forkserver", ask_python_start, "forkserver", NULL, 0},
    };
    static const versus pairs[] = {{0, 3, 0, 1}, {0, 4, 0, 1}, {1, 5, 0, 1}, {2, 6, 0, 1}};
    static const contest c = {
        "A pool of 4 from start to end, with one task (medians; speed = peer's time / ours)",
        "pool of 4, start to end",
        "us",
        0,
        sides,
        COUNT(sides),
        pairs,
        COUNT(pairs)};
    compare(&c);
}

static int coarse_tasks(void)
{
    return bench_quick() ? COARSE_TASKS / 10 : COARSE_TASKS;
}

/* With the start and the end of the pool, as xargs has them. */
static double coarse_ours(const side *s)
{
    int n = coarse_tasks();
    for (int i = 0; i < n; i++)
        in[i] = 10 * rounds_of_ms;
    double start = bench_now();
    mp_pool *p = new_pool(processors, s->word);
    check(MP_MAP(p, work, in, out, (size_t)n), "mp_pool_map_array");
    end_pool(p);
    return (bench_now() - start) / 1e3;
}

static double coarse_xargs(const side *s)
{
    double start = bench_now();
    (void)s;
    FILE *f = popen(bench_text("xargs -n 1 -P %d '%s'", processors, POOL_TASK), "we");
    if (!f)
        bench_fail("popen: %s", strerror(errno));
    for (int i = 0; i < coarse_tasks(); i++)
        fprintf(f, "%lld\n", (long long)(10 * rounds_of_ms));
    int status = pclose(f);
    if (status)
        bench_fail("xargs ends with %d", status);
    return (bench_now() - start) / 1e3;
}

static void coarse(void)
{
    static const side sides[] = {
        {"a new pool by fork", coarse_ours, "fork", NULL, 0},
        {"xargs -P", coarse_xargs, NULL, NULL, 0},
    };
    static const versus pairs[] = {{0, 1, 0, 1}};
    const contest c = {"Coarse tasks (medians; speed = peer's time / ours)",
                       bench_text("%d tasks of 10 ms", coarse_tasks()),
                       "ms",
                       0,
                       sides,
                       COUNT(sides),
                       pairs,
                       COUNT(pairs)};
    if (access(POOL_TASK, X_OK) < 0)
        bench_left_out("xargs: %s is not there", POOL_TASK);
    else
        compare(&c);
}

/* ---- setting up ---- */

static void calibrate(void)
{
    int64_t rounds = 100000;
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        double start = bench_now();
        out[0] = pool_work(rounds);
        double time = bench_now() - start;
        best = time < best ? time : best;
    }
    rounds_of_ms = (int64_t)((double)rounds * 1e3 / best);
}

static void make_arrays(void)
{
    in = calloc(ELEMENTS, sizeof *in);
    out = calloc(ELEMENTS, sizeof *out);
    if (!in || !out)
        bench_fail("out of memory");
}

static void make_values(void)
{
    mp_value **items = calloc(VALUES, sizeof *items);
    if (!items)
        bench_fail("out of memory");
    for (int i = 0; i < VALUES; i++)
        items[i] = mp_v(-i); /* no rounds, as 0 */
    numbers = mp_value_list(items, VALUES);
    made(numbers, "mp_value_list");
    free(items);
}

/* Before there are threads or much memory. */
static void start_peers(void)
{
    const char *const argv[] = {PYTHON, POOL_PYTHON, bench_text("%d", processors), NULL};
#ifdef BENCH_OPENMP
    pool_peer_fork(&openmp, "OpenMP", pool_openmp_answer);
#else
    bench_left_out("OpenMP: it was not there when this was built");
#endif
    if (access(PYTHON, X_OK) < 0 || access(POOL_PYTHON, R_OK) < 0) {
        bench_left_out("Python: there is no %s", PYTHON);
        return;
    }
    pool_peer_run(&python, "Python", argv);
    pool_peer_run(&python_starter, "Python", argv);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    bench_begin(argc, argv, "bench_pool");
    processors = bench_processors();
    start_peers();
    make_arrays();
    calibrate();
    starts(); /* while there is next to no memory to fork */
    coarse();
    make_values();
    memset(in, 0, ELEMENTS * sizeof *in);
    memset(out, 0, ELEMENTS * sizeof *out);
    by_hand = pool_hand_new(processors);
    pool = new_pool(processors, "fork");
    empty_tasks();
    single = new_pool(1, "fork");
    scaling();
    mp_pool_free(single);
    mp_pool_free(pool);
    pool_hand_free(by_hand);
    round_trips();
    pool_peer_end(&openmp);
    pool_peer_end(&python);
    pool_peer_end(&python_starter);
    mp_value_free(numbers);
    free(in);
    free(out);
    bench_end();
    return 0;
}
