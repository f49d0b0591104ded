/* SPDX-License-Identifier: MIT */
/* Five processes run the same function, each with its own number, at the same time. */
#include "example.h"

#define WORKERS 5

MP_TARGET(worker, (int, num))
{
    printf("Worker: %d\n", num);
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *processes[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        processes[i] = MP_PROCESS(worker, i);
        made(processes[i]);
        check(mp_process_start(processes[i]));
    }
    for (int i = 0; i < WORKERS; i++) {
        check(mp_process_join(processes[i], MP_FOREVER));
        mp_process_free(processes[i]);
    }
    return 0;
}
