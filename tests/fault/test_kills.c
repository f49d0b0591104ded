/* SPDX-License-Identifier: MIT */
/* Owns the proof that a process may be killed at any instruction of an operation on a queue. */
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "channel/queue.h"
#include "harness.h"
#include "stepper.h"

#define PATIENCE MP_SECONDS(10)
#define MANY 8
#define LARGEST 10000
#define SEQUENCES 64

/* Who put an item. */
enum { VICTIM, PARENT, PEER, OTHER, FILLER, CLOSING, PRODUCERS };

/* What the processes of a trial tell each other; not in the library's memory. */
static struct ledger {
    _Atomic unsigned began, ended; /* items, or operations, of the victim */
    _Atomic unsigned put;          /* by the third process */
    _Atomic int result;            /* of the peer's operation */
    _Atomic unsigned got[PRODUCERS][SEQUENCES];
} * ledger;

static struct shape {
    size_t size;
    unsigned n; /* items of the victim's operation */
    size_t max_items;
    unsigned preput; /* items that are there at the start */
    unsigned edge;   /* the segment ends before the edge-th record from now; 0: anywhere */
    bool values, joinable, own;
} shape;

static mp_queue *queue, *own_queue;
static uint64_t base_in, base_out, base_blocks;
static unsigned char mine[MANY * LARGEST];
static mp_value *mine_values[MANY];
static int last[PRODUCERS]; /* sequence number + 1 of the last item got, by this process */

/* ---- items ---- */

static void fill(unsigned char *item, unsigned who, unsigned seq)
{
    for (size_t i = 0; i < shape.size; i++)
        item[i] = (unsigned char)(i * 7 + who * 31 + seq + 1);
    item[0] = (unsigned char)who;
    item[1] = (unsigned char)seq;
}

static void mark(const unsigned char *item)
{
    EXPECT(item[0] < PRODUCERS && item[1] < SEQUENCES);
    if (atomic_fetch_add(&ledger->got[item[0]][item[1]], 1))
        harness_fail(__FILE__, __LINE__, "an item of %u came twice", item[0]);
}

/* Puts an item of PARENT's and so on; 0 or an error. */
static int put_item(unsigned who, unsigned seq)
{
    unsigned char item[LARGEST];
    fill(item, who, seq);
    if (shape.values)
        return mp_queue_put(queue, mp_value_bytes(item, shape.size), PATIENCE);
    return mp_queue_put_bytes(queue, item, shape.size, PATIENCE);
}

/* Gets one, checks and marks it, and returns its producer. */
static int get_item(mp_time timeout)
{
    unsigned char item[LARGEST], wanted[LARGEST];
    mp_value *v = NULL;
    int64_t r;
    if (shape.values) {
        r = mp_queue_get(queue, &v, timeout);
        size_t size = 0;
        const void *data = r == 0 ? mp_value_get_bytes(v, &size) : NULL;
        if (data)
            memcpy(item, data, size < sizeof item ? size : sizeof item);
        r = r == 0 ? (int64_t)size : r;
        mp_value_free(v);
    } else {
        r = mp_queue_get_bytes(queue, item, sizeof item, timeout);
    }
    if (r < 0)
        return (int)r;
    EXPECT_EQ(r, shape.size);
    fill(wanted, item[0], item[1]);
    if (item[0] >= PRODUCERS || memcmp(item, wanted, shape.size) != 0)
        harness_fail(__FILE__, __LINE__, "an item of %u has other bytes", item[0]);
    mark(item);
    if (item[0] != FILLER && item[0] != CLOSING) {
        EXPECT(last[item[0]] <= item[1]);
        last[item[0]] = item[1] + 1;
    }
    return item[0];
}

static unsigned got(unsigned who)
{
    unsigned n = 0;
    for (int i = 0; i < SEQUENCES; i++)
        n += atomic_load(&ledger->got[who][i]);
    return n;
}

/* ---- the queue of a trial ---- */

static uint64_t count_in(void)
{
    return atomic_load(&mp__queue_ring(queue)->in.word) >> 1;
}

static uint64_t count_out(void)
{
    return atomic_load(&mp__queue_ring(queue)->out.word) >> 1;
}

static mp__place *place_in(void)
{
    mp__end *in = &mp__queue_ring(queue)->in;
    return &in->place[atomic_load(&in->word) & 1];
}

