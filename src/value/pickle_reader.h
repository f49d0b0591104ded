/* SPDX-License-Identifier: MIT */
/* The decoder of pickles, as its two files see it. */
#ifndef MP__PICKLE_READER_H
#define MP__PICKLE_READER_H

#include "value/pickle.h"

/* Things on the stack that are not values. */
typedef enum marker { M_VALUE, M_MARK, M_ENCODE, M_BYTES } marker;

typedef struct cell {
    mp_value *value;
    marker what;
} cell;

typedef struct reader {
    const unsigned char *at, *end;
    const mp__pickle_source *source;
    cell *stack;
    size_t depth, stack_size;
    cell *memo; /* M_VALUE with NULL: empty */
    size_t memo_size, memo_used;
    mp_value **open; /* lists and dicts that were made, each with a reference */
    size_t opened, open_size;
    size_t memory, max_memory, max_depth;
    uint64_t key_weight; /* of the keys of all dicts so far */
    int error;
} reader;

/* Sets the error -EBADMSG, and returns it. */
MP__HIDDEN int mp__reader_damaged(reader *r, const char *why);
MP__HIDDEN bool mp__reader_charge(reader *r, size_t bytes); /* memory, against the limit */
MP__HIDDEN const unsigned char *mp__reader_take(reader *r, uint64_t n);
MP__HIDDEN void mp__reader_push(reader *r, mp_value *value, marker what); /* takes the value */
MP__HIDDEN cell mp__reader_pop_cell(reader *r);
MP__HIDDEN mp_value *mp__reader_pop(reader *r);
MP__HIDDEN mp_value *mp__reader_top(reader *r); /* borrowed */
MP__HIDDEN mp_value *mp__reader_new_container(reader *r, mp_kind kind);

/* pickle_class.c: opcodes that name classes and call them; false: not here. */
MP__HIDDEN void mp__reader_global(reader *r);
MP__HIDDEN void mp__reader_reduce(reader *r);
MP__HIDDEN bool mp__reader_describe(reader *r, unsigned char op);

#endif
