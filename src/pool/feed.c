/* SPDX-License-Identifier: MIT */
/*
 * Owns the two directions between a pool and its workers: chunks are made and sent, news are taken and
 * heard.  All of it under the pool's lock, which is given back while news are waited for.
 */
#include "os/os.h"
#include "pool/pool.h"

#define CHUNK_TIME 2e6 /* ns that a chunk of unknown size shall take */
#define AHEAD 3        /* chunks for each worker, of a job whose chunks are ours to choose */
#define SCRATCH (256u << 10)
#define NEWS 128 /* heard under one hold of the lock */

/* ---- sending ---- */

mp__chunk *mp__pool_chunk(mp_pool *pool, uint64_t number)
{
    mp__chunk *c = &pool->chunks[number % MP__WINDOW];
    return c->job && c->number == number ? c : NULL;
}

void mp__chunk_close(mp_pool *pool, mp__chunk *chunk)
{
    mp_result *job = chunk->job;
    chunk->job = NULL;
    pool->open--;
    if (--job->sent == 0 && job->ready)
        mp__job_let_go(job);
    mp_result_free(job);
}

static size_t choose(const mp_pool *pool, const mp_result *job, size_t left)
{
    if (job->chunk)
        return job->chunk < left ? job->chunk : left;
    size_t most = left / (2 * (size_t)pool->nworkers) + 1, n;
    if (job->kind == MP__CHUNK_ARRAY && job->each <= 0)
        n = 1 + job->n / (64 * (size_t)pool->nworkers); /* a first guess */
    else
        n = job->each <= 0 ? 1 : (size_t)(CHUNK_TIME / (job->each + 1)) + 1;
    n = n < most ? n : most;
    return n < 1u << 20 ? n : 1u << 20;
}

static size_t chunk_bytes(const mp_result *job, size_t first, size_t count)
{
    if (job->kind == MP__CHUNK_ARRAY)
        return sizeof(mp__chunk_head);
    return sizeof(mp__chunk_head) + count * sizeof(uint32_t) + job->offsets[first + count] -
           job->offsets[first];
}

static void write_chunk(const mp_result *job, mp__chunk_head *head)
{
    if (job->kind == MP__CHUNK_ARRAY) {
        mp__hold_words(((mp__shared *)job->in)->hold, head->in);
        mp__hold_words(((mp__shared *)job->out)->hold, head->out);
        return;
    }
    uint32_t *sizes = (uint32_t *)(void *)(head + 1);
    const size_t *offsets = job->offsets + head->first;
    for (uint32_t i = 0; i < head->count; i++)
        sizes[i] = (uint32_t)(offsets[i + 1] - offsets[i]);
    memcpy(sizes + head->count, job->input + offsets[0], offsets[head->count] - offsets[0]);
}

/* Puts a chunk into the queue. */
static int send_chunk(mp_pool *pool, mp_result *job, size_t first, size_t count)
{
    char room[MP__RING_INLINE];
    size_t size = chunk_bytes(job, first, count);
    mp__chunk_head *head = (void *)(size <= sizeof room ? room : mp__alloc(size));
    if (!head)
        return -ENOMEM;
    uint64_t place = 0;
    while (pool->chunks[(pool->number + place) % MP__WINDOW].job)
        place++;
    place = (pool->number + place) % MP__WINDOW;
    uint64_t number = (pool->number + 1) * MP__WINDOW + place;
    memset(head, 0, sizeof *head);
    head->number = number;
    head->first = first;
    head->count = (uint32_t)count;
    head->kind = (uint16_t)job->kind;
    head->timed = job->options.timeout > 0 || job->options.soft_timeout > 0;
    memcpy(head->task, job->task, sizeof head->task);
    write_chunk(job, head);
    atomic_store(&pool->board->cancelled[number % MP__WINDOW], 0);
    int r;
    while ((r = mp_queue_put_bytes(pool->tasks, head, size, MP_FOREVER)) == -EINTR)
        ;
    if ((char *)head != room)
        free(head);
    if (r < 0)
        return r;
    pool->number++;
    pool->chunks[place] = (mp__chunk){number, job, first, count, 0, 0};
    mp__head_ref(&job->head);
    job->sent++;
    pool->open++;
    return 0;
}

