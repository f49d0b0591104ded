/* SPDX-License-Identifier: MIT */
/* Makes what several tests need: queues and pools of a kind, lists of numbers; and takes them apart. */
#ifndef TESTS_MAKERS_H
#define TESTS_MAKERS_H

#include "harness.h"

static inline mp_queue *queue_with(size_t max_items, uint64_t max_bytes, int joinable)
{
    mp_queue_options o = MP_QUEUE_OPTIONS_INIT;
    o.max_items = max_items;
    o.max_bytes = max_bytes;
    o.joinable = joinable;
    mp_queue *q = mp_queue_new_with(&o);
    EXPECT(q);
    return q;
}

static inline mp_pool_options options(const char *method, unsigned workers)
{
    mp_pool_options o = MP_POOL_OPTIONS_INIT;
    o.workers = workers;
    o.context = mp_get_context(method);
    return o;
}

static inline mp_pool *pool_with(const mp_pool_options *o)
{
    mp_pool *pool = mp_pool_new_with(o);
    if (!pool)
        harness_fail(__FILE__, __LINE__, "no pool: %s", mp_error_detail());
    return pool;
}

static inline mp_pool *pool_of(const char *method, unsigned workers)
{
    mp_pool_options o = options(method, workers);
    return pool_with(&o);
}

/* Closes a pool, waits for its end, and frees it. */
static inline void end(mp_pool *pool)
{
    EXPECT_OK(mp_pool_close(pool));
    EXPECT_OK(mp_pool_join(pool, MP_SECONDS(60)));
    mp_pool_free(pool);
}

/* [0, 1, ... n - 1] */
static inline mp_value *numbers(int64_t n)
{
    mp_value **items = malloc(sizeof *items * (size_t)(n + 1));
    for (int64_t i = 0; i < n; i++)
        items[i] = mp_v(i);
    mp_value *list = mp_value_list(items, (size_t)n);
    free(items);
    return list;
}

/* The int that a call returned; frees the result. */
static inline int64_t result_int(mp_result *result)
{
    mp_value *v = NULL;
    int64_t n = -77;
    EXPECT(result);
    EXPECT_OK(mp_result_get(result, &v, MP_SECONDS(60)));
    EXPECT_OK(mp_value_get_int(v, &n));
    mp_value_free(v);
    mp_result_free(result);
    return n;
}

#endif
