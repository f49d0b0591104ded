/* SPDX-License-Identifier: MIT */
/*
 * Owns the comparison of queues with pipes, POSIX message queues and other libraries: messages of several
 * sizes from one or four processes to one or four.
 *
 * The processes of a measurement put and get without an end, the consumers count what they got in shared
 * memory, and this one looks at the counts twice and kills them.  So whatever has not arrived does not
 * count, no way needs a message that says it was the last, and connections have time to come about.
 */
#include <errno.h>
#include <multiproc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

#define PAGE 4096
#define DEPTH 1000
#define DEPTH_BYTES ((size_t)64 << 20) /* fewer messages on their way if they are so many bytes */
#define LARGE ((size_t)64 << 10)       /* from here on, what is got is also looked at */
#define ENDS_MOST 4
#define STALLED 10e6 /* us without a message */

static void check(int64_t result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name((int)result), mp_error_detail());
}

/* ---- our ways ---- */

static void *make(const bench_flow *flow, const char **ret_why)
{
    mp_queue *q = mp_queue_new((size_t)flow->depth);
    if (!q)
        *ret_why = mp_error_detail();
    return q;
}

static void drop(void *line)
{
    mp_queue_free(line);
}

static int put_bytes(void *line, const void *data, size_t size)
{
    check(mp_queue_put_bytes(line, data, size, MP_FOREVER), "mp_queue_put_bytes");
    return 1;
}

static int get_bytes(void *line, void *data, size_t size)
{
    check(mp_queue_get_bytes(line, data, size, MP_FOREVER), "mp_queue_get_bytes");
    return 1;
}

static int put_many(void *line, const void *data, size_t size)
{
    int64_t n = mp_queue_put_many_bytes(line, data, size, BENCH_MANY, MP_FOREVER);
    check(n, "mp_queue_put_many_bytes");
    return (int)n;
}

static int get_many(void *line, void *data, size_t size)
{
    int64_t n = mp_queue_get_many_bytes(line, data, size, BENCH_MANY, MP_FOREVER);
    check(n, "mp_queue_get_many_bytes");
    return (int)n;
}

static volatile char seen;

static void look_at(const char *data, size_t size)
{
    char any = 0;
    for (size_t i = 0; size >= LARGE && i < size; i += PAGE)
        any = (char)(any ^ data[i]);
    seen = any;
}

static int get_buffer(void *line, void *data, size_t size)
{
    mp_buffer *buffer;
    (void)data;
    check(mp_queue_get_buffer(line, &buffer, MP_FOREVER), "mp_queue_get_buffer");
    look_at(mp_buffer_data(buffer), size);
    mp_buffer_free(buffer);
    return 1;
}

static int put_value(void *line, const void *data, size_t size)
{
    static int next;
    (void)data;
    (void)size;
    check(mp_queue_put(line, mp_v(next++ & 0xffff), MP_FOREVER), "mp_queue_put");
    return 1;
}

static int get_value(void *line, void *data, size_t size)
{
    mp_value *value;
    (void)data;
    (void)size;
    check(mp_queue_get(line, &value, MP_FOREVER), "mp_queue_get");
    mp_value_free(value);
    return 1;
}

static const bench_way way_bytes = {"bytes", NULL, make, NULL, put_bytes, get_bytes, drop};
static const bench_way way_many = {"64 at once", NULL, make, NULL, put_many, get_many, drop};
static const bench_way way_buffer = {"not copied", NULL, make, NULL, put_bytes, get_buffer, drop};
static const bench_way way_value = {"int values", NULL, make, NULL, put_value, get_value, drop};

static const bench_way *const peers[] = {
    &bench_way_pipe,  &bench_way_mq,
#ifdef BENCH_BOOST
    &bench_way_boost,
#endif
#ifdef BENCH_ZMQ
    &bench_way_zmq,
#endif
#ifdef BENCH_NNG
    &bench_way_nng,
#endif
};
#define PEERS (sizeof peers / sizeof *peers)
#define WAYS_MOST (PEERS + 3)

static void say_what_is_missing(void)
{
#ifndef BENCH_BOOST
    bench_left_out("boost: it was not there when this was built");
#endif
#ifndef BENCH_ZMQ
    bench_left_out("ZeroMQ: it was not there when this was built");
#endif
#ifndef BENCH_NNG
    bench_left_out("nng: it was not there when this was built");
#endif
    for (size_t i = 0; i < PEERS; i++)
        if (peers[i]->note)
            bench_note("%s: %s", peers[i]->name, peers[i]->note);
}

/* ---- one measurement ---- */

static struct count {
    _Alignas(64) _Atomic uint64_t got;
} * counts; /* of each consumer */

