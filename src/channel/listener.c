/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_listener and mp_client: how connections come to be between programs that only share an address.
 *
 * With a key, a peer that has connected is half open until both sides have proved the key.  All half-open
 * peers go on side by side, in whichever thread accepts; each has a deadline, a bounded number of them
 * exists, and a bounded number of bytes is taken from each, so none can hold up the others or grow.
 *
 * A forked child may accept, too: the half-open peers are its parent's, and so is the group that is polled
 * from outside.  Nothing is in shared memory; a listener that is killed has hung up on everybody.
 */
#include <multiproc/listener.h>

#include <stdio.h>

#include "channel/auth.h"
#include "channel/connection.h"
#include "channel/stream.h"

#define HANDSHAKE MP_SECONDS(10)
#define CONNECT MP_SECONDS(20)
#define HALF_OPEN 256u
#define MOST_HALF_OPEN 65536u
#define BACKLOG 128
#define LOOK MP_MS(100)

typedef struct peer {
    mp_connection *connection;
    mp__auth auth;
    mp__deadline deadline;
    mp__address from;
} peer;

struct mp_listener {
    mp__head head;
    int fd, group;
    mp__key key;
    mp_time handshake;
    mp__address address;
    char text[MP__ADDRESS_TEXT], last[MP__ADDRESS_TEXT];
    _Atomic bool closed;
    _Atomic uint32_t accepting; /* one thread at a time: stream.h */
    uint32_t fork_count;        /* of the process that the peers and the group belong to */
    uint32_t maker;             /* of the one that made it, whose the path is */
    unsigned most, n;
    peer *peers;     /* n of `most` */
    mp__pollfd *fds; /* room for most + 1 */
};

/* ---- life ---- */

static int random_address(char *text, size_t size)
{
    uint64_t number;
    int r = mp__os_random(&number, sizeof number);
    snprintf(text, size, "@mp_%016llx", (unsigned long long)number);
    return r;
}

static int open_listener(mp_listener *l, const char *address, int backlog)
{
    mp__address asked;
    char text[32];
    int r = address ? 0 : random_address(text, sizeof text);
    if (r == 0)
        r = mp__os_address_parse(address ? address : text, &asked);
    if (r < 0)
        return r;
    l->fd = mp__os_stream_listen(&asked, backlog, &l->address);
    if (l->fd < 0)
        return mp__fail(l->fd, "cannot listen at '%s'", address ? address : text);
    mp__os_address_text(&l->address, l->text, sizeof l->text);
    l->group = mp__os_group_new();
    return l->group < 0 ? l->group : mp__os_group_add(l->group, l->fd);
}

mp_listener *mp_listener_new(const char *address, const mp_listener_options *options)
{
    static const mp_listener_options none = MP_LISTENER_OPTIONS_INIT;
    const mp_listener_options *o = options ? options : &none;
    mp__clear_detail();
    MP__CHECK_NULL(o->size >= sizeof *o);
    mp_listener *l = mp__alloc_zero(sizeof *l);
    if (!l)
        return mp__null(-ENOMEM);
    mp__head_init(&l->head, MP__MAGIC_LISTENER);
    l->fd = l->group = -1;
    l->fork_count = l->maker = atomic_load(&mp__fork_count);
    l->handshake = o->handshake > 0 ? o->handshake : HANDSHAKE;
    l->most = o->half_open ? o->half_open : HALF_OPEN;
    l->most = l->most < MOST_HALF_OPEN ? l->most : MOST_HALF_OPEN;
    int r = mp__key_set(&l->key, o->key, o->key_size, o->allow_md5 != 0);
    if (r == 0) {
        l->peers = mp__alloc(l->most * sizeof *l->peers);
        l->fds = mp__alloc((l->most + 1) * sizeof *l->fds);
        r = l->peers && l->fds ? open_listener(l, address, o->backlog > 0 ? o->backlog : BACKLOG)
                               : -ENOMEM;
    }
    if (r < 0) {
        mp_listener_free(l);
        return mp__null(r);
    }
    return l;
}

