/* SPDX-License-Identifier: MIT */
/*
 * Owns mp_barrier: one 64-bit word that changes by compare-and-swap, and an entry for each process slot.
 *
 *   low half    generation (24 bits), flags (8): what waiters sleep on
 *   high half   how many have come (12 bits), how the last 20 generations ended (1: broken)
 *
 * Whoever comes last, after the action if there is one, moves on to the next generation; a waiter finds
 * the end of its own generation in the word, however late it looks.
 *
 * An entry counts the threads of that process that wait, and knows whether the process is a party.  It is
 * written before the arrival, so a process that is killed anywhere inside is found: by those that wait,
 * who look once in a slice, by whoever comes last, and by its burial.  Then the barrier breaks.
 */
#include "os/os.h"
#include "sync/sync.h"

#define KIND MP__OBJECT_BARRIER
#define ACTION 1u /* all have come, and the last one runs the action */
#define BROKEN 2u
#define PARTY 0x80000000u
#define HISTORY 20u
#define SLICE MP_MS(8)
#define SPINS 60
#define AGAIN INT32_MIN /* not an error of anybody's */

typedef struct state {
    _Atomic uint64_t word;
    uint32_t parties;
    _Atomic uint32_t culprit; /* the pid whose death broke it; 0: nobody's */
    _Atomic uint32_t reset;   /* the last generation that ended by a reset */
    _Atomic int64_t swept;    /* when somebody last looked for the dead */
    _Atomic uint32_t entries[MP__SLOT_COUNT];
} state;

typedef struct view { /* of the word */
    uint32_t generation, flags, count, history;
} view;

static view take_apart(uint64_t word)
{
    return (view){.generation = (uint32_t)word >> 8,
                  .flags = (uint32_t)word & 0xff,
                  .count = (uint32_t)(word >> 32) & 0xfff,
                  .history = (uint32_t)(word >> 44)};
}

static uint64_t put_together(view v)
{
    return (uint64_t)(v.history & ((1u << HISTORY) - 1)) << 44 | (uint64_t)v.count << 32 |
           (v.generation & 0xffffff) << 8 | v.flags;
}

static _Atomic uint32_t *low_half(state *s)
{
    return (_Atomic uint32_t *)(void *)&s->word; /* both machines are little-endian */
}

mp_barrier *mp_barrier_new(unsigned parties)
{
    MP__CHECK_NULL(parties >= 1 && parties <= MP_BARRIER_PARTIES);
    mp_barrier *barrier = mp__shared_new(KIND, sizeof(state));
    if (barrier) {
        state *s = mp__shared_data(barrier);
        s->parties = parties;
        atomic_store(&s->reset, UINT32_MAX); /* none */
    }
    return barrier;
}

/* ---- the word ---- */

/* From `seen` to `next`, and wakes everybody; false when it is no longer `seen`. */
static bool change(state *s, uint64_t seen, view next)
{
    if (!atomic_compare_exchange_strong(&s->word, &seen, put_together(next)))
        return false;
    mp__os_futex_wake(low_half(s), INT32_MAX);
    return true;
}

static view next_generation(view v, uint32_t broken)
{
    return (view){v.generation + 1, 0, 0, v.history << 1 | broken};
}

/* Breaks it in that generation; false when that is over. */
static bool break_it(state *s, uint32_t generation, uint32_t culprit)
{
    for (;;) {
        uint64_t word = atomic_load(&s->word);
        view v = take_apart(word);
        if (v.generation != generation || (v.flags & BROKEN))
            return v.generation == generation;
        atomic_store(&s->culprit, culprit);
        if (change(s, word, (view){v.generation, BROKEN, 0, v.history}))
            return true;
    }
}

static int broken(const state *s)
{
    uint32_t culprit = atomic_load(&s->culprit);
    return culprit ? mp__fail(MP_EBROKEN, "process %u was killed, which broke the barrier", culprit)
                   : mp__fail(MP_EBROKEN, "the barrier is broken");
}

/* How a generation ended for those who waited in it: 0, MP_EBROKEN, or 1 while it goes on. */
static int outcome(const state *s, view v, uint32_t generation)
{
    uint32_t age = (v.generation - generation) & 0xffffff;
    if (age == 0)
        return v.flags & BROKEN ? broken(s) : 1;
    if (age > HISTORY) /* of that only the last reset is remembered */
        return atomic_load(&s->reset) == generation ? broken(s) : 0;
    return v.history >> (age - 1) & 1 ? broken(s) : 0;
}

