/* SPDX-License-Identifier: MIT */
/* Owns the tests of what pools are for: calls and maps of values, arrays and bytes, results, errors, imap. */
#include <pthread.h>

#include "makers.h"

#define SECONDS MP_SECONDS(60)
#define IN mp_get_context(method)
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BIG (5u << 20)
#define MILLION 1000000

static mp_call_options chunks_of(size_t n)
{
    mp_call_options o = MP_CALL_OPTIONS_INIT;
    o.chunk = n;
    return o;
}

static int64_t int_of(const mp_value *v)
{
    int64_t n = -77;
    EXPECT_OK(mp_value_get_int(v, &n));
    return n;
}

static mp_value *got(mp_result *result)
{
    mp_value *v = NULL;
    if (!result)
        harness_fail(__FILE__, __LINE__, "no result: %s", mp_error_detail());
    EXPECT_OK(mp_result_get(result, &v, SECONDS));
    mp_result_free(result);
    return v;
}

/* The error of a result, which is given back. */
static int failed(mp_result *result)
{
    mp_value *v = NULL;
    if (!result)
        harness_fail(__FILE__, __LINE__, "no result: %s", mp_error_detail());
    int r = mp_result_get(result, &v, SECONDS);
    EXPECT(v == NULL);
    EXPECT_EQ(mp_result_successful(result), 0);
    mp_result_free(result);
    return r;
}

/* ---- the tasks ---- */

MP_TASK(int64_t, square, (int64_t, n))
{
    return n * n;
}

MP_TASK(double, half, (int, n))
{
    return n * 0.5;
}

MP_TASK(int, floor_of, (double, x))
{
    return (int)x;
}

MP_TASK(float, third, (float, x))
{
    return x / 3;
}

MP_TASK(double, weigh, (int, a), (double, b), (const char *, text))
{
    return a + b + (double)strlen(text);
}

MP_TASK(mp_value *, same, (const mp_value *, v))
{
    return mp_value_ref(v);
}

MP_TASK(int, answer)
{
    return 42;
}

MP_TASK(int64_t, not_thirds, (int64_t, n))
{
    if (n % 3 == 1)
        mp_task_fail((int)n + 1000, "%lld is bad", (long long)n);
    return n * 2;
}

MP_TASK(int, fail_with, (int, code))
{
    return mp_task_fail(code, "code %d, 100%% of it", code);
}

MP_TASK(mp_value *, nothing, (int, n))
{
    (void)n;
    return NULL;
}

MP_TASK(mp_value *, a_connection)
{
    mp_connection *a, *b;
    EXPECT_OK(mp_pipe(1, &a, &b));
    mp_value *v = mp_value_connection(a);
    mp_connection_free(a);
    mp_connection_free(b);
    return mp_list_of(mp_v(1), v);
}

MP_TASK(int64_t, wait_for_ms, (int64_t, ms))
{
    mp_wait(NULL, 0, MP_MS(ms));
    return ms;
}

static int reverse(const void *data, size_t size, mp_buffer **ret)
{
    const char *p = data;
    if (size == 3)
        return mp_task_fail(33, "three bytes");
    if (size == 4)
        return -EDOM;
    *ret = mp_buffer_new(size);
    for (size_t i = 0; i < size; i++)
        ((char *)mp_buffer_data(*ret))[i] = p[size - 1 - i];
    return 0;
}

static mp_task reverse_task = {"reverse", NULL, NULL, 0, 0, reverse, NULL};

__attribute__((constructor)) static void add_reverse(void)
{
    EXPECT_OK(mp_task_register(&reverse_task));
}

/* ---- calls of values ---- */

TEST_METHODS(apply_and_apply_async)
{
    mp_pool *pool = pool_of(method, 2);
    mp_value *v, *many = mp_list_of(mp_value_none(), mp_v(0.25), mp_v("x"),
                                    mp_dict_of(mp_v("k"), mp_tuple_of(mp_v(1), mp_v(-1))));
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v(-7)), &v));
    EXPECT_STR(harness_repr(v), "49");
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v(3)), NULL));
    EXPECT_STR(harness_repr(got(MP_APPLY(pool, weigh, 3, 0.5, "four"))), "7.5");
    EXPECT_STR(harness_repr(got(MP_APPLY(pool, answer))), "42");
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(same), mp_tuple_of(mp_value_ref(many)), &v));
    EXPECT_EQ(mp_value_equal(v, many), 1);
    mp_value_free(v);
    mp_value_free(many);
    end(pool);
}

