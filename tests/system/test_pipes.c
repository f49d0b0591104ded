/* SPDX-License-Identifier: MIT */
/* Pipes: messages, boundaries, ends, limits, handles on their way, waiting on many. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "harness.h"

#define SECONDS MP_SECONDS(20)

static void make(mp_connection **a, mp_connection **b)
{
    EXPECT_OK(mp_pipe(1, a, b));
}

TEST(value_round_trip)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_send(a, mp_list_of(mp_v(42), mp_value_none(), mp_v("hello")), SECONDS));
    EXPECT_EQ(mp_connection_poll(b, MP_NOWAIT), 1);
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "[42, None, 'hello']");
    EXPECT_EQ(mp_connection_recv(b, &v, MP_NOWAIT), -ETIMEDOUT);
    EXPECT_EQ(mp_connection_recv(b, &v, MP_MS(5)), -ETIMEDOUT);
    mp_connection_free(a);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), MP_EOF);
    EXPECT_EQ(mp_connection_send(b, mp_v(1), SECONDS), -EPIPE);
    EXPECT_HAS(mp_error_detail(), "other end");
    mp_connection_free(b);
}

TEST(messages_survive_the_senders_close)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_send(a, mp_v(1), SECONDS)); /* b never reads this one's answer */
    EXPECT_OK(mp_connection_send(b, mp_v(9), SECONDS));
    EXPECT_OK(mp_connection_send(a, mp_v(2), SECONDS));
    mp_connection_free(a); /* with an unread message */
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "1");
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "2");
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), MP_EOF);
    EXPECT_EQ(mp_connection_recv(b, &v, MP_NOWAIT), MP_EOF);
    mp_connection_free(b);
}

TEST(simplex_has_directions)
{
    mp_connection *reader, *writer;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &reader, &writer));
    EXPECT_EQ(mp_connection_readable(reader), 1);
    EXPECT_EQ(mp_connection_writable(reader), 0);
    EXPECT_EQ(mp_connection_send(reader, mp_v(1), SECONDS), MP_EDIRECTION);
    EXPECT_EQ(mp_connection_recv(writer, &v, SECONDS), MP_EDIRECTION);
    EXPECT_EQ(mp_connection_poll(writer, MP_NOWAIT), MP_EDIRECTION);
    EXPECT_OK(mp_connection_send(writer, mp_v(1), SECONDS));
    EXPECT_OK(mp_connection_recv(reader, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "1");
    mp_connection_free(reader);
    EXPECT_EQ(mp_connection_send(writer, mp_v(1), SECONDS), -EPIPE);
    mp_connection_free(writer);
}

TEST(half_close)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_send(a, mp_v(1), SECONDS));
    EXPECT_OK(mp_connection_shutdown_send(a));
    EXPECT_EQ(mp_connection_send(a, mp_v(1), SECONDS), -EPIPE);
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    mp_value_free(v);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), MP_EOF);
    EXPECT_OK(mp_connection_send(b, mp_v(2), SECONDS)); /* the other direction still works */
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "2");
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST(closed_handles_answer)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_close(a));
    EXPECT_OK(mp_connection_close(a));
    EXPECT_EQ(mp_connection_closed(a), 1);
    EXPECT_EQ(mp_connection_send(a, mp_v(1), SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_connection_recv(a, &v, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_connection_poll(a, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_connection_fd(a), MP_ECLOSED);
    mp_waitable w = MP_WAIT_CONNECTION(a);
    EXPECT_EQ(mp_wait(&w, 1, MP_NOWAIT), MP_ECLOSED);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_connection_free(NULL);
}

TEST(bytes_and_small_buffers)
{
    mp_connection *a, *b;
    char data[100];
    make(&a, &b);
    EXPECT_OK(mp_connection_send_bytes(a, "0123456789", 10, SECONDS));
    EXPECT_OK(mp_connection_send_bytes(a, "", 0, SECONDS));
    EXPECT_OK(mp_connection_send_bytes(a, "next", 4, SECONDS));
    EXPECT_EQ(mp_connection_pending(b), -ENOMSG);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, 4, SECONDS), -EMSGSIZE);
    EXPECT_EQ(mp_connection_pending(b), 10);
    EXPECT_EQ(mp_connection_poll(b, MP_NOWAIT), 1);
    mp_waitable w = MP_WAIT_CONNECTION(b);
    EXPECT_EQ(mp_wait(&w, 1, MP_NOWAIT), 1);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, sizeof data, SECONDS), 10);
    EXPECT(memcmp(data, "0123456789", 10) == 0);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, sizeof data, SECONDS), 0);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, 2, SECONDS), -EMSGSIZE);
    EXPECT_OK(mp_connection_drop(b));
    EXPECT_EQ(mp_connection_drop(b), -ENOMSG);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, 2, MP_NOWAIT), -ETIMEDOUT);
    mp_connection_free(a);
    mp_connection_free(b);
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + i / 251 + seed);
}