/* The next items of a job that have to be sent; false when there are none. */
static bool next_range(mp_pool *pool, mp_result *job, size_t *ret_first, size_t *ret_count)
{
    if (job->again) {
        mp__range *r = job->again;
        *ret_first = r->first;
        *ret_count = choose(pool, job, r->count);
        r->first += *ret_count;
        r->count -= *ret_count;
        if (!r->count) {
            job->again = r->next;
            free(r);
        }
        return true;
    }
    if (job->next >= job->n)
        return false;
    *ret_first = job->next;
    *ret_count = choose(pool, job, job->n - job->next);
    job->next += *ret_count;
    return true;
}

void mp__pool_feed(mp_pool *pool)
{
    mp__list *node = pool->feeding.next;
    while (node != &pool->feeding && pool->open < MP__WINDOW && !pool->broken) {
        mp_result *job = MP__CONTAINER(node, mp_result, feeding);
        size_t first, count;
        node = node->next;
        if (!job->chunk && job->sent >= AHEAD * (size_t)pool->nworkers)
            continue;
        if (!next_range(pool, job, &first, &count)) {
            mp__list_remove(&job->feeding);
            continue;
        }
        int r = send_chunk(pool, job, first, count);
        if (r < 0) {
            for (size_t i = first; i < first + count; i++)
                mp__job_fail(job, i, r, "task '%s' number %zu cannot be sent: %s", job->task, i,
                             *mp_error_detail() ? mp_error_detail() : mp_error_text(r));
            mp__job_finish(job, count);
            node = pool->feeding.next;
        } else {
            node = &job->feeding; /* once more the same */
        }
    }
}

/* ---- hearing ---- */

static void hear_failure(mp__chunk *c, const mp__news *news, const char *text, size_t size)
{
    mp_result *job = c->job;
    mp__job_fail(job, news->first, news->error, "task '%s' number %llu: %.*s", job->task,
                 (unsigned long long)news->first, (int)(size < 512 ? size : 512), text);
}

static void release_owner(void *owner, void *data, size_t size)
{
    (void)data;
    (void)size;
    mp_buffer_free(owner);
}

/* What a task returned, in the block in which it came. */
static mp_buffer *part_of(mp_buffer *owner, const char *data, size_t size)
{
    mp_buffer *part = mp__buffer_wrap((char *)(uintptr_t)data, size, release_owner, owner);
    if (part)
        mp_buffer_ref(owner);
    return part;
}

static void hear_item(mp__chunk *c, const mp__news *news, const char *data, size_t size,
                      mp_buffer *owner)
{
    mp_result *job = c->job;
    size_t i = news->first;
    if (job->ready || i < c->first || i - c->first >= c->count || (job->state && job->state[i]))
        return;
    c->reported++;
    c->latest = i;
    if (news->kind == MP__NEWS_FAILED) {
        hear_failure(c, news, data, size);
    } else if (news->kind == MP__NEWS_BYTES && job->buffers) {
        job->buffers[i] = owner ? part_of(owner, data, size) : mp_buffer_copy(data, size);
    } else if (news->kind == MP__NEWS_VALUE && job->values) {
        mp__attachments none;
        mp__attachments_init(&none, 0);
        int r = mp__message_value(data, size, owner, &none, &job->values[i]);
        if (r < 0)
            mp__job_fail(job, i, r, "task '%s' number %zu: its result cannot be read", job->task,
                         i);
    }
    if (job->state)
        job->state[i] = 1;
    mp__job_finish(job, 1);
}

static void hear_skipped(mp__chunk *c, const mp__news *news)
{
    size_t end = c->first + c->count, first = news->first > c->first ? news->first : c->first;
    if (first >= end)
        return;
    c->count = first - c->first; /* the rest is settled, also if the worker dies now */
    for (size_t i = first; i < end; i++)
        mp__job_fail(c->job, i, -ECANCELED, "task '%s' number %zu was cancelled", c->job->task, i);
    mp__job_finish(c->job, end - first);
}

/* The chunk is over: the elements of an array that were not reported are done. */
static void hear_chunk(mp_pool *pool, mp__chunk *c, const mp__news *news)
{
    mp_result *job = c->job;
    double each = (double)news->elapsed / (double)(c->count ? c->count : 1);
    job->each = job->each > 0 ? 0.7 * job->each + 0.3 * each : each;
    size_t rest = 0;
    if (job->kind == MP__CHUNK_ARRAY)
        rest = c->count - c->reported;
    for (size_t i = c->first; job->state && !job->ready && i < c->first + c->count; i++)
        if (!job->state[i]) {
            mp__job_fail(job, i, -ENOMEM, "task '%s' number %zu: its result was lost", job->task,
                         i);
            rest++;
        }
    mp__head_ref(&job->head);
    mp__chunk_close(pool, c);
    mp__job_finish(job, rest);
    mp_result_free(job);
}

