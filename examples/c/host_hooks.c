/* SPDX-License-Identifier: MIT */
/*
 * A host with a lock of its own keeps it over each fork, so that no child is born with it held by a
 * thread that the child does not have.  Under spawn nothing is forked and no hook runs; under
 * forkserver they run in the fork server, because main() installs them before mp_main().
 */
#include <pthread.h>

#include "example.h"

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *text)
{
    pthread_mutex_lock(&log_lock);
    printf("%s\n", text);
    pthread_mutex_unlock(&log_lock);
}

static void before_fork(void *data)
{
    pthread_mutex_lock(data);
    printf("before the fork\n");
}

static void after_fork_parent(void *data)
{
    printf("after the fork, in the parent\n");
    pthread_mutex_unlock(data);
}

static void after_fork_child(void *data)
{
    printf("after the fork, in the child\n");
    pthread_mutex_unlock(data);
}

MP_TARGET(child)
{
    say("the child runs");
    return 0;
}

int main(int argc, char **argv)
{
    mp_host host = MP_HOST_INIT;
    host.data = &log_lock;
    host.before_fork = before_fork;
    host.after_fork_parent = after_fork_parent;
    host.after_fork_child = after_fork_child;
    check(mp_host_set(&host));
    mp_main(argc, argv);
    example_start_method(argc, argv);

    mp_process *p = MP_PROCESS(child);
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    say("the parent is done");
    mp_process_free(p);
    return 0;
}
