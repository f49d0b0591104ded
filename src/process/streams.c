/* SPDX-License-Identifier: MIT */
/*
 * Owns the flushing of C streams before a start: what they hold unwritten comes before the child's
 * output, and a forked child does not write it again.  With one thread every stream is flushed;
 * with several only stdout and stderr, because a stream that another thread waits on (for a line of
 * stdin, say) stays locked.  Process-local.
 */
#include <stdio.h>
#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define ONE_THREAD __libc_single_threaded
#endif
#endif
#ifndef ONE_THREAD
#define ONE_THREAD 0
#endif

#include "process/process.h"

void mp__flush_streams(void)
{
    if (ONE_THREAD) {
        fflush(NULL);
        return;
    }
    fflush(stdout);
    fflush(stderr);
}
