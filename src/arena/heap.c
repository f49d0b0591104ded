/* SPDX-License-Identifier: MIT */
/*
 * Owns the heap of the arena; heap.h has the layout and the commits.  Whatever is read from the tables
 * is checked before it is used, so that damage gives -EBADMSG and never a wild access or a loop.
 */
#include "arena/heap.h"

#include "arena/wordlock.h"

#define CLASSES 10 /* 64 bytes to 32 KiB */
#define WARM_MOST (UINT64_C(128) << 20)
#define WARM_RUN 2048u /* units; a longer free run gives its pages back at once */

typedef enum run_kind { RUN_NONE = 0, RUN_FREE = 1, RUN_BIG = 2, RUN_SLAB = 3 } run_kind;

/* Unit word: kind (2 bits), units or class (24), owner word of a big block (32). */
#define RUN(kind, n, owner) ((uint64_t)(kind) << 62 | (uint64_t)(n) << 32 | (uint32_t)(owner))
#define KIND(word) ((run_kind)((word) >> 62))
#define LENGTH(word) ((uint32_t)((word) >> 32) & 0xffffff)
#define OWNER(word) ((uint32_t)(word))

typedef struct slab {
    uint32_t block_size, count;
    _Atomic uint32_t hint; /* where to look first */
    uint32_t reserved;
    _Atomic uint32_t owners[];
} slab;

typedef struct place { /* of a block */
    _Atomic uint64_t *run;
    uint64_t word; /* of the run, as it was seen */
    slab *slab;    /* NULL: a big block */
    uint32_t index;
    uint64_t size;
} place;

static _Atomic uint32_t last_slab[CLASSES]; /* of this process: where to look first */

/* ---- tables ---- */

static _Atomic uint64_t *run_at(const mp__arena_header *h, uint32_t unit)
{
    return (_Atomic uint64_t *)((char *)(uintptr_t)h + h->units) + unit;
}

static uint64_t offset_of(const mp__arena_header *h, uint32_t unit)
{
    return h->heap + (uint64_t)unit * MP__UNIT_SIZE;
}

/* Units in use, as far as there is memory for them. */
static uint32_t unit_count(mp__arena_header *h)
{
    uint64_t n = atomic_load(&h->unit_count),
             room = (atomic_load(&h->size) - h->heap) / MP__UNIT_SIZE;
    n = n < room ? n : room;
    return (uint32_t)(n < MP__UNIT_COUNT ? n : MP__UNIT_COUNT);
}

static uint32_t class_of(size_t size)
{
    uint32_t c = 0;
    while ((64u << c) < size)
        c++;
    return c;
}

static uint32_t blocks_in_slab(uint32_t block_size)
{
    return (uint32_t)((MP__UNIT_SIZE - sizeof(slab) - 64) / (block_size + sizeof(uint32_t)));
}

/* The first block's offset in its unit: after the owner words, at a multiple of 64. */
static uint64_t blocks_start(uint32_t count)
{
    return (sizeof(slab) + count * sizeof(uint32_t) + 63) / 64 * 64;
}

/* The slab in a unit, or NULL when what stands there is none. */
static slab *slab_at(mp__arena_header *h, uint32_t unit, uint64_t word)
{
    uint32_t c = LENGTH(word);
    slab *s = mp__arena_at(offset_of(h, unit), MP__UNIT_SIZE);
    if (!s || KIND(word) != RUN_SLAB || c >= CLASSES || s->block_size != 64u << c ||
        s->count != blocks_in_slab(s->block_size))
        return NULL;
    return s;
}

static uint32_t run_length(uint64_t word)
{
    return KIND(word) == RUN_SLAB ? 1 : KIND(word) == RUN_NONE ? 0 : LENGTH(word);
}

static int damaged(uint32_t unit)
{
    return mp__fail(-EBADMSG, "the shared memory's table is damaged at unit %u", unit);
}

/* ---- runs; under the heap's lock ---- */

/* Joins the free runs that follow one another from `unit` on; its new length, or 0 for damage. */
static uint32_t join_free(mp__arena_header *h, uint32_t unit, uint32_t end)
{
    _Atomic uint64_t *run = run_at(h, unit);
    uint32_t n = LENGTH(atomic_load(run)), joined = n;
    while (joined && unit + joined < end) {
        uint64_t next = atomic_load(run_at(h, unit + joined));
        if (KIND(next) != RUN_FREE || LENGTH(next) == 0)
            break;
        joined += LENGTH(next);
    }
    if (joined == 0 || joined > end - unit)
        return 0;
    if (joined != n)
        atomic_store(run, RUN(RUN_FREE, joined, 0));
    return joined;
}

