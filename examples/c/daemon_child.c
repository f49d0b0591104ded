/* SPDX-License-Identifier: MIT */
/*
 * A daemon is not waited for: it ends with the process that started it, so "child done" is never
 * printed.  The process that starts it is an ordinary child, which may have children of its own.
 */
#include "example.h"

MP_TARGET(foo_child)
{
    printf("daemon child sleeping for 10 seconds...\n");
    example_sleep(10);
    printf("child done\n");
    return 0;
}

MP_TARGET(foo)
{
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    options.daemon = 1;
    mp_process *child_proc = MP_PROCESS_WITH(&options, foo_child);
    made(child_proc);
    check(mp_process_start(child_proc));
    mp_process_free(child_proc);

    printf("parent sleeping for 5 seconds...\n");
    example_sleep(5);
    printf("parent done\n");
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *proc = MP_PROCESS(foo);
    made(proc);
    check(mp_process_start(proc));
    mp_process_free(proc); /* the end of main() waits for it */
    return 0;
}
