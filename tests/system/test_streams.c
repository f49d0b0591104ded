/* SPDX-License-Identifier: MIT */
/* Owns the tests of connections over byte streams: framing, time limits in the middle, what damage does. */
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "harness.h"

typedef struct ends {
    mp_connection *first, *second;
} ends;

static ends pair(void)
{
    int fds[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    ends e = {mp_connection_from_fd(fds[0], 1, 1), mp_connection_from_fd(fds[1], 1, 1)};
    EXPECT(e.first && e.second);
    return e;
}

static void part(ends e)
{
    mp_connection_free(e.first);
    mp_connection_free(e.second);
}

typedef struct receiver {
    mp_connection *connection;
    mp_time timeout;
    int result;
    pthread_t thread;
} receiver;

static void *receive_thread(void *arg)
{
    receiver *r = arg;
    mp_value *v;
    r->result = mp_connection_recv(r->connection, &v, r->timeout);
    return NULL;
}

TEST(waiting_for_another_thread_counts)
{
    ends e = pair();
    receiver r[3];
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 3; i++) {
        r[i] = (receiver){.connection = e.first, .timeout = MP_MS(500 * (i + 1))};
        EXPECT_OK(pthread_create(&r[i].thread, NULL, receive_thread, &r[i]));
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(r[i].thread, NULL);
        EXPECT_EQ(r[i].result, -ETIMEDOUT);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    EXPECT((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 <
           1900); /* 1500, and not one after the other */
    part(e);
}

TEST(messages_keep_their_bounds)
{
    ends e = pair();
    char data[16];
    mp_value *v;
    EXPECT_OK(mp_connection_send_bytes(e.first, "one", 3, MP_FOREVER));
    EXPECT_OK(mp_connection_send_bytes(e.first, "", 0, MP_FOREVER));
    mp_bytes parts[] = {{"tw", 2}, {"", 0}, {"o!", 2}};
    EXPECT_OK(mp_connection_send_parts(e.first, parts, 3, MP_FOREVER));
    EXPECT_OK(mp_connection_send(e.first, mp_value_str("three"), MP_FOREVER));
    EXPECT_EQ(mp_connection_recv_bytes(e.second, data, sizeof data, MP_FOREVER), 3);
    EXPECT_EQ(mp_connection_recv_bytes(e.second, data, sizeof data, MP_FOREVER), 0);
    EXPECT_EQ(mp_connection_recv_bytes(e.second, data, 2, MP_FOREVER), -EMSGSIZE);
    EXPECT_EQ(mp_connection_pending(e.second), 4);
    EXPECT_EQ(mp_connection_recv_bytes(e.second, data, sizeof data, MP_FOREVER), 4);
    EXPECT(memcmp(data, "two!", 4) == 0);
    EXPECT_OK(mp_connection_recv(e.second, &v, MP_FOREVER));
    EXPECT_STR(harness_repr(v), "'three'");
    EXPECT_EQ(mp_connection_poll(e.second, MP_NOWAIT), 0);
    mp_connection_close(e.first);
    EXPECT_EQ(mp_connection_recv(e.second, &v, MP_FOREVER), MP_EOF);
    EXPECT_EQ(mp_connection_send_bytes(e.second, "x", 1, MP_FOREVER), -EPIPE);
    part(e);
}

TEST(the_time_is_up_in_the_middle_of_a_message)
{
    int fds[2];
    char data[16];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    mp_connection *c = mp_connection_from_fd(fds[1], 1, 1);
    const char *wire = "\0\0\0\5hello\0\0\0\1!"; /* byte by byte */
    for (int i = 0; i < 9; i++) {
        EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_MS(1)), -ETIMEDOUT);
        EXPECT_EQ(write(fds[0], wire + i, 1), 1);
    }
    EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_MS(1)), 5);
    EXPECT(memcmp(data, "hello", 5) == 0);
    EXPECT_EQ(write(fds[0], wire + 9, 4), 4);
    EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_MS(1)), -ETIMEDOUT);
    EXPECT_EQ(write(fds[0], wire + 13, 1), 1);
    EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_FOREVER), 1);
    EXPECT_EQ(write(fds[0], wire, 7), 7);
    close(fds[0]);
    EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_FOREVER), -EBADMSG);
    EXPECT_EQ(mp_connection_recv_bytes(c, data, sizeof data, MP_FOREVER), MP_EOF);
    mp_connection_free(c);
}

TEST(a_message_that_nobody_reads_ends_the_sending)
{
    ends e = pair();
    size_t size = 8 << 20;
    char *data = calloc(1, size), got[4];
    EXPECT_EQ(mp_connection_send_bytes(e.first, data, size, MP_MS(20)), -EPIPE);
    EXPECT_HAS(mp_error_detail(), "middle");
    EXPECT_EQ(mp_connection_send_bytes(e.first, "x", 1, MP_FOREVER), -EPIPE);
    mp_buffer *buffer;
    EXPECT_EQ(mp_connection_recv_buffer(e.second, &buffer, MP_FOREVER), -EBADMSG);
    EXPECT_EQ(mp_connection_recv_bytes(e.second, got, sizeof got, MP_FOREVER), MP_EOF);
    free(data);
    part(e);
}

