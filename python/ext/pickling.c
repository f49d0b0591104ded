/* SPDX-License-Identifier: MIT */
/*
 * Owns the way of objects into messages and back.
 *
 * Numbers, short strings and small tuples of them are written and read by hand (small.c).  Everything else goes through
 * the C pickler, with a table of reducers that holds those of copyreg and of ForkingPickler; a program that
 * puts another class in ForkingPickler's place has its dumps() called.  What the pickler writes goes to a
 * sink, which copies small pieces and refers to large ones.
 *
 * Buffers of 64 KiB and more (protocol 5) follow behind the pickle, in a message that starts with BUFFERS:
 *
 *   magic (8), number of buffers (8), size of the pickle (8), for each buffer: size << 1 | read-only (8);
 *   then the pickle, then the buffers, each at a multiple of 64 bytes.
 *
 * The receiver checks every size before it uses it.
 */
#include "core.h"

#define BUFFERS "MPbuffer"
#define ALIGNMENT 64
#define LARGE 65536

/* ---- the sink: where the pickler writes ---- */

typedef struct sink {
    PyObject_HEAD char *bytes;
    size_t size, room;
    struct {
        size_t at; /* in bytes, before which it stands */
        PyObject *object;
        Py_buffer view;
    } * large;
    size_t nlarge, large_room;
} sink;

static int sink_reserve(sink *s, size_t more)
{
    if (s->room - s->size >= more)
        return 0;
    size_t room = s->room * 2 > s->size + more ? s->room * 2 : s->size + more + 256;
    char *bytes = PyMem_RawRealloc(s->bytes, room);
    if (!bytes)
        return PyErr_NoMemory(), -1;
    s->bytes = bytes;
    s->room = room;
    return 0;
}

static int sink_refer(sink *s, PyObject *object, Py_buffer *view)
{
    if (s->nlarge == s->large_room) {
        size_t room = s->large_room * 2 + 4;
        void *large = PyMem_RawRealloc(s->large, room * sizeof *s->large);
        if (!large)
            return PyErr_NoMemory(), -1;
        s->large = large;
        s->large_room = room;
    }
    Py_INCREF(object);
    s->large[s->nlarge].at = s->size;
    s->large[s->nlarge].object = object;
    s->large[s->nlarge++].view = *view;
    return 0;
}

static PyObject *sink_write(PyObject *self, PyObject *piece)
{
    sink *s = (sink *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    size_t n = (size_t)view.len;
    if (n >= LARGE && PyBytes_CheckExact(piece)) {
        if (sink_refer(s, piece, &view) < 0) {
            PyBuffer_Release(&view);
            return NULL;
        }
        return PyLong_FromSize_t(n);
    }
    int r = sink_reserve(s, n);
    if (r == 0) {
        memcpy(s->bytes + s->size, view.buf, n);
        s->size += n;
    }
    PyBuffer_Release(&view);
    return r < 0 ? NULL : PyLong_FromSize_t(n);
}

static void sink_reset(sink *s)
{
    for (size_t i = 0; i < s->nlarge; i++) {
        PyBuffer_Release(&s->large[i].view);
        Py_DECREF(s->large[i].object);
    }
    s->nlarge = s->size = 0;
    if (s->room > 4 * LARGE) {
        PyMem_RawFree(s->bytes);
        s->bytes = NULL;
        s->room = 0;
    }
}

static void sink_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    sink_reset((sink *)self);
    PyMem_RawFree(((sink *)self)->bytes);
    PyMem_RawFree(((sink *)self)->large);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sink_methods[] = {{"write", sink_write, METH_O, "Takes a piece of a pickle."},
                                     {NULL, NULL, 0, NULL}};
static PyType_Slot sink_slots[] = {{Py_tp_dealloc, sink_dealloc},
                                   {Py_tp_methods, sink_methods},
                                   {Py_tp_doc, "Where the pickler writes."},
                                   {0, NULL}};
PyType_Spec core_sink_spec = {"multiproc._core.Sink", sizeof(sink), 0, Py_TPFLAGS_DEFAULT,
                              sink_slots};

/* ---- picklers, which are used again ---- */

typedef struct core_kit {
    PyObject *pickler, *buffers; /* the list that its buffer_callback fills, or NULL */
    sink *sink;
} core_kit;

/* buffer_callback: large buffers go behind the pickle, others into it. */
static PyObject *take_buffer(PyObject *list, PyObject *buffer)
{
    const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);
    if (!view)
        return NULL;
    if (view->len < LARGE || !PyBuffer_IsContiguous(view, 'A'))
        Py_RETURN_TRUE;
    return PyList_Append(list, buffer) < 0 ? NULL : Py_NewRef(Py_False);
}

