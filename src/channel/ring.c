/* SPDX-License-Identifier: MIT */
/*
 * Owns the shared part of a queue: ring.h has the invariants.  Whatever is read from shared memory is
 * checked before it is used, so that damage gives -EBADMSG and never a wild access or a loop.
 */
#include "channel/ring.h"

#include "base/fault.h"

#define HEAD 8u /* bytes of a record's header */
#define FIRST_SIZE ((8192u - sizeof(mp__object) - sizeof(mp__ring)) & ~7u)
#define SEGMENT_SIZE (16384u - sizeof(mp__object) - sizeof(mp__segment))
#define LONG_SEGMENT_SIZE ((256u << 10) - sizeof(mp__object) - sizeof(mp__segment))
#define LONG_FROM (1u << 20) /* bytes of backlog from which segments are long */
#define LOCK_PATIENCE MP_SECONDS(1)
#define COUNT(word) ((word) >> 1)
#define BATCH 64 /* items that are taken before the lock is given to others */

/* A record's header: size (48 bits), kind and flags. */
enum { INLINE = 1, BLOCK = 2, END = 3 };
#define HAS_HANDLES 0x80u
#define RECORD(kind, size) ((uint64_t)(kind) << 48 | (size))
#define SIZE_OF(record) ((record) & ((UINT64_C(1) << 48) - 1))
#define KIND_OF(record) ((unsigned)((record) >> 48) & 0x7f)
#define FLAGS_OF(record) ((unsigned)((record) >> 48) & ~0x7fu)

typedef struct block_ref { /* the bytes of a BLOCK record */
    int64_t words[2];
} block_ref;

