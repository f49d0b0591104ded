/* SPDX-License-Identifier: MIT */
/* Queues: items of every kind and size, order, bounds, many at once, joining, handles inside, memory. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "arena/heap.h"
#include "makers.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)
#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct memory {
    uint64_t blocks, bytes;
} memory;

static memory in_use(void)
{
    memory m;
    EXPECT(mp__tag_self());
    EXPECT_OK(mp__heap_check(&m.blocks, &m.bytes));
    return m;
}

#define EXPECT_MEMORY(before)                           \
    do {                                                \
        memory harness_now = in_use();                  \
        EXPECT_EQ(harness_now.blocks, (before).blocks); \
        EXPECT_EQ(harness_now.bytes, (before).bytes);   \
    } while (0)

static void fill(void *data, size_t n, unsigned seed)
{
    unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + i / 251 + seed);
}

static int64_t get_int(mp_queue *q, mp_time timeout)
{
    mp_value *v;
    int64_t n = -1;
    EXPECT_OK(mp_queue_get(q, &v, timeout));
    EXPECT_OK(mp_value_get_int(v, &n));
    mp_value_free(v);
    return n;
}

/* ---- items ---- */

static mp_value *all_kinds(void)
{
    static unsigned char big[40], large[70000];
    memset(big, 0x7e, sizeof big);
    fill(large, sizeof large, 3);
    return mp_list_of(
        mp_value_none(), mp_value_bool(1), mp_value_bool(0), mp_v(0), mp_v(-1),
        mp_value_int(INT64_MIN), mp_value_uint(UINT64_MAX), mp_value_bigint(big, sizeof big),
        mp_v(0.5), mp_value_str(""), mp_value_str("gr\xc3\xbc\xc3\x9f"), mp_value_str_n("a\0b", 3),
        mp_value_bytes("", 0), mp_value_bytes("\0\xff", 2), mp_value_bytes(large, 5000),
        mp_value_bytes(large, sizeof large),
        mp_list_of(mp_v(1), mp_tuple_of(mp_v("x"), mp_value_none())), mp_value_tuple(NULL, 0),
        mp_dict_of(mp_v("k"), mp_v(1), mp_v(2), mp_list_of(mp_v(3))));
}

MP_TARGET(echo, (mp_queue *, from), (mp_queue *, to))
{
    mp_value *v;
    int r;
    while ((r = mp_queue_get(from, &v, SECONDS)) == 0)
        EXPECT_OK(mp_queue_put(to, v, SECONDS));
    EXPECT_EQ(r, MP_EOF);
    return 0;
}

TEST_METHODS(values_of_every_kind)
{
    mp_queue *to = mp_queue_new(0), *from = mp_queue_new(0);
    mp_value *kinds = all_kinds(), *v;
    mp_process *p = started(MP_PROCESS_IN(IN, echo, to, from));
    size_t n = (size_t)mp_value_len(kinds);
    for (size_t i = 0; i < n; i++)
        EXPECT_OK(mp_queue_put(to, mp_value_ref(mp_value_item(kinds, i)), SECONDS));
    EXPECT_OK(mp_queue_put(to, mp_value_ref(kinds), SECONDS));
    for (size_t i = 0; i <= n; i++) {
        const mp_value *wanted = i < n ? mp_value_item(kinds, i) : kinds;
        EXPECT_OK(mp_queue_get(from, &v, SECONDS));
        EXPECT_STR(mp_value_type_name(v), mp_value_type_name(wanted));
        EXPECT_EQ(mp_value_equal(v, wanted), 1);
        mp_value_free(v);
    }
    mp_value_free(kinds);
    EXPECT_OK(mp_queue_shutdown(to));
    EXPECT_EQ(joined(p), 0);
    EXPECT_EQ(mp_queue_empty(from), 1);
    mp_queue_free(to);
    mp_queue_free(from);
    mp_queue_free(NULL);
}

static const size_t sizes[] = {0,    1,    7,    8,    9,     100,   4087,    4088,
                               4095, 4096, 4097, 8192, 65535, 65536, 1 << 20, 16 << 20};

