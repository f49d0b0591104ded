/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_manager and mp_proxy: the clients of a manager, in C or in Python, and the process of one that was
 * started here.
 *
 * Every thread has a connection of its own, so that calls of one thread do not wait for those of another, and
 * the server knows threads as clients.  A connection whose answer did not come in time is of no use any more:
 * it is closed, and the thread's next call makes another one.  References to objects belong to one more
 * connection, which is used for nothing else; a server in Python counts them without knowing whose they are.
 * A forked child starts without connections and references.
 */
#include <pthread.h>
#include <stdio.h>

#include "channel/connection.h"
#include "manager/manager.h"

#include <multiproc/process.h>

#define MOST_SENT 64
#define CONNECT MP_SECONDS(20)

typedef struct line { /* a thread's connection */
    mp_connection *connection;
    mp_manager *manager;  /* NULL: it is no more, and the thread forgets the line at its end */
    unsigned sent;        /* calls that were not answered yet */
    struct line *next;    /* of the thread */
    struct line *sibling; /* of the manager */
} line;

/* A thread's lines end with it: the server gives the locks back that it held. */
static pthread_key_t lines_key;
static pthread_mutex_t lines_lock = PTHREAD_MUTEX_INITIALIZER; /* of all lists of lines */

struct mp_manager {
    mp__head head;
    char address[MP__ADDRESS_TEXT];
    unsigned char key[256];
    size_t key_size;
    bool has_key;
    int allow_md5;
    mp_time timeout; /* for connections; 0: CONNECT */
    mp_process *process;
    uint32_t maker; /* fork count of the process that started it */
    line *lines;    /* of all threads: guarded by lines_lock */
    pthread_mutex_t refs_lock;
    mp_connection *refs;                   /* what the references belong to */
    enum { UNKNOWN, NATIVE, PYTHON } kind; /* of the server: guarded by refs_lock */
    uint32_t fork_count;                   /* of the process that the connections belong to */
};

struct mp_proxy {
    mp__head head;
    mp_manager *manager;
    char type[64], id[64];
    uint32_t fork_count; /* of the process that the reference belongs to */
};

/* ---- connections ---- */

static mp_connection *open_connection(mp_manager *m)
{
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    o.key = m->has_key ? m->key : NULL;
    o.key_size = m->key_size;
    o.timeout = m->timeout > 0 ? m->timeout : CONNECT;
    o.allow_md5 = m->allow_md5;
    return mp_client(m->address, &o);
}

static mp_value *request_of(mp_value *id, const char *method, mp_value *args, mp_value *kwargs)
{
    mp_value *items[] = {id, mp_value_str(method), args ? args : mp_value_tuple(NULL, 0),
                         kwargs ? kwargs : mp_value_dict(NULL, 0)};
    return mp_value_tuple(items, 4);
}

/* `usable`: a whole message came, whatever is in it, so the connection is as good as before. */
static int receive(mp_connection *c, mp_value **ret_value, mp_time timeout, bool *ret_usable)
{
    mp_buffer *buffer;
    mp_value *message;
    int r = mp_connection_recv_buffer(c, &buffer, timeout);
    *ret_usable = r >= 0;
    if (r < 0)
        return r == MP_EOF ? mp__fail(-EPIPE, "the manager's server is gone") : r;
    r = mp__message_read(buffer, &message);
    mp_buffer_free(buffer);
    return r < 0 ? r : mp__answer_take(message, ret_value);
}

/* Calls a function of the server on a connection. */
static int call_on(mp_connection *c, const char *function, mp_value *args, mp_value **ret_value,
                   bool *ret_usable)
{
    int r = mp_connection_send(c, request_of(mp_value_none(), function, args, NULL), CONNECT);
    *ret_usable = r == MP_ETYPE || r == MP_ELIMIT || r == -ENOMEM || r == -EINTR; /* not sent */
    return r < 0 ? r : receive(c, ret_value, MP_FOREVER, ret_usable);
}

