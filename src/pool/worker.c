/* SPDX-License-Identifier: MIT */
/*
 * Owns the life of a worker: it takes a chunk, runs its tasks one by one, and sends what they return.
 *
 * What it does stands on its desk (pool.h), in this order: `run` says "not begun", then `chunk` is
 * stored; before each task `run` says "inside", after its result was sent "over".  So whoever finds the
 * worker dead knows which task it was inside of, if any.  A worker whose `run` says "condemned" is about to
 * be killed, and waits for that.
 */
#include <stdio.h>

#include "os/os.h"
#include "pool/pool.h"

#define PROMPT 200000 /* ns after which a result is told of at once */
#define SCRATCH 4096

typedef struct worker {
    mp_queue *tasks, *news;
    mp_shm *board_shm;
    mp__board *board;
    mp__desk *desk;
    uint32_t index;
    const char *start, *end;
    const mp_value *start_args;
    uint64_t max_tasks, max_memory;
    int64_t told; /* when news were last told of */
} worker;

/* The chunk at hand. */
typedef struct work {
    const mp__chunk_head *head;
    const char *items;
    const uint32_t *sizes;
    const mp_task *task;
    char *in, *out; /* of arrays */
} work;

/* ---- news ---- */

static void tell(worker *w, const mp__news *news, const void *data, size_t size, bool now)
{
    char room[SCRATCH];
    size_t total = sizeof *news + size;
    char *message = total <= sizeof room ? room : mp__alloc(total);
    if (!message)
        return; /* the pool finds the task undone when the chunk is over */
    memcpy(message, news, sizeof *news);
    if (size)
        memcpy(message + sizeof *news, data, size);
    mp__item item = {.data = message, .size = total};
    int64_t time = now ? 0 : mp__os_now();
    if (now || time - w->told > PROMPT || total > MP__RING_INLINE ||
        !mp__ring_put_quickly(mp__queue_ring(w->news), &w->news->cache, &item, true)) {
        while (mp_queue_put_bytes(w->news, message, total, MP_FOREVER) == -EINTR)
            ;
        w->told = now ? w->told : time;
    }
    if (message != room)
        free(message);
}

static mp__news about(const worker *w, mp__news_kind kind, uint64_t item)
{
    return (mp__news){
        .number = atomic_load(&w->desk->chunk), .first = item, .kind = kind, .worker = w->index};
}

static void tell_failure(worker *w, mp__news_kind kind, uint64_t item)
{
    mp__news news = about(w, kind, item);
    news.error = mp__task_now.error;
    tell(w, &news, mp__task_now.text, strlen(mp__task_now.text), kind == MP__NEWS_START);
}

/* The error of a library call, as the failure of the task. */
static void fail_with(int error)
{
    if (!mp__task_now.error)
        mp_task_fail(error, "%s", *mp_error_detail() ? mp_error_detail() : mp_error_text(error));
}

/* ---- one task ---- */

/* Takes args over. */
static mp_value *call(const mp_task *task, mp_value *args)
{
    if (!args) {
        fail_with(mp_error_code());
        return NULL;
    }
    mp_value *value = NULL;
    if (!task->call)
        mp_task_fail(MP_ETYPE, "the task does not take values");
    else {
        errno = 0;
        value = task->call(args);
    }
    if (!value)
        fail_with(mp_error_code() < 0 ? mp_error_code() : MP_EREMOTE);
    mp_value_free(args);
    if (mp__task_now.error) {
        mp_value_free(value);
        value = NULL;
    }
    return value;
}

static void run_value(worker *w, const work *k, uint64_t item, const void *data, size_t size)
{
    mp_value *args = NULL;
    mp_buffer *pickle = NULL;
    int r = mp_value_decode(data, size, NULL, &args);
    if (r == 0 && k->head->kind == MP__CHUNK_ITEMS)
        args = mp_value_tuple(&args, 1);
    mp_value *value = r < 0 ? NULL : call(k->task, args);
    if (r < 0)
        fail_with(r);
    if (value && (r = mp_value_encode(value, &pickle)) < 0)
        fail_with(r);
    if (pickle && !mp__task_now.error) {
        mp__news news = about(w, MP__NEWS_VALUE, item);
        tell(w, &news, pickle->data, pickle->size, false);
    }
    mp_buffer_free(pickle);
}