static void put_and_get(mp_queue *q, const unsigned char *data, unsigned char *got, size_t n)
{
    mp_buffer *buffer;
    mp_value *v;
    size_t size = 77;
    for (int i = 0; i < 4; i++)
        EXPECT_OK(mp_queue_put_bytes(q, data, n, SECONDS));
    EXPECT_EQ(mp_queue_size(q), 4);
    memset(got, 0, n);
    EXPECT_EQ(mp_queue_get_bytes(q, got, 16 << 20, SECONDS), n);
    EXPECT(memcmp(got, data, n) == 0);
    if (n)
        EXPECT_EQ(mp_queue_get_bytes(q, got, n - 1, SECONDS), -EMSGSIZE);
    EXPECT_EQ(mp_queue_size(q), 3);
    memset(got, 0, n);
    EXPECT_EQ(mp_queue_get_bytes(q, got, n, SECONDS), n);
    EXPECT(memcmp(got, data, n) == 0);
    EXPECT_OK(mp_queue_get_buffer(q, &buffer, SECONDS));
    EXPECT_EQ(mp_buffer_size(buffer), n);
    EXPECT(memcmp(mp_buffer_data(buffer), data, n) == 0);
    mp_buffer_free(buffer);
    memset(got, 0, n);
    EXPECT_EQ(mp_queue_get_many_bytes(q, got, n, 5, SECONDS), 1);
    EXPECT(memcmp(got, data, n) == 0);
    EXPECT_EQ(mp_queue_empty(q), 1);
    EXPECT_OK(mp_queue_put(q, mp_list_of(mp_v(1), mp_value_bytes(data, n)), SECONDS));
    EXPECT_OK(mp_queue_get(q, &v, SECONDS));
    EXPECT(memcmp(mp_value_get_bytes(mp_value_item(v, 1), &size), data, n) == 0);
    EXPECT_EQ(size, n);
    mp_value_free(v);
}

TEST(bytes_of_every_size)
{
    unsigned char *data = malloc(16 << 20), *got = malloc(16 << 20);
    memory before = in_use();
    mp_queue *q = mp_queue_new(0);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            fill(data, sizes[i], (unsigned)(i + round));
            put_and_get(q, data, got, sizes[i]);
        }
    mp_queue_free(q);
    EXPECT_MEMORY(before);
    free(data);
    free(got);
}

MP_TARGET(send_sizes, (mp_queue *, q))
{
    unsigned char *data = malloc(16 << 20);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        fill(data, sizes[i], (unsigned)i);
        EXPECT_OK(mp_queue_put_bytes(q, data, sizes[i], SECONDS));
    }
    free(data);
    return 0;
}

TEST_METHODS(bytes_of_every_size_from_another_process)
{
    unsigned char *data = malloc(16 << 20);
    mp_queue *q = mp_queue_new(0);
    mp_process *p = started(MP_PROCESS_IN(IN, send_sizes, q));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        mp_buffer *b;
        fill(data, sizes[i], (unsigned)i);
        EXPECT_OK(mp_queue_get_buffer(q, &b, SECONDS));
        EXPECT_EQ(mp_buffer_size(b), sizes[i]);
        EXPECT(memcmp(mp_buffer_data(b), data, sizes[i]) == 0);
        mp_buffer_free(b);
    }
    EXPECT_EQ(joined(p), 0);
    mp_queue_free(q);
    free(data);
}

TEST(garbage_is_gone_and_the_next_item_arrives)
{
    mp_queue *q = mp_queue_new(0);
    mp_value *v;
    EXPECT_OK(mp_queue_put_bytes(q, "\x80\x04garbage", 9, SECONDS));
    EXPECT_OK(mp_queue_put_bytes(q,
                                 "\x80\x03"
                                 "cos\nsystem\n.",
                                 13, SECONDS));
    EXPECT_OK(mp_queue_put(q, mp_v(3), SECONDS));
    EXPECT_EQ(mp_queue_get(q, &v, SECONDS), -EBADMSG);
    EXPECT_EQ(mp_queue_get(q, &v, SECONDS), MP_EUNSAFE);
    EXPECT_EQ(get_int(q, SECONDS), 3);
    EXPECT_EQ(mp_queue_empty(q), 1);
    mp_queue_free(q);
}

/* ---- order, with many producers and consumers ---- */

#define PRODUCERS 3
#define EACH 400

typedef struct stamp {
    int32_t id, i;
} stamp;

typedef struct summary {
    int64_t count[PRODUCERS], sum[PRODUCERS], squares[PRODUCERS];
} summary;

MP_TARGET(produce, (mp_queue *, q), (int, id), (int, n))
{
    static const size_t size_of[] = {8, 16, 41, 600, 4096, 4100, 70000};
    static unsigned char data[70000];
    for (int i = 0; i < n; i++) {
        size_t size = size_of[(i + id) % 7];
        stamp s = {id, i};
        memset(data, id * 50 + i % 50, size);
        memcpy(data, &s, sizeof s);
        EXPECT_OK(mp_queue_put_bytes(q, data, size, SECONDS));
    }
    return 0;
}