static int call_server(mp_manager *m, const char *function, mp_value *args, mp_value **ret_value)
{
    mp_connection *c = open_connection(m);
    if (!c) {
        mp_value_free(args);
        return mp_error_code();
    }
    bool usable;
    int r = call_on(c, function, args, ret_value, &usable);
    mp_connection_free(c);
    return r;
}

/* ---- lines ---- */

static void lock_lines(void)
{
    static _Atomic uint32_t forks; /* a forked child finds the lock as another thread has left it */
    uint32_t now = atomic_load(&mp__fork_count);
    if (atomic_exchange(&forks, now) != now)
        pthread_mutex_init(&lines_lock, NULL);
    pthread_mutex_lock(&lines_lock);
}

static void unlock_lines(void)
{
    pthread_mutex_unlock(&lines_lock);
}

/* Takes it from its manager, with the lock held; its connection is the caller's then. */
static mp_connection *detach(line *l)
{
    mp_connection *c = l->connection;
    line **place = l->manager ? &l->manager->lines : NULL;
    while (place && *place != l)
        place = &(*place)->sibling;
    if (place)
        *place = l->sibling;
    l->manager = NULL;
    l->connection = NULL;
    return c;
}

static void end_of_thread(void *first)
{
    for (line *l = first, *next; l; l = next) {
        lock_lines();
        mp_connection *c = detach(l);
        unlock_lines();
        next = l->next;
        mp_connection_free(c);
        free(l);
    }
}

__attribute__((constructor)) static void make_key(void)
{
    (void)pthread_key_create(&lines_key, end_of_thread);
}

static void drop_lines(mp_manager *m)
{
    for (;;) {
        lock_lines();
        mp_connection *c = m->lines ? detach(m->lines) : NULL;
        unlock_lines();
        if (!c)
            return;
        mp_connection_free(c); /* the line itself is its thread's */
    }
}

/* In a forked child: its parent's threads are not here, and the connections are the parent's. */
static void notice_fork(mp_manager *m)
{
    uint32_t now = atomic_load(&mp__fork_count);
    if (m->fork_count == now)
        return;
    pthread_mutex_init(&m->refs_lock, NULL);
    drop_lines(m);
    mp_connection_free(m->refs);
    m->refs = NULL;
    m->fork_count = now;
}

/* A connection on which methods are called, with the server's word of welcome. */
static int open_serving(mp_manager *m, mp_connection **ret_connection, mp_value **ret_word)
{
    mp_connection *c = open_connection(m);
    mp_value *name = c ? mp_value_str("multiproc") : NULL;
    bool usable;
    int r = c ? call_on(c, "accept_connection", mp_value_tuple(&name, 1), ret_word, &usable)
              : mp_error_code();
    if (r < 0)
        mp_connection_free(c);
    else
        *ret_connection = c;
    return r;
}

/* This thread's line to the manager; NULL.  Lines whose manager is no more are used again. */
static line *find_line(mp_manager *m, line **ret_unused)
{
    lock_lines();
    line *l = pthread_getspecific(lines_key);
    for (*ret_unused = NULL; l && l->manager != m; l = l->next)
        *ret_unused = l->manager ? *ret_unused : l;
    unlock_lines();
    return l;
}

/* This thread's line, which is opened when it has none; NULL with an error. */
static line *line_of(mp_manager *m, bool open)
{
    line *unused;
    notice_fork(m);
    line *l = find_line(m, &unused);
    if (l || !open)
        return l;
    mp_connection *c;
    mp_value *word = NULL;
    int r = open_serving(m, &c, &word);
    mp_value_free(word);
    if (r < 0)
        return mp__null(r);
    l = unused ? unused : mp__alloc_zero(sizeof *l);
    if (l && !unused) {
        l->next = pthread_getspecific(lines_key);
        r = pthread_setspecific(lines_key, l);
    }
    if (!l || r) {
        mp_connection_free(c);
        free(l);
        return mp__null(-ENOMEM);
    }
    lock_lines();
    l->connection = c;
    l->manager = m;
    l->sent = 0;
    l->sibling = m->lines;
    m->lines = l;
    unlock_lines();
    return l;
}

