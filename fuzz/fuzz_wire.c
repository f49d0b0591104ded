/* SPDX-License-Identifier: MIT */
/*
 * Owns the fuzz target of what comes over sockets: any bytes are messages or an error, and whoever is
 * attacked serves the next peer.  The first byte chooses who that is: a connection, a listener with a key, a
 * client with a key, both in the middle of their handshake, or the server of a manager.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#define MOST_BYTES ((size_t)1 << 16) /* fits into a socket's buffer */
#define MOST_FDS 100
#define KEY "secret"
#define SECONDS MP_SECONDS(20)
#define GOOD_EVERY 16 /* so often a good client has to get through */

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_wire: %s (errno %d; %s)\n", what, errno, mp_error_detail());
    abort();
}

static bool have_keys;
static unsigned inputs;

/* ---- raw peers ---- */

static void name_of(const char *address, struct sockaddr_un *ret_name, socklen_t *ret_size)
{
    size_t n = strlen(address);
    *ret_name = (struct sockaddr_un){.sun_family = AF_UNIX};
    must(address[0] == '@' && n < sizeof ret_name->sun_path, "not an abstract address");
    memcpy(ret_name->sun_path + 1, address + 1, n - 1);
    *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static int raw_client(const char *address)
{
    struct sockaddr_un name;
    socklen_t size;
    name_of(address, &name, &size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && fd < MOST_FDS, "descriptors leak");
    must(connect(fd, (struct sockaddr *)&name, size) == 0, "a raw client cannot connect");
    return fd;
}

/* The other side may have hung up, or may not read any more. */
static void say(int fd, const void *data, size_t size)
{
    (void)!send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Reads until the other side hangs up, which it has to do. */
static void read_to_end(int fd)
{
    char data[4096];
    struct pollfd p = {fd, POLLIN, 0};
    do
        must(TEMP_FAILURE_RETRY(poll(&p, 1, 20000)) == 1, "the other side does not hang up");
    while (recv(fd, data, sizeof data, MSG_DONTWAIT) > 0);
}

/* ---- a connection ---- */

/* What has to come: the frames of the bytes, one after the other. */
typedef struct frames {
    const uint8_t *data;
    size_t size, at;
} frames;

/* The next frame: its size, or the error that stands for what is there. */
static int64_t next_frame(frames *f, const uint8_t **ret_body)
{
    const uint8_t *p = f->data + f->at;
    size_t left = f->size - f->at;
    if (!left)
        return MP_EOF;
    if (left < 4)
        return -EBADMSG;
    uint64_t n = (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
    size_t head = 4;
    if (n == UINT32_MAX) {
        if (left < 12)
            return -EBADMSG;
        n = 0;
        for (head = 4; head < 12; head++)
            n = n << 8 | p[head];
    } else if (n > INT32_MAX) {
        return -EBADMSG;
    }
    if (n > left - head)
        return n > INT64_MAX ? MP_ELIMIT : -EBADMSG;
    *ret_body = p + head;
    f->at += head + (size_t)n;
    return (int64_t)n;
}

static int64_t receive_any(mp_connection *c, unsigned way, void *data, size_t capacity)
{
    mp_buffer *buffer;
    if (way == 0) {
        int r = mp_connection_recv_buffer(c, &buffer, MP_NOWAIT);
        if (r < 0)
            return r;
        must(mp_buffer_size(buffer) <= capacity, "more has come than was sent");
        memcpy(data, mp_buffer_data(buffer), mp_buffer_size(buffer));
        capacity = mp_buffer_size(buffer);
        mp_buffer_free(buffer);
        return (int64_t)capacity;
    }
    if (way == 2) { /* first into a buffer that may be too small */
        int64_t r = mp_connection_recv_bytes(c, data, 7, MP_NOWAIT);
        if (r != -EMSGSIZE)
            return r;
        must(mp_connection_pending(c) > 7, "a message that is too long is lost");
    }
    return mp_connection_recv_bytes(c, data, capacity, MP_NOWAIT);
}

/* Receives what the frames are; ends with their error, or -ETIMEDOUT while more may come. */
static int64_t receive_frames(mp_connection *c, frames *f, unsigned way)
{
    static uint8_t data[MOST_BYTES];
    const uint8_t *body = NULL;
    for (;;) {
        int64_t n = receive_any(c, way, data, sizeof data);
        if (n == -ETIMEDOUT)
            return n;
        int64_t expected = next_frame(f, &body);
        must(n == expected, "a message has another size, or the error is another one");
        if (n < 0)
            return n;
        must(memcmp(data, body, (size_t)n) == 0, "a message has other bytes");
    }
}

/* Values: what they are is for fuzz_value to check. */
static void receive_values(mp_connection *c, size_t most)
{
    mp_value *v;
    for (size_t i = 0; i <= most; i++) {
        int r = mp_connection_recv(c, &v, MP_NOWAIT);
        if (r == 0)
            mp_value_free(v);
        else if (r == MP_EOF || r == -ETIMEDOUT)
            return;
    }
}

static void attack_connection(unsigned how, const uint8_t *data, size_t size)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    must(fds[1] < MOST_FDS, "descriptors leak");
    mp_connection *c = mp_connection_from_fd(fds[0], 1, 1);
    must(c, "mp_connection_from_fd");
    frames f = {data, size, 0};
    size_t piece = how & 4 ? 1 + size / 7 : size, sent = 0;
    int64_t r = -ETIMEDOUT;
    while (sent < size && r == -ETIMEDOUT) {
        size_t n = piece < size - sent ? piece : size - sent;
        say(fds[1], data + sent, n);
        sent += n;
        if ((how & 3) == 3)
            receive_values(c, size);
        else
            r = receive_frames(c, &f, how & 3);
    }
    shutdown(fds[1], SHUT_WR);
    if ((how & 3) == 3)
        receive_values(c, size);
    else if (r == -ETIMEDOUT)
        must(receive_frames(c, &f, how & 3) != -ETIMEDOUT, "the end is not seen");
    mp_connection_free(c);
    close(fds[1]);
}

/* ---- a listener ---- */

static mp_listener *keyed_listener(void)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = KEY;
    o.key_size = strlen(KEY);
    o.half_open = 8;
    mp_listener *l = mp_listener_new(NULL, &o);
    have_keys = l != NULL;
    must(l || mp_error_code() == -EOPNOTSUPP, "mp_listener_new");
    return l;
}

typedef struct attempt {
    const char *address;
    mp_time timeout;
    mp_connection *connection;
    int error;
} attempt;

static void *connect_thread(void *arg)
{
    attempt *a = arg;
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    o.key = KEY;
    o.key_size = strlen(KEY);
    o.timeout = a->timeout;
    o.allow_md5 = 1;
    a->connection = mp_client(a->address, &o);
    a->error = a->connection ? 0 : mp_error_code();
    return NULL;
}

static void accept_a_good_one(mp_listener *l)
{
    attempt a = {mp_listener_address(l), SECONDS, NULL, 0};
    mp_connection *server;
    pthread_t thread;
    must(pthread_create(&thread, NULL, connect_thread, &a) == 0, "pthread_create");
    must(mp_listener_accept(l, &server, SECONDS) == 0, "a good client is not accepted");
    pthread_join(thread, NULL);
    must(a.connection, "a good client is refused");
    mp_connection_free(a.connection);
    mp_connection_free(server);
}

/* Accepts as long as there is something to do; nobody can get through who has not proved the key. */
static void accept_nobody(mp_listener *l, bool proved)
{
    mp_connection *c;
    struct pollfd p = {mp_listener_fd(l), POLLIN, 0};
    for (int rounds = 0; poll(&p, 1, 0) == 1; rounds++) {
        int r = mp_listener_accept(l, &c, MP_NOWAIT);
        must(r == -EACCES || r == -ETIMEDOUT || (r == 0 && proved), "anybody is accepted");
        if (r == 0)
            mp_connection_free(c);
        must(rounds < 1000, "a listener is always busy");
    }
}

static void attack_listener(mp_listener *l, unsigned how, const uint8_t *data, size_t size)
{
    int fd = raw_client(mp_listener_address(l));
    size_t first = how & 1 ? size / 2 : size;
    say(fd, data, first);
    accept_nobody(l, false);
    say(fd, data + first, size - first);
    accept_nobody(l, false);
    if (how & 2) {
        shutdown(fd, SHUT_WR);
        accept_nobody(l, false);
        read_to_end(fd);
    }
    close(fd);
    accept_nobody(l, false);
    if (++inputs % GOOD_EVERY == 0)
        accept_a_good_one(l);
}

/* ---- a client ---- */

static int raw_listener(char *ret_address, size_t room)
{
    struct sockaddr_un name;
    socklen_t size;
    snprintf(ret_address, room, "@mp_fuzz_wire_%d", (int)getpid());
    name_of(ret_address, &name, &size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&name, size) == 0 && listen(fd, 8) == 0,
         "a raw listener");
    return fd;
}