TEST(absurd_lengths_cost_nothing)
{
    static const struct {
        const char *wire;
        size_t size;
        int result;
    } cases[] = {
        {"\x80\0\0\0", 4, -EBADMSG}, /* negative */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, MP_ELIMIT},
        {"\x7f\xff\xff\xff!", 5, -EBADMSG},                    /* 2 GiB, and then the end */
        {"\xff\xff\xff\xff\0\0\x10\0\0\0\0\0!", 13, -EBADMSG}, /* 16 TiB */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fds[2];
        mp_buffer *buffer;
        EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        mp_connection *c = mp_connection_from_fd(fds[1], 1, 1);
        EXPECT_EQ(write(fds[0], cases[i].wire, cases[i].size), (int)cases[i].size);
        close(fds[0]);
        EXPECT_EQ(mp_connection_recv_buffer(c, &buffer, MP_FOREVER), cases[i].result);
        mp_connection_free(c);
    }
}

MP_TARGET(echo, (mp_connection *, c))
{
    mp_buffer *buffer;
    while (mp_connection_recv_buffer(c, &buffer, MP_FOREVER) == 0) {
        if (mp_connection_send_bytes(c, mp_buffer_data(buffer), mp_buffer_size(buffer), MP_FOREVER))
            return 1;
        mp_buffer_free(buffer);
    }
    return 0;
}

TEST_METHODS(a_stream_travels_to_a_child)
{
    ends e = pair();
    size_t size = 3 << 20;
    unsigned char *data = malloc(size), *back = malloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 7 + i / 251);
    mp_process *p = started(MP_PROCESS_IN(mp_get_context(method), echo, e.second));
    mp_connection_close(e.second);
    for (size_t n = 1; n <= size; n = n * 3 + 1) {
        EXPECT_OK(mp_connection_send_bytes(e.first, data, n, MP_FOREVER));
        EXPECT_EQ(mp_connection_recv_bytes(e.first, back, size, MP_FOREVER), (int64_t)n);
        EXPECT(memcmp(data, back, n) == 0);
    }
    EXPECT_OK(mp_connection_shutdown_send(e.first));
    EXPECT_OK(joined(p)); /* it has heard of the end, also where it has a copy of ours */
    free(data);
    free(back);
    part(e);
}

TEST(pipes_and_handles)
{
    int fds[2];
    char data[8];
    EXPECT_OK(pipe(fds));
    mp_connection *in = mp_connection_from_fd(fds[0], 1, 0);
    mp_connection *out = mp_connection_from_fd(fds[1], 0, 1);
    EXPECT_EQ(mp_connection_recv_bytes(in, data, sizeof data, MP_MS(1)), -ETIMEDOUT);
    EXPECT_OK(mp_connection_send_bytes(out, "pipe", 4, MP_MS(100)));
    EXPECT_EQ(mp_connection_recv_bytes(in, data, sizeof data, MP_MS(100)), 4);
    EXPECT_EQ(mp_connection_send_bytes(in, "pipe", 4, MP_NOWAIT), MP_EDIRECTION);
    mp_lock *lock = mp_lock_new();
    EXPECT_EQ(mp_connection_send(out, mp_value_lock(lock), MP_NOWAIT), MP_ETYPE);
    mp_lock_free(lock);
    mp_connection_free(in);
    mp_connection_free(out);
    EXPECT(!mp_connection_from_fd(-1, 1, 1));
    EXPECT_EQ(mp_error_code(), -EBADF);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    EXPECT(!mp_connection_from_fd(udp, 1, 1));
    EXPECT_EQ(mp_error_code(), -EOPNOTSUPP);
    close(udp);
}

MP_TARGET(send_many, (mp_connection *, c), (int64_t, size), (int64_t, count))
{
    char *data = malloc((size_t)size);
    memset(data, (int)size, (size_t)size);
    for (int64_t i = 0; i < count; i++)
        if (mp_connection_send_bytes(c, data, (size_t)size, MP_FOREVER))
            return 1;
    free(data);
    return 0;
}

TEST(polling_gathers_a_message_piece_by_piece)
{
    ends e = pair();
    mp_process *p = started(MP_PROCESS(send_many, e.second, (int64_t)100000, (int64_t)200));
    for (int i = 0; i < 200; i++) {
        mp_buffer *buffer;
        int r;
        while ((r = mp_connection_recv_buffer(e.first, &buffer, MP_NOWAIT)) == -ETIMEDOUT)
            ;
        EXPECT_OK(r);
        EXPECT_EQ(mp_buffer_size(buffer), 100000);
        EXPECT_EQ(((unsigned char *)mp_buffer_data(buffer))[99999], 100000 & 0xff);
        mp_buffer_free(buffer);
    }
    EXPECT_OK(joined(p));
    part(e);
}
