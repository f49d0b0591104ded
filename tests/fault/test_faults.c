/* SPDX-License-Identifier: MIT */
/*
 * Fails the first, second, third ... system call or allocation of an operation until the operation
 * succeeds.  After each failure: an error that is documented, nothing leaked, and the same
 * operation works when it is tried again.
 */
#include "base/fault.h"
#include "harness.h"

#define SECONDS MP_SECONDS(20)
#define MOST 400 /* no operation passes more points than this */

typedef int operation(void *arg);

/* Runs the operation with its n-th point failing, for n = 1, 2, ..., and returns how many points it
 * has.  `may_survive`: points whose failure the operation is allowed to do without. */
static int torture(const char *what, operation *run, void *arg, int error)
{
    EXPECT_OK(run(arg)); /* once, so that what a family keeps is there */
    int fds = harness_count_fds();
    for (int n = 1; n < MOST; n++) {
        mp__fault_arm(n, error);
        int r = run(arg);
        const char *hit = mp__fault_hit();
        mp__fault_disarm();
        if (!hit) {
            EXPECT_OK(r);
            return n - 1;
        }
        if (r > 0 || (r < 0 && strcmp(mp_error_name(r), "unknown") == 0))
            harness_fail(__FILE__, __LINE__, "%s: failing %s (%d) gives %d", what, hit, n, r);
        if (getenv("TEST_VERBOSE"))
            fprintf(stderr, "%s: %d: %s: %s, %d\n", what, n, hit, mp_error_name(r),
                    harness_count_fds() - fds);
        if (harness_count_fds() > fds)
            harness_fail(__FILE__, __LINE__, "%s: failing %s (%d) leaks %d descriptors", what, hit,
                         n, harness_count_fds() - fds);
        r = run(arg);
        if (r != 0)
            harness_fail(__FILE__, __LINE__, "%s: after failing %s (%d) it gives %s: %s", what, hit,
                         n, mp_error_name(r), mp_error_detail());
        if (harness_count_fds() != fds)
            harness_fail(__FILE__, __LINE__,
                         "%s: after failing %s (%d) there are %d more descriptors", what, hit, n,
                         harness_count_fds() - fds);
    }
    harness_fail(__FILE__, __LINE__, "%s: does not come to an end", what);
}

/* ---- operations ---- */

static int pipe_once(void *arg)
{
    mp_connection *a, *b;
    (void)arg;
    int r = mp_pipe(0, &a, &b);
    if (r == 0) {
        mp_connection_free(a);
        mp_connection_free(b);
    }
    return r;
}

TEST(making_a_pipe)
{
    EXPECT(torture("pipe", pipe_once, NULL, EMFILE) >= 3);
}

typedef struct exchange {
    size_t size;
    bool handles;
} exchange;

static mp_value *message(const exchange *x, mp_connection *extra)
{
    mp_buffer *b = mp_buffer_new(x->size);
    if (!b)
        return NULL;
    memset(mp_buffer_data(b), 'x', x->size);
    mp_value *bytes = mp_value_bytes_of(b);
    mp_buffer_free(b);
    if (!x->handles)
        return mp_list_of(bytes, mp_v("text"), mp_dict_of(mp_v("k"), mp_v(1)));
    return mp_list_of(bytes, mp_v(extra), mp_value_fd(0));
}

static int exchange_once(void *arg)
{
    mp_connection *a, *b, *c, *d;
    mp_value *v = NULL;
    int r = mp_pipe(1, &a, &b);
    if (r < 0)
        return r;
    r = mp_pipe(1, &c, &d);
    if (r == 0) {
        r = mp_connection_send(a, message(arg, c), SECONDS);
        if (r == 0)
            r = mp_connection_recv(b, &v, SECONDS);
        if (r == 0 && mp_value_len(v) != 3)
            r = 1;
        mp_value_free(v);
        mp_connection_free(c);
        mp_connection_free(d);
    }
    mp_connection_free(a);
    mp_connection_free(b);
    return r;
}