static void take_stamped(mp_buffer *b, summary *sum, int32_t *last)
{
    const unsigned char *p = mp_buffer_data(b);
    stamp s;
    EXPECT(mp_buffer_size(b) >= sizeof s);
    memcpy(&s, p, sizeof s);
    EXPECT(s.id >= 0 && s.id < PRODUCERS);
    EXPECT(s.i > last[s.id]); /* in order */
    last[s.id] = s.i;
    for (size_t k = sizeof s; k < mp_buffer_size(b); k++)
        if (p[k] != (unsigned char)(s.id * 50 + s.i % 50))
            harness_fail(__FILE__, __LINE__, "item %d of producer %d is torn", s.i, s.id);
    sum->count[s.id]++;
    sum->sum[s.id] += s.i;
    sum->squares[s.id] += (int64_t)s.i * s.i;
    mp_buffer_free(b);
}

MP_TARGET(consume, (mp_queue *, q), (mp_queue *, results))
{
    summary sum = {{0}, {0}, {0}};
    int32_t last[PRODUCERS] = {-1, -1, -1};
    mp_buffer *b;
    int r;
    while ((r = mp_queue_get_buffer(q, &b, SECONDS)) == 0)
        take_stamped(b, &sum, last);
    EXPECT_EQ(r, MP_EOF);
    EXPECT_OK(mp_queue_put_bytes(results, &sum, sizeof sum, SECONDS));
    return 0;
}

/* Nothing was lost or doubled. */
static void check_summaries(mp_queue *results, int consumers, int each)
{
    summary all = {{0}, {0}, {0}}, sum;
    for (int c = 0; c < consumers; c++) {
        EXPECT_EQ(mp_queue_get_bytes(results, &sum, sizeof sum, SECONDS), sizeof sum);
        for (int i = 0; i < PRODUCERS; i++) {
            all.count[i] += sum.count[i];
            all.sum[i] += sum.sum[i];
            all.squares[i] += sum.squares[i];
        }
    }
    int64_t n = each;
    for (int i = 0; i < PRODUCERS; i++) {
        EXPECT_EQ(all.count[i], n);
        EXPECT_EQ(all.sum[i], n * (n - 1) / 2);
        EXPECT_EQ(all.squares[i], (n - 1) * n * (2 * n - 1) / 6);
    }
}

TEST_METHODS(nothing_is_lost_doubled_or_out_of_order)
{
    static const struct {
        size_t items;
        uint64_t bytes;
    } bounds[] = {{0, 0}, {1, 0}, {5, 0}, {0, 9000}, {4, 100000}};
    for (size_t k = 0; k < COUNT(bounds); k++) {
        mp_queue *q = queue_with(bounds[k].items, bounds[k].bytes, 0), *results = mp_queue_new(0);
        mp_process *p[PRODUCERS], *c[3];
        for (int i = 0; i < 3; i++)
            c[i] = started(MP_PROCESS_IN(IN, consume, q, results));
        for (int i = 0; i < PRODUCERS; i++)
            p[i] = started(MP_PROCESS_IN(IN, produce, q, i, EACH));
        for (int i = 0; i < PRODUCERS; i++)
            EXPECT_EQ(joined(p[i]), 0);
        EXPECT_OK(mp_queue_shutdown(q));
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(joined(c[i]), 0);
        check_summaries(results, 3, EACH);
        mp_queue_free(q);
        mp_queue_free(results);
    }
}

typedef struct job {
    mp_queue *q, *results;
    int id;
} job;

static void *produce_thread(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 5000; i++) {
        stamp s[20];
        for (int k = 0; k < 20; k++)
            s[k] = (stamp){j->id, i};
        memset(s + 1, j->id * 50 + i % 50, sizeof s - sizeof *s);
        EXPECT_OK(mp_queue_put_bytes(j->q, s, (i % 20 + 1) * sizeof *s, SECONDS));
    }
    return NULL;
}

static void *consume_thread(void *arg)
{
    job *j = arg;
    summary sum = {{0}, {0}, {0}};
    int32_t last[PRODUCERS] = {-1, -1, -1};
    mp_buffer *b;
    int r;
    while ((r = mp_queue_get_buffer(j->q, &b, SECONDS)) == 0)
        take_stamped(b, &sum, last);
    EXPECT_EQ(r, MP_EOF);
    EXPECT_OK(mp_queue_put_bytes(j->results, &sum, sizeof sum, SECONDS));
    return NULL;
}

