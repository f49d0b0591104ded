/* SPDX-License-Identifier: MIT */
/*
 * Owns the type Connection: an end of a pipe of packets, or of a byte stream, with the interface of the
 * standard library's.  Large buffers travel behind the pickle over packets only: what is at the other end
 * of a stream may be another Python.
 */
#include "core.h"

#include <sys/socket.h>

typedef struct connection_object {
    PyObject_HEAD mp_connection *connection;
    int fd, stream, readable, writable;
    PyObject *dumps; /* what objects are pickled with, or NULL */
} connection_object;

#define SELF ((connection_object *)self)
#define CONNECTION(self) (((connection_object *)(self))->connection)
#define HELD \
    65536 /* messages of fewer bytes are sent and received with the interpreter's lock first */

static int set(PyObject *self, mp_connection *connection, int readable, int writable)
{
    int type = 0;
    socklen_t size = sizeof type;
    SELF->fd = mp_connection_fd(connection);
    SELF->stream =
        getsockopt(SELF->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type == SOCK_STREAM;
    SELF->connection = connection;
    SELF->readable = readable;
    SELF->writable = writable;
    return 0;
}

static int init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handle", "readable", "writable", NULL};
    PyObject *handle;
    int readable = 1, writable = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pp", names, &handle, &readable, &writable))
        return -1;
    PyObject *index = PyNumber_Index(handle);
    long fd = index ? PyLong_AsLong(index) : -1;
    Py_XDECREF(index);
    if (fd == -1 && PyErr_Occurred())
        return -1;
    if (fd < 0)
        return PyErr_SetString(PyExc_ValueError, "invalid handle"), -1;
    if (!readable && !writable)
        return PyErr_SetString(PyExc_ValueError,
                               "at least one of `readable` and `writable` must be True"),
               -1;
    mp_connection_free(SELF->connection);
    SELF->connection = NULL;
    mp_connection *connection = mp_connection_from_fd((int)fd, readable, writable);
    if (!connection &&
        mp_error_code() == -EBADF) { /* as for the standard library's: who uses it learns */
        SELF->fd = (int)fd;
        return 0;
    }
    if (!connection)
        return core_raise(mp_error_code()), -1;
    return set(self, connection, readable, writable);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_connection_free(CONNECTION(self));
    Py_CLEAR(SELF->dumps);
    type->tp_free(self);
    Py_DECREF(type);
}

/* _pair(duplex) -> two connections of this class */
static PyObject *pair(PyObject *type, PyObject *args)
{
    mp_connection *end[2];
    PyObject *object[2] = {NULL, NULL};
    int duplex;
    if (!PyArg_ParseTuple(args, "p", &duplex))
        return NULL;
    int r = mp_pipe(duplex, &end[0], &end[1]);
    if (r < 0)
        return core_raise(r);
    for (int i = 0; i < 2; i++) {
        object[i] = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
        if (object[i])
            set(object[i], end[i], duplex || i == 0, duplex || i == 1);
        else
            mp_connection_free(end[i]);
    }
    if (object[0] && object[1])
        return Py_BuildValue("(NN)", object[0], object[1]);
    Py_XDECREF(object[0]);
    Py_XDECREF(object[1]);
    return NULL;
}

static int check(PyObject *self, int to_write)
{
    if (!CONNECTION(self) && SELF->fd > 0)
        return core_raise(-EBADF), -1;
    if (!CONNECTION(self) || mp_connection_closed(CONNECTION(self)))
        return PyErr_SetString(PyExc_OSError, "handle is closed"), -1;
    if (to_write && !SELF->writable)
        return PyErr_SetString(PyExc_OSError, "connection is read-only"), -1;
    if (!to_write && !SELF->readable)
        return PyErr_SetString(PyExc_OSError, "connection is write-only"), -1;
    return 0;
}

/* ---- sending ---- */

static PyObject *send_parts(PyObject *self, const mp_bytes *parts, size_t n, size_t size)
{
    mp_connection *c = mp_connection_ref(CONNECTION(self));
    int r = -ETIMEDOUT;
    if (!SELF->stream && size < HELD)
        r = mp_connection_send_parts(c, parts, n, MP_NOWAIT);
    while (r == -ETIMEDOUT || (r == -EINTR && PyErr_CheckSignals() == 0)) {
        Py_BEGIN_ALLOW_THREADS r = mp_connection_send_parts(c, parts, n, MP_FOREVER);
        Py_END_ALLOW_THREADS
    }
    mp_connection_free(c);
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

static PyObject *send_object(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *kwnames)
{
    core_pickled p;
    core_state *state = core_get_state(cls);
    if (nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0) != 1)
        return PyErr_Format(PyExc_TypeError, "send() takes one object");
    if (check(self, 1) < 0 || core_pickle(state, SELF->dumps, args[0], !SELF->stream, &p) < 0)
        return NULL;
    PyObject *result = send_parts(self, p.parts, p.n, p.size);
    core_pickled_release(state, &p);
    return result;
}

