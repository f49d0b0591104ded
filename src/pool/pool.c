/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_pool: its making, its calls, its end.  A pool belongs to the process that made it; a forked child
 * sees by the count of forks that it is not its own.
 */
#include <stdio.h>
#include <time.h>

#include "os/os.h"
#include "pool/pool.h"

#define SCRATCH (256u << 10)

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static mp__list pools = MP__LIST_INIT(pools);
static uint32_t exit_forks = UINT32_MAX; /* the fork count for which at_exit() is registered */

void mp__timed_wait(pthread_cond_t *cond, pthread_mutex_t *lock, mp_time timeout)
{
    if (timeout == MP_FOREVER) {
        pthread_cond_wait(cond, lock);
        return;
    }
    int64_t at = mp__deadline_after(mp__os_now(), timeout);
    struct timespec when = {(time_t)(at / 1000000000), (long)(at % 1000000000)};
    pthread_cond_timedwait(cond, lock, &when);
}

int mp__pool_check(const mp_pool *pool)
{
    if (pool->fork_count != atomic_load(&mp__fork_count))
        return mp__fail(MP_EFOREIGN, "the pool belongs to the parent process");
    if (pool->state != MP__POOL_OPEN)
        return mp__fail(MP_ECLOSED, "the pool was closed");
    if (pool->broken)
        return mp__fail(pool->broken, "%s", pool->broken_text ? pool->broken_text : "");
    return 0;
}

/* ---- making ---- */

static void free_memory(mp_pool *pool)
{
    mp_queue_free(pool->tasks);
    mp_queue_free(pool->news);
    mp_shm_free(pool->board_shm);
    if (pool->kick >= 0)
        mp__os_close(pool->kick);
    free(pool->workers);
    free(pool->scratch);
    free(pool->polled);
    free(pool->polled_worker);
    free(pool->broken_text);
    free((char *)(uintptr_t)pool->options.name);
    free((char *)(uintptr_t)pool->options.start);
    free((char *)(uintptr_t)pool->options.end);
    mp_value_free(pool->options.start_args);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->changed);
    free(pool);
}

void mp__pool_unref_memory(mp_pool *pool)
{
    if (atomic_fetch_sub(&pool->memory, 1) == 1)
        free_memory(pool);
}

static void make_locks(mp_pool *pool)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&pool->lock, NULL);
}

static int copy_text(const char **text)
{
    if (*text && !(*text = mp__strdup(*text)))
        return -ENOMEM;
    return 0;
}

static int check_options(const mp_pool_options *o)
{
    const char *names[] = {o->start, o->end};
    for (size_t i = 0; i < MP__COUNT_OF(names); i++)
        if (names[i] && !mp__host()->run && !mp__task_find(names[i]))
            return mp__fail(MP_ENOTARGET, "no task '%s' is registered", names[i]);
    if (mp_process_daemon(mp_process_current()) == 1)
        return mp__fail(MP_EDAEMON,
                        "daemon processes may not have children, so they have no pools");
    if (o->workers > MP__WORKER_MAX)
        return mp__fail(-EINVAL, "a pool of %u workers; there can be %d", o->workers,
                        MP__WORKER_MAX);
    if (o->start_args && mp_value_kind(o->start_args) != MP_KIND_TUPLE)
        return mp__fail(MP_ETYPE, "the arguments of the workers' first task are no tuple");
    return 0;
}

