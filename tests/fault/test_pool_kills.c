/* SPDX-License-Identifier: MIT */
/* Owns the proof that a pool's worker may be killed at any of its instructions: no task is lost, no memory. */
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "arena/heap.h"
#include "base/fault.h"
#include "harness.h"
#include "stepper.h"

#define N 6
#define LARGE 4500
#define PATIENCE MP_SECONDS(10)
#define STEPS_MOST 600000
#define AFTER 5000        /* steps when all is done */
#define ASLEEP MP_MS(200) /* a step that takes longer waits for something */
#define STRIDE 7
#define SAMPLE 40
#define LOOPS 12       /* turns of a loop that are all tried; of the later ones a fiftieth */
#define LOOK_BACK 4000 /* for an earlier turn */

typedef enum kind { VALUES, ARRAY, LARGE_BYTES, CANCELLED } kind;

typedef struct scenario {
    const char *name;
    kind kind;
    unsigned workers;
    uint64_t max_tasks;
    bool close;
} scenario;

static _Atomic int *runs; /* of each task; in the workers, and here */

MP_TASK(int, hold, (mp_shm *, shm), (int, unused))
{
    runs = mp_shm_data(mp_shm_ref(shm));
    return unused;
}

MP_TASK(int64_t, triple, (int64_t, n))
{
    runs[n]++;
    return n * 3;
}

MP_TASK(int64_t, triple_only, (int64_t, n))
{
    return n * 3;
}

MP_TASK(mp_value *, turn, (mp_value *, bytes), (int64_t, n))
{
    runs[n]++;
    return mp_value_ref(bytes);
}

/* ---- tracing ---- */