TEST_METHODS(map_and_starmap_of_values)
{
    mp_pool *pool = pool_of(method, 2);
    mp_value *v;
    static const size_t chunks[] = {0, 1, 3, 1000};
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(5), &v));
    EXPECT_STR(harness_repr(v), "[0, 1, 4, 9, 16]");
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), mp_value_list(NULL, 0), &v));
    EXPECT_STR(harness_repr(v), "[]");
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(same), mp_tuple_of(mp_v("a"), mp_v(2)), &v));
    EXPECT_STR(harness_repr(v), "['a', 2]");
    mp_value *rows = mp_list_of(mp_tuple_of(mp_v(1), mp_v(2), mp_v("")),
                                mp_tuple_of(mp_v(3), mp_v(0.5), mp_v("abc")));
    EXPECT_OK(mp_pool_starmap(pool, MP_TASK_OF(weigh), rows, &v));
    EXPECT_STR(harness_repr(v), "[3.0, 6.5]");
    for (size_t c = 0; c < COUNT(chunks); c++)
        for (int64_t n = 1; n <= 1000; n = n * 7 + 1) {
            mp_call_options o = chunks_of(chunks[c]);
            v = got(mp_pool_map_async(pool, MP_TASK_OF(square), numbers(n), &o));
            EXPECT_EQ(mp_value_len(v), n);
            for (int64_t i = 0; i < n; i++)
                EXPECT_EQ(int_of(mp_value_item(v, (size_t)i)), i * i);
            mp_value_free(v);
        }
    end(pool);
}

TEST_METHODS(twenty_thousand_values)
{
    mp_pool *pool = pool_of(method, 3);
    mp_value *v;
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(square), numbers(20000), &v));
    for (int64_t i = 0; i < 20000; i++)
        EXPECT_EQ(int_of(mp_value_item(v, (size_t)i)), i * i);
    mp_value_free(v);
    end(pool);
}

TEST_METHODS(thousands_of_calls_at_once)
{
    mp_pool *pool = pool_of(method, 2);
    static mp_result *results[5000];
    mp_pool_info info;
    for (int i = 0; i < 5000; i++)
        EXPECT(results[i] = MP_APPLY(pool, square, i));
    for (int64_t i = 4999; i >= 0; i--) {
        mp_value *v = got(results[i]);
        EXPECT_EQ(int_of(v), i * i);
        mp_value_free(v);
    }
    EXPECT_OK(mp_pool_get_info(pool, &info));
    EXPECT_EQ(info.submitted, 5000);
    EXPECT_EQ(info.done, 5000);
    EXPECT_EQ(info.failed + info.lost, 0);
    end(pool);
}

TEST_METHODS(big_arguments_and_results)
{
    mp_pool *pool = pool_of(method, 2);
    char *data = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i * 7 + i / 4096);
    mp_value *big = mp_value_bytes(data, BIG), *v, *items[6];
    EXPECT_OK(mp_pool_apply(pool, MP_TASK_OF(same), mp_tuple_of(mp_value_ref(big)), &v));
    EXPECT_EQ(mp_value_equal(v, big), 1);
    mp_value_free(v);
    for (size_t i = 0; i < 6; i++)
        items[i] = mp_tuple_of(mp_v((int)i), mp_value_ref(big));
    mp_value *list = mp_value_list(items, 6);
    EXPECT_OK(mp_pool_map(pool, MP_TASK_OF(same), mp_value_ref(list), &v));
    EXPECT_EQ(mp_value_equal(v, list), 1);
    mp_value_free(v);
    mp_value_free(list);
    mp_value_free(big);
    free(data);
    end(pool);
}

/* ---- arrays ---- */

static const size_t lengths[] = {0, 1, 7, 1000, MILLION};
static const size_t array_chunks[] = {0, 1, 3, 1000};

