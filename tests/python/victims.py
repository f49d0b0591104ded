# SPDX-License-Identifier: MIT
"""What is killed, and who must survive it, in the Python tests of deaths.

A victim says that it runs and then uses an object for ever.  A survivor does a fixed job with the same object
and exits with 0; what waits too long exits with an error instead.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import warnings

from targets import WAIT

ROUNDS = 100


warnings.filterwarnings("ignore", "", RuntimeWarning)  # of killed owners, which are no news here


def need(true, what):
    if not true:
        sys.exit(f"in vain: {what}")


# ---- users of one object --------------------------------------------------------------------------


def lock_victim(started, lock):
    started.set()
    while True:
        with lock, lock if "RLock" in type(lock).__name__ else threading.Lock():
            pass


def lock_survivor(lock):
    for _ in range(ROUNDS):
        need(lock.acquire(timeout=WAIT), "acquire")
        lock.release()


def semaphore_victim(started, semaphore):
    started.set()
    while True:
        semaphore.release()
        semaphore.acquire()


def semaphore_survivor(semaphore):
    """A semaphore has no owner: what the victim had taken stays taken, so it gives before it takes."""
    for _ in range(ROUNDS):
        need(semaphore.acquire(timeout=WAIT), "acquire")
        semaphore.release()


def condition_victim(started, cond):
    started.set()
    while True:
        with cond:
            cond.notify_all()
            cond.wait(random.choice([0, 0.0001]))


def condition_survivor(cond):
    for i in range(ROUNDS):
        need(cond.acquire(timeout=WAIT), "acquire")
        cond.notify()
        cond.wait(0.0001)
        cond.release()


def event_victim(started, event):
    started.set()
    while True:
        event.set()
        event.wait(0.0001)
        event.clear()
        event.wait(0.0001)


def event_survivor(event):
    for _ in range(ROUNDS):
        event.is_set()
        event.set()
        event.wait(0.0001)
        event.clear()


def barrier_victim(started, barrier):
    started.set()
    while True:
        barrier.wait()


def barrier_survivor(barrier):
    """Meets the others until the death of one has broken the barrier."""
    while True:
        try:
            barrier.wait(WAIT)
        except threading.BrokenBarrierError:
            break


def queue_victim(started, queue):
    started.set()
    while True:
        queue.put(b"x" * random.choice([1, 100, 5000, 100_000]))
        queue.get()


def queue_survivor(queue):
    for _ in range(ROUNDS):
        queue.put(b"s" * 300, timeout=WAIT)
        queue.get(timeout=WAIT)


# ---- what must work after the death ---------------------------------------------------------------


def signal_condition(cond, flag):
    need(cond.acquire(timeout=WAIT), "acquire")
    flag.value = 1
    cond.notify_all()
    cond.release()


def await_condition(cond, flag):
    need(cond.acquire(timeout=WAIT), "acquire")
    need(cond.wait_for(lambda: flag.value, WAIT), "notify")
    cond.release()


# ---- producers and consumers that count -----------------------------------------------------------


def count_puts(started, queue, done):
    """Says after each put how many were done."""
    started.set()
    number = 0
    while True:
        queue.put((number, b"x" * (number % 50 * 200)))
        number += 1
        done.value = number


def count_gets(started, queue, done):
    started.set()
    while True:
        number, data = queue.get()
        done.value = number + 1


def send_for_ever(started, conn, size):
    started.set()
    data = b"x" * size
    while True:
        conn.send(data)


def receive_for_ever(started, conn):
    started.set()
    while True:
        conn.recv()


def hold_for_ever(lock, started):
    lock.acquire()
    started.set()
    while True:
        time.sleep(WAIT)


# ---- families that are orphaned -------------------------------------------------------------------


def say_in_file(path):
    """Tells its pid, and then works for ever."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        time.sleep(WAIT)


def say_in_file_and_spin(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        pass
