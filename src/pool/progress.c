/* SPDX-License-Identifier: MIT */
/* Owns the progress bar of a call: a line on standard error, if that is a terminal, ten times a second. */
#include <stdio.h>

#include "os/os.h"
#include "pool/pool.h"

#define WIDTH 30
#define EVERY 100000000 /* ns */

static int format_time(char *text, size_t size, double seconds)
{
    if (seconds >= 3600)
        return snprintf(text, size, "%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60) % 60,
                        (int)seconds % 60);
    return snprintf(text, size, "%d:%02d", (int)(seconds / 60), (int)seconds % 60);
}

void mp__progress_show(mp_result *job)
{
    int64_t now = mp__os_now();
    if (!job->options.progress || (!job->ready && now - job->shown < EVERY) ||
        !mp__os_is_terminal(2))
        return;
    job->shown = now;
    char line[200], left[32] = "", bar[WIDTH + 1];
    double part = job->n ? (double)job->finished / (double)job->n : 1;
    double seconds = (double)(now - job->began) / 1e9;
    double rate = seconds > 0 ? (double)job->finished / seconds : 0;
    size_t full = (size_t)(part * WIDTH);
    memset(bar, '.', WIDTH);
    memset(bar, '#', full < WIDTH ? full : WIDTH);
    bar[WIDTH] = 0;
    format_time(left, sizeof left,
                job->ready ? seconds
                : rate > 0 ? (double)(job->n - job->finished) / rate
                           : 0);
    int size = snprintf(line, sizeof line, "\r%s [%s] %3d%% %zu/%zu %.4g/s %s %s%s", job->task, bar,
                        (int)(part * 100), job->finished, job->n, rate, left,
                        job->ready ? "in all" : "left", job->ready ? "   \n" : "  ");
    (void)mp__os_write_all(2, line, size > 0 ? (size_t)size : 0);
}
