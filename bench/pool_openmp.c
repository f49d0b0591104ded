/* SPDX-License-Identifier: MIT */
/* Owns the peer with threads: OpenMP, the limit of what is possible without isolation. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "pool_peers.h"

#define ELEMENTS 10000000
#define TASKS 100000

static int64_t *in, *out;

static void run_for(int n)
{
#pragma omp parallel for schedule(static)
    for (int i = 0; i < n; i++)
        out[i] = pool_work(in[i]);
}

static void run_tasks(int n)
{
#pragma omp parallel
#pragma omp single
    for (int i = 0; i < n; i++) {
#pragma omp task firstprivate(i)
        out[i] = pool_work(in[i]);
    }
}

static double run_work(int n, int64_t rounds)
{
    double start = bench_now();
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++)
        out[i] = pool_work(rounds);
    return bench_now() - start;
}

static double rate(void (*run)(int), int n, double seconds)
{
    double start = bench_now(), time;
    double done = 0;
    do {
        run(n);
        done += n;
        time = bench_now() - start;
    } while (time < seconds * 1e6);
    return done / time * 1e6;
}

double pool_openmp_answer(const char *line)
{
    double seconds;
    int tasks;
    long long rounds;
    if (!in) {
        in = calloc(ELEMENTS, sizeof *in);
        out = calloc(ELEMENTS, sizeof *out);
        if (!in || !out)
            bench_fail("out of memory");
        run_for(ELEMENTS); /* the threads are there, and the memory */
    }
    if (sscanf(line, "for %lf", &seconds) == 1)
        return rate(run_for, ELEMENTS, seconds);
    if (sscanf(line, "task %lf", &seconds) == 1)
        return rate(run_tasks, TASKS, seconds);
    if (sscanf(line, "work %d %lld", &tasks, &rounds) == 2)
        return run_work(tasks, rounds);
    return -1;
}
