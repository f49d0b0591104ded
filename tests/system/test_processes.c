/* SPDX-License-Identifier: MIT */
/* Processes: the whole life of a child, under each start method. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "arena/slot.h"
#include "harness.h"

#define SECONDS MP_SECONDS(20)
#define IN mp_get_context(method)

/* ---- running and ending ---- */

MP_TARGET(exit_with, (int, code))
{
    return code;
}
MP_TARGET(call_exit, (int, code))
{
    exit(code);
}
MP_TARGET(wait_for_ever)
{
    mp_wait(NULL, 0, MP_FOREVER);
    return 0;
}
MP_TARGET(raise_signal, (int, number))
{
    signal(number, SIG_DFL);
    raise(number);
    return 0;
}

TEST_METHODS(exit_codes)
{
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 0))), 0);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 7))), 7);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 255))), 255);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, call_exit, 3))), 3);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, raise_signal, SIGSEGV))), -SIGSEGV);
}

TEST_METHODS(states_of_a_process)
{
    int code;
    mp_process *p = MP_PROCESS_IN(IN, wait_for_ever);
    EXPECT_EQ(mp_process_is_alive(p), 0);
    EXPECT_EQ(mp_process_pid(p), MP_ENOTSTARTED);
    EXPECT_EQ(mp_process_join(p, MP_NOWAIT), MP_ENOTSTARTED);
    EXPECT_EQ(mp_process_exit_code(p, &code), MP_ENOTSTARTED);
    EXPECT_EQ(mp_process_terminate(p), MP_ENOTSTARTED);
    EXPECT_EQ(mp_process_sentinel(p), MP_ENOTSTARTED);
    EXPECT_OK(mp_process_start(p));
    EXPECT_EQ(mp_process_start(p), MP_ESTARTED);
    EXPECT_EQ(mp_process_set_daemon(p, 1), MP_ESTARTED);
    EXPECT(mp_process_pid(p) > 1);
    EXPECT_EQ(mp_process_is_alive(p), 1);
    EXPECT_EQ(mp_process_exit_code(p, &code), MP_ERUNNING);
    EXPECT_EQ(mp_process_close(p), MP_ERUNNING);
    EXPECT_EQ(mp_process_join(p, MP_MS(20)), -ETIMEDOUT);
    mp_waitable w = MP_WAIT_PROCESS(p);
    EXPECT_EQ(mp_wait(&w, 1, MP_NOWAIT), 0);
    EXPECT_OK(mp_process_terminate(p));
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_OK(mp_process_exit_code(p, &code));
    EXPECT_EQ(code, -SIGTERM);
    EXPECT_OK(mp_process_kill(p)); /* too late, and no error */
    EXPECT_OK(mp_process_close(p));
    EXPECT_OK(mp_process_close(p));
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ECLOSED);
    EXPECT_EQ(mp_process_exit_code(p, &code), MP_ECLOSED);
    mp_process_free(p);
    mp_process_free(NULL);
}

TEST_METHODS(signals)
{
    mp_process *p = started(MP_PROCESS_IN(IN, wait_for_ever));
    EXPECT_OK(mp_process_kill(p));
    EXPECT_EQ(joined(p), -SIGKILL);
    p = started(MP_PROCESS_IN(IN, wait_for_ever));
    EXPECT_OK(mp_process_interrupt(p));
    EXPECT_EQ(joined(p), -SIGINT);
}

/* ---- what a child knows ---- */

MP_TARGET(tell_about_me, (mp_connection *, c))
{
    mp_process *me = mp_process_current(), *parent = mp_process_parent();
    unsigned char key[64];
    int n = mp_process_authkey(me, key, sizeof key);
    return mp_connection_send(
        c,
        mp_dict_of(mp_v("pid"), mp_v(mp_process_pid(me)), mp_v("name"), mp_v(mp_process_name(me)),
                   mp_v("daemon"), mp_v(mp_process_daemon(me)), mp_v("parent"),
                   mp_v(mp_process_pid(parent)), mp_v("parent_name"), mp_v(mp_process_name(parent)),
                   mp_v("parent_alive"), mp_v(mp_process_is_alive(parent)), mp_v("key"),
                   mp_value_bytes(key, (size_t)n), mp_v("children"),
                   mp_v(mp_process_children(NULL, 0))),
        SECONDS);
}

static int64_t number(const mp_value *v, const char *key)
{
    int64_t n = -1;
    EXPECT_OK(mp_value_get_int(mp_value_lookup_str(v, key), &n));
    return n;
}

