/* SPDX-License-Identifier: MIT */
/*
 * Owns the list of descriptors that travel beside the bytes of a message.  Process-local.
 */
#include "value/pickle.h"

int mp__attach_object(mp__attachments *a, void (*release)(void *, uint32_t, bool), void *object)
{
    if (a->nheld >= MP__MAX_FDS) {
        release(object, a->to, false);
        return mp__fail(-E2BIG, "a message can carry at most %d handles", MP__MAX_FDS);
    }
    a->held[a->nheld].release = release;
    a->held[a->nheld++].object = object;
    return 0;
}

int mp__attach(mp__attachments *a, int fd, void (*release)(void *, uint32_t, bool), void *object)
{
    int r = release ? mp__attach_object(a, release, object) : 0;
    if (r < 0)
        return r;
    if (a->n >= MP__MAX_FDS)
        return mp__fail(-E2BIG, "a message can carry at most %d descriptors", MP__MAX_FDS);
    a->fds[a->n] = fd;
    return a->n++;
}

void mp__attachments_release(mp__attachments *a, bool delivered)
{
    for (int i = 0; i < a->nheld; i++)
        a->held[i].release(a->held[i].object, a->to, delivered);
    a->nheld = a->n = 0;
}

void mp__attachments_close(mp__attachments *a)
{
    for (int i = 0; i < a->n; i++)
        mp__os_close(a->fds[i]);
    a->n = 0;
}
