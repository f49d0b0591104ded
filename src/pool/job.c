/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_result: the tasks of one call, their input, what came back, and what a caller can ask of it.
 * Process-local.
 */
#include <stdio.h>

#include "os/os.h"
#include "pool/pool.h"

#define RETRIES_MOST 60000

/* ---- making ---- */

mp_result *mp__job_new(mp_pool *pool, mp__chunk_kind kind, const mp_task *task, size_t n,
                       const mp_call_options *options)
{
    mp_result *job = mp__alloc_zero(sizeof *job);
    static const mp_call_options none = MP_CALL_OPTIONS_INIT;
    if (!job)
        return mp__null(-ENOMEM);
    mp__head_init(&job->head, MP__MAGIC_RESULT);
    mp__list_reset(&job->node);
    mp__list_reset(&job->feeding);
    atomic_fetch_add(&pool->memory, 1);
    job->pool = pool;
    job->kind = kind;
    job->n = n;
    job->options = options ? *options : none;
    if (job->options.retries < 0)
        job->options.retries = (int)pool->options.retries;
    if (job->options.retries > RETRIES_MOST)
        job->options.retries = RETRIES_MOST;
    if (job->options.timeout <= 0)
        job->options.timeout = pool->options.timeout;
    job->chunk = job->options.chunk;
    snprintf(job->task, sizeof job->task, "%s", task->name);
    bool enough = true;
    if (kind != MP__CHUNK_ARRAY) {
        job->state = mp__alloc_zero(n + 1);
        enough = job->state != NULL;
    }
    if (kind == MP__CHUNK_BYTES)
        enough = enough && (job->buffers = mp__alloc_zero((n + 1) * sizeof *job->buffers));
    else if (kind != MP__CHUNK_ARRAY)
        enough = enough && (job->values = mp__alloc_zero((n + 1) * sizeof *job->values));
    if (job->options.retries > 0)
        enough = enough && (job->attempts = mp__alloc_zero((n + 1) * sizeof *job->attempts));
    if (!enough) {
        mp_result_free(job);
        return mp__null(-ENOMEM);
    }
    return job;
}

static int add_input(mp_result *job, size_t i, const void *data, size_t size, size_t *capacity)
{
    size_t used = job->offsets[i], need;
    if (!mp__add(used, size, &need) || size > UINT32_MAX)
        return mp__fail(-E2BIG, "the arguments of task %zu have %zu bytes", i, size);
    if (need > *capacity) {
        size_t more = need + need / 2 + 256;
        char *input = mp__realloc(job->input, more);
        if (!input)
            return -ENOMEM;
        job->input = input;
        *capacity = more;
    }
    if (size)
        memcpy(job->input + used, data, size);
    job->offsets[i + 1] = need;
    return 0;
}

static int make_offsets(mp_result *job)
{
    job->offsets = mp__alloc_zero((job->n + 1) * sizeof *job->offsets);
    return job->offsets ? 0 : -ENOMEM;
}

int mp__job_input(mp_result *job, mp_value *const *items)
{
    size_t capacity = 0;
    int r = make_offsets(job);
    for (size_t i = 0; r == 0 && i < job->n; i++) {
        mp_buffer *pickle;
        if (job->kind == MP__CHUNK_CALLS && mp_value_kind(items[i]) != MP_KIND_TUPLE)
            return mp__fail(MP_ETYPE, "the arguments of task %zu are a %s, not a tuple", i,
                            mp_value_type_name(items[i]));
        r = mp_value_encode(mp_value_ref(items[i]), &pickle);
        if (r < 0)
            return r;
        r = add_input(job, i, pickle->data, pickle->size, &capacity);
        mp_buffer_free(pickle);
    }
    return r;
}

int mp__job_input_bytes(mp_result *job, const mp_bytes *items)
{
    size_t capacity = 0;
    int r = make_offsets(job);
    for (size_t i = 0; r == 0 && i < job->n; i++)
        r = add_input(job, i, items[i].data, items[i].size, &capacity);
    return r;
}

/* ---- what becomes of its tasks; under the pool's lock ---- */

void mp__job_fail(mp_result *job, size_t item, int code, const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (job->nerrors == job->room) {
        size_t room = job->room ? 2 * job->room : 4;
        mp__task_error *errors = mp__realloc(job->errors, room * sizeof *errors);
        if (errors) {
            job->errors = errors;
            job->room = room;
        }
    }
    if (job->nerrors < job->room)
        job->errors[job->nerrors++] = (mp__task_error){item, code, mp__strdup(text)};
    if (job->state && item < job->n)
        job->state[item] = 1;
    job->pool->failed++;
}

static void copy_out(mp_result *job)
{
    const char *from = mp_shm_data(job->out);
    char *to = job->user_out;
    if (!job->nerrors) {
        memcpy(to, from, job->n * job->out_size);
        return;
    }
    uint8_t *bad = mp__alloc_zero(job->n);
    for (size_t i = 0; bad && i < job->nerrors; i++)
        bad[job->errors[i].item] = 1;
    for (size_t i = 0; bad && i < job->n; i++)
        if (!bad[i])
            memcpy(to + i * job->out_size, from + i * job->out_size, job->out_size);
    free(bad);
}

