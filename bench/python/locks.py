# SPDX-License-Identifier: MIT
"""Owns the measurements of locks, shared values and managed dicts that nobody else wants.

The loops run over repeat(), whose cost of about 10 ns an item is in the figures of both sides.
"""

from itertools import repeat
from time import perf_counter as clock
from typing import Any


def pair(mp: Any, n: int, name: str) -> float:
    """Acquire and release, by calls."""
    thing = getattr(mp, name)()
    acquire, release = thing.acquire, thing.release
    start = clock()
    for _ in repeat(None, n):
        acquire()
        release()
    return (clock() - start) / n


def block(mp: Any, n: int, name: str) -> float:
    """A with block."""
    thing = getattr(mp, name)()
    start = clock()
    for _ in repeat(None, n):
        with thing:
            pass
    return (clock() - start) / n


def event(mp: Any, n: int) -> float:
    thing = mp.Event()
    start = clock()
    for _ in repeat(None, n):
        thing.set()
        thing.is_set()
        thing.clear()
    return (clock() - start) / n


def event_wait(mp: Any, n: int) -> float:
    """Wait for an event that is set."""
    thing = mp.Event()
    thing.set()
    start = clock()
    for _ in repeat(None, n):
        thing.wait()
    return (clock() - start) / n


def notify(mp: Any, n: int) -> float:
    """A condition whose waiters are none."""
    thing = mp.Condition()
    start = clock()
    for _ in repeat(None, n):
        with thing:
            thing.notify()
    return (clock() - start) / n


def value_read(mp: Any, n: int) -> float:
    thing = mp.Value("i", 5)
    start = clock()
    for _ in repeat(None, n):
        thing.value
    return (clock() - start) / n


def value_write(mp: Any, n: int) -> float:
    thing = mp.Value("i", 5)
    start = clock()
    for _ in repeat(None, n):
        thing.value = 6
    return (clock() - start) / n


def value_add(mp: Any, n: int) -> float:
    thing = mp.Value("i", 0)
    start = clock()
    for _ in repeat(None, n):
        with thing.get_lock():
            thing.value += 1
    spent = clock() - start
    if thing.value != n:
        raise RuntimeError(f"{n} additions came to {thing.value}")
    return spent / n


def array(mp: Any, n: int) -> float:
    thing = mp.Array("d", 10)
    start = clock()
    for _ in repeat(None, n):
        thing[3] = thing[4]
    return (clock() - start) / n


def managed_dict(mp: Any, n: int) -> float:
    """Set and get of one key."""
    with mp.Manager() as manager:
        thing = manager.dict()
        thing["key"] = 0
        start = clock()
        for i in range(n):
            thing["key"] = i
            if thing["key"] != i:
                raise RuntimeError("the dict has another value")
        return (clock() - start) / n
