/* SPDX-License-Identifier: MIT */
/* A pool of four workers computes the squares of five numbers. */
#include "example.h"

MP_TASK(int, compute_square, (int, n))
{
    printf("Processing number: %d\n", n);
    example_sleep(1);
    return n * n;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_pool *pool = mp_pool_new(4);
    made(pool);
    mp_value *numbers = mp_list_of(mp_v(1), mp_v(2), mp_v(3), mp_v(4), mp_v(5));
    mp_value *squares;
    check(mp_pool_map(pool, MP_TASK_OF(compute_square), numbers, &squares));
    char *text = mp_value_repr(squares);
    made(text);
    printf("%s\n", text); /* prints [1, 4, 9, 16, 25] */

    free(text);
    mp_value_free(squares);
    mp_pool_free(pool);
    return 0;
}
