/* SPDX-License-Identifier: MIT */
/* One queue serves processes of the default start method and of a context with another one. */
#include "example.h"

MP_TARGET(foo, (mp_queue *, q))
{
    check(mp_queue_put(q, mp_v("hello"), MP_FOREVER));
    return 0;
}

static void print_one(mp_queue *q, mp_process *p)
{
    mp_value *item;
    made(p);
    check(mp_process_start(p));
    check(mp_queue_get(q, &item, MP_FOREVER));
    printf("%s\n", mp_value_get_str(item, NULL));
    check(mp_process_join(p, MP_FOREVER));
    mp_value_free(item);
    mp_process_free(p);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_queue *q = mp_queue_new(0);
    mp_context *ctx = mp_get_context("spawn");
    made(q);
    made(ctx);
    print_one(q, MP_PROCESS(foo, q));
    print_one(q, MP_PROCESS_IN(ctx, foo, q));
    mp_queue_free(q);
    return 0;
}