TEST_METHODS(a_child_knows_itself_and_its_parent)
{
    mp_connection *a, *b;
    mp_value *v;
    unsigned char key[64];
    size_t size;
    EXPECT_OK(mp_pipe(0, &a, &b));
    mp_process *p = started(MP_PROCESS_IN(IN, tell_about_me, b));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_EQ(number(v, "pid"), mp_process_pid(p));
    EXPECT_EQ(number(v, "parent"), getpid());
    EXPECT_EQ(number(v, "daemon"), 0);
    EXPECT_EQ(number(v, "parent_alive"), 1);
    EXPECT_EQ(number(v, "children"), 0);
    EXPECT_STR(mp_value_get_str(mp_value_lookup_str(v, "name"), NULL), "Process-1");
    EXPECT_STR(mp_value_get_str(mp_value_lookup_str(v, "parent_name"), NULL), "MainProcess");
    EXPECT_EQ(mp_process_authkey(mp_process_current(), key, sizeof key), 32);
    const void *theirs = mp_value_get_bytes(mp_value_lookup_str(v, "key"), &size);
    EXPECT(size == 32 && memcmp(theirs, key, 32) == 0);
    mp_value_free(v);
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST(about_the_first_process)
{
    mp_process *me = mp_process_current();
    EXPECT_STR(mp_process_name(me), "MainProcess");
    EXPECT_EQ(mp_process_pid(me), getpid());
    EXPECT_EQ(mp_process_daemon(me), 0);
    EXPECT_EQ(mp_process_is_alive(me), 1);
    EXPECT_EQ(mp_process_join(me, MP_NOWAIT), -EDEADLK);
    EXPECT(mp_process_parent() == NULL);
    EXPECT(mp_cpu_count() >= 1);
    EXPECT_OK(mp_process_set_name(me, "Other"));
    EXPECT_STR(mp_process_name(me), "Other");
}

TEST(names_and_options)
{
    mp_process_options o = MP_PROCESS_OPTIONS_INIT;
    mp_process *p = MP_PROCESS(wait_for_ever), *q = MP_PROCESS(wait_for_ever);
    EXPECT_STR(mp_process_name(p), "Process-1");
    EXPECT_STR(mp_process_name(q), "Process-2");
    EXPECT_OK(mp_process_set_name(q, "worker"));
    EXPECT_STR(mp_process_name(q), "worker");
    EXPECT_OK(mp_process_set_daemon(q, 1));
    EXPECT_EQ(mp_process_daemon(q), 1);
    mp_process_free(p);
    mp_process_free(q);
    o.name = "given";
    o.daemon = 1;
    p = MP_PROCESS_WITH(&o, exit_with, 1);
    EXPECT_STR(mp_process_name(p), "given");
    EXPECT_EQ(mp_process_daemon(p), 1);
    EXPECT_OK(mp_process_set_authkey(p, "key", 3));
    EXPECT_EQ(mp_process_authkey(p, NULL, 0), 3);
    mp_process_free(p);
    char long_name[200];
    memset(long_name, 'x', 199);
    long_name[199] = 0;
    o.name = long_name;
    EXPECT(MP_PROCESS_WITH(&o, exit_with, 1) == NULL);
    EXPECT_EQ(mp_error_code(), -EINVAL);
}

TEST(wrong_targets_and_arguments)
{
    EXPECT(mp_process_new("no_such_target", mp_value_tuple(NULL, 0), NULL) == NULL);
    EXPECT_EQ(mp_error_code(), MP_ENOTARGET);
    EXPECT_HAS(mp_error_detail(), "no_such_target");
    EXPECT(mp_process_new("exit_with", mp_v(3), NULL) == NULL);
    EXPECT_EQ(mp_error_code(), MP_ETYPE);
    EXPECT(mp_process_new("exit_with", mp_tuple_of(mp_value_str("\xff")), NULL) == NULL);
    EXPECT_EQ(mp_error_code(), -EILSEQ);
    mp_process_free(MP_PROCESS(wait_for_ever)); /* not started */
}

TEST_METHODS(arguments_of_the_wrong_type_are_reported)
{
    mp_process *p = started(mp_context_process(IN, "exit_with", mp_tuple_of(mp_v("seven"))));
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ESTARTUP);
    EXPECT_HAS(mp_error_detail(), "argument 1 is of type str, not int");
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ESTARTUP);
    mp_process_free(p);
    p = started(mp_context_process(IN, "exit_with", mp_value_tuple(NULL, 0)));
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ESTARTUP);
    EXPECT_HAS(mp_error_detail(), "wants 1 arguments");
    mp_process_free(p);
}

/* A target that only this image registers: a fresh one does not know it. */
static int local_target(const mp_value *args)
{
    (void)args;
    return 5;
}

TEST_METHODS(a_target_that_the_child_lacks_is_named)
{
    EXPECT_OK(mp_target_add("local_target", local_target));
    EXPECT_OK(mp_target_add("local_target", local_target));
    EXPECT_EQ(mp_target_add("exit_with", local_target), -EEXIST);
    mp_process *p = started(mp_context_process(IN, "local_target", mp_value_tuple(NULL, 0)));
    if (strcmp(method, "fork") == 0) {
        EXPECT_EQ(joined(p), 5);
        return;
    }
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ESTARTUP);
    EXPECT_HAS(mp_error_detail(), "'local_target' is not registered");
    EXPECT_HAS(mp_error_detail(), mp_process_name(p));
    mp_process_free(p);
}

TEST(a_program_that_is_not_ours_is_named)
{
    EXPECT_OK(mp_set_executable("/bin/true"));
    mp_process *p = started(MP_PROCESS_IN(mp_get_context("spawn"), exit_with, 1));
    EXPECT_EQ(mp_process_join(p, SECONDS), MP_ESTARTUP);
    EXPECT_HAS(mp_error_detail(), "mp_main()");
    mp_process_free(p);
    EXPECT_OK(mp_set_executable("/nonexistent/program"));
    p = MP_PROCESS_IN(mp_get_context("spawn"), exit_with, 1);
    EXPECT_EQ(mp_process_start(p), -ENOENT);
    EXPECT_HAS(mp_error_detail(), "/nonexistent/program");
    EXPECT_OK(mp_set_executable(NULL));
    EXPECT_OK(mp_process_start(p)); /* it can be tried again */
    EXPECT_EQ(joined(p), 1);
}

