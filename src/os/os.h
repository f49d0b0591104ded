/* SPDX-License-Identifier: MIT */
/*
 * Layer 1: the contract with the operating system.  Nothing outside src/os makes a system call.
 *
 * Every function returns 0 or a positive count, or -errno.  Every descriptor that is made is
 * close-on-exec.  Interrupted calls are restarted, except the waits, which return -EINTR so that
 * the caller can look at its deadline and at the host's wishes.  In a build with test points each
 * of them is a fault point (base/fault.h).
 */
#ifndef MP__OS_H
#define MP__OS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/base.h"

/* ---- time, random, processors (os_misc.c) ---- */

MP__HIDDEN int64_t mp__os_now(void);       /* monotonic, ns; cannot fail */
MP__HIDDEN int64_t mp__os_boot_time(void); /* ns since boot */
MP__HIDDEN int mp__os_random(void *data, size_t size);
MP__HIDDEN int mp__os_cpu_count(void); /* affinity and control group quota; at least 1 */
MP__HIDDEN bool mp__os_one_cpu(void);  /* this process can run on one processor only */
MP__HIDDEN void mp__os_yield(void);    /* lets another process run that waits for this processor */
MP__HIDDEN void mp__os_relax(void);    /* one turn of a spinning loop */
MP__HIDDEN int mp__os_write_all(int fd, const void *data, size_t size);
MP__HIDDEN uint64_t
mp__os_memory_used(void); /* bytes of memory that this process has; 0: not known */
MP__HIDDEN bool mp__os_is_terminal(int fd);
MP__HIDDEN const char *mp__os_signal_name(int signal);           /* "SIGKILL"; never NULL */
MP__HIDDEN int mp__os_exe_identity(char *ret_text, size_t size); /* of the running program's file */
/* True in a program that was started with more rights than its caller has. */
MP__HIDDEN bool mp__os_is_privileged(void);
MP__HIDDEN void mp__os_set_command_name(const char *name);
MP__HIDDEN void mp__os_command_name(char *ret_name, size_t size);

/* ---- descriptors (os_file.c) ---- */

MP__HIDDEN int mp__os_close(int fd); /* never a fault point */
MP__HIDDEN int mp__os_dup(int fd);

/* Moves a descriptor that was just made above 2, where a program that closed its standard streams would
 * write into it.  The new number, or an error, and then it is closed. */
MP__HIDDEN int mp__os_raise_fd(int fd);
MP__HIDDEN int mp__os_raise_pair(int fds[2]); /* 0 or an error */
/* 1 when it is readable now (or at its end), else 0.  Never a fault point. */
MP__HIDDEN int mp__os_readable(int fd);
MP__HIDDEN int mp__os_pipe(int ret_fds[2]);
/* A descriptor that is readable from set to clear. */
MP__HIDDEN int mp__os_eventfd(void);
MP__HIDDEN void mp__os_eventfd_set(int fd);
MP__HIDDEN void mp__os_eventfd_clear(int fd);
MP__HIDDEN int mp__os_set_cloexec(int fd, bool cloexec); /* never a fault point */

typedef struct mp__pollfd {
    int fd;
    short events, revents; /* the values of poll(2) */
} mp__pollfd;

/* The values of poll(2) that the library uses; checked in os_file.c. */
#define MP__POLLIN 0x001
#define MP__POLLOUT 0x004
#define MP__POLLHUP 0x010
#define MP__POLLNVAL 0x020

/* Waits for any of n descriptors; number of ready ones, 0 after `timeout`, -EINTR. */
MP__HIDDEN int mp__os_poll(mp__pollfd *fds, size_t n, mp_time timeout);

/* ---- memory files (os_memory.c) ---- */

MP__HIDDEN int mp__os_memfd(const char *name, bool sealable);
MP__HIDDEN int mp__os_shm_open(const char *name, bool create);   /* a name of POSIX shared memory */
MP__HIDDEN int mp__os_shm_unlink(const char *name);              /* never a fault point */
MP__HIDDEN int mp__os_file_identity(int fd, uint64_t ret_id[2]); /* never a fault point */
MP__HIDDEN int mp__os_resize(int fd, uint64_t size);             /* reserves nothing */
MP__HIDDEN int mp__os_reserve(int fd, uint64_t size); /* pages for all of it, or -ENOMEM, -ENOSPC */
MP__HIDDEN int mp__os_file_size(int fd, uint64_t *ret_size);
MP__HIDDEN int mp__os_seal(int fd); /* the file keeps its size and content from now on */
MP__HIDDEN int mp__os_seal_shrink(int fd);
MP__HIDDEN int mp__os_is_sealed(int fd, bool constant); /* 1 if it cannot shrink (nor change) */
/* Shared and writable.  The arena's reserve is kept out of core dumps; other files' mappings are not
 * inherited by a fork. */
