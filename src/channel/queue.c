/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_queue: handles, waiting, and the raw bytes of items.  The shared part, and what survivors see,
 * is ring.c's; values are queue_value.c's.
 */
#include "channel/queue.h"

#include <stdio.h>

#include "os/os.h"

#define JOIN_SLICE MP_MS(8)

/* ---- life ---- */

mp_queue *mp_queue_new_with(const mp_queue_options *options)
{
    MP__CHECK_NULL(options && options->size == sizeof *options);
    bool joinable = options->joinable != 0;
    mp__clear_detail();
    if (options->max_items > INT64_MAX / 2)
        return mp__null(mp__fail(-EINVAL, "a queue of at most %zu items", options->max_items));
    mp_queue *q = mp__shared_new(MP__OBJECT_QUEUE, mp__ring_size(joinable));
    if (!q)
        return NULL;
    mp__object *o = mp__hold_object(q->shared.hold);
    snprintf(o->name, sizeof o->name, "%s", options->name ? options->name : "");
    mp__ring_init(mp__queue_ring(q), options->max_items, options->max_bytes, joinable);
    return q;
}

mp_queue *mp_queue_new(size_t max_items)
{
    mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
    options.max_items = max_items;
    return mp_queue_new_with(&options);
}

static void fini(void *handle)
{
    mp__queue_bell_fini(handle);
}

static void bury(mp__object *object, mp__tag tag)
{
    mp__ring_bury((mp__ring *)(void *)object->data, tag);
}

__attribute__((constructor)) static void set_up(void)
{
    mp__shared_describe(MP__OBJECT_QUEUE, sizeof(mp_queue), fini);
    mp__object_on_death(MP__OBJECT_QUEUE, bury);
    mp__object_on_free(MP__OBJECT_QUEUE, mp__queue_drain);
}

mp_queue *mp_queue_ref(mp_queue *queue)
{
    return mp__shared_ref(queue, MP__OBJECT_QUEUE);
}

void mp_queue_free(mp_queue *queue)
{
    mp__shared_free(queue, MP__OBJECT_QUEUE);
}

int mp__queue_check(const mp_queue *queue)
{
    if (mp__unlikely(atomic_load_explicit(&queue->closed, memory_order_relaxed)))
        return mp__fail(MP_ECLOSED, "the queue was closed by this program");
    return 0;
}

/* ---- waiting ---- */

/* Until an end's word is no longer `seen`, or so. */
static int wait_for(mp_queue *q, mp__end *end, uint64_t seen, mp__deadline deadline)
{
    _Atomic uint32_t *half = mp__end_half(end);
    mp__spin *spin = end == &mp__queue_ring(q)->in ? &q->get_spin : &q->put_spin;
    int r = mp__queue_check(q);
    if (r < 0)
        return r;
    if (!mp__spin_while(spin, half, (uint32_t)seen))
        return mp__gate_wait(&end->gate, half, (uint32_t)seen, deadline, MP__WAIT_SLICE);
    if (mp__spin_linger(spin))
        mp__spin_gathered(spin, (atomic_load(&end->word) >> 1) - (seen >> 1));
    return 0;
}

int64_t mp__queue_put_items(mp_queue *queue, const mp__item *items, size_t n, mp_time timeout)
{
    mp__ring *ring = mp__queue_ring(queue);
    mp__deadline deadline = mp__sync_deadline(timeout);
    int64_t done = 0, r = 0;
    uint64_t seen;
    while (done < (int64_t)n) {
        r = mp__ring_put(ring, &queue->cache, items + done, n - (size_t)done, deadline, &seen);
        if (r > 0)
            done += r;
        else if (r == 0)
            r = timeout <= 0 ? -ETIMEDOUT : wait_for(queue, &ring->out, seen, deadline);
        if (r < 0)
            break;
    }
    if (r == -ETIMEDOUT && !done)
        mp__fail(-ETIMEDOUT, "the queue is full");
    return done ? done : r;
}

int64_t mp__queue_take(mp_queue *queue, mp__sink *sink, mp_time timeout)
{
    mp__ring *ring = mp__queue_ring(queue);
    mp__deadline deadline = mp__sync_deadline(timeout);
    uint64_t seen;
    int64_t r;
    while ((r = mp__ring_take(ring, &queue->cache, sink, deadline, &seen)) == 0) {
        int waited = timeout <= 0 ? -ETIMEDOUT : wait_for(queue, &ring->in, seen, deadline);
        if (waited < 0) {
            r = waited;
            break;
        }
    }
    if (mp__unlikely(mp__queue_has_bell(queue)))
        mp__queue_bell_again(queue);
    return r;
}

/* ---- bytes ---- */

