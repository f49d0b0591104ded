/* SPDX-License-Identifier: MIT */
/*
 * Compares the library's pipes with bare pipes and socket pairs: round trips of 8 bytes, and
 * streams of messages of several sizes.
 *
 * The other process of each comparison is a plain fork that waits on its own line until it is
 * killed, so all of them stand ready and the rounds can alternate between them.
 */
#include <errno.h>
#include <multiproc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PAGE 4096
#define LARGE ((size_t)64 * 1024) /* from here on, what is received is also looked at */
#define PACKET_MAX LARGE          /* larger ones need more than a socket's usual buffer */
#define HUGE_MESSAGE ((size_t)100000000)

static void check(int64_t result, const char *what)
{
    if (result < 0)
        bench_fail("%s: %s %s", what, mp_error_name((int)result), mp_error_detail());
}

static void system_failed(const char *what)
{
    bench_fail("%s: %s", what, strerror(errno));
}

/* ---- lines: a way for two processes to talk ---- */

typedef enum way {
    OURS,       /* mp_connection_send_bytes, mp_connection_recv_bytes */
    OURS_MAP,   /* the same, received with mp_connection_recv_buffer */
    OURS_VALUE, /* [42, None, 'hello'] */
    PIPES,
    STREAM,
    PACKETS
} way;

typedef struct kind {
    const char *name;
    way way;
    mp_time spin; /* -1: the default */
} kind;

/* One process's end.  Framed: a length goes before each message, as a byte stream needs it. */
typedef struct end {
    way way;
    int framed, in, out;
    mp_connection *c;
    char *data; /* as large as the largest message */
    size_t size;
} end;

static void make_connections(const kind *k, end *near, end *far)
{
    check(mp_pipe(1, &near->c, &far->c), "mp_pipe");
    if (k->spin < 0)
        return;
    check(mp_connection_set_spin(near->c, k->spin), "mp_connection_set_spin");
    check(mp_connection_set_spin(far->c, k->spin), "mp_connection_set_spin");
}

static void make_line(const kind *k, size_t size, int framed, end *near, end *far)
{
    int there[2], back[2];
    memset(near, 0, sizeof *near);
    near->way = k->way;
    near->size = size;
    near->framed = framed;
    *far = *near;
    if (k->way == PIPES) {
        if (pipe(there) < 0 || pipe(back) < 0)
            system_failed("pipe");
        near->in = back[0];
        near->out = there[1];
        far->in = there[0];
        far->out = back[1];
    } else if (k->way == STREAM || k->way == PACKETS) {
        if (socketpair(AF_UNIX, k->way == STREAM ? SOCK_STREAM : SOCK_SEQPACKET, 0, there) < 0)
            system_failed("socketpair");
        near->in = near->out = there[0];
        far->in = far->out = there[1];
    } else {
        make_connections(k, near, far);
    }
    near->data = malloc(size);
    far->data = malloc(size);
    if (!near->data || !far->data)
        bench_fail("out of memory");
    memset(near->data, 1, size);
    memset(far->data, 2, size);
}

static void free_end(end *e)
{
    mp_connection_free(e->c);
    if (!e->c) {
        close(e->in);
        if (e->out != e->in)
            close(e->out);
    }
    free(e->data);
}

/* ---- sending and receiving ---- */

static void write_all(int fd, struct iovec *iov, int n)
{
    while (n) {
        ssize_t done = writev(fd, iov, n);
        if (done < 0)
            system_failed("writev");
        for (; n && (size_t)done >= iov->iov_len; iov++, n--)
            done -= (ssize_t)iov->iov_len;
        if (n) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
}

static void read_all(int fd, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)data + done, size - done);
        if (n <= 0)
            system_failed("read");
        done += (size_t)n;
    }
}

static void send_message(end *e)
{
    uint64_t size = e->size;
    struct iovec iov[2] = {{&size, sizeof size}, {e->data, e->size}};
    if (e->way == OURS || e->way == OURS_MAP)
        check(mp_connection_send_bytes(e->c, e->data, e->size, MP_FOREVER), "send_bytes");
    else if (e->way == OURS_VALUE)
        check(mp_connection_send(e->c, mp_list_of(mp_v(42), mp_value_none(), mp_v("hello")),
                                 MP_FOREVER),
              "send");
    else if (e->way == STREAM || e->way == PIPES)
        write_all(e->out, iov + !e->framed, 1 + e->framed);
    else if (send(e->out, e->data, e->size, MSG_NOSIGNAL) != (ssize_t)e->size)
        system_failed("send");
}

static volatile char seen;

