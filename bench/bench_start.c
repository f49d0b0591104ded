/* SPDX-License-Identifier: MIT */
/*
 * Compares the start of processes, by fork, spawn and forkserver, with the bare system calls, in
 * parents of several sizes.
 *
 * The bare fork of a small process is measured in a helper, forked before any memory is touched, so
 * that it can take its turns beside the fork server of a parent of any size.
 */
#include <errno.h>
#include <multiproc.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define EXIT_AT_ONCE "--exit-at-once"
#define MB ((size_t)1 << 20)

/* DESIGN.md gives times: at most 1.2 times that of bare fork + waitpid, and so on. */
#define TARGET_FORK (1 / 1.2)
#define TARGET_SPAWN (1 / 1.3)
#define TARGET_FORKSERVER (1 / 2.0)
#define TARGET_CONSTANT 0.9 /* the two are measured a minute apart */

extern char **environ;

/* Since the call: until the parent may go on, until the child was joined; and of the whole life of
 * the handle, from its making to its end.  Microseconds. */
typedef struct times {
    double started, joined, life;
} times;

static int do_nothing(const mp_value *args)
{
    (void)args;
    return 0;
}

static void check(int result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name(result), mp_error_detail());
}

/* ---- what is compared ---- */

static times ours(const char *method)
{
    double t0 = bench_now();
    mp_process *p =
        mp_context_process(mp_get_context(method), "do_nothing", mp_value_tuple(NULL, 0));
    if (!p)
        check(mp_error_code(), "mp_context_process");
    double t1 = bench_now();
    check(mp_process_start(p), "mp_process_start");
    double t2 = bench_now();
    check(mp_process_join(p, MP_FOREVER), "mp_process_join");
    double t3 = bench_now();
    mp_process_free(p);
    return (times){t2 - t1, t3 - t1, bench_now() - t0};
}

static void wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0)
        if (errno != EINTR)
            bench_fail("waitpid: %s", strerror(errno));
}

static times bare_fork(const char *unused)
{
    (void)unused;
    double t0 = bench_now();
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0)
        _exit(0);
    double t1 = bench_now();
    wait_for(pid);
    double t2 = bench_now();
    return (times){t1 - t0, t2 - t0, t2 - t0};
}

static times bare_spawn(const char *unused)
{
    (void)unused;
    char program[] = "bench_start", option[] = EXIT_AT_ONCE;
    char *argv[] = {program, option, NULL};
    pid_t pid;
    double t0 = bench_now();
    int error = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ);
    if (error)
        bench_fail("posix_spawn: %s", strerror(error));
    double t1 = bench_now();
    wait_for(pid);
    double t2 = bench_now();
    return (times){t1 - t0, t2 - t0, t2 - t0};
}

/* ---- the small helper ---- */

static int helper_ask = -1, helper_answer = -1;
static pid_t helper_pid;

static void helper_run(int ask, int answer)
{
    char c;
    while (read(ask, &c, 1) == 1) {
        times t = bare_fork(NULL);
        if (write(answer, &t, sizeof t) != sizeof t)
            break;
    }
    _exit(0);
}

