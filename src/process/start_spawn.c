/* SPDX-License-Identifier: MIT */
/*
 * Owns the start of fresh images, for the method spawn and for fork servers.  What the image needs
 * to know is in a memory file whose descriptor is named on its command line; with it the image gets
 * the descriptors that the payload lists and no others.
 */
#include <stdio.h>

#include "process/process.h"

static int command_line(mp_image image, int file, char *text, size_t size, char **argv,
                        mp__spawn *spawn)
{
    const mp_host *host = mp__host();
    char **host_argv = NULL, **host_envp = NULL;
    if (host->command) {
        int r = host->command(host->data, image, file, &host_argv, &host_envp);
        if (r < 0 || !host_argv || !host_argv[0])
            return r < 0 ? r : -EINVAL;
        spawn->path = host_argv[0];
        spawn->argv = host_argv;
        spawn->envp = host_envp;
        return 0;
    }
    snprintf(text, size, "%d", file);
    argv[0] = (char *)(uintptr_t)mp__program_name();
    argv[1] =
        (char *)(uintptr_t)(image == MP_IMAGE_CHILD ? "--multiproc-child" : "--multiproc-server");
    argv[2] = text;
    argv[3] = NULL;
    spawn->path = mp__executable();
    spawn->argv = argv;
    return 0;
}

int mp__spawn_image(mp_image image, const mp_process *process, const mp_context *server,
                    int control, int life, pid_t *ret_pid, int *ret_pidfd)
{
    mp__attachments attachments;
    mp__attachments_init(&attachments, process ? mp__tag_of(process->slot) : 0);
    int file = -1, keep[MP__MAX_FDS + 4];
    int r = mp__arena_ensure();
    if (r == 0)
        r = mp__payload_write(process, server, control, life, &attachments, &file);
    if (r == 0) {
        char number[16], *argv[4];
        mp__spawn spawn = {.keep = keep};
        keep[spawn.nkeep++] = file;
        keep[spawn.nkeep++] = mp__arena_fd();
        if (control >= 0)
            keep[spawn.nkeep++] = control;
        for (int i = 0; i < attachments.n; i++)
            keep[spawn.nkeep++] = attachments.fds[i];
        r = command_line(image, file, number, sizeof number, argv, &spawn);
        if (r == 0)
            r = mp__os_spawn(&spawn, ret_pid, ret_pidfd);
        if (r < 0)
            mp__fail(r, "cannot start a fresh image of %s",
                     spawn.path ? spawn.path : mp__program_name());
    }
    mp__os_close(file);
    mp__attachments_release(&attachments, r == 0);
    return r;
}

int mp__start_spawn(mp_process *p)
{
    return mp__spawn_image(MP_IMAGE_CHILD, p, NULL, -1, p->life[0], &p->pid, &p->pidfd);
}
