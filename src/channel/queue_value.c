/* SPDX-License-Identifier: MIT */
/*
 * Owns values in queues: pickled by their producer before it takes a lock, read by their consumer after it
 * has given its back.  Handles in a value are held by the item while it is in the queue; a producer that
 * is killed between counting such a hold and its commit leaves it counted (KNOWN_ISSUES.md).
 */
#include "channel/queue.h"

#include "os/os.h"

#define SCRATCH (64u << 10) /* for many */

/* ---- putting ---- */

/* What a put needs to give back. */
typedef struct parcel {
    mp__item item;
    mp__attachments attachments;
} parcel;

/* The value as an item: in `room`, or in a block if there is not room enough. */
static int pack(parcel *p, const mp_value *value, char *room, size_t size)
{
    mp__pickle_plan plan;
    int r = mp__pickle_plan_make(value, &plan);
    if (r < 0)
        return r;
    p->item = (mp__item){.data = room, .size = plan.size};
    mp__attachments_init(&p->attachments, 0);
    if (plan.size > size) {
        p->item.block = mp__object_new_raw(MP__OBJECT_BLOCK, plan.size);
        p->item.data = p->item.block ? mp__hold_data(p->item.block) : NULL;
        r = p->item.block ? 0 : mp_error_code();
    }
    if (r == 0)
        r = mp__pickle_write(&plan, value, (char *)(uintptr_t)p->item.data, &p->attachments);
    mp__pickle_plan_free(&plan);
    if (r == 0 && p->attachments.n)
        r = mp__fail(-EOPNOTSUPP,
                     "connections and descriptors cannot be put into a queue: send them "
                     "through a pipe");
    p->item.has_handles = p->attachments.nheld > 0;
    return r;
}

static void unpack(parcel *p, bool delivered)
{
    mp__attachments_release(&p->attachments, delivered);
    if (p->item.block)
        mp__hold_free(p->item.block);
}

int mp_queue_put(mp_queue *queue, mp_value *value, mp_time timeout)
{
    if (!value)
        return mp_error_code();
    int64_t r = -EINVAL;
    if (mp__likely(mp__is_queue(queue))) {
        char room[MP__RING_INLINE];
        parcel p;
        mp__clear_detail();
        p.attachments.n = p.attachments.nheld = 0;
        p.item.block = NULL;
        r = mp__queue_check(queue);
        if (r == 0) {
            r = pack(&p, value, room, sizeof room);
            if (r == 0)
                r = !p.item.block && mp__ring_put_quickly(mp__queue_ring(queue), &queue->cache,
                                                          &p.item, false)
                        ? 1
                        : mp__queue_put_items(queue, &p.item, 1, timeout);
            unpack(&p, r > 0);
        }
    }
    mp_value_free(value);
    if (r == -EINVAL && !mp__is_queue(queue))
        return mp__misuse(__func__, "queue");
    return r < 0 ? (int)r : 0;
}

/* Packs values until one holds handles, is large, or the scratch is full: those go alone. */
static int64_t put_batch(mp_queue *q, mp_value *const *values, size_t n, char *scratch,
                         mp__deadline deadline)
{
    mp__item items[64];
    parcel p;
    size_t k = 0, used = 0;
    int64_t r = 0;
    bool alone = false;
    while (k < n && k < MP__COUNT_OF(items) && SCRATCH - used >= MP__RING_INLINE && !alone) {
        p.attachments.n = p.attachments.nheld = 0;
        p.item.block = NULL;
        r = pack(&p, values[k], scratch + used, MP__RING_INLINE);
        alone = r < 0 || p.item.block || p.item.has_handles;
        if (alone && k) {
            unpack(&p, false);
            r = 0; /* next time */
            break;
        }
        if (r < 0) {
            unpack(&p, false);
            return r;
        }
        items[k++] = p.item;
        used += p.item.block ? 0 : p.item.size;
    }
    mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
    r = mp__queue_put_items(q, items, k, left);
    if (alone && k == 1 && (p.item.block || p.item.has_handles))
        unpack(&p, r > 0);
    return r;
}

int64_t mp_queue_put_many(mp_queue *queue, mp_value *const *values, size_t n, mp_time timeout)
{
    MP__CHECK(values || !n);
    int64_t done = 0, r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = values[i] ? 0 : mp_error_code(); /* of its constructor */
    if (r == 0 && !mp__is_queue(queue))
        r = mp__misuse(__func__, "queue");
    else if (r == 0)
        mp__clear_detail();
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    char *scratch = r == 0 ? mp__alloc(SCRATCH) : NULL;
    if (r == 0)
        r = scratch ? mp__queue_check(queue) : -ENOMEM;
    while (r >= 0 && (size_t)done < n) {
        r = put_batch(queue, values + done, n - (size_t)done, scratch, deadline);
        done += r > 0 ? r : 0;
    }
    free(scratch);
    for (size_t i = 0; i < n; i++)
        mp_value_free(values[i]);
    return done || !n ? done : r;
}

/* ---- getting ---- */