static void close_line(line *l)
{
    lock_lines();
    mp_connection *c = detach(l);
    unlock_lines();
    mp_connection_free(c);
}

/* ---- managers ---- */

static mp_manager *new_manager(const char *address, const void *key, size_t key_size)
{
    mp_manager *m = mp__alloc_zero(sizeof *m);
    if (!m)
        return mp__null(-ENOMEM);
    mp__head_init(&m->head, MP__MAGIC_MANAGER);
    m->maker = m->fork_count = atomic_load(&mp__fork_count);
    pthread_mutex_init(&m->refs_lock, NULL);
    snprintf(m->address, sizeof m->address, "%s", address);
    m->has_key = key != NULL;
    m->key_size = key_size;
    if (key)
        memcpy(m->key, key, key_size);
    return m;
}

mp_manager *mp_manager_connect(const char *address, const void *key, size_t key_size)
{
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    o.key = key;
    o.key_size = key_size;
    return mp_manager_connect_with(address, &o);
}

mp_manager *mp_manager_connect_with(const char *address, const mp_client_options *options)
{
    MP__CHECK_NULL(options && options->size >= sizeof *options);
    const void *key = options->key;
    size_t key_size = options->key_size;
    mp__clear_detail();
    MP__CHECK_NULL(address && strlen(address) < MP__ADDRESS_TEXT);
    if (key && (!key_size || key_size > 256))
        return mp__null(mp__fail(-EINVAL, "a key has 1 to 256 bytes, not %zu", key_size));
    mp_manager *m = new_manager(address, key, key_size);
    mp_value *nothing = NULL;
    if (m) {
        m->allow_md5 = options->allow_md5;
        m->timeout = options->timeout;
    }
    int r = m ? call_server(m, "dummy", NULL, &nothing) : mp_error_code();
    mp_value_free(nothing);
    if (r < 0) {
        mp_manager_free(m);
        return mp__null(r);
    }
    return m;
}

const char *mp_manager_address(const mp_manager *manager)
{
    return mp__is(manager, MP__MAGIC_MANAGER) ? manager->address : "";
}

const void *mp_manager_key(const mp_manager *manager, size_t *ret_size)
{
    if (!mp__is(manager, MP__MAGIC_MANAGER) || !manager->has_key)
        return NULL;
    if (ret_size)
        *ret_size = manager->key_size;
    return manager->key;
}

int mp_manager_shutdown(mp_manager *manager)
{
    MP__CHECK(mp__is(manager, MP__MAGIC_MANAGER));
    mp__clear_detail();
    mp_value *nothing = NULL;
    int r = call_server(manager, "shutdown", NULL, &nothing);
    mp_value_free(nothing);
    if (manager->process && manager->maker == atomic_load(&mp__fork_count) &&
        mp_process_join(manager->process, MP_SECONDS(5)) != 0) {
        mp_process_kill(manager->process);
        mp_process_join(manager->process, MP_FOREVER);
    }
    return r;
}

int64_t mp_manager_count(mp_manager *manager)
{
    MP__CHECK(mp__is(manager, MP__MAGIC_MANAGER));
    mp__clear_detail();
    mp_value *count = NULL;
    int64_t n = 0;
    int r = call_server(manager, "number_of_objects", NULL, &count);
    if (r == 0)
        r = mp_value_get_int(count, &n);
    mp_value_free(count);
    return r < 0 ? r : n;
}

mp_manager *mp_manager_ref(mp_manager *manager)
{
    MP__CHECK_NULL(mp__is(manager, MP__MAGIC_MANAGER));
    mp__head_ref(&manager->head);
    return manager;
}

