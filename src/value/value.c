/* SPDX-License-Identifier: MIT */
/*
 * Owns single values: making them, counting references, taking them apart.  Containers are in
 * container.c.  Process-local.
 */
#include <math.h>

#include "value/value.h"

#define SINGLETON(k, ...)                                                              \
    {                                                                                  \
        .head = {MP__MAGIC_VALUE, 1}, .kind = (k), .immortal = true, .finished = true, \
        .weight = 1, __VA_ARGS__                                                       \
    }
static mp_value the_none = SINGLETON(MP_KIND_NONE, .number = 0);
static mp_value the_true = SINGLETON(MP_KIND_BOOL, .truth = true);
static mp_value the_false = SINGLETON(MP_KIND_BOOL, .truth = false);

mp_value *mp__value_alloc(mp_kind kind, size_t extra)
{
    size_t total;
    mp_value *v = mp__add(sizeof *v, extra, &total) ? mp__alloc(total) : NULL;
    if (!v)
        return mp__null(-ENOMEM);
    memset(v, 0, sizeof *v);
    mp__head_init(&v->head, MP__MAGIC_VALUE);
    v->kind = (uint8_t)kind;
    v->weight = 1;
    return v;
}

mp_value *mp_value_none(void)
{
    return &the_none;
}

mp_value *mp_value_bool(int truth)
{
    return truth ? &the_true : &the_false;
}

mp_value *mp_value_int(int64_t number)
{
    mp_value *v = mp__value_alloc(MP_KIND_INT, 0);
    if (v)
        v->number = number;
    return v;
}

mp_value *mp_value_uint(uint64_t number)
{
    unsigned char bytes[9] = {0};
    if (number <= INT64_MAX)
        return mp_value_int((int64_t)number);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(number >> (8 * i));
    return mp_value_bigint(bytes, sizeof bytes);
}

mp_value *mp_value_float(double number)
{
    mp_value *v = mp__value_alloc(MP_KIND_FLOAT, 0);
    if (v)
        v->real = number;
    return v;
}

mp_value *mp_value_bigint(const void *bytes, size_t size)
{
    MP__CHECK_NULL(bytes || !size);
    const unsigned char *p = bytes;
    unsigned char fill = size && (p[size - 1] & 0x80) ? 0xff : 0;
    /* Drop bytes that only repeat the sign. */
    while (size > 1 && p[size - 1] == fill && (p[size - 2] & 0x80) == (fill & 0x80))
        size--;
    if (size > 8)
        return mp__value_text(MP_KIND_BIGINT, bytes, size);
    uint64_t number = fill ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        number = (number & ~(UINT64_C(0xff) << (8 * i))) | (uint64_t)p[i] << (8 * i);
    return mp_value_int((int64_t)number);
}

mp_value *mp__value_text(mp_kind kind, const void *data, size_t size)
{
    size_t with_nul;
    if (!mp__add(size, 1, &with_nul))
        return mp__null(-ENOMEM);
    mp_value *v = mp__value_alloc(kind, with_nul);
    if (!v)
        return NULL;
    char *bytes = (char *)(v + 1);
    if (size)
        memcpy(bytes, data, size);
    bytes[size] = 0;
    v->text.data = bytes;
    v->text.size = size;
    return v;
}

mp_value *mp__value_view(mp_buffer *owner, const void *data, size_t size)
{
    mp_value *v = mp__value_alloc(MP_KIND_BYTES, 0);
    if (!v)
        return NULL;
    v->text.data = data;
    v->text.size = size;
    v->text.owner = mp_buffer_ref(owner);
    return v;
}

mp_value *mp_value_str(const char *text)
{
    MP__CHECK_NULL(text);
    return mp_value_str_n(text, strlen(text));
}

mp_value *mp_value_str_n(const char *text, size_t size)
{
    MP__CHECK_NULL(text || !size);
    if (!mp__utf8_valid(text, size))
        return mp__null(mp__fail(-EILSEQ, "a str of %zu bytes is not valid UTF-8", size));
    return mp__value_text(MP_KIND_STR, text, size);
}

mp_value *mp_value_bytes(const void *data, size_t size)
{
    MP__CHECK_NULL(data || !size);
    return mp__value_text(MP_KIND_BYTES, data, size);
}

mp_value *mp_value_bytes_of(mp_buffer *buffer)
{
    MP__CHECK_NULL(mp__is(buffer, MP__MAGIC_BUFFER));
    return mp__value_view(buffer, buffer->data, buffer->size);
}

mp_value *mp__value_handle(const mp__handle_ops *ops, void *object)
{
    mp_value *v = mp__value_alloc(MP_KIND_HANDLE, 0);
    if (!v) {
        ops->free(object);
        return NULL;
    }
    v->handle.ops = ops;
    v->handle.object = object;
    return v;
}

void *mp__value_object(const mp_value *value, const mp__handle_ops *ops)
{
    return mp__is(value, MP__MAGIC_VALUE) && value->kind == MP_KIND_HANDLE &&
                   value->handle.ops == ops
               ? value->handle.object
               : NULL;
}

int mp__value_give_handles(const mp_value *value, uint32_t to)
{
    if (value->kind == MP_KIND_HANDLE && value->handle.ops->give)
        return value->handle.ops->give(value->handle.object, to);
    int r = 0;
    for (size_t i = 0; r == 0 && mp__is_container(value) && i < mp__seq_items(value); i++)
        r = mp__value_give_handles(value->seq.items[i], to);
    return r;
}

