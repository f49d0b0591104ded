/* SPDX-License-Identifier: MIT */
/*
 * What the examples share, so that each shows its own point only: the start method from the command
 * line, the check of results, and sleeping, which MULTIPROC_EXAMPLE_SECONDS shortens.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <multiproc.h>
#include <stdio.h>
#include <stdlib.h>

/* Every line is written when it ends, also into a pipe, so that the lines of several processes
 * stand in the order in which they were printed.  A constructor: it runs in fresh images, too. */
__attribute__((constructor)) static void example_line_buffering(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static inline void example_fail(int error)
{
    const char *detail = mp_error_detail();
    fprintf(stderr, "%s: %s%s%s\n", mp_error_name(error), mp_error_text(error), *detail ? ": " : "",
            detail);
    exit(1);
}

/* Ends the program with a message when a call has failed. */
static inline void check(int result)
{
    if (result < 0)
        example_fail(result);
}

/* The same for constructors. */
static inline void made(const void *handle)
{
    if (!handle)
        example_fail(mp_error_code());
}

/* prog [fork|spawn|forkserver] */
static inline void example_start_method(int argc, char **argv)
{
    if (argc > 1)
        check(mp_set_start_method(argv[1], 0));
}

/* Sleeps.  MULTIPROC_EXAMPLE_SECONDS says how long one of these seconds lasts (1.0). */
static inline void example_sleep(int seconds)
{
    const char *scale = getenv("MULTIPROC_EXAMPLE_SECONDS");
    check(mp_wait(NULL, 0, (mp_time)(seconds * (scale ? atof(scale) : 1.0) * 1e9)));
}

#endif