void mp_manager_free(mp_manager *manager)
{
    if (!mp__is(manager, MP__MAGIC_MANAGER))
        return;
    if (atomic_load(&manager->head.refs) == 1 && manager->process &&
        manager->maker == atomic_load(&mp__fork_count) &&
        mp_process_is_alive(manager->process) == 1)
        (void)mp_manager_shutdown(manager);
    if (!mp__head_unref(&manager->head))
        return;
    drop_lines(manager);
    mp_connection_free(manager->refs);
    mp_process_free(manager->process);
    pthread_mutex_destroy(&manager->refs_lock);
    volatile unsigned char *key = manager->key;
    for (size_t i = 0; i < sizeof manager->key; i++)
        key[i] = 0;
    free(manager);
}

/* ---- a server in a process of its own ---- */

static void tell_address(void *data, const char *address)
{
    (void)mp_connection_send(data, mp_value_str(address), MP_FOREVER);
    mp_connection_close(data);
}

/* (address or None, key or None, allow_md5, connection) */
static int run_server(const mp_value *args)
{
    mp_connection *c;
    size_t size;
    int64_t md5 = 0;
    mp_manager_options o = MP_MANAGER_OPTIONS_INIT;
    if (mp_value_kind(mp_value_item(args, 0)) == MP_KIND_STR)
        o.address = mp_value_get_str(mp_value_item(args, 0), &size);
    if (mp_value_kind(mp_value_item(args, 1)) == MP_KIND_BYTES)
        o.key = mp_value_get_bytes(mp_value_item(args, 1), &o.key_size);
    if (mp_value_get_connection(mp_value_item(args, 3), &c) < 0)
        return 1;
    mp_value_get_int(mp_value_item(args, 2), &md5);
    o.allow_md5 = md5 != 0;
    int r = mp_manager_serve(&o, tell_address, c);
    if (r < 0) {
        mp_value *trouble[] = {mp_value_int(r), mp_value_str(mp_error_detail())};
        (void)mp_connection_send(c, mp_value_tuple(trouble, 2), MP_SECONDS(1));
    }
    return r < 0;
}

static mp_target server_target = {"multiproc manager", run_server, NULL};

__attribute__((constructor)) static void set_up(void)
{
    (void)mp_target_register(&server_target);
}

/* What the server says of itself: its address, or why there is none. */
static int hear_address(mp_connection *c, char *ret_address)
{
    mp_value *said;
    size_t size;
    int64_t code = -EPIPE;
    int r = mp_connection_recv(c, &said, MP_FOREVER);
    if (r < 0)
        return mp__fail(MP_ESTARTUP, "the manager's process ended before it listened");
    if (mp_value_kind(said) == MP_KIND_STR) {
        snprintf(ret_address, MP__ADDRESS_TEXT, "%s", mp_value_get_str(said, &size));
    } else {
        mp_value_get_int(mp_value_item(said, 0), &code);
        r = mp__fail((int)code, "%s", mp_value_get_str(mp_value_item(said, 1), &size));
    }
    mp_value_free(said);
    return r;
}

static mp_value *server_args(const mp_manager_options *o, const void *key, size_t key_size,
                             mp_connection *c)
{
    mp_value *items[] = {o->address ? mp_value_str(o->address) : mp_value_none(),
                         key ? mp_value_bytes(key, key_size) : mp_value_none(),
                         mp_value_int(o->allow_md5), mp_value_connection(c)};
    return mp_value_tuple(items, 4);
}

static int start_server(mp_manager *m, const mp_manager_options *o)
{
    mp_connection *mine, *its;
    mp_process_options po = MP_PROCESS_OPTIONS_INIT;
    po.context = o->context;
    po.name = "Manager";
    po.daemon = 1;
    int r = mp_pipe(0, &mine, &its);
    if (r < 0)
        return r;
    m->process = mp_process_new_target(
        &server_target, server_args(o, m->has_key ? m->key : NULL, m->key_size, its), &po);
    r = m->process ? mp_process_start(m->process) : mp_error_code();
    mp_connection_free(its);
    if (r == 0)
        r = hear_address(mine, m->address);
    mp_connection_free(mine);
    return r;
}

