/* SPDX-License-Identifier: MIT */
/*
 * Typed sugar, optional: targets with typed parameters, values from anything, literals.
 *
 *   MP_TARGET(worker, (mp_connection *, c), (int, n)) { ...; return 0; }
 *   mp_process *p = MP_PROCESS(worker, c, 42);           argument types are checked by the compiler
 *   mp_connection_send(c, mp_list_of(mp_v(42), mp_value_none(), mp_v("hello")), MP_FOREVER);
 *
 * Needs C11 (or C99 with GNU extensions) or C++11; in plain C99 this header is empty.  Everything
 * here is made of the plain functions of the other headers.
 *
 * In C the compiler only warns of a pointer of the wrong type or a number in the place of a pointer:
 * build with -Werror=int-conversion -Werror=incompatible-pointer-types.  In C before C23, true is the
 * int 1; write (bool)1 or mp_value_bool(1) where the receiver is to see True.
 *
 * Parameter types: the integer types, bool, float, double, const char * and char *, mp_value *,
 * mp_connection *, and the pointers of sync.h, queue.h and shm.h.  What a target receives is borrowed from
 * its arguments: a connection, a string or a value parameter lives as long as the call.
 */
#ifndef MULTIPROC_TYPED_H
#define MULTIPROC_TYPED_H

#include <multiproc/base.h>
#include <multiproc/connection.h>
#include <multiproc/pool.h>
#include <multiproc/process.h>
#include <multiproc/queue.h>
#include <multiproc/shm.h>
#include <multiproc/sync.h>
#include <multiproc/value.h>

#if defined(__cplusplus)
#if __cplusplus >= 201103L
#define MULTIPROC_TYPED 1
#endif
#elif (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L) || \
    (defined(__GNUC__) && !defined(__STRICT_ANSI__))
#define MULTIPROC_TYPED 1
#endif

MULTIPROC_BEGIN

/**
 * For the wrapper that MP_TARGET makes: argument number `i` of `target` is not what its parameter
 * wants; or, with NULL for `wanted`, there are not `i` arguments.  Reports it to the parent as
 * MP_ESTARTUP and returns the exit code to return.
 */
MULTIPROC_API int mp_target_refuse(const char *target, const mp_value *args, size_t i,
                                   const char *wanted);

/** The same for the wrapper that MP_TASK makes: fails the task. */
MULTIPROC_API int mp_task_refuse(const char *task, const mp_value *args, size_t i,
                                 const char *wanted);

MULTIPROC_END

#ifdef MULTIPROC_TYPED

/* ---- one getter for each type ---------------------------------------------------------------- */

#define MP__INTEGER_TYPES(X)      \
    X(schar, signed char)         \
    X(short, short)               \
    X(int, int)                   \
    X(long, long)                 \
    X(llong, long long)           \
    X(uchar, unsigned char)       \
    X(ushort, unsigned short)     \
    X(uint, unsigned)             \
    X(ulong, unsigned long)       \
    X(ullong, unsigned long long) \
    X(char, char)

#define MP__DEFINE_INTEGER(tag, type)                                                \
    static inline mp_value *mp__v_##tag(type x)                                      \
    {                                                                                \
        return x > 0 ? mp_value_uint((uint64_t)x) : mp_value_int((int64_t)x);        \
    }                                                                                \
    static inline int mp__get_##tag(const mp_value *v, type *ret)                    \
    {                                                                                \
        uint64_t u = 0;                                                              \
        int64_t s = 0;                                                               \
        int e = mp_value_get_int(v, &s);                                             \
        if (!e && (s >= 0 || (type)-1 < (type)1) && (int64_t)(type)s == s) {         \
            *ret = (type)s;                                                          \
            return 0;                                                                \
        }                                                                            \
        if (mp_value_get_uint(v, &u) || (type)u < (type)1 || (uint64_t)(type)u != u) \
            return 1;                                                                \
        *ret = (type)u;                                                              \
        return 0;                                                                    \
    }
MP__INTEGER_TYPES(MP__DEFINE_INTEGER)

