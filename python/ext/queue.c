/* SPDX-License-Identifier: MIT */
/* Owns the type Queue: put and get of pickled objects, from the call to shared memory in one step. */
#include "core.h"

typedef struct queue_object {
    PyObject_HEAD mp_queue *queue;
    PyObject *dumps; /* what objects are pickled with, or NULL */
    char closed;
} queue_object;

#define SELF ((queue_object *)self)
#define QUEUE(self) (((queue_object *)(self))->queue)
#define HELD 262144 /* items of fewer bytes are put with the interpreter's lock, if there is room */

/* _make(maxsize, joinable, handle=None): subclasses have constructors of their own. */
static PyObject *make(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    if (nargs != 3 || kwnames)
        return PyErr_Format(PyExc_TypeError, "_make() takes maxsize, joinable and a handle");
    Py_ssize_t maxsize = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (maxsize == -1 && PyErr_Occurred())
        return NULL;
    mp_queue *queue = NULL;
    if (Py_TYPE(args[2]) == state->value_type) {
        int r = mp_value_get_queue(((core_value *)args[2])->value, &queue);
        if (r < 0)
            return core_raise(r);
        queue = mp_queue_ref(queue);
    } else {
        mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
        options.max_items = maxsize > 0 ? (size_t)maxsize : 0;
        options.joinable = PyObject_IsTrue(args[1]);
        queue = mp_queue_new_with(&options);
    }
    if (!queue)
        return core_raise(mp_error_code());
    mp_queue_free(QUEUE(self));
    QUEUE(self) = queue;
    Py_RETURN_NONE;
}

mp_queue *core_queue(PyObject *queue)
{
    return QUEUE(queue);
}

