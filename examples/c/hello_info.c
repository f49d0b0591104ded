/* SPDX-License-Identifier: MIT */
/*
 * Who is who: name, process id and parent of the program and of its child.  Under forkserver the
 * child's ppid is the fork server's; mp_process_parent() is the program under every method.
 */
#include <unistd.h>

#include "example.h"

static void info(const char *title)
{
    printf("%s\n", title);
    printf("process name: %s\n", mp_process_name(mp_process_current()));
    printf("ppid: %d\n", (int)getppid());
    printf("pid: %d\n\n", (int)getpid());
}

MP_TARGET(f, (const char *, name))
{
    info("function f");
    printf("hello %s, from a child of %d\n", name, mp_process_pid(mp_process_parent()));
    return 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    example_start_method(argc, argv);

    info("main line");
    mp_process *p = MP_PROCESS(f, "bob");
    made(p);
    check(mp_process_start(p));
    check(mp_process_join(p, MP_FOREVER));
    mp_process_free(p);
    return 0;
}