static uint64_t round8(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

size_t mp__ring_size(bool joinable)
{
    return sizeof(mp__ring) + FIRST_SIZE + (joinable ? MP__SLOT_COUNT * sizeof(mp__taker) : 0);
}

void mp__ring_init(mp__ring *ring, uint64_t max_items, uint64_t max_bytes, bool joinable)
{
    ring->max_items = max_items;
    ring->max_bytes = max_bytes;
    ring->joinable = joinable ? MP__JOINABLE : 0;
    ring->first.size = FIRST_SIZE;
}

mp__taker *mp__ring_takers(const mp__ring *ring)
{
    return (mp__taker *)(void *)((char *)(uintptr_t)ring + sizeof *ring + FIRST_SIZE);
}

bool mp__ring_is_joinable(const mp__ring *ring)
{
    return ring->joinable == MP__JOINABLE;
}

static int damaged(const char *what)
{
    return mp__fail(-EBADMSG, "the queue's shared memory is damaged: %s", what);
}

/* ---- the ends ---- */

static mp__place *place_of(mp__end *end, uint64_t word)
{
    return &end->place[word & 1];
}

/* The commit: from now on the end's word is `word`, and its other place the valid one. */
static void commit(mp__end *end, uint64_t word)
{
    atomic_store_explicit(&end->word, word, memory_order_release);
}

static uint64_t next_word(uint64_t word, uint64_t items)
{
    return (COUNT(word) + items) << 1 | (~word & 1);
}

static void note(mp__end *end, uint64_t word, const int64_t words[2])
{
    end->note.commit = word;
    end->note.words[0] = words ? words[0] : 0;
    end->note.words[1] = words ? words[1] : 0;
    atomic_store_explicit(&end->noted, 1, memory_order_release);
}

static void note_done(mp__end *end)
{
    atomic_store_explicit(&end->noted, 0, memory_order_release);
}

static void record_taken(mp__ring *ring, const mp__end *out)
{
    mp__taker *taker = &mp__ring_takers(ring)[out->note.taker];
    atomic_store(&taker->taken, out->note.taken);
    atomic_store(&taker->last, out->note.last);
}

/* Under the lock: finishes or undoes the step that the note tells of.  For the producers' end an object
 * that did not get in is dropped, for the consumers' one that got out. */
static void settle(mp__ring *ring, mp__end *end)
{
    if (!atomic_load(&end->noted) || MP__PLANTED(LEAK))
        return;
    bool committed = atomic_load(&end->word) == end->note.commit;
    if (committed == (end == &ring->out) && end->note.words[0])
        mp__object_arrived(MP__OBJECT_BLOCK, end->note.words);
    if (committed && end == &ring->out && mp__ring_is_joinable(ring) &&
        end->note.taker < MP__SLOT_COUNT)
        record_taken(ring, end);
    note_done(end);
}

static int lock_end(mp__ring *ring, mp__end *end, mp__deadline deadline)
{
    int r = mp__word_lock(&end->lock, 0, NULL);
    if (r == -ETIMEDOUT) {
        mp_time left = mp__deadline_left(deadline, deadline == MP__NEVER ? 0 : mp__os_now());
        r = mp__word_lock(&end->lock, left > LOCK_PATIENCE ? left : LOCK_PATIENCE,
                          &mp__interruptible);
    }
    if (r == -EOWNERDEAD) {
        settle(ring, end);
        r = 0;
    }
    return r;
}

static void unlock_end(mp__end *end)
{
    mp__word_unlock(&end->lock);
}

/* After a commit and the release of the lock: those who waited for it.  `before` is the gate as it was
 * before the commit. */
static void tell(mp__ring *ring, mp__end *end, uint32_t before, uint64_t items)
{
    bool all = items > 1000 || ring->max_bytes; /* what one cannot use another one can */
    mp__gate_open(&end->gate, before, mp__end_half(end), all ? INT32_MAX : (int)items);
    if (end == &ring->in)
        mp__bell_ring(&ring->bells);
}

/* The segment of a place and the size of its data; NULL when it is not one. */
static mp__segment *segment_at(mp__ring *ring, mp__ring_cache *cache, mp__end *end,
                               const int64_t words[2], uint64_t *ret_size)
{
    int i = end == &ring->out;
    uint32_t forks = atomic_load_explicit(&mp__fork_count, memory_order_relaxed);
    if (!words[0]) {
        *ret_size = FIRST_SIZE;
        return &ring->first;
    }
    if (cache && cache->end[i].words[0] == words[0] && cache->end[i].words[1] == words[1] &&
        cache->end[i].fork_count == forks) {
        *ret_size = cache->end[i].size;
        return cache->end[i].segment;
    }
    mp__object *o = mp__object_at(MP__OBJECT_BLOCK, words);
    mp__segment *s = o ? (mp__segment *)(void *)o->data : NULL;
    uint64_t size = s ? s->size : 0;
    if (!s || o->size < sizeof *s || size > o->size - sizeof *s)
        return NULL;
    *ret_size = size;
    if (cache) {
        cache->end[i].words[0] = words[0];
        cache->end[i].words[1] = words[1];
        cache->end[i].segment = s;
        cache->end[i].size = size;
        cache->end[i].fork_count = forks;
    }
    return s;
}

/* An end's valid place and its word, while the holders of its lock may be changing them. */
static mp__place read_place(mp__end *end, uint64_t *ret_word)
{
    for (;;) {
        uint64_t word = atomic_load_explicit(&end->word, memory_order_acquire);
        mp__place place = *(volatile mp__place *)place_of(end, word);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&end->word, memory_order_relaxed) == word) {
            *ret_word = word;
            return place;
        }
    }
}

uint64_t mp__ring_count(const mp__ring *ring)
{
    uint64_t in, out;
    do { /* the two at one moment */
        out = atomic_load(&ring->out.word);
        in = atomic_load(&ring->in.word);
    } while (out != atomic_load(&ring->out.word));
    return (COUNT(in) - COUNT(out)) & (UINT64_MAX >> 1);
}

/* ---- putting ---- */

/* A new, empty segment that this process holds. */
static mp__hold *make_segment(mp__ring *ring)
{
    uint64_t word, backlog = place_of(&ring->in, atomic_load(&ring->in.word))->bytes -
                             read_place(&ring->out, &word).bytes;
    uint64_t size = backlog > LONG_FROM ? LONG_SEGMENT_SIZE : SEGMENT_SIZE;
    mp__hold *hold = mp__object_new_raw(MP__OBJECT_BLOCK, sizeof(mp__segment) + size);
    if (hold) {
        mp__segment *s = mp__hold_data(hold);
        s->next[0] = s->next[1] = 0;
        s->size = size;
    }
    return hold;
}