MP__HIDDEN int mp__os_map_arena(int fd, size_t size, void **ret_address);
MP__HIDDEN int mp__os_map_inherited(int fd, size_t size, void **ret_address); /* by a fork, too */
MP__HIDDEN int mp__os_map_shared(int fd, size_t size, void **ret_address);
/* A private view: pages are shared with the file until this process writes to them. */
MP__HIDDEN int mp__os_map_copy(int fd, size_t size, void **ret_address);
MP__HIDDEN int mp__os_unmap(void *address, size_t size); /* never a fault point */
/* Gives the pages of a shared mapping back to the system; they read as zeros then. */
MP__HIDDEN void mp__os_discard(void *address, size_t size);
MP__HIDDEN int mp__os_read_at(int fd, void *data, size_t size, uint64_t offset);
MP__HIDDEN int mp__os_write_at(int fd, const void *data, size_t size, uint64_t offset);

/* ---- sockets that keep message boundaries (os_socket.c) ---- */

#define MP__MAX_FDS 240 /* descriptors in one packet; the kernel's limit is 253 */

typedef struct mp__packet {
    struct iovec iov[3];
    int niov;
    size_t size; /* received: the whole packet's, also when it did not fit */
    int fds[MP__MAX_FDS];
    int nfds;
    bool fds_lost; /* received: there was no room for some descriptors */
} mp__packet;

MP__HIDDEN int mp__os_packet_pair(int ret_fds[2]);

/* One packet, whole or not at all.  -EAGAIN when `wait` is false and it would block; -EINTR. */
MP__HIDDEN int mp__os_packet_send(int fd, const mp__packet *packet, bool wait);

/* 0, or -EAGAIN, -EINTR; MP_EOF when the other end is closed.  Received descriptors are the
 * caller's. */
MP__HIDDEN int mp__os_packet_receive(int fd, mp__packet *packet, bool wait);

MP__HIDDEN int mp__os_shutdown_send(int fd);
MP__HIDDEN void mp__os_shutdown_both(int fd); /* wakes whoever waits on it */

/* ---- addresses (os_net.c) ---- */

typedef struct mp__address {
    uint32_t size;
    _Alignas(8) unsigned char bytes[128];
} mp__address;

#define MP__ADDRESS_TEXT 160 /* room for any as a text */

/* As multiproc/listener.h says: -EINVAL, -ENOENT.  May ask the network for a host's address. */
MP__HIDDEN int mp__os_address_parse(const char *text, mp__address *ret_address);
MP__HIDDEN void mp__os_address_text(const mp__address *address, char *ret_text, size_t size);
MP__HIDDEN bool mp__os_address_is_path(const mp__address *address);

/* Descriptors: of a listener and of a peer, and what their addresses are.  The listener's does not block:
 * -EAGAIN. */
MP__HIDDEN int mp__os_stream_listen(const mp__address *address, int backlog,
                                    mp__address *ret_bound);
MP__HIDDEN int mp__os_stream_accept(int fd, mp__address *ret_peer);
MP__HIDDEN int mp__os_stream_connect(const mp__address *address, int64_t until);
MP__HIDDEN int mp__os_unlink(const char *path); /* never a fault point */

/* Readable when one of those that were added is (epoll). */
MP__HIDDEN int mp__os_group_new(void);
MP__HIDDEN int mp__os_group_add(int group, int fd);
MP__HIDDEN int mp__os_group_remove(int group, int fd);
/* What a descriptor is waited for: to be readable, to be writable, or only to be hung up. */
typedef enum mp__wish { MP__WISH_READ, MP__WISH_WRITE, MP__WISH_HANGUP } mp__wish;
MP__HIDDEN int mp__os_group_change(int group, int fd, mp__wish wish);
/* Which of them are ready, at most n; how many, 0 after the timeout, -EINTR. */
MP__HIDDEN int mp__os_group_wait(int group, int *ret_fds, int n, mp_time timeout);

