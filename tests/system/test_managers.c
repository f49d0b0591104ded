/* SPDX-License-Identifier: MIT */
/* Owns the tests of managers: their objects, what waits there, and clients that die. */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define SECONDS MP_SECONDS(20)

static mp_manager *manager_of(const char *method)
{
    mp_manager_options o = MP_MANAGER_OPTIONS_INIT;
    o.context = mp_get_context(method);
    mp_manager *m = mp_manager_start(&o);
    if (!m)
        harness_fail(__FILE__, __LINE__, "%s: %s", mp_error_name(mp_error_code()),
                     mp_error_detail());
    return m;
}

static mp_proxy *made(mp_manager *m, const char *type, mp_value *args)
{
    mp_proxy *p = mp_manager_create(m, type, args);
    if (!p)
        harness_fail(__FILE__, __LINE__, "%s: %s", mp_error_name(mp_error_code()),
                     mp_error_detail());
    return p;
}

/* The repr of what a call returns, or the exception. */
static const char *called(mp_proxy *p, const char *method, mp_value *args)
{
    static char text[300];
    mp_value *v;
    int r = mp_proxy_call(p, method, args, NULL, &v, SECONDS);
    snprintf(text, sizeof text, "%s", r == 0 ? harness_repr(v) : mp_error_detail());
    if (r < 0)
        EXPECT_EQ(r, MP_EREMOTE);
    return text;
}

static mp_value *args_of(mp_value *a, mp_value *b, mp_value *c)
{
    mp_value *items[] = {a, b, c};
    return mp_value_tuple(items, a ? b ? c ? 3 : 2 : 1 : 0);
}
#define A0() NULL
#define A1(a) args_of(mp_v(a), NULL, NULL)
#define A2(a, b) args_of(mp_v(a), mp_v(b), NULL)

TEST_METHODS(a_dict)
{
    mp_manager *m = manager_of(method);
    mp_proxy *d = made(m, "dict", NULL);
    EXPECT_STR(called(d, "__setitem__", A2("a", 1)), "None");
    EXPECT_STR(called(d, "__setitem__", A2("b", 2.5)), "None");
    EXPECT_STR(called(d, "__setitem__", A2(7, "seven")), "None");
    EXPECT_STR(called(d, "__getitem__", A1("a")), "1");
    EXPECT_STR(called(d, "__getitem__", A1("x")), "KeyError: 'x'");
    EXPECT_STR(called(d, "get", A1("x")), "None");
    EXPECT_STR(called(d, "__len__", A0()), "3");
    EXPECT_STR(called(d, "keys", A0()), "['a', 'b', 7]");
    EXPECT_STR(called(d, "items", A0()), "[('a', 1), ('b', 2.5), (7, 'seven')]");
    EXPECT_STR(called(d, "pop", A1("b")), "2.5");
    EXPECT_STR(called(d, "__contains__", A1("b")), "False");
    EXPECT_STR(called(d, "setdefault", A2("c", 9)), "9");
    EXPECT_STR(called(d, "popitem", A0()), "('c', 9)");
    EXPECT_STR(called(d, "copy", A0()), "{'a': 1, 7: 'seven'}");
    EXPECT_STR(called(d, "__str__", A0()), "\"{'a': 1, 7: 'seven'}\"");
    EXPECT_STR(called(d, "nonsense", A0()), "AttributeError: a dict has no method 'nonsense'");
    EXPECT_STR(called(d, "__getitem__", A0()), "TypeError: the argument 'key' is missing");
    mp_value *list = mp_value_list(NULL, 0);
    EXPECT_HAS(called(d, "__setitem__", args_of(list, mp_v(1), NULL)), "TypeError: unhashable");
    for (int i = 0; i < 2000; i++) /* it grows, and shrinks */
        EXPECT_STR(called(d, "__setitem__", A2(i, i)), "None");
    for (int i = 0; i < 2000; i += 2)
        EXPECT_STR(called(d, "__delitem__", A1(i)), "None");
    EXPECT_STR(called(d, "__len__", A0()), "1001");
    EXPECT_STR(called(d, "__getitem__", A1(1999)), "1999");
    EXPECT_STR(called(d, "clear", A0()), "None");
    EXPECT_STR(called(d, "copy", A0()), "{}");
    mp_proxy_free(d);
    EXPECT_EQ(mp_manager_count(m), 0);
    mp_manager_free(m);
}

