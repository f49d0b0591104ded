/* SPDX-License-Identifier: MIT */
/* Blocks of shared memory: content, lifetime, and the death of their holders. */
#include <signal.h>

#include "arena/object.h"
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

/* ---- with a lock ---- */

MP_TARGET(add_to, (mp_shm *, s), (int, n), (int, dies))
{
    for (int i = 0; i < n; i++) {
        EXPECT_OK(mp_shm_acquire(s, SECONDS));
        MP_SHM(double, s)[1] += 0.5;
        if (!dies || i < n - 1)
            EXPECT_OK(mp_shm_release(s));
    }
    if (dies)
        raise(SIGKILL);
    return 0;
}

TEST_METHODS(blocks_with_a_lock)
{
    mp_shm *s = MP_SHM_NEW(double, 3), *bare = mp_shm_new(8);
    mp_process *p[3];
    EXPECT_EQ(mp_shm_size(s), 3 * sizeof(double));
    EXPECT_EQ((uintptr_t)mp_shm_data(s) % 64, 0);
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(IN, add_to, s, 2000, 0));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(joined(p[i]), 0);
    EXPECT_EQ(MP_SHM(double, s)[1], 3000);
    EXPECT_OK(mp_shm_acquire(s, MP_NOWAIT));
    EXPECT_OK(mp_shm_acquire(s, MP_NOWAIT)); /* it is recursive */
    EXPECT_OK(mp_shm_release(s));
    EXPECT_OK(mp_shm_release(s));
    EXPECT_EQ(mp_shm_release(s), -EPERM);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, add_to, s, 5, 1))), -SIGKILL);
    EXPECT_EQ(mp_shm_acquire(s, SECONDS), -EOWNERDEAD);
    EXPECT_OK(mp_shm_release(s));
    EXPECT_EQ(mp_shm_acquire(bare, MP_NOWAIT), -EINVAL);
    EXPECT_HAS(mp_error_detail(), "mp_shm_new_locked");
    EXPECT(mp_shm_new_array(SIZE_MAX / 4, 8) == NULL);
    EXPECT_EQ(mp_error_code(), -ENOMEM);
    EXPECT(mp_shm_new_array(0, 8) == NULL);
    EXPECT_EQ(mp_error_code(), -EINVAL);
    mp_shm_free(bare);
    mp_shm_free(s);
}

/* ---- with a name ---- */

static bool exists(const char *name)
{
    mp_named_shm *s = mp_named_shm_attach(name);
    mp_named_shm_free(s);
    return s != NULL;
}

TEST(names)
{
    static const char *const bad[] = {"", "/", "a/b", "//a", ".", ".."};
    char own[64], slash[80];
    snprintf(own, sizeof own, "mp_test_%d", (int)getpid());
    snprintf(slash, sizeof slash, "/%s", own);
    mp_named_shm *s = mp_named_shm_create(own, 100), *t = mp_named_shm_attach(slash);
    EXPECT(s && t);
    EXPECT_STR(mp_named_shm_name(s), own);
    EXPECT_STR(mp_named_shm_name(t), own);
    EXPECT_EQ(mp_named_shm_size(t), 100);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(((char *)mp_named_shm_data(t))[i], 0);
    strcpy(mp_named_shm_data(s), "seen by both");
    EXPECT_STR(mp_named_shm_data(t), "seen by both");
    EXPECT(mp_named_shm_create(own, 100) == NULL);
    EXPECT_EQ(mp_error_code(), -EEXIST);
    mp_named_shm_free(t);
    EXPECT(exists(own)); /* an attacher's end takes nothing away */
    EXPECT_OK(mp_named_shm_unlink(s));
    EXPECT_EQ(mp_named_shm_unlink(s), -ENOENT);
    EXPECT(!exists(own));
    EXPECT_EQ(mp_error_code(), -ENOENT);
    EXPECT_STR(mp_named_shm_data(s), "seen by both");
    mp_named_shm_free(s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(mp_named_shm_create(bad[i], 1) == NULL);
        EXPECT_EQ(mp_error_code(), -EINVAL);
    }
    EXPECT(mp_named_shm_create(own, 0) == NULL);
    EXPECT_EQ(mp_error_code(), -EINVAL);
    EXPECT(mp_named_shm_create(own, (size_t)1 << 50) == NULL);
    EXPECT(!exists(own));
}

