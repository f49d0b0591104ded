/* SPDX-License-Identifier: MIT */
/*
 * Owns packet sockets: AF_UNIX, SOCK_SEQPACKET.  The kernel takes and gives each packet as a whole,
 * so a process that dies while it sends or receives leaves either the whole packet or none.
 * Stateless.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

typedef union control {
    char room[CMSG_SPACE(sizeof(int) * MP__MAX_FDS)];
    struct cmsghdr align;
} control;

int mp__os_packet_pair(int ret_fds[2])
{
    MP__FAULT("socketpair");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return -errno;
    return mp__os_raise_pair(ret_fds);
}

int mp__os_packet_send(int fd, const mp__packet *packet, bool wait)
{
    MP__FAULT("sendmsg");
    control room;
    struct msghdr m = {0};
    m.msg_iov = (struct iovec *)(uintptr_t)packet->iov;
    m.msg_iovlen = (size_t)packet->niov;
    if (packet->nfds) {
        size_t size = sizeof(int) * (size_t)packet->nfds;
        memset(&room, 0, sizeof room);
        m.msg_control = room.room;
        m.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), packet->fds, size);
    }
    for (;;) {
        if (sendmsg(fd, &m, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
            return 0;
        if (errno == ECONNREFUSED || errno == ENOTCONN)
            return -EPIPE;
        if (errno != ECONNRESET) /* reported once for packets that the other end never read */
            return -errno;
    }
}

static void take_descriptors(struct msghdr *m, mp__packet *packet)
{
    packet->nfds = 0;
    packet->fds_lost = (m->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(packet->fds, CMSG_DATA(c), n * sizeof(int));
        packet->nfds = (int)n;
        for (size_t i = 0; i < n; i++) {
            packet->fds[i] = mp__os_raise_fd(packet->fds[i]);
            packet->fds_lost = packet->fds_lost || packet->fds[i] < 0;
        }
    }
}

int mp__os_packet_receive(int fd, mp__packet *packet, bool wait)
{
    MP__FAULT("recvmsg");
    control room;
    struct msghdr m = {0};
    int flags = MSG_TRUNC | MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
    for (;;) {
        m.msg_iov = packet->iov;
        m.msg_iovlen = (size_t)packet->niov;
        m.msg_control = room.room;
        m.msg_controllen = sizeof room.room;
        ssize_t n = recvmsg(fd, &m, flags);
        if (n > 0) {
            packet->size = (size_t)n;
            take_descriptors(&m, packet);
            return 0;
        }
        if (n == 0) { /* the end, or an empty packet, which no multiproc sends */
            take_descriptors(&m, packet);
            for (int i = 0; i < packet->nfds; i++)
                mp__os_close(packet->fds[i]);
            return MP_EOF;
        }
        if (errno == ENOTCONN)
            return MP_EOF;
        /* Reported once, before what the other end had sent: when it closed, it had not read all.
         */
        if (errno != ECONNRESET)
            return -errno;
    }
}

int mp__os_shutdown_send(int fd)
{
    MP__FAULT("shutdown");
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

/* ---- byte streams ---- */

int mp__os_fd_kind(int fd)
{
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return errno == ENOTSOCK ? MP__FD_FILE : -errno;
    return type == SOCK_STREAM      ? MP__FD_STREAM
           : type == SOCK_SEQPACKET ? MP__FD_PACKETS
                                    : -EOPNOTSUPP;
}

int64_t mp__os_stream_read(int fd, void *data, size_t size, bool is_socket, bool wait)
{
    MP__FAULT("read");
    struct pollfd p = {fd, POLLIN, 0};
    if (!is_socket && !wait && poll(&p, 1, 0) == 0)
        return -EAGAIN;
    ssize_t n = is_socket ? recv(fd, data, size, wait ? 0 : MSG_DONTWAIT) : read(fd, data, size);
    return n >= 0 ? n : errno == ECONNRESET ? 0 : -errno;
}

int64_t mp__os_stream_write(int fd, const struct iovec *iov, int n, bool is_socket, bool wait)
{
    MP__FAULT("write");
    struct msghdr m = {0};
    m.msg_iov = (struct iovec *)(uintptr_t)iov;
    m.msg_iovlen = (size_t)n;
    ssize_t sent =
        is_socket ? sendmsg(fd, &m, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) : writev(fd, iov, n);
    if (sent >= 0)
        return sent;
    return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
}

void mp__os_shutdown_both(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
}
