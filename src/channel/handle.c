/* SPDX-License-Identifier: MIT */
/*
 * Owns the handles that travel in values: connections and plain descriptors.  Each is exported as a
 * place in the message's list of descriptors and imported by taking the descriptor from that place.
 */
#include "channel/connection.h"
#include "sync/sync.h"

#include <multiproc/queue.h>
#include <multiproc/shm.h>

enum { CODE_CONNECTION = 1, CODE_FD = 2, CODE_SHARED = 16 };

/* ---- connections: the place, and the directions ---- */

static void connection_free(void *object)
{
    mp_connection_free(object);
}

static void connection_release(void *object, uint32_t to, bool delivered)
{
    (void)to;
    (void)delivered;
    mp__connection_leave(object);
}

static int connection_give(void *object, uint32_t to)
{
    (void)to;
    return mp_connection_closed(object)
               ? mp__fail(MP_ECLOSED, "a connection among the arguments is closed")
               : 0;
}

static int connection_export(void *object, mp__attachments *attachments, int64_t ret_words[2])
{
    int fd = mp__connection_enter(object);
    if (fd < 0)
        return fd;
    int place = mp__attach(attachments, fd, connection_release, object);
    if (place < 0)
        return place;
    ret_words[0] = place;
    ret_words[1] = mp_connection_readable(object) | mp_connection_writable(object) << 1;
    return 0;
}

static const mp__handle_ops connection_ops = {"Connection",    CODE_CONNECTION,   connection_free,
                                              connection_give, connection_export, NULL};

mp_value *mp_value_connection(mp_connection *connection)
{
    MP__CHECK_NULL(mp__is(connection, MP__MAGIC_CONNECTION));
    return mp__value_handle(&connection_ops, mp_connection_ref(connection));
}

int mp_value_get_connection(const mp_value *value, mp_connection **ret_connection)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_connection);
    mp_connection *c = mp__value_object(value, &connection_ops);
    if (!c)
        return mp__fail(MP_ETYPE, "the value is a %s, not a Connection", mp_value_type_name(value));
    *ret_connection = c;
    return 0;
}

/* ---- descriptors ---- */

typedef struct fd_object {
    int fd;
} fd_object;

static void fd_free(void *object)
{
    mp__os_close(((fd_object *)object)->fd);
    free(object);
}

static int fd_export(void *object, mp__attachments *attachments, int64_t ret_words[2])
{
    int place = mp__attach(attachments, ((fd_object *)object)->fd, NULL, NULL);
    if (place < 0)
        return place;
    ret_words[0] = place;
    return 0;
}

static const mp__handle_ops fd_ops = {"DupFd", CODE_FD, fd_free, NULL, fd_export, NULL};

static mp_value *fd_take(int fd)
{
    fd_object *object = mp__alloc(sizeof *object);
    if (!object) {
        mp__os_close(fd);
        return mp__null(-ENOMEM);
    }
    object->fd = fd;
    return mp__value_handle(&fd_ops, object);
}

mp_value *mp_value_fd(int fd)
{
    mp__clear_detail();
    int copy = mp__os_dup(fd);
    return copy < 0 ? mp__null(mp__fail(copy, "descriptor %d cannot be duplicated", fd))
                    : fd_take(copy);
}

int mp_value_get_fd(const mp_value *value)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE));
    mp__clear_detail();
    fd_object *object = mp__value_object(value, &fd_ops);
    if (!object)
        return mp__fail(MP_ETYPE, "the value is a %s, not a descriptor", mp_value_type_name(value));
    return mp__os_dup(object->fd);
}

/* ---- objects in the arena: an offset and a serial number ---- */

static void give_back(void *object, uint32_t to, bool delivered)
{
    if (!delivered)
        mp__hold_take_back(object, to);
}

static int shared_export(void *object, mp__attachments *attachments, int64_t ret_words[2])
{
    mp__hold *hold = ((mp__shared *)object)->hold;
    mp__hold_give(hold, attachments->to, ret_words);
    return mp__attach_object(attachments, give_back, hold);
}