static PyMethodDef take_buffer_def = {"take_buffer", take_buffer, METH_O, NULL};

void core_kit_free(core_kit *kit)
{
    if (!kit)
        return;
    Py_XDECREF(kit->pickler);
    Py_XDECREF(kit->buffers);
    Py_XDECREF((PyObject *)kit->sink);
    PyMem_Free(kit);
}

static core_kit *make_kit(core_state *state, int apart)
{
    core_kit *kit = PyMem_Calloc(1, sizeof *kit);
    if (!kit)
        return PyErr_NoMemory(), NULL;
    kit->sink = (sink *)state->sink_type->tp_alloc(state->sink_type, 0);
    kit->buffers = apart ? PyList_New(0) : NULL;
    PyObject *callback = apart && kit->buffers ? PyCFunction_New(&take_buffer_def, kit->buffers)
                                               : Py_NewRef(Py_None);
    PyObject *args =
        kit->sink ? Py_BuildValue("(OO)", kit->sink, apart ? state->five : Py_None) : NULL;
    PyObject *kwargs =
        apart && callback ? Py_BuildValue("{sO}", "buffer_callback", callback) : NULL;
    if (args && callback && (kwargs || !apart))
        kit->pickler = PyObject_Call(state->pickler_type, args, kwargs);
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    if (!kit->pickler) {
        core_kit_free(kit);
        return NULL;
    }
    return kit;
}