/* Everything but the workers and the thread.  start_args is taken over. */
static mp_pool *make(const mp_pool_options *options)
{
    mp_pool *pool = mp__alloc_zero(sizeof *pool);
    mp_queue_options joinable = MP_QUEUE_OPTIONS_INIT;
    if (!pool) {
        mp_value_free(options->start_args);
        return mp__null(-ENOMEM);
    }
    mp__head_init(&pool->head, MP__MAGIC_POOL);
    atomic_store(&pool->memory, 1);
    pool->fork_count = atomic_load(&mp__fork_count);
    make_locks(pool);
    mp__list_reset(&pool->node);
    mp__list_reset(&pool->jobs);
    mp__list_reset(&pool->feeding);
    pool->called_end = &pool->called;
    pool->options = *options;
    pool->nworkers = options->workers ? options->workers : (unsigned)mp_cpu_count();
    pool->kick = mp__os_eventfd();
    joinable.joinable = 1;
    joinable.name = "pool tasks";
    int r = copy_text(&pool->options.name);
    r = r < 0 ? (pool->options.start = pool->options.end = NULL, r)
              : copy_text(&pool->options.start);
    r = r < 0 ? (pool->options.end = NULL, r) : copy_text(&pool->options.end);
    pool->tasks = mp_queue_new_with(&joinable);
    pool->news = mp_queue_new(0);
    pool->board_shm = mp_shm_new(sizeof(mp__board) + pool->nworkers * sizeof(mp__desk));
    pool->workers = mp__alloc_zero(pool->nworkers * sizeof *pool->workers);
    pool->scratch = mp__alloc(SCRATCH);
    pool->polled = mp__alloc((pool->nworkers + 1) * sizeof *pool->polled);
    pool->polled_worker = mp__alloc((pool->nworkers + 1) * sizeof *pool->polled_worker);
    if (r < 0 || pool->kick < 0 || !pool->tasks || !pool->news || !pool->board_shm ||
        !pool->workers || !pool->scratch || !pool->polled || !pool->polled_worker) {
        int error = pool->kick < 0 ? pool->kick : errno ? -errno : -ENOMEM;
        free_memory(pool);
        return mp__null(mp__fail(error, "a pool cannot be made"));
    }
    pool->board = mp_shm_data(pool->board_shm);
    for (unsigned i = 0; i < pool->nworkers; i++)
        atomic_store(&pool->board->desk[i].quit, UINT64_MAX);
    return pool;
}

/* ---- the exit of the process ---- */

static void at_exit(void)
{
    if (exit_forks != atomic_load(&mp__fork_count))
        return;
    for (;;) {
        pthread_mutex_lock(&pools_lock);
        mp_pool *pool = pools.next == &pools ? NULL : MP__CONTAINER(pools.next, mp_pool, node);
        if (pool) {
            mp__list_remove(&pool->node);
            atomic_fetch_add(&pool->memory, 1);
        }
        pthread_mutex_unlock(&pools_lock);
        if (!pool)
            return;
        if (pool->fork_count == exit_forks) {
            mp_pool_terminate(pool);
            mp_pool_join(pool, MP_SECONDS(5));
        }
        mp__pool_unref_memory(pool);
    }
}

static void enlist(mp_pool *pool)
{
    pthread_mutex_lock(&pools_lock);
    if (exit_forks != pool->fork_count) { /* after the library's own, so it runs before that */
        mp__list_reset(&pools);
        exit_forks = pool->fork_count;
        atexit(at_exit);
    }
    mp__list_append(&pools, &pool->node);
    pthread_mutex_unlock(&pools_lock);
}

/* The first workers, by the caller, so that it learns at once why they cannot start. */
static int start_first(mp_pool *pool)
{
    int r = 0;
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; r == 0 && i < pool->nworkers && !pool->options.lazy; i++)
        r = mp__worker_start(pool, i);
    pthread_mutex_unlock(&pool->lock);
    if (r == 0)
        r = -pthread_create(&pool->thread, NULL, mp__pool_run, pool);
    pool->has_thread = r == 0;
    return r;
}

mp_pool *mp_pool_new_with(const mp_pool_options *options)
{
    MP__CHECK_NULL(options && options->size == sizeof *options);
    mp__clear_detail();
    int r = check_options(options);
    if (r < 0) {
        mp_value_free(options->start_args);
        return mp__null(r);
    }
    mp_pool *pool = make(options);
    if (!pool)
        return NULL;
    enlist(pool);
    r = start_first(pool);
    if (r < 0) {
        mp__fail(r, "the workers of the pool cannot be started: %s",
                 *mp_error_detail() ? mp_error_detail() : mp_error_text(r));
        pool->state = MP__POOL_ENDED;
        for (unsigned i = 0; i < pool->nworkers; i++)
            if (pool->workers[i].process) {
                mp_process_kill(pool->workers[i].process);
                mp_process_join(pool->workers[i].process, MP_FOREVER);
                mp__process_free_slot(pool->workers[i].process);
                mp_process_free(pool->workers[i].process);
            }
        pool->thread_over = true;
        mp_pool_free(pool);
        return mp__null(r);
    }
    return pool;
}

