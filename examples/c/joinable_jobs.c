/* SPDX-License-Identifier: MIT */
/*
 * Jobs in a joinable queue, results in a shared array with a lock.  One worker is killed while it has a
 * job: join() says so instead of waiting for ever, and the other worker does the rest.
 */
#include "example.h"

#include <signal.h>

#define JOBS 10

MP_TARGET(worker, (mp_queue *, jobs), (mp_shm *, squares), (int, dies))
{
    mp_value *job;
    int64_t n;
    while (mp_queue_get(jobs, &job, MP_FOREVER) == 0) {
        check(mp_value_get_int(job, &n));
        mp_value_free(job);
        if (dies)
            raise(SIGKILL);
        check(mp_shm_acquire(squares, MP_FOREVER));
        MP_SHM(long, squares)[n] = n * n;
        check(mp_shm_release(squares));
        check(mp_queue_task_done(jobs));
    }
    return 0;
}

static void run(mp_queue *jobs, mp_shm *squares, int dies)
{
    mp_process *p = MP_PROCESS(worker, jobs, squares, dies);
    made(p);
    check(mp_process_start(p));
    if (dies)
        check(mp_process_join(p, MP_FOREVER));
    int r = mp_queue_join(jobs, dies ? MP_NOWAIT : MP_FOREVER);
    printf("join: %s, still to do: %d\n", mp_error_name(r), (int)mp_queue_unfinished(jobs));
    if (!dies)
        check(mp_queue_shutdown(jobs)); /* the worker's get answers MP_EOF */
    check(mp_process_join(p, MP_FOREVER));
    mp_process_free(p);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
    options.joinable = 1;
    mp_queue *jobs = mp_queue_new_with(&options);
    mp_shm *squares = MP_SHM_NEW(long, JOBS);
    made(jobs);
    made(squares);
    for (int i = 0; i < JOBS; i++)
        check(mp_queue_put(jobs, mp_v(i), MP_FOREVER));
    run(jobs, squares, 1); /* takes job 0 with it */
    run(jobs, squares, 0);
    for (int i = 0; i < JOBS; i++)
        printf("%ld%s", MP_SHM(long, squares)[i], i < JOBS - 1 ? " " : "\n");
    mp_shm_free(squares);
    mp_queue_free(jobs);
    return 0;
}
