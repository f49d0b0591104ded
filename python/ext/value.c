/* SPDX-License-Identifier: MIT */
/* Owns the type Value: a handle of the library on its way to another process. */
#include "core.h"

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_value_free(((core_value *)self)->value);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *core_value_wrap(core_state *state, mp_value *value)
{
    if (!value)
        return core_raise(mp_error_code());
    core_value *self = (core_value *)state->value_type->tp_alloc(state->value_type, 0);
    if (!self) {
        mp_value_free(value);
        return NULL;
    }
    self->value = value;
    return (PyObject *)self;
}

/* The file descriptor in the handle: a duplicate, the caller's to close. */
static PyObject *descriptor(PyObject *self, PyObject *unused)
{
    (void)unused;
    int fd = mp_value_get_fd(((core_value *)self)->value);
    return fd < 0 ? core_raise(fd) : PyLong_FromLong(fd);
}

PyObject *core_descriptor(PyObject *module, PyObject *args)
{
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    return core_value_wrap(PyModule_GetState(module), mp_value_fd(fd));
}

static PyMethodDef methods[] = {
    {"descriptor", descriptor, METH_NOARGS, "The file descriptor in it, a duplicate."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_doc, "A handle on its way to another process."},
                              {0, NULL}};
PyType_Spec core_value_spec = {"multiproc._core.Value", sizeof(core_value), 0, Py_TPFLAGS_DEFAULT,
                               slots};