/* The program has imported socket since: the package has a reducer for its sockets. */
static int learn_sockets(core_state *state)
{
    PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
    if (state->knows_sockets || !PyDict_GetItem(modules, state->socket_name))
        return 0;
    state->knows_sockets = 1;
    PyObject *hook = PyDict_GetItemString(state->reduction, "_sockets_are_there");
    PyObject *done = hook ? PyObject_CallNoArgs(hook) : NULL;
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* All reducers in one dict, made again when there are others. */
static PyObject *reducers_of(core_state *state)
{
    if (learn_sockets(state) < 0)
        return NULL;
    Py_ssize_t ours = PyDict_Size(state->extra_reducers),
               theirs = PyDict_Size(state->copyreg_table);
    if (state->reducers && ours == state->ours && theirs == state->theirs)
        return state->reducers;
    PyObject *all = PyDict_Copy(state->copyreg_table);
    if (!all || PyDict_Update(all, state->extra_reducers) < 0) {
        Py_XDECREF(all);
        return NULL;
    }
    Py_XSETREF(state->reducers, all);
    state->ours = ours;
    state->theirs = theirs;
    return all;
}

/* It could not be pickled: the package adds to the exception which part of it. */
static void explain(core_state *state, PyObject *object)
{
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    PyObject *hook = state->reduction ? PyDict_GetItemString(state->reduction, "_explain") : NULL;
    PyObject *done = hook && error ? PyObject_CallFunctionObjArgs(hook, error, object, NULL) : NULL;
    Py_XDECREF(done);
    PyErr_Clear(); /* of the search */
    PyErr_Restore(type, error, trace);
}

static core_kit *dump(core_state *state, PyObject *object, int apart)
{
    core_kit *kit = state->kits[apart];
    state->kits[apart] = NULL;
    if (!kit && !(kit = make_kit(state, apart)))
        return NULL;
    PyObject *reducers = reducers_of(state);
    PyObject *done = NULL;
    if (reducers && PyObject_SetAttr(kit->pickler, state->dispatch_table, reducers) == 0)
        done = PyObject_CallMethodOneArg(kit->pickler, state->dump, object);
    if (!done) {
        explain(state, object);
        core_kit_free(kit);
        return NULL;
    }
    Py_DECREF(done);
    return kit;
}

static void give_kit_back(core_state *state, core_kit *kit, int apart)
{
    sink_reset(kit->sink);
    if (kit->buffers && PyList_SetSlice(kit->buffers, 0, PyList_GET_SIZE(kit->buffers), NULL) < 0)
        PyErr_Clear();
    PyObject *done = PyObject_CallMethodNoArgs(kit->pickler, state->clear_memo);
    if (!done || state->kits[apart]) {
        PyErr_Clear();
        core_kit_free(kit);
    } else {
        state->kits[apart] = kit;
    }
    Py_XDECREF(done);
}

/* ---- messages ---- */

static size_t padding(size_t at)
{
    return (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
}

static void add_part(core_pickled *p, const void *data, size_t size)
{
    if (size)
        p->parts[p->n++] = (mp_bytes){data, size};
    p->size += size;
}

/* The pickle in the sink: pieces of its bytes, and what it refers to. */
static void add_sink(core_pickled *p, const sink *s)
{
    size_t at = 0;
    for (size_t i = 0; i < s->nlarge; i++) {
        add_part(p, s->bytes + at, s->large[i].at - at);
        add_part(p, s->large[i].view.buf, (size_t)s->large[i].view.len);
        at = s->large[i].at;
    }
    add_part(p, s->bytes + at, s->size - at);
}

static size_t sink_total(const sink *s)
{
    size_t total = s->size;
    for (size_t i = 0; i < s->nlarge; i++)
        total += (size_t)s->large[i].view.len;
    return total;
}

static int add_buffers(core_pickled *p, core_kit *kit)
{
    static const char zeros[ALIGNMENT];
    size_t n = (size_t)PyList_GET_SIZE(kit->buffers), head = (3 + n) * 8;
    uint64_t *words = p->head = PyMem_Malloc(head);
    if (!words)
        return PyErr_NoMemory(), -1;
    memcpy(words, BUFFERS, 8);
    words[1] = n;
    words[2] = sink_total(kit->sink);
    add_part(p, words, head);
    add_sink(p, kit->sink);
    for (size_t i = 0; i < n; i++) {
        const Py_buffer *view =
            PyPickleBuffer_GetBuffer(PyList_GET_ITEM(kit->buffers, (Py_ssize_t)i));
        if (!view)
            return -1;
        words[3 + i] = (uint64_t)view->len << 1 | (view->readonly != 0);
        add_part(p, zeros, padding(p->size));
        add_part(p, view->buf, (size_t)view->len);
    }
    return 0;
}

/* By a class that the program has put in ForkingPickler's place. */
static int pickle_otherwise(core_pickled *p, PyObject *dumps, PyObject *object)
{
    PyObject *pickle = PyObject_CallOneArg(dumps, object);
    if (!pickle)
        return -1;
    int r = PyObject_GetBuffer(pickle, &p->view, PyBUF_SIMPLE);
    Py_DECREF(pickle); /* the view holds it */
    if (r < 0)
        return r;
    p->has_view = 1;
    add_part(p, p->view.buf, (size_t)p->view.len);
    return 0;
}

/* The program's own class in ForkingPickler's place: its dumps, a new reference; NULL: it is ours. */
static PyObject *other_dumps(core_state *state)
{
    PyObject *now = PyDict_GetItemString(state->reduction, "ForkingPickler");
    if (!now || now == state->forking_pickler)
        return NULL;
    return PyObject_GetAttrString(now, "dumps");
}

int core_pickle(core_state *state, PyObject *dumps, PyObject *object, int apart, core_pickled *p)
{
    p->parts = p->few;
    p->n = p->size = 0;
    p->kit = NULL;
    p->head = NULL;
    p->has_view = 0;
    p->apart = apart;
    size_t small = core_small_put(p->room, sizeof p->room, object);
    if (small) {
        add_part(p, p->room, small);
        return 0;
    }
    if (dumps)
        return pickle_otherwise(p, dumps, object);
    PyObject *other = other_dumps(state);
    if (other) {
        int r = pickle_otherwise(p, other, object);
        Py_DECREF(other);
        return r;
    }
    if (PyErr_Occurred())
        return -1;
    p->kit = dump(state, object, apart);
    if (!p->kit)
        return -1;
    size_t buffers = p->kit->buffers ? (size_t)PyList_GET_SIZE(p->kit->buffers) : 0;
    size_t most = 2 * p->kit->sink->nlarge + 2 + 2 * buffers;
    int r = 0;
    if (most >= Py_ARRAY_LENGTH(p->few) &&
        !(p->parts = PyMem_Malloc((most + 1) * sizeof *p->parts)))
        r = (PyErr_NoMemory(), -1);
    else if (buffers)
        r = add_buffers(p, p->kit);
    else
        add_sink(p, p->kit->sink);
    if (r < 0)
        core_pickled_release(state, p);
    return r;
}

void core_pickled_release(core_state *state, core_pickled *p)
{
    PyObject *type, *error, *trace; /* of a send that has failed */
    PyErr_Fetch(&type, &error, &trace);
    if (p->has_view)
        PyBuffer_Release(&p->view);
    if (p->kit)
        give_kit_back(state, p->kit, p->apart);
    if (p->parts != p->few)
        PyMem_Free(p->parts);
    PyMem_Free(p->head);
    PyErr_Restore(type, error, trace);
}

/* ---- back ---- */

static PyObject *load(core_state *state, const void *data, size_t size, PyObject *buffers)
{
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *object = NULL;
    if (view && buffers) {
        PyObject *args[2] = {view, buffers};
        object = PyObject_Vectorcall(state->loads, args, 1, state->buffers_name);
    } else if (view) {
        object = PyObject_CallOneArg(state->loads, view);
    }
    Py_XDECREF(view);
    return object;
}

/* Views of the buffers behind the pickle, which keep the message alive; NULL: it is damaged. */
static PyObject *views_of(PyObject *owner, const uint64_t *words, size_t size)
{
    size_t n = (size_t)words[1], at = (3 + n) * 8 + (size_t)words[2];
    PyObject *whole = PyMemoryView_FromObject(owner), *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; whole && list && i < n; i++) {
        size_t length = (size_t)(words[3 + i] >> 1);
        at += padding(at);
        PyObject *view = NULL;
        if (at > size || length > size - at)
            PyErr_SetString(PyExc_ValueError, "damaged message: a buffer reaches beyond its end");
        else
            view = PySequence_GetSlice(whole, (Py_ssize_t)at, (Py_ssize_t)(at + length));
        if (view && words[3 + i] & 1)
            Py_SETREF(view, PyObject_CallMethod(view, "toreadonly", NULL));
        if (view)
            PyList_SET_ITEM(list, (Py_ssize_t)i, view);
        else
            Py_CLEAR(list);
        at += length;
    }
    Py_XDECREF(whole);
    return list;
}

static PyObject *load_with_buffers(core_state *state, mp_buffer *buffer)
{
    const uint64_t *words = mp_buffer_data(buffer);
    size_t size = mp_buffer_size(buffer);
    PyObject *owner = core_view(state, buffer);
    if (!owner)
        return NULL;
    PyObject *views = NULL, *object = NULL;
    if (words[1] > (size - 24) / 8 || words[2] > size - 24 - words[1] * 8)
        PyErr_SetString(PyExc_ValueError, "damaged message: its table of buffers is too long");
    else
        views = views_of(owner, words, size);
    if (views)
        object = load(state, words + 3 + words[1], (size_t)words[2], views);
    Py_XDECREF(views);
    Py_DECREF(owner);
    return object;
}

static int has_buffers(const void *data, size_t size)
{
    return size >= LARGE && memcmp(data, BUFFERS, 8) == 0;
}

PyObject *core_unpickle(core_state *state, const void *data, size_t size)
{
    PyObject *object = core_small_take(data, size);
    if (object)
        return object;
    PyErr_Clear();
    return load(state, data, size, NULL);
}

PyObject *core_unpickle_stream(core_state *state, mp_buffer *buffer)
{
    PyObject *object = core_unpickle(state, mp_buffer_data(buffer), mp_buffer_size(buffer));
    mp_buffer_free(buffer);
    return object;
}

PyObject *core_unpickle_buffer(core_state *state, mp_buffer *buffer)
{
    const void *data = mp_buffer_data(buffer);
    size_t size = mp_buffer_size(buffer);
    if (has_buffers(data, size))
        return load_with_buffers(state, buffer); /* takes it over */
    return core_unpickle_stream(state, buffer);
}

/* ---- for the package ---- */

/* reducers_changed(): ForkingPickler.register() was called. */
PyObject *core_reducers_changed(PyObject *module, PyObject *unused)
{
    core_state *state = PyModule_GetState(module);
    (void)unused;
    Py_CLEAR(state->reducers);
    Py_RETURN_NONE;
}

/* dumps(obj) -> bytes: the pickle alone, with the reducers. */
PyObject *core_dumps(PyObject *module, PyObject *object)
{
    core_state *state = PyModule_GetState(module);
    core_pickled p;
    if (core_pickle(state, NULL, object, 0, &p) < 0)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)p.size);
    char *to = bytes ? PyBytes_AS_STRING(bytes) : NULL;
    for (size_t i = 0; bytes && i < p.n; to += p.parts[i++].size)
        memcpy(to, p.parts[i].data, p.parts[i].size);
    core_pickled_release(state, &p);
    return bytes;
}