static void map_array(mp_pool *pool, const mp_task *task, const void *in, void *out, size_t n,
                      size_t chunk)
{
    mp_call_options o = chunks_of(chunk);
    mp_result *result = mp_pool_map_array_async(pool, task, in, out, n, &o);
    EXPECT_STR(harness_repr(got(mp_result_ref(result))), "None");
    EXPECT_EQ(mp_result_count(result), n);
    EXPECT_EQ(mp_result_done(result), n);
    EXPECT_EQ(mp_result_failed(result), 0);
    mp_result_free(result);
}

static void map_all_types(mp_pool *pool, size_t n, size_t chunk, void *const *at)
{
    int64_t *l = at[0], *l2 = at[1];
    int *i = at[2], *i2 = at[3];
    double *d = at[4];
    float *f = at[5];
    for (size_t k = 0; k < n; k++) {
        l[k] = (int64_t)k - 500;
        i[k] = (int)k;
        f[k] = (float)k;
        l2[k] = i2[k] = -1;
        d[k] = -1;
    }
    map_array(pool, MP_TASK_OF(square), l, l2, n, chunk);
    map_array(pool, MP_TASK_OF(half), i, d, n, chunk);
    map_array(pool, MP_TASK_OF(floor_of), d, i2, n, chunk);
    map_array(pool, MP_TASK_OF(third), f, f, n, chunk); /* onto itself */
    for (size_t k = 0; k < n; k++) {
        EXPECT_EQ(l2[k], l[k] * l[k]);
        EXPECT(d[k] == (double)k * 0.5);
        EXPECT_EQ(i2[k], k / 2);
        EXPECT(f[k] == (float)k / 3);
    }
}

TEST_METHODS(arrays_of_every_type_and_length)
{
    mp_pool *pool = pool_of(method, 2);
    void *at[6];
    for (size_t i = 0; i < COUNT(at); i++)
        at[i] = malloc(MILLION * sizeof(int64_t));
    for (size_t n = 0; n < COUNT(lengths); n++)
        for (size_t c = 0; c < COUNT(array_chunks); c++)
            if (lengths[n] < MILLION || array_chunks[c] % 1000 == 0)
                map_all_types(pool, lengths[n], array_chunks[c], at);
    int64_t *in = at[0], *out = at[1];
    EXPECT_OK(MP_MAP(pool, square, in, out, 100));
    EXPECT_OK(MP_MAP(pool, square, in, NULL, 0));
    for (size_t i = 0; i < COUNT(at); i++)
        free(at[i]);
    end(pool);
}

TEST_METHODS(errors_inside_arrays)
{
    mp_pool *pool = pool_of(method, 2);
    int64_t in[100], out[100];
    const char *text = NULL;
    for (size_t c = 0; c < COUNT(array_chunks); c++) {
        mp_call_options o = chunks_of(array_chunks[c]);
        for (int i = 0; i < 100; i++)
            in[i] = i, out[i] = -5;
        mp_result *r = mp_pool_map_array_async(pool, MP_TASK_OF(not_thirds), in, out, 100, &o);
        EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EREMOTE);
        EXPECT_HAS(mp_error_detail(), "task 'not_thirds' number 1: 1 is bad");
        EXPECT_EQ(mp_result_failed(r), 33);
        EXPECT_EQ(mp_result_done(r), 100);
        EXPECT_EQ(mp_result_successful(r), 0);
        for (int i = 0; i < 100; i++) {
            EXPECT_EQ(out[i], i % 3 == 1 ? -5 : 2 * i);
            EXPECT_EQ(mp_result_error(r, (size_t)i, &text), i % 3 == 1 ? i + 1000 : 0);
        }
        mp_result_free(r);
    }
    EXPECT_EQ(mp_pool_map_array(pool, MP_TASK_OF(weigh), in, out, 3), MP_ETYPE);
    EXPECT_EQ(mp_pool_map_array(pool, MP_TASK_OF(square), in, out, SIZE_MAX / 2), -ENOMEM);
    EXPECT_EQ(mp_pool_map_array(pool, MP_TASK_OF(square), NULL, out, 1), -EINVAL);
    EXPECT_EQ(mp_pool_map_array(pool, MP_TASK_OF(square), in, NULL, 1), -EINVAL);
    end(pool);
}

/* ---- bytes ---- */