/* ---- daemons, grandchildren, orphans ---- */

MP_TARGET(start_child_and_tell, (mp_connection *, c), (const char *, method), (int, daemon))
{
    mp_process_options o = MP_PROCESS_OPTIONS_INIT;
    o.context = IN;
    o.daemon = daemon;
    mp_process *p = MP_PROCESS_WITH(&o, tell_about_me, c);
    int r = p ? mp_process_start(p) : mp_error_code();
    if (r < 0)
        return mp_connection_send(c, mp_v(r), SECONDS);
    r = mp_process_join(p, SECONDS);
    mp_process_free(p);
    return r;
}

TEST_METHODS(grandchildren)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    mp_process *p = started(MP_PROCESS_IN(IN, start_child_and_tell, b, method, 0));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_STR(mp_value_get_str(mp_value_lookup_str(v, "name"), NULL), "Process-1:1");
    EXPECT_STR(mp_value_get_str(mp_value_lookup_str(v, "parent_name"), NULL), "Process-1");
    EXPECT_EQ(number(v, "parent"), mp_process_pid(p));
    mp_value_free(v);
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(a);
    mp_connection_free(b);
}

TEST_METHODS(daemons_may_not_have_children)
{
    mp_connection *a, *b;
    mp_value *v;
    int64_t r;
    mp_process_options o = MP_PROCESS_OPTIONS_INIT;
    EXPECT_OK(mp_pipe(0, &a, &b));
    o.context = IN;
    o.daemon = 1;
    mp_process *p = started(MP_PROCESS_WITH(&o, start_child_and_tell, b, method, 0));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_OK(mp_value_get_int(v, &r));
    EXPECT_EQ(r, MP_EDAEMON);
    mp_value_free(v);
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* Starts a child of that kind, tells its pid, and ends: by returning, by exit or by SIGKILL. */
MP_TARGET(leave_a_child, (mp_connection *, c), (const char *, method), (int, daemon), (int, orphan),
          (const char *, how))
{
    mp_process_options o = MP_PROCESS_OPTIONS_INIT;
    o.context = IN;
    o.daemon = daemon;
    o.orphan = (mp_orphan)orphan;
    mp_process *p = MP_PROCESS_WITH(&o, wait_for_ever);
    if (mp_process_start(p) < 0)
        return 1;
    mp_connection_send(c, mp_value_fd(mp_process_sentinel(p)), SECONDS);
    mp_process_free(p);
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    return 0;
}

static int left_child(const char *method, int daemon, mp_orphan orphan, const char *how,
                      mp_process **ret_parent)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    *ret_parent = started(MP_PROCESS_IN(IN, leave_a_child, b, method, daemon, (int)orphan, how));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    int sentinel = mp_value_get_fd(v);
    EXPECT(sentinel >= 0);
    mp_value_free(v);
    mp_connection_free(a);
    mp_connection_free(b);
    return sentinel;
}

TEST_METHODS(daemons_end_with_their_parent)
{
    static const char *const ways[] = {"return", "exit", "_exit", "kill"};
    for (int i = 0; i < 4; i++) {
        mp_process *parent;
        int sentinel = left_child(method, 1, MP_ORPHAN_DEFAULT, ways[i], &parent);
        mp_waitable w = MP_WAIT_FD(sentinel);
        EXPECT_OK(mp_process_join(parent, SECONDS));
        EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
        close(sentinel);
        mp_process_free(parent);
    }
}

TEST_METHODS(orphans_do_what_they_were_told)
{
    mp_process *parent;
    int sentinel = left_child(method, 0, MP_ORPHAN_KILL, "kill", &parent);
    mp_waitable w = MP_WAIT_FD(sentinel);
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    EXPECT_EQ(joined(parent), -SIGKILL);
    close(sentinel);
    sentinel = left_child(method, 0, MP_ORPHAN_DEFAULT, "kill", &parent);
    w = (mp_waitable)MP_WAIT_FD(sentinel);
    EXPECT_EQ(joined(parent), -SIGKILL);
    EXPECT_EQ(mp_wait(&w, 1, MP_MS(150)), 0); /* not a daemon: it goes on */
    EXPECT_EQ(syscall(SYS_pidfd_send_signal, sentinel, SIGKILL, NULL, 0), 0);
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    close(sentinel);
}

MP_TARGET(tell_late, (mp_connection *, c))
{
    mp_wait(NULL, 0, MP_MS(100));
    return mp_connection_send(c, mp_v("done"), SECONDS);
}
MP_TARGET(start_tell_late, (mp_connection *, c), (const char *, method))
{
    mp_process *p = MP_PROCESS_IN(IN, tell_late, c);
    int r = mp_process_start(p);
    mp_process_free(p); /* it is joined at exit all the same */
    return r != 0;
}

TEST_METHODS(other_children_are_joined_at_exit)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    mp_process *p = started(MP_PROCESS_IN(IN, start_tell_late, b, method));
    mp_connection_free(b);
    EXPECT_EQ(joined(p), 0);
    EXPECT_OK(mp_connection_recv(a, &v, MP_NOWAIT)); /* so the grandchild was joined first */
    EXPECT_STR(harness_repr(v), "'done'");
    mp_connection_free(a);
}

/* ---- at-exit handlers and stdio ---- */

static mp_connection *exit_connection;

