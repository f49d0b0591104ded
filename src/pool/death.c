/* SPDX-License-Identifier: MIT */
/*
 * Owns what the end of a worker means for the tasks that it had, and the limits on their time.
 *
 * When a worker has ended, all its news are heard first.  Then its last chunk, which the queue tells, and
 * its desk say which of these holds for each task of that chunk: it was reported; it was running, and is
 * lost; it had not begun, and is sent again.
 */
#include <signal.h>
#include <stdio.h>

#include "os/os.h"
#include "pool/pool.h"

/* How a worker came to its end, in words. */
static void describe(mp_process *process, int pid, bool condemned, char *ret_text, size_t size)
{
    int code = MP_EXIT_UNKNOWN;
    (void)mp_process_exit_code(process, &code);
    const char *name = mp_process_name(process);
    if (condemned)
        snprintf(ret_text, size,
                 "it took longer than its time limit, so worker %s (pid %d) was killed", name, pid);
    else if (code == MP_EXIT_UNKNOWN)
        snprintf(ret_text, size, "worker %s (pid %d) has died", name, pid);
    else if (code < 0)
        snprintf(ret_text, size, "worker %s (pid %d) was killed by signal %d (%s)", name, pid,
                 -code, mp__os_signal_name(-code));
    else
        snprintf(ret_text, size, "worker %s (pid %d) ended with the exit code %d", name, pid, code);
}

/* ---- the tasks of its chunk ---- */

/* Where the worker stood: the item it was inside of, or that it had not begun. */
typedef struct stand {
    size_t next; /* the first item that it had not begun */
    bool inside; /* next - 1 was running */
} stand;

static stand where(const mp__desk *desk, const mp__chunk *c)
{
    uint64_t run = atomic_load(&desk->run), phase = run & 3;
    size_t item = (size_t)MP__RUN_ITEM_OF(run);
    if (atomic_load(&desk->chunk) != c->number || phase == MP__RUN_NOT_BEGUN || item < c->first ||
        item >= c->first + c->count)
        return (stand){c->first, false};
    bool reported = c->reported && c->latest >= item;
    return (stand){item + 1, phase != MP__RUN_OVER && !reported};
}

/* The running task: again, or failed. */
static void lose(mp_result *job, size_t item, bool condemned, const char *why)
{
    if (!condemned && job->attempts && job->attempts[item] < job->options.retries &&
        !job->cancelled) {
        job->attempts[item]++;
        if (mp__job_again(job, item, 1))
            return;
    }
    mp__job_fail(job, item, condemned ? -ETIMEDOUT : MP_EWORKER, "task '%s' number %zu: %s",
                 job->task, item, why);
    mp__job_finish(job, 1);
}

/* What it had done of an array without a word, and what it had done whose result did not arrive. */
static void settle_done(mp_result *job, const mp__chunk *c, const stand *at)
{
    size_t done = at->next - c->first - (at->inside ? 1 : 0);
    if (job->kind == MP__CHUNK_ARRAY) {
        if (done > c->reported)
            mp__job_finish(job, done - c->reported);
        return;
    }
    for (size_t i = c->first; i < c->first + done; i++)
        if (!job->state[i]) {
            mp__job_fail(job, i, -ENOMEM, "task '%s' number %zu: its result was lost", job->task,
                         i);
            mp__job_finish(job, 1);
        }
}

static void not_begun(mp_result *job, size_t first, size_t end)
{
    if (first >= end)
        return;
    if (!job->cancelled && mp__job_again(job, first, end - first))
        return;
    for (size_t i = first; i < end; i++)
        mp__job_fail(job, i, job->cancelled ? -ECANCELED : -ENOMEM,
                     "task '%s' number %zu was cancelled", job->task, i);
    mp__job_finish(job, end - first);
}

static void settle_chunk(mp_pool *pool, mp__chunk *c, const mp__desk *desk, bool condemned,
                         const char *why)
{
    mp_result *job = c->job;
    mp__chunk seen = *c;
    stand at = where(desk, c);
    mp__head_ref(&job->head);
    mp__chunk_close(pool, c);
    if (!job->ready) {
        settle_done(job, &seen, &at);
        not_begun(job, at.next, seen.first + seen.count);
        if (at.inside)
            lose(job, at.next - 1, condemned, why);
    }
    mp_result_free(job);
}

/* ---- the worker ---- */

/* All news that the dead have sent, also those that somebody else has just taken. */
static void hear_everything(mp_pool *pool)
{
    pool->wanted = true;
    while (pool->collecting) {
        (void)mp_queue_put_bytes(pool->news, "", 0, MP_NOWAIT);
        mp__timed_wait(&pool->changed, &pool->lock, MP_MS(1));
    }
    while (mp__pool_collect(pool, MP_NOWAIT) > 0)
        ;
    pool->wanted = false;
    pthread_cond_broadcast(&pool->changed);
}