/* Puts and gets until the second segment has room for fewer than shape.edge records. */
static void go_to_the_edge(void)
{
    uint64_t record = 8 + (shape.size > MP__RING_INLINE ? 16 : (shape.size + 7) / 8 * 8), left = 0;
    for (unsigned i = 0;; i++) {
        mp__place *place = place_in();
        mp__object *o = mp__object_at(MP__OBJECT_BLOCK, place->segment);
        left = o ? ((mp__segment *)(void *)o->data)->size - place->position : UINT64_MAX;
        if (left < shape.edge * record)
            return;
        EXPECT_OK(put_item(FILLER, i % SEQUENCES));
        EXPECT_EQ(get_item(MP_NOWAIT), FILLER);
        memset(ledger, 0, sizeof *ledger);
    }
}

static void queue_set_up(void)
{
    mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
    memset(ledger, 0, sizeof *ledger);
    EXPECT_OK(mp__heap_check(&base_blocks, NULL));
    options.max_items = shape.max_items;
    options.joinable = shape.joinable;
    queue = mp_queue_new_with(&options);
    EXPECT(queue);
    if (shape.edge)
        go_to_the_edge();
    memset(last, 0, sizeof last);
    for (unsigned i = 0; i < shape.preput; i++)
        EXPECT_OK(put_item(FILLER, i));
    base_in = count_in();
    base_out = count_out();
    for (unsigned i = 0; i < shape.n; i++) {
        fill(mine + i * shape.size, VICTIM, i);
        if (shape.values)
            mine_values[i] = mp_value_bytes(mine + i * shape.size, shape.size);
    }
}

/* After the burial and the job the queue and its one segment are there, and nothing else. */
static void queue_tear_down(void)
{
    uint64_t blocks;
    EXPECT_OK(mp__heap_check(&blocks, NULL));
    if (blocks != base_blocks + 1 + (place_in()->segment[0] != 0))
        harness_fail(__FILE__, __LINE__, "a drained queue leaves %lld blocks",
                     (long long)(blocks - base_blocks));
    for (unsigned i = 0; i < shape.n && shape.values; i++)
        mp_value_free(mine_values[i]);
    mp_queue_free(queue);
}

/* The survivors' fixed job, which ends with an empty queue. */
static void queue_job(void)
{
    unsigned n = shape.max_items ? (unsigned)shape.max_items : 12;
    EXPECT_EQ(mp_queue_size(queue), 0);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < n; i++)
            EXPECT_OK(put_item(PARENT, (unsigned)round * 12 + i));
        for (unsigned i = 0; i < n; i++)
            EXPECT_EQ(get_item(PATIENCE), PARENT);
    }
    EXPECT_EQ(mp_queue_empty(queue), 1);
}

/* ---- putting ---- */

static void put_victim(void)
{
    int64_t r;
    atomic_store(&ledger->began, shape.n);
    if (shape.values)
        r = shape.n == 1 ? mp_queue_put(queue, mine_values[0], PATIENCE)
                         : mp_queue_put_many(queue, mine_values, shape.n, PATIENCE);
    else
        r = shape.n == 1 ? mp_queue_put_bytes(queue, mine, shape.size, PATIENCE)
                         : mp_queue_put_many_bytes(queue, mine, shape.size, shape.n, PATIENCE);
    EXPECT_EQ(r, shape.n == 1 ? 0 : shape.n);
    atomic_store(&ledger->ended, shape.n);
}

static void get_until_closing(void)
{
    stepper_sleeps();
    int who;
    while ((who = get_item(PATIENCE)) != CLOSING)
        EXPECT_EQ(who < 0 ? who : 0, 0);
}

static void put_at_once(void)
{
    unsigned i = 0;
    bool over;
    stepper_start_line();
    do {
        over = stepper_stopped();
        if (i < SEQUENCES - 2 || over) {
            EXPECT_OK(put_item(OTHER, i++));
            atomic_store(&ledger->put, i);
        } else {
            sched_yield();
        }
    } while (!over);
}

static void put_check(void)
{
    stepper_join(STEPPER_OTHER);
    unsigned others = atomic_load(&ledger->put);
    uint64_t committed = count_in() - base_in - others;
    EXPECT(committed >= atomic_load(&ledger->ended) && committed <= atomic_load(&ledger->began));
    EVENTUALLY(got(VICTIM) + got(OTHER) == committed + others || /* without any help */
               !stepper_runs(STEPPER_PEER));
    for (unsigned i = 0; i < committed; i++)
        EXPECT_EQ(atomic_load(&ledger->got[VICTIM][i]), 1);
    EXPECT_OK(put_item(CLOSING, 0));
    stepper_join(STEPPER_PEER);
    queue_job();
}

