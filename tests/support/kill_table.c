/* SPDX-License-Identifier: MIT */
/*
 * Kills processes with SIGKILL, checks what the others see, and prints it as a Markdown table with
 * the median time until they know: kill_table [TRIALS].  Run by tools/kill_table.sh.
 *
 * The trials of a line take turns with the start methods, except where the line names one.  The
 * program ends with an error when somebody sees something else than the table says.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <multiproc.h>

#define PATIENCE MP_SECONDS(20)
#define MESSAGE ((size_t)50 * 1000 * 1000)
#define MAX_TRIALS 1000

static const char *const methods[] = {"fork", "spawn", "forkserver"};

static void fail(const char *what, int64_t result)
{
    fprintf(stderr, "kill_table: %s: %lld %s %s\n", what, (long long)result,
            mp_error_name((int)result), mp_error_detail());
    exit(1);
}

#define MUST(condition)          \
    do {                         \
        if (!(condition))        \
            fail(#condition, 0); \
    } while (0)
#define OK(call)                      \
    do {                              \
        int64_t must_result = (call); \
        if (must_result < 0)          \
            fail(#call, must_result); \
    } while (0)

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static mp_context *context_of(int trial)
{
    return mp_get_context(methods[trial % 3]);
}

/* ---- a thread that kills a child while this one waits for it ---- */

typedef struct killer {
    pthread_t thread;
    mp_process *victim;
    int pid;         /* if there is no victim */
    mp_event *after; /* set after the kill; or NULL */
    mp_time delay;
    int64_t killed_at;
} killer;

static void *kill_later(void *arg)
{
    killer *k = arg;
    OK(mp_wait(NULL, 0, k->delay));
    k->killed_at = now();
    if (k->victim)
        OK(mp_process_kill(k->victim));
    else
        MUST(kill(k->pid, SIGKILL) == 0);
    if (k->after)
        OK(mp_event_set(k->after));
    return NULL;
}

static void begin_as(killer *k, killer how)
{
    *k = how;
    MUST(pthread_create(&k->thread, NULL, kill_later, k) == 0);
}

static void begin(killer *k, mp_process *victim, mp_time delay)
{
    begin_as(k, (killer){.victim = victim, .delay = delay});
}

/* The time from the kill to `known_at`. */
static int64_t end(killer *k, int64_t known_at)
{
    pthread_join(k->thread, NULL);
    return known_at - k->killed_at;
}

static void bury(mp_process *p)
{
    int code;
    OK(mp_process_join(p, PATIENCE));
    OK(mp_process_exit_code(p, &code));
    MUST(code == -SIGKILL);
    mp_process_free(p);
}

/* ---- a child ---- */