static void look_at(const char *data, size_t size)
{
    char any = 0;
    for (size_t i = 0; size >= LARGE && i < size; i += PAGE)
        any = (char)(any ^ data[i]);
    seen = any;
}

static void receive_mapped(end *e)
{
    mp_buffer *buffer;
    check(mp_connection_recv_buffer(e->c, &buffer, MP_FOREVER), "recv_buffer");
    look_at(mp_buffer_data(buffer), mp_buffer_size(buffer));
    mp_buffer_free(buffer);
}

static void receive_value(end *e)
{
    mp_value *value;
    check(mp_connection_recv(e->c, &value, MP_FOREVER), "recv");
    mp_value_free(value);
}

static void receive_message(end *e)
{
    uint64_t size = e->size;
    if (e->way == OURS_MAP) {
        receive_mapped(e);
        return;
    }
    if (e->way == OURS_VALUE) {
        receive_value(e);
        return;
    }
    if (e->way == OURS) {
        check(mp_connection_recv_bytes(e->c, e->data, e->size, MP_FOREVER), "recv_bytes");
    } else if (e->way == PACKETS) {
        if (recv(e->in, e->data, e->size, 0) != (ssize_t)e->size)
            system_failed("recv");
    } else {
        if (e->framed)
            read_all(e->in, &size, sizeof size);
        if (size > e->size)
            bench_fail("a message is too large");
        read_all(e->in, e->data, size);
    }
    look_at(e->data, e->size);
}

/* ---- the other process ---- */

typedef struct partner {
    const kind *kind;
    end end;
    int go; /* a stream begins when the number of its messages is written here */
    pid_t pid;
    bench_samples samples;
} partner;

static void echo(end *e)
{
    for (;;) {
        receive_message(e);
        send_message(e);
    }
}

static void stream(end *e, int go)
{
    int64_t n;
    while (read(go, &n, sizeof n) == sizeof n)
        while (n--)
            send_message(e);
    _exit(0);
}

/* processor: where the other process shall run; -1: anywhere. */
static void partner_start(partner *p, const kind *k, size_t size, int streams, int processor)
{
    end far;
    int go[2];
    memset(p, 0, sizeof *p);
    p->kind = k;
    make_line(k, size, streams, &p->end, &far);
    if (pipe(go) < 0)
        system_failed("pipe");
    p->pid = fork();
    if (p->pid < 0)
        system_failed("fork");
    if (p->pid == 0) {
        bench_pin(processor);
        if (streams)
            stream(&far, go[0]);
        echo(&far);
    }
    free_end(&far);
    close(go[0]);
    p->go = go[1];
}

static void partner_stop(partner *p)
{
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close(p->go);
    free_end(&p->end);
    bench_samples_free(&p->samples);
}

/* ---- round trips ---- */

static const kind trip_kinds[] = {
    {"ours, no spinning", OURS, 0},    {"ours, default", OURS, -1},
    {"ours, 50 us spin", OURS, 50000}, {"pipe", PIPES, 0},
    {"socketpair stream", STREAM, 0},  {"socketpair seqpacket", PACKETS, 0},
};
#define TRIPS (sizeof trip_kinds / sizeof *trip_kinds)
#define TRIP_OURS 3 /* so many of them are ours */

static double round_trips(partner *p, int n)
{
    double start = bench_now();
    for (int i = 0; i < n; i++) {
        send_message(&p->end);
        receive_message(&p->end);
    }
    return (bench_now() - start) / n;
}

typedef enum placement { FREE, ONE_CORE, TWO_CORES } placement;

static const char *const places[] = {"both free", "on one core", "on two cores"};

/*
 * Blocking: as fast as a pipe.  With spinning: 10 times as fast, where a pipe has to wake the other
 * core.  No target while both are free: whether the scheduler puts two processes on one core or on
 * two makes a factor of 20, and it is of two minds about the same pair of processes.
 */
static double trip_target(size_t i, size_t peer, placement place)
{
    if (peer != TRIP_OURS || place == FREE)
        return 0;
    return i == 0 ? 1 : place == TWO_CORES ? 10 : 0;
}

static void report_trips(bench_table *table, const double *medians, placement place)
{
    for (size_t i = 0; i < TRIP_OURS; i++) {
        for (size_t k = TRIP_OURS; k < TRIPS; k++) {
            double target = trip_target(i, k, place);
            bench_result r = {bench_text("round trip of 8 B, %s, %s", places[place],
                                         trip_kinds[i].name + strlen("ours, ")),
                              trip_kinds[k].name,
                              "us",
                              medians[i],
                              medians[k],
                              0,
                              target,
                              k == TRIP_OURS && place != FREE};
            double ratio = bench_report(&r);
            bench_table_row(table, places[place], trip_kinds[i].name, trip_kinds[k].name,
                            bench_text("%.2f", medians[i]), bench_text("%.2f", medians[k]),
                            bench_text("%.2f", ratio), target > 0 ? bench_text("%.0f", target) : "",
                            bench_met(ratio, target));
        }
    }
}