mp_manager *mp_manager_start(const mp_manager_options *options)
{
    static const mp_manager_options none = MP_MANAGER_OPTIONS_INIT;
    const mp_manager_options *o = options ? options : &none;
    unsigned char random[32];
    mp__clear_detail();
    MP__CHECK_NULL(o->size >= sizeof *o);
    if (o->key && (!o->key_size || o->key_size > 256))
        return mp__null(mp__fail(-EINVAL, "a key has 1 to 256 bytes, not %zu", o->key_size));
    const void *key = o->key;
    size_t key_size = o->key_size;
#ifdef MULTIPROC_CRYPTO
    if (!key) {
        int e = mp__os_random(random, sizeof random);
        if (e < 0)
            return mp__null(e);
        key = random;
        key_size = sizeof random;
    }
#else
    (void)random;
#endif
    mp_manager *m = new_manager("", key, key_size);
    int r = m ? start_server(m, o) : mp_error_code();
    if (r < 0) {
        if (m && m->process)
            mp_process_join(m->process, MP_SECONDS(1));
        mp_manager_free(m);
        return mp__null(r);
    }
    return m;
}

/* ---- proxies ---- */

static mp_proxy *new_proxy(mp_manager *m, const char *type, const char *id)
{
    mp_proxy *p = mp__alloc_zero(sizeof *p);
    if (!p)
        return mp__null(-ENOMEM);
    mp__head_init(&p->head, MP__MAGIC_PROXY);
    p->manager = mp_manager_ref(m);
    p->fork_count = atomic_load(&mp__fork_count);
    snprintf(p->type, sizeof p->type, "%s", type);
    snprintf(p->id, sizeof p->id, "%s", id);
    return p;
}

/* The connection of the references, if the server is in C; it is opened when it is first needed. */
static int open_refs(mp_manager *m)
{
    mp_value *word = NULL;
    if (m->refs || m->kind == PYTHON)
        return 0;
    int r = open_serving(m, &m->refs, &word);
    if (r < 0)
        return r;
    m->kind = mp_value_kind(word) == MP_KIND_STR ? NATIVE : PYTHON;
    mp_value_free(word);
    if (m->kind == PYTHON) {
        mp_connection_free(m->refs);
        m->refs = NULL;
    }
    return 0;
}

/* Calls a function that takes or gives references. */
static int call_refs(mp_manager *m, const char *function, mp_value *args, mp_value **ret_value)
{
    notice_fork(m);
    pthread_mutex_lock(&m->refs_lock);
    bool usable = true;
    int r = open_refs(m);
    if (r < 0)
        mp_value_free(args);
    else if (m->refs)
        r = call_on(m->refs, function, args, ret_value, &usable);
    else
        r = call_server(m, function, args, ret_value);
    while (r == -EINTR && m->refs && !usable) /* without its answer, all references would go */
        r = receive(m->refs, ret_value, MP_FOREVER, &usable);
    if (!usable && m->refs) {
        mp_connection_free(m->refs);
        m->refs = NULL;
    }
    pthread_mutex_unlock(&m->refs_lock);
    return r;
}

/* The first reference of what came as a result; a server in Python does not ask whose it is. */
static int adopt(mp_manager *m, mp_value *id)
{
    mp_value *nothing = NULL;
    notice_fork(m);
    pthread_mutex_lock(&m->refs_lock);
    int r = open_refs(m);
    bool native = m->kind == NATIVE;
    pthread_mutex_unlock(&m->refs_lock);
    if (r == 0 && native)
        r = call_refs(m, "adopt", mp_value_tuple(&id, 1), &nothing);
    else
        mp_value_free(id);
    mp_value_free(nothing);
    return r;
}

