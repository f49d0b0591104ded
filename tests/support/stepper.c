/* SPDX-License-Identifier: MIT */
/* Owns the killing at instructions (stepper.h): tracing, breakpoints, and the processes of one trial. */
#include "stepper.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define PATIENCE 15000 /* ms for a survivor to end */
#define TRACE_MOST 40000
#define STEPS_MOST 2500 /* a step takes 20 us and more */
#define LOOPS 6         /* turns of a loop that are all tried; of the later ones a hundredth */
#define TWICE 1000      /* instructions that are tried in both orders of burial and job */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SAMPLE 12
#else
#define SAMPLE 40
#endif

typedef struct actor {
    pid_t pid;
    mp__slot_ref slot;
} actor;

typedef struct tally {
    unsigned runs, kills, stepped;
} tally;

static struct board { /* in memory that all of them share, and that is not the library's */
    _Atomic int sleeps, go, stop;
} * board;

static actor survivors[2], victim;

bool stepper_works(void)
{
#if defined(__x86_64__)
    return getenv("TEST_NO_PTRACE") == NULL;
#else
    return false;
#endif
}

bool stepper_long(void)
{
    return getenv("MULTIPROC_TEST_LONG") != NULL;
}

unsigned stepper_seed(void)
{
    const char *given = getenv("MULTIPROC_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    srand(seed);
    return seed;
}

/* ---- processes ---- */

void stepper_sleeps(void)
{
    atomic_store(&board->sleeps, 1);
}

void stepper_start_line(void)
{
    while (!atomic_load(&board->go))
        sched_yield();
}

bool stepper_stopped(void)
{
    return atomic_load(&board->stop);
}

static void make_actor(actor *a, void (*prepare)(void), void (*fn)(void), bool traced)
{
    EXPECT_OK(mp__slot_claim("actor", &a->slot));
    mp__holds_give_all(mp__tag_of(a->slot));
    a->pid = fork();
    EXPECT(a->pid >= 0);
    if (a->pid)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mp__slot_live(a->slot) < 0)
        _exit(98);
    if (prepare)
        prepare();
    if (traced) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
    }
    fn();
    if (traced)
        raise(SIGSTOP);
    mp__slot_set_exit(a->slot, 0);
    _exit(0);
}

bool stepper_runs(int who)
{
    siginfo_t info = {0};
    waitid(P_PID, (id_t)survivors[who].pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid == 0;
}

void stepper_join(int who)
{
    static const char *names[] = {"the peer", "the third process"};
    actor *a = &survivors[who];
    int status, fd = a->pid ? mp__os_pidfd(a->pid) : -1;
    if (!a->pid)
        return;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE) != 1)
        harness_fail(__FILE__, __LINE__, "%s is stuck", names[who]);
    close(fd);
    EXPECT_EQ(waitpid(a->pid, &status, 0), a->pid);
    if (status != 0)
        harness_fail(__FILE__, __LINE__, "%s ended with status 0x%x", names[who], status);
    mp__slot_free(a->slot);
    a->pid = 0;
}

static bool asleep(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *p = harness_read(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    return p && p[2] == 'S';
}

/* The peer in the midst of its operation. */
static void wait_for_sleep(pid_t pid)
{
    int64_t until = mp__os_now() + PATIENCE * INT64_C(1000000);
    while (!atomic_load(&board->sleeps) || !asleep(pid)) {
        int status;
        if (mp__os_now() > until || waitpid(pid, &status, WNOHANG) == pid)
            harness_fail(__FILE__, __LINE__, "the peer does not sleep");
        sched_yield();
    }
}

/* ---- tracing ---- */

typedef struct point {
    uint64_t at;  /* 0: after nth steps, wherever that is */
    unsigned nth; /* time that the victim comes there */
} point;

/* Waits for the victim's next stop: true when it is a trap, false when its operation has ended. */
static bool trapped(pid_t pid)
{
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status))
        harness_fail(__FILE__, __LINE__, "the victim ended by itself, status 0x%x", status);
    if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
        harness_fail(__FILE__, __LINE__, "the victim got signal %d", WSTOPSIG(status));
    return WSTOPSIG(status) == SIGTRAP;
}