static void tell_parent_handler(void)
{
    if (exit_connection)
        mp_connection_send(exit_connection, mp_v("parent's handler"), SECONDS);
}
static void tell_child_handler(void)
{
    mp_connection_send(exit_connection, mp_v("child's handler"), SECONDS);
}
MP_TARGET(register_handler, (mp_connection *, c), (int, by_exit))
{
    exit_connection = mp_connection_ref(c);
    atexit(tell_child_handler);
    if (by_exit)
        exit(0);
    return 0;
}

TEST_METHODS(at_exit_handlers_of_the_child_run_once)
{
    atexit(tell_parent_handler);
#ifdef __GLIBC__
    const int ways = 2;
#else
    const int ways = strcmp(method, "spawn") == 0 ? 2 : 1; /* musl: KNOWN_ISSUES.md */
#endif
    for (int by_exit = 0; by_exit < ways; by_exit++) {
        mp_connection *a, *b;
        mp_value *v;
        EXPECT_OK(mp_pipe(0, &a, &b));
        mp_process *p = started(MP_PROCESS_IN(IN, register_handler, b, by_exit));
        mp_connection_free(b);
        EXPECT_EQ(joined(p), 0);
        EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
        EXPECT_STR(harness_repr(v), "\"child's handler\"");
        EXPECT_EQ(mp_connection_recv(a, &v, SECONDS), MP_EOF);
        mp_connection_free(a);
    }
}

MP_TARGET(print_line, (const char *, path))
{
    printf("child\n");
    if (*path) {
        FILE *f = fopen(path, "w"); /* never closed: exit writes it */
        fprintf(f, "unflushed");
    }
    return 0;
}

TEST_METHODS(buffered_output_is_written_once)
{
    char out[] = "/tmp/multiproc-test-XXXXXX", other[] = "/tmp/multiproc-test-XXXXXX", text[200];
    int fd = mkstemp(out), fd2 = mkstemp(other);
    EXPECT(fd >= 0 && fd2 >= 0);
    fflush(stdout);
    int saved = dup(1);
    dup2(fd, 1);
    setvbuf(stdout, NULL, _IOFBF, 4096);
    printf("parent\n");
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, print_line, (const char *)other))), 0);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    close(fd);
    close(fd2);
    EXPECT(harness_read(out, text, sizeof text));
    EXPECT_STR(text, "parent\nchild\n");
    EXPECT(harness_read(other, text, sizeof text));
    EXPECT_STR(text, "unflushed");
    unlink(out);
    unlink(other);
}

/* ---- the host's own affairs ---- */

TEST_METHODS(hosts_children_are_left_alone)
{
    int status;
    pid_t own = fork();
    if (own == 0)
        _exit(33);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, i))), i);
    EXPECT_EQ(mp_process_children(NULL, 0), 0);
    EXPECT_EQ(waitpid(own, &status, 0), own);
    EXPECT_EQ(WEXITSTATUS(status), 33);
}

TEST_METHODS(a_host_that_ignores_sigchld)
{
    int code = 1;
    signal(SIGCHLD, SIG_IGN);
    mp_process *p = started(MP_PROCESS_IN(IN, wait_for_ever));
    EXPECT_EQ(mp_process_is_alive(p), 1);
    EXPECT_OK(mp_process_kill(p));
    EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_EQ(mp_process_is_alive(p), 0);
    EXPECT_OK(mp_process_exit_code(p, &code));
    EXPECT(code == -SIGKILL || code == MP_EXIT_UNKNOWN);
    mp_process_free(p);
    for (int i = 0; i < 20; i++) { /* gone before anyone looks */
        p = started(MP_PROCESS_IN(IN, exit_with, 4));
        EXPECT_OK(mp_process_join(p, SECONDS));
        EXPECT_OK(mp_process_exit_code(p, &code));
        EXPECT(code == 4 || code == MP_EXIT_UNKNOWN);
        mp_process_free(p);
    }
    struct sigaction now;
    sigaction(SIGCHLD, NULL, &now);
    EXPECT(now.sa_handler == SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

TEST_METHODS(a_host_that_reaps_everything)
{
    int code = 1;
    mp_process *p = started(MP_PROCESS_IN(IN, exit_with, 9));
    mp_waitable w = MP_WAIT_PROCESS(p);
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_OK(mp_process_exit_code(p, &code));
    EXPECT(code == 9 || code == MP_EXIT_UNKNOWN);
    EXPECT_EQ(mp_process_is_alive(p), 0);
    mp_process_free(p);
}

TEST_METHODS(signal_mask_and_dispositions_stay)
{
    sigset_t mask, before, after;
    struct sigaction old[65], now;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    for (int s = 1; s < 65; s++)
        if (sigaction(s, NULL, &old[s]) < 0)
            old[s].sa_handler = SIG_DFL;
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 0))), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int s = 1; s < 65; s++) {
        EXPECT_EQ(sigismember(&before, s), sigismember(&after, s));
        EXPECT(sigaction(s, NULL, &now) < 0 || now.sa_handler == old[s].sa_handler);
    }
}

/* ---- descriptors of a fresh image ---- */