static bool asleep(int pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const char *p = harness_read(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    return p && p[2] == 'S';
}

static void attach(int pid)
{
    int status;
    EXPECT_EQ(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
    EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
    EXPECT(WIFSTOPPED(status));
}

/* Where it stops, and how often it has come there. */
typedef struct point {
    uint64_t at;
    unsigned nth;
} point;

#if defined(__x86_64__)

#define RIP offsetof(struct user, regs.rip)

static uint64_t where(int pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, RIP, NULL);
}

/* Goes on, for a step or until a trap; false when it fell asleep instead, or ended. */
static bool go_on(int pid, bool one_step)
{
    int status, r;
    EXPECT_EQ(ptrace(one_step ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, NULL, NULL), 0);
    int64_t until = mp__os_now() + ASLEEP;
    for (int i = 0; (r = waitpid(pid, &status, WNOHANG | __WALL)) == 0; i++)
        if (i > 100 && (sched_yield(), mp__os_now() > until))
            return false;
    return r == pid && WIFSTOPPED(status);
}

/* Runs to the point; false when it does not come there. */
static bool run_to(int pid, point p)
{
    while (p.nth--) {
        long text = ptrace(PTRACE_PEEKTEXT, pid, p.at, NULL);
        if (where(pid) == p.at && !go_on(pid, true))
            return false;
        if (ptrace(PTRACE_POKETEXT, pid, p.at, (text & ~0xffL) | 0xcc) != 0)
            return false;
        if (!go_on(pid, false))
            return false;
        ptrace(PTRACE_POKETEXT, pid, p.at, text);
        EXPECT_EQ(where(pid), p.at + 1);
        ptrace(PTRACE_POKEUSER, pid, RIP, p.at);
    }
    return true;
}

/* Steps until it falls asleep or ends, or spins when the result is there (NULL: nothing is); how often. */
static unsigned trace(int pid, const mp_result *r, point *points)
{
    unsigned n = 0, after = 0;
    for (; n < STEPS_MOST && after < AFTER && go_on(pid, true); n++) {
        points[n] = (point){where(pid), 1};
        for (unsigned i = n; i-- > 0 && i + LOOK_BACK > n;)
            if (points[i].at == points[n].at) {
                points[n].nth = points[i].nth + 1;
                break;
            }
        after += r && (after || (n % 64 == 63 && mp_result_ready(r)));
    }
    return n;
}

#else

static bool run_to(int pid, point p)
{
    return pid && p.at;
}

static unsigned trace(int pid, const mp_result *r, point *points)
{
    return pid && r && points;
}

#endif

/* ---- a trial ---- */

/* Some have a block of their own. */
static size_t size_of(int i)
{
    return i % 3 ? 20 : LARGE;
}

static mp_result *submit(mp_pool *pool, const scenario *s, int64_t *in, int64_t *out)
{
    mp_call_options o = MP_CALL_OPTIONS_INIT;
    mp_value *items[N];
    static char large[LARGE];
    o.chunk = s->kind == CANCELLED ? 3 : 2;
    o.retries = 3;
    for (int i = 0; i < N; i++) {
        in[i] = i;
        out[i] = -1;
        runs[i] = 0;
    }
    if (s->kind == ARRAY)
        return mp_pool_map_array_async(pool, MP_TASK_OF(triple), in, out, N, &o);
    for (int i = 0; i < N; i++) {
        memset(large, 'a' + i, sizeof large);
        if (s->kind == LARGE_BYTES)
            items[i] = mp_tuple_of(mp_value_bytes(large, size_of(i)), mp_v(i));
        else
            items[i] = mp_tuple_of(mp_v(i));
    }
    return mp_pool_starmap_async(pool,
                                 s->kind == LARGE_BYTES ? MP_TASK_OF(turn) : MP_TASK_OF(triple),
                                 mp_value_list(items, N), &o);
}

static void check_item(const scenario *s, const mp_value *list, int i, int64_t in_out)
{
    int64_t n = in_out;
    size_t size = 0;
    const mp_value *v = mp_value_item(list, (size_t)i);
    if (s->kind == LARGE_BYTES) {
        const char *data = mp_value_get_bytes(v, &size);
        EXPECT_EQ(size, size_of(i));
        EXPECT(data[0] == 'a' + i && data[size - 1] == 'a' + i);
        return;
    }
    if (s->kind == VALUES)
        EXPECT_OK(mp_value_get_int(v, &n));
    EXPECT_EQ(n, 3 * i);
}

/* One death: one task may have run twice. */
static void check(mp_result *r, const scenario *s, const int64_t *out)
{
    mp_value *v = NULL;
    int error = mp_result_get(r, &v, PATIENCE), again = 0;
    EXPECT_EQ(error, s->kind == CANCELLED ? -ECANCELED : 0);
    for (int i = 0; i < N; i++) {
        if (s->kind == CANCELLED) {
            EXPECT_EQ(mp_result_error(r, (size_t)i, NULL), -ECANCELED);
            EXPECT_EQ(runs[i], 0);
            continue;
        }
        check_item(s, v, i, out[i]);
        EXPECT(runs[i] == 1 || runs[i] == 2 || runs[i] == 0);
        again += runs[i] > 1;
    }
    EXPECT(again <= 1);
    mp_value_free(v);
}

static mp_pool *make_pool(const scenario *s, mp_shm **ret_shm)
{
    mp_pool_options o = MP_POOL_OPTIONS_INIT;
    int64_t in[N], out[N];
    *ret_shm = mp_shm_new(4096);
    runs = mp_shm_data(*ret_shm);
    o.workers = s->workers;
    o.context = mp_get_context("fork");
    o.start = "hold";
    o.start_args = mp_tuple_of(mp_v(*ret_shm), mp_v(0));
    o.max_tasks = s->max_tasks;
    mp_pool *pool = mp_pool_new_with(&o);
    EXPECT(pool);
    mp_result *r = submit(pool, s, in, out); /* the linker has done its work then */
    EXPECT_OK(mp_result_wait(r, PATIENCE));
    mp_result_free(r);
    return pool;
}

static void expect_figures(mp_pool *pool, mp_result *r)
{
    mp_pool_info info;
    EXPECT_OK(mp_pool_get_info(pool, &info));
    EXPECT_EQ(mp_result_done(r), N);
    EXPECT_EQ(info.done, info.submitted);
    EXPECT_EQ(info.alive, 0);
}

/* Traces a worker to its end, with `points`, and returns how many there are; or kills it at one of them, and
 * returns 1 if it came there. */
static unsigned trial(const scenario *s, point p, point *points)
{
    uint64_t blocks, bytes, blocks_after, bytes_after;
    int64_t in[N], out[N];
    mp_worker_info w = {0}, other = {0};
    mp_shm *shm;
    EXPECT_OK(mp__heap_check(&blocks, &bytes));
    mp_pool *pool = make_pool(s, &shm);
    EVENTUALLY(mp_pool_get_worker(pool, 0, &w) == 0 && w.pid > 0 && !w.busy && asleep(w.pid));
    if (s->workers > 1) { /* it shall not take all of them before the victim has stepped */
        EXPECT_OK(mp_pool_get_worker(pool, 1, &other));
        kill(other.pid, SIGSTOP);
    }
    attach(w.pid);
    mp_result *r = submit(pool, s, in, out);
    if (s->kind == CANCELLED)
        EXPECT(mp_result_cancel(r) >= 0);
    if (s->close)
        EXPECT_OK(mp_pool_close(pool));
    const mp_result *until = s->close || s->max_tasks ? NULL : r;
    unsigned n = points ? trace(w.pid, until, points) : run_to(w.pid, p);
    kill(w.pid, SIGKILL);
    if (other.pid > 0)
        kill(other.pid, SIGCONT);
    check(r, s, out);
    EXPECT_OK(mp_pool_close(pool));
    EXPECT_OK(mp_pool_join(pool, PATIENCE));
    expect_figures(pool, r);
    mp_result_free(r);
    mp_pool_free(pool);
    mp_shm_free(shm);
    EXPECT_OK(mp__heap_check(&blocks_after, &bytes_after));
    if (blocks_after != blocks || bytes_after != bytes)
        harness_fail(__FILE__, __LINE__, "%s: killed after %u steps it leaves %lld blocks", s->name,
                     n, (long long)(blocks_after - blocks));
    return n;
}

static void kill_everywhere(const scenario *s)
{
    if (!stepper_works())
        return;
    unsigned seed = stepper_seed(), tried = 0, there = 0;
    point *points = calloc(STEPS_MOST, sizeof *points);
    EXPECT(points && mp__tag_self());
    trial(s, (point){0, 0}, NULL);
    unsigned all = trial(s, (point){0, 0}, points), wanted = stepper_long() ? all / STRIDE : SAMPLE;
    int64_t until = mp__os_now() + MP_SECONDS(80);
    EXPECT(all > 200 && all < STEPS_MOST);
    while (tried < wanted && mp__os_now() < until) {
        point p = points[(unsigned)rand() % all];
        if (p.nth > LOOPS && rand() % 50)
            continue;
        if (getenv("TEST_VERBOSE"))
            fprintf(stderr, "%s: at %#llx, time %u\n", s->name, (unsigned long long)p.at, p.nth);
        there += trial(s, p, NULL);
        tried++;
    }
    printf("%s: %u instructions, killed at %u of them, %u elsewhere, seed %u\n", s->name, all,
           there, tried - there, seed);
    fflush(stdout);
    EXPECT(there * 2 > tried);
    free(points);
}

TEST(killed_at_values)
{
    kill_everywhere(&(scenario){"values", VALUES, 1, 0, false});
}

TEST(killed_at_values_beside_another)
{
    kill_everywhere(&(scenario){"values, two workers", VALUES, 2, 0, false});
}

TEST(killed_at_an_array)
{
    kill_everywhere(&(scenario){"array", ARRAY, 1, 0, false});
}

TEST(killed_at_large_bytes)
{
    kill_everywhere(&(scenario){"large bytes", LARGE_BYTES, 1, 0, false});
}

TEST(killed_in_the_end)
{
    kill_everywhere(&(scenario){"a closed pool", VALUES, 1, 0, true});
}

TEST(killed_when_used_up)
{
    kill_everywhere(&(scenario){"used up", ARRAY, 1, 8, false});
}

TEST(killed_at_what_was_cancelled)
{
    kill_everywhere(&(scenario){"cancelled", CANCELLED, 1, 0, false});
}

/* ---- starting ---- */

/* A lazy pool's worker cannot be started at once: it is tried again, or whoever waits is told. */
TEST(a_start_that_fails)
{
    bool hit = true;
    long nth = 1;
    for (; hit && nth < 400; nth++) {
        mp_pool_options o = MP_POOL_OPTIONS_INIT;
        mp_value *v = NULL;
        o.workers = 1;
        o.lazy = 1;
        mp_pool *pool = mp_pool_new_with(&o);
        EXPECT(pool);
        mp__fault_arm(nth, EMFILE);
        mp_result *r = MP_APPLY(pool, triple_only, 5);
        int error = r ? mp_result_get(r, &v, PATIENCE) : mp_error_code();
        const char *failed = mp__fault_hit();
        hit = failed != NULL;
        mp__fault_disarm();
        if (error == -EAGAIN)
            harness_fail(__FILE__, __LINE__, "fault %ld (%s): nobody is told", nth, failed);
        if (!error)
            EXPECT_STR(harness_repr(v), "15");
        mp_result_free(r);
        EXPECT_OK(mp_pool_close(pool));
        EXPECT_OK(mp_pool_join(pool, PATIENCE));
        mp_pool_free(pool);
    }
    EXPECT(nth > 5 && nth < 400);
}
