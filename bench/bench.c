/* SPDX-License-Identifier: MIT */
/* Owns what all benchmarks share: the options, the clock, medians, pinning, tables, result lines.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench.h"

#define MAX_COLUMNS 12
#define NEARLY 0.95

static const char *bench_name = "bench";
static int quick;
static FILE *lines;
static cpu_set_t allowed;

/* ---- the program ---- */

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", bench_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void bench_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void *grow(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (!p)
        bench_fail("out of memory");
    return p;
}

static void json_text(const char *key, const char *text)
{
    fprintf(lines, "\"%s\": \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', lines);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, lines);
    }
    fputs("\", ", lines);
}

static void json_number(const char *key, double number, const char *after)
{
    fprintf(lines, "\"%s\": %.6g%s", key, number, after);
}

void bench_left_out(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bench_note("left out: %s", text);
    if (!lines)
        return;
    fputc('{', lines);
    json_text("bench", bench_name);
    json_text("left_out", text);
    fputs("\"note\": true}\n", lines);
}

/* What results.md says about where the figures are from. */
static void write_environment(void)
{
    struct utsname system;
    fputc('{', lines);
    json_text("bench", bench_name);
    if (uname(&system) == 0) {
        system.release[strcspn(system.release, "-")] = 0; /* what follows names a build */
        json_text("kernel", bench_text("%s %s", system.sysname, system.release));
        json_text("architecture", system.machine);
    }
#if defined(__clang__)
    json_text("compiler", bench_text("clang %d.%d", __clang_major__, __clang_minor__));
#elif defined(__GNUC__)
    json_text("compiler", bench_text("gcc %d.%d", __GNUC__, __GNUC_MINOR__));
#endif
    json_text("length", quick ? "quick" : "full");
    json_number("processors", bench_processors(), "}\n");
}

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "r");
    size_t n = 0, got;
    char *text = grow(NULL, 4096);
    while (f && (got = fread(text + n, 1, 4095, f)) > 0)
        text = grow(text, (n += got) + 4096);
    if (f)
        fclose(f);
    text[n] = 0;
    return text;
}

static void open_lines(const char *path)
{
    char *old = read_all(path), *line = old;
    const char *mine = bench_text("{\"bench\": \"%s\"", bench_name);
    lines = fopen(path, "w");
    if (!lines)
        bench_fail("cannot write %s: %s", path, strerror(errno));
    while (*line) {
        size_t n = strcspn(line, "\n");
        if (n && strncmp(line, mine, strlen(mine)) != 0)
            fprintf(lines, "%.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    free(old);
    write_environment();
}

void bench_begin(int argc, char **argv, const char *name)
{
    const char *path = NULL;
    bench_name = name;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        bench_fail("sched_getaffinity: %s", strerror(errno));
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = 1;
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
            path = argv[++i];
        else
            bench_fail("usage: %s [--quick] [--json PATH]", name);
    }
    if (path)
        open_lines(path);
}

void bench_end(void)
{
    if (lines && fclose(lines) != 0)
        bench_fail("cannot write the results: %s", strerror(errno));
    lines = NULL;
}

int bench_quick(void)
{
    return quick;
}

/* ---- clock and processors ---- */

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int bench_processors(void)
{
    return CPU_COUNT(&allowed);
}

void bench_pin(int processor)
{
    cpu_set_t set = allowed;
    if (processor >= 0) {
        int number = 0;
        for (int left = processor; number < CPU_SETSIZE; number++)
            if (CPU_ISSET(number, &allowed) && left-- == 0)
                break;
        if (number == CPU_SETSIZE)
            bench_fail("there is no processor %d", processor);
        CPU_ZERO(&set);
        CPU_SET(number, &set);
    }
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        bench_fail("sched_setaffinity: %s", strerror(errno));
}

/* ---- medians ---- */

void bench_sample(bench_samples *samples, double value)
{
    if (samples->n == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 64;
        samples->values = grow(samples->values, samples->room * sizeof(double));
    }
    samples->values[samples->n++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const bench_samples *samples)
{
    size_t n = samples->n;
    if (!n)
        return 0;
    double *sorted = grow(NULL, n * sizeof *sorted);
    memcpy(sorted, samples->values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    free(sorted);
    return median;
}

void bench_samples_free(bench_samples *samples)
{
    free(samples->values);
    *samples = (bench_samples)BENCH_SAMPLES_INIT;
}

/* ---- results ---- */

double bench_report(const bench_result *result)
{
    double ratio =
        result->more_is_better ? result->ours / result->peer : result->peer / result->ours;
    if (!lines)
        return ratio;
    fputc('{', lines);
    json_text("bench", bench_name);
    json_text("case", bench_text("%s; against %s", result->work, result->against));
    json_text("work", result->work);
    json_text("against", result->against);
    json_number("ours", result->ours, ", ");
    json_number("peer", result->peer, ", ");
    json_text("unit", result->unit);
    json_number("ratio", ratio, ", ");
    if (result->target > 0)
        json_number("target", result->target, ", ");
    else
        fputs("\"target\": null, ", lines);
    fprintf(lines, "\"picture\": %s}\n", result->picture ? "true" : "false");
    fflush(lines);
    return ratio;
}

const char *bench_met(double ratio, double target)
{
    return target <= 0 ? "" : ratio >= target ? "yes" : ratio >= target * NEARLY ? "nearly" : "no";
}

/* ---- tables ---- */

struct bench_table {
    const char *title;
    int columns, left;
    size_t rows;
    char **cells;
};

static void add_cell(bench_table *table, size_t i, const char *text)
{
    table->cells = grow(table->cells, (i + 1) * sizeof *table->cells);
    size_t size = strlen(text) + 1;
    table->cells[i] = memcpy(grow(NULL, size), text, size);
}

bench_table *bench_table_new(const char *title, int columns, int left, const char *const *heads)
{
    if (columns > MAX_COLUMNS)
        bench_fail("a table has at most %d columns", MAX_COLUMNS);
    bench_table *table = grow(NULL, sizeof *table);
    *table = (bench_table){title, columns, left, 1, NULL};
    for (int i = 0; i < columns; i++)
        add_cell(table, (size_t)i, heads[i]);
    return table;
}

void bench_table_row(bench_table *table, ...)
{
    va_list cells;
    va_start(cells, table);
    for (int i = 0; i < table->columns; i++)
        add_cell(table, table->rows * (size_t)table->columns + (size_t)i,
                 va_arg(cells, const char *));
    va_end(cells);
    table->rows++;
}

static void print_row(const bench_table *table, size_t row, const int *widths)
{
    for (int i = 0; i < table->columns; i++) {
        const char *text = table->cells[row * (size_t)table->columns + (size_t)i];
        printf("  %*s", i < table->left ? -widths[i] : widths[i], text);
    }
    putchar('\n');
}

void bench_table_print(bench_table *table)
{
    int widths[MAX_COLUMNS] = {0};
    size_t columns = (size_t)table->columns;
    for (size_t i = 0; i < table->rows * columns; i++)
        if ((int)strlen(table->cells[i]) > widths[i % columns])
            widths[i % columns] = (int)strlen(table->cells[i]);
    printf("\n%s\n\n", table->title);
    for (size_t row = 0; row < table->rows; row++)
        print_row(table, row, widths);
    putchar('\n');
    fflush(stdout);
    for (size_t i = 0; i < table->rows * columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

const char *bench_text(const char *format, ...)
{
    static char texts[32][256];
    static unsigned next;
    char *text = texts[next++ % 32];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof texts[0], format, args);
    va_end(args);
    return text;
}
