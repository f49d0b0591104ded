/* SPDX-License-Identifier: MIT */
/*
 * Owns the type Child, a process that the library has started, and the hooks by which the library starts
 * Python processes: around fork, the command line of a fresh image, and what a child runs.
 *
 * A child by fork runs a callable of its parent's memory.  One in a fresh image gets a pickle and a list of
 * handles, which the package's run_child() makes a process of.
 */
#include "core.h"

typedef struct child_object {
    PyObject_HEAD mp_process *process;
} child_object;
#define CHILD(self) (((child_object *)(self))->process)

/* What the child that is about to be forked by this thread will run; borrowed.  The interpreter's lock may
 * change hands before the fork. */
static _Thread_local PyObject *forked;

/* ---- hooks ---- */

static void before_fork(void *data)
{
    (void)data;
    PyOS_BeforeFork();
}

static void after_fork_parent(void *data)
{
    (void)data;
    PyOS_AfterFork_Parent();
}

static void after_fork_child(void *data)
{
    (void)data;
    PyOS_AfterFork_Child();
}

static core_state *the_state(void)
{
    PyObject *module = PyImport_ImportModule("multiproc._core");
    core_state *state = module ? PyModule_GetState(module) : NULL;
    Py_XDECREF(module);
    return state;
}

/* The exit code of what run_child() or the forked callable returned. */
static int code_of(PyObject *result)
{
    long code = result ? PyLong_AsLong(result) : 1;
    if (PyErr_Occurred()) {
        PyErr_Print();
        code = 1;
    }
    Py_XDECREF(result);
    return (int)code;
}

static PyObject *list_of_handles(core_state *state, const mp_value *args)
{
    Py_ssize_t n = (Py_ssize_t)mp_value_len(args);
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 1; list && i < n; i++) {
        PyObject *item = core_value_wrap(state, mp_value_ref(mp_value_item(args, (size_t)i)));
        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static int run(void *data, const char *target, const mp_value *args)
{
    (void)data, (void)target;
    if (forked)
        return code_of(PyObject_CallNoArgs(forked));
    size_t size = 0;
    core_state *state = the_state();
    const void *pickle = mp_value_get_bytes(mp_value_item(args, 0), &size);
    PyObject *handles = state ? list_of_handles(state, args) : NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(pickle, (Py_ssize_t)size), *result = NULL;
    if (handles && bytes)
        result = PyObject_CallFunctionObjArgs(state->run_child, bytes, handles, NULL);
    Py_XDECREF(handles);
    Py_XDECREF(bytes);
    return code_of(result);
}

static void leave(void *data, int code)
{
    (void)data;
    _exit(code & 0xff);
}

/* The words of a list as a vector that stays until the next call in this thread. */
static int vector_of(PyObject *list, char ***ret_vector)
{
    static _Thread_local PyObject *kept;
    static _Thread_local char **vector;
    Py_ssize_t n = PyList_Check(list) ? PyList_GET_SIZE(list) : 0;
    char **words = PyMem_RawCalloc((size_t)n + 1, sizeof *words);
    for (Py_ssize_t i = 0; words && i < n; i++) {
        PyObject *word = PyList_GET_ITEM(list, i);
        if (!PyBytes_Check(word) || !(words[i] = PyBytes_AS_STRING(word))) {
            PyMem_RawFree(words);
            return -EINVAL;
        }
    }
    if (!words || !n) {
        PyMem_RawFree(words);
        return -EINVAL;
    }
    PyMem_RawFree(vector);
    Py_XDECREF(kept);
    Py_INCREF(list);
    kept = list;
    *ret_vector = vector = words;
    return 0;
}

static int command(void *data, mp_image image, int fd, char ***ret_argv, char ***ret_envp)
{
    (void)data;
    core_state *state = the_state();
    PyObject *list = state && state->command
                         ? PyObject_CallFunction(state->command, "ii", (int)image, fd)
                         : NULL;
    int r = list ? vector_of(list, ret_argv) : -EINVAL;
    Py_XDECREF(list);
    *ret_envp = NULL;
    if (PyErr_Occurred())
        PyErr_Print();
    return r;
}

static int preload(void *data, const char *name)
{
    (void)data;
    core_state *state = the_state();
    PyObject *result =
        state && state->preload ? PyObject_CallFunction(state->preload, "s", name) : NULL;
    if (!result)
        PyErr_Print();
    Py_XDECREF(result);
    return result ? 0 : -ECANCELED;
}

/* In the middle of sending: Python's signal handlers run, and one of them may have raised. */
static int interrupted(void *data)
{
    (void)data;
    PyGILState_STATE held = PyGILState_Ensure();
    int r = PyErr_CheckSignals();
    PyGILState_Release(held);
    return r;
}

int core_set_host(PyObject *module)
{
    (void)module;
    mp_host host = MP_HOST_INIT;
    host.before_fork = before_fork;
    host.after_fork_parent = after_fork_parent;
    host.after_fork_child = after_fork_child;
    host.command = command;
    host.run = run;
    host.leave = leave;
    host.preload = preload;
    host.interruptible = 1;
    host.interrupted = interrupted;
    return mp_host_set(&host);
}

PyObject *core_child_main(PyObject *module, PyObject *args)
{
    (void)module;
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    return core_raise(mp_child_main(fd));
}

PyObject *core_parent_sentinel(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    mp_process *parent = mp_process_parent();
    int fd = parent ? mp_process_sentinel(parent) : MP_ENOTSTARTED;
    return fd < 0 ? core_raise(fd) : PyLong_FromLong(fd);
}

PyObject *core_set_preload(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *names;
    const char *words[64];
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &names))
        return NULL;
    Py_ssize_t n = PyList_GET_SIZE(names) < 64 ? PyList_GET_SIZE(names) : 64;
    for (Py_ssize_t i = 0; i < n; i++)
        if (!(words[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(names, i))))
            return NULL;
    int r = mp_context_set_preload(mp_get_context("forkserver"), words, (size_t)n);
    if (r < 0 && r != MP_ESTARTED)
        return core_raise(r);
    Py_RETURN_NONE;
}

