/* SPDX-License-Identifier: MIT */
/* Owns redis as a peer of managers, with hiredis: a server in a process of its own, without files. */
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "manager_peers.h"

static char path[128];
static pid_t pid;
static redisContext *client;

static void run_server(void)
{
    int nowhere = open("/dev/null", O_WRONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* none survives the benchmark */
    dup2(nowhere, STDOUT_FILENO);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
           "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning", (char *)NULL);
    _exit(127);
}

/* 0 when the server has ended, because it could not be run, say. */
static int wait_for_server(void)
{
    struct timespec pause = {0, 10000000};
    double until = bench_now() + 10e6;
    while (bench_now() < until) {
        client = redisConnectUnix(path);
        if (client && !client->err)
            return 1;
        redisFree(client);
        client = NULL;
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            pid = 0;
            return 0;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

int redis_start(const char *directory)
{
    snprintf(path, sizeof path, "%s/redis", directory);
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0)
        run_server();
    if (wait_for_server())
        return 1;
    redis_end();
    return 0;
}

void redis_end(void)
{
    redisFree(client);
    client = NULL;
    if (!pid)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pid = 0;
    unlink(path);
}

static void check(redisContext *c, redisReply *reply)
{
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        bench_fail("redis: %s", reply ? reply->str : c->errstr);
    freeReplyObject(reply);
}

static void send_call(manager_work work, int i)
{
    int r = work == WORK_DICT ? i % 2 ? redisAppendCommand(client, "GET key")
                                      : redisAppendCommand(client, "SET key %d", i)
            : i % 2 ? redisAppendCommand(client, "LPOP queue")
                              : redisAppendCommand(client, "RPUSH queue %d", i);
    if (r != REDIS_OK)
        bench_fail("redis: %s", client->errstr);
}

void redis_calls(manager_work work, int n, int depth)
{
    void *reply = NULL;
    for (int done = 0; done < n;) {
        int some = depth < n - done ? depth : n - done;
        for (int i = 0; i < some; i++)
            send_call(work, done + i);
        for (int i = 0; i < some; i++) {
            if (redisGetReply(client, &reply) != REDIS_OK)
                bench_fail("redis: %s", client->errstr);
            check(client, reply);
        }
        done += some;
    }
}

void *redis_open(void)
{
    redisContext *c = redisConnectUnix(path);
    if (!c || c->err)
        bench_fail("redis: cannot connect: %s", c ? c->errstr : "out of memory");
    return c;
}

void redis_close(void *c)
{
    redisFree(c);
}

void redis_append(void *c, int number)
{
    check(c, redisCommand(c, "RPUSH list %d", number));
}

void redis_set(void *c, int key, int number)
{
    check(c, redisCommand(c, "HSET dict %d %d", key, number));
}

void redis_clear(void)
{
    check(client, redisCommand(client, "FLUSHALL"));
}