/* Before it is traced: takes the item that will be done, or makes the queue that it alone holds. */
static void prepare_victim(void)
{
    if (shape.joinable && !shape.n) {
        EXPECT_EQ(mp_queue_get_bytes(queue, mine, sizeof mine, MP_NOWAIT), shape.size);
        mark(mine);
    }
    if (!shape.own)
        return;
    EXPECT(own_queue = mp_queue_new(0));
    for (unsigned i = 0; i < 24; i++)
        EXPECT_OK(mp_queue_put_bytes(own_queue, mine, i % 8 ? 1000 : sizeof mine, MP_NOWAIT));
}

typedef void fn(void);

static bool every; /* instruction, in any mode */

static void run(const char *name, struct shape wanted, fn *operation, fn *peer, fn *other,
                fn *check)
{
    shape = wanted;
    stepper_run(&(stepper_scenario){.name = name,
                                    .set_up = queue_set_up,
                                    .prepare = prepare_victim,
                                    .victim = operation,
                                    .peer = peer,
                                    .other = other,
                                    .check = check,
                                    .tear_down = queue_tear_down,
                                    .all = every});
}

static void try_put(const char *name, struct shape wanted, fn *other)
{
    run(name, wanted, put_victim, get_until_closing, other, put_check);
}

#define SHAPE(...) ((struct shape){__VA_ARGS__})

TEST(put_bytes)
{
    try_put("put", SHAPE(.size = 100, .n = 1), NULL);
}

TEST(put_barging)
{
    try_put("put, barging", SHAPE(.size = 100, .n = 1), put_at_once);
}

TEST(put_into_a_new_segment)
{
    try_put("put into a new segment", SHAPE(.size = 1000, .n = 1, .edge = 1), NULL);
}

TEST(put_of_a_block)
{
    try_put("put of a block", SHAPE(.size = 10000, .n = 1), NULL);
}

TEST(put_of_a_block_barging)
{
    try_put("put of a block, barging", SHAPE(.size = 10000, .n = 1), put_at_once);
}

TEST(put_of_a_block_into_a_new_segment)
{
    try_put("put of a block into a new segment", SHAPE(.size = 10000, .n = 1, .edge = 1), NULL);
}

TEST(put_of_a_value)
{
    try_put("put of a value", SHAPE(.size = 100, .n = 1, .values = true), NULL);
}

TEST(put_of_a_large_value)
{
    try_put("put of a large value", SHAPE(.size = 10000, .n = 1, .values = true), NULL);
}

TEST(put_many_into_two_segments)
{
    try_put("put_many into two segments", SHAPE(.size = 100, .n = 5, .edge = 3), NULL);
}

TEST(put_many_of_blocks)
{
    try_put("put_many of blocks", SHAPE(.size = 10000, .n = 3), NULL);
}

TEST(put_many_of_values)
{
    try_put("put_many of values", SHAPE(.size = 100, .n = 4, .values = true), put_at_once);
}

/* ---- putting into a full queue ---- */

static void put_one_as_peer(void)
{
    stepper_sleeps();
    EXPECT_OK(put_item(PEER, 0));
}

/* Makes room, after a little while each time. */
static void get_slowly(void)
{
    int who;
    stepper_start_line();
    do {
        mp_wait(NULL, 0, MP_MS(1));
        who = get_item(PATIENCE);
        EXPECT_EQ(who < 0 ? who : 0, 0);
    } while (who != CLOSING);
}

static void full_check(void)
{
    stepper_join(STEPPER_PEER);
    EXPECT_OK(put_item(CLOSING, 0));
    stepper_join(STEPPER_OTHER);
    EXPECT_EQ(count_in(), count_out());
    uint64_t committed = count_in() - base_in - 2;
    EXPECT(committed >= atomic_load(&ledger->ended) && committed <= atomic_load(&ledger->began));
    EXPECT_EQ(got(VICTIM), committed);
    EXPECT_EQ(got(PEER), 1);
    EXPECT_EQ(got(FILLER), shape.preput);
    queue_job();
}

TEST(put_into_a_full_queue)
{
    run("put into a full queue", SHAPE(.size = 100, .n = 1, .max_items = 1, .preput = 1),
        put_victim, put_one_as_peer, get_slowly, full_check);
}

