/* SPDX-License-Identifier: MIT */
/* Owns the POSIX message queue as a way to pass messages. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

static mqd_t queue = (mqd_t)-1;

#define FEWEST 8 /* room for fewer messages is not comparable */

/* Sets one of the system's limits if that is allowed, and returns what it was; 0: it stays. */
static long set_limit(const char *name, long value)
{
    long old = 0;
    const char *path = bench_text("/proc/sys/fs/mqueue/%s", name);
    FILE *f = fopen(path, "r+");
    if (!f || fscanf(f, "%ld", &old) != 1)
        old = 0;
    if (f && value > 0 && old && value != old) {
        rewind(f);
        fprintf(f, "%ld\n", value);
    }
    if (f)
        fclose(f);
    return old;
}

/* With as much of the depth as the user's limit leaves. */
static mqd_t open_queue(const bench_flow *flow)
{
    const char *name = bench_text("/bench_queue_%d_%d", (int)getpid(), flow->number);
    struct mq_attr attributes = {.mq_maxmsg = flow->depth, .mq_msgsize = (long)flow->size};
    mqd_t q;
    while ((q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes)) == (mqd_t)-1 &&
           (errno == EMFILE || errno == EINVAL) && attributes.mq_maxmsg >= FEWEST * 5 / 4)
        attributes.mq_maxmsg = attributes.mq_maxmsg * 4 / 5;
    if (q != (mqd_t)-1)
        mq_unlink(name);
    return q;
}

/* The system's limits are for messages and their sizes; they are as they were when it is there. */
static void *make(const bench_flow *flow, const char **ret_why)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_MSGQUEUE, &limit) < 0 && getrlimit(RLIMIT_MSGQUEUE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_MSGQUEUE, &limit);
    }
    long most = set_limit("msg_max", flow->depth);
    long size = set_limit("msgsize_max", flow->size > 8192 ? (long)flow->size : 8192);
    queue = open_queue(flow);
    if (queue == (mqd_t)-1)
        *ret_why = bench_text("mq_open: %s", strerror(errno));
    set_limit("msg_max", most);
    set_limit("msgsize_max", size);
    return queue == (mqd_t)-1 ? NULL : &queue;
}

static int put(void *line, const void *data, size_t size)
{
    (void)line;
    if (mq_send(queue, data, size, 0) < 0)
        bench_fail("mq_send: %s", strerror(errno));
    return 1;
}

static int get(void *line, void *data, size_t size)
{
    (void)line;
    if (mq_receive(queue, data, size, NULL) != (ssize_t)size)
        bench_fail("mq_receive: %s", strerror(errno));
    return 1;
}

static void drop(void *line)
{
    (void)line;
    mq_close(queue);
}

const bench_way bench_way_mq = {
    "POSIX mq", "as deep as the user's limit leaves, for which see ulimit -q", make, NULL, put, get,
    drop};