void mp__job_let_go(mp_result *job)
{
    free(job->input);
    free(job->offsets);
    mp_shm_free(job->in);
    mp_shm_free(job->out);
    job->input = NULL;
    job->offsets = NULL;
    job->in = job->out = NULL;
    for (mp__range *r = job->again, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    job->again = NULL;
}

static void complete(mp_result *job)
{
    mp_pool *pool = job->pool;
    if (job->kind == MP__CHUNK_ARRAY && job->out && job->user_out)
        copy_out(job);
    if (!job->sent) /* else workers may still look at it */
        mp__job_let_go(job);
    mp__list_remove(&job->node);
    mp__list_remove(&job->feeding);
    job->ready = true;
    mp__progress_show(job);
    if (job->options.done) { /* its reference goes on to the call */
        job->called = NULL;
        *pool->called_end = job;
        pool->called_end = &job->called;
        mp__pool_kick(pool);
    } else {
        mp_result_free(job);
    }
    pthread_cond_broadcast(&pool->changed);
    if (pool->collecting) /* whoever waits for news shall look */
        (void)mp_queue_put_bytes(pool->news, "", 0, MP_NOWAIT);
}

void mp__job_finish(mp_result *job, size_t items)
{
    if (job->ready)
        return;
    job->finished += items;
    job->pool->done += items;
    if (job->options.progress)
        mp__progress_show(job);
    if (!job->ready && job->finished >= job->n)
        complete(job);
}

bool mp__job_again(mp_result *job, size_t first, size_t count)
{
    mp__range *range = mp__alloc(sizeof *range);
    if (!range)
        return false;
    *range = (mp__range){first, count, job->again};
    job->again = range;
    if (job->feeding.next == &job->feeding)
        mp__list_append(&job->pool->feeding, &job->feeding);
    return true;
}

void mp__job_end(mp_result *job, int code, const char *text)
{
    if (job->ready)
        return;
    size_t rest = job->n - job->finished;
    for (size_t i = 0; job->state && i < job->n; i++)
        if (!job->state[i])
            mp__job_fail(job, i, code, "%s", text);
    if (!job->state) { /* of an array it is not known which ones: the whole of it fails */
        mp__job_fail(job, 0, code, "%s", text);
        job->user_out = NULL;
    }
    for (unsigned i = 0; i < MP__WINDOW; i++)
        if (job->pool->chunks[i].job ==
            job) /* they stay open until their workers are done with them */
            atomic_fetch_or(&job->pool->board->cancelled[i], MP__CANCELLED);
    mp__job_finish(job, rest);
}

int mp__job_start(mp_result *job)
{
    mp_pool *pool = job->pool;
    int r = mp__pool_check(pool);
    if (r < 0)
        return r;
    job->began = mp__os_now();
    pool->submitted += job->n;
    mp__head_ref(&job->head); /* until it is done */
    mp__list_append(&pool->jobs, &job->node);
    if (job->n) {
        mp__list_append(&pool->feeding, &job->feeding);
        mp__pool_feed(pool);
    } else {
        complete(job);
    }
    return 0;
}

/* ---- asking ---- */

static int check(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    if (result->pool->fork_count != atomic_load(&mp__fork_count))
        return mp__fail(MP_EFOREIGN, "the result belongs to the parent process");
    return 0;
}

static bool is_ready(void *job)
{
    return ((const mp_result *)job)->ready;
}

static int wait_for(mp_result *job, mp__deadline deadline)
{
    return mp__pool_wait(job->pool, deadline, is_ready, job);
}

int mp_result_wait(mp_result *result, mp_time timeout)
{
    int r = check(result);
    if (r < 0)
        return r;
    mp__clear_detail();
    pthread_mutex_lock(&result->pool->lock);
    r = wait_for(result, mp__deadline_after(mp__os_now(), timeout));
    pthread_mutex_unlock(&result->pool->lock);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

#define LOCKED(type, expression)                                    \
    pthread_mutex_t *lock = (void *)(uintptr_t)&result->pool->lock; \
    int checked = check(result);                                    \
    if (checked < 0)                                                \
        return checked;                                             \
    pthread_mutex_lock(lock);                                       \
    type value = (expression);                                      \
    pthread_mutex_unlock(lock);                                     \
    return value

int mp_result_ready(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    LOCKED(int, result->ready);
}

int mp_result_successful(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    LOCKED(int, !result->ready ? MP_ERUNNING : result->nerrors == 0);
}

int64_t mp_result_count(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    LOCKED(int64_t, (int64_t)result->n);
}

int64_t mp_result_done(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    LOCKED(int64_t, (int64_t)result->finished);
}

int64_t mp_result_failed(const mp_result *result)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT));
    LOCKED(int64_t, (int64_t)result->nerrors);
}

