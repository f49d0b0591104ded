/* SPDX-License-Identifier: MIT */
/*
 * Owns what the peers of bench_pool.c have in common: the work that they do, the hand-written pool, and
 * peers in a process of their own, which are asked line by line.  One thread only.
 */
#ifndef POOL_PEERS_H
#define POOL_PEERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** One task: so many rounds of arithmetic; none for 0, the empty task. */
int64_t pool_work(int64_t rounds);

/* ---- the hand-written pool: fork, and one pair of blocking pipes for each worker ---- */

#define POOL_DEPTH \
    64 /* tasks on their way to one worker at most: both directions fit into its pipes */

typedef struct pool_hand pool_hand;

/** Its workers, which wait for tasks.  Ends the program when there can be none. */
pool_hand *pool_hand_new(int workers);

/** pool_work() of each; at most `depth` tasks are on their way to one worker. */
void pool_hand_map(pool_hand *pool, const int64_t *in, int64_t *out, size_t n, int depth);

/** One task by one worker. */
int64_t pool_hand_call(pool_hand *pool, int worker, int64_t rounds);

/** Ends the workers and waits for them. */
void pool_hand_free(pool_hand *pool);

/* ---- peers in a process of their own ---- */

typedef struct pool_peer {
    const char *name;
    pid_t pid;
    int ask, answer;
} pool_peer;

/** A fork that answers lines; it has no threads but its own. */
void pool_peer_fork(pool_peer *peer, const char *name, double (*answer)(const char *line));

/** A program that does. */
void pool_peer_run(pool_peer *peer, const char *name, const char *const *argv);

/** What it measures; ends the program when there is no answer. */
double pool_peer_ask(const pool_peer *peer, const char *line);

void pool_peer_end(pool_peer *peer);

/** Threads: "for SECONDS" and "task SECONDS": empty tasks per second; "work TASKS ROUNDS": microseconds. */
double pool_openmp_answer(const char *line);

#endif
