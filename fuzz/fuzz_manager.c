/* SPDX-License-Identifier: MIT */
/*
 * Owns the fuzz target of the server of a manager: several clients call methods of all types with any
 * arguments, drop references and hang up, and the server answers the next client.  The bytes are a program;
 * what it does up to a barrier is done while the server is held, so it comes to the server at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <multiproc.h>

#ifndef TEMP_FAILURE_RETRY /* glibc has it */
#define TEMP_FAILURE_RETRY(call)             \
    __extension__({                          \
        long again;                          \
        do                                   \
            again = (long)(call);            \
        while (again < 0 && errno == EINTR); \
        again;                               \
    })
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENTS 4
#define MOST_OPS 200
#define MOST_WAITING 50
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_manager: %s (errno %d; %s)\n", what, errno, mp_error_detail());
    abort();
}

/* ---- a gate: a method that holds the server ---- */

static int held[2], go[2];

static void *gate_create(const mp_value *args, const mp_value *kwargs)
{
    (void)args, (void)kwargs;
    return held;
}

static mp_value *gate_hold(void *object, const mp_value *args, const mp_value *kwargs)
{
    char byte = 0;
    (void)object, (void)args, (void)kwargs;
    must(TEMP_FAILURE_RETRY(write(held[1], &byte, 1)) == 1, "the gate");
    must(TEMP_FAILURE_RETRY(read(go[0], &byte, 1)) == 1, "the gate");
    return mp_value_none();
}

static const mp_method gate_methods[] = {{"hold", gate_hold}, {NULL, NULL}};
static mp_manager_type gate = {"Gate", gate_create, NULL, gate_methods, NULL};

/* ---- the server ---- */

static char address[128];
static pthread_t server;
static int ready[2];

static void hear_address(void *data, const char *text)
{
    (void)data;
    snprintf(address, sizeof address, "%s", text);
    must(write(ready[1], "", 1) == 1, "write");
}

static void *serve_thread(void *arg)
{
    must(mp_manager_serve(NULL, hear_address, NULL) == 0, "mp_manager_serve");
    return arg;
}

/* ---- requests: pickles of protocol 2 ---- */

typedef struct program {
    const uint8_t *at, *end;
} program;

static unsigned next(program *p)
{
    return p->at < p->end ? *p->at++ : 0;
}

typedef struct request {
    uint8_t bytes[8192];
    size_t size;
} request;

static void add(request *r, const void *data, size_t size)
{
    if (sizeof r->bytes - r->size < size)
        return;
    memcpy(r->bytes + r->size, data, size);
    r->size += size;
}

#define ADD(r, literal) add(r, literal, sizeof(literal) - 1)

static void add_str(request *r, const char *text)
{
    uint8_t n = (uint8_t)strlen(text);
    ADD(r, "X");
    add(r, &n, 1);
    ADD(r, "\0\0\0");
    add(r, text, n);
}