TEST(put_of_a_block_into_a_full_queue)
{
    run("put of a block into a full queue",
        SHAPE(.size = 10000, .n = 1, .max_items = 2, .preput = 2), put_victim, put_one_as_peer,
        get_slowly, full_check);
}

/* ---- getting ---- */

static void get_victim(void)
{
    int64_t r, n = 1;
    mp_value *values[MANY];
    atomic_store(&ledger->began, shape.n);
    if (shape.values) {
        if (shape.n == 1)
            r = mp_queue_get(queue, values, PATIENCE) == 0;
        else
            r = n = mp_queue_get_many(queue, values, shape.n, PATIENCE);
        for (int64_t i = 0; i < r; i++) {
            mark(mp_value_get_bytes(values[i], NULL));
            mp_value_free(values[i]);
        }
    } else if (shape.n == 1) {
        r = mp_queue_get_bytes(queue, mine, sizeof mine, PATIENCE);
        if (r > 0)
            mark(mine);
    } else {
        r = n = mp_queue_get_many_bytes(queue, mine, shape.size, shape.n, PATIENCE);
        for (int64_t i = 0; i < r; i++)
            mark(mine + (size_t)i * shape.size);
    }
    EXPECT(r > 0);
    atomic_store(&ledger->ended, (unsigned)n);
}

/* Leaves something for the victim. */
static void get_at_once(void)
{
    stepper_start_line();
    for (int who = 0, n = 0; who != CLOSING;) {
        if (n++ < 9 || stepper_stopped())
            EXPECT_EQ((who = get_item(PATIENCE)) < 0 ? who : 0, 0);
        else
            sched_yield();
    }
}

/* Alone with the victim, the parent knows exactly what it took; beside a third process, only how much. */
static void get_check(void)
{
    bool alone = shape.preput < 12; /* without a third process */
    unsigned ended = atomic_load(&ledger->ended);
    uint64_t taken = count_out() - base_out;
    if (alone) {
        EXPECT(taken >= ended && taken <= atomic_load(&ledger->began));
        if (!taken)
            EXPECT_EQ(get_item(PATIENCE), FILLER);
    }
    stepper_join(STEPPER_PEER); /* with the room that the victim has made, or the parent */
    if (!alone)
        EXPECT_OK(put_item(CLOSING, 0));
    stepper_join(STEPPER_OTHER);
    while (get_item(MP_NOWAIT) >= 0)
        ;
    unsigned lost = shape.preput + 1 - got(FILLER) - got(PEER);
    EXPECT_EQ(count_in(), count_out());
    EXPECT(lost <= (ended ? 0 : shape.n));
    if (alone)
        for (unsigned i = (unsigned)taken; i < shape.preput; i++)
            EXPECT_EQ(atomic_load(&ledger->got[FILLER][i]), 1);
    EXPECT(!alone || lost <= taken);
    queue_job();
}

static void try_get(const char *name, struct shape wanted, fn *other)
{
    wanted.max_items = wanted.preput;
    run(name, wanted, get_victim, put_one_as_peer, other, get_check);
}

TEST(get_bytes)
{
    try_get("get", SHAPE(.size = 100, .n = 1, .preput = 2), NULL);
}

TEST(get_barging)
{
    try_get("get, barging", SHAPE(.size = 100, .n = 1, .preput = 12), get_at_once);
}

TEST(get_that_leaves_a_segment)
{
    try_get("get that leaves a segment", SHAPE(.size = 1000, .n = 1, .preput = 2, .edge = 1), NULL);
}

TEST(get_of_a_block)
{
    try_get("get of a block", SHAPE(.size = 10000, .n = 1, .preput = 2), NULL);
}

TEST(get_of_a_block_barging)
{
    try_get("get of a block, barging", SHAPE(.size = 10000, .n = 1, .preput = 12), get_at_once);
}

TEST(get_of_a_block_that_leaves_a_segment)
{
    try_get("get of a block that leaves a segment",
            SHAPE(.size = 10000, .n = 1, .preput = 2, .edge = 1), NULL);
}

TEST(get_of_a_value)
{
    try_get("get of a value", SHAPE(.size = 100, .n = 1, .preput = 2, .values = true), NULL);
}

TEST(get_of_a_large_value)
{
    try_get("get of a large value", SHAPE(.size = 10000, .n = 1, .preput = 2, .values = true),
            NULL);
}