static inline mp_value *mp__v_bool(int x)
{
    return mp_value_bool(x);
}
static inline mp_value *mp__v_float(double x)
{
    return mp_value_float(x);
}
static inline mp_value *mp__v_str(const char *x)
{
    return mp_value_str(x);
}
static inline mp_value *mp__v_value(const mp_value *x)
{
    return mp_value_ref(x);
}
static inline mp_value *mp__v_given(mp_value *x)
{
    return x;
}
#ifdef __cplusplus
static inline int mp__get_bool(const mp_value *v, bool *ret)
#else
static inline int mp__get_bool(const mp_value *v, _Bool *ret)
#endif
{
    int truth = 0;
    if (mp_value_get_bool(v, &truth))
        return 1;
    *ret = truth != 0;
    return 0;
}
static inline int mp__get_double(const mp_value *v, double *ret)
{
    return mp_value_get_float(v, ret) != 0;
}
static inline int mp__get_float(const mp_value *v, float *ret)
{
    double d = 0;
    if (mp_value_get_float(v, &d))
        return 1;
    *ret = (float)d;
    return 0;
}
static inline int mp__get_cstr(const mp_value *v, const char **ret)
{
    const char *s = mp_value_get_str(v, NULL);
    if (!s)
        return 1;
    *ret = s;
    return 0;
}
static inline int mp__get_str(const mp_value *v, char **ret)
{
    const char *s = NULL;
    if (mp__get_cstr(v, &s))
        return 1;
    *ret = (char *)(uintptr_t)s;
    return 0;
}
static inline int mp__get_cvalue(const mp_value *v, const mp_value **ret)
{
    *ret = v;
    return 0;
}
static inline int mp__get_value(const mp_value *v, mp_value **ret)
{
    *ret = (mp_value *)(uintptr_t)v;
    return 0;
}
#define MP__OBJECT_TYPES(X) \
    X(connection)           \
    X(lock)                 \
    X(rlock)                \
    X(semaphore)            \
    X(event)                \
    X(condition)            \
    X(barrier)              \
    X(queue)                \
    X(shm)

#define MP__DEFINE_OBJECT(name)                                          \
    static inline int mp__get_##name(const mp_value *v, mp_##name **ret) \
    {                                                                    \
        return mp_value_get_##name(v, ret) != 0;                         \
    }
MP__OBJECT_TYPES(MP__DEFINE_OBJECT)

/* ---- mp_v: a value from anything ------------------------------------------------------------- */

/*
 * mp_v(x): a new value from an integer, bool, float, string or shared object.  An mp_value * is
 * handed through as it is; a const mp_value * gets one more reference.
 *
 * mp_list_of(...), mp_tuple_of(...): a list or tuple of at least one value, taken over.
 * mp_dict_of(key, value, ...): a dict.
 */
#ifdef __cplusplus

#define MP__DEFINE_OVERLOAD(tag, type)                      \
    static inline mp_value *mp_v(type x)                    \
    {                                                       \
        return mp__v_##tag(x);                              \
    }                                                       \
    static inline int mp__get(const mp_value *v, type *ret) \
    {                                                       \
        return mp__get_##tag(v, ret);                       \
    }
