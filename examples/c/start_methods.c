/* SPDX-License-Identifier: MIT */
/*
 * The start method of a program is set once, before the first use; a second call is an error.  A
 * context has its own method and stands beside the default.
 */
#include "example.h"

MP_TARGET(hello, (const char *, method))
{
    printf("hello from a child by %s, where the default is %s\n", method, mp_get_start_method());
    return 0;
}

static void run(mp_process *p)
{
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    mp_process_free(p);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);

    for (const char *const *method = mp_get_all_start_methods(); *method; method++)
        printf("there is %s\n", *method);

    check(mp_set_start_method(argc > 1 ? argv[1] : "forkserver", 0));
    printf("the start method is %s\n", mp_get_start_method());
    run(MP_PROCESS(hello, mp_get_start_method()));

    int r = mp_set_start_method("fork", 0);
    printf("set again: %s: %s\n", mp_error_name(r), mp_error_detail());

    mp_context *ctx = mp_get_context("spawn");
    made(ctx);
    run(MP_PROCESS_IN(ctx, hello, mp_context_method(ctx)));
    printf("the start method is still %s\n", mp_get_start_method());
    return 0;
}