TEST(a_list_and_its_like)
{
    mp_manager *m = manager_of("fork");
    mp_value *items[] = {mp_v(3), mp_v(1), mp_v(2)};
    mp_proxy *l = made(m, "list", args_of(mp_value_list(items, 3), NULL, NULL));
    EXPECT_STR(called(l, "append", A1(5)), "None");
    EXPECT_STR(called(l, "sort", A0()), "None");
    EXPECT_STR(called(l, "copy", A0()), "[1, 2, 3, 5]");
    EXPECT_STR(called(l, "__getitem__", A1(-1)), "5");
    EXPECT_STR(called(l, "__getitem__", A1(4)), "IndexError: index out of range");
    EXPECT_STR(called(l, "pop", A1(0)), "1");
    EXPECT_STR(called(l, "insert", A2(1, "x")), "None");
    EXPECT_STR(called(l, "sort", A0()), "TypeError: '<' not supported between str and int");
    EXPECT_STR(called(l, "reverse", A0()), "None");
    EXPECT_STR(called(l, "index", A1("x")), "2");
    EXPECT_STR(called(l, "remove", A1("x")), "None");
    EXPECT_STR(called(l, "__mul__", A1(2)), "[5, 3, 2, 5, 3, 2]");
    EXPECT_STR(called(l, "count", A1(3)), "1");
    EXPECT_STR(called(l, "__str__", A0()), "'[5, 3, 2]'");
    mp_proxy *n = made(m, "Namespace", NULL);
    EXPECT_STR(called(n, "__setattr__", A2("x", 10)), "None");
    EXPECT_STR(called(n, "__getattribute__", A1("x")), "10");
    EXPECT_HAS(called(n, "__getattribute__", A1("y")), "AttributeError: 'Namespace' object has no");
    mp_proxy *v = made(m, "Value", A2("i", 4));
    EXPECT_STR(called(v, "set", A1(5)), "None");
    EXPECT_STR(called(v, "get", A0()), "5");
    EXPECT(!mp_manager_create(m, "nothing", NULL));
    EXPECT_EQ(mp_error_code(), MP_EREMOTE);
    EXPECT_HAS(mp_error_detail(), "KeyError");
    EXPECT_EQ(mp_manager_count(m), 3);
    mp_proxy_free(l);
    mp_proxy_free(n);
    mp_proxy_free(v);
    mp_manager_free(m);
}

/* ---- types of the program's own ---- */

static void *counter_create(const mp_value *args, const mp_value *kwargs)
{
    int64_t *n = calloc(1, sizeof *n);
    (void)kwargs;
    if (mp_value_len(args) && mp_value_get_int(mp_value_item(args, 0), n) < 0) {
        free(n);
        return mp_manager_raise("TypeError", "a counter starts from an int");
    }
    return n;
}

static mp_value *counter_add(void *object, const mp_value *args, const mp_value *kwargs)
{
    int64_t *n = object, by = 1;
    (void)kwargs;
    if (mp_value_len(args) && mp_value_get_int(mp_value_item(args, 0), &by) < 0)
        return mp_manager_raise("ValueError", "it counts in ints, not in %s",
                                mp_value_type_name(mp_value_item(args, 0)));
    return mp_value_int(*n += by);
}

static const mp_method counter_methods[] = {{"add", counter_add}, {NULL, NULL}};
static mp_manager_type counter = {"Counter", counter_create, free, counter_methods, NULL};

__attribute__((constructor)) static void set_up(void)
{
    mp_manager_register(&counter);
}

TEST_METHODS(a_type_of_the_program)
{
    mp_manager *m = manager_of(method);
    EXPECT_EQ(mp_manager_register(&counter), -EEXIST);
    mp_proxy *c = made(m, "Counter", A1(40));
    EXPECT_STR(called(c, "add", A0()), "41");
    EXPECT_STR(called(c, "add", A1(1)), "42");
    EXPECT_STR(called(c, "add", A1("x")), "ValueError: it counts in ints, not in str");
    EXPECT(!mp_manager_create(m, "Counter", A1("x")));
    EXPECT_HAS(mp_error_detail(), "TypeError: a counter starts from an int");
    mp_proxy_free(c);
    mp_manager_free(m);
}

/* ---- several clients ---- */