TEST_METHODS(bytes_that_only_the_task_understands)
{
    mp_pool *pool = pool_of(method, 2);
    const mp_bytes items[] = {{"abcde", 5}, {"", 0}, {"abc", 3}, {"abcd", 4}, {NULL, 0}, {"a", 1}};
    mp_result *r = mp_pool_map_bytes_async(pool, &reverse_task, items, COUNT(items), NULL);
    const char *text = NULL;
    EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EREMOTE);
    EXPECT_HAS(mp_error_detail(), "three bytes");
    EXPECT_EQ(mp_result_error(r, 2, &text), 33);
    EXPECT_EQ(mp_result_error(r, 3, &text), -EDOM);
    EXPECT_EQ(mp_buffer_size(mp_result_bytes(r, 0)), 5);
    EXPECT(memcmp(mp_buffer_data(mp_result_bytes(r, 0)), "edcba", 5) == 0);
    EXPECT_EQ(mp_buffer_size(mp_result_bytes(r, 1)), 0);
    EXPECT(mp_result_bytes(r, 2) == NULL && mp_result_bytes(r, 3) == NULL);
    EXPECT_EQ(mp_buffer_size(mp_result_bytes(r, 4)), 0);
    mp_result_free(r);
    EXPECT_STR(harness_repr(got(mp_pool_map_bytes_async(pool, &reverse_task, NULL, 0, NULL))),
               "None");
    EXPECT_EQ(failed(mp_pool_map_bytes_async(pool, MP_TASK_OF(square), items, 1, NULL)), MP_ETYPE);
    EXPECT_EQ(failed(mp_pool_apply_async(pool, &reverse_task, mp_tuple_of(mp_v(1)), NULL)),
              MP_ETYPE);
    end(pool);
}

TEST_METHODS(large_bytes)
{
    mp_pool *pool = pool_of(method, 2);
    char *data = malloc(BIG);
    mp_bytes items[8];
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i / 5 + i % 3);
    for (size_t i = 0; i < 8; i++)
        items[i] = (mp_bytes){data, BIG - i};
    mp_result *r = mp_pool_map_bytes_async(pool, &reverse_task, items, 8, NULL);
    EXPECT_OK(mp_result_get(r, NULL, SECONDS));
    for (size_t i = 0; i < 8; i++) {
        const mp_buffer *b = mp_result_bytes(r, i);
        EXPECT_EQ(mp_buffer_size(b), BIG - i);
        for (size_t k = 0; k < BIG - i; k += 101)
            EXPECT(((char *)mp_buffer_data(b))[k] == data[BIG - i - 1 - k]);
    }
    mp_result_free(r);
    free(data);
    end(pool);
}

/* ---- results ---- */

TEST_METHODS(waiting_for_results)
{
    mp_pool *pool = pool_of(method, 1);
    mp_value *v = NULL, *w = NULL;
    mp_result *r = MP_APPLY(pool, wait_for_ms, 300);
    EXPECT_EQ(mp_result_ready(r), 0);
    EXPECT_EQ(mp_result_successful(r), MP_ERUNNING);
    EXPECT_EQ(mp_result_get(r, &v, MP_MS(20)), -EAGAIN);
    EXPECT_EQ(mp_result_get(r, &v, MP_NOWAIT), -EAGAIN);
    EXPECT_EQ(mp_result_wait(r, MP_MS(1)), -ETIMEDOUT);
    EXPECT_EQ(mp_result_wait(r, -5), -ETIMEDOUT);
    EXPECT_EQ(mp_result_done(r), 0);
    EXPECT(v == NULL);
    EXPECT_OK(mp_result_wait(r, MP_FOREVER));
    EXPECT_OK(mp_result_wait(r, MP_NOWAIT));
    EXPECT_EQ(mp_result_ready(r), 1);
    EXPECT_EQ(mp_result_successful(r), 1);
    EXPECT_OK(mp_result_get(r, &v, MP_NOWAIT));
    EXPECT_OK(mp_result_get(r, &w, MP_NOWAIT)); /* as often as wanted */
    EXPECT_EQ(int_of(v), 300);
    EXPECT_EQ(mp_result_error(r, 0, NULL), 0);
    mp_value_free(v);
    mp_result_free(r);
    EXPECT_EQ(int_of(w), 300);
    mp_value_free(w);
    r = MP_APPLY(pool, wait_for_ms, 50);
    EVENTUALLY(mp_result_ready(r) == 1); /* without anybody who waits */
    mp_result_free(r);
    mp_result_free(NULL);
    end(pool);
}

