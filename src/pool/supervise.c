/* SPDX-License-Identifier: MIT */
/*
 * Owns the pool's thread: it starts workers and replaces those that end, watches time limits, calls
 * callbacks, and takes news when nobody else waits for a result.
 */
#include <stdio.h>

#include "os/os.h"
#include "pool/pool.h"

#define SLICE MP_MS(5)
#define GRACE MP_SECONDS(1)
#define START_AGAIN MP_MS(20)

void mp__pool_kick(mp_pool *pool)
{
    if (pool->guarding && !pool->kicked) {
        pool->kicked = true;
        mp__os_eventfd_set(pool->kick);
    }
}

bool mp__pool_is_idle(const mp_pool *pool)
{
    return pool->jobs.next == &pool->jobs;
}

void mp__pool_break(mp_pool *pool, int code, const char *text)
{
    if (pool->broken)
        return;
    pool->broken = code;
    char *copy = mp__strdup(text);
    free(pool->broken_text);
    pool->broken_text = copy;
    while (!mp__pool_is_idle(pool))
        mp__job_end(MP__CONTAINER(pool->jobs.next, mp_result, node), code, text);
}

/* ---- workers ---- */

static mp_value *worker_args(const mp_pool *pool, unsigned i)
{
    const mp_pool_options *o = &pool->options;
    mp_value *items[] = {
        mp_value_queue(pool->tasks),
        mp_value_queue(pool->news),
        mp_value_shm(pool->board_shm),
        mp_value_int(i),
        mp_value_uint(o->max_tasks),
        mp_value_uint(o->max_memory),
        o->start ? mp_value_str(o->start) : mp_value_none(),
        o->start_args ? mp_value_ref(o->start_args) : mp_value_none(),
        o->end ? mp_value_str(o->end) : mp_value_none(),
    };
    return mp_value_tuple(items, MP__COUNT_OF(items));
}

int mp__worker_start(mp_pool *pool, unsigned i)
{
    mp__worker *w = &pool->workers[i];
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    char name[160];
    snprintf(name, sizeof name, "%s-%u", pool->options.name ? pool->options.name : "PoolWorker",
             ++pool->next_name);
    options.context = pool->options.context;
    options.name = name;
    options.daemon = pool->options.daemon;
    options.orphan = MP_ORPHAN_KILL;
    w->starting = true;
    pthread_mutex_unlock(&pool->lock);
    mp_process *process = mp_process_new_target(&mp__worker_target, worker_args(pool, i), &options);
    if (process)
        process->keeps_slot = true; /* others may reap it, but its burial is for us to time */
    int r = mp_process_start(process);
    if (r < 0) {
        mp_process_free(process);
        process = NULL;
    }
    pthread_mutex_lock(&pool->lock);
    *w = (mp__worker){.process = process};
    return r;
}

static unsigned alive(const mp_pool *pool)
{
    unsigned n = 0;
    for (unsigned i = 0; i < pool->nworkers; i++)
        n += pool->workers[i].process != NULL;
    return n;
}

/* As many as there should be; with `lazy`, as many as there is work for.  False when one could not be
 * started: it is tried again. */
static bool start_workers(mp_pool *pool)
{
    bool all = true;
    unsigned have = alive(pool), want = pool->nworkers;
    if (pool->state != MP__POOL_OPEN && mp__pool_is_idle(pool))
        want = 0;
    if (pool->options.lazy && want > pool->open)
        want = pool->open > have ? pool->open : have;
    for (unsigned i = 0; i < pool->nworkers && have < want && !pool->broken; i++) {
        if (pool->workers[i].process || pool->workers[i].starting)
            continue;
        int r = mp__worker_start(pool, i);
        all = all && r == 0;
        if (r == 0) {
            have++;
        } else if (++pool->start_failures >= 3 + pool->nworkers) {
            char text[600];
            snprintf(text, sizeof text, "no worker can be started: %s",
                     *mp_error_detail() ? mp_error_detail() : mp_error_text(r));
            mp__pool_break(pool, r, text);
        }
    }
    return all;
}

