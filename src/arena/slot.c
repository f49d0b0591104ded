/* SPDX-License-Identifier: MIT */
/*
 * Owns the table of process slots; slot.h has the protocol.  Lock-free: every change is one
 * compare-and-swap of `word`, and whoever holds a CLAIMED slot is the only writer of its fields.  A
 * parent that is killed between its claim and its child leaves a CLAIMED slot, which
 * mp__slot_claim() takes back when it runs short: `word` names the parent.
 */
#include <stdio.h>

#include "arena/object.h"

#define WORD(generation, parent, state) \
    ((uint64_t)(generation) << 40 | (uint64_t)(uint32_t)(parent) << 8 | (uint64_t)(state))
#define STATE(word) ((mp__slot_state)((word)&0xff))
#define PARENT(word) ((uint32_t)((word) >> 8))
#define GENERATION(word) ((uint32_t)((word) >> 40))

static mp__slot *slot_at(uint32_t index)
{
    const mp__arena_header *h = mp__arena_info();
    if (!h || index == 0 || index >= h->slot_count)
        return NULL;
    return mp__arena_at(h->slots + (uint64_t)index * MP__SLOT_SIZE, sizeof(mp__slot));
}

static bool is_dead(uint32_t pid)
{
    int64_t started;
    return !pid || mp__os_process_started((pid_t)pid, &started) == -ESRCH;
}

/* Neither its parent nor its child is there.  A pid that was given to somebody else meanwhile only
 * keeps the slot for longer. */
static bool is_abandoned(const mp__slot *s, uint64_t word)
{
    return is_dead(PARENT(word)) && is_dead(atomic_load(&s->pid));
}

