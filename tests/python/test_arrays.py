# SPDX-License-Identifier: MIT
"""Arrays of numpy through queues, pipes and pools, many of them with few descriptors."""

from __future__ import annotations

import gc
import os
import resource

import pytest
import targets
import tasks
from conftest import Kind, join, until
from targets import WAIT

np = pytest.importorskip("numpy")

SIZES = [1_000_000, 100_000_000]


def array(size: int):
    return np.arange(size // 8, dtype=np.float64)


def equal(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


@pytest.mark.parametrize("size", SIZES)
def test_through_a_queue(ours: Kind, size: int) -> None:
    source, sink, a = ours.ctx.Queue(), ours.ctx.Queue(), array(size)
    p = ours.start(targets.echo_queue, source, sink)
    source.put(a)
    assert equal(sink.get(timeout=WAIT), a)
    source.put({"a": a[:1000], "b": a})
    got = sink.get(timeout=WAIT)
    assert equal(got["a"], a[:1000]) and equal(got["b"], a)
    source.put(None)
    join(p)


@pytest.mark.parametrize("size", SIZES)
def test_through_a_pipe(ours: Kind, size: int) -> None:
    (here, there), a = ours.ctx.Pipe(), array(size)
    p = ours.start(targets.echo_connection, there)
    here.send(a)
    assert equal(here.recv(), a)
    here.send("stop")
    join(p)
    here.close()
    there.close()


@pytest.mark.parametrize("size", SIZES)
def test_through_a_pool(ours: Kind, size: int) -> None:
    a = array(size)
    with ours.ctx.Pool(2) as pool:
        for got in pool.map(tasks.add_arrays, [a, a], 1):
            assert equal(got, a + 1)
        pool.close()
        pool.join()


def test_shapes_and_types(mp: Kind) -> None:
    arrays = [
        np.zeros((3, 40_000), order="F"), np.arange(100_000)[::3], np.array([], dtype="i4"),
        np.array(["text", None], dtype=object), np.zeros((2, 0, 3)), np.float32(1.5),
        np.zeros(50_000, dtype=[("a", "i4"), ("b", "f8")]), np.ones((300, 300)).T[1:, ::-1],
        np.arange(70_000, dtype=">i4"), np.zeros(20_000, dtype="M8[s]"),
    ]
    source, sink = mp.ctx.Queue(), mp.ctx.Queue()
    p = mp.start(targets.echo_queue, source, sink)
    for a in arrays:
        source.put(a)
        got = sink.get(timeout=WAIT)
        assert got.dtype == a.dtype or mp.stock  # where numpy forgets the order of bytes
        assert got.shape == a.shape and (got == a).all()
    source.put(None)
    join(p)
    for q in (source, sink):
        q.close()
        q.join_thread()


def test_a_received_array_is_its_owners(ours: Kind) -> None:
    """It does not change when the sender changes the original, nor with the next one received."""
    q, a = ours.ctx.Queue(), array(1_000_000)
    q.put(a)
    a[:] = -1
    q.put(a)
    first, second = q.get(timeout=WAIT), q.get(timeout=WAIT)
    assert first[10] == 10 and second[10] == -1
    first = first if first.flags.writeable else first.copy()
    first[10] = 5
    assert second[10] == -1 and a[10] == -1
    del first
    gc.collect()
    q.put(np.full_like(a, 7))
    assert second[10] == -1 and q.get(timeout=WAIT)[10] == 7


def test_memory_comes_back(ours: Kind) -> None:
    """Twenty times 100 MB, one after the other, use the memory of a few."""
    q, a = ours.ctx.Queue(), array(SIZES[1])
    most = []
    for _ in range(20):
        q.put(a)
        got = q.get(timeout=WAIT)
        assert got[-1] == a[-1]
        del got
        most.append(shared_memory_in_use())
    assert until(lambda: shared_memory_in_use() < 500_000_000)
    assert max(most) < 1_000_000_000


def shared_memory_in_use() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("Shmem:")]
    own = int(lines[0][1]) * 1024
    with open("/proc/self/status", encoding="ascii") as file:
        mapped = [line.split() for line in file if line.startswith("RssShmem:")]
    return min(own, int(mapped[0][1]) * 1024)


def test_many_in_flight_with_few_descriptors(ours: Kind) -> None:
    """1,000 arrays of 64 KiB in one queue, when a process may have few descriptors."""
    q = ours.ctx.Queue()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(64, highest + 8), hard))
    try:
        for n in range(1000):
            q.put(np.full(8192, n, dtype=np.float64))
        assert q.qsize() == 1000
        held = [q.get(timeout=WAIT) for _ in range(1000)]
        assert [int(a[n]) for n, a in enumerate(held)] == list(range(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    p = ours.start(targets.put_all, q, held[:200])
    assert [int(q.get(timeout=WAIT)[0]) for _ in range(200)] == list(range(200))
    join(p)
