/* SPDX-License-Identifier: MIT */
/* Owns the proof that a process may be killed at any instruction of an operation on a lock or its like, and
 * at any moment of a life in which it does everything at once. */
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>

#include "harness.h"
#include "stepper.h"
#include "sync/sync.h"

#define PATIENCE MP_SECONDS(10)

typedef void fn(void);

/* Who is in a lock, and so on. */
enum { VICTIM, PARENT, PEER, OTHER };

/* What the processes of a trial tell each other; not in the library's memory. */
static struct ledger {
    _Atomic unsigned ended;  /* operations of the victim */
    _Atomic unsigned news;   /* -EOWNERDEAD, or MP_EBROKEN, heard by all together */
    _Atomic unsigned inside; /* who is in a lock, + 1 */
    _Atomic unsigned flag;
} * ledger;

__attribute__((constructor)) static void share_ledger(void)
{
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* ---- locks and their relatives ---- */

static mp_lock *lock;
static mp_rlock *rlock;
static mp_semaphore *semaphore;
static mp_event *event;
static mp_condition *condition;
static mp_barrier *barrier;
static unsigned parties; /* of the barrier */

static void sync_set_up(void)
{
    memset(ledger, 0, sizeof *ledger);
    EXPECT(lock = mp_lock_new());
    EXPECT(rlock = mp_rlock_new());
    EXPECT(semaphore = mp_semaphore_new(0, 0));
    EXPECT(event = mp_event_new());
    EXPECT(condition = mp_condition_new());
    EXPECT(barrier = mp_barrier_new(parties));
}

static void sync_tear_down(void)
{
    mp_lock_free(lock);
    mp_rlock_free(rlock);
    mp_semaphore_free(semaphore);
    mp_event_free(event);
    mp_condition_free(condition);
    mp_barrier_free(barrier);
}

static void try_sync(const char *name, fn *prepare, fn *operation, fn *peer, fn *other, fn *check)
{
    parties = other ? 3 : 2;
    stepper_run(&(stepper_scenario){.name = name,
                                    .set_up = sync_set_up,
                                    .prepare = prepare,
                                    .victim = operation,
                                    .peer = peer,
                                    .other = other,
                                    .check = check,
                                    .tear_down = sync_tear_down});
}

static bool recursive; /* the lock of the trial is the rlock, held twice */

static int take(void)
{
    int r = recursive ? mp_rlock_acquire(rlock, PATIENCE) : mp_lock_acquire(lock, PATIENCE);
    if (recursive)
        EXPECT_OK(mp_rlock_acquire(rlock, MP_NOWAIT));
    return r;
}

static void give_back(void)
{
    EXPECT_OK(recursive ? mp_rlock_release(rlock) : mp_lock_release(lock));
    if (recursive)
        EXPECT_OK(mp_rlock_release(rlock));
}

/* flag: 1 while the victim certainly holds it, 0 while it certainly does not, 2 in between. */
static void lock_prepare(void)
{
    EXPECT_OK(take());
    atomic_store(&ledger->inside, VICTIM + 1);
    atomic_store(&ledger->flag, 1);
}

static void lock_give(void)
{
    EXPECT_EQ(atomic_exchange(&ledger->inside, 0), VICTIM + 1);
    atomic_store(&ledger->flag, 2);
    give_back();
    atomic_store(&ledger->flag, 0);
}

static void lock_victim(void)
{
    lock_give();
    atomic_store(&ledger->flag, 2);
    EXPECT_OK(take());
    EXPECT_EQ(atomic_exchange(&ledger->inside, VICTIM + 1), 0);
    atomic_store(&ledger->flag, 1);
    lock_give();
}

static void hold_it(unsigned who)
{
    int r = take();
    unsigned inside = atomic_exchange(&ledger->inside, who + 1);
    EXPECT(r == 0 || r == -EOWNERDEAD);
    EXPECT(inside == 0 || (r == -EOWNERDEAD && inside == VICTIM + 1));
    atomic_fetch_add(&ledger->news, r == -EOWNERDEAD);
    EXPECT_EQ(atomic_exchange(&ledger->inside, 0), who + 1);
    give_back();
}

static void lock_peer(void)
{
    stepper_sleeps();
    for (int i = 0; i < 3; i++)
        hold_it(PEER);
}

static void lock_other(void)
{
    stepper_start_line();
    for (int i = 0; i < 50; i++)
        hold_it(OTHER);
}

static void lock_check(void)
{
    unsigned flag = atomic_load(&ledger->flag);
    stepper_join(STEPPER_PEER);
    stepper_join(STEPPER_OTHER);
    hold_it(PARENT);
    hold_it(PARENT);
    unsigned news = atomic_load(&ledger->news);
    EXPECT(flag == 2 ? news <= 1 : news == flag);
}

TEST(lock_given_back_and_taken)
{
    try_sync("lock", lock_prepare, lock_victim, lock_peer, NULL, lock_check);
    try_sync("lock, barging", lock_prepare, lock_victim, lock_peer, lock_other, lock_check);
}

TEST(rlock_given_back_and_taken)
{
    recursive = true;
    try_sync("rlock", lock_prepare, lock_victim, lock_peer, NULL, lock_check);
    try_sync("rlock, barging", lock_prepare, lock_victim, lock_peer, lock_other, lock_check);
}

/* ---- semaphores ---- */

static void semaphore_peer(void)
{
    stepper_sleeps();
    EXPECT_OK(mp_semaphore_acquire(semaphore, PATIENCE));
}

static void release_victim(void)
{
    EXPECT_OK(mp_semaphore_release(semaphore, 1));
    atomic_store(&ledger->ended, 1);
}

static void acquire_victim(void)
{
    EXPECT_OK(mp_semaphore_acquire(semaphore, PATIENCE));
    atomic_store(&ledger->ended, 1);
}

static void release_and_acquire(void)
{
    stepper_start_line();
    for (int i = 0; i < 20; i++) {
        EXPECT_OK(mp_semaphore_release(semaphore, 1));
        EXPECT_OK(mp_semaphore_acquire(semaphore, PATIENCE));
    }
}

static void release_twice(void)
{
    stepper_start_line();
    for (int i = 0; i < 2; i++) {
        mp_wait(NULL, 0, MP_MS(1));
        EXPECT_OK(mp_semaphore_release(semaphore, 1));
    }
}

static void release_check(void)
{
    if (!atomic_load(&ledger->ended))
        EXPECT_OK(mp_semaphore_release(semaphore, 1));
    stepper_join(STEPPER_PEER);
    stepper_join(STEPPER_OTHER);
    EXPECT(mp_semaphore_value(semaphore) <= !atomic_load(&ledger->ended));
}

static void acquire_check(void)
{
    stepper_join(STEPPER_OTHER);
    stepper_join(STEPPER_PEER);
    EXPECT(mp_semaphore_value(semaphore) <= !atomic_load(&ledger->ended));
}

TEST(semaphore_released_and_acquired)
{
    try_sync("semaphore release", NULL, release_victim, semaphore_peer, NULL, release_check);
    try_sync("semaphore release, barging", NULL, release_victim, semaphore_peer,
             release_and_acquire, release_check);
    try_sync("semaphore acquire", NULL, acquire_victim, semaphore_peer, release_twice,
             acquire_check);
}

/* ---- events ---- */

static void set_victim(void)
{
    EXPECT_OK(mp_event_set(event));
    atomic_store(&ledger->ended, 1);
}

static void wait_victim(void)
{
    EXPECT_OK(mp_event_wait(event, PATIENCE));
    atomic_store(&ledger->ended, 1);
}

static void event_peer(void)
{
    stepper_sleeps();
    EXPECT_OK(mp_event_wait(event, PATIENCE));
}

static void set_soon(void)
{
    stepper_start_line();
    mp_wait(NULL, 0, MP_MS(1));
    EXPECT_OK(mp_event_set(event));
}

static void event_check(void)
{
    stepper_join(STEPPER_OTHER);
    int set = mp_event_is_set(event);
    EXPECT(set || !atomic_load(&ledger->ended));
    if (!set)
        EXPECT_OK(mp_event_set(event));
    stepper_join(STEPPER_PEER);
    EXPECT_OK(mp_event_clear(event));
    EXPECT_EQ(mp_event_wait(event, MP_MS(1)), -ETIMEDOUT);
    EXPECT_OK(mp_event_set(event));
    EXPECT_OK(mp_event_wait(event, MP_NOWAIT));
}

TEST(event_set_and_waited_for)
{
    try_sync("event set", NULL, set_victim, event_peer, NULL, event_check);
    try_sync("event set, barging", NULL, set_victim, event_peer, set_soon, event_check);
    try_sync("event wait", NULL, wait_victim, event_peer, set_soon, event_check);
}

/* ---- conditions ---- */

static void notify(unsigned n)
{
    int r = mp_condition_acquire(condition, PATIENCE);
    EXPECT(r == 0 || r == -EOWNERDEAD);
    atomic_store(&ledger->flag, 1);
    EXPECT(mp_condition_notify(condition, n) >= 0);
    EXPECT_OK(mp_condition_release(condition));
}

static void notify_victim(void)
{
    EXPECT_OK(mp_condition_acquire(condition, PATIENCE));
    atomic_store(&ledger->flag, 1);
    EXPECT_EQ(mp_condition_notify(condition, 1), 1);
    atomic_store(&ledger->ended, 1);
    EXPECT_OK(mp_condition_release(condition));
}

static void condition_victim(void)
{
    EXPECT_OK(mp_condition_acquire(condition, PATIENCE));
    EXPECT_OK(mp_condition_wait(condition, PATIENCE));
    EXPECT_OK(mp_condition_release(condition));
    atomic_store(&ledger->ended, 1);
}

static void condition_peer(void)
{
    EXPECT_OK(mp_condition_acquire(condition, PATIENCE));
    stepper_sleeps();
    while (!atomic_load(&ledger->flag)) {
        int r = mp_condition_wait(condition, PATIENCE);
        EXPECT(r == 0 || r == -EOWNERDEAD);
    }
    EXPECT_OK(mp_condition_release(condition));
}

/* Until the victim is through or dead, and then all. */
static void notify_slowly(void)
{
    stepper_start_line();
    while (!stepper_stopped() && !atomic_load(&ledger->ended)) {
        mp_wait(NULL, 0, MP_MS(1));
        notify(1);
    }
    notify(MP_CONDITION_WAITERS);
}

static void condition_check(void)
{
    if (!atomic_load(&ledger->ended))
        notify(1); /* the peer: the dead do not count */
    stepper_join(STEPPER_OTHER);
    stepper_join(STEPPER_PEER);
    int r = mp_condition_acquire(condition, PATIENCE);
    EXPECT(r == 0 || r == -EOWNERDEAD);
    EXPECT_EQ(mp_condition_notify_all(condition), 0);
    EXPECT_OK(mp_condition_release(condition));
}

TEST(condition_notified_and_waited_for)
{
    try_sync("condition notify", NULL, notify_victim, condition_peer, NULL, condition_check);
    try_sync("condition wait", NULL, condition_victim, condition_peer, notify_slowly,
             condition_check);
}

/* ---- barriers ---- */

static void barrier_prepare(void)
{
    mp__barrier_expect(barrier, mp__tag_self());
}

static void barrier_victim(void)
{
    EXPECT(mp_barrier_wait(barrier, PATIENCE) >= 0);
    atomic_store(&ledger->ended, 1);
}

/* Through the first time if the victim was, and then until it has been reset and all come. */
static void pass_barrier(void)
{
    int r = mp_barrier_wait(barrier, PATIENCE);
    if (r < 0 && (r != MP_EBROKEN || atomic_load(&ledger->ended)))
        EXPECT_EQ(r, MP_EBROKEN);
    atomic_fetch_add(&ledger->news, 1);
    while ((r = mp_barrier_wait(barrier, PATIENCE)) == MP_EBROKEN)
        mp_wait(NULL, 0, MP_MS(1));
    EXPECT(r >= 0);
}

static void barrier_peer(void)
{
    stepper_sleeps();
    pass_barrier();
}

static void barrier_other(void)
{
    stepper_start_line();
    pass_barrier();
}

static void barrier_check(void)
{
    EVENTUALLY(atomic_load(&ledger->news) == parties - 1); /* without any help */
    int r = MP_EBROKEN;
    for (int i = 0; i < 20 && r == MP_EBROKEN; i++) {
        EXPECT_OK(mp_barrier_reset(barrier));
        r = mp_barrier_wait(barrier, PATIENCE);
    }
    EXPECT(r >= 0);
    stepper_join(STEPPER_PEER);
    stepper_join(STEPPER_OTHER);
}

TEST(barrier_waited_at)
{
    try_sync("barrier", barrier_prepare, barrier_victim, barrier_peer, NULL, barrier_check);
}

TEST(barrier_of_three)
{
    try_sync("barrier of three", barrier_prepare, barrier_victim, barrier_peer, barrier_other,
             barrier_check);
}

/* ---- kills at random moments ---- */

/* Bytes only, on purpose: nothing here calls for the part of the library that knows values, and what is left
 * in a queue must be given back all the same. */

#define ITEMS 4000 /* of one producer at most */
#define JOB 20     /* items that each survivor puts at the end */
#define LARGEST 10000
enum { PRODUCERS = 6, LAST = 255 }; /* LAST: the item that ends a consumer */

typedef struct tally {
    _Atomic int stop;
    _Atomic unsigned inside, waits;
    _Atomic unsigned put[PRODUCERS]; /* as each producer noted after its put */
    _Atomic unsigned char got[PRODUCERS][ITEMS];
} tally;

static size_t make_item(unsigned char *item, unsigned who, unsigned seq)
{
    static const size_t sizes[] = {16, 100, 1000, LARGEST, 4096, 40, 5000};
    size_t size = sizes[seq % 7];
    memset(item, (int)(who * 50 + seq), size);
    memcpy(item, &who, sizeof who);
    memcpy(item + sizeof who, &seq, sizeof seq);
    return size;
}

static void under_the_lock(mp_lock *l, tally *t)
{
    int r = mp_lock_acquire(l, MP_SECONDS(20));
    EXPECT(r == 0 || r == -EOWNERDEAD);
    EXPECT(atomic_exchange(&t->inside, 1) == 0 || r == -EOWNERDEAD);
    atomic_store(&t->inside, 0);
    EXPECT_OK(mp_lock_release(l));
}

static void at_the_condition(mp_condition *c, bool wait)
{
    int r = mp_condition_acquire(c, MP_SECONDS(20));
    EXPECT(r == 0 || r == -EOWNERDEAD);
    r = wait ? mp_condition_wait(c, MP_MS(1)) : mp_condition_notify(c, 1);
    EXPECT(r >= 0 || r == -ETIMEDOUT || r == -EOWNERDEAD);
    EXPECT_OK(mp_condition_release(c));
}

/* Until it is killed, or told to do its job and end. */
MP_TARGET(produce, (mp_queue *, q), (mp_lock *, l), (mp_condition *, c), (mp_shm *, s), (int, who))
{
    tally *t = mp_shm_data(s);
    unsigned char item[LARGEST];
    unsigned seq = 0;
    for (unsigned turn = 0, left = JOB; left; turn++) {
        bool stop = atomic_load(&t->stop);
        if (seq < ITEMS - JOB || stop) {
            size_t size = make_item(item, (unsigned)who, seq);
            EXPECT_OK(mp_queue_put_bytes(q, item, size, MP_SECONDS(20)));
            atomic_store(&t->put[who], ++seq);
            left -= stop;
        }
        if (turn % 3 == 0)
            under_the_lock(l, t);
        if (turn % 5 == 0)
            at_the_condition(c, false);
    }
    return 0;
}

MP_TARGET(consume, (mp_queue *, q), (mp_lock *, l), (mp_condition *, c), (mp_shm *, s))
{
    tally *t = mp_shm_data(s);
    unsigned char item[LARGEST], wanted[LARGEST];
    unsigned next[PRODUCERS] = {0}, who, seq;
    for (unsigned turn = 0;; turn++) {
        int64_t size = mp_queue_get_bytes(q, item, sizeof item, MP_SECONDS(20));
        EXPECT(size > 0);
        memcpy(&who, item, sizeof who);
        memcpy(&seq, item + sizeof who, sizeof seq);
        if (who == LAST)
            return 0;
        EXPECT(who < PRODUCERS && seq < ITEMS);
        EXPECT_EQ(size, make_item(wanted, who, seq));
        EXPECT_EQ(memcmp(item, wanted, (size_t)size), 0);
        EXPECT(seq >= next[who]); /* in order */
        next[who] = seq + 1;
        EXPECT_EQ(atomic_fetch_add(&t->got[who][seq], 1), 0); /* once */
        if (turn % 4 == 0)
            under_the_lock(l, t);
        if (turn % 50 == 0)
            at_the_condition(c, true);
    }
}

/* At most `killed` items, each on its way through a consumer that was killed, are missing. */
static void check_tally(tally *t, unsigned killed)
{
    unsigned lost = 0;
    for (int who = 0; who < PRODUCERS; who++) {
        unsigned put = atomic_load(&t->put[who]);
        for (unsigned seq = 0; seq < ITEMS; seq++) {
            unsigned got = atomic_load(&t->got[who][seq]);
            lost += seq < put && !got;
            EXPECT(seq <= put || !got); /* the put of one may not have returned */
        }
    }
    EXPECT(lost <= killed);
}

static void hammer_once(unsigned trial)
{
    uint64_t blocks, bytes, blocks_after, bytes_after;
    EXPECT_OK(mp__heap_check(&blocks, &bytes));
    mp_queue *q = mp_queue_new(trial % 3 ? 0 : 20);
    mp_lock *l = mp_lock_new();
    mp_condition *c = mp_condition_new();
    mp_shm *s = mp_shm_new(sizeof(tally));
    mp_context *by = mp_get_context("fork");
    unsigned char item[LARGEST];
    EXPECT(q && l && c && s);
    mp_process *victims[3] = {started(MP_PROCESS_IN(by, produce, q, l, c, s, 0)),
                              started(MP_PROCESS_IN(by, consume, q, l, c, s)),
                              started(MP_PROCESS_IN(by, produce, q, l, c, s, 1))};
    mp_process *producer = started(MP_PROCESS_IN(by, produce, q, l, c, s, 2)),
               *consumer = started(MP_PROCESS_IN(by, consume, q, l, c, s));
    for (int i = 0; i < 3; i++) {
        mp_wait(NULL, 0, (mp_time)(rand() % 3000) * 1000);
        EXPECT_OK(mp_process_kill(victims[(trial + (unsigned)i) % 3]));
    }
    tally *t = mp_shm_data(s);
    mp_process *again = started(MP_PROCESS_IN(by, produce, q, l, c, s, 3));
    atomic_store(&t->stop, 1);
    if (trial % 2) /* or after the job of the others */
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(joined(victims[i]), -SIGKILL);
    EXPECT_EQ(joined(producer), 0);
    EXPECT_EQ(joined(again), 0);
    under_the_lock(l, t);
    at_the_condition(c, false);
    EXPECT_OK(mp_queue_put_bytes(q, item, make_item(item, LAST, 0), MP_SECONDS(20)));
    EXPECT_EQ(joined(consumer), 0);
    for (int i = 0; trial % 2 == 0 && i < 3; i++)
        EXPECT_EQ(joined(victims[i]), -SIGKILL);
    EXPECT_EQ(mp_queue_size(q), 0);
    check_tally(t, 1);
    mp_queue_free(q);
    mp_lock_free(l);
    mp_condition_free(c);
    mp_shm_free(s);
    EXPECT_OK(mp__heap_check(&blocks_after, &bytes_after));
    EXPECT_EQ(blocks_after, blocks);
    EXPECT_EQ(bytes_after, bytes);
}

/* Every fourth trial from `first` on. */
static void hammer(unsigned first)
{
    unsigned trials = stepper_long() ? 1000 : 60, seed = stepper_seed();
    int64_t began = mp__os_now();
    EXPECT(mp__tag_self());
    for (unsigned i = first; i < trials; i += 4)
        hammer_once(i);
    printf("hammering: %u trials, %.1f s, seed %u\n", trials / 4,
           (double)(mp__os_now() - began) / 1e9, seed);
}

TEST(hammering_1)
{
    hammer(0);
}

TEST(hammering_2)
{
    hammer(1);
}

TEST(hammering_3)
{
    hammer(2);
}

TEST(hammering_4)
{
    hammer(3);
}

/* ---- nothing stays ---- */

typedef struct census {
    int fds, files, maps, children, names;
    uint64_t blocks, bytes;
} census;

static int count_in_file(const char *path, int what)
{
    int n = 0;
    FILE *f = fopen(path, "re");
    EXPECT(f);
    for (int c; (c = getc(f)) != EOF;)
        n += c == what;
    fclose(f);
    return n;
}

static census take_census(void)
{
    char path[64];
    census c = {.fds = harness_count_fds(),
                .files = harness_count_files(),
                .maps = count_in_file("/proc/self/maps", '\n')};
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    c.children = count_in_file(path, ' ');
    DIR *d = opendir("/dev/shm");
    while (d && readdir(d))
        c.names++;
    if (d)
        closedir(d);
    EXPECT_OK(mp__heap_check(&c.blocks, &c.bytes));
    return c;
}

MP_TARGET(use_everything, (mp_queue *, q), (mp_lock *, l), (mp_shm *, s))
{
    _Atomic unsigned *counter = mp_shm_data(s);
    unsigned char item[LARGEST] = {0};
    for (unsigned i = 0;; i++) {
        if (mp_queue_put_bytes(q, item, i % 3 ? 50 : sizeof item, MP_NOWAIT) < 0 ||
            (i % 5 && mp_queue_get_bytes(q, item, sizeof item, MP_NOWAIT) < 0))
            return 1;
        if (mp_lock_acquire(l, MP_FOREVER) || mp_lock_release(l))
            return 2;
        atomic_fetch_add(counter, 1);
    }
}

static void live_and_die(const char *method, int most)
{
    mp_queue *q = mp_queue_new(0);
    mp_lock *l = mp_lock_new();
    mp_shm *s = mp_shm_new(4096);
    EXPECT(q && l && s);
    mp_process *p = started(MP_PROCESS_IN(mp_get_context(method), use_everything, q, l, s));
    mp_wait(NULL, 0, (mp_time)(rand() % most) * 1000);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_EQ(joined(p), -SIGKILL);
    mp_queue_free(q);
    mp_lock_free(l);
    mp_shm_free(s);
}

TEST_METHODS(nothing_stays_of_the_killed)
{
    bool by_fork = strcmp(method, "fork") == 0;
    int cycles = stepper_long() ? 10000 : 300, most = by_fork ? 1500 : 8000;
    unsigned seed = stepper_seed();
    int64_t began = mp__os_now();
    cycles = by_fork ? cycles : cycles / 10;
    for (int i = 0; i < 5; i++) /* a fork server stays, and so on */
        live_and_die(method, most);
    census before = take_census();
    for (int i = 1; i <= cycles; i++) {
        live_and_die(method, most);
        if (i % 50 && i != cycles)
            continue;
        census after = take_census();
        EXPECT_EQ(after.fds, before.fds);
        EXPECT_EQ(after.files, before.files);
#ifndef __SANITIZE_ADDRESS__ /* its allocator maps as it likes, and musl's now and then */
        EXPECT(after.maps < before.maps + 16);
#endif
        EXPECT_EQ(after.children, before.children);
        for (int j = 0; after.names > before.names && j < 5000; j++) { /* another test's */
            mp_wait(NULL, 0, MP_MS(1));
            after.names = take_census().names;
        }
        EXPECT(after.names <= before.names);
        EXPECT_EQ(after.blocks, before.blocks);
        EXPECT_EQ(after.bytes, before.bytes);
    }
    printf("%s: %d cycles, %.1f s, seed %u\n", method, cycles, (double)(mp__os_now() - began) / 1e9,
           seed);
}
