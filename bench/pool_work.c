/* SPDX-License-Identifier: MIT */
/* Owns the work of a task that the pool benchmarks share: arithmetic that no compiler takes away. */
#include "pool_peers.h"

int64_t pool_work(int64_t rounds)
{
    uint64_t x = (uint64_t)rounds;
    for (int64_t i = 0; i < rounds; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return (int64_t)x;
}
