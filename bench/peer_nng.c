/* SPDX-License-Identifier: MIT */
/*
 * Owns nng as a way to pass messages: push and pull over ipc.  Every consumer listens and every producer
 * dials all of them; the names are abstract, so that nothing is left behind.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <stdint.h>
#include <unistd.h>

#include "bench.h"

#define BUFFER_MOST 8192 /* what nng takes */

static const bench_flow *flow;
static nng_socket mine;
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
    return bench_text("abstract://bench_queue_%d_%d_%d", parent, flow->number, consumer);
}

static void must(int result, const char *what)
{
    if (result != 0)
        bench_fail("%s: %s", what, nng_strerror(result));
}

static void attach(void *line, int produces, int index)
{
    int depth = flow->depth < BUFFER_MOST ? flow->depth : BUFFER_MOST;
    (void)line;
    must(produces ? nng_push0_open(&mine) : nng_pull0_open(&mine), "nng_open");
    /* Not every protocol of every version has a buffer of its own. */
    nng_socket_set_int(mine, produces ? NNG_OPT_SENDBUF : NNG_OPT_RECVBUF, depth);
    nng_socket_set_size(mine, NNG_OPT_RECVMAXSZ, 0);
    if (!produces) {
        must(nng_listen(mine, address(index), NULL, 0), "nng_listen");
        return;
    }
    nng_socket_set_ms(mine, NNG_OPT_RECONNMINT, 10);
    for (int i = 0; i < flow->consumers; i++)
        must(nng_dial(mine, address(i), NULL, NNG_FLAG_NONBLOCK), "nng_dial");
}

static int put(void *line, const void *data, size_t size)
{
    (void)line;
    must(nng_send(mine, (void *)(uintptr_t)data, size, 0), "nng_send");
    return 1;
}

static int get(void *line, void *data, size_t size)
{
    size_t n = size;
    (void)line;
    must(nng_recv(mine, data, &n, 0), "nng_recv");
    if (n != size)
        bench_fail("nng_recv: %zu bytes", n);
    return 1;
}

static void drop(void *line)
{
    (void)line;
}

const bench_way bench_way_nng = {
    "nng ipc", "push/pull, a send buffer of the depth", make, attach, put, get, drop};
