/* SPDX-License-Identifier: MIT */
/*
 * Owns the start method forkserver, on the owner's side: starting the server, asking it for
 * children, and starting another one when it has died.
 *
 * A server that dies while it is asked may or may not have made the child.  The slot decides: if
 * the owner can revoke it, no child has run and none will, and the request is made again; if the
 * child was quicker, it is the answer, and its pid is in the slot.
 */
#include <signal.h>

#include "process/process.h"

#define TRIES 3

/* ---- the server ---- */

/* Under the context's lock.  The descriptors leave the context and this process at once, so that a fork
 * of another thread finds either all or none. */
static void drop_server(mp_context *c)
{
    pthread_mutex_lock(&mp__family_state.lock);
    mp__server s = c->server;
    c->server = (mp__server)MP__NO_SERVER;
    mp__os_close(s.control);
    mp__os_close(s.life);
    pthread_mutex_unlock(&mp__family_state.lock);
    if (s.pidfd < 0)
        return;
    mp__os_signal(s.pidfd, SIGKILL); /* also when it is stopped, or busy preloading */
    mp__os_reap_wait(s.pidfd);
    mp__os_close(s.pidfd);
}

static void close_given(mp_context *c)
{
    pthread_mutex_lock(&mp__family_state.lock);
    mp__os_close(c->server.given[0]);
    mp__os_close(c->server.given[1]);
    c->server.given[0] = c->server.given[1] = -1;
    pthread_mutex_unlock(&mp__family_state.lock);
}

/* Under the context's lock.  All ends stand in the context before anyone can fork. */
static int make_server(mp_context *c)
{
    int control[2], life[2];
    pthread_mutex_lock(&mp__family_state.lock);
    int r = mp__os_packet_pair(control);
    if (r == 0 && (r = mp__os_pipe(life)) < 0) {
        mp__os_close(control[0]);
        mp__os_close(control[1]);
    }
    if (r == 0)
        c->server = (mp__server){control[0], life[1], 0, -1, {control[1], life[0]}};
    pthread_mutex_unlock(&mp__family_state.lock);
    if (r < 0)
        return mp__fail(r, "cannot make the fork server's socket");
    r = mp__spawn_image(MP_IMAGE_SERVER, NULL, c, control[1], life[0], &c->server.pid,
                        &c->server.pidfd);
    close_given(c);
    if (r < 0)
        drop_server(c);
    return r;
}

/* Never waits: while somebody asks the server, it counts as serving. */
bool mp__server_is(mp_context *c, pid_t pid)
{
    if (pthread_mutex_trylock(&c->lock) != 0)
        return true;
    bool serves = c->server.pidfd >= 0 && c->server.pid == pid && !mp__os_readable(c->server.pidfd);
    pthread_mutex_unlock(&c->lock);
    return serves;
}

void mp__context_drop_server(mp_context *c)
{
    /* A thread that waits for this server's answer holds the lock: the end of the server ends that. */
    pthread_mutex_lock(&mp__family_state.lock);
    if (c->server.pidfd >= 0)
        mp__os_signal(c->server.pidfd, SIGKILL);
    pthread_mutex_unlock(&mp__family_state.lock);
    pthread_mutex_lock(&c->lock);
    if (c->server.control >= 0)
        drop_server(c);
    pthread_mutex_unlock(&c->lock);
}

int mp_context_stop(mp_context *context)
{
    MP__CHECK(mp__is(context, MP__MAGIC_CONTEXT));
    mp__context_drop_server(context);
    return 0;
}

int mp_context_server_pid(mp_context *context)
{
    MP__CHECK(mp__is(context, MP__MAGIC_CONTEXT));
    /* Not the context's lock: a start may hold that for long. */
    pthread_mutex_lock(&mp__family_state.lock);
    int pid = context->server.control >= 0 && context->server.pid > 0 ? (int)context->server.pid
                                                                      : MP_ENOTSTARTED;
    pthread_mutex_unlock(&mp__family_state.lock);
    return pid;
}

/* At exit.  A context that is freed meanwhile by another thread is a mistake of the program. */
void mp__contexts_stop(void)
{
    mp__family *f = &mp__family_state;
    for (mp__list *n = f->contexts.next; n != &f->contexts; n = n->next)
        mp__context_drop_server(MP__CONTAINER(n, mp_context, node));
}

/* ---- asking it ---- */