MP_TARGET(list_descriptors, (mp_connection *, c), (mp_connection *, extra))
{
    mp_value *items[64];
    size_t n = 0;
    (void)extra;
    for (int fd = 3; fd < 256 && n < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            items[n++] = mp_v(fd);
    return mp_connection_send(c, mp_value_list(items, n), SECONDS);
}

TEST_METHODS(only_the_needed_descriptors_reach_a_fresh_image)
{
    if (strcmp(method, "fork") == 0)
        return;
    mp_connection *a, *b, *x, *y;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    EXPECT_OK(mp_pipe(1, &x, &y));
    int leaky = dup2(0, 77); /* not close-on-exec */
    mp_process *p = started(MP_PROCESS_IN(IN, list_descriptors, b, y));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_EQ(mp_value_len(v), 4); /* arena, life pipe, b, y */
    mp_value_free(v);
    EXPECT_EQ(joined(p), 0);
    close(leaky);
    mp_connection_free(a);
    mp_connection_free(b);
    mp_connection_free(x);
    mp_connection_free(y);
}

MP_TARGET(check_payload, (const char *, text), (mp_value *, v), (double, d), (bool, flag),
          (unsigned long long, big))
{
    size_t n = strlen(text);
    return !(n == 300000 && text[n - 1] == 'z' && mp_value_len(v) == 3 && d == 0.5 && flag &&
             big == UINT64_MAX);
}

TEST_METHODS(large_and_typed_arguments)
{
    char *text = malloc(300001);
    memset(text, 'z', 300000);
    text[300000] = 0;
    mp_value *list = mp_list_of(mp_v(1), mp_v(2), mp_value_none());
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, check_payload, text, list, 0.5, true, UINT64_MAX))),
              0);
    free(text);
}

/* ---- threads ---- */

static void *join_it(void *arg)
{
    return (void *)(intptr_t)mp_process_join(arg, SECONDS);
}

TEST_METHODS(two_threads_join_one_process)
{
    for (int i = 0; i < 20; i++) {
        pthread_t t[3];
        void *r;
        mp_process *p = started(MP_PROCESS_IN(IN, exit_with, 2));
        for (int k = 0; k < 3; k++)
            EXPECT_OK(pthread_create(&t[k], NULL, join_it, p));
        for (int k = 0; k < 3; k++) {
            pthread_join(t[k], &r);
            EXPECT_OK((intptr_t)r);
        }
        EXPECT_EQ(joined(p), 2);
    }
}

static void *start_and_join(void *arg)
{
    const char *method = arg;
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 11))), 11);
    return NULL;
}

TEST_METHODS(any_thread_may_start)
{
    pthread_t t[4];
    for (int k = 0; k < 4; k++)
        EXPECT_OK(pthread_create(&t[k], NULL, start_and_join, (void *)(uintptr_t)method));
    for (int k = 0; k < 4; k++)
        pthread_join(t[k], NULL);
}

static void *sleep_in_getc(void *arg)
{
    (void)fgetc(arg);
    return NULL;
}

/* A thread that waits for input holds its stream's lock; a start must not wait for that. */
TEST_METHODS(a_thread_in_stdio_does_not_stop_a_start)
{
#ifndef __GLIBC__ /* musl keeps the stream locked in a forked child: KNOWN_ISSUES.md */
    if (strcmp(method, "fork") == 0)
        return;
#endif
    int p[2];
    pthread_t t;
    EXPECT_OK(pipe(p));
    FILE *f = fdopen(p[0], "r");
    EXPECT_OK(pthread_create(&t, NULL, sleep_in_getc, f));
    mp_wait(NULL, 0, MP_MS(20));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 1))), 1);
    close(p[1]);
    pthread_join(t, NULL);
    fclose(f);
}

TEST_METHODS(children_list)
{
    mp_process *p[3], *all[8];
    for (int i = 0; i < 3; i++)
        p[i] = started(MP_PROCESS_IN(IN, wait_for_ever));
    EXPECT_EQ(mp_process_children(all, 8), 3);
    for (int i = 0; i < 3; i++) {
        EXPECT(all[i] == p[i]);
        mp_process_free(all[i]);
    }
    EXPECT_OK(mp_process_kill(p[1]));
    EXPECT_OK(mp_process_join(p[1], SECONDS));
    EXPECT_EQ(mp_process_children(NULL, 0), 2);
    EXPECT_OK(mp_process_kill(p[0]));
    EXPECT_OK(mp_process_kill(p[2]));
    EVENTUALLY(mp_process_children(NULL, 0) == 0);
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(mp_process_join(p[i], SECONDS)); /* its exit code may still be on its way */
        mp_process_free(p[i]);
    }
}

MP_TARGET(use_parents_child, (int, unused))
{
    (void)unused;
    mp_process *all[4];
    return mp_process_children(all, 4) == 0 ? 0 : 1;
}

static mp_process *inherited;

MP_TARGET(join_inherited)
{
    return mp_process_join(inherited, MP_NOWAIT) == MP_EFOREIGN &&
                   mp_process_kill(inherited) == MP_EFOREIGN &&
                   mp_process_is_alive(inherited) == MP_EFOREIGN
               ? 0
               : 1;
}

TEST(handles_of_siblings_are_foreign_in_a_forked_child)
{
    inherited = started(MP_PROCESS(wait_for_ever));
    EXPECT_EQ(joined(started(MP_PROCESS(use_parents_child, 0))), 0);
    EXPECT_EQ(joined(started(MP_PROCESS(join_inherited))), 0);
    EXPECT_OK(mp_process_kill(inherited));
    EXPECT_EQ(joined(inherited), -SIGKILL);
}

/* ---- contexts ---- */

