/* SPDX-License-Identifier: MIT */
/* Owns the extension module multiproc._core: its state and its types. */
#include "core.h"

#include <time.h>

mp_time core_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (mp_time)now.tv_sec * 1000000000 + now.tv_nsec;
}

int core_timeout(PyObject *seconds, mp_time *ret_time)
{
    if (seconds == Py_None) {
        *ret_time = MP_FOREVER;
        return 0;
    }
    double value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    *ret_time = value <= 0 ? MP_NOWAIT : value >= 9e9 ? MP_FOREVER : (mp_time)(value * 1e9);
    return 0;
}

core_state *core_get_state(PyTypeObject *type)
{
    for (; type; type = type->tp_base) {
        if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
            continue;
        PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
        if (module && PyModule_GetDef(module) == &core_module)
            return PyModule_GetState(module);
    }
    PyErr_SetString(PyExc_SystemError, "not a type of multiproc._core");
    return NULL;
}

static void take(PyObject **place, PyObject *object)
{
    Py_INCREF(object);
    Py_XSETREF(*place, object);
}

/* set_up(reduction, run_child, command, preload, buffer_too_short): what the package does in Python. */
static PyObject *set_up(PyObject *module, PyObject *args)
{
    core_state *s = PyModule_GetState(module);
    PyObject *reduction, *run_child, *command, *preload, *too_short;
    if (!PyArg_ParseTuple(args, "OOOOO", &reduction, &run_child, &command, &preload, &too_short))
        return NULL;
    PyObject *pickler = PyObject_GetAttrString(reduction, "ForkingPickler");
    PyObject *extra = pickler ? PyObject_GetAttrString(pickler, "_extra_reducers") : NULL;
    if (extra) {
        take(&s->reduction, PyModule_GetDict(reduction));
        take(&s->forking_pickler, pickler);
        take(&s->extra_reducers, extra);
        take(&s->run_child, run_child);
        take(&s->command, command);
        take(&s->preload, preload);
        take(&s->buffer_too_short, too_short);
    }
    Py_XDECREF(pickler);
    Py_XDECREF(extra);
    return extra ? Py_NewRef(Py_None) : NULL;
}

static PyObject *version(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(mp_version());
}

static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(mp_cpu_count());
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, "set_up(reduction, run_child, command, preload, error)"},
    {"dumps", core_dumps, METH_O, "dumps(obj): its pickle, with the reducers of ForkingPickler"},
    {"put_result", CORE_FUNCTION(core_put_result), METH_FASTCALL,
     "put_result(queue, worker, message, task, what, obj)"},
    {"get_results", core_get_results, METH_VARARGS,
     "get_results(queue, timeout) -> list of (worker, message, task, what, obj)"},
    {"count_fork", core_count_fork, METH_NOARGS,
     "In a child: what its parent holds is not its own."},
    {"reducers_changed", core_reducers_changed, METH_NOARGS, "There is a new reducer."},
    {"child_main", core_child_main, METH_VARARGS, "child_main(fd): the life of a fresh image"},
    {"set_preload", core_set_preload, METH_VARARGS, "set_preload(names)"},
    {"descriptor", core_descriptor, METH_VARARGS,
     "descriptor(fd): it on its way to another process"},
    {"parent_sentinel", core_parent_sentinel, METH_NOARGS,
     "A descriptor that is readable when the parent has ended."},
    {"version", version, METH_NOARGS, "The version of libmultiproc."},
    {"cpu_count", cpu_count, METH_NOARGS, "Processors that this process may use."},
    {NULL, NULL, 0, NULL}};

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret_type)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (!type)
        return -1;
    if (ret_type) {
        Py_INCREF(type);
        *ret_type = (PyTypeObject *)type;
    }
    int r = PyModule_AddObject(module, strrchr(spec->name, '.') + 1, type);
    if (r < 0)
        Py_DECREF(type);
    return r;
}