static PyObject *send_bytes(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buf", "offset", "size", NULL};
    Py_buffer view;
    Py_ssize_t offset = 0, size;
    PyObject *asked = Py_None, *result = NULL;
    if (check(self, 1) < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "y*|nO", names, &view, &offset, &asked))
        return NULL;
    size = asked == Py_None ? view.len - offset : PyNumber_AsSsize_t(asked, PyExc_OverflowError);
    if (offset < 0)
        PyErr_SetString(PyExc_ValueError, "offset is negative");
    else if (view.len < offset)
        PyErr_SetString(PyExc_ValueError, "buffer length < offset");
    else if (size < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "size is negative");
    else if (size > view.len - offset)
        PyErr_SetString(PyExc_ValueError, "buffer length < offset + size");
    if (!PyErr_Occurred()) {
        mp_bytes part = {(const char *)view.buf + offset, (size_t)size};
        result = send_parts(self, &part, 1, (size_t)size);
    }
    PyBuffer_Release(&view);
    return result;
}

/* ---- receiving ---- */

/* A message: in `room` (and then *ret_size), or in *ret_buffer. */
static int receive(PyObject *self, char *room, size_t capacity, size_t *ret_size,
                   mp_buffer **ret_buffer)
{
    mp_connection *c = mp_connection_ref(CONNECTION(self));
    int64_t r;
    *ret_buffer = NULL;
    CORE_WAIT(r, -ETIMEDOUT, MP_FOREVER, mp_connection_recv_bytes(c, room, capacity, t));
    if (r == -EMSGSIZE)
        CORE_WAIT(r, -ETIMEDOUT, MP_FOREVER, mp_connection_recv_buffer(c, ret_buffer, t));
    else if (r >= 0)
        *ret_size = (size_t)r;
    mp_connection_free(c);
    if (r >= 0)
        return 0;
    core_raise((int)r);
    return -1;
}

static PyObject *recv_object(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)kwnames;
    char room[4096];
    size_t size;
    mp_buffer *buffer;
    core_state *state = core_get_state(cls);
    if (nargs)
        return PyErr_Format(PyExc_TypeError, "recv() takes no arguments");
    if (check(self, 0) < 0 || receive(self, room, sizeof room, &size, &buffer) < 0)
        return NULL;
    if (!buffer)
        return core_unpickle(state, room, size);
    return SELF->stream ? core_unpickle_stream(state, buffer) : core_unpickle_buffer(state, buffer);
}

/* What the standard library does with a message that is too long: this end is of no use any more. */
static PyObject *bad_length(PyObject *self)
{
    if (SELF->writable)
        SELF->readable = 0;
    else
        mp_connection_close(CONNECTION(self));
    PyErr_SetString(PyExc_OSError, "bad message length");
    return NULL;
}

static PyObject *recv_bytes(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxlength", NULL};
    char room[4096];
    size_t size;
    mp_buffer *buffer;
    PyObject *asked = Py_None, *result;
    Py_ssize_t most = -1;
    if (check(self, 0) < 0 || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &asked))
        return NULL;
    if (asked != Py_None) {
        most = PyNumber_AsSsize_t(asked, PyExc_OverflowError);
        if (most < 0)
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "negative maxlength");
    }
    if (receive(self, room, sizeof room, &size, &buffer) < 0)
        return NULL;
    if (buffer)
        size = mp_buffer_size(buffer);
    result =
        most >= 0 && size > (size_t)most
            ? bad_length(self)
            : PyBytes_FromStringAndSize(buffer ? mp_buffer_data(buffer) : room, (Py_ssize_t)size);
    mp_buffer_free(buffer);
    return result;
}

static PyObject *recv_bytes_into(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    Py_ssize_t offset = 0, nk = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    Py_buffer view;
    if (check(self, 0) < 0)
        return NULL;
    if (nargs < 1 || nargs + nk > 2)
        return PyErr_Format(PyExc_TypeError, "recv_bytes_into() takes a buffer and an offset");
    if (nargs + nk == 2 && (offset = PyNumber_AsSsize_t(args[1], PyExc_OverflowError)) == -1 &&
        PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    PyObject *result = NULL;
    mp_buffer *buffer = NULL;
    size_t size = 0;
    if (offset < 0)
        PyErr_SetString(PyExc_ValueError, "negative offset");
    else if (offset > view.len)
        PyErr_SetString(PyExc_ValueError, "offset too large");
    else if (receive(self, (char *)view.buf + offset, (size_t)(view.len - offset), &size,
                     &buffer) == 0) {
        if (buffer)
            result = PyBytes_FromStringAndSize(mp_buffer_data(buffer),
                                               (Py_ssize_t)mp_buffer_size(buffer));
        else
            result = PyLong_FromSize_t(size);
    }
    PyBuffer_Release(&view);
    if (!buffer)
        return result;
    mp_buffer_free(buffer);
    if (result)
        PyErr_SetObject(state->buffer_too_short, result);
    Py_XDECREF(result);
    return NULL;
}

static PyObject *poll(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    mp_time time = MP_NOWAIT;
    int r;
    if (check(self, 0) < 0 || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &timeout) ||
        (timeout && core_timeout(timeout, &time) < 0))
        return NULL;
    mp_connection *c = mp_connection_ref(CONNECTION(self));
    CORE_WAIT(r, 0, time, mp_connection_poll(c, t));
    mp_connection_free(c);
    return r < 0 ? core_raise(r) : PyBool_FromLong(r);
}

