/* SPDX-License-Identifier: MIT */
/*
 * Owns the proof of src/sync/event.c, with a kill at every step.
 *
 *   W        processes that wait for the event, WAITS times
 *   S        processes that set it SETS times, clearing it in between
 *   CLEAR    1: and clear it after the last time
 *   KILLS    how many are killed, anywhere
 *   EARLY    slices that end by themselves, at any moment
 *   PLANTED  1: a setter that looks for waiters before it sets; 2: a waiter that looks at the lowest bit
 *            only, and so misses a set that was cleared at once; 3: a word that does not count its sets.
 *            All must be found.
 *
 * When nothing else can happen, every slice ends; see queue.pml.  A waiter must not sleep on when the
 * event was set after it had begun to wait.
 */
#ifndef W
#define W 2
#endif
#ifndef S
#define S 1
#endif
#ifndef WAITS
#define WAITS 1
#endif
#ifndef SETS
#define SETS 2
#endif
#ifndef CLEAR
#define CLEAR 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef EARLY
#define EARLY 0
#endif
#ifndef PLANTED
#define PLANTED 0
#endif
#define N (W + S)

byte word = 0; /* how often it was set << 1 | set */
byte sets = 0; /* the same, of the model */
byte waiters = 0;
byte begun[N]; /* sets when it began to wait */
bit asleep[N];
byte kills = 0, early = 0, slices = 0, finished = 0;

#if KILLS > 0
#define KILL kills < KILLS -> kills++; asleep[me] = 0; goto gone
#define STEP if :: atomic { KILL } :: true fi;
#else
#define STEP
#endif

#if PLANTED == 2
#define WAITING(seen) (!(word & 1))
#else
#define WAITING(seen) (word == seen)
#endif

inline wake_all() {
    asleep[0] = 0;
    asleep[W - 1] = 0
}

proctype setter(byte me)
{
    byte round = 0;
    bit had;
    do
    :: round == SETS -> break
    :: else ->
       STEP
#if PLANTED == 1
       had = waiters > 0;
       STEP
#endif
       atomic { /* a loop of compare-and-swap */
           if
#if PLANTED == 3
           :: !(word & 1) -> word = word | 1; sets++
#else
           :: !(word & 1) -> word = word + 3; sets++
#endif
           :: else
           fi
       };
       STEP
#if PLANTED != 1
       had = waiters > 0;
       STEP
#endif
       atomic {
           if
           :: had -> wake_all()
           :: else
           fi;
           had = 0;
           round++
       };
       STEP
       if
       :: round < SETS || CLEAR -> word = word & 254
       :: else
       fi
    od;
    finished++;
gone:
    skip
}

proctype waiter(byte me)
{
    byte seen, round = 0;
    do
    :: round == WAITS -> break
    :: else ->
       STEP
       atomic { seen = word; begun[me] = sets };
       if
       :: seen & 1
       :: else ->
          STEP
          waiters++;
          do
          :: STEP
             if
             :: !WAITING(seen) -> break
             :: else
             fi;
             STEP
             atomic { /* the kernel compares and puts the sleeper on its list */
                 if
                 :: WAITING(seen) -> asleep[me] = 1
                 :: else
                 fi
             };
end_asleep:  if
             :: !asleep[me]
             :: atomic { asleep[me] && early > 0 -> early--; asleep[me] = 0 }
#if KILLS > 0
             :: atomic { asleep[me] && KILL }
#endif
             fi
          od;
          STEP
          waiters--
       fi;
       atomic { seen = 0; begun[me] = 0; round++ }
    od;
    finished++;
gone:
    skip
}

init
{
    byte i = 0;
    atomic {
        if :: early = EARLY :: early = 0 fi;
        do
        :: i < W -> run waiter(i); i++
        :: i >= W && i < N -> run setter(i); i++
        :: else -> break
        od
    };
    do
    :: atomic { timeout ->
       if
       :: (asleep[0] && begun[0] != sets) || (asleep[W - 1] && begun[W - 1] != sets) ->
          assert(slices < kills);
          slices++;
          wake_all()
       :: else -> break
       fi }
    od;
    assert(kills > 0 || CLEAR || WAITS > 1 || finished == N)
}