TEST(every_size_around_the_limits)
{
    static const size_t sizes[] = {1,     511,   512,   513,   4096,    65519,  65520,
                                   65535, 65536, 65537, 70000, 1 << 20, 3 << 20};
    mp_connection *a, *b;
    make(&a, &b);
    unsigned char *data = malloc(3 << 20), *got = malloc(3 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        mp_buffer *buffer;
        mp_value *v;
        size_t size;
        fill(data, n, (unsigned)i);
        EXPECT_OK(mp_connection_send_bytes(a, data, n, SECONDS));
        EXPECT_EQ(mp_connection_recv_bytes(b, got, n, SECONDS), n);
        EXPECT(memcmp(data, got, n) == 0);
        EXPECT_OK(mp_connection_send_bytes(a, data, n, SECONDS));
        EXPECT_EQ(mp_connection_recv_bytes(b, got, n - 1, SECONDS), -EMSGSIZE);
        EXPECT_OK(mp_connection_recv_buffer(b, &buffer, SECONDS));
        EXPECT_EQ(mp_buffer_size(buffer), n);
        EXPECT(memcmp(data, mp_buffer_data(buffer), n) == 0);
        mp_buffer_free(buffer);
        EXPECT_OK(mp_connection_send(a, mp_list_of(mp_v(1), mp_value_bytes(data, n)), SECONDS));
        EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
        EXPECT(memcmp(data, mp_value_get_bytes(mp_value_item(v, 1), &size), n) == 0);
        EXPECT_EQ(size, n);
        mp_value_free(v);
    }
    free(data);
    free(got);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* A view lives as long as the value, not the message. */
TEST(views_outlive_their_message)
{
    mp_connection *a, *b;
    mp_value *v, *kept;
    size_t size;
    make(&a, &b);
    unsigned char *data = malloc(100000);
    fill(data, 100000, 1);
    EXPECT_OK(mp_connection_send(a, mp_list_of(mp_value_bytes(data, 100000), mp_v("x")), SECONDS));
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    kept = mp_value_ref(mp_value_item(v, 0));
    mp_value_free(v);
    mp_connection_free(a);
    mp_connection_free(b);
    EXPECT(memcmp(mp_value_get_bytes(kept, &size), data, 100000) == 0);
    mp_value_free(kept);
    free(data);
}

TEST(damaged_messages_are_errors_and_the_next_one_arrives)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_send_bytes(a, "\x80\x04garbage", 9, SECONDS));
    EXPECT_OK(mp_connection_send_bytes(a,
                                       "\x80\x03"
                                       "cos\nsystem\n.",
                                       13, SECONDS));
    EXPECT_OK(mp_connection_send(a, mp_v(3), SECONDS));
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), -EBADMSG);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), MP_EUNSAFE);
    EXPECT_HAS(mp_error_detail(), "os.system");
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "3");
    /* packets that no multiproc wrote */
    EXPECT_EQ(send(mp_connection_fd(a), "junk", 4, 0), 4);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), -EBADMSG);
    uint32_t lie[4] = {0x4d505231u, 1, 1u << 30, 1}; /* a memory file that is not there */
    EXPECT_EQ(send(mp_connection_fd(a), lie, sizeof lie, 0), 16);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), -EBADMSG);
    uint32_t longer[4] = {0x4d505231u, 0, 1u << 30, 1};
    EXPECT_EQ(send(mp_connection_fd(a), longer, sizeof longer, 0), 16);
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), -EBADMSG);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- handles on their way ---- */

