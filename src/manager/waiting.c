/* SPDX-License-Identifier: MIT */
/*
 * Owns the objects of managers at which clients wait: locks, semaphores, conditions, events, barriers and
 * queues.  A method that has to wait returns MP__PARK and is called again whenever something was done to its
 * object, in the order of the calls, or, with `late`, when its time is up.
 *
 * A client that hangs up, killed or not, gives back the locks that it held and what it had taken out of a
 * JoinableQueue without saying that it is done.  All of it belongs to the server's one thread.
 */
#include "manager/vector.h"

static void *new_object(size_t size)
{
    void *object = mp__alloc_zero(size);
    if (!object)
        mp__raise("MemoryError", "out of memory");
    return object;
}

/* Whether a call may wait; sets its deadline.  A negative error. */
static int may_wait(mp__call *call, size_t block_at, const char *block_name)
{
    const mp_value *block = mp__arg(call, block_at, block_name);
    int blocks = mp__arg_truth(block, true);
    if (call->phase || !blocks)
        return blocks;
    int r = mp__arg_deadline(call, mp__arg(call, block_at + 1, "timeout"));
    return r < 0 ? r : 1;
}

/* ---- Lock and RLock ---- */

typedef struct lock {
    mp__client *owner;
    int64_t count;
    bool recursive;
} lock;

static void *lock_create(mp__call *call)
{
    (void)call;
    return new_object(sizeof(lock));
}

static void *rlock_create(mp__call *call)
{
    lock *l = lock_create(call);
    if (l)
        l->recursive = true;
    return l;
}

static bool lock_take(lock *l, mp__client *client)
{
    if (l->count && !(l->recursive && l->owner == client))
        return false;
    l->owner = client;
    l->count++;
    return true;
}

static int lock_acquire(mp__call *call, void *object)
{
    double seconds;
    int waits = may_wait(call, 0, "blocking");
    if (waits < 0)
        return waits;
    const mp_value *timeout = mp__arg(call, 1, "timeout");
    if (!call->phase && timeout && mp_value_get_float(timeout, &seconds) == 0 && seconds == -1)
        call->deadline = MP__NEVER; /* so Python's locks have it */
    if (lock_take(object, call->client))
        return mp__return(call, mp_value_bool(1));
    if (!waits || call->late)
        return mp__return(call, mp_value_bool(0));
    call->phase = 1;
    return MP__PARK;
}

static int lock_release(mp__call *call, void *object)
{
    lock *l = object;
    if (!l->count)
        return mp__raise("RuntimeError", "release unlocked lock");
    if (l->recursive && l->owner != call->client)
        return mp__raise("RuntimeError", "cannot release un-acquired lock");
    if (--l->count == 0)
        l->owner = NULL;
    return mp__return(call, mp_value_none());
}

static int lock_locked(mp__call *call, void *object)
{
    return mp__return(call, mp_value_bool(((lock *)object)->count > 0));
}

static void lock_gone(mp__entry *entry, mp__client *client)
{
    lock *l = entry->object;
    if (l->owner == client)
        *l = (lock){.recursive = l->recursive};
}

static const mp__builtin_method lock_methods[] = {
    {"acquire", lock_acquire}, {"release", lock_release}, {"locked", lock_locked}, {NULL, NULL}};

const mp__builtin mp__type_lock = {"Lock", lock_create, free, lock_gone, NULL, lock_methods, NULL};
const mp__builtin mp__type_rlock = {"RLock", rlock_create, free, lock_gone,
                                    NULL,    lock_methods, NULL};

/* ---- Semaphore and BoundedSemaphore ---- */

typedef struct semaphore {
    int64_t value, bound;
} semaphore;

static void *semaphore_create(mp__call *call)
{
    const mp_value *value = mp__arg(call, 0, "value");
    semaphore *s = new_object(sizeof *s);
    if (!s)
        return NULL;
    *s = (semaphore){1, INT64_MAX};
    if ((value && mp_value_get_int(value, &s->value) < 0) || s->value < 0) {
        mp__raise("ValueError", "semaphore initial value must be >= 0");
        free(s);
        return NULL;
    }
    return s;
}

static void *bounded_create(mp__call *call)
{
    semaphore *s = semaphore_create(call);
    if (s)
        s->bound = s->value;
    return s;
}