TEST(start_method_can_be_set_once)
{
    EXPECT_EQ(mp_set_start_method("teleport", 0), MP_ECONTEXT);
    EXPECT_OK(mp_set_start_method("spawn", 0));
    EXPECT_STR(mp_get_start_method(), "spawn");
    EXPECT_EQ(mp_set_start_method("fork", 0), MP_ECONTEXT);
    EXPECT_HAS(mp_error_detail(), "'spawn' already");
    EXPECT_OK(mp_set_start_method("forkserver", 1));
    EXPECT_STR(mp_get_start_method(), "forkserver");
    EXPECT_STR(mp_context_method(mp_get_context("fork")), "fork");
    EXPECT_STR(mp_context_method(mp_get_context(NULL)), "forkserver");
    EXPECT(mp_get_context("teleport") == NULL);
    EXPECT_EQ(joined(started(MP_PROCESS(exit_with, 6))), 6);
}

TEST(start_method_is_fixed_by_use)
{
    EXPECT_STR(mp_get_start_method(), "fork");
    EXPECT_EQ(mp_set_start_method("spawn", 0), MP_ECONTEXT);
}

MP_TARGET(tell_method, (mp_connection *, c))
{
    return mp_connection_send(c, mp_v(mp_get_start_method()), SECONDS);
}

TEST_METHODS(children_inherit_the_default_method)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    EXPECT_OK(mp_set_start_method("spawn", 0));
    mp_process *p = started(MP_PROCESS_IN(IN, tell_method, b));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    EXPECT_STR(harness_repr(v), "'spawn'");
    EXPECT_EQ(joined(p), 0);
    mp_connection_free(a);
    mp_connection_free(b);
}

static int preloaded;
static int preload_me(void)
{
    preloaded = 123;
    return 0;
}
static int preload_fails(void)
{
    return 3;
}
__attribute__((constructor)) static void register_preloads(void)
{
    mp_preload_add("preload_me", preload_me);
    mp_preload_add("preload_fails", preload_fails);
}
MP_TARGET(return_preloaded)
{
    return preloaded;
}

TEST(fork_server_preloads)
{
    const char *names[] = {"preload_me"}, *fails[] = {"preload_me", "preload_fails"};
    const char *unknown[] = {"nobody"};
    mp_context *c = mp_context_new("forkserver"), *other = mp_context_new("forkserver");
    EXPECT_EQ(mp_context_set_preload(c, unknown, 1), MP_ENOTARGET);
    EXPECT_OK(mp_context_set_preload(c, names, 1));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(c, return_preloaded))), 123);
    EXPECT_EQ(mp_context_set_preload(c, names, 1), MP_ESTARTED);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(other, return_preloaded))), 0);
    EXPECT(mp_context_server_pid(c) != mp_context_server_pid(other));
    EXPECT_OK(mp_context_stop(other));
    EXPECT_OK(mp_context_set_preload(other, fails, 2));
    mp_process *p = MP_PROCESS_IN(other, return_preloaded);
    EXPECT_EQ(mp_process_start(p), MP_ESTARTUP);
    EXPECT_HAS(mp_error_detail(), "preload_fails");
    mp_process_free(p);
    mp_context_free(c);
    mp_context_free(other);
}

TEST(fork_server_is_restarted_when_killed)
{
    mp_context *c = mp_get_context("forkserver");
    mp_process *p = started(MP_PROCESS_IN(c, wait_for_ever));
    pid_t server = mp_context_server_pid(c);
    EXPECT(server > 1);
    EXPECT_OK(kill(server, SIGKILL));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(joined(started(MP_PROCESS_IN(c, exit_with, i))), i);
    EXPECT(mp_context_server_pid(c) != server);
    EXPECT_EQ(mp_process_is_alive(p), 1); /* its children go on */
    EXPECT_OK(mp_process_kill(p));
    int code;
    EXPECT_OK(mp_process_join(p, SECONDS));
    EXPECT_OK(mp_process_exit_code(p, &code));
    EXPECT(code == -SIGKILL || code == MP_EXIT_UNKNOWN);
    mp_process_free(p);
}

/* A forked child must not take its parent's fork servers for its own. */
TEST_METHODS(a_child_of_an_owner_of_a_fork_server_ends)
{
    EXPECT_EQ(joined(started(MP_PROCESS_IN(mp_get_context("forkserver"), exit_with, 1))), 1);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 2))), 2);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(mp_get_context("forkserver"), exit_with, 3))), 3);
}

static _Atomic bool hammering = true;

static void *kill_servers(void *arg)
{
    while (hammering) {
        pid_t server = mp_context_server_pid(arg);
        if (server > 1)
            kill(server, SIGKILL);
        mp_wait(NULL, 0, MP_MS(3));
    }
    return NULL;
}

/* Each child runs exactly once or its start fails: the pipe counts. */
MP_TARGET(count_once, (mp_connection *, c), (int, i))
{
    return mp_connection_send(c, mp_v(i), SECONDS) != 0;
}

TEST(killing_the_fork_server_never_doubles_a_child)
{
    mp_context *c = mp_get_context("forkserver");
    mp_connection *a, *b;
    pthread_t t;
    int ran[100] = {0}, begun[100] = {0};
    EXPECT_OK(mp_pipe(0, &a, &b));
    EXPECT_OK(pthread_create(&t, NULL, kill_servers, c));
    for (int i = 0; i < 100; i++) {
        mp_process *p = MP_PROCESS_IN(c, count_once, b, i);
        int r = mp_process_start(p);
        begun[i] = r == 0;
        EXPECT(r == 0 || r == MP_ESTARTUP);
        if (r == 0)
            EXPECT_OK(mp_process_join(p, SECONDS));
        mp_process_free(p);
    }
    hammering = false;
    pthread_join(t, NULL);
    mp_connection_free(b);
    mp_value *v;
    while (mp_connection_recv(a, &v, SECONDS) == 0) {
        int64_t i;
        EXPECT_OK(mp_value_get_int(v, &i));
        ran[i]++;
        mp_value_free(v);
    }
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(ran[i], begun[i]);
    mp_connection_free(a);
}