TEST(ends_travel_in_messages)
{
    mp_connection *a, *b, *c, *d, *got;
    mp_value *v, *inner;
    make(&a, &b);
    make(&c, &d);
    EXPECT_OK(mp_connection_send(a, mp_dict_of(mp_v("end"), mp_v(d)), SECONDS));
    mp_connection_free(d);
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_OK(mp_value_get_connection(mp_value_lookup_str(v, "end"), &got));
    EXPECT_OK(mp_connection_send(got, mp_v("through"), SECONDS));
    EXPECT_OK(mp_connection_recv(c, &inner, SECONDS));
    EXPECT_STR(harness_repr(inner), "'through'");
    mp_value_free(v); /* the last holder of that end */
    EXPECT_EQ(mp_connection_recv(c, &inner, SECONDS), MP_EOF);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_connection_free(c);
}

TEST(descriptors_travel_in_messages)
{
    mp_connection *a, *b;
    mp_value *v;
    char data[8];
    int p[2], fd;
    make(&a, &b);
    EXPECT_OK(pipe(p));
    EXPECT_OK(mp_connection_send(a, mp_tuple_of(mp_value_fd(p[1]), mp_v(5)), SECONDS));
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    fd = mp_value_get_fd(mp_value_item(v, 0));
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, "abc", 3), 3);
    EXPECT_EQ(read(p[0], data, 8), 3);
    close(fd);
    close(p[0]);
    close(p[1]);
    mp_value_free(v);
    EXPECT(mp_value_fd(-7) == NULL);
    EXPECT_EQ(mp_error_code(), -EBADF);
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST(too_many_descriptors)
{
    mp_connection *a, *b;
    mp_value *items[300];
    make(&a, &b);
    for (int i = 0; i < 300; i++)
        items[i] = mp_value_fd(0);
    EXPECT_EQ(mp_connection_send(a, mp_value_list(items, 300), SECONDS), -E2BIG);
    for (int i = 0; i < 240; i++)
        items[i] = mp_value_fd(0);
    mp_value *v = NULL;
    EXPECT_OK(mp_connection_send(a, mp_value_list(items, 240), SECONDS));
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    EXPECT_EQ(mp_value_len(v), 240);
    mp_value_free(v);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- many senders ---- */

#define SENDERS 4
#define EACH 2000

typedef struct sender {
    mp_connection *c;
    int id;
} sender;

static void *send_many(void *arg)
{
    sender *s = arg;
    static const size_t sizes[] = {10, 5000, 60000, 70000};
    for (int i = 0; i < EACH; i++) {
        size_t n = sizes[i % 4];
        unsigned char *p = malloc(n);
        memset(p, s->id * 50 + i % 50, n);
        memcpy(p, &s->id, 4);
        memcpy(p + 4, &i, 4);
        EXPECT_OK(mp_connection_send_bytes(s->c, p, n, MP_FOREVER));
        free(p);
    }
    return NULL;
}

TEST(boundaries_hold_with_many_writers)
{
    mp_connection *a, *b;
    pthread_t threads[SENDERS];
    sender senders[SENDERS];
    int next[SENDERS] = {0};
    make(&a, &b);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (sender){a, i};
        EXPECT_OK(pthread_create(&threads[i], NULL, send_many, &senders[i]));
    }
    for (int k = 0; k < SENDERS * EACH; k++) {
        mp_buffer *buffer;
        int id, i;
        EXPECT_OK(mp_connection_recv_buffer(b, &buffer, SECONDS));
        const unsigned char *p = mp_buffer_data(buffer);
        memcpy(&id, p, 4);
        memcpy(&i, p + 4, 4);
        EXPECT(id >= 0 && id < SENDERS);
        EXPECT_EQ(i, next[id]++); /* in order, none lost, none twice */
        for (size_t at = 8; at < mp_buffer_size(buffer); at++)
            if (p[at] != (unsigned char)(id * 50 + i % 50))
                harness_fail(__FILE__, __LINE__, "message %d of sender %d is torn", i, id);
        mp_buffer_free(buffer);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    mp_connection_free(a);
    mp_connection_free(b);
}

MP_TARGET(chatter, (mp_connection *, c), (int, id), (int, count))
{
    for (int i = 0; i < count; i++)
        if (mp_connection_send(c, mp_tuple_of(mp_v(id), mp_v(i), mp_v("padding, padding")),
                               SECONDS))
            return 1;
    return 0;
}

TEST_METHODS(processes_share_one_end)
{
    mp_connection *a, *b;
    mp_process *p[3];
    int64_t id, i, next[3] = {0};
    mp_value *v;
    make(&a, &b);
    for (int k = 0; k < 3; k++) {
        p[k] = MP_PROCESS_IN(mp_get_context(method), chatter, b, k, 500);
        EXPECT(p[k]);
        EXPECT_OK(mp_process_start(p[k]));
    }
    mp_connection_free(b);
    for (int k = 0; k < 1500; k++) {
        EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
        EXPECT_OK(mp_value_get_int(mp_value_item(v, 0), &id));
        EXPECT_OK(mp_value_get_int(mp_value_item(v, 1), &i));
        EXPECT_EQ(i, next[id]++);
        mp_value_free(v);
    }
    EXPECT_EQ(mp_connection_recv(a, &v, SECONDS), MP_EOF);
    for (int k = 0; k < 3; k++) {
        EXPECT_OK(mp_process_join(p[k], SECONDS));
        mp_process_free(p[k]);
    }
    mp_connection_free(a);
}

MP_TARGET(sleeper, (mp_connection *, c))
{
    (void)c;
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

TEST_METHODS(death_of_the_peer_is_the_end)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    mp_process *p = MP_PROCESS_IN(mp_get_context(method), sleeper, b);
    EXPECT_OK(mp_process_start(p));
    mp_connection_free(b);
    EXPECT_EQ(mp_connection_recv(a, &v, MP_MS(50)), -ETIMEDOUT);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_EQ(mp_connection_recv(a, &v, SECONDS), MP_EOF);
    EXPECT_OK(mp_process_join(p, SECONDS));
    mp_process_free(p);
    mp_connection_free(a);
}

/* The receiver is slow: the sender waits, times out, and nothing is torn or lost. */
TEST(a_full_pipe_times_out)
{
    mp_connection *a, *b;
    char data[1000] = "x";
    int sent = 0, r;
    make(&a, &b);
    while ((r = mp_connection_send_bytes(a, data, sizeof data, MP_NOWAIT)) == 0)
        sent++;
    EXPECT_EQ(r, -ETIMEDOUT);
    EXPECT(sent > 10);
    EXPECT_EQ(mp_connection_send_bytes(a, data, sizeof data, MP_MS(10)), -ETIMEDOUT);
    for (int i = 0; i < sent; i++)
        EXPECT_EQ(mp_connection_recv_bytes(b, data, sizeof data, SECONDS), sizeof data);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, sizeof data, MP_NOWAIT), -ETIMEDOUT);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- waiting ---- */