MP_TARGET(add_to_queue, (mp_value *, how), (int, n))
{
    size_t size, key_size;
    const void *key = mp_value_get_bytes(mp_value_item(how, 1), &key_size);
    mp_manager *m =
        mp_manager_connect(mp_value_get_str(mp_value_item(how, 0), &size), key, key_size);
    mp_proxy *q = m ? mp_manager_proxy(m, mp_value_ref(mp_value_item(how, 2))) : NULL;
    if (!q)
        return 1;
    for (int i = 0; i < n; i++)
        if (mp_proxy_call(q, "put", A1(i), NULL, NULL, SECONDS))
            return 2;
    mp_proxy_free(q);
    mp_manager_free(m);
    return 0;
}

#ifdef MULTIPROC_CRYPTO

/* What a client needs: address, key, token. */
static mp_value *how_to(mp_manager *m, mp_proxy *p)
{
    size_t size = 0;
    const void *key = mp_manager_key(m, &size);
    mp_value *items[] = {mp_value_str(mp_manager_address(m)), mp_value_bytes(key ? key : "", size),
                         mp_proxy_token(p)};
    return mp_value_tuple(items, 3);
}

TEST_METHODS(a_queue_between_processes)
{
    mp_manager *m = manager_of(method);
    mp_proxy *q = made(m, "Queue", NULL);
    mp_process *p[3];
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(mp_get_context(method), add_to_queue, how_to(m, q), 50));
    int64_t sum = 0;
    for (int i = 0; i < 150; i++) {
        mp_value *v;
        int64_t n;
        EXPECT_OK(mp_proxy_call(q, "get", NULL, NULL, &v, SECONDS));
        EXPECT_OK(mp_value_get_int(v, &n));
        mp_value_free(v);
        sum += n;
    }
    EXPECT_EQ(sum, 3 * 50 * 49 / 2);
    for (int i = 0; i < 3; i++)
        EXPECT_OK(joined(p[i]));
    EXPECT_STR(called(q, "get_nowait", A0()), "Empty");
    EXPECT_STR(called(q, "get", A2(1, 0.01)), "Empty");
    mp_proxy_free(q);
    EXPECT_EQ(mp_manager_count(m), 0);
    mp_manager_free(m);
}