/* What the next process shall do; it inherits them. */
static const bench_way *my_way;
static void *my_line;
static size_t my_size;
static int my_role, my_index; /* role: 1 puts */
static int apart;             /* 1: producers on one core, consumers on another one */

static int worker(const mp_value *args)
{
    size_t room = my_size > BENCH_SMALL ? my_size : my_size * BENCH_MANY;
    char *data = malloc(room);
    uint64_t got = 0;
    (void)args;
    if (!data)
        bench_fail("out of memory");
    memset(data, 1, room);
    if (apart)
        bench_pin(my_role);
    if (my_way->attach)
        my_way->attach(my_line, my_role, my_index);
    while (my_role)
        my_way->put(my_line, data, my_size);
    for (;;) {
        got += (uint64_t)my_way->get(my_line, data, my_size);
        if (my_way != &way_buffer)
            look_at(data, my_size);
        atomic_store_explicit(&counts[my_index].got, got, memory_order_relaxed);
    }
}

static mp_process *start(int role, int index)
{
    my_role = role;
    my_index = index;
    mp_process *p = mp_context_process(mp_get_context("fork"), "worker", mp_value_tuple(NULL, 0));
    if (!p)
        check(mp_error_code(), "mp_context_process");
    check(mp_process_set_daemon(p, 1), "mp_process_set_daemon"); /* none survives this one */
    check(mp_process_start(p), "mp_process_start");
    return p;
}

