/* SPDX-License-Identifier: MIT */
/* Owns the program that xargs runs for each task: pool_task ROUNDS. */
#include <stdlib.h>

#include "pool_peers.h"

int main(int argc, char **argv)
{
    volatile int64_t result = pool_work(argc > 1 ? atoll(argv[1]) : 0);
    (void)result;
    return 0;
}