TEST(poll_and_wait)
{
    mp_connection *a, *b, *c, *d;
    int p[2];
    make(&a, &b);
    make(&c, &d);
    EXPECT_OK(pipe(p));
    mp_waitable w[] = {MP_WAIT_CONNECTION(b), MP_WAIT_CONNECTION(d), MP_WAIT_FD(p[0])};
    EXPECT_EQ(mp_wait(w, 3, MP_NOWAIT), 0);
    EXPECT_EQ(mp_wait(w, 3, MP_MS(5)), 0);
    EXPECT_EQ(mp_wait(NULL, 0, MP_MS(1)), 0);
    EXPECT_OK(mp_connection_send(c, mp_v(1), SECONDS));
    EXPECT_EQ(mp_wait(w, 3, SECONDS), 1);
    EXPECT_EQ(w[1].ready, 1);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(mp_wait(w, 3, SECONDS), 2);
    EXPECT_EQ(w[0].ready, 0);
    EXPECT_EQ(w[2].ready, 1);
    mp_connection_free(a); /* an end is news as well */
    EXPECT_EQ(mp_wait(w, 1, SECONDS), 1);
    struct pollfd pf = {mp_connection_fd(d), POLLIN, 0};
    EXPECT_EQ(poll(&pf, 1, 0), 1);
    close(p[0]);
    close(p[1]);
    mp_waitable bad = MP_WAIT_FD(p[0]);
    EXPECT_EQ(mp_wait(&bad, 1, MP_NOWAIT), -EBADF);
    mp_connection_free(b);
    mp_connection_free(c);
    mp_connection_free(d);
}

TEST(spinning_is_a_choice)
{
    mp_connection *a, *b;
    mp_value *v;
    make(&a, &b);
    EXPECT_OK(mp_connection_set_spin(b, MP_MS(2)));
    EXPECT_EQ(mp_connection_recv(b, &v, MP_MS(1)), -ETIMEDOUT);
    EXPECT_OK(mp_connection_set_spin(b, 0));
    EXPECT_EQ(mp_connection_recv(b, &v, MP_MS(1)), -ETIMEDOUT);
    mp_connection_free(a);
    mp_connection_free(b);
}

static void nothing(int s)
{
    (void)s;
}

