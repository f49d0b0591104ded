/* SPDX-License-Identifier: MIT */
/*
 * Owns the list of descriptors that travel beside the bytes of a message.  Process-local.
 */
#include "value/pickle.h"

int mp__attach(mp__attachments *a, int fd, void (*release)(void *), void *object)
{
    if (a->n >= MP__MAX_FDS) {
        if (release)
            release(object);
        return mp__fail(-E2BIG, "a message can carry at most %d descriptors", MP__MAX_FDS);
    }
    if (release) {
        a->held[a->nheld].release = release;
        a->held[a->nheld++].object = object;
    }
    a->fds[a->n] = fd;
    return a->n++;
}

void mp__attachments_release(mp__attachments *a)
{
    for (int i = 0; i < a->nheld; i++)
        a->held[i].release(a->held[i].object);
    a->nheld = a->n = 0;
}

void mp__attachments_close(mp__attachments *a)
{
    for (int i = 0; i < a->n; i++)
        mp__os_close(a->fds[i]);
    a->n = 0;
}
