/* SPDX-License-Identifier: MIT */
/*
 * Owns shared objects and this process's holds of them (object.h).
 *
 * Shared state changes by single atomic instructions.  A process that is killed between clearing the
 * last holder's bit and freeing the block leaves a block without holders, which its burial frees; one
 * that is killed before a new object is shared leaves a block of its own, which its burial frees.
 * The list of holds is the process's own and has a lock of the process.
 */
#include "arena/object.h"

#include <pthread.h>

struct mp__hold {
    mp__list node;
    uint32_t refs;
    bool delivered;
    uint64_t offset, serial;
    mp__object *object;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mp__list holds = MP__LIST_INIT(holds);
static mp__list block_holds = MP__LIST_INIT(block_holds); /* of these there may be many */

/* ---- holders ---- */

static void set_bit(mp__object *o, mp__tag tag)
{
    uint32_t i = mp__tag_index(tag);
    atomic_fetch_or(&o->holders[i / 64], UINT64_C(1) << i % 64);
    atomic_fetch_add(&o->moves, 1);
}

static void add_transit(mp__object *o)
{
    atomic_fetch_add(&o->transit, 1);
    atomic_fetch_add(&o->moves, 1);
}

static void clear_bit(mp__object *o, mp__tag tag)
{
    uint32_t i = mp__tag_index(tag);
    atomic_fetch_and(&o->holders[i / 64], ~(UINT64_C(1) << i % 64));
}

/*
 * True when somebody holds it.  An object is handed on by adding the new hold, counting `moves`, and then
 * dropping the old one; so whoever passed over a hold before it was added finds `moves` changed by the
 * time the old one is gone, and looks again.
 */
static bool is_held(mp__object *o)
{
    uint32_t moves;
    do {
        moves = atomic_load(&o->moves);
        if (atomic_load(&o->transit))
            return true;
        for (size_t i = 0; i < MP__COUNT_OF(o->holders); i++)
            if (atomic_load(&o->holders[i]))
                return true;
    } while (moves != atomic_load(&o->moves));
    return false;
}

static void (*on_death[MP__OBJECT_KINDS])(mp__object *, mp__tag);
static void (*on_free[MP__OBJECT_KINDS])(mp__object *);

/* What stands in place of the serial number while a process frees the object: if it dies meanwhile, its
 * burial goes on, and nobody else touches the block. */
#define FREED_BY(tag) (UINT64_C(1) << 63 | (tag))

/* Frees it if its serial number is still `seen`: several processes may want to, one of them does. */
static void free_as(mp__object *o, uint64_t offset, uint64_t seen)
{
    if (!atomic_compare_exchange_strong(&o->serial, &seen, FREED_BY(mp__tag_self())))
        return;
    if (o->kind < MP__OBJECT_KINDS && on_free[o->kind])
        on_free[o->kind](o);
    mp__heap_own(offset); /* if we are killed before it is free, it is given back with our own */
    mp__heap_free(offset);
}

static void free_if_unheld(mp__object *o, uint64_t offset, uint64_t serial)
{
    if (!is_held(o))
        free_as(o, offset, serial);
}

/* ---- this process's holds ---- */

static mp__hold *find(uint64_t offset, uint64_t serial)
{
    for (mp__list *n = holds.next; n != &holds; n = n->next) {
        mp__hold *h = MP__CONTAINER(n, mp__hold, node);
        if (h->offset == offset && h->serial == serial)
            return h;
    }
    return NULL;
}

static mp__hold *add(uint64_t offset, uint64_t serial, mp__object *o)
{
    mp__hold *h = mp__alloc(sizeof *h);
    if (!h)
        return mp__null(-ENOMEM);
    *h = (mp__hold){.refs = 1, .offset = offset, .serial = serial, .object = o};
    mp__list_append(o->kind == MP__OBJECT_BLOCK ? &block_holds : &holds, &h->node);
    return h;
}

static mp__hold *make(mp__object_kind kind, size_t size, bool zeroed)
{
    uint64_t offset;
    size_t total;
    int r = mp__add(sizeof(mp__object), size, &total) ? mp__heap_alloc(total, &offset) : -ENOMEM;
    if (r < 0)
        return mp__null(r);
    mp__object *o = mp__arena_at(offset, sizeof *o + size);
    memset(o, 0, sizeof *o + (zeroed ? size : 0));
    uint64_t serial = atomic_fetch_add(&mp__arena_info()->serial, 1) + 1;
    o->kind = kind;
    o->size = size;
    o->creator = mp__tag_self();
    set_bit(o, mp__tag_self());
    atomic_store(&o->serial, serial);
    pthread_mutex_lock(&lock);
    mp__hold *h = add(offset, serial, o);
    pthread_mutex_unlock(&lock);
    if (!h) {
        atomic_store(&o->serial, 0);
        mp__heap_free(offset);
        return NULL;
    }
    mp__heap_share(offset);
    return h;
}

mp__hold *mp__object_new(mp__object_kind kind, size_t size)
{
    return make(kind, size, true);
}

mp__hold *mp__object_new_raw(mp__object_kind kind, size_t size)
{
    return make(kind, size, false);
}

void mp__hold_free(mp__hold *hold)
{
    mp__tag self =
        mp__tag_self(); /* before the lock, which a process forked by hand needs for that */
    pthread_mutex_lock(&lock);
    bool last = --hold->refs == 0, delivered = hold->delivered;
    if (last && !delivered) {
        mp__list_remove(&hold->node);
        clear_bit(hold->object, self);
    }
    pthread_mutex_unlock(&lock);
    if (last && !delivered)
        free_if_unheld(hold->object, hold->offset, hold->serial);
    if (last)
        free(hold);
}

void *mp__hold_data(const mp__hold *hold)
{
    return hold->object->data;
}

mp__object *mp__hold_object(const mp__hold *hold)
{
    return hold->object;
}

void mp__hold_words(const mp__hold *hold, int64_t ret_words[2])
{
    ret_words[0] = (int64_t)hold->offset;
    ret_words[1] = (int64_t)hold->serial;
}

/* ---- handing on ---- */

void mp__hold_give(mp__hold *hold, mp__tag to, int64_t ret_words[2])
{
    if (to)
        set_bit(hold->object, to);
    else
        add_transit(hold->object);
    mp__hold_words(hold, ret_words);
}

void mp__hold_deliver(mp__hold *hold)
{
    mp__tag self = mp__tag_self();
    add_transit(hold->object);
    pthread_mutex_lock(&lock);
    mp__list_remove(&hold->node);
    clear_bit(hold->object, self);
    hold->delivered = true;
    pthread_mutex_unlock(&lock);
}

void mp__hold_take_back(mp__hold *hold, mp__tag from)
{
    if (from)
        clear_bit(hold->object, from);
    else
        atomic_fetch_sub(&hold->object->transit, 1);
}

mp__object *mp__object_at(mp__object_kind kind, const int64_t words[2])
{
    uint64_t offset = (uint64_t)words[0], serial = (uint64_t)words[1];
    mp__object *o = mp__heap_at(offset, sizeof *o);
    if (!o || !serial || mp__heap_owner(offset) != MP__BLOCK_SHARED ||
        atomic_load(&o->serial) != serial || o->kind != (uint32_t)kind ||
        o->size > MP__ARENA_RESERVE || !mp__heap_at(offset, sizeof *o + (size_t)o->size))
        return NULL;
    return o;
}

void mp__object_arrived(mp__object_kind kind, const int64_t words[2])
{
    mp__object *o = mp__object_at(kind, words);
    if (!o || !atomic_load(&o->transit))
        return;
    atomic_fetch_sub(&o->transit, 1);
    free_if_unheld(o, (uint64_t)words[0], (uint64_t)words[1]);
}

mp__hold *mp__hold_receive(mp__object_kind kind, const int64_t words[2], bool from_message)
{
    uint64_t offset = (uint64_t)words[0], serial = (uint64_t)words[1];
    mp__tag self = mp__tag_self();
    mp__object *o = self ? mp__object_at(kind, words) : NULL;
    if (!o)
        return mp__null(mp__fail(MP_EFOREIGN, "the handle is of an object that is gone, or of "
                                              "another family"));
    pthread_mutex_lock(&lock);
    mp__hold *h = kind == MP__OBJECT_BLOCK ? NULL : find(offset, serial); /* a block comes once */
    if (h) {
        h->refs++;
    } else {
        set_bit(o, self);
        h = add(offset, serial, o);
        if (!h)
            clear_bit(o, self);
    }
    pthread_mutex_unlock(&lock);
    if (from_message) {
        atomic_fetch_sub(&o->transit, 1);
        if (!h)
            free_if_unheld(o, offset, serial);
    }
    return h;
}

static _Thread_local mp__tag next_child; /* who is about to be forked by this thread */

void mp__holds_give_at_fork(mp__tag to)
{
    next_child = to;
}

/* With the lock. */
static void give_all(mp__tag to)
{
    for (mp__list *n = holds.next; n != &holds; n = n->next)
        set_bit(MP__CONTAINER(n, mp__hold, node)->object, to);
    for (mp__list *n = block_holds.next; n != &block_holds; n = n->next)
        set_bit(MP__CONTAINER(n, mp__hold, node)->object, to);
}

void mp__holds_give_all(mp__tag to)
{
    pthread_mutex_lock(&lock);
    give_all(to);
    pthread_mutex_unlock(&lock);
}

void mp__hold_give_family(mp__hold *hold)
{
    for (uint32_t i = 1; i < MP__SLOT_COUNT; i++) {
        mp__tag tag = mp__tag_at(i);
        if (tag && !mp__tag_dead(tag))
            set_bit(hold->object, tag);
    }
    pthread_mutex_lock(&lock);
    mp__list_remove(&hold->node);
    pthread_mutex_unlock(&lock);
    free(hold);
}

/* ---- death ---- */

void mp__object_on_death(mp__object_kind kind, void (*fn)(mp__object *, mp__tag))
{
    on_death[kind] = fn;
}

static void bury_in(void *context, uint64_t offset, size_t size)
{
    mp__tag tag = *(mp__tag *)context;
    mp__object *o = mp__heap_at(offset, sizeof *o);
    uint64_t serial = o ? atomic_load(&o->serial) : 0;
    if (!serial || size < sizeof *o)
        return;
    if (serial == FREED_BY(tag))
        free_as(o, offset, serial);
    if (serial >> 63)
        return;
    if (o->kind < MP__OBJECT_KINDS && on_death[o->kind])
        on_death[o->kind](o, tag);
    clear_bit(o, tag);
    free_if_unheld(o, offset, serial);
}

void mp__object_on_free(mp__object_kind kind, void (*fn)(mp__object *))
{
    on_free[kind] = fn;
}

void mp__objects_bury(mp__tag tag)
{
    mp__heap_each_shared(bury_in, &tag);
}

typedef struct visit {
    uint32_t kind;
    bool (*drop)(mp__object *, const void *); /* NULL: leave */
    const void *argument;
} visit;

static void visit_one(void *context, uint64_t offset, size_t size)
{
    const visit *v = context;
    mp__object *o = mp__heap_at(offset, sizeof *o);
    uint64_t serial = o && size >= sizeof *o ? atomic_load(&o->serial) : 0;
    if (!serial || serial >> 63 || o->kind != v->kind)
        return;
    if (!v->drop) {
        clear_bit(o, mp__tag_self());
        free_if_unheld(o, offset, serial);
    } else if (v->drop(o, v->argument)) {
        free_as(o, offset, serial);
    }
}

static void visit_all(visit *v)
{
    if (mp__arena_info() && mp__tag_self())
        mp__heap_each_shared(visit_one, v);
}

void mp__objects_drop_if(mp__object_kind kind, bool (*fn)(mp__object *, const void *),
                         const void *argument)
{
    visit_all(&(visit){kind, fn, argument});
}

void mp__objects_leave(mp__object_kind kind)
{
    if (!atomic_load(&mp__tag_known)) /* it holds nothing, and need not claim a slot for that */
        return;
    visit_all(&(visit){kind, NULL, NULL});
}

/* ---- around fork ---- */

void mp__objects_before_fork(void)
{
    pthread_mutex_lock(&lock);
    if (next_child)
        give_all(next_child);
    next_child = 0;
}

void mp__objects_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

void mp__objects_in_child(void)
{
    pthread_mutex_unlock(&lock); /* this thread took it before the fork */
}