TEST(threads_of_one_process)
{
    for (size_t bound = 0; bound < 9; bound += 4) {
        mp_queue *q = mp_queue_new(bound), *results = mp_queue_new(0);
        pthread_t p[PRODUCERS], c[3];
        job j[PRODUCERS];
        for (int i = 0; i < PRODUCERS; i++) {
            j[i] = (job){q, results, i};
            EXPECT_OK(pthread_create(&c[i], NULL, consume_thread, &j[i]));
            EXPECT_OK(pthread_create(&p[i], NULL, produce_thread, &j[i]));
        }
        for (int i = 0; i < PRODUCERS; i++)
            pthread_join(p[i], NULL);
        EXPECT_OK(mp_queue_shutdown(q));
        for (int i = 0; i < 3; i++)
            pthread_join(c[i], NULL);
        check_summaries(results, 3, 5000);
        mp_queue_free(q);
        mp_queue_free(results);
    }
}

MP_TARGET(put_one, (mp_queue *, q), (int, number), (int, how))
{
    EXPECT_OK(mp_queue_put(q, mp_v(number), SECONDS));
    if (how == 1)
        _exit(0);
    if (how == 2)
        raise(SIGKILL);
    return 0;
}

TEST_METHODS(who_has_put_may_end_at_once)
{
    mp_queue *q = mp_queue_new(0);
    for (int i = 0; i < 9; i++) {
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, put_one, q, i, i % 3))),
                  i % 3 == 2 ? -SIGKILL : 0);
        EXPECT_EQ(mp_queue_size(q), 1);
        EXPECT_EQ(get_int(q, MP_NOWAIT), i);
    }
    mp_queue_free(q);
}

MP_TARGET(put_ints, (mp_queue *, q), (int, n))
{
    for (int i = 0; i < n; i++)
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
    return 0;
}

TEST_METHODS(a_producer_is_joined_before_its_items_are_got)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(0);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, put_ints, q, 100000))), 0);
    EXPECT_EQ(mp_queue_size(q), 100000);
    for (int i = 0; i < 100000; i++)
        EXPECT_EQ(get_int(q, MP_NOWAIT), i);
    mp_queue_free(q);
    mp_context_stop(IN);
    EXPECT_MEMORY(before);
}

MP_TARGET(put_and_say, (mp_queue *, q), (mp_semaphore *, said), (mp_semaphore *, go_on), (int, n))
{
    for (int i = 0; i < n; i++) {
        EXPECT_OK(mp_queue_put(q, mp_v(i), SECONDS));
        EXPECT_OK(mp_semaphore_release(said, 1));
        EXPECT_OK(mp_semaphore_acquire(go_on, SECONDS));
    }
    return 0;
}

TEST_METHODS(an_item_is_there_when_put_has_returned)
{
    mp_queue *q = mp_queue_new(0);
    mp_semaphore *said = mp_semaphore_new(0, 0), *go_on = mp_semaphore_new(0, 0);
    mp_process *p = started(MP_PROCESS_IN(IN, put_and_say, q, said, go_on, 500));
    for (int i = 0; i < 500; i++) {
        EXPECT_OK(mp_semaphore_acquire(said, SECONDS));
        EXPECT_EQ(mp_queue_size(q), 1);
        EXPECT_EQ(get_int(q, MP_NOWAIT), i);
        EXPECT_EQ(mp_queue_empty(q), 1);
        EXPECT_OK(mp_semaphore_release(go_on, 1));
    }
    EXPECT_EQ(joined(p), 0);
    mp_queue_free(q);
    mp_semaphore_free(said);
    mp_semaphore_free(go_on);
}

/* ---- many at once ---- */

TEST(put_many_and_get_many)
{
    mp_queue *q = mp_queue_new(0);
    mp_value *v[3000], *got[3000];
    EXPECT_EQ(mp_queue_put_many(q, v, 0, SECONDS), 0);
    static char large[9000];
    for (int i = 0; i < 3000; i++)
        v[i] = i % 500 == 499 ? mp_tuple_of(mp_v(i), mp_value_bytes(large, sizeof large)) : mp_v(i);
    EXPECT_EQ(mp_queue_put_many(q, v, 3000, SECONDS), 3000);
    EXPECT_EQ(mp_queue_size(q), 3000);
    int64_t done = 0, r, n;
    while (done < 3000) {
        r = mp_queue_get_many(q, got, done < 100 ? 7 : 3000, MP_NOWAIT);
        EXPECT(r >= 1 && r <= (done < 100 ? 7 : 3000));
        for (int64_t i = 0; i < r; i++, done++) {
            EXPECT(got[i]);
            mp_value *number = done % 500 == 499 ? mp_value_item(got[i], 0) : got[i];
            EXPECT_OK(mp_value_get_int(number, &n));
            EXPECT_EQ(n, done);
            mp_value_free(got[i]);
        }
    }
    EXPECT_EQ(mp_queue_get_many(q, got, 10, MP_MS(5)), -ETIMEDOUT);
    mp_queue_free(q);
}

