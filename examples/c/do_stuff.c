/* SPDX-License-Identifier: MIT */
/* A child that takes its time, and a parent that waits for it. */
#include "example.h"

MP_TARGET(do_stuff, (int, sleep_secs))
{
    printf("doing stuff...\n");
    example_sleep(sleep_secs);
    printf("stuff done\n");
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *proc = MP_PROCESS(do_stuff, 10);
    made(proc);
    check(mp_process_start(proc));
    check(mp_process_join(proc, MP_FOREVER));
    mp_process_free(proc);
    return 0;
}