#if defined(__x86_64__)

static unsigned trace(pid_t pid, point *points, unsigned most);

#define RIP offsetof(struct user, regs.rip)
#define TRAP_BYTE 0xcc

static uint64_t where(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, RIP, NULL);
}

static bool step(pid_t pid)
{
    EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    return trapped(pid);
}

/* Runs to the address, where it stops as if it had been stepped; false when the operation ended. */
static bool run_to(pid_t pid, uint64_t at)
{
    long text = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    EXPECT_EQ(ptrace(PTRACE_POKETEXT, pid, at, (text & ~0xffL) | TRAP_BYTE), 0);
    EXPECT_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    bool there = trapped(pid);
    EXPECT_EQ(ptrace(PTRACE_POKETEXT, pid, at, text), 0);
    if (there) {
        EXPECT_EQ(where(pid), at + 1);
        EXPECT_EQ(ptrace(PTRACE_POKEUSER, pid, RIP, at), 0);
    }
    return there;
}

/* An instruction that repeats itself (rep movsb) is one. */
static bool leave_string(pid_t pid, uint64_t at)
{
    long text = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    const unsigned char *b = (const unsigned char *)&text;
    EXPECT(b[0] == 0xf3 || b[0] == 0xf2);
    return run_to(pid, at + ((b[1] & 0xf0) == 0x40 ? 3 : 2));
}

static bool run_to_point(pid_t pid, point p)
{
    if (!p.at)
        return trace(pid, NULL, p.nth) == p.nth;
    bool there = run_to(pid, p.at);
    while (there && --p.nth)
        there = step(pid) && (where(pid) != p.at || leave_string(pid, p.at)) && run_to(pid, p.at);
    return there;
}

/* Steps until the operation has ended, or so many times; how often.  The points that it passes, if wanted. */
static unsigned trace(pid_t pid, point *points, unsigned most)
{
    unsigned n = 0;
    uint64_t last = where(pid);
    while (n < most && step(pid)) {
        uint64_t now = where(pid);
        if (now == last && !leave_string(pid, now))
            break;
        last = where(pid);
        unsigned nth = 1;
        for (unsigned i = n; points && i-- > 0;)
            if (points[i].at == last) {
                nth += points[i].nth;
                break;
            }
        if (points)
            points[n] = (point){last, nth};
        n++;
    }
    return n;
}

#else

static bool run_to_point(pid_t pid, point p)
{
    return p.at && trapped(pid);
}

static unsigned trace(pid_t pid, point *points, unsigned most)
{
    return points && most && trapped(pid);
}

#endif

/* ---- a trial ---- */

static void report(const stepper_scenario *s, point p, bool buried_first)
{
    extern const char __executable_start[];
    if (getenv("TEST_VERBOSE"))
        fprintf(stderr, "%s: at %#llx, time %u, %s\n", s->name,
                (unsigned long long)(p.at - (uint64_t)(uintptr_t)__executable_start), p.nth,
                buried_first ? "burial first" : "job first");
}

/* With `ret_points` it is traced to its end, and the points are counted; else killed at `p`, and the result
 * says whether it came there. */
