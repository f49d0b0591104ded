#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The peer of bench_pool.c in Python: multiprocessing.Pool.

    pool_python.py WORKERS

Answers lines on standard input with a figure each: "map SECONDS", "map1 SECONDS" (chunks of 1),
"imap SECONDS", "async SECONDS" and "apply SECONDS" with empty tasks per second, "start METHOD SECONDS"
with the microseconds that a pool of 4 takes from its start to its end with one task.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.pool import Pool
from typing import Callable, Optional

ITEMS = list(range(0, -100000, -1))
FEWER = ITEMS[:10000]  # one message each
OUTSTANDING = 2000


def empty(number: int) -> int:
    return number


def run_map(pool: Pool) -> int:
    return len(pool.map(empty, ITEMS))


def run_map1(pool: Pool) -> int:
    return len(pool.map(empty, FEWER, chunksize=1))


def run_imap(pool: Pool) -> int:
    return sum(1 for _ in pool.imap_unordered(empty, FEWER, chunksize=1))


def run_async(pool: Pool) -> int:
    results = [pool.apply_async(empty, (0,)) for _ in range(OUTSTANDING)]
    for result in results:
        result.get()
    return OUTSTANDING


def run_apply(pool: Pool) -> int:
    for _ in range(100):
        pool.apply(empty, (0,))
    return 100


RUNS: dict[str, Callable[[Pool], int]] = {
    "map": run_map, "map1": run_map1, "imap": run_imap, "async": run_async, "apply": run_apply}


def rate(run: Callable[[Pool], int], pool: Pool, seconds: float) -> float:
    done = 0
    start = time.monotonic()
    while True:
        done += run(pool)
        spent = time.monotonic() - start
        if spent >= seconds:
            return done / spent


def start_and_end(method: str, seconds: float) -> float:
    context = multiprocessing.get_context(method)
    times = 0
    start = time.monotonic()
    while True:
        pool = context.Pool(4)
        pool.apply(empty, (0,))
        pool.close()
        pool.join()
        times += 1
        spent = time.monotonic() - start
        if spent >= seconds:
            return spent / times * 1e6


def main() -> None:
    workers = int(sys.argv[1])
    pool: Optional[Pool] = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "start":
            figure = start_and_end(words[1], float(words[2]))
        else:
            pool = pool or multiprocessing.get_context("fork").Pool(workers)
            figure = rate(RUNS[words[0]], pool, float(words[1]))
        print(f"{figure:.9g}", flush=True)
    if pool:
        pool.terminate()
        pool.join()


if __name__ == "__main__":
    main()
