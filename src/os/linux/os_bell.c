/* SPDX-License-Identifier: MIT */
/*
 * Owns the sockets behind bells: AF_UNIX datagrams to addresses that the kernel chose, five characters in
 * the abstract name space, which vanish with their socket.  Stateless.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

#define NAME_SIZE 5

static int open_socket(void)
{
    MP__FAULT("socket");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

int mp__os_bell_open(uint64_t *ret_address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = sizeof name;
    uint64_t address = 0;
    int fd = open_socket();
    if (fd < 0)
        return fd;
    fd = mp__os_raise_fd(fd);
    if (fd < 0)
        return fd;
    if (bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) < 0 ||
        size != offsetof(struct sockaddr_un, sun_path) + 1 + NAME_SIZE) {
        int r = errno ? -errno : -EIO;
        mp__os_close(fd);
        return r;
    }
    memcpy(&address, name.sun_path + 1, NAME_SIZE);
    *ret_address = address;
    return fd;
}

int mp__os_bell_ring(uint64_t address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path + 1, &address, NAME_SIZE);
    int fd = open_socket(), r = 0;
    if (fd < 0)
        return fd;
    if (sendto(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name,
               offsetof(struct sockaddr_un, sun_path) + 1 + NAME_SIZE) < 0)
        r = -errno;
    close(fd);
    return r;
}

void mp__os_bell_quiet(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0)
        ;
}