TEST(put_many_puts_what_there_is_room_for)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(3);
    mp_value *v[5];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++)
            v[i] = mp_v(i);
        EXPECT_EQ(mp_queue_put_many(q, v, 5, round ? MP_MS(20) : MP_NOWAIT), 3);
        EXPECT_EQ(mp_queue_size(q), 3);
        for (int i = 0; i < 5; i++)
            v[i] = mp_v(i);
        EXPECT_EQ(mp_queue_put_many(q, v, 5, round ? MP_MS(5) : MP_NOWAIT), -ETIMEDOUT);
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(get_int(q, MP_NOWAIT), i);
        EXPECT_EQ(mp_queue_put_many_bytes(q, "aabbccddee", 2, 5, MP_NOWAIT), 3);
        EXPECT_EQ(mp_queue_put_many_bytes(q, "aabbccddee", 2, 5, MP_MS(5)), -ETIMEDOUT);
        char got[11] = "";
        EXPECT_EQ(mp_queue_get_many_bytes(q, got, 2, 5, MP_NOWAIT), 3);
        EXPECT_STR(got, "aabbcc");
    }
    mp_queue_free(q);
    EXPECT_MEMORY(before);
}

TEST(an_error_ends_put_many)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(0);
    mp_value *v[] = {mp_v(0), mp_v(1), mp_value_fd(0), mp_v(3)};
    EXPECT_EQ(mp_queue_put_many(q, v, 4, SECONDS), 2);
    mp_value *w[] = {mp_value_fd(0), mp_v(1)};
    EXPECT_EQ(mp_queue_put_many(q, w, 2, SECONDS), -EOPNOTSUPP);
    EXPECT_EQ(mp_queue_size(q), 2);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 0);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 1);
    mp_queue_free(q);
    EXPECT_MEMORY(before);
}

/* As queue.h says it: NULL stands in its place, or its error is the call's. */
TEST(garbage_among_many)
{
    mp_queue *q = mp_queue_new(0);
    mp_value *got[5];
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
    EXPECT_OK(mp_queue_put_bytes(q, "garbage", 7, SECONDS));
    EXPECT_OK(mp_queue_put(q, mp_v(2), SECONDS));
    EXPECT_EQ(mp_queue_get_many(q, got, 5, SECONDS), 3);
    EXPECT(got[1] == NULL);
    EXPECT_STR(harness_repr(got[0]), "1");
    EXPECT_STR(harness_repr(got[2]), "2");
    EXPECT_OK(mp_queue_put_bytes(q, "garbage", 7, SECONDS));
    EXPECT_EQ(mp_queue_get_many(q, got, 5, SECONDS), -EBADMSG);
    EXPECT_EQ(mp_queue_empty(q), 1);
    mp_queue_free(q);
}

TEST(many_bytes_are_of_exactly_that_size)
{
    static const size_t item_sizes[] = {1, 8, 100, 4096, 4097, 20000};
    mp_queue *q = mp_queue_new(0);
    for (size_t k = 0; k < COUNT(item_sizes); k++) {
        size_t size = item_sizes[k];
        unsigned char *data = malloc(300 * size), *got = calloc(300, size);
        fill(data, 300 * size, (unsigned)k);
        EXPECT_EQ(mp_queue_put_many_bytes(q, data, size, 300, SECONDS), 300);
        EXPECT_EQ(mp_queue_size(q), 300);
        EXPECT_EQ(mp_queue_get_many_bytes(q, got, size + 1, 1, MP_NOWAIT), -EMSGSIZE);
        EXPECT_EQ(mp_queue_get_many_bytes(q, got, size - 1, 1, MP_NOWAIT), -EMSGSIZE);
        EXPECT_EQ(mp_queue_size(q), 300);
        for (int64_t n = 0, r; n < 300; n += r) {
            r = mp_queue_get_many_bytes(q, got + (size_t)n * size, size, n ? 300 : 7, MP_NOWAIT);
            EXPECT(r > 0);
        }
        EXPECT(memcmp(data, got, 300 * size) == 0);
        free(data);
        free(got);
    }
    char got[20] = "";
    EXPECT_EQ(mp_queue_put_many_bytes(q, "aabb", 2, 2, SECONDS), 2);
    EXPECT_OK(mp_queue_put_bytes(q, "ccc", 3, SECONDS));
    EXPECT_OK(mp_queue_put_bytes(q, "", 0, SECONDS));
    EXPECT_OK(mp_queue_put_bytes(q, "", 0, SECONDS));
    EXPECT_OK(mp_queue_put_bytes(q, "dd", 2, SECONDS));
    EXPECT_EQ(mp_queue_get_many_bytes(q, got, 2, 9, MP_NOWAIT), 2);
    EXPECT_STR(got, "aabb");
    EXPECT_EQ(mp_queue_get_many_bytes(q, got, 3, 4, MP_NOWAIT), 1);
    EXPECT_EQ(mp_queue_get_many_bytes(q, NULL, 0, 4, MP_NOWAIT), 2);
    EXPECT_EQ(mp_queue_get_many_bytes(q, NULL, 0, 4, MP_NOWAIT), -EMSGSIZE);
    EXPECT_EQ(mp_queue_get_many_bytes(q, got, 2, 4, MP_NOWAIT), 1);
    mp_queue_free(q);
}