PyObject *core_queue_dumps(PyObject *queue)
{
    return ((queue_object *)queue)->dumps;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_queue_free(QUEUE(self));
    Py_CLEAR(SELF->dumps);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Open, and made; else -1 with an exception. */
static int check(PyObject *self)
{
    if (SELF->closed)
        PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
    else if (!QUEUE(self))
        PyErr_SetString(PyExc_RuntimeError, "the queue's __init__() was not called");
    else
        return 0;
    return -1;
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

static int put_parts(PyObject *self, const core_pickled *p, mp_time timeout)
{
    mp_queue *q = QUEUE(self);
    int r;
    if (p->size < HELD) {
        CORE_WAIT(r, -ETIMEDOUT, timeout, mp_queue_put_parts(q, p->parts, p->n, t));
        return r;
    }
    mp_time until = core_deadline(timeout);
    do {
        mp_time left = timeout <= 0 ? MP_NOWAIT : core_left(until);
        Py_BEGIN_ALLOW_THREADS r = mp_queue_put_parts(q, p->parts, p->n, left);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR && PyErr_CheckSignals() == 0);
    return r;
}

/* What cannot be pickled is reported as the standard library's feeder thread does, where there is such a
 * report; NULL: it is the caller's. */
static PyObject *not_pickled(PyObject *self, PyObject *object)
{
    PyObject *type, *error, *trace, *result;
    PyErr_Fetch(&type, &error, &trace);
    PyObject *report = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_not_pickled");
    if (!report || report == Py_None) {
        Py_XDECREF(report);
        PyErr_Restore(type, error, trace);
        return NULL;
    }
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace)
        PyException_SetTraceback(error, trace);
    result = PyObject_CallFunctionObjArgs(report, self, error, object, NULL);
    Py_DECREF(report);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return result;
}

static PyObject *put(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    core_pickled p;
    mp_time timeout;
    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "put() takes an object, block and timeout");
    if (check(self) < 0 || parse_wait(args, nargs, 1, kwnames, &timeout) < 0)
        return NULL;
    if (core_pickle(state, SELF->dumps, args[0], 1, &p) < 0)
        return PyErr_ExceptionMatches(PyExc_Exception) ? not_pickled(self, args[0]) : NULL;
    int r = put_parts(self, &p, timeout);
    core_pickled_release(state, &p);
    if (r == -ETIMEDOUT)
        return core_raise_full(state);
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

static PyObject *empty_or(core_state *state, int64_t r)
{
    if (r == -ETIMEDOUT)
        core_raise_empty(state);
    else
        core_raise((int)r);
    return NULL;
}

static PyObject *get(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    char room[4096];
    mp_time timeout;
    int64_t r;
    if (check(self) < 0)
        return NULL;
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

/* Items on their way: their pickles stand one behind the other. */
#define BATCH 256
typedef struct batch {
    char room[16384];
    mp_bytes items[BATCH];
    size_t n, used;
    Py_ssize_t done;        /* how many were put before */
    int cut;                /* the time was up */
    mp_time timeout, until; /* how long, and until when */
} batch;

static mp_time batch_left(const batch *b)
{
    return b->timeout <= 0 ? MP_NOWAIT : core_left(b->until);
}

/* Puts what is there.  -1 with an exception. */
static int put_batch(PyObject *self, batch *b)
{
    size_t at = 0;
    while (at < b->n && !b->cut) {
        int64_t r;
        mp_time left = batch_left(b);
        CORE_WAIT(r, -ETIMEDOUT, left,
                  mp_queue_put_many_items(QUEUE(self), b->items + at, b->n - at, t));
        b->cut = r == -ETIMEDOUT;
        if (r < 0 && !b->cut)
            return core_raise((int)r), -1;
        at += r > 0 ? (size_t)r : 0;
    }
    b->done += (Py_ssize_t)at;
    b->n = b->used = 0;
    return 0;
}

/* Adds an item to the batch, or puts it when it is large. */
static int add_to_batch(PyObject *self, batch *b, const core_pickled *p)
{
    if ((b->n == BATCH || p->size > sizeof b->room - b->used) && put_batch(self, b) < 0)
        return -1;
    if (b->cut)
        return 0;
    if (p->size > sizeof b->room) {
        int r = put_parts(self, p, batch_left(b));
        b->cut = r == -ETIMEDOUT;
        b->done += r == 0;
        return r < 0 && !b->cut ? (core_raise(r), -1) : 0;
    }
    char *to = b->room + b->used;
    b->items[b->n++] = (mp_bytes){to, p->size};
    b->used += p->size;
    for (size_t k = 0; k < p->n; to += p->parts[k++].size)
        memcpy(to, p->parts[k].data, p->parts[k].size);
    return 0;
}

static PyObject *put_sequence(PyObject *self, core_state *state, PyObject *items, batch *b)
{
    int r = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items) && r == 0 && !b->cut; i++) {
        core_pickled p;
        r = core_pickle(state, SELF->dumps, PySequence_Fast_GET_ITEM(items, i), 1, &p);
        if (r < 0)
            break;
        r = add_to_batch(self, b, &p);
        core_pickled_release(state, &p);
    }
    if (r < 0) { /* what came before the one that failed is put */
        PyObject *type, *error, *trace;
        PyErr_Fetch(&type, &error, &trace);
        if (put_batch(self, b) < 0)
            PyErr_Clear();
        PyErr_Restore(type, error, trace);
        return NULL;
    }
    if (put_batch(self, b) < 0)
        return NULL;
    if (!b->done && b->cut)
        return core_raise_full(state);
    return PyLong_FromSsize_t(b->done);
}

static PyObject *put_many(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout;
    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "put_many() takes objects, block and timeout");
    if (check(self) < 0)
        return NULL;
    PyObject *items = PySequence_Fast(args[0], "put_many() takes an iterable of objects");
    batch *b = PyMem_Malloc(sizeof *b);
    PyObject *result = NULL;
    if (items && !b)
        PyErr_NoMemory();
    if (items && b && parse_wait(args, nargs, 1, kwnames, &timeout) == 0) {
        b->n = b->used = 0;
        b->done = b->cut = 0;
        b->timeout = timeout;
        b->until = core_deadline(timeout);
        result = put_sequence(self, state, items, b);
    }
    PyMem_Free(b);
    Py_XDECREF(items);
    return result;
}

/* Adds an object to the list.  One that could not be unpickled (NULL) is gone; the first error is kept. */
static void add_object(PyObject *list, PyObject *object, PyObject *first[3])
{
    if (object && PyList_Append(list, object) < 0)
        Py_CLEAR(object);
    if (!object && !first[0])
        PyErr_Fetch(&first[0], &first[1], &first[2]);
    else if (!object)
        PyErr_Clear();
    Py_XDECREF(object);
}

