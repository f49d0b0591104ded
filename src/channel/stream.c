/* SPDX-License-Identifier: MIT */
/*
 * Owns messages on byte streams (stream.h).  A receiver believes a length only as far as bytes arrive: the
 * memory of a message grows with what has come.  Process-local.  A sender that is killed in the middle
 * leaves a part of a message, which the receiver reports (-EBADMSG) when the stream ends there.
 *
 * A side's word is 0, or the fork count of the process that is inside, shifted by two, plus 1, or plus 3
 * when somebody waits.  A forked child sees by the count that whoever is inside is its parent's.
 */
#include "channel/stream.h"

#include "channel/connection.h"

#define FIRST_ROOM ((size_t)1 << 20) /* more only when so much has come */
#define MOST_PARTS 64
#define PIPE_PIECE 4096 /* poll promises room for so much in a pipe */

mp__stream *mp__stream_new(bool socket)
{
    mp__stream *s = mp__alloc_zero(sizeof *s);
    if (s) {
        s->socket = socket;
        s->limit = SIZE_MAX / 2;
    }
    return s;
}

void mp__stream_free(mp__stream *s)
{
    if (s)
        free(s->body);
    free(s);
}

int mp__stream_enter(_Atomic uint32_t *side, mp__deadline deadline)
{
    uint32_t me = atomic_load_explicit(&mp__fork_count, memory_order_relaxed) << 2;
    for (;;) {
        uint32_t seen = atomic_load(side);
        if (!(seen & 1) || (seen & ~UINT32_C(3)) != me) {
            if (atomic_compare_exchange_strong(side, &seen, me | 1))
                return 0;
            continue;
        }
        mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
        if (left <= 0)
            return -ETIMEDOUT;
        if (!(seen & 2) && !atomic_compare_exchange_strong(side, &seen, seen | 2))
            continue;
        int r = mp__os_futex_wait(side, seen | 2, left);
        if (r == -EINTR && atomic_load(&mp__interruptible))
            return r;
    }
}

void mp__stream_leave(_Atomic uint32_t *side)
{
    if (atomic_exchange(side, 0) & 2)
        mp__os_futex_wake(side, INT32_MAX);
}

/* ---- receiving ---- */

static void forget(mp__stream *s)
{
    s->head_have = s->have = s->size = s->room = 0;
    s->body = NULL;
}

static int ended(const mp__stream *s)
{
    if (!s->head_have)
        return MP_EOF;
    return mp__fail(-EBADMSG, "the other end closed in the middle of a message");
}

/* The next bytes, up to `want` of them in all: 0 when they are there. */
static int fill(mp__stream *s, int fd, bool wait, void *to, size_t *have, size_t want)
{
    while (*have < want) {
        int64_t n = mp__os_stream_read(fd, (char *)to + *have, want - *have, s->socket, wait);
        if (n < 0)
            return (int)n;
        if (n == 0) {
            int r = ended(s);
            free(s->body);
            forget(s);
            return r;
        }
        *have += (size_t)n;
    }
    return 0;
}

static int read_head(mp__stream *s, int fd, bool wait)
{
    int r = 0;
    if (s->head_have < 4)
        r = fill(s, fd, wait, s->head, &s->head_have, 4);
    if (r < 0)
        return r;
    uint32_t size = mp__big_endian32(s->head);
    if (size <= INT32_MAX) {
        s->size = size;
    } else if (size == UINT32_MAX) {
        r = fill(s, fd, wait, s->head, &s->head_have, 12);
        if (r < 0)
            return r;
        uint64_t large =
            (uint64_t)mp__big_endian32(s->head + 4) << 32 | mp__big_endian32(s->head + 8);
        s->size = large > SIZE_MAX / 2 ? SIZE_MAX : (size_t)large;
    } else {
        s->head_have = 0;
        return mp__fail(-EBADMSG, "what came is not a message: its length is negative");
    }
    if (s->size > s->limit)
        return mp__fail(MP_ELIMIT, "a message of %zu bytes came where at most %zu are allowed",
                        s->size, s->limit);
    return 0;
}

static int grow(mp__stream *s)
{
    size_t room = s->room * 2 > FIRST_ROOM ? s->room * 2 : FIRST_ROOM;
    room = room < s->size ? room : s->size;
    char *body = mp__realloc(s->body, room ? room : 1);
    if (!body)
        return mp__fail(-ENOMEM, "a message of %zu bytes has no room", s->size);
    s->body = body;
    s->room = room;
    return 0;
}

static int fill_body(mp__stream *s, int fd, bool wait)
{
    int r = 0;
    while (r == 0 && (s->have < s->size || !s->body)) {
        if (s->have == s->room || !s->body)
            r = grow(s);
        if (r == 0)
            r = fill(s, fd, wait, s->body, &s->have, s->room);
    }
    return r;
}

static void release_body(void *context, void *data, size_t size)
{
    (void)context, (void)size;
    free(data);
}

