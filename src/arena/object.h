/* SPDX-License-Identifier: MIT */
/*
 * Shared objects: what locks, events and their like are made of, in the arena.
 *
 * An object lives as long as any process holds it: it has one bit for each process slot, set when a
 * process gets its first handle and cleared when it drops its last one, or by whoever finds it dead.
 * The process that clears the last bit frees the block.  Only a holder can hand an object on, so an
 * object without holders stays without.  On its way inside a message it is held by `transit`.
 *
 * Outside of the arena an object is an offset and a serial number, which is never used twice: a stale
 * one is noticed.
 */
#ifndef MP__OBJECT_H
#define MP__OBJECT_H

#include "arena/heap.h"

typedef enum mp__object_kind {
    MP__OBJECT_LOCK = 1,
    MP__OBJECT_RLOCK = 2,
    MP__OBJECT_SEMAPHORE = 3,
    MP__OBJECT_EVENT = 4,
    MP__OBJECT_CONDITION = 5,
    MP__OBJECT_BARRIER = 6,
    MP__OBJECT_SHM = 7,
    MP__OBJECT_QUEUE = 8,
    MP__OBJECT_BLOCK = 9, /* a segment or a large item of a queue */
    MP__OBJECT_NAME = 10, /* a name in /dev/shm */
    MP__OBJECT_KINDS = 11
} mp__object_kind;

typedef struct mp__object {
    _Atomic uint64_t serial; /* 0: not an object (yet, or any more) */
    uint64_t size;           /* of data */
    uint32_t kind;
    mp__tag creator;
    _Atomic uint32_t transit;
    _Atomic uint32_t moves; /* holds that were ever added: see is_held() */
    uint32_t flags;         /* the kind's own */
    char name[40];
    _Atomic uint64_t holders[MP__SLOT_COUNT / 64];
    _Alignas(64) char data[];
} mp__object;

/* A process's hold of an object: one for each object and process, counted. */
typedef struct mp__hold mp__hold;

/* A new object with `size` bytes of zeroed data, held by this process; NULL with errno.  Raw: the
 * data are not zeroed. */
MP__HIDDEN mp__hold *mp__object_new(mp__object_kind kind, size_t size);
MP__HIDDEN mp__hold *mp__object_new_raw(mp__object_kind kind, size_t size);

MP__HIDDEN void mp__hold_free(mp__hold *hold);
MP__HIDDEN void *mp__hold_data(const mp__hold *hold); /* stays where it is while it is held */
MP__HIDDEN mp__object *mp__hold_object(const mp__hold *hold);
/* How others refer to the object. */
MP__HIDDEN void mp__hold_words(const mp__hold *hold, int64_t ret_words[2]);

/* Hands it to the process of that tag, before it starts; or, with 0, into a message. */
MP__HIDDEN void mp__hold_give(mp__hold *hold, mp__tag to, int64_t ret_words[2]);
/* Into a message, once and for all: this hold is none any more, and freeing it only frees memory.  For a
 * hold that is its process's only one. */
MP__HIDDEN void mp__hold_deliver(mp__hold *hold);
MP__HIDDEN void mp__hold_take_back(mp__hold *hold, mp__tag from);

/* At the other side.  NULL with errno: MP_EFOREIGN for a stale or foreign reference. */
MP__HIDDEN mp__hold *mp__hold_receive(mp__object_kind kind, const int64_t words[2],
                                      bool from_message);

/* The object that the words name, if it is one that somebody holds; NULL otherwise. */
MP__HIDDEN mp__object *mp__object_at(mp__object_kind kind, const int64_t words[2]);

/* One reference in a message less: its receiver holds the object itself, or there is none. */
MP__HIDDEN void mp__object_arrived(mp__object_kind kind, const int64_t words[2]);

/* Hands all that this process holds to a process; or, when this thread forks next, to its child. */
MP__HIDDEN void mp__holds_give_all(mp__tag to);
MP__HIDDEN void mp__holds_give_at_fork(mp__tag to);

/* Makes all processes that there are now hold the object, instead of this hold, which is gone then. */
MP__HIDDEN void mp__hold_give_family(mp__hold *hold);

/* Calls fn for all objects of a kind; those for which it returns true are freed, whoever holds them. */
MP__HIDDEN void mp__objects_drop_if(mp__object_kind kind, bool (*fn)(mp__object *, const void *),
                                    const void *argument);

/* Before a process ends by itself: it holds no object of that kind any more. */
MP__HIDDEN void mp__objects_leave(mp__object_kind kind);

/* What a kind does for objects in which a dead process may stand; called for each of them. */
MP__HIDDEN void mp__object_on_death(mp__object_kind kind, void (*fn)(mp__object *, mp__tag));

/* What a kind gives back before an object that nobody holds is freed; called again from the start if
 * the process that did it was killed. */
MP__HIDDEN void mp__object_on_free(mp__object_kind kind, void (*fn)(mp__object *));

/* A process is dead: it holds nothing any more. */
MP__HIDDEN void mp__objects_bury(mp__tag tag);

/* Around fork: the list of holds is whole in the child. */
MP__HIDDEN void mp__objects_before_fork(void);
MP__HIDDEN void mp__objects_in_parent(void);
MP__HIDDEN void mp__objects_in_child(void);

#endif