static const mp__task_error *first_error(const mp_result *job)
{
    const mp__task_error *first = job->errors;
    for (size_t i = 1; i < job->nerrors; i++)
        if (job->errors[i].item < first->item)
            first = &job->errors[i];
    return first;
}

static int report(const mp_result *job)
{
    const mp__task_error *e = first_error(job);
    /* -EAGAIN means that it is not done */
    return mp__fail(e->code > 0 || e->code == -EAGAIN ? MP_EREMOTE : e->code, "%s",
                    e->text ? e->text : "");
}

static int give_value(mp_result *job, mp_value **ret_value)
{
    if (job->kind == MP__CHUNK_ARRAY || job->kind == MP__CHUNK_BYTES) {
        *ret_value = mp_value_none();
        return 0;
    }
    if (!job->single && !job->list) {
        for (size_t i = 0; i < job->n; i++)
            mp_value_ref(
                job->values[i]); /* the list takes them over, and job->values keeps its own */
        job->list = mp_value_list(job->values, job->n);
        if (!job->list)
            return -ENOMEM;
    }
    *ret_value = mp_value_ref(job->single ? job->values[0] : job->list);
    return 0;
}

int mp_result_get(mp_result *result, mp_value **ret_value, mp_time timeout)
{
    int r = check(result);
    if (r < 0)
        return r;
    mp__clear_detail();
    pthread_mutex_lock(&result->pool->lock);
    r = wait_for(result, mp__deadline_after(mp__os_now(), timeout));
    if (r == 0 && result->nerrors)
        r = report(result);
    if (r == 0 && ret_value)
        r = give_value(result, ret_value);
    pthread_mutex_unlock(&result->pool->lock);
    return r;
}

int mp_result_error(const mp_result *result, size_t i, const char **ret_text)
{
    MP__CHECK(mp__is(result, MP__MAGIC_RESULT) && i < result->n);
    int r = check(result);
    if (r < 0)
        return r;
    pthread_mutex_t *lock = (void *)(uintptr_t)&result->pool->lock;
    pthread_mutex_lock(lock);
    for (size_t k = 0; k < result->nerrors; k++) {
        if (result->errors[k].item != i)
            continue;
        r = result->errors[k].code;
        if (ret_text)
            *ret_text = result->errors[k].text;
        break;
    }
    pthread_mutex_unlock(lock);
    return r;
}

mp_buffer *mp_result_bytes(const mp_result *result, size_t i)
{
    MP__CHECK_NULL(mp__is(result, MP__MAGIC_RESULT) && i < result->n);
    return result->buffers ? result->buffers[i] : NULL;
}

static size_t cancel_range(mp_result *job, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        mp__job_fail(job, i, -ECANCELED, "task '%s' number %zu was cancelled", job->task, i);
    if (count)
        mp__job_finish(job, count);
    return count;
}

/* A chunk on its way: how many of its tasks will never begin for that. */
static size_t cancel_chunk(mp_pool *pool, unsigned place)
{
    mp__chunk *c = &pool->chunks[place];
    if (atomic_fetch_or(&pool->board->cancelled[place], MP__CANCELLED) & MP__BEGUN)
        return 0; /* its worker skips the rest, and says so */
    size_t count = c->count;
    c->count = 0;
    return cancel_range(c->job, c->first, count);
}

int64_t mp_result_cancel(mp_result *result)
{
    int r = check(result);
    if (r < 0)
        return r;
    mp_pool *pool = result->pool;
    int64_t never = 0;
    pthread_mutex_lock(&pool->lock);
    mp__head_ref(&result->head);
    if (!result->ready && !result->cancelled) {
        result->cancelled = true;
        for (unsigned i = 0; i < MP__WINDOW; i++)
            if (pool->chunks[i].job == result)
                never += (int64_t)cancel_chunk(pool, i);
        while (result->again) {
            mp__range *range = result->again;
            result->again = range->next;
            never += (int64_t)cancel_range(result, range->first, range->count);
            free(range);
        }
        size_t next = result->next;
        result->next = result->n;
        never += (int64_t)cancel_range(result, next, result->n - next);
    }
    pthread_mutex_unlock(&pool->lock);
    mp_result_free(result);
    return never;
}

mp_result *mp_result_ref(mp_result *result)
{
    MP__CHECK_NULL(mp__is(result, MP__MAGIC_RESULT));
    mp__head_ref(&result->head);
    return result;
}

void mp_result_free(mp_result *result)
{
    if (!mp__is(result, MP__MAGIC_RESULT) || !mp__head_unref(&result->head))
        return;
    mp__job_let_go(result);
    for (size_t i = 0; result->values && i < result->n; i++)
        mp_value_free(result->values[i]);
    for (size_t i = 0; result->buffers && i < result->n; i++)
        mp_buffer_free(result->buffers[i]);
    for (size_t i = 0; i < result->nerrors; i++)
        free(result->errors[i].text);
    mp_value_free(result->list);
    free(result->values);
    free(result->buffers);
    free(result->errors);
    free(result->state);
    free(result->attempts);
    mp__pool_unref_memory(result->pool);
    free(result);
}
