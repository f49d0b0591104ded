/* SPDX-License-Identifier: MIT */
/* Owns the proof of values and buffers: building, taking apart, order, print, and the wire form. */
#include <float.h>
#include <limits.h>
#include <math.h>

#include "base/fault.h"
#include "harness.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BYTES(literal) (literal), sizeof(literal) - 1

/* ---- helpers ---- */

static mp_value *sint(int64_t n)
{
    return mp_value_int(n);
}

/* 2 ** power + add, as a value. */
static mp_value *power_of_two(unsigned power, int add)
{
    unsigned char bytes[256] = {0};
    bytes[power / 8] = (unsigned char)(1u << power % 8);
    for (int i = 0, carry = add; i < 256; i++) {
        carry += bytes[i];
        bytes[i] = (unsigned char)carry;
        carry >>= 8;
    }
    return mp_value_bigint(bytes, sizeof bytes);
}

static mp_value *negated_power_of_two(unsigned power)
{
    unsigned char bytes[256] = {0};
    memset(bytes + power / 8, 0xff, sizeof bytes - power / 8);
    bytes[power / 8] = (unsigned char)(0xffu << power % 8);
    return mp_value_bigint(bytes, sizeof bytes);
}

static int decode(const void *data, size_t size, mp_value **ret)
{
    return mp_value_decode(data, size, NULL, ret);
}

/* What a pickle decodes to, as its repr; or the name of the error. */
static const char *decoded(const void *data, size_t size)
{
    mp_value *v = NULL;
    char *exact = malloc(size + 1); /* so that a sanitizer sees each byte read too far */
    memcpy(exact, data, size);
    char *copy = realloc(exact, size ? size : 1);
    int r = decode(copy, size, &v);
    free(copy);
    if (r < 0) {
        EXPECT(v == NULL);
        EXPECT(*mp_error_detail());
        return mp_error_name(r);
    }
    return harness_repr(v);
}

#define DECODES(pickle, text) EXPECT_STR(decoded(BYTES(pickle)), text)

/* Encodes, decodes, compares; takes the value and returns what came out. */
static mp_value *round_trip(mp_value *v)
{
    mp_buffer *b;
    mp_value *back;
    EXPECT(v);
    EXPECT_OK(mp_value_encode(mp_value_ref(v), &b));
    EXPECT_OK(decode(mp_buffer_data(b), mp_buffer_size(b), &back));
    EXPECT_EQ(mp_value_kind(back), mp_value_kind(v));
    EXPECT_EQ(mp_value_equal(v, back), 1);
    mp_buffer_free(b);
    mp_value_free(v);
    return back;
}

static void encodes_as(mp_value *v, const void *bytes, size_t size)
{
    mp_buffer *b;
    EXPECT_OK(mp_value_encode(v, &b));
    EXPECT_EQ(mp_buffer_size(b), size);
    EXPECT(memcmp(mp_buffer_data(b), bytes, size) == 0);
    mp_buffer_free(b);
}

static int equal(mp_value *a, mp_value *b)
{
    int forth = mp_value_equal(a, b), back = mp_value_equal(b, a);
    EXPECT_EQ(forth, back);
    mp_value_free(a);
    mp_value_free(b);
    return forth;
}

/* The order of two values, or the error; both directions must agree. */
static int order(mp_value *a, mp_value *b)
{
    int forth = 99, back = 99;
    int r = mp_value_compare(a, b, &forth), s = mp_value_compare(b, a, &back);
    EXPECT_EQ(r, s);
    if (r < 0)
        EXPECT(forth == 99 && back == 99); /* untouched */
    else
        EXPECT_EQ(forth, -back);
    mp_value_free(a);
    mp_value_free(b);
    return r < 0 ? r : forth;
}

/* A constructor must have failed with this code. */
static void expect_null(mp_value *v, int code)
{
    EXPECT(v == NULL);
    EXPECT_EQ(mp_error_code(), code);
}

static mp_value *bad_str(void)
{
    return mp_value_str("\xff");
}

#if !defined(__GLIBC__)
#define HAVE_HEAP_CENSUS 0
#elif defined(__SANITIZE_ADDRESS__)
#define HAVE_HEAP_CENSUS 0 /* the sanitizer counts better */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_HEAP_CENSUS 0
#endif
#endif
#ifndef HAVE_HEAP_CENSUS
#define HAVE_HEAP_CENSUS 1
#endif

static size_t heap_in_use(void)
{
#if HAVE_HEAP_CENSUS
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

/* ---- single values ---- */

TEST(none_and_bool)
{
    int truth = 7;
    mp_value *none = mp_value_none(), *yes = mp_value_bool(5), *no = mp_value_bool(0);
    EXPECT_EQ(mp_value_kind(none), MP_KIND_NONE);
    EXPECT_EQ(mp_value_kind(yes), MP_KIND_BOOL);
    EXPECT_STR(mp_value_type_name(none), "NoneType");
    EXPECT_STR(mp_value_type_name(yes), "bool");
    EXPECT_OK(mp_value_get_bool(yes, &truth));
    EXPECT_EQ(truth, 1);
    EXPECT_OK(mp_value_get_bool(no, &truth));
    EXPECT_EQ(truth, 0);
    truth = 7;
    EXPECT_EQ(mp_value_get_bool(none, &truth), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "NoneType");
    EXPECT_EQ(truth, 7);
    EXPECT(mp_value_ref(none) == none);
    for (int i = 0; i < 3; i++) { /* one object each: the count does not matter */
        mp_value_free(none);
        mp_value_free(yes);
    }
    EXPECT_STR(harness_repr(mp_value_none()), "None");
    EXPECT_STR(harness_repr(mp_value_bool(1)), "True");
    EXPECT_STR(harness_repr(mp_value_bool(0)), "False");
}

TEST(null_is_harmless)
{
    EXPECT_EQ(mp_value_kind(NULL), MP_KIND_NONE);
    EXPECT_STR(mp_value_type_name(NULL), "NULL");
    EXPECT(mp_value_ref(NULL) == NULL);
    mp_value_free(NULL);
    mp_buffer_free(NULL);
    EXPECT(mp_value_get_str(NULL, NULL) == NULL);
    EXPECT(mp_value_get_bytes(NULL, NULL) == NULL);
    EXPECT(mp_value_item(NULL, 0) == NULL);
    EXPECT(mp_value_key(NULL, 0) == NULL);
    EXPECT(mp_value_lookup(NULL, NULL) == NULL);
    EXPECT(mp_value_lookup_str(NULL, "a") == NULL);
    EXPECT_EQ(mp_value_equal(NULL, NULL), 0);
    EXPECT_EQ(mp_value_equal(NULL, mp_value_none()), 0);
    EXPECT_EQ(mp_buffer_size(NULL), 0);
}

#ifndef MULTIPROC_DEBUG /* where misuse aborts */
TEST(misuse_is_an_error)
{
    int truth, o;
    int64_t s;
    uint64_t u;
    double d;
    mp_value *v = NULL;
    mp_buffer *b = NULL;
    mp_limits short_limits = {1, 0, 0};
    EXPECT_EQ(mp_value_get_bool(NULL, &truth), -EINVAL);
    EXPECT_EQ(mp_value_get_int(NULL, &s), -EINVAL);
    EXPECT_EQ(mp_value_get_uint(NULL, &u), -EINVAL);
    EXPECT_EQ(mp_value_get_float(NULL, &d), -EINVAL);
    EXPECT_EQ(mp_value_get_bool(mp_value_bool(1), NULL), -EINVAL);
    EXPECT_EQ(mp_value_len(NULL), -EINVAL);
    EXPECT_EQ(mp_value_compare(NULL, NULL, &o), -EINVAL);
    EXPECT_EQ(mp_value_decode(NULL, 3, NULL, &v), -EINVAL);
    EXPECT_EQ(mp_value_decode("", 0, NULL, NULL), -EINVAL);
    EXPECT_EQ(mp_value_decode("", 0, &short_limits, &v), -EINVAL);
    EXPECT_EQ(mp_value_encode(mp_value_none(), NULL), -EINVAL);
    EXPECT(mp_value_repr(NULL) == NULL);
    expect_null(mp_value_str(NULL), -EINVAL);
    expect_null(mp_value_str_n(NULL, 1), -EINVAL);
    expect_null(mp_value_bytes(NULL, 1), -EINVAL);
    expect_null(mp_value_bytes_of(NULL), -EINVAL);
    expect_null(mp_value_bigint(NULL, 1), -EINVAL);
    expect_null(mp_value_list(NULL, 1), -EINVAL);
    expect_null(mp_value_dict(NULL, 1), -EINVAL);
    EXPECT(mp_buffer_copy(NULL, 1) == NULL);
    EXPECT(mp_buffer_data(NULL) == NULL);
    EXPECT(mp_buffer_ref(NULL) == NULL);
    EXPECT(v == NULL && b == NULL);
    /* one kind of handle where another is needed */
    b = mp_buffer_new(3);
    EXPECT_EQ(mp_value_get_int((mp_value *)(void *)b, &s), -EINVAL);
    EXPECT_EQ(mp_buffer_size((mp_buffer *)(void *)mp_value_none()), 0);
    mp_buffer_free(b);
}
#endif

TEST(ints)
{
    static const int64_t numbers[] = {0,
                                      1,
                                      -1,
                                      127,
                                      128,
                                      255,
                                      256,
                                      65535,
                                      65536,
                                      INT32_MAX,
                                      INT32_MIN,
                                      1LL + INT32_MAX,
                                      -1LL + INT32_MIN,
                                      INT64_MAX,
                                      INT64_MIN};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        mp_value *v = mp_value_int(numbers[i]);
        int64_t s = 1;
        uint64_t u = 77;
        double d = 0;
        char text[32];
        EXPECT_EQ(mp_value_kind(v), MP_KIND_INT);
        EXPECT_STR(mp_value_type_name(v), "int");
        EXPECT_OK(mp_value_get_int(v, &s));
        EXPECT_EQ(s, numbers[i]);
        EXPECT_EQ(mp_value_get_uint(v, &u), numbers[i] < 0 ? -ERANGE : 0);
        EXPECT_EQ(u, numbers[i] < 0 ? 77 : (uint64_t)numbers[i]);
        EXPECT_OK(mp_value_get_float(v, &d));
        EXPECT(d == (double)numbers[i]);
        snprintf(text, sizeof text, "%lld", (long long)numbers[i]);
        EXPECT_STR(harness_repr(round_trip(v)), text);
    }
}

