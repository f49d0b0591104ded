/* SPDX-License-Identifier: MIT */
/*
 * Owns the fork server's own life: one thread that waits for requests and for the ends of its
 * children.
 *
 * It ends when its owner's socket is closed, and the kernel kills it when the owner dies before
 * that. Its children go on: they belong to the owner, who holds their pidfds.  For each child it
 * writes into the child's slot how it ended, because only a parent is told.
 */
#include <signal.h>
#include <stdio.h>

#include "process/process.h"

typedef struct server_child {
    int pidfd;
    mp__slot_ref slot;
} server_child;

static server_child *children;
static size_t child_count, child_room;
static int control, life;
static char trouble[MP__SLOT_TEXT]; /* why preloading failed */
static int trouble_code;

static void run_preload(const mp_value *list)
{
    const mp_host *host = mp__host();
    for (size_t i = 0; list && i < (size_t)mp_value_len(list) && !trouble_code; i++) {
        const char *name = mp_value_get_str(mp_value_item(list, i), NULL);
        mp_preload_fn *run = name ? mp__preload_find(name) : NULL;
        int r = !name           ? -EINVAL
                : host->preload ? host->preload(host->data, name)
                : run           ? run()
                                : MP_ENOTARGET;
        if (r == 0)
            continue;
        trouble_code = MP_ESTARTUP;
        snprintf(trouble, sizeof trouble, "preload function '%s' failed with %d", name ? name : "?",
                 r);
    }
}

/* False when it cannot be sent: then the owner must see the end, and the slot decides. */
static bool reply(int error, const char *text, pid_t pid, int pidfd)
{
    mp__server_reply message = {.error = error, .pid = (int32_t)pid};
    mp__packet packet;
    snprintf(message.text, sizeof message.text, "%s", text);
    packet.iov[0] = (struct iovec){&message, sizeof message};
    packet.niov = 1;
    packet.nfds = pidfd >= 0;
    packet.fds[0] = pidfd;
    int r;
    while ((r = mp__os_packet_send(control, &packet, true)) == -EINTR)
        ;
    return r == 0;
}

static void become_child(int file, int *fds, int nfds) __attribute__((noreturn));

static void become_child(int file, int *fds, int nfds)
{
    mp__payload payload;
    mp__os_close(control);
    mp__os_close(life);
    for (size_t i = 0; i < child_count; i++)
        mp__os_close(children[i].pidfd);
    mp__os_unblock_interrupt();
    int r = mp__payload_read(file, fds, nfds, &payload);
    mp__os_close(file);
    if (r < 0)
        mp__os_exit_now(1);
    payload.birth.forked = true;
    mp__context_inherit(payload.birth.method);
    mp_log_to_stderr(payload.birth.log_level);
    mp__child_run(&payload.birth);
}

static bool make_room(void)
{
    if (child_count < child_room)
        return true;
    size_t room = child_room ? child_room * 2 : 16;
    server_child *grown = mp__realloc(children, room * sizeof *children);
    if (!grown)
        return false;
    children = grown;
    child_room = room;
    return true;
}

static bool fork_child(mp__packet *packet, mp__slot_ref slot)
{
    const mp_host *host = mp__host();
    pid_t pid;
    if (trouble_code || !make_room()) {
        return reply(trouble_code ? trouble_code : -ENOMEM,
                     trouble_code ? trouble : "out of memory", 0, -1);
    }
    if (host->before_fork)
        host->before_fork(host->data);
    int pidfd = -1, r = mp__fork_child(slot, &pid, &pidfd);
    if (r == 0 && pid == 0) {
        if (host->after_fork_child)
            host->after_fork_child(host->data);
        become_child(packet->fds[0], packet->fds + 1, packet->nfds - 1);
    }
    if (host->after_fork_parent)
        host->after_fork_parent(host->data);
    if (r < 0)
        return reply(r, mp_error_text(r), 0, -1);
    children[child_count++] = (server_child){pidfd, slot};
    return reply(0, "", pid, pidfd);
}

/* False when the owner has gone. */
static bool serve(void)
{
    mp__server_request request = {0};
    mp__packet packet;
    bool answered;
    packet.iov[0] = (struct iovec){&request, sizeof request};
    packet.niov = 1;
    int r = mp__os_packet_receive(control, &packet, false);
    if (r == -EAGAIN || r == -EINTR)
        return true;
    if (r < 0)
        return false;
    if (packet.size != sizeof request || request.magic != MP__SERVER_MAGIC || packet.nfds < 2 ||
        packet.fds_lost)
        answered =
            reply(packet.fds_lost ? -EMFILE : -EBADMSG, "the request came incomplete", 0, -1);
    else
        answered = fork_child(&packet, (mp__slot_ref){request.slot_index, request.slot_generation});
    for (int i = 0; i < packet.nfds; i++)
        mp__os_close(packet.fds[i]);
    return answered;
}

static void reap(size_t i)
{
    int code, r = mp__os_reap(children[i].pidfd, &code);
    if (r == -EAGAIN)
        return;
    mp__slot *slot = mp__slot_get(children[i].slot);
    if (r == 0 || !slot || !atomic_load(&slot->has_exit))
        mp__slot_set_exit(children[i].slot, r == 0 ? code : MP_EXIT_UNKNOWN);
    if (slot)
        mp__os_futex_wake(&slot->has_exit, INT32_MAX);
    mp__os_close(children[i].pidfd);
    children[i] = children[--child_count];
}

void mp__server_main(mp__payload *payload)
{
    mp__pollfd *fds = NULL;
    size_t room = 0;
    control = payload->control;
    mp__os_block_interrupt();
    life = payload->birth.life;
    mp__os_signal_on_hangup(life, SIGKILL);
    if (mp__os_readable(life)) /* the owner died before that */
        mp__os_exit_now(1);
    run_preload(payload->preload);
    mp_value_free(payload->preload);
    for (bool more = true; more;) {
        if (room < child_count + 1) {
            mp__pollfd *grown = mp__realloc(fds, (child_room + 17) * sizeof *fds);
            if (!grown)
                break;
            fds = grown;
            room = child_room + 17;
        }
        size_t n = child_count;
        fds[n] = (mp__pollfd){control, MP__POLLIN, 0};
        for (size_t i = 0; i < n; i++)
            fds[i] = (mp__pollfd){children[i].pidfd, MP__POLLIN, 0};
        if (mp__os_poll(fds, n + 1, MP_FOREVER) <= 0)
            continue;
        for (size_t i = n; i-- > 0;)
            if (fds[i].revents)
                reap(i);
        if (fds[n].revents)
            more = serve();
    }
    mp__os_exit_now(0);
}
