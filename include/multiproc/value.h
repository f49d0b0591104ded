/* SPDX-License-Identifier: MIT */
/*
 * Values: what processes say to each other.  None, bool, int, float, str, bytes, list, tuple, dict
 * and handles, as in Python.  A value is immutable and reference-counted; the count is atomic, so
 * threads may share a value freely.
 *
 * Functions that are given a value take it over; see base.h.  Functions that look at a value do
 * not, and what they return is borrowed: it lives as long as the value that holds it.
 */
#ifndef MULTIPROC_VALUE_H
#define MULTIPROC_VALUE_H

#include <multiproc/base.h>

MULTIPROC_BEGIN

typedef enum mp_kind {
    MP_KIND_NONE = 0,
    MP_KIND_BOOL = 1,
    MP_KIND_INT = 2,    /* fits into int64_t */
    MP_KIND_BIGINT = 3, /* does not */
    MP_KIND_FLOAT = 4,
    MP_KIND_STR = 5,
    MP_KIND_BYTES = 6,
    MP_KIND_LIST = 7,
    MP_KIND_TUPLE = 8,
    MP_KIND_DICT = 9,
    MP_KIND_HANDLE = 10 /* a connection, a file descriptor, or another shared object */
} mp_kind;

/* ---- building -------------------------------------------------------------------------------- */

/** The simple kinds.  None, True and False exist once and need not be freed; NULL with ENOMEM. */
MULTIPROC_API mp_value *mp_value_none(void);
MULTIPROC_API mp_value *mp_value_bool(int truth);
MULTIPROC_API mp_value *mp_value_int(int64_t number);
MULTIPROC_API mp_value *mp_value_uint(uint64_t number);
MULTIPROC_API mp_value *mp_value_float(double number);

/**
 * An integer of any size from its little-endian two's complement, as Python's
 * int.to_bytes(n, 'little', signed=True) writes it.  One that fits becomes MP_KIND_INT.
 */
MULTIPROC_API mp_value *mp_value_bigint(const void *bytes, size_t size);

/** A str from UTF-8, copied.  NULL with EILSEQ when the text is not valid UTF-8 (surrogates and
 *  overlong forms are not). */
MULTIPROC_API mp_value *mp_value_str(const char *text);
MULTIPROC_API mp_value *mp_value_str_n(const char *text, size_t size);

/** bytes, copied. */
MULTIPROC_API mp_value *mp_value_bytes(const void *data, size_t size);

/** bytes that share a buffer without copying it; holds a reference of its own to the buffer. */
MULTIPROC_API mp_value *mp_value_bytes_of(mp_buffer *buffer);

/** A list or tuple of n values; takes every one of them over. */
MULTIPROC_API mp_value *mp_value_list(mp_value *const *items, size_t n);
MULTIPROC_API mp_value *mp_value_tuple(mp_value *const *items, size_t n);

/**
 * A dict of n pairs, items[2 * i] being the key of items[2 * i + 1]; takes every one over.  Keys
 * are equal as in Python (1, 1.0 and True are one key); the last of several equal keys wins and
 * stands where the first one stood.  NULL with MP_ETYPE when a key is a list or a dict, or holds
 * one.
 */
MULTIPROC_API mp_value *mp_value_dict(mp_value *const *items, size_t n);

/** One more reference; returns its argument.  NULL gives NULL. */
MULTIPROC_API mp_value *mp_value_ref(const mp_value *value);

/** Gives a reference back. */
MULTIPROC_API void mp_value_free(mp_value *value);

/* ---- taking apart ---------------------------------------------------------------------------- */

/** The kind; MP_KIND_NONE for NULL. */
MULTIPROC_API mp_kind mp_value_kind(const mp_value *value);

/** "int", "str", "NoneType": the name of Python's type; for a handle, what it is a handle of. */
MULTIPROC_API const char *mp_value_type_name(const mp_value *value);

/* MP_ETYPE when the value is of another kind; -ERANGE when the number does not fit.  A bool is also
 * an int, and an int is also a float, as in Python. */
