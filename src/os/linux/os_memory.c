/* SPDX-License-Identifier: MIT */
/* Owns anonymous memory files and their mappings.  Stateless. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/os.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int mp__os_memfd(const char *name, bool sealable)
{
    MP__FAULT("memfd_create");
    unsigned flags = MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0);
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, flags);
    return fd < 0 ? -errno : mp__os_raise_fd(fd);
}

int mp__os_shm_open(const char *name, bool create)
{
    MP__FAULT("shm_open");
    int fd = shm_open(name, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
    return fd < 0 ? -errno : mp__os_raise_fd(fd);
}

int mp__os_shm_unlink(const char *name)
{
    return shm_unlink(name) < 0 ? -errno : 0;
}

int mp__os_file_identity(int fd, uint64_t ret_id[2])
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    ret_id[0] = (uint64_t)st.st_dev;
    ret_id[1] = (uint64_t)st.st_ino;
    return 0;
}

/* The limit on the size of files holds for memory files too, and answers with a signal. */
static int check_limit(uint64_t size)
{
    struct rlimit limit;
    if (size > INT64_MAX)
        return -ENOMEM;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        size > limit.rlim_cur)
        return mp__fail(-EFBIG, "%llu bytes of shared memory are more than the limit on file sizes",
                        (unsigned long long)size);
    return 0;
}

int mp__os_resize(int fd, uint64_t size)
{
    MP__FAULT("ftruncate");
    int limited = check_limit(size);
    if (limited < 0)
        return limited;
    int r;
    do
        r = ftruncate(fd, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int mp__os_reserve(int fd, uint64_t size)
{
    MP__FAULT("fallocate");
    int r = check_limit(size);
    if (r < 0)
        return r;
    do
        r = fallocate(fd, 0, 0, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int mp__os_file_size(int fd, uint64_t *ret_size)
{
    MP__FAULT("fstat");
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int seal(int fd, int seals)
{
    MP__FAULT("fcntl");
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int mp__os_seal(int fd)
{
    return seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

int mp__os_seal_shrink(int fd)
{
    return seal(fd, F_SEAL_SHRINK);
}

/* A file of huge pages can fault where it has holes; only ordinary memory files are taken. */
static bool is_ordinary(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_blksize <= sysconf(_SC_PAGESIZE);
}

int mp__os_is_sealed(int fd, bool constant)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return is_ordinary(fd) && seals >= 0 && (seals & F_SEAL_SHRINK) &&
           (!constant || (seals & F_SEAL_WRITE));
}

static int map(int fd, size_t size, int flags, void **ret_address)
{
    MP__FAULT("mmap");
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret_address = p;
    return 0;
}

int mp__os_map_inherited(int fd, size_t size, void **ret_address)
{
    return map(fd, size, MAP_SHARED, ret_address);
}

int mp__os_map_arena(int fd, size_t size, void **ret_address)
{
    int r = map(fd, size, MAP_SHARED, ret_address);
    if (r == 0)
        madvise(*ret_address, size, MADV_DONTDUMP);
    return r;
}

int mp__os_map_shared(int fd, size_t size, void **ret_address)
{
    int r = map(fd, size, MAP_SHARED, ret_address);
    if (r == 0)
        madvise(*ret_address, size, MADV_DONTFORK);
    return r;
}

int mp__os_map_copy(int fd, size_t size, void **ret_address)
{
    return map(fd, size, MAP_PRIVATE, ret_address);
}

int mp__os_unmap(void *address, size_t size)
{
    return munmap(address, size) < 0 ? -errno : 0;
}

void mp__os_discard(void *address, size_t size)
{
    madvise(address, size, MADV_REMOVE);
}

/* One call moves at most 2 GiB, so both directions loop. */
int mp__os_read_at(int fd, void *data, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        MP__FAULT("pread");
        ssize_t n = pread(fd, (char *)data + done, size - done, (off_t)(offset + done));
        if (n == 0)
            return -EBADMSG;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int mp__os_write_at(int fd, const void *data, size_t size, uint64_t offset)
{
    int limited = check_limit(offset + size);
    if (limited < 0)
        return limited;
    for (size_t done = 0; done < size;) {
        MP__FAULT("pwrite");
        ssize_t n = pwrite(fd, (const char *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}
