/* SPDX-License-Identifier: MIT */
/*
 * Owns the log handler of the process.  Set rarely and read often: three atomics, of which `fn` is
 * written last, so that a message meets either the old handler or the new one.
 */
#include <stdio.h>

#include "base/base.h"

static mp_log_fn *_Atomic handler;
static void *_Atomic handler_data;
static _Atomic int threshold;
static mp_log_fn *_Atomic stderr_writer;

void mp_log_set(mp_log_fn *fn, void *data, int level)
{
    atomic_store(&handler, NULL);
    atomic_store(&handler_data, data);
    atomic_store(&threshold, fn ? level : 0);
    atomic_store(&handler, fn);
}

void mp__log_set_stderr_writer(mp_log_fn *writer)
{
    atomic_store(&stderr_writer, writer);
}

void mp_log_to_stderr(int level)
{
    mp_log_set(level > 0 ? atomic_load(&stderr_writer) : NULL, NULL, level);
}

int mp__log_level(void)
{
    return atomic_load_explicit(&threshold, memory_order_relaxed);
}

int mp__log_stderr_level(void)
{
    mp_log_fn *fn = atomic_load(&handler);
    return fn && fn == atomic_load(&stderr_writer) ? mp__log_level() : 0;
}

void mp__log(int level, const char *fmt, ...)
{
    mp_log_fn *fn = atomic_load(&handler);
    if (!fn || level > mp__log_level())
        return;
    int saved = errno;
    char text[640];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fn(atomic_load(&handler_data), level, text);
    errno = saved;
}
