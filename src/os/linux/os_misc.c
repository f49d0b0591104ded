/* SPDX-License-Identifier: MIT */
/* Owns time, random bytes, the processor count, futexes and small services of Linux.  Stateless. */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

int64_t mp__os_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mp__os_boot_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int mp__os_random(void *data, size_t size)
{
    MP__FAULT("getrandom");
    for (size_t done = 0; done < size;) {
        ssize_t n = getrandom((char *)data + done, size - done, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

void mp__os_yield(void)
{
    sched_yield();
}

void mp__os_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* ---- processors ---- */

static int affinity_count(void)
{
    int count = 0;
    for (size_t cpus = 1024; cpus <= 262144 && !count; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set)
            break;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set) == 0)
            count = CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set);
        else if (errno != EINVAL)
            cpus = 262144;
        CPU_FREE(set);
    }
    return count > 0 ? count : 1;
}

bool mp__os_one_cpu(void)
{
    return affinity_count() == 1;
}

/* Reads at most size - 1 bytes of a file as a string; false when it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n;
    size_t used = 0;
    while (used < size - 1 && (n = read(fd, text + used, size - 1 - used)) != 0) {
        if (n < 0 && errno != EINTR)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    text[used] = 0;
    return used > 0;
}

/* quota / period of one directory, rounded up, or `best` when that is smaller or there is none. */
static long quota_of(const char *dir, bool unified, long best)
{
    char path[PATH_MAX], text[128];
    long long quota = -1, period = 0;
    if (unified) {
        snprintf(path, sizeof path, "%s/cpu.max", dir);
        if (!read_text(path, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
            return best;
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
        if (!read_text(path, text, sizeof text) || sscanf(text, "%lld", &quota) != 1)
            return best;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        if (!read_text(path, text, sizeof text) || sscanf(text, "%lld", &period) != 1)
            return best;
    }
    if (quota <= 0 || period <= 0)
        return best;
    long long cpus = (quota + period - 1) / period;
    return cpus < best ? (long)cpus : best;
}

/* The smallest quota on the way from the group at `path` up to the root of the hierarchy. */
static long quota_up(const char *root, const char *group, bool unified, long best)
{
    char dir[PATH_MAX - 32];
    int n = snprintf(dir, sizeof dir, "%s%s", root, group);
    if (n < 0 || (size_t)n >= sizeof dir)
        return best;
    for (;;) {
        best = quota_of(dir, unified, best);
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < strlen(root))
            return best;
        *slash = 0;
    }
}

int mp__os_cpu_count(void)
{
    long best = affinity_count();
    char text[4096];
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return (int)best;
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        controllers++;
        if (!*controllers)
            best = quota_up("/sys/fs/cgroup", group, true, best);
        else if (strcmp(controllers, "cpu") == 0 || strstr(controllers, "cpu,"))
            best = quota_up("/sys/fs/cgroup/cpu", group, false, best);
    }
    return best > 0 ? (int)best : 1;
}

/* ---- small services ---- */

int mp__os_write_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int mp__os_exe_identity(char *ret_text, size_t size)
{
    struct stat st;
    MP__FAULT("stat");
    if (stat("/proc/self/exe", &st) < 0)
        return -errno;
    snprintf(ret_text, size, "%llx:%llx:%llx", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino, (unsigned long long)st.st_size);
    return 0;
}

bool mp__os_is_privileged(void)
{
    return getauxval(AT_SECURE) != 0;
}

void mp__os_set_command_name(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

void mp__os_command_name(char *ret_name, size_t size)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name, 0, 0, 0);
    snprintf(ret_name, size, "%s", name);
}

/* ---- about this process ---- */

uint64_t mp__os_memory_used(void)
{
    char text[128];
    unsigned long size, resident;
    if (!read_text("/proc/self/statm", text, sizeof text) ||
        sscanf(text, "%lu %lu", &size, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool mp__os_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

const char *mp__os_signal_name(int signal)
{
    static const char *const names[] = {
        [SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",   [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
        [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
        [SIGKILL] = "SIGKILL", [SIGUSR1] = "SIGUSR1", [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
        [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM", [SIGXCPU] = "SIGXCPU",
        [SIGXFSZ] = "SIGXFSZ", [SIGSYS] = "SIGSYS",
    };
    return signal > 0 && (size_t)signal < MP__COUNT_OF(names) && names[signal] ? names[signal]
                                                                               : "a signal";
}

/* ---- futexes: the numbers of linux/futex.h, which musl does not bring along ---- */

#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_BITSET_MATCH_ANY 0xffffffffu

int mp__os_futex_wait(_Atomic uint32_t *word, uint32_t expected, mp_time timeout)
{
    MP__FAULT("futex");
    struct timespec at, *until = NULL;
    if (timeout != MP_FOREVER) {
        int64_t when = mp__deadline_after(mp__os_now(), timeout);
        at.tv_sec = (time_t)(when / 1000000000);
        at.tv_nsec = (long)(when % 1000000000);
        until = &at;
    }
    long r =
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, until, NULL, FUTEX_BITSET_MATCH_ANY);
    return r < 0 ? -errno : 0;
}

int mp__os_futex_wake(_Atomic uint32_t *word, int count)
{
    long r = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return r < 0 ? -errno : (int)r;
}
