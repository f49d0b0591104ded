# SPDX-License-Identifier: MIT
"""Owns the measurements of pools of two workers, which have done tasks before the clock starts."""

from collections import deque
from time import perf_counter as clock
from typing import Any, List

import things

WORKERS = 2


def same(thing: Any) -> Any:
    return thing


def _warm(pool: Any) -> None:
    pool.map(same, range(100), chunksize=1)


def map(mp: Any, n: int, chunksize: str) -> float:
    """A trivial function over ints; chunks of the library's choice if chunksize is 0."""
    work = list(range(n))
    with mp.get_context("fork").Pool(WORKERS) as pool:
        _warm(pool)
        start = clock()
        got = pool.map(same, work, chunksize=int(chunksize) or None)
        spent = clock() - start
    if got != work:
        raise RuntimeError("the results are others")
    return spent / n


def imap_unordered(mp: Any, n: int) -> float:
    with mp.get_context("fork").Pool(WORKERS) as pool:
        _warm(pool)
        start = clock()
        deque(pool.imap_unordered(same, range(n), chunksize=1), maxlen=0)
        return (clock() - start) / n


def apply(mp: Any, n: int) -> float:
    """One call on its way, there and back."""
    with mp.get_context("fork").Pool(WORKERS) as pool:
        _warm(pool)
        start = clock()
        for i in range(n):
            if pool.apply(same, (i,)) != i:
                raise RuntimeError("the result is another")
        return (clock() - start) / n


def arrays(n: int, of: str) -> List[Any]:
    return [things.Sent(of).thing for _ in range(n)]


def map_arrays(mp: Any, n: int, of: str) -> float:
    """Arrays as arguments and as results, each one sent once; what comes back is looked at."""
    work = arrays(n, of)
    with mp.get_context("fork").Pool(WORKERS) as pool:
        _warm(pool)
        start = clock()
        got = pool.map(same, work, chunksize=1)
        looks = [things.look(array) for array in got]
        spent = clock() - start
    if looks != [things.look(work[0])] * n:
        raise RuntimeError("the results are others")
    return spent / n
