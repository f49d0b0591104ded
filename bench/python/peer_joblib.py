# SPDX-License-Identifier: MIT
"""Owns the cases of pools.py with joblib's own pool, loky, one task in a message."""

from time import perf_counter as clock
from typing import Any

import joblib
import things
from pools import WORKERS, arrays, same


def _parallel() -> Any:
    return joblib.Parallel(n_jobs=WORKERS, backend="loky", batch_size=1, pre_dispatch="all")


def map(mp: Any, n: int, chunksize: str) -> float:
    """chunksize 0 lets joblib choose too."""
    work = list(range(n))
    task = joblib.delayed(same)
    with _parallel() as parallel:
        if not int(chunksize):
            parallel.batch_size = "auto"
        parallel(task(i) for i in range(100))
        start = clock()
        got = parallel(task(i) for i in work)
        spent = clock() - start
    if got != work:
        raise RuntimeError("the results are others")
    return spent / n


def apply(mp: Any, n: int) -> float:
    """Its executor, which is one of concurrent.futures."""
    from joblib.externals.loky import get_reusable_executor

    with get_reusable_executor(WORKERS) as executor:
        executor.submit(same, 0).result()
        start = clock()
        for i in range(n):
            if executor.submit(same, i).result() != i:
                raise RuntimeError("the result is another")
        return (clock() - start) / n


def map_arrays(mp: Any, n: int, of: str) -> float:
    work = arrays(n, of)
    task = joblib.delayed(same)
    with _parallel() as parallel:
        parallel(task(i) for i in range(100))
        start = clock()
        got = parallel(task(array) for array in work)
        looks = [things.look(array) for array in got]
        spent = clock() - start
    if looks != [things.look(work[0])] * n:
        raise RuntimeError("the results are others")
    return spent / n