/* The mutex is new for each process: what its last holder left does not matter. */
static void renew_life(mp__slot *s)
{
    pthread_mutexattr_t attributes;
    memset(&s->life, 0, sizeof s->life);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&s->life, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void set_up(mp__slot *s, const char *name)
{
    renew_life(s);
    atomic_store(&s->pid, 0);
    atomic_store(&s->has_exit, 0);
    atomic_store(&s->exit_code, 0);
    atomic_store(&s->failed, 0);
    atomic_store(&s->over, 0);
    s->text[0] = 0;
    snprintf(s->name, sizeof s->name, "%s", name);
    atomic_store(&s->made_at, mp__os_now());
}

static void bury(uint32_t index, uint32_t generation)
{
    mp__tag tag = mp__tag_of((mp__slot_ref){index, generation});
    mp__objects_bury(tag);
    mp__heap_bury(tag);
}

/* Claims slot `index` if it is free, or, with `abandoned`, if it is nobody's any more. */
static bool try_claim(uint32_t index, bool abandoned, const char *name, mp__slot_ref *ret_ref)
{
    mp__slot *s = slot_at(index);
    uint64_t word = s ? atomic_load(&s->word) : 0;
    if (!s || (STATE(word) != MP__SLOT_FREE && !(abandoned && is_abandoned(s, word))))
        return false;
    if (STATE(word) != MP__SLOT_FREE) { /* ours to bury, before anybody else may use it */
        uint64_t mine = WORD(GENERATION(word), mp__os_pid(), STATE(word));
        if (!atomic_compare_exchange_strong(&s->word, &word, mine))
            return false;
        word = mine;
        bury(index, GENERATION(word));
    }
    uint32_t generation = (GENERATION(word) + 1) & 0xffffff;
    if (!atomic_compare_exchange_strong(&s->word, &word,
                                        WORD(generation, mp__os_pid(), MP__SLOT_CLAIMED)))
        return false;
    set_up(s, name);
    ret_ref->index = index;
    ret_ref->generation = generation;
    return true;
}

int mp__slot_claim(const char *name, mp__slot_ref *ret_ref)
{
    static _Atomic uint32_t hint;
    int r = mp__arena_ensure();
    if (r < 0)
        return r;
    uint32_t from = atomic_load(&hint);
    for (uint32_t i = 0; i < 2 * MP__SLOT_COUNT; i++) {
        uint32_t index = (from + i) % MP__SLOT_COUNT;
        if (try_claim(index, i >= MP__SLOT_COUNT, name, ret_ref)) {
            atomic_store(&hint, index);
            return 0;
        }
    }
    return mp__fail(-EAGAIN, "the family has %d processes already", MP__SLOT_COUNT - 1);
}

mp__slot *mp__slot_get(mp__slot_ref ref)
{
    mp__slot *s = slot_at(ref.index);
    return s && GENERATION(atomic_load(&s->word)) == ref.generation ? s : NULL;
}

bool mp__slot_advance(mp__slot_ref ref, mp__slot_state state)
{
    mp__slot *s = mp__slot_get(ref);
    uint64_t word = s ? atomic_load(&s->word) : 0;
    return s && STATE(word) == MP__SLOT_CLAIMED && GENERATION(word) == ref.generation &&
           atomic_compare_exchange_strong(&s->word, &word,
                                          WORD(ref.generation, PARENT(word), state));
}

void mp__slot_free(mp__slot_ref ref)
{
    mp__slot *s = mp__slot_get(ref);
    uint64_t word = s ? atomic_load(&s->word) : 0;
    if (s && STATE(word) != MP__SLOT_FREE)
        bury(ref.index, ref.generation);
    while (s && GENERATION(word) == ref.generation && STATE(word) != MP__SLOT_FREE)
        if (atomic_compare_exchange_weak(&s->word, &word, WORD(ref.generation, 0, MP__SLOT_FREE)))
            return;
}

void mp__slot_set_exit(mp__slot_ref ref, int code)
{
    mp__slot *s = mp__slot_get(ref);
    if (!s)
        return;
    atomic_store(&s->exit_code, code);
    atomic_store(&s->has_exit, 1);
}

void mp__slot_set_failure(mp__slot_ref ref, const char *text)
{
    mp__slot *s = mp__slot_get(ref);
    if (!s || atomic_load(&s->failed))
        return;
    snprintf(s->text, sizeof s->text, "%s", text);
    atomic_store(&s->failed, 1);
}

unsigned mp__slot_used(void)
{
    unsigned used = 0;
    for (uint32_t i = 1; i < MP__SLOT_COUNT; i++) {
        mp__slot *s = slot_at(i);
        used += s && STATE(atomic_load(&s->word)) != MP__SLOT_FREE;
    }
    return used;
}

/* ---- alive or dead ---- */

_Atomic mp__tag mp__tag_known; /* 0: no slot yet */
static pthread_mutex_t self_lock = PTHREAD_MUTEX_INITIALIZER;

uint32_t mp__tag_pid(mp__tag tag)
{
    mp__slot *s = tag ? slot_at(mp__tag_index(tag)) : NULL;
    return s && (GENERATION(atomic_load(&s->word)) & 0xfffff) == (tag & 0xfffff)
               ? atomic_load(&s->pid)
               : 0;
}

mp__tag mp__tag_at(uint32_t index)
{
    mp__slot *s = slot_at(index);
    uint64_t word = s ? atomic_load(&s->word) : 0;
    return STATE(word) == MP__SLOT_FREE ? 0 : mp__tag_of((mp__slot_ref){index, GENERATION(word)});
}

bool mp__tag_failed(mp__tag tag)
{
    mp__slot *s = slot_at(mp__tag_index(tag));
    return s && !(atomic_load(&s->has_exit) && atomic_load(&s->exit_code) == 0);
}

int mp__slot_live(mp__slot_ref ref)
{
    mp__slot *s = mp__slot_get(ref);
    if (!s)
        return -ESRCH;
    atomic_store(&s->pid, (uint32_t)mp__os_pid());
    atomic_store(&s->born_at, mp__os_boot_time());
    pthread_mutex_lock(&s->life);
    if (!mp__slot_advance(ref, MP__SLOT_RUNNING)) {
        pthread_mutex_unlock(&s->life);
        return -ESRCH;
    }
    atomic_store(&mp__tag_known, mp__tag_of(ref));
    return 0;
}

mp__tag mp__tag_self(void)
{
    mp__tag tag = atomic_load_explicit(&mp__tag_known, memory_order_relaxed);
    if (mp__likely(tag))
        return tag;
    pthread_mutex_lock(&self_lock);
    tag = atomic_load(&mp__tag_known);
    if (!tag) { /* the first process, or one that was forked by hand */
        mp__slot_ref ref;
        if (mp__slot_claim("", &ref) == 0 && mp__slot_live(ref) == 0)
            tag = mp__tag_of(ref);
        if (tag)
            mp__holds_give_all(tag); /* what it inherited */
    }
    pthread_mutex_unlock(&self_lock);
    return tag;
}

void mp__slot_after_fork(void)
{
    atomic_store(&mp__tag_known, 0);
    pthread_mutex_init(&self_lock, NULL);
}

/* The holder of a life has ended, or only the thread that took it: asks the system which.  A process
 * that got the same pid later has started after the slot's was born. */
static bool has_ended(const mp__slot *s)
{
    int64_t started;
    pid_t pid = (pid_t)atomic_load(&s->pid);
    int r = mp__os_process_started(pid, &started);
    return r == -ESRCH || (r == 0 && started > atomic_load(&s->born_at) + 20000000);
}

/* Who asks lives; some emulators of a process show it another start than the system does. */
static bool is_self(mp__tag tag)
{
    return tag && tag == atomic_load_explicit(&mp__tag_known, memory_order_relaxed);
}

bool mp__tag_gone(mp__tag tag)
{
    if (is_self(tag))
        return false;
    mp__slot *s = slot_at(mp__tag_index(tag));
    uint64_t word = s ? atomic_load(&s->word) : 0;
    if (!s || (GENERATION(word) & 0xfffff) != (tag & 0xfffff) || STATE(word) == MP__SLOT_FREE)
        return true;
    return STATE(word) == MP__SLOT_RUNNING && has_ended(s);
}

bool mp__tag_dead(mp__tag tag)
{
    mp__slot *s = slot_at(mp__tag_index(tag));
    if (is_self(tag))
        return false;
    if (!s)
        return true;
    uint64_t word = atomic_load(&s->word);
    if ((GENERATION(word) & 0xfffff) != (tag & 0xfffff) || STATE(word) == MP__SLOT_FREE)
        return true;
    if (STATE(word) != MP__SLOT_RUNNING)
        return false;
    if (!atomic_load(&s->over)) {
        int r = pthread_mutex_trylock(&s->life);
        if (r == EBUSY)
            return false;
        /* It must not be asked again: a robust mutex that was found so and was not made consistent is held
         * for ever by whoever asks for the third time (glibc 2.36). */
        atomic_store(&s->over, 1);
        if (r == 0 || r == EOWNERDEAD)
            pthread_mutex_unlock(&s->life);
    }
    return has_ended(s);
}

bool mp__tag_dead_now(mp__tag tag)
{
    /* For each slot: whoever asks for several in turn must get round to all of them. */
    static _Atomic uint8_t asked[MP__SLOT_COUNT];
    _Atomic uint8_t *mine = &asked[mp__tag_index(tag) % MP__SLOT_COUNT];
    return mp__tag_dead(tag) ||
           (atomic_fetch_add_explicit(mine, 1, memory_order_relaxed) % 32 == 31 &&
            mp__tag_gone(tag));
}