typedef struct echo {
    mp_pool *pool;
    _Atomic int calls, over;
} echo;

static void count_call(void *data, mp_result *result)
{
    echo *e = data;
    EXPECT_EQ(mp_result_ready(result), 1);
    e->over++;
}

static void submit_again(void *data, mp_result *result)
{
    echo *e = data;
    mp_call_options o = MP_CALL_OPTIONS_INIT;
    EXPECT_EQ(mp_result_ready(result), 1);
    o.done = e->calls++ < 9 ? submit_again : count_call;
    o.data = e;
    mp_result *r = mp_pool_apply_async(e->pool, MP_TASK_OF(answer), mp_value_tuple(NULL, 0), &o);
    EXPECT(r);
    mp_result_free(r);
}

TEST_METHODS(done_is_called_once)
{
    echo e = {pool_of(method, 2), 0, 0};
    mp_call_options o = MP_CALL_OPTIONS_INIT;
    int64_t in[100] = {0}, out[100];
    o.done = count_call;
    o.data = &e;
    mp_result_free(mp_pool_map_async(e.pool, MP_TASK_OF(square), numbers(100), &o));
    EVENTUALLY(e.over == 1);
    mp_result_free(mp_pool_map_array_async(e.pool, MP_TASK_OF(square), in, out, 100, &o));
    EVENTUALLY(e.over == 2);
    mp_result_free(mp_pool_map_async(e.pool, MP_TASK_OF(square), numbers(0), &o));
    EVENTUALLY(e.over == 3);
    for (int i = 0; i < 500; i++)
        mp_result_free(
            mp_pool_apply_async(e.pool, MP_TASK_OF(fail_with), mp_tuple_of(mp_v(5)), &o));
    EVENTUALLY(e.over == 503);
    o.done = submit_again;
    mp_result_free(mp_pool_apply_async(e.pool, MP_TASK_OF(answer), mp_value_tuple(NULL, 0), &o));
    EVENTUALLY(e.over == 504);
    EXPECT_EQ(e.calls, 10);
    end(e.pool);
    EXPECT_EQ(e.over, 504);
}

/* ---- errors ---- */

TEST_METHODS(errors_of_tasks)
{
    mp_pool *pool = pool_of(method, 2);
    const char *text = NULL;
    mp_value *v = NULL;
    mp_result *r = MP_APPLY(pool, fail_with, 7);
    EXPECT_EQ(mp_result_get(r, &v, SECONDS), MP_EREMOTE);
    EXPECT_STR(mp_error_detail(), "task 'fail_with' number 0: code 7, 100% of it");
    EXPECT_EQ(mp_result_error(r, 0, &text), 7);
    EXPECT_STR(text, "task 'fail_with' number 0: code 7, 100% of it");
    mp_result_free(r);
    EXPECT_EQ(failed(MP_APPLY(pool, fail_with, -ENOENT)), -ENOENT);
    EXPECT_EQ(failed(MP_APPLY(pool, fail_with, MP_EUNSAFE)), MP_EUNSAFE);
    EXPECT_EQ(failed(MP_APPLY(pool, fail_with, 0)), MP_EREMOTE);
    EXPECT(failed(MP_APPLY(pool, nothing, 1)) < 0);
    EXPECT_EQ(failed(MP_APPLY(pool, a_connection)), MP_ETYPE);
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(square), mp_tuple_of(mp_v("x")), &v), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "argument 1 is of type str, not int64_t");
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(square), mp_value_tuple(NULL, 0), &v), MP_ETYPE);
    EXPECT_HAS(mp_error_detail(), "task 'square' wants 1 arguments and got 0");
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(answer), mp_tuple_of(mp_v(1)), &v), MP_ETYPE);
    EXPECT_EQ(int_of(v = got(MP_APPLY(pool, square, 5))), 25);
    mp_value_free(v);
    end(pool);
}

