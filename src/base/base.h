/* SPDX-License-Identifier: MIT */
/*
 * Layer 0: what every file uses.  No system calls here, and no policy.
 *
 *   errors    a function fails with a negative code and, where it knows more, a detail text of the
 *             thread (mp__fail)
 *   misuse    MP__CHECK: abort in a debug build, -EINVAL in a release build
 *   handles   every public handle starts with struct mp__head: a magic that names its kind
 *   deadline  an absolute time on the monotonic clock, or never
 *   alloc     malloc with the fault counter in front
 */
#ifndef MP__BASE_H
#define MP__BASE_H

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <multiproc/base.h>

#define MP__HIDDEN __attribute__((visibility("hidden")))
#define MP__COLD __attribute__((cold))
#define MP__COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define MP__CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define mp__likely(x) __builtin_expect(!!(x), 1)
#define mp__unlikely(x) __builtin_expect(!!(x), 0)

/* ---- errors ---- */

/* Remembers a detail text for mp_error_detail() and returns the code. */
MP__HIDDEN int mp__fail(int code, const char *fmt, ...) MULTIPROC_PRINTF(2, 3) MP__COLD;

/* Forgets the detail: the first line of public functions that can fail. */
MP__HIDDEN void mp__clear_detail(void);

/* For constructors: sets errno from a negative code and returns NULL. */
MP__HIDDEN void *mp__null(int code) MP__COLD;

MP__HIDDEN int mp__misuse(const char *function, const char *what) MP__COLD;

/* A public function was called wrongly: see base.h, "Misuse". */
#define MP__CHECK(condition)                         \
    do {                                             \
        if (mp__unlikely(!(condition)))              \
            return mp__misuse(__func__, #condition); \
    } while (0)
#define MP__CHECK_NULL(condition)                              \
    do {                                                       \
        if (mp__unlikely(!(condition)))                        \
            return mp__null(mp__misuse(__func__, #condition)); \
    } while (0)

/* ---- handles ---- */

typedef enum mp__magic {
    MP__MAGIC_FREED = 0x6465616d,
    MP__MAGIC_VALUE = 0x6c617670,
    MP__MAGIC_BUFFER = 0x66756270,
    MP__MAGIC_CONNECTION = 0x6e6f6370,
    MP__MAGIC_PROCESS = 0x6f727070,
    MP__MAGIC_CONTEXT = 0x78746370,
    MP__MAGIC_NAMED_SHM = 0x6d616e70,
    MP__MAGIC_POOL = 0x6c6f6f70,
    MP__MAGIC_RESULT = 0x74736572,
    MP__MAGIC_IMAP = 0x70616d69,
    MP__MAGIC_LISTENER = 0x6e65746c,
    MP__MAGIC_MANAGER = 0x72676e6d,
    MP__MAGIC_PROXY = 0x79786f72,
    MP__MAGIC_SHARED = 0x73686100, /* and the kind of object */
} mp__magic;

typedef struct mp__head {
    uint32_t magic;
    _Atomic uint32_t refs;
} mp__head;

static inline bool mp__is(const void *handle, mp__magic magic)
{
    return handle && ((const mp__head *)handle)->magic == (uint32_t)magic;
}

static inline void mp__head_init(mp__head *head, mp__magic magic)
{
    head->magic = (uint32_t)magic;
    atomic_init(&head->refs, 1);
}

static inline void mp__head_ref(mp__head *head)
{
    atomic_fetch_add_explicit(&head->refs, 1, memory_order_relaxed);
}

/* True when that was the last reference; the magic is gone then. */
static inline bool mp__head_unref(mp__head *head)
{
    if (atomic_fetch_sub_explicit(&head->refs, 1, memory_order_acq_rel) != 1)
        return false;
    head->magic = MP__MAGIC_FREED;
    return true;
}

/* ---- checked arithmetic ---- */

static inline bool mp__add(size_t a, size_t b, size_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

static inline bool mp__mul(size_t a, size_t b, size_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

static inline uint64_t mp__load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- numbers on the wire ---- */

static inline uint32_t mp__big_endian32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? v : __builtin_bswap32(v);
}

static inline void mp__put_big_endian32(void *p, uint32_t v)
{
    v = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? v : __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

/* ---- deadlines ---- */

/* Nanoseconds on the monotonic clock; INT64_MAX is never. */
typedef int64_t mp__deadline;
#define MP__NEVER INT64_MAX

static inline mp__deadline mp__deadline_after(int64_t now, mp_time timeout)
{
    int64_t at;
    if (timeout == MP_FOREVER)
        return MP__NEVER;
    if (timeout <= 0)
        return now;
    return __builtin_add_overflow(now, timeout, &at) ? MP__NEVER : at;
}

static inline mp_time mp__deadline_left(mp__deadline deadline, int64_t now)
{
    if (deadline == MP__NEVER)
        return MP_FOREVER;
    return deadline > now ? deadline - now : 0;
}

/* ---- memory of the process ---- */

MP__HIDDEN void *mp__alloc(size_t size); /* not initialised; NULL when there is none */
MP__HIDDEN void *mp__alloc_zero(size_t size);
MP__HIDDEN void *mp__realloc(void *block, size_t size);
MP__HIDDEN char *mp__strdup(const char *text);

/* ---- the host ---- */

/* Set by the host hooks: waits return -EINTR. */
MP__HIDDEN extern _Atomic bool mp__interruptible;
/* Or NULL: a signal handler has run in the middle of something; other than 0: leave it. */
MP__HIDDEN extern int (*mp__interrupted)(void);

/* ---- forks ---- */

/* How many forks lie between the first process and this one: handles notice that they were copied.
 */
MP__HIDDEN extern _Atomic uint32_t mp__fork_count;

/* ---- doubly linked lists ---- */

typedef struct mp__list {
    struct mp__list *next, *prev;
} mp__list;

#define MP__LIST_INIT(l) \
    {                    \
        &(l), &(l)       \
    }

static inline void mp__list_reset(mp__list *l)
{
    l->next = l->prev = l;
}

static inline void mp__list_append(mp__list *head, mp__list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void mp__list_remove(mp__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    mp__list_reset(node);
}

/* ---- log ---- */

MP__HIDDEN int mp__log_stderr_level(void); /* 0: it does not go there */
MP__HIDDEN void mp__log(int level, const char *fmt, ...) MULTIPROC_PRINTF(2, 3) MP__COLD;
/* Writes a line to standard error and knows this process's name: set by upper layers. */
MP__HIDDEN void mp__log_set_stderr_writer(mp_log_fn *writer);

#endif