/* Under the lock: links a segment behind the last one; a commit of its own, without an item. */
static int grow(mp__ring *ring, mp__segment *last, uint64_t last_size)
{
    mp__end *in = &ring->in;
    uint64_t word = atomic_load(&in->word), next = next_word(word, 0);
    mp__place *place = place_of(in, next);
    mp__hold *hold = make_segment(ring);
    int64_t words[2];
    if (!hold)
        return mp_error_code();
    mp__hold_words(hold, words);
    note(in, next, words);
    mp__hold_deliver(hold);
    *place = *place_of(in, word);
    if (place->position <= last_size && last_size - place->position >= HEAD)
        *(uint64_t *)(void *)(last->data + place->position) = RECORD(END, 0);
    last->next[0] = words[0];
    last->next[1] = words[1];
    memcpy(place->segment, words, sizeof words);
    place->position = 0;
    commit(in, next);
    note_done(in);
    mp__hold_free(hold);
    return 0;
}

/* How many more items may go in now, as far as this end knows; and bytes. */
static uint64_t room(mp__ring *ring, uint64_t word)
{
    mp__end *in = &ring->in;
    if (!ring->max_items)
        return UINT64_MAX;
    uint64_t count = (COUNT(word) - COUNT(in->seen)) & (UINT64_MAX >> 1);
    if (count >= ring->max_items) {
        in->seen = atomic_load(&ring->out.word);
        count = (COUNT(word) - COUNT(in->seen)) & (UINT64_MAX >> 1);
    }
    return count < ring->max_items ? ring->max_items - count : 0;
}

static bool has_room_for(mp__ring *ring, uint64_t bytes, uint64_t size)
{
    if (!ring->max_bytes)
        return true;
    uint64_t used = bytes - read_place(&ring->out, &ring->in.seen).bytes;
    return used == 0 || (used < ring->max_bytes && size <= ring->max_bytes - used);
}

static uint64_t record_size(const mp__item *item)
{
    return HEAD + (item->block ? sizeof(block_ref) : round8(item->size));
}

static void write_record(char *at, const mp__item *item)
{
    unsigned kind = (item->block ? BLOCK : INLINE) | (item->has_handles ? HAS_HANDLES : 0);
    *(uint64_t *)(void *)at = RECORD(kind, item->size);
    if (item->block) {
        block_ref ref;
        mp__hold_words(item->block, ref.words);
        memcpy(at + HEAD, &ref, sizeof ref);
    } else if (item->size) {
        memcpy(at + HEAD, item->data, item->size);
    }
}

#ifdef MULTIPROC_TEST_POINTS
/* The planted error: commits before the bytes are there. */
static void write_early(mp__end *in, uint64_t word, mp__place *place, char *data,
                        const mp__item *item)
{
    char *at = data + place->position;
    *(uint64_t *)(void *)at = RECORD(INLINE, item->size);
    place->position += record_size(item);
    *place_of(in, next_word(word, 1)) = *place;
    commit(in, next_word(word, 1));
    memcpy(at + HEAD, item->data, item->size);
}
#else
#define write_early(...) ((void)0)
#endif

/* Under the lock: one commit of as many items as stand next to each other in the last segment; a block
 * alone.  How many; 0: full. */
static int64_t put_some(mp__ring *ring, mp__ring_cache *cache, const mp__item *items, size_t n)
{
    mp__end *in = &ring->in;
    uint64_t word = atomic_load_explicit(&in->word, memory_order_relaxed), most = room(ring, word);
    mp__place place = *place_of(in, word);
    uint64_t have = 0;
    mp__segment *s = segment_at(ring, cache, in, place.segment, &have);
    int64_t words[2];
    size_t i = 0;
    if (!s || place.position > have || place.position % 8)
        return damaged("its last segment is none");
    for (; i < n && i < most && i < BATCH && has_room_for(ring, place.bytes, items[i].size); i++) {
        uint64_t size = record_size(&items[i]);
        if (size > have - place.position) {
            if (i)
                break;
            int r = grow(ring, s, have);
            return r < 0 ? r : put_some(ring, cache, items, n);
        }
        if (items[i].block && i)
            break;
        if (MP__PLANTED(EARLY_COMMIT)) { /* the record as it will be, with other bytes */
            write_early(in, word, &place, s->data, &items[i]);
            return 1;
        }
        write_record(s->data + place.position, &items[i]);
        place.position += size;
        place.bytes += items[i].size;
        if (items[i].block) {
            i++;
            break;
        }
    }
    if (!i)
        return 0;
    uint64_t next = next_word(word, i);
    mp__hold *block = items[i - 1].block;
    *place_of(in, next) = place;
    if (block) {
        mp__hold_words(block, words);
        note(in, next, words);
        mp__hold_deliver(block); /* before anybody can get it, who may be another thread of ours */
    }
    commit(in, next);
    if (block)
        note_done(in);
    return (int64_t)i;
}