/* ---- views ---- */

static mp_buffer *view;
static unsigned char viewed[200000];

MP_TARGET(look_at_view, (mp_semaphore *, ready), (mp_semaphore *, go_on))
{
    EXPECT_OK(mp_semaphore_release(ready, 1));
    EXPECT_OK(mp_semaphore_acquire(go_on, SECONDS));
    EXPECT(memcmp(mp_buffer_data(view), viewed, sizeof viewed) == 0);
    mp_buffer_free(view);
    return 0;
}

TEST(views_outlive_the_queue_also_in_forked_children)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(0);
    mp_semaphore *ready = mp_semaphore_new(0, 0), *go_on = mp_semaphore_new(0, 0);
    fill(viewed, sizeof viewed, 9);
    EXPECT_OK(mp_queue_put_bytes(q, viewed, sizeof viewed, SECONDS));
    EXPECT_OK(mp_queue_get_buffer(q, &view, SECONDS));
    mp_queue_free(q);
    EXPECT(memcmp(mp_buffer_data(view), viewed, sizeof viewed) == 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(memcmp(mp_buffer_data(view), viewed, sizeof viewed) != 0);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    mp_process *p = started(MP_PROCESS_IN(mp_get_context("fork"), look_at_view, ready, go_on));
    EXPECT_OK(mp_semaphore_acquire(ready, SECONDS));
    mp_buffer_free(view);
    q = mp_queue_new(0); /* memory that is free is written to */
    char *other = calloc(1, sizeof viewed);
    for (int i = 0; i < 20; i++)
        EXPECT_OK(mp_queue_put_bytes(q, other, sizeof viewed, SECONDS));
    free(other);
    EXPECT_OK(mp_semaphore_release(go_on, 1));
    EXPECT_EQ(joined(p), 0);
    mp_queue_free(q);
    mp_semaphore_free(ready);
    mp_semaphore_free(go_on);
    EXPECT_MEMORY(before);
}

/* ---- handles inside ---- */

TEST(handles_inside_items)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(0), *inner = mp_queue_new(0), *got;
    mp_lock *lock = mp_lock_new(), *l;
    mp_value *v;
    EXPECT_OK(mp_queue_put(inner, mp_v(5), SECONDS));
    EXPECT_OK(mp_lock_acquire(lock, SECONDS));
    EXPECT_OK(mp_queue_put(q, mp_tuple_of(mp_v(inner), mp_v(lock)), SECONDS));
    mp_queue_free(inner); /* alive in the item */
    mp_lock_free(lock);
    EXPECT_OK(mp_queue_get(q, &v, SECONDS));
    EXPECT_OK(mp_value_get_queue(mp_value_item(v, 0), &got));
    EXPECT_EQ(get_int(got, MP_NOWAIT), 5);
    EXPECT_EQ(mp_value_get_queue(mp_value_item(v, 1), &got), MP_ETYPE);
    EXPECT_OK(mp_value_get_lock(mp_value_item(v, 1), &l));
    EXPECT_EQ(mp_lock_locked(l), 1);
    mp_value_free(v);
    EXPECT_OK(mp_queue_put(q, mp_v(q), SECONDS)); /* a queue inside itself */
    EXPECT_OK(mp_queue_get(q, &v, SECONDS));
    EXPECT_OK(mp_value_get_queue(v, &got));
    EXPECT_OK(mp_queue_put(got, mp_v(6), SECONDS));
    EXPECT_EQ(get_int(q, MP_NOWAIT), 6);
    mp_value_free(v);
    mp_queue_free(q);
    EXPECT_MEMORY(before);
}

