/* SPDX-License-Identifier: MIT */
/*
 * Owns the proof of how queues sleep and wake up (docs/design/queues.md, "Waiting"), at both ends: get on
 * an empty queue and put on a full one, with a kill at every step.
 *
 *   NP, NC   producers and consumers, one or two of each
 *   PUTS     items that each producer puts
 *   GETS     items that each consumer gets; all, unless it is given
 *   CAP      items that the queue holds; with BYTES, bytes
 *   BYTES    1: bounded by bytes; the items of the first producer have two of them, the others one.  Who
 *            gets then wakes all producers: how many of them find room is not known by counting items
 *   KILLS    how many are killed, anywhere
 *   EARLY    slices that end by themselves, at any moment: nobody else may miss a wake-up by that
 *   PLANTED  1: a waker that clears the bit without compare-and-swap; 2: a waiter that looks for the last
 *            time before it announces itself; 3: a producer that commits before its copy; 4: a waker that
 *            clears the bit first, then wakes one; 5: a waker that compares with the word as it was after
 *            its commit; 6: with BYTES, one that gets an item and wakes one; 7: a commit whose killed
 *            owner's lock nobody takes over.  All must be found.
 *
 * When nothing else can happen, every slice ends.  That is an error if somebody sleeps who could go on
 * and there were as many such ends as kills: so without kills no wake-up is ever missing, and a death
 * costs one slice.  The locks of the ends have a model of their own (wordlock.pml) and are one step here.
 * The version in the word of sleepers is not counted: `same` says for each waker whether the word is
 * still what it read, which is what a version that never comes round tells it.
 */
#ifndef NP
#define NP 1
#endif
#ifndef NC
#define NC 1
#endif
#ifndef PUTS
#define PUTS 2
#endif
#define TOTAL (NP * PUTS)
#ifndef GETS
#define GETS (TOTAL / NC)
#endif
#ifndef CAP
#define CAP 1
#endif
#ifndef BYTES
#define BYTES 0
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
#define N (NP + NC)

/* An end is 0 (producers, tail) or 1 (consumers, head). */
byte count[2];     /* tail and head */
byte used = 0;     /* what CAP bounds */
byte lock[2];      /* 0: free, else number + 1 */
bit sleepers[2];   /* somebody may sleep until this end's count changes */
byte item[TOTAL + 1]; /* 0: not written, or got */
bit asleep[N], dead[N];
bit same[N];       /* the word with its bit set, as this waker read it, has not changed */
byte kills = 0, early = 0, slices = 0, finished = 0;

#define SIZE(i) ((BYTES && (i) == 0) -> 2 : 1)
#define OWNER(id) (((id) - 1) / PUTS)
#define CAN(end, who, seen, mine) ((end) -> (seen) != (mine) : used + SIZE(who) <= CAP)

#if KILLS > 0
#define KILL kills < KILLS -> kills++; dead[me] = 1; asleep[me] = 0; same[me] = 0; goto gone
#define STEP if :: atomic { KILL } :: true fi;
#else
#define STEP
#endif

/* The word of sleepers of an end has changed: no waker of that end finds it as it was. */
inline changed(which) {
    if
    :: which == 0 -> same[0] = 0; same[NP - 1] = 0
    :: else -> same[NP] = 0; same[N - 1] = 0
    fi
}

/* futex_wake: any one of those that sleep until end e's count changes. */
inline wake_one() {
    if
    :: e == 0 && asleep[NP] -> asleep[NP] = 0; woken = 1
    :: e == 1 && asleep[0] -> asleep[0] = 0; woken = 1
#if NC > 1
    :: e == 0 && asleep[NP + 1] -> asleep[NP + 1] = 0; woken = 1
#endif
#if NP > 1
    :: e == 1 && asleep[1] -> asleep[1] = 0; woken = 1
#endif
    :: else
    fi
}

inline copy() {
    if
    :: e == 0 -> item[count[0]] = me * PUTS + round + 1
    :: else -> value = item[count[1]]
    fi
}

