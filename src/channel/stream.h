/* SPDX-License-Identifier: MIT */
/*
 * Messages on byte streams (stream sockets, pipes), framed as Python's multiprocessing.connection does: a
 * length in four bytes, big-endian; or -1 and the length in eight.
 *
 * A stream keeps what it has received of a message when the time is up, so the next receive goes on with
 * it.  A message that could not be sent whole closes the sending direction: nobody is left to guess where
 * the next one starts.  One thread sends, and one receives, at a time.
 */
#ifndef MP__STREAM_H
#define MP__STREAM_H

#include "channel/message.h"

typedef struct mp__stream {
    _Atomic uint32_t sending, receiving; /* who is inside: see stream.c */
    _Atomic bool cut;                    /* a message was begun and not sent to its end */
    bool socket;                         /* else a pipe or another file */
    size_t limit;                        /* the largest message that is received, in bytes */
    unsigned char head[12];              /* of the message that comes in */
    size_t head_have, size, have, room;
    char *body; /* of `room` bytes, or NULL: it goes where the receiver wants it */
} mp__stream;

MP__HIDDEN mp__stream *mp__stream_new(bool socket);
MP__HIDDEN void mp__stream_free(mp__stream *stream);

/* One thread at a time: 0, -ETIMEDOUT, -EINTR. */
MP__HIDDEN int mp__stream_enter(_Atomic uint32_t *side, mp__deadline deadline);
MP__HIDDEN void mp__stream_leave(_Atomic uint32_t *side);

/* As mp__message_receive(); -EAGAIN when not all of the message is there yet, and then the next call goes
 * on with it, with the same `data`, or after mp__stream_stash() with any. */
MP__HIDDEN int mp__stream_receive(mp__stream *stream, int fd, bool wait, void *data,
                                  size_t capacity, size_t *ret_size, mp__message **ret_message);
MP__HIDDEN void mp__stream_stash(mp__stream *stream, const void *data);

/* Sends the parts as one message.  -ETIMEDOUT and -EINTR only when nothing of it was sent. */
MP__HIDDEN int mp__stream_send(mp__stream *stream, int fd, const mp_bytes *parts, size_t n,
                               mp__deadline deadline);

#endif
