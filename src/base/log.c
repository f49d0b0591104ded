/* SPDX-License-Identifier: MIT */
/*
 * Owns the log handler of the process: one pointer to what was set, so that a message meets either the old
 * handler with its data or the new one.  What was set before is kept, a few bytes each time.
 */
#include <stdio.h>

#include "base/base.h"

typedef struct sink {
    mp_log_fn *fn;
    void *data;
    int level;
    const struct sink *older;
} sink;

static const sink *_Atomic current; /* NULL: off */
static const sink *_Atomic newest;
static mp_log_fn *_Atomic stderr_writer;

void mp_log_set(mp_log_fn *fn, void *data, int level)
{
    sink *s = fn && level > 0 ? malloc(sizeof *s) : NULL;
    if (s)
        *s = (sink){fn, data, level, atomic_load(&newest)};
    if (s)
        atomic_store(&newest, s);
    atomic_store(&current, s); /* the old one stays: another thread may be about to call it */
}

void mp__log_set_stderr_writer(mp_log_fn *writer)
{
    atomic_store(&stderr_writer, writer);
}

void mp_log_to_stderr(int level)
{
    mp_log_set(level > 0 ? atomic_load(&stderr_writer) : NULL, NULL, level);
}

int mp__log_stderr_level(void)
{
    const sink *s = atomic_load(&current);
    return s && s->fn == atomic_load(&stderr_writer) ? s->level : 0;
}

void mp__log(int level, const char *fmt, ...)
{
    const sink *s = atomic_load(&current);
    if (!s || level > s->level)
        return;
    int saved = errno;
    char text[640];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->fn(s->data, level, text);
    errno = saved;
}