int64_t mp__ring_put(mp__ring *ring, mp__ring_cache *cache, const mp__item *items, size_t n,
                     mp__deadline deadline, uint64_t *ret_seen)
{
    int64_t done = 0, r = lock_end(ring, &ring->in, deadline);
    if (r < 0)
        return r;
    uint32_t gate = atomic_load_explicit(&ring->in.gate, memory_order_relaxed);
    if (atomic_load_explicit(&ring->shut, memory_order_relaxed))
        r = mp__fail(-EPIPE, "the queue was shut down");
    while (r == 0 && done < (int64_t)n) {
        r = put_some(ring, cache, items + done, n - (size_t)done);
        if (r <= 0)
            break;
        done += r;
        r = 0;
    }
    *ret_seen = ring->in.seen;
    unlock_end(&ring->in);
    if (done)
        tell(ring, &ring->in, gate, (uint64_t)done);
    return done ? done : r;
}

/* ---- taking ---- */

/* Under the lock: goes on to the next segment and lets go of the one that is used up; a commit of its
 * own, without an item. */
static int advance(mp__ring *ring, mp__segment *s)
{
    mp__end *out = &ring->out;
    uint64_t word = atomic_load(&out->word), next = next_word(word, 0);
    mp__place *now = place_of(out, word), *place = place_of(out, next);
    int64_t left[2] = {now->segment[0], now->segment[1]};
    int64_t following[2] = {s->next[0], s->next[1]};
    if (!following[0] || !mp__object_at(MP__OBJECT_BLOCK, following))
        return damaged("a segment is missing");
    *place = *now;
    memcpy(place->segment, following, sizeof following);
    place->position = 0;
    out->note.taker = MP__SLOT_COUNT;
    note(out, next, left);
    commit(out, next);
    if (left[0])
        mp__object_arrived(MP__OBJECT_BLOCK, left);
    note_done(out);
    return 0;
}

/* Before the commit of n items in a joinable queue: what this process will have taken. */
static void note_taken(mp__ring *ring, uint64_t word, uint64_t n, const int64_t words[2])
{
    uint32_t index = mp__tag_index(mp__tag_self());
    mp__taker *taker = &mp__ring_takers(ring)[index];
    uint32_t last = atomic_load_explicit(&ring->last_taker, memory_order_relaxed);
    while (last < index && !atomic_compare_exchange_weak(&ring->last_taker, &last, index))
        ;
    ring->out.note.taker = index;
    ring->out.note.taken = atomic_load(&taker->taken) + n;
    ring->out.note.last = COUNT(word);
    note(&ring->out, word, words);
}

static void commit_taken(mp__ring *ring, const mp__place *place, uint64_t word, uint64_t n,
                         const int64_t words[2])
{
    mp__end *out = &ring->out;
    uint64_t next = next_word(word, n);
    *place_of(out, next) = *place;
    out->note.taker = MP__SLOT_COUNT;
    if (mp__ring_is_joinable(ring))
        note_taken(ring, next, n, words);
    else if (words)
        note(out, next, words);
    commit(out, next);
    if (words)
        mp__object_arrived(MP__OBJECT_BLOCK, words);
    if (mp__ring_is_joinable(ring))
        record_taken(ring, out);
    if (mp__ring_is_joinable(ring) || words)
        note_done(out);
}

