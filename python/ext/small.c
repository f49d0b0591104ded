/* SPDX-License-Identifier: MIT */
/*
 * Owns the pickles of small objects: numbers, short strings, and short tuples and lists of them, which are
 * most of what programs send.  What is written here any unpickler reads; what is read here and is anything
 * else is left to the unpickler.
 */
#include "core.h"

static int put_number(char *to, PyObject *o)
{
    int overflow;
    long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow)
        return 0;
    if (v >= 0 && v < 256) {
        to[0] = 'K';
        to[1] = (char)v;
        return 2;
    }
    if (v >= 0 && v < 65536) {
        to[0] = 'M';
        memcpy(to + 1, &v, 2);
        return 3;
    }
    if (v >= INT32_MIN && v <= INT32_MAX) {
        to[0] = 'J';
        memcpy(to + 1, &v, 4);
        return 5;
    }
    to[0] = '\x8a';
    to[1] = 8;
    memcpy(to + 2, &v, 8);
    return 10;
}

static int put_text(char *to, size_t room, PyObject *o)
{
    Py_ssize_t n = 0;
    int is_bytes = PyBytes_CheckExact(o);
    const char *text = NULL;
    if (is_bytes) {
        text = PyBytes_AS_STRING(o);
        n = PyBytes_GET_SIZE(o);
    } else if (PyUnicode_IS_COMPACT_ASCII(o)) {
        text = (const char *)PyUnicode_1BYTE_DATA(o);
        n = PyUnicode_GET_LENGTH(o);
    }
    if (!text || n > 255 || (size_t)n + 2 > room)
        return 0;
    to[0] = is_bytes ? 'C' : '\x8c';
    to[1] = (char)n;
    memcpy(to + 2, text, (size_t)n);
    return (int)n + 2;
}

/* The pickle of one scalar; 0: not here. */
static int put_scalar(char *to, size_t room, PyObject *o)
{
    if (room < 12)
        return 0;
    if (PyLong_CheckExact(o))
        return put_number(to, o);
    if (PyUnicode_CheckExact(o) || PyBytes_CheckExact(o))
        return put_text(to, room, o);
    if (o == Py_None || o == Py_True || o == Py_False) {
        to[0] = o == Py_None ? 'N' : o == Py_True ? '\x88' : '\x89';
        return 1;
    }
    if (!PyFloat_CheckExact(o))
        return 0;
    double d = PyFloat_AS_DOUBLE(o);
    uint64_t bits;
    memcpy(&bits, &d, 8);
    bits = __builtin_bswap64(bits);
    to[0] = 'G';
    memcpy(to + 1, &bits, 8);
    return 9;
}

/* A scalar, or a tuple or list of up to 8 of them. */
size_t core_small_put(char *room, size_t size, PyObject *o)
{
    memcpy(room, "\x80\x04", 2);
    size_t at = 2;
    int n = put_scalar(room + at, size - at - 1, o);
    if (n) {
        at += (size_t)n;
    } else {
        int is_tuple = PyTuple_CheckExact(o);
        if (!is_tuple && !PyList_CheckExact(o))
            return 0;
        Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
        if (count > 8 || !count)
            return 0;
        if (!is_tuple)
            room[at++] = ']';
        room[at++] = '(';
        for (Py_ssize_t i = 0; i < count; i++) {
            n = put_scalar(room + at, size - at - 2, PySequence_Fast_ITEMS(o)[i]);
            if (!n)
                return 0;
            at += (size_t)n;
        }
        room[at++] = is_tuple ? 't' : 'e';
    }
    room[at++] = '.';
    return at;
}

/* One scalar at *p; NULL without an exception: something else. */
static PyObject *take_scalar(const unsigned char **p, const unsigned char *end)
{
    const unsigned char *q = *p;
    size_t left = (size_t)(end - q);
    PyObject *o = NULL;
    if (left < 2)
        return NULL;
    size_t n = q[1];
    switch (*q) {
    case 'N':
    case 0x88:
    case 0x89:
        *p = q + 1;
        return Py_NewRef(*q == 'N' ? Py_None : *q == 0x88 ? Py_True : Py_False);
    case 'K':
        *p = q + 2;
        return PyLong_FromLong(q[1]);
    case 'M':
        *p = q + 3;
        return left < 3 ? NULL : PyLong_FromLong(q[1] | q[2] << 8);
    case 'J': {
        int32_t v;
        if (left < 5)
            return NULL;
        memcpy(&v, q + 1, 4);
        *p = q + 5;
        return PyLong_FromLong(v);
    }
    case 'G': {
        uint64_t bits;
        double d;
        if (left < 9)
            return NULL;
        memcpy(&bits, q + 1, 8);
        bits = __builtin_bswap64(bits);
        memcpy(&d, &bits, 8);
        *p = q + 9;
        return PyFloat_FromDouble(d);
    }
    case 0x8c:
        if (left < n + 2)
            return NULL;
        o = PyUnicode_DecodeUTF8((const char *)q + 2, (Py_ssize_t)n, "surrogatepass");
        break;
    case 'C':
        if (left < n + 2)
            return NULL;
        o = PyBytes_FromStringAndSize((const char *)q + 2, (Py_ssize_t)n);
        break;
    default:
        return NULL;
    }
    q += n + 2;
    *p = q < end && *q == 0x94 ? q + 1 : q; /* remembered; nobody will ask for it */
    return o;
}

/* The object of a small pickle; NULL, perhaps with an exception: it is for the unpickler. */
PyObject *core_small_take(const void *data, size_t size)
{
    const unsigned char *p = data, *end = p + size;
    if (size < 4 || size > 1024 || p[0] != 0x80 || p[1] < 2 || p[1] > 5)
        return NULL;
    p += 2;
    if (*p == 0x95 && size > 14)
        p += 9;
    int is_list = p[0] == ']' && p[1] == '(';
    if (is_list || p[0] == '(') {
        PyObject *items[8];
        int count = 0;
        p += 1 + is_list;
        while (count < 8 && (items[count] = take_scalar(&p, end)))
            count++;
        int good =
            !PyErr_Occurred() && end - p == 2 && p[0] == (is_list ? 'e' : 't') && p[1] == '.';
        PyObject *o = !good ? NULL : is_list ? PyList_New(count) : PyTuple_New(count);
        for (int i = 0; i < count; i++) {
            if (!o)
                Py_DECREF(items[i]);
            else if (is_list)
                PyList_SET_ITEM(o, i, items[i]);
            else
                PyTuple_SET_ITEM(o, i, items[i]);
        }
        return o;
    }
    PyObject *o = take_scalar(&p, end);
    if (o && (end - p != 1 || *p != '.'))
        Py_CLEAR(o);
    return o;
}
