/* SPDX-License-Identifier: MIT */
/*
 * What every benchmark needs: a clock, medians, pinning, tables and lines for other programs.
 *
 * A benchmark compares this library ("ours") with something else ("the peer") side by side: rounds
 * that alternate between them, the median of the rounds, and their ratio.  A ratio is always one of
 * speed, ours over the peer's: more is better, whatever the unit.  Nothing here decides over
 * success or failure: a benchmark that runs exits with 0.  One thread only.  Usable from C and C++.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- the program ---- */

/** First: reads --quick and --json PATH.  The lines that PATH has of this benchmark are replaced,
 *  those of other benchmarks stay.  Ends the program on other arguments. */
void bench_begin(int argc, char **argv, const char *name);

/** Last: closes the file. */
void bench_end(void);

/** 1 when a few seconds have to do. */
int bench_quick(void);

/** Prints the reason and ends the program with 1. */
void bench_fail(const char *format, ...) BENCH_PRINTF(1, 2) __attribute__((noreturn));

/** A line of comment about what was measured or left out. */
void bench_note(const char *format, ...) BENCH_PRINTF(1, 2);

/** The same of something that the results lack, and why; they will say so. */
void bench_left_out(const char *format, ...) BENCH_PRINTF(1, 2);

/* ---- clock and processors ---- */

/** Microseconds on the monotonic clock. */
double bench_now(void);

/** Processors that this program might use when it began; their numbers are 0, 1, ... here. */
int bench_processors(void);

/** Binds the calling process to one of them; -1: to all of them again. */
void bench_pin(int processor);

/* ---- medians ---- */

typedef struct bench_samples {
    double *values;
    size_t n, room;
} bench_samples;

#define BENCH_SAMPLES_INIT \
    {                      \
        NULL, 0, 0         \
    }

void bench_sample(bench_samples *samples, double value);
double bench_median(const bench_samples *samples); /* 0 when there are none */
void bench_samples_free(bench_samples *samples);

/* ---- results ---- */

typedef struct bench_result {
    const char *work;    /* "fork start + join, parent of 1 GB" */
    const char *against; /* what the peer is: "bare fork + waitpid" */
    const char *unit;    /* "us", "messages/s" */
    double ours, peer;
    int more_is_better; /* 1 for rates, 0 for times */
    double target;      /* the least ratio of speed; 0 when there is none */
    int picture;        /* 1: belongs into the picture */
} bench_result;

/** Writes the line of a result and returns its ratio. */
double bench_report(const bench_result *result);

/** "yes", "nearly" (within 5 %), "no"; "" when there is no target. */
const char *bench_met(double ratio, double target);

/* ---- tables ---- */

typedef struct bench_table bench_table;

/** A table whose first `left` columns are text and the others numbers. */
bench_table *bench_table_new(const char *title, int columns, int left, const char *const *heads);

/** One row: as many strings as there are columns, copied. */
void bench_table_row(bench_table *table, ...);

/** Prints the table as aligned text and frees it. */
void bench_table_print(bench_table *table);

/** A formatted text; valid until the 32nd next call. */
const char *bench_text(const char *format, ...) BENCH_PRINTF(1, 2);

/* ---- ways to pass messages (bench_queue.c; peer_*.c and peer_*.cc) ---- */

/** Messages of one size from some processes to others, with room for so many on their way. */
typedef struct bench_flow {
    size_t size;
    int depth, producers, consumers;
    int number; /* another one for each flow of the program: for names */
} bench_flow;

/** A library's way.  All but make and drop are called in the processes that put and get, which end by
 *  SIGKILL. */
typedef struct bench_way {
    const char *name;
    const char *note; /* what was chosen for it; NULL: nothing */
    /** What there is before the processes are: NULL with a reason when it cannot carry that. */
    void *(*make)(const bench_flow *flow, const char **ret_why);
    /** Which producer or consumer this process is, from 0; NULL: nothing to do. */
    void (*attach)(void *line, int produces, int index);
    /** One message or several: their number.  `data` has room for BENCH_MANY of up to BENCH_SMALL. */
    int (*put)(void *line, const void *data, size_t size);
    int (*get)(void *line, void *data, size_t size);
    void (*drop)(void *line);
} bench_way;

#define BENCH_MANY 64
#define BENCH_SMALL ((size_t)1024)

extern const bench_way bench_way_pipe, bench_way_mq, bench_way_boost, bench_way_zmq, bench_way_nng;

#ifdef __cplusplus
}
#endif

#endif
