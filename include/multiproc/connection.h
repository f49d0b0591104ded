/* SPDX-License-Identifier: MIT */
/*
 * Connections: the two ends of a pipe, over which processes send each other messages.
 *
 * A message arrives whole or not at all, however many threads and processes write to or read from
 * one end at once, and also when one of them is killed in the middle.  Messages of one sender
 * arrive in order.  A message may be larger than 4 GiB; one of 64 KiB or more is written once into
 * memory that the receiver then shares.
 *
 * An end is open as long as any process holds it.  A child that was given an end holds it too, so a
 * parent that wants to see MP_EOF when the child ends closes its own copy of the child's end.
 */
#ifndef MULTIPROC_CONNECTION_H
#define MULTIPROC_CONNECTION_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

/**
 * A pipe: two ends that are connected.  duplex: both ends send and receive; else the first only
 * receives and the second only sends.  Uses one file descriptor for each end.
 * -EMFILE, -ENFILE, -ENOMEM.
 */
MULTIPROC_API int mp_pipe(int duplex, mp_connection **ret_first, mp_connection **ret_second);

/**
 * A connection over a descriptor that is connected to somebody: an end of an mp_pipe() that came from
 * another process, or a stream socket or pipe, on which messages are framed as Python's
 * multiprocessing.connection does it.  Takes the descriptor over when it succeeds; the caller makes it
 * close-on-exec.  On a stream, values travel without handles (MP_ETYPE) and nothing is shared.  A message
 * whose time is up, or whose sender is interrupted, in its middle ends the sending (-EPIPE): the receiver
 * gets -EBADMSG.  Writing to a pipe that nobody reads raises SIGPIPE, as write(2) does; sockets do not.
 * NULL with EBADF, EOPNOTSUPP for a socket of datagrams, ENOMEM.
 */
MULTIPROC_API mp_connection *mp_connection_from_fd(int fd, int readable, int writable);

/**
 * Sends a value; takes it over.  Waits while the other end's buffer is full, at most `timeout`.
 * Handles inside the value travel along: the receiver gets its own.
 * -ETIMEDOUT (nothing was sent); -EPIPE when the other end is closed or dead; MP_ECLOSED;
 * MP_EDIRECTION; MP_ELIMIT when nested too deep; -E2BIG for more than 240 descriptors in one value;
 * -ENOMEM; -EMFILE.
 */
MULTIPROC_API int mp_connection_send(mp_connection *connection, mp_value *value, mp_time timeout);

/**
 * Receives a value.  -ETIMEDOUT; MP_EOF; MP_ECLOSED; MP_EDIRECTION; -EBADMSG, MP_EUNSAFE, MP_ETYPE,
 * MP_ELIMIT or -EILSEQ when the message is not a plain value: that message is then gone, the next one can be
 * received.  -EMFILE when the message brought descriptors and there is no room for them.
 * If the caller is killed inside, the message is either still there for the other holders of this
 * end, or gone with the caller.
 */
MULTIPROC_API int mp_connection_recv(mp_connection *connection, mp_value **ret_value,
                                     mp_time timeout);

/** Sends `size` bytes as one message.  Errors as mp_connection_send(). */
MULTIPROC_API int mp_connection_send_bytes(mp_connection *connection, const void *data, size_t size,
                                           mp_time timeout);

/** Sends n parts, one behind the other, as one message.  -E2BIG for more than 64 parts on a stream. */
MULTIPROC_API int mp_connection_send_parts(mp_connection *connection, const mp_bytes *parts,
                                           size_t n, mp_time timeout);

/**
 * Receives a message into the caller's buffer and returns its size in bytes.  -EMSGSIZE when it
 * does not fit: nothing of `data` is then defined, and the message stays the next one of this
 * handle (mp_connection_pending() tells its size; poll and mp_wait see it, the bare descriptor does
 * not). Other errors as mp_connection_recv().
 */
MULTIPROC_API int64_t mp_connection_recv_bytes(mp_connection *connection, void *data,
                                               size_t capacity, mp_time timeout);

/** Receives a message of any size into a new buffer; a large one is not copied. */
MULTIPROC_API int mp_connection_recv_buffer(mp_connection *connection, mp_buffer **ret_buffer,
                                            mp_time timeout);

