/* SPDX-License-Identifier: MIT */
/* The arena's heap: blocks, owners, growth, damage, and what a dead process leaves. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "arena/heap.h"
#include "arena/object.h"
#include "harness.h"

static uint64_t blocks(void)
{
    uint64_t n = 0;
    EXPECT_OK(mp__heap_check(&n, NULL));
    return n;
}

TEST(sizes_and_content)
{
    uint64_t at[40], before;
    EXPECT(mp__tag_self());
    before = blocks();
    for (int i = 0; i < 40; i++) {
        size_t size = (size_t)1 << (i % 20);
        EXPECT_OK(mp__heap_alloc(size, &at[i]));
        EXPECT(mp__heap_at(at[i], size));
        EXPECT_EQ(mp__heap_owner(at[i]), mp__tag_self());
        memset(mp__heap_at(at[i], size), i, size);
    }
    for (int i = 0; i < 40; i++) {
        size_t size = (size_t)1 << (i % 20);
        unsigned char *p = mp__heap_at(at[i], size);
        EXPECT_EQ(p[0], i);
        EXPECT_EQ(p[size - 1], i);
    }
    EXPECT_EQ(blocks(), before + 40);
    for (int i = 0; i < 40; i++)
        EXPECT_OK(mp__heap_free(at[(i * 7) % 40]));
    EXPECT_EQ(blocks(), before);
    EXPECT_EQ(mp__heap_free(at[0]), -EINVAL);
    EXPECT(mp__heap_at(at[0], 1) == NULL);
}

TEST(absurd_sizes_and_offsets)
{
    uint64_t at = 77;
    EXPECT_EQ(mp__heap_alloc(SIZE_MAX, &at), -ENOMEM);
    EXPECT_EQ(mp__heap_alloc((size_t)1 << 40, &at), -ENOMEM);
    EXPECT_EQ(at, 77);
    EXPECT_OK(mp__heap_alloc(100, &at));
    EXPECT(mp__heap_at(at + 1, 1) == NULL);
    EXPECT(mp__heap_at(at, 129) == NULL);
    EXPECT(mp__heap_at(0, 1) == NULL);
    EXPECT(mp__heap_at(UINT64_MAX, 1) == NULL);
    EXPECT(mp__heap_at(UINT64_MAX - 10, 100) == NULL);
    EXPECT_EQ(mp__heap_free(12345), -EINVAL);
    EXPECT_OK(mp__heap_free(at));
}

/* Runs are split and joined: after many rounds the file is no larger than what was in use at once. */
TEST(memory_is_used_again)
{
    uint64_t at[16], size;
    EXPECT(mp__tag_self());
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 16; i++)
            EXPECT_OK(mp__heap_alloc((size_t)((i * 37 + round * 11) % 16 + 1) * 70000, &at[i]));
        for (int i = 0; i < 16; i++)
            EXPECT_OK(mp__heap_free(at[(i * 5 + round) % 16]));
    }
    size = atomic_load(&mp__arena_info()->size) - mp__arena_info()->heap;
    EXPECT(size < 64 << 20);
}

TEST(shared_blocks_are_nobodys)
{
    uint64_t at;
    EXPECT_OK(mp__heap_alloc(100000, &at));
    EXPECT(mp__heap_share(at));
    EXPECT(!mp__heap_share(at));
    EXPECT_EQ(mp__heap_owner(at), MP__BLOCK_SHARED);
    mp__heap_bury(mp__tag_self());
    EXPECT(mp__heap_at(at, 100000));
    EXPECT(mp__heap_own(at));
    mp__heap_bury(mp__tag_self());
    EXPECT(mp__heap_at(at, 1) == NULL);
}

MP_TARGET(take_and_die, (int, how))
{
    uint64_t at;
    for (int i = 0; i < 50; i++)
        if (mp__heap_alloc((size_t)i * 3000, &at) < 0)
            return 1;
    if (how)
        raise(SIGKILL);
    return 0;
}

TEST_METHODS(what_the_dead_owned_is_given_back)
{
    EXPECT(mp__tag_self());
    uint64_t before = blocks();
    for (int how = 0; how < 2; how++) {
        mp_process *p = MP_PROCESS_IN(mp_get_context(method), take_and_die, how);
        EXPECT_OK(mp_process_start(p));
        EXPECT_OK(mp_process_join(p, MP_SECONDS(20)));
        mp_process_free(p);
        EXPECT_EQ(blocks(), before);
    }
}

