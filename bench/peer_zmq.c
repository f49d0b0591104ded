/* SPDX-License-Identifier: MIT */
/*
 * Owns ZeroMQ as a way to pass messages: PUSH and PULL over ipc.  Every consumer listens and every
 * producer connects to all of them; the names are abstract, so that nothing is left behind.
 */
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"

static const bench_flow *flow;
static void *zmq_socket_of_mine;
static int parent;

static void *make(const bench_flow *f, const char **ret_why)
{
    (void)ret_why;
    parent = (int)getpid();
    flow = f;
    return &flow;
}

static const char *address(int consumer)
{
    return bench_text("ipc://@bench_queue_%d_%d_%d", parent, flow->number, consumer);
}

static void must(int result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s", what, zmq_strerror(zmq_errno()));
}

static void attach(void *line, int produces, int index)
{
    (void)line;
    void *context = zmq_ctx_new();
    void *s = zmq_socket_of_mine = zmq_socket(context, produces ? ZMQ_PUSH : ZMQ_PULL);
    if (!s)
        must(-1, "zmq_socket");
    must(zmq_setsockopt(s, produces ? ZMQ_SNDHWM : ZMQ_RCVHWM, &flow->depth, sizeof flow->depth),
         "zmq_setsockopt");
    if (!produces) {
        must(zmq_bind(s, address(index)), "zmq_bind");
        return;
    }
    int now = 10; /* ms: the other side may not be there yet */
    must(zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &now, sizeof now), "zmq_setsockopt");
    for (int i = 0; i < flow->consumers; i++)
        must(zmq_connect(s, address(i)), "zmq_connect");
}

static int put(void *line, const void *data, size_t size)
{
    (void)line;
    must(zmq_send(zmq_socket_of_mine, data, size, 0), "zmq_send");
    return 1;
}

static int get(void *line, void *data, size_t size)
{
    (void)line;
    int n = zmq_recv(zmq_socket_of_mine, data, size, 0);
    must(n, "zmq_recv");
    if ((size_t)n != size)
        bench_fail("zmq_recv: %d bytes", n);
    return 1;
}

static void drop(void *line)
{
    (void)line;
}

const bench_way bench_way_zmq = {
    "ZeroMQ ipc", "PUSH/PULL, high-water marks of the depth on each side", make, attach, put, get,
    drop};