/* Hands a block to the sink: 1 when it was taken. */
static int take_block(mp__sink *sink, const char *at, uint64_t size, int64_t ret_words[2])
{
    block_ref ref;
    memcpy(&ref, at, sizeof ref);
    mp__hold *hold = mp__hold_receive(MP__OBJECT_BLOCK, ref.words, false);
    if (!hold)
        return mp_error_code() == -ENOMEM ? -ENOMEM : damaged("an item is missing");
    memcpy(ret_words, ref.words, sizeof ref.words);
    int r = size <= mp__hold_object(hold)->size ? sink->take_block(sink, hold, size)
                                                : damaged("an item is too long");
    if (r != 1)
        mp__hold_free(hold);
    return r;
}

/* Under the lock: one commit of up to `most` items that stand next to each other, a block alone.  How
 * many, 0 when the sink wants no more, or an error. */
static int64_t take_some(mp__ring *ring, mp__ring_cache *cache, mp__sink *sink, uint64_t most)
{
    mp__end *out = &ring->out;
    uint64_t word = atomic_load_explicit(&out->word, memory_order_relaxed), i = 0;
    mp__place place = *place_of(out, word);
    uint64_t end = 0;
    mp__segment *s = segment_at(ring, cache, out, place.segment, &end);
    int64_t words[2];
    int r = 1;
    unsigned kind = 0;
    if (!s || place.position % 8)
        return damaged("its first segment is none");
    while (r == 1 && i < most && kind != BLOCK) {
        bool over = place.position > end || end - place.position < HEAD;
        const char *at = s->data + place.position;
        uint64_t record = over ? RECORD(END, 0) : *(const uint64_t *)(const void *)at;
        uint64_t size = SIZE_OF(record);
        kind = KIND_OF(record);
        if (kind == END && i == 0) {
            if (place.position == 0 && place.segment[0])
                return damaged("a segment is empty");
            r = advance(ring, s);
            return r < 0 ? r : take_some(ring, cache, sink, most);
        }
        uint64_t length = kind == BLOCK ? sizeof(block_ref) : size,
                 have = end - place.position - HEAD;
        if (kind == END || (kind == BLOCK && i))
            break;
        if ((kind != INLINE && kind != BLOCK) || length > have || round8(length) > have ||
            length > MP__RING_INLINE)
            return damaged("a record is none");
        r = kind == BLOCK ? take_block(sink, at + HEAD, size, words)
                          : sink->take(sink, at + HEAD, size);
        if (r == 1) {
            place.position += HEAD + round8(length);
            place.bytes += size;
            i++;
        }
    }
    if (i)
        commit_taken(ring, &place, word, i, kind == BLOCK && r == 1 ? words : NULL);
    return i ? (int64_t)i : r < 0 ? r : 0;
}

/* Items that can be taken, as far as this end knows. */
static uint64_t available(mp__ring *ring, uint64_t word)
{
    mp__end *out = &ring->out;
    uint64_t n = (COUNT(out->seen) - COUNT(word)) & (UINT64_MAX >> 1);
    if (n == 0 || n > UINT64_MAX >> 2) {
        out->seen = atomic_load_explicit(&ring->in.word, memory_order_acquire);
        n = (COUNT(out->seen) - COUNT(word)) & (UINT64_MAX >> 1);
    }
    return n > UINT64_MAX >> 2 ? 0 : n;
}

int64_t mp__ring_take(mp__ring *ring, mp__ring_cache *cache, mp__sink *sink, mp__deadline deadline,
                      uint64_t *ret_seen)
{
    int64_t done = 0, r = lock_end(ring, &ring->out, deadline);
    if (r < 0)
        return r;
    uint32_t gate = atomic_load_explicit(&ring->out.gate, memory_order_relaxed);
    while (r == 0 && done < (int64_t)sink->most) {
        bool shut = atomic_load(&ring->shut);
        uint64_t n = available(ring, atomic_load_explicit(&ring->out.word, memory_order_relaxed));
        if (n == 0) {
            r = shut ? mp__fail(MP_EOF, "the queue was shut down and is empty") : 0;
            break;
        }
        uint64_t most = sink->most - (uint64_t)done;
        most = most < BATCH ? most : BATCH;
        r = take_some(ring, cache, sink, n < most ? n : most);
        if (r <= 0)
            break;
        done += r;
        r = 0;
    }
    *ret_seen = ring->out.seen;
    unlock_end(&ring->out);
    if (done)
        tell(ring, &ring->out, gate, (uint64_t)done);
    return done ? done : r;
}