MP_TARGET(tell_server, (mp_connection *, c))
{
    mp_context *s = mp_get_context("forkserver");
    mp_process_options o = MP_PROCESS_OPTIONS_INIT;
    o.context = s;
    o.orphan = MP_ORPHAN_KILL;
    if (mp_process_start(MP_PROCESS_WITH(&o, wait_for_ever)) < 0)
        return 1;
    long fd = syscall(SYS_pidfd_open, mp_context_server_pid(s), 0);
    mp_connection_send(c, mp_value_fd((int)fd), SECONDS);
    raise(SIGKILL);
    return 0;
}

TEST(fork_server_goes_with_its_owner)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(0, &a, &b));
    mp_process *p = started(MP_PROCESS_IN(mp_get_context("spawn"), tell_server, b));
    EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
    int server = mp_value_get_fd(v);
    mp_value_free(v);
    mp_waitable w = MP_WAIT_FD(server);
    EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
    close(server);
    EXPECT_EQ(joined(p), -SIGKILL);
    mp_connection_free(a);
    mp_connection_free(b);
}

/* ---- host hooks ---- */

static int hook_calls[4];
static void hook_before(void *data)
{
    ++*(int *)data;
    hook_calls[0]++;
}
static void hook_parent(void *data)
{
    (void)data;
    hook_calls[1]++;
}
static void hook_child(void *data)
{
    (void)data;
    hook_calls[2]++;
}
static int hook_run(void *data, const char *target, const mp_value *args)
{
    int64_t n = 0;
    (void)data;
    mp_value_get_int(mp_value_item(args, 0), &n);
    return strcmp(target, "anything") == 0 && hook_calls[0] == 1 && hook_calls[1] == 0 &&
                   hook_calls[2] == 1
               ? (int)n
               : 99;
}

TEST(host_hooks_around_fork)
{
    int data = 0;
    mp_host host = MP_HOST_INIT;
    host.data = &data;
    host.before_fork = hook_before;
    host.after_fork_parent = hook_parent;
    host.after_fork_child = hook_child;
    host.run = hook_run;
    EXPECT_OK(mp_host_set(&host));
    EXPECT_EQ(joined(started(mp_process_new("anything", mp_tuple_of(mp_v(21)), NULL))), 21);
    EXPECT_EQ(data, 1);
    EXPECT_EQ(hook_calls[1], 1);
    EXPECT_EQ(hook_calls[2], 0);
    EXPECT_OK(mp_host_set(NULL));
}

static int host_command(void *data, mp_image image, int fd, char ***ret_argv, char ***ret_envp)
{
    static char number[16], variable[] = "HOST_VARIABLE=set";
    static char *argv[4], *envp[] = {variable, NULL};
    (void)data;
    snprintf(number, sizeof number, "%d", fd);
    argv[0] = (char *)(uintptr_t) "/proc/self/exe";
    argv[1] =
        (char *)(uintptr_t)(image == MP_IMAGE_CHILD ? "--multiproc-child" : "--multiproc-server");
    argv[2] = number;
    *ret_argv = argv;
    *ret_envp = envp;
    return 0;
}
MP_TARGET(check_environment)
{
    const char *v = getenv("HOST_VARIABLE");
    return v && strcmp(v, "set") == 0 && !getenv("PATH") ? 8 : 1;
}

TEST_METHODS(host_commands)
{
    if (strcmp(method, "fork") == 0)
        return;
    mp_host host = MP_HOST_INIT;
    host.command = host_command;
    EXPECT_OK(mp_host_set(&host));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, check_environment))), 8);
    EXPECT_OK(mp_host_set(NULL));
}

/* ---- limits ---- */

TEST_METHODS(no_descriptors_left)
{
    struct rlimit old, low;
    mp_process *p = MP_PROCESS_IN(IN, exit_with, 3);
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 3))), 3); /* arena and server are there */
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &old));
    low = old;
    for (int room = 0; room < 12; room++) {
        low.rlim_cur = 3 + (rlim_t)harness_count_fds() - 3 + (rlim_t)room;
        EXPECT_OK(setrlimit(RLIMIT_NOFILE, &low));
        int r = mp_process_start(p);
        EXPECT_OK(setrlimit(RLIMIT_NOFILE, &old));
        if (r == 0) {
            EXPECT_EQ(joined(p), 3);
            return;
        }
        EXPECT_EQ(r, -EMFILE);
    }
    harness_fail(__FILE__, __LINE__, "it never started");
}

TEST_METHODS(many_cycles_leave_nothing)
{
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 1))), 1);
    int before = harness_count_fds();
    unsigned slots = mp__slot_used();
    for (int i = 0; i < 200; i++) {
        mp_process *p = started(MP_PROCESS_IN(IN, wait_for_ever));
        EXPECT_OK(mp_process_kill(p));
        EXPECT_EQ(joined(p), -SIGKILL);
    }
    EXPECT_EQ(harness_count_fds(), before);
    EXPECT_EQ(mp__slot_used(), slots);
}

/* ---- found by attack ---- */

