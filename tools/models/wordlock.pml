/* SPDX-License-Identifier: MIT */
/*
 * The word lock of src/arena/wordlock.c, with a kill at every step.
 *
 *   N        processes, each of which takes and releases the lock ROUNDS times
 *   KILLS    how many of them may be killed, anywhere
 *   PLANTED  1: a release that forgets the wake-up; 2: a waiter that takes the lock of a living owner.
 *            Both must be found.
 *
 * The word is (owner, waiters' bit).  A sleeper goes on when it is woken, or when its slice is over;
 * slices end only after a kill, so that a run without kills proves that no wake-up is ever missing, and
 * one with kills that a slice is all that a death can cost.
 */
#ifndef N
#define N 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef PLANTED
#define PLANTED 0
#endif

byte owner = 0; /* 0: free, else number + 1 */
bit waiters = 0;
bit asleep[N];
bit dead[N];
byte inside = 0; /* living processes that believe to hold the lock */
byte kills = 0;

/* A process can be killed between any two steps; inside tells how it was then. */
#define STEP if :: atomic { kills < KILLS -> kills++; dead[me] = 1; if :: holds -> inside-- :: else fi; goto gone } :: true fi

inline wake_one() {
    if
    :: asleep[0] -> asleep[0] = 0
    :: asleep[1] -> asleep[1] = 0
#if N > 2
    :: asleep[2] -> asleep[2] = 0
#endif
    :: else
    fi
}

proctype process(byte me)
{
    byte seen, round = 0;
    bit seen_w, mine_w, holds = 0, had_w;
    do
    :: round == ROUNDS -> break
    :: round < ROUNDS ->
        mine_w = 0;
        do
        :: STEP;
           atomic { seen = owner; seen_w = waiters };
           STEP;
           if
           :: seen == 0 -> /* compare-and-swap of a free word */
              atomic {
                  if
                  :: owner == 0 && waiters == seen_w -> owner = me + 1; waiters = mine_w; holds = 1;
                     inside++; break
                  :: else
                  fi
              }
           :: seen != 0 && dead[seen - 1] -> /* take a dead owner's lock over */
              atomic {
                  if
                  :: owner == seen && waiters == seen_w -> owner = me + 1; waiters = 1; holds = 1;
                     inside++; break
                  :: else
                  fi
              }
#if PLANTED == 2
           :: seen != 0 && !dead[seen - 1] ->
              atomic {
                  if
                  :: owner == seen && waiters == seen_w -> owner = me + 1; waiters = 1; holds = 1;
                     inside++; break
                  :: else
                  fi
              }
#endif
           :: seen != 0 && !dead[seen - 1] -> /* say that somebody waits, then sleep */
              if
              :: !seen_w ->
                 atomic {
                     if
                     :: owner == seen && waiters == 0 -> waiters = 1; seen_w = 1
                     :: else
                     fi
                 }
              :: else
              fi;
              STEP;
              if
              :: seen_w ->
                 mine_w = 1;
                 atomic { /* the kernel compares the word and puts the sleeper on its list */
                     if
                     :: owner == seen && waiters == 1 -> asleep[me] = 1
                     :: else
                     fi
                 };
                 do
                 :: !asleep[me] -> break
                 :: atomic { asleep[me] && kills > 0 -> asleep[me] = 0; break }
                 :: atomic { asleep[me] && kills < KILLS -> kills++; dead[me] = 1; asleep[me] = 0; goto gone }
                 od
              :: else
              fi
           fi
        od;
        assert(inside <= 1);
        STEP;
        assert(inside == 1 && owner == me + 1);
        atomic { had_w = waiters; owner = 0; waiters = 0; holds = 0; inside-- };
        STEP;
#if PLANTED != 1
        atomic { if :: had_w -> wake_one() :: else fi };
#endif
        round++
    od;
gone:
    skip
}

init
{
    byte i = 0;
    atomic {
        do
        :: i < N -> run process(i); i++
        :: else -> break
        od
    }
}