MP__INTEGER_TYPES(MP__DEFINE_OVERLOAD)
static inline mp_value *mp_v(bool x)
{
    return mp_value_bool(x);
}
static inline mp_value *mp_v(float x)
{
    return mp_value_float(static_cast<double>(x));
}
static inline mp_value *mp_v(double x)
{
    return mp_value_float(x);
}
static inline mp_value *mp_v(const char *x)
{
    return mp_value_str(x);
}
static inline mp_value *mp_v(mp_value *x)
{
    return x;
}
static inline mp_value *mp_v(const mp_value *x)
{
    return mp_value_ref(x);
}
static inline int mp__get(const mp_value *v, bool *ret)
{
    return mp__get_bool(v, ret);
}
static inline int mp__get(const mp_value *v, float *ret)
{
    return mp__get_float(v, ret);
}
static inline int mp__get(const mp_value *v, double *ret)
{
    return mp__get_double(v, ret);
}
static inline int mp__get(const mp_value *v, char **ret)
{
    return mp__get_str(v, ret);
}
static inline int mp__get(const mp_value *v, const char **ret)
{
    return mp__get_cstr(v, ret);
}
static inline int mp__get(const mp_value *v, mp_value **ret)
{
    return mp__get_value(v, ret);
}
static inline int mp__get(const mp_value *v, const mp_value **ret)
{
    return mp__get_cvalue(v, ret);
}
#define MP__DEFINE_OBJECT_OVERLOAD(name)                          \
    static inline mp_value *mp_v(mp_##name *x)                    \
    {                                                             \
        return mp_value_##name(x);                                \
    }                                                             \
    static inline int mp__get(const mp_value *v, mp_##name **ret) \
    {                                                             \
        return mp__get_##name(v, ret);                            \
    }
MP__OBJECT_TYPES(MP__DEFINE_OBJECT_OVERLOAD)
#define MP__BOX(x) mp_v(x)
template <typename T> mp_value *mp_v(T *) = delete; /* or any pointer would be a bool */

static inline mp_value *mp_list_of()
{
    return mp_value_list(nullptr, 0);
}
static inline mp_value *mp_tuple_of()
{
    return mp_value_tuple(nullptr, 0);
}
template <typename... V> static inline mp_value *mp_list_of(V... v)
{
    mp_value *items[] = {v...};
    return mp_value_list(items, sizeof...(v));
}
template <typename... V> static inline mp_value *mp_tuple_of(V... v)
{
    mp_value *items[] = {v...};
    return mp_value_tuple(items, sizeof...(v));
}
template <typename... V> static inline mp_value *mp_dict_of(V... v)
{
    mp_value *items[] = {v...};
    static_assert(sizeof...(v) % 2 == 0, "mp_dict_of takes pairs");
    return mp_value_dict(items, sizeof...(v) / 2);
}

#else /* C */

#define MP__GENERIC_V(tag, type) \
    type:                        \
    mp__v_##tag,
#define MP__GENERIC_GET(tag, type) type * : mp__get_##tag,

#define MP__GENERIC_OBJECT_V(name) mp_##name * : mp_value_##name,
#define MP__GENERIC_OBJECT_GET(name) mp_##name ** : mp__get_##name,

#define mp_v(x) \
    _Generic((x),                                                                                  \
        MP__INTEGER_TYPES(MP__GENERIC_V) _Bool: mp__v_bool,                                        \
        float: mp__v_float,                                                                        \
        double: mp__v_float,                                                                       \
        char *: mp__v_str,                                                                         \
        const char *: mp__v_str,                                                                   \
        MP__OBJECT_TYPES(MP__GENERIC_OBJECT_V) mp_value *: mp__v_given,                                                                   \
        const mp_value *: mp__v_value)(x)

#define mp__get(v, ret) \
    _Generic((ret),                                                                                \
        MP__INTEGER_TYPES(MP__GENERIC_GET) _Bool *: mp__get_bool,                                  \
        float *: mp__get_float,                                                                    \
        double *: mp__get_double,                                                                  \
        char **: mp__get_str,                                                                      \
        const char **: mp__get_cstr,                                                               \
        MP__OBJECT_TYPES(MP__GENERIC_OBJECT_GET) mp_value **: mp__get_value,                                                                \
        const mp_value **: mp__get_cvalue)(v, ret)
#define MP__BOX(x) mp_v(x)

#define MP__ITEMS(...) ((mp_value *[]){__VA_ARGS__})
#define MP__ITEM_COUNT(...) (sizeof(MP__ITEMS(__VA_ARGS__)) / sizeof(mp_value *))
#define mp_list_of(...) mp_value_list(MP__ITEMS(__VA_ARGS__), MP__ITEM_COUNT(__VA_ARGS__))
#define mp_tuple_of(...) mp_value_tuple(MP__ITEMS(__VA_ARGS__), MP__ITEM_COUNT(__VA_ARGS__))
#define MP__PAIR_COUNT(...)            \
    (MP__ITEM_COUNT(__VA_ARGS__) / 2 + \
     0 * sizeof(                       \
             char[MP__ITEM_COUNT(__VA_ARGS__) % 2 ? -1 : 1])) /* keys and values come in pairs */
#define mp_dict_of(...) mp_value_dict(MP__ITEMS(__VA_ARGS__), MP__PAIR_COUNT(__VA_ARGS__))

#endif

static inline mp_process *mp__process_in(mp_context *context, const mp_target *target,
                                         mp_value *args)
{
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    options.context = context;
    return mp_process_new_target(target, args, &options);
}

/* ---- MP_TARGET and MP_PROCESS ---------------------------------------------------------------- */

/*
 * MP_TARGET(name, (type, parameter), ...) { body }: a static function with up to 8 parameters that
 * a process can run.  It returns the exit code, and can also be called as any function.
 *
 * MP_PROCESS(name, arguments...): a process of the default context that will run it.
 * MP_PROCESS_IN(context, name, arguments...): one of another context.
 * MP_PROCESS_WITH(options, name, arguments...): one with an mp_process_options *.
 */
#define MP__CAT(a, b) MP__CAT_(a, b)
#define MP__CAT_(a, b) a##b
#define MP__COUNT(...) MP__COUNT_(__VA_ARGS__, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define MP__COUNT_(a, b, c, d, e, f, g, h, i, n, ...) n
#define MP__TYPE(type, name) type
#define MP__NAME(type, name) name
#define MP__LOCAL_NAME(type, name) mp__p_##name
#define MP__PARAM(type, name) type name
#define MP__LOCAL(type, name) type mp__p_##name;
#define MP__GET(how, f, i, pair)                                   \
    if (mp__get(mp_value_item(mp__args, i), &MP__LOCAL_NAME pair)) \
        return MP__CAT(how, _REFUSE)(#f, mp__args, i, MP__STRING(MP__TYPE pair));
#define MP__TARGET_REFUSE mp_target_refuse
#define MP__TASK_REFUSE(...) (mp_task_refuse(__VA_ARGS__), (mp_value *)0)
#define MP__STRING(x) MP__STRING_(x)
#define MP__STRING_(x) #x

#define MP__TARGET(f, n, params, boxes, locals, gets, names, one, type)                         \
    static int f params;                                                                        \
    __attribute__((unused)) static mp_value *f##__mp_args params                                \
    {                                                                                           \
        mp_value *mp__items[] = {boxes NULL};                                                   \
        return mp_value_tuple(mp__items, n);                                                    \
    }                                                                                           \
    static int f##__mp_run(const mp_value *mp__args)                                            \
    {                                                                                           \
        locals if (mp_value_len(mp__args) != n) return mp_target_refuse(#f, mp__args, n, NULL); \
        gets return f names;                                                                    \
    }                                                                                           \
    static mp_target f##__mp_target = {#f, f##__mp_run, NULL};                                  \
    __attribute__((constructor)) static void f##__mp_register(void)                             \
    {                                                                                           \
        (void)mp_target_register(&f##__mp_target);                                              \
    }                                                                                           \
    static int f params

#define MP_TARGET(...) MP__CAT(MP__DECLARE, MP__COUNT(__VA_ARGS__))(MP__TARGET, __VA_ARGS__)
#define MP__DECLARE1(how, f) how(f, 0, (void), , , , (), 0, char)
#define MP__DECLARE2(how, f, p0)                                                \
    how(f, 1, (MP__PARAM p0), MP__B1(p0), MP__LOCAL p0, MP__GET(how, f, 0, p0), \
        (MP__LOCAL_NAME p0), 1, MP__TYPE p0)
#define MP__DECLARE3(how, f, p0, p1)                                                              \
    how(f, 2, (MP__PARAM p0, MP__PARAM p1), MP__B2(p0, p1), MP__LOCAL p0 MP__LOCAL p1,            \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1), (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1), 0, \
        char)
#define MP__DECLARE4(how, f, p0, p1, p2)                                      \
    how(f, 3, (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2), MP__B3(p0, p1, p2), \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2,                               \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2), \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2), 0, char)
#define MP__DECLARE5(how, f, p0, p1, p2, p3)                                                    \
    how(f, 4, (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2, MP__PARAM p3), MP__B4(p0, p1, p2, p3), \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2 MP__LOCAL p3,                                    \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2)                    \
            MP__GET(how, f, 3, p3),                                                             \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2, MP__LOCAL_NAME p3), 0, char)
