/* SPDX-License-Identifier: MIT */
/*
 * Owns stream sockets that are reached by an address: TCP and Unix sockets.  Addresses are texts outside
 * (multiproc/listener.h).  Stateless.
 */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

typedef union any {
    struct sockaddr plain;
    struct sockaddr_un local;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
} any;

_Static_assert(sizeof(any) <= sizeof(((mp__address *)0)->bytes), "every address has room");

static int parse_local(const char *text, any *a)
{
    size_t size = strlen(text);
    if (size >= sizeof a->local.sun_path)
        return mp__fail(-EINVAL, "'%s' is too long for a Unix socket", text);
    a->local.sun_family = AF_UNIX;
    memcpy(a->local.sun_path, text, size + 1);
    if (text[0] != '@')
        return (int)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    a->local.sun_path[0] = 0;
    return (int)(offsetof(struct sockaddr_un, sun_path) + size);
}

static int parse_host(const char *text, const char *colon, any *a)
{
    char host[256];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    bool bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
    size_t size = (size_t)(colon - text) - (bracketed ? 2 : 0);
    if (!colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return mp__fail(-EINVAL, "'%s' has no number of a port", text);
    if (size >= sizeof host)
        return mp__fail(-EINVAL, "'%s' is too long for an address", text);
    memcpy(host, text + bracketed, size);
    host[size] = 0;
    hints.ai_flags = AI_NUMERICSERV;
    int r = getaddrinfo(size ? host : "127.0.0.1", colon + 1, &hints, &found);
    if (r == EAI_MEMORY)
        return -ENOMEM;
    if (r)
        return mp__fail(-ENOENT, "there is no host '%s': %s", host, gai_strerror(r));
    const struct addrinfo *best =
        found; /* Python's listeners and clients know names as IPv4 only */
    for (const struct addrinfo *f = found; f; f = f->ai_next)
        if (f->ai_family == AF_INET && best->ai_family != AF_INET)
            best = f;
    memcpy(a, best->ai_addr, best->ai_addrlen);
    r = (int)best->ai_addrlen;
    freeaddrinfo(found);
    return r;
}

int mp__os_address_parse(const char *text, mp__address *ret_address)
{
    any a;
    memset(&a, 0, sizeof a);
    const char *colon = strrchr(text, ':');
    bool local = text[0] == '/' || text[0] == '.' || text[0] == '@';
    if (!local && !colon)
        return mp__fail(-EINVAL, "'%s' is no address: host:port, /path or @name", text);
    int size = local ? parse_local(text, &a) : parse_host(text, colon, &a);
    if (size < 0)
        return size;
    ret_address->size = (uint32_t)size;
    memcpy(ret_address->bytes, &a, sizeof a);
    return 0;
}

void mp__os_address_text(const mp__address *address, char *ret_text, size_t size)
{
    any a;
    char host[64] = "", port[16] = "";
    memcpy(&a, address->bytes, sizeof a);
    ret_text[0] = 0;
    if (a.plain.sa_family == AF_UNIX) {
        size_t n = address->size - offsetof(struct sockaddr_un, sun_path);
        if (address->size <= offsetof(struct sockaddr_un, sun_path))
            return;
        bool abstract = !a.local.sun_path[0];
        snprintf(ret_text, size, "%s%.*s", abstract ? "@" : "", (int)(n - abstract),
                 a.local.sun_path + abstract);
    } else if (getnameinfo(&a.plain, address->size, host, sizeof host, port, sizeof port,
                           NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        snprintf(ret_text, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    }
}

bool mp__os_address_is_path(const mp__address *address)
{
    any a;
    memcpy(&a, address->bytes, sizeof a);
    return a.plain.sa_family == AF_UNIX && a.local.sun_path[0];
}

static int open_socket(const any *a)
{
    MP__FAULT("socket");
    int fd = socket(a->plain.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : mp__os_raise_fd(fd);
}

/* Small messages are not held back for others to come. */
static void set_up(int fd, const any *a)
{
    int on = 1, idle = 60, interval = 10, count = 6;
    if (a->plain.sa_family == AF_UNIX)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* A machine that vanishes is noticed after two minutes. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int mp__os_stream_listen(const mp__address *address, int backlog, mp__address *ret_bound)
{
    any a;
    int on = 1;
    socklen_t size = sizeof a;
    memcpy(&a, address->bytes, sizeof a);
    int fd = open_socket(&a);
    if (fd < 0)
        return fd;
    if (a.plain.sa_family != AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &a.plain, address->size) < 0 || listen(fd, backlog) < 0 ||
        getsockname(fd, &a.plain, &size) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    memcpy(ret_bound->bytes, &a, sizeof a);
    ret_bound->size = size;
    return fd;
}

int mp__os_stream_accept(int fd, mp__address *ret_peer)
{
    MP__FAULT("accept4");
    any a;
    socklen_t size = sizeof a;
    memset(&a, 0, sizeof a);
    int peer;
    do
        peer = accept4(fd, &a.plain, &size, SOCK_CLOEXEC);
    while (peer < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (peer < 0)
        return -errno;
    peer = mp__os_raise_fd(peer);
    if (peer >= 0)
        set_up(peer, &a);
    ret_peer->size = size;
    memcpy(ret_peer->bytes, &a, sizeof a);
    return peer;
}

/* 0; -EINPROGRESS; -EAGAIN when a Unix socket's listener has no room. */
static int begin_connect(int fd, const any *a, uint32_t size)
{
    int r;
    do
        r = connect(fd, &a->plain, size) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

static int finish_connect(int fd, int64_t until)
{
    int error = 0;
    socklen_t size = sizeof error;
    for (;;) {
        mp__pollfd p = {fd, MP__POLLOUT, 0};
        mp_time left = mp__deadline_left(until, until == MP__NEVER ? 0 : mp__os_now());
        int r = mp__os_poll(&p, 1, left);
        if (r == -EINTR && !atomic_load(&mp__interruptible))
            continue;
        if (r <= 0)
            return r < 0 ? r : -ETIMEDOUT;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
    }
}

int mp__os_stream_connect(const mp__address *address, int64_t until)
{
    any a;
    memcpy(&a, address->bytes, sizeof a);
    int fd = open_socket(&a), r;
    if (fd < 0)
        return fd;
    while ((r = begin_connect(fd, &a, address->size)) == -EAGAIN && a.plain.sa_family == AF_UNIX) {
        if (mp__deadline_left(until, mp__os_now()) <= 0) {
            r = -ETIMEDOUT;
            break;
        }
        poll(NULL, 0, 2); /* nothing tells when there is room */
    }
    if (r == -EINPROGRESS)
        r = finish_connect(fd, until);
    if (r < 0) {
        close(fd);
        return r;
    }
    set_up(fd, &a);
    int flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    return fd;
}

int mp__os_unlink(const char *path)
{
    return unlink(path) < 0 ? -errno : 0;
}

int mp__os_group_new(void)
{
    MP__FAULT("epoll_create1");
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : mp__os_raise_fd(fd);
}

int mp__os_group_add(int group, int fd)
{
    MP__FAULT("epoll_ctl");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(group, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int mp__os_group_remove(int group, int fd)
{
    return epoll_ctl(group, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int mp__os_group_change(int group, int fd, mp__wish wish)
{
    struct epoll_event event = {.events = wish == MP__WISH_READ    ? EPOLLIN
                                          : wish == MP__WISH_WRITE ? EPOLLOUT
                                                                   : EPOLLRDHUP,
                                .data.fd = fd};
    return epoll_ctl(group, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

int mp__os_group_wait(int group, int *ret_fds, int n, mp_time timeout)
{
    MP__FAULT("epoll_wait");
    struct epoll_event events[64];
    int most = n < 64 ? n : 64;
    int ms = timeout == MP_FOREVER || timeout > MP_SECONDS(1000) ? -1
             : timeout <= 0                                      ? 0
                            : (int)((timeout + 999999) / 1000000);
    int got = epoll_wait(group, events, most, ms);
    for (int i = 0; i < got; i++)
        ret_fds[i] = events[i].data.fd;
    return got < 0 ? -errno : got;
}
