/* SPDX-License-Identifier: MIT */
/*
 * The wire form of values: the safe subset of pickle (docs/design/values.md).  What a message
 * carries beside its bytes, descriptors mainly, is an mp__attachments.
 */
#ifndef MP__PICKLE_H
#define MP__PICKLE_H

#include "os/os.h"
#include "value/value.h"

/* Descriptors that travel with a message.  Outgoing: borrowed from `held` objects, each of which is
 * released when the message has gone.  Incoming: owned; an import takes one by setting it to -1. */
struct mp__attachments {
    int fds[MP__MAX_FDS];
    int n;
    struct {
        void (*release)(void *object, uint32_t to, bool delivered);
        void *object;
    } held[MP__MAX_FDS];
    int nheld;
    uint32_t to; /* arguments: the tag of the process that gets them; 0: a message */
};

static inline void mp__attachments_init(mp__attachments *a, uint32_t to)
{
    a->n = a->nheld = 0;
    a->to = to;
}

/* A descriptor; its place.  `release` is called when the message has gone, or has not. */
MP__HIDDEN int mp__attach(mp__attachments *a, int fd, void (*release)(void *, uint32_t, bool),
                          void *object);
/* Something without a descriptor. */
MP__HIDDEN int mp__attach_object(mp__attachments *a, void (*release)(void *, uint32_t, bool),
                                 void *object);
MP__HIDDEN void mp__attachments_release(mp__attachments *a, bool delivered); /* outgoing */
MP__HIDDEN void mp__attachments_close(mp__attachments *a); /* of an incoming message */

/* Makes a handle of the kind `code` from what its export left; NULL with errno. */
typedef mp_value *mp__import_fn(int64_t code, const int64_t words[2], mp__attachments *attachments);

/*
 * Writing goes in two steps: a plan, which knows the size, then the bytes, into memory of exactly
 * that size; `attachments` takes what handles bring along, NULL refuses them.
 */
struct mp__memo_slot;
typedef struct mp__pickle_plan {
    size_t size;
    /* private to pickle_write.c */
    unsigned char *out;
    size_t used;
    struct mp__memo_slot *memo;
    size_t memo_size, memo_used;
    mp__attachments *attachments;
    int error;
} mp__pickle_plan;

MP__HIDDEN int mp__pickle_plan_make(const mp_value *value, mp__pickle_plan *plan);
MP__HIDDEN int mp__pickle_write(mp__pickle_plan *plan, const mp_value *value, void *data,
                                mp__attachments *attachments);
MP__HIDDEN void mp__pickle_plan_free(mp__pickle_plan *plan);

/* `owner`, if given, holds the bytes, and large bytes values become views of it. */
typedef struct mp__pickle_source {
    const void *data;
    size_t size;
    mp_buffer *owner;
    const mp_limits *limits;
    mp__attachments *attachments;
    mp__import_fn *import;
    bool describe; /* what asks for classes becomes a description: mp__described() */
} mp__pickle_source;

MP__HIDDEN int mp__pickle_read(const mp__pickle_source *source, mp_value **ret_value);

/* True for the description of an object: the name of its class, the arguments that it would be called with
 * (None: it is the class), the state that would be set; all borrowed. */
MP__HIDDEN bool mp__described(const mp_value *value, const char **ret_name,
                              const mp_value **ret_args, const mp_value **ret_state);
/* True for a value that is no description and holds none: it can be sent again. */
MP__HIDDEN bool mp__is_plain(const mp_value *value);

#endif
