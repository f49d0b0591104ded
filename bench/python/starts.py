# SPDX-License-Identifier: MIT
"""Owns the measurements of what starts and ends: processes, pools, blocks of shared memory."""

import importlib
from time import perf_counter as clock
from typing import Any


def nothing(*ignored: Any) -> None:
    pass


def process(mp: Any, n: int, method: str) -> float:
    """Start and join of one process after the other, with a fork server that already runs."""
    context = mp.get_context(method)
    for i in range(n + 1):
        if i == 1:
            start = clock()
        child = context.Process(target=nothing)
        child.start()
        child.join()
        if child.exitcode != 0:
            raise RuntimeError(f"the child ended with {child.exitcode}")
    return (clock() - start) / n


def pool(mp: Any, n: int, method: str, end: str) -> float:
    """A pool of 4 from its start to its end: at once, or after a task for each worker."""
    context = mp.get_context(method)
    for i in range(n + 1):
        if i == 1:
            start = clock()
        made = context.Pool(4)
        if end == "terminate":
            made.terminate()
        else:
            if end == "tasks":
                made.map(nothing, range(4), chunksize=1)
            made.close()
        made.join()
    return (clock() - start) / n


def shared_memory(mp: Any, n: int, size: str) -> float:
    """Create, write a byte, close, unlink."""
    SharedMemory = importlib.import_module(mp.__name__ + ".shared_memory").SharedMemory
    start = clock()
    for _ in range(n):
        block = SharedMemory(create=True, size=int(size))
        block.buf[0] = 1
        block.close()
        block.unlink()
    return (clock() - start) / n


def shared_memory_attach(mp: Any, n: int, size: str) -> float:
    """Attach to a block that is there, read a byte, close."""
    SharedMemory = importlib.import_module(mp.__name__ + ".shared_memory").SharedMemory
    block = SharedMemory(create=True, size=int(size))
    block.buf[0] = 7
    start = clock()
    for _ in range(n):
        same = SharedMemory(block.name)
        if same.buf[0] != 7:
            raise RuntimeError("another block has this name")
        same.close()
    spent = clock() - start
    block.close()
    block.unlink()
    return spent / n
