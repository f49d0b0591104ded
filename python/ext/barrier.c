/* SPDX-License-Identifier: MIT */
/* Owns the type Barrier: where processes wait for each other. */
#include "core.h"

typedef struct barrier_object {
    PyObject_HEAD mp_barrier *barrier;
} barrier_object;
#define BARRIER(self) (((barrier_object *)(self))->barrier)

static PyObject *barrier_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"parties", "handle", NULL};
    unsigned parties;
    PyObject *handle = NULL;
    mp_barrier *barrier = NULL;
    core_state *state = core_get_state(type);
    if (!state || !PyArg_ParseTupleAndKeywords(args, kwargs, "I|O!", names, &parties,
                                               state->value_type, &handle))
        return NULL;
    if (handle) {
        int r = mp_value_get_barrier(((core_value *)handle)->value, &barrier);
        if (r < 0)
            return core_raise(r);
        mp_barrier_ref(barrier);
    } else {
        barrier = mp_barrier_new(parties);
    }
    barrier_object *self = barrier ? (barrier_object *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        int r = barrier ? -ENOMEM : mp_error_code();
        mp_barrier_free(barrier);
        return core_raise(r);
    }
    self->barrier = barrier;
    return (PyObject *)self;
}

static void barrier_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_barrier_free(BARRIER(self));
    type->tp_free(self);
    Py_DECREF(type);
}

/* In the thread that has come last, without the interpreter's lock. */
static int run_action(void *action)
{
    PyGILState_STATE held = PyGILState_Ensure();
    PyObject *result = PyObject_CallNoArgs(action); /* its exception stays with this thread */
    Py_XDECREF(result);
    PyGILState_Release(held);
    return result ? 0 : 1;
}

/* wait(action, timeout) -> index, None when the barrier is broken */
static PyObject *barrier_wait(PyObject *self, PyObject *args)
{
    PyObject *action, *timeout;
    mp_time time;
    int r;
    if (!PyArg_ParseTuple(args, "OO", &action, &timeout) || core_timeout(timeout, &time) < 0)
        return NULL;
    mp_time until = core_deadline(time);
    do {
        mp_time left = time <= 0 ? 0 : core_left(until);
        Py_BEGIN_ALLOW_THREADS r =
            action == Py_None ? mp_barrier_wait(BARRIER(self), left)
                              : mp_barrier_wait_with(BARRIER(self), run_action, action, left);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR && PyErr_CheckSignals() == 0);
    if (PyErr_Occurred())
        return NULL;
    if (r == MP_EBROKEN || r == -ETIMEDOUT)
        Py_RETURN_NONE;
    return r < 0 ? core_raise(r) : PyLong_FromLong(r);
}

static PyObject *reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_barrier_reset(BARRIER(self));
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

static PyObject *abort_it(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_barrier_abort(BARRIER(self));
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

static PyObject *waiting(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(mp_barrier_waiting(BARRIER(self)));
}

static PyObject *broken(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(mp_barrier_broken(BARRIER(self)));
}

static PyObject *barrier_export(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                                Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_barrier(BARRIER(self)));
}

static PyMethodDef barrier_methods[] = {
    {"wait", barrier_wait, METH_VARARGS, "wait(action, timeout) -> index; None: it is broken"},
    {"reset", reset, METH_NOARGS, "As new; whoever waits is told that it is broken."},
    {"abort", abort_it, METH_NOARGS, "Breaks it."},
    {"waiting", waiting, METH_NOARGS, "How many wait."},
    {"broken", broken, METH_NOARGS, "Whether it is broken."},
    {"export", CORE_FUNCTION(barrier_export), CORE_METHOD, "On its way to another process."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot barrier_slots[] = {{Py_tp_new, barrier_new},
                                      {Py_tp_dealloc, barrier_dealloc},
                                      {Py_tp_methods, barrier_methods},
                                      {Py_tp_doc, "Where processes wait for each other."},
                                      {0, NULL}};
PyType_Spec core_barrier_spec = {"multiproc._core.Barrier", sizeof(barrier_object), 0,
                                 Py_TPFLAGS_DEFAULT, barrier_slots};
