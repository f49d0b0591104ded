/* SPDX-License-Identifier: MIT */
/*
 * Gates: sleeping until a word of shared memory changes, without a count of the sleepers that a dead one
 * could leave wrong.  The model is tools/models/queue.pml.
 *
 * The gate is one word: how often somebody announced that it may sleep, and in the lowest bit whether
 * somebody may.  A sleeper announces itself by changing the gate, looks at the word once more, and
 * sleeps.  Who changes the word looks at the gate before and after that; if somebody may sleep it wakes,
 * and if that wakes nobody and the gate is as it was before the change, it takes the bit away: whoever is
 * in it has looked at the word before the change, so it is awake, or will not fall asleep.
 *
 * A process that is killed between its change of the word and the wake-up costs the sleepers one slice.
 */
#ifndef MP__GATE_H
#define MP__GATE_H

#include "sync/sync.h"

typedef _Atomic uint32_t mp__gate;

/* Sleeps while *word is `seen`, until the deadline and at most for `slice`: 0 when it is worth looking
 * again, -ETIMEDOUT at the deadline, -EINTR for hosts. */
MP__HIDDEN int mp__gate_wait(mp__gate *gate, _Atomic uint32_t *word, uint32_t seen,
                             mp__deadline deadline, mp_time slice);

/* After a change of the word: wakes up to n.  `before` is the gate as it was read before the change.
 * Between the change and the call there must be an atomic read-modify-write, such as the release of a
 * lock. */
MP__HIDDEN void mp__gate_open(mp__gate *gate, uint32_t before, _Atomic uint32_t *word, int n);

/* Whether somebody may sleep; the fence is in the read-modify-write before on x86-64. */
static inline bool mp__gate_is_shut(mp__gate *gate)
{
#if !defined(__x86_64__)
    atomic_thread_fence(memory_order_seq_cst);
#endif
    return atomic_load(gate) & 1;
}

/* How well looking paid lately, for one waiter; process-local.  Zeroed at first. */
typedef struct mp__spin {
    _Atomic int debt;
    _Atomic unsigned skipped, lingered;
    _Atomic unsigned turns; /* of lingering; 0: it does not pay */
} mp__spin;

/*
 * After a look that paid: two processes that pass items one by one move the same cache lines for each of
 * them.  Lingers a little before it takes what came, if lately more came meanwhile: longer while that
 * gathers many, shorter when it gathers few.  The caller tells by mp__spin_gathered() how many there were.
 */
MP__HIDDEN bool mp__spin_linger(mp__spin *spin);
MP__HIDDEN void mp__spin_gathered(mp__spin *spin, uint64_t items);

/* Looks for a moment, if that pays, and returns true when *word is no longer `seen`. */
MP__HIDDEN bool mp__spin_while(mp__spin *spin, _Atomic uint32_t *word, uint32_t seen);

#endif