static void run_bytes(worker *w, const work *k, uint64_t item, const void *data, size_t size)
{
    mp_buffer *result = NULL;
    int r = k->task->bytes ? k->task->bytes(data, size, &result) : MP_ETYPE;
    if (r < 0)
        fail_with(r);
    if (!mp__task_now.error) {
        mp__news news = about(w, MP__NEWS_BYTES, item);
        tell(w, &news, result ? result->data : NULL, result ? result->size : 0, false);
    }
    mp_buffer_free(result);
}

static void run_element(const work *k, uint64_t item)
{
    k->task->each(k->in + item * k->task->in_size, k->out + item * k->task->out_size);
}

/* From "inside" to "over"; if the pool was quicker, we are to be killed. */
static void over(worker *w, const work *k, uint64_t item)
{
    uint64_t inside = MP__RUN(k->head->number, item, MP__RUN_INSIDE);
    if (!k->head->timed) {
        atomic_store_explicit(&w->desk->run, MP__RUN(k->head->number, item, MP__RUN_OVER),
                              memory_order_release);
        return;
    }
    if (!atomic_compare_exchange_strong(&w->desk->run, &inside,
                                        MP__RUN(k->head->number, item, MP__RUN_OVER)))
        for (;;)
            mp__os_poll(NULL, 0, MP_SECONDS(1));
}

/* ---- a chunk ---- */

static int open_arrays(const mp__chunk_head *head, mp_shm **ret_in, mp_shm **ret_out)
{
    *ret_in = mp__shared_wrap(MP__OBJECT_SHM, mp__hold_receive(MP__OBJECT_SHM, head->in, false));
    *ret_out = mp__shared_wrap(MP__OBJECT_SHM, mp__hold_receive(MP__OBJECT_SHM, head->out, false));
    return *ret_in && *ret_out ? 0 : mp_error_code();
}

static void run_items(worker *w, work *k)
{
    const mp__chunk_head *head = k->head;
    _Atomic uint32_t *cancelled = &w->board->cancelled[head->number % MP__WINDOW];
    atomic_fetch_or(cancelled, MP__BEGUN);
    for (uint32_t i = 0; i < head->count; i++) {
        uint64_t item = head->first + i;
        if (atomic_load_explicit(cancelled, memory_order_relaxed) & MP__CANCELLED) {
            mp__news news = about(w, MP__NEWS_SKIPPED, item);
            news.count = head->count - i;
            tell(w, &news, NULL, 0, false);
            break;
        }
        if (head->timed)
            atomic_store(&w->desk->since, mp__os_now());
        atomic_store_explicit(&w->desk->run, MP__RUN(head->number, item, MP__RUN_INSIDE),
                              memory_order_release);
        mp__task_now.error = 0;
        if (!k->task)
            mp_task_fail(MP_ENOTARGET, "the worker knows no task '%s'", head->task);
        else if (head->kind == MP__CHUNK_ARRAY)
            run_element(k, item);
        else if (head->kind == MP__CHUNK_BYTES)
            run_bytes(w, k, item, k->items, k->sizes[i]);
        else
            run_value(w, k, item, k->items, k->sizes[i]);
        if (mp__unlikely(mp__task_now.error))
            tell_failure(w, MP__NEWS_FAILED, item);
        over(w, k, item);
        if (head->kind != MP__CHUNK_ARRAY)
            k->items += k->sizes[i];
    }
}

