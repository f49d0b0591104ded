/* SPDX-License-Identifier: MIT */
/* Owns the type Block: memory that processes share. */
#include "core.h"

typedef struct block_object {
    PyObject_HEAD mp_shm *shm;
} block_object;
#define SHM(self) (((block_object *)(self))->shm)

static PyObject *block_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", "handle", NULL};
    Py_ssize_t size;
    PyObject *handle = NULL;
    mp_shm *shm = NULL;
    core_state *state = core_get_state(type);
    if (!state || !PyArg_ParseTupleAndKeywords(args, kwargs, "n|O!", names, &size,
                                               state->value_type, &handle))
        return NULL;
    if (handle) {
        int r = mp_value_get_shm(((core_value *)handle)->value, &shm);
        if (r < 0)
            return core_raise(r);
        mp_shm_ref(shm);
    } else if (size > 0) {
        shm = mp_shm_new((size_t)size);
    } else {
        return PyErr_Format(PyExc_ValueError, "a block has at least one byte, not %zd", size);
    }
    block_object *self = shm ? (block_object *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        int r = shm ? -ENOMEM : mp_error_code();
        mp_shm_free(shm);
        return core_raise(r);
    }
    self->shm = shm;
    return (PyObject *)self;
}

static void block_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_shm_free(SHM(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static int block_get(PyObject *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, self, mp_shm_data(SHM(self)), (Py_ssize_t)mp_shm_size(SHM(self)),
                             0, flags);
}

static PyObject *block_export(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    return core_value_wrap(core_get_state(cls), mp_value_shm(SHM(self)));
}

static PyMethodDef block_methods[] = {{"export", CORE_FUNCTION(block_export), CORE_METHOD,
                                       "The block on its way to another process."},
                                      {NULL, NULL, 0, NULL}};

static PyType_Slot block_slots[] = {
    {Py_tp_new, block_new},         {Py_tp_dealloc, block_dealloc},
    {Py_tp_methods, block_methods}, {Py_tp_doc, "Bytes that processes share, all zero at first."},
    {Py_bf_getbuffer, block_get},   {0, NULL}};
PyType_Spec core_block_spec = {"multiproc._core.Block", sizeof(block_object), 0, Py_TPFLAGS_DEFAULT,
                               block_slots};