MP_TARGET(take_and_die, (mp_value *, how), (mp_connection *, c))
{
    size_t size, key_size;
    const void *key = mp_value_get_bytes(mp_value_item(how, 1), &key_size);
    mp_manager *m =
        mp_manager_connect(mp_value_get_str(mp_value_item(how, 0), &size), key, key_size);
    mp_proxy *p = mp_manager_proxy(m, mp_value_ref(mp_value_item(how, 2)));
    const char *method = strcmp(mp_proxy_type(p), "JoinableQueue") == 0 ? "get" : "acquire";
    mp_value *v = NULL;
    if (mp_proxy_call(p, method, NULL, NULL, &v, SECONDS))
        return 1;
    mp_connection_send(c, v, SECONDS);
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

TEST_METHODS(what_a_killed_client_held_is_released)
{
    static const char *const types[] = {"Lock", "RLock", "JoinableQueue"};
    mp_manager *m = manager_of(method);
    for (int i = 0; i < 3; i++) {
        mp_connection *mine, *its;
        mp_value *v;
        mp_proxy *p = made(m, types[i], NULL);
        if (i == 2)
            EXPECT_STR(called(p, "put", A1("job")), "None");
        EXPECT_OK(mp_pipe(0, &mine, &its));
        mp_process *child =
            started(MP_PROCESS_IN(mp_get_context(method), take_and_die, how_to(m, p), its));
        mp_connection_free(its);
        EXPECT_OK(mp_connection_recv(mine, &v, SECONDS));
        mp_value_free(v);
        if (i < 2)
            EXPECT_STR(called(p, "acquire", A2(1, 0.05)), "False");
        else
            EXPECT_STR(called(p, "get", A2(1, 0.05)), "Empty");
        EXPECT_OK(mp_process_kill(child));
        EXPECT_STR(called(p, i < 2 ? "acquire" : "get", A0()), i < 2 ? "True" : "'job'");
        EXPECT_EQ(joined(child), -9);
        if (i < 2)
            EXPECT_STR(called(p, "release", A0()), "None");
        mp_connection_free(mine);
        mp_proxy_free(p);
    }
    EVENTUALLY(mp_manager_count(m) == 0);
    mp_manager_free(m);
}

TEST(a_wrong_key_and_no_server)
{
    mp_manager *m = manager_of("fork");
    EXPECT(!mp_manager_connect(mp_manager_address(m), "wrong", 5));
    EXPECT_EQ(mp_error_code(), -EACCES);
    mp_proxy *d = made(m, "dict", NULL);
    EXPECT_STR(called(d, "__len__", A0()), "0");
    EXPECT_OK(mp_manager_shutdown(m));
    EXPECT_EQ(mp_proxy_call(d, "__len__", NULL, NULL, NULL, SECONDS), -EPIPE);
    mp_proxy_free(d);
    mp_manager_free(m);
}

#endif

/* ---- waiting in the server ---- */

typedef struct waiter {
    mp_proxy *p;
    const char *method;
    char said[100];
    pthread_t thread;
} waiter;

static void *wait_thread(void *arg)
{
    waiter *w = arg;
    mp_value *v;
    int r = strcmp(w->method, "wait") == 0 && strcmp(mp_proxy_type(w->p), "Condition") == 0
                ? mp_proxy_call(w->p, "acquire", NULL, NULL, NULL, SECONDS)
                : 0;
    r = r ? r : mp_proxy_call(w->p, w->method, NULL, NULL, &v, SECONDS);
    char *repr = r == 0 ? mp_value_repr(v) : NULL;
    snprintf(w->said, sizeof w->said, "%s", repr ? repr : mp_error_detail());
    free(repr);
    if (r == 0)
        mp_value_free(v);
    if (strcmp(mp_proxy_type(w->p), "Condition") == 0)
        mp_proxy_call(w->p, "release", NULL, NULL, NULL, SECONDS);
    return NULL;
}

static void waiting(waiter *w, int n, mp_proxy *p, const char *method)
{
    for (int i = 0; i < n; i++) {
        w[i] = (waiter){.p = p, .method = method};
        EXPECT_OK(pthread_create(&w[i].thread, NULL, wait_thread, &w[i]));
    }
}

static void said(waiter *w, int n, const char *text)
{
    for (int i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        EXPECT_STR(w[i].said, text);
    }
}

TEST(events_conditions_barriers)
{
    mp_manager *m = manager_of("fork");
    waiter w[3];
    mp_proxy *e = made(m, "Event", NULL);
    waiting(w, 3, e, "wait");
    EXPECT_STR(called(e, "wait", A1(0.05)), "False");
    EXPECT_STR(called(e, "set", A0()), "None");
    said(w, 3, "True");
    mp_proxy *c = made(m, "Condition", NULL);
    EXPECT_STR(called(c, "notify", A0()), "RuntimeError: cannot notify on un-acquired lock");
    waiting(w, 3, c, "wait");
    mp_wait(NULL, 0, MP_MS(100));
    EXPECT_STR(called(c, "acquire", A0()), "True");
    EXPECT_STR(called(c, "notify_all", A0()), "None");
    EXPECT_STR(called(c, "release", A0()), "None");
    said(w, 3, "True");
    EXPECT_STR(called(c, "acquire", A0()), "True");
    EXPECT_STR(called(c, "wait", A1(0.05)), "False");
    EXPECT_STR(called(c, "release", A0()), "None");
    mp_proxy *b = made(m, "Barrier", A1(3));
    waiting(w, 2, b, "wait");
    EVENTUALLY(strcmp(called(b, "__getattribute__", A1("n_waiting")), "2") == 0);
    EXPECT_STR(called(b, "wait", A0()), "2");
    pthread_join(w[0].thread, NULL);
    pthread_join(w[1].thread, NULL);
    waiting(w, 2, b, "wait");
    EVENTUALLY(strcmp(called(b, "__getattribute__", A1("n_waiting")), "2") == 0);
    EXPECT_STR(called(b, "abort", A0()), "None");
    said(w, 2, "BrokenBarrierError");
    EXPECT_STR(called(b, "wait", A0()), "BrokenBarrierError");
    EXPECT_STR(called(b, "reset", A0()), "None");
    EXPECT_STR(called(b, "wait", A1(0.05)), "BrokenBarrierError");
    mp_proxy_free(e);
    mp_proxy_free(c);
    mp_proxy_free(b);
    mp_manager_free(m);
}

TEST(semaphores)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *s = made(m, "Semaphore", A1(2)), *b = made(m, "BoundedSemaphore", A1(1));
    EXPECT_STR(called(s, "acquire", A0()), "True");
    EXPECT_STR(called(s, "acquire", A0()), "True");
    EXPECT_STR(called(s, "acquire", A1(0)), "False");
    waiter w;
    waiting(&w, 1, s, "acquire");
    EXPECT_STR(called(s, "release", A0()), "None");
    said(&w, 1, "True");
    EXPECT_STR(called(b, "release", A0()), "ValueError: Semaphore released too many times");
    mp_proxy_free(s);
    mp_proxy_free(b);
    mp_manager_free(m);
}