static int semaphore_acquire(mp__call *call, void *object)
{
    semaphore *s = object;
    int waits = may_wait(call, 0, "blocking");
    if (waits < 0)
        return waits;
    if (s->value > 0) {
        s->value--;
        return mp__return(call, mp_value_bool(1));
    }
    if (!waits || call->late)
        return mp__return(call, mp_value_bool(0));
    call->phase = 1;
    return MP__PARK;
}

static int semaphore_release(mp__call *call, void *object)
{
    semaphore *s = object;
    int64_t n = 1;
    const mp_value *given = mp__arg(call, 0, "n");
    if (given && (mp_value_get_int(given, &n) < 0 || n < 1))
        return mp__raise("ValueError", "n must be one or more");
    if (n > s->bound - s->value)
        return mp__raise("ValueError", "Semaphore released too many times");
    s->value += n;
    return mp__return(call, mp_value_none());
}

static int semaphore_value(mp__call *call, void *object)
{
    return mp__return(call, mp_value_int(((semaphore *)object)->value));
}

static void semaphore_lost(mp__call *call, mp_value *result)
{
    int taken = 0;
    semaphore *s = call->entry->object;
    if (strcmp(call->method, "acquire") == 0 && mp_value_get_bool(result, &taken) == 0 && taken)
        s->value++;
}

static const mp__builtin_method semaphore_methods[] = {{"acquire", semaphore_acquire},
                                                       {"release", semaphore_release},
                                                       {"get_value", semaphore_value},
                                                       {NULL, NULL}};

const mp__builtin mp__type_semaphore = {"Semaphore", semaphore_create,  free,          NULL,
                                        NULL,        semaphore_methods, semaphore_lost};
const mp__builtin mp__type_bounded = {"BoundedSemaphore", bounded_create, free, NULL, NULL,
                                      semaphore_methods,  semaphore_lost};

/* ---- Condition: a recursive lock, and calls of wait that are parked ---- */

/* A waiting call's phase: how often the lock was held << 2, with these. */
#define NOTIFIED 1
#define TIMED_OUT 2

static int check_owner(lock *l, mp__call *call, const char *what)
{
    if (l->count && l->owner == call->client)
        return 0;
    return mp__raise("RuntimeError", "cannot %s on un-acquired lock", what);
}

static int condition_wait(mp__call *call, void *object)
{
    lock *l = object;
    if (!call->phase) {
        int r = check_owner(l, call, "wait");
        if (r == 0)
            r = mp__arg_deadline(call, mp__arg(call, 0, "timeout"));
        if (r < 0)
            return r;
        call->phase = (int)(l->count << 2);
        *l = (lock){.recursive = true};
        return MP__PARK;
    }
    if (call->late && !(call->phase & NOTIFIED))
        call->phase |= TIMED_OUT;
    call->late = false;
    if (!(call->phase & (NOTIFIED | TIMED_OUT)))
        return MP__PARK;
    call->deadline = MP__NEVER; /* it takes the lock again, however long that takes */
    if (l->count)
        return MP__PARK;
    *l = (lock){call->client, call->phase >> 2, true};
    return mp__return(call, mp_value_bool(call->phase & NOTIFIED));
}

static int notify(mp__call *call, void *object, int64_t n)
{
    int r = check_owner(object, call, "notify");
    for (mp__call *c = call->entry->parked; c && r == 0 && n > 0; c = c->next)
        if (strcmp(c->method, "wait") == 0 && !(c->phase & (NOTIFIED | TIMED_OUT))) {
            c->phase |= NOTIFIED;
            n--;
        }
    return r < 0 ? r : mp__return(call, mp_value_none());
}

static int condition_notify(mp__call *call, void *object)
{
    int64_t n = 1;
    const mp_value *given = mp__arg(call, 0, "n");
    if (given && mp_value_get_int(given, &n) < 0)
        return mp__raise("TypeError", "n is an integer");
    return notify(call, object, n);
}

static int condition_notify_all(mp__call *call, void *object)
{
    return notify(call, object, INT64_MAX);
}

/* The client that was notified is dead: another one that waits is notified instead. */
static void pass_on(mp__entry *entry, const mp__client *client)
{
    for (mp__call *c = entry->parked; c; c = c->next)
        if (c->client != client && strcmp(c->method, "wait") == 0 &&
            !(c->phase & (NOTIFIED | TIMED_OUT))) {
            c->phase |= NOTIFIED;
            return;
        }
}