/* ---- those that died ---- */

/* What the entry of a dead process means: true when its death breaks the barrier. */
static bool is_missing(uint32_t entry, mp__tag tag)
{
    return (entry & ~PARTY) || (entry && mp__tag_failed(tag));
}

static uint32_t generation_now(state *s)
{
    return take_apart(atomic_load(&s->word)).generation;
}

/*
 * True when a party is dead; the barrier is broken then.  The generation is read first: if the barrier was
 * reset, and somebody else came to the same slot, while we looked, nothing happens; what is left is for the
 * next look.
 */
static bool sweep(state *s)
{
    bool found = false;
    for (uint32_t i = 1; i < MP__SLOT_COUNT; i++) {
        uint32_t generation = generation_now(s);
        uint32_t entry = atomic_load(&s->entries[i]);
        mp__tag tag = entry ? mp__tag_at(i) : 0;
        if (!entry || !tag || !mp__tag_dead_now(tag))
            continue;
        if (is_missing(
                entry,
                tag)) { /* broken before the entry goes: if we are killed the next one does it */
            if (atomic_load(&s->entries[i]) != entry || !break_it(s, generation, mp__tag_pid(tag)))
                continue;
            found = true;
        }
        if (mp__tag_at(i) == tag)
            atomic_compare_exchange_strong(&s->entries[i], &entry, 0);
    }
    return found;
}

/* By those that wait, one of them in each slice. */
static void sweep_in_turn(state *s)
{
    int64_t now = mp__os_now(), last = atomic_load(&s->swept);
    if ((now - last >= SLICE / 2 || now < last) &&
        atomic_compare_exchange_strong(&s->swept, &last, now))
        sweep(s);
}

static void bury(mp__object *object, mp__tag tag)
{
    state *s = (state *)(void *)object->data;
    _Atomic uint32_t *entry = &s->entries[mp__tag_index(tag)];
    uint32_t seen = atomic_load(entry);
    if (seen && is_missing(seen, tag))
        break_it(s, generation_now(s), mp__tag_pid(tag));
    if (seen)
        atomic_compare_exchange_strong(entry, &seen, 0);
}

__attribute__((constructor)) static void set_up(void)
{
    mp__object_on_death(KIND, bury);
}

void mp__barrier_expect(void *barrier, mp__tag tag)
{
    atomic_fetch_or(&((state *)mp__shared_data(barrier))->entries[mp__tag_index(tag)], PARTY);
}

/* ---- waiting ---- */

/* Time is up, or the host wants to know of a signal: -ETIMEDOUT breaks it, -EINTR takes the arrival back. */
static int leave(state *s, uint32_t generation, int why)
{
    for (;;) {
        uint64_t word = atomic_load(&s->word);
        view v = take_apart(word);
        int r = outcome(s, v, generation);
        if (r <= 0)
            return r;
        view next = {v.generation, BROKEN, 0, v.history};
        if (why == -EINTR) {
            if (v.flags & ACTION) /* as good as through */
                return 1;
            next = v;
            next.count--;
        }
        if (why == -ETIMEDOUT)
            atomic_store(&s->culprit, 0);
        if (change(s, word, next))
            return why;
    }
}

/* Until the generation has ended. */
static int wait_for_end(state *s, uint32_t generation, mp__deadline deadline)
{
    for (int i = 0; i < SPINS; i++) {
        int r = outcome(s, take_apart(atomic_load(&s->word)), generation);
        if (r <= 0)
            return r;
        mp__os_relax();
    }
    for (;;) {
        uint64_t word = atomic_load(&s->word);
        int r = outcome(s, take_apart(word), generation);
        if (r <= 0)
            return r;
        mp_time left = mp__deadline_left(deadline, mp__os_now());
        int slept = mp__os_futex_wait(low_half(s), (uint32_t)word, left < SLICE ? left : SLICE);
        if (slept == -ETIMEDOUT) {
            sweep_in_turn(s);
            if (left <= SLICE)
                r = leave(s, generation, -ETIMEDOUT);
        } else if (slept == -EINTR && atomic_load(&mp__interruptible)) {
            r = leave(s, generation, -EINTR);
        }
        if (r <= 0)
            return r;
    }
}