TEST(a_dropped_queue_drops_what_is_in_it)
{
    static char large[100000];
    memory before = in_use();
    for (int round = 0; round < 3; round++) {
        mp_queue *q = mp_queue_new(0), *deeper = q;
        mp_lock *lock = mp_lock_new();
        for (int depth = 0; depth < 30; depth++) {
            mp_queue *inside = mp_queue_new(0);
            for (int i = 0; i < 20; i++) {
                EXPECT_OK(mp_queue_put(deeper, mp_list_of(mp_v(i), mp_v(lock)), SECONDS));
                EXPECT_OK(mp_queue_put_bytes(deeper, large, 500u * (unsigned)i, SECONDS));
            }
            EXPECT_OK(mp_queue_put(
                deeper, mp_list_of(mp_v(inside), mp_value_bytes(large, depth % 2 ? 10 : 70000)),
                SECONDS));
            if (deeper != q)
                mp_queue_free(deeper);
            deeper = inside;
        }
        mp_queue_free(deeper);
        mp_lock_free(lock);
        mp_queue_free(q);
        EXPECT_MEMORY(before);
    }
}

TEST(what_cannot_travel_is_refused)
{
    memory before = in_use();
    mp_queue *q = mp_queue_new(0);
    mp_connection *a, *b;
    mp_lock *lock = mp_lock_new();
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT_OK(mp_queue_put(q, mp_v(1), SECONDS));
    EXPECT_EQ(mp_queue_put(q, mp_v(a), SECONDS), -EOPNOTSUPP);
    EXPECT_EQ(mp_queue_put(q, mp_value_fd(1), SECONDS), -EOPNOTSUPP);
    EXPECT_EQ(mp_queue_put(q, mp_list_of(mp_v(lock), mp_v(q), mp_v(b)), SECONDS), -EOPNOTSUPP);
    mp_value *deep = mp_v(1);
    for (int i = 0; i < 1500 && deep; i++)
        deep = mp_list_of(deep);
    EXPECT_EQ(mp_queue_put(q, deep, SECONDS), MP_ELIMIT);
    EXPECT(mp_queue_put(q, mp_value_str("\xff"), SECONDS) == -EILSEQ); /* a constructor's error */
    EXPECT_OK(mp_queue_put(q, mp_v(2), SECONDS));
    EXPECT_EQ(mp_queue_size(q), 2);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 1);
    EXPECT_EQ(get_int(q, MP_NOWAIT), 2);
    EXPECT_OK(mp_connection_send(a, mp_v("alive"), SECONDS));
    EXPECT_EQ(mp_connection_poll(b, SECONDS), 1);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_lock_free(lock);
    mp_queue_free(q);
    EXPECT_MEMORY(before);
}

MP_TARGET(find_queue, (mp_connection *, c), (mp_queue *, from))
{
    mp_value *v, *w;
    mp_queue *q;
    EXPECT_OK(mp_connection_recv(c, &v, SECONDS));
    EXPECT_OK(mp_value_get_queue(v, &q));
    EXPECT_OK(mp_queue_put(q, mp_v("by pipe"), SECONDS));
    EXPECT_OK(mp_queue_get(from, &w, SECONDS));
    mp_value_free(v);
    EXPECT_OK(mp_value_get_queue(w, &q));
    EXPECT_OK(mp_queue_put(q, mp_v("by queue"), SECONDS));
    mp_value_free(w);
    return 0;
}

TEST_METHODS(queues_travel)
{
    mp_queue *way = mp_queue_new(0), *q = mp_queue_new(0);
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(1, &a, &b));
    mp_process *p = started(MP_PROCESS_IN(IN, find_queue, b, way));
    EXPECT_OK(mp_connection_send(a, mp_v(q), SECONDS));
    EXPECT_OK(mp_queue_put(way, mp_v(q), SECONDS));
    EXPECT_OK(mp_queue_get(q, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "'by pipe'");
    EXPECT_OK(mp_queue_get(q, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "'by queue'");
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_queue_free(way);
    mp_queue_free(q);
}

/* As value.h says it, also when they came on two ways. */
TEST(handles_of_one_object_are_equal)
{
    mp_queue *way = mp_queue_new(0), *q = mp_queue_new(0);
    mp_value *v, *w = mp_v(q), *other = mp_v(way);
    EXPECT_OK(mp_queue_put(way, mp_v(q), SECONDS));
    EXPECT_OK(mp_queue_get(way, &v, SECONDS));
    EXPECT_EQ(mp_value_equal(w, other), 0);
    EXPECT_EQ(mp_value_equal(v, w), 1);
    mp_value_free(v);
    mp_value_free(w);
    mp_value_free(other);
    mp_queue_free(way);
    mp_queue_free(q);
}

MP_TARGET(answer_all, (mp_value *, queues))
{
    mp_queue *q;
    for (int i = 0; i < (int)mp_value_len(queues); i++) {
        EXPECT_OK(mp_value_get_queue(mp_value_item(queues, (size_t)i), &q));
        EXPECT_EQ(get_int(q, SECONDS), i);
        EXPECT_OK(mp_queue_put(q, mp_v(1000 + i), SECONDS));
    }
    return 0;
}

TEST_METHODS(two_hundred_queues)
{
    enum { N = 200 };
    memory before = in_use();
    mp_queue *q[N];
    mp_value *items[N];
    for (int i = 0; i < N; i++) {
        EXPECT((q[i] = mp_queue_new(0)));
        EXPECT_OK(mp_queue_put(q[i], mp_v(i), SECONDS));
        items[i] = mp_v(q[i]);
    }
    mp_value *list = mp_value_list(items, N);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, answer_all, list))), 0);
    for (int i = 0; i < N; i++) {
        EXPECT_EQ(get_int(q[i], MP_NOWAIT), 1000 + i);
        mp_queue_free(q[i]);
    }
    mp_context_stop(IN);
    EXPECT_MEMORY(before);
}

