/* SPDX-License-Identifier: MIT */
/* Owns the tests of listeners and clients: addresses, keys, and peers that mean no good. */
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#define SECONDS MP_SECONDS(20)

static mp_listener *listening(const char *address, const char *key)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = key;
    o.key_size = key ? strlen(key) : 0;
    mp_listener *l = mp_listener_new(address, &o);
    if (!l)
        harness_fail(__FILE__, __LINE__, "%s: %s", mp_error_name(mp_error_code()),
                     mp_error_detail());
    return l;
}

typedef struct call {
    const char *address, *key;
    mp_time timeout;
    mp_connection *connection;
    int error;
    char detail[200];
    pthread_t thread;
} call;

static void *connect_thread(void *arg)
{
    call *c = arg;
    mp_client_options o = MP_CLIENT_OPTIONS_INIT;
    o.key = c->key;
    o.key_size = c->key ? strlen(c->key) : 0;
    o.timeout = c->timeout;
    c->connection = mp_client(c->address, &o);
    c->error = c->connection ? 0 : mp_error_code();
    snprintf(c->detail, sizeof c->detail, "%s", mp_error_detail());
    return NULL;
}

static void connecting(call *c, const char *address, const char *key)
{
    *c = (call){.address = address, .key = key, .timeout = SECONDS};
    EXPECT_OK(pthread_create(&c->thread, NULL, connect_thread, c));
}

static void talk(mp_listener *l, const char *key)
{
    call c;
    mp_connection *server;
    mp_value *v;
    connecting(&c, mp_listener_address(l), key);
    EXPECT_OK(mp_listener_accept(l, &server, SECONDS));
    pthread_join(c.thread, NULL);
    EXPECT_OK(c.error);
    EXPECT_OK(mp_connection_send(c.connection, mp_value_str("hello"), SECONDS));
    EXPECT_OK(mp_connection_recv(server, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "'hello'");
    char big[1000] = {0}; /* larger than a message of the handshake may be */
    EXPECT_OK(mp_connection_send_bytes(server, big, sizeof big, SECONDS));
    EXPECT_EQ(mp_connection_recv_bytes(c.connection, big, sizeof big, SECONDS), sizeof big);
    mp_connection_free(server);
    EXPECT_EQ(mp_connection_recv(c.connection, &v, SECONDS), MP_EOF);
    mp_connection_free(c.connection);
}

TEST(every_kind_of_address)
{
    char path[64], abstract[64];
    snprintf(path, sizeof path, "/tmp/mp_test_%d", (int)getpid());
    snprintf(abstract, sizeof abstract, "@mp_test_%d", (int)getpid());
    const char *addresses[] = {":0", "127.0.0.1:0", "localhost:0", "[::1]:0", path, abstract, NULL};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        mp_listener *l = mp_listener_new(addresses[i], NULL);
        if (!l && addresses[i] && addresses[i][0] == '[')
            continue; /* a machine without IPv6 */
        EXPECT(l);
        talk(l, NULL);
        mp_listener_free(l);
    }
    EXPECT(access(path, F_OK) != 0); /* it was removed */
}

