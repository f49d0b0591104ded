/* SPDX-License-Identifier: MIT */
/* Two processes run two functions with an argument each; the program waits for both. */
#include <unistd.h>

#include "example.h"

MP_TARGET(print_cube, (int, num))
{
    printf("Cube: %d; and %d\n", num * num * num, (int)getpid());
    return 0;
}

MP_TARGET(print_square, (int, num))
{
    printf("Square: %d; and %d\n", num * num, (int)getpid());
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *p1 = MP_PROCESS(print_square, 10);
    mp_process *p2 = MP_PROCESS(print_cube, 10);
    made(p1);
    made(p2);

    check(mp_process_start(p1));
    check(mp_process_start(p2));

    check(mp_process_join(p1, MP_FOREVER));
    check(mp_process_join(p2, MP_FOREVER));
    printf("Done!\n");

    mp_process_free(p1);
    mp_process_free(p2);
    return 0;
}