/** Size of the message that -EMSGSIZE left behind, or -ENOMSG when there is none. */
MULTIPROC_API int64_t mp_connection_pending(mp_connection *connection);

/** Drops the message that -EMSGSIZE left behind.  -ENOMSG when there is none. */
MULTIPROC_API int mp_connection_drop(mp_connection *connection);

/** 1 when a receive would not wait (a message, or the end, is there), 0 when not within `timeout`.
 */
MULTIPROC_API int mp_connection_poll(mp_connection *connection, mp_time timeout);

/**
 * How long a receive may look for a message before it sleeps, in nanoseconds (0: never).  Looking
 * costs the processor and saves the wake-up, which on many machines takes longer than the message.
 * By default up to 20 microseconds while that pays, and none on a single processor.
 */
MULTIPROC_API int mp_connection_set_spin(mp_connection *connection, mp_time spin);

/** No more messages will be sent from this end; the other end receives what is there, then MP_EOF.
 *  This is for every holder of the end. */
MULTIPROC_API int mp_connection_shutdown_send(mp_connection *connection);

/** The descriptor, for poll, select and epoll: readable when a receive would not wait.  Stays the
 *  connection's.  MP_ECLOSED. */
MULTIPROC_API int mp_connection_fd(const mp_connection *connection);

/** 1 when this end receives, 0 when it only sends; and the other way round. */
MULTIPROC_API int mp_connection_readable(const mp_connection *connection);
MULTIPROC_API int mp_connection_writable(const mp_connection *connection);

/**
 * Closes this process's hold of the end, for all references to the handle: later calls answer
 * MP_ECLOSED.  A thread that is inside a call finishes it.  Closing twice is no error.
 */
MULTIPROC_API int mp_connection_close(mp_connection *connection);

/** 1 after mp_connection_close(). */
MULTIPROC_API int mp_connection_closed(const mp_connection *connection);

/** One more reference to the same handle; returns it. */
MULTIPROC_API mp_connection *mp_connection_ref(mp_connection *connection);

/** Gives a reference back; the last one closes. */
MULTIPROC_API void mp_connection_free(mp_connection *connection);

/** The end as a value, to pass as an argument or in a message; holds a reference of its own. */
MULTIPROC_API mp_value *mp_value_connection(mp_connection *connection);

/** The end in a value, borrowed from it.  MP_ETYPE. */
MULTIPROC_API int mp_value_get_connection(const mp_value *value, mp_connection **ret_connection);

/* ---- waiting on many ------------------------------------------------------------------------- */

/** One thing to wait for.  Made by the macros below, for one kind; `ready` is set by mp_wait(). */
typedef struct mp_waitable {
    mp_connection *connection;
    mp_queue *queue;
    mp_event *event;
    int fd;    /* used when there is none of them */
    int ready; /* 1: a receive, a get, a wait, a read or a join would not wait; or an error is there */
} mp_waitable;

#define MP_WAIT_CONNECTION(c)  \
    {                          \
        (c), NULL, NULL, -1, 0 \
    }
#define MP_WAIT_QUEUE(q)       \
    {                          \
        NULL, (q), NULL, -1, 0 \
    }
#define MP_WAIT_EVENT(e)       \
    {                          \
        NULL, NULL, (e), -1, 0 \
    }
#define MP_WAIT_FD(fd)            \
    {                             \
        NULL, NULL, NULL, (fd), 0 \
    }
#define MP_WAIT_PROCESS(p) MP_WAIT_FD(mp_process_sentinel(p))

/**
 * Waits until at least one of n things is ready, sets `ready` in each, and returns how many are; 0
 * after the timeout.  With n = 0 it waits for the timeout.  A queue is ready when there is an item or it
 * was shut down, an event when it is set.  MP_ECLOSED for a closed connection or queue, -EBADF for a
 * descriptor that is not open, -EINVAL for more than 65536 things, -ENOMEM; with queues or events also
 * -EMFILE, -ENFILE, and -EAGAIN when 16 processes wait in this way for one of them.
 */
MULTIPROC_API int mp_wait(mp_waitable *items, size_t n, mp_time timeout);

MULTIPROC_END

#endif