/* ---- bad input ---- */

#ifndef MULTIPROC_DEBUG /* where misuse aborts */
TEST(misuse_of_queues)
{
    mp_queue *q = mp_queue_new(0);
    mp_queue *const bad[] = {NULL, (mp_queue *)mp_lock_new()};
    mp_queue_options o = MP_QUEUE_OPTIONS_INIT;
    mp_value *v[1];
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(mp_queue_put(bad[i], mp_v("gone"), MP_NOWAIT), -EINVAL);
        EXPECT_EQ(mp_queue_put_bytes(bad[i], "a", 1, MP_NOWAIT), -EINVAL);
        EXPECT_EQ(mp_queue_get(bad[i], v, MP_NOWAIT), -EINVAL);
        EXPECT_EQ(mp_queue_size(bad[i]) + mp_queue_full(bad[i]), 2 * -EINVAL);
        EXPECT_EQ(mp_queue_fd(bad[i]) + mp_queue_close(bad[i]), 2 * -EINVAL);
        EXPECT_EQ(mp_queue_join(bad[i], 0) + mp_queue_shutdown(bad[i]), 2 * -EINVAL);
    }
    EXPECT_EQ(mp_queue_put_bytes(q, NULL, 1, MP_NOWAIT), -EINVAL);
    EXPECT_EQ(mp_queue_get_many(q, v, 0, MP_NOWAIT), -EINVAL);
    for (int i = 0; i < 4; i++) /* sizes that nothing has */
        EXPECT_EQ(mp_queue_put_bytes(q, v, i ? SIZE_MAX >> (i - 1) * 8 : SIZE_MAX - 7, 0), -ENOMEM);
    EXPECT_EQ(mp_queue_empty(q), 1);
    o.max_items = SIZE_MAX;
    EXPECT(mp_queue_new_with(&o) == NULL && mp_error_code() == -EINVAL);
    EXPECT(mp_queue_new_with(NULL) == NULL);
    mp_lock_free((mp_lock *)bad[1]);
    mp_queue_free(q);
}
#endif

TEST(items_of_parts_and_many_sizes)
{
    mp_queue *q = mp_queue_new(0);
    char big[10000], room[20000];
    memset(big, 'b', sizeof big);
    mp_bytes parts[] = {{"head", 4}, {big, sizeof big}, {"", 0}, {"tail", 4}};
    EXPECT_OK(mp_queue_put_parts(q, parts, 4, MP_NOWAIT));
    EXPECT_OK(mp_queue_put_parts(q, parts, 1, MP_NOWAIT));
    EXPECT_EQ(mp_queue_put_many_items(q, parts, 4, MP_NOWAIT), 4);
    mp_bytes got[8];
    EXPECT_EQ(mp_queue_get_many_items(q, room, 100, got, 8, MP_NOWAIT), -EMSGSIZE);
    EXPECT_EQ(mp_queue_get_many_items(q, room, 10020, got, 8, MP_NOWAIT),
              3); /* the 4th has no room */
    EXPECT_EQ(got[0].size, 10008);
    EXPECT(memcmp(got[0].data, "head", 4) == 0 && memcmp(room + 10004, "tail", 4) == 0);
    EXPECT(got[1].size == 4 && got[2].size == 4);
    EXPECT_EQ(mp_queue_get_many_items(q, room, sizeof room, got, 8, MP_NOWAIT), 3);
    EXPECT(got[0].size == sizeof big && got[1].size == 0 && got[2].size == 4);
    EXPECT(memcmp(got[2].data, "tail", 4) == 0);
    EXPECT_EQ(mp_queue_get_many_items(q, room, sizeof room, got, 8, MP_NOWAIT), -ETIMEDOUT);
    mp_queue_free(q);
}