inline commit() {
    if
    :: e == 0 -> used = used + SIZE(me)
    :: else ->
       assert(value != 0 && value == item[count[1]]); /* written, and nobody else has got it */
       item[count[1]] = 0;
       used = used - SIZE(OWNER(value))
    fi;
    count[e]++;
    value = 0
}

proctype process(byte me; bit e)
{
    byte seen, value, round = 0;
    bit woken, can;
    do
    :: round == (e -> GETS : PUTS) -> break
    :: else ->
       seen = count[1 - e]; /* first: what changes after that is seen in the comparison */
       can = CAN(e, me, seen, count[e]);
       if
       :: atomic { can -> can = 0 };
          STEP
#if PLANTED == 7
          atomic { lock[e] == 0 -> lock[e] = me + 1; seen = 0 };
#else
          atomic { lock[e] == 0 || dead[lock[e] - 1] -> lock[e] = me + 1; seen = 0 };
#endif
          STEP
          atomic {
              can = CAN(e, me, count[1 - e], count[e]);
              if :: !can -> lock[e] = 0 :: else fi
          };
          if
          :: atomic { can -> can = 0 };
#if PLANTED != 3
             atomic { copy() };
             STEP
#endif
#if PLANTED != 5
             same[me] = sleepers[e]; /* before the commit: whoever is announced there compares with an
                                        older count, and will not fall asleep any more */
             STEP
#endif
#if PLANTED == 3
             if :: e == 1 -> copy() :: else fi;
#endif
             atomic { commit() };
             STEP
#if PLANTED == 3
             if :: e == 0 -> item[count[0] - 1] = me * PUTS + round + 1 :: else fi;
#endif
             lock[e] = 0;
             STEP
             if
             :: atomic { sleepers[e] ->
#if PLANTED == 5
                same[me] = 1
#elif PLANTED == 4
                sleepers[e] = 0
#endif
                };
                STEP
                atomic {
                    woken = 0;
                    wake_one();
                    if
                    :: BYTES && PLANTED != 6 && e == 1 -> wake_one()
                    :: else
                    fi
                };
                STEP
                atomic {
                    if
#if PLANTED == 1
                    :: !woken -> sleepers[e] = 0; changed(e)
#else
                    :: !woken && same[me] -> sleepers[e] = 0; changed(e)
#endif
                    :: else
                    fi;
                    woken = 0
                }
             :: atomic { else -> skip }
             fi;
             atomic { same[me] = 0; round++ }
          :: else
          fi
       :: else ->
          STEP
          atomic { sleepers[1 - e] = 1; changed(1 - e) }; /* announce */
#if PLANTED == 2
          seen = count[1 - e];
#endif
          STEP
          if
          :: count[1 - e] == seen ->
             STEP
             atomic { /* the kernel compares and puts the sleeper on its list */
                 if
                 :: count[1 - e] == seen -> asleep[me] = 1
                 :: else
                 fi;
                 seen = 0
             };
end_asleep:  if
             :: !asleep[me]
             :: atomic { asleep[me] && early > 0 -> early--; asleep[me] = 0 }
#if KILLS > 0
             :: atomic { asleep[me] && KILL }
#endif
             fi
          :: else
          fi
       fi
    od;
    finished++;
gone:
    skip
}

/* One sleeps who could go on. */
#define STUCK(i) (asleep[i] && CAN((i) >= NP, i, count[0], count[1]))

init
{
    byte i = 0;
    atomic {
        if :: early = EARLY :: early = 0 fi;
        do
        :: i < N -> run process(i, i >= NP); i++
        :: else -> i = 0; break
        od
    };
    do
    :: atomic { timeout ->
       if
       :: STUCK(0) || STUCK(1) || STUCK(N - 2) || STUCK(N - 1) ->
          assert(slices < kills);
          slices++;
          do
          :: i < N -> asleep[i] = 0; i++
          :: else -> i = 0; break
          od
       :: else -> break
       fi }
    od;
    assert(kills > 0 || finished == N || GETS * NC < TOTAL);
    assert(count[0] - count[1] <= CAP)
}
