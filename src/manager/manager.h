/* SPDX-License-Identifier: MIT */
/*
 * What the files of the manager share (docs/design/manager.md).
 *
 * The server is single-threaded.  A client is a connection; its requests are done one after the other.  A
 * call that has to wait is parked at its object, and tried again, in the order in which the calls came,
 * whenever something was done to that object, or its time is up.
 */
#ifndef MP__MANAGER_H
#define MP__MANAGER_H

#include <multiproc/listener.h>
#include <multiproc/manager.h>

#include "os/os.h"
#include "value/pickle.h"

/* ---- the wire (wire.c) ---- */

typedef struct mp__reply {
    char *bytes; /* a pickle, to be freed */
    size_t size;
} mp__reply;

/* ("#RETURN", value): takes the value. */
MP__HIDDEN int mp__reply_value(mp__reply *reply, const char *kind, mp_value *value);
/* ("#ERROR", exception(arg)): of the module `module`. */
MP__HIDDEN int mp__reply_error(mp__reply *reply, const char *module, const char *exception,
                               mp_value *arg);
/* ("#PROXY", (exposed, Token(type, address, id))) */
MP__HIDDEN int mp__reply_proxy(mp__reply *reply, mp_value *exposed, const char *type,
                               const char *address, const char *id);
/* An address as Python writes it: a str, or a tuple of host and port. */
MP__HIDDEN mp_value *mp__address_value(const char *text);
/* A message from a client or a server, with descriptions of what is no plain value. */
MP__HIDDEN int mp__message_read(const mp_buffer *buffer, mp_value **ret_value);
/* What a server's answer says: 0 and the result, or MP_EREMOTE.  Takes the answer. */
MP__HIDDEN int mp__answer_take(mp_value *answer, mp_value **ret_value);

/* ---- objects and calls (objects.c) ---- */

typedef struct mp__server mp__server;
typedef struct mp__client mp__client;
typedef struct mp__object_entry mp__entry;

#define MP__PARK 1 /* the call waits */

typedef struct mp__call {
    mp__server *server;
    mp__client *client;
    mp__entry *entry;
    const char *method;
    mp_value *request;             /* holds what follows */
    const mp_value *args, *kwargs; /* a tuple, a dict */
    mp__deadline deadline;         /* of a parked call; MP__NEVER */
    bool late;                     /* the deadline has passed: answer now */
    int phase;                     /* a parked call's own */
    uint64_t data;
    mp_value *result;        /* when it returns 0 */
    const char *result_type; /* the result is the id of a new object of that type */
    struct mp__call *next;   /* among the parked ones of the object */
} mp__call;

/* A type of the library's own: its methods can wait and know who calls. */
typedef struct mp__builtin_method {
    const char *name;
    int (*call)(mp__call *call, void *object); /* 0, MP__PARK, or an error after mp__raise() */
} mp__builtin_method;

typedef struct mp__builtin {
    const char *name;
    void *(*create)(mp__call *call);
    void (*destroy)(void *object);
    void (*gone)(mp__entry *entry, mp__client *client); /* it has hung up; NULL: nothing to do */
    mp_value *(*copy)(void *object);                    /* for #GETVALUE and str(); NULL: none */
    const mp__builtin_method *methods;
    void (*lost)(mp__call *call, mp_value *result); /* the client was dead already; NULL: nothing */
} mp__builtin;

struct mp__object_entry {
    char id[20];
    char name[64];              /* "type:name", or empty */
    const mp__builtin *builtin; /* or */
    const mp_manager_type *type;
    void *object;
    uint64_t refs;
    mp__call *parked; /* the oldest first */
    mp__entry *next;  /* in its bucket */
};

MP__HIDDEN const mp__builtin *const *mp__builtins(void); /* the last one is NULL */
MP__HIDDEN extern const mp__builtin mp__type_dict, mp__type_list, mp__type_namespace,
    mp__type_value, mp__type_array, mp__type_iterator;
MP__HIDDEN extern const mp__builtin mp__type_queue, mp__type_joinable, mp__type_lock,
    mp__type_rlock, mp__type_semaphore, mp__type_bounded, mp__type_condition, mp__type_event,
    mp__type_barrier;

/* The exception that the running call fails with; a negative code. */
MP__HIDDEN int mp__raise(const char *exception, const char *fmt, ...) MULTIPROC_PRINTF(2, 3);
MP__HIDDEN int mp__raise_value(const char *exception, mp_value *arg); /* KeyError(arg): takes it */
/* What was raised: names for mp__reply_error(); the argument is the caller's. */
MP__HIDDEN void mp__raised(const char **ret_module, const char **ret_name, mp_value **ret_arg);

/* The i-th argument, or the one of that name; NULL: it was not given. */
MP__HIDDEN const mp_value *mp__arg(const mp__call *call, size_t i, const char *name);
/* The number of seconds of an argument as a deadline, from None on for ever. */
MP__HIDDEN int mp__arg_deadline(mp__call *call, const mp_value *seconds);
MP__HIDDEN int mp__arg_truth(const mp_value *value, bool otherwise);
static inline int mp__return(mp__call *call, mp_value *value) /* takes it */
{
    call->result = value;
    return value ? 0 : mp__raise("MemoryError", "out of memory");
}

/* Objects of a server. */
MP__HIDDEN mp__entry *mp__entry_find(mp__server *server, const char *id);
MP__HIDDEN mp__entry *mp__entry_create(mp__call *call, const char *type);
MP__HIDDEN void mp__entry_unref(mp__server *server, mp__entry *entry);
MP__HIDDEN mp_value *mp__entry_exposed(const mp__entry *entry);
/* Runs a call; what mp__builtin_method.call returns. */
MP__HIDDEN int mp__entry_call(mp__call *call);

struct mp__server {
    mp_listener *listener;
    int group;
    bool over;
    mp__entry *buckets[256];
    uint64_t objects, last_id;
    mp__client **clients; /* by descriptor */
    size_t nclients;
    mp__deadline wake; /* the earliest deadline of a parked call */
    mp__deadline deaf; /* no descriptors or memory: until then, no more clients; 0: it listens */
};

/* server.c: something was done to an object: those that wait for it are tried again. */
MP__HIDDEN void mp__server_retry(mp__server *server, mp__entry *entry);

#endif
