/* SPDX-License-Identifier: MIT */
/*
 * Owns the server of a manager: one thread, which polls all connections.
 *
 * A client's requests are done one after the other: none is read while one is parked, or while an answer
 * has not been taken off by the client; so what a client can make the server hold is bounded by one request
 * and one answer.  A client that hangs up or sends nonsense is marked, and buried between two rounds: what it
 * waited for is forgotten, every object is told, and its references are dropped.
 *
 * A server that is killed takes its objects along; its clients get -EPIPE.
 */
#include <stdio.h>

#include "channel/connection.h"
#include "manager/manager.h"

#define PUBLIC_REFS 64 /* references of one client to start with */
#define AT_ONCE 16     /* requests of one client in a row */
#define LAST_WORDS MP_SECONDS(1)
#define DEAF MP_MS(100)

struct mp__client {
    mp_connection *connection;
    int fd;
    bool serving; /* its requests are calls of methods */
    bool native;  /* it is in C, and its references belong to this connection */
    bool dead;    /* to be buried */
    bool last;    /* to be buried when its answer has gone */
    mp__call *parked;
    char *out; /* an answer that has not gone wholly */
    size_t out_at, out_size;
    struct reference {
        char id[20];
    } * refs; /* native: objects that it holds, each as often as it does */
    size_t nrefs, refs_room;
};

/* ---- answers ---- */

static void flush_out(mp__server *server, mp__client *c)
{
    while (c->out_at < c->out_size && !c->dead) {
        struct iovec rest = {c->out + c->out_at, c->out_size - c->out_at};
        int64_t n = mp__os_stream_write(c->fd, &rest, 1, true, false);
        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n < 0)
            c->dead = true;
        else
            c->out_at += (size_t)n;
    }
    free(c->out);
    c->out = NULL;
    c->out_at = c->out_size = 0;
    c->dead = c->dead || c->last;
    if (!c->dead)
        mp__os_group_change(server->group, c->fd, MP__WISH_READ);
}