TEST_METHODS(an_error_for_each_item)
{
    mp_pool *pool = pool_of(method, 2);
    for (size_t chunk = 0; chunk < 60; chunk += 20) {
        mp_call_options o = chunks_of(chunk);
        mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(not_thirds), numbers(50), &o);
        EXPECT_EQ(mp_result_get(r, NULL, SECONDS), MP_EREMOTE);
        EXPECT_HAS(mp_error_detail(), "task 'not_thirds' number 1: 1 is bad");
        EXPECT_EQ(mp_result_failed(r), 17);
        EXPECT_EQ(mp_result_done(r), 50);
        for (int i = 0; i < 50; i++) {
            const char *text = NULL;
            EXPECT_EQ(mp_result_error(r, (size_t)i, &text), i % 3 == 1 ? i + 1000 : 0);
            EXPECT((text != NULL) == (i % 3 == 1));
        }
        mp_result_free(r);
    }
    end(pool);
}

TEST_METHODS(calls_that_cannot_be_made)
{
    mp_pool *pool = pool_of(method, 1);
    mp_connection *a, *b;
    mp_value *v = NULL;
    mp_pool_info info;
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(same), mp_tuple_of(mp_v(a)), &v), MP_ETYPE);
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(same), mp_list_of(mp_v(1), mp_v(a)), &v), MP_ETYPE);
    EXPECT_EQ(mp_pool_apply(pool, MP_TASK_OF(same), mp_list_of(mp_v(1)), &v), MP_ETYPE);
    EXPECT_EQ(mp_pool_starmap(pool, MP_TASK_OF(same), mp_list_of(mp_v(1)), &v), MP_ETYPE);
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(same), mp_v("text"), &v), MP_ETYPE);
    EXPECT_EQ(mp_pool_map(pool, MP_TASK_OF(same), mp_value_str("\xff"), &v), -EILSEQ);
    EXPECT(v == NULL);
    mp_connection_free(a);
    mp_connection_free(b);
    EXPECT_OK(mp_pool_get_info(pool, &info));
    EXPECT_EQ(info.submitted, 0);
    end(pool);
}

static mp_value *call_late(const mp_value *args)
{
    return mp_value_ref(mp_value_item(args, 0));
}

TEST_METHODS(a_task_that_the_worker_does_not_know)
{
    static mp_task late = {"late", call_late, NULL, 0, 0, NULL, NULL};
    mp_pool *pool = pool_of(method, 1);
    int r = failed(mp_pool_apply_async(pool, &late, mp_tuple_of(mp_v(1)), NULL));
    EXPECT_EQ(r, MP_ENOTARGET);
    EXPECT_HAS(mp_error_detail(), "late");
    mp_value_free(got(MP_APPLY(pool, answer)));
    end(pool);
}

/* ---- imap ---- */

typedef struct source {
    int64_t next, end, out, most; /* arguments given, their end, results out, most of them ahead */
} source;

static mp_value *give(void *data)
{
    source *s = data;
    if (s->next == s->end)
        return NULL;
    s->next++;
    s->most = s->next - s->out > s->most ? s->next - s->out : s->most;
    return mp_v(s->next - 1);
}

TEST_METHODS(imap_in_order)
{
    mp_pool *pool = pool_of(method, 2);
    static const size_t ahead[] = {0, 1, 5, 64, 3000};
    for (size_t c = 0; c < COUNT(array_chunks); c++)
        for (size_t k = 0; k < COUNT(ahead); k++) {
            source s = {0, 1500, 0, 0};
            mp_call_options o = chunks_of(array_chunks[c]);
            mp_value *v;
            mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(square), give, &s, 0, ahead[k], &o);
            for (; s.out < 1500; s.out++) {
                EXPECT_EQ(mp_imap_next(imap, &v, SECONDS), 1);
                EXPECT_EQ(int_of(v), s.out * s.out);
                mp_value_free(v);
            }
            EXPECT_EQ(mp_imap_next(imap, &v, SECONDS), 0);
            EXPECT_EQ(mp_imap_next(imap, &v, SECONDS), 0);
            EXPECT(!ahead[k] || s.most <= (int64_t)ahead[k]);
            EXPECT(s.most > 0 && s.most <= 8000);
            mp_imap_free(imap);
        }
    end(pool);
}

