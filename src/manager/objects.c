/* SPDX-License-Identifier: MIT */
/*
 * Owns the objects of a server: their types, names, references and the calls of their methods; and what a
 * failing method says.  All of it belongs to the server's one thread.
 */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>

#include "manager/manager.h"

/* ---- registered types ---- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static mp_manager_type *registry;

static const mp__builtin *const builtins[] = {
    &mp__type_dict,  &mp__type_list,      &mp__type_namespace, &mp__type_value,
    &mp__type_array, &mp__type_queue,     &mp__type_joinable,  &mp__type_lock,
    &mp__type_rlock, &mp__type_semaphore, &mp__type_bounded,   &mp__type_condition,
    &mp__type_event, &mp__type_barrier,   &mp__type_iterator,  NULL};

static const mp__builtin *find_builtin(const char *name)
{
    for (size_t i = 0; builtins[i]; i++)
        if (strcmp(builtins[i]->name, name) == 0)
            return builtins[i];
    return NULL;
}

static const mp_manager_type *find_type(const char *name)
{
    pthread_mutex_lock(&registry_lock);
    const mp_manager_type *t = registry;
    while (t && strcmp(t->name, name) != 0)
        t = t->next;
    pthread_mutex_unlock(&registry_lock);
    return t;
}

int mp_manager_register(mp_manager_type *type)
{
    MP__CHECK(type && type->name && type->create && type->methods);
    mp__clear_detail();
    if (find_builtin(type->name) || find_type(type->name))
        return mp__fail(-EEXIST, "there is a type of the name '%s'", type->name);
    pthread_mutex_lock(&registry_lock);
    type->next = registry;
    registry = type;
    pthread_mutex_unlock(&registry_lock);
    return 0;
}

/* ---- what a call fails with ---- */

static _Thread_local struct {
    char name[64];
    mp_value *arg;
} raised;

static void set_raised(const char *exception, mp_value *arg)
{
    size_t n = 0; /* it becomes a line of a pickle */
    while (exception[n] && n < sizeof raised.name - 1 &&
           (isalnum((unsigned char)exception[n]) || exception[n] == '_'))
        n++;
    memcpy(raised.name, exception, n);
    raised.name[n] = 0;
    mp_value_free(raised.arg);
    raised.arg = arg;
}

static mp_value *text_value(const char *fmt, va_list args)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, args);
    size_t n = strlen(text);
    while (n && !mp__utf8_valid(text, n)) /* it may have been cut in the middle */
        text[--n] = 0;
    return mp_value_str(text);
}

int mp__raise(const char *exception, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_raised(exception, *fmt ? text_value(fmt, args) : NULL);
    va_end(args);
    return MP_EREMOTE;
}

int mp__raise_value(const char *exception, mp_value *arg)
{
    set_raised(exception, arg);
    return MP_EREMOTE;
}

void *mp_manager_raise(const char *exception, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_raised(exception && *exception ? exception : "RuntimeError", text_value(format, args));
    va_end(args);
    return NULL;
}

void mp__raised(const char **ret_module, const char **ret_name, mp_value **ret_arg)
{
    if (!raised.name[0])
        set_raised("RuntimeError", mp_value_str("the method failed and did not say why"));
    bool of_queue = strcmp(raised.name, "Empty") == 0;
    bool of_threading = strcmp(raised.name, "BrokenBarrierError") == 0;
    *ret_module = of_queue                           ? "_queue"
                  : strcmp(raised.name, "Full") == 0 ? "queue"
                  : of_threading                     ? "threading"
                                                     : "builtins";
    static _Thread_local char name[sizeof raised.name];
    memcpy(name, raised.name, sizeof name);
    *ret_name = name;
    *ret_arg = raised.arg;
    raised.arg = NULL;
    raised.name[0] = 0;
}

/* ---- arguments ---- */

const mp_value *mp__arg(const mp__call *call, size_t i, const char *name)
{
    if ((int64_t)i < mp_value_len(call->args))
        return mp_value_item(call->args, i);
    return name ? mp_value_lookup_str(call->kwargs, name) : NULL;
}

int mp__arg_truth(const mp_value *v, bool otherwise)
{
    int truth;
    double number;
    if (!v)
        return otherwise;
    if (mp_value_get_bool(v, &truth) == 0)
        return truth;
    if (mp_value_get_float(v, &number) == 0)
        return number != 0;
    return mp_value_kind(v) != MP_KIND_NONE && mp_value_len(v) != 0;
}

int mp__arg_deadline(mp__call *call, const mp_value *seconds)
{
    double s;
    call->deadline = MP__NEVER;
    if (!seconds || mp_value_kind(seconds) == MP_KIND_NONE)
        return 0;
    if (mp_value_get_float(seconds, &s) < 0)
        return mp__raise("TypeError", "a timeout is a number, not %s", mp_value_type_name(seconds));
    if (s < 9e9)
        call->deadline = mp__deadline_after(mp__os_now(), s > 0 ? (mp_time)(s * 1e9) : 0);
    return 0;
}

/* ---- entries ---- */

