/* SPDX-License-Identifier: MIT */
/* Owns waiting on many things at once, by one poll over their descriptors.  Process-local. */
#include "channel/connection.h"

#define MAX_THINGS 65536
#define ON_STACK 64

/* Fills in the descriptors; every entered connection up to *ret_entered must be left. */
static int prepare(mp_waitable *items, size_t n, mp__pollfd *fds, size_t *ret_entered,
                   int *ret_kept)
{
    *ret_kept = 0;
    for (size_t i = 0; i < n; i++) {
        int fd = items[i].fd;
        items[i].ready = 0;
        if (items[i].connection) {
            MP__CHECK(mp__is(items[i].connection, MP__MAGIC_CONNECTION));
            fd = mp__connection_enter(items[i].connection);
            if (fd < 0)
                return fd;
            if (mp__connection_has_kept(items[i].connection)) {
                items[i].ready = 1;
                ++*ret_kept;
            }
        } else if (fd < 0) {
            return mp__fail(fd < -1 ? fd : -EBADF, "thing %zu to wait for has no descriptor", i);
        }
        *ret_entered = i + 1;
        fds[i] = (mp__pollfd){fd, MP__POLLIN, 0};
    }
    return 0;
}

static int collect(mp_waitable *items, size_t n, const mp__pollfd *fds)
{
    int ready = 0;
    for (size_t i = 0; i < n; i++) {
        if (fds[i].revents & MP__POLLNVAL)
            return mp__fail(-EBADF, "descriptor %d is not open", fds[i].fd);
        if (fds[i].revents)
            items[i].ready = 1;
        ready += items[i].ready;
    }
    return ready;
}

int mp_wait(mp_waitable *items, size_t n, mp_time timeout)
{
    MP__CHECK((items || !n) && n <= MAX_THINGS);
    mp__clear_detail();
    mp__pollfd on_stack[ON_STACK], *fds = on_stack;
    if (n > ON_STACK && !(fds = mp__alloc(n * sizeof *fds)))
        return -ENOMEM;
    size_t entered = 0;
    int kept, r = prepare(items, n, fds, &entered, &kept);
    if (r == 0)
        r = mp__poll_until(fds, n, mp__deadline_after(mp__os_now(), kept ? 0 : timeout));
    if (r >= 0)
        r = collect(items, n, fds);
    for (size_t i = 0; i < entered; i++)
        if (items[i].connection)
            mp__connection_leave(items[i].connection);
    if (fds != on_stack)
        free(fds);
    return r;
}