static int send_request(mp_context *c, mp_process *p, int file, const mp__attachments *attachments)
{
    mp__server_request request = {MP__SERVER_MAGIC, p->slot.index, p->slot.generation};
    mp__packet packet;
    packet.iov[0] = (struct iovec){&request, sizeof request};
    packet.niov = 1;
    packet.fds[0] = file;
    packet.nfds = attachments->n + 1;
    if (packet.nfds > MP__MAX_FDS)
        return mp__fail(-E2BIG, "more than %d descriptors in the arguments", MP__MAX_FDS - 1);
    memcpy(packet.fds + 1, attachments->fds, sizeof(int) * (size_t)attachments->n);
    int r;
    while ((r = mp__os_packet_send(c->server.control, &packet, true)) == -EINTR)
        ;
    return r;
}

static int receive_reply(mp_context *c, mp__server_reply *reply, int *ret_pidfd)
{
    mp__packet packet;
    packet.iov[0] = (struct iovec){reply, sizeof *reply};
    packet.niov = 1;
    int r;
    while ((r = mp__os_packet_receive(c->server.control, &packet, true)) == -EINTR)
        ;
    if (r < 0)
        return r;
    for (int i = 1; i < packet.nfds; i++)
        mp__os_close(packet.fds[i]);
    if (packet.fds_lost || packet.size != sizeof *reply || (reply->error == 0 && packet.nfds < 1)) {
        if (packet.nfds > 0)
            mp__os_close(packet.fds[0]);
        return packet.fds_lost ? -EMFILE : -EBADMSG;
    }
    *ret_pidfd = packet.nfds ? packet.fds[0] : -1;
    return 0;
}

/* The server has gone.  0: there is a child, which is p's now; 1: ask again. */
static int after_death(mp_process *p)
{
    mp__slot_ref old = p->slot;
    if (mp__slot_advance(old, MP__SLOT_REVOKED)) {
        /* Another one, before the old is free: a late child may still look at that. */
        int r = mp__slot_claim(p->name, &p->slot);
        mp__slot_free(old);
        if (r < 0)
            p->slot = (mp__slot_ref){0};
        return r < 0 ? r : 1;
    }
    mp__tag tag = mp__tag_of(old);
    pid_t pid = (pid_t)mp__tag_pid(tag);
    int pidfd = pid > 0 ? mp__os_pidfd(pid) : -ESRCH;
    if (pidfd >= 0 && mp__tag_dead(tag)) { /* or the number could be a stranger's */
        mp__os_close(pidfd);
        pidfd = -ESRCH;
    }
    if (pidfd == -ESRCH)
        pidfd = mp__os_ended_sentinel();
    if (pidfd < 0)
        return pidfd;
    p->pid = pid;
    p->pidfd = pidfd;
    return 0;
}

/* One request; 0, an error, or 1 to try again with another server. */
static int ask(mp_context *c, mp_process *p)
{
    mp__attachments attachments;
    mp__server_reply reply;
    int file = -1, pidfd = -1;
    mp__attachments_init(&attachments, mp__tag_of(p->slot));
    p->server_pid = c->server.pid;
    int r = mp__payload_write(p, NULL, -1, p->life[0], &attachments, &file);
    if (r == 0)
        r = send_request(c, p, file, &attachments);
    mp__os_close(file);
    mp__attachments_release(&attachments, r == 0);
    bool sent = r == 0;
    if (sent)
        r = receive_reply(c, &reply, &pidfd);
    if (sent ? r < 0 : r == -EPIPE) {
        /* It died, or its answer could not be taken: either way this server is of no more use, or
         * the next request would get this one's answer. */
        bool died = r == MP_EOF || r == -EPIPE;
        drop_server(c);
        int after = after_death(p);
        return after == 1 && !died ? r : after;
    }
    if (r < 0)
        return r;
    if (reply.error) {
        reply.text[sizeof reply.text - 1] = 0;
        mp__os_close(pidfd);
        return mp__fail(reply.error, "the fork server cannot start process '%s': %s", p->name,
                        reply.text);
    }
    p->pid = reply.pid;
    p->pidfd = pidfd;
    return 0;
}

int mp__start_forkserver(mp_process *p)
{
    mp_context *c = p->context;
    int r = 1;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; r == 1 && i < TRIES; i++) {
        r = c->server.control < 0 ? make_server(c) : 0;
        if (r == 0)
            r = ask(c, p);
    }
    if (r == 1)
        r = mp__fail(MP_ESTARTUP,
                     "the fork server died %d times before it could start process '%s'", TRIES,
                     p->name);
    pthread_mutex_unlock(&c->lock);
    return r;
}