/* ---- the rest ---- */

static PyObject *fileno_of(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!CONNECTION(self) || mp_connection_closed(CONNECTION(self)))
        return PyErr_SetString(PyExc_OSError, "handle is closed"), NULL;
    return PyLong_FromLong(SELF->fd);
}

static PyObject *close_it(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (CONNECTION(self))
        mp_connection_close(CONNECTION(self));
    Py_RETURN_NONE;
}

static PyObject *enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

static PyObject *leave(PyObject *self, PyObject *args)
{
    return close_it(self, args);
}

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!CONNECTION(self) || mp_connection_closed(CONNECTION(self)));
}

static PyObject *get_readable(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(SELF->readable);
}

static PyObject *get_writable(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(SELF->writable);
}

static PyObject *get_handle(PyObject *self, void *unused)
{
    (void)unused;
    int closed = !CONNECTION(self) || mp_connection_closed(CONNECTION(self));
    return closed ? Py_NewRef(Py_None) : PyLong_FromLong(SELF->fd);
}

/* Only None: the descriptor is somebody else's from now on. */
static int set_handle(PyObject *self, PyObject *handle, void *unused)
{
    (void)unused;
    if (handle != Py_None)
        return PyErr_SetString(PyExc_ValueError, "a handle can be given away, not exchanged"), -1;
    SELF->fd = 0;
    return 0;
}

static PyObject *get_packets(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!SELF->stream);
}

static PyObject *get_dumps(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(SELF->dumps ? SELF->dumps : Py_None);
}

static int set_dumps(PyObject *self, PyObject *dumps, void *unused)
{
    (void)unused;
    dumps = dumps == Py_None ? NULL : dumps;
    Py_XINCREF(dumps);
    Py_XSETREF(SELF->dumps, dumps);
    return 0;
}

static PyMethodDef methods[] = {
    {"_pair", pair, METH_VARARGS | METH_CLASS, "_pair(duplex) -> the two ends of a pipe"},
    {"send", CORE_FUNCTION(send_object), CORE_METHOD, "send(obj)"},
    {"recv", CORE_FUNCTION(recv_object), CORE_METHOD, "recv() -> obj"},
    {"send_bytes", CORE_FUNCTION(send_bytes), METH_VARARGS | METH_KEYWORDS,
     "send_bytes(buf, offset=0, size=None)"},
    {"recv_bytes", CORE_FUNCTION(recv_bytes), METH_VARARGS | METH_KEYWORDS,
     "recv_bytes(maxlength=None) -> bytes"},
    {"recv_bytes_into", CORE_FUNCTION(recv_bytes_into), CORE_METHOD,
     "recv_bytes_into(buf, offset=0) -> size"},
    {"poll", CORE_FUNCTION(poll), METH_VARARGS | METH_KEYWORDS,
     "poll(timeout=0.0): whether a receive would not wait"},
    {"fileno", fileno_of, METH_NOARGS, "The descriptor."},
    {"close", close_it, METH_NOARGS, "Closes this process's hold of the end."},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", leave, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef attributes[] = {
    {"closed", get_closed, NULL, "Whether it was closed here.", NULL},
    {"readable", get_readable, NULL, "Whether it receives.", NULL},
    {"writable", get_writable, NULL, "Whether it sends.", NULL},
    {"_handle", get_handle, set_handle, "The descriptor, or None.", NULL},
    {"_packets", get_packets, NULL, "Whether the system keeps the bounds of messages.", NULL},
    {"_dumps", get_dumps, set_dumps, "What objects are pickled with, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot slots[] = {{Py_tp_init, init},
                              {Py_tp_new, PyType_GenericNew},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_getset, attributes},
                              {Py_tp_doc, "One end of a pipe, or a connected socket."},
                              {0, NULL}};
PyType_Spec core_connection_spec = {"multiproc._core.Connection", sizeof(connection_object), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
