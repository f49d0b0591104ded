/* SPDX-License-Identifier: MIT */
/*
 * Owns ==, < and the hash of values, with Python's meaning: numbers compare by what they are worth,
 * whatever their kind; lists with lists, tuples with tuples, str with str, bytes with bytes.  Equal
 * values have equal hashes.  The hash is seeded once per process and takes in all of a value, so
 * that keys from outside cannot be chosen to collide.  Process-local.
 */
#include <math.h>

#include "os/os.h"
#include "value/value.h"

#define DOUBLE_BYTES 136 /* hold the integer part of any finite double */

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

/*
 * The integer part of a finite double, as an integer on the caller's stack over `bytes`: comparing
 * and hashing do not need memory, so they cannot fail.
 */
static mp_value from_double(double d, unsigned char bytes[DOUBLE_BYTES])
{
    if (d >= -0x1p63 && d < 0x1p63)
        return (mp_value){.kind = MP_KIND_INT, .number = (int64_t)d};
    int exponent;
    uint64_t bits = (uint64_t)ldexp(frexp(fabs(d), &exponent), 53);
    int shift = exponent - 53; /* more than zero for these */
    memset(bytes, 0, DOUBLE_BYTES);
    for (int i = 0; i < 53; i++)
        if (bits >> i & 1)
            bytes[(i + shift) / 8] |= (unsigned char)(1 << (i + shift) % 8);
    size_t size = (size_t)exponent / 8 + 1;                 /* with a bit left for the sign */
    for (size_t i = 0, carry = 1; d < 0 && i < size; i++) { /* two's complement */
        carry += bytes[i] ^ 0xffu;
        bytes[i] = (unsigned char)carry;
        carry >>= 8;
    }
    unsigned char fill = d < 0 ? 0xff : 0;
    while (bytes[size - 1] == fill && (bytes[size - 2] & 0x80) == (fill & 0x80))
        size--; /* as mp_value_bigint() does it; more than 8 are left */
    return (mp_value){.kind = MP_KIND_BIGINT, .text = {(const char *)bytes, size, NULL}};
}

/* Order of an integer and a double; -EDOM for NaN. */
static int int_float_order(const mp_value *a, double d, int *ret_order)
{
    if (isnan(d))
        return -EDOM;
    if (isinf(d)) {
        *ret_order = d > 0 ? -1 : 1;
        return 0;
    }
    unsigned char bytes[DOUBLE_BYTES];
    mp_value whole = from_double(d, bytes);
    int order = mp__int_order(a, &whole);
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

/* Python: inside containers the same object is equal, also a NaN. */
static bool same_item(const mp_value *a, const mp_value *b)
{
    return a == b || mp_value_equal(a, b);
}

static bool equal_pairs(const mp_value *a, const mp_value *b)
{
    for (size_t i = 0; i < a->seq.n; i++) {
        const mp_value *other = mp_value_lookup(b, a->seq.items[2 * i]);
        if (!other || !same_item(a->seq.items[2 * i + 1], other))
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
        return a->text.size == b->text.size &&
               memcmp(a->text.data, b->text.data, a->text.size) == 0;
    if (a->kind == MP_KIND_HANDLE)
        return mp__handle_identity(a) == mp__handle_identity(b);
    if (!mp__is_container(a))
        return 1; /* None */
    if (a->seq.n != b->seq.n)
        return 0;
    if (a->kind == MP_KIND_DICT)
        return equal_pairs(a, b);
    for (size_t i = 0; i < a->seq.n; i++)
        if (!same_item(a->seq.items[i], b->seq.items[i]))
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
        if (!same_item(a->seq.items[i], b->seq.items[i]))
            return mp_value_compare(a->seq.items[i], b->seq.items[i], ret_order);
    *ret_order = (a->seq.n > b->seq.n) - (a->seq.n < b->seq.n);
    return 0;
}

/* ---- hashing ---- */

static uint64_t seed(void)
{
    static _Atomic uint64_t value;
    uint64_t s = atomic_load_explicit(&value, memory_order_relaxed);
    if (s)
        return s;
    if (mp__os_random(&s, sizeof s) < 0)
        s = (uint64_t)(uintptr_t)&value;
    s |= 1;
    uint64_t expected = 0;
    return atomic_compare_exchange_strong(&value, &expected, s) ? s : expected;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 29;
}

static uint64_t hash_bytes(uint64_t h, const char *data, size_t size)
{
    for (; size >= 8; data += 8, size -= 8)
        h = mix(h, mp__load64(data));
    uint64_t last = 0;
    for (size_t i = 0; i < size; i++)
        last |= (uint64_t)(unsigned char)data[i] << (8 * i);
    return mix(h, last + ((uint64_t)size << 56));
}

static uint64_t hash_float(uint64_t h, const mp_value *v)
{
    if (isnan(v->real)) /* equal to nothing but itself: many of them must not share a hash */
        return mix(h, (uint64_t)(uintptr_t)v);
    if (isinf(v->real) || v->real != trunc(v->real))
        return mix(h, mp__load64(&v->real));
    unsigned char bytes[DOUBLE_BYTES]; /* equal to an integer */
    mp_value whole = from_double(v->real, bytes);
    return mp__value_hash(&whole);
}

uint64_t mp__value_hash(const mp_value *v)
{
    uint64_t h = seed();
    switch ((mp_kind)v->kind) {
    case MP_KIND_NONE:
        return mix(h, 1);
    case MP_KIND_BOOL:
        return mix(h, v->truth);
    case MP_KIND_INT:
        return mix(h, (uint64_t)v->number);
    case MP_KIND_FLOAT:
        return hash_float(h, v);
    case MP_KIND_BIGINT:
        return hash_bytes(h ^ 7, v->text.data, v->text.size);
    case MP_KIND_STR:
        return hash_bytes(h ^ 2, v->text.data, v->text.size);
    case MP_KIND_BYTES:
        return hash_bytes(h ^ 3, v->text.data, v->text.size);
    case MP_KIND_HANDLE:
        return mix(h, (uint64_t)(uintptr_t)mp__handle_identity(v));
    default:
        for (size_t i = 0; i < v->seq.n; i++)
            h = mix(h, mp__value_hash(v->seq.items[i]));
        return mix(h, v->seq.n);
    }
}