/* A client that has the key, and what it connects to: the raw end of its connection. */
static int client_of_raw(attempt *a, pthread_t *ret_thread)
{
    static char address[64];
    static int listener = -1;
    if (listener < 0)
        listener = raw_listener(address, sizeof address);
    a->address = address;
    must(pthread_create(ret_thread, NULL, connect_thread, a) == 0, "pthread_create");
    int fd = TEMP_FAILURE_RETRY(accept(listener, NULL, NULL));
    must(fd >= 0 && fd < MOST_FDS, "descriptors leak");
    return fd;
}

static void join_client(attempt *a, pthread_t thread)
{
    pthread_join(thread, NULL);
    must(!a->connection, "a client believes anybody");
    must(a->error == -EACCES || a->error == -EPROTO || a->error == -ETIMEDOUT,
         "a client fails with an error that is not documented");
}

static void attack_client(unsigned how, const uint8_t *data, size_t size)
{
    pthread_t thread;
    bool hangs = how & 1 && size < 64; /* it says nothing more, which takes its time */
    attempt a = {NULL, hangs ? MP_MS(5) : SECONDS, NULL, 0};
    int fd = client_of_raw(&a, &thread);
    say(fd, data, size);
    if (!hangs)
        shutdown(fd, SHUT_WR);
    read_to_end(fd);
    join_client(&a, thread);
    close(fd);
}