static void could_not_start(mp_pool *pool, const char *why)
{
    char text[700];
    for (unsigned i = 0; i < pool->nworkers && !pool->broken_text; i++)
        if (pool->workers[i].process && pool->workers[i].ready) {
            pool->start_failures = 0; /* others work: somebody kills those that start */
            return;
        }
    if (++pool->start_failures < 3 + pool->nworkers)
        return;
    if (pool->broken_text)
        snprintf(text, sizeof text, "the workers' first task fails: %s", pool->broken_text);
    else
        snprintf(text, sizeof text, "workers end before they can work: %s", why);
    mp__pool_break(pool, MP_EBROKEN, text);
}

void mp__worker_ended(mp_pool *pool, unsigned i)
{
    mp__worker *w = &pool->workers[i];
    mp_process *process = w->process;
    uint32_t slot = process->slot.index;
    int pid = mp_process_pid(process), code = 0;
    char why[256];
    w->starting = true; /* nobody else touches it meanwhile */
    pthread_mutex_unlock(&pool->lock);
    int joined = -ETIMEDOUT;
    for (int tries = 0; tries < 10 && joined < 0 && joined != MP_ESTARTUP; tries++)
        joined = mp_process_join(process, MP_SECONDS(1));
    pthread_mutex_lock(&pool->lock);
    if (joined < 0 && *mp_error_detail())
        snprintf(why, sizeof why, "%s", mp_error_detail());
    else
        describe(process, pid, w->condemned, why, sizeof why);
    hear_everything(pool);
    mp__process_free_slot(process);
    mp__ring_settle(mp__queue_ring(pool->tasks));
    uint64_t last = slot && slot < MP__SLOT_COUNT
                        ? atomic_load(&mp__ring_takers(mp__queue_ring(pool->tasks))[slot].last)
                        : 0;
    (void)mp_process_exit_code(process, &code);
    pool->lost += code != 0;
    for (unsigned k = 0; last && k < MP__WINDOW; k++)
        if (pool->chunks[k].job && pool->chunks[k].number / MP__WINDOW == last)
            settle_chunk(pool, &pool->chunks[k], &pool->board->desk[i], w->condemned, why);
    atomic_store(&pool->board->desk[i].pid, 0);
    atomic_store(&pool->board->desk[i].chunk, 0);
    if (!w->ready)
        could_not_start(pool, why);
    mp_process_free(process);
    *w = (mp__worker){.process = NULL};
    mp__pool_feed(pool);
}

/* ---- time limits ---- */

static mp_result *job_at(const mp_pool *pool, const mp__desk *desk, uint64_t *ret_run)
{
    uint64_t number = atomic_load(&desk->chunk);
    mp__chunk *c = number ? mp__pool_chunk((mp_pool *)(uintptr_t)pool, number) : NULL;
    *ret_run = atomic_load(&desk->run);
    return c && (*ret_run & 3) == MP__RUN_INSIDE ? c->job : NULL;
}

void mp__workers_watch(mp_pool *pool)
{
    int64_t now = mp__os_now();
    for (unsigned i = 0; i < pool->nworkers; i++) {
        mp__desk *desk = &pool->board->desk[i];
        mp__worker *w = &pool->workers[i];
        uint64_t run;
        mp_result *job = w->process && !w->condemned ? job_at(pool, desk, &run) : NULL;
        int64_t since = atomic_load(&desk->since); /* of that run, or of a later one */
        if (!job)
            continue;
        if (job->options.soft_timeout > 0 && now - since >= job->options.soft_timeout)
            atomic_store(&desk->quit, run);
        if (job->options.timeout <= 0 || now - since < job->options.timeout)
            continue;
        if (atomic_compare_exchange_strong(&desk->run, &run,
                                           (run & ~UINT64_C(3)) | MP__RUN_CONDEMNED)) {
            w->condemned = true;
            mp_process_kill(w->process);
        }
    }
}

mp_time mp__workers_due(const mp_pool *pool)
{
    int64_t now = mp__os_now();
    mp_time due = MP_FOREVER;
    bool limits = false;
    for (mp__list *n = pool->jobs.next; n != &pool->jobs && !limits; n = n->next) {
        const mp_result *job = MP__CONTAINER(n, mp_result, node);
        limits = job->options.timeout > 0 || job->options.soft_timeout > 0;
    }
    for (unsigned i = 0; limits && i < pool->nworkers; i++) {
        const mp__desk *desk = &pool->board->desk[i];
        uint64_t run;
        const mp_result *job = job_at(pool, desk, &run);
        mp_time limit = job ? job->options.timeout : 0;
        if (job && job->options.soft_timeout > 0 && atomic_load(&desk->quit) != run &&
            (limit <= 0 || job->options.soft_timeout < limit))
            limit = job->options.soft_timeout;
        if (limit > 0) {
            mp_time left = atomic_load(&desk->since) + limit - now;
            due = left < due ? left : due;
        }
    }
    mp_time look = MP_MS(5); /* a task may begin at any time */
    return !limits ? MP_FOREVER : due < 0 ? 0 : due < look ? due : look;
}
