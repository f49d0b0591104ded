/* SPDX-License-Identifier: MIT */
/*
 * Owns what a pool has in C: the type Desk, which says how far a worker has come in its messages, and
 * results on their way home.
 *
 * A desk has four places in shared memory.  The parent posts a message there before it sends it; the worker
 * claims the tasks in it one by one; the parent may recall what is not claimed.  A place is one word: the
 * number of the message, and how many of its tasks are claimed, or that no more can be.  So for each task
 * exactly one of both has it, whoever dies when.
 *
 * A result is a pickle with 16 bytes behind it: worker, message, task, what it is.
 */
#include "core.h"

#include <stdatomic.h>

#define PLACES 4
#define CLOSED UINT32_C(0x80000000)

typedef struct places {
    _Atomic uint64_t place[PLACES]; /* number << 32 | claimed, with CLOSED */
    _Atomic uint64_t note;
} places;

typedef struct desk {
    PyObject_HEAD mp_shm *shm;
} desk;
#define DESK(self) ((places *)mp_shm_data(((desk *)(self))->shm))

static PyObject *desk_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handle", NULL};
    PyObject *handle = NULL;
    mp_shm *shm = NULL;
    core_state *state = core_get_state(type);
    if (!state ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O!", names, state->value_type, &handle))
        return NULL;
    if (handle) {
        int r = mp_value_get_shm(((core_value *)handle)->value, &shm);
        if (r < 0)
            return core_raise(r);
        mp_shm_ref(shm);
    } else {
        shm = mp_shm_new(sizeof(places));
    }
    desk *self = shm ? (desk *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        int r = shm ? -ENOMEM : mp_error_code();
        mp_shm_free(shm);
        return core_raise(r);
    }
    self->shm = shm;
    return (PyObject *)self;
}

static void desk_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_shm_free(((desk *)self)->shm);
    type->tp_free(self);
    Py_DECREF(type);
}

static int number_of(PyObject *arg, uint32_t *ret_number)
{
    unsigned long number = PyLong_AsUnsignedLong(arg);
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    *ret_number = (uint32_t)number;
    return 0;
}

static PyObject *post(PyObject *self, PyObject *arg)
{
    uint32_t number;
    if (number_of(arg, &number) < 0)
        return NULL;
    atomic_store(&DESK(self)->place[number % PLACES], (uint64_t)number << 32);
    Py_RETURN_NONE;
}

/* By the worker: the next task of a message, or -1: it was recalled. */
static PyObject *claim(PyObject *self, PyObject *arg)
{
    uint32_t number;
    if (number_of(arg, &number) < 0)
        return NULL;
    _Atomic uint64_t *place = &DESK(self)->place[number % PLACES];
    uint64_t seen = atomic_load(place);
    do {
        if (seen >> 32 != number || (seen & CLOSED))
            return PyLong_FromLong(-1);
    } while (!atomic_compare_exchange_weak(place, &seen, seen + 1));
    return PyLong_FromUnsignedLong((uint32_t)seen);
}

/* How many tasks of a message were claimed; `close`: and no more can be. */
static PyObject *claimed(PyObject *self, PyObject *arg, int close)
{
    uint32_t number;
    if (number_of(arg, &number) < 0)
        return NULL;
    _Atomic uint64_t *place = &DESK(self)->place[number % PLACES];
    uint64_t seen = close ? atomic_fetch_or(place, CLOSED) : atomic_load(place);
    return seen >> 32 == number ? PyLong_FromUnsignedLong((uint32_t)seen & ~CLOSED)
                                : PyLong_FromLong(-1);
}

static PyObject *look(PyObject *self, PyObject *arg)
{
    return claimed(self, arg, 0);
}

static PyObject *recall(PyObject *self, PyObject *arg)
{
    return claimed(self, arg, 1);
}

static PyObject *set_note(PyObject *self, PyObject *arg)
{
    unsigned long long note = PyLong_AsUnsignedLongLong(arg);
    if (note == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    atomic_store(&DESK(self)->note, note);
    Py_RETURN_NONE;
}

static PyObject *get_note(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(atomic_load(&DESK(self)->note));
}

static PyObject *desk_export(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_shm(((desk *)self)->shm));
}