/* ---- the usual cases ---- */

/* The segment of a place if it is at hand, and the size of its data. */
static inline mp__segment *known_segment(mp__ring *ring, const mp__ring_cache *cache, int i,
                                         const mp__place *place, uint64_t *ret_size)
{
    *ret_size = FIRST_SIZE;
    if (!place->segment[0])
        return &ring->first;
    *ret_size = cache->end[i].size;
    if (cache->end[i].words[0] != place->segment[0] ||
        cache->end[i].words[1] != place->segment[1] ||
        cache->end[i].fork_count != atomic_load_explicit(&mp__fork_count, memory_order_relaxed))
        return NULL;
    return cache->end[i].segment;
}

bool mp__ring_put_quickly(mp__ring *ring, mp__ring_cache *cache, const mp__item *item,
                          bool silently)
{
    mp__end *in = &ring->in;
    uint64_t size = HEAD + round8(item->size);
    if (mp__unlikely(ring->max_bytes || MP__PLANTED(EARLY_COMMIT) || !mp__word_trylock(&in->lock)))
        return false;
    uint64_t word = atomic_load_explicit(&in->word, memory_order_relaxed),
             next = next_word(word, 1);
    uint32_t gate = atomic_load_explicit(&in->gate, memory_order_relaxed);
    const mp__place *now = place_of(in, word);
    mp__place *place = place_of(in, next);
    uint64_t have, position = now->position;
    mp__segment *s = known_segment(ring, cache, 0, now, &have);
    bool usual = s && position <= have && size <= have - position && !(position % 8) &&
                 !atomic_load_explicit(&ring->shut, memory_order_relaxed) && room(ring, word);
    if (mp__likely(usual)) {
        write_record(s->data + position, item);
        place->segment[0] = now->segment[0];
        place->segment[1] = now->segment[1];
        place->position = position + size;
        place->bytes = now->bytes + item->size;
        commit(in, next);
    }
    mp__word_release(&in->lock);
    if (mp__unlikely(usual && !silently && (mp__gate_is_shut(&in->gate) || ring->bells.used)))
        tell(ring, in, gate, 1);
    return usual;
}

bool mp__ring_take_quickly(mp__ring *ring, mp__ring_cache *cache, void *data, size_t capacity,
                           size_t *ret_size)
{
    mp__end *out = &ring->out;
    if (mp__unlikely(mp__ring_is_joinable(ring) || !mp__word_trylock(&out->lock)))
        return false;
    uint64_t word = atomic_load_explicit(&out->word, memory_order_relaxed),
             next = next_word(word, 1);
    uint32_t gate = atomic_load_explicit(&out->gate, memory_order_relaxed);
    const mp__place *now = place_of(out, word);
    mp__place *place = place_of(out, next);
    uint64_t position = now->position, record = 0, size = 0, have;
    mp__segment *s = known_segment(ring, cache, 1, now, &have);
    bool usual = s && position < have && !(position % 8) && available(ring, word);
    if (mp__likely(usual)) {
        record = *(const uint64_t *)(const void *)(s->data + position);
        size = SIZE_OF(record);
        usual =
            KIND_OF(record) == INLINE && size <= capacity && HEAD + round8(size) <= have - position;
    }
    if (mp__likely(usual)) {
        if (size)
            memcpy(data, s->data + position + HEAD, size);
        *ret_size = size;
        place->segment[0] = now->segment[0];
        place->segment[1] = now->segment[1];
        place->position = position + HEAD + round8(size);
        place->bytes = now->bytes + size;
        commit(out, next);
    }
    mp__word_release(&out->lock);
    if (mp__unlikely(usual && mp__gate_is_shut(&out->gate)))
        tell(ring, out, gate, 1);
    return usual;
}

/* ---- the end, and death ---- */

/* The end's word changes although no item passes: whoever looked at it looks again. */
static void touch(mp__end *end)
{
    uint64_t word = atomic_load(&end->word), next = next_word(word, 0);
    *place_of(end, next) = *place_of(end, word);
    commit(end, next);
}