static void release_block(void *context, void *data, size_t size)
{
    (void)data;
    (void)size;
    mp__hold_free(context);
}

mp_buffer *mp__queue_view(mp__hold *block, size_t size)
{
    return mp__buffer_wrap(mp__hold_data(block), size, release_block, block);
}

static int read_value(const void *data, size_t size, mp_buffer *owner, mp_value **ret_value)
{
    mp__attachments attachments;
    mp__attachments_init(&attachments, 0);
    return mp__message_value(data, size, owner, &attachments, ret_value);
}

static int read_block(mp__hold *block, size_t size, mp_value **ret_value)
{
    mp_buffer *b = mp__queue_view(block, size);
    if (!b) {
        mp__hold_free(block);
        return -ENOMEM;
    }
    int r = read_value(b->data, b->size, b, ret_value);
    mp_buffer_free(b);
    return r;
}

/* Copies of items, or their blocks, to be read when the lock is given back. */
typedef struct copies {
    mp__sink sink;
    char *room;
    size_t capacity, used, n;
    struct {
        mp__hold *block;
        size_t at, size;
    } * items;
} copies;

static int copy_take(mp__sink *sink, const void *data, uint64_t size)
{
    copies *c = (copies *)sink;
    if (size > c->capacity - c->used)
        return 0; /* the first one always fits */
    c->items[c->n].block = NULL;
    c->items[c->n].at = c->used;
    c->items[c->n++].size = size;
    memcpy(c->room + c->used, data, size);
    c->used += size;
    return 1;
}

static int copy_take_block(mp__sink *sink, mp__hold *block, uint64_t size)
{
    copies *c = (copies *)sink;
    c->items[c->n].block = block;
    c->items[c->n++].size = size;
    return 1;
}

static int read_copy(copies *c, size_t i, mp_value **ret_value)
{
    if (c->items[i].block)
        return read_block(c->items[i].block, c->items[i].size, ret_value);
    return read_value(c->room + c->items[i].at, c->items[i].size, NULL, ret_value);
}

int mp_queue_get(mp_queue *queue, mp_value **ret_value, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && ret_value);
    mp__clear_detail();
    char room[MP__RING_INLINE];
    typeof(*((copies *)0)->items) item;
    copies c = {.sink = {copy_take, copy_take_block, 1},
                .room = room,
                .capacity = sizeof room,
                .items = (void *)&item};
    int64_t r = mp__queue_check(queue);
    size_t size;
    if (r == 0 && mp__queue_take_quickly(queue, room, sizeof room, &size))
        return read_value(room, size, NULL, ret_value);
    if (r == 0)
        r = mp__queue_take(queue, &c.sink, timeout);
    return r < 0 ? (int)r : read_copy(&c, 0, ret_value);
}

int64_t mp_queue_get_many(mp_queue *queue, mp_value **ret_values, size_t n, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && ret_values && n);
    mp__clear_detail();
    copies c = {.sink = {copy_take, copy_take_block, n < 1024 ? n : 1024}, .capacity = SCRATCH};
    c.items = mp__alloc(c.sink.most * sizeof *c.items);
    c.room = mp__alloc(SCRATCH);
    int64_t r = c.items && c.room ? mp__queue_check(queue) : -ENOMEM;
    if (r == 0)
        r = mp__queue_take(queue, &c.sink, timeout);
    for (int64_t i = 0; i < r; i++) {
        ret_values[i] = NULL;
        int read = read_copy(&c, (size_t)i, &ret_values[i]);
        if (read < 0 && r == 1)
            r = read;
    }
    free(c.items);
    free(c.room);
    return r;
}

typedef struct buffer_sink {
    mp__sink sink;
    mp_buffer *buffer;
} buffer_sink;

static int buffer_take(mp__sink *sink, const void *data, uint64_t size)
{
    mp_buffer *b = mp_buffer_copy(data, size);
    ((buffer_sink *)sink)->buffer = b;
    return b ? 1 : -ENOMEM;
}

static int buffer_take_block(mp__sink *sink, mp__hold *block, uint64_t size)
{
    buffer_sink *s = (buffer_sink *)sink;
    s->buffer = mp__queue_view(block, size);
    return s->buffer ? 1 : -ENOMEM;
}

int mp_queue_get_buffer(mp_queue *queue, mp_buffer **ret_buffer, mp_time timeout)
{
    MP__CHECK(mp__is_queue(queue) && ret_buffer);
    mp__clear_detail();
    buffer_sink s = {.sink = {buffer_take, buffer_take_block, 1}};
    int64_t r = mp__queue_check(queue);
    if (r == 0)
        r = mp__queue_take(queue, &s.sink, timeout);
    if (r < 0)
        return (int)r;
    *ret_buffer = s.buffer;
    return 0;
}

/* ---- what nobody got ---- */

static void drop(const void *data, uint64_t size)
{
    mp_value *value;
    if (read_value(data, size, NULL, &value) == 0)
        mp_value_free(value);
}

void mp__queue_drain(mp__object *object)
{
    mp__ring_drain((mp__ring *)(void *)object->data, drop);
}
