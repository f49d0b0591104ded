/* SPDX-License-Identifier: MIT */
/* Owns the type View: the bytes of a received message. */
#include "core.h"

typedef struct view_object {
    PyObject_HEAD mp_buffer *buffer;
} view_object;

PyObject *core_view(core_state *state, mp_buffer *buffer)
{
    view_object *self = (view_object *)state->view_type->tp_alloc(state->view_type, 0);
    if (!self) {
        mp_buffer_free(buffer);
        return NULL;
    }
    self->buffer = buffer;
    return (PyObject *)self;
}

static void view_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_buffer_free(((view_object *)self)->buffer);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Whoever received the message has it alone, so it may be written to. */
static int view_get(PyObject *self, Py_buffer *view, int flags)
{
    mp_buffer *b = ((view_object *)self)->buffer;
    return PyBuffer_FillInfo(view, self, mp_buffer_data(b), (Py_ssize_t)mp_buffer_size(b), 0,
                             flags);
}

static PyType_Slot view_slots[] = {{Py_tp_dealloc, view_dealloc},
                                   {Py_tp_doc, "The bytes of a message."},
                                   {Py_bf_getbuffer, view_get},
                                   {0, NULL}};
PyType_Spec core_view_spec = {"multiproc._core.View", sizeof(view_object), 0, Py_TPFLAGS_DEFAULT,
                              view_slots};