static void *interrupt_later(void *arg)
{
    pthread_t *t = arg;
    for (int i = 0; i < 5; i++) {
        mp_wait(NULL, 0, MP_MS(2));
        pthread_kill(*t, SIGUSR1);
    }
    return NULL;
}

TEST(signals_do_not_cut_a_wait_short)
{
    mp_connection *a, *b;
    mp_value *v;
    pthread_t self = pthread_self(), t;
    struct sigaction sa = {.sa_handler = nothing};
    sigaction(SIGUSR1, &sa, NULL);
    make(&a, &b);
    EXPECT_OK(pthread_create(&t, NULL, interrupt_later, &self));
    EXPECT_EQ(mp_connection_recv(b, &v, MP_MS(30)), -ETIMEDOUT);
    pthread_join(t, NULL);
    mp_host host = MP_HOST_INIT; /* unless the host wants to know */
    host.interruptible = 1;
    EXPECT_OK(mp_host_set(&host));
    EXPECT_OK(pthread_create(&t, NULL, interrupt_later, &self));
    EXPECT_EQ(mp_connection_recv(b, &v, SECONDS), -EINTR);
    pthread_join(t, NULL);
    EXPECT_OK(mp_host_set(NULL));
    mp_connection_free(a);
    mp_connection_free(b);
}

/* A message larger than 4 GiB; needs the memory, so only when asked. */
TEST(more_than_four_gigabytes)
{
    if (!getenv("MULTIPROC_TEST_LONG"))
        return;
    mp_connection *a, *b;
    mp_buffer *buffer;
    size_t n = ((size_t)4 << 30) + 12345;
    make(&a, &b);
    unsigned char *data = calloc(1, n);
    EXPECT(data);
    data[0] = 1;
    data[n - 1] = 2;
    EXPECT_OK(mp_connection_send_bytes(a, data, n, MP_FOREVER));
    free(data);
    EXPECT_OK(mp_connection_recv_buffer(b, &buffer, MP_FOREVER));
    EXPECT_EQ(mp_buffer_size(buffer), n);
    data = mp_buffer_data(buffer);
    EXPECT_EQ(data[0], 1);
    EXPECT_EQ(data[n - 1], 2);
    mp_buffer_free(buffer);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- found by attack ---- */

TEST(a_packet_that_lies_about_its_size)
{
    mp_connection *a, *b;
    mp_buffer *buffer;
    static char packet[100016], data[100000];
    uint32_t frame[4] = {0x4d505231u, 0, 100000, 0}; /* too large to be inline */
    EXPECT_OK(mp_pipe(1, &a, &b));
    memcpy(packet, frame, sizeof frame);
    EXPECT_EQ(send(mp_connection_fd(a), packet, sizeof packet, 0), sizeof packet);
    EXPECT_EQ(mp_connection_recv_buffer(b, &buffer, SECONDS), -EBADMSG);
    EXPECT_EQ(send(mp_connection_fd(a), packet, sizeof packet, 0), sizeof packet);
    EXPECT_EQ(mp_connection_recv_bytes(b, data, sizeof data, SECONDS), -EBADMSG);
    mp_connection_free(a);
    mp_connection_free(b);
}

static void *receive_too_small(void *arg)
{
    char data[1];
    EXPECT_EQ(mp_connection_recv_bytes(arg, data, 1, SECONDS), -EMSGSIZE);
    return NULL;
}

TEST(kept_messages_stay_in_order)
{
    mp_connection *a, *b;
    pthread_t t[2];
    mp_value *v;
    EXPECT_OK(mp_pipe(1, &a, &b));
    for (int i = 0; i < 2; i++)
        EXPECT_OK(pthread_create(&t[i], NULL, receive_too_small, b));
    mp_wait(NULL, 0, MP_MS(10));
    EXPECT_OK(mp_connection_send(a, mp_v("first"), SECONDS));
    mp_wait(NULL, 0, MP_MS(10));
    EXPECT_OK(mp_connection_send(a, mp_v("second"), SECONDS));
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    const char *first = harness_repr(v);
    EXPECT(strcmp(first, "'first'") == 0 || strcmp(first, "'second'") == 0);
    EXPECT_OK(mp_connection_recv(b, &v, SECONDS));
    mp_value_free(v);
    EXPECT_EQ(mp_connection_pending(b), -ENOMSG);
    mp_connection_free(a);
    mp_connection_free(b);
}