static void hear_worker(mp_pool *pool, const mp__news *news, const char *text, size_t size)
{
    if (news->worker >= pool->nworkers)
        return;
    if (news->kind == MP__NEWS_READY) {
        pool->workers[news->worker].ready = true;
        pool->start_failures = 0;
        return;
    }
    char reason[600];
    size = size < sizeof reason - 1 ? size : sizeof reason - 1;
    memcpy(reason, text, size);
    reason[size] = 0;
    free(pool->broken_text);
    pool->broken_text = mp__strdup(reason);
}

void mp__pool_hear(mp_pool *pool, const mp__news *news, const char *data, size_t size,
                   mp_buffer *owner)
{
    if (news->kind >= MP__NEWS_READY) {
        hear_worker(pool, news, data, size);
        return;
    }
    mp__chunk *c = mp__pool_chunk(pool, news->number);
    if (!c) /* of a chunk that was given up */
        return;
    mp_result *job = c->job;
    mp__head_ref(&job->head);
    if (news->kind == MP__NEWS_CHUNK)
        hear_chunk(pool, c, news);
    else if (news->kind == MP__NEWS_SKIPPED && !job->ready)
        hear_skipped(c, news);
    else if (news->kind != MP__NEWS_SKIPPED)
        hear_item(c, news, data, size, owner);
    mp_result_free(job);
}

/* ---- collecting ---- */

/* News as they were taken: behind one another in the scratch, or blocks. */
typedef struct basket {
    mp__sink sink;
    char *room;
    size_t used, n;
    struct {
        mp_buffer *block;
        size_t at, size;
    } items[NEWS];
} basket;

static int basket_take(mp__sink *sink, const void *data, uint64_t size)
{
    basket *b = (basket *)sink;
    if (size > SCRATCH - b->used)
        return 0;
    b->items[b->n].block = NULL;
    b->items[b->n].at = b->used;
    b->items[b->n++].size = size;
    memcpy(b->room + b->used, data, size);
    b->used += (size + 7) & ~(size_t)7;
    return 1;
}

static int basket_take_block(mp__sink *sink, mp__hold *block, uint64_t size)
{
    basket *b = (basket *)sink;
    mp_buffer *buffer = mp__queue_view(block, size);
    if (!buffer)
        return -ENOMEM;
    b->items[b->n].block = buffer;
    b->items[b->n++].size = size;
    return 1;
}

static void hear_all(mp_pool *pool, basket *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const char *at = b->items[i].block ? b->items[i].block->data : b->room + b->items[i].at;
        const mp__news *news = (const mp__news *)(const void *)at;
        if (b->items[i].size >= sizeof *news)
            mp__pool_hear(pool, news, at + sizeof *news, b->items[i].size - sizeof *news,
                          b->items[i].block);
        mp_buffer_free(b->items[i].block);
    }
}

int mp__pool_collect(mp_pool *pool, mp_time timeout)
{
    basket b = {.sink = {basket_take, basket_take_block, NEWS}, .room = pool->scratch};
    pool->collecting = true;
    pthread_mutex_unlock(&pool->lock);
    int64_t r = mp__queue_take(pool->news, &b.sink, timeout);
    pthread_mutex_lock(&pool->lock);
    pool->collecting = false;
    if (r > 0)
        hear_all(pool, &b);
    mp__pool_feed(pool);
    if (pool->wanted || pool->waiting) /* the place is free */
        pthread_cond_broadcast(&pool->changed);
    return r == -ETIMEDOUT || r == MP_EOF ? 0 : (int)r;
}

int mp__pool_wait(mp_pool *pool, mp__deadline deadline, bool (*done)(void *), void *argument)
{
    int r = 0;
    pool->waiting++;
    while (!done(argument) && r >= 0) {
        mp_time left = mp__deadline_left(deadline, mp__os_now());
        if (!left)
            r = -EAGAIN;
        else if (!pool->collecting && !pool->wanted)
            r = mp__pool_collect(pool, left);
        else
            mp__timed_wait(&pool->changed, &pool->lock, left);
    }
    if (--pool->waiting)
        pthread_cond_broadcast(&pool->changed); /* the next one collects */
    else if (!mp__pool_is_idle(pool))
        mp__pool_kick(pool); /* the pool's thread does */
    return r < 0 ? r : 0;
}