/* ---- byte streams (os_socket.c) ---- */

typedef enum mp__fd_kind { MP__FD_FILE = 0, MP__FD_STREAM = 1, MP__FD_PACKETS = 2 } mp__fd_kind;

/* What a descriptor is: a file (a pipe, say), a stream socket, a socket of packets.  -EBADF;
 * -EOPNOTSUPP for a socket of another kind. */
MP__HIDDEN int mp__os_fd_kind(int fd);

/* How many bytes; 0 at the end.  -EAGAIN when `wait` is false and it would block (only for sockets: others
 * are polled before), -EINTR. */
MP__HIDDEN int64_t mp__os_stream_read(int fd, void *data, size_t size, bool socket, bool wait);
/* How many bytes were written; -EPIPE when nobody is there to read them. */
MP__HIDDEN int64_t mp__os_stream_write(int fd, const struct iovec *iov, int n, bool socket,
                                       bool wait);

/* ---- bells (os_bell.c): a descriptor that another process can make readable by an address ---- */

MP__HIDDEN int mp__os_bell_open(uint64_t *ret_address);
MP__HIDDEN int mp__os_bell_ring(uint64_t address); /* -ECONNREFUSED when nobody is there */
MP__HIDDEN void mp__os_bell_quiet(int fd);         /* not readable any more */

/* ---- processes (os_process.c) ---- */

MP__HIDDEN pid_t mp__os_pid(void);
MP__HIDDEN int mp__os_fork(pid_t *ret_pid); /* *ret_pid is 0 in the child */
MP__HIDDEN int mp__os_pidfd(pid_t pid);
MP__HIDDEN int mp__os_signal(int pidfd, int signal); /* -ESRCH when it has ended */

/* Reaps the child behind a readable pidfd: its exit code as in mp_process_exit_code().  -EAGAIN
 * while it runs; -ECHILD when somebody else reaped it, or it is not a child, and the kernel does
 * not tell. */
MP__HIDDEN int mp__os_reap(int pidfd, int *ret_code);

/* Waits for the end of a child that is about to end, and reaps it.  Never a fault point. */
MP__HIDDEN void mp__os_reap_wait(int pidfd);

/* Kills and reaps a child of which there is no pidfd. */
MP__HIDDEN void mp__os_kill_and_reap(pid_t pid);

/* A descriptor that is readable for ever, in place of the pidfd of a process that is gone. */
MP__HIDDEN int mp__os_ended_sentinel(void);

/* Asks the kernel to send this process `signal` when all write ends of the pipe `fd` are closed. */
MP__HIDDEN int mp__os_signal_on_hangup(int fd, int signal);

MP__HIDDEN void mp__os_exit_now(int code) __attribute__((noreturn));

/* For the fork server: Ctrl-C is not for it, but waits until a child of it unblocks it. */
MP__HIDDEN void mp__os_block_interrupt(void);
MP__HIDDEN void mp__os_unblock_interrupt(void);

/* When a living process started, in ns since boot, to 10 ms; -ESRCH when there is none or only its
 * zombie. */
MP__HIDDEN int mp__os_process_started(pid_t pid, int64_t *ret_time);

/* ---- a fresh image (os_spawn.c) ---- */

typedef struct mp__spawn {
    const char *path; /* NULL: the running program */
    char *const *argv;
    char *const *envp; /* NULL: this process's */
    const int *keep;   /* descriptors above 2 that the image gets under the same number */
    int nkeep;
} mp__spawn;

/* Starts it as a child.  Costs the same for a parent of any size; returns after the exec. */
MP__HIDDEN int mp__os_spawn(const mp__spawn *spawn, pid_t *ret_pid, int *ret_pidfd);

/* ---- waiting on a word of shared memory (os_misc.c) ---- */

/* -EAGAIN when *word is not `expected`, -ETIMEDOUT, -EINTR; 0 after a wake-up, which may be
 * nobody's. */
MP__HIDDEN int mp__os_futex_wait(_Atomic uint32_t *word, uint32_t expected, mp_time timeout);
MP__HIDDEN int mp__os_futex_wake(_Atomic uint32_t *word, int count);

#endif
