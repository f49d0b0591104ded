/* SPDX-License-Identifier: MIT */
/*
 * A checksum of all files below a directory, in one process and then by a pool, which must agree; and how
 * much faster the pool is.
 *
 *   pool_checksums [fork|spawn|forkserver [DIRECTORY]]
 *
 * The directory is /usr/share/doc, or what MULTIPROC_EXAMPLE_DIRECTORY says.
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "example.h"

static uint32_t crc32_more(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
    }
    return ~crc;
}

/* The content of a file; NULL when it cannot be read or has none. */
static void *map_file(const char *path, size_t *ret_size)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *data = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &s) == 0 && s.st_size > 0)
        data = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    *ret_size = data == MAP_FAILED ? 0 : (size_t)s.st_size;
    if (fd >= 0)
        close(fd);
    return data == MAP_FAILED ? NULL : data;
}

/* The checksum of a file, and its size. */
MP_TASK(mp_value *, checksum, (const char *, path))
{
    size_t size;
    void *data = map_file(path, &size);
    uint32_t crc = crc32_more(0, data, size);
    if (data)
        munmap(data, size);
    return mp_tuple_of(mp_v(crc), mp_v(size));
}

/* ---- the list of files ---- */

static mp_value **paths;
static size_t files;

static int add_file(const char *path, const struct stat *s, int type, struct FTW *where)
{
    size_t size;
    (void)where;
    if (type != FTW_F || !S_ISREG(s->st_mode))
        return 0;
    void *data = map_file(path, &size); /* so that both runs find it in memory */
    if (data)
        munmap(data, size);
    mp_value **more = realloc(paths, (files + 1) * sizeof *paths);
    mp_value *value = mp_v(path);
    made(more);
    made(value);
    paths = more;
    paths[files++] = value;
    return 0;
}

/* ---- both runs ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static mp_value *in_one_process(void)
{
    mp_value **results = calloc(files + 1, sizeof *results);
    made(results);
    for (size_t i = 0; i < files; i++)
        results[i] = checksum(mp_value_get_str(paths[i], NULL));
    mp_value *list = mp_value_list(results, files);
    made(list);
    free(results);
    return list;
}

static mp_value *by_a_pool(mp_pool *pool)
{
    mp_call_options options = MP_CALL_OPTIONS_INIT;
    options.progress = 1;
    mp_value *list = mp_value_list(paths, files), *results;
    mp_result *r = mp_pool_map_async(pool, MP_TASK_OF(checksum), list, &options);
    made(r);
    check(mp_result_get(r, &results, MP_FOREVER));
    mp_result_free(r);
    return results;
}

/* One checksum of all of them. */
static uint32_t combine(const mp_value *results, uint64_t *ret_bytes)
{
    uint32_t all = 0;
    *ret_bytes = 0;
    for (size_t i = 0; i < files; i++) {
        uint64_t crc, size;
        check(mp_value_get_uint(mp_value_item(mp_value_item(results, i), 0), &crc));
        check(mp_value_get_uint(mp_value_item(mp_value_item(results, i), 1), &size));
        all = crc32_more(all, &crc, sizeof crc);
        *ret_bytes += size;
    }
    return all;
}

int main(int argc, char **argv)
{
    const char *directory = getenv("MULTIPROC_EXAMPLE_DIRECTORY");
    mp_main(argc, argv);
    example_start_method(argc, argv);
    if (argc > 2)
        directory = argv[2];
    if (!directory)
        directory = "/usr/share/doc";
    if (nftw(directory, add_file, 32, FTW_PHYS) < 0) {
        perror(directory);
        return 1;
    }

    uint64_t bytes;
    mp_pool *pool = mp_pool_new(0); /* a worker for each processor */
    made(pool);
    double t0 = now();
    mp_value *first = in_one_process();
    double t1 = now();
    mp_value *second = by_a_pool(pool);
    double t2 = now();
    uint32_t sum = combine(first, &bytes), again = combine(second, &bytes);
    printf("%zu files, %llu bytes below %s\n", files, (unsigned long long)bytes, directory);
    printf("one process: checksum %08x in %.3f s\n", sum, t1 - t0);
    printf("pool of %d: checksum %08x in %.3f s\n", mp_cpu_count(), again, t2 - t1);
    printf("%s, speed-up %.2f\n", sum == again ? "they agree" : "they differ",
           (t1 - t0) / (t2 - t1));

    mp_value_free(first);
    mp_value_free(second);
    free(paths);
    mp_pool_free(pool);
    return sum != again;
}
