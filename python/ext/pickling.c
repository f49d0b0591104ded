/* SPDX-License-Identifier: MIT */
/*
 * Owns the way of objects into bytes and back.  Objects of the simple builtin types go straight through the
 * C pickler; all others through ForkingPickler, whose reducers the package keeps in one table.
 */
#include "core.h"

static int is_simple(PyObject *o)
{
    return o == Py_None || PyLong_CheckExact(o) || PyUnicode_CheckExact(o) ||
           PyFloat_CheckExact(o) || PyBytes_CheckExact(o) || PyBool_Check(o);
}

/* Also short tuples and lists of them. */
static int is_plain(PyObject *o)
{
    if (is_simple(o))
        return 1;
    if (!PyTuple_CheckExact(o) && !PyList_CheckExact(o))
        return 0;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    if (n > 32)
        return 0;
    PyObject **items = PySequence_Fast_ITEMS(o);
    for (Py_ssize_t i = 0; i < n; i++)
        if (!is_simple(items[i]))
            return 0;
    return 1;
}

int core_pickle(core_state *state, PyObject *object, Py_buffer *view)
{
    PyObject *how = is_plain(object) || !state->dumps ? state->simple_dumps : state->dumps;
    PyObject *pickle = PyObject_CallOneArg(how, object);
    if (!pickle)
        return -1;
    int r = PyObject_GetBuffer(pickle, view, PyBUF_SIMPLE);
    Py_DECREF(pickle); /* the view holds it */
    return r;
}

PyObject *core_unpickle(core_state *state, const void *data, size_t size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
    if (!view)
        return NULL;
    PyObject *object = PyObject_CallOneArg(state->loads, view);
    Py_DECREF(view);
    return object;
}

PyObject *core_unpickle_buffer(core_state *state, mp_buffer *buffer)
{
    PyObject *object = core_unpickle(state, mp_buffer_data(buffer), mp_buffer_size(buffer));
    mp_buffer_free(buffer);
    return object;
}
