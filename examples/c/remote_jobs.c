/* SPDX-License-Identifier: MIT */
/*
 * A queue of jobs on one machine, workers on others: what Python programs do with a BaseManager and a queue.
 *
 *   remote_jobs serve ADDRESS KEY          makes the jobs and waits for their results
 *   remote_jobs work ADDRESS KEY [die]     does jobs; with `die` it is killed in the middle of its third one
 *   remote_jobs [fork|spawn|forkserver]    all of it here: a worker that is killed, and then another one
 *
 * A job that a worker had when it was killed goes back into the queue, and another worker does it.
 */
#include <signal.h>
#include <string.h>

#include "example.h"

#define JOBS 20

static mp_value *one(mp_value *v)
{
    return mp_value_tuple(&v, 1);
}

/* Gets a number from a queue; a negative error. */
static int64_t get(mp_proxy *queue)
{
    mp_value *v;
    int64_t n = 0;
    int r = mp_proxy_call(queue, "get", NULL, NULL, &v, MP_FOREVER);
    if (r < 0)
        return r;
    mp_value_get_int(v, &n);
    mp_value_free(v);
    return n;
}

/* The object of a type and a name, which every program that uses the manager finds. */
static mp_proxy *object(mp_manager *m, const char *type_and_name)
{
    mp_proxy *p = mp_manager_create(m, type_and_name, NULL);
    made(p);
    return p;
}

static int work(const char *address, const char *key, int die)
{
    mp_manager *m = mp_manager_connect(address, key, strlen(key));
    made(m);
    mp_proxy *jobs = object(m, "JoinableQueue:jobs"), *results = object(m, "Queue:results");
    for (int done = 0;; done++) {
        int64_t n = get(jobs);
        if (n < 0)
            break; /* no more jobs */
        if (die && done == 2)
            raise(SIGKILL);
        mp_wait(NULL, 0, MP_MS(5)); /* the work */
        check(mp_proxy_call(results, "put", one(mp_value_int(n * n)), NULL, NULL, MP_FOREVER));
        check(mp_proxy_call(jobs, "task_done", NULL, NULL, NULL, MP_FOREVER));
    }
    mp_proxy_free(jobs);
    mp_proxy_free(results);
    mp_manager_free(m);
    return 0;
}

MP_TARGET(worker, (const char *, address), (const char *, key), (int, die))
{
    return work(address, key, die);
}

static void put_jobs(mp_manager *m)
{
    mp_proxy *jobs = object(m, "JoinableQueue:jobs");
    for (int i = 1; i <= JOBS; i++)
        check(mp_proxy_call(jobs, "put", one(mp_value_int(i)), NULL, NULL, MP_FOREVER));
    mp_proxy_free(jobs);
}

static void collect(mp_manager *m)
{
    mp_proxy *jobs = object(m, "JoinableQueue:jobs"), *results = object(m, "Queue:results");
    int64_t sum = 0;
    for (int i = 0; i < JOBS; i++)
        sum += get(results);
    printf("%d jobs done, the sum of the squares is %lld\n", JOBS, (long long)sum);
    for (int i = 0; i < 8; i++) /* more than there are workers: they go home */
        check(mp_proxy_call(jobs, "put", one(mp_value_int(-1)), NULL, NULL, MP_FOREVER));
    mp_proxy_free(jobs);
    mp_proxy_free(results);
}

static mp_manager *manager_at(const char *address, const char *key)
{
    mp_manager_options o = MP_MANAGER_OPTIONS_INIT;
    o.address = address;
    o.key = key;
    o.key_size = strlen(key);
    mp_manager *m = mp_manager_start(&o);
    made(m);
    return m;
}

static int serve(const char *address, const char *key)
{
    mp_manager *m = manager_at(address, key);
    mp_proxy *jobs = object(m, "JoinableQueue:jobs"), *results = object(m, "Queue:results");
    printf("listening at %s\n", mp_manager_address(m));
    put_jobs(m);
    collect(m);
    mp_wait(NULL, 0, MP_MS(200)); /* until the workers have heard that it is over */
    mp_proxy_free(jobs);
    mp_proxy_free(results);
    mp_manager_free(m);
    return 0;
}

/* A worker in a process of its own, to its end. */
static void run_worker(mp_manager *m, const char *key, int die)
{
    int code = 0;
    mp_process *p = MP_PROCESS(worker, mp_manager_address(m), key, die);
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    check(mp_process_exit_code(p, &code));
    printf("the worker ended with %d\n", code);
    mp_process_free(p);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    if (argc >= 4 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2], argv[3]);
    if (argc >= 4 && strcmp(argv[1], "work") == 0)
        return work(argv[2], argv[3], argc > 4);
    example_start_method(argc, argv);
    mp_manager *m = manager_at(NULL, "a secret");
    mp_proxy *jobs = object(m, "JoinableQueue:jobs"), *results = object(m, "Queue:results");
    put_jobs(m);
    mp_value *stop = mp_value_int(-1);
    run_worker(m, "a secret", 1); /* killed with a job, which goes back */
    check(mp_proxy_call(jobs, "put", one(stop), NULL, NULL, MP_FOREVER));
    run_worker(m, "a secret", 0);
    collect(m);
    mp_proxy_free(jobs);
    mp_proxy_free(results);
    mp_manager_free(m);
    return 0;
}
