/* SPDX-License-Identifier: MIT */
/*
 * Owns the proof of src/sync/condition.c: entries, notifications and burials, with a kill at every step.
 *
 *   W        processes that wait once each
 *   S        processes that notify one, NOTES times each
 *   TIMEOUT  1: the first waiter's time is up at some moment
 *   KILLS    how many are killed, anywhere, also inside a burial, which another process then begins anew
 *   PLANTED  1: a notifier that wakes before it signals; 2: a burial that does not pass a notification on;
 *            3: a burial that frees the entry before it passes the notification on; 4: a burial that tries
 *            an entry only once; 5: a waiter that frees its entry before it has the lock again; 6: a waiter
 *            whose time is up and that does not look whether it was signaled.  All must be found.
 *
 * When nothing else can happen, every slice ends; see queue.pml.  A notification that was given to
 * somebody must then have been used by one who got the lock with it, or nobody waits any more.  The lock
 * has a model of its own (wordlock.pml), and is one step here; each waiter has its own entry.
 */
#ifndef W
#define W 2
#endif
#ifndef S
#define S 1
#endif
#ifndef NOTES
#define NOTES 1
#endif
#ifndef TIMEOUT
#define TIMEOUT 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef PLANTED
#define PLANTED 0
#endif
#define N (W + S)

byte entry[W];   /* 0: free, 1: waits, 2: signaled */
byte lock = 0;   /* 0: free, else number + 1 */
bit asleep[W], dead[N + 1], buried[W]; /* the last one is the parent */
byte open = 0;   /* notifications that were given and not used */
byte kills = 0, slices = 0;

#if KILLS > 0
#define KILL kills < KILLS -> kills++; dead[me] = 1; goto gone
#define STEP if :: atomic { KILL } :: true fi;
#else
#define STEP
#endif
#define LOCK atomic { lock == 0 || dead[lock - 1] -> lock = me + 1 };

proctype waiter(byte me)
{
    bit up = 0;
    STEP
    LOCK
    STEP
    entry[me] = 1;
    STEP
    lock = 0;
    do
    :: STEP
       if
       :: entry[me] != 1 || up -> break
       :: else
       fi;
       STEP
       atomic { /* the kernel compares and puts the sleeper on its list */
           if
           :: entry[me] == 1 -> asleep[me] = 1
           :: else
           fi
       };
end_asleep:
       if
       :: !asleep[me]
#if TIMEOUT
       :: atomic { asleep[me] && me == 0 -> asleep[me] = 0; up = 1 }
#endif
#if KILLS > 0
       :: atomic { asleep[me] && kills < KILLS -> kills++; dead[me] = 1; asleep[me] = 0; goto gone }
#endif
       fi
    od;
    atomic {
        if
#if PLANTED == 6
        :: up -> entry[me] = 0
#else
        :: up && entry[me] == 1 -> entry[me] = 0
#endif
        :: else -> up = 0
        fi
    };
    STEP
#if PLANTED == 5
    entry[me] = 0;
    STEP
#endif
    LOCK
    STEP
    atomic { /* the lock is held: from now on others hear of a death from it */
        if
        :: !up -> entry[me] = 0; open--
        :: else
        fi
    };
    STEP
    lock = 0;
gone:
    skip
}

/* Signals one entry; the place from which it looks is only a hint.  A burial that passes a notification on
 * counts two for a while: it takes the dead one's off when it frees the entry. */
inline signal_one(counts) {
    n = 0;
    if :: i = 0 :: i = W - 1 fi;
    do
    :: n == W -> break
    :: else ->
       seen = entry[i];
       if
       :: seen == 1 && dead[i] ->
          STEP
          atomic {
              if
              :: entry[i] == 1 -> entry[i] = 0
              :: else
              fi
          }
       :: seen == 1 && !dead[i] ->
#if PLANTED == 1
          asleep[i] = 0;
#endif
          STEP
          atomic {
              if
              :: entry[i] == 1 -> entry[i] = 2; open = open + counts; seen = 2; signaled = 1
              :: else
              fi
          };
          if
          :: signaled ->
             STEP
#if PLANTED != 1
             asleep[i] = 0;
#endif
             break
          :: else
          fi
       :: else
       fi;
       atomic { n++; i = (i + 1) % W }
    od;
    atomic { n = 0; i = 0; seen = 0 }
}

proctype notifier(byte me)
{
    byte i, n, seen, round = 0;
    bit signaled;
    do
    :: round == NOTES -> break
    :: else ->
       STEP
       LOCK
       STEP
       signal_one(1);
       STEP
       atomic { lock = 0; signaled = 0; round++ }
    od;
gone:
    skip
}

/* Whoever buries the waiters.  When it is killed, another one begins anew. */
#if KILLS > 0
proctype parent(byte me)
{
    byte i, n, seen, found, who;
    bit signaled;
gone:
    atomic { dead[me] = 0; i = 0; n = 0; seen = 0; found = 0; who = 0; signaled = 0 };
end_nobody:
    do
    :: atomic {
           if
           :: dead[0] && !buried[0] -> who = 0
           :: dead[W - 1] && !buried[W - 1] -> who = W - 1
#if W > 2
           :: dead[1] && !buried[1] -> who = 1
#endif
           fi
       };
       found = entry[who];
       do
       :: found == 0 -> break
       :: else ->
          STEP
#if PLANTED == 0 || PLANTED > 3
          if
          :: found == 2 -> signal_one(1)
          :: else
          fi;
          STEP
#endif
          atomic {
              if
              :: entry[who] == found ->
                 entry[who] = 0;
#if PLANTED == 0 || PLANTED > 3
                 if :: found == 2 -> open-- :: else fi
#endif
                 signaled = 0;
                 break
              :: else -> found = entry[who]; signaled = 0
#if PLANTED == 4
                 ; break
#endif
              fi
          }
       od;
#if PLANTED == 3
       STEP
       if
       :: found == 2 ->
          signal_one(0);
          if :: !signaled -> open-- :: else fi;
          signaled = 0
       :: else
       fi;
#endif
       STEP
       atomic { buried[who] = 1; found = 0; who = 0 }
    od
}
#endif

init
{
    byte i = 0;
    atomic {
        do
        :: i < W -> run waiter(i); i++
        :: i >= W && i < N -> run notifier(i); i++
        :: else -> i = 0; break
        od;
#if KILLS > 0
        run parent(N)
#endif
    };
    do
    :: atomic { timeout ->
       if
       :: (asleep[0] && entry[0] == 2) || (asleep[W - 1] && entry[W - 1] == 2) ||
          (asleep[W / 2] && entry[W / 2] == 2) ->
          assert(slices < kills);
          slices++;
          do
          :: i < W -> asleep[i] = 0; i++
          :: else -> i = 0; break
          od
       :: else -> break
       fi }
    od;
    assert(open == 0 || !(asleep[0] || asleep[W - 1] || asleep[W / 2]))
}
