/* SPDX-License-Identifier: MIT */
/*
 * Owns the proof of src/sync/semaphore.c, with a kill at every step.
 *
 *   N        processes: the first releases N - 1 at once, each other one acquires ROUNDS times and
 *            releases in between, so that nobody has to wait for ever
 *   KILLS    how many are killed, anywhere; what a killed one had taken stays taken
 *   EARLY    slices that end by themselves, at any moment
 *   PLANTED  1: a release that looks for waiters before it changes the value; 2: a release of several that
 *            wakes one; 3: a waiter that sleeps without comparing.  All must be found.
 *
 * When nothing else can happen, every slice ends; see queue.pml.
 */
#ifndef N
#define N 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
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

byte value = 0, waiters = 0;
bit asleep[N];
byte kills = 0, early = 0, slices = 0, finished = 0;

#if KILLS > 0
#define KILL kills < KILLS -> kills++; asleep[me] = 0; goto gone
#define STEP if :: atomic { KILL } :: true fi;
#else
#define STEP
#endif

inline wake(n) {
    woken = 0;
    do
    :: woken < n && asleep[1] -> asleep[1] = 0; woken++
#if N > 2
    :: woken < n && asleep[2] -> asleep[2] = 0; woken++
#endif
#if N > 3
    :: woken < n && asleep[3] -> asleep[3] = 0; woken++
#endif
    :: else -> break
    od;
    woken = 0
}

inline release(n) {
#if PLANTED == 1
    had = waiters > 0;
    STEP
    value = value + n;
    STEP
#else
    value = value + n; /* a loop of compare-and-swap */
    STEP
    had = waiters > 0;
    STEP
#endif
    atomic {
        if
#if PLANTED == 2
        :: had -> wake(1)
#else
        :: had -> wake(n)
#endif
        :: else
        fi;
        had = 0
    }
}

inline take() {
    atomic {
        if
        :: value > 0 -> value--; taken = 1
        :: else
        fi
    }
}

proctype process(byte me)
{
    byte woken, round = 0;
    bit had, taken;
    if
    :: me == 0 ->
       STEP
       release(N - 1)
    :: else ->
       do
       :: round == ROUNDS -> break
       :: else ->
          STEP
          take();
          if
          :: taken
          :: else ->
             STEP
             waiters++;
             do
             :: STEP
                take();
                STEP
                if
                :: taken -> break
                :: else
                fi;
                atomic { /* the kernel compares and puts the sleeper on its list */
                    if
#if PLANTED == 3
                    :: asleep[me] = 1
#else
                    :: value == 0 -> asleep[me] = 1
                    :: else
#endif
                    fi
                };
end_asleep:     if
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
          atomic { taken = 0; round++ };
          STEP
          if
          :: round < ROUNDS -> release(1)
          :: else
          fi
       od
    fi;
    finished++;
gone:
    skip
}

init
{
    byte i = 0;
    bit any = 0;
    atomic {
        if :: early = EARLY :: early = 0 fi;
        do
        :: i < N -> run process(i); i++
        :: else -> i = 0; break
        od
    };
    do
    :: atomic { timeout ->
       do
       :: i < N -> any = any || asleep[i]; asleep[i] = 0; i++
       :: else -> i = 0; break
       od;
       if
       :: any && value > 0 -> assert(slices < kills); slices++; any = 0
       :: else -> break
       fi }
    od;
    assert(kills > 0 || finished == N)
}