TEST(uints)
{
    uint64_t u = 0;
    int64_t s = 77;
    double d = 77;
    mp_value *v = mp_value_uint(INT64_MAX);
    EXPECT_EQ(mp_value_kind(v), MP_KIND_INT);
    mp_value_free(v);
    v = mp_value_uint(UINT64_MAX);
    EXPECT_EQ(mp_value_kind(v), MP_KIND_BIGINT);
    EXPECT_OK(mp_value_get_uint(v, &u));
    EXPECT(u == UINT64_MAX);
    EXPECT_EQ(mp_value_get_int(v, &s), -ERANGE);
    EXPECT_EQ(mp_value_get_float(v, &d), -ERANGE);
    EXPECT(s == 77 && d == 77);
    EXPECT_STR(harness_repr(round_trip(v)), "18446744073709551615");
    v = mp_value_uint((uint64_t)INT64_MAX + 1);
    EXPECT_OK(mp_value_get_uint(v, &u));
    EXPECT(u == (uint64_t)INT64_MAX + 1);
    EXPECT_STR(harness_repr(v), "9223372036854775808");
    v = power_of_two(64, 0);
    EXPECT_EQ(mp_value_get_uint(v, &u), -ERANGE);
    mp_value_free(v);
    v = negated_power_of_two(64);
    EXPECT_EQ(mp_value_get_uint(v, &u), -ERANGE);
    mp_value_free(v);
}

TEST(bool_is_an_int_and_int_is_a_float)
{
    int64_t s = 0;
    uint64_t u = 0;
    double d = 0;
    int truth = 7;
    EXPECT_OK(mp_value_get_int(mp_value_bool(1), &s));
    EXPECT_OK(mp_value_get_uint(mp_value_bool(1), &u));
    EXPECT_OK(mp_value_get_float(mp_value_bool(1), &d));
    EXPECT(s == 1 && u == 1 && d == 1);
    mp_value *v = mp_value_int(1), *f = mp_value_float(1), *t = mp_value_str("1");
    EXPECT_EQ(mp_value_get_bool(v, &truth), MP_ETYPE); /* not the other way round */
    EXPECT_EQ(mp_value_get_int(f, &s), MP_ETYPE);
    EXPECT_EQ(mp_value_get_uint(f, &u), MP_ETYPE);
    EXPECT_EQ(mp_value_get_int(t, &s), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "str");
    EXPECT_EQ(mp_value_get_uint(t, &u), MP_ETYPE);
    EXPECT_EQ(mp_value_get_float(t, &d), MP_ETYPE);
    EXPECT_EQ(mp_value_get_float(mp_value_none(), &d), MP_ETYPE);
    mp_value_free(v);
    mp_value_free(f);
    mp_value_free(t);
}

TEST(bigints_are_normalised)
{
    static const struct {
        const char *bytes;
        size_t size;
        mp_kind kind;
        const char *text;
    } cases[] = {
        {BYTES(""), MP_KIND_INT, "0"},
        {BYTES("\0"), MP_KIND_INT, "0"},
        {BYTES("\x7f"), MP_KIND_INT, "127"},
        {BYTES("\x80"), MP_KIND_INT, "-128"},
        {BYTES("\x80\0"), MP_KIND_INT, "128"},
        {BYTES("\xff"), MP_KIND_INT, "-1"},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), MP_KIND_INT, "-1"},
        {BYTES("\0\0\0\0\0\0\0\0\0\0\0\0"), MP_KIND_INT, "0"},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\x7f"), MP_KIND_INT, "9223372036854775807"},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\x7f\0\0"), MP_KIND_INT, "9223372036854775807"},
        {BYTES("\0\0\0\0\0\0\0\x80"), MP_KIND_INT, "-9223372036854775808"},
        {BYTES("\0\0\0\0\0\0\0\x80\xff\xff"), MP_KIND_INT, "-9223372036854775808"},
        {BYTES("\0\0\0\0\0\0\0\x80\0"), MP_KIND_BIGINT, "9223372036854775808"},
        {BYTES("\0\0\0\0\0\0\0\x80\0\0\0"), MP_KIND_BIGINT, "9223372036854775808"},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\x7f\xff"), MP_KIND_BIGINT, "-9223372036854775809"},
        {BYTES("\0\0\0\0\0\0\0\0\x01"), MP_KIND_BIGINT, "18446744073709551616"},
        {BYTES("\0\0\0\0\0\0\0\0\xff"), MP_KIND_BIGINT, "-18446744073709551616"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        mp_value *v = mp_value_bigint(cases[i].bytes, cases[i].size);
        EXPECT_EQ(mp_value_kind(v), cases[i].kind);
        EXPECT_STR(mp_value_type_name(v), "int");
        if (cases[i].kind == MP_KIND_BIGINT) {
            size_t size = 0;
            EXPECT(mp_value_get_bytes(v, &size));
            EXPECT_EQ(size, 9);
        } else {
            EXPECT(mp_value_get_bytes(v, NULL) == NULL);
        }
        EXPECT_STR(harness_repr(round_trip(v)), cases[i].text);
    }
}

TEST(bigints_in_decimal)
{
    EXPECT_STR(harness_repr(power_of_two(200, 0)),
               "1606938044258990275541962092341162602522202993782792835301376");
    EXPECT_STR(harness_repr(negated_power_of_two(200)),
               "-1606938044258990275541962092341162602522202993782792835301376");
    EXPECT_STR(harness_repr(power_of_two(128, 1)), "340282366920938463463374607431768211457");
    EXPECT_STR(harness_repr(negated_power_of_two(96)), "-79228162514264337593543950336");
    /* 10 ** 27: zeros inside of the groups of nine digits */
    EXPECT_STR(harness_repr(mp_value_bigint("\0\0\0\xe8\x3c\x80\xd0\x9f\x3c\x2e\x3b\x03", 12)),
               "1000000000000000000000000000");
    static unsigned char large[2001]; /* Python refuses to print it */
    large[2000] = 1;
    EXPECT_HAS(harness_repr(mp_value_bigint(large, sizeof large)), "bits");
}