#define MP__DECLARE6(how, f, p0, p1, p2, p3, p4)                                      \
    how(f, 5, (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2, MP__PARAM p3, MP__PARAM p4), \
        MP__B5(p0, p1, p2, p3, p4),                                                   \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2 MP__LOCAL p3 MP__LOCAL p4,             \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2)          \
            MP__GET(how, f, 3, p3) MP__GET(how, f, 4, p4),                            \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2, MP__LOCAL_NAME p3,  \
         MP__LOCAL_NAME p4),                                                          \
        0, char)
#define MP__DECLARE7(how, f, p0, p1, p2, p3, p4, p5)                                          \
    how(f, 6,                                                                                 \
        (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2, MP__PARAM p3, MP__PARAM p4, MP__PARAM p5), \
        MP__B6(p0, p1, p2, p3, p4, p5),                                                       \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2 MP__LOCAL p3 MP__LOCAL p4 MP__LOCAL p5,        \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2)                  \
            MP__GET(how, f, 3, p3) MP__GET(how, f, 4, p4) MP__GET(how, f, 5, p5),             \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2, MP__LOCAL_NAME p3,          \
         MP__LOCAL_NAME p4, MP__LOCAL_NAME p5),                                               \
        0, char)
#define MP__DECLARE8(how, f, p0, p1, p2, p3, p4, p5, p6)                                        \
    how(f, 7,                                                                                   \
        (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2, MP__PARAM p3, MP__PARAM p4, MP__PARAM p5,    \
         MP__PARAM p6),                                                                         \
        MP__B7(p0, p1, p2, p3, p4, p5, p6),                                                     \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2 MP__LOCAL p3 MP__LOCAL p4 MP__LOCAL p5 MP__LOCAL \
            p6,                                                                                 \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2)                    \
            MP__GET(how, f, 3, p3) MP__GET(how, f, 4, p4) MP__GET(how, f, 5, p5)                \
                MP__GET(how, f, 6, p6),                                                         \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2, MP__LOCAL_NAME p3,            \
         MP__LOCAL_NAME p4, MP__LOCAL_NAME p5, MP__LOCAL_NAME p6),                              \
        0, char)
