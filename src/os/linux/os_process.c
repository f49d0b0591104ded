/* SPDX-License-Identifier: MIT */
/*
 * Owns fork, process descriptors and reaping.  Never waits for a process other than the one it
 * was asked about, and never touches the disposition of a signal.  The only state is whether the
 * fork server was started with SIGINT blocked.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

pid_t mp__os_pid(void)
{
    return getpid();
}

int mp__os_fork(pid_t *ret_pid)
{
    MP__FAULT("fork");
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    *ret_pid = pid;
    return 0;
}

int mp__os_pidfd(pid_t pid)
{
    MP__FAULT("pidfd_open");
    long fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : mp__os_raise_fd((int)fd);
}

int mp__os_signal(int pidfd, int signal)
{
    MP__FAULT("pidfd_send_signal");
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* The status that Linux 6.15 keeps for holders of a pidfd after the process was reaped. */
static int ask_pidfd(int pidfd, int *ret_code)
{
    struct {
        uint64_t mask, cgroupid;
        uint32_t pid, tgid, ppid, ids[8];
        int32_t exit_code;
        uint32_t coredump[2];
    } info = {.mask = 1u << 3};
    /* _IOWR(0xFF, 11, 64 bytes): PIDFD_GET_INFO; an older kernel answers EINVAL or ENOTTY. */
    if (ioctl(pidfd, _IOC(_IOC_READ | _IOC_WRITE, 0xFF, 11, 64), &info) < 0)
        return -errno;
    if (!(info.mask & (1u << 3)))
        return -ECHILD;
    int status = info.exit_code;
    *ret_code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}

int mp__os_reap(int pidfd, int *ret_code)
{
    siginfo_t si;
    int r;
    memset(&si, 0, sizeof si);
    do
        r = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == ECHILD && ask_pidfd(pidfd, ret_code) == 0 ? 0 : -errno;
    if (si.si_pid == 0)
        return -EAGAIN;
    *ret_code = si.si_code == CLD_EXITED ? si.si_status : -si.si_status;
    return 0;
}

void mp__os_reap_wait(int pidfd)
{
    siginfo_t si;
    while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0 && errno == EINTR)
        ;
}

void mp__os_kill_and_reap(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int mp__os_ended_sentinel(void)
{
    int fds[2], r = mp__os_pipe(fds);
    if (r < 0)
        return r;
    close(fds[1]);
    return fds[0];
}

#define EXITING \
    0x4u /* PF_EXITING: it runs no more code of the program's, and is not yet a zombie */

int mp__os_process_started(pid_t pid, int64_t *ret_time)
{
    char path[64], text[1024], state;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* perhaps there is no /proc */
        return errno == ENOENT && kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -ENOENT;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -ESRCH;
    text[n] = 0;
    char *p = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long ticks;
    unsigned flags;
    long threads;
    if (!p || sscanf(p + 1,
                     " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld "
                     "%*d %llu",
                     &state, &flags, &threads, &ticks) != 4)
        return -EBADMSG;
    bool is_over = state == 'Z' || state == 'X' || (flags & EXITING);
    if (is_over && threads <= 1) /* with more, only its first thread is */
        return -ESRCH;
    *ret_time = (int64_t)ticks * (1000000000 / sysconf(_SC_CLK_TCK));
    return 0;
}

int mp__os_signal_on_hangup(int fd, int signal)
{
    MP__FAULT("fcntl");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, signal) < 0 ||
        fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
        return -errno;
    return 0;
}

void mp__os_exit_now(int code)
{
    _exit(code);
}

static bool was_blocked;

static void change_interrupt(int how)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(how, &set, &old);
    if (how == SIG_BLOCK)
        was_blocked = sigismember(&old, SIGINT) == 1;
}

void mp__os_block_interrupt(void)
{
    change_interrupt(SIG_BLOCK);
}

void mp__os_unblock_interrupt(void)
{
    if (!was_blocked)
        change_interrupt(SIG_UNBLOCK);
}