TEST(floats_print_as_in_python)
{
    static const struct {
        double d;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100, "100.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {1.5e16, "1.5e+16"},
        {123456789012345680, "1.2345678901234568e+17"},
        {9999999999999998, "9999999999999998.0"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {0.00012345, "0.00012345"},
        {1e22, "1e+22"},
        {1e100, "1e+100"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {5e-324, "5e-324"},
        {DBL_EPSILON, "2.220446049250313e-16"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {-NAN, "nan"},
        {3.14, "3.14"},
        {9007199254740993.0, "9007199254740992.0"},
        {0x1p-44, "5.684341886080802e-14"},
        {-0x1p-44, "-5.684341886080802e-14"},
        {0x1p-1074 * 3, "1.5e-323"},
        {1e23, "1e+23"},
        {12345678.9, "12345678.9"},
        {1234567890123456.7, "1234567890123456.8"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        EXPECT_STR(harness_repr(mp_value_float(cases[i].d)), cases[i].text);
        mp_buffer *b;
        mp_value *v;
        double d = 0;
        EXPECT_OK(mp_value_encode(mp_value_float(cases[i].d), &b));
        EXPECT_OK(decode(mp_buffer_data(b), mp_buffer_size(b), &v));
        EXPECT_OK(mp_value_get_float(v, &d));
        EXPECT(memcmp(&d, &cases[i].d, sizeof d) == 0); /* also the sign of zero and NaN */
        EXPECT_STR(mp_value_type_name(v), "float");
        mp_value_free(v);
        mp_buffer_free(b);
    }
}

/* ---- text ---- */

TEST(strs)
{
    size_t size = 0;
    mp_value *v = mp_value_str("h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(mp_value_kind(v), MP_KIND_STR);
    EXPECT_STR(mp_value_type_name(v), "str");
    EXPECT_STR(mp_value_get_str(v, &size), "h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(size, 15);
    EXPECT_EQ(mp_value_len(v), 9);
    EXPECT(mp_value_get_bytes(v, NULL) == NULL);
    EXPECT_STR(harness_repr(round_trip(v)), "'h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80'");
    v = mp_value_str_n("a\0b", 3);
    EXPECT_EQ(mp_value_len(v), 3);
    EXPECT_EQ(mp_value_get_str(v, &size)[3], 0);
    EXPECT_EQ(size, 3);
    EXPECT_STR(harness_repr(round_trip(v)), "'a\\x00b'");
    v = mp_value_str_n(NULL, 0);
    EXPECT_EQ(mp_value_len(v), 0);
    EXPECT_STR(mp_value_get_str(v, NULL), "");
    EXPECT_STR(harness_repr(round_trip(v)), "''");
    EXPECT(mp_value_get_str(mp_value_none(), &size) == NULL);
}

TEST(utf8_is_checked)
{
    static const char *const good[] = {
        "",
        "\x7f",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "12345678\xc2\x80",
    };
    static const char *const bad[] = {
        "\x80", /* a continuation alone */
        "\xbf",
        "\xc0\x80", /* overlong NUL */
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80", /* above U+10FFFF */
        "\xfe",
        "\xff",
        "\xc2",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xe2",
        "\xf0", /* truncated */
        "\xc2g",
        "\xe2g\x82",
        "\xe2\x82g",
        "\xf0\x9f\x98g",
        "\xf0\x9fg\x80",
    };
    char text[64];
    mp_value *v;
    for (size_t at = 0; at < 20; at++) { /* on each side of the fast path of eight bytes */
        memset(text, 'x', sizeof text);
        for (size_t i = 0; i < COUNT(good); i++) {
            memcpy(text + at, good[i], strlen(good[i]));
            v = mp_value_str_n(text, at + strlen(good[i]));
            EXPECT(v);
            mp_value_free(round_trip(v));
        }
        for (size_t i = 0; i < COUNT(bad); i++) {
            size_t n = strlen(bad[i]);
            memcpy(text + at, bad[i], n);
            char *exact = malloc(at + n);
            memcpy(exact, text, at + n);
            expect_null(mp_value_str_n(exact, at + n), -EILSEQ);
            free(exact);
            expect_null(mp_value_str_n(text, sizeof text - 1), -EILSEQ);
            char pickle[80] = "\x80\x04\x8c";
            pickle[3] = (char)(at + n);
            memcpy(pickle + 4, text, at + n);
            pickle[4 + at + n] = '.';
            EXPECT_STR(decoded(pickle, 5 + at + n), "EILSEQ");
            memset(text + at, 'x', n);
        }
    }
}

TEST(bytes_and_views)
{
    size_t size = 0;
    mp_value *v = mp_value_bytes("a\0\xff'", 4);
    EXPECT_EQ(mp_value_kind(v), MP_KIND_BYTES);
    EXPECT_STR(mp_value_type_name(v), "bytes");
    EXPECT(memcmp(mp_value_get_bytes(v, &size), "a\0\xff'", 5) == 0);
    EXPECT_EQ(size, 4);
    EXPECT_EQ(mp_value_len(v), 4);
    EXPECT(mp_value_get_str(v, NULL) == NULL);
    EXPECT_STR(harness_repr(round_trip(v)), "b\"a\\x00\\xff'\"");
    EXPECT_STR(harness_repr(round_trip(mp_value_bytes(NULL, 0))), "b''");
    mp_buffer *b = mp_buffer_copy("shared", 6);
    v = mp_value_bytes_of(b);
    EXPECT(mp_value_get_bytes(v, &size) == mp_buffer_data(b)); /* not a copy */
    mp_buffer_free(b);
    EXPECT_STR(harness_repr(round_trip(v)), "b'shared'");
    b = mp_buffer_new(0);
    v = mp_value_bytes_of(b);
    mp_buffer_free(b);
    EXPECT_STR(harness_repr(v), "b''");
}

TEST(quotes_and_escapes)
{
    EXPECT_STR(harness_repr(mp_v("it's")), "\"it's\"");
    EXPECT_STR(harness_repr(mp_v("\"")), "'\"'");
    EXPECT_STR(harness_repr(mp_v("'\"")), "'\\'\"'");
    EXPECT_STR(harness_repr(mp_v("\\\n\r\t\a\x1b\x7f")), "'\\\\\\n\\r\\t\\x07\\x1b\\x7f'");
    EXPECT_STR(harness_repr(mp_v("\xc2\x80\xc2\xa0\xc2\xad\xc3\xbf")), "'\\x80\\xa0\\xad\xc3\xbf'");
    EXPECT_STR(harness_repr(mp_v("\xe2\x80\xa8\xef\xbb\xbf")), "'\\u2028\\ufeff'");
    EXPECT_STR(harness_repr(mp_v("\xf3\xa0\x80\x81\xf4\x8f\xbf\xbf")), "'\\U000e0001\\U0010ffff'");
    EXPECT_STR(harness_repr(mp_v("\xce\xb1\xe4\xb8\xad")), "'\xce\xb1\xe4\xb8\xad'");
    EXPECT_STR(harness_repr(mp_value_bytes(BYTES("'\"\\\n\x80~"))), "b'\\'\"\\\\\\n\\x80~'");
}

/* ---- containers ---- */

TEST(lists_and_tuples)
{
    mp_value *v = mp_list_of(sint(1), mp_tuple_of(mp_v("a")), mp_value_list(NULL, 0));
    EXPECT_EQ(mp_value_kind(v), MP_KIND_LIST);
    EXPECT_STR(mp_value_type_name(v), "list");
    EXPECT_EQ(mp_value_len(v), 3);
    EXPECT_EQ(mp_value_kind(mp_value_item(v, 1)), MP_KIND_TUPLE);
    EXPECT_STR(mp_value_type_name(mp_value_item(v, 1)), "tuple");
    EXPECT_STR(mp_value_get_str(mp_value_item(mp_value_item(v, 1), 0), NULL), "a");
    EXPECT(mp_value_item(v, 3) == NULL);
    EXPECT(mp_value_item(v, SIZE_MAX) == NULL);
    EXPECT(mp_value_item(mp_value_item(v, 0), 0) == NULL);
    EXPECT(mp_value_key(v, 0) == NULL);
    EXPECT(mp_value_lookup(v, mp_value_none()) == NULL);
    EXPECT_EQ(mp_value_len(mp_value_item(v, 0)), MP_ETYPE);
    EXPECT_EQ(mp_value_len(mp_value_none()), MP_ETYPE);
    EXPECT_STR(harness_repr(round_trip(v)), "[1, ('a',), []]");
    EXPECT_STR(harness_repr(round_trip(mp_value_tuple(NULL, 0))), "()");
    EXPECT_STR(harness_repr(round_trip(mp_tuple_of(sint(1), sint(2)))), "(1, 2)");
    EXPECT_STR(harness_repr(round_trip(mp_tuple_of(sint(1), sint(2), sint(3)))), "(1, 2, 3)");
    EXPECT_STR(harness_repr(round_trip(mp_tuple_of(sint(1), sint(2), sint(3), sint(4)))),
               "(1, 2, 3, 4)");
    EXPECT_STR(harness_repr(mp_list_of(mp_tuple_of(mp_tuple_of(mp_v(1))))), "[((1,),)]");
}

TEST(dicts)
{
    mp_value *v = mp_dict_of(mp_v("a"), sint(1), mp_value_none(), sint(2), mp_tuple_of(sint(3)),
                             mp_value_dict(NULL, 0));
    EXPECT_EQ(mp_value_kind(v), MP_KIND_DICT);
    EXPECT_STR(mp_value_type_name(v), "dict");
    EXPECT_EQ(mp_value_len(v), 3);
    EXPECT_STR(mp_value_get_str(mp_value_key(v, 0), NULL), "a");
    EXPECT(mp_value_key(v, 3) == NULL);
    EXPECT(mp_value_item(v, 3) == NULL);
    EXPECT(mp_value_lookup_str(v, "a") == mp_value_item(v, 0));
    EXPECT(mp_value_lookup_str(v, "b") == NULL);
    EXPECT(mp_value_lookup(v, mp_value_none()) == mp_value_item(v, 1));
    mp_value *key = mp_tuple_of(mp_value_float(3.0)), *list = mp_list_of(sint(3));
    EXPECT(mp_value_lookup(v, key) == mp_value_item(v, 2));
    EXPECT(mp_value_lookup(v, list) == NULL);
    EXPECT(mp_value_lookup(v, NULL) == NULL);
    mp_value_free(key);
    mp_value_free(list);
    EXPECT_STR(harness_repr(round_trip(v)), "{'a': 1, None: 2, (3,): {}}");
}

TEST(equal_keys_are_one_key)
{
    mp_value *v = mp_dict_of(sint(1), mp_v("int"), mp_v("x"), sint(0), mp_value_float(1.0),
                             mp_v("float"), mp_value_bool(1), mp_v("bool"));
    EXPECT_STR(harness_repr(v), "{1: 'bool', 'x': 0}"); /* the first key, the last value */
    v = mp_dict_of(mp_value_float(0x1p80), sint(1), power_of_two(80, 0), sint(2));
    EXPECT_STR(harness_repr(v), "{1.2089258196146292e+24: 2}");
    v = mp_dict_of(mp_value_float(-0.0), sint(1), sint(0), sint(2), mp_value_bool(0), sint(3));
    EXPECT_STR(harness_repr(v), "{-0.0: 3}");
    v = mp_dict_of(mp_v("1"), sint(1), mp_value_bytes("1", 1), sint(2), sint(1), sint(3));
    EXPECT_STR(harness_repr(v), "{'1': 1, b'1': 2, 1: 3}");
    v = mp_dict_of(mp_tuple_of(sint(1)), sint(1), mp_tuple_of(mp_value_bool(1)), sint(2));
    EXPECT_STR(harness_repr(v), "{(1,): 2}");
}

/* The same with an index: numbers of all kinds meet, whatever their size. */
TEST(large_dicts_have_an_index)
{
    enum { N = 1000 };
    mp_value *items[4 * N + 8], *v;
    size_t n = 0;
    for (int i = 0; i < N; i++) {
        items[n++] = i % 2 ? sint(i) : mp_value_float(i);
        items[n++] = sint(-i);
    }
    for (int i = 0; i < N; i++) { /* each one again, as the other kind */
        items[n++] = i % 2 ? mp_value_float(i) : sint(i);
        items[n++] = sint(i * 10);
    }
    items[n++] = mp_value_float(0x1p70);
    items[n++] = mp_v("float");
    items[n++] = negated_power_of_two(100);
    items[n++] = mp_v("int");
    items[n++] = power_of_two(70, 0);
    items[n++] = mp_v("2**70");
    items[n++] = mp_value_float(-0x1p100);
    items[n++] = mp_v("-2**100");
    v = mp_value_dict(items, n / 2);
    EXPECT_EQ(mp_value_len(v), N + 2);
    for (int i = 0; i < N; i++) {
        int64_t s = 0;
        mp_value *key = i % 3 ? sint(i) : mp_value_float(i);
        EXPECT_OK(mp_value_get_int(mp_value_lookup(v, key), &s));
        EXPECT_EQ(s, i * 10);
        EXPECT_EQ(mp_value_kind(mp_value_key(v, (size_t)i)), i % 2 ? MP_KIND_INT : MP_KIND_FLOAT);
        mp_value_free(key);
    }
    EXPECT_STR(harness_repr(mp_value_ref(mp_value_item(v, N))), "'2**70'");
    EXPECT_STR(harness_repr(mp_value_ref(mp_value_item(v, N + 1))), "'-2**100'");
    EXPECT(mp_value_lookup_str(v, "x") == NULL);
    mp_value_free(round_trip(v));
}

TEST(many_equal_keys_shrink_the_index)
{
    mp_value *items[200], *v;
    for (int i = 0; i < 100; i++) {
        items[2 * i] = sint(i % 3);
        items[2 * i + 1] = sint(i);
    }
    v = mp_value_dict(items, 100);
    EXPECT_EQ(mp_value_len(v), 3);
    mp_value *key = sint(2), *none = sint(3);
    EXPECT(mp_value_lookup(v, key) == mp_value_item(v, 2));
    EXPECT(mp_value_lookup(v, none) == NULL);
    mp_value_free(key);
    mp_value_free(none);
    EXPECT_STR(harness_repr(round_trip(v)), "{0: 99, 1: 97, 2: 98}");
}

TEST(keys_must_be_hashable)
{
    expect_null(mp_dict_of(mp_value_list(NULL, 0), sint(1)), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "list");
    expect_null(mp_dict_of(sint(1), sint(1), mp_value_dict(NULL, 0), sint(1)), MP_ETYPE);
    expect_null(mp_dict_of(mp_tuple_of(mp_tuple_of(mp_value_list(NULL, 0))), sint(1)), MP_ETYPE);
    DECODES("\x80\x04}]Ns.", "MP_ETYPE");
    DECODES("\x80\x04}}Ns.", "MP_ETYPE");
    DECODES("\x80\x04}]\x85Ns.", "MP_ETYPE");
}

/* A NaN is equal to nothing, but the same object is one key. */
TEST(nan_keys)
{
    mp_value *nan = mp_value_float(NAN), *other = mp_value_float(NAN);
    mp_value *v = mp_dict_of(mp_value_ref(nan), sint(1), mp_value_ref(other), sint(2),
                             mp_value_ref(nan), sint(3));
    EXPECT_EQ(mp_value_len(v), 2);
    EXPECT(mp_value_lookup(v, nan) == mp_value_item(v, 0));
    mp_value *third = mp_value_float(NAN);
    EXPECT(mp_value_lookup(v, third) == NULL);
    mp_value *w = mp_dict_of(mp_value_ref(nan), sint(3), other, sint(2));
    EXPECT_EQ(equal(v, w), 1);
    v = mp_dict_of(sint(1), mp_value_ref(nan));
    w = mp_dict_of(sint(1), mp_value_ref(nan));
    EXPECT_EQ(equal(v, w), 1);
    EXPECT_EQ(equal(mp_list_of(mp_value_ref(nan)), mp_list_of(mp_value_ref(nan))), 1);
    EXPECT_EQ(equal(mp_list_of(nan), mp_list_of(third)), 0);
}

/* Keys that shared one hash would make this take minutes: the harness has a deadline. */
TEST(keys_do_not_collide)
{
    enum { N = 200000 };
    mp_value **items = malloc(2 * N * sizeof *items);
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < N; i++) {
            unsigned char bytes[12] = {0};
            memcpy(bytes, &i, sizeof i);
            bytes[11] = 1;
            items[2 * i] = kind == 0   ? mp_value_float(NAN)
                           : kind == 1 ? mp_value_bigint(bytes, sizeof bytes)
                           : kind == 2 ? mp_value_float(ldexp(1 + i, 900))
                                       : mp_tuple_of(mp_value_bigint(bytes, sizeof bytes));
            items[2 * i + 1] = mp_value_none();
        }
        mp_value *v = mp_value_dict(items, N);
        EXPECT_EQ(mp_value_len(v), N);
        mp_value_free(v);
    }
    free(items);
}

/* ---- ownership ---- */

TEST(null_items_pass_the_error_on)
{
    size_t before = 0;
    for (int round = 0; round < 20; round++) {
        mp_value *kept = mp_v("kept");
        expect_null(mp_list_of(mp_value_ref(kept), bad_str(), sint(1)), -EILSEQ);
        expect_null(mp_tuple_of(bad_str()), -EILSEQ);
        expect_null(mp_dict_of(mp_v("k"), mp_list_of(sint(1), bad_str())), -EILSEQ);
        expect_null(mp_list_of(mp_list_of(mp_dict_of(bad_str(), mp_value_ref(kept)))), -EILSEQ);
        expect_null(mp_dict_of(mp_value_list(NULL, 0), mp_value_ref(kept)), MP_ETYPE);
        expect_null(mp_list_of(sint(1), mp_dict_of(mp_value_list(NULL, 0), sint(1))), MP_ETYPE);
        mp_buffer *b = NULL;
        EXPECT_EQ(mp_value_encode(bad_str(), &b), -EILSEQ);
        EXPECT_EQ(mp_value_encode(mp_list_of(sint(1), bad_str()), &b), -EILSEQ);
        EXPECT(b == NULL);
        EXPECT_STR(harness_repr(kept), "'kept'"); /* still ours, and the last one */
        if (round == 10)
            before = heap_in_use();
    }
    EXPECT_EQ(heap_in_use(), before);
}

TEST(references)
{
    mp_value *inner = mp_v("inner"), *list = mp_list_of(mp_value_ref(inner), inner);
    EXPECT(mp_value_item(list, 0) == mp_value_item(list, 1));
    mp_value *kept = mp_value_ref(mp_value_item(list, 1));
    EXPECT(mp_value_ref(list) == list);
    mp_value_free(list);
    mp_value_free(list);
    EXPECT_STR(harness_repr(kept), "'inner'");
}

/* Values one of which is made by the library; all errors on the way are -ENOMEM. */
static int build_and_use(void)
{
    mp_buffer *b = NULL;
    mp_value *items[24], *v = NULL;
    for (int i = 0; i < 12; i++) {
        items[2 * i] = i % 2 ? sint(i) : power_of_two(70, i);
        items[2 * i + 1] = mp_tuple_of(mp_v(1.5), mp_value_bytes("abc", 3), mp_value_uint(1));
    }
    v = mp_value_dict(items, 12);
    mp_value *shared = mp_list_of(v, mp_v("text"));
    mp_value *all = shared ? mp_list_of(mp_value_ref(shared), mp_value_ref(shared)) : NULL;
    mp_value_free(shared);
    if (!all)
        return mp_error_code();
    char *text = mp_value_repr(all);
    int r = text ? mp_value_encode(mp_value_ref(all), &b) : mp_error_code();
    free(text);
    v = NULL;
    if (r == 0)
        r = decode(mp_buffer_data(b), mp_buffer_size(b), &v);
    mp_buffer_free(b);
    if (r == 0)
        EXPECT_EQ(mp_value_equal(v, all), 1);
    else
        EXPECT(v == NULL);
    mp_value_free(v);
    mp_value_free(all);
    return r;
}

TEST(no_memory_at_any_point)
{
    EXPECT_OK(build_and_use());
    bool hit = true;
    long n = 1;
    for (; hit; n++) { /* what leaks here, the leak sanitizer finds */
        mp__fault_arm(n, ENOMEM);
        int r = build_and_use();
        hit = mp__fault_hit() != NULL;
        mp__fault_disarm();
        EXPECT_EQ(r, hit ? -ENOMEM : 0);
    }
    EXPECT(n > 100);
}

/* Comparing needs no memory, so it does not fail for want of it. */
TEST(comparing_allocates_nothing)
{
    mp_value *a = power_of_two(90, 0), *b = mp_value_float(0x1p90), *d = mp_dict_of(a, sint(1));
    mp__fault_arm(1, ENOMEM);
    EXPECT_EQ(mp_value_equal(mp_value_key(d, 0), b), 1);
    EXPECT(mp_value_lookup(d, b) != NULL);
    EXPECT(mp__fault_hit() == NULL);
    mp__fault_disarm();
    mp_value_free(b);
    mp_value_free(d);
}

/* ---- comparing ---- */

TEST(numbers_are_equal_by_what_they_are_worth)
{
    EXPECT_EQ(equal(sint(1), mp_value_bool(1)), 1);
    EXPECT_EQ(equal(sint(1), mp_value_float(1)), 1);
    EXPECT_EQ(equal(sint(0), mp_value_float(-0.0)), 1);
    EXPECT_EQ(equal(mp_value_bool(0), mp_value_float(0.5)), 0);
    EXPECT_EQ(equal(sint(1), mp_v("1")), 0);
    EXPECT_EQ(equal(mp_value_none(), mp_value_bool(0)), 0);
    EXPECT_EQ(equal(mp_value_none(), mp_value_none()), 1);
    /* beyond 2 ** 53 a conversion to double would lie */
    EXPECT_EQ(equal(sint((1LL << 53) + 1), mp_value_float(0x1p53)), 0);
    EXPECT_EQ(equal(sint(1LL << 53), mp_value_float(0x1p53)), 1);
    EXPECT_EQ(equal(sint(INT64_MAX), mp_value_float(0x1p63)), 0);
    EXPECT_EQ(equal(sint(INT64_MIN), mp_value_float(-0x1p63)), 1);
    EXPECT_EQ(equal(mp_value_uint(1ULL << 63), mp_value_float(0x1p63)), 1);
    EXPECT_EQ(equal(mp_value_uint(UINT64_MAX), mp_value_float(0x1p64)), 0);
    EXPECT_EQ(equal(power_of_two(1000, 0), mp_value_float(0x1p1000)), 1);
    EXPECT_EQ(equal(power_of_two(1000, 1), mp_value_float(0x1p1000)), 0);
    EXPECT_EQ(equal(power_of_two(1023, 0), mp_value_float(0x1p1023)), 1);
    EXPECT_EQ(equal(power_of_two(1024, 0), mp_value_float(DBL_MAX)), 0);
    for (unsigned power = 62; power < 1024; power++) {
        EXPECT_EQ(equal(power_of_two(power, 0), mp_value_float(ldexp(1, (int)power))), 1);
        EXPECT_EQ(equal(negated_power_of_two(power), mp_value_float(-ldexp(1, (int)power))), 1);
    }
    EXPECT_EQ(equal(mp_value_float(NAN), mp_value_float(NAN)), 0);
    EXPECT_EQ(equal(sint(1), mp_value_float(NAN)), 0);
    EXPECT_EQ(equal(mp_value_float(INFINITY), mp_value_float(INFINITY)), 1);
    EXPECT_EQ(equal(power_of_two(1100, 0), mp_value_float(INFINITY)), 0);
    mp_value *nan = mp_value_float(NAN);
    EXPECT_EQ(mp_value_equal(nan, nan), 0);
    mp_value_free(nan);
}

TEST(equal_containers)
{
    EXPECT_EQ(equal(mp_list_of(sint(1)), mp_tuple_of(sint(1))), 0);
    EXPECT_EQ(equal(mp_list_of(sint(1)), mp_list_of(mp_value_float(1))), 1);
    EXPECT_EQ(equal(mp_list_of(sint(1)), mp_list_of(sint(1), sint(2))), 0);
    EXPECT_EQ(equal(mp_v("a"), mp_value_bytes("a", 1)), 0);
    EXPECT_EQ(equal(mp_v("a"), mp_v("ab")), 0);
    EXPECT_EQ(equal(mp_dict_of(sint(1), mp_v("a"), sint(2), mp_v("b")),
                    mp_dict_of(sint(2), mp_v("b"), mp_value_float(1), mp_v("a"))),
              1);
    EXPECT_EQ(equal(mp_dict_of(sint(1), sint(1)), mp_dict_of(sint(2), sint(1))), 0);
    EXPECT_EQ(equal(mp_dict_of(sint(1), sint(1)), mp_dict_of(sint(1), sint(2))), 0);
    EXPECT_EQ(equal(mp_value_dict(NULL, 0), mp_dict_of(sint(1), sint(2))), 0);
    EXPECT_EQ(equal(mp_value_list(NULL, 0), mp_value_tuple(NULL, 0)), 0);
}

TEST(orders)
{
    EXPECT_EQ(order(sint(1), sint(2)), -1);
    EXPECT_EQ(order(sint(2), mp_value_float(2)), 0);
    EXPECT_EQ(order(sint(2), mp_value_float(2.5)), -1);
    EXPECT_EQ(order(sint(-2), mp_value_float(-2.5)), 1);
    EXPECT_EQ(order(sint(0), mp_value_float(-0.25)), 1);
    EXPECT_EQ(order(mp_value_bool(1), sint(0)), 1);
    EXPECT_EQ(order(sint((1LL << 53) + 1), mp_value_float(0x1p53)), 1);
    EXPECT_EQ(order(sint(INT64_MAX), mp_value_float(0x1p63)), -1);
    EXPECT_EQ(order(sint(INT64_MAX), mp_value_uint(1ULL << 63)), -1);
    EXPECT_EQ(order(sint(INT64_MIN), negated_power_of_two(64)), 1);
    EXPECT_EQ(order(power_of_two(64, 0), negated_power_of_two(70)), 1);
    EXPECT_EQ(order(power_of_two(64, 0), power_of_two(64, 1)), -1);
    EXPECT_EQ(order(power_of_two(64, 0), power_of_two(100, 0)), -1);
    EXPECT_EQ(order(negated_power_of_two(64), negated_power_of_two(100)), 1);
    EXPECT_EQ(order(power_of_two(100, 1), mp_value_float(0x1p100)), 1);
    EXPECT_EQ(order(power_of_two(1024, 0), mp_value_float(DBL_MAX)), 1);
    EXPECT_EQ(order(power_of_two(1024, 0), mp_value_float(INFINITY)), -1);
    EXPECT_EQ(order(sint(0), mp_value_float(-INFINITY)), 1);
    EXPECT_EQ(order(mp_value_float(1), mp_value_float(2)), -1);
    EXPECT_EQ(order(mp_value_float(NAN), sint(1)), -EDOM);
    EXPECT_EQ(order(mp_value_float(NAN), mp_value_float(1)), -EDOM);
    EXPECT_EQ(order(mp_v("a"), mp_v("b")), -1);
    EXPECT_EQ(order(mp_v("ab"), mp_v("a")), 1);
    EXPECT_EQ(order(mp_v("a"), mp_v("a")), 0);
    EXPECT_EQ(order(mp_v("\xef\xbf\xbf"), mp_v("\xf0\x90\x80\x80")), -1); /* by code points */
    EXPECT_EQ(order(mp_value_bytes("\x80", 1), mp_value_bytes("\x7f", 1)), 1);
}

TEST(orders_of_containers)
{
    EXPECT_EQ(order(mp_list_of(sint(1), sint(2)), mp_list_of(sint(1), sint(3))), -1);
    EXPECT_EQ(order(mp_list_of(sint(1)), mp_list_of(sint(1), sint(0))), -1);
    EXPECT_EQ(order(mp_tuple_of(mp_v("b")), mp_tuple_of(mp_v("a"), sint(1))), 1);
    EXPECT_EQ(order(mp_value_list(NULL, 0), mp_value_list(NULL, 0)), 0);
    EXPECT_EQ(order(mp_list_of(mp_value_none(), sint(1)), mp_list_of(mp_value_none(), sint(2))),
              -1);
    EXPECT_EQ(order(mp_list_of(mp_list_of(sint(1))), mp_list_of(mp_list_of(mp_v("a")))), MP_ETYPE);
    EXPECT_EQ(order(mp_list_of(mp_value_float(NAN)), mp_list_of(sint(1))), -EDOM);
    EXPECT_EQ(order(sint(1), mp_v("a")), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "'<'");
    EXPECT_EQ(order(mp_value_none(), mp_value_none()), MP_ETYPE);
    EXPECT_EQ(order(mp_value_dict(NULL, 0), mp_value_dict(NULL, 0)), MP_ETYPE);
    EXPECT_EQ(order(mp_list_of(sint(1)), mp_tuple_of(sint(1))), MP_ETYPE);
    EXPECT_EQ(order(mp_v("a"), mp_value_bytes("a", 1)), MP_ETYPE);
    EXPECT_EQ(order(mp_value_none(), sint(0)), MP_ETYPE);
}

/* ---- wire form ---- */

TEST(encodings_to_the_byte)
{
    encodes_as(mp_value_none(), BYTES("\x80\x04N."));
    encodes_as(mp_value_bool(1), BYTES("\x80\x04\x88."));
    encodes_as(mp_value_bool(0), BYTES("\x80\x04\x89."));
    encodes_as(sint(255), BYTES("\x80\x04K\xff."));
    encodes_as(sint(256), BYTES("\x80\x04M\x00\x01."));
    encodes_as(sint(65536), BYTES("\x80\x04J\x00\x00\x01\x00."));
    encodes_as(sint(-1), BYTES("\x80\x04J\xff\xff\xff\xff."));
    encodes_as(sint(1LL << 40), BYTES("\x80\x04\x8a\x08\x00\x00\x00\x00\x00\x01\x00\x00."));
    encodes_as(power_of_two(64, 0), BYTES("\x80\x04\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."));
    encodes_as(mp_v(1.5), BYTES("\x80\x04G\x3f\xf8\x00\x00\x00\x00\x00\x00."));
    encodes_as(mp_v("ab"), BYTES("\x80\x04\x8c\x02"
                                 "ab."));
    encodes_as(mp_value_bytes("ab", 2), BYTES("\x80\x04"
                                              "C\x02"
                                              "ab."));
    encodes_as(mp_value_list(NULL, 0), BYTES("\x80\x04]."));
    encodes_as(mp_list_of(sint(1)), BYTES("\x80\x04](K\x01"
                                          "e."));
    encodes_as(mp_value_tuple(NULL, 0), BYTES("\x80\x04)."));
    encodes_as(mp_tuple_of(sint(1), sint(2)), BYTES("\x80\x04K\x01K\x02\x86."));
    encodes_as(mp_tuple_of(sint(1), sint(2), sint(3), sint(4)),
               BYTES("\x80\x04(K\x01K\x02K\x03K\x04t."));
    encodes_as(mp_dict_of(sint(1), sint(2)), BYTES("\x80\x04}(K\x01K\x02u."));
    /* a shared part is written once */
    mp_value *inner = mp_list_of(sint(1));
    encodes_as(mp_list_of(mp_value_ref(inner), inner), BYTES("\x80\x04](]\x94(K\x01"
                                                             "eh\x00"
                                                             "e."));
    inner = mp_value_dict(NULL, 0); /* also an empty one: Python's can be added to */
    encodes_as(mp_list_of(mp_value_ref(inner), inner), BYTES("\x80\x04](}\x94h\x00"
                                                             "e."));
    inner = mp_value_tuple(NULL, 0);
    encodes_as(mp_list_of(mp_value_ref(inner), inner), BYTES("\x80\x04]())e."));
}

TEST(sizes_of_text_on_the_wire)
{
    static const size_t sizes[] = {0, 1, 255, 256, 4095, 4096, 65535, 65536, 70000};
    char *text = malloc(70000);
    memset(text, 'x', 70000);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        mp_value_free(round_trip(mp_value_str_n(text, sizes[i])));
        mp_value_free(round_trip(mp_value_bytes(text, sizes[i])));
        mp_value_free(round_trip(mp_value_bigint(text, sizes[i])));
    }
    free(text);
}

/* Every list is its own object, and one byte on the wire is enough for it. */
TEST(what_is_encoded_is_decoded_within_the_default_limits)
{
    enum { N = 100000 };
    mp_value **items = malloc(N * sizeof *items);
    for (int kind = 0; kind < 6; kind++) {
        for (int i = 0; i < N; i++)
            items[i] = kind == 0   ? mp_value_list(NULL, 0)
                       : kind == 1 ? mp_value_dict(NULL, 0)
                       : kind == 2 ? mp_value_tuple(NULL, 0)
                       : kind == 3 ? mp_value_none()
                       : kind == 4 ? sint(i % 256)
                                   : mp_tuple_of(mp_value_none());
        mp_value_free(round_trip(mp_value_list(items, N)));
    }
    free(items);
}

TEST(shared_parts)
{
    mp_value *v;
    /* a = [1]; [a, a, {'k': a}] by BINPUT and by MEMOIZE */
    EXPECT_OK(decode(BYTES("\x80\x02](]q\x05K\x01"
                           "ah\x05}X\x01\0\0\0kh\x05se."),
                     &v));
    EXPECT(mp_value_item(v, 0) == mp_value_item(v, 1));
    EXPECT(mp_value_item(v, 0) == mp_value_lookup_str(mp_value_item(v, 2), "k"));
    EXPECT_STR(harness_repr(v), "[[1], [1], {'k': [1]}]");
    DECODES("\x80\x04](]\x94K\x01"
            "ah\x00"
            "e.",
            "[[1], [1]]");
    DECODES("\x80\x04](]r\x09\0\0\0j\x09\0\0\0e.", "[[], []]");
    /* MEMOIZE numbers by what is in the memo, as in Python */
    DECODES("\x80\x04(K\x07q\x00K\x08\x94h\x00h\x01t.", "(7, 8, 7, 8)");
    DECODES("\x80\x04(K\x07\x94K\x08q\x00K\x09\x94h\x00h\x01t.", "(7, 8, 9, 8, 9)");
    /* sharing survives a round trip, also of long texts */
    char text[100];
    memset(text, 'y', sizeof text);
    mp_value *s = mp_value_str_n(text, sizeof text), *t = mp_tuple_of(mp_value_ref(s), s);
    v = round_trip(mp_list_of(mp_value_ref(t), t));
    EXPECT(mp_value_item(v, 0) == mp_value_item(v, 1));
    EXPECT(mp_value_item(mp_value_item(v, 0), 0) == mp_value_item(mp_value_item(v, 0), 1));
    mp_value_free(v);
    /* more than 256 memo entries */
    mp_value *items[1200];
    for (int i = 0; i < 600; i++)
        items[i] = mp_list_of(sint(i));
    for (int i = 0; i < 600; i++)
        items[600 + i] = mp_value_ref(items[i]);
    v = round_trip(mp_value_list(items, 1200));
    for (size_t i = 0; i < 600; i++)
        EXPECT(mp_value_item(v, i) == mp_value_item(v, 600 + i));
    mp_value_free(v);
}

TEST(bytes_of_protocol_two)
{
    DECODES("\x80\x02"
            "c_codecs\nencode\nX\x03\0\0\0a\xc3\xbfX\x06\0\0\0latin1\x86R.",
            "b'a\\xff'");
    DECODES("\x80\x02"
            "c__builtin__\nbytes\n)R.",
            "b''");
    DECODES("\x80\x02"
            "cbuiltins\nbytes\n)R.",
            "b''");
    DECODES("\x80\x02"
            "c_codecs\nencode\nq\x00"
            "0h\x00X\x01\0\0\0aX\x06\0\0\0latin1\x86R.",
            "b'a'");
    /* the names are good for nothing else */
    DECODES("\x80\x02"
            "c_codecs\nencode\n.",
            "EBADMSG");
    DECODES("\x80\x02](c_codecs\nencode\ne.", "EBADMSG");
    DECODES("\x80\x02"
            "c_codecs\nencode\n\x85.",
            "EBADMSG");
    DECODES("\x80\x02"
            "c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R.",
            "EBADMSG");
    DECODES("\x80\x02"
            "c_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0ascii\x86R.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "c_codecs\nencode\n)R.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "c_codecs\nencode\nNR.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "c__builtin__\nbytes\nN\x85R.",
            "MP_EUNSAFE");
    DECODES("\x80\x02N)R.", "MP_EUNSAFE");
}

TEST(nothing_is_imported_or_called)
{
    static const char ops[] = "iobP\x81\x82\x83\x84\x92\x93";
    for (size_t i = 0; i < sizeof ops - 1; i++) {
        char pickle[] = "\x80\x04N?\n\n\n\n.";
        pickle[3] = ops[i];
        EXPECT_STR(decoded(pickle, sizeof pickle - 1), "MP_EUNSAFE");
    }
    static const char sets[] = "\x8f\x90\x91\x96\x97\x98";
    for (size_t i = 0; i < sizeof sets - 1; i++) {
        char pickle[] = "\x80\x04N?\0\0\0\0\0\0\0\0.";
        pickle[3] = sets[i];
        EXPECT_STR(decoded(pickle, sizeof pickle - 1), "MP_ETYPE");
    }
    DECODES("\x80\x02"
            "cos\nsystem\nX\x02\0\0\0id\x85R.",
            "MP_EUNSAFE");
    EXPECT_HAS(mp_error_detail(), "os.system");
    DECODES("\x80\x02"
            "c_codecs\ndecode\n.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "c_codecsx\nencode\n.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "cbuiltins\nbytearray\n.",
            "MP_EUNSAFE");
    DECODES("\x80\x02"
            "cos\nsystem",
            "EBADMSG");
    DECODES("\x80\x02"
            "cos",
            "EBADMSG");
    DECODES("\x80\x04NQ.", "MP_EUNSAFE"); /* a persistent id */
    DECODES("\x80\x04(\x8c\x09multiprocK\x01K\x01K\x01tQ.",
            "MP_EUNSAFE"); /* not in a plain pickle */
}

TEST(opcodes_of_other_protocols_are_refused)
{
    const char *known = "N\x88\x89KMJ\x8a\x8bG\x8cX\x8d"
                        "CB\x8e]})(aesutld\x85\x86\x87"
                        "012qr\x94hj\x95"
                        "cRQiobP\x81\x82\x83\x84\x92\x93\x8f\x90\x91\x96\x97\x98.";
    for (int op = 1; op < 256; op++) {
        char pickle[] = "\x80\x04NNN?";
        pickle[5] = (char)op;
        if (!strchr(known, op))
            EXPECT_STR(decoded(pickle, sizeof pickle - 1), "EBADMSG");
    }
    DECODES("\x80\x01N.", "EBADMSG");
    DECODES("\x80\x06N.", "EBADMSG");
    DECODES("N.", "EBADMSG");
    DECODES("I1\n.", "EBADMSG");
    DECODES("\x80\x02I1\n.", "EBADMSG");
    for (char protocol = 2; protocol <= 5; protocol++) {
        char pickle[] = {(char)0x80, protocol, 'N', '.'};
        EXPECT_STR(decoded(pickle, sizeof pickle), "None");
    }
}

TEST(damaged_pickles)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {BYTES("")},
        {BYTES("\x80")},
        {BYTES("\x80\x04")},
        {BYTES("\x80\x04N")},
        {BYTES("\x80\x04.")},
        {BYTES("\x80\x04NN.")},
        {BYTES("\x80\x04(.")},
        {BYTES("\x80\x04K")},
        {BYTES("\x80\x04M\1")},
        {BYTES("\x80\x04J\1\1\1")},
        {BYTES("\x80\x04G1234567")},
        {BYTES("\x80\x04\x8a")},
        {BYTES("\x80\x04\x8a\x02\x01")},
        {BYTES("\x80\x04\x8b\xff\xff\xff\xff.")},
        {BYTES("\x80\x04\x8b\0\0\0\x80.")},
        {BYTES("\x80\x04\x8c\x05"
               "abcd")},
        {BYTES("\x80\x04X\x05\0\0\0abcd")},
        {BYTES("\x80\x04"
               "C\x05"
               "abcd")},
        {BYTES("\x80\x04"
               "a.")},
        {BYTES("\x80\x04Na.")},
        {BYTES("\x80\x04NNa.")},
        {BYTES("\x80\x04]a.")},
        {BYTES("\x80\x04}Na.")},
        {BYTES("\x80\x04]NNs.")},
        {BYTES("\x80\x04)Na.")},
        {BYTES("\x80\x04"
               "e.")},
        {BYTES("\x80\x04]e.")},
        {BYTES("\x80\x04(e.")},
        {BYTES("\x80\x04N(Ne.")},
        {BYTES("\x80\x04](Nu.")},
        {BYTES("\x80\x04}(Nu.")},
        {BYTES("\x80\x04}(NNNu.")},
        {BYTES("\x80\x04(Nd.")},
        {BYTES("\x80\x04t.")},
        {BYTES("\x80\x04l.")},
        {BYTES("\x80\x04"
               "d.")},
        {BYTES("\x80\x04\x85.")},
        {BYTES("\x80\x04N\x86.")},
        {BYTES("\x80\x04NN\x87.")},
        {BYTES("\x80\x04N(\x86.")},
        {BYTES("\x80\x04(N\x86.")},
        {BYTES("\x80\x04"
               "0.")},
        {BYTES("\x80\x04"
               "1.")},
        {BYTES("\x80\x04"
               "2.")},
        {BYTES("\x80\x04(2.")},
        {BYTES("\x80\x04q\0.")},
        {BYTES("\x80\x04\x94.")},
        {BYTES("\x80\x04Nh\0.")},
        {BYTES("\x80\x04Nq\x05h\x04.")},
        {BYTES("\x80\x04Nj\xff\xff\xff\xff.")},
        {BYTES("\x80\x04Nr\xff\xff\xff\xff.")},
        {BYTES("\x80\x04\x95\x09\0\0\0\0\0\0\0N.")},
        {BYTES("\x80\x04\x95\x03\0\0\0\0\0\0\0N.")},
        {BYTES("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.")},
        {BYTES("\x80\x04NR.")},
        {BYTES("\x80\x04R.")},
        {BYTES("\x80\x04Q.")},
        {BYTES("\x80\x04](c_codecs\nencode\na.")},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (strcmp(decoded(cases[i].bytes, cases[i].size), "EBADMSG") != 0)
            harness_fail(__FILE__, __LINE__, "case %zu gives %s", i,
                         decoded(cases[i].bytes, cases[i].size));
    /* what follows the STOP is not looked at, as in Python */
    DECODES("\x80\x04N.garbage", "None");
    DECODES("\x80\x04\x95\x02\0\0\0\0\0\0\0N.", "None");
    DECODES("\x80\x04N(KKMMJ1N\x86.", "(None, None)");
    DECODES("\x80\x04N2N0\x86.", "(None, None)");
    DECODES("\x80\x04(NNlNN\x86\x86.", "([None, None], (None, None))");
    DECODES("\x80\x04(K\x01K\x02"
            "d.",
            "{1: 2}");
}

TEST(every_prefix_of_a_pickle_is_an_error)
{
    mp_buffer *b;
    EXPECT_OK(mp_value_encode(
        mp_list_of(
            mp_dict_of(mp_v("key"), mp_tuple_of(sint(1), sint(300), sint(70000), sint(1LL << 40))),
            mp_v(2.5), mp_value_bytes("bytes", 5), power_of_two(90, 0), mp_value_bool(1)),
        &b));
    for (size_t n = 0; n < mp_buffer_size(b); n++)
        EXPECT_STR(decoded(mp_buffer_data(b), n), "EBADMSG");
    mp_buffer_free(b);
}

/* No length is believed: nothing is allocated for bytes that are not there. */
TEST(hostile_lengths_cost_nothing)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {BYTES("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff")},
        {BYTES("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f")},
        {BYTES("\x80\x04\x8e\x00\x00\x00\x00\x10\x00\x00\x00")},
        {BYTES("\x80\x04\x8d\x01\x00\x00\x00\x00\x00\x00\x00")},
        {BYTES("\x80\x04X\xff\xff\xff\xff")},
        {BYTES("\x80\x04"
               "B\xff\xff\xff\xff")},
        {BYTES("\x80\x04\x8b\xff\xff\xff\x7f")},
        {BYTES("\x80\x04\x8a\xff")},
        {BYTES("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        mp_value *v = NULL;
        mp__fault_arm(1, ENOMEM);
        EXPECT_EQ(decode(cases[i].bytes, cases[i].size, &v), -EBADMSG);
        EXPECT_EQ(mp__fault_count(), 0);
        mp__fault_disarm();
    }
}

TEST(knots_are_refused)
{
    size_t before = 0;
    for (int i = 0; i < 20; i++) { /* and given back: this would leak in a cycle */
        DECODES("\x80\x04]\x94h\x00"
                "a.",
                "EBADMSG");
        EXPECT_HAS(mp_error_detail(), "contains itself");
        DECODES("\x80\x04}\x94K\x01h\x00s.", "EBADMSG");
        DECODES("\x80\x04]\x94(h\x00\x85h\x00\x86h\x00"
                "e.",
                "EBADMSG");
        DECODES("\x80\x04]\x94h\x00\x85\x94"
                "a.",
                "EBADMSG");
        DECODES("\x80\x04}\x94(K\x01]\x94h\x00"
                "au.",
                "EBADMSG");
        DECODES("\x80\x04N]\x94h\x00"
                "a0.",
                "EBADMSG"); /* also one that was dropped */
        if (i == 10)
            before = heap_in_use();
    }
    EXPECT_EQ(heap_in_use(), before);
}

/* [[[...]]] with `depth` lists. */
static size_t nested(char *pickle, size_t depth)
{
    size_t n = 0;
    memcpy(pickle, "\x80\x04", 2);
    n = 2;
    memset(pickle + n, ']', depth);
    n += depth;
    memset(pickle + n, 'a', depth - 1);
    n += depth - 1;
    pickle[n++] = '.';
    return n;
}

TEST(depth_is_bounded)
{
    enum { DEEP = 300000 };
    char *pickle = malloc(2 * DEEP + 10);
    mp_value *v = NULL;
    mp_limits limits = MP_LIMITS_INIT;
    EXPECT_OK(decode(pickle, nested(pickle, 1000), &v));
    mp_value_free(round_trip(v));
    v = NULL;
    EXPECT_EQ(decode(pickle, nested(pickle, 1001), &v), MP_ELIMIT);
    EXPECT_EQ(decode(pickle, nested(pickle, DEEP), &v), MP_ELIMIT);
    memset(pickle + 2, 0x85, DEEP); /* tuples: from the inside out */
    pickle[2] = ')';
    pickle[2 + DEEP] = '.';
    EXPECT_EQ(decode(pickle, 3 + DEEP, &v), MP_ELIMIT);
    limits.max_depth = 3;
    EXPECT_EQ(mp_value_decode(pickle, nested(pickle, 4), &limits, &v), MP_ELIMIT);
    EXPECT(v == NULL);
    EXPECT_OK(mp_value_decode(pickle, nested(pickle, 3), &limits, &v));
    EXPECT_STR(harness_repr(v), "[[[]]]");
    limits.max_depth = SIZE_MAX; /* the recursion stays bounded */
    EXPECT_EQ(mp_value_decode(pickle, nested(pickle, 1001), &limits, &v), MP_ELIMIT);
    free(pickle);
    v = mp_value_list(NULL, 0);
    for (int i = 1; i < 1000; i++)
        v = mp_list_of(v);
    EXPECT(v);
    expect_null(mp_list_of(v), MP_ELIMIT);
    EXPECT_HAS(mp_error_detail(), "1000");
}

TEST(memory_is_bounded)
{
    mp_value *v = NULL;
    mp_limits limits = MP_LIMITS_INIT;
    char pickle[4200] = "\x80\x04](";
    limits.max_memory = 10000;
    memset(pickle + 4, ']', 4000);
    memcpy(pickle + 4004, "e.", 2);
    EXPECT_EQ(mp_value_decode(pickle, 4006, &limits, &v), MP_ELIMIT);
    EXPECT_HAS(mp_error_detail(), "10000");
    limits.max_memory = 1 << 20;
    EXPECT_OK(mp_value_decode(pickle, 4006, &limits, &v));
    mp_value_free(v);
    v = NULL;
    memcpy(pickle, "\x80\x04X\xa0\x0f\0\0", 7);
    memset(pickle + 7, 'x', 4000);
    pickle[4007] = '.';
    limits.max_memory = 4000;
    EXPECT_EQ(mp_value_decode(pickle, 4008, &limits, &v), MP_ELIMIT);
    limits.max_memory = 1;
    EXPECT_EQ(mp_value_decode(BYTES("\x80\x04K\x01."), &limits, &v), MP_ELIMIT);
    EXPECT_EQ(mp_value_decode(BYTES("\x80\x04]."), &limits, &v), MP_ELIMIT);
    EXPECT_EQ(mp_value_decode(BYTES("\x80\x04N."), &limits, &v), MP_ELIMIT);
    EXPECT(v == NULL);
    /* one memo number far out does not take gigabytes */
    limits.max_memory = 0;
    EXPECT_STR(decoded(BYTES("\x80\x04Nr\xff\xff\xff\x0f.")), "EBADMSG");
}

/* Shared parts count as often as they occur, so a few bytes cannot be a billion items. */
TEST(weight_is_bounded)
{
    char pickle[300] = "\x80\x04]";
    mp_value *v = NULL;
    size_t n = 3;
    for (int i = 0; i < 40; i++, n += 2)
        memcpy(pickle + n, "2\x86", 2); /* each tuple twice in the next one */
    pickle[n] = '.';
    EXPECT_EQ(decode(pickle, n + 1, &v), MP_ELIMIT);
    v = mp_tuple_of(sint(1));
    for (int i = 0; v && i < 40; i++)
        v = mp_tuple_of(mp_value_ref(v), v);
    expect_null(v, MP_ELIMIT);
    /* one heavy key in many small dicts: bounded as well, or this would take minutes */
    char keys[3000] = "\x80\x04)";
    n = 3;
    for (int i = 0; i < 24; i++, n += 2)
        memcpy(keys + n, "2\x86", 2);
    memcpy(keys + n,
           "\x94"
           "0(",
           3);
    n += 3;
    for (int i = 0; i < 500; i++, n += 5)
        memcpy(keys + n, "}h\0Ns", 5);
    memcpy(keys + n, "t.", 2);
    v = NULL;
    EXPECT_EQ(decode(keys, n + 2, &v), MP_ELIMIT);
    EXPECT(v == NULL);
    /* one long key, many times: 1 MB that would hash 10 ** 11 bytes */
    enum { LONG_KEY = 500000, TIMES = 160000 };
    char *times = malloc(LONG_KEY + 4 * TIMES + 100);
    memcpy(times, "\x80\x04X\x20\xa1\x07\0", 7);
    memset(times + 7, 'x', LONG_KEY);
    n = 7 + LONG_KEY;
    memcpy(times + n,
           "\x85\x94"
           "0}(",
           5);
    n += 5;
    for (int i = 0; i < TIMES; i++, n += 3)
        memcpy(times + n, "h\0N", 3);
    memcpy(times + n, "u.", 2);
    EXPECT_EQ(decode(times, n + 2, &v), MP_ELIMIT);
    free(times);
}

TEST(handles_are_not_plain_values)
{
    mp_connection *a, *b;
    mp_buffer *buffer = NULL;
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT_EQ(mp_value_encode(mp_list_of(mp_v(a)), &buffer), MP_ETYPE);
    EXPECT(buffer == NULL);
    mp_value *v = mp_v(a), *w = mp_v(a), *other = mp_v(b);
    EXPECT_EQ(mp_value_kind(v), MP_KIND_HANDLE);
    EXPECT_EQ(mp_value_equal(v, w), 1);
    EXPECT_EQ(mp_value_equal(v, other), 0);
    EXPECT_EQ(mp_value_len(v), MP_ETYPE);
    int o;
    EXPECT_EQ(mp_value_compare(v, other, &o), MP_ETYPE);
    mp_value *d = mp_dict_of(mp_value_ref(v), sint(1));
    EXPECT(mp_value_lookup(d, w) != NULL);
    EXPECT_HAS(harness_repr(d), mp_value_type_name(v));
    mp_value_free(v);
    mp_value_free(w);
    mp_value_free(other);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- sugar ---- */

TEST(values_from_anything)
{
    const mp_value *constant = mp_value_none();
    char text[] = "array";
    EXPECT_STR(
        harness_repr(mp_tuple_of(mp_v((signed char)-1), mp_v((unsigned char)255), mp_v((short)-2),
                                 mp_v((unsigned short)65535), mp_v(-3), mp_v(4u), mp_v(-5l),
                                 mp_v(6ul), mp_v(-7ll), mp_v(ULLONG_MAX), mp_v((char)65))),
        "(-1, 255, -2, 65535, -3, 4, -5, 6, -7, 18446744073709551615, 65)");
    EXPECT_STR(harness_repr(mp_list_of(mp_v((_Bool)1), mp_v(1.5f), mp_v(0.1), mp_v("text"),
                                       mp_v(text), mp_v(constant), mp_v(mp_value_int(9)))),
               "[True, 1.5, 0.1, 'text', 'array', None, 9]");
    EXPECT_STR(harness_repr(mp_dict_of(mp_v("a"), mp_v(1), mp_v("b"), mp_list_of(mp_v(2)))),
               "{'a': 1, 'b': [2]}");
    expect_null(mp_v("\xff"), -EILSEQ);
    EXPECT_STR(harness_repr(mp_v(INT_MIN)), "-2147483648");
    EXPECT_STR(harness_repr(mp_v(LLONG_MIN)), "-9223372036854775808");
}

/* A getter takes what fits into its type, and leaves the variable alone otherwise. */
#define GETS(value, type, number)            \
    do {                                     \
        mp_value *gets_v = (value);          \
        type gets_x = 0;                     \
        EXPECT_OK(mp__get(gets_v, &gets_x)); \
        EXPECT(gets_x == (number));          \
        mp_value_free(gets_v);               \
    } while (0)
#define REFUSES(value, type)                   \
    do {                                       \
        mp_value *gets_v = (value);            \
        type gets_x = (type)1;                 \
        EXPECT(mp__get(gets_v, &gets_x) != 0); \
        EXPECT(gets_x == (type)1);             \
        mp_value_free(gets_v);                 \
    } while (0)

TEST(getters_refuse_what_does_not_fit)
{
    GETS(sint(127), signed char, 127);
    GETS(sint(-128), signed char, -128);
    REFUSES(sint(128), signed char);
    REFUSES(sint(-129), signed char);
    REFUSES(sint(255), signed char);
    GETS(sint(255), unsigned char, 255);
    GETS(sint(0), unsigned char, 0);
    REFUSES(sint(256), unsigned char);
    REFUSES(sint(-1), unsigned char);
    GETS(sint(-32768), short, -32768);
    REFUSES(sint(32768), short);
    GETS(sint(65535), unsigned short, 65535);
    REFUSES(sint(65536), unsigned short);
    GETS(sint(INT_MIN), int, INT_MIN);
    REFUSES(sint(1LL + INT_MAX), int);
    REFUSES(sint(-1LL + INT_MIN), int);
    REFUSES(sint(1LL << 40), int);
    GETS(sint(UINT_MAX), unsigned, UINT_MAX);
    REFUSES(sint(-1), unsigned);
    REFUSES(sint(1LL + UINT_MAX), unsigned);
    GETS(sint(INT64_MIN), long, LONG_MIN);
    GETS(sint(INT64_MAX), long long, LLONG_MAX);
    REFUSES(mp_value_uint(1ULL << 63), long);
    REFUSES(mp_value_uint(UINT64_MAX), long long);
    GETS(mp_value_uint(UINT64_MAX), unsigned long, ULONG_MAX);
    GETS(mp_value_uint(1ULL << 63), unsigned long long, 1ULL << 63);
    REFUSES(sint(-1), unsigned long);
    REFUSES(sint(-1), unsigned long long);
    REFUSES(power_of_two(64, 0), unsigned long);
    REFUSES(power_of_two(64, 0), int);
    REFUSES(mp_value_uint(UINT64_MAX), int); /* not -1 */
    REFUSES(mp_value_uint(UINT64_MAX), signed char);
    GETS(sint(65), char, 'A');
    REFUSES(mp_v("1"), int);
    REFUSES(mp_v(1.0), int);
    REFUSES(mp_value_none(), unsigned);
    GETS(mp_value_bool(1), int, 1);
}

TEST(getters_of_the_other_types)
{
    GETS(mp_value_bool(1), _Bool, 1);
    REFUSES(sint(0), _Bool);
    GETS(mp_v(1.5), double, 1.5);
    GETS(sint(2), double, 2.0);
    GETS(mp_v(1.5), float, 1.5f);
    REFUSES(mp_v("x"), double);
    REFUSES(mp_v("x"), float);
    mp_value *v = mp_v("text"), *n = sint(1), *got = NULL;
    const mp_value *borrowed = NULL;
    const char *s = NULL;
    char *t = NULL;
    mp_connection *c = NULL;
    EXPECT_OK(mp__get(v, &s));
    EXPECT_OK(mp__get(v, &t));
    EXPECT(s == t && strcmp(s, "text") == 0);
    EXPECT(mp__get(n, &s) != 0 && mp__get(n, &t) != 0 && s == t);
    EXPECT_OK(mp__get(v, &got));
    EXPECT_OK(mp__get(v, &borrowed));
    EXPECT(got == v && borrowed == v);
    EXPECT(mp__get(v, &c) != 0);
    mp_value_free(v);
    mp_value_free(n);
}

/* ---- buffers ---- */

TEST(buffers)
{
    mp_buffer *b = mp_buffer_new(100), *c = mp_buffer_copy("hello", 5),
              *e = mp_buffer_copy(NULL, 0);
    EXPECT_EQ(mp_buffer_size(b), 100);
    EXPECT_EQ((uintptr_t)mp_buffer_data(b) % _Alignof(max_align_t), 0);
    memset(mp_buffer_data(b), 1, 100);
    EXPECT(memcmp(mp_buffer_data(c), "hello", 5) == 0);
    EXPECT_EQ(mp_buffer_size(e), 0);
    EXPECT(mp_buffer_data(e) != NULL);
    EXPECT(mp_buffer_ref(c) == c);
    mp_buffer_free(c);
    EXPECT_EQ(mp_buffer_size(c), 5);
    mp_buffer_free(c);
    mp_buffer_free(b);
    mp_buffer_free(e);
    EXPECT(mp_buffer_new(SIZE_MAX) == NULL);
    EXPECT_EQ(mp_error_code(), -ENOMEM);
    EXPECT(mp_buffer_new(SIZE_MAX - 8) == NULL);
}
