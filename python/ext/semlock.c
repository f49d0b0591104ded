/* SPDX-License-Identifier: MIT */
/*
 * Owns the type SemLock, which has the interface of the standard library's: a recursive lock, a lock or a
 * semaphore of the library.  Who holds a lock is a matter of this process: its thread and how often.
 */
#include "core.h"

#include <structmember.h>

enum { RECURSIVE_MUTEX = 0, SEMAPHORE = 1 };

typedef struct semlock {
    PyObject_HEAD int kind, maxvalue;
    mp_lock *lock;           /* SEMAPHORE with 1 of 1 */
    mp_rlock *rlock;         /* RECURSIVE_MUTEX */
    mp_semaphore *semaphore; /* the rest */
    int count;               /* how often this process's thread `owner` has it */
    unsigned long owner;
    unsigned forks; /* as they were counted when `count` and `owner` were set */
    PyObject *name;
} semlock;

#define SELF ((semlock *)self)

static int make(semlock *s, int value)
{
    if (s->kind == RECURSIVE_MUTEX)
        s->rlock = mp_rlock_new();
    else if (s->maxvalue == 1 && value == 1)
        s->lock = mp_lock_new();
    else
        s->semaphore = mp_semaphore_new((unsigned)value,
                                        s->maxvalue < MP_SEMAPHORE_MAX ? (unsigned)s->maxvalue : 0);
    return s->rlock || s->lock || s->semaphore ? 0 : mp_error_code();
}

static int take(semlock *s, const mp_value *value)
{
    if (s->kind == RECURSIVE_MUTEX) {
        int r = mp_value_get_rlock(value, &s->rlock);
        return r < 0 ? (s->rlock = NULL, r) : (mp_rlock_ref(s->rlock), 0);
    }
    if (mp_value_get_lock(value, &s->lock) == 0)
        return mp_lock_ref(s->lock), 0;
    s->lock = NULL;
    int r = mp_value_get_semaphore(value, &s->semaphore);
    return r < 0 ? (s->semaphore = NULL, r) : (mp_semaphore_ref(s->semaphore), 0);
}

/* How many forks lie behind this process: what a parent's thread holds is not a child's. */
static unsigned forks;

PyObject *core_count_fork(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    forks++;
    Py_RETURN_NONE;
}

static int fill(semlock *s, core_state *state, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"kind", "value", "maxvalue", "name", "unlink", "handle", NULL};
    int kind, value, maxvalue, unlink = 0;
    PyObject *name = Py_None, *handle = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iii|OpO!", names, &kind, &value, &maxvalue,
                                     &name, &unlink, state->value_type, &handle))
        return -1;
    if (kind != RECURSIVE_MUTEX && kind != SEMAPHORE)
        return PyErr_SetString(PyExc_ValueError, "unrecognized kind"), -1;
    if (value < 0 || maxvalue < 1 || value > maxvalue)
        return PyErr_SetString(PyExc_ValueError, "semaphore value out of range"), -1;
    if (s->lock || s->rlock || s->semaphore)
        return PyErr_SetString(PyExc_RuntimeError, "it is made already"), -1;
    s->kind = kind;
    s->maxvalue = maxvalue;
    Py_INCREF(name);
    Py_XSETREF(s->name, name);
    int r = handle ? take(s, ((core_value *)handle)->value) : make(s, value);
    return r < 0 ? (core_raise(r), -1) : 0;
}

static int init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    core_state *state = core_get_state(Py_TYPE(self));
    return state ? fill(SELF, state, args, kwargs) : -1;
}

/* The same, for subclasses that have a constructor of their own. */
static PyObject *make_it(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init(self, args, kwargs) < 0 ? NULL : Py_NewRef(Py_None);
}

static int is_made(const semlock *s)
{
    if (s->lock || s->rlock || s->semaphore)
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "the lock's __init__() was not called");
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mp_lock_free(SELF->lock);
    mp_rlock_free(SELF->rlock);
    mp_semaphore_free(SELF->semaphore);
    Py_XDECREF(SELF->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static int try_acquire(semlock *s, mp_time timeout)
{
    return s->lock    ? mp_lock_acquire(s->lock, timeout)
           : s->rlock ? mp_rlock_acquire(s->rlock, timeout)
                      : mp_semaphore_acquire(s->semaphore, timeout);
}

/* (block=True, timeout=None) */
static int parse(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, mp_time *ret_time)
{
    PyObject *block = nargs > 0 ? args[0] : NULL, *timeout = nargs > 1 ? args[1] : NULL;
    Py_ssize_t nk = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t k = 0; k < nk; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        if (PyUnicode_CompareWithASCIIString(name, "block") == 0)
            block = args[nargs + k];
        else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0)
            timeout = args[nargs + k];
        else
            return PyErr_Format(PyExc_TypeError, "unexpected keyword argument '%U'", name), -1;
    }
    int blocks = block ? PyObject_IsTrue(block) : 1;
    *ret_time = blocks ? MP_FOREVER : MP_NOWAIT;
    return blocks < 0 ? -1 : blocks && timeout ? core_timeout(timeout, ret_time) : 0;
}

