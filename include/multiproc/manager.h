/* SPDX-License-Identifier: MIT */
/*
 * Managers: a server process that holds objects, and proxies by which any process, also on other machines,
 * calls their methods.
 *
 * The wire is that of Python's multiprocessing.managers: a C program uses the objects of a Python
 * BaseManager or SyncManager, and a Python program those of a manager in C, with the proxies that it has.
 *
 * Types that every manager in C knows, with the methods of their Python namesakes: dict, list, Namespace,
 * Value, Array, Queue, JoinableQueue, Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event, Barrier.
 * A program registers its own with mp_manager_register().
 *
 * The server is one thread that serves all clients.  A call that waits (a get of an empty queue, say) waits
 * there without holding up others.  When a client's connection ends, however it ended, the locks that it
 * held are released, what it waited for is forgotten, and, for clients in C, its references are dropped.
 */
#ifndef MULTIPROC_MANAGER_H
#define MULTIPROC_MANAGER_H

#include <multiproc/base.h>
#include <multiproc/listener.h>

MULTIPROC_BEGIN

typedef struct mp_manager mp_manager;
typedef struct mp_proxy mp_proxy;

/* ---- types of a program's own ---------------------------------------------------------------- */

/** A method: gets the object, a tuple and a dict of arguments (borrowed), and returns a new value.  NULL: it has
 *  failed; mp_manager_raise() says how.  Runs in the server's one thread, so it should be short. */
typedef struct mp_method {
    const char *name;
    mp_value *(*call)(void *object, const mp_value *args, const mp_value *kwargs);
} mp_method;

/** A type of objects.  Must stay where it is while the program runs; `next` is the library's. */
typedef struct mp_manager_type {
    const char *name;
    /** A new object; NULL: mp_manager_raise() says why there is none. */
    void *(*create)(const mp_value *args, const mp_value *kwargs);
    void (*destroy)(void *object);
    const mp_method *methods; /* the last one has no name */
    struct mp_manager_type *next;
} mp_manager_type;

/** Registers a type under its name, for managers that this program starts or serves; call it before mp_main()
 *  or from a constructor, so that fresh images know it, too.  -EEXIST; -EINVAL. */
MULTIPROC_API int mp_manager_register(mp_manager_type *type);

/** Inside a method or create: it has failed with an exception of that name, one of Python's builtin ones
 *  ("ValueError"), and a text.  Returns NULL. */
MULTIPROC_API void *mp_manager_raise(const char *exception, const char *format, ...)
    MULTIPROC_PRINTF(2, 3);

/* ---- servers --------------------------------------------------------------------------------- */

typedef struct mp_manager_options {
    size_t size;         /* sizeof(mp_manager_options) */
    const char *address; /* as for mp_listener_new(); NULL: one that nobody has */
    const void *key; /* copied; NULL: mp_manager_start() makes one, mp_manager_serve() has none */
    size_t key_size;
    mp_context *context; /* in which the server is started; NULL: the default one */
    int allow_md5;       /* 1: also clients that know md5 only: Python before 3.12 */
} mp_manager_options;

#define MP_MANAGER_OPTIONS_INIT                            \
    {                                                      \
        sizeof(mp_manager_options), NULL, NULL, 0, NULL, 0 \
    }

/**
 * Starts a server in a process of its own, a daemon, which ends with this process or with
 * mp_manager_shutdown(); returns when it listens.  NULL with the errors of mp_process_start() and
 * mp_listener_new(); EOPNOTSUPP for a key in a build without libcrypto.
 */
MULTIPROC_API mp_manager *mp_manager_start(const mp_manager_options *options);

/** Serves in this thread until a client asks for shutdown; then 0.  `ready` is called with the address when
 *  it listens.  Errors of mp_listener_new(). */
MULTIPROC_API int mp_manager_serve(const mp_manager_options *options,
                                   void (*ready)(void *data, const char *address), void *data);

/* ---- clients --------------------------------------------------------------------------------- */

/** Uses the manager at an address, in C or in Python.  Errors of mp_client(); MP_EREMOTE. */
MULTIPROC_API mp_manager *mp_manager_connect(const char *address, const void *key, size_t key_size);

