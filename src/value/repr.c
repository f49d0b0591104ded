/* SPDX-License-Identifier: MIT */
/*
 * Owns the printed form of values: Python's repr(), to the letter.  Does not depend on the locale.
 * Stateless.
 */
#include <math.h>
#include <stdio.h>

#include "value/value.h"
#include "value/printable.h"

/* Python refuses to print longer ones, for the time it takes; these are shown by their size. */
#define MAX_DECIMAL_BYTES 1800

typedef struct output {
    char *text;
    size_t used, size;
    bool failed;
} output;

static void put(output *o, const char *data, size_t n)
{
    if (o->failed)
        return;
    if (n > o->size - o->used) {
        size_t size = (o->used + n) * 2 + 64;
        char *text = mp__realloc(o->text, size);
        if (!text) {
            o->failed = true;
            return;
        }
        o->text = text;
        o->size = size;
    }
    memcpy(o->text + o->used, data, n);
    o->used += n;
}

static void put_str(output *o, const char *text)
{
    put(o, text, strlen(text));
}

/* ---- numbers ---- */

/* Significant digits without the point, and the exponent of the first one, from printf's %e. */
static int split_digits(const char *printed, char mantissa[20], int *ret_exponent)
{
    int n = 0;
    const char *p = printed;
    for (; *p != 'e'; p++) /* the decimal point is the locale's */
        if (*p >= '0' && *p <= '9')
            mantissa[n++] = *p;
    *ret_exponent = (int)strtol(p + 1, NULL, 10);
    mantissa[n] = 0;
    return n;
}

/*
 * The shortest digits that read back as the same double; d is finite.  At a power of two the
 * doubles above stand twice as far apart as those below, so the n digits nearest to it may fail to
 * read back where the next larger n digits do: 2.0 ** -44 is 5.684341886080802e-14.
 */
static int shortest_digits(double d, char mantissa[20], int *ret_exponent)
{
    char text[40];
    int n = 0;
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        n = split_digits(text, mantissa, ret_exponent);
        if (strtod(text, NULL) == d)
            break;
        if (mantissa[n - 1] == '9') /* one more there would be shorter, and was tried */
            continue;
        mantissa[n - 1]++;
        snprintf(text, sizeof text, "%se%d", mantissa, *ret_exponent - precision);
        if (strtod(text, NULL) == d)
            break;
    }
    return n;
}

/* Laid out as Python does: an exponent below 1e-4 and from 1e16 on. */
static void put_float(output *o, double d)
{
    char mantissa[20], text[64], *t = text;
    if (isnan(d) || isinf(d)) {
        put_str(o, isnan(d) ? "nan" : d > 0 ? "inf" : "-inf");
        return;
    }
    int exponent, n = shortest_digits(fabs(d), mantissa, &exponent);
    if (signbit(d))
        *t++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *t++ = mantissa[0];
        if (n > 1) {
            *t++ = '.';
            memcpy(t, mantissa + 1, (size_t)n - 1);
            t += n - 1;
        }
        t += snprintf(t, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int whole = exponent < 0 ? 1 : exponent + 1;
        for (int i = exponent < 0 ? exponent : 0; i < n || i < whole; i++) {
            *t++ = i >= 0 && i < n ? mantissa[i] : '0';
            if (i - (exponent < 0 ? exponent : 0) == whole - 1)
                *t++ = '.';
        }
        if (t[-1] == '.')
            *t++ = '0';
    }
    put(o, text, (size_t)(t - text));
}

char *mp__bigint_decimal(const unsigned char *bytes, size_t size)
{
    bool minus = (bytes[size - 1] & 0x80) != 0;
    size_t words = size / 4 + 2, n = 0;
    uint32_t *w = mp__alloc_zero(words * sizeof *w);
    char *text = mp__alloc(size * 3 + 24), *t;
    if (!w || !text) {
        free(w);
        free(text);
        return NULL;
    }
    unsigned carry = 1;
    for (size_t i = 0; i < size; i++) { /* the magnitude */
        unsigned x = bytes[i];
        if (minus) {
            x = (x ^ 0xff) + carry;
            carry = x >> 8;
        }
        w[i / 4] |= (uint32_t)(x & 0xff) << (8 * (i % 4));
    }
    if (minus && carry)
        w[size / 4] |= (uint32_t)1 << (8 * (size % 4));
    t = text + size * 3 + 23;
    *t = 0;
    for (n = words; n && !w[n - 1];)
        n--;
    while (n) {
        uint64_t rest = 0;
        for (size_t i = n; i-- > 0;) {
            rest = rest << 32 | w[i];
            w[i] = (uint32_t)(rest / 1000000000);
            rest %= 1000000000;
        }
        while (n && !w[n - 1])
            n--;
        for (int i = 0; i < 9 && (n || rest); i++, rest /= 10)
            *--t = (char)('0' + rest % 10);
    }
    if (minus)
        *--t = '-';
    memmove(text, t, strlen(t) + 1);
    free(w);
    return text;
}