static void helper_start(void)
{
    int ask[2], answer[2];
    if (pipe(ask) < 0 || pipe(answer) < 0)
        bench_fail("pipe: %s", strerror(errno));
    helper_pid = fork();
    if (helper_pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (helper_pid == 0) {
        close(ask[1]);
        close(answer[0]);
        helper_run(ask[0], answer[1]);
    }
    close(ask[0]);
    close(answer[1]);
    helper_ask = ask[1];
    helper_answer = answer[0];
}

static times bare_small_fork(const char *unused)
{
    (void)unused;
    times t;
    if (write(helper_ask, "?", 1) != 1 || read(helper_answer, &t, sizeof t) != sizeof t)
        bench_fail("the helper has ended");
    return t;
}

/* ---- measuring ---- */

typedef struct work {
    const char *method, *against;
    times (*bare)(const char *);
    double target;
    int reports_start; /* also the time until the parent may go on */
} work;

static const work works[] = {
    {"fork", "bare fork + waitpid", bare_fork, TARGET_FORK, 0},
    {"spawn", "bare posix_spawn", bare_spawn, TARGET_SPAWN, 1},
    {"forkserver", "bare fork + waitpid of a small process", bare_small_fork, TARGET_FORKSERVER, 0},
};
#define WORKS (sizeof works / sizeof *works)

typedef struct medians {
    times ours, bare;
} medians;

typedef struct series {
    bench_samples started, joined, life;
} series;

static void add(series *s, times t)
{
    bench_sample(&s->started, t.started);
    bench_sample(&s->joined, t.joined);
    bench_sample(&s->life, t.life);
}

static times finish(series *s)
{
    times t = {bench_median(&s->started), bench_median(&s->joined), bench_median(&s->life)};
    bench_samples_free(&s->started);
    bench_samples_free(&s->joined);
    bench_samples_free(&s->life);
    return t;
}

static medians measure(const work *w)
{
    series a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    double limit = bench_now() + (bench_quick() ? 0.25e6 : 4.5e6);
    for (int i = 0; i < 3; i++) { /* warms up: the server, the arena, the caches */
        ours(w->method);
        w->bare(NULL);
    }
    for (int i = 0; i < 5 || (bench_now() < limit && i < 3000); i++) {
        if (i % 2)
            add(&b, w->bare(NULL));
        add(&a, ours(w->method));
        if (i % 2 == 0)
            add(&b, w->bare(NULL));
    }
    medians m;
    m.ours = finish(&a);
    m.bare = finish(&b);
    return m;
}

/* ---- the table ---- */

static void row(bench_table *table, const char *what, const char *parent, const char *against,
                double a, double b, double target)
{
    bench_result result = {
        bench_text("%s, parent of %s", what, parent), against, "us", a, b, 0, target, target > 0};
    double ratio = bench_report(&result);
    bench_table_row(table, what, parent, against, bench_text("%.0f", a), bench_text("%.0f", b),
                    bench_text("%.2f", a / b), target > 0 ? bench_text("<= %.2f", 1 / target) : "",
                    bench_text("%.2f", ratio), bench_met(ratio, target));
}

static void rows(bench_table *table, const work *w, const char *parent, const medians *m)
{
    if (w->reports_start)
        row(table, bench_text("%s start", w->method), parent, w->against, m->ours.started,
            m->bare.started, w->target);
    row(table, bench_text("%s start + join", w->method), parent, w->against, m->ours.joined,
        m->bare.joined, w->reports_start ? 0 : w->target);
    row(table, bench_text("%s new to free", w->method), parent, w->against, m->ours.life,
        m->bare.life, 0);
}

/* Spawn and forkserver are to cost the same in a parent of any size. */
static void constant_rows(bench_table *table, const medians *small, const medians *large,
                          const char *small_name, const char *large_name)
{
    for (size_t i = 1; i < WORKS; i++) {
        int start = works[i].reports_start;
        row(table, bench_text("%s %s", works[i].method, start ? "start" : "start + join"),
            large_name, bench_text("itself, parent of %s", small_name),
            start ? large[i].ours.started : large[i].ours.joined,
            start ? small[i].ours.started : small[i].ours.joined, TARGET_CONSTANT);
    }
}

/* ---- parents ---- */

static size_t available_memory(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (size_t)kib * 1024;
}

/* False when the machine has not that much. */
static int touch_memory(size_t size)
{
    static size_t have;
    size_t more = size - have;
    if (available_memory() < more + more / 8 + 256 * MB) /* page tables, and some for the others */
        return 0;
    char *p = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 0;
    madvise(p, more, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < more; i += 4096)
        p[i] = 1;
    have = size;
    return 1;
}

static const struct {
    size_t size;
    const char *name;
} parents[] = {{10 * MB, "10 MB"}, {1024 * MB, "1 GB"}, {4096 * MB, "4 GB"}};
#define PARENTS (sizeof parents / sizeof *parents)

static void compare(void)
{
    static const char *const heads[] = {"work",      "parent",  "against", "ours us", "bare us",
                                        "ours/bare", "allowed", "speed",   "met"};
    medians m[PARENTS][WORKS];
    size_t last = 0;
    bench_table *table =
        bench_table_new("Starting processes (medians; speed = bare / ours)", 9, 3, heads);
    for (size_t i = 0; i < PARENTS; i++) {
        if (bench_quick() && i == PARENTS - 1) {
            bench_note("skipped: a parent of %s, in a quick run", parents[i].name);
            continue;
        }
        if (!touch_memory(parents[i].size)) {
            bench_note("skipped: a parent of %s, not enough memory is free", parents[i].name);
            continue;
        }
        for (size_t k = 0; k < WORKS; k++) {
            m[i][k] = measure(&works[k]);
            rows(table, &works[k], parents[i].name, &m[i][k]);
        }
        check(mp_context_stop(mp_get_context("forkserver")), "mp_context_stop");
        last = i;
    }
    if (last)
        constant_rows(table, m[0], m[last], parents[0].name, parents[last].name);
    bench_table_print(table);
}

int main(int argc, char **argv)
{
    static mp_target target = {"do_nothing", do_nothing, NULL};
    if (argc > 1 && strcmp(argv[1], EXIT_AT_ONCE) == 0)
        _exit(0);
    check(mp_target_register(&target), "mp_target_register");
    mp_main(argc, argv);
    bench_begin(argc, argv, "bench_start");
    helper_start();
    compare();
    bench_end();
    close(helper_ask);
    wait_for(helper_pid);
    return 0;
}
