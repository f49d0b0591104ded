/* SPDX-License-Identifier: MIT */
/*
 * Compares managers and connections with Python's own and with redis, all over Unix sockets: calls of one
 * client, connections per second, and calls of many clients at once.
 */
#include <errno.h>
#include <multiproc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "manager_peers.h"
#include "pool_peers.h"

#define PYTHON "/usr/bin/python3"
#define KEY "bench" /* also that of manager_python.py */
#define AT_ONCE 64
#define CLIENTS 200

static pool_peer python;
static int has_redis, has_keys;
static char directory[] = "/tmp/mp_bench_XXXXXX";
static char python_address[64];
static mp_manager *ours;
static mp_proxy *dict, *queue;

static void check(int64_t result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name((int)result), mp_error_detail());
}

static void *made(void *handle, const char *what)
{
    if (!handle)
        check(mp_error_code(), what);
    return handle;
}

static double least(void) /* seconds of one measurement */
{
    return bench_quick() ? 0.1 : 0.4;
}

static int rounds(void)
{
    return bench_quick() ? 3 : 9;
}

/* ---- what is measured: rates ---- */

typedef struct side {
    const char *name;
    double (*run)(const struct side *s);
    const char *word; /* for Python */
    int work, depth;
    bench_samples samples;
} side;

static int is_there(const side *s);

/* Rounds in turn; the first one does not count. */
static void measure(side *sides, size_t n)
{
    for (int round = -1; round < rounds(); round++)
        for (size_t i = 0; i < n; i++) {
            side *s = &sides[(i + (size_t)(round + 1)) % n];
            if (!is_there(s))
                continue;
            double rate = s->run(s);
            if (round >= 0)
                bench_sample(&s->samples, rate);
        }
}

static bench_table *new_table(const char *title)
{
    static const char *const heads[] = {"work", "against", "ours/s", "peer/s", "speed"};
    return bench_table_new(title, 5, 2, heads);
}

static void compare(bench_table *table, const char *work, const char *unit, const side *a,
                    const side *b)
{
    double x = bench_median(&a->samples), y = bench_median(&b->samples);
    if (!is_there(a) || !is_there(b))
        return;
    bench_result r = {work, b->name, unit, x, y, 1, 0, 1};
    double ratio = bench_report(&r);
    bench_table_row(table, work, b->name, bench_text("%.4g", x), bench_text("%.4g", y),
                    bench_text("%.2f", ratio));
}

static void forget(side *sides, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bench_samples_free(&sides[i].samples);
}

/* How often something is done in a second that makes so many calls each time. */
static double rate_of(void (*step)(const side *s), const side *s, int calls)
{
    double start = bench_now(), spent;
    int64_t done = 0;
    do {
        step(s);
        done += calls;
        spent = (bench_now() - start) / 1e6;
    } while (spent < least());
    return (double)done / spent;
}

/* ---- calls of one client ---- */

static mp_value *tuple_of(mp_value *a, mp_value *b)
{
    mp_value *items[] = {a, b};
    return mp_value_tuple(items, b ? 2 : 1);
}

/* The i-th call: a set and a get in turn, or a put and a get. */
static mp_proxy *nth_call(int work, int i, const char **ret_method, mp_value **ret_args)
{
    if (work == WORK_DICT) {
        *ret_method = i % 2 ? "__getitem__" : "__setitem__";
        *ret_args = tuple_of(mp_value_str("key"), i % 2 ? NULL : mp_value_int(i));
        return dict;
    }
    *ret_method = i % 2 ? "get" : "put";
    *ret_args = i % 2 ? NULL : tuple_of(mp_value_int(i), NULL);
    return queue;
}

static void call_ours(const side *s)
{
    const char *method;
    mp_value *args;
    for (int i = 0; i < AT_ONCE && s->depth == 1; i++) {
        mp_proxy *p = nth_call(s->work, i, &method, &args);
        check(mp_proxy_call(p, method, args, NULL, NULL, MP_FOREVER), method);
    }
    for (int i = 0; i < AT_ONCE && s->depth > 1; i++) {
        mp_proxy *p = nth_call(s->work, i, &method, &args);
        check(mp_proxy_send(p, method, args, NULL), method);
    }
    for (int i = 0; i < AT_ONCE && s->depth > 1; i++)
        check(mp_manager_recv(ours, NULL, MP_FOREVER), "mp_manager_recv");
}

static double run_ours(const side *s)
{
    return rate_of(call_ours, s, AT_ONCE);
}

static double ask_python(const side *s)
{
    return pool_peer_ask(&python, bench_text("%s %g", s->word, least()));
}

#ifdef BENCH_REDIS
static void call_redis(const side *s)
{
    redis_calls((manager_work)s->work, AT_ONCE, s->depth);
}

static double run_redis(const side *s)
{
    return rate_of(call_redis, s, AT_ONCE);
}
#else
static double run_redis(const side *s)
{
    (void)s;
    return 0;
}
#endif

