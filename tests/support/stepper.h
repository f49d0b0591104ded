/* SPDX-License-Identifier: MIT */
/*
 * Kills a process at any of its instructions, and lets survivors show that they can go on.
 *
 * A scenario is an operation of a victim, beside it a peer, which sleeps in an operation of its own before
 * the victim begins, and perhaps a third process, which starts together with the victim.  It is traced once
 * by single steps; then, for each instruction that was seen (or a sample of them), everything is made anew,
 * the victim runs into a breakpoint there, and is killed.  Stepping every time would be the same and takes
 * hundreds of times longer.
 */
#ifndef TESTS_STEPPER_H
#define TESTS_STEPPER_H

#include "arena/object.h"
#include "harness.h"

enum { STEPPER_PEER = 0, STEPPER_OTHER = 1 };

typedef struct stepper_scenario {
    const char *name;
    void (*set_up)(void);    /* makes the objects */
    void (*prepare)(void);   /* by the victim, before it is traced; or NULL */
    void (*victim)(void);    /* killed at each instruction of this */
    void (*peer)(void);      /* calls stepper_sleeps() just before it blocks */
    void (*other)(void);     /* or NULL; calls stepper_start_line() first */
    void (*check)(void);     /* after the kill: the survivors' job; calls stepper_join() for each */
    void (*tear_down)(void); /* gives the objects back */
    bool all;                /* every instruction, in any mode */
} stepper_scenario;

/* Does all that; every failure ends the test.  Half of the times the victim is buried before check() is called,
 * else after. */
void stepper_run(const stepper_scenario *scenario);

/* False where there is no tracing: under emulation, or on another machine than x86-64. */
bool stepper_works(void);
/* True when every instruction is wanted. */
bool stepper_long(void);
/* For rand(), printed. */
unsigned stepper_seed(void);

void stepper_sleeps(void);
void stepper_start_line(void);
/* True when the victim is dead: a third process makes an end. */
bool stepper_stopped(void);

/* False when a survivor has ended, well or not. */
bool stepper_runs(int who);

/* Waits a few seconds for a survivor, which must end well. */
void stepper_join(int who);

#endif
