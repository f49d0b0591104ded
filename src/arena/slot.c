/* SPDX-License-Identifier: MIT */
/*
 * Owns the table of process slots; slot.h has the protocol.  Lock-free: every change is one
 * compare-and-swap of `word`, and whoever holds a CLAIMED slot is the only writer of its fields.  A
 * parent that is killed between its claim and its child leaves a CLAIMED slot, which
 * mp__slot_claim() takes back when it runs short: `word` names the parent.
 */
#include <stdio.h>

#include "arena/slot.h"

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
    return mp__arena_at(h->slots + (uint64_t)index * sizeof(mp__slot), sizeof(mp__slot));
}

static bool is_dead(uint32_t pid)
{
    uint64_t ticks;
    int r = pid ? mp__os_start_time((pid_t)pid, &ticks) : -ESRCH;
    return r == -ENOENT || r == -ESRCH;
}

/* Neither its parent nor its child is there.  A pid that was given to somebody else meanwhile only
 * keeps the slot for longer. */
static bool is_abandoned(const mp__slot *s, uint64_t word)
{
    return is_dead(PARENT(word)) && is_dead(atomic_load(&s->pid));
}

static void set_up(mp__slot *s, const char *name)
{
    atomic_store(&s->pid, 0);
    atomic_store(&s->has_exit, 0);
    atomic_store(&s->exit_code, 0);
    atomic_store(&s->failed, 0);
    s->text[0] = 0;
    snprintf(s->name, sizeof s->name, "%s", name);
    atomic_store(&s->made_at, mp__os_now());
}

/* Claims slot `index` if it is free, or, with `abandoned`, if it is nobody's any more. */
static bool try_claim(uint32_t index, bool abandoned, const char *name, mp__slot_ref *ret_ref)
{
    mp__slot *s = slot_at(index);
    uint64_t word = s ? atomic_load(&s->word) : 0;
    if (!s || (STATE(word) != MP__SLOT_FREE && !(abandoned && is_abandoned(s, word))))
        return false;
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
    mp__slot *s = slot_at(ref.index);
    uint64_t word = s ? atomic_load(&s->word) : 0;
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
