/* SPDX-License-Identifier: MIT */
/*
 * Owns the arena's file and mapping.  The header is written before the arena is shown to anyone and
 * is constant from then on, `size` excepted, which grows only.  A process that dies here leaves a
 * file that nobody else has seen yet, or one that is whole.
 */
#include <pthread.h>

#include "arena/heap.h"
#include "arena/slot.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(mp__arena_header *) header;
static int arena_fd = -1;
static uint64_t reserved; /* bytes of addresses */

#define PAGE UINT64_C(4096)

/* Where things stand: the header's page, the slots, the unit table, the units. */
#define UNITS_AT (UINT64_C(2) << 20)
#define HEAP_AT (UINT64_C(16) << 20)
_Static_assert(PAGE + MP__SLOT_COUNT * MP__SLOT_SIZE <= UNITS_AT, "slots end before the units");
_Static_assert(UNITS_AT + MP__UNIT_COUNT * 8 <= HEAP_AT, "the unit table ends before the heap");

static int fill(int fd, mp__arena_header *h)
{
    mp__arena_header first = {
        .magic = MP__ARENA_MAGIC,
        .layout = MP__ARENA_LAYOUT,
        .slot_size = MP__SLOT_SIZE,
        .slots = PAGE,
        .slot_count = MP__SLOT_COUNT,
        .units = UNITS_AT,
        .heap = HEAP_AT,
    };
    int r = mp__os_random(first.family, sizeof first.family);
    if (r == 0)
        r = mp__os_resize(fd, HEAP_AT);
    if (r == 0)
        r = mp__os_seal_shrink(fd);
    if (r < 0)
        return r;
    atomic_init(&first.size, HEAP_AT);
    *h = first;
    return 0;
}

/* As much of the address space as the process may have, down to what the layout needs.  (valgrind answers
 * EINVAL to what is too much for it.) */
static int map_reserve(int fd, void **ret_address)
{
    int r = -ENOMEM;
    for (reserved = MP__ARENA_RESERVE; r < 0 && reserved >= MP__ARENA_LEAST; reserved /= 4) {
        r = mp__os_map_arena(fd, reserved, ret_address);
        if (r == 0 || (r != -ENOMEM && r != -EINVAL))
            break;
    }
    return r;
}

static int make(void)
{
    void *address;
    int fd = mp__os_memfd("multiproc", true);
    if (fd < 0)
        return fd;
    int r = map_reserve(fd, &address);
    if (r == 0) {
        r = fill(fd, address);
        if (r < 0)
            mp__os_unmap(address, reserved);
    }
    if (r < 0) {
        mp__os_close(fd);
        return r;
    }
    arena_fd = fd;
    atomic_store(&header, address);
    return 0;
}

int mp__arena_ensure(void)
{
    if (mp__likely(atomic_load_explicit(&header, memory_order_acquire) != NULL))
        return 0;
    pthread_mutex_lock(&lock);
    int r = atomic_load(&header) ? 0 : make();
    pthread_mutex_unlock(&lock);
    return r < 0 ? mp__fail(r, "cannot make the family's shared memory") : r;
}

static bool is_arena(const mp__arena_header *h, uint64_t size)
{
    return h->magic == MP__ARENA_MAGIC && h->layout == MP__ARENA_LAYOUT &&
           h->slot_size == MP__SLOT_SIZE && h->slots == PAGE && h->slot_count == MP__SLOT_COUNT &&
           h->units == UNITS_AT && h->heap == HEAP_AT && size >= HEAP_AT;
}

int mp__arena_attach(int fd)
{
    uint64_t size;
    void *address;
    int r = mp__os_file_size(fd, &size);
    if (r < 0)
        return r;
    if (size < PAGE || size > MP__ARENA_RESERVE || !mp__os_is_sealed(fd, false))
        return mp__fail(-EBADMSG, "the inherited descriptor %d is not an arena", fd);
    r = map_reserve(fd, &address);
    if (r < 0)
        return r;
    if (!is_arena(address, size)) {
        mp__os_unmap(address, reserved);
        return mp__fail(MP_ECHANGED, "the arena in descriptor %d has another layout", fd);
    }
    arena_fd = fd;
    atomic_store(&header, address);
    return 0;
}

int mp__arena_fd(void)
{
    return atomic_load(&header) ? arena_fd : -1;
}

mp__arena_header *mp__arena_info(void)
{
    return atomic_load_explicit(&header, memory_order_acquire);
}

void *mp__arena_at(uint64_t offset, size_t size)
{
    mp__arena_header *h = atomic_load_explicit(&header, memory_order_acquire);
    uint64_t end;
    if (!h || __builtin_add_overflow(offset, size, &end) || end > atomic_load(&h->size) ||
        end > reserved)
        return NULL;
    return (char *)h + offset;
}

/* The file is sealed against shrinking, so of two that grow it the one with less is refused, and finds
 * that there is enough. */
int mp__arena_grow(uint64_t size)
{
    mp__arena_header *h = mp__arena_info();
    uint64_t now = atomic_load(&h->size);
    if (size <= now)
        return 0;
    if (size > reserved)
        return mp__fail(-ENOMEM, "the family's shared memory cannot grow beyond %llu bytes",
                        (unsigned long long)reserved);
    int r = mp__os_resize(arena_fd, size);
    uint64_t file = 0;
    if (r < 0 && r != -EPERM)
        return r;
    r = mp__os_file_size(arena_fd, &file);
    if (r < 0)
        return r;
    while (now < file && !atomic_compare_exchange_weak(&h->size, &now, file))
        ;
    return file >= size ? 0 : -ENOMEM;
}

void mp__arena_after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    mp__slot_after_fork();
}