/* A block for an item that is too large for a segment. */
static int make_block(mp__item *item, size_t size)
{
    *item = (mp__item){.size = size};
    item->block = mp__object_new_raw(MP__OBJECT_BLOCK, size);
    return item->block ? 0 : mp_error_code();
}

/* Bytes as an item, which stands in a block of its own if there are many. */
static int make_item(mp__item *item, const void *data, size_t size)
{
    *item = (mp__item){.data = data, .size = size};
    if (size <= MP__RING_INLINE)
        return 0;
    int r = make_block(item, size);
    if (r == 0)
        memcpy(mp__hold_data(item->block), data, size);
    return r;
}

static int put_item(mp_queue *queue, mp__item *item, mp_time timeout)
{
    int64_t put = mp__queue_put_items(queue, item, 1, timeout);
    if (item->block)
        mp__hold_free(item->block);
    return put < 0 ? (int)put : 0;
}

static void gather(char *to, const mp_bytes *parts, size_t n)
{
    for (size_t i = 0; i < n; to += parts[i++].size)
        if (parts[i].size)
            memcpy(to, parts[i].data, parts[i].size);
}

int mp_queue_put_parts(mp_queue *queue, const mp_bytes *parts, size_t n, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (parts || !n));
    mp__clear_detail();
    char room[MP__RING_INLINE];
    mp__item item;
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        if (!mp__add(size, parts[i].size, &size))
            return mp__fail(-E2BIG, "an item is too long");
    if (size <= sizeof room) {
        gather(room, parts, n);
        return mp_queue_put_bytes(queue, room, size, timeout);
    }
    int r = mp__queue_check(queue);
    if (r == 0)
        r = make_block(&item, size);
    if (r < 0)
        return r;
    gather(mp__hold_data(item.block), parts, n);
    return put_item(queue, &item, timeout);
}

int mp_queue_put_bytes(mp_queue *queue, const void *data, size_t size, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (data || !size));
    mp__clear_detail();
    mp__item item;
    int r = mp__queue_check(queue);
    if (r < 0)
        return r;
    item = (mp__item){.data = data, .size = size};
    if (size <= MP__RING_INLINE &&
        mp__ring_put_quickly(mp__queue_ring(queue), &queue->cache, &item, false))
        return 0;
    r = make_item(&item, data, size);
    return r < 0 ? r : put_item(queue, &item, timeout);
}

#define AT_ONCE 64

/* Where many items come from: bytes of one size, or ranges. */
typedef struct many {
    const char *bytes;
    size_t size;
    const mp_bytes *ranges;
} many;

static mp_bytes one_of(const many *m, size_t i)
{
    return m->ranges ? m->ranges[i] : (mp_bytes){m->bytes + i * m->size, m->size};
}

static int64_t put_many(mp_queue *queue, const many *from, size_t n, mp_time timeout)
{
    mp__clear_detail();
    mp__item batch[AT_ONCE];
    mp__deadline deadline = mp__sync_deadline(timeout);
    int64_t done = 0, r = mp__queue_check(queue);
    while (r >= 0 && (size_t)done < n) {
        size_t k = 0, left = n - (size_t)done;
        for (; k < left && k < AT_ONCE && r >= 0; k++) {
            mp_bytes item = one_of(from, (size_t)done + k);
            r = make_item(&batch[k], item.data, item.size);
        }
        size_t made = r < 0 ? k - 1 : k;
        if (r >= 0)
            r = mp__queue_put_items(queue, batch, k, mp__deadline_left(deadline, mp__os_now()));
        for (size_t i = 0; i < made; i++)
            if (batch[i].block)
                mp__hold_free(batch[i].block);
        done += r > 0 ? r : 0;
        if (r < (int64_t)k)
            break;
    }
    return done || !n ? done : r;
}

int64_t mp_queue_put_many_bytes(mp_queue *queue, const void *items, size_t size, size_t n,
                                mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (items || !size || !n));
    return put_many(queue, &(many){.bytes = items, .size = size}, n, timeout);
}

int64_t mp_queue_put_many_items(mp_queue *queue, const mp_bytes *items, size_t n, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (items || !n));
    return put_many(queue, &(many){.ranges = items}, n, timeout);
}

typedef struct bytes_sink {
    mp__sink sink;
    char *data;
    size_t capacity, used;
    bool exact;       /* every item has `capacity` bytes */
    mp_bytes *ranges; /* or NULL: where each of `n` items stands */
    size_t n;
} bytes_sink;

static int bytes_fit(bytes_sink *s, uint64_t size)
{
    if (s->exact ? size == s->capacity : size <= s->capacity - (s->ranges ? s->used : 0))
        return 1;
    return s->used || s->n ? 0
                           : mp__fail(-EMSGSIZE, "the item has %llu bytes, the buffer %zu",
                                      (unsigned long long)size, s->capacity);
}