/* ---- a handshake, from its middle on ---- */

/* Hands a message of the handshake on. */
static void relay(int from, int to)
{
    uint8_t message[4 + 256];
    size_t want = 4;
    for (size_t have = 0; have < want;) {
        struct pollfd p = {from, POLLIN, 0};
        must(TEMP_FAILURE_RETRY(poll(&p, 1, 20000)) == 1, "a message does not come");
        ssize_t n = recv(from, message + have, want - have, 0);
        must(n > 0, "a message ends too early");
        have += (size_t)n;
        if (have == 4)
            want = 4 + (size_t)message[3];
    }
    say(to, message, want);
}

/* Both have the key, and talk through somebody between them; after some messages the bytes come instead of the
 * next one.  The client's proof is the third that the listener sees. */
static void attack_handshake(mp_listener *l, unsigned how, const uint8_t *data, size_t size)
{
    pthread_t thread;
    attempt a = {NULL, SECONDS, NULL, 0};
    int ends[2]; /* who says the first message, who gets it */
    unsigned faithful = 1 + how % 4;
    ends[0] = raw_client(mp_listener_address(l));
    ends[1] = client_of_raw(&a, &thread);
    accept_nobody(l, false);
    for (unsigned i = 0; i < faithful; i++) {
        relay(ends[i % 2], ends[1 - i % 2]);
        accept_nobody(l, false);
    }
    int victim = ends[1 - faithful % 2];
    say(victim, data, size);
    accept_nobody(l, faithful >= 3);
    shutdown(ends[0], SHUT_WR);
    shutdown(ends[1], SHUT_WR);
    accept_nobody(l, faithful >= 3);
    read_to_end(ends[1]);
    join_client(&a, thread);
    close(ends[0]);
    close(ends[1]);
    accept_nobody(l, false);
}