mp_pool *mp_pool_new(unsigned workers)
{
    mp_pool_options options = MP_POOL_OPTIONS_INIT;
    options.workers = workers;
    return mp_pool_new_with(&options);
}

/* ---- the end ---- */

static int check_own(const mp_pool *pool)
{
    MP__CHECK(mp__is(pool, MP__MAGIC_POOL));
    if (pool->fork_count != atomic_load(&mp__fork_count))
        return mp__fail(MP_EFOREIGN, "the pool belongs to the parent process");
    return 0;
}

int mp_pool_close(mp_pool *pool)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MP__POOL_OPEN)
        pool->state = MP__POOL_CLOSED;
    mp__pool_kick(pool);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

int mp_pool_terminate(mp_pool *pool)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    pthread_mutex_lock(&pool->lock);
    pool->state = MP__POOL_ENDED;
    while (!mp__pool_is_idle(pool))
        mp__job_end(MP__CONTAINER(pool->jobs.next, mp_result, node), MP_ECLOSED,
                    "the pool was terminated");
    mp__pool_kick(pool);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

static bool is_own_thread(const mp_pool *pool)
{
    return pool->has_thread && pthread_equal(pthread_self(), pool->thread);
}

int mp_pool_join(mp_pool *pool, mp_time timeout)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    mp__clear_detail();
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    if (is_own_thread(pool))
        return mp__fail(-EDEADLK, "a callback of the pool would wait for itself");
    pthread_mutex_lock(&pool->lock);
    if (pool->state == MP__POOL_OPEN)
        r = mp__fail(-EBUSY, "the pool is still open: close or terminate it first");
    while (r == 0 && !pool->thread_over) {
        mp_time left = mp__deadline_left(deadline, mp__os_now());
        if (!left)
            r = -ETIMEDOUT;
        else
            mp__timed_wait(&pool->changed, &pool->lock, left);
    }
    bool mine = r == 0 && pool->has_thread && !pool->joined;
    pool->joined = pool->joined || mine;
    pthread_mutex_unlock(&pool->lock);
    if (mine)
        pthread_join(pool->thread, NULL);
    return r;
}

mp_pool *mp_pool_ref(mp_pool *pool)
{
    MP__CHECK_NULL(mp__is(pool, MP__MAGIC_POOL));
    mp__head_ref(&pool->head);
    return pool;
}

void mp__pool_forget(mp_pool *pool)
{
    pthread_mutex_lock(&pools_lock);
    mp__list_remove(&pool->node);
    pthread_mutex_unlock(&pools_lock);
    pool->head.magic = MP__MAGIC_FREED;
    mp__pool_unref_memory(pool);
}

void mp_pool_free(mp_pool *pool)
{
    if (!mp__is(pool, MP__MAGIC_POOL))
        return;
    if (pool->fork_count != atomic_load(&mp__fork_count))
        return; /* the parent's, with locks that may be held: what it takes goes with this process */
    if (!mp__head_unref(&pool->head))
        return;
    pool->head.magic = MP__MAGIC_POOL; /* until it has ended */
    mp_pool_terminate(pool);
    if (is_own_thread(pool)) { /* by a callback */
        pthread_mutex_lock(&pool->lock);
        pool->orphaned = true;
        pthread_mutex_unlock(&pool->lock);
        return;
    }
    mp_pool_join(pool, MP_FOREVER);
    mp__pool_forget(pool);
}

/* ---- calls ---- */

