/* SPDX-License-Identifier: MIT */
/*
 * Each process has its own memory: whatever the start method, what the children do to `number`
 * changes neither the other child's nor the parent's.
 */
#include "example.h"

static int number = 0;

MP_TARGET(func_4_proc, (int, start), (int, max_iter))
{
    number = start;
    printf("proc number init %d\n", number);
    for (int i = 0; i < max_iter; i++)
        number++;
    printf("proc number done %d\n", number);
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *proc_1 = MP_PROCESS(func_4_proc, number, 100);
    made(proc_1);
    check(mp_process_start(proc_1));

    mp_process *proc_2 = MP_PROCESS(func_4_proc, number, 100);
    made(proc_2);
    check(mp_process_start(proc_2));

    check(mp_process_join(proc_1, MP_FOREVER));
    check(mp_process_join(proc_2, MP_FOREVER));
    printf("main done, number %d\n", number);

    mp_process_free(proc_1);
    mp_process_free(proc_2);
    return 0;
}