static mp__entry **bucket_of(mp__server *server, const char *id)
{
    unsigned h = 5381;
    for (const char *p = id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &server->buckets[h % MP__COUNT_OF(server->buckets)];
}

mp__entry *mp__entry_find(mp__server *server, const char *id)
{
    mp__entry *e = *bucket_of(server, id);
    while (e && strcmp(e->id, id) != 0)
        e = e->next;
    return e;
}

static mp__entry *create_entry(mp__call *call, const char *type)
{
    mp__server *server = call->server;
    const mp__builtin *builtin = find_builtin(type);
    const mp_manager_type *own = builtin ? NULL : find_type(type);
    if (!builtin && !own) {
        mp__raise_value("KeyError", mp_value_str(type));
        return NULL;
    }
    mp__entry *e = mp__alloc_zero(sizeof *e);
    if (!e) {
        mp__raise("MemoryError", "out of memory");
        return NULL;
    }
    e->builtin = builtin;
    e->type = own;
    e->object = builtin ? builtin->create(call) : own->create(call->args, call->kwargs);
    if (!e->object) {
        free(e);
        return NULL;
    }
    snprintf(e->id, sizeof e->id, "%llx", (unsigned long long)++server->last_id);
    e->refs = 1;
    mp__entry **bucket = bucket_of(server, e->id);
    e->next = *bucket;
    *bucket = e;
    server->objects++;
    return e;
}

/* The object that was made under a name, with one more reference. */
static mp__entry *find_named(mp__server *server, const char *name)
{
    for (size_t i = 0; i < MP__COUNT_OF(server->buckets); i++)
        for (mp__entry *e = server->buckets[i]; e; e = e->next)
            if (strcmp(e->name, name) == 0) {
                e->refs++;
                return e;
            }
    return NULL;
}

mp__entry *mp__entry_create(mp__call *call, const char *type)
{
    char plain[64];
    const char *colon = strchr(type, ':');
    if (!colon)
        return create_entry(call, type);
    if (strlen(type) >= sizeof plain) {
        mp__raise("ValueError", "a type and a name have at most %zu bytes", sizeof plain - 1);
        return NULL;
    }
    mp__entry *e = find_named(call->server, type);
    if (e)
        return e;
    memcpy(plain, type, (size_t)(colon - type));
    plain[colon - type] = 0;
    e = create_entry(call, plain);
    if (e)
        memcpy(e->name, type, strlen(type) + 1);
    return e;
}

void mp__entry_unref(mp__server *server, mp__entry *e)
{
    if (--e->refs)
        return;
    mp__entry **place = bucket_of(server, e->id);
    while (*place != e)
        place = &(*place)->next;
    *place = e->next;
    server->objects--;
    mp__server_retry(server, e); /* nobody can wait for it any more, but a bad client */
    if (e->builtin)
        e->builtin->destroy(e->object);
    else if (e->type->destroy)
        e->type->destroy(e->object);
    free(e);
}

mp_value *mp__entry_exposed(const mp__entry *e)
{
    mp_value *names[64];
    size_t n = 0;
    while (n < 64 && (e->builtin ? e->builtin->methods[n].name : e->type->methods[n].name)) {
        names[n] =
            mp_value_str(e->builtin ? e->builtin->methods[n].name : e->type->methods[n].name);
        n++;
    }
    return mp_value_tuple(names, n);
}

/* ---- calls ---- */

/* The methods that every object has. */
static int call_fallback(mp__call *call)
{
    mp__entry *e = call->entry;
    char text[96];
    bool is_text = strcmp(call->method, "__str__") == 0 || strcmp(call->method, "__repr__") == 0;
    mp_value *copy = e->builtin && e->builtin->copy ? e->builtin->copy(e->object) : NULL;
    if (!is_text)
        return copy ? mp__return(call, copy)
                    : mp__raise("TypeError", "a %s has no value that could be sent",
                                e->builtin ? e->builtin->name : e->type->name);
    if (copy) {
        char *repr = mp_value_repr(copy);
        mp_value_free(copy);
        mp_value *v = repr ? mp_value_str(repr) : NULL;
        free(repr);
        return mp__return(call, v);
    }
    snprintf(text, sizeof text, "<%s %s>", e->builtin ? e->builtin->name : e->type->name, e->id);
    return mp__return(call, mp_value_str(text));
}

int mp__entry_call(mp__call *call)
{
    mp__entry *e = call->entry;
    if (e->builtin) {
        for (const mp__builtin_method *m = e->builtin->methods; m->name; m++)
            if (strcmp(m->name, call->method) == 0)
                return m->call(call, e->object);
    } else {
        for (const mp_method *m = e->type->methods; m->name; m++)
            if (strcmp(m->name, call->method) == 0) {
                call->result = m->call(e->object, call->args, call->kwargs);
                return call->result ? 0 : MP_EREMOTE;
            }
    }
    if (strcmp(call->method, "#GETVALUE") == 0 || strcmp(call->method, "__str__") == 0 ||
        strcmp(call->method, "__repr__") == 0)
        return call_fallback(call);
    return mp__raise("AttributeError", "a %s has no method '%.60s'",
                     e->builtin ? e->builtin->name : e->type->name, call->method);
}