MP_TARGET(close_one_use_other, (mp_connection *, x), (mp_connection *, y))
{
    return mp_connection_close(x) < 0 || mp_connection_send(y, mp_v("alive"), SECONDS) < 0;
}

TEST_METHODS(a_connection_given_twice)
{
    mp_connection *a, *b;
    mp_value *v;
    EXPECT_OK(mp_pipe(1, &a, &b));
    mp_process *p = MP_PROCESS_IN(IN, close_one_use_other, b, b);
    if (strcmp(method, "fork") == 0) { /* there both arguments are one handle */
        mp_process_free(p);
    } else {
        started(p);
        EXPECT_OK(mp_connection_recv(a, &v, SECONDS));
        EXPECT_STR(harness_repr(v), "'alive'");
        EXPECT_EQ(joined(p), 0);
    }
    mp_connection_free(a);
    mp_connection_free(b);
}

static mp_process *own_handle;

MP_TARGET(use_own_handle)
{
    int code;
    return mp_process_join(own_handle, MP_NOWAIT) == MP_EFOREIGN &&
                   mp_process_terminate(own_handle) == MP_EFOREIGN &&
                   mp_process_exit_code(own_handle, &code) == MP_EFOREIGN &&
                   mp_process_set_name(own_handle, "x") == MP_EFOREIGN &&
                   mp_process_start(own_handle) == MP_EFOREIGN
               ? 0
               : 1;
}

TEST(the_copy_of_ones_own_handle_is_foreign)
{
    own_handle = MP_PROCESS(use_own_handle);
    EXPECT_EQ(joined(started(own_handle)), 0);
}

TEST_METHODS(close_as_soon_as_it_has_ended)
{
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 0))), 0);
    int before = harness_count_fds();
    for (int i = 0; i < 30; i++) {
        mp_process *p = started(MP_PROCESS_IN(IN, wait_for_ever));
        mp_waitable w = MP_WAIT_PROCESS(p);
        EXPECT_OK(mp_process_kill(p));
        EXPECT_EQ(mp_wait(&w, 1, SECONDS), 1);
        EXPECT_OK(mp_process_close(p));
        mp_process_free(p);
    }
    EXPECT_EQ(harness_count_fds(), before);
}

MP_TARGET(without_standard_streams, (mp_connection *, c), (const char *, method))
{
    close(0);
    close(1);
    close(2);
    mp_connection *a, *b, *got;
    mp_value *v;
    if (mp_pipe(1, &a, &b) || mp_connection_fd(a) < 3 || mp_connection_fd(b) < 3)
        return 1;
    if (mp_connection_send(a, mp_v(b), SECONDS) || mp_connection_recv(b, &v, SECONDS) ||
        mp_value_get_connection(v, &got) || mp_connection_fd(got) < 3)
        return 2;
    mp_process *p = MP_PROCESS_IN(IN, exit_with, 5);
    int code;
    if (mp_process_start(p) || mp_process_sentinel(p) < 3 || mp_process_join(p, SECONDS) ||
        mp_process_exit_code(p, &code) || code != 5)
        return 3;
    mp_process_free(p);
    mp_value_free(v);
    mp_connection_free(a);
    mp_connection_free(b);
    return mp_connection_send(c, mp_v("fine"), SECONDS) != 0;
}

TEST_METHODS(closed_standard_streams)
{
    mp_connection *a, *b;
    EXPECT_OK(mp_pipe(0, &a, &b));
    EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, without_standard_streams, b, method))), 0);
    mp_connection_free(a);
    mp_connection_free(b);
}

static void *fork_by_hand(void *arg)
{
    while (!*(_Atomic bool *)arg) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
    }
    return NULL;
}

TEST_METHODS(forks_of_another_thread)
{
    static _Atomic bool stop;
    pthread_t t;
    stop = false;
    EXPECT_OK(pthread_create(&t, NULL, fork_by_hand, (void *)&stop));
    for (int i = 0; i < 15; i++) {
        EXPECT_OK(mp_context_stop(mp_get_context("forkserver")));
        EXPECT_EQ(joined(started(MP_PROCESS_IN(IN, exit_with, 2))), 2);
    }
    stop = true;
    pthread_join(t, NULL);
}

static void *start_thread(void *arg)
{
    return (void *)(intptr_t)mp_process_start(arg);
}

TEST(a_stopped_fork_server_holds_up_only_starts)
{
    mp_context *c = mp_get_context("forkserver");
    pthread_t t;
    void *r;
    EXPECT_EQ(joined(started(MP_PROCESS_IN(c, exit_with, 1))), 1);
    pid_t server = mp_context_server_pid(c);
    EXPECT_OK(kill(server, SIGSTOP));
    mp_process *p = MP_PROCESS_IN(c, exit_with, 2);
    EXPECT_OK(pthread_create(&t, NULL, start_thread, p));
    mp_wait(NULL, 0, MP_MS(30));
    EXPECT_EQ(mp_process_children(NULL, 0), 0);
    EXPECT_EQ(mp_context_server_pid(c), server);
    EXPECT_EQ(mp_process_join(p, MP_NOWAIT), MP_ENOTSTARTED);
    EXPECT_EQ(mp_process_start(p), MP_ESTARTED);
    EXPECT_EQ(mp_process_close(p), MP_ERUNNING);
    EXPECT_OK(kill(server, SIGCONT));
    pthread_join(t, &r);
    EXPECT_OK((intptr_t)r);
    EXPECT_EQ(joined(p), 2);
}
