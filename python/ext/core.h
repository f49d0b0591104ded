/* SPDX-License-Identifier: MIT */
/*
 * What the files of the extension module share: its state, waiting without the interpreter's lock, errors,
 * pickling, and handles on their way to another process.
 *
 * A wait is first tried at once, with the interpreter's lock held, because most of them are over at once;
 * only then the lock is given back.  Waits come back when a signal handler has run (mp_host.interruptible),
 * and Python's handlers run then.
 */
#ifndef MULTIPROC_EXT_CORE_H
#define MULTIPROC_EXT_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <multiproc.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *core_new_ref(PyObject *o)
{
    Py_INCREF(o);
    return o;
}
#define Py_NewRef core_new_ref
#endif

typedef struct core_state {
    PyObject *empty, *full;         /* queue.Empty, queue.Full */
    PyObject *owner_died;           /* the warning */
    PyObject *loads, *pickler_type; /* of _pickle */
    PyObject *dump, *clear_memo, *dispatch_table, *buffers_name, *socket_name,
        *five;                                           /* names, a number */
    PyObject *copyreg_table, *extra_reducers, *reducers; /* the third holds the first two */
    int knows_sockets;
    Py_ssize_t theirs, ours;               /* their lengths then */
    PyObject *reduction, *forking_pickler; /* a module's names; the class there */
    struct core_kit *kits[2];              /* picklers: with buffers inside, apart */
    PyObject *buffer_too_short;
    PyObject *run_child; /* what a child runs; set by the package */
    PyObject *command;   /* the command line of a fresh image; set by the package */
    PyObject *preload;   /* what a fork server runs for a name; set by the package */
    PyTypeObject *value_type, *sink_type, *view_type, *queue_type;
} core_state;

extern struct PyModuleDef core_module;
core_state *core_get_state(PyTypeObject *type); /* of the module that a type belongs to */

/* ---- errors (error.c) ---- */

/* Raises what fits an error code of the library; NULL. */
PyObject *core_raise(int code);
/* queue.Empty, queue.Full; NULL. */
PyObject *core_raise_empty(core_state *state);
PyObject *core_raise_full(core_state *state);
int core_add_errors(PyObject *module, core_state *state);

/* ---- time ---- */

/* None: for ever; a number of seconds, negative: 0.  -1 with an exception. */
int core_timeout(PyObject *seconds, mp_time *ret_time);
mp_time core_now(void);
static inline mp_time core_left(mp_time deadline)
{
    if (deadline == MP_FOREVER)
        return MP_FOREVER;
    mp_time now = core_now();
    return deadline > now ? deadline - now : 0;
}
static inline mp_time core_deadline(mp_time timeout)
{
    if (timeout == MP_FOREVER || timeout <= 0)
        return timeout <= 0 ? 0 : MP_FOREVER;
    mp_time now = core_now();
    return timeout > MP_FOREVER - now ? MP_FOREVER : now + timeout;
}

/*
 * Calls `call`, which uses `t`: first with MP_NOWAIT; then, if that says `busy`, without the interpreter's
 * lock for what is left of `timeout`; again after a signal.  Leaves the code in `r`, or -EINTR with an
 * exception.
 */
#define CORE_WAIT(r, busy, timeout, call)                   \
    do {                                                    \
        mp_time t = MP_NOWAIT, core_until;                  \
        r = (call);                                         \
        if (r != (busy) || (timeout) <= 0)                  \
            break;                                          \
        core_until = core_deadline(timeout);                \
        do {                                                \
            t = core_left(core_until);                      \
            Py_BEGIN_ALLOW_THREADS r = (call);              \
            Py_END_ALLOW_THREADS                            \
        } while (r == -EINTR && PyErr_CheckSignals() == 0); \
    } while (0)

/* ---- pickling (pickling.c) ---- */

/* An object as the parts of a message. */
typedef struct core_pickled {
    mp_bytes *parts, few[9]; /* with room for one more */
    size_t n, size;
    char room[192]; /* of a small one */
    struct core_kit *kit;
    void *head;
    int apart, has_view;
    Py_buffer view;
} core_pickled;

/* `dumps`: what to pickle with, or NULL; `apart`: large buffers may stand behind the pickle.  0, or -1 with
 * an exception. */
int core_pickle(core_state *state, PyObject *dumps, PyObject *object, int apart, core_pickled *p);
void core_pickled_release(core_state *state, core_pickled *p);
void core_kit_free(struct core_kit *kit);

/* small.c: the size of the pickle, 0: not here; NULL, perhaps with an exception: it is for the unpickler. */
size_t core_small_put(char *room, size_t size, PyObject *object);
PyObject *core_small_take(const void *data, size_t size);

PyObject *core_unpickle(core_state *state, const void *data, size_t size);
/* The same for bytes in a buffer of the library, which it takes over. */
PyObject *core_unpickle_buffer(core_state *state, mp_buffer *buffer);
/* From anybody: without buffers behind the pickle. */
PyObject *core_unpickle_stream(core_state *state, mp_buffer *buffer);
PyObject *core_view(core_state *state, mp_buffer *buffer); /* takes it over */
PyObject *core_dumps(PyObject *module, PyObject *object);
PyObject *core_reducers_changed(PyObject *module, PyObject *unused);

/* ---- types ---- */

extern PyType_Spec core_queue_spec, core_lock_spec, core_event_spec, core_child_spec,
    core_value_spec, core_sink_spec, core_view_spec, core_block_spec, core_connection_spec,
    core_condition_spec, core_barrier_spec, core_desk_spec, core_synced_spec;

#define CORE_METHOD (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)
#define CORE_FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

/* queue.c, pool.c */
mp_queue *core_queue(PyObject *queue);
PyObject *core_queue_dumps(PyObject *queue); /* borrowed, or NULL */
PyObject *core_put_result(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_get_results(PyObject *module, PyObject *args);

/* A handle as a value of the library (value.c): what travels in the arguments of a process. */
typedef struct core_value {
    PyObject_HEAD mp_value *value;
} core_value;
PyObject *core_value_wrap(core_state *state, mp_value *value); /* takes it over */

/* value.c, child.c: functions of the module */
PyObject *core_descriptor(PyObject *module, PyObject *args);
PyObject *core_parent_sentinel(PyObject *module, PyObject *unused);
PyObject *core_child_main(PyObject *module, PyObject *args);
/* NULL without an exception: it is no lock of ours. */
PyObject *core_semlock_acquire(PyObject *lock);
PyObject *core_semlock_release(PyObject *lock);
PyObject *core_count_fork(PyObject *module, PyObject *unused); /* semlock.c */
PyObject *core_set_preload(PyObject *module, PyObject *args);
int core_set_host(PyObject *module);

#endif