TEST(what_is_no_address)
{
    static const struct {
        const char *address;
        int error;
    } cases[] = {
        {"", -EINVAL},           {"nothing", -EINVAL},           {"host:port", -EINVAL},
        {"127.0.0.1:", -EINVAL}, {"/no/such/folder/x", -ENOENT}, {"256.1.1.1.1:5", -ENOENT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EXPECT(!mp_listener_new(cases[i].address, NULL));
        EXPECT_EQ(mp_error_code(), cases[i].error);
        EXPECT(!mp_client(cases[i].address, NULL));
        EXPECT_EQ(mp_error_code(), cases[i].error);
    }
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[0] = '@';
    longest[299] = 0;
    EXPECT(!mp_listener_new(longest, NULL));
    EXPECT_EQ(mp_error_code(), -EINVAL);
    EXPECT(!mp_client("127.0.0.1:1", NULL));
    EXPECT_EQ(mp_error_code(), -ECONNREFUSED);
    mp_listener *l = mp_listener_new("@mp_twice", NULL);
    EXPECT(!mp_listener_new("@mp_twice", NULL));
    EXPECT_EQ(mp_error_code(), -EADDRINUSE);
    mp_listener_free(l);
}

TEST(time_limits_and_closing)
{
    mp_connection *c;
    mp_listener *l = mp_listener_new(NULL, NULL);
    EXPECT_EQ(mp_listener_accept(l, &c, MP_NOWAIT), -ETIMEDOUT);
    EXPECT_EQ(mp_listener_accept(l, &c, MP_MS(20)), -ETIMEDOUT);
    mp_waitable w = MP_WAIT_FD(mp_listener_fd(l));
    EXPECT_EQ(mp_wait(&w, 1, MP_NOWAIT), 0);
    mp_connection *peer = mp_client(mp_listener_address(l), NULL);
    EXPECT(peer);
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    EXPECT_OK(mp_listener_accept(l, &c, MP_NOWAIT));
    mp_connection_free(c);
    mp_connection_free(peer);
    mp_listener_close(l);
    EXPECT_EQ(mp_listener_accept(l, &c, MP_NOWAIT), MP_ECLOSED);
    EXPECT_EQ(mp_listener_fd(l), MP_ECLOSED);
    mp_listener_free(l);
}

static void *close_soon(void *listener)
{
    mp_wait(NULL, 0, MP_MS(50));
    mp_listener_close(listener);
    return NULL;
}

TEST(closing_ends_an_accept)
{
    pthread_t thread;
    mp_connection *c;
    mp_listener *l = mp_listener_new(":0", NULL);
    EXPECT_OK(pthread_create(&thread, NULL, close_soon, l));
    EXPECT_EQ(mp_listener_accept(l, &c, MP_FOREVER), MP_ECLOSED);
    pthread_join(thread, NULL);
    mp_listener_free(l);
}

#ifdef MULTIPROC_CRYPTO

TEST(a_key)
{
    mp_listener *l = listening(":0", "secret");
    talk(l, "secret");
    talk(l, "secret");
    mp_listener_free(l);
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    char key[257] = {1};
    o.key = key;
    EXPECT(!mp_listener_new(NULL, &o));
    EXPECT_EQ(mp_error_code(), -EINVAL);
    o.key_size = 257;
    EXPECT(!mp_listener_new(NULL, &o));
    EXPECT_EQ(mp_error_code(), -EINVAL);
}

TEST(a_wrong_key)
{
    mp_listener *l = listening(NULL, "secret");
    mp_connection *server;
    call c;
    connecting(&c, mp_listener_address(l), "another");
    EXPECT_EQ(mp_listener_accept(l, &server, SECONDS), -EACCES);
    EXPECT_HAS(mp_error_detail(), "another key");
    pthread_join(c.thread, NULL);
    EXPECT_EQ(c.error, -EACCES);
    EXPECT_HAS(c.detail, "refused the key");
    connecting(&c, mp_listener_address(l), NULL); /* a client that thinks that there is none */
    EXPECT_EQ(mp_listener_accept(l, &server, MP_MS(50)), -ETIMEDOUT);
    pthread_join(c.thread, NULL);
    EXPECT_OK(c.error);
    EXPECT_OK(mp_connection_send(c.connection, mp_value_int(1), SECONDS));
    EXPECT_EQ(mp_listener_accept(l, &server, SECONDS), -EACCES);
    mp_connection_free(c.connection);
    talk(l, "secret");
    mp_listener_free(l);
    l = listening(NULL, NULL); /* and the other way round */
    connecting(&c, mp_listener_address(l), "secret");
    EXPECT_OK(mp_listener_accept(l, &server, SECONDS));
    EXPECT_OK(mp_connection_send(server, mp_value_int(1), SECONDS));
    pthread_join(c.thread, NULL);
    EXPECT_EQ(c.error, -EPROTO);
    mp_connection_free(server);
    mp_listener_free(l);
}

/* A peer that speaks for itself. */
static int raw(const mp_listener *l)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *address = mp_listener_address(l);
    memcpy(name.sun_path + 1, address + 1, strlen(address + 1));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_OK(connect(fd, (struct sockaddr *)&name,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))));
    return fd;
}

