/* SPDX-License-Identifier: MIT */
/*
 * Owns the pool as one writes it by hand: forked workers that read one number at a time from a pipe of their
 * own and write one back.  And the pipes to peers in a process of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "pool_peers.h"

static void system_failed(const char *what)
{
    bench_fail("%s: %s", what, strerror(errno));
}

static void make_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) < 0)
        system_failed("pipe2");
}

static pid_t forked(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        system_failed("fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* none survives the benchmark */
    return pid;
}

static void wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0)
        if (errno != EINTR)
            system_failed("waitpid");
}

/* ---- the pool ---- */

typedef struct hand {
    pid_t pid;
    int in, out;               /* where its tasks go, where its results come from */
    size_t flying[POOL_DEPTH]; /* numbers of the tasks that it has, in their order */
    unsigned first, n;
} hand;

struct pool_hand {
    int workers;
    struct pollfd *polls;
    hand hands[];
};

static void serve(int in, int out)
{
    int64_t number;
    while (read(in, &number, sizeof number) == sizeof number) {
        number = pool_work(number);
        if (write(out, &number, sizeof number) != sizeof number)
            break;
    }
    _exit(0);
}

static void start(pool_hand *pool, int i)
{
    int there[2], back[2];
    make_pipe(there);
    make_pipe(back);
    hand *h = &pool->hands[i];
    h->pid = forked();
    if (h->pid == 0) {
        for (int k = 0; k < i; k++) { /* or they would not see the end */
            close(pool->hands[k].in);
            close(pool->hands[k].out);
        }
        close(there[1]);
        close(back[0]);
        serve(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    h->in = there[1];
    h->out = back[0];
    pool->polls[i] = (struct pollfd){h->out, POLLIN, 0};
}

pool_hand *pool_hand_new(int workers)
{
    pool_hand *pool = calloc(1, sizeof *pool + (size_t)workers * sizeof *pool->hands);
    if (!pool || !(pool->polls = calloc((size_t)workers, sizeof *pool->polls)))
        bench_fail("out of memory");
    pool->workers = workers;
    for (int i = 0; i < workers; i++)
        start(pool, i);
    return pool;
}

static void give(hand *h, const int64_t *in, size_t i)
{
    if (write(h->in, &in[i], sizeof in[i]) != sizeof in[i])
        system_failed("write");
    h->flying[(h->first + h->n++) % POOL_DEPTH] = i;
}

/* All results that are there; their number. */
static size_t take(hand *h, int64_t *out)
{
    int64_t results[POOL_DEPTH];
    ssize_t size = read(h->out, results, h->n * sizeof *results);
    if (size <= 0 || size % (ssize_t)sizeof *results)
        system_failed("read");
    size_t n = (size_t)size / sizeof *results;
    for (size_t i = 0; i < n; i++)
        out[h->flying[(h->first + i) % POOL_DEPTH]] = results[i];
    h->first += (unsigned)n;
    h->n -= (unsigned)n;
    return n;
}

void pool_hand_map(pool_hand *pool, const int64_t *in, int64_t *out, size_t n, int depth)
{
    size_t given = 0, taken = 0;
    for (int k = 0; k < depth; k++)
        for (int i = 0; i < pool->workers && given < n; i++)
            give(&pool->hands[i], in, given++);
    while (taken < n) {
        int r = poll(pool->polls, (nfds_t)pool->workers, -1);
        if (r < 0 && errno != EINTR)
            system_failed("poll");
        for (int i = 0; r > 0 && i < pool->workers; i++) {
            if (!pool->polls[i].revents)
                continue;
            size_t more = take(&pool->hands[i], out);
            for (taken += more; more && given < n; more--)
                give(&pool->hands[i], in, given++);
        }
    }
}

int64_t pool_hand_call(pool_hand *pool, int worker, int64_t rounds)
{
    hand *h = &pool->hands[worker];
    if (write(h->in, &rounds, sizeof rounds) != sizeof rounds ||
        read(h->out, &rounds, sizeof rounds) != sizeof rounds)
        system_failed("a worker");
    return rounds;
}

void pool_hand_free(pool_hand *pool)
{
    for (int i = 0; i < pool->workers; i++) {
        close(pool->hands[i].in);
        close(pool->hands[i].out);
    }
    for (int i = 0; i < pool->workers; i++)
        wait_for(pool->hands[i].pid);
    free(pool->polls);
    free(pool);
}

/* ---- peers ---- */

static void listen_and_answer(double (*answer)(const char *line))
{
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        printf("%.9g\n", answer(line));
        fflush(stdout);
    }
    _exit(0);
}

/* 0 in the child, whose standard input and output are the pipes. */
static pid_t open_peer(pool_peer *peer, const char *name)
{
    int there[2], back[2];
    make_pipe(there);
    make_pipe(back);
    peer->name = name;
    peer->pid = forked();
    if (peer->pid == 0) {
        dup2(there[0], 0);
        dup2(back[1], 1);
        close(there[1]);
    }
    close(there[0]);
    close(back[1]);
    peer->ask = there[1];
    peer->answer = back[0];
    return peer->pid;
}

void pool_peer_fork(pool_peer *peer, const char *name, double (*answer)(const char *line))
{
    if (open_peer(peer, name) == 0)
        listen_and_answer(answer);
}

void pool_peer_run(pool_peer *peer, const char *name, const char *const *argv)
{
    if (open_peer(peer, name) == 0) {
        execvp(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
}

double pool_peer_ask(const pool_peer *peer, const char *line)
{
    char text[64];
    size_t n = 0;
    if (dprintf(peer->ask, "%s\n", line) < 0)
        bench_fail("%s has ended", peer->name);
    do {
        ssize_t got = read(peer->answer, text + n, sizeof text - 1 - n);
        if (got <= 0)
            bench_fail("%s gives no answer to '%s'", peer->name, line);
        n += (size_t)got;
    } while (text[n - 1] != '\n' && n < sizeof text - 1);
    text[n] = 0;
    double figure = strtod(text, NULL);
    if (figure <= 0)
        bench_fail("%s answers '%s' to '%s'", peer->name, text, line);
    return figure;
}

void pool_peer_end(pool_peer *peer)
{
    if (!peer->pid)
        return;
    close(peer->ask);
    close(peer->answer);
    wait_for(peer->pid);
    peer->pid = 0;
}
