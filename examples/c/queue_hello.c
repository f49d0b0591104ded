/* SPDX-License-Identifier: MIT */
/* A queue carries a value from the child to the parent.  The child may end before anybody has got it. */
#include "example.h"

MP_TARGET(f, (mp_queue *, q))
{
    check(mp_queue_put(q, mp_list_of(mp_v(42), mp_value_none(), mp_v("hello")), MP_FOREVER));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_queue *q = mp_queue_new(0);
    made(q);
    mp_process *p = MP_PROCESS(f, q);
    made(p);
    check(mp_process_start(p));

    mp_value *item;
    check(mp_queue_get(q, &item, MP_FOREVER));
    char *text = mp_value_repr(item);
    made(text);
    printf("%s\n", text); /* prints [42, None, 'hello'] */
    check(mp_process_join(p, MP_FOREVER));

    free(text);
    mp_value_free(item);
    mp_process_free(p);
    mp_queue_free(q);
    return 0;
}