TEST(sending_and_receiving)
{
    exchange small = {10, false}, large = {100000, false}, handles = {10, true},
             both = {100000, true};
    EXPECT(torture("small", exchange_once, &small, ENOMEM) > 10);
    EXPECT(torture("large", exchange_once, &large, ENOMEM) > 10);
    EXPECT(torture("handles", exchange_once, &handles, EMFILE) > 10);
    EXPECT(torture("large with handles", exchange_once, &both, ENFILE) > 10);
}

static int values_once(void *arg)
{
    static const char text[] =
        "a text that is longer than sixty-four bytes, so that it is memoised";
    mp_buffer *b;
    mp_value *shared = mp_v(text), *v = NULL;
    (void)arg;
    int r = mp_value_encode(
        mp_list_of(mp_value_ref(shared), mp_value_ref(shared),
                   mp_tuple_of(mp_v(1.5), mp_value_uint(UINT64_MAX), mp_v(-3)),
                   mp_dict_of(mp_v(1), mp_v(1), mp_v(2), mp_v(2), mp_v(3), mp_v(3), mp_v(4),
                              mp_v(4), mp_v(5), mp_v(5), mp_v(6), mp_v(6), mp_v(7), mp_v(7),
                              mp_v(8), mp_v(8), mp_v(9), mp_v(9))),
        &b);
    mp_value_free(shared);
    if (r < 0)
        return r;
    r = mp_value_decode(mp_buffer_data(b), mp_buffer_size(b), NULL, &v);
    mp_buffer_free(b);
    if (r < 0)
        return r;
    char *repr = mp_value_repr(v);
    r = repr ? 0 : -ENOMEM;
    free(repr);
    mp_value_free(v);
    return r;
}

TEST(values)
{
    EXPECT(torture("values", values_once, NULL, ENOMEM) > 20);
}

MP_TARGET(answer, (mp_connection *, c), (int, n))
{
    return mp_connection_send(c, mp_v(n), SECONDS) != 0;
}

static int process_once(void *arg)
{
    mp_connection *a, *b;
    mp_value *v = NULL;
    int r = mp_pipe(0, &a, &b);
    if (r < 0)
        return r;
    mp_process *p = MP_PROCESS_IN(mp_get_context(arg), answer, b, 5);
    r = p ? mp_process_start(p) : mp_error_code();
    mp_connection_free(b);
    if (r == 0) {
        while ((r = mp_process_join(p, SECONDS)) < 0 && mp_process_is_alive(p) == 1)
            ; /* the join itself may be what fails */
        if (r == 0)
            r = mp_connection_recv(a, &v, SECONDS);
        mp_value_free(v);
    }
    mp_process_free(p);
    mp_connection_free(a);
    return r;
}

TEST_METHODS(starting_and_joining)
{
    EXPECT(torture("process", process_once, (void *)(uintptr_t)method, ENOMEM) > 8);
}

TEST_METHODS(starting_without_descriptors)
{
    EXPECT(torture("process", process_once, (void *)(uintptr_t)method, EMFILE) > 8);
}

static int server_once(void *arg)
{
    (void)arg;
    mp_context_stop(mp_get_context("forkserver"));
    return process_once((void *)(uintptr_t) "forkserver");
}

TEST(starting_a_fork_server)
{
    EXPECT(torture("server", server_once, NULL, EMFILE) > 12);
}

MP_TARGET(wait_for_ever)
{
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}

static int children_once(void *arg)
{
    mp_process *all[4];
    (void)arg;
    int n = mp_process_children(all, 4);
    for (int i = 0; i < n; i++)
        mp_process_free(all[i]);
    return n < 0 ? n : 0;
}

TEST(listing_children)
{
    EXPECT_OK(children_once(NULL));
    mp_process *p = MP_PROCESS(wait_for_ever);
    EXPECT_OK(mp_process_start(p));
    EXPECT(torture("children", children_once, NULL, ENOMEM) >= 1);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_OK(mp_process_join(p, SECONDS));
    mp_process_free(p);
}
