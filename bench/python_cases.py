# SPDX-License-Identifier: MIT
"""Owns the list of what bench_python.py measures, and the speed that is asked for.

The targets are the least ratios to the interpreter's own multiprocessing.
"""

from typing import List, NamedTuple, Optional, Tuple


class Case(NamedTuple):
    group: str
    work: str
    run: str  # a function of bench/python and its arguments
    unit: str  # "messages/s" or "tasks/s" for a rate, "us" or "ms" for a time
    first: int  # operations of the first, unmeasured run
    most: int  # operations at most
    target: Optional[float] = None
    peers: Tuple[str, ...] = ()
    needs_numpy: bool = False


FASTER_FIFO_TARGET = 1.0  # ahead of it


def _queues() -> List[Case]:
    def small(work: str, run: str, target: float, peers: Tuple[str, ...] = ()) -> Case:
        return Case("Queues", work, "channels." + run, "messages/s", 4000, 400000, target, peers)

    fifo = ("faster_fifo",)
    return [
        small("Queue, 1 puts, 1 gets, ints", "queue 1 1 int", 5, fifo),
        small("Queue, 1 puts, 1 gets, tuples", "queue 1 1 tuple", 5, fifo),
        small("Queue, 1 puts, 1 gets, bytes of 1 KiB", "queue 1 1 kilobyte", 5, fifo),
        small("Queue(1000), 1 puts, 1 gets, ints", "queue 1 1 int 1000", 5),
        small("put_many, get_many of 100 ints over put, get", "queue_many 1 1 int", 20, fifo),
        small("put_many, get_many of 100 tuples over put, get", "queue_many 1 1 tuple", 20, fifo),
        small("Queue, 4 put, 1 gets, tuples", "queue 4 1 tuple", 5, fifo),
        small("Queue, 1 puts, 4 get, tuples", "queue 1 4 tuple", 5, fifo),
        small("Queue, 4 put, 4 get, tuples", "queue 4 4 tuple", 5, fifo),
        Case("Queues", "SimpleQueue, put and get in one process", "channels.simple_queue int", "us",
             4000, 400000),
    ]


def _pipes() -> List[Case]:
    def small(work: str, run: str, unit: str, target: float, peers: Tuple[str, ...] = ()) -> Case:
        return Case("Pipes", work, "channels." + run, unit, 4000, 400000, target, peers)

    return [
        small("Pipe, one sends, one receives, ints", "pipe int", "messages/s", 5, ("mpi",)),
        small("Pipe, one sends, one receives, tuples", "pipe tuple", "messages/s", 5, ("mpi",)),
        small("Pipe(False), one sends, one receives, tuples", "pipe tuple 0", "messages/s", 5),
        small("Pipe, there and back, ints", "ping_pong int", "us", 3, ("mpi",)),
        small("Pipe, there and back, tuples", "ping_pong tuple", "us", 3, ("mpi",)),
    ]


def _arrays() -> List[Case]:
    cases = []
    for size, name, most in ((1000000, "1 MB", 200), (100000000, "100 MB", 4)):
        for way, run, peers in (
            ("Queue(2)", f"channels.queue 1 1 {size} 2", ()),
            ("Pipe", f"channels.pipe {size}", ("mpi",)),
            ("Pool(2).map, there and back", f"pools.map_arrays {size}", ("joblib",)),
        ):
            cases.append(Case("numpy arrays", f"array of {name} through {way}", run, "ms",
                              max(most // 10, 2), most, 5, peers, True))
    return cases


def _pools() -> List[Case]:
    def tasks(work: str, run: str, target: Optional[float]) -> Case:
        peers = () if "imap" in run else ("joblib",)
        return Case("Pools", work, "pools." + run, "tasks/s", 2000, 200000, target, peers)

    cases = [
        tasks("Pool(2).map, chunksize=1", "map 1", 10),
        tasks("Pool(2).imap_unordered, chunksize=1", "imap_unordered", 10),
        tasks("Pool(2).map, its own chunks", "map 0", None),
        Case("Pools", "Pool(2).apply, there and back", "pools.apply", "us", 500, 20000, None,
             ("joblib",)),
    ]
    for method, end, work in (
        ("fork", "close", "Pool(4), start and close, fork"),
        ("fork", "terminate", "Pool(4), start and terminate, fork"),
        ("fork", "tasks", "Pool(4), start, 4 tasks, close, fork"),
        ("forkserver", "tasks", "Pool(4), start, 4 tasks, close, forkserver"),
        ("spawn", "tasks", "Pool(4), start, 4 tasks, close, spawn"),
    ):
        cases.append(Case("Pools", work, f"starts.pool {method} {end}", "ms", 2, 50, 3))
    return cases


def _starts() -> List[Case]:
    return [
        Case("Processes", f"Process, start and join, {method}", f"starts.process {method}", "ms",
             first, 200, target)
        for method, first, target in (("fork", 20, 1.5), ("forkserver", 5, 4.0), ("spawn", 2, 2.0))
    ]


def _locks() -> List[Case]:
    cases = []
    for work, run in (
        ("Lock, acquire and release", "pair Lock"),
        ("Lock, with", "block Lock"),
        ("RLock, acquire and release", "pair RLock"),
        ("RLock, with", "block RLock"),
        ("Semaphore, acquire and release", "pair Semaphore"),
        ("Semaphore, with", "block Semaphore"),
        ("Event, set, is_set and clear", "event"),
        ("Event, wait for one that is set", "event_wait"),
        ("Value, read", "value_read"),
        ("Value, write", "value_write"),
        ("Value, += 1 under its lock", "value_add"),
    ):
        cases.append(Case("Locks and values", work, "locks." + run, "us", 5000, 3000000, 2))
    for work, run in (
        ("Array, read and write of an item", "array"),
        ("Condition, notify with nobody waiting", "notify"),
    ):
        cases.append(Case("Locks and values", work, "locks." + run, "us", 5000, 3000000))
    return cases


def _managers() -> List[Case]:
    group = "Managers and shared memory"
    return [
        Case(group, "Manager().dict(), set and get", "locks.managed_dict", "us", 300, 20000, 3),
        Case(group, "SharedMemory of 1 MB, create, close, unlink", "starts.shared_memory 1000000",
             "us", 200, 20000),
        Case(group, "SharedMemory of 1 MB, attach and close", "starts.shared_memory_attach 1000000",
             "us", 200, 20000),
    ]


def cases() -> List[Case]:
    return _queues() + _pipes() + _arrays() + _pools() + _starts() + _locks() + _managers()