TEST(calls_without_waiting)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *l = made(m, "list", NULL);
    mp_value *v;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 64; i++)
            EXPECT_OK(mp_proxy_send(l, "append", A1(i), NULL));
        EXPECT_EQ(mp_proxy_send(l, "append", A1(0), NULL), -EAGAIN);
        EXPECT_EQ(mp_proxy_call(l, "append", A1(0), NULL, NULL, SECONDS), -EBUSY);
        for (int i = 0; i < 64; i++)
            EXPECT_OK(mp_manager_recv(m, NULL, SECONDS));
        EXPECT_EQ(mp_manager_recv(m, &v, SECONDS), -ENOMSG);
    }
    EXPECT_STR(called(l, "__len__", A0()), "1280");
    mp_proxy_free(l);
    mp_manager_free(m);
}

TEST(arguments_that_are_none)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *l = made(m, "list", NULL);
    mp_value *v = mp_value_str("neither a tuple nor a dict");
    EXPECT_EQ(mp_proxy_call(l, "append", mp_value_ref(v), NULL, NULL, SECONDS), MP_ETYPE);
    EXPECT_EQ(mp_proxy_send(l, "append", NULL, mp_value_ref(v)), MP_ETYPE);
    EXPECT_STR(harness_repr(v), "'neither a tuple nor a dict'");
    EXPECT_STR(called(l, "__len__", A0()), "0");
    mp_proxy_free(l);
    mp_manager_free(m);
}

TEST(a_failed_call_keeps_the_references)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *d = made(m, "dict", NULL);
    mp_connection *a, *b;
    EXPECT_OK(mp_pipe(1, &a, &b));
    EXPECT(!mp_manager_create(m, "list", args_of(mp_value_connection(a), NULL, NULL)));
    EXPECT_EQ(mp_error_code(), MP_ETYPE);
    mp_connection_free(a);
    mp_connection_free(b);
    EXPECT_STR(called(d, "__len__", A0()), "0");
    EXPECT_EQ(mp_manager_count(m), 1);
    mp_proxy_free(d);
    mp_manager_free(m);
}

TEST(large_answers_and_slow_readers)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *l = made(m, "list", NULL), *other = made(m, "list", NULL);
    size_t size = 4 << 20;
    char *big = calloc(1, size);
    mp_value *arg = mp_value_bytes(big, size), *v;
    EXPECT_OK(mp_proxy_call(l, "append", mp_value_tuple(&arg, 1), NULL, NULL, SECONDS));
    for (int i = 0; i < 8; i++)
        EXPECT_OK(mp_proxy_send(l, "__getitem__", A1(0), NULL)); /* 32 MiB that nobody reads */
    waiter w;
    waiting(&w, 1, other, "__len__"); /* another client is served meanwhile */
    said(&w, 1, "0");
    for (int i = 0; i < 8; i++) {
        EXPECT_OK(mp_manager_recv(m, &v, SECONDS));
        EXPECT_EQ(mp_value_len(v), (int64_t)size);
        mp_value_free(v);
    }
    free(big);
    mp_proxy_free(l);
    mp_proxy_free(other);
    mp_manager_free(m);
}

TEST(an_answer_that_comes_too_late)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *q = made(m, "Queue", NULL);
    EXPECT_EQ(mp_proxy_call(q, "get", NULL, NULL, NULL, MP_MS(30)), -ETIMEDOUT);
    EXPECT_STR(called(q, "put", A1(1)), "None");
    EXPECT_STR(called(q, "get", A0()), "1"); /* the call that was left does not take it */
    mp_manager_free(m);                      /* before its proxy */
    mp_proxy_free(q);
}

static void *acquire_and_end(void *lock)
{
    EXPECT_STR(called(lock, "acquire", A0()), "True");
    return NULL;
}

