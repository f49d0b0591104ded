/* SPDX-License-Identifier: MIT */
/*
 * Values, as layer 4 sees them.  Immutable once they are built and counted by threads; a container
 * holds one reference to each item.  `weight` counts the nodes of a value with shared parts counted
 * as often as they occur, and `height` how deep it is: both bounded, so that walking a value as a
 * tree is bounded too, whatever a message looked like.
 */
#ifndef MP__VALUE_H
#define MP__VALUE_H

#include <multiproc/value.h>

#include "base/base.h"
#include "value/buffer.h"

#define MP__MAX_DEPTH 1000
#define MP__MAX_WEIGHT (UINT64_C(1) << 28)

/* What a kind of handle can do; one static struct for each kind of shared object. */
typedef struct mp__attachments mp__attachments;
typedef struct mp__handle_ops {
    const char *type_name;
    int64_t code; /* in messages */
    void (*free)(void *object);
    /* Puts what the handle needs into the message: two numbers, and descriptors. */
    int (*give)(void *object,
                uint32_t to); /* an argument of the process with that tag: 0, or why it can
                                              travel no more; NULL: it always can */
    int (*export_to)(void *object, mp__attachments *attachments, int64_t ret_words[2]);
    const void *(*identity)(
        const void *object); /* the same for handles of one thing; NULL: the object */
} mp__handle_ops;

struct mp_value {
    mp__head head;
    uint8_t kind;
    bool immortal;
    bool finished;        /* decoder: checked; containers only */
    bool visiting : 1;    /* decoder: on the path being checked */
    bool holds_class : 1; /* decoder: the description of a class, or it holds one */
    uint32_t height;
    uint64_t weight;
    union {
        bool truth;
        int64_t number;
        double real;
        struct { /* str, bytes, bigint */
            const char *data;
            size_t size;
            mp_buffer *owner; /* NULL: the bytes stand behind this struct */
        } text;
        struct { /* list, tuple, dict (n pairs) */
            mp_value **items;
            size_t n, capacity;
            uint32_t *index; /* dict: see container.c; NULL for small ones */
        } seq;
        struct {
            const mp__handle_ops *ops;
            void *object;
        } handle;
    };
};

MP__HIDDEN mp_value *mp__value_alloc(mp_kind kind, size_t extra);
MP__HIDDEN mp_value *mp__value_text(mp_kind kind, const void *data, size_t size);
MP__HIDDEN mp_value *mp__value_view(mp_buffer *owner, const void *data, size_t size); /* bytes */
/* Takes the object over, also when it fails. */
MP__HIDDEN mp_value *mp__value_handle(const mp__handle_ops *ops, void *object);
/* Tells every handle in the value that it is an argument of the process with that tag; 0 when all of them
 * can be. */
MP__HIDDEN int mp__value_give_handles(const mp_value *value, uint32_t to);
/* The object of a handle of that kind, borrowed; NULL for anything else. */
MP__HIDDEN void *mp__value_object(const mp_value *value, const mp__handle_ops *ops);

MP__HIDDEN bool mp__utf8_valid(const char *text, size_t size);
MP__HIDDEN size_t mp__utf8_length(const char *text, size_t size);

/* Containers under construction. */
MP__HIDDEN int mp__seq_push(mp_value *seq, mp_value *item); /* takes item */
MP__HIDDEN int mp__container_finish(mp_value *value); /* index, height, weight; items finished */
MP__HIDDEN uint64_t mp__value_hash(const mp_value *value);
MP__HIDDEN bool mp__value_hashable(const mp_value *value);

static inline const void *mp__handle_identity(const mp_value *v)
{
    return v->handle.ops->identity ? v->handle.ops->identity(v->handle.object) : v->handle.object;
}

static inline size_t mp__seq_items(const mp_value *v)
{
    return v->kind == MP_KIND_DICT ? 2 * v->seq.n : v->seq.n;
}

static inline bool mp__is_container(const mp_value *v)
{
    return v->kind >= MP_KIND_LIST && v->kind <= MP_KIND_DICT;
}

static inline bool mp__is_text(const mp_value *v)
{
    return v->kind == MP_KIND_STR || v->kind == MP_KIND_BYTES || v->kind == MP_KIND_BIGINT;
}

/* Python's order of integers, whatever their size: -1, 0, 1. */
MP__HIDDEN int mp__int_order(const mp_value *a, const mp_value *b);
MP__HIDDEN char *mp__bigint_decimal(const unsigned char *bytes, size_t size);

#endif
