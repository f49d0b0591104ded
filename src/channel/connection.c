/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_connection: one end of a pipe, over a packet socket, or of a byte stream (stream.h).
 *
 *   state   one 64-bit word: fork count (32 bits), closed (1), threads inside (31).  Whoever brings
 *           it to "closed, none inside" closes the descriptor; so nobody uses a descriptor number
 *           that was closed and given to another file.  A forked child sees by the fork count that
 *           the threads inside are its parent's, and starts from none.
 *   kept    messages that did not fit the caller's buffer, the oldest first; usually none.
 *
 * No lock.  Nothing is shared with other processes but the socket, so one that is killed inside
 * leaves a whole packet or none (message.h).
 */
#include "channel/connection.h"

#include "channel/stream.h"

struct mp_connection {
    mp__head head;
    int fd;
    bool readable, writable;
    mp__stream *stream; /* NULL: packets */
    _Atomic uint64_t state;
    _Atomic(mp__message *) kept;
    _Atomic uint64_t
        kept_mark;           /* fork count (24 bits), size + 1 (40) of one that is kept; 0: none */
    _Atomic int64_t spin;    /* ns; negative: automatic */
    _Atomic int spin_credit; /* automatic: how well it paid lately */
    _Atomic unsigned spin_try; /* automatic: counts receives that did not look */
};

#define CLOSED (UINT64_C(1) << 31)
#define INSIDE (CLOSED - 1)
#define AUTO_SPIN 20000 /* ns */
#define MAX_CREDIT 16

/* ---- life ---- */

static void set_up(mp_connection *c, int fd, bool readable, bool writable)
{
    mp__head_init(&c->head, MP__MAGIC_CONNECTION);
    c->fd = fd;
    c->readable = readable;
    c->writable = writable;
    atomic_store(&c->state, (uint64_t)atomic_load(&mp__fork_count) << 32);
    atomic_store(&c->spin, -1);
    atomic_store(&c->spin_credit, MAX_CREDIT);
}

/* An end of a pipe of packets; takes the descriptor over, also when it fails. */
static mp_connection *make_end(int fd, bool readable, bool writable)
{
    mp_connection *c = mp__alloc_zero(sizeof *c);
    if (!c) {
        mp__os_close(fd);
        return mp__null(-ENOMEM);
    }
    set_up(c, fd, readable, writable);
    return c;
}

int mp__connection_open(int fd, bool readable, bool writable, mp_connection **ret_connection)
{
    int kind = mp__os_fd_kind(fd);
    if (kind < 0)
        return mp__fail(kind, "descriptor %d is not one that messages can be sent over", fd);
    mp__stream *stream = kind == MP__FD_PACKETS ? NULL : mp__stream_new(kind == MP__FD_STREAM);
    mp_connection *c = stream || kind == MP__FD_PACKETS ? mp__alloc_zero(sizeof *c) : NULL;
    if (!c) {
        mp__stream_free(stream);
        return -ENOMEM;
    }
    set_up(c, fd, readable, writable);
    c->stream = stream;
    *ret_connection = c;
    return 0;
}

void mp__connection_limit(mp_connection *connection, size_t limit)
{
    if (connection->stream)
        connection->stream->limit = limit;
}

mp_connection *mp_connection_from_fd(int fd, int readable, int writable)
{
    mp_connection *c;
    MP__CHECK_NULL(readable || writable);
    mp__clear_detail();
    int r = mp__connection_open(fd, readable != 0, writable != 0, &c);
    return r < 0 ? mp__null(r) : c;
}

int mp_pipe(int duplex, mp_connection **ret_first, mp_connection **ret_second)
{
    MP__CHECK(ret_first && ret_second);
    mp__clear_detail();
    int fds[2];
    int r = mp__os_packet_pair(fds);
    if (r < 0)
        return mp__fail(r, "cannot make a pipe");
    mp_connection *first = make_end(fds[0], true, duplex != 0);
    mp_connection *second = make_end(fds[1], duplex != 0, true);
    if (first && second && !duplex)
        r = mp__os_shutdown_send(fds[0]);
    if (!first || !second || r < 0) {
        mp_connection_free(first);
        mp_connection_free(second);
        return r < 0 ? r : -ENOMEM;
    }
    *ret_first = first;
    *ret_second = second;
    return 0;
}

