/* SPDX-License-Identifier: MIT */
/*
 * What a child inherits: under fork a copy of its parent's memory, with what the parent has
 * changed; under spawn and forkserver the memory of a program that has just begun.  What a child
 * needs to know is an argument.
 */
#include "example.h"

static int number = 0;

MP_TARGET(look, (int, argument))
{
    printf("child under %s: global %d, argument %d\n", mp_get_start_method(), number, argument);
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    number = 7;
    mp_process *p = MP_PROCESS(look, number);
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    printf("parent: global %d\n", number);
    mp_process_free(p);
    return 0;
}