MULTIPROC_API int mp_value_get_bool(const mp_value *value, int *ret_truth);
MULTIPROC_API int mp_value_get_int(const mp_value *value, int64_t *ret_number);
MULTIPROC_API int mp_value_get_uint(const mp_value *value, uint64_t *ret_number);
MULTIPROC_API int mp_value_get_float(const mp_value *value, double *ret_number);

/** Text of a str, or content of bytes or of a bigint, with its size; NULL for other kinds.  Text
 * has a NUL after it that is not counted.  `ret_size` may be NULL. */
MULTIPROC_API const char *mp_value_get_str(const mp_value *value, size_t *ret_size);
MULTIPROC_API const void *mp_value_get_bytes(const mp_value *value, size_t *ret_size);

/** Number of items of a list or tuple, of pairs of a dict, of code points of a str, of bytes of
 *  bytes; MP_ETYPE for kinds that have no length. */
MULTIPROC_API int64_t mp_value_len(const mp_value *value);

/** Item i of a list or tuple, value i of a dict, in order of insertion; NULL when there is none. */
MULTIPROC_API mp_value *mp_value_item(const mp_value *value, size_t i);

/** Key i of a dict; NULL when there is none. */
MULTIPROC_API mp_value *mp_value_key(const mp_value *value, size_t i);

/** What a dict holds for a key; NULL when it holds nothing.  `key` is only looked at. */
MULTIPROC_API mp_value *mp_value_lookup(const mp_value *dict, const mp_value *key);
MULTIPROC_API mp_value *mp_value_lookup_str(const mp_value *dict, const char *key);

/* ---- comparing and printing ------------------------------------------------------------------ */

/** 1 when equal by Python's ==, else 0.  Handles are equal when they are of the same object. */
MULTIPROC_API int mp_value_equal(const mp_value *a, const mp_value *b);

/** Order by Python's <: *ret_order is -1, 0 or 1.  MP_ETYPE when Python would raise TypeError, as
 * for 1 < 'a' or for dicts; -EDOM when NaN makes two numbers unordered. */
MULTIPROC_API int mp_value_compare(const mp_value *a, const mp_value *b, int *ret_order);

/** Python's repr(), as a string for free(3).  NULL with ENOMEM. */
MULTIPROC_API char *mp_value_repr(const mp_value *value);

/* ---- wire form ------------------------------------------------------------------------------- */

/** Bounds for decoding what comes from outside; zero means the default in brackets. */
typedef struct mp_limits {
    size_t size;       /* sizeof(mp_limits) */
    size_t max_depth;  /* containers inside containers [1000, which is also the most] */
    size_t max_memory; /* bytes that the value may take [128 times the message, + 1 MiB] */
} mp_limits;

#define MP_LIMITS_INIT          \
    {                           \
        sizeof(mp_limits), 0, 0 \
    }

/**
 * The value as a pickle of protocol 4, which any Python loads with pickle.loads().  Takes the
 * value. MP_ETYPE when it holds a handle (those travel in messages only), MP_ELIMIT when it is
 * nested deeper than 1000, -ENOMEM.
 */
MULTIPROC_API int mp_value_encode(mp_value *value, mp_buffer **ret_buffer);

/**
 * Reads a pickle of protocol 2 to 5 that holds nothing but plain values.  Never calls or imports
 * anything: MP_EUNSAFE when the pickle asks for it; MP_ETYPE when it holds a set or another type that
 * is not among the values; -EBADMSG when it is damaged, MP_ELIMIT when it
 * is beyond the limits (NULL: the defaults), -EILSEQ when a str is not UTF-8, -ENOMEM.
 */
MULTIPROC_API int mp_value_decode(const void *data, size_t size, const mp_limits *limits,
                                  mp_value **ret_value);

/* ---- file descriptors ------------------------------------------------------------------------ */

/** A handle of a plain file descriptor, which travels as an argument or in a message.  Holds a
 *  duplicate of `fd`. */
MULTIPROC_API mp_value *mp_value_fd(int fd);

/** A duplicate of the descriptor in a handle, close-on-exec, the caller's to close. */
MULTIPROC_API int mp_value_get_fd(const mp_value *value);

MULTIPROC_END

#endif