static void send_out(mp__server *server, mp__client *c, const mp__reply *reply)
{
    unsigned char head[12];
    size_t n = reply->size > INT32_MAX ? 12 : 4;
    mp__put_big_endian32(head, n == 4 ? (uint32_t)reply->size : UINT32_MAX);
    mp__put_big_endian32(head + 4, (uint32_t)((uint64_t)reply->size >> 32));
    mp__put_big_endian32(head + 8, (uint32_t)reply->size);
    struct iovec all[2] = {{head, n}, {reply->bytes, reply->size}};
    int64_t sent = mp__os_stream_write(c->fd, all, 2, true, false);
    if (sent < 0 && sent != -EAGAIN && sent != -EINTR) {
        c->dead = true;
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0, total = n + reply->size;
    if (done == total) {
        c->dead = c->dead || c->last;
        return;
    }
    c->out = mp__alloc(total);
    if (!c->out) {
        c->dead = true;
        return;
    }
    memcpy(c->out, head, n);
    memcpy(c->out + n, reply->bytes, reply->size);
    c->out_at = done;
    c->out_size = total;
    mp__os_group_change(server->group, c->fd, MP__WISH_WRITE);
}

static void answer(mp__server *server, mp__client *c, int made, mp__reply *reply)
{
    if (made < 0) {
        c->dead = true;
        return;
    }
    send_out(server, c, reply);
    free(reply->bytes);
}

/* What mp__raise() has left. */
static void answer_error(mp__server *server, mp__client *c)
{
    const char *module, *name;
    mp_value *arg;
    mp__reply reply;
    mp__raised(&module, &name, &arg);
    answer(server, c, mp__reply_error(&reply, module, name, arg), &reply);
}

static void answer_value(mp__server *server, mp__client *c, mp_value *value)
{
    mp__reply reply;
    int made = mp__reply_value(&reply, "#RETURN", value);
    if (made < 0) { /* a method of the program's own has returned what cannot be sent */
        mp__raise(made == -ENOMEM ? "MemoryError" : "TypeError", "%s", mp_error_detail());
        answer_error(server, c);
    } else {
        answer(server, c, made, &reply);
    }
}

/* For requests that no method answers: Python's clients make a RemoteError of the text. */
static void answer_traceback(mp__server *server, mp__client *c)
{
    const char *module, *name;
    char text[700];
    mp_value *arg;
    mp__reply reply;
    mp__raised(&module, &name, &arg);
    char *repr = arg ? mp_value_repr(arg) : NULL;
    snprintf(text, sizeof text, "%s: %.600s\n", name, repr ? repr : "");
    free(repr);
    mp_value_free(arg);
    answer(server, c, mp__reply_value(&reply, "#TRACEBACK", mp_value_str(text)), &reply);
}

/* ---- references ---- */

static const char *text_of(const mp_value *v)
{
    size_t size;
    return mp_value_kind(v) == MP_KIND_STR ? mp_value_get_str(v, &size) : "";
}

static int hold(mp__client *c, mp__entry *e)
{
    if (c->nrefs == c->refs_room) {
        size_t room = c->refs_room ? c->refs_room * 2 : PUBLIC_REFS;
        struct reference *refs = mp__realloc(c->refs, room * sizeof *refs);
        if (!refs)
            return mp__raise("MemoryError", "out of memory");
        c->refs = refs;
        c->refs_room = room;
    }
    memcpy(c->refs[c->nrefs++].id, e->id, sizeof e->id);
    return 0;
}

static bool let_go(mp__client *c, const mp__entry *e)
{
    for (size_t i = c->nrefs; i-- > 0;)
        if (strcmp(c->refs[i].id, e->id) == 0) {
            c->refs[i] = c->refs[--c->nrefs];
            return true;
        }
    return false;
}

/* ---- calls ---- */

static void free_call(mp__call *call)
{
    mp_value_free(call->request);
    free(call);
}

/* The result of a call is the start of a new object: an iterator. */
static void answer_proxy(mp__call *call)
{
    mp__server *server = call->server;
    mp__client *c = call->client;
    mp__reply reply;
    mp_value *args = mp_value_tuple(&call->result, 1);
    mp__call inner = {.server = server, .client = c, .args = args, .kwargs = call->kwargs};
    const char *type = call->result_type;
    mp__entry *e = args ? mp__entry_create(&inner, type) : NULL;
    mp_value_free(args);
    if (!e) {
        answer_error(server, c);
        return;
    }
    answer(server, c,
           mp__reply_proxy(&reply, mp__entry_exposed(e), type,
                           mp_listener_address(server->listener), e->id),
           &reply);
}

static void answer_call(mp__call *call, int r)
{
    const mp__builtin *type = call->entry->builtin;
    if (r < 0) {
        answer_error(call->server, call->client);
    } else if (call->result_type) {
        answer_proxy(call);
    } else {
        mp_value *result = mp_value_ref(call->result);
        answer_value(call->server, call->client, call->result);
        if (call->client->dead && type && type->lost)
            type->lost(call, result);
        mp_value_free(result);
    }
}

static void park(mp__call *call)
{
    mp__call **place = &call->entry->parked;
    while (*place)
        place = &(*place)->next;
    *place = call;
    call->next = NULL;
    call->client->parked = call;
    mp__os_group_change(call->server->group, call->client->fd, MP__WISH_HANGUP);
    if (call->deadline < call->server->wake)
        call->server->wake = call->deadline;
}

static void unpark(mp__call **place)
{
    mp__call *call = *place;
    *place = call->next;
    call->client->parked = NULL;
    mp__os_group_change(call->server->group, call->client->fd, MP__WISH_READ);
}

/* Tries a parked call again; true when it is done. */
static bool try_again(mp__call **place, bool gone)
{
    mp__call *call = *place;
    if (call->client->dead && gone) { /* before the object goes, nothing may point to it */
        unpark(place);
        free_call(call);
        return true;
    }
    if (call->client->dead) /* its burial forgets the call: nothing is to be given to it */
        return false;
    int r = gone ? mp__raise("RuntimeError", "the object is no more") : mp__entry_call(call);
    if (r == MP__PARK)
        return false;
    unpark(place);
    answer_call(call, r);
    free_call(call);
    return true;
}

void mp__server_retry(mp__server *server, mp__entry *entry)
{
    bool progress = true;
    (void)server;
    while (progress) {
        progress = false;
        for (mp__call **place = &entry->parked; *place;)
            if (try_again(place, entry->refs == 0))
                progress = true;
            else
                place = &(*place)->next;
    }
}

/* Runs a call that has just come. */
static void run_call(mp__call *call)
{
    mp__server *server = call->server;
    mp__entry *e = call->entry;
    int r = mp__entry_call(call);
    if (r == MP__PARK) {
        park(call);
        if (e->parked != call || e->parked->next) /* a condition's wait gives the lock to others */
            mp__server_retry(server, e);
        return;
    }
    answer_call(call, r);
    free_call(call);
    if (e->parked)
        mp__server_retry(server, e);
}

/* ---- requests ---- */

static mp__entry *entry_of_arg(mp__call *call, size_t i)
{
    const mp_value *id = mp__arg(call, i, "ident");
    mp__entry *e = id ? mp__entry_find(call->server, text_of(id)) : NULL;
    if (!e)
        mp__raise_value("KeyError", id ? mp_value_ref(id) : NULL);
    return e;
}

/* create(type, ...) -> (id, exposed): what follows the type are the arguments. */
static mp_value *do_create(mp__call *call)
{
    const mp_value *type = mp__arg(call, 0, NULL);
    int64_t n = mp_value_len(call->args);
    mp_value **items = mp__alloc((size_t)n * sizeof *items + 1);
    if (!type || !items) {
        free(items);
        return mp_manager_raise("TypeError", "create() needs a type");
    }
    for (int64_t i = 1; i < n; i++)
        items[i - 1] = mp_value_ref(mp_value_item(call->args, (size_t)i));
    mp_value *args = mp_value_tuple(items, (size_t)n - 1);
    free(items);
    mp__call inner = *call;
    inner.args = args;
    mp__entry *e = args ? mp__entry_create(&inner, text_of(type)) : NULL;
    mp_value_free(args);
    if (!e)
        return NULL;
    if (call->client->native && hold(call->client, e) < 0) {
        mp__entry_unref(call->server, e);
        return NULL;
    }
    mp_value *pair[] = {mp_value_str(e->id), mp__entry_exposed(e)};
    return mp_value_tuple(pair, 2);
}

static mp_value *do_ref(mp__call *call, bool more)
{
    mp__entry *e = entry_of_arg(call, 0);
    if (!e)
        return NULL;
    if (more) {
        if (call->client->native && hold(call->client, e) < 0)
            return NULL;
        e->refs++;
    } else if (!call->client->native || let_go(call->client, e)) {
        mp__entry_unref(call->server,
                        e); /* one that it does not hold went with another connection */
    }
    return mp_value_none();
}

/* The first reference of what came as the result of a call, which was nobody's, becomes the client's. */
static mp_value *do_adopt(mp__call *call)
{
    mp__entry *e = entry_of_arg(call, 0);
    if (!e || (call->client->native && hold(call->client, e) < 0))
        return NULL;
    return mp_value_none();
}

/* get_methods(token) */
static mp_value *do_methods(mp__call *call)
{
    const char *name;
    const mp_value *token = mp__arg(call, 0, "token"), *args, *state;
    mp__entry *e = NULL;
    if (token && mp__described(token, &name, &args, &state) &&
        mp_value_kind(state) == MP_KIND_TUPLE && mp_value_len(state) == 3)
        e = mp__entry_find(call->server, text_of(mp_value_item(state, 2)));
    return e ? mp__entry_exposed(e) : mp_manager_raise("KeyError", "there is no such object");
}

/* The functions of the server itself. */
static mp_value *run_function(mp__call *call)
{
    mp__server *server = call->server;
    const char *name = call->method;
    if (strcmp(name, "dummy") == 0)
        return mp_value_none();
    if (strcmp(name, "create") == 0)
        return do_create(call);
    if (strcmp(name, "incref") == 0 || strcmp(name, "decref") == 0)
        return do_ref(call, name[0] == 'i');
    if (strcmp(name, "adopt") == 0)
        return do_adopt(call);
    if (strcmp(name, "get_methods") == 0)
        return do_methods(call);
    if (strcmp(name, "number_of_objects") == 0)
        return mp_value_int((int64_t)server->objects);
    if (strcmp(name, "debug_info") == 0)
        return mp_value_str("");
    if (strcmp(name, "shutdown") == 0) {
        server->over = true;
        return mp_value_none();
    }
    if (strcmp(name, "accept_connection") == 0) {
        const mp_value *who = mp__arg(call, 0, "name");
        call->client->serving = true;
        call->client->native = who && strcmp(text_of(who), "multiproc") == 0;
        return mp_value_str("multiproc"); /* Python's clients do not look at it */
    }
    return mp_manager_raise("AssertionError", "%.60s unrecognized", name);
}

static bool is_item_method(const char *name)
{
    return strcmp(name, "__getitem__") == 0 || strcmp(name, "__setitem__") == 0 ||
           strcmp(name, "__delitem__") == 0;
}

/* What can be sent back, or the slice that takes a part of a list. */
static bool may_be_given(const mp__call *call, size_t i)
{
    const char *name;
    const mp_value *arg = mp_value_item(call->args, i), *args, *state;
    if (mp__is_plain(arg))
        return true;
    const mp__builtin *type = call->entry ? call->entry->builtin : NULL;
    bool sliced = type == &mp__type_list || type == &mp__type_array;
    return i == 0 && sliced && mp__described(arg, &name, &args, &state) &&
           strcmp(name, "builtins.slice") == 0 && mp__is_plain(args) && mp__is_plain(state) &&
           is_item_method(call->method);
}

/* Objects of a client's own classes are refused here: they could be kept, but never given back. */
static int check_request(const mp__call *call)
{
    bool good = mp__is_plain(call->kwargs) || strcmp(call->method, "get_methods") == 0;
    for (int64_t i = 0; good && i < mp_value_len(call->args); i++)
        good = may_be_given(call, (size_t)i) || strcmp(call->method, "get_methods") == 0;
    return good ? 0 : mp__raise("TypeError", "this server takes plain values only, no objects");
}

/* (id, method, args, kwargs); the request is taken over. */
static void run_request(mp__server *server, mp__client *c, mp_value *request)
{
    mp__call *call = mp__alloc_zero(sizeof *call);
    bool good = call && mp_value_kind(request) == MP_KIND_TUPLE && mp_value_len(request) == 4;
    if (!good || mp_value_kind(mp_value_item(request, 2)) != MP_KIND_TUPLE ||
        mp_value_kind(mp_value_item(request, 3)) != MP_KIND_DICT) {
        mp_value_free(request);
        free(call);
        c->dead = true; /* whatever it is, it is no client of a manager */
        return;
    }
    *call = (mp__call){.server = server, .client = c, .request = request, .deadline = MP__NEVER};
    call->method = text_of(mp_value_item(request, 1));
    call->args = mp_value_item(request, 2);
    call->kwargs = mp_value_item(request, 3);
    const mp_value *id = mp_value_item(request, 0);
    if (!c->serving || mp_value_kind(id) == MP_KIND_NONE) {
        bool was_serving = c->serving;
        mp_value *result = check_request(call) < 0 ? NULL : run_function(call);
        c->last = !c->serving; /* Python's clients use a connection for one of these */
        if (result)
            answer_value(server, c, result);
        else if (was_serving)
            answer_error(server, c);
        else
            answer_traceback(server, c);
        free_call(call);
        return;
    }
    call->entry = mp__entry_find(server, text_of(id));
    if (call->entry && check_request(call) == 0) {
        run_call(call);
        return;
    }
    if (call->entry) {
        answer_error(server, c);
    } else {
        mp__raise("KeyError", "%s", text_of(id));
        answer_traceback(server, c);
    }
    free_call(call);
}

static void read_requests(mp__server *server, mp__client *c)
{
    for (int i = 0; i < AT_ONCE && !c->dead && !c->parked && !c->out; i++) {
        mp_buffer *buffer;
        mp_value *request;
        int r = mp_connection_recv_buffer(c->connection, &buffer, MP_NOWAIT);
        if (r == -ETIMEDOUT)
            return;
        if (r < 0) {
            c->dead = true; /* the end, or no message */
            return;
        }
        r = mp__message_read(buffer, &request);
        mp_buffer_free(buffer);
        if (r == 0) {
            run_request(server, c, request);
        } else { /* an argument that is no value, for one: what comes next is none the worse */
            c->last = !c->serving;
            mp__raise("ValueError", "%s", mp_error_detail());
            answer_traceback(server, c);
        }
    }
}

/* ---- clients ---- */

static void add_client(mp__server *server, mp_connection *connection)
{
    int fd = mp_connection_fd(connection);
    mp__client *c = mp__alloc_zero(sizeof *c);
    if (c && (size_t)fd >= server->nclients) {
        size_t n = (size_t)fd * 2 + 16;
        mp__client **clients = mp__realloc(server->clients, n * sizeof *clients);
        if (clients) {
            memset(clients + server->nclients, 0, (n - server->nclients) * sizeof *clients);
            server->clients = clients;
            server->nclients = n;
        }
    }
    if (!c || (size_t)fd >= server->nclients || mp__os_group_add(server->group, fd) < 0) {
        mp__log(MP_LOG_WARNING, "manager: no room for a client");
        mp_connection_free(connection);
        free(c);
        return;
    }
    c->connection = connection;
    c->fd = fd;
    server->clients[fd] = c;
}

static void tell_objects(mp__server *server, mp__client *c)
{
    for (size_t i = 0; i < MP__COUNT_OF(server->buckets); i++)
        for (mp__entry *e = server->buckets[i]; e; e = e->next)
            if (e->builtin && e->builtin->gone)
                e->builtin->gone(e, c);
}

static void retry_all(mp__server *server)
{
    for (size_t i = 0; i < MP__COUNT_OF(server->buckets); i++)
        for (mp__entry *e = server->buckets[i]; e; e = e->next)
            if (e->parked)
                mp__server_retry(server, e);
}

static void bury(mp__server *server, mp__client *c)
{
    bool served = c->serving;
    if (served)
        tell_objects(server, c);
    if (c->parked) {
        mp__call **place = &c->parked->entry->parked, *call = c->parked;
        while (*place != call)
            place = &(*place)->next;
        unpark(place);
        free_call(call);
    }
    server->clients[c->fd] = NULL;
    mp__os_group_remove(server->group, c->fd);
    mp_connection_free(c->connection);
    while (c->nrefs) {
        mp__entry *e = mp__entry_find(server, c->refs[--c->nrefs].id);
        if (e)
            mp__entry_unref(server, e);
    }
    free(c->refs);
    free(c->out);
    free(c);
    if (served)
        retry_all(server); /* what it held is there for others */
}

/* ---- the loop ---- */

static void look_at_time(mp__server *server)
{
    int64_t now = mp__os_now();
    if (now < server->wake)
        return;
    server->wake = MP__NEVER;
    for (size_t i = 0; i < server->nclients; i++) {
        mp__call *call = server->clients[i] ? server->clients[i]->parked : NULL;
        if (!call)
            continue;
        if (call->deadline <= now) {
            mp__entry *e = call->entry;
            call->late = true;
            mp__server_retry(server, e);
            call = server->clients[i]->parked;
        }
        if (call && call->deadline > now && call->deadline < server->wake)
            server->wake = call->deadline;
    }
}

static void bury_all(mp__server *server)
{
    bool found = true;
    while (found) { /* a burial can be the end of another one */
        found = false;
        for (size_t i = 0; i < server->nclients; i++)
            if (server->clients[i] && server->clients[i]->dead) {
                bury(server, server->clients[i]);
                found = true;
            }
    }
}

/* Who could not be accepted is still there, and would be reported again and again. */
static int stop_listening(mp__server *server)
{
    mp__log(MP_LOG_WARNING, "manager: no room for a client: %s", mp_error_detail());
    server->deaf = mp__deadline_after(mp__os_now(), DEAF);
    return mp__os_group_remove(server->group, mp_listener_fd(server->listener));
}

static int accept_all(mp__server *server)
{
    mp_connection *connection;
    if (server->deaf > mp__os_now())
        return 0;
    if (server->deaf) {
        int e = mp__os_group_add(server->group, mp_listener_fd(server->listener));
        server->deaf = e < 0 ? mp__deadline_after(mp__os_now(), DEAF) : 0;
    }
    for (int i = 0; i < AT_ONCE; i++) { /* the clients that are there have their turn, too */
        int r = mp_listener_accept(server->listener, &connection, MP_NOWAIT);
        if (r == -ETIMEDOUT)
            return 0;
        if (r == 0)
            add_client(server, connection);
        else if (r == MP_ECLOSED || r == -EINVAL || r == -EBADF || r == -EINTR)
            return r;
        else if (r != -EACCES) /* no room here, or a trouble of the network */
            return stop_listening(server);
    }
    return 0;
}

static int serve(mp__server *server)
{
    int fds[64], r = 0;
    while (r >= 0 && !server->over) {
        mp_time left = mp__deadline_left(server->wake, mp__os_now());
        mp_time most = server->deaf ? DEAF : LAST_WORDS;
        int n = mp__os_group_wait(server->group, fds, 64, left < most ? left : most);
        if (n == -EINTR && !atomic_load(&mp__interruptible))
            continue;
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            mp__client *c = (size_t)fds[i] < server->nclients ? server->clients[fds[i]] : NULL;
            if (!c)
                continue;
            if (c->parked)
                c->dead = true; /* all that is looked for is the end */
            if (c->out)
                flush_out(server, c);
            if (!c->dead && !c->out)
                read_requests(server, c);
        }
        look_at_time(server);
        bury_all(server);
        r = accept_all(server); /* also drops peers whose time is up */
    }
    return r;
}