static int add_pickle(core_state *s)
{
    PyObject *pickle = PyImport_ImportModule("_pickle"),
             *copyreg = PyImport_ImportModule("copyreg");
    if (pickle && copyreg) {
        s->pickler_type = PyObject_GetAttrString(pickle, "Pickler");
        s->loads = PyObject_GetAttrString(pickle, "loads");
        s->copyreg_table = PyObject_GetAttrString(copyreg, "dispatch_table");
    }
    Py_XDECREF(pickle);
    Py_XDECREF(copyreg);
    s->dump = PyUnicode_InternFromString("dump");
    s->clear_memo = PyUnicode_InternFromString("clear_memo");
    s->dispatch_table = PyUnicode_InternFromString("dispatch_table");
    s->buffers_name = Py_BuildValue("(s)", "buffers");
    s->socket_name = PyUnicode_InternFromString("socket");
    s->five = PyLong_FromLong(5);
    return s->pickler_type && s->loads && s->copyreg_table && s->dump && s->clear_memo &&
                   s->dispatch_table && s->buffers_name && s->socket_name && s->five
               ? 0
               : -1;
}

static int execute(PyObject *module)
{
    core_state *s = PyModule_GetState(module);
    if (add_pickle(s) < 0 || core_add_errors(module, s) < 0 ||
        add_type(module, &core_value_spec, &s->value_type) < 0 ||
        add_type(module, &core_sink_spec, &s->sink_type) < 0 ||
        add_type(module, &core_view_spec, &s->view_type) < 0 ||
        add_type(module, &core_block_spec, NULL) < 0 ||
        add_type(module, &core_queue_spec, &s->queue_type) < 0 ||
        add_type(module, &core_lock_spec, NULL) < 0 ||
        add_type(module, &core_event_spec, NULL) < 0 ||
        add_type(module, &core_child_spec, NULL) < 0 ||
        add_type(module, &core_connection_spec, NULL) < 0 ||
        add_type(module, &core_condition_spec, NULL) < 0 ||
        add_type(module, &core_barrier_spec, NULL) < 0 ||
        add_type(module, &core_desk_spec, NULL) < 0 ||
        add_type(module, &core_synced_spec, NULL) < 0 ||
        PyModule_AddIntConstant(module, "SEM_VALUE_MAX", MP_SEMAPHORE_MAX) < 0)
        return -1;
    return core_set_host(module) < 0 ? (core_raise(-EINVAL), -1) : 0;
}

/* Every object in the state. */
#define COUNT 24
static PyObject **each_of(core_state *s, int i)
{
    PyObject **all[COUNT] = {
        &s->empty,
        &s->full,
        &s->owner_died,
        &s->loads,
        &s->pickler_type,
        &s->dump,
        &s->clear_memo,
        &s->dispatch_table,
        &s->buffers_name,
        &s->five,
        &s->socket_name,
        &s->copyreg_table,
        &s->extra_reducers,
        &s->reducers,
        &s->reduction,
        &s->forking_pickler,
        &s->buffer_too_short,
        &s->run_child,
        &s->command,
        &s->preload,
        (PyObject **)&s->value_type,
        (PyObject **)&s->sink_type,
        (PyObject **)&s->view_type,
        (PyObject **)&s->queue_type,
    };
    return all[i];
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    for (int i = 0; i < COUNT; i++)
        Py_VISIT(*each_of(PyModule_GetState(module), i));
    return 0;
}

static int clear(PyObject *module)
{
    core_state *s = PyModule_GetState(module);
    for (int i = 0; i < 2; i++) {
        core_kit_free(s->kits[i]);
        s->kits[i] = NULL;
    }
    for (int i = 0; i < COUNT; i++)
        Py_CLEAR(*each_of(s, i));
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};

struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "multiproc._core",
    .m_doc = "libmultiproc for Python: what the package multiproc is made of.",
    .m_size = sizeof(core_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__core(void); /* its only user finds it by its name */

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