MP_TARGET(wait_for_ever, (mp_connection *, c))
{
    mp_connection_send(c, mp_value_none(), PATIENCE);
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

/* Starts a child that was given `theirs`, and waits until it says that it is ready. */
static mp_process *start_ready(mp_process *p, mp_connection *ours, mp_connection *theirs)
{
    mp_value *ready;
    OK(mp_process_start(p));
    mp_connection_free(theirs);
    OK(mp_connection_recv(ours, &ready, PATIENCE));
    mp_value_free(ready);
    return p;
}

/* A child that runs; *ret_end is what it holds the other end of. */
static mp_process *running_child(int trial, mp_connection **ret_end)
{
    mp_connection *theirs;
    OK(mp_pipe(1, ret_end, &theirs));
    return start_ready(MP_PROCESS_IN(context_of(trial), wait_for_ever, theirs), *ret_end, theirs);
}

/* What a child has to report. */
static int64_t receive_number(mp_connection *c)
{
    mp_value *v;
    int64_t number;
    OK(mp_connection_recv(c, &v, PATIENCE));
    OK(mp_value_get_int(v, &number));
    mp_value_free(v);
    return number;
}

/* Ends a child that has nothing more to do. */
static void dismiss(mp_process *p, mp_connection *ours)
{
    OK(mp_process_kill(p));
    bury(p);
    mp_connection_free(ours);
}

static int64_t child_while_receiving(int trial)
{
    mp_connection *end_of_pipe;
    mp_value *v;
    killer k;
    mp_process *p = running_child(trial, &end_of_pipe);
    begin(&k, p, MP_MS(5));
    int r = mp_connection_recv(end_of_pipe, &v, PATIENCE);
    int64_t took = end(&k, now());
    MUST(r == MP_EOF);
    bury(p);
    mp_connection_free(end_of_pipe);
    return took;
}

static int64_t child_while_joining(int trial)
{
    mp_connection *end_of_pipe;
    killer k;
    mp_process *p = running_child(trial, &end_of_pipe);
    begin(&k, p, MP_MS(5));
    OK(mp_process_join(p, PATIENCE));
    int64_t took = end(&k, now());
    bury(p);
    mp_connection_free(end_of_pipe);
    return took;
}

/* ---- a parent: who depends on it ends ---- */

enum { DAEMON, ORPHAN, SERVER };

/* Starts a child and sends a descriptor that tells when the one in question has ended. */
MP_TARGET(parent, (mp_connection *, c), (int, what), (const char *, method))
{
    mp_process_options options = MP_PROCESS_OPTIONS_INIT;
    options.context = mp_get_context(method);
    options.daemon = what == DAEMON;
    options.orphan = what == DAEMON ? MP_ORPHAN_DEFAULT : MP_ORPHAN_KILL;
    mp_process *p = MP_PROCESS_WITH(&options, wait_for_ever, c);
    OK(mp_process_start(p));
    int fd = mp_process_sentinel(p);
    if (what == SERVER)
        fd = (int)syscall(SYS_pidfd_open, mp_context_server_pid(options.context), 0);
    OK(mp_connection_send(c, mp_value_fd(fd), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

/* Two messages: the parent's descriptor, and the child's sign that it runs. */
static int receive_descriptor(mp_connection *c)
{
    int fd = -1;
    for (int i = 0; i < 2; i++) {
        mp_value *v;
        OK(mp_connection_recv(c, &v, PATIENCE));
        if (mp_value_kind(v) == MP_KIND_HANDLE)
            OK(fd = mp_value_get_fd(v));
        mp_value_free(v);
    }
    MUST(fd >= 0);
    return fd;
}

static int64_t kill_parent(int trial, int what, const char *method)
{
    mp_connection *ours, *theirs;
    OK(mp_pipe(1, &ours, &theirs));
    mp_process *p = MP_PROCESS_IN(context_of(trial), parent, theirs, what, method);
    OK(mp_process_start(p));
    mp_connection_free(theirs);
    mp_waitable end_of_other = MP_WAIT_FD(receive_descriptor(ours));
    MUST(mp_wait(&end_of_other, 1, MP_MS(5)) == 0);
    int64_t start = now();
    OK(mp_process_kill(p));
    MUST(mp_wait(&end_of_other, 1, PATIENCE) == 1);
    int64_t took = now() - start;
    bury(p);
    close(end_of_other.fd);
    mp_connection_free(ours);
    return took;
}

static int64_t parent_of_daemon(int trial)
{
    return kill_parent(trial, DAEMON, methods[trial / 3 % 3]);
}

static int64_t parent_of_orphan(int trial)
{
    return kill_parent(trial, ORPHAN, "spawn");
}

static int64_t owner_of_server(int trial)
{
    return kill_parent(trial, SERVER, "forkserver");
}

/* ---- the fork server ---- */

static int64_t server_between_starts(int trial)
{
    mp_context *c = mp_get_context("forkserver");
    mp_connection *first_end, *second_end;
    mp_process *first = running_child(2, &first_end);
    int server = mp_context_server_pid(c);
    (void)trial;
    MUST(server > 0);
    int64_t start = now();
    MUST(kill(server, SIGKILL) == 0);
    mp_process *second = running_child(2, &second_end);
    int64_t took = now() - start;
    MUST(mp_context_server_pid(c) != server);
    MUST(mp_process_is_alive(first) == 1 && mp_process_is_alive(second) == 1);
    OK(mp_process_kill(first));
    OK(mp_process_kill(second));
    OK(mp_process_join(first, PATIENCE)); /* how it ended may have died with its server */
    mp_process_free(first);
    bury(second);
    mp_connection_free(first_end);
    mp_connection_free(second_end);
    return took;
}

/* ---- a sender ---- */

static void fill(uint64_t *words, uint64_t seed)
{
    for (size_t i = 0; i < MESSAGE / sizeof *words; i++)
        words[i] = seed + i;
}

MP_TARGET(send_large, (mp_connection *, c), (int, seed))
{
    mp_value *go;
    uint64_t *words = malloc(MESSAGE);
    MUST(words);
    fill(words, (uint64_t)seed);
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    OK(mp_connection_recv(c, &go, PATIENCE));
    mp_connection_send_bytes(c, words, MESSAGE, PATIENCE);
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static bool is_whole(mp_buffer *b, uint64_t seed)
{
    const uint64_t *words = mp_buffer_data(b);
    if (mp_buffer_size(b) != MESSAGE)
        return false;
    for (size_t i = 0; i < MESSAGE / sizeof *words; i++)
        if (words[i] != seed + i)
            return false;
    return true;
}

static int64_t message_time; /* how long one takes, when nobody is killed */
static int whole, none;

/* With a negative delay nobody is killed before the message has come. */
static int64_t sender(int seed, mp_time delay)
{
    mp_connection *ours, *theirs;
    mp_value *ready;
    mp_buffer *b = NULL;
    killer k;
    OK(mp_pipe(1, &ours, &theirs));
    mp_process *p = MP_PROCESS_IN(context_of(seed), send_large, theirs, seed);
    OK(mp_process_start(p));
    mp_connection_free(theirs);
    OK(mp_connection_recv(ours, &ready, PATIENCE));
    mp_value_free(ready);
    int64_t start = now();
    OK(mp_connection_send(ours, mp_value_none(), PATIENCE));
    if (delay >= 0)
        begin(&k, p, delay);
    int r = mp_connection_recv_buffer(ours, &b, PATIENCE);
    message_time = delay < 0 ? now() - start : message_time;
    if (delay < 0)
        begin(&k, p, 0);
    mp_buffer *more;
    if (r == 0)
        r = mp_connection_recv_buffer(ours, &more, PATIENCE);
    int64_t took = end(&k, now());
    MUST(r == MP_EOF);
    MUST(!b || is_whole(b, (uint64_t)seed));
    whole += b && delay >= 0;
    none += !b;
    bury(p);
    mp_buffer_free(b);
    mp_connection_free(ours);
    return took;
}

/* From the first moment of the message to a little after it. */
static int64_t sender_of_large(int trial)
{
    if (trial == 0)
        sender(0, -1);
    return sender(trial, message_time * (trial % 20) / 18);
}

/* ---- a lock ---- */

MP_TARGET(hold_lock, (mp_connection *, c), (mp_lock *, lock))
{
    OK(mp_lock_acquire(lock, PATIENCE));
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static int64_t holder_of_lock(int trial)
{
    mp_connection *ours, *theirs;
    killer k;
    mp_lock *lock = mp_lock_new();
    OK(mp_pipe(1, &ours, &theirs));
    mp_process *p = MP_PROCESS_IN(context_of(trial), hold_lock, theirs, lock);
    start_ready(p, ours, theirs);
    begin(&k, p, MP_MS(5));
    int r = mp_lock_acquire(lock, PATIENCE);
    int64_t took = end(&k, now());
    MUST(r == -EOWNERDEAD);
    OK(mp_lock_release(lock));
    OK(mp_lock_acquire(lock, MP_NOWAIT));
    OK(mp_lock_release(lock));
    bury(p);
    mp_connection_free(ours);
    mp_lock_free(lock);
    return took;
}

/* ---- a queue ---- */

#define ITEM 4000
#define ITEMS 64

enum { VICTIM = 1, OTHER = 2 };

static void make_item(unsigned char *item, int who, unsigned number)
{
    memset(item, (int)(number % 251), ITEM);
    memcpy(item, (unsigned[]){(unsigned)who, number}, 2 * sizeof(unsigned));
}

/* Again and again, when the queue is empty; puts[0] have begun, puts[1] are over. */
MP_TARGET(put_items, (mp_connection *, c), (mp_queue *, q), (mp_shm *, puts))
{
    static unsigned char items[ITEMS * ITEM];
    for (unsigned i = 0; i < ITEMS; i++)
        make_item(items + (size_t)i * ITEM, VICTIM, i);
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    for (int64_t r = 0; r >= 0;) {
        while (mp_queue_size(q) > 0)
            sched_yield();
        MP_SHM(_Atomic unsigned, puts)[0]++;
        r = mp_queue_put_many_bytes(q, items, ITEM, ITEMS, PATIENCE);
        MP_SHM(_Atomic unsigned, puts)[1]++;
    }
    return 1;
}

MP_TARGET(put_item, (mp_connection *, c), (mp_queue *, q), (mp_event *, go))
{
    unsigned char item[ITEM];
    make_item(item, OTHER, 0);
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    OK(mp_event_wait(go, PATIENCE));
    OK(mp_queue_put_bytes(q, item, ITEM, PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static int outside; /* kills that found the victim between two puts */

/* Gets whole items, those of the victim in their order, until the other producer's has come. */
static void get_items(mp_queue *q)
{
    unsigned char item[ITEM], wanted[ITEM];
    for (unsigned n = 0;; n++) {
        unsigned who;
        MUST(mp_queue_get_bytes(q, item, ITEM, PATIENCE) == ITEM);
        memcpy(&who, item, sizeof who);
        make_item(wanted, (int)who, who == VICTIM ? n % ITEMS : 0);
        MUST(memcmp(item, wanted, ITEM) == 0);
        if (who == OTHER)
            return;
        MUST(who == VICTIM);
    }
}

/* The time, or -1 when the kill did not come inside a put. */
static int64_t producer(int trial, mp_time delay)
{
    mp_connection *ours, *theirs, *others, *end_of_other;
    killer k;
    mp_queue *q = mp_queue_new(0);
    mp_event *go = mp_event_new();
    mp_shm *puts = mp_shm_new(2 * sizeof(_Atomic unsigned));
    OK(mp_pipe(1, &ours, &theirs));
    OK(mp_pipe(1, &end_of_other, &others));
    mp_process *p = MP_PROCESS_IN(context_of(trial), put_items, theirs, q, puts);
    mp_process *other = MP_PROCESS_IN(context_of(trial), put_item, others, q, go);
    start_ready(other, end_of_other, others);
    start_ready(p, ours, theirs);
    begin_as(&k, (killer){.victim = p, .after = go, .delay = delay});
    get_items(q);
    int64_t took = end(&k, now());
    bury(p);
    unsigned char late[ITEM];
    int64_t r;
    while ((r = mp_queue_get_bytes(q, late, ITEM, MP_NOWAIT)) == ITEM)
        ;
    MUST(r == -ETIMEDOUT);
    if (MP_SHM(_Atomic unsigned, puts)[0] == MP_SHM(_Atomic unsigned, puts)[1])
        took = -1;
    mp_connection_free(ours);
    dismiss(other, end_of_other);
    mp_shm_free(puts);
    mp_event_free(go);
    mp_queue_free(q);
    return took;
}

static int64_t producer_inside_put(int trial)
{
    for (int i = 0; i < 1000; i++) {
        int64_t took = producer(trial, MP_MS(1) + (trial * 7 + i) % 20 * MP_MS(1) / 20);
        if (took >= 0)
            return took;
        outside++;
    }
    fail("no kill came inside a put", 0);
    return 0;
}

MP_TARGET(get_and_keep, (mp_connection *, c), (mp_queue *, q))
{
    mp_value *item;
    OK(mp_queue_get(q, &item, PATIENCE));
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static int64_t consumer_with_item(int trial)
{
    mp_connection *ours, *theirs;
    killer k;
    mp_queue_options options = MP_QUEUE_OPTIONS_INIT;
    options.joinable = 1;
    mp_queue *q = mp_queue_new_with(&options);
    OK(mp_queue_put(q, mp_v(42), PATIENCE));
    OK(mp_pipe(1, &ours, &theirs));
    mp_process *p = MP_PROCESS_IN(context_of(trial), get_and_keep, theirs, q);
    start_ready(p, ours, theirs);
    begin(&k, p, MP_MS(5));
    int r = mp_queue_join(q, PATIENCE);
    int64_t took = end(&k, now());
    MUST(r == -EOWNERDEAD);
    MUST(mp_queue_unfinished(q) == 0);
    bury(p);
    mp_connection_free(ours);
    mp_queue_free(q);
    return took;
}

/* ---- a barrier ---- */

MP_TARGET(stay_away, (mp_connection *, c), (mp_barrier *, barrier))
{
    (void)barrier;
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

MP_TARGET(wait_at_barrier, (mp_connection *, c), (mp_barrier *, barrier))
{
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    OK(mp_connection_send(c, mp_v(mp_barrier_wait(barrier, PATIENCE)), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static int64_t party_of_barrier(int trial)
{
    mp_connection *ours, *theirs, *others, *end_of_other;
    killer k;
    mp_barrier *barrier = mp_barrier_new(3);
    OK(mp_pipe(1, &ours, &theirs));
    OK(mp_pipe(1, &end_of_other, &others));
    mp_process *p = MP_PROCESS_IN(context_of(trial), stay_away, theirs, barrier);
    mp_process *other = MP_PROCESS_IN(context_of(trial), wait_at_barrier, others, barrier);
    start_ready(p, ours, theirs);
    start_ready(other, end_of_other, others);
    begin(&k, p, MP_MS(5));
    int r = mp_barrier_wait(barrier, PATIENCE);
    MUST(receive_number(end_of_other) == MP_EBROKEN);
    int64_t took = end(&k, now());
    MUST(r == MP_EBROKEN);
    bury(p);
    mp_connection_free(ours);
    dismiss(other, end_of_other);
    mp_barrier_free(barrier);
    return took;
}

/* ---- a condition ---- */

MP_TARGET(wait_for_condition, (mp_connection *, c), (mp_condition *, condition))
{
    OK(mp_condition_acquire(condition, PATIENCE));
    OK(mp_connection_send(c, mp_value_none(), PATIENCE));
    int r = mp_condition_wait(condition, PATIENCE);
    OK(mp_condition_release(condition));
    OK(mp_connection_send(c, mp_v(r), PATIENCE));
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

/* The victim has the notification, or the other one has; both want the lock, which is held here. */
static int64_t waiter_of_condition(int trial)
{
    mp_connection *ours, *theirs, *others, *end_of_other;
    mp_condition *condition = mp_condition_new();
    OK(mp_pipe(1, &ours, &theirs));
    OK(mp_pipe(1, &end_of_other, &others));
    mp_process *p = MP_PROCESS_IN(context_of(trial), wait_for_condition, theirs, condition);
    mp_process *other = MP_PROCESS_IN(context_of(trial), wait_for_condition, others, condition);
    start_ready(p, ours, theirs);
    start_ready(other, end_of_other, others);
    OK(mp_condition_acquire(condition, PATIENCE));
    MUST(mp_condition_notify(condition, 1) == 1);
    int64_t start = now();
    OK(mp_process_kill(p));
    OK(mp_condition_release(condition));
    OK(mp_process_join(p, PATIENCE));
    MUST(receive_number(end_of_other) == 0);
    int64_t took = now() - start;
    bury(p);
    mp_connection_free(ours);
    dismiss(other, end_of_other);
    mp_condition_free(condition);
    return took;
}

/* ---- a pool ---- */

#define TASKS 100
#define STUCK 41
#define CHUNK 4
#define WORKERS 2

MP_TASK(int64_t, stuck_at_one, (int64_t, n))
{
    if (n == STUCK)
        mp_wait(NULL, 0, MP_FOREVER);
    return n * n;
}

MP_TASK(int64_t, square, (int64_t, n))
{
    return n * n;
}

static mp_pool *make_pool(int trial)
{
    mp_pool_options options = MP_POOL_OPTIONS_INIT;
    options.workers = WORKERS;
    options.context = context_of(trial);
    mp_pool *pool = mp_pool_new_with(&options);
    MUST(pool);
    return pool;
}

static void check_map(mp_pool *pool)
{
    int64_t in[TASKS], out[TASKS];
    for (int64_t i = 0; i < TASKS; i++)
        in[i] = i, out[i] = -1;
    OK(MP_MAP(pool, square, in, out, TASKS));
    for (int64_t i = 0; i < TASKS; i++)
        MUST(out[i] == i * i);
}

/* The worker that is inside of that task; 0: none yet. */
static int worker_inside(mp_pool *pool, uint64_t item)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        mp_worker_info info;
        OK(mp_pool_get_worker(pool, i, &info));
        if (info.busy && info.item == item)
            return info.pid;
    }
    return 0;
}

static int64_t worker_in_task(int trial)
{
    mp_value *items[TASKS], *list;
    killer k;
    int pid;
    mp_pool *pool = make_pool(trial);
    mp_call_options options = MP_CALL_OPTIONS_INIT;
    options.chunk = CHUNK;
    for (int i = 0; i < TASKS; i++)
        items[i] = mp_v(i);
    mp_result *result =
        mp_pool_map_async(pool, MP_TASK_OF(stuck_at_one), mp_value_list(items, TASKS), &options);
    MUST(result);
    int64_t start = now(), chunk_end = STUCK / CHUNK * CHUNK + CHUNK;
    while (mp_result_done(result) < TASKS - (chunk_end - STUCK) ||
           !(pid = worker_inside(pool, STUCK))) {
        MUST(now() - start < PATIENCE);
        mp_wait(NULL, 0, MP_MS(1));
    }
    begin_as(&k, (killer){.pid = pid, .delay = MP_MS(5)});
    int r = mp_result_get(result, &list, PATIENCE);
    int64_t took = end(&k, now());
    MUST(r == MP_EWORKER && mp_result_error(result, STUCK, NULL) == MP_EWORKER);
    MUST(mp_result_done(result) == TASKS && mp_result_failed(result) == 1);
    check_map(pool);
    mp_result_free(result);
    mp_pool_free(pool);
    return took;
}

static int64_t idle_workers(int trial)
{
    int pids[WORKERS];
    mp_pool *pool = make_pool(trial);
    mp_pool_info info;
    check_map(pool);
    MUST(mp_wait(NULL, 0, MP_MS(20)) == 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        mp_worker_info worker;
        OK(mp_pool_get_worker(pool, i, &worker));
        MUST(worker.pid > 0 && !worker.busy);
        pids[i] = worker.pid;
    }
    int64_t start = now();
    for (unsigned i = 0; i < WORKERS; i++)
        MUST(kill(pids[i], SIGKILL) == 0);
    check_map(pool);
    int64_t took = now() - start;
    do {
        OK(mp_pool_get_info(pool, &info));
        MUST(now() - start < PATIENCE);
        mp_wait(NULL, 0, MP_MS(1));
    } while (info.lost < WORKERS || info.alive < WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        MUST(kill(pids[i], 0) != 0);
    mp_pool_free(pool);
    return took;
}

/* ---- the table ---- */

typedef struct row {
    const char *killed, *seen;
    int64_t (*run)(int trial);
} row;

static const row rows[] = {
    {"a child, while its parent waits in `recv`", "`recv` returns `MP_EOF`", child_while_receiving},
    {"a child, while its parent joins it", "`join` returns; the exit code is -9",
     child_while_joining},
    {"the parent of a daemon", "the daemon is killed by the kernel", parent_of_daemon},
    {"the parent of a `spawn` child with `MP_ORPHAN_KILL`", "the child is killed by the kernel",
     parent_of_orphan},
    {"a fork server, between two starts",
     "its children go on; the next start makes a new server, and the child runs",
     server_between_starts},
    {"the owner of a fork server", "the server is killed by the kernel", owner_of_server},
    {"the sender of a 50 MB message, in the middle of it",
     "the whole message and then `MP_EOF`, or only `MP_EOF`", sender_of_large},
    {"the holder of a lock, while another process waits for it",
     "that one gets the lock, with `-EOWNERDEAD`", holder_of_lock},
    {"a producer inside `put`, while a consumer waits in `get`",
     "whole items only; another producer's item arrives", producer_inside_put},
    {"the consumer of a joinable queue, with an item that is not done",
     "`join` returns `-EOWNERDEAD`", consumer_with_item},
    {"a party of a barrier, while two others wait at it", "both get `MP_EBROKEN`",
     party_of_barrier},
    {"a waiter of a condition that was just notified",
     "the notification goes on to the other waiter", waiter_of_condition},
    {"a worker of a pool, inside a task",
     "that task fails with `MP_EWORKER`, all the others finish", worker_in_task},
    {"all workers of an idle pool", "they are replaced; the next map is complete", idle_workers},
};

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    static int64_t times[MAX_TRIALS];
    int trials = argc > 1 ? atoi(argv[1]) : 20;
    MUST(trials > 0 && trials <= MAX_TRIALS);
    printf("| killed with SIGKILL | what the others see | median time until they know |\n");
    printf("| --- | --- | ---: |\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int t = 0; t < trials; t++)
            times[t] = rows[i].run(t);
        qsort(times, (size_t)trials, sizeof times[0], by_size);
        int64_t median = (times[(trials - 1) / 2] + times[trials / 2]) / 2;
        printf("| %s | %s | %.2f ms |\n", rows[i].killed, rows[i].seen, (double)median / 1e6);
        fflush(stdout);
    }
    fprintf(stderr, "large messages: %d came whole, %d not at all\n", whole, none);
    fprintf(stderr, "producers: %d more kills came between two puts\n", outside);
    return 0;
}
