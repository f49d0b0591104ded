/* SPDX-License-Identifier: MIT */
/* Owns the type Event: the library's event. */
#include "core.h"

typedef struct event_object {
    PyObject_HEAD mp_event *event;
} event_object;
#define EVENT(self) (((event_object *)(self))->event)

static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handle", NULL};
    PyObject *handle = NULL;
    mp_event *event = NULL;
    core_state *state = core_get_state(type);
    if (!state ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O!", names, state->value_type, &handle))
        return NULL;
    if (handle) {
        int r = mp_value_get_event(((core_value *)handle)->value, &event);
        if (r < 0)
            return core_raise(r);
        mp_event_ref(event);
    } else {
        event = mp_event_new();
    }
    event_object *self = event ? (event_object *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        mp_event_free(event);
        return core_raise(event ? -ENOMEM : mp_error_code());
    }
    self->event = event;
    return (PyObject *)self;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_event_free(EVENT(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *is_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(mp_event_is_set(EVENT(self)));
}

static PyObject *set(PyObject *self, PyObject *unused)
{
    (void)unused;
    mp_event_set(EVENT(self));
    Py_RETURN_NONE;
}

static PyObject *clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    mp_event_clear(EVENT(self));
    Py_RETURN_NONE;
}

static PyObject *wait_for(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    mp_time time;
    int r;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &timeout) ||
        core_timeout(timeout, &time) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, time, mp_event_wait(EVENT(self), t));
    if (r < 0 && r != -ETIMEDOUT)
        return core_raise(r);
    return PyBool_FromLong(r == 0);
}

static PyObject *export_value(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_event(EVENT(self)));
}

static PyMethodDef methods[] = {{"is_set", is_set, METH_NOARGS, "Whether it is set."},
                                {"set", set, METH_NOARGS, "Sets it and wakes all that wait."},
                                {"clear", clear, METH_NOARGS, "Takes it back."},
                                {"wait", CORE_FUNCTION(wait_for), METH_VARARGS | METH_KEYWORDS,
                                 "wait(timeout=None) -> whether it is set"},
                                {"export", CORE_FUNCTION(export_value), CORE_METHOD,
                                 "The event on its way to another process."},
                                {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_new, new},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_doc, "A flag in shared memory."},
                              {0, NULL}};
PyType_Spec core_event_spec = {"multiproc._core.Event", sizeof(event_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
