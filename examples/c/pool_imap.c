/* SPDX-License-Identifier: MIT */
/*
 * Results as they come, of arguments that are made as they are needed.  The task of 5 kills its worker once,
 * and is run again; the task of 8 kills every worker that tries it, and fails, alone.
 */
#include <signal.h>

#include "example.h"

#define NUMBERS 12
#define RETRIES 2

static mp_shm *attempts; /* of each number, seen by all workers */
static int deadly;

/* Each worker runs this first. */
MP_TASK(int, begin, (mp_shm *, shared), (int, number))
{
    attempts = mp_shm_ref(shared);
    deadly = number;
    return 0;
}

MP_TASK(mp_value *, cube, (int, n))
{
    int attempt = __atomic_add_fetch(&MP_SHM(int, attempts)[n], 1, __ATOMIC_SEQ_CST);
    if ((n == 5 && attempt == 1) || n == deadly)
        raise(SIGKILL);
    return mp_tuple_of(mp_v(n), mp_v(n * n * n), mp_v(attempt));
}

/* The next argument, or the end. */
static mp_value *next_number(void *data)
{
    int *n = data;
    return *n < NUMBERS ? mp_v(++*n) : NULL;
}

static void print_all(mp_imap *imap)
{
    mp_value *result;
    int r;
    while ((r = mp_imap_next(imap, &result, MP_FOREVER)) != 0) {
        if (r < 0) {
            printf("%s: %s\n", mp_error_name(r), mp_error_detail());
            continue;
        }
        char *text = mp_value_repr(result);
        made(text);
        printf("%s\n", text);
        free(text);
        mp_value_free(result);
    }
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    attempts = MP_SHM_NEW(int, NUMBERS + 1);
    made(attempts);
    mp_pool_options options = MP_POOL_OPTIONS_INIT;
    options.workers = 3;
    options.retries = RETRIES;
    options.start = "begin";
    options.start_args = mp_tuple_of(mp_v(attempts), mp_v(8));
    mp_pool *pool = mp_pool_new_with(&options);
    made(pool);

    int n = 0;
    mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(cube), next_number, &n, 1, 0, NULL);
    made(imap);
    print_all(imap);
    mp_imap_free(imap);

    mp_pool_info info;
    check(mp_pool_get_info(pool, &info));
    printf("%d tasks done, %d failed, %d workers lost\n", (int)info.done, (int)info.failed,
           (int)info.lost);
    mp_pool_free(pool);
    mp_shm_free(attempts);
    return 0;
}