static void cut(mp__arena_header *h, uint32_t unit, uint32_t have, uint32_t n, uint64_t word)
{
    if (have > n)
        atomic_store(run_at(h, unit + n), RUN(RUN_FREE, have - n, 0));
    atomic_store(run_at(h, unit), word);
    uint64_t bytes = (uint64_t)n * MP__UNIT_SIZE, warm = atomic_load(&h->warm);
    atomic_store(&h->warm, warm > bytes ? warm - bytes : 0);
}

/* The first free run of at least n units, or -ENOMEM, or damage. */
static int64_t find_run(mp__arena_header *h, uint32_t n, uint32_t *ret_have)
{
    uint32_t end = unit_count(h);
    for (uint32_t unit = 0; unit < end;) {
        uint64_t word = atomic_load(run_at(h, unit));
        uint32_t length = run_length(word);
        if (KIND(word) == RUN_FREE)
            length = join_free(h, unit, end);
        if (length == 0 || length > end - unit)
            return damaged(unit);
        if (KIND(word) == RUN_FREE && length >= n) {
            *ret_have = length;
            return unit;
        }
        unit += length;
    }
    return -ENOMEM;
}

/* A run of n units; `prepare` makes its content fit for `word` before anybody can see it. */
static int64_t take_run(mp__arena_header *h, uint32_t n, uint64_t word,
                        void (*prepare)(void *, uint32_t), uint32_t argument)
{
    uint32_t have = 0;
    int64_t unit = find_run(h, n, &have);
    bool fresh = unit == -ENOMEM;
    if (fresh) {
        unit = unit_count(h);
        if ((uint64_t)unit + n > MP__UNIT_COUNT)
            return mp__fail(-ENOMEM, "the family's shared memory is full");
        int r = mp__arena_grow(offset_of(h, (uint32_t)unit + n));
        if (r < 0)
            return r;
    }
    if (unit < 0)
        return unit;
    if (prepare)
        prepare(mp__arena_at(offset_of(h, (uint32_t)unit), MP__UNIT_SIZE), argument);
    if (fresh) {
        atomic_store(run_at(h, (uint32_t)unit), word);
        atomic_store(&h->unit_count, (uint32_t)unit + n); /* the commit */
    } else {
        cut(h, (uint32_t)unit, have, n, word);
    }
    return unit;
}

static void lock_heap(mp__arena_header *h)
{
    /* Of a dead holder: there is nothing to repair. */
    while (mp__word_lock(&h->heap_lock, MP_FOREVER, NULL) == -EAGAIN)
        mp__os_relax();
}

static int64_t locked_take(uint32_t n, uint64_t word, void (*prepare)(void *, uint32_t),
                           uint32_t argument)
{
    mp__arena_header *h = mp__arena_info();
    if (!mp__tag_self())
        return -EAGAIN;
    lock_heap(h);
    int64_t unit = take_run(h, n, word, prepare, argument);
    mp__word_unlock(&h->heap_lock);
    return unit;
}

/* ---- small blocks ---- */

static void prepare_slab(void *unit, uint32_t block_size)
{
    slab *s = unit;
    s->block_size = block_size;
    s->count = blocks_in_slab(block_size);
    s->reserved = 0;
    atomic_store(&s->hint, 0);
    for (uint32_t i = 0; i < s->count; i++)
        atomic_store_explicit(&s->owners[i], 0, memory_order_relaxed);
}

