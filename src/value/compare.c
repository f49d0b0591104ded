/* SPDX-License-Identifier: MIT */
/*
 * Owns == and < of values, with Python's meaning: numbers compare by what they are worth, whatever
 * their kind; lists with lists, tuples with tuples, str with str, bytes with bytes.  Stateless.
 */
#include <math.h>

#include "value/value.h"

static bool is_integer(const mp_value *v)
{
    return v->kind == MP_KIND_BOOL || v->kind == MP_KIND_INT || v->kind == MP_KIND_BIGINT;
}

static bool is_number(const mp_value *v)
{
    return is_integer(v) || v->kind == MP_KIND_FLOAT;
}

static int64_t small(const mp_value *v)
{
    return v->kind == MP_KIND_BOOL ? v->truth : v->number;
}

static bool negative(const mp_value *v)
{
    return v->kind == MP_KIND_BIGINT ? (v->text.data[v->text.size - 1] & 0x80) != 0 : small(v) < 0;
}

/* A big integer is normalised: it never fits into 64 bits, so its sign and size decide most. */
int mp__int_order(const mp_value *a, const mp_value *b)
{
    bool big_a = a->kind == MP_KIND_BIGINT, big_b = b->kind == MP_KIND_BIGINT;
    if (!big_a && !big_b)
        return (small(a) > small(b)) - (small(a) < small(b));
    if (negative(a) != negative(b))
        return negative(a) ? -1 : 1;
    int larger = negative(a) ? -1 : 1; /* what the one further from zero is */
    if (big_a != big_b)
        return big_a ? larger : -larger;
    if (a->text.size != b->text.size)
        return a->text.size > b->text.size ? larger : -larger;
    for (size_t i = a->text.size; i-- > 0;) {
        unsigned char x = (unsigned char)a->text.data[i], y = (unsigned char)b->text.data[i];
        if (x != y)
            return x > y ? 1 : -1;
    }
    return 0;
}

/* The integer part of a finite double as a value. */
static mp_value *from_double(double d)
{
    int exponent;
    double fraction = frexp(trunc(d), &exponent); /* |fraction| in [0.5, 1) or 0 */
    unsigned char bytes[136] = {0};
    uint64_t bits = (uint64_t)ldexp(fabs(fraction), 53);
    int shift = exponent - 53;
    if (shift < 0) {
        bits >>= -shift < 64 ? -shift : 63;
        shift = 0;
    }
    for (int i = 0; i < 64; i++)
        if (bits >> i & 1)
            bytes[(i + shift) / 8] |= (unsigned char)(1 << (i + shift) % 8);
    if (d < 0) { /* two's complement */
        int carry = 1;
        for (size_t i = 0; i < sizeof bytes; i++) {
            int x = (bytes[i] ^ 0xff) + carry;
            bytes[i] = (unsigned char)x;
            carry = x >> 8;
        }
    }
    return mp_value_bigint(bytes, sizeof bytes);
}

/* Order of an integer and a double; -EDOM for NaN, -ENOMEM. */
static int int_float_order(const mp_value *a, double d, int *ret_order)
{
    if (isnan(d))
        return -EDOM;
    if (isinf(d)) {
        *ret_order = d > 0 ? -1 : 1;
        return 0;
    }
    mp_value *whole = from_double(d);
    if (!whole)
        return -ENOMEM;
    int order = mp__int_order(a, whole);
    mp_value_free(whole);
    if (order == 0)
        order = d > trunc(d) ? -1 : d < trunc(d) ? 1 : 0;
    *ret_order = order;
    return 0;
}

static int number_order(const mp_value *a, const mp_value *b, int *ret_order)
{
    if (is_integer(a) && is_integer(b)) {
        *ret_order = mp__int_order(a, b);
        return 0;
    }
    if (is_integer(a))
        return int_float_order(a, b->real, ret_order);
    if (is_integer(b)) {
        int r = int_float_order(b, a->real, ret_order);
        if (r == 0)
            *ret_order = -*ret_order;
        return r;
    }
    if (isnan(a->real) || isnan(b->real))
        return -EDOM;
    *ret_order = (a->real > b->real) - (a->real < b->real);
    return 0;
}

static bool equal_pairs(const mp_value *a, const mp_value *b)
{
    for (size_t i = 0; i < a->seq.n; i++) {
        const mp_value *other = mp_value_lookup(b, a->seq.items[2 * i]);
        if (!other || !mp_value_equal(a->seq.items[2 * i + 1], other))
            return false;
    }
    return true;
}

int mp_value_equal(const mp_value *a, const mp_value *b)
{
    int order;
    if (!mp__is(a, MP__MAGIC_VALUE) || !mp__is(b, MP__MAGIC_VALUE))
        return 0;
    if (is_number(a) && is_number(b))
        return number_order(a, b, &order) == 0 && order == 0;
    if (a->kind != b->kind)
        return 0;
    if (a == b && !mp__is_container(a))
        return 1;
    if (mp__is_text(a))
        return a->text.size == b->text.size && memcmp(a->text.data, b->text.data, a->text.size) == 0;
    if (a->kind == MP_KIND_HANDLE)
        return a->handle.object == b->handle.object;
    if (!mp__is_container(a))
        return 1; /* None */
    if (a->seq.n != b->seq.n)
        return 0;
    if (a->kind == MP_KIND_DICT)
        return equal_pairs(a, b);
    for (size_t i = 0; i < a->seq.n; i++) /* Python: the same object is equal, also a NaN */
        if (a->seq.items[i] != b->seq.items[i] &&
            !mp_value_equal(a->seq.items[i], b->seq.items[i]))
            return 0;
    return 1;
}

static int unordered(const mp_value *a, const mp_value *b)
{
    return mp__fail(MP_ETYPE, "'<' is not defined between %s and %s", mp_value_type_name(a),
                    mp_value_type_name(b));
}

int mp_value_compare(const mp_value *a, const mp_value *b, int *ret_order)
{
    MP__CHECK(mp__is(a, MP__MAGIC_VALUE) && mp__is(b, MP__MAGIC_VALUE) && ret_order);
    mp__clear_detail();
    if (is_number(a) && is_number(b))
        return number_order(a, b, ret_order);
    if (a->kind != b->kind || a->kind == MP_KIND_NONE || a->kind == MP_KIND_DICT ||
        a->kind == MP_KIND_HANDLE)
        return unordered(a, b);
    if (mp__is_text(a)) { /* the order of UTF-8 is that of code points */
        size_t n = a->text.size < b->text.size ? a->text.size : b->text.size;
        int order = memcmp(a->text.data, b->text.data, n);
        *ret_order = order ? (order > 0) - (order < 0)
                           : (a->text.size > b->text.size) - (a->text.size < b->text.size);
        return 0;
    }
    for (size_t i = 0; i < a->seq.n && i < b->seq.n; i++)
        if (a->seq.items[i] != b->seq.items[i] && !mp_value_equal(a->seq.items[i], b->seq.items[i]))
            return mp_value_compare(a->seq.items[i], b->seq.items[i], ret_order);
    *ret_order = (a->seq.n > b->seq.n) - (a->seq.n < b->seq.n);
    return 0;
}