/* Random bytes in the tables: errors, never a crash or a loop. */
TEST(damage_is_an_error)
{
    uint64_t at;
    unsigned seed = (unsigned)getpid();
    printf("seed %u\n", seed);
    srand(seed);
    for (int i = 0; i < 20; i++)
        EXPECT_OK(mp__heap_alloc((size_t)i * 9000 + 1, &at));
    mp__arena_header *h = mp__arena_info();
    unsigned char *units = (unsigned char *)h + h->units, *heap = (unsigned char *)h + h->heap;
    for (int round = 0; round < 300; round++) {
        unsigned char *p = round % 2 ? units + rand() % 400 : heap + rand() % 200000;
        *p = (unsigned char)rand();
        (void)mp__heap_check(NULL, NULL);
        if (mp__heap_alloc((size_t)rand() % 200000, &at) == 0)
            (void)mp__heap_free(at);
        (void)mp__heap_at((uint64_t)rand() * 64, 8);
    }
    memset(units, 0, 4096); /* so that what follows in this process finds nothing */
}

/* ---- a kill at every instruction ---- */

#if defined(__SANITIZE_ADDRESS__) /* many more instructions, and slower ones */
#define STRIDE 100
#else
#define STRIDE 16
#endif

typedef struct ledger {
    _Atomic uint64_t offset; /* what the victim says that it has */
} ledger;

static void take_one(void)
{
    uint64_t at;
    (void)mp__heap_alloc(200, &at);
}

static void take_large(void)
{
    uint64_t at;
    (void)mp__heap_alloc(300000, &at);
}

static void take_and_give(void)
{
    uint64_t at;
    if (mp__heap_alloc(300000, &at) == 0)
        (void)mp__heap_free(at);
}

static void make_object(void)
{
    mp__hold *h = mp__object_new(MP__OBJECT_EVENT, 64);
    if (h)
        mp__hold_free(h);
}

/* Steps the child `steps` instructions into fn and kills it there; false when fn had ended before. */
static bool kill_after(void (*fn)(void), long steps, mp__slot_ref *ret_slot)
{
    int status;
    EXPECT_OK(mp__slot_claim("victim", ret_slot));
    mp__slot_ref slot = *ret_slot;
    pid_t pid = fork();
    if (pid == 0) {
        if (mp__slot_live(slot) < 0)
            _exit(9);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        fn();
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    EXPECT(WIFSTOPPED(status));
    bool inside = true;
    for (long i = 0; i < steps && inside; i++) {
        EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        waitpid(pid, &status, 0);
        inside = WIFSTOPPED(status) && WSTOPSIG(status) != SIGSTOP;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return inside;
}

static void kill_everywhere(const char *what, void (*fn)(void))
{
    mp__slot_ref slot;
    uint64_t before, at, bytes, bytes_before;
    bool all = getenv("MULTIPROC_TEST_LONG") != NULL;
    if (getenv("TEST_NO_PTRACE")) /* under emulation */
        return;
    unsigned seed = (unsigned)getpid();
    srand(seed);
    EXPECT(mp__tag_self());
    fn(); /* so that slabs and runs are there, and stay */
    mp__heap_bury(mp__tag_self());
    EXPECT_OK(mp__heap_check(&before, &bytes_before));
    long points = 0;
    for (long step = 0; kill_after(fn, step, &slot); points++) {
        EXPECT_EQ(mp__tag_dead(mp__tag_of(slot)), 1);
        /* a survivor can go on at once, whatever was held */
        EXPECT_OK(mp__heap_alloc(300000, &at));
        EXPECT_OK(mp__heap_free(at));
        EXPECT_OK(mp__heap_alloc(200, &at));
        EXPECT_OK(mp__heap_free(at));
        mp__slot_free(slot);
        uint64_t after;
        EXPECT_OK(mp__heap_check(&after, &bytes));
        if (after != before || bytes != bytes_before)
            harness_fail(__FILE__, __LINE__, "%s: killed after %ld steps it leaves %lld blocks",
                         what, step, (long long)(after - before));
        step += all ? 1 : 1 + rand() % STRIDE;
    }
    mp__slot_free(slot);
    printf("%s: killed at %ld instructions, seed %u\n", what, points, seed);
    EXPECT(points > (all ? 50 : 2));
}

TEST(killed_while_taking_a_small_block)
{
    kill_everywhere("small", take_one);
}

TEST(killed_while_taking_a_large_block)
{
    kill_everywhere("large", take_large);
}

TEST(killed_while_giving_back)
{
    kill_everywhere("giving back", take_and_give);
}

TEST(killed_while_making_an_object)
{
    kill_everywhere("object", make_object);
}