TEST(threads_that_have_ended)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *l = made(m, "RLock", NULL);
    int before = 0;
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        EXPECT_OK(pthread_create(&thread, NULL, acquire_and_end, l));
        pthread_join(thread, NULL); /* and gives the lock back with that */
        before = i == 5 ? harness_count_fds() : before;
    }
    EXPECT_EQ(harness_count_fds(), before);
    EXPECT_STR(called(l, "acquire", A0()), "True");
    mp_proxy_free(l);
    mp_manager_free(m);
}

TEST(two_hundred_clients)
{
    mp_manager *m = manager_of("fork");
    size_t key_size = 0;
    const void *key = mp_manager_key(m, &key_size);
    mp_proxy *d = made(m, "dict", NULL);
    mp_manager *clients[200];
    mp_proxy *p[200];
    for (int i = 0; i < 200; i++) {
        clients[i] = mp_manager_connect(mp_manager_address(m), key, key_size);
        EXPECT(clients[i]);
        p[i] = mp_manager_proxy(clients[i], mp_proxy_token(d));
        EXPECT(p[i]);
    }
    for (int i = 0; i < 200; i++)
        EXPECT_OK(mp_proxy_send(p[i], "__setitem__", A2(i, i), NULL));
    for (int i = 0; i < 200; i++)
        EXPECT_OK(mp_manager_recv(clients[i], NULL, SECONDS));
    EXPECT_STR(called(d, "__len__", A0()), "200");
    for (int i = 0; i < 200; i++) {
        if (i % 2)
            mp_proxy_free(p[i]);
        mp_manager_free(clients[i]);
        if (i % 2 == 0)
            mp_proxy_free(p[i]);
    }
    mp_proxy_free(d);
    EVENTUALLY(mp_manager_count(m) == 0);
    mp_manager_free(m);
}

/* ---- what happens at once, as a server sees it: it is stopped meanwhile ---- */

static void write_address(void *data, const char *address)
{
    char text[200];
    snprintf(text, sizeof text, "%s", address);
    EXPECT_EQ(write(*(int *)data, text, sizeof text), sizeof text);
}

static rlim_t most_descriptors; /* of the next server; 0: as many as here */

/* A server without a key in a process whose number is known. */
static pid_t serving(mp_manager **ret_manager)
{
    int fds[2];
    char address[200];
    EXPECT_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit most = {most_descriptors, most_descriptors};
        if (most_descriptors)
            setrlimit(RLIMIT_NOFILE, &most);
        _exit(mp_manager_serve(NULL, write_address, &fds[1]) != 0);
    }
    EXPECT(read(fds[0], address, sizeof address) > 0);
    close(fds[0]);
    close(fds[1]);
    *ret_manager = mp_manager_connect(address, NULL, 0);
    EXPECT(*ret_manager);
    return pid;
}

/* A process that calls a method of an object and waits for the answer: of the one of the token, or of a new
 * one of the type.  A condition is acquired first. */
static pid_t caller(mp_manager *m, mp_value *token, const char *type, const char *method)
{
    int fds[2];
    char byte = 0;
    EXPECT_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        mp_manager *mine = mp_manager_connect(mp_manager_address(m), NULL, 0);
        mp_proxy *p = token ? mp_manager_proxy(mine, token) : mp_manager_create(mine, type, NULL);
        if (strcmp(mp_proxy_type(p), "Condition") == 0)
            mp_proxy_call(p, "acquire", NULL, NULL, NULL, SECONDS);
        if (mp_proxy_send(p, method, NULL, NULL) || write(fds[1], &byte, 1) != 1)
            _exit(1);
        _exit(mp_manager_recv(mine, NULL, MP_SECONDS(5)) != 0);
    }
    mp_value_free(token);
    EXPECT_EQ(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
    EXPECT(mp_manager_count(m) > 0); /* by now it has got the call */
    return pid;
}

static void killed(pid_t pid)
{
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
}

static void ended(mp_manager *m, pid_t server)
{
    int status = -1;
    EXPECT_OK(mp_manager_shutdown(m));
    EXPECT_EQ(waitpid(server, &status, 0), server);
    EXPECT_EQ(status, 0);
    mp_manager_free(m);
}

TEST(the_last_to_know_an_object_dies_while_it_waits)
{
    mp_manager *m;
    pid_t server = serving(&m);
    pid_t child = caller(m, NULL, "Queue", "get");
    EXPECT_OK(kill(server, SIGSTOP));
    killed(child); /* its call and its reference end at once */
    EXPECT_OK(kill(server, SIGCONT));
    EVENTUALLY(mp_manager_count(m) == 0);
    ended(m, server);
}