static void put_bigint(output *o, const mp_value *v)
{
    char text[64], *decimal;
    if (v->text.size > MAX_DECIMAL_BYTES) {
        snprintf(text, sizeof text, "<int of %zu bits>", v->text.size * 8);
        put_str(o, text);
        return;
    }
    decimal = mp__bigint_decimal((const unsigned char *)v->text.data, v->text.size);
    if (!decimal) {
        o->failed = true;
        return;
    }
    put_str(o, decimal);
    free(decimal);
}

/* ---- text ---- */

static bool is_printable(uint32_t c)
{
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t low = 0, high = MP__COUNT_OF(printable);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > printable[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < MP__COUNT_OF(printable) && c >= printable[low].first;
}

/* One character of valid UTF-8; returns its length. */
static size_t decode(const unsigned char *p, uint32_t *ret_code)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    *ret_code = c;
    return n;
}

static void put_escaped(output *o, uint32_t c, char quote)
{
    char text[16];
    if (c == (uint32_t)quote || c == '\\')
        snprintf(text, sizeof text, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    put_str(o, text);
}

static void put_text(output *o, const mp_value *v)
{
    const unsigned char *p = (const unsigned char *)v->text.data, *end = p + v->text.size;
    bool is_bytes = v->kind == MP_KIND_BYTES;
    char quote = memchr(p, '\'', v->text.size) && !memchr(p, '"', v->text.size) ? '"' : '\'';
    if (is_bytes)
        put(o, "b", 1);
    put(o, &quote, 1);
    while (p < end) {
        uint32_t c = *p;
        size_t n = is_bytes ? 1 : decode(p, &c);
        bool plain = is_bytes ? c >= 0x20 && c < 0x7f : is_printable(c);
        if (plain && c != (uint32_t)quote && c != '\\')
            put(o, (const char *)p, n);
        else
            put_escaped(o, c, quote);
        p += n;
    }
    put(o, &quote, 1);
}

/* ---- everything ---- */

static void put_value(output *o, const mp_value *v);

static void put_items(output *o, const mp_value *v)
{
    static const char *const brackets[] = {"[]", "()", "{}"};
    const char *b = brackets[v->kind - MP_KIND_LIST];
    put(o, b, 1);
    for (size_t i = 0; i < v->seq.n && !o->failed; i++) {
        if (i)
            put(o, ", ", 2);
        if (v->kind == MP_KIND_DICT) {
            put_value(o, v->seq.items[2 * i]);
            put(o, ": ", 2);
        }
        put_value(o, mp_value_item(v, i));
    }
    if (v->kind == MP_KIND_TUPLE && v->seq.n == 1)
        put(o, ",", 1);
    put(o, b + 1, 1);
}

static void put_value(output *o, const mp_value *v)
{
    char text[96];
    switch ((mp_kind)v->kind) {
    case MP_KIND_NONE:
        put_str(o, "None");
        break;
    case MP_KIND_BOOL:
        put_str(o, v->truth ? "True" : "False");
        break;
    case MP_KIND_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->number);
        put_str(o, text);
        break;
    case MP_KIND_BIGINT:
        put_bigint(o, v);
        break;
    case MP_KIND_FLOAT:
        put_float(o, v->real);
        break;
    case MP_KIND_STR:
    case MP_KIND_BYTES:
        put_text(o, v);
        break;
    case MP_KIND_HANDLE:
        snprintf(text, sizeof text, "<%s at %p>", v->handle.ops->type_name, v->handle.object);
        put_str(o, text);
        break;
    default:
        put_items(o, v);
    }
}

char *mp_value_repr(const mp_value *value)
{
    MP__CHECK_NULL(mp__is(value, MP__MAGIC_VALUE));
    output o = {0};
    put_value(&o, value);
    put(&o, "", 1);
    if (!o.failed)
        return o.text;
    free(o.text);
    return mp__null(-ENOMEM);
}