int mp__ring_shut(mp__ring *ring, mp__deadline deadline)
{
    mp__end *ends[2] = {&ring->in, &ring->out};
    for (int i = 0; i < 2; i++) {
        int r = lock_end(ring, ends[i], deadline);
        if (r < 0)
            return r;
        uint32_t gate = atomic_load(&ends[i]->gate);
        atomic_store(&ring->shut, 1);
        touch(ends[i]);
        unlock_end(ends[i]);
        tell(ring, ends[i], gate, UINT64_MAX);
    }
    return 0;
}

bool mp__ring_full(const mp__ring *ring)
{
    mp__end *in = (mp__end *)(uintptr_t)&ring->in, *out = (mp__end *)(uintptr_t)&ring->out;
    uint64_t word;
    if (ring->max_items && mp__ring_count(ring) >= ring->max_items)
        return true;
    return ring->max_bytes &&
           read_place(in, &word).bytes - read_place(out, &word).bytes >= ring->max_bytes;
}

void mp__ring_settle(mp__ring *ring)
{
    int r;
    while ((r = lock_end(ring, &ring->out, 0)) == -EINTR)
        ;
    if (r == 0)
        unlock_end(&ring->out);
}

void mp__ring_bury(mp__ring *ring, mp__tag tag)
{
    mp__end *ends[2] = {&ring->in, &ring->out};
    for (int i = 0; i < 2; i++) {
        mp__end *end = ends[i];
        int r = -EBUSY;
        if ((atomic_load(&end->lock) & MP__TAG_BITS) == tag)
            r = mp__word_lock(&end->lock, 0, NULL);
        if (r == -EOWNERDEAD)
            settle(ring, end);
        if (r == -EOWNERDEAD || r == 0)
            unlock_end(end);
        mp__os_futex_wake(mp__end_half(end), INT32_MAX); /* it may have owed that */
    }
    mp__bell_bury(&ring->bells, tag);
    if (mp__ring_is_joinable(ring))
        mp__ring_sweep(ring, mp__tag_index(tag));
}

/* An item that was taken out, to be dropped after the commit. */
typedef struct drain {
    mp__sink sink;
    char room[MP__RING_INLINE];
    uint64_t size;
    bool has_handles;
    mp__hold *block;
} drain;

static int drain_inline(mp__sink *sink, const void *data, uint64_t size)
{
    drain *d = (drain *)sink;
    const uint64_t *record = (const uint64_t *)(const void *)((const char *)data - HEAD);
    d->has_handles = FLAGS_OF(*record) & HAS_HANDLES;
    d->block = NULL;
    d->size = size;
    memcpy(d->room, data, size);
    return 1;
}

static int drain_block(mp__sink *sink, mp__hold *block, uint64_t size)
{
    drain *d = (drain *)sink;
    d->has_handles = true; /* its record is not at hand */
    d->block = block;
    d->size = size;
    return 1;
}

void mp__ring_drain(mp__ring *ring, void (*drop)(const void *data, uint64_t size))
{
    drain d;
    d.sink = (mp__sink){.take = drain_inline, .take_block = drain_block, .most = 1};
    mp__end *out = &ring->out;
    settle(ring, &ring->in);
    settle(ring, out);
    out->seen = atomic_load(&ring->in.word);
    ring->joinable = 0;
    while (available(ring, atomic_load(&out->word)) > 0 && take_some(ring, NULL, &d.sink, 1) > 0) {
        if (d.has_handles)
            drop(d.block ? mp__hold_data(d.block) : d.room, d.size);
        if (d.block)
            mp__hold_free(d.block);
    }
    mp__place *place = place_of(out, atomic_load(&out->word));
    mp__place last = *place_of(&ring->in, atomic_load(&ring->in.word));
    while (place->segment[0] != last.segment[0] || place->segment[1] != last.segment[1]) {
        uint64_t size;
        mp__segment *s = segment_at(ring, NULL, out, place->segment, &size);
        if (!s || advance(ring, s) < 0)
            return;
        place = place_of(out, atomic_load(&out->word));
    }
    int64_t words[2] = {place->segment[0], place->segment[1]};
    if (words[0])
        mp__object_arrived(MP__OBJECT_BLOCK, words);
}