#define MP__DECLARE9(how, f, p0, p1, p2, p3, p4, p5, p6, p7)                                       \
    how(f, 8,                                                                                      \
        (MP__PARAM p0, MP__PARAM p1, MP__PARAM p2, MP__PARAM p3, MP__PARAM p4, MP__PARAM p5,       \
         MP__PARAM p6, MP__PARAM p7),                                                              \
        MP__B8(p0, p1, p2, p3, p4, p5, p6, p7),                                                    \
        MP__LOCAL p0 MP__LOCAL p1 MP__LOCAL p2 MP__LOCAL p3 MP__LOCAL p4 MP__LOCAL p5 MP__LOCAL p6 \
            MP__LOCAL p7,                                                                          \
        MP__GET(how, f, 0, p0) MP__GET(how, f, 1, p1) MP__GET(how, f, 2, p2)                       \
            MP__GET(how, f, 3, p3) MP__GET(how, f, 4, p4) MP__GET(how, f, 5, p5)                   \
                MP__GET(how, f, 6, p6) MP__GET(how, f, 7, p7),                                     \
        (MP__LOCAL_NAME p0, MP__LOCAL_NAME p1, MP__LOCAL_NAME p2, MP__LOCAL_NAME p3,               \
         MP__LOCAL_NAME p4, MP__LOCAL_NAME p5, MP__LOCAL_NAME p6, MP__LOCAL_NAME p7),              \
        0, char)
#define MP__B1(p0) MP__BOX(MP__NAME p0),
#define MP__B2(p0, p1) MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1),
#define MP__B3(p0, p1, p2) MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2),
#define MP__B4(p0, p1, p2, p3) \
    MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2), MP__BOX(MP__NAME p3),
#define MP__B5(p0, p1, p2, p3, p4)                                                          \
    MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2), MP__BOX(MP__NAME p3), \
        MP__BOX(MP__NAME p4),
