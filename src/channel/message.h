/* SPDX-License-Identifier: MIT */
/*
 * Messages on a packet socket: one message is one packet, so the kernel keeps its boundaries and
 * gives it whole or not at all, whoever writes, reads or dies.
 *
 * A packet is an mp__frame and then the bytes; from MP__BIG_FROM bytes on they are in a memory file
 * instead, whose descriptor travels as the packet's first one.  Other descriptors follow in the
 * order in which the value's handles refer to them.
 */
#ifndef MP__MESSAGE_H
#define MP__MESSAGE_H

#include "value/pickle.h"

#define MP__BIG_FROM ((size_t)64 * 1024)
#define MP__FRAME_MAGIC 0x4d505231u /* "1RPM" */
#define MP__FRAME_BIG 1u

typedef struct mp__frame {
    uint32_t magic, flags;
    uint64_t size; /* of the message, in bytes */
} mp__frame;

/* An outgoing message: its packet, and what has to be given back when it was sent. */
typedef struct mp__outgoing {
    mp__frame frame;
    mp__packet packet;
    mp__attachments attachments;
    char *bytes; /* to be freed, or NULL */
    int file;    /* or -1 */
} mp__outgoing;

MP__HIDDEN int mp__outgoing_bytes(mp__outgoing *out, const void *data, size_t size);
MP__HIDDEN int mp__outgoing_value(mp__outgoing *out, const mp_value *value);
MP__HIDDEN void mp__outgoing_release(mp__outgoing *out, bool delivered);

/* The same for bytes in n parts. */
MP__HIDDEN int mp__outgoing_parts(mp__outgoing *out, const mp_bytes *parts, size_t n);

/* A received message. */
typedef struct mp__message {
    struct mp__message *next;
    mp_buffer *buffer;
    mp__attachments attachments;
    uint32_t fork_count; /* of the process that keeps it */
} mp__message;

/*
 * Receives one message.  If it fits into `capacity` bytes at `data`, it is there and *ret_size is
 * its size; otherwise it is in *ret_message, and *ret_size tells as well.  -EAGAIN unless `wait`.
 */
MP__HIDDEN int mp__message_receive(int fd, bool wait, void *data, size_t capacity, size_t *ret_size,
                                   mp__message **ret_message, mp__attachments *attachments);
MP__HIDDEN void mp__message_free(mp__message *message);
/* A message of a buffer, which it takes over if it succeeds. */
MP__HIDDEN int mp__message_of(mp_buffer *buffer, mp__message **ret_message);

/* The value of a message's bytes. */
MP__HIDDEN int mp__message_value(const void *data, size_t size, mp_buffer *owner,
                                 mp__attachments *attachments, mp_value **ret_value);

/* handle.c: the kinds of handles that this layer knows. */
MP__HIDDEN mp_value *mp__handle_import(int64_t code, const int64_t words[2],
                                       mp__attachments *attachments);

#endif
