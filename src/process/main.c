/* SPDX-License-Identifier: MIT */
/* Owns the entry of fresh images: mp_main() and mp_child_main(). */
#include <limits.h>
#include <stdio.h>

#include "process/process.h"

static _Atomic bool seen;
static char *_Atomic program;

bool mp__main_seen(void)
{
    return atomic_load(&seen) || mp__host()->command;
}

const char *mp__program_name(void)
{
    const char *name = atomic_load(&program);
#ifdef __GLIBC__
    extern char *program_invocation_name;
    if (!name)
        name = program_invocation_name;
#endif
    return name ? name : "multiproc";
}

void mp_main(int argc, char **argv)
{
    if (argc > 0 && argv && argv[0] && !atomic_load(&program))
        atomic_store(&program, mp__strdup(argv[0]));
    atomic_store(&seen, true);
    if (argc != 3 ||
        (strcmp(argv[1], "--multiproc-child") != 0 && strcmp(argv[1], "--multiproc-server") != 0))
        return;
    if (mp__os_is_privileged()) /* setuid: its caller must not choose what it runs */
        return;
    char *end;
    long fd = strtol(argv[2], &end, 10);
    if (*end || fd < 0 || fd > INT_MAX)
        return;
    int r = mp_child_main((int)fd);
    mp_log_to_stderr(MP_LOG_ERROR);
    mp__log(MP_LOG_ERROR, "%s: cannot run as a child: %s: %s", mp__program_name(), mp_error_name(r),
            mp_error_detail());
    mp__os_exit_now(1);
}

int mp_child_main(int fd)
{
    mp__clear_detail();
    mp__payload payload;
    int r = mp__payload_read(fd, NULL, 0, &payload);
    if (r < 0)
        return r;
    mp__os_close(fd);
    if (payload.birth.log_level)
        mp_log_to_stderr(payload.birth.log_level);
    mp__context_inherit(payload.birth.method);
    if (payload.image == MP_IMAGE_SERVER)
        mp__server_main(&payload);
    mp__child_run(&payload.birth);
}