#define MP__B6(p0, p1, p2, p3, p4, p5)                                                      \
    MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2), MP__BOX(MP__NAME p3), \
        MP__BOX(MP__NAME p4), MP__BOX(MP__NAME p5),
#define MP__B7(p0, p1, p2, p3, p4, p5, p6)                                                  \
    MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2), MP__BOX(MP__NAME p3), \
        MP__BOX(MP__NAME p4), MP__BOX(MP__NAME p5), MP__BOX(MP__NAME p6),
#define MP__B8(p0, p1, p2, p3, p4, p5, p6, p7)                                              \
    MP__BOX(MP__NAME p0), MP__BOX(MP__NAME p1), MP__BOX(MP__NAME p2), MP__BOX(MP__NAME p3), \
        MP__BOX(MP__NAME p4), MP__BOX(MP__NAME p5), MP__BOX(MP__NAME p6), MP__BOX(MP__NAME p7),

/* ---- MP_TASK and MP_MAP ---------------------------------------------------------------------- */

/*
 * MP_TASK(type, name, (type, parameter), ...) { body }: a static function with up to 8 parameters that a
 * pool can run; what it returns is anything that mp_v() takes, or an mp_value *.  A task of one parameter
 * that takes and returns a number is also for arrays.
 *
 * MP_APPLY(pool, name, arguments...): mp_pool_apply_async() with arguments that the compiler checks.
 * MP_MAP(pool, name, in, out, n): mp_pool_map_array() with arrays whose types the compiler checks.
 * MP_TASK_OF(name): its mp_task, for the functions of pool.h.
 */
#ifdef __cplusplus
template <typename T> struct mp__is_number {
    enum { value = 0 };
};
#define MP__CXX_NUMBER(tag, type)            \
    template <> struct mp__is_number<type> { \
        enum { value = 1 };                  \
    };
MP__INTEGER_TYPES(MP__CXX_NUMBER)
MP__CXX_NUMBER(bool, bool)
MP__CXX_NUMBER(float, float)
MP__CXX_NUMBER(double, double)
#define MP__IS_NUMBER(type) mp__is_number<type>::value
#else
#define MP__GENERIC_NUMBER(tag, type) type * : 1,
#define MP__IS_NUMBER(type)                                                             \
    _Generic((type *)0, MP__INTEGER_TYPES(MP__GENERIC_NUMBER) _Bool * : 1, float * : 1, \
             double * : 1, default : 0)
