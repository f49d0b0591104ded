/* SPDX-License-Identifier: MIT */
/* Owns what bench_manager.c wants of redis: a server of its own, and calls over its Unix socket. */
#ifndef MANAGER_PEERS_H
#define MANAGER_PEERS_H

/** Calls of the same kinds as those of a manager: a dict's set and get in turn, a queue's put and get. */
typedef enum manager_work { WORK_DICT, WORK_QUEUE } manager_work;

/** Starts redis-server with a socket in a directory, and waits until it answers; 0 when there is none. */
int redis_start(const char *directory);

void redis_end(void);

/** Makes n calls (an even number), of which at most `depth` are on their way at a time. */
void redis_calls(manager_work work, int n, int depth);

/** A client of its own, for one thread. */
void *redis_open(void);
void redis_close(void *client);

/** An append to the one list, or a set of a key: what a client of the fan-in does in turn. */
void redis_append(void *client, int number);
void redis_set(void *client, int key, int number);

/** Drops all that is held. */
void redis_clear(void);

#endif