static PyObject *acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    mp_time timeout = MP_FOREVER;
    int r;
    if (!is_made(SELF))
        return NULL;
    if ((nargs || kwnames) && parse(args, nargs, kwnames, &timeout) < 0)
        return NULL;
    CORE_WAIT(r, -ETIMEDOUT, timeout, try_acquire(SELF, t));
    if (r == -ETIMEDOUT)
        Py_RETURN_FALSE;
    if (r == -EOWNERDEAD || r == 0) {
        unsigned long me = PyThread_get_thread_ident();
        SELF->count = SELF->owner == me && SELF->forks == forks ? SELF->count + 1 : 1;
        SELF->owner = me;
        SELF->forks = forks;
        if (r == -EOWNERDEAD &&
            PyErr_WarnEx(
                core_get_state(Py_TYPE(self))->owner_died,
                "the process that held the lock has died; what it guards may be half changed",
                1) < 0)
            return NULL;
        Py_RETURN_TRUE;
    }
    return core_raise(r);
}

static PyObject *release(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!is_made(SELF))
        return NULL;
    int r = SELF->lock    ? mp_lock_release(SELF->lock)
            : SELF->rlock ? mp_rlock_release(SELF->rlock)
                          : mp_semaphore_release(SELF->semaphore, 1);
    if (r == -EPERM && SELF->rlock) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    if (r == -EPERM || r == -ERANGE) {
        PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
        return NULL;
    }
    if (r < 0)
        return core_raise(r);
    if (SELF->count > 0)
        SELF->count--;
    if (!SELF->count)
        SELF->owner = 0;
    Py_RETURN_NONE;
}

static PyObject *enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return acquire(self, NULL, 0, NULL);
}

static PyObject *leave(PyObject *self, PyObject *args)
{
    (void)args;
    return release(self, NULL);
}

static int is_mine(const semlock *s)
{
    if (s->rlock)
        return mp_rlock_count(s->rlock) > 0;
    return s->count > 0 && s->forks == forks && s->owner == PyThread_get_thread_ident();
}

static int value_of(const semlock *s)
{
    return s->lock    ? !mp_lock_locked(s->lock)
           : s->rlock ? !mp_rlock_locked(s->rlock)
                      : mp_semaphore_value(s->semaphore);
}

static PyObject *count(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (SELF->rlock)
        return PyLong_FromLong(mp_rlock_count(SELF->rlock));
    return PyLong_FromLong(SELF->forks == forks ? SELF->count : 0);
}

static PyObject *mine(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(is_mine(SELF));
}

static PyObject *get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(value_of(SELF));
}

static PyObject *is_zero(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(value_of(SELF) == 0);
}

static PyObject *after_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    SELF->count = 0;
    SELF->owner = 0;
    Py_RETURN_NONE;
}

static PyObject *export_value(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args, (void)nargs, (void)kwnames;
    mp_value *value = SELF->lock    ? mp_value_lock(SELF->lock)
                      : SELF->rlock ? mp_value_rlock(SELF->rlock)
                                    : mp_value_semaphore(SELF->semaphore);
    return core_value_wrap(core_get_state(cls), value);
}

/* For attributes under a lock: NULL without an exception when it is no lock of ours. */
static int is_ours(PyObject *lock)
{
    PyTypeObject *type = Py_TYPE(lock);
    while (type && type->tp_dealloc != dealloc)
        type = type->tp_base;
    return type != NULL;
}

PyObject *core_semlock_acquire(PyObject *lock)
{
    return is_ours(lock) ? acquire(lock, NULL, 0, NULL) : NULL;
}

PyObject *core_semlock_release(PyObject *lock)
{
    return is_ours(lock) ? release(lock, NULL) : NULL;
}

static PyMethodDef methods[] = {
    {"_make", CORE_FUNCTION(make_it), METH_VARARGS | METH_KEYWORDS,
     "_make(kind, value, maxvalue, name=None, unlink=False, handle=None)"},
    {"acquire", CORE_FUNCTION(acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None)"},
    {"release", release, METH_NOARGS, "Gives it back."},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", leave, METH_VARARGS, NULL},
    {"_count", count, METH_NOARGS, "How often this process has it."},
    {"_is_mine", mine, METH_NOARGS, "Whether this thread has it."},
    {"_get_value", get_value, METH_NOARGS, "How many can be taken."},
    {"_is_zero", is_zero, METH_NOARGS, "Whether none can be taken."},
    {"_after_fork", after_fork, METH_NOARGS, "In a child: this process has it not."},
    {"export", CORE_FUNCTION(export_value), CORE_METHOD, "The lock on its way to another process."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef members[] = {{"kind", T_INT, offsetof(semlock, kind), READONLY, NULL},
                                {"maxvalue", T_INT, offsetof(semlock, maxvalue), READONLY, NULL},
                                {"name", T_OBJECT, offsetof(semlock, name), READONLY, NULL},
                                {NULL, 0, 0, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_new, PyType_GenericNew},
                              {Py_tp_init, init},
                              {Py_tp_dealloc, dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_members, members},
                              {Py_tp_doc, "A lock or semaphore in shared memory."},
                              {0, NULL}};
PyType_Spec core_lock_spec = {"multiproc._core.SemLock", sizeof(semlock), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