TEST(get_many_from_two_segments)
{
    try_get("get_many from two segments", SHAPE(.size = 100, .n = 5, .preput = 6, .edge = 3), NULL);
}

TEST(get_many_of_blocks)
{
    try_get("get_many of blocks", SHAPE(.size = 10000, .n = 3, .preput = 4), NULL);
}

TEST(get_many_of_values)
{
    try_get("get_many of values", SHAPE(.size = 100, .n = 3, .preput = 4, .values = true), NULL);
}

/* ---- getting from an empty queue ---- */

static void put_slowly(void)
{
    stepper_start_line();
    for (unsigned i = 0; i < SEQUENCES && !stepper_stopped() && !atomic_load(&ledger->ended); i++) {
        mp_wait(NULL, 0, MP_MS(1 + i / 4));
        EXPECT_OK(put_item(OTHER, i));
        atomic_store(&ledger->put, i + 1);
    }
}

static void empty_check(void)
{
    stepper_join(STEPPER_OTHER);
    EVENTUALLY(mp_queue_empty(queue) == 1); /* the peer takes all that the victim did not */
    EXPECT_OK(put_item(CLOSING, 0));
    stepper_join(STEPPER_PEER);
    EXPECT(atomic_load(&ledger->put) - got(OTHER) <= (atomic_load(&ledger->ended) ? 0 : 1));
    queue_job();
}

TEST(get_from_an_empty_queue)
{
    run("get from an empty queue", SHAPE(.size = 100, .n = 1), get_victim, get_until_closing,
        put_slowly, empty_check);
}

TEST(get_of_a_block_from_an_empty_queue)
{
    run("get of a block from an empty queue", SHAPE(.size = 10000, .n = 1), get_victim,
        get_until_closing, put_slowly, empty_check);
}

/* ---- joinable queues ---- */

static void done_victim(void)
{
    EXPECT_OK(mp_queue_task_done(queue));
    atomic_store(&ledger->ended, 1);
}

static void join_as_peer(void)
{
    stepper_sleeps();
    int r = mp_queue_join(queue, PATIENCE);
    EXPECT(r == 0 || r == -EOWNERDEAD);
    atomic_store(&ledger->result, r);
}

static void done_check(void)
{
    stepper_join(STEPPER_PEER); /* without any help */
    EXPECT(atomic_load(&ledger->result) == 0 || !atomic_load(&ledger->ended));
    EXPECT_EQ(mp_queue_unfinished(queue), 0);
    queue_job();
    for (int i = 0; i < 24; i++)
        EXPECT_OK(mp_queue_task_done(queue));
    EXPECT_EQ(mp_queue_task_done(queue), -EPERM);
    int r = mp_queue_join(queue, MP_NOWAIT); /* the parent has not heard yet */
    EXPECT(r == 0 || (r == -EOWNERDEAD && atomic_load(&ledger->result) == r));
}

static void joinable_get_check(void)
{
    uint64_t taken = count_out() - base_out;
    EXPECT(taken >= atomic_load(&ledger->ended) && taken <= 1);
    for (uint64_t i = taken; i < shape.preput; i++) {
        EXPECT_EQ(get_item(PATIENCE), FILLER);
        EXPECT_OK(mp_queue_task_done(queue));
    }
    atomic_store(&ledger->ended, !taken);
    if (taken)
        EVENTUALLY(atomic_load(&ledger->result) == -EOWNERDEAD);
    done_check();
}

TEST(task_done)
{
    run("task_done", SHAPE(.size = 100, .preput = 1, .joinable = true), done_victim, join_as_peer,
        NULL, done_check);
}

TEST(get_from_a_joinable_queue)
{
    run("get from a joinable queue", SHAPE(.size = 100, .n = 1, .preput = 2, .joinable = true),
        get_victim, join_as_peer, NULL, joinable_get_check);
}

/* ---- the end of queues ---- */

static void free_victim(void)
{
    mp_queue_free(own_queue);
}

TEST(free_of_a_queue_with_items)
{
    run("free", SHAPE(.size = 100, .own = true), free_victim, get_until_closing, NULL, put_check);
}

static void shutdown_victim(void)
{
    EXPECT_OK(mp_queue_shutdown(queue));
    atomic_store(&ledger->ended, 1);
}

static void get_the_end(void)
{
    stepper_sleeps();
    EXPECT_EQ(get_item(PATIENCE), MP_EOF);
}