/* The state as this process has to see it. */
static uint64_t own(uint64_t state)
{
    uint64_t count = atomic_load_explicit(&mp__fork_count, memory_order_relaxed);
    return state >> 32 == count ? state : count << 32 | (state & CLOSED);
}

int mp__connection_enter(mp_connection *c)
{
    uint64_t old = atomic_load_explicit(&c->state, memory_order_relaxed), now;
    do {
        now = own(old);
        if (now & CLOSED)
            return mp__fail(MP_ECLOSED, "the connection was closed by this program");
    } while (!atomic_compare_exchange_weak_explicit(&c->state, &old, now + 1, memory_order_acquire,
                                                    memory_order_relaxed));
    return c->fd;
}

void mp__connection_leave(mp_connection *c)
{
    uint64_t left = atomic_fetch_sub_explicit(&c->state, 1, memory_order_acq_rel) - 1;
    if (mp__unlikely((left & (CLOSED | INSIDE)) == CLOSED))
        mp__os_close(c->fd);
}

int mp_connection_close(mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    uint64_t old = atomic_load(&connection->state), now;
    do {
        now = own(old);
        if (now & CLOSED)
            return 0;
    } while (!atomic_compare_exchange_weak(&connection->state, &old, now | CLOSED));
    return now & INSIDE ? 0 : mp__os_close(connection->fd);
}

int mp_connection_closed(const mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    return (atomic_load(&connection->state) & CLOSED) != 0;
}

mp_connection *mp_connection_ref(mp_connection *connection)
{
    MP__CHECK_NULL(mp__is(connection, MP__MAGIC_CONNECTION));
    mp__head_ref(&connection->head);
    return connection;
}

void mp_connection_free(mp_connection *connection)
{
    if (!mp__is(connection, MP__MAGIC_CONNECTION) || !mp__head_unref(&connection->head))
        return;
    if (!(atomic_load(&connection->state) & CLOSED))
        mp__os_close(connection->fd);
    for (mp__message *m = atomic_load(&connection->kept), *next; m; m = next) {
        next = m->next;
        mp__message_free(m);
    }
    mp__stream_free(connection->stream);
    free(connection);
}

int mp_connection_fd(const mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    return atomic_load(&connection->state) & CLOSED ? MP_ECLOSED : connection->fd;
}

int mp_connection_readable(const mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    return connection->readable;
}

int mp_connection_writable(const mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    return connection->writable;
}

int mp_connection_set_spin(mp_connection *connection, mp_time spin)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    atomic_store(&connection->spin, spin < 0 ? 0 : spin);
    return 0;
}

int mp_connection_shutdown_send(mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    mp__clear_detail();
    if (!connection->writable)
        return MP_EDIRECTION;
    int fd = mp__connection_enter(connection);
    if (fd < 0)
        return fd;
    int r = mp__os_shutdown_send(fd);
    mp__connection_leave(connection);
    return r == -ENOTCONN ? 0 : r;
}

/* ---- kept messages ---- */

static uint64_t mark_of(const mp__message *m)
{
    return m ? (uint64_t)m->fork_count << 40 | (m->buffer->size + 1) : 0;
}

static uint64_t own_mark(mp_connection *c)
{
    uint64_t mark = atomic_load(&c->kept_mark);
    return mark >> 40 == (atomic_load(&mp__fork_count) & 0xffffff) ? mark : 0;
}

static void kept_push(mp_connection *c, mp__message *first, mp__message *last)
{
    last->next = atomic_load(&c->kept);
    while (!atomic_compare_exchange_weak(&c->kept, &last->next, first))
        ;
    atomic_store(&c->kept_mark, mark_of(first));
}

/* A message that did not fit comes after those that did not fit before it. */
static void kept_put(mp_connection *c, mp__message *m)
{
    mp__message *before = atomic_exchange(&c->kept, NULL), *last = before;
    while (last && last->next)
        last = last->next;
    m->next = NULL;
    if (last)
        last->next = m;
    kept_push(c, before ? before : m, m);
}

static mp__message *kept_take(mp_connection *c)
{
    if (!atomic_load_explicit(&c->kept, memory_order_relaxed))
        return NULL;
    mp__message *m = atomic_exchange(&c->kept, NULL), *rest = m ? m->next : NULL;
    if (m)
        atomic_store(&c->kept_mark, mark_of(NULL));
    if (m && m->fork_count != atomic_load(&mp__fork_count)) {
        for (mp__message *next; m;
             m = next) { /* copies; they stay with the process that got them */
            next = m->next;
            mp__message_free(m);
        }
        return NULL;
    }
    if (rest) {
        mp__message *last = rest;
        while (last->next)
            last = last->next;
        kept_push(c, rest, last);
    }
    if (m)
        m->next = NULL;
    return m;
}