/* By the last one, with the word as it was seen before it came. */
static int complete(state *s, uint64_t word, int (*action)(void *data), void *data)
{
    view v = take_apart(word);
    if (!action)
        return change(s, word, next_generation(v, 0)) ? (int)v.count : AGAIN;
    view acting = v;
    acting.flags = ACTION;
    acting.count++;
    if (!atomic_compare_exchange_strong(&s->word, &word, put_together(acting)))
        return AGAIN;
    int r = action(data);
    if (r != 0) {
        atomic_store(&s->culprit, 0);
        change(s, put_together(acting), (view){v.generation, BROKEN, 0, v.history});
        return r < 0 ? r : mp__fail(MP_EBROKEN, "the barrier's action returned %d", r);
    }
    return change(s, put_together(acting), next_generation(acting, 0)) ? (int)v.count : broken(s);
}

static int wait_inside(state *s, int (*action)(void *data), void *data, mp__deadline deadline)
{
    for (;;) {
        uint64_t word = atomic_load(&s->word);
        view v = take_apart(word), more = v;
        if (v.flags & BROKEN)
            return broken(s);
        if (v.flags & ACTION) { /* all have come; this is for the next generation */
            if (!mp__deadline_left(deadline, mp__os_now()))
                return -ETIMEDOUT;
            mp__os_futex_wait(low_half(s), (uint32_t)word, SLICE);
            sweep_in_turn(s);
            continue;
        }
        if (v.count + 1 >= s->parties) {
            int r = sweep(s) ? broken(s) : complete(s, word, action, data);
            if (r != AGAIN)
                return r;
            continue;
        }
        more.count++;
        if (!atomic_compare_exchange_strong(&s->word, &word, put_together(more)))
            continue;
        int r = wait_for_end(s, v.generation, deadline);
        return r < 0 ? r : (int)v.count;
    }
}

int mp_barrier_wait_with(mp_barrier *barrier, int (*action)(void *data), void *data,
                         mp_time timeout)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    mp__clear_detail();
    state *s = mp__shared_data(barrier);
    mp__tag self = mp__tag_self();
    if (!self)
        return mp__fail(-EAGAIN, "this process has no slot in its family");
    _Atomic uint32_t *entry = &s->entries[mp__tag_index(self)];
    atomic_fetch_or(entry, PARTY);
    atomic_fetch_add(entry, 1);
    int r = wait_inside(s, action, data, mp__deadline_after(mp__os_now(), timeout));
    atomic_fetch_sub(entry, 1);
    return r;
}

int mp_barrier_wait(mp_barrier *barrier, mp_time timeout)
{
    return mp_barrier_wait_with(barrier, NULL, NULL, timeout);
}

/* ---- from outside ---- */

int mp_barrier_reset(mp_barrier *barrier)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    state *s = mp__shared_data(barrier);
    uint64_t word;
    atomic_store(&s->culprit, 0);
    do {
        word = atomic_load(&s->word);
        atomic_store(&s->reset, take_apart(word).generation);
    } while (!change(s, word, next_generation(take_apart(word), 1)));
    return 0;
}

int mp_barrier_abort(mp_barrier *barrier)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    state *s = mp__shared_data(barrier);
    uint64_t word;
    do {
        word = atomic_load(&s->word);
        if (take_apart(word).flags & BROKEN)
            return 0;
        break_it(s, take_apart(word).generation, 0);
    } while (!(take_apart(atomic_load(&s->word)).flags & BROKEN));
    return 0;
}

int mp_barrier_parties(const mp_barrier *barrier)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    return (int)((const state *)mp__shared_data(barrier))->parties;
}

int mp_barrier_waiting(const mp_barrier *barrier)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    return (int)take_apart(atomic_load(&((state *)mp__shared_data(barrier))->word)).count;
}

int mp_barrier_broken(const mp_barrier *barrier)
{
    MP__CHECK(mp__shared_is(barrier, KIND));
    return (take_apart(atomic_load(&((state *)mp__shared_data(barrier))->word)).flags & BROKEN) !=
           0;
}

mp_barrier *mp_barrier_ref(mp_barrier *barrier)
{
    return mp__shared_ref(barrier, KIND);
}

void mp_barrier_free(mp_barrier *barrier)
{
    mp__shared_free(barrier, KIND);
}