TEST(half_open_peers_do_not_block_a_good_one)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = "secret";
    o.key_size = 6;
    o.handshake = MP_SECONDS(2);
    o.half_open = 64;
    mp_listener *l = mp_listener_new(NULL, &o);
    int fds[60];
    for (int i = 0; i < 60; i++) {
        fds[i] = raw(l);
        if (i % 3 == 0)
            EXPECT_EQ(write(fds[i], "\0\0\0\44{sha", 8), 8); /* and never the rest */
    }
    talk(l, "secret");
    mp_connection *server;
    int before = harness_count_fds();
    EXPECT(before > 2 * 60);
    EXPECT_EQ(mp_listener_accept(l, &server, MP_SECONDS(3)), -ETIMEDOUT); /* their time is up */
    EXPECT_EQ(harness_count_fds(), before - 60);
    for (int i = 0; i < 60; i++)
        close(fds[i]);
    talk(l, "secret");
    mp_listener_free(l);
}

TEST(more_half_open_peers_than_are_allowed)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = "secret";
    o.key_size = 6;
    o.handshake = MP_MS(300);
    o.half_open = 4;
    mp_listener *l = mp_listener_new(NULL, &o);
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = raw(l);
    talk(l, "secret"); /* after five rounds of four */
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    mp_listener_free(l);
}

TEST(garbage_is_refused_and_costs_nothing)
{
    static const struct {
        const char *bytes;
        size_t size;
        int result; /* of the accept */
    } cases[] = {
        {"", 0, -ETIMEDOUT}, /* hangs up */
        {"\0\0\0\0", 4, -EACCES},
        {"\0\0\0\3abc", 7, -EACCES},
        {"\177\377\377\377", 4, -EACCES}, /* 2 GiB */
        {"\377\377\377\377\377\377\377\377\377\377\377\377", 12, -EACCES},
        {"\200\0\0\0", 4, -EACCES},
        {"\0\0\1\0", 4, -ETIMEDOUT},                /* 256 bytes that do not come */
        {"\0\0\0\20aaaaaaaaaaaaaaaa", 20, -EACCES}, /* md5, which is not allowed */
        {"GET / HTTP/1.0\r\n\r\n", 18, -EACCES},
    };
    mp_listener *l = listening(NULL, "secret");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mp_connection *server;
        int fd = raw(l);
        if (cases[i].size)
            EXPECT_EQ(write(fd, cases[i].bytes, cases[i].size), (int)cases[i].size);
        if (!cases[i].size)
            close(fd);
        EXPECT_EQ(mp_listener_accept(l, &server, MP_MS(100)), cases[i].result);
        if (cases[i].size)
            close(fd);
    }
    talk(l, "secret");
    mp_listener_free(l);
}

TEST(a_replayed_handshake)
{
    mp_listener *l = listening(NULL, "secret"), *between = listening(NULL, NULL);
    mp_connection *c, *server;
    call good;
    char challenge[256], answer[256];
    /* somebody between a client and the listener keeps what the client answers */
    connecting(&good, mp_listener_address(between), "secret");
    EXPECT_OK(mp_listener_accept(between, &c, SECONDS));
    mp_connection *up = mp_client(mp_listener_address(l), NULL);
    EXPECT_EQ(mp_listener_accept(l, &server, MP_MS(50)), -ETIMEDOUT);
    int64_t n = mp_connection_recv_bytes(up, challenge, sizeof challenge, SECONDS);
    EXPECT_OK(mp_connection_send_bytes(c, challenge, (size_t)n, SECONDS));
    n = mp_connection_recv_bytes(c, answer, sizeof answer, SECONDS);
    EXPECT(n > 0);
    mp_connection_free(up);
    mp_connection_free(c);
    pthread_join(good.thread, NULL);
    /* and says it again: to another challenge it is no answer */
    up = mp_client(mp_listener_address(l), NULL);
    EXPECT_OK(mp_connection_send_bytes(up, answer, (size_t)n, SECONDS));
    EXPECT_EQ(mp_listener_accept(l, &server, SECONDS), -EACCES);
    mp_connection_free(up);
    mp_listener_free(between);
    mp_listener_free(l);
}