bool mp__connection_has_kept(mp_connection *c)
{
    return own_mark(c) != 0;
}

int64_t mp_connection_pending(mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    uint64_t mark = own_mark(connection);
    return mark ? (int64_t)(mark & ((UINT64_C(1) << 40) - 1)) - 1 : -ENOMSG;
}

int mp_connection_drop(mp_connection *connection)
{
    MP__CHECK(mp__is(connection, MP__MAGIC_CONNECTION));
    mp__message *m = kept_take(connection);
    mp__message_free(m);
    return m ? 0 : -ENOMSG;
}

/* ---- waiting ---- */

int mp__poll_until(mp__pollfd *fds, size_t n, mp__deadline deadline)
{
    for (;;) {
        mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
        int r = mp__os_poll(fds, n, left);
        if (r != -EINTR || atomic_load_explicit(&mp__interruptible, memory_order_relaxed))
            return r;
    }
}

static int wait_for(int fd, short events, mp__deadline deadline)
{
    mp__pollfd p = {fd, events, 0};
    int r = mp__poll_until(&p, 1, deadline);
    return r == 0 ? -ETIMEDOUT : r < 0 ? r : 0;
}

/* How long this receive may look before it sleeps. */
static int64_t spin_budget(mp_connection *c)
{
    static _Atomic int one_cpu; /* 1: no, 2: yes */
    int64_t set = atomic_load_explicit(&c->spin, memory_order_relaxed);
    if (set >= 0)
        return set;
    int known = atomic_load_explicit(&one_cpu, memory_order_relaxed);
    if (!known)
        atomic_store(&one_cpu, known = mp__os_one_cpu() ? 2 : 1);
    if (known == 2)
        return 0;
    if (atomic_load_explicit(&c->spin_credit, memory_order_relaxed) > 0)
        return AUTO_SPIN;
    return atomic_fetch_add_explicit(&c->spin_try, 1, memory_order_relaxed) % 64 == 63 ? AUTO_SPIN
                                                                                       : 0;
}

static void spin_learn(mp_connection *c, bool paid)
{
    int credit = atomic_load_explicit(&c->spin_credit, memory_order_relaxed);
    credit = paid ? credit + 4 : credit - 1;
    credit = credit > MAX_CREDIT ? MAX_CREDIT : credit < 0 ? 0 : credit;
    atomic_store_explicit(&c->spin_credit, credit, memory_order_relaxed);
}

typedef struct receipt {
    void *data;
    size_t capacity, size;
    mp__message *message;
    mp__attachments *attachments;
} receipt;

static int receive_once(mp_connection *c, int fd, bool wait, receipt *in)
{
    if (c->stream)
        return mp__stream_receive(c->stream, fd, wait, in->data, in->capacity, &in->size,
                                  &in->message);
    return mp__message_receive(fd, wait, in->data, in->capacity, &in->size, &in->message,
                               in->attachments);
}

static int receive_by(mp_connection *c, int fd, receipt *in, mp_time timeout)
{
    int64_t budget = timeout > 0 ? spin_budget(c) : 0;
    /* Without a deadline the receive itself waits: one call instead of two. */
    bool sleep_at_once = timeout == MP_FOREVER && budget == 0;
    int r = receive_once(c, fd, sleep_at_once, in);
    if (r == -EINTR && !atomic_load(&mp__interruptible))
        r = -EAGAIN;
    if (r != -EAGAIN || timeout <= 0)
        return r == -EAGAIN ? -ETIMEDOUT : r;
    int64_t start = mp__os_now();
    mp__deadline deadline = mp__deadline_after(start, timeout);
    if (budget > 0) {
        int64_t until = mp__deadline_after(start, budget < timeout ? budget : timeout);
        do {
            r = receive_once(c, fd, false, in);
        } while (r == -EAGAIN && mp__os_now() < until);
        spin_learn(c, r != -EAGAIN);
    }
    while (r == -EAGAIN) {
        r = deadline == MP__NEVER ? receive_once(c, fd, true, in) : -EAGAIN;
        if (r == -EINTR && !atomic_load(&mp__interruptible))
            r = -EAGAIN;
        else if (r == -EAGAIN) {
            r = wait_for(fd, MP__POLLIN, deadline);
            r = r == 0 ? receive_once(c, fd, false, in) : r;
        }
    }
    return r;
}