mp_proxy *mp_manager_create(mp_manager *manager, const char *type, mp_value *args)
{
    MP__CHECK_NULL(mp__is(manager, MP__MAGIC_MANAGER) && type);
    mp__clear_detail();
    int64_t n = args ? mp_value_len(args) : 0;
    mp_value **items = n < 0 ? NULL : mp__alloc((size_t)(n + 1) * sizeof *items);
    if (!items) {
        mp_value_free(args);
        return mp__null(n < 0 ? mp__fail(MP_ETYPE, "the arguments are no tuple") : -ENOMEM);
    }
    items[0] = mp_value_str(type);
    for (int64_t i = 0; i < n; i++)
        items[i + 1] = mp_value_ref(mp_value_item(args, (size_t)i));
    mp_value *all = mp_value_tuple(items, (size_t)n + 1), *made = NULL;
    size_t size;
    free(items);
    mp_value_free(args);
    int r = all ? call_refs(manager, "create", all, &made) : mp_error_code();
    if (r < 0)
        return mp__null(r);
    bool good = mp_value_kind(made) == MP_KIND_TUPLE && mp_value_len(made) == 2 &&
                mp_value_kind(mp_value_item(made, 0)) == MP_KIND_STR;
    mp_proxy *p = good ? new_proxy(manager, type, mp_value_get_str(mp_value_item(made, 0), &size))
                       : mp__null(mp__fail(-EPROTO, "the server made something that is no object"));
    mp_value_free(made);
    return p;
}

mp_value *mp_proxy_token(const mp_proxy *proxy)
{
    MP__CHECK_NULL(mp__is(proxy, MP__MAGIC_PROXY));
    mp_value *items[] = {mp_value_str(proxy->type), mp__address_value(proxy->manager->address),
                         mp_value_str(proxy->id)};
    return mp_value_tuple(items, 3);
}

mp_proxy *mp_manager_proxy(mp_manager *manager, mp_value *token)
{
    MP__CHECK_NULL(mp__is(manager, MP__MAGIC_MANAGER));
    mp__clear_detail();
    size_t size;
    if (!token)
        return mp__null(mp_error_code());
    bool fresh = mp_value_len(token) == 4; /* the result of a call, which brings a reference */
    if (mp_value_kind(token) != MP_KIND_TUPLE || (mp_value_len(token) != 3 && !fresh) ||
        mp_value_kind(mp_value_item(token, 0)) != MP_KIND_STR ||
        mp_value_kind(mp_value_item(token, 2)) != MP_KIND_STR) {
        mp_value_free(token);
        return mp__null(mp__fail(MP_ETYPE, "a token is a tuple of type, address and id"));
    }
    const char *id = mp_value_get_str(mp_value_item(token, 2), &size);
    mp_value *nothing = NULL;
    int r = fresh ? adopt(manager, mp_value_str(id)) : 0;
    if (!fresh) {
        mp_value *arg = mp_value_str(id);
        r = call_refs(manager, "incref", mp_value_tuple(&arg, 1), &nothing);
        mp_value_free(nothing);
    }
    mp_proxy *p = r < 0 ? mp__null(r)
                        : new_proxy(manager, mp_value_get_str(mp_value_item(token, 0), &size), id);
    mp_value_free(token);
    return p;
}

const char *mp_proxy_type(const mp_proxy *proxy)
{
    return mp__is(proxy, MP__MAGIC_PROXY) ? proxy->type : "";
}

mp_proxy *mp_proxy_ref(mp_proxy *proxy)
{
    MP__CHECK_NULL(mp__is(proxy, MP__MAGIC_PROXY));
    mp__head_ref(&proxy->head);
    return proxy;
}

/* Gives the reference back; the one that a fork has copied is the parent's. */
static void give_back(mp_proxy *p)
{
    mp_value *arg, *nothing = NULL;
    if (p->fork_count != atomic_load(&mp__fork_count))
        return;
    arg = mp_value_str(p->id);
    (void)call_refs(p->manager, "decref", mp_value_tuple(&arg, 1), &nothing);
    mp_value_free(nothing);
}

void mp_proxy_free(mp_proxy *proxy)
{
    if (!mp__is(proxy, MP__MAGIC_PROXY) || !mp__head_unref(&proxy->head))
        return;
    give_back(proxy);
    mp_manager_free(proxy->manager);
    free(proxy);
}