static void drop(mp_listener *l, unsigned i)
{
    if (l->group >= 0 && l->fork_count == atomic_load(&mp__fork_count))
        mp__os_group_remove(l->group, mp_connection_fd(l->peers[i].connection));
    mp_connection_free(l->peers[i].connection);
    l->peers[i] = l->peers[--l->n];
}

int mp_listener_close(mp_listener *listener)
{
    MP__CHECK(mp__is(listener, MP__MAGIC_LISTENER));
    if (atomic_exchange(&listener->closed, true))
        return 0;
    bool maker = listener->fd >= 0 && listener->maker == atomic_load(&mp__fork_count);
    if (maker && mp__os_address_is_path(&listener->address))
        mp__os_unlink(listener->text);
    /* A thread that accepts is polling the descriptor: it looks again, and lets go of it.  In a forked child
     * it looks from time to time: the socket is the parent's, too. */
    if (maker)
        mp__os_shutdown_both(listener->fd);
    if (mp__stream_enter(&listener->accepting, MP__NEVER) == 0) {
        while (listener->n)
            drop(listener, listener->n - 1);
        mp__os_close(listener->fd);
        mp__os_close(listener->group);
        listener->fd = listener->group = -1;
        mp__stream_leave(&listener->accepting);
    }
    return 0;
}

mp_listener *mp_listener_ref(mp_listener *listener)
{
    MP__CHECK_NULL(mp__is(listener, MP__MAGIC_LISTENER));
    mp__head_ref(&listener->head);
    return listener;
}

void mp_listener_free(mp_listener *listener)
{
    if (!mp__is(listener, MP__MAGIC_LISTENER) ||
        atomic_load(&listener->head.refs) == 0) /* freed before: misuse */
        return;
    if (atomic_load(&listener->head.refs) == 1)
        mp_listener_close(listener);
    if (!mp__head_unref(&listener->head))
        return;
    mp__key_wipe(&listener->key);
    free(listener->peers);
    free(listener->fds);
    free(listener);
}

const char *mp_listener_address(const mp_listener *listener)
{
    return mp__is(listener, MP__MAGIC_LISTENER) ? listener->text : "";
}

const char *mp_listener_last_accepted(const mp_listener *listener)
{
    return mp__is(listener, MP__MAGIC_LISTENER) ? listener->last : "";
}

int mp_listener_fd(const mp_listener *listener)
{
    MP__CHECK(mp__is(listener, MP__MAGIC_LISTENER));
    return atomic_load(&listener->closed) ? MP_ECLOSED : listener->group;
}

/* ---- half-open peers ---- */

/* In a forked child: what the parent was talking about is the parent's. */
static int take_over(mp_listener *l)
{
    uint32_t now = atomic_load(&mp__fork_count);
    if (l->fork_count == now)
        return 0;
    while (l->n)
        drop(l, l->n - 1);
    l->fork_count = now;
    mp__os_close(l->group);
    l->group = mp__os_group_new();
    return l->group < 0 ? l->group : mp__os_group_add(l->group, l->fd);
}

static int send_now(mp_connection *c, const mp__auth_out *out)
{
    return out->size ? mp_connection_send_bytes(c, out->bytes, out->size, MP_NOWAIT) : 0;
}

/* A peer that has just connected: 1 when that is all, 0: it is half open. */
static int welcome(mp_listener *l, int fd, const mp__address *from, mp_connection **ret_connection)
{
    mp_connection *c;
    mp__auth_out out;
    int r = mp__connection_open(fd, true, true, &c);
    if (r < 0) {
        mp__os_close(fd);
        return r;
    }
    if (!l->key.used) {
        *ret_connection = c;
        return 1;
    }
    mp__connection_limit(c, MP__AUTH_MESSAGE);
    peer *p = &l->peers[l->n];
    p->connection = c;
    p->from = *from;
    p->deadline = mp__deadline_after(mp__os_now(), l->handshake);
    r = mp__auth_begin(&p->auth, &l->key, true, &out);
    if (r == 0 && send_now(c, &out) < 0)
        r = -EPIPE;
    if (r == 0)
        r = mp__os_group_add(l->group, fd);
    if (r < 0) {
        mp_connection_free(c);
        return r == -EPIPE ? 0 : r; /* it has hung up */
    }
    l->n++;
    return 0;
}

