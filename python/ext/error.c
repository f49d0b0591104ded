/* SPDX-License-Identifier: MIT */
/* Owns the exceptions: which one fits an error code of the library. */
#include "core.h"

static const char *text_of(int code)
{
    return *mp_error_detail() ? mp_error_detail() : mp_error_text(code);
}

PyObject *core_raise(int code)
{
    if (PyErr_Occurred())
        return NULL;
    switch (code) {
    case -ENOMEM:
        return PyErr_NoMemory();
    case MP_EOF:
        PyErr_SetNone(PyExc_EOFError);
        return NULL;
    case MP_ECLOSED:
        PyErr_Format(PyExc_OSError, "handle is closed");
        return NULL;
    case MP_ETYPE:
    case MP_EUNSAFE:
        PyErr_SetString(PyExc_TypeError, text_of(code));
        return NULL;
    case -EINVAL:
    case -ERANGE:
        PyErr_SetString(PyExc_ValueError, text_of(code));
        return NULL;
    default:
        break;
    }
    if (code > -4096) {
        PyObject *args = Py_BuildValue("(is)", -code, text_of(code));
        if (args)
            PyErr_SetObject(PyExc_OSError, args); /* the subclass that fits the number */
        Py_XDECREF(args);
        return NULL;
    }
    PyErr_Format(PyExc_RuntimeError, "%s: %s", mp_error_name(code), text_of(code));
    return NULL;
}

/* queue.Empty and queue.Full, which are imported when one is needed first. */
static PyObject *raise_of_queue(PyObject **place, const char *name)
{
    if (!*place) {
        PyObject *queue = PyImport_ImportModule("queue");
        *place = queue ? PyObject_GetAttrString(queue, name) : NULL;
        Py_XDECREF(queue);
    }
    if (*place)
        PyErr_SetNone(*place);
    return NULL;
}

PyObject *core_raise_empty(core_state *state)
{
    return raise_of_queue(&state->empty, "Empty");
}

PyObject *core_raise_full(core_state *state)
{
    return raise_of_queue(&state->full, "Full");
}

int core_add_errors(PyObject *module, core_state *state)
{
    state->owner_died = PyErr_NewExceptionWithDoc("multiproc.OwnerDiedWarning",
                                                  "The process that held a lock has died; whoever "
                                                  "got the lock next is warned, because what it "
                                                  "guards may be half changed.",
                                                  PyExc_RuntimeWarning, NULL);
    if (!state->owner_died)
        return -1;
    Py_INCREF(state->owner_died);
    return PyModule_AddObject(module, "OwnerDiedWarning", state->owner_died);
}
