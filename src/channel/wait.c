/* SPDX-License-Identifier: MIT */
/*
 * Owns waiting on many things at once: one poll over their descriptors and, for queues and events, over a
 * bell (sync/bell.h) that is entered in each of them for the length of the call.  Process-local; a
 * process that is killed inside leaves its entries in the tables of bells, where they are recognised.
 */
#include "channel/connection.h"
#include "channel/queue.h"

#define MAX_THINGS 65536
#define ON_STACK 64
#define BELL_SLICE MP_MS(100) /* a process may be killed between its change and the ring */

typedef struct waiting {
    mp_waitable *items;
    size_t n, entered;
    mp__pollfd *fds; /* n, and one for the bell */
    int *bells;      /* entries in the tables; -1: none */
    int ready;       /* without a look at the descriptors */
    bool shared;     /* there are queues or events */
    bool polled;     /* there are descriptors */
} waiting;

static mp__bells *bells_of(const mp_waitable *item)
{
    return item->queue   ? &mp__queue_ring(item->queue)->bells
           : item->event ? mp__event_bells(item->event)
                         : NULL;
}

static int is_ready(const mp_waitable *item)
{
    if (item->queue)
        return mp__queue_ready(item->queue);
    return item->event ? mp_event_is_set(item->event) : 0;
}

/* Fills in the descriptor of one thing, and whether it is ready already. */
static int prepare_one(waiting *w, size_t i)
{
    mp_waitable *item = &w->items[i];
    int fd = item->fd;
    item->ready = 0;
    if (item->queue || item->event) {
        MP__CHECK(item->queue ? mp__is_queue(item->queue)
                              : mp__shared_is(item->event, MP__OBJECT_EVENT));
        int r = item->queue ? mp__queue_check(item->queue) : 0;
        w->shared = true;
        fd = -1; /* poll passes over it */
        if (r < 0)
            return r;
        item->ready = is_ready(item);
    } else if (item->connection) {
        MP__CHECK(mp__is(item->connection, MP__MAGIC_CONNECTION));
        fd = mp__connection_enter(item->connection);
        if (fd < 0)
            return fd;
        item->ready = mp__connection_has_kept(item->connection);
        w->polled = true;
    } else if (fd < 0) {
        return mp__fail(fd < -1 ? fd : -EBADF, "thing %zu to wait for has no descriptor", i);
    } else {
        w->polled = true;
    }
    w->ready += item->ready;
    w->fds[i] = (mp__pollfd){fd, MP__POLLIN, 0};
    return 0;
}

static int prepare(waiting *w)
{
    int r = 0;
    for (size_t i = 0; i < w->n && r == 0; i++) {
        r = prepare_one(w, i);
        w->entered = r == 0 ? i + 1 : w->entered;
    }
    return r;
}

static int collect(waiting *w)
{
    int ready = 0;
    for (size_t i = 0; i < w->n; i++) {
        mp_waitable *item = &w->items[i];
        if (w->fds[i].fd >= 0 && (w->fds[i].revents & MP__POLLNVAL))
            return mp__fail(-EBADF, "descriptor %d is not open", w->fds[i].fd);
        if (w->fds[i].fd >= 0 && w->fds[i].revents)
            item->ready = 1;
        if (bells_of(item))
            item->ready = is_ready(item);
        ready += item->ready;
    }
    return ready;
}

/* Enters the bell everywhere, or takes it out again. */
static int enter_bell(waiting *w, uint64_t address)
{
    int r = 0;
    for (size_t i = 0; i < w->n && r >= 0; i++)
        if (bells_of(&w->items[i]))
            r = w->bells[i] = mp__bell_enter(bells_of(&w->items[i]), address);
    return r < 0 ? r : 0;
}

static void remove_bell(waiting *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->bells[i] >= 0)
            mp__bell_remove(bells_of(&w->items[i]), w->bells[i]);
}

/* Arms the bell everywhere; whatever changes from then on rings it. */
static void arm(waiting *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->bells[i] >= 0)
            mp__bell_arm(bells_of(&w->items[i]), w->bells[i]);
}

static int wait_with_bell(waiting *w, mp__deadline deadline)
{
    uint64_t address;
    int bell = mp__os_bell_open(&address), r = bell;
    if (bell < 0)
        return mp__fail(bell, "waiting for queues and events needs a socket");
    w->fds[w->n] = (mp__pollfd){bell, MP__POLLIN, 0};
    r = enter_bell(w, address);
    while (r == 0) {
        mp__os_bell_quiet(bell);
        arm(w);
        r = collect(w);
        if (r != 0)
            break;
        int64_t now = mp__os_now();
        mp__deadline slice = mp__deadline_after(now, BELL_SLICE);
        r = mp__poll_until(w->fds, w->n + 1, deadline < slice ? deadline : slice);
        if (r >= 0)
            r = collect(w);
        if (r == 0 && !mp__deadline_left(deadline, mp__os_now()))
            break;
    }
    remove_bell(w);
    mp__os_close(bell);
    return r;
}

static int wait_for_all(waiting *w, mp_time timeout)
{
    int r = prepare(w);
    if (r < 0)
        return r;
    if (w->ready || !w->shared || timeout <= 0) {
        bool look = w->polled || !w->ready;
        mp_time time = w->ready ? 0 : timeout;
        r = look ? mp__poll_until(w->fds, w->n, mp__deadline_after(mp__os_now(), time)) : 0;
        return r < 0 ? r : collect(w);
    }
    return wait_with_bell(w, mp__deadline_after(mp__os_now(), timeout));
}

int mp_wait(mp_waitable *items, size_t n, mp_time timeout)
{
    MP__CHECK((items || !n) && n <= MAX_THINGS);
    mp__clear_detail();
    mp__pollfd fds[ON_STACK + 1];
    int bells[ON_STACK];
    waiting w = {.items = items, .n = n, .fds = fds, .bells = bells};
    if (n > ON_STACK) {
        w.fds = mp__alloc((n + 1) * sizeof *w.fds);
        w.bells = mp__alloc(n * sizeof *w.bells);
    }
    int r = w.fds && w.bells ? 0 : -ENOMEM;
    if (r == 0) {
        for (size_t i = 0; i < n; i++)
            w.bells[i] = -1;
        r = wait_for_all(&w, timeout);
    }
    for (size_t i = 0; i < w.entered; i++)
        if (items[i].connection && !bells_of(&items[i]))
            mp__connection_leave(items[i].connection);
    if (w.fds != fds) {
        free(w.fds);
        free(w.bells);
    }
    return r;
}