/* Takes in those that have connected, as many as may be half open. */
static int take_in(mp_listener *l, mp_connection **ret_connection)
{
    for (unsigned i = 0; i < l->most && l->n < l->most; i++) { /* some hang up at once */
        mp__address from;
        int fd = mp__os_stream_accept(l->fd, &from);
        if (fd == -EAGAIN)
            return 0;
        if (fd < 0)
            return atomic_load(&l->closed) ? MP_ECLOSED : fd;
        int r = welcome(l, fd, &from, ret_connection);
        if (r == 1)
            mp__os_address_text(&from, l->last, sizeof l->last);
        if (r)
            return r;
    }
    return 0;
}

/* Drops a peer that is refused, after its last message. */
static int complain(mp_listener *l, unsigned i, const mp__auth_out *last)
{
    char who[MP__ADDRESS_TEXT], why[200];
    mp__os_address_text(&l->peers[i].from, who, sizeof who);
    snprintf(why, sizeof why, "%s", mp_error_detail());
    if (last)
        send_now(l->peers[i].connection, last);
    drop(l, i);
    mp__log(MP_LOG_WARNING, "listener %s: peer %s was refused: %s", l->text, who, why);
    return mp__fail(-EACCES, "the peer %s was refused: %s", *who ? who : "at a Unix socket", why);
}

/* What a half-open peer says: 1 when it is through, 0 to go on, -EACCES; `gone`: its place has another one. */
static int listen_to(mp_listener *l, unsigned i, mp_connection **ret_connection, bool *ret_gone)
{
    char data[MP__AUTH_MESSAGE];
    mp__auth_out out;
    peer *p = &l->peers[i];
    int64_t n = mp_connection_recv_bytes(p->connection, data, sizeof data, MP_NOWAIT);
    *ret_gone = false;
    if (n == -ETIMEDOUT)
        return 0;
    *ret_gone = true;
    if (n == MP_ELIMIT || n == -EBADMSG)
        return complain(l, i, NULL);
    if (n < 0) {
        drop(l, i); /* it has hung up */
        return 0;
    }
    int r = mp__auth_message(&p->auth, data, (size_t)n, &out);
    if (r < 0)
        return complain(l, i, &out);
    if (send_now(p->connection, &out) < 0) {
        drop(l, i);
        return 0;
    }
    *ret_gone = r == 1;
    if (r == 0)
        return 0;
    mp__connection_limit(p->connection, SIZE_MAX / 2);
    mp__os_address_text(&p->from, l->last, sizeof l->last);
    *ret_connection = mp_connection_ref(p->connection);
    drop(l, i);
    return 1;
}

static int listen_to_all(mp_listener *l, mp_connection **ret_connection)
{
    int64_t now = mp__os_now();
    for (unsigned i = l->n; i-- > 0;) {
        bool gone, ready = l->fds[i].revents != 0;
        int r = ready ? listen_to(l, i, ret_connection, &gone) : 0;
        if (r)
            return r;
        if (!(ready && gone) && now >= l->peers[i].deadline)
            drop(l, i); /* it takes too long */
    }
    return 0;
}

static int wait_for_any(mp_listener *l, mp__deadline deadline)
{
    for (unsigned i = 0; i < l->n; i++) {
        l->fds[i] = (mp__pollfd){mp_connection_fd(l->peers[i].connection), MP__POLLIN, 0};
        deadline = l->peers[i].deadline < deadline ? l->peers[i].deadline : deadline;
    }
    l->fds[l->n] = (mp__pollfd){l->n < l->most ? l->fd : -1, MP__POLLIN, 0};
    if (l->maker != l->fork_count) { /* nothing tells of a close */
        mp__deadline look = mp__deadline_after(mp__os_now(), LOOK);
        deadline = look < deadline ? look : deadline;
    }
    return mp__poll_until(l->fds, l->n + 1, deadline);
}

