/* SPDX-License-Identifier: MIT */
/* Blocks of shared memory: content, lifetime, and the death of their holders. */
#include <signal.h>

#include "arena/heap.h"
#include "harness.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)

static uint64_t bytes_in_use(void)
{
    uint64_t bytes = 0;
    EXPECT_OK(mp__heap_check(NULL, &bytes));
    return bytes;
}

TEST(blocks_are_zero_and_sized)
{
    static const size_t sizes[] = {1, 63, 4096, 40000, 1 << 20, 20 << 20};
    uint64_t before = bytes_in_use();
    for (int round = 0; round < 3; round++) /* also when the memory was used before */
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            mp_shm *s = mp_shm_new(sizes[i]);
            unsigned char *p = mp_shm_data(s);
            EXPECT_EQ(mp_shm_size(s), sizes[i]);
            EXPECT_EQ((uintptr_t)p % 16, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                if (p[k])
                    harness_fail(__FILE__, __LINE__, "byte %zu of %zu is not zero", k, sizes[i]);
            memset(p, 0xff, sizes[i]);
            mp_shm_free(s);
        }
    EXPECT(bytes_in_use() <= before);
    EXPECT(mp_shm_new(0) == NULL);
    EXPECT_EQ(mp_error_code(), -EINVAL);
    EXPECT(mp_shm_new(SIZE_MAX) == NULL);
    EXPECT_EQ(mp_error_code(), -ENOMEM);
    EXPECT(mp_shm_new((size_t)1 << 40) == NULL);
    EXPECT_EQ(mp_error_code(), -ENOMEM);
}

MP_TARGET(add_up, (mp_shm *, numbers), (mp_lock *, lock), (int, from), (int, to))
{
    long *p = mp_shm_data(numbers);
    long sum = 0;
    for (int i = from; i < to; i++)
        sum += p[i + 1];
    if (mp_lock_acquire(lock, SECONDS))
        return 1;
    p[0] += sum;
    return mp_lock_release(lock) != 0;
}

TEST_METHODS(processes_work_on_one_array)
{
    enum { N = 100000 };
    mp_shm *s = mp_shm_new((N + 1) * sizeof(long));
    mp_lock *lock = mp_lock_new();
    mp_process *p[4];
    long *numbers = mp_shm_data(s);
    for (int i = 0; i < N; i++)
        numbers[i + 1] = i;
    for (int i = 0; i < 4; i++) {
        p[i] = MP_PROCESS_IN(IN, add_up, s, lock, i * N / 4, (i + 1) * N / 4);
        EXPECT_OK(mp_process_start(p[i]));
    }
    for (int i = 0; i < 4; i++) {
        EXPECT_OK(mp_process_join(p[i], SECONDS));
        mp_process_free(p[i]);
    }
    EXPECT_EQ(numbers[0], (long)N * (N - 1) / 2);
    mp_shm_free(s);
    mp_lock_free(lock);
}

MP_TARGET(make_and_send, (mp_connection *, c), (int, die))
{
    mp_shm *s = mp_shm_new(300000);
    memcpy(mp_shm_data(s), "made by a child", 16);
    if (mp_connection_send(c, mp_v(s), SECONDS))
        return 1;
    if (die)
        raise(SIGKILL);
    mp_shm_free(s);
    return 0;
}

TEST_METHODS(a_block_outlives_its_maker)
{
    uint64_t before = bytes_in_use();
    for (int die = 0; die < 2; die++) {
        mp_connection *a, *b;
        mp_value *v;
        mp_shm *s;
        EXPECT_OK(mp_pipe(0, &a, &b));
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, make_and_send, b, die))), die ? -SIGKILL : 0);
        EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
        EXPECT_OK(mp_value_get_shm(v, &s));
        EXPECT_STR(mp_shm_data(s), "made by a child");
        mp_value_free(v);
        mp_connection_free(a);
        mp_connection_free(b);
        if (before == 0)
            before = bytes_in_use();
        EXPECT_EQ(bytes_in_use(), before);
    }
}

MP_TARGET(hold_and_die, (mp_shm *, s))
{
    memset(mp_shm_data(s), 1, mp_shm_size(s));
    for (int i = 0; i < 20; i++)
        if (!mp_shm_new(100000))
            return 1;
    raise(SIGKILL);
    return 0;
}

TEST_METHODS(what_the_dead_alone_held_is_given_back)
{
    mp_shm *s = mp_shm_new(5000);
    uint64_t with = bytes_in_use();
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, hold_and_die, s))), -SIGKILL);
    EXPECT_EQ(bytes_in_use(), with);
    EXPECT_EQ(*(char *)mp_shm_data(s), 1);
    mp_shm_free(s);
    EXPECT(bytes_in_use() < with);
}
