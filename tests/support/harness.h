/* SPDX-License-Identifier: MIT */
/*
 * The harness of the C tests.  TEST(name) { ... } is a test; TEST_METHODS(name) { ... } is one that
 * runs under each start method, which it finds in `method`.  Every test runs in a process of its
 * own, under the Check framework where there is one, with a deadline; when it ends, it must have
 * left no child, no descriptor, no mapping of a memory file and no name in /dev/shm behind.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <multiproc.h>

typedef struct harness_test {
    const char *name, *file;
    void (*run)(void);
    void (*run_method)(const char *method);
    struct harness_test *next;
} harness_test;

void harness_add(harness_test *test);
void harness_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

#define HARNESS_TEST(name, plain, with_method)                                        \
    static harness_test harness_##name = {#name, __FILE__, plain, with_method, NULL}; \
    __attribute__((constructor)) static void harness_add_##name(void)                 \
    {                                                                                 \
        harness_add(&harness_##name);                                                 \
    }

#define TEST(name)                 \
    static void name(void);        \
    HARNESS_TEST(name, name, NULL) \
    static void name(void)

#define TEST_METHODS(name)                \
    static void name(const char *method); \
    HARNESS_TEST(name, NULL, name)        \
    static void name(const char *method __attribute__((unused)))

#define EXPECT(condition)                                                     \
    do {                                                                      \
        if (!(condition))                                                     \
            harness_fail(__FILE__, __LINE__, "%s does not hold", #condition); \
    } while (0)

/* Two integers. */
#define EXPECT_EQ(a, b)                                                                           \
    do {                                                                                          \
        long long harness_a = (long long)(a), harness_b = (long long)(b);                         \
        if (harness_a != harness_b)                                                               \
            harness_fail(__FILE__, __LINE__, "%s is %lld (%s), not %s = %lld; %s", #a, harness_a, \
                         mp_error_name((int)harness_a), #b, harness_b, mp_error_detail());        \
    } while (0)

#define EXPECT_OK(call) EXPECT_EQ(call, 0)

#define EXPECT_STR(a, b)                                                                      \
    do {                                                                                      \
        const char *harness_a = (a), *harness_b = (b);                                        \
        if (!harness_a || !harness_b || strcmp(harness_a, harness_b) != 0)                    \
            harness_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #a,                  \
                         harness_a ? harness_a : "(null)", harness_b ? harness_b : "(null)"); \
    } while (0)

#define EXPECT_HAS(text, part)                                                      \
    do {                                                                            \
        const char *harness_a = (text);                                             \
        if (!harness_a || !strstr(harness_a, part))                                 \
            harness_fail(__FILE__, __LINE__, "%s is \"%s\", without \"%s\"", #text, \
                         harness_a ? harness_a : "(null)", part);                   \
    } while (0)

/* The repr of a value, which is taken over; valid until the next call. */
const char *harness_repr(mp_value *value);

/* Starts a process that was just made, and returns it. */
mp_process *started(mp_process *process);

/* Joins a process within 20 seconds, gives its handle back, and returns its exit code. */
int joined(mp_process *process);

/* Open descriptors of this process. */
int harness_count_fds(void);

/* Mappings of memory files in this process. */
int harness_count_files(void);

/* Tells the leak check that what is there now is meant to stay (the arena, say). */
void harness_baseline(void);

/* Reads a whole file of at most size - 1 bytes as a string. */
bool harness_read(const char *path, char *text, size_t size);

/* Waits until the condition holds, at most ten seconds, looking every millisecond: for things that
 * happen in another process and cannot be waited for otherwise. */
#define EVENTUALLY(condition)                       \
    do {                                            \
        int harness_i = 0;                          \
        while (!(condition) && harness_i++ < 10000) \
            mp_wait(NULL, 0, MP_MS(1));             \
        EXPECT(condition);                          \
    } while (0)

#endif