/* Hands a job that was made to the pool; on failure it is gone. */
static mp_result *submit(mp_result *job, int r)
{
    mp_pool *pool = job->pool;
    if (r == 0) {
        pthread_mutex_lock(&pool->lock);
        r = mp__job_start(job);
        bool watched = job->options.timeout > 0 || job->options.soft_timeout > 0;
        if (r == 0 && (!job->quiet || pool->options.lazy || watched))
            mp__pool_kick(pool);
        pthread_mutex_unlock(&pool->lock);
    }
    if (r < 0) {
        mp_result_free(job);
        return mp__null(r);
    }
    return job;
}

/* The checks that all calls share; takes `value` over if they fail. */
static int check_call(const mp_pool *pool, const mp_task *task, const mp_call_options *options)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    MP__CHECK(task && task->name && (!options || options->size == sizeof *options));
    mp__clear_detail();
    return 0;
}

static mp_result *call_all(mp_pool *pool, mp__chunk_kind kind, const mp_task *task,
                           mp_value *const *items, size_t n, const mp_call_options *options,
                           bool single, bool quiet)
{
    mp_result *job = mp__job_new(pool, kind, task, n, options);
    if (!job)
        return NULL;
    job->single = single;
    job->quiet = quiet;
    return submit(job, mp__job_input(job, items));
}

static mp_result *apply(mp_pool *pool, const mp_task *task, mp_value *args,
                        const mp_call_options *options, bool quiet)
{
    int r = args ? check_call(pool, task, options) : mp_error_code();
    mp_result *result = NULL;
    if (r == 0)
        result = call_all(pool, MP__CHUNK_CALLS, task, &args, 1, options, true, quiet);
    else
        errno = -r;
    mp_value_free(args);
    return result;
}

mp_result *mp_pool_apply_async(mp_pool *pool, const mp_task *task, mp_value *args,
                               const mp_call_options *options)
{
    return apply(pool, task, args, options, false);
}

/* Waits for a result and frees it. */
static int finish(mp_result *result, mp_value **ret_value)
{
    if (!result)
        return mp_error_code();
    int r = mp_result_get(result, ret_value, MP_FOREVER);
    mp_result_free(result);
    return r;
}

int mp_pool_apply(mp_pool *pool, const mp_task *task, mp_value *args, mp_value **ret_value)
{
    return finish(apply(pool, task, args, NULL, true), ret_value);
}

static mp_result *map(mp_pool *pool, mp__chunk_kind kind, const mp_task *task, mp_value *items,
                      const mp_call_options *options, bool quiet)
{
    int r = items ? check_call(pool, task, options) : mp_error_code();
    mp_kind list = mp_value_kind(items);
    mp_result *result = NULL;
    if (r == 0 && list != MP_KIND_LIST && list != MP_KIND_TUPLE)
        r = mp__fail(MP_ETYPE, "the items of a map are a %s, not a list",
                     mp_value_type_name(items));
    if (r == 0)
        result = call_all(pool, kind, task, items->seq.items, items->seq.n, options, false, quiet);
    else
        errno = -r;
    mp_value_free(items);
    return result;
}

mp_result *mp_pool_map_async(mp_pool *pool, const mp_task *task, mp_value *items,
                             const mp_call_options *options)
{
    return map(pool, MP__CHUNK_ITEMS, task, items, options, false);
}

mp_result *mp_pool_starmap_async(mp_pool *pool, const mp_task *task, mp_value *items,
                                 const mp_call_options *options)
{
    return map(pool, MP__CHUNK_CALLS, task, items, options, false);
}

int mp_pool_map(mp_pool *pool, const mp_task *task, mp_value *items, mp_value **ret_list)
{
    return finish(map(pool, MP__CHUNK_ITEMS, task, items, NULL, true), ret_list);
}

int mp_pool_starmap(mp_pool *pool, const mp_task *task, mp_value *items, mp_value **ret_list)
{
    return finish(map(pool, MP__CHUNK_CALLS, task, items, NULL, true), ret_list);
}

