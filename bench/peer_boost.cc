// SPDX-License-Identifier: MIT
// Owns boost::interprocess::message_queue as a way to pass messages.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <exception>
#include <unistd.h>

#include "bench.h"

namespace
{

using boost::interprocess::message_queue;

void *make(const bench_flow *flow, const char **ret_why)
{
    const char *name = bench_text("bench_queue_%d_%d", (int)getpid(), flow->number);
    try {
        auto *q = new message_queue(boost::interprocess::create_only, name,
                                    static_cast<std::size_t>(flow->depth), flow->size);
        message_queue::remove(name);
        return q;
    } catch (const std::exception &e) {
        *ret_why = bench_text("message_queue: %s", e.what());
        return nullptr;
    }
}

int put(void *line, const void *data, std::size_t size)
{
    static_cast<message_queue *>(line)->send(data, size, 0);
    return 1;
}

int get(void *line, void *data, std::size_t size)
{
    message_queue::size_type got;
    unsigned priority;
    static_cast<message_queue *>(line)->receive(data, size, got, priority);
    if (got != size)
        bench_fail("message_queue: %zu bytes", static_cast<std::size_t>(got));
    return 1;
}

void drop(void *line)
{
    delete static_cast<message_queue *>(line);
}

} // namespace

extern "C" const bench_way bench_way_boost = {
    "boost message_queue", "version " BOOST_LIB_VERSION, make, nullptr, put, get, drop};