static unsigned try(const stepper_scenario *s, point p, point *ret_points, bool buried_first)
{
    uint64_t blocks, bytes, blocks_after, bytes_after;
    int status;
    report(s, p, buried_first);
    EXPECT_OK(mp__heap_check(&blocks, &bytes));
    memset(board, 0, sizeof *board);
    s->set_up();
    make_actor(&victim, s->prepare, s->victim, true);
    waitpid(victim.pid, &status, 0);
    EXPECT(WIFSTOPPED(status));
    make_actor(&survivors[STEPPER_PEER], NULL, s->peer, false);
    wait_for_sleep(survivors[STEPPER_PEER].pid);
    survivors[STEPPER_OTHER].pid = 0;
    if (s->other)
        make_actor(&survivors[STEPPER_OTHER], NULL, s->other, false);
    atomic_store(&board->go, 1);
    unsigned r =
        ret_points ? trace(victim.pid, ret_points, TRACE_MOST) : run_to_point(victim.pid, p);
    kill(victim.pid, SIGKILL);
    EXPECT_EQ(waitpid(victim.pid, &status, 0), victim.pid);
    if (buried_first)
        mp__slot_free(victim.slot);
    atomic_store(&board->stop, 1);
    s->check();
    EXPECT(!survivors[STEPPER_PEER].pid && !survivors[STEPPER_OTHER].pid);
    if (!buried_first)
        mp__slot_free(victim.slot);
    s->tear_down();
    EXPECT_OK(mp__heap_check(&blocks_after, &bytes_after));
    if (blocks_after != blocks || bytes_after != bytes)
        harness_fail(__FILE__, __LINE__, "%s leaves %lld blocks, %lld bytes", s->name,
                     (long long)(blocks_after - blocks), (long long)(bytes_after - bytes));
    return r;
}

static bool seen_before(const point *points, unsigned n, point p)
{
    for (unsigned i = 0; i < n; i++)
        if (points[i].at == p.at && points[i].nth == p.nth)
            return true;
    return false;
}

/* Of a loop with many turns, some. */
static bool rarely(point p)
{
    return p.nth > LOOPS && rand() % 100;
}

/* The instructions of some runs: they differ, because the processes beside the victim do. */
static unsigned collect(const stepper_scenario *s, point *points, unsigned traces)
{
    point *more = calloc(TRACE_MOST, sizeof *more);
    unsigned n = 0;
    for (unsigned t = 0; more && t <= traces; t++) {
        unsigned count = try(s, (point){0, 0}, more, t % 2), old = n;
        for (unsigned i = 0; t && i < count && n < TRACE_MOST;
             i++) /* at the first the linker works */
            if (!rarely(more[i]) && !seen_before(points, old, more[i]))
                points[n++] = more[i];
    }
    free(more);
    return n;
}

/* A point that the victim did not come to, because
 * those beside it did otherwise, is tried slowly. */
static void kill_at(const stepper_scenario *s, point p, unsigned place, int times, tally *t)
{
    int order = rand() % 2;
    for (; times--; order = !order) {
        t->runs++;
        if (try(s, p, NULL, order)) {
            t->kills++;
        } else if (t->stepped < (stepper_long() ? 300 : 2) && place <= STEPS_MOST) {
            t->stepped++;
            try(s, (point){0, place + 1}, NULL, order);
        }
    }
}

void stepper_run(const stepper_scenario *s)
{
    if (!stepper_works())
        return;
    unsigned seed = stepper_seed(), traces = stepper_long() ? 4 : 1;
    bool all = s->all || stepper_long();
    int64_t began = mp__os_now();
    tally t = {0, 0, 0};
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    point *points = calloc(TRACE_MOST, sizeof *points);
    EXPECT(points && board != MAP_FAILED && mp__tag_self());
    unsigned n = collect(s, points, traces), chosen = all ? n : SAMPLE;
    EXPECT(n > 50);
    for (unsigned i = 0; i < chosen; i++) {
        unsigned k = all ? i : (unsigned)rand() % n;
        kill_at(s, points[k], k, stepper_long() && n <= TWICE ? 2 : 1, &t);
    }
    /* A thread that came first took the way that was traced: on a busy machine that may be another one. */
    for (unsigned more = 0; !all && t.kills * 40 <= t.runs && more < 10 * SAMPLE;
         more++, chosen++) {
        unsigned k = (unsigned)rand() % n;
        kill_at(s, points[k], k, 1, &t);
    }
    printf("%s: %u of %u instructions, %u runs, killed there in %u, after steps in %u; %.1f s, "
           "seed %u\n",
           s->name, chosen, n, t.runs, t.kills, t.stepped, (double)(mp__os_now() - began) / 1e9,
           seed);
    fflush(stdout);
    EXPECT(t.kills * 40 > t.runs);
    free(points);
    munmap(board, sizeof *board);
}
