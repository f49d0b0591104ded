/* SPDX-License-Identifier: MIT */
/*
 * Owns the type Condition.  A Condition here is what waits and is notified; the lock of the
 * user's is the package's matter: whoever waits holds ours from before that one is given back until it is
 * entered among the waiters, so no notification is lost.
 */
#include "core.h"

typedef struct condition_object {
    PyObject_HEAD mp_condition *condition;
} condition_object;
#define CONDITION(self) (((condition_object *)(self))->condition)

static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handle", NULL};
    PyObject *handle = NULL;
    mp_condition *condition = NULL;
    core_state *state = core_get_state(type);
    if (!state ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O!", names, state->value_type, &handle))
        return NULL;
    if (handle) {
        int r = mp_value_get_condition(((core_value *)handle)->value, &condition);
        if (r < 0)
            return core_raise(r);
        mp_condition_ref(condition);
    } else {
        condition = mp_condition_new();
    }
    condition_object *self = condition ? (condition_object *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        int r = condition ? -ENOMEM : mp_error_code();
        mp_condition_free(condition);
        return core_raise(r);
    }
    self->condition = condition;
    return (PyObject *)self;
}

static void condition_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_condition_free(CONDITION(self));
    type->tp_free(self);
    Py_DECREF(type);
}

/* Its own lock; that a dead process held it is nobody's concern. */
static int enter(mp_condition *c)
{
    int r;
    CORE_WAIT(r, -ETIMEDOUT, MP_FOREVER, mp_condition_acquire(c, t));
    return r == -EOWNERDEAD ? 0 : r;
}

static PyObject *prepare(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = enter(CONDITION(self));
    return r < 0 ? core_raise(r) : Py_NewRef(Py_None);
}

/* wait(timeout) -> bool, after prepare().  A signal handler that raises ends it. */
static PyObject *condition_wait(PyObject *self, PyObject *timeout)
{
    mp_condition *c = CONDITION(self);
    mp_time time;
    int r = 0;
    if (core_timeout(timeout, &time) < 0) {
        mp_condition_release(c);
        return NULL;
    }
    mp_time until = core_deadline(time);
    do {
        mp_time left = time <= 0 ? 0 : core_left(until);
        Py_BEGIN_ALLOW_THREADS r = mp_condition_wait(c, left);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR && PyErr_CheckSignals() == 0);
    mp_condition_release(c);
    if (r < 0 && r != -ETIMEDOUT && r != -EOWNERDEAD)
        return core_raise(r);
    return PyBool_FromLong(r == 0 || r == -EOWNERDEAD);
}

static PyObject *notify(PyObject *self, PyObject *arg)
{
    long n = PyLong_AsLong(arg);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    n = n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : n;
    int r = enter(CONDITION(self));
    if (r < 0)
        return core_raise(r);
    r = mp_condition_notify(CONDITION(self), (unsigned)n);
    mp_condition_release(CONDITION(self));
    return r < 0 ? core_raise(r) : PyLong_FromLong(r);
}

static PyObject *condition_export(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                                  Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_condition(CONDITION(self)));
}

static PyMethodDef condition_methods[] = {
    {"prepare", prepare, METH_NOARGS, "Before the lock is given back."},
    {"wait", condition_wait, METH_O, "wait(timeout) -> whether it was notified; after prepare()"},
    {"notify", notify, METH_O, "notify(n) -> how many were woken"},
    {"export", CORE_FUNCTION(condition_export), CORE_METHOD, "On its way to another process."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot condition_slots[] = {{Py_tp_new, condition_new},
                                        {Py_tp_dealloc, condition_dealloc},
                                        {Py_tp_methods, condition_methods},
                                        {Py_tp_doc, "Those that wait for a notification."},
                                        {0, NULL}};
PyType_Spec core_condition_spec = {"multiproc._core.Condition", sizeof(condition_object), 0,
                                   Py_TPFLAGS_DEFAULT, condition_slots};