static void run_chunk(worker *w, const mp_buffer *chunk)
{
    const mp__chunk_head *head = chunk->data;
    mp_shm *in = NULL, *out = NULL;
    int64_t began = mp__os_now();
    work k = {.head = head, .task = mp__task_find(head->task)};
    k.sizes = (const uint32_t *)(const void *)(head + 1);
    k.items = (const char *)(k.sizes + head->count);
    snprintf(w->desk->task, sizeof w->desk->task, "%s", head->task);
    atomic_store(&w->desk->since, began);
    atomic_store(&w->desk->chunk, 0);
    atomic_store(&w->desk->run, MP__RUN(head->number, head->first, MP__RUN_NOT_BEGUN));
    atomic_store(&w->desk->chunk, head->number);
    if (head->kind == MP__CHUNK_ARRAY) {
        if (open_arrays(head, &in, &out) < 0 || (k.task && !k.task->each))
            k.task = NULL;
        k.in = in ? mp_shm_data(in) : NULL;
        k.out = out ? mp_shm_data(out) : NULL;
    }
    run_items(w, &k);
    mp_shm_free(in);
    mp_shm_free(out);
    mp__news news = about(w, MP__NEWS_CHUNK, head->first);
    news.count = head->count;
    news.elapsed = mp__os_now() - began;
    atomic_fetch_add(&w->desk->tasks, head->count);
    atomic_fetch_add(&w->desk->busy, (uint64_t)news.elapsed);
    tell(w, &news, NULL, 0, true);
    atomic_store(&w->desk->chunk, 0);
}

/* ---- life ---- */

static bool is_used_up(const worker *w)
{
    if (w->max_tasks && atomic_load(&w->desk->tasks) >= w->max_tasks)
        return true;
    return w->max_memory && mp__os_memory_used() > w->max_memory;
}

static int start(worker *w)
{
    if (w->start) {
        const mp_task *task = mp__task_find(w->start);
        mp__task_now.error = 0;
        mp_value *value = NULL;
        if (!task)
            mp_task_fail(MP_ENOTARGET, "the worker knows no task '%s'", w->start);
        else
            value =
                call(task, w->start_args ? mp_value_ref(w->start_args) : mp_value_tuple(NULL, 0));
        mp_value_free(value);
        if (mp__task_now.error) {
            tell_failure(w, MP__NEWS_START, 0);
            return 1;
        }
    }
    mp__news news = about(w, MP__NEWS_READY, 0);
    tell(w, &news, NULL, 0, true);
    return 0;
}

static int work_on(worker *w)
{
    mp__task_now.board = w->board;
    mp__task_now.desk = w->desk;
    atomic_store(&w->desk->chunk, 0);
    atomic_store(&w->desk->tasks, 0);
    atomic_store(&w->desk->pid, (uint32_t)mp__os_pid());
    if (start(w))
        return 1;
    do {
        mp_buffer *chunk;
        int r = mp_queue_get_buffer(w->tasks, &chunk, MP_FOREVER);
        if (r == -EINTR)
            continue;
        if (r < 0)
            break;
        run_chunk(w, chunk);
        mp_buffer_free(chunk);
    } while (!is_used_up(w));
    if (w->end && mp__task_find(w->end))
        mp_value_free(call(mp__task_find(w->end), mp_value_tuple(NULL, 0)));
    return 0;
}

static int run(const mp_value *args)
{
    worker w = {.told = 0};
    int64_t numbers[3] = {0, 0, 0};
    if (mp_value_get_queue(mp_value_item(args, 0), &w.tasks) < 0 ||
        mp_value_get_queue(mp_value_item(args, 1), &w.news) < 0 ||
        mp_value_get_shm(mp_value_item(args, 2), &w.board_shm) < 0)
        return 1;
    for (size_t i = 0; i < 3; i++)
        if (mp_value_get_int(mp_value_item(args, 3 + i), &numbers[i]) < 0)
            return 1;
    w.board = mp_shm_data(w.board_shm);
    w.index = (uint32_t)numbers[0];
    w.desk = &w.board->desk[w.index];
    w.max_tasks = (uint64_t)numbers[1];
    w.max_memory = (uint64_t)numbers[2];
    w.start = mp_value_get_str(mp_value_item(args, 6), NULL);
    w.start_args = mp_value_item(args, 7);
    if (mp_value_kind(w.start_args) != MP_KIND_TUPLE)
        w.start_args = NULL;
    w.end = mp_value_get_str(mp_value_item(args, 8), NULL);
    return work_on(&w);
}

mp_target mp__worker_target = {"multiproc pool worker", run, NULL};

__attribute__((constructor)) static void set_up(void)
{
    (void)mp_target_register(&mp__worker_target);
}