TEST(what_a_dead_client_was_to_get_goes_to_others)
{
    mp_manager *m;
    mp_value *v;
    pid_t server = serving(&m);
    mp_proxy *q = made(m, "Queue", NULL), *s = made(m, "Semaphore", A1(0));
    pid_t gets = caller(m, mp_proxy_token(q), NULL, "get");
    pid_t acquires = caller(m, mp_proxy_token(s), NULL, "acquire");
    EXPECT_STR(called(q, "qsize", A0()), "0");
    EXPECT_OK(kill(server, SIGSTOP));
    EXPECT_OK(mp_proxy_send(q, "put", A1("item"), NULL)); /* the server sees this first */
    EXPECT_OK(mp_proxy_send(s, "release", NULL, NULL));
    killed(gets);
    killed(acquires);
    EXPECT_OK(kill(server, SIGCONT));
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(mp_manager_recv(m, &v, SECONDS));
        EXPECT_STR(harness_repr(v), "None");
    }
    EXPECT_STR(called(q, "get", A2(1, 5)), "'item'");
    EXPECT_STR(called(s, "acquire", A2(1, 5)), "True");
    mp_proxy_free(q);
    mp_proxy_free(s);
    ended(m, server);
}

/* The first of two that wait is killed, before the server sees the notification or after. */
static void notify_a_dead_one(bool before)
{
    mp_manager *m;
    mp_value *v;
    pid_t server = serving(&m);
    mp_proxy *c = made(m, "Condition", NULL);
    pid_t first = caller(m, mp_proxy_token(c), NULL, "wait");
    pid_t second = caller(m, mp_proxy_token(c), NULL, "wait");
    EXPECT_STR(called(c, "acquire", A0()), "True");
    EXPECT_OK(kill(server, SIGSTOP));
    if (before)
        killed(first);
    EXPECT_OK(mp_proxy_send(c, "notify", NULL, NULL));
    EXPECT_OK(mp_proxy_send(c, "release", NULL, NULL));
    if (!before)
        killed(first);
    EXPECT_OK(kill(server, SIGCONT));
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(mp_manager_recv(m, &v, SECONDS));
        EXPECT_STR(harness_repr(v), "None");
    }
    int status = 0;
    EXPECT_EQ(waitpid(second, &status, 0), second);
    EXPECT_EQ(status, 0);
    mp_proxy_free(c);
    ended(m, server);
}

TEST(a_notification_of_a_dead_client_is_passed_on)
{
    notify_a_dead_one(true);
    notify_a_dead_one(false);
}

TEST(no_more_descriptors)
{
    mp_manager *m;
    int fds[100], status = -1;
    struct rusage usage;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    most_descriptors = 64;
    pid_t server = serving(&m);
    const char *name = mp_manager_address(m);
    mp_proxy *d = made(m, "dict", NULL);
    EXPECT_STR(called(d, "__len__", A0()), "0");
    memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
    for (int i = 0; i < 100; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_OK(connect(fds[i], (struct sockaddr *)&a,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))));
    }
    mp_wait(NULL, 0, MP_SECONDS(1));
    EXPECT_STR(called(d, "__len__", A0()), "0"); /* those that it has are served */
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    mp_proxy_free(d);
    EVENTUALLY(mp_manager_count(m) == 0);
    EXPECT_OK(mp_manager_shutdown(m));
    EXPECT_EQ(wait4(server, &status, 0, &usage), server);
    EXPECT_EQ(status, 0);
    EXPECT(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec == 0 &&
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec < 500000); /* it was not busy */
    mp_manager_free(m);
}

