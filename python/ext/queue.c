/* SPDX-License-Identifier: MIT */
/* Owns the type Queue: put and get of pickled objects, from the call to shared memory in one step. */
#include "core.h"

typedef struct queue_object {
    PyObject_HEAD mp_queue *queue;
} queue_object;

#define QUEUE(self) (((queue_object *)(self))->queue)

static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"maxsize", "joinable", "value", NULL};
    Py_ssize_t maxsize = 0;
    int joinable = 0;
    PyObject *value = NULL;
    core_state *state = core_get_state(type);
    if (!state || !PyArg_ParseTupleAndKeywords(args, kwargs, "|npO!", names, &maxsize, &joinable,
                                               state->value_type, &value))
        return NULL;
    mp_queue *queue = NULL;
    if (value) {
        int r = mp_value_get_queue(((core_value *)value)->value, &queue);
        if (r < 0)
            return core_raise(r);
        queue = mp_queue_ref(queue);
    } else {
        mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
        options.max_items = maxsize > 0 ? (size_t)maxsize : 0;
        options.joinable = joinable;
        queue = mp_queue_new_with(&options);
    }
    if (!queue)
        return core_raise(mp_error_code());
    queue_object *self = (queue_object *)type->tp_alloc(type, 0);
    if (!self) {
        mp_queue_free(queue);
        return NULL;
    }
    self->queue = queue;
    return (PyObject *)self;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_queue_free(QUEUE(self));
    type->tp_free(self);
    Py_DECREF(type);
}

/* (block=True, timeout=None) from position `i` on; -1 with an exception. */
static int parse_wait(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t i, PyObject *kwnames,
                      mp_time *ret_time)
{
    PyObject *block = nargs > i ? args[i] : NULL, *timeout = nargs > i + 1 ? args[i + 1] : NULL;
    Py_ssize_t nk = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t k = 0; k < nk; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        if (PyUnicode_CompareWithASCIIString(name, "block") == 0) {
            block = args[nargs + k];
        } else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0) {
            timeout = args[nargs + k];
        } else {
            PyErr_Format(PyExc_TypeError, "unexpected keyword argument '%U'", name);
            return -1;
        }
    }
    int blocks = block ? PyObject_IsTrue(block) : 1;
    if (blocks < 0)
        return -1;
    *ret_time = MP_FOREVER;
    if (!blocks)
        *ret_time = MP_NOWAIT;
    else if (timeout && core_timeout(timeout, ret_time) < 0)
        return -1;
    return 0;
}

static PyObject *put(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout;
    Py_buffer view;
    int r;
    if (nargs < 1 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "put() takes an object, block and timeout");
        return NULL;
    }
    if (parse_wait(args, nargs, 1, kwnames, &timeout) < 0 || core_pickle(state, args[0], &view) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, timeout,
              mp_queue_put_bytes(QUEUE(self), view.buf, (size_t)view.len, t));
    PyBuffer_Release(&view);
    if (r == -ETIMEDOUT) {
        PyErr_SetNone(state->full);
        return NULL;
    }
    if (r < 0)
        return core_raise(r);
    Py_RETURN_NONE;
}

static PyObject *empty_or(core_state *state, int64_t r)
{
    if (r == -ETIMEDOUT)
        PyErr_SetNone(state->empty);
    else
        core_raise((int)r);
    return NULL;
}

static PyObject *get(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    char room[512];
    mp_time timeout;
    int64_t r;
    if (nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "get() takes block and timeout");
        return NULL;
    }
    if (parse_wait(args, nargs, 0, kwnames, &timeout) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, timeout, mp_queue_get_bytes(QUEUE(self), room, sizeof room, t));
    if (r >= 0)
        return core_unpickle(state, room, (size_t)r);
    if (r != -EMSGSIZE)
        return empty_or(state, r);
    mp_buffer *buffer; /* it was too long for the room: another one may get it meanwhile */
    CORE_WAIT(r, -ETIMEDOUT, timeout, mp_queue_get_buffer(QUEUE(self), &buffer, t));
    return r < 0 ? empty_or(state, r) : core_unpickle_buffer(state, buffer);
}