#endif
#define MP__TASK(f, n, params, boxes, locals, gets, names, one, type)                          \
    static f##__mp_ret f params;                                                               \
    __attribute__((unused)) static mp_value *f##__mp_args params                               \
    {                                                                                          \
        mp_value *mp__items[] = {boxes NULL};                                                  \
        return mp_value_tuple(mp__items, n);                                                   \
    }                                                                                          \
    static mp_value *f##__mp_call(const mp_value *mp__args)                                    \
    {                                                                                          \
        locals if (mp_value_len(mp__args) != n) return MP__TASK_REFUSE(#f, mp__args, n, NULL); \
        gets return mp_v(f names);                                                             \
    }                                                                                          \
    __attribute__((unused)) static void f##__mp_each(const void *mp__in, void *mp__out)        \
    {                                                                                          \
        MP__CAT(MP__EACH, one)(f, type)                                                        \
    }                                                                                          \
    __attribute__((unused)) static inline const void *f##__mp_in(type const *mp__in)           \
    {                                                                                          \
        return mp__in;                                                                         \
    }                                                                                          \
    __attribute__((unused)) static inline void *f##__mp_out(f##__mp_ret *mp__out)              \
    {                                                                                          \
        return mp__out;                                                                        \
    }                                                                                          \
    static mp_task f##__mp_task = {#f,                                                         \
                                   f##__mp_call,                                               \
                                   f##__mp_each,                                               \
                                   one && MP__IS_NUMBER(type) ? sizeof(type) : 0,              \
                                   MP__IS_NUMBER(f##__mp_ret) ? sizeof(f##__mp_ret) : 0,       \
                                   NULL,                                                       \
                                   NULL};                                                      \
    __attribute__((constructor)) static void f##__mp_register(void)                            \
    {                                                                                          \
        (void)mp_task_register(&f##__mp_task);                                                 \
    }                                                                                          \
    static f##__mp_ret f params
#define MP__EACH0(f, type) (void)mp__in, (void)mp__out;
#define MP__EACH1(f, type)                              \
    type mp__arg;                                       \
    __builtin_memcpy(&mp__arg, mp__in, sizeof mp__arg); \
    *(f##__mp_ret *)mp__out = f(mp__arg);
#define MP_TASK(type, ...)                                  \
    typedef type MP__CAT(MP__FIRST(__VA_ARGS__), __mp_ret); \
    MP__CAT(MP__DECLARE, MP__COUNT(__VA_ARGS__))(MP__TASK, __VA_ARGS__)
#define MP_TASK_OF(name) (&name##__mp_task)
#define MP_MAP(pool, name, in, out, n) \
    mp_pool_map_array(pool, &name##__mp_task, name##__mp_in(in), name##__mp_out(out), n)
#define MP_APPLY(pool, ...) MP__CAT(MP__APPLY, MP__COUNT(__VA_ARGS__))(pool, __VA_ARGS__)
#define MP__APPLY1(p, f) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(), NULL)
#define MP__APPLY2(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY3(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY4(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY5(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY6(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY7(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY8(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)
#define MP__APPLY9(p, f, ...) mp_pool_apply_async(p, &f##__mp_task, f##__mp_args(__VA_ARGS__), NULL)

#define MP__FIRST(...) MP__FIRST_(__VA_ARGS__, 0)
#define MP__FIRST_(a, ...) a
#define MP_PROCESS(...) MP_PROCESS_WITH(NULL, __VA_ARGS__)
#define MP_PROCESS_WITH(options, ...) \
    MP__CAT(MP__PROCESS, MP__COUNT(__VA_ARGS__))(options, __VA_ARGS__)
#define MP_PROCESS_IN(context, ...) \
    MP__CAT(MP__PROCESS_IN, MP__COUNT(__VA_ARGS__))(context, __VA_ARGS__)
#define MP__PROCESS1(o, f) mp_process_new_target(&f##__mp_target, f##__mp_args(), o)
#define MP__PROCESS_IN1(c, f) mp__process_in(c, &f##__mp_target, f##__mp_args())
#define MP__PROCESS2(o, f, a0) mp_process_new_target(&f##__mp_target, f##__mp_args(a0), o)
#define MP__PROCESS_IN2(c, f, a0) mp__process_in(c, &f##__mp_target, f##__mp_args(a0))
#define MP__PROCESS3(o, f, a0, a1) mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1), o)
#define MP__PROCESS_IN3(c, f, a0, a1) mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1))
#define MP__PROCESS4(o, f, a0, a1, a2) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2), o)
#define MP__PROCESS_IN4(c, f, a0, a1, a2) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2))
#define MP__PROCESS5(o, f, a0, a1, a2, a3) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2, a3), o)
#define MP__PROCESS_IN5(c, f, a0, a1, a2, a3) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2, a3))
#define MP__PROCESS6(o, f, a0, a1, a2, a3, a4) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4), o)
#define MP__PROCESS_IN6(c, f, a0, a1, a2, a3, a4) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4))
#define MP__PROCESS7(o, f, a0, a1, a2, a3, a4, a5) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5), o)
#define MP__PROCESS_IN7(c, f, a0, a1, a2, a3, a4, a5) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5))
#define MP__PROCESS8(o, f, a0, a1, a2, a3, a4, a5, a6) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5, a6), o)
#define MP__PROCESS_IN8(c, f, a0, a1, a2, a3, a4, a5, a6) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5, a6))
#define MP__PROCESS9(o, f, a0, a1, a2, a3, a4, a5, a6, a7) \
    mp_process_new_target(&f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5, a6, a7), o)
#define MP__PROCESS_IN9(c, f, a0, a1, a2, a3, a4, a5, a6, a7) \
    mp__process_in(c, &f##__mp_target, f##__mp_args(a0, a1, a2, a3, a4, a5, a6, a7))

#endif /* MULTIPROC_TYPED */

#endif
