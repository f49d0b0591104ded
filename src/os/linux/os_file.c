/* SPDX-License-Identifier: MIT */
/* Owns plain descriptors and poll.  Stateless. */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

int mp__os_close(int fd)
{
    /* Linux has freed the number also when close reports EINTR. */
    return fd < 0 || close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

int mp__os_dup(int fd)
{
    MP__FAULT("dup");
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -errno : copy;
}

int mp__os_raise_fd(int fd)
{
    if (fd > 2)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3), error = -errno;
    close(fd);
    return higher < 0 ? error : higher;
}

int mp__os_raise_pair(int fds[2])
{
    fds[0] = mp__os_raise_fd(fds[0]);
    fds[1] = mp__os_raise_fd(fds[1]);
    if (fds[0] >= 0 && fds[1] >= 0)
        return 0;
    int error = fds[0] < 0 ? fds[0] : fds[1];
    mp__os_close(fds[0]);
    mp__os_close(fds[1]);
    return error;
}

int mp__os_pipe(int ret_fds[2])
{
    MP__FAULT("pipe2");
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : mp__os_raise_pair(ret_fds);
}

int mp__os_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    int r;
    do
        r = poll(&p, 1, 0);
    while (r < 0 && errno == EINTR);
    return r > 0;
}

int mp__os_set_cloexec(int fd, bool cloexec)
{
    return fcntl(fd, F_SETFD, cloexec ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

_Static_assert(sizeof(mp__pollfd) == sizeof(struct pollfd) &&
                   offsetof(mp__pollfd, revents) == offsetof(struct pollfd, revents),
               "mp__pollfd is struct pollfd");
_Static_assert(MP__POLLIN == POLLIN && MP__POLLOUT == POLLOUT && MP__POLLHUP == POLLHUP &&
                   MP__POLLNVAL == POLLNVAL,
               "the names of os.h are those of poll");

int mp__os_poll(mp__pollfd *fds, size_t n, mp_time timeout)
{
    MP__FAULT("poll");
    struct timespec left, *until = NULL;
    if (timeout != MP_FOREVER) {
        timeout = timeout > 0 ? timeout : 0;
        left.tv_sec = (time_t)(timeout / 1000000000);
        left.tv_nsec = (long)(timeout % 1000000000);
        until = &left;
    }
    int r = ppoll((struct pollfd *)(void *)fds, n, until, NULL);
    return r < 0 ? -errno : r;
}

int mp__os_eventfd(void)
{
    MP__FAULT("eventfd");
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : mp__os_raise_fd(fd);
}

void mp__os_eventfd_set(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void mp__os_eventfd_clear(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}