static void nap(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static uint64_t sum(void)
{
    uint64_t n = 0;
    for (int i = 0; i < ENDS_MOST; i++)
        n += atomic_load_explicit(&counts[i].got, memory_order_relaxed);
    return n;
}

/* The moment at which the counts have changed: 0 when they do not. */
static double next_message(uint64_t *ret_sum)
{
    uint64_t before = sum();
    double start = bench_now(), now = start;
    while ((*ret_sum = sum()) == before && now - start < STALLED) {
        nap(100);
        now = bench_now();
    }
    return *ret_sum == before ? 0 : bench_now();
}

/* Messages per second, while the processes are at it. */
static double rate(void)
{
    double least = bench_quick() ? 30e3 : 200e3, from, to;
    uint64_t first, last;
    if (!next_message(&first))
        return 0;
    nap((long)(least / 5));
    if (!(from = next_message(&first)))
        return 0;
    do { /* at least 30 large ones, but not for ever */
        nap((long)(least / 10));
        if (!(to = next_message(&last)))
            return 0;
    } while (to - from < least || (last - first < 30 && to - from < 4 * least));
    return (double)(last - first) / (to - from) * 1e6;
}

static double measure(const bench_way *way, bench_flow *flow)
{
    mp_process *processes[2 * ENDS_MOST];
    const char *why = "no message arrives";
    int n = 0;
    flow->number++;
    for (int i = 0; i < ENDS_MOST; i++)
        atomic_store(&counts[i].got, 0);
    my_way = way;
    my_size = flow->size;
    my_line = way->make(flow, &why);
    double result = 0;
    if (my_line) {
        for (int i = 0; i < flow->consumers; i++)
            processes[n++] = start(0, i);
        for (int i = 0; i < flow->producers; i++)
            processes[n++] = start(1, i);
        result = rate();
        for (int i = 0; i < n; i++)
            check(mp_process_kill(processes[i]), "mp_process_kill");
        for (int i = 0; i < n; i++) {
            check(mp_process_join(processes[i], MP_FOREVER), "mp_process_join");
            mp_process_free(processes[i]);
        }
        way->drop(my_line);
    }
    if (!result)
        bench_left_out("%s, %zu bytes, %d:%d: %s", way->name, flow->size, flow->producers,
                       flow->consumers, why);
    return result;
}

/* ---- comparing ---- */

static const struct {
    size_t size;
    const char *name;
} sizes[] = {
    {8, "8 B"}, {64, "64 B"}, {1024, "1 KiB"}, {LARGE, "64 KiB"}, {(size_t)16 << 20, "16 MiB"}};
#define SIZES (sizeof sizes / sizeof *sizes)

static const struct {
    int producers, consumers, apart; /* apart: each on a core of its own, small messages only */
    const char *name;
} shapes[] = {{1, 1, 0, "1:1"},
              {1, 1, 1, "1:1 on two cores"},
              {4, 1, 0, "4:1"},
              {1, 4, 0, "1:4"},
              {4, 4, 0, "4:4"}};
#define SHAPES (sizeof shapes / sizeof *shapes)

/* Small messages of one process to one: five times as fast as a pipe, ahead of all others. */
static double target_of(const bench_way *ours, const bench_way *peer, const bench_flow *flow)
{
    if (ours != &way_bytes || flow->size > BENCH_SMALL || flow->producers > 1 ||
        flow->consumers > 1)
        return 0;
    return peer == &bench_way_pipe ? 5 : 1;
}

static void report(bench_table *table, const bench_result *r, const char *shape)
{
    double ratio = bench_report(r);
    bench_table_row(table, r->work, shape, r->against, bench_text("%.4g", r->ours),
                    bench_text("%.4g", r->peer), bench_text("%.2f", ratio),
                    r->target > 0 ? bench_text("%.1f", r->target) : "",
                    bench_met(ratio, r->target));
}

static size_t choose(const bench_way **ways, size_t size)
{
    size_t n = 0;
    ways[n++] = &way_bytes;
    ways[n++] = size > BENCH_SMALL ? &way_buffer : &way_many;
    if (size == 8)
        ways[n++] = &way_value;
    for (size_t i = 0; i < PEERS; i++)
        ways[n++] = peers[i];
    return n;
}

static int is_ours(const bench_way *way)
{
    return way->make == make;
}

/* Bytes against everything, our other ways against a pipe. */
static void report_all(bench_table *table, const char *size, const char *shape,
                       const bench_flow *flow, const bench_way *const *ways, const double *medians,
                       size_t n)
{
    int alone = flow->producers == 1 && flow->consumers == 1;
    for (size_t i = 0; i < n && is_ours(ways[i]); i++) {
        for (size_t k = 0; k < n; k++) {
            int pipe = ways[k] == &bench_way_pipe;
            if (is_ours(ways[k]) || !medians[k] || !medians[i] || (i && !pipe))
                continue;
            bench_result r = {bench_text("queue of %s, %s, %s", size, shape, ways[i]->name),
                              ways[k]->name,
                              "messages/s",
                              medians[i],
                              medians[k],
                              1,
                              target_of(ways[i], ways[k], flow),
                              alone && pipe && !apart};
            report(table, &r, shape);
        }
    }
}

/* What several processes reach, against what one and one do. */
static void report_scaling(bench_table *table, const char *size, const char *shape, double ours,
                           double alone)
{
    if (!ours || !alone)
        return;
    bench_result r = {bench_text("queue of %s, %s, bytes", size, shape),
                      "itself, 1:1",
                      "messages/s",
                      ours,
                      alone,
                      1,
                      0.5,
                      0};
    report(table, &r, shape);
}

static void compare(bench_table *table, size_t which)
{
    const bench_way *ways[WAYS_MOST];
    size_t size = sizes[which].size, n = choose(ways, size);
    double alone = 0;
    int rounds = bench_quick() ? 1 : 5;
    for (size_t s = 0; s < SHAPES; s++) {
        static bench_flow flow;
        bench_samples samples[WAYS_MOST];
        double medians[WAYS_MOST];
        int left_out[WAYS_MOST] = {0};
        size_t most = DEPTH_BYTES / size;
        apart = shapes[s].apart;
        if (apart && (size > BENCH_SMALL || bench_processors() < 2))
            continue;
        flow.size = size;
        flow.depth = most < DEPTH ? (int)most : DEPTH;
        flow.producers = shapes[s].producers;
        flow.consumers = shapes[s].consumers;
        memset(samples, 0, sizeof samples);
        for (int round = 0; round < rounds; round++) {
            for (size_t k = 0; k < n; k++) {
                size_t i = (k + (size_t)round) % n; /* each time another one comes first */
                double r = left_out[i] ? 0 : measure(ways[i], &flow);
                left_out[i] = !r;
                if (r)
                    bench_sample(&samples[i], r);
            }
        }
        for (size_t i = 0; i < n; i++) {
            medians[i] = bench_median(&samples[i]);
            bench_samples_free(&samples[i]);
        }
        report_all(table, sizes[which].name, shapes[s].name, &flow, ways, medians, n);
        if (s == 0)
            alone = medians[0];
        else if (!apart)
            report_scaling(table, sizes[which].name, shapes[s].name, medians[0], alone);
    }
}

int main(int argc, char **argv)
{
    static const char *const heads[] = {"work",       "shape", "against", "ours msg/s",
                                        "peer msg/s", "speed", "target",  "met"};
    static mp_target target = {"worker", worker, NULL};
    check(mp_target_register(&target), "mp_target_register");
    mp_main(argc, argv);
    bench_begin(argc, argv, "bench_queue");
    counts = mmap(NULL, ENDS_MOST * sizeof *counts, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED)
        bench_fail("mmap: %s", strerror(errno));
    say_what_is_missing();
    for (size_t i = 0; i < SIZES; i++) {
        bench_table *table = bench_table_new(
            "Queues (medians; shape = producers:consumers; speed = ours / peer)", 8, 3, heads);
        compare(table, i);
        bench_table_print(table);
    }
    bench_end();
    return 0;
}