static PyObject *put_many(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout;
    if (nargs < 1 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "put_many() takes objects, block and timeout");
        return NULL;
    }
    PyObject *items = PySequence_Fast(args[0], "put_many() takes an iterable of objects");
    if (!items || parse_wait(args, nargs, 1, kwnames, &timeout) < 0) {
        Py_XDECREF(items);
        return NULL;
    }
    Py_ssize_t done = 0, n = PySequence_Fast_GET_SIZE(items);
    mp_time until = core_deadline(timeout);
    for (; done < n && !PyErr_Occurred(); done++) {
        Py_buffer view;
        int r;
        mp_time left = timeout <= 0 ? 0 : core_left(until);
        if (core_pickle(state, PySequence_Fast_GET_ITEM(items, done), &view) < 0)
            break;
        CORE_WAIT(r, -ETIMEDOUT, left,
                  mp_queue_put_bytes(QUEUE(self), view.buf, (size_t)view.len, t));
        PyBuffer_Release(&view);
        if (r == -ETIMEDOUT)
            break;
        if (r < 0)
            core_raise(r);
    }
    Py_DECREF(items);
    if (PyErr_Occurred())
        return NULL;
    if (done == 0 && n > 0) {
        PyErr_SetNone(state->full);
        return NULL;
    }
    return PyLong_FromSsize_t(done);
}

static PyObject *get_many(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout;
    Py_ssize_t most = nargs > 0 ? PyNumber_AsSsize_t(args[0], PyExc_OverflowError) : 1;
    if ((most == -1 && PyErr_Occurred()) || parse_wait(args, nargs, 1, kwnames, &timeout) < 0)
        return NULL;
    PyObject *list = PyList_New(0);
    while (list && PyList_GET_SIZE(list) < most) {
        mp_buffer *buffer;
        int r;
        mp_time wait = PyList_GET_SIZE(list) ? MP_NOWAIT : timeout;
        CORE_WAIT(r, -ETIMEDOUT, wait, mp_queue_get_buffer(QUEUE(self), &buffer, t));
        if (r == -ETIMEDOUT && PyList_GET_SIZE(list))
            break;
        PyObject *object = r < 0 ? empty_or(state, r) : core_unpickle_buffer(state, buffer);
        if (!object || PyList_Append(list, object) < 0)
            Py_CLEAR(list);
        Py_XDECREF(object);
    }
    return list;
}

static PyObject *qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(mp_queue_size(QUEUE(self)));
}

static PyObject *empty(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(mp_queue_empty(QUEUE(self)));
}

static PyObject *full(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(mp_queue_full(QUEUE(self)));
}

static PyObject *task_done(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_queue_task_done(QUEUE(self));
    if (r == -EPERM) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (r < 0)
        return core_raise(r);
    Py_RETURN_NONE;
}

static PyObject *join(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout = MP_FOREVER;
    int r;
    if (parse_wait(args, nargs, -1, kwnames, &timeout) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, timeout, mp_queue_join(QUEUE(self), t));
    if (r == -EOWNERDEAD)
        return PyErr_WarnEx(state->owner_died, mp_error_detail(), 1) < 0 ? NULL
                                                                         : Py_NewRef(Py_None);
    if (r == -ETIMEDOUT)
        return Py_NewRef(Py_False);
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

static PyObject *fileno_of(PyObject *self, PyObject *unused)
{
    (void)unused;
    int fd = mp_queue_fd(QUEUE(self));
    return fd < 0 ? core_raise(fd) : PyLong_FromLong(fd);
}

static PyObject *export_value(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_queue(QUEUE(self)));
}

#define METHOD (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)
#define FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef methods[] = {
    {"put", FUNCTION(put), METHOD, "put(obj, block=True, timeout=None)"},
    {"get", FUNCTION(get), METHOD, "get(block=True, timeout=None)"},
    {"put_many", FUNCTION(put_many), METHOD,
     "put_many(objs, block=True, timeout=None) -> how many were put"},
    {"get_many", FUNCTION(get_many), METHOD,
     "get_many(most, block=True, timeout=None) -> list of at least one"},
    {"qsize", qsize, METH_NOARGS, "The number of items, exactly."},
    {"empty", empty, METH_NOARGS, "True when there is none."},
    {"full", full, METH_NOARGS, "True when a put would wait."},
    {"task_done", task_done, METH_NOARGS, "An item that was got is done."},
    {"join", FUNCTION(join), METHOD, "Waits until every item is done."},
    {"fileno", fileno_of, METH_NOARGS, "A descriptor that is readable while there is an item."},
    {"export", FUNCTION(export_value), METHOD, "The queue on its way to another process."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_new, new},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_doc, "A queue in shared memory."},
                              {0, NULL}};
PyType_Spec core_queue_spec = {"multiproc._core.Queue", sizeof(queue_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
