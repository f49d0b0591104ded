/* SPDX-License-Identifier: MIT */
/* The smallest program: a function of this program runs in a process of its own. */
#include "example.h"

MP_TARGET(f, (const char *, name))
{
    printf("hello %s\n", name);
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv); /* C's if __name__ == '__main__': a spawned child does not get past it */
    example_start_method(argc, argv);

    mp_process *p = MP_PROCESS(f, "Robert");
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    mp_process_free(p);
    return 0;
}