static PyMethodDef desk_methods[] = {
    {"post", post, METH_O, "post(message): its tasks can be claimed"},
    {"claim", claim, METH_O, "claim(message) -> the next task; -1: there is none any more"},
    {"look", look, METH_O, "look(message) -> how many are claimed; -1: it is not here"},
    {"recall", recall, METH_O, "recall(message) -> the same, and no more can be claimed"},
    {"set_note", set_note, METH_O, "set_note(number): why the worker is interrupted"},
    {"note", get_note, METH_NOARGS, "What set_note() was told last."},
    {"export", CORE_FUNCTION(desk_export), CORE_METHOD, "The desk on its way to a worker."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot desk_slots[] = {{Py_tp_new, desk_new},
                                   {Py_tp_dealloc, desk_dealloc},
                                   {Py_tp_methods, desk_methods},
                                   {Py_tp_doc, "How far a worker has come."},
                                   {0, NULL}};
PyType_Spec core_desk_spec = {"multiproc._core.Desk", sizeof(desk), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, desk_slots};

/* ---- results ---- */

typedef struct label {
    uint32_t worker, message, task, what;
} label;

#define UNPICKLED 0x100 /* added when what came could not be unpickled: here is its exception */

/* put_result(queue, worker, message, task, what, obj) */
PyObject *core_put_result(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    label l;
    core_pickled p;
    int r;
    if (nargs != 6 || !PyObject_TypeCheck(args[0], state->queue_type))
        return PyErr_Format(PyExc_TypeError, "put_result() takes a queue, four numbers, an object");
    if (number_of(args[1], &l.worker) < 0 || number_of(args[2], &l.message) < 0 ||
        number_of(args[3], &l.task) < 0 || number_of(args[4], &l.what) < 0 ||
        core_pickle(state, core_queue_dumps(args[0]), args[5], 1, &p) < 0)
        return NULL;
    p.parts[p.n++] = (mp_bytes){&l, sizeof l}; /* there is room for one more */
    mp_queue *q = core_queue(args[0]);
    CORE_WAIT(r, -ETIMEDOUT, MP_FOREVER, mp_queue_put_parts(q, p.parts, p.n, t));
    core_pickled_release(state, &p);
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

/* (worker, message, task, what, obj), where `object` may be an exception that is set. */
static PyObject *labelled(const label *l, PyObject *object)
{
    PyObject *type, *trace, *tuple = PyTuple_New(5);
    uint32_t what = l->what;
    if (!object) {
        PyErr_Fetch(&type, &object, &trace);
        PyErr_NormalizeException(&type, &object, &trace);
        Py_XDECREF(type);
        Py_XDECREF(trace);
        what |= UNPICKLED;
    }
    if (!tuple || !object) {
        Py_XDECREF(tuple);
        Py_XDECREF(object);
        return NULL;
    }
    const uint32_t numbers[4] = {l->worker, l->message, l->task, what};
    for (int i = 0; i < 4; i++)
        PyTuple_SET_ITEM(tuple, i, PyLong_FromUnsignedLong(numbers[i]));
    PyTuple_SET_ITEM(tuple, 4, object);
    return tuple;
}

static int append(PyObject *list, PyObject *tuple)
{
    int r = tuple ? PyList_Append(list, tuple) : -1;
    Py_XDECREF(tuple);
    return r;
}

static int append_bytes(core_state *state, PyObject *list, const char *data, size_t size)
{
    label l;
    if (size < sizeof l) /* nobody else puts into this queue */
        return PyErr_SetString(PyExc_ValueError, "damaged result"), -1;
    memcpy(&l, data + size - sizeof l, sizeof l);
    return append(list, labelled(&l, core_unpickle(state, data, size - sizeof l)));
}

static int append_buffer(core_state *state, PyObject *list, mp_buffer *buffer)
{
    label l;
    size_t size = mp_buffer_size(buffer);
    memcpy(&l, (char *)mp_buffer_data(buffer) + size - sizeof l, sizeof l);
    return append(list, labelled(&l, core_unpickle_buffer(state, buffer)));
}

/* get_results(queue, timeout) -> list of (worker, message, task, what, obj); empty: the time is up */
PyObject *core_get_results(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *queue, *timeout;
    mp_time time;
    char room[16384];
    mp_bytes items[256];
    mp_buffer *buffer;
    int64_t r;
    if (!PyArg_ParseTuple(args, "O!O", state->queue_type, &queue, &timeout) ||
        core_timeout(timeout, &time) < 0)
        return NULL;
    mp_queue *q = core_queue(queue);
    PyObject *list = PyList_New(0);
    if (!list)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, time,
              mp_queue_get_many_items(q, room, sizeof room, items, Py_ARRAY_LENGTH(items), t));
    int failed = 0;
    for (int64_t i = 0; i < r && !failed; i++)
        failed = append_bytes(state, list, items[i].data, items[i].size) < 0;
    if (r == -EMSGSIZE) { /* too long for the room */
        CORE_WAIT(r, -ETIMEDOUT, time, mp_queue_get_buffer(q, &buffer, t));
        if (r >= 0)
            failed = append_buffer(state, list, buffer) < 0;
    }
    if (r < 0 && r != -ETIMEDOUT)
        failed = (core_raise((int)r), 1);
    if (failed)
        Py_CLEAR(list);
    return list;
}