/* The descriptors to poll: the kick and all sentinels; their number. */
static size_t descriptors(mp_pool *pool, mp__pollfd *fds, unsigned *worker)
{
    size_t n = 0;
    fds[n++] = (mp__pollfd){pool->kick, MP__POLLIN, 0};
    for (unsigned i = 0; i < pool->nworkers; i++)
        if (pool->workers[i].process && !pool->workers[i].starting) {
            worker[n] = i;
            fds[n++] = (mp__pollfd){mp_process_sentinel(pool->workers[i].process), MP__POLLIN, 0};
        }
    return n;
}

/* Sleeps, without the lock, until a worker ends, somebody kicks, or the time is up. */
static void guard(mp_pool *pool, mp__pollfd *fds, unsigned *worker, mp_time timeout)
{
    size_t n = descriptors(pool, fds, worker);
    pool->guarding = timeout > 0;
    if (timeout > 0)
        pthread_mutex_unlock(&pool->lock);
    int r = mp__os_poll(fds, n, timeout);
    if (timeout > 0)
        pthread_mutex_lock(&pool->lock);
    pool->guarding = false;
    if (pool->kicked || (r > 0 && fds[0].revents))
        mp__os_eventfd_clear(pool->kick);
    pool->kicked = false;
    for (size_t i = 1; r > 0 && i < n; i++)
        if (fds[i].revents)
            mp__worker_ended(pool, worker[i]);
}

static void call_back(mp_pool *pool)
{
    while (pool->called) {
        mp_result *job = pool->called;
        pool->called = job->called;
        if (!pool->called)
            pool->called_end = &pool->called;
        pthread_mutex_unlock(&pool->lock);
        job->options.done(job->options.data, job);
        mp_result_free(job);
        pthread_mutex_lock(&pool->lock);
    }
}

/* ---- the end ---- */

static void end_workers(mp_pool *pool, mp__pollfd *fds, unsigned *worker)
{
    for (unsigned i = 0; i < pool->nworkers; i++)
        if (pool->workers[i].process)
            mp_process_terminate(pool->workers[i].process);
    mp__deadline deadline = mp__deadline_after(mp__os_now(), GRACE);
    bool killed = false;
    while (alive(pool)) {
        mp_time left = mp__deadline_left(deadline, mp__os_now());
        if (!left && !killed) {
            killed = true;
            for (unsigned i = 0; i < pool->nworkers; i++)
                if (pool->workers[i].process)
                    mp_process_kill(pool->workers[i].process);
        }
        guard(pool, fds, worker, killed ? MP_MS(100) : left);
    }
}

static void work(mp_pool *pool, mp__pollfd *fds, unsigned *worker)
{
    int64_t looked = 0;
    bool shut = false;
    for (;;) {
        call_back(pool);
        mp__workers_watch(pool);
        bool all = start_workers(pool);
        if (pool->state == MP__POOL_ENDED)
            return;
        if (pool->state == MP__POOL_CLOSED && mp__pool_is_idle(pool)) {
            if (!shut)
                (void)mp_queue_shutdown(pool->tasks);
            shut = true;
            if (!alive(pool) && !pool->called)
                return;
        }
        mp_time due = mp__workers_due(pool);
        if (!all && due > START_AGAIN)
            due = START_AGAIN;
        if (pool->called)
            continue;
        if (mp__pool_is_idle(pool) || pool->waiting || pool->collecting) {
            guard(pool, fds, worker, due > 0 ? due : 1);
            continue;
        }
        (void)mp__pool_collect(pool, due < SLICE ? due : SLICE);
        int64_t now = mp__os_now();
        if (now - looked >= SLICE / 2 || pool->kicked) {
            looked = now;
            guard(pool, fds, worker, 0);
        }
    }
}

void *mp__pool_run(void *argument)
{
    mp_pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    work(pool, pool->polled, pool->polled_worker);
    end_workers(pool, pool->polled, pool->polled_worker);
    for (unsigned i = 0; i < MP__WINDOW; i++)
        if (pool->chunks[i].job)
            mp__chunk_close(pool, &pool->chunks[i]);
    call_back(pool);
    pool->thread_over = true;
    bool orphaned = pool->orphaned;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    if (orphaned) {
        pthread_detach(pthread_self());
        mp__pool_forget(pool);
    }
    return NULL;
}
