/* SPDX-License-Identifier: MIT */
/* Owns the running of tests: one process each, with a deadline, leaks counted at its end. */
#include "harness.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#ifdef WITH_CHECK
#include <check.h>
#endif

#define DEADLINE 120 /* seconds for one test */

static harness_test *tests;
static harness_test **last = &tests;

void harness_add(harness_test *test)
{
    *last = test;
    last = &test->next;
}

void harness_fail(const char *file, int line, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    fflush(NULL);
    _exit(99);
}

/* ---- leaks ---- */

typedef struct census {
    int fds, children, files, names;
} census;

static census base;

bool harness_read(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = 0;
    return true;
}

static int count_entries(const char *path, const char *prefix)
{
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

int harness_count_fds(void)
{
    return count_entries("/proc/self/fd", "") - 1; /* the directory itself */
}

static int count_children(void)
{
    char path[64], text[4096];
    int n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (harness_read(path, text, sizeof text))
        for (char *p = text; *p; p++)
            n += *p == ' ';
    return n;
}

int harness_count_files(void)
{
    char line[512];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f))
        n += strstr(line, "memfd:") != NULL;
    if (f)
        fclose(f);
    return n;
}

static census take_census(void)
{
    return (census){harness_count_fds(), count_children(), harness_count_files(),
                    count_entries("/dev/shm", "mp_")};
}

void harness_baseline(void)
{
    base = take_census();
}

static void run_one(const harness_test *t, const char *method)
{
    mp_connection *a, *b; /* what a family keeps: the arena, made by the first process */
    if (mp_pipe(1, &a, &b) == 0) {
        mp_connection_free(a);
        mp_connection_free(b);
    }
    signal(SIGTERM,
           SIG_DFL); /* Check has handlers of its own, which forked children would inherit */
    signal(SIGINT, SIG_DFL);
    harness_baseline();
    if (method)
        t->run_method(method);
    else
        t->run();
    mp_context_stop(mp_get_context("forkserver"));
    census now = take_census();
    if (now.children != base.children)
        harness_fail(t->file, 0, "%s leaves %d children behind", t->name, now.children);
    if (now.fds - base.fds > (now.files > base.files)) /* the arena, if the test made it */
        harness_fail(t->file, 0, "%s leaves %d descriptors behind", t->name, now.fds - base.fds);
    if (now.files > base.files + 1)
        harness_fail(t->file, 0, "%s leaves %d mapped files behind", t->name,
                     now.files - base.files);
    for (int i = 0; now.names > base.names && i < 5000; i++) { /* another test's, for a moment */
        mp_wait(NULL, 0, MP_MS(1));
        now.names = count_entries("/dev/shm", "mp_");
    }
    if (now.names > base.names)
        harness_fail(t->file, 0, "%s leaves names in /dev/shm behind", t->name);
}

const char *harness_repr(mp_value *value)
{
    static char *text;
    free(text);
    text = value ? mp_value_repr(value) : NULL;
    mp_value_free(value);
    return text;
}

mp_process *started(mp_process *process)
{
    if (!process)
        harness_fail(__FILE__, __LINE__, "no process: %s", mp_error_detail());
    EXPECT_OK(mp_process_start(process));
    return process;
}

int joined(mp_process *process)
{
    int code = -12345;
    EXPECT_OK(mp_process_join(process, MP_SECONDS(20)));
    EXPECT_OK(mp_process_exit_code(process, &code));
    EXPECT_EQ(mp_process_is_alive(process), 0);
    mp_process_free(process);
    return code;
}

/* ---- running ---- */

typedef struct run_case {
    const harness_test *test;
    const char *method;
    char name[160];
} run_case;

static run_case *cases;
static int case_count;

static void add_case(const harness_test *t, const char *method, const char *filter)
{
    run_case c = {t, method, ""};
    snprintf(c.name, sizeof c.name, "%s%s%s", t->name, method ? ":" : "", method ? method : "");
    if (filter && !strstr(c.name, filter))
        return;
    cases = realloc(cases, sizeof *cases * (size_t)(case_count + 1));
    cases[case_count++] = c;
}

static void collect(const char *filter)
{
    const char *only = getenv("TEST_METHODS");
    for (const harness_test *t = tests; t; t = t->next) {
        if (!t->run_method)
            add_case(t, NULL, filter);
        for (const char *const *m = mp_get_all_start_methods(); t->run_method && *m; m++)
            if (!only || strstr(only, *m))
                add_case(t, *m, filter);
    }
}

#ifdef WITH_CHECK

static void check_case(int i)
{
    run_one(cases[i].test, cases[i].method);
}

static const TTest check_test = {"case", check_case, __FILE__, __LINE__};

static int run_all(const char *program)
{
    Suite *suite = suite_create(program);
    for (int i = 0; i < case_count; i++) {
        TCase *c = tcase_create(cases[i].name);
        tcase_set_timeout(c, DEADLINE);
        tcase_add_loop_test(c, &check_test, i, i + 1);
        suite_add_tcase(suite, c);
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, getenv("TEST_VERBOSE") ? CK_VERBOSE : CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}

#else

static int run_all(const char *program)
{
    int failed = 0;
    for (int i = 0; i < case_count; i++) {
        fflush(NULL);
        pid_t pid = fork();
        int status = 0;
        if (pid == 0) {
            alarm(DEADLINE);
            run_one(cases[i].test, cases[i].method);
            exit(0);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (status != 0) {
            printf("FAILED: %s (status 0x%x)\n", cases[i].name, status);
            failed++;
        }
    }
    printf("%s: %d passed, %d failed\n", program, case_count - failed, failed);
    return failed;
}

#endif

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    const char *slash = strrchr(argv[0], '/');
    collect(argc > 1 ? argv[1] : NULL);
    int failed = run_all(slash ? slash + 1 : argv[0]);
    free(cases);
    return failed != 0;
}