/* Gets until there are enough, or no more; 0, or -1 with an exception. */
static int get_into(PyObject *self, core_state *state, PyObject *list, batch *b, Py_ssize_t most,
                    mp_time timeout, PyObject *first[3])
{
    while (PyList_GET_SIZE(list) < most && !first[0]) {
        size_t n = (size_t)(most - PyList_GET_SIZE(list));
        mp_time wait = PyList_GET_SIZE(list) ? MP_NOWAIT : timeout;
        mp_buffer *buffer;
        int64_t r;
        n = n < BATCH ? n : BATCH;
        CORE_WAIT(r, -ETIMEDOUT, wait,
                  mp_queue_get_many_items(QUEUE(self), b->room, sizeof b->room, b->items, n, t));
        for (int64_t i = 0; i < r; i++)
            add_object(list, core_unpickle(state, b->items[i].data, b->items[i].size), first);
        if (r == -EMSGSIZE) {
            CORE_WAIT(r, -ETIMEDOUT, wait, mp_queue_get_buffer(QUEUE(self), &buffer, t));
            if (r >= 0)
                add_object(list, core_unpickle_buffer(state, buffer), first);
        }
        if (r == -ETIMEDOUT && PyList_GET_SIZE(list))
            return 0;
        if (r < 0)
            return empty_or(state, r), -1;
    }
    return 0;
}

static PyObject *get_many(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    core_state *state = core_get_state(cls);
    mp_time timeout;
    Py_ssize_t most = nargs > 0 ? PyNumber_AsSsize_t(args[0], PyExc_OverflowError) : 1;
    if ((most == -1 && PyErr_Occurred()) || check(self) < 0 ||
        parse_wait(args, nargs, 1, kwnames, &timeout) < 0)
        return NULL;
    if (most < 1)
        return PyErr_Format(PyExc_ValueError, "get_many() gets at least one item, not %zd", most);
    batch *b = PyMem_Malloc(sizeof *b);
    PyObject *list = b ? PyList_New(0) : PyErr_NoMemory();
    PyObject *first[3] = {NULL, NULL, NULL};
    int r = list ? get_into(self, state, list, b, most, timeout, first) : -1;
    PyMem_Free(b);
    if (first[0]) { /* nothing is lost: the exception has what else was got */
        PyErr_NormalizeException(&first[0], &first[1], &first[2]);
        if (PyObject_SetAttrString(first[1], "items", list) < 0)
            PyErr_Clear();
        PyErr_Restore(first[0], first[1], first[2]);
        r = -1;
    }
    if (r < 0)
        Py_CLEAR(list);
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

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(SELF->closed);
}

static int set_closed(PyObject *self, PyObject *closed, void *unused)
{
    (void)unused;
    SELF->closed = closed && PyObject_IsTrue(closed) == 1;
    return 0;
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
    {"_make", CORE_FUNCTION(make), CORE_METHOD, "_make(maxsize, joinable, handle)"},
    {"put", CORE_FUNCTION(put), CORE_METHOD, "put(obj, block=True, timeout=None)"},
    {"get", CORE_FUNCTION(get), CORE_METHOD, "get(block=True, timeout=None)"},
    {"put_many", CORE_FUNCTION(put_many), CORE_METHOD,
     "put_many(objs, block=True, timeout=None) -> how many were put"},
    {"get_many", CORE_FUNCTION(get_many), CORE_METHOD,
     "get_many(most, block=True, timeout=None) -> list of at least one"},
    {"qsize", qsize, METH_NOARGS, "The number of items, exactly."},
    {"empty", empty, METH_NOARGS, "True when there is none."},
    {"full", full, METH_NOARGS, "True when a put would wait."},
    {"_task_done", task_done, METH_NOARGS, "An item that was got is done."},
    {"_join", CORE_FUNCTION(join), CORE_METHOD, "Waits until every item is done."},
    {"fileno", fileno_of, METH_NOARGS, "A descriptor that is readable while there is an item."},
    {"_export", CORE_FUNCTION(export_value), CORE_METHOD, "On its way to another process."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef attributes[] = {
    {"_closed", get_closed, set_closed, "Whether it was closed here.", NULL},
    {"_dumps", get_dumps, set_dumps, "What objects are pickled with, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot slots[] = {{Py_tp_new, PyType_GenericNew},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_getset, attributes},
                              {Py_tp_doc, "A queue in shared memory."},
                              {0, NULL}};
PyType_Spec core_queue_spec = {"multiproc._core.Queue", sizeof(queue_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
