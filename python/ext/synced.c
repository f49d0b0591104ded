/* SPDX-License-Identifier: MIT */
/* Owns the type Synced: an attribute of something that is guarded by a lock. */
#include "core.h"

typedef struct synced {
    PyObject_HEAD PyObject *name, *lock_name, *object_name;
} synced;

static PyObject *synced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *name;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "U", &name))
        return NULL;
    synced *self = (synced *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->name = Py_NewRef(name);
    self->lock_name = PyUnicode_InternFromString("_lock");
    self->object_name = PyUnicode_InternFromString("_obj");
    return (PyObject *)self;
}

static void synced_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((synced *)self)->name);
    Py_XDECREF(((synced *)self)->lock_name);
    Py_XDECREF(((synced *)self)->object_name);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Takes or gives back a lock; directly when it is one of ours, whatever its class. */
static PyObject *with_lock(PyObject *lock, int take)
{
    PyObject *done = take ? core_semlock_acquire(lock) : core_semlock_release(lock);
    if (done || PyErr_Occurred())
        return done;
    return PyObject_CallMethod(lock, take ? "acquire" : "release", NULL);
}

/* Gets or sets (value) the attribute with the lock held. */
static PyObject *guarded(PyObject *self, PyObject *owner, PyObject *value)
{
    synced *s = (synced *)self;
    PyObject *lock = PyObject_GetAttr(owner, s->lock_name), *result = NULL;
    PyObject *object = lock ? PyObject_GetAttr(owner, s->object_name) : NULL;
    PyObject *taken = object ? with_lock(lock, 1) : NULL;
    if (taken) {
        if (!value)
            result = PyObject_GetAttr(object, s->name);
        else if (PyObject_SetAttr(object, s->name, value) == 0)
            result = Py_NewRef(Py_None);
        PyObject *type, *error, *trace, *given;
        PyErr_Fetch(&type, &error, &trace);
        given = with_lock(lock, 0);
        if (given)
            PyErr_Restore(type, error, trace);
        else
            Py_CLEAR(result);
        Py_XDECREF(given);
    }
    Py_XDECREF(taken);
    Py_XDECREF(object);
    Py_XDECREF(lock);
    return result;
}

static PyObject *synced_get(PyObject *self, PyObject *owner, PyObject *type)
{
    (void)type;
    return owner && owner != Py_None ? guarded(self, owner, NULL) : Py_NewRef(self);
}

static int synced_set(PyObject *self, PyObject *owner, PyObject *value)
{
    if (!value)
        return PyErr_SetString(PyExc_AttributeError, "it cannot be deleted"), -1;
    PyObject *done = guarded(self, owner, value);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyType_Slot synced_slots[] = {{Py_tp_new, synced_new},
                                     {Py_tp_dealloc, synced_dealloc},
                                     {Py_tp_descr_get, synced_get},
                                     {Py_tp_descr_set, synced_set},
                                     {Py_tp_doc, "An attribute of _obj, under _lock."},
                                     {0, NULL}};
PyType_Spec core_synced_spec = {"multiproc._core.Synced", sizeof(synced), 0, Py_TPFLAGS_DEFAULT,
                                synced_slots};