/* Answers that have not gone yet, for a moment; then everything goes. */
static void close_server(mp__server *server)
{
    mp__deadline until = mp__os_now() + LAST_WORDS;
    for (size_t i = 0; i < server->nclients; i++) {
        mp__client *c = server->clients[i];
        mp__pollfd p = {c ? c->fd : -1, MP__POLLOUT, 0};
        while (c && c->out && mp__os_poll(&p, 1, mp__deadline_left(until, mp__os_now())) > 0)
            flush_out(server, c);
        if (c)
            bury(server, c);
    }
    for (size_t i = 0; i < MP__COUNT_OF(server->buckets); i++)
        while (server->buckets[i]) {
            server->buckets[i]->refs = 1;
            mp__entry_unref(server, server->buckets[i]);
        }
    free(server->clients);
    mp__os_close(server->group);
    mp_listener_free(server->listener);
}

int mp_manager_serve(const mp_manager_options *options,
                     void (*ready)(void *data, const char *address), void *data)
{
    static const mp_manager_options none = MP_MANAGER_OPTIONS_INIT;
    const mp_manager_options *o = options ? options : &none;
    mp__clear_detail();
    MP__CHECK(o->size >= sizeof *o);
    mp_listener_options listening = MP_LISTENER_OPTIONS_INIT;
    listening.key = o->key;
    listening.key_size = o->key_size;
    listening.allow_md5 = o->allow_md5;
    mp__server server = {.wake = MP__NEVER};
    server.listener = mp_listener_new(o->address, &listening);
    if (!server.listener)
        return mp_error_code();
    server.group = mp__os_group_new();
    int r = server.group;
    if (r >= 0)
        r = mp__os_group_add(server.group, mp_listener_fd(server.listener));
    if (r >= 0) {
        if (ready)
            ready(data, mp_listener_address(server.listener));
        r = serve(&server);
    }
    close_server(&server);
    return r < 0 ? r : 0;
}