static const void *shared_identity(const void *object)
{
    return mp__shared_data(object);
}

static int barrier_give(void *object, uint32_t to)
{
    mp__barrier_expect(object, to);
    return 0;
}

#define SHARED(kind, name, type, give)                                                             \
    static void name##_free(void *object)                                                          \
    {                                                                                              \
        mp__shared_free(object, MP__OBJECT_##kind);                                                \
    }                                                                                              \
    static const mp__handle_ops name##_ops = {                                                     \
        type, CODE_SHARED + MP__OBJECT_##kind, name##_free, give, shared_export, shared_identity}; \
    mp_value *mp_value_##name(mp_##name *name)                                                     \
    {                                                                                              \
        void *handle = mp__shared_ref(name, MP__OBJECT_##kind);                                    \
        return handle ? mp__value_handle(&name##_ops, handle) : NULL;                              \
    }                                                                                              \
    int mp_value_get_##name(const mp_value *value, mp_##name **ret_handle)                         \
    {                                                                                              \
        MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_handle);                                   \
        void *handle = mp__value_object(value, &name##_ops);                                       \
        if (!handle)                                                                               \
            return mp__fail(MP_ETYPE, "the value is a %s, not a " type,                            \
                            mp_value_type_name(value));                                            \
        *ret_handle = handle;                                                                      \
        return 0;                                                                                  \
    }

SHARED(LOCK, lock, "Lock", NULL)
SHARED(RLOCK, rlock, "RLock", NULL)
SHARED(SEMAPHORE, semaphore, "Semaphore", NULL)
SHARED(EVENT, event, "Event", NULL)
SHARED(CONDITION, condition, "Condition", NULL)
SHARED(BARRIER, barrier, "Barrier", barrier_give)
SHARED(QUEUE, queue, "Queue", NULL)
SHARED(SHM, shm, "SharedMemory", NULL)

static const mp__handle_ops *const shared_ops[] = {
    [MP__OBJECT_LOCK] = &lock_ops,           [MP__OBJECT_RLOCK] = &rlock_ops,
    [MP__OBJECT_SEMAPHORE] = &semaphore_ops, [MP__OBJECT_EVENT] = &event_ops,
    [MP__OBJECT_CONDITION] = &condition_ops, [MP__OBJECT_SHM] = &shm_ops,
    [MP__OBJECT_BARRIER] = &barrier_ops,     [MP__OBJECT_QUEUE] = &queue_ops,
};

static mp_value *import_shared(mp__object_kind kind, const int64_t words[2], bool from_message)
{
    void *handle = mp__shared_wrap(kind, mp__hold_receive(kind, words, from_message));
    return handle ? mp__value_handle(shared_ops[kind], handle) : NULL;
}

/* ---- import ---- */

static int take_place(mp__attachments *a, int64_t place)
{
    if (place < 0 || place >= a->n || a->fds[place] < 0)
        return -1;
    int fd = a->fds[place];
    a->fds[place] = -1;
    return fd;
}

mp_value *mp__handle_import(int64_t code, const int64_t words[2], mp__attachments *attachments)
{
    int64_t kind = code - CODE_SHARED;
    if (kind > 0 && kind < (int64_t)MP__COUNT_OF(shared_ops) && shared_ops[kind])
        return import_shared((mp__object_kind)kind, words, attachments->to == 0);
    if (code != CODE_CONNECTION && code != CODE_FD)
        return mp__null(mp__fail(-EBADMSG, "the message holds an unknown kind of handle"));
    int fd = take_place(attachments, words[0]);
    if (fd < 0)
        return mp__null(mp__fail(-EBADMSG, "the message lacks the descriptor of a handle"));
    if (code == CODE_FD)
        return fd_take(fd);
    mp_connection *c;
    int r = mp__connection_open(fd, words[1] & 1, words[1] & 2, &c);
    if (r < 0) {
        mp__os_close(fd);
        return mp__null(r);
    }
    return mp__value_handle(&connection_ops, c);
}