static void compare_calls(bench_table *table, int work, const char *what, const char *word)
{
    side sides[] = {{"ours", run_ours, NULL, work, 1, BENCH_SAMPLES_INIT},
                    {"ours", run_ours, NULL, work, AT_ONCE, BENCH_SAMPLES_INIT},
                    {"SyncManager", ask_python, word, work, 1, BENCH_SAMPLES_INIT},
                    {"redis", run_redis, NULL, work, 1, BENCH_SAMPLES_INIT},
                    {"redis, 64 at once", run_redis, NULL, work, AT_ONCE, BENCH_SAMPLES_INIT}};
    const char *many = bench_text("%s, 64 at once", what);
    measure(sides, sizeof sides / sizeof *sides);
    compare(table, what, "calls/s", &sides[0], &sides[2]);
    compare(table, what, "calls/s", &sides[0], &sides[3]);
    compare(table, many, "calls/s", &sides[1], &sides[2]);
    compare(table, many, "calls/s", &sides[1], &sides[4]);
    forget(sides, sizeof sides / sizeof *sides);
}

static void all_calls(void)
{
    bench_table *table = new_table("Calls of one client (medians; speed = ours / peer)");
    compare_calls(table, WORK_DICT, "dict set + get", "dict");
    compare_calls(table, WORK_QUEUE, "queue put + get", "queue");
    bench_table_print(table);
}

/* ---- connections ---- */

typedef struct acceptor {
    mp_listener *listener;
    pid_t pid;
    mp_client_options options;
} acceptor;

static acceptor acceptors[2]; /* without and with a key */

static void accept_all(mp_listener *l)
{
    mp_connection *c;
    for (;;) {
        int r = mp_listener_accept(l, &c, MP_FOREVER);
        if (r < 0)
            _exit(1);
        mp_connection_free(c);
    }
}

static void acceptor_start(acceptor *a, int keyed)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    a->options = (mp_client_options)MP_CLIENT_OPTIONS_INIT;
    o.key = a->options.key = keyed ? KEY : NULL;
    o.key_size = a->options.key_size = keyed ? strlen(KEY) : 0;
    a->listener = mp_listener_new(NULL, &o);
    if (!a->listener && keyed && mp_error_code() == -EOPNOTSUPP) {
        bench_left_out("keys: the library was built without libcrypto");
        return;
    }
    made(a->listener, "mp_listener_new");
    has_keys = has_keys || keyed;
    fflush(stdout);
    a->pid = fork();
    if (a->pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (a->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not survive the benchmark */
        accept_all(a->listener);
    }
}

