/* SPDX-License-Identifier: MIT */
/* A lock lets one worker print at a time, and a queue collects what they computed. */
#include "example.h"

#define WORKERS 5

MP_TARGET(worker, (mp_queue *, q), (mp_lock *, lock), (int, num))
{
    check(mp_lock_acquire(lock, MP_FOREVER));
    printf("%s working on %d\n", mp_process_name(mp_process_current()), num);
    example_sleep(1);
    check(mp_queue_put(q, mp_v(num * 2), MP_FOREVER));
    check(mp_lock_release(lock));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_queue *q = mp_queue_new(0);
    mp_lock *lock = mp_lock_new();
    mp_process *processes[WORKERS];
    made(q);
    made(lock);
    for (int i = 0; i < WORKERS; i++) {
        processes[i] = MP_PROCESS(worker, q, lock, i + 1);
        made(processes[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        check(mp_process_start(processes[i]));
    for (int i = 0; i < WORKERS; i++) {
        check(mp_process_join(processes[i], MP_FOREVER));
        mp_process_free(processes[i]);
    }

    /* All have ended, and all of their results are there: empty() is exact. */
    mp_value *items[WORKERS];
    size_t n = 0;
    while (!mp_queue_empty(q) && n < WORKERS)
        check(mp_queue_get(q, &items[n++], MP_NOWAIT));
    mp_value *results = mp_value_list(items, n);
    made(results);
    char *text = mp_value_repr(results);
    made(text);
    printf("%s\n", text); /* prints [2, 4, 6, 8, 10], in the order in which they got the lock */

    free(text);
    mp_value_free(results);
    mp_lock_free(lock);
    mp_queue_free(q);
    return 0;
}