static int accept_one(mp_listener *l, mp_connection **ret_connection, mp__deadline deadline)
{
    int r = atomic_load(&l->closed) ? 0 : take_over(l);
    while (r == 0) {
        if (atomic_load(&l->closed))
            return mp__fail(MP_ECLOSED, "the listener was closed by this program");
        r = wait_for_any(l, deadline);
        if (r < 0)
            return r;
        bool late = mp__deadline_left(deadline, mp__os_now()) <= 0; /* however much is going on */
        r = listen_to_all(l, ret_connection);
        if (r == 0)
            r = take_in(l, ret_connection);
        if (r == 0 && late)
            return -ETIMEDOUT;
    }
    return r;
}

int mp_listener_accept(mp_listener *listener, mp_connection **ret_connection, mp_time timeout)
{
    MP__CHECK(mp__is(listener, MP__MAGIC_LISTENER) && ret_connection);
    mp__clear_detail();
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    mp_connection *c = NULL;
    int r = mp__stream_enter(&listener->accepting, deadline);
    if (r < 0)
        return r;
    r = accept_one(listener, &c, deadline);
    mp__stream_leave(&listener->accepting);
    if (r == 1)
        *ret_connection = c;
    return r == 1 ? 0 : r;
}

/* ---- clients ---- */

static int prove(mp_connection *c, const mp__key *key, mp__deadline deadline)
{
    char data[MP__AUTH_MESSAGE];
    mp__auth auth;
    mp__auth_out out;
    int r = mp__auth_begin(&auth, key, false, &out);
    mp__connection_limit(c, MP__AUTH_MESSAGE);
    while (r == 0) {
        mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
        int64_t n = mp_connection_recv_bytes(c, data, sizeof data, left);
        if (n == -EINTR || n == -ETIMEDOUT)
            return (int)n;
        if (n < 0)
            return mp__fail(-EPROTO,
                            n == MP_EOF ? "the listener hung up" : "it is no listener of ours");
        r = mp__auth_message(&auth, data, (size_t)n, &out);
        int sent = out.size ? mp_connection_send_bytes(c, out.bytes, out.size, left) : 0;
        if (r >= 0 && sent < 0)
            return mp__fail(-EPROTO, "the listener hung up");
    }
    mp__connection_limit(c, SIZE_MAX / 2);
    return r == 1 ? 0 : r;
}

static int connect_to(const char *text, const mp__key *key, mp_time timeout,
                      mp_connection **ret_connection)
{
    mp__address address;
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    int r = mp__os_address_parse(text, &address);
    if (r < 0)
        return r;
    int fd = mp__os_stream_connect(&address, deadline);
    if (fd < 0)
        return mp__fail(fd, "cannot connect to '%s'", text);
    mp_connection *c;
    r = mp__connection_open(fd, true, true, &c);
    if (r < 0) {
        mp__os_close(fd);
        return r;
    }
    if (key->used)
        r = prove(c, key, deadline);
    if (r < 0)
        mp_connection_free(c);
    else
        *ret_connection = c;
    return r;
}

mp_connection *mp_client(const char *address, const mp_client_options *options)
{
    static const mp_client_options none = MP_CLIENT_OPTIONS_INIT;
    const mp_client_options *o = options ? options : &none;
    mp_connection *c = NULL;
    mp__key key;
    mp__clear_detail();
    MP__CHECK_NULL(address && o->size >= sizeof *o);
    int r = mp__key_set(&key, o->key, o->key_size, o->allow_md5 != 0);
    if (r == 0)
        r = connect_to(address, &key, o->timeout > 0 ? o->timeout : CONNECT, &c);
    mp__key_wipe(&key);
    return r < 0 ? mp__null(r) : c;
}
