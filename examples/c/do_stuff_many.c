/* SPDX-License-Identifier: MIT */
/*
 * Five children that sleep at the same time.  Nobody joins them here: the end of main() does, and a
 * handle can be given back while its process runs.
 */
#include "example.h"

#define PROCS 5

MP_TARGET(do_stuff, (const char *, name), (int, sleep_secs))
{
    printf("%s doing stuff...\n", name);
    example_sleep(sleep_secs);
    printf("%s stuff done\n", name);
    return 0;
}

static void create_procs(mp_process **ret_procs)
{
    for (int i = 0; i < PROCS; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        ret_procs[i] = MP_PROCESS(do_stuff, name, 10);
        made(ret_procs[i]);
    }
}

static void start_procs(mp_process **procs)
{
    for (int i = 0; i < PROCS; i++)
        check(mp_process_start(procs[i]));
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *procs[PROCS];
    create_procs(procs);
    start_procs(procs);
    for (int i = 0; i < PROCS; i++)
        mp_process_free(procs[i]);
    return 0;
}
