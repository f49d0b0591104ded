/* SPDX-License-Identifier: MIT */
/*
 * Kills processes with SIGKILL, checks what the others see, and prints it as a Markdown table with
 * the median time until they know: kill_table [TRIALS].  Run by tools/kill_table.sh.
 *
 * The trials of a line take turns with the start methods, except where the line names one.  The
 * program ends with an error when somebody sees something else than the table says.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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
    mp_time delay;
    int64_t killed_at;
} killer;

static void *kill_later(void *arg)
{
    killer *k = arg;
    OK(mp_wait(NULL, 0, k->delay));
    k->killed_at = now();
    OK(mp_process_kill(k->victim));
    return NULL;
}

static void begin(killer *k, mp_process *victim, mp_time delay)
{
    *k = (killer){.victim = victim, .delay = delay};
    MUST(pthread_create(&k->thread, NULL, kill_later, k) == 0);
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

/* A child that runs; *ret_end is what it holds the other end of. */
static mp_process *running_child(int trial, mp_connection **ret_end)
{
    mp_connection *theirs;
    mp_value *ready;
    OK(mp_pipe(1, ret_end, &theirs));
    mp_process *p = MP_PROCESS_IN(context_of(trial), wait_for_ever, theirs);
    OK(mp_process_start(p));
    mp_connection_free(theirs);
    OK(mp_connection_recv(*ret_end, &ready, PATIENCE));
    mp_value_free(ready);
    return p;
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
    return 0;
}