static void condition_gone(mp__entry *entry, mp__client *client)
{
    lock_gone(entry, client);
    for (mp__call *c = entry->parked; c; c = c->next)
        if (c->client == client && strcmp(c->method, "wait") == 0 && (c->phase & NOTIFIED))
            pass_on(entry, client);
}

static void condition_lost(mp__call *call, mp_value *result)
{
    (void)result;
    if (strcmp(call->method, "wait") == 0 && (call->phase & NOTIFIED))
        pass_on(call->entry, call->client);
}

static const mp__builtin_method condition_methods[] = {{"acquire", lock_acquire},
                                                       {"release", lock_release},
                                                       {"locked", lock_locked},
                                                       {"wait", condition_wait},
                                                       {"notify", condition_notify},
                                                       {"notify_all", condition_notify_all},
                                                       {NULL, NULL}};

const mp__builtin mp__type_condition = {
    "Condition", rlock_create, free, condition_gone, NULL, condition_methods, condition_lost};

/* ---- Event ---- */

static void *event_create(mp__call *call)
{
    (void)call;
    return new_object(sizeof(bool));
}

static int event_set(mp__call *call, void *object)
{
    *(bool *)object = true;
    return mp__return(call, mp_value_none());
}

static int event_clear(mp__call *call, void *object)
{
    *(bool *)object = false;
    return mp__return(call, mp_value_none());
}

static int event_is_set(mp__call *call, void *object)
{
    return mp__return(call, mp_value_bool(*(bool *)object));
}

static int event_wait(mp__call *call, void *object)
{
    if (!call->phase && !*(bool *)object) {
        int r = mp__arg_deadline(call, mp__arg(call, 0, "timeout"));
        if (r < 0)
            return r;
        call->phase = 1;
        return MP__PARK;
    }
    return *(bool *)object || call->late ? event_is_set(call, object) : MP__PARK;
}

static const mp__builtin_method event_methods[] = {{"set", event_set},
                                                   {"clear", event_clear},
                                                   {"is_set", event_is_set},
                                                   {"wait", event_wait},
                                                   {NULL, NULL}};

const mp__builtin mp__type_event = {"Event", event_create, free, NULL, NULL, event_methods, NULL};

/* ---- Barrier ---- */

typedef struct barrier {
    int64_t parties, arrived;
    mp_value *timeout; /* of a wait that gives none; NULL: none */
    uint64_t generation;
    bool broken;    /* and stays so until it is reset */
    bool ended_bad; /* the last generation was reset under its waiters */
} barrier;

static void *barrier_create(mp__call *call)
{
    const mp_value *parties = mp__arg(call, 0, "parties"), *action = mp__arg(call, 1, "action");
    const mp_value *timeout = mp__arg(call, 2, "timeout");
    if (mp__arg_deadline(call, timeout) < 0)
        return NULL;
    if (action && mp_value_kind(action) != MP_KIND_NONE)
        return mp_manager_raise("TypeError", "this server runs no functions, so no actions");
    barrier *b = new_object(sizeof *b);
    if (b && (!parties || mp_value_get_int(parties, &b->parties) < 0 || b->parties < 1)) {
        mp__raise("ValueError", "parties must be > 0");
        free(b);
        b = NULL;
    }
    if (b && timeout)
        b->timeout = mp_value_ref(timeout);
    return b;
}

static void barrier_destroy(void *object)
{
    mp_value_free(((barrier *)object)->timeout);
    free(object);
}

static int barrier_broken(void)
{
    return mp__raise_value("BrokenBarrierError", NULL);
}

static int barrier_wait(mp__call *call, void *object)
{
    barrier *b = object;
    if (!call->phase) {
        const mp_value *timeout = mp__arg(call, 0, "timeout");
        bool given = timeout && mp_value_kind(timeout) != MP_KIND_NONE;
        int r = mp__arg_deadline(call, given ? timeout : b->timeout);
        if (r < 0 || b->broken)
            return r < 0 ? r : barrier_broken();
        int64_t index = b->arrived++;
        if (b->arrived == b->parties) {
            b->arrived = 0;
            b->generation++;
            b->ended_bad = false;
            return mp__return(call, mp_value_int(index));
        }
        call->phase = (int)index + 1;
        call->data = b->generation;
        return MP__PARK;
    }
    if (call->data != b->generation) /* this is the first look since it has ended */
        return b->ended_bad ? barrier_broken() : mp__return(call, mp_value_int(call->phase - 1));
    if (call->late)
        b->broken = true;
    return b->broken ? barrier_broken() : MP__PARK;
}

