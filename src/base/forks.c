/* SPDX-License-Identifier: MIT */
/* Owns the count of forks, kept by a fork handler that every fork() of the program runs. */
#include <pthread.h>

#include "base/fault.h"

_Atomic uint32_t mp__fork_count;
_Atomic bool mp__interruptible;
int (*mp__interrupted)(void);

static void in_child(void)
{
    atomic_fetch_add(&mp__fork_count, 1);
    mp__fault_disarm();
}

__attribute__((constructor)) static void register_handler(void)
{
    pthread_atfork(NULL, NULL, in_child);
}