/* ---- children ---- */

/* The tuple (pickle, handles...) as a value. */
static mp_value *arguments(PyObject *pickle, PyObject *handles, core_state *state)
{
    Py_ssize_t n = pickle == Py_None ? 0 : PyList_GET_SIZE(handles) + 1;
    mp_value **items = PyMem_Calloc((size_t)n + 1, sizeof *items);
    if (!items)
        return NULL;
    if (n)
        items[0] = mp_value_bytes(PyBytes_AS_STRING(pickle), (size_t)PyBytes_GET_SIZE(pickle));
    for (Py_ssize_t i = 1; i < n; i++) {
        PyObject *item = PyList_GET_ITEM(handles, i - 1);
        items[i] = Py_TYPE(item) == state->value_type ? mp_value_ref(((core_value *)item)->value)
                                                      : mp_value_none();
    }
    mp_value *tuple = mp_value_tuple(items, (size_t)n);
    PyMem_Free(items);
    return tuple;
}

static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"method", "name", "daemon", "run", "pickle", "handles", "ends", NULL};
    const char *method, *name;
    int daemon, ends = 0; /* it ends with its parent, also when it is no daemon */
    PyObject *callable, *pickle, *handles;
    core_state *state = core_get_state(type);
    if (!state ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "sspOOO!|p", names, &method, &name, &daemon,
                                     &callable, &pickle, &PyList_Type, &handles, &ends))
        return NULL;
    if (pickle != Py_None && !PyBytes_Check(pickle)) {
        PyErr_SetString(PyExc_TypeError, "pickle must be bytes or None");
        return NULL;
    }
    child_object *self = (child_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    options.context = mp_get_context(method);
    options.name = name;
    options.daemon = daemon;
    options.orphan = daemon || ends ? MP_ORPHAN_TERM : MP_ORPHAN_STAY;
    self->process = mp_process_new("python", arguments(pickle, handles, state), &options);
    if (!self->process) {
        int r = mp_error_code();
        Py_DECREF(self);
        return core_raise(r);
    }
    forked = callable == Py_None ? NULL : callable;
    int r = mp_process_start(self->process); /* in a child by fork this does not return */
    forked = NULL;
    if (r < 0) {
        Py_DECREF(self);
        return core_raise(r);
    }
    return (PyObject *)self;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_process_free(CHILD(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *pid(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_process_pid(CHILD(self));
    return r < 0 ? core_raise(r) : PyLong_FromLong(r);
}

static PyObject *sentinel(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_process_sentinel(CHILD(self));
    return r < 0 ? core_raise(r) : PyLong_FromLong(r);
}

/* join(timeout) -> the exit code, or None while it runs. */
static PyObject *join(PyObject *self, PyObject *args)
{
    PyObject *timeout = Py_None;
    mp_time time;
    int r, code;
    if (!PyArg_ParseTuple(args, "|O", &timeout) || core_timeout(timeout, &time) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, time, mp_process_join(CHILD(self), t));
    if (r == -ETIMEDOUT || r == MP_ERUNNING)
        Py_RETURN_NONE;
    if (r < 0 && r != MP_ESTARTUP)
        return core_raise(r);
    r = mp_process_exit_code(CHILD(self), &code);
    if (r < 0)
        return core_raise(r);
    return PyLong_FromLong(code == MP_EXIT_UNKNOWN ? 255 : code);
}

static PyObject *send(PyObject *self, PyObject *args)
{
    int signal, r;
    if (!PyArg_ParseTuple(args, "i", &signal))
        return NULL;
    r = signal == 9   ? mp_process_kill(CHILD(self))
        : signal == 2 ? mp_process_interrupt(CHILD(self))
                      : mp_process_terminate(CHILD(self));
    if (r < 0)
        return core_raise(r);
    Py_RETURN_NONE;
}

static PyObject *close_child(PyObject *self, PyObject *unused)
{
    (void)unused;
    int r = mp_process_close(CHILD(self));
    if (r < 0)
        return core_raise(r);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"pid", pid, METH_NOARGS, "The process id."},
    {"sentinel", sentinel, METH_NOARGS, "A descriptor that is readable when it has ended."},
    {"join", join, METH_VARARGS, "join(timeout=None) -> exit code, or None while it runs"},
    {"send", send, METH_VARARGS, "send(signal): SIGTERM, SIGKILL or SIGINT"},
    {"close", close_child, METH_NOARGS, "Gives back what it holds."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_new, new},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_doc, "A process that was started."},
                              {0, NULL}};
PyType_Spec core_child_spec = {"multiproc._core.Child", sizeof(child_object), 0, Py_TPFLAGS_DEFAULT,
                               slots};
