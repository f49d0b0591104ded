/* SPDX-License-Identifier: MIT */
/* Vectors of values, which the containers of managers are made of. */
#ifndef MP__VECTOR_H
#define MP__VECTOR_H

#include "manager/manager.h"

typedef struct mp__vector {
    mp_value **items;
    size_t n, room;
} mp__vector;

/* 0, or an error after mp__raise(). */
MP__HIDDEN int mp__vector_reserve(mp__vector *v, size_t n);
/* Puts n values at a place; takes references of its own. */
MP__HIDDEN int mp__vector_insert(mp__vector *v, size_t at, mp_value *const *items, size_t n);
MP__HIDDEN void mp__vector_remove(mp__vector *v, size_t at, size_t n);

static inline bool mp__is_sequence(const mp_value *v)
{
    return v && (mp_value_kind(v) == MP_KIND_LIST || mp_value_kind(v) == MP_KIND_TUPLE);
}

MP__HIDDEN int mp__missing(const char *argument);

/* The i-th argument, or the one of that name, which must be there. */
#define NEED(name, i, text)                            \
    const mp_value *name = mp__arg(call, (i), (text)); \
    if (!name)                                         \
    return mp__missing(text)

#endif