/* Each of these is one call, or one for each item; a quadratic one takes minutes. */
TEST(large_containers)
{
    enum { N = 200000 };
    mp_manager *m = manager_of("fork");
    mp_value **items = calloc(N, sizeof *items), *v;
    for (int i = 0; i < N; i++)
        items[i] = mp_value_int(i);
    mp_value *all = mp_value_list(items, N);
    free(items);
    mp_proxy *l = made(m, "list", args_of(mp_value_ref(all), NULL, NULL));
    EXPECT_STR(called(l, "__imul__", A1(5)), "None");
    EXPECT_STR(called(l, "__len__", A0()), "1000000");
    mp_proxy *it = made(m, "Iterator", args_of(all, NULL, NULL));
    for (int i = 0; i < N; i++) {
        if (i % 64 == 0)
            for (int k = i; k < i + 64 && k < N; k++)
                EXPECT_OK(mp_proxy_send(it, "__next__", NULL, NULL));
        int64_t n = -1;
        EXPECT_OK(mp_manager_recv(m, &v, SECONDS));
        mp_value_get_int(v, &n);
        mp_value_free(v);
        EXPECT_EQ(n, i);
    }
    EXPECT_STR(called(it, "__next__", A0()), "StopIteration");
    mp_proxy_free(it);
    mp_proxy_free(l);
    mp_proxy *d = made(m, "dict", NULL);
    for (int i = 0; i < N; i += 64) {
        for (int k = i; k < i + 64; k++)
            EXPECT_OK(mp_proxy_send(d, "__setitem__", A2(k, k), NULL));
        for (int k = i; k < i + 64; k++)
            EXPECT_OK(mp_manager_recv(m, NULL, SECONDS));
    }
    for (int i = 0; i < N; i += 64) {
        for (int k = i; k < i + 64; k++)
            EXPECT_OK(mp_proxy_send(d, "popitem", NULL, NULL));
        for (int k = i; k < i + 64; k++)
            EXPECT_OK(mp_manager_recv(m, NULL, SECONDS));
    }
    EXPECT_STR(called(d, "__len__", A0()), "0");
    EXPECT_STR(called(d, "popitem", A0()), "KeyError: 'popitem(): dictionary is empty'");
    EXPECT_STR(called(d, "__setitem__", A2("a", 1)), "None");
    EXPECT_STR(called(d, "popitem", A0()), "('a', 1)");
    mp_proxy_free(d);
    mp_manager_free(m);
}

TEST(a_barrier_outlives_one_that_came_and_died)
{
    mp_manager *m;
    mp_value *v;
    pid_t server = serving(&m);
    mp_proxy *b = made(m, "Barrier", A1(2));
    EXPECT_STR(called(b, "__getattribute__", A1("n_waiting")), "0");
    pid_t child = caller(m, mp_proxy_token(b), NULL, "wait");
    EXPECT_OK(kill(server, SIGSTOP));
    killed(child);
    EXPECT_OK(mp_proxy_send(b, "wait", NULL, NULL)); /* the second one: it is complete */
    EXPECT_OK(kill(server, SIGCONT));
    EXPECT_OK(mp_manager_recv(m, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "1");
    EXPECT_STR(called(b, "__getattribute__", A1("broken")), "False");
    mp_proxy_free(b);
    ended(m, server);
}

TEST(time_limits_as_in_python)
{
    mp_manager *m = manager_of("fork");
    mp_proxy *b = made(m, "Barrier", args_of(mp_v(2), mp_value_none(), mp_v(0.05)));
    EXPECT_STR(called(b, "wait", A0()), "BrokenBarrierError");
    EXPECT(!mp_manager_create(m, "Barrier", A2(2, "action")));
    EXPECT_HAS(mp_error_detail(), "TypeError");
    mp_proxy *l = made(m, "Lock", NULL);
    EXPECT_STR(called(l, "acquire", A2(1, -1)), "True");
    EXPECT_EQ(mp_proxy_call(l, "acquire", A2(1, -1), NULL, NULL, MP_MS(100)), -ETIMEDOUT);
    mp_proxy_free(b);
    mp_proxy_free(l);
    mp_manager_free(m);
}

TEST(the_iterator_of_a_killed_client_goes)
{
    mp_manager *m;
    pid_t server = serving(&m), child = fork();
    if (child == 0) {
        mp_value *token;
        mp_manager *mine = mp_manager_connect(mp_manager_address(m), NULL, 0);
        mp_proxy *d = mp_manager_create(mine, "dict", NULL);
        mp_proxy_call(d, "__iter__", NULL, NULL, &token, SECONDS);
        mp_proxy *it = mp_manager_proxy(mine, token);
        mp_proxy_call(d, "__iter__", NULL, NULL, &token, SECONDS);
        mp_proxy_free(mp_manager_proxy(mine, token));
        _exit(it ? (int)mp_manager_count(mine) : 0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 2); /* the dict and one iterator */
    EVENTUALLY(mp_manager_count(m) == 0);
    ended(m, server);
}