int mp__stream_receive(mp__stream *s, int fd, bool wait, void *data, size_t capacity,
                       size_t *ret_size, mp__message **ret_message)
{
    *ret_message = NULL;
    int r = read_head(s, fd, wait);
    if (r < 0)
        return r;
    bool direct = !s->body && s->size <= capacity;
    r = direct ? fill(s, fd, wait, data, &s->have, s->size) : fill_body(s, fd, wait);
    if (r < 0)
        return r;
    *ret_size = s->size;
    if (!direct && s->size <= capacity) {
        memcpy(data, s->body, s->size);
        free(s->body);
    } else if (!direct) {
        mp_buffer *buffer = mp__buffer_wrap(s->body, s->size, release_body, NULL);
        r = buffer ? mp__message_of(buffer, ret_message) : -ENOMEM;
        if (r < 0 && buffer)
            mp_buffer_free(buffer);
        else if (r < 0)
            free(s->body);
    }
    forget(s);
    return r;
}

void mp__stream_stash(mp__stream *s, const void *data)
{
    if (s->body || !s->have)
        return;
    s->body = mp__alloc(s->size);
    if (s->body) {
        memcpy(s->body, data, s->have);
        s->room = s->size;
    } else {
        s->limit = 0; /* it is lost, and with it the place of the next one */
    }
}

/* ---- sending ---- */

typedef struct rest {
    struct iovec iov[MOST_PARTS + 1];
    int n, first;
} rest;

static int start(rest *o, unsigned char head[12], const mp_bytes *parts, size_t n)
{
    size_t size = 0, length = 4;
    if (n > MOST_PARTS)
        return mp__fail(-E2BIG, "a message has at most %d parts", MOST_PARTS);
    for (size_t i = 0; i < n; i++) {
        if (!mp__add(size, parts[i].size, &size) || size > SIZE_MAX / 2)
            return mp__fail(-E2BIG, "a message is too long");
        o->iov[i + 1] = (struct iovec){(void *)(uintptr_t)parts[i].data, parts[i].size};
    }
    if (size > INT32_MAX) {
        mp__put_big_endian32(head, UINT32_MAX);
        mp__put_big_endian32(head + 4, (uint32_t)((uint64_t)size >> 32));
        mp__put_big_endian32(head + 8, (uint32_t)size);
        length = 12;
    } else {
        mp__put_big_endian32(head, (uint32_t)size);
    }
    o->iov[0] = (struct iovec){head, length};
    o->n = (int)n + 1;
    o->first = 0;
    return 0;
}

static void advance(rest *o, size_t sent)
{
    while (o->first < o->n && sent >= o->iov[o->first].iov_len)
        sent -= o->iov[o->first++].iov_len;
    if (o->first < o->n && sent) {
        o->iov[o->first].iov_base = (char *)o->iov[o->first].iov_base + sent;
        o->iov[o->first].iov_len -= sent;
    }
}

static int64_t send_piece(mp__stream *s, int fd, rest *o, bool wait)
{
    if (s->socket || wait)
        return mp__os_stream_write(fd, o->iov + o->first, o->n - o->first, s->socket, wait);
    mp__pollfd p = {fd, MP__POLLOUT, 0};
    int r = mp__os_poll(&p, 1, 0);
    if (r <= 0)
        return r < 0 ? r : -EAGAIN;
    struct iovec piece = o->iov[o->first];
    piece.iov_len = piece.iov_len < PIPE_PIECE ? piece.iov_len : PIPE_PIECE;
    return mp__os_stream_write(fd, &piece, 1, false, true);
}

/* A signal came, or there is no room: 0 to go on. */
static int hold_on(int fd, int r, bool begun, mp__deadline deadline)
{
    if (r == -EINTR && !atomic_load(&mp__interruptible))
        return 0;
    if (r == -EINTR)
        return !begun ? r : mp__interrupted ? mp__interrupted() : 0;
    mp__pollfd p = {fd, MP__POLLOUT, 0};
    mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
    if (left <= 0)
        return -ETIMEDOUT;
    r = mp__os_poll(&p, 1, left);
    if (r == -EINTR)
        return hold_on(fd, r, begun, deadline);
    return r < 0 ? r : r == 0 ? -ETIMEDOUT : 0;
}

int mp__stream_send(mp__stream *s, int fd, const mp_bytes *parts, size_t n, mp__deadline deadline)
{
    unsigned char head[12];
    rest o;
    int r = start(&o, head, parts, n);
    bool begun = false;
    if (atomic_load(&s->cut))
        return mp__fail(-EPIPE, "an earlier message could not be sent to its end");
    while (r == 0 && o.first < o.n) {
        int64_t sent = send_piece(s, fd, &o, deadline == MP__NEVER);
        if (sent >= 0) {
            begun = begun || sent > 0;
            advance(&o, (size_t)sent);
        } else if (sent == -EAGAIN || sent == -EINTR) {
            r = hold_on(fd, (int)sent, begun, deadline);
        } else {
            r = (int)sent;
        }
    }
    if (r < 0 && begun) {
        atomic_store(&s->cut, true);
        if (s->socket)
            mp__os_shutdown_send(fd);
        if (r == -ETIMEDOUT)
            r = mp__fail(-EPIPE, "the time was up in the middle of a message");
        else if (r == -EINTR)
            r = mp__fail(-EPIPE, "a signal ended the sending of a message in its middle");
    }
    return r;
}