TEST_METHODS(imap_in_any_order)
{
    mp_pool *pool = pool_of(method, 3);
    static int seen[700];
    for (size_t c = 0; c < COUNT(array_chunks); c++) {
        source s = {0, 700, 0, 0};
        mp_call_options o = chunks_of(array_chunks[c]);
        mp_value *v;
        memset(seen, 0, sizeof seen);
        mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(same), give, &s, 1, 30, &o);
        while (mp_imap_next(imap, &v, SECONDS) == 1) {
            seen[int_of(v)]++;
            s.out++;
            mp_value_free(v);
        }
        for (int i = 0; i < 700; i++)
            EXPECT_EQ(seen[i], 1);
        EXPECT(s.most <= 30);
        mp_imap_free(imap);
    }
    end(pool);
}

static mp_value *give_slow_first(void *data)
{
    source *s = data;
    return s->next == s->end ? NULL : mp_v(s->next++ ? 0 : 600);
}

TEST_METHODS(a_slow_item_is_overtaken)
{
    mp_pool *pool = pool_of(method, 2);
    source s = {0, 20, 0, 0};
    mp_call_options o = chunks_of(1);
    mp_value *v;
    mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(wait_for_ms), give_slow_first, &s, 1, 40, &o);
    EXPECT_EQ(mp_imap_next(imap, &v, SECONDS), 1);
    EXPECT_EQ(int_of(v), 0);
    mp_value_free(v);
    mp_imap_free(imap);
    s = (source){0, 20, 0, 0};
    imap = mp_pool_imap(pool, MP_TASK_OF(wait_for_ms), give_slow_first, &s, 0, 40, &o);
    EXPECT_EQ(mp_imap_next(imap, &v, MP_MS(1)), -EAGAIN);
    EXPECT_EQ(mp_imap_next(imap, &v, SECONDS), 1);
    EXPECT_EQ(int_of(v), 600);
    mp_value_free(v);
    mp_imap_free(imap); /* early */
    mp_imap_free(NULL);
    end(pool);
}

TEST_METHODS(imap_goes_on_after_errors)
{
    mp_pool *pool = pool_of(method, 2);
    for (int unordered = 0; unordered < 2; unordered++) {
        source s = {0, 300, 0, 0};
        int64_t good = 0, bad = 0;
        mp_value *v;
        mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(not_thirds), give, &s, unordered, 0, NULL);
        for (int r; (r = mp_imap_next(imap, &v, SECONDS)) != 0; s.out++) {
            EXPECT(r == 1 || r == MP_EREMOTE);
            if (!unordered)
                EXPECT_EQ(r, s.out % 3 == 1 ? MP_EREMOTE : 1);
            if (r == 1) {
                mp_value_free(v);
                good++;
            } else {
                EXPECT_HAS(mp_error_detail(), "is bad");
                bad++;
            }
        }
        EXPECT_EQ(good, 200);
        EXPECT_EQ(bad, 100);
        mp_imap_free(imap);
    }
    end(pool);
}

/* What was computed before the pool was closed can be had. */
TEST_METHODS(an_imap_of_a_pool_that_is_closed)
{
    mp_pool *pool = pool_of(method, 2);
    source s = {0, 1000, 0, 0};
    mp_value *v;
    mp_imap *imap = mp_pool_imap(pool, MP_TASK_OF(same), give, &s, 0, 20, NULL);
    EXPECT_EQ(s.next, 20);
    EXPECT_OK(mp_pool_close(pool));
    int64_t errors = 0;
    for (int r; (r = mp_imap_next(imap, &v, SECONDS)) != 0 && errors < 100;) {
        if (r == 1) {
            EXPECT_EQ(int_of(v), s.out++);
            mp_value_free(v);
        } else {
            EXPECT_EQ(r, MP_ECLOSED);
            errors++;
        }
    }
    EXPECT_EQ(s.out, 20);
    EXPECT(s.next <= 1000);
    mp_imap_free(imap);
    EXPECT(mp_pool_imap(pool, MP_TASK_OF(same), give, &s, 0, 20, NULL) == NULL);
    EXPECT_EQ(mp_error_code(), MP_ECLOSED);
    end(pool);
}