MP_TARGET(serve_one, (int, unused))
{
    (void)unused;
    return 0;
}

typedef struct flood {
    struct sockaddr_un address;
    socklen_t size;
    _Atomic int over;
    pthread_t threads[4];
} flood;

static void *flood_thread(void *arg)
{
    flood *f = arg;
    while (!f->over) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)!connect(fd, (struct sockaddr *)&f->address, f->size);
        close(fd);
    }
    return NULL;
}

TEST(a_flood_of_peers_does_not_hold_up_the_time_limit)
{
    flood f = {.address.sun_family = AF_UNIX};
    mp_listener *l = listening(NULL, "key");
    mp_connection *c;
    const char *name = mp_listener_address(l);
    f.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    memcpy(f.address.sun_path + 1, name + 1, strlen(name) - 1);
    for (int i = 0; i < 4; i++)
        EXPECT_OK(pthread_create(&f.threads[i], NULL, flood_thread, &f));
    for (int i = 0; i < 10; i++) {
        struct timespec before, after;
        clock_gettime(CLOCK_MONOTONIC, &before);
        EXPECT_EQ(mp_listener_accept(l, &c, MP_MS(20)), -ETIMEDOUT);
        clock_gettime(CLOCK_MONOTONIC, &after);
        EXPECT(after.tv_sec - before.tv_sec < 2);
    }
    f.over = 1;
    mp_listener_free(l); /* those that still wait for room are refused */
    for (int i = 0; i < 4; i++)
        pthread_join(f.threads[i], NULL);
}

TEST(a_forked_child_closes_for_itself)
{
    call c;
    mp_connection *server;
    mp_listener *l = listening(NULL, NULL);
    pid_t child = fork();
    if (child == 0) {
        mp_listener_free(l);
        _exit(0);
    }
    EXPECT_EQ(waitpid(child, NULL, 0), child);
    connecting(&c, mp_listener_address(l), NULL);
    EXPECT_OK(mp_listener_accept(l, &server, SECONDS));
    pthread_join(c.thread, NULL);
    mp_connection_free(server);
    mp_connection_free(c.connection);
    mp_listener_free(l);
}

static void *accept_thread(void *arg)
{
    mp_connection *c;
    return (void *)(intptr_t)(mp_listener_accept(arg, &c, MP_FOREVER) == MP_ECLOSED);
}

TEST(a_forked_child_ends_its_own_accept)
{
    int status = 0;
    mp_listener *l = listening(NULL, NULL);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        void *good = NULL;
        pthread_create(&thread, NULL, accept_thread, l);
        mp_wait(NULL, 0, MP_MS(50)); /* whether it polls by now or not */
        mp_listener_close(l);
        pthread_join(thread, &good);
        _exit(good ? 0 : 1);
    }
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    mp_listener_free(l);
}

TEST(a_forked_child_accepts_for_itself)
{
    mp_listener *l = listening(NULL, "secret");
    int half = raw(l); /* half open in the parent when it forks */
    mp_connection *server;
    EXPECT_EQ(mp_listener_accept(l, &server, MP_MS(20)), -ETIMEDOUT);
    EXPECT_OK(joined(started(MP_PROCESS(serve_one, 0))));
    pid_t pid = fork();
    if (pid == 0) {
        talk(l, "secret");
        _exit(0);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        ;
    EXPECT_EQ(status, 0);
    talk(l, "secret");
    close(half);
    mp_listener_free(l);
}

#else

TEST(no_keys_in_this_build)
{
    mp_listener_options o = MP_LISTENER_OPTIONS_INIT;
    o.key = "secret";
    o.key_size = 6;
    EXPECT(!mp_listener_new(NULL, &o));
    EXPECT_EQ(mp_error_code(), -EOPNOTSUPP);
    (void)listening;
}

#endif