/* Every generation of processes is placed anew; what it finds stays, more or less, its place. */
static void add_generation(placement place, int rounds, int n, bench_samples *samples)
{
    partner partners[TRIPS];
    for (size_t i = 0; i < TRIPS; i++)
        partner_start(&partners[i], &trip_kinds[i], 8, 0,
                      place == FREE       ? -1
                      : place == ONE_CORE ? 0
                                          : 1);
    bench_pin(place == FREE ? -1 : 0);
    for (int round = -1; round < rounds; round++) {
        for (size_t i = 0; i < TRIPS; i++) {
            size_t which = (i + (size_t)(round + 1)) % TRIPS;
            double us = round_trips(&partners[which], n);
            if (round >= 0)
                bench_sample(&samples[which], us);
        }
    }
    bench_pin(-1);
    for (size_t i = 0; i < TRIPS; i++)
        partner_stop(&partners[i]);
}

static void compare_trips(bench_table *table, placement place)
{
    bench_samples samples[TRIPS];
    double medians[TRIPS];
    memset(samples, 0, sizeof samples);
    for (int i = 0; i < (bench_quick() ? 2 : 10); i++)
        add_generation(place, bench_quick() ? 3 : 8, bench_quick() ? 100 : 200, samples);
    for (size_t i = 0; i < TRIPS; i++) {
        medians[i] = bench_median(&samples[i]);
        bench_samples_free(&samples[i]);
    }
    report_trips(table, medians, place);
}

static void all_trips(void)
{
    static const char *const heads[] = {"processes", "ours",  "against", "ours us",
                                        "peer us",   "speed", "target",  "met"};
    bench_table *table = bench_table_new(
        "Round trips of 8 bytes (medians; speed = peer's time / ours)", 8, 3, heads);
    compare_trips(table, FREE);
    compare_trips(table, ONE_CORE);
    if (bench_processors() > 1)
        compare_trips(table, TWO_CORES);
    else
        bench_note("skipped: round trips on two cores, there is one");
    bench_table_print(table);
}

/* ---- streams ---- */

static const kind stream_kinds[] = {
    {"ours, default", OURS, -1},        {"ours, no spinning", OURS, 0},
    {"ours, not copied", OURS_MAP, -1}, {"pipe", PIPES, 0},
    {"socketpair stream", STREAM, 0},   {"socketpair seqpacket", PACKETS, 0},
};
static const kind value_kinds[] = {
    {"ours, default", OURS_VALUE, -1}, {"ours, no spinning", OURS_VALUE, 0}, {"pipe", PIPES, 0},
    {"socketpair stream", STREAM, 0},  {"socketpair seqpacket", PACKETS, 0},
};

static int is_ours(const kind *k)
{
    return k->way <= OURS_VALUE;
}

static int fits(const kind *k, size_t size)
{
    return k->way == OURS_MAP ? size >= LARGE : k->way == PACKETS ? size <= PACKET_MAX : 1;
}

static double receive_stream(partner *p, int64_t n)
{
    double start = bench_now();
    if (write(p->go, &n, sizeof n) != sizeof n)
        system_failed("write");
    for (int64_t i = 0; i < n; i++)
        receive_message(&p->end);
    return (double)n / (bench_now() - start) * 1e6;
}

static void report_stream(bench_table *table, const char *what, const partner *a, const partner *b)
{
    double ours = bench_median(&a->samples), peer = bench_median(&b->samples);
    double bytes = (double)a->end.size;
    bench_result r = {bench_text("stream of %s, %s", what, a->kind->name + strlen("ours, ")),
                      b->kind->name,
                      "messages/s",
                      ours,
                      peer,
                      1,
                      0,
                      b->kind->way == PIPES};
    double ratio = bench_report(&r);
    bench_table_row(table, what, a->kind->name, b->kind->name, bench_text("%.4g", ours),
                    bench_text("%.4g", peer), bench_text("%.3f", ours * bytes / 1e9),
                    bench_text("%.3f", peer * bytes / 1e9), bench_text("%.2f", ratio));
}

