/* SPDX-License-Identifier: MIT */
/*
 * Owns the pipe as a way to pass messages: one write and one read for each, under a mutex where several
 * processes share an end and the message is too large for the kernel to keep it in one piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define LEAST (64 << 10) /* what a pipe has anyway */
#define MOST (1 << 20)   /* pipe-max-size */

typedef struct line {
    int fds[2];
    int in_pieces, many[2]; /* [0]: those who read, [1]: those who write */
    pthread_mutex_t lock[2];
} line;

static void *make(const bench_flow *flow, const char **ret_why)
{
    pthread_mutexattr_t attributes;
    size_t wanted = flow->size * (size_t)flow->depth;
    line *l = mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l == MAP_FAILED || pipe(l->fds) < 0) {
        *ret_why = strerror(errno);
        return NULL;
    }
    if (wanted > LEAST)
        fcntl(l->fds[1], F_SETPIPE_SZ, wanted < MOST ? (int)wanted : MOST);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    for (int i = 0; i < 2; i++)
        pthread_mutex_init(&l->lock[i], &attributes);
    pthread_mutexattr_destroy(&attributes);
    l->in_pieces = flow->size > PIPE_BUF;
    l->many[0] = flow->consumers > 1;
    l->many[1] = flow->producers > 1;
    return l;
}

static int transfer(line *l, int end, char *data, size_t size)
{
    int locked = l->in_pieces && l->many[end];
    if (locked)
        pthread_mutex_lock(&l->lock[end]);
    for (size_t done = 0; done < size;) {
        ssize_t n = end ? write(l->fds[1], data + done, size - done)
                        : read(l->fds[0], data + done, size - done);
        if (n <= 0 || (!l->in_pieces && (size_t)n != size))
            bench_fail("pipe: %s", n < 0 ? strerror(errno) : "a message in pieces");
        done += (size_t)n;
    }
    if (locked)
        pthread_mutex_unlock(&l->lock[end]);
    return 1;
}

static int put(void *l, const void *data, size_t size)
{
    return transfer(l, 1, (char *)(uintptr_t)data, size);
}

static int get(void *l, void *data, size_t size)
{
    return transfer(l, 0, data, size);
}

static void drop(void *p)
{
    line *l = p;
    close(l->fds[0]);
    close(l->fds[1]);
    munmap(l, sizeof *l);
}

const bench_way bench_way_pipe = {
    "pipe", "of as many bytes as 1000 messages have, 64 KiB to 1 MiB", make, NULL, put, get, drop};