static bool take_in_slab(slab *s, mp__tag self, uint32_t *ret_index)
{
    uint32_t from = atomic_load_explicit(&s->hint, memory_order_relaxed) % s->count;
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = from + k < s->count ? from + k : from + k - s->count, nobody = 0;
        if (atomic_load_explicit(&s->owners[i], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&s->owners[i], &nobody, self)) {
            atomic_store_explicit(&s->hint, i + 1, memory_order_relaxed);
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* Looks through the slabs of a class, from the one that served last. */
static bool take_in_class(mp__arena_header *h, uint32_t c, mp__tag self, uint64_t *ret_offset)
{
    uint32_t end = unit_count(h), from = atomic_load(&last_slab[c]), i;
    for (uint32_t k = 0; k < end; k++) {
        uint32_t unit = (from + k) % end;
        uint64_t word = atomic_load(run_at(h, unit));
        slab *s = KIND(word) == RUN_SLAB && LENGTH(word) == c ? slab_at(h, unit, word) : NULL;
        if (s && take_in_slab(s, self, &i)) {
            atomic_store(&last_slab[c], unit);
            *ret_offset = offset_of(h, unit) + blocks_start(s->count) + (uint64_t)i * s->block_size;
            return true;
        }
    }
    return false;
}

static int alloc_small(mp__arena_header *h, size_t size, uint64_t *ret_offset)
{
    uint32_t c = class_of(size);
    mp__tag self = mp__tag_self();
    if (!self)
        return -EAGAIN;
    while (!take_in_class(h, c, self, ret_offset)) {
        int64_t unit = locked_take(1, RUN(RUN_SLAB, c, 0), prepare_slab, 64u << c);
        if (unit < 0)
            return (int)unit;
        atomic_store(&last_slab[c], (uint32_t)unit);
    }
    return 0;
}

int mp__heap_alloc(size_t size, uint64_t *ret_offset)
{
    int r = mp__arena_ensure();
    if (r < 0)
        return r;
    mp__arena_header *h = mp__arena_info();
    if (size <= MP__SMALL_MAX)
        return alloc_small(h, size, ret_offset);
    if (size > (MP__UNIT_COUNT - 1) * MP__UNIT_SIZE)
        return mp__fail(-ENOMEM, "%zu bytes are more than shared memory can hold", size);
    uint32_t n = (uint32_t)((size + MP__UNIT_SIZE - 1) / MP__UNIT_SIZE);
    int64_t unit = locked_take(n, RUN(RUN_BIG, n, mp__tag_self()), NULL, 0);
    if (unit < 0)
        return (int)unit;
    *ret_offset = offset_of(h, (uint32_t)unit);
    return 0;
}

/* ---- from an offset to its block ---- */

static bool find(uint64_t offset, place *ret_place)
{
    mp__arena_header *h = mp__arena_info();
    if (!h || offset < h->heap)
        return false;
    uint64_t unit = (offset - h->heap) / MP__UNIT_SIZE, inside = (offset - h->heap) % MP__UNIT_SIZE;
    if (unit >= unit_count(h))
        return false;
    place p = {.run = run_at(h, (uint32_t)unit)};
    p.word = atomic_load(p.run);
    if (KIND(p.word) == RUN_BIG && inside == 0 && LENGTH(p.word) &&
        LENGTH(p.word) <= unit_count(h) - unit) {
        p.size = LENGTH(p.word) * MP__UNIT_SIZE;
        *ret_place = p;
        return true;
    }
    p.slab = slab_at(h, (uint32_t)unit, p.word);
    if (!p.slab || inside < blocks_start(p.slab->count) ||
        (inside - blocks_start(p.slab->count)) % p.slab->block_size)
        return false;
    p.index = (uint32_t)((inside - blocks_start(p.slab->count)) / p.slab->block_size);
    p.size = p.slab->block_size;
    if (p.index >= p.slab->count)
        return false;
    *ret_place = p;
    return true;
}

static uint32_t owner_of(const place *p)
{
    return p->slab ? atomic_load(&p->slab->owners[p->index]) : OWNER(p->word);
}

/* From one owner to another; 0 for a small block is free. */
static bool change_owner(place *p, uint32_t from, uint32_t to)
{
    if (p->slab)
        return atomic_compare_exchange_strong(&p->slab->owners[p->index], &from, to);
    uint64_t seen = RUN(RUN_BIG, LENGTH(p->word), from);
    return atomic_compare_exchange_strong(p->run, &seen, RUN(RUN_BIG, LENGTH(p->word), to));
}

void *mp__heap_at(uint64_t offset, size_t size)
{
    place p;
    return find(offset, &p) && owner_of(&p) && size <= p.size ? mp__arena_at(offset, size) : NULL;
}

uint32_t mp__heap_owner(uint64_t offset)
{
    place p;
    return find(offset, &p) ? owner_of(&p) : 0;
}

bool mp__heap_share(uint64_t offset)
{
    place p;
    return find(offset, &p) && change_owner(&p, mp__tag_self(), MP__BLOCK_SHARED);
}

bool mp__heap_own(uint64_t offset)
{
    place p;
    return find(offset, &p) && change_owner(&p, MP__BLOCK_SHARED, mp__tag_self());
}

/* ---- giving back ---- */

/* A big block's pages go back when it is large or enough is warm; then its run is free by one store. */
static void free_run(mp__arena_header *h, uint32_t unit, uint32_t n)
{
    uint64_t bytes = (uint64_t)n * MP__UNIT_SIZE;
    if (n > WARM_RUN || atomic_load(&h->warm) + bytes > WARM_MOST)
        mp__os_discard(mp__arena_at(offset_of(h, unit), bytes), bytes);
    else
        atomic_fetch_add(&h->warm, bytes);
    atomic_store(run_at(h, unit), RUN(RUN_FREE, n, 0));
}

static int free_from(uint64_t offset, uint32_t owner)
{
    mp__arena_header *h = mp__arena_info();
    place p;
    if (!owner || !find(offset, &p))
        return -EINVAL;
    if (p.slab) {
        if (!change_owner(&p, owner, 0))
            return -EINVAL;
        atomic_store_explicit(&p.slab->hint, p.index, memory_order_relaxed);
        return 0;
    }
    lock_heap(h);
    bool mine = find(offset, &p) && !p.slab && OWNER(p.word) == owner;
    if (mine)
        free_run(h, (uint32_t)((offset - h->heap) / MP__UNIT_SIZE), LENGTH(p.word));
    mp__word_unlock(&h->heap_lock);
    return mine ? 0 : -EINVAL;
}

int mp__heap_free(uint64_t offset)
{
    return free_from(offset, mp__heap_owner(offset));
}

/* ---- walking ---- */

/* Calls fn for every block in use, with its owner; stops at damage. */
static int walk(int (*fn)(void *context, uint64_t offset, uint64_t size, uint32_t owner),
                void *context)
{
    mp__arena_header *h = mp__arena_info();
    uint32_t end = h ? unit_count(h) : 0;
    for (uint32_t unit = 0; unit < end;) {
        uint64_t word = atomic_load(run_at(h, unit));
        uint32_t length = run_length(word);
        if (length == 0 || length > end - unit)
            return damaged(unit);
        if (KIND(word) == RUN_BIG && fn)
            fn(context, offset_of(h, unit), length * MP__UNIT_SIZE, OWNER(word));
        if (KIND(word) == RUN_SLAB) {
            slab *s = slab_at(h, unit, word);
            if (!s)
                return damaged(unit);
            for (uint32_t i = 0; fn && i < s->count; i++) {
                uint32_t owner = atomic_load_explicit(&s->owners[i], memory_order_relaxed);
                if (owner)
                    fn(context,
                       offset_of(h, unit) + blocks_start(s->count) + (uint64_t)i * s->block_size,
                       s->block_size, owner);
            }
        }
        unit += length;
    }
    return 0;
}

static int bury_one(void *context, uint64_t offset, uint64_t size, uint32_t owner)
{
    (void)size;
    return owner == *(mp__tag *)context ? free_from(offset, owner) : 0;
}

void mp__heap_bury(mp__tag tag)
{
    walk(bury_one, &tag);
}

typedef struct visitor {
    void (*fn)(void *context, uint64_t offset, size_t size);
    void *context;
} visitor;

static int visit_shared(void *context, uint64_t offset, uint64_t size, uint32_t owner)
{
    visitor *v = context;
    if (owner == MP__BLOCK_SHARED)
        v->fn(v->context, offset, size);
    return 0;
}

void mp__heap_each_shared(void (*fn)(void *context, uint64_t offset, size_t size), void *context)
{
    visitor v = {fn, context};
    walk(visit_shared, &v);
}

static int count_one(void *context, uint64_t offset, uint64_t size, uint32_t owner)
{
    uint64_t *counts = context;
    (void)offset;
    (void)owner;
    counts[0]++;
    counts[1] += size;
    return 0;
}

int mp__heap_check(uint64_t *ret_blocks, uint64_t *ret_bytes)
{
    uint64_t counts[2] = {0, 0};
    int r = walk(count_one, counts);
    if (r == 0 && ret_blocks)
        *ret_blocks = counts[0];
    if (r == 0 && ret_bytes)
        *ret_bytes = counts[1];
    return r;
}