static void compare_streams(bench_table *table, const char *what, size_t size, const kind *kinds,
                            size_t nkinds)
{
    partner partners[8];
    size_t n = 0;
    int rounds = size >= HUGE_MESSAGE ? (bench_quick() ? 2 : 9) : bench_quick() ? 4 : 31;
    int64_t most = (int64_t)(((size_t)32 << 20) / size), count = most < 2 ? 2 : most;
    count = count > 20000 ? 20000 : count;
    count = bench_quick() ? (count + 3) / 4 : count;
    for (size_t i = 0; i < nkinds; i++)
        if (fits(&kinds[i], size))
            partner_start(&partners[n++], &kinds[i], size, 1, -1);
    for (int round = -1; round < rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            partner *p = &partners[(i + (size_t)(round + 1)) % n];
            double rate = receive_stream(p, count);
            if (round >= 0)
                bench_sample(&p->samples, rate);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; is_ours(partners[i].kind) && k < n; k++)
            if (!is_ours(partners[k].kind))
                report_stream(table, what, &partners[i], &partners[k]);
    for (size_t i = 0; i < n; i++)
        partner_stop(&partners[i]);
}

static size_t value_size(void)
{
    mp_buffer *buffer;
    check(mp_value_encode(mp_list_of(mp_v(42), mp_value_none(), mp_v("hello")), &buffer),
          "mp_value_encode");
    size_t size = mp_buffer_size(buffer);
    mp_buffer_free(buffer);
    return size;
}

static void all_streams(void)
{
    static const char *const heads[] = {"message",    "ours",      "against",   "ours msg/s",
                                        "peer msg/s", "ours GB/s", "peer GB/s", "speed"};
    static const struct {
        size_t size;
        const char *name;
    } sizes[] = {{8, "8 B"},        {64, "64 B"},       {1024, "1 KiB"},         {4096, "4 KiB"},
                 {65536, "64 KiB"}, {1 << 20, "1 MiB"}, {HUGE_MESSAGE, "100 MB"}};
    bench_table *table = bench_table_new(
        "Streams from one process to another (medians; speed = ours / peer)", 8, 3, heads);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        compare_streams(table, sizes[i].name, sizes[i].size, stream_kinds,
                        sizeof stream_kinds / sizeof *stream_kinds);
    compare_streams(table, "[42, None, 'hello']", value_size(), value_kinds,
                    sizeof value_kinds / sizeof *value_kinds);
    bench_table_print(table);
    bench_note("Peers of the value send its %zu bytes ready-made and decode nothing.",
               value_size());
}

/* ---- the bound of a large message: one copy ---- */

/* Into memory that was touched before, or into a new mapping, as a message's memory is. */
static double copy_time(const char *from, char *to, size_t size)
{
    double start = bench_now();
    char *p =
        to ? to : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        system_failed("mmap");
    memcpy(p, from, size);
    look_at(p, size);
    if (!to)
        munmap(p, size);
    return bench_now() - start;
}

static void one_copy(void)
{
    static const char *const heads[] = {"work",  "against", "ours ms", "peer ms",
                                        "speed", "target",  "met"};
    static const char *const against[] = {"memcpy into new memory", "memcpy into touched memory"};
    static const char *const names[] = {"100 MB message, not copied",
                                        "100 MB message, into a buffer"};
    partner p[2];
    bench_samples copies[2] = {BENCH_SAMPLES_INIT, BENCH_SAMPLES_INIT};
    bench_table *table = bench_table_new("A large message against one copy", 7, 2, heads);
    partner_start(&p[0], &stream_kinds[2], HUGE_MESSAGE, 1, -1);
    partner_start(&p[1], &stream_kinds[0], HUGE_MESSAGE, 1, -1);
    char *to = p[1].end.data;
    for (int round = -1; round < (bench_quick() ? 2 : 9); round++)
        for (int i = 0; i < 2; i++) {
            double us = 1e6 / receive_stream(&p[i], 1);
            double copy = copy_time(p[0].end.data, i ? to : NULL, HUGE_MESSAGE);
            if (round < 0)
                continue;
            bench_sample(&p[i].samples, us / 1e3);
            bench_sample(&copies[i], copy / 1e3);
        }
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            double target = i == 0 && k == 0;
            bench_result r = {names[i],
                              against[k],
                              "ms",
                              bench_median(&p[i].samples),
                              bench_median(&copies[k]),
                              0,
                              target,
                              target > 0};
            double ratio = bench_report(&r);
            bench_table_row(table, names[i], against[k], bench_text("%.1f", r.ours),
                            bench_text("%.1f", r.peer), bench_text("%.2f", ratio),
                            target > 0 ? "1" : "", bench_met(ratio, target));
        }
    for (int i = 0; i < 2; i++) {
        partner_stop(&p[i]);
        bench_samples_free(&copies[i]);
    }
    bench_table_print(table);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "bench_pipe");
    all_trips();
    all_streams();
    one_copy();
    bench_end();
    return 0;
}