static int barrier_reset(mp__call *call, void *object)
{
    barrier *b = object;
    b->generation += b->arrived > 0 || b->broken;
    b->ended_bad = true;
    b->arrived = 0;
    b->broken = false;
    return mp__return(call, mp_value_none());
}

static int barrier_abort(mp__call *call, void *object)
{
    ((barrier *)object)->broken = true;
    return mp__return(call, mp_value_none());
}

static int barrier_attribute(mp__call *call, void *object)
{
    barrier *b = object;
    size_t size;
    NEED(name, 0, "name");
    const char *text = mp_value_kind(name) == MP_KIND_STR ? mp_value_get_str(name, &size) : "";
    if (strcmp(text, "parties") == 0)
        return mp__return(call, mp_value_int(b->parties));
    if (strcmp(text, "n_waiting") == 0)
        return mp__return(call, mp_value_int(b->broken ? 0 : b->arrived));
    if (strcmp(text, "broken") == 0)
        return mp__return(call, mp_value_bool(b->broken));
    return mp__raise("AttributeError", "'Barrier' object has no attribute '%.100s'", text);
}

/* One of those that wait will never come out: the others would wait for ever. */
static void barrier_gone(mp__entry *entry, mp__client *client)
{
    barrier *b = entry->object;
    for (mp__call *c = entry->parked; c; c = c->next)
        if (c->client == client && c->data == b->generation)
            b->broken = true;
}

static const mp__builtin_method barrier_methods[] = {{"wait", barrier_wait},
                                                     {"reset", barrier_reset},
                                                     {"abort", barrier_abort},
                                                     {"__getattribute__", barrier_attribute},
                                                     {NULL, NULL}};

const mp__builtin mp__type_barrier = {
    "Barrier", barrier_create, barrier_destroy, barrier_gone, NULL, barrier_methods, NULL};

/* ---- Queue and JoinableQueue ---- */

typedef struct taken {
    mp__client *client;
    mp_value *item;
} taken;

typedef struct queue {
    mp__vector items; /* from `first` on */
    size_t first;
    int64_t most; /* 0: no bound */
    int64_t unfinished;
    bool joinable;
    taken *taken; /* joinable: what is not done yet, the oldest first */
    size_t ntaken, taken_room;
} queue;

static void *queue_create(mp__call *call)
{
    const mp_value *most = mp__arg(call, 0, "maxsize");
    queue *q = new_object(sizeof *q);
    if (q && most && mp_value_get_int(most, &q->most) < 0) {
        mp__raise("TypeError", "maxsize is an integer");
        free(q);
        q = NULL;
    }
    return q;
}

static void *joinable_create(mp__call *call)
{
    queue *q = queue_create(call);
    if (q)
        q->joinable = true;
    return q;
}

static void queue_destroy(void *object)
{
    queue *q = object;
    mp__vector_remove(&q->items, q->first, q->items.n - q->first);
    free(q->items.items);
    for (size_t i = 0; i < q->ntaken; i++)
        mp_value_free(q->taken[i].item);
    free(q->taken);
    free(q);
}

static size_t queue_count(const queue *q)
{
    return q->items.n - q->first;
}

static bool queue_is_full(const queue *q)
{
    return q->most > 0 && (int64_t)queue_count(q) >= q->most;
}

static int put_in(mp__call *call, queue *q, int waits)
{
    NEED(item, 0, "item");
    if (queue_is_full(q)) {
        if (!waits || call->late)
            return mp__raise_value("Full", NULL);
        call->phase = 1;
        return MP__PARK;
    }
    mp_value *value = (mp_value *)(uintptr_t)item;
    int r = mp__vector_insert(&q->items, q->items.n, &value, 1);
    if (r < 0)
        return r;
    q->unfinished++;
    return mp__return(call, mp_value_none());
}

static int queue_put(mp__call *call, void *object)
{
    int waits = may_wait(call, 1, "block");
    return waits < 0 ? waits : put_in(call, object, waits);
}

static int queue_put_nowait(mp__call *call, void *object)
{
    return put_in(call, object, 0);
}