static mp_result *map_array(mp_pool *pool, const mp_task *task, const void *in, void *out, size_t n,
                            const mp_call_options *options, bool quiet)
{
    int r = check_call(pool, task, options);
    size_t in_bytes = 0, out_bytes = 0;
    if (r == 0 && (!task->each || !task->in_size || !task->out_size))
        r = mp__fail(MP_ETYPE, "task '%s' is not for arrays", task->name);
    if (r == 0 && n && (!in || !out))
        r = mp__fail(-EINVAL, "an array is missing");
    if (r == 0 &&
        (!mp__mul(n, task->in_size, &in_bytes) || !mp__mul(n, task->out_size, &out_bytes)))
        r = mp__fail(-ENOMEM, "an array of %zu elements", n);
    if (r < 0)
        return mp__null(r);
    mp_result *job = mp__job_new(pool, MP__CHUNK_ARRAY, task, n, options);
    if (!job || !n)
        return job ? submit(job, 0) : NULL;
    job->quiet = quiet;
    job->user_out = out;
    job->out_size = task->out_size;
    job->in = mp__shm_new_raw(in_bytes);
    job->out = mp__shm_new_raw(out_bytes);
    r = job->in && job->out ? 0 : mp_error_code();
    if (r == 0)
        memcpy(mp_shm_data(job->in), in, in_bytes);
    return submit(job, r);
}

mp_result *mp_pool_map_array_async(mp_pool *pool, const mp_task *task, const void *in, void *out,
                                   size_t n, const mp_call_options *options)
{
    return map_array(pool, task, in, out, n, options, false);
}

int mp_pool_map_array(mp_pool *pool, const mp_task *task, const void *in, void *out, size_t n)
{
    return finish(map_array(pool, task, in, out, n, NULL, true), NULL);
}

mp_result *mp_pool_map_bytes_async(mp_pool *pool, const mp_task *task, const mp_bytes *items,
                                   size_t n, const mp_call_options *options)
{
    MP__CHECK_NULL(items || !n);
    int r = check_call(pool, task, options);
    if (r < 0)
        return mp__null(r);
    mp_result *job = mp__job_new(pool, MP__CHUNK_BYTES, task, n, options);
    return job ? submit(job, mp__job_input_bytes(job, items)) : NULL;
}

/* ---- looking ---- */

int mp_pool_get_info(mp_pool *pool, mp_pool_info *ret_info)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    MP__CHECK(ret_info);
    pthread_mutex_lock(&pool->lock);
    mp_pool_info info = {.workers = pool->nworkers,
                         .submitted = pool->submitted,
                         .done = pool->done,
                         .failed = pool->failed,
                         .lost = pool->lost,
                         .closed = pool->state != MP__POOL_OPEN,
                         .broken = pool->broken != 0};
    for (unsigned i = 0; i < pool->nworkers; i++) {
        info.alive += pool->workers[i].process != NULL || pool->workers[i].starting;
        info.busy += pool->workers[i].process && atomic_load(&pool->board->desk[i].chunk);
    }
    pthread_mutex_unlock(&pool->lock);
    *ret_info = info;
    return 0;
}

int mp_pool_get_worker(mp_pool *pool, unsigned i, mp_worker_info *ret_info)
{
    int r = check_own(pool);
    if (r < 0)
        return r;
    MP__CHECK(ret_info);
    if (i >= pool->nworkers)
        return mp__fail(-ERANGE, "the pool has %u workers, so none is number %u", pool->nworkers,
                        i);
    const mp__desk *desk = &pool->board->desk[i];
    uint64_t run = atomic_load(&desk->run);
    mp_worker_info info = {.tasks = atomic_load(&desk->tasks),
                           .busy_time = (mp_time)atomic_load(&desk->busy),
                           .item = MP__RUN_ITEM_OF(run)};
    pthread_mutex_lock(&pool->lock);
    if (pool->workers[i].process)
        info.pid = mp_process_pid(pool->workers[i].process);
    pthread_mutex_unlock(&pool->lock);
    info.pid = info.pid < 0 ? 0 : info.pid;
    info.busy = info.pid && atomic_load(&desk->chunk);
    if (info.busy) {
        info.running = mp__os_now() - atomic_load(&desk->since);
        snprintf(info.task, sizeof info.task, "%.63s", desk->task);
    }
    *ret_info = info;
    return 0;
}