static void unlink_named(const char *name)
{
    mp_named_shm *s = mp_named_shm_attach(name);
    EXPECT_OK(mp_named_shm_unlink(s));
    mp_named_shm_free(s);
}

MP_TARGET(make_named, (const char *, name), (int, dies))
{
    mp_named_shm *s = mp_named_shm_create(name, 5000);
    EXPECT(s);
    strcpy(mp_named_shm_data(s), name);
    mp_named_shm_free(s);
    if (dies)
        raise(SIGKILL);
    return 0;
}

TEST_METHODS(names_stay_while_there_is_family)
{
    EXPECT(mp__tag_self());
    uint64_t before = bytes_in_use();
    for (int dies = 0; dies < 3; dies++) {
        char name[64];
        snprintf(name, sizeof name, "mp_test_%d_%d", (int)getpid(), dies);
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, make_named, name, dies == 1))),
                  dies == 1 ? -SIGKILL : 0);
        mp_named_shm *s = mp_named_shm_attach(name);
        EXPECT(s);
        EXPECT_STR(mp_named_shm_data(s), name);
        mp_named_shm_free(s);
        if (dies == 2) /* as at the end of the last process */
            mp__objects_leave(MP__OBJECT_NAME);
        else
            unlink_named(name);
        EXPECT(!exists(name));
        EXPECT(bytes_in_use() <= before + (64 << 10)); /* a small block's unit */
    }
}

TEST(a_name_that_somebody_else_has_now_is_left_alone)
{
    char name[64], path[80];
    snprintf(name, sizeof name, "mp_test_%d", (int)getpid());
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    mp_named_shm *s = mp_named_shm_create(name, 10);
    EXPECT_EQ(unlink(path), 0);
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs("theirs", f) >= 0 && fclose(f) == 0);
    mp__objects_leave(MP__OBJECT_NAME);
    EXPECT(exists(name));
    EXPECT_EQ(unlink(path), 0);
    mp_named_shm_free(s);
    s = mp_named_shm_create(name, 10);
    EXPECT_OK(mp_named_shm_keep(s));
    mp_named_shm_free(s);
    mp__objects_leave(MP__OBJECT_NAME);
    EXPECT(exists(name));
    EXPECT_EQ(unlink(path), 0);
}

TEST(python_and_c_share_a_name)
{
    char command[900], name[64];
    snprintf(name, sizeof name, "mp_test_%d", (int)getpid());
    if (system("python3 -c 'import multiprocessing.shared_memory' 2>/dev/null") != 0)
        return;
    mp_named_shm *s = mp_named_shm_create(name, 64);
    snprintf(command, sizeof command,
             "python3 -c 'from multiprocessing import shared_memory as m, resource_tracker as r\n"
             "s = m.SharedMemory(\"%s\"); r.unregister(s._name, \"shared_memory\")\n"
             "assert s.size == 64; s.buf[:5] = b\"hello\"; s.close()\n"
             "t = m.SharedMemory(\"%s_py\", create=True, size=10); r.unregister(t._name, "
             "\"shared_memory\")\n"
             "t.buf[:2] = b\"py\"; t.close()'",
             name, name);
    EXPECT_EQ(system(command), 0);
    EXPECT_STR(mp_named_shm_data(s), "hello");
    EXPECT_OK(mp_named_shm_unlink(s));
    mp_named_shm_free(s);
    strcat(name, "_py");
    s = mp_named_shm_attach(name);
    EXPECT(s);
    EXPECT_EQ(mp_named_shm_size(s), 10);
    EXPECT_STR(mp_named_shm_data(s), "py");
    EXPECT_OK(mp_named_shm_unlink(s));
    mp_named_shm_free(s);
}