static int remember(queue *q, mp__client *client, mp_value *item)
{
    if (q->ntaken == q->taken_room) {
        size_t room = q->taken_room * 2 + 8;
        taken *grown = mp__realloc(q->taken, room * sizeof *grown);
        if (!grown)
            return mp__raise("MemoryError", "out of memory");
        q->taken = grown;
        q->taken_room = room;
    }
    q->taken[q->ntaken++] = (taken){client, mp_value_ref(item)};
    return 0;
}

static int take_out(mp__call *call, queue *q, int waits)
{
    if (!queue_count(q)) {
        if (!waits || call->late)
            return mp__raise_value("Empty", NULL);
        call->phase = 1;
        return MP__PARK;
    }
    mp_value *item = q->items.items[q->first];
    if (q->joinable && remember(q, call->client, item) < 0)
        return MP_EREMOTE;
    if (++q->first > 64 && q->first > q->items.n / 2) { /* what was taken is not kept */
        memmove(q->items.items, q->items.items + q->first, queue_count(q) * sizeof(mp_value *));
        q->items.n -= q->first;
        q->first = 0;
    }
    return mp__return(call, item);
}

static int queue_get(mp__call *call, void *object)
{
    int waits = may_wait(call, 0, "block");
    return waits < 0 ? waits : take_out(call, object, waits);
}

static int queue_get_nowait(mp__call *call, void *object)
{
    return take_out(call, object, 0);
}

static int queue_size(mp__call *call, void *object)
{
    return mp__return(call, mp_value_int((int64_t)queue_count(object)));
}

static int queue_empty(mp__call *call, void *object)
{
    return mp__return(call, mp_value_bool(!queue_count(object)));
}

static int queue_full(mp__call *call, void *object)
{
    return mp__return(call, mp_value_bool(queue_is_full(object)));
}

static void forget(queue *q, size_t i)
{
    mp_value_free(q->taken[i].item);
    memmove(q->taken + i, q->taken + i + 1, (--q->ntaken - i) * sizeof *q->taken);
}

static int queue_task_done(mp__call *call, void *object)
{
    queue *q = object;
    if (q->unfinished <= 0)
        return mp__raise("ValueError", "task_done() called too many times");
    q->unfinished--;
    size_t i = 0; /* its own oldest; else anybody's: it may have got the item from another client */
    while (i < q->ntaken && q->taken[i].client != call->client)
        i++;
    if (q->ntaken)
        forget(q, i < q->ntaken ? i : 0);
    return mp__return(call, mp_value_none());
}

static int queue_join(mp__call *call, void *object)
{
    if (((queue *)object)->unfinished == 0)
        return mp__return(call, mp_value_none());
    call->phase = 1;
    return MP__PARK;
}

/* What a client had taken and not done is there again, before all else. */
static void queue_gone(mp__entry *entry, mp__client *client)
{
    queue *q = entry->object;
    for (size_t i = q->ntaken; i-- > 0;)
        if (q->taken[i].client == client) {
            mp_value *item = q->taken[i].item;
            if (mp__vector_insert(&q->items, q->first, &item, 1) < 0)
                mp__log(MP_LOG_ERROR, "no memory for what a client had taken from a queue");
            forget(q, i);
        }
}

/* Nobody has got what was taken out.  A JoinableQueue gets it back when the client is buried. */
static void queue_lost(mp__call *call, mp_value *result)
{
    queue *q = call->entry->object;
    if (strncmp(call->method, "get", 3) == 0 &&
        mp__vector_insert(&q->items, q->first, &result, 1) < 0)
        mp__log(MP_LOG_ERROR, "no memory for what a client had taken from a queue");
}

static const mp__builtin_method queue_methods[] = {{"put", queue_put},
                                                   {"get", queue_get},
                                                   {"put_nowait", queue_put_nowait},
                                                   {"get_nowait", queue_get_nowait},
                                                   {"qsize", queue_size},
                                                   {"empty", queue_empty},
                                                   {"full", queue_full},
                                                   {"task_done", queue_task_done},
                                                   {"join", queue_join},
                                                   {NULL, NULL}};

const mp__builtin mp__type_queue = {"Queue", queue_create,  queue_destroy, NULL,
                                    NULL,    queue_methods, queue_lost};
const mp__builtin mp__type_joinable = {
    "JoinableQueue", joinable_create, queue_destroy, queue_gone, NULL, queue_methods, NULL};