static void acceptor_end(acceptor *a)
{
    mp_listener_free(a->listener);
    if (!a->pid)
        return;
    kill(a->pid, SIGKILL);
    while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void connect_once(const side *s)
{
    const acceptor *a = &acceptors[s->work];
    mp_connection_free(made(mp_client(mp_listener_address(a->listener), &a->options), "mp_client"));
}

static double run_connect(const side *s)
{
    return rate_of(connect_once, s, 1);
}

static void all_connections(void)
{
    static const char *const names[] = {"connect + close", "connect + handshake + close"};
    static const char *const words[] = {"connect", "key"};
    bench_table *table = new_table("Connections (medians; speed = ours / peer)");
    for (int keyed = 0; keyed <= has_keys; keyed++) {
        side sides[] = {
            {"ours", run_connect, NULL, keyed, 1, BENCH_SAMPLES_INIT},
            {"Listener, Client", ask_python, words[keyed], keyed, 1, BENCH_SAMPLES_INIT}};
        measure(sides, 2);
        compare(table, names[keyed], "connections/s", &sides[0], &sides[1]);
        forget(sides, 2);
    }
    bench_table_print(table);
}

/* ---- many clients ---- */

typedef struct fan {
    mp_proxy *list, *dict; /* NULL: redis */
    pthread_barrier_t ready;
    atomic_bool over;
    atomic_llong calls;
} fan;

typedef struct fan_client {
    fan *fan;
    int number;
    pthread_t thread;
} fan_client;

static void fan_call(const fan *f, void *redis, int number, int i)
{
    if (f->list && i % 2)
        check(mp_proxy_call(f->list, "append", tuple_of(mp_value_int(number), NULL), NULL, NULL,
                            MP_FOREVER),
              "append");
    else if (f->list)
        check(mp_proxy_call(f->dict, "__setitem__", tuple_of(mp_value_int(number), mp_value_int(i)),
                            NULL, NULL, MP_FOREVER),
              "__setitem__");
#ifdef BENCH_REDIS
    else if (i % 2)
        redis_append(redis, number);
    else
        redis_set(redis, number, i);
#else
    (void)redis;
#endif
}

static void *fan_thread(void *arg)
{
    const fan_client *me = arg;
    fan *f = me->fan;
    void *redis = NULL;
#ifdef BENCH_REDIS
    redis = f->list ? NULL : redis_open();
#endif
    fan_call(f, redis, me->number, 0); /* connects */
    pthread_barrier_wait(&f->ready);
    int i = 1;
    while (!f->over)
        fan_call(f, redis, me->number, i++);
    f->calls += i - 1;
#ifdef BENCH_REDIS
    if (redis)
        redis_close(redis);
#endif
    return NULL;
}

/* Calls per second of all clients, each of which is a thread with a connection of its own. */
static double run_fan(fan *f)
{
    static fan_client clients[CLIENTS];
    double seconds = least();
    struct timespec pause = {(time_t)seconds, (long)(seconds * 1e9) % 1000000000};
    pthread_barrier_init(&f->ready, NULL, CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (fan_client){f, i, 0};
        if (pthread_create(&clients[i].thread, NULL, fan_thread, &clients[i]) != 0)
            bench_fail("cannot start %d threads", CLIENTS);
    }
    pthread_barrier_wait(&f->ready);
    double start = bench_now();
    nanosleep(&pause, NULL);
    f->over = 1;
    double spent = bench_now() - start;
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    pthread_barrier_destroy(&f->ready);
    return (double)f->calls / spent * 1e6;
}

static double fan_ours(const side *s)
{
    size_t size = 0;
    const void *key = mp_manager_key(ours, &size);
    mp_manager *m =
        made(mp_manager_connect(mp_manager_address(ours), key, size), "mp_manager_connect");
    fan f = {.list = made(mp_manager_create(m, "list", NULL), "list"),
             .dict = made(mp_manager_create(m, "dict", NULL), "dict")};
    (void)s;
    double rate = run_fan(&f);
    mp_proxy_free(f.list);
    mp_proxy_free(f.dict);
    mp_manager_free(m);
    return rate;
}

static double fan_redis(const side *s)
{
    fan f = {.list = NULL};
    (void)s;
    double rate = run_fan(&f);
#ifdef BENCH_REDIS
    redis_clear();
#endif
    return rate;
}

static int is_there(const side *s)
{
    if (s->run == run_redis || s->run == fan_redis)
        return has_redis;
    return s->run != ask_python || python.pid;
}

static void all_fans(void)
{
    const char *what = bench_text("%d clients, list append and dict set", CLIENTS);
    side sides[] = {
        {"ours", fan_ours, NULL, 0, 1, BENCH_SAMPLES_INIT},
        {"SyncManager", ask_python, bench_text("fan %d", CLIENTS), 0, 1, BENCH_SAMPLES_INIT},
        {"redis", fan_redis, NULL, 0, 1, BENCH_SAMPLES_INIT}};
    bench_table *table = new_table("Many clients (medians; speed = ours / peer)");
    measure(sides, sizeof sides / sizeof *sides);
    for (size_t i = 1; i < sizeof sides / sizeof *sides; i++)
        compare(table, what, "calls/s", &sides[0], &sides[i]);
    forget(sides, sizeof sides / sizeof *sides);
    bench_table_print(table);
}

/* ---- beginning and end ---- */

static void start_peers(void)
{
    const char *const argv[] = {PYTHON, MANAGER_PYTHON, python_address, NULL};
    if (!mkdtemp(directory))
        bench_fail("mkdtemp: %s", strerror(errno));
    snprintf(python_address, sizeof python_address, "%s/python", directory);
    if (access(PYTHON, X_OK) < 0 || access(MANAGER_PYTHON, R_OK) < 0) {
        bench_left_out("Python: there is no %s", PYTHON);
    } else {
        pool_peer_run(&python, "Python", argv);
        pool_peer_ask(&python, "ready");
    }
#ifdef BENCH_REDIS
    has_redis = redis_start(directory);
    if (!has_redis)
        bench_left_out("redis: there is no redis-server");
#else
    bench_left_out("redis: hiredis was not there when this was built");
#endif
}

static void end_peers(void)
{
    acceptor_end(&acceptors[0]);
    acceptor_end(&acceptors[1]);
    pool_peer_end(&python);
#ifdef BENCH_REDIS
    redis_end();
#endif
    unlink(python_address);
    rmdir(directory);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    bench_begin(argc, argv, "bench_manager");
    acceptor_start(&acceptors[0], 0);
    acceptor_start(&acceptors[1], 1);
    start_peers();
    ours = made(mp_manager_start(NULL), "mp_manager_start");
    dict = made(mp_manager_create(ours, "dict", NULL), "dict");
    queue = made(mp_manager_create(ours, "Queue", NULL), "Queue");
    all_calls();
    all_connections();
    all_fans();
    mp_proxy_free(dict);
    mp_proxy_free(queue);
    mp_manager_free(ours);
    end_peers();
    bench_end();
    return 0;
}