static void shutdown_check(void)
{
    if (!atomic_load(&ledger->ended))
        EXPECT_OK(mp_queue_shutdown(queue));
    stepper_join(STEPPER_PEER);
    EXPECT_EQ(put_item(PARENT, 0), -EPIPE);
    EXPECT_EQ(get_item(MP_NOWAIT), MP_EOF);
}

TEST(shutdown_of_a_queue)
{
    run("shutdown", SHAPE(.size = 100), shutdown_victim, get_the_end, NULL, shutdown_check);
}

/* ---- death itself ---- */

/* However often and by whomever it is asked for. */
TEST(the_dead_stay_dead)
{
    mp__slot_ref slot;
    int status;
    EXPECT(mp__tag_self());
    EXPECT_OK(mp__slot_claim("dead", &slot));
    pid_t pid = fork();
    if (pid == 0)
        _exit(mp__slot_live(slot) != 0);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    for (int i = 0; i < 10; i++) {
        pid = i % 3 == 2 ? fork() : 0;
        bool dead = mp__tag_dead(mp__tag_of(slot));
        if (i % 3 == 2 && pid == 0)
            _exit(!dead);
        if (!dead)
            harness_fail(__FILE__, __LINE__, "asked for the %d. time it is alive", i + 1);
        EXPECT(!pid || (waitpid(pid, &status, 0) == pid && status == 0));
    }
    mp__slot_free(slot);
}

/* ---- planted errors, which this must find ---- */

/* Runs it in a child with the error planted: it must fail, and say so. */
static void must_find(int planted, const char *what, const char *message, struct shape wanted,
                      bool get)
{
    char text[4096] = "";
    int status, file = memfd_create("messages", MFD_CLOEXEC);
    EXPECT(file >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(file, 2);
        atomic_store(&mp__planted, planted);
        every = true;
        (get ? try_get : try_put)(what, wanted, NULL);
        _exit(0);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(pread(file, text, sizeof text - 1, 0) >= 0);
    close(file);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 99)
        harness_fail(__FILE__, __LINE__, "%s: the planted error was not found", what);
    EXPECT_HAS(text, message);
    printf("%s, found: %s", what, text);
}

TEST(an_early_commit_is_found)
{
    if (stepper_works())
        must_find(MP__PLANT_EARLY_COMMIT, "early commit", "has other bytes",
                  SHAPE(.size = 4000, .n = 1), false);
}

TEST(a_forgotten_note_is_found)
{
#ifdef __SANITIZE_ADDRESS__ /* each of the many kills until it is found takes long there */
    return;
#endif
    if (!stepper_works())
        return;
    must_find(MP__PLANT_LEAK, "leak of a put block", "leaves", SHAPE(.size = 10000, .n = 1), false);
    must_find(MP__PLANT_LEAK, "leak of a segment", "leaves", SHAPE(.size = 1000, .n = 1, .edge = 1),
              false);
    must_find(MP__PLANT_LEAK, "leak of a got block", "leaves",
              SHAPE(.size = 10000, .n = 1, .preput = 2), true);
}

/* How many of 20 gets that slept took longer than half a slice after the put. */
static int slow_gets(void)
{
    int slow = 0;
    _Atomic int64_t *at = (_Atomic int64_t *)(void *)ledger;
    queue = mp_queue_new(0);
    EXPECT(queue);
    for (int i = 0; i < 20; i++) {
        char c;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            mp_wait(NULL, 0, MP_MS(10)); /* by then the parent sleeps */
            atomic_store(at, mp__os_now());
            _exit(mp_queue_put_bytes(queue, "x", 1, MP_NOWAIT) != 0);
        }
        int status;
        EXPECT_EQ(mp_queue_get_bytes(queue, &c, 1, PATIENCE), 1);
        slow += mp__os_now() - atomic_load(at) > MP_MS(50);
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT_EQ(status, 0);
    }
    mp_queue_free(queue);
    return slow;
}

TEST(a_lost_wake_up_is_found)
{
    EXPECT(mp__tag_self());
    int slow = slow_gets();
    EXPECT(slow <= 6);
    atomic_store(&mp__planted, MP__PLANT_LOST_WAKE);
    int planted = slow_gets();
    printf("gets of more than 50 ms: %d of 20, and %d with the wake-up forgotten\n", slow, planted);
    EXPECT(planted >= 13);
}

__attribute__((constructor)) static void share_ledger(void)
{
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