static void add_int(request *r, unsigned which)
{
    static const char *const some[] = {
        "M\xff\xff",
        "J\xff\xff\xff\xff",
        "J\xfe\xff\xff\xff",
        "J\xff\xff\xff\x7f",
        "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    };
    uint8_t small[2] = {'K', (uint8_t)(which & 15)};
    if (which < 128)
        add(r, small, 2);
    else if (which % 6 == 5)
        ADD(r, "\x8a\x08\0\0\0\0\0\0\0\x80"); /* the least one */
    else
        add(r, some[which % 6], strlen(some[which % 6]));
}

static void add_float(request *r, unsigned which)
{
    static const double some[] = {0, 0.001, -1, 1e300, 0.002};
    double d = which % 7 == 5   ? __builtin_nan("")
               : which % 7 == 6 ? __builtin_inf()
                                : some[which % 7];
    uint64_t bits;
    uint8_t bytes[9] = {'G'};
    memcpy(&bits, &d, sizeof bits);
    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    add(r, bytes, sizeof bytes);
}

/* An argument, of which some are containers of some more. */
static void add_arg(request *r, program *p, int depth)
{
    static const char *const names[] = {"a", "b", "parties", "n_waiting", "broken", "value"};
    unsigned what = next(p);
    switch (depth > 3 ? what % 5 : what % 12) {
    case 0:
        ADD(r, "N");
        break;
    case 1:
        ADD(r, "\x88");
        break;
    case 2:
        ADD(r, "\x89");
        break;
    case 3:
        add_int(r, next(p));
        break;
    case 4:
        add_float(r, next(p));
        break;
    case 5:
        add_str(r, names[next(p) % COUNT_OF(names)]);
        break;
    case 6:
    case 7: /* a list, or a tuple */
        add(r, what % 12 == 6 ? "](" : "(", what % 12 == 6 ? 2 : 1);
        for (unsigned n = next(p) % 4; n--;)
            add_arg(r, p, depth + 1);
        add(r, what % 12 == 6 ? "e" : "t", 1);
        break;
    case 8: /* a dict */
        ADD(r, "}(");
        for (unsigned n = next(p) % 3; n--;) {
            add_int(r, next(p));
            add_arg(r, p, depth + 1);
        }
        ADD(r, "u");
        break;
    case 9: /* a slice */
    case 10:
        ADD(r, "cbuiltins\nslice\n");
        for (int i = 0; i < 3; i++) {
            unsigned which = next(p);
            if (which % 4 == 0)
                ADD(r, "N");
            else
                add_int(r, which);
        }
        ADD(r, "\x87R");
        break;
    default:
        ADD(r, "ccollections\nOrderedDict\n)R");
    }
}

static void add_args(request *r, program *p)
{
    static const char *const names[] = {"timeout", "block", "blocking", "n", "reverse", "default"};
    unsigned how = next(p);
    ADD(r, "(");
    for (unsigned n = how % 4; n--;)
        add_arg(r, p, 0);
    ADD(r, "t}(");
    if (how & 0x40) {
        add_str(r, names[next(p) % COUNT_OF(names)]);
        add_arg(r, p, 0);
    }
    ADD(r, "u");
}

static void begin(request *r, unsigned id, const char *method)
{
    char text[16];
    r->size = 4;
    ADD(r, "\x80\x02(");
    snprintf(text, sizeof text, "%x", id);
    if (id)
        add_str(r, text);
    else
        ADD(r, "N");
    add_str(r, method);
}

/* Whoever does not read or is gone gets a part. */
static void send_request(int fd, request *r)
{
    ADD(r, "t.");
    size_t n = r->size - 4;
    r->bytes[0] = r->bytes[1] = 0;
    r->bytes[2] = (uint8_t)(n >> 8);
    r->bytes[3] = (uint8_t)n;
    (void)!send(fd, r->bytes, r->size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- clients ---- */

static int waiting; /* to be accepted, while the server is held: more than its backlog would hang */

static int open_client(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(address);
    request r;
    must(address[0] == '@' && n < sizeof to.sun_path, "not an abstract address");
    memcpy(to.sun_path + 1, address + 1, n - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && fd < 200, "descriptors leak");
    waiting++;
    must(connect(fd, (struct sockaddr *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0,
         "a client cannot connect");
    begin(&r, 0, "accept_connection");
    ADD(&r, "(");
    add_str(&r, name);
    ADD(&r, "t}");
    send_request(fd, &r);
    return fd;
}

static void close_client(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void read_exactly(int fd, uint8_t *to, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t n = TEMP_FAILURE_RETRY(read(fd, to + have, size - have));
        must(n > 0, "no answer");
        have += (size_t)n;
    }
}

static void read_answer(int fd)
{
    static uint8_t answer[8192];
    uint8_t head[4];
    read_exactly(fd, head, sizeof head);
    size_t n = (size_t)head[2] << 8 | head[3];
    must(!head[0] && !head[1] && n <= sizeof answer, "an answer is too long");
    read_exactly(fd, answer, n);
}

static void hold(int control)
{
    uint8_t byte;
    request r;
    begin(&r, 1, "hold");
    ADD(&r, ")}");
    send_request(control, &r);
    read_exactly(held[0], &byte, 1);
}

/* The server accepts after it has looked at all clients: when two have come in, it has seen what there was. */
static void release(int control)
{
    must(TEMP_FAILURE_RETRY(write(go[1], "", 1)) == 1, "write");
    read_answer(control);
    for (int i = 0; i < 2; i++) {
        int fd = open_client("fuzz");
        read_answer(fd);
        close(fd);
    }
    waiting = 0;
}

/* ---- the program ---- */

static const char *const types[] = {"Gate",      "dict",  "list",      "Namespace",
                                    "Value",     "Array", "Queue",     "JoinableQueue",
                                    "Lock",      "RLock", "Semaphore", "BoundedSemaphore",
                                    "Condition", "Event", "Barrier",   "Iterator"};

static const char *const methods[] = {
    "__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__",    "__iter__",
    "__ior__",     "get",         "keys",        "values",       "items",      "copy",
    "pop",         "popitem",     "setdefault",  "update",       "clear",      "__getattribute__",
    "__setattr__", "__delattr__", "__add__",     "__mul__",      "__imul__",   "append",
    "extend",      "insert",      "remove",      "index",        "count",      "reverse",
    "sort",        "set",         "__next__",    "send",         "acquire",    "release",
    "locked",      "get_value",   "wait",        "notify",       "notify_all", "is_set",
    "reset",       "abort",       "put",         "put_nowait",   "get_nowait", "qsize",
    "empty",       "full",        "task_done",   "join",         "#GETVALUE",  "__str__",
    "nothing"};

/* One object of each type, in the order of `types`: their ids are 1, 2, 3, ... */
static void create_all(int control)
{
    static const char *const args[COUNT_OF(types)] = {
        [2] = "](K\3K\1K\2e", [4] = "K\1K\2", [5] = "K\1](K\3K\4e", [6] = "K\2",    [7] = "K\2",
        [10] = "K\1",         [11] = "K\1",   [14] = "K\2",         [15] = "](K\1e"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        request r;
        begin(&r, 0, "create");
        ADD(&r, "(");
        add_str(&r, types[i]);
        if (args[i])
            add(&r, args[i], strlen(args[i]));
        ADD(&r, "t}");
        send_request(control, &r);
        read_answer(control);
    }
}

/* Of those in C, the server knows which references are whose. */
static const char *kind_of(int client)
{
    return client & 1 ? "fuzz" : "multiproc";
}

static void do_one(program *p, int *fds, int control)
{
    unsigned what = next(p), who = what >> 6, object;
    char id[16];
    request r;
    if (waiting >= MOST_WAITING) {
        release(control);
        hold(control);
    }
    if (fds[who] < 0)
        fds[who] = open_client(kind_of((int)who));
    switch (what % 8) {
    case 0: /* create */
        begin(&r, 0, "create");
        ADD(&r, "(");
        add_str(&r, types[1 + next(p) % (COUNT_OF(types) - 1)]);
        for (unsigned n = next(p) % 3; n--;)
            add_arg(&r, p, 0);
        ADD(&r, "t}");
        send_request(fds[who], &r);
        break;
    case 1: /* references */
        begin(&r, 0, what & 8 ? "incref" : "decref");
        snprintf(id, sizeof id, "%x", 2 + next(p) % 24);
        add_str(&r, id);
        ADD(&r, "\x85}");
        send_request(fds[who], &r);
        break;
    case 2:
        close_client(&fds[who]);
        break;
    case 3:
        while (recv(fds[who], r.bytes, sizeof r.bytes, MSG_DONTWAIT) > 0)
            ;
        break;
    case 4:
        release(control);
        hold(control);
        break;
    default:
        object = 2 + next(p) % 24; /* what is read first must not be up to the compiler */
        begin(&r, object, methods[next(p) % COUNT_OF(methods)]);
        add_args(&r, p);
        send_request(fds[who], &r);
    }
}

static void visit(void)
{
    mp_manager *m = mp_manager_connect(address, NULL, 0);
    must(m, "the server does not answer a good client");
    must(mp_manager_count(m) >= 1, "the server does not count its objects");
    must(mp_manager_shutdown(m) == 0, "the server does not end");
    mp_manager_free(m);
    must(pthread_join(server, NULL) == 0, "pthread_join");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    program p = {data, data + size};
    int fds[CLIENTS];
    uint8_t byte;
    if (!held[1])
        must(pipe2(held, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0 &&
                 pipe2(ready, O_CLOEXEC) == 0 && mp_manager_register(&gate) == 0,
             "the beginning");
    must(pthread_create(&server, NULL, serve_thread, NULL) == 0, "pthread_create");
    read_exactly(ready[0], &byte, 1);
    int control = open_client("fuzz");
    read_answer(control);
    create_all(control);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = open_client(kind_of(i));
        read_answer(fds[i]);
    }
    unsigned ends = next(&p);
    hold(control);
    for (int i = 0; i < MOST_OPS && p.at < p.end; i++)
        do_one(&p, fds, control);
    release(control);
    for (int i = 0; i < CLIENTS && ends & 7; i++)
        close_client(&fds[i]);
    visit();
    for (int i = 0; i < CLIENTS; i++)
        close_client(&fds[i]);
    close(control);
    return 0;
}