/* The same, for streams: one receiver at a time, which leaves what has come of a message to the next. */
static int receive_from(mp_connection *c, int fd, receipt *in, mp_time timeout)
{
    if (!c->stream)
        return receive_by(c, fd, in, timeout);
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    int r = mp__stream_enter(&c->stream->receiving, deadline);
    if (r < 0)
        return r;
    if (timeout > 0 && timeout != MP_FOREVER) /* it may have waited for its turn */
        timeout = mp__deadline_left(deadline, mp__os_now());
    r = receive_by(c, fd, in, timeout);
    if (r < 0)
        mp__stream_stash(c->stream, in->data);
    mp__stream_leave(&c->stream->receiving);
    return r;
}

/* ---- sending and receiving ---- */

static int send_out(mp_connection *c, mp__outgoing *out, mp_time timeout)
{
    int fd = mp__connection_enter(c);
    if (fd < 0)
        return fd;
    int r = mp__os_packet_send(fd, &out->packet, false);
    if (r == -EAGAIN || r == -EINTR) {
        mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
        while (r == -EAGAIN || (r == -EINTR && !atomic_load(&mp__interruptible))) {
            r = timeout <= 0 && r == -EAGAIN ? -ETIMEDOUT : wait_for(fd, MP__POLLOUT, deadline);
            r = r == 0 ? mp__os_packet_send(fd, &out->packet, false) : r;
        }
    }
    mp__connection_leave(c);
    if (r == -EPIPE)
        mp__fail(r, "the other end of the pipe is closed or its holder is dead");
    return r;
}

static int stream_out(mp_connection *c, const mp_bytes *parts, size_t n, mp_time timeout)
{
    int fd = mp__connection_enter(c);
    if (fd < 0)
        return fd;
    mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
    int r = mp__stream_enter(&c->stream->sending, deadline);
    if (r == 0) {
        r = mp__stream_send(c->stream, fd, parts, n, deadline);
        mp__stream_leave(&c->stream->sending);
    }
    mp__connection_leave(c);
    if (r == -EPIPE && !*mp_error_detail())
        mp__fail(r, "the other end of the connection is closed or its holder is dead");
    return r;
}

/* Values on a stream are plain pickles, which any Python reads. */
static int stream_value(mp_connection *c, mp_value *value, mp_time timeout)
{
    mp_buffer *buffer;
    int r = mp_value_encode(value, &buffer);
    if (r == 0) {
        mp_bytes part = {buffer->data, buffer->size};
        r = stream_out(c, &part, 1, timeout);
        mp_buffer_free(buffer);
    }
    return r;
}

static int check_send(mp_connection *c)
{
    MP__CHECK(mp__is(c, MP__MAGIC_CONNECTION));
    mp__clear_detail();
    if (atomic_load_explicit(&c->state, memory_order_relaxed) & CLOSED)
        return mp__fail(MP_ECLOSED, "the connection was closed by this program");
    return c->writable ? 0 : mp__fail(MP_EDIRECTION, "this end of the pipe only receives");
}

int mp_connection_send(mp_connection *connection, mp_value *value, mp_time timeout)
{
    if (!value)
        return mp_error_code();
    mp__outgoing out;
    int r = check_send(connection);
    if (r == 0 && connection->stream)
        return stream_value(connection, value, timeout);
    if (r == 0)
        r = mp__outgoing_value(&out, value);
    if (r == 0) {
        r = send_out(connection, &out, timeout);
        mp__outgoing_release(&out, r == 0);
    }
    mp_value_free(value);
    return r;
}

int mp_connection_send_bytes(mp_connection *connection, const void *data, size_t size,
                             mp_time timeout)
{
    MP__CHECK(data || !size);
    mp_bytes part = {data, size};
    return mp_connection_send_parts(connection, &part, 1, timeout);
}