/** The same with the options of a client: also the time for connections, and whether md5 may be spoken, which is
 *  all that Python servers before 3.12 know. */
MULTIPROC_API mp_manager *mp_manager_connect_with(const char *address,
                                                  const mp_client_options *options);

/** Where the server listens; lives as long as the handle. */
MULTIPROC_API const char *mp_manager_address(const mp_manager *manager);

/** The key, for those that are to connect; lives as long as the handle.  NULL when there is none. */
MULTIPROC_API const void *mp_manager_key(const mp_manager *manager, size_t *ret_size);

/** Ends the server. */
MULTIPROC_API int mp_manager_shutdown(mp_manager *manager);

/** How many objects the server holds. */
MULTIPROC_API int64_t mp_manager_count(mp_manager *manager);

/** One more reference; returns it. */
MULTIPROC_API mp_manager *mp_manager_ref(mp_manager *manager);

/** Gives a reference back; the last one of a manager that was started here shuts it down. */
MULTIPROC_API void mp_manager_free(mp_manager *manager);

/**
 * A new object of a type in the server, made with a tuple of arguments (taken over; NULL: none).  With
 * "type:name" ("Queue:jobs") it is the object of that name, which is made when there is none, so that programs
 * that know nothing of each other find it; for servers in C.  NULL with
 * MP_EREMOTE: the server refused, mp_error_detail() has the exception's name and text; EPIPE, EPROTO:
 * the server is gone.
 */
MULTIPROC_API mp_proxy *mp_manager_create(mp_manager *manager, const char *type, mp_value *args);

/** What another process needs to use the same object through a handle of its own manager: a tuple, for a
 *  message or an argument.  The object lives as long as some proxy refers to it, not the tuple. */
MULTIPROC_API mp_value *mp_proxy_token(const mp_proxy *proxy);

/** The proxy of a token, which is taken over.  NULL with MP_EREMOTE when the object is no more; MP_ETYPE. */
MULTIPROC_API mp_proxy *mp_manager_proxy(mp_manager *manager, mp_value *token);

/**
 * Calls a method with a tuple (taken over; NULL: none) and a dict (likewise) of arguments; the result is the
 * caller's (ret_value may be NULL).
 * MP_EREMOTE: it raised an exception there, mp_error_detail() is "Name: text"; -ETIMEDOUT: no answer within
 * `timeout`: the call may have been done; this thread's later calls use another connection; -EPIPE: the
 * server is gone; MP_ETYPE for handles among the arguments.  Where a method returns another object, the
 * result is its token, and mp_manager_proxy() has to be called with it once, or the object stays.
 * Every thread has a connection of its own to the server, and is there what a client is: a lock that a
 * thread has acquired is its own, and is released when the thread ends.
 */
MULTIPROC_API int mp_proxy_call(mp_proxy *proxy, const char *method, mp_value *args,
                                mp_value *kwargs, mp_value **ret_value, mp_time timeout);

/** Sends a call without waiting for its answer; at most 64 may be on their way in a thread.  It waits while the
 *  server does not read, which it does not while answers of this thread stand in its way: what they all bring
 *  together should fit into a socket's buffer (about 200 KiB). */
MULTIPROC_API int mp_proxy_send(mp_proxy *proxy, const char *method, mp_value *args,
                                mp_value *kwargs);

/** The answer to the oldest call that this thread has sent to that manager; errors as mp_proxy_call(), and
 *  -ENOMSG when there is none. */
MULTIPROC_API int mp_manager_recv(mp_manager *manager, mp_value **ret_value, mp_time timeout);

/** The type's name; lives as long as the proxy. */
MULTIPROC_API const char *mp_proxy_type(const mp_proxy *proxy);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_proxy *mp_proxy_ref(mp_proxy *proxy);

/** Gives a reference back; with the last proxy of all processes the object goes.  A forked child's copies of
 *  proxies hold no references: they work as long as the parent's do. */
MULTIPROC_API void mp_proxy_free(mp_proxy *proxy);

MULTIPROC_END

#endif
