/* SPDX-License-Identifier: MIT */
/*
 * Owns the handles that travel in values: connections and plain descriptors.  Each is exported as a
 * place in the message's list of descriptors and imported by taking the descriptor from that place.
 */
#include "channel/connection.h"

enum { CODE_CONNECTION = 1, CODE_FD = 2 };

/* ---- connections: the place, and the directions ---- */

static void connection_free(void *object)
{
    mp_connection_free(object);
}

static void connection_release(void *object)
{
    mp__connection_leave(object);
}

static int connection_check(void *object)
{
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

static const mp__handle_ops connection_ops = {"Connection", CODE_CONNECTION, connection_free,
                                              connection_check, connection_export};

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

static const mp__handle_ops fd_ops = {"DupFd", CODE_FD, fd_free, NULL, fd_export};

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
    if (code != CODE_CONNECTION && code != CODE_FD)
        return mp__null(mp__fail(-EBADMSG, "the message holds an unknown kind of handle"));
    int fd = take_place(attachments, words[0]);
    if (fd < 0)
        return mp__null(mp__fail(-EBADMSG, "the message lacks the descriptor of a handle"));
    if (code == CODE_FD)
        return fd_take(fd);
    mp_connection *c = mp__connection_make(fd, words[1] & 1, words[1] & 2);
    return c ? mp__value_handle(&connection_ops, c) : NULL;
}