static int bytes_take(mp__sink *sink, const void *data, uint64_t size)
{
    bytes_sink *s = (bytes_sink *)sink;
    int r = bytes_fit(s, size);
    if (r == 1 && size)
        memcpy(s->data + s->used, data, size);
    if (r == 1 && s->ranges)
        s->ranges[s->n++] = (mp_bytes){s->data + s->used, size};
    if (r == 1)
        s->used += size;
    return r;
}

static int bytes_take_block(mp__sink *sink, mp__hold *block, uint64_t size)
{
    int r = bytes_take(sink, mp__hold_data(block), size);
    if (r == 1)
        mp__hold_free(block);
    return r;
}

int64_t mp_queue_get_bytes(mp_queue *queue, void *data, size_t capacity, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (data || !capacity));
    mp__clear_detail();
    bytes_sink s = {.sink = {bytes_take, bytes_take_block, 1}, .data = data, .capacity = capacity};
    int64_t r = mp__queue_check(queue);
    if (r == 0 && mp__queue_take_quickly(queue, data, capacity, &s.used))
        return (int64_t)s.used;
    if (r == 0)
        r = mp__queue_take(queue, &s.sink, timeout);
    return r < 0 ? r : (int64_t)s.used;
}

int64_t mp_queue_get_many_bytes(mp_queue *queue, void *items, size_t size, size_t n,
                                mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (items || !size) && n);
    mp__clear_detail();
    bytes_sink s = {
        .sink = {bytes_take, bytes_take_block, n}, .data = items, .capacity = size, .exact = true};
    int64_t r = mp__queue_check(queue);
    return r < 0 ? r : mp__queue_take(queue, &s.sink, timeout);
}

int64_t mp_queue_get_many_items(mp_queue *queue, void *data, size_t capacity, mp_bytes *ret_items,
                                size_t n, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && (data || !capacity) && ret_items && n);
    mp__clear_detail();
    bytes_sink s = {.sink = {bytes_take, bytes_take_block, n},
                    .data = data,
                    .capacity = capacity,
                    .ranges = ret_items};
    int64_t r = mp__queue_check(queue);
    return r < 0 ? r : mp__queue_take(queue, &s.sink, timeout);
}

/* ---- looking ---- */

int64_t mp_queue_size(const mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    return (int64_t)mp__ring_count(mp__queue_ring(queue));
}

int mp_queue_empty(const mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    return mp__ring_count(mp__queue_ring(queue)) == 0;
}

int mp_queue_full(const mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    return mp__ring_full(mp__queue_ring(queue));
}

size_t mp_queue_max_items(const mp_queue *queue)
{
    return mp__is_queue(queue) ? mp__queue_ring(queue)->max_items : 0;
}

/* ---- the end ---- */

int mp_queue_close(mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    atomic_store(&queue->closed, true);
    return 0;
}

int mp_queue_closed(const mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    return atomic_load(&queue->closed);
}

int mp_queue_shutdown(mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    mp__clear_detail();
    return mp__ring_shut(mp__queue_ring(queue), MP__NEVER);
}

/* ---- joining ---- */

static int check_joinable(const mp_queue *queue)
{
    return mp__ring_is_joinable(mp__queue_ring(queue))
               ? 0
               : mp__fail(-EINVAL, "the queue was not made joinable (mp_queue_options)");
}

int mp_queue_task_done(mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    mp__clear_detail();
    int r = check_joinable(queue);
    return r < 0 ? r : mp__ring_done(mp__queue_ring(queue));
}

int64_t mp_queue_unfinished(const mp_queue *queue)
{
    MP__CHECK(mp__is_queue(queue));
    int r = check_joinable(queue);
    return r < 0 ? r : (int64_t)mp__ring_unfinished(mp__queue_ring(queue));
}

int mp_queue_join(mp_queue *queue, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue));
    mp__clear_detail();
    mp__ring *ring = mp__queue_ring(queue);
    mp__deadline deadline = mp__sync_deadline(timeout);
    int r = check_joinable(queue);
    while (r == 0) {
        uint32_t seen = atomic_load(&ring->done_count);
        if (!mp__ring_unfinished(ring))
            break;
        mp__ring_sweep(ring, 0);
        r = mp__gate_wait(&ring->done_gate, &ring->done_count, seen, deadline, JOIN_SLICE);
    }
    uint64_t lost = atomic_load(&ring->lost), known = atomic_load(&queue->lost_seen);
    if (r == 0 && lost > known) {
        atomic_store(&queue->lost_seen, lost);
        return mp__fail(-EOWNERDEAD,
                        "%llu items were taken by processes that died before they were done",
                        (unsigned long long)(lost - known));
    }
    return r;
}