int mp_connection_send_parts(mp_connection *connection, const mp_bytes *parts, size_t n,
                             mp_time timeout)
{
    MP__CHECK(parts || !n);
    mp__outgoing out;
    int r = check_send(connection);
    if (r == 0 && connection->stream)
        return stream_out(connection, parts, n, timeout);
    if (r == 0)
        r = mp__outgoing_parts(&out, parts, n);
    if (r == 0) {
        r = send_out(connection, &out, timeout);
        mp__outgoing_release(&out, r == 0);
    }
    return r;
}

static int check_receive(mp_connection *c)
{
    MP__CHECK(mp__is(c, MP__MAGIC_CONNECTION));
    mp__clear_detail();
    return c->readable ? 0 : mp__fail(MP_EDIRECTION, "this end of the pipe only sends");
}

/* The next message: one that was kept, or the next packet. */
static int receive(mp_connection *c, receipt *in, mp_time timeout)
{
    int r = check_receive(c);
    if (r < 0)
        return r;
    int fd = mp__connection_enter(c);
    if (fd < 0)
        return fd;
    in->message = kept_take(c);
    if (in->message)
        in->size = in->message->buffer->size;
    else
        r = receive_from(c, fd, in, timeout);
    mp__connection_leave(c);
    return r;
}

int64_t mp_connection_recv_bytes(mp_connection *connection, void *data, size_t capacity,
                                 mp_time timeout)
{
    MP__CHECK(data || !capacity);
    mp__attachments attachments;
    mp__attachments_init(&attachments, 0);
    receipt in = {.data = data, .capacity = capacity, .attachments = &attachments};
    int r = receive(connection, &in, timeout);
    if (r < 0)
        return r;
    mp__attachments_close(&attachments); /* raw bytes have no use for them */
    if (!in.message)
        return (int64_t)in.size;
    if (in.size > capacity) {
        kept_put(connection, in.message);
        return mp__fail(-EMSGSIZE, "the message has %zu bytes, the buffer %zu", in.size, capacity);
    }
    if (in.size)
        memcpy(data, in.message->buffer->data, in.size);
    mp__message_free(in.message);
    return (int64_t)in.size;
}

int mp_connection_recv_buffer(mp_connection *connection, mp_buffer **ret_buffer, mp_time timeout)
{
    MP__CHECK(ret_buffer);
    mp__attachments attachments;
    mp__attachments_init(&attachments, 0);
    receipt in = {.attachments = &attachments};
    int r = receive(connection, &in, timeout);
    if (r < 0)
        return r;
    mp__attachments_close(&attachments);
    mp_buffer *buffer;
    if (in.message) {
        buffer = mp_buffer_ref(in.message->buffer);
        mp__message_free(in.message);
    } else {
        buffer = mp_buffer_new(0); /* an empty message fits into nothing */
        if (!buffer)
            return -ENOMEM;
    }
    *ret_buffer = buffer;
    return 0;
}

int mp_connection_recv(mp_connection *connection, mp_value **ret_value, mp_time timeout)
{
    MP__CHECK(ret_value);
    mp__attachments attachments;
    mp__attachments_init(&attachments, 0);
    char small[512]; /* most values; larger ones come in a buffer */
    receipt in = {.data = small, .capacity = sizeof small, .attachments = &attachments};
    int r = receive(connection, &in, timeout);
    if (r < 0)
        return r;
    if (connection->stream) { /* from anybody: nothing but plain values */
        r = in.message ? mp_value_decode(in.message->buffer->data, in.size, NULL, ret_value)
                       : mp_value_decode(small, in.size, NULL, ret_value);
        mp__message_free(in.message);
    } else if (in.message) {
        r = mp__message_value(in.message->buffer->data, in.message->buffer->size,
                              in.message->buffer, &in.message->attachments, ret_value);
        mp__message_free(in.message);
    } else {
        r = mp__message_value(small, in.size, NULL, &attachments, ret_value);
    }
    mp__attachments_close(&attachments);
    return r;
}

int mp_connection_poll(mp_connection *connection, mp_time timeout)
{
    int r = check_receive(connection);
    if (r < 0)
        return r;
    int fd = mp__connection_enter(connection);
    if (fd < 0)
        return fd;
    if (mp__connection_has_kept(connection)) {
        r = 1;
    } else {
        mp__deadline deadline = mp__deadline_after(mp__os_now(), timeout);
        r = wait_for(fd, MP__POLLIN, deadline);
        r = r == 0 ? 1 : r == -ETIMEDOUT ? 0 : r;
    }
    mp__connection_leave(connection);
    return r;
}
