/* SPDX-License-Identifier: MIT */
/* Three processes compute in rounds, and a barrier keeps them together; then one of them is killed. */
#include "example.h"

#include <signal.h>

#define PARTIES 3
#define ROUNDS 2

static int say(void *round)
{
    printf("round %d is over\n", *(int *)round);
    return 0;
}

MP_TARGET(worker, (mp_barrier *, barrier), (int, number))
{
    for (int round = 0; round < ROUNDS; round++)
        check(mp_barrier_wait_with(barrier, say, &round, MP_FOREVER));
    if (number == 0)
        raise(SIGKILL);
    printf("after that: %s\n", mp_error_name(mp_barrier_wait(barrier, MP_FOREVER)));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_barrier *barrier = mp_barrier_new(PARTIES);
    mp_process *processes[PARTIES];
    made(barrier);
    for (int i = 0; i < PARTIES; i++) {
        processes[i] = MP_PROCESS(worker, barrier, i);
        made(processes[i]);
        check(mp_process_start(processes[i]));
    }
    for (int i = 0; i < PARTIES; i++) {
        check(mp_process_join(processes[i], MP_FOREVER));
        mp_process_free(processes[i]);
    }
    mp_barrier_free(barrier);
    return 0;
}