mp_value *mp_value_ref(const mp_value *value)
{
    mp_value *v = (mp_value *)(uintptr_t)value;
    if (!v)
        return NULL;
    MP__CHECK_NULL(mp__is(v, MP__MAGIC_VALUE));
    if (!v->immortal)
        mp__head_ref(&v->head);
    return v;
}

/* Depth is bounded by MP__MAX_DEPTH, so recursion is. */
void mp_value_free(mp_value *value)
{
    if (!mp__is(value, MP__MAGIC_VALUE) || value->immortal || !mp__head_unref(&value->head))
        return;
    if (mp__is_container(value)) {
        for (size_t i = 0; i < mp__seq_items(value); i++)
            mp_value_free(value->seq.items[i]);
        free(value->seq.items);
        free(value->seq.index);
    } else if (mp__is_text(value)) {
        mp_buffer_free(value->text.owner);
    } else if (value->kind == MP_KIND_HANDLE) {
        value->handle.ops->free(value->handle.object);
    }
    free(value);
}

/* ---- taking apart ---- */

mp_kind mp_value_kind(const mp_value *value)
{
    return mp__is(value, MP__MAGIC_VALUE) ? (mp_kind)value->kind : MP_KIND_NONE;
}

const char *mp_value_type_name(const mp_value *value)
{
    static const char *const names[] = {"NoneType", "bool",  "int",  "int",   "float",
                                        "str",      "bytes", "list", "tuple", "dict"};
    if (!mp__is(value, MP__MAGIC_VALUE))
        return "NULL";
    return value->kind == MP_KIND_HANDLE ? value->handle.ops->type_name : names[value->kind];
}

static int wrong_kind(const mp_value *value, const char *wanted)
{
    return mp__fail(MP_ETYPE, "the value is a %s, not a %s", mp_value_type_name(value), wanted);
}

int mp_value_get_bool(const mp_value *value, int *ret_truth)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_truth);
    if (value->kind != MP_KIND_BOOL)
        return wrong_kind(value, "bool");
    *ret_truth = value->truth;
    return 0;
}

int mp_value_get_int(const mp_value *value, int64_t *ret_number)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_number);
    if (value->kind == MP_KIND_INT)
        *ret_number = value->number;
    else if (value->kind == MP_KIND_BOOL)
        *ret_number = value->truth;
    else if (value->kind == MP_KIND_BIGINT)
        return mp__fail(-ERANGE, "the int does not fit into 64 bits");
    else
        return wrong_kind(value, "int");
    return 0;
}

int mp_value_get_uint(const mp_value *value, uint64_t *ret_number)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_number);
    if (value->kind == MP_KIND_BIGINT && value->text.size == 9 && value->text.data[8] == 0) {
        uint64_t number = 0;
        for (int i = 0; i < 8; i++)
            number |= (uint64_t)(unsigned char)value->text.data[i] << (8 * i);
        *ret_number = number;
        return 0;
    }
    int64_t number;
    int r = mp_value_get_int(value, &number);
    if (r < 0)
        return r;
    if (number < 0)
        return mp__fail(-ERANGE, "the int is negative");
    *ret_number = (uint64_t)number;
    return 0;
}

int mp_value_get_float(const mp_value *value, double *ret_number)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE) && ret_number);
    if (value->kind == MP_KIND_FLOAT) {
        *ret_number = value->real;
        return 0;
    }
    int64_t number;
    if (value->kind != MP_KIND_INT && value->kind != MP_KIND_BOOL)
        return value->kind == MP_KIND_BIGINT
                   ? mp__fail(-ERANGE, "the int does not fit into 64 bits")
                   : wrong_kind(value, "float");
    mp_value_get_int(value, &number);
    *ret_number = (double)number;
    return 0;
}

const char *mp_value_get_str(const mp_value *value, size_t *ret_size)
{
    if (!mp__is(value, MP__MAGIC_VALUE) || value->kind != MP_KIND_STR)
        return NULL;
    if (ret_size)
        *ret_size = value->text.size;
    return value->text.data;
}

const void *mp_value_get_bytes(const mp_value *value, size_t *ret_size)
{
    if (!mp__is(value, MP__MAGIC_VALUE) ||
        (value->kind != MP_KIND_BYTES && value->kind != MP_KIND_BIGINT))
        return NULL;
    if (ret_size)
        *ret_size = value->text.size;
    return value->text.data;
}

int64_t mp_value_len(const mp_value *value)
{
    MP__CHECK(mp__is(value, MP__MAGIC_VALUE));
    if (mp__is_container(value))
        return (int64_t)value->seq.n;
    if (value->kind == MP_KIND_STR)
        return (int64_t)mp__utf8_length(value->text.data, value->text.size);
    if (value->kind == MP_KIND_BYTES)
        return (int64_t)value->text.size;
    return mp__fail(MP_ETYPE, "a %s has no length", mp_value_type_name(value));
}

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence at p (RFC 3629), 0 if there is none. */
static size_t sequence(const unsigned char *p, size_t left)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t n;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        low = 0xa0; /* overlong */
    else if (c == 0xed)
        high = 0x9f; /* surrogates */
    else if (c == 0xf0)
        low = 0x90; /* overlong */
    else if (c == 0xf4)
        high = 0x8f; /* above U+10FFFF */
    if (left < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool mp__utf8_valid(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < size;) {
        if (size - i >= 8 && !(mp__load64(p + i) & UINT64_C(0x8080808080808080))) {
            i += 8;
            continue;
        }
        size_t n = sequence(p + i, size - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

size_t mp__utf8_length(const char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}