/* ---- calls ---- */

static int check_args(mp_value **args, mp_value **kwargs)
{
    bool good = (!*args || mp_value_kind(*args) == MP_KIND_TUPLE) &&
                (!*kwargs || mp_value_kind(*kwargs) == MP_KIND_DICT);
    if (good)
        return 0;
    mp_value_free(*args);
    mp_value_free(*kwargs);
    *args = *kwargs = NULL;
    return mp__fail(MP_ETYPE, "arguments are a tuple and a dict");
}

static int send_call(mp_proxy *p, const char *method, mp_value *args, mp_value *kwargs,
                     line **ret_line)
{
    int r = check_args(&args, &kwargs);
    line *l = r == 0 ? line_of(p->manager, true) : NULL;
    if (r == 0 && !l)
        r = mp_error_code();
    else if (r == 0 && l->sent >= MOST_SENT)
        r = mp__fail(-EAGAIN, "%d calls of this thread wait for mp_manager_recv()", MOST_SENT);
    if (r < 0) {
        if (!l || l->sent >= MOST_SENT) {
            mp_value_free(args);
            mp_value_free(kwargs);
        }
        return r;
    }
    r = mp_connection_send(l->connection, request_of(mp_value_str(p->id), method, args, kwargs),
                           MP_FOREVER);
    if (r == -EPIPE || r == MP_EOF) {
        close_line(l);
        return mp__fail(-EPIPE, "the manager's server is gone");
    }
    l->sent += r == 0;
    *ret_line = l;
    return r;
}

int mp_proxy_send(mp_proxy *proxy, const char *method, mp_value *args, mp_value *kwargs)
{
    MP__CHECK(mp__is(proxy, MP__MAGIC_PROXY) && method);
    mp__clear_detail();
    line *l;
    return send_call(proxy, method, args, kwargs, &l);
}

static int receive_answer(line *l, mp_value **ret_value, mp_time timeout)
{
    mp_value *value = NULL;
    bool usable;
    int r = receive(l->connection, &value, timeout, &usable);
    if (r == -EINTR)
        return r;
    l->sent--;
    if (!usable) {
        char why[200]; /* closing forgets it */
        snprintf(why, sizeof why, "%s", mp_error_detail());
        close_line(l);
        return mp__fail(r, "%s", *why ? why : "the manager's answer did not come");
    }
    if (r == 0 && ret_value)
        *ret_value = value;
    else
        mp_value_free(value);
    return r;
}

int mp_manager_recv(mp_manager *manager, mp_value **ret_value, mp_time timeout)
{
    MP__CHECK(mp__is(manager, MP__MAGIC_MANAGER));
    mp__clear_detail();
    line *l = line_of(manager, false);
    if (!l || !l->sent)
        return mp__fail(-ENOMSG, "this thread has sent no call that was not answered");
    int r = timeout == MP_FOREVER ? 1 : mp_connection_poll(l->connection, timeout);
    if (r <= 0)
        return r == 0 ? -ETIMEDOUT : r;
    return receive_answer(l, ret_value, MP_FOREVER);
}

int mp_proxy_call(mp_proxy *proxy, const char *method, mp_value *args, mp_value *kwargs,
                  mp_value **ret_value, mp_time timeout)
{
    MP__CHECK(mp__is(proxy, MP__MAGIC_PROXY) && method);
    mp__clear_detail();
    line *l = line_of(proxy->manager, false);
    if (l && l->sent) {
        mp_value_free(args);
        mp_value_free(kwargs);
        return mp__fail(-EBUSY, "calls of this thread wait for mp_manager_recv()");
    }
    int r = send_call(proxy, method, args, kwargs, &l);
    if (r < 0)
        return r;
    do
        r = receive_answer(l, ret_value, timeout);
    while (r == -EINTR && !atomic_load(&mp__interruptible));
    return r;
}