/* ---- the server of a manager ---- */

typedef struct server {
    pthread_t thread;
    int tells[2];
    char address[128];
} server;

static void hear_address(void *data, const char *address)
{
    server *s = data;
    snprintf(s->address, sizeof s->address, "%s", address);
    must(write(s->tells[1], "", 1) == 1, "write");
}

static void *serve_thread(void *arg)
{
    server *s = arg;
    must(mp_manager_serve(NULL, hear_address, s) == 0, "mp_manager_serve");
    return NULL;
}

static void server_start(server *s)
{
    char byte;
    must(pipe2(s->tells, O_CLOEXEC) == 0, "pipe2");
    must(pthread_create(&s->thread, NULL, serve_thread, s) == 0, "pthread_create");
    must(TEMP_FAILURE_RETRY(read(s->tells[0], &byte, 1)) == 1, "read");
    close(s->tells[0]);
    close(s->tells[1]);
}

/* (None, "accept_connection", ("fuzz",), {}) */
static const char welcome[] =
    "\0\0\0\x27\x80\x02(NX\x11\0\0\0accept_connectionX\4\0\0\0fuzz\x85}t.";

static void say_framed(int fd, const uint8_t *data, size_t size)
{
    uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                       (uint8_t)size};
    say(fd, head, sizeof head);
    say(fd, data, size);
}

/* Several messages, with two bytes of size each, or one that is all. */
static void say_messages(int fd, unsigned how, const uint8_t *data, size_t size)
{
    while (how & 1 && size > 2) {
        size_t n = (size_t)data[0] << 8 | data[1];
        n = n < size - 2 ? n : size - 2;
        say_framed(fd, data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    if (size)
        say_framed(fd, data, size);
}

/* A good client, which may end the server, and with it what the bytes made it keep. */
static void visit_server(server *s, bool stops, bool may_be_over)
{
    mp_manager *m = mp_manager_connect(s->address, NULL, 0);
    must(m || may_be_over, "the server does not answer a good client");
    if (m && !may_be_over)
        must(mp_manager_count(m) >= 0, "the server does not count its objects");
    if (m && stops)
        must(mp_manager_shutdown(m) == 0 || may_be_over, "the server does not end");
    mp_manager_free(m);
    if (stops)
        pthread_join(s->thread, NULL);
}

static server the_server;
static bool runs;

static void end_server(void)
{
    if (runs)
        visit_server(&the_server, true, false);
}

static void attack_server(unsigned how, const uint8_t *data, size_t size)
{
    if (!runs)
        server_start(&the_server);
    int fd = raw_client(the_server.address);
    say(fd, welcome, sizeof welcome - 1);
    if (how & 2)
        say(fd, data, size); /* without a frame */
    else
        say_messages(fd, how, data, size);
    shutdown(fd, SHUT_WR);
    read_to_end(fd);
    close(fd);
    bool asked = size && memmem(data, size, "shutdown", strlen("shutdown"));
    bool stops = ++inputs % 512 == 0 || asked;
    if (stops || inputs % GOOD_EVERY == 0)
        visit_server(&the_server, stops, asked);
    runs = !stops;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mp_listener *listener;
    static bool begun;
    if (!begun) {
        listener = keyed_listener();
        atexit(end_server);
    }
    begun = true;
    if (!size || size > MOST_BYTES)
        return 0;
    unsigned target = data[0] & 3, how = data[0] >> 2;
    data++;
    size--;
    if (target == 3)
        attack_server(how, data, size);
    else if (target == 1 && have_keys)
        attack_listener(listener, how, data, size);
    else if (target == 2 && have_keys && how & 4)
        attack_handshake(listener, how, data, size);
    else if (target == 2 && have_keys)
        attack_client(how, data, size);
    else
        attack_connection(how, data, size);
    return 0;
}
