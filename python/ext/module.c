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

/* set_up(dumps, run_child, command, preload): what the package does in Python. */
static PyObject *set_up(PyObject *module, PyObject *args)
{
    core_state *s = PyModule_GetState(module);
    PyObject *dumps, *run_child, *command, *preload;
    if (!PyArg_ParseTuple(args, "OOOO", &dumps, &run_child, &command, &preload))
        return NULL;
    Py_INCREF(dumps);
    Py_XSETREF(s->dumps, dumps);
    Py_INCREF(run_child);
    Py_XSETREF(s->run_child, run_child);
    Py_INCREF(command);
    Py_XSETREF(s->command, command);
    Py_INCREF(preload);
    Py_XSETREF(s->preload, preload);
    Py_RETURN_NONE;
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
    {"set_up", set_up, METH_VARARGS, "set_up(dumps, run_child, command, preload)"},
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

static int execute(PyObject *module)
{
    core_state *s = PyModule_GetState(module);
    PyObject *pickle = PyImport_ImportModule("_pickle");
    if (!pickle)
        return -1;
    s->simple_dumps = PyObject_GetAttrString(pickle, "dumps");
    s->loads = PyObject_GetAttrString(pickle, "loads");
    Py_DECREF(pickle);
    if (!s->simple_dumps || !s->loads || core_add_errors(module, s) < 0 ||
        add_type(module, &core_value_spec, &s->value_type) < 0 ||
        add_type(module, &core_queue_spec, NULL) < 0 ||
        add_type(module, &core_lock_spec, NULL) < 0 ||
        add_type(module, &core_event_spec, NULL) < 0 ||
        add_type(module, &core_child_spec, NULL) < 0 ||
        PyModule_AddIntConstant(module, "SEM_VALUE_MAX", MP_SEMAPHORE_MAX) < 0)
        return -1;
    return core_set_host(module) < 0 ? (core_raise(-EINVAL), -1) : 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *s = PyModule_GetState(module);
    Py_VISIT(s->empty);
    Py_VISIT(s->full);
    Py_VISIT(s->owner_died);
    Py_VISIT(s->simple_dumps);
    Py_VISIT(s->loads);
    Py_VISIT(s->dumps);
    Py_VISIT(s->run_child);
    Py_VISIT(s->command);
    Py_VISIT(s->preload);
    Py_VISIT(s->value_type);
    return 0;
}

static int clear(PyObject *module)
{
    core_state *s = PyModule_GetState(module);
    Py_CLEAR(s->empty);
    Py_CLEAR(s->full);
    Py_CLEAR(s->owner_died);
    Py_CLEAR(s->simple_dumps);
    Py_CLEAR(s->loads);
    Py_CLEAR(s->dumps);
    Py_CLEAR(s->run_child);
    Py_CLEAR(s->command);
    Py_CLEAR(s->preload);
    Py_CLEAR(s->value_type);
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

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
