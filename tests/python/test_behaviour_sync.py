# SPDX-License-Identifier: MIT
"""Locks and their relatives, shared values and named shared memory, as both packages must have them."""

from __future__ import annotations

import ctypes
import threading
import time

import pytest
import targets
from conftest import Kind, join, until
from targets import WAIT


def tries(mp: Kind, obj, method, *args):
    """What a method gives in another process."""
    receiver, sender = mp.ctx.Pipe(False)
    p = mp.start(targets.try_to, obj, method, sender, *args)
    try:
        return receiver.recv()
    finally:
        join(p)
        receiver.close()
        sender.close()


# ---- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_a_lock_that_another_process_holds(mp: Kind, name: str) -> None:
    lock, held, release = getattr(mp.ctx, name)(), mp.ctx.Event(), mp.ctx.Event()
    p = mp.start(targets.hold, lock, held, release)
    assert held.wait(WAIT)
    assert lock.acquire(False) is False and lock.acquire(block=False) is False
    assert lock.acquire(timeout=-1) is False
    begun = time.monotonic()
    assert lock.acquire(timeout=0.05) is False
    assert time.monotonic() - begun >= 0.049
    if name == "RLock":
        with pytest.raises(AssertionError):
            lock.release()
    release.set()
    assert lock.acquire(timeout=WAIT) is True
    lock.release()
    join(p)


def test_a_lock(mp: Kind) -> None:
    lock = mp.ctx.Lock()
    with pytest.raises(ValueError):
        lock.release()
    with lock as entered:
        assert entered is True
        assert "MainProcess" in repr(lock) or mp.package.current_process().name in repr(lock)
        assert lock.acquire(False) is False
    assert "None" in repr(lock)
    assert lock.acquire() is True
    join(mp.start(targets.release_it, lock))
    assert lock.acquire(timeout=WAIT) is True
    lock.release()
    with pytest.raises(RuntimeError):
        mp.module("reduction").ForkingPickler.dumps(lock)


def test_a_recursive_lock(mp: Kind) -> None:
    lock = mp.ctx.RLock()
    with pytest.raises(AssertionError):
        lock.release()
    for _ in range(3):
        assert lock.acquire() is True
    assert ", 3)" in repr(lock)
    for _ in range(3):
        assert lock.acquire(False) is True
        lock.release()
        lock.release()
    with pytest.raises(AssertionError):
        lock.release()


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_exclusion(mp: Kind, name: str) -> None:
    lock, value = getattr(mp.ctx, name)(), mp.ctx.Value("i", 0, lock=False)
    counters = [mp.start(targets.count_up, lock, value, 500) for _ in range(2)]
    targets.count_up(lock, value, 500)
    join(*counters)
    assert value.value == 1500


def test_threads_exclude_each_other(mp: Kind) -> None:
    lock, value = mp.ctx.RLock(), mp.ctx.Value("i", 0, lock=False)
    threads = [threading.Thread(target=targets.count_up, args=(lock, value, 300)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(WAIT)
    assert value.value == 1200


def test_semaphores(mp: Kind) -> None:
    s = mp.ctx.Semaphore(2)
    assert s.get_value() == 2
    assert s.acquire() and s.acquire(False) and not s.acquire(False)
    assert s.get_value() == 0 and tries(mp, s, "acquire", True, 0.05) is False
    join(mp.start(targets.release_it, s))
    assert s.acquire(timeout=WAIT)
    for _ in range(5):
        s.release()
    assert s.get_value() == 5
    b = mp.ctx.BoundedSemaphore(2)
    with b:
        assert b.get_value() == 1
    with pytest.raises(ValueError):
        b.release()
    assert tries(mp, b, "release") == "ValueError"
    with pytest.raises((ValueError, OSError)):
        mp.ctx.Semaphore(-1)


def test_a_condition_wakes_as_many_as_it_says(mp: Kind) -> None:
    cond, sleeping, woken = mp.ctx.Condition(), mp.ctx.Semaphore(0), mp.ctx.Semaphore(0)
    ps = [mp.start(targets.sleep_on, cond, sleeping, woken) for _ in range(3)]
    for _ in ps:
        assert sleeping.acquire(timeout=WAIT)
    with cond:
        cond.notify()
    assert woken.acquire(timeout=WAIT)
    assert not woken.acquire(timeout=0.1)
    with cond:
        cond.notify(1)
    assert woken.acquire(timeout=WAIT)
    assert not woken.acquire(timeout=0.1)
    with cond:
        cond.notify_all()
    assert woken.acquire(timeout=WAIT)
    join(*ps)


def test_a_condition(mp: Kind) -> None:
    cond, value = mp.ctx.Condition(), mp.ctx.Value("i", 0)
    for use in (cond.wait, cond.notify, cond.notify_all):
        with pytest.raises(AssertionError):
            use()
    with cond:
        begun = time.monotonic()
        assert cond.wait(0.05) is False
        assert time.monotonic() - begun >= 0.049
        assert cond.wait_for(lambda: False, 0.05) is False
        assert cond.wait_for(lambda: "true") == "true"
    receiver, sender = mp.ctx.Pipe(False)
    p = mp.start(targets.wait_until_positive, cond, value, sender)
    for i in range(5):
        with cond:
            value.value = i
            cond.notify_all()
    assert receiver.recv() is True
    join(p)
    own = mp.ctx.RLock()
    with mp.ctx.Condition(own):
        assert tries(mp, own, "acquire", False) is False


def test_an_event(mp: Kind) -> None:
    e = mp.ctx.Event()
    assert not e.is_set()
    begun = time.monotonic()
    assert e.wait(0.05) is False
    assert time.monotonic() - begun >= 0.049
    assert e.wait(0) is False and tries(mp, e, "is_set") is False
    waiters = [mp.start(targets.wait_for, e) for _ in range(2)]
    join(mp.start(e.set))
    join(*waiters)
    assert e.is_set() and e.wait() is True and e.wait(0) is True
    e.set()
    e.clear()
    assert not e.is_set() and e.wait(0.01) is False


def test_a_barrier(mp: Kind) -> None:
    barrier = mp.ctx.Barrier(3)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
    pipes = [mp.ctx.Pipe(False) for _ in range(2)]
    ps = [mp.start(targets.meet, barrier, 5, sender) for _, sender in pipes]
    rounds = [[barrier.wait(WAIT) for _ in range(5)]] + [r.recv() for r, _ in pipes]
    join(*ps)
    for numbers in zip(*rounds):
        assert sorted(numbers) == [0, 1, 2]
    assert barrier.n_waiting == 0


def test_a_broken_barrier(mp: Kind) -> None:
    barrier = mp.ctx.Barrier(2)
    receiver, sender = mp.ctx.Pipe(False)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(WAIT)
    barrier.reset()
    assert not barrier.broken
    p = mp.start(targets.meet, barrier, 1, sender)
    assert until(lambda: barrier.n_waiting == 1)
    barrier.abort()
    assert receiver.recv() == "broken"
    join(p)
    barrier.reset()
    p = mp.start(targets.meet, barrier, 1, sender)
    assert barrier.wait(WAIT) in (0, 1)
    assert receiver.recv() in ([0], [1])
    join(p)


def test_the_action_of_a_barrier(mp: Kind) -> None:
    calls: list = []
    barrier = mp.ctx.Barrier(1, lambda: calls.append(1))
    assert [barrier.wait(WAIT), barrier.wait(WAIT)] == [0, 0]
    assert calls == [1, 1]

    def fail() -> None:
        raise KeyError

    barrier = mp.ctx.Barrier(1, fail)
    with pytest.raises(KeyError):
        barrier.wait(WAIT)
    assert barrier.broken


# ---- shared values --------------------------------------------------------------------------------


def test_values(mp: Kind) -> None:
    for code, new in [("i", -7), ("d", 1.5), ("c", b"x"), (ctypes.c_uint64, 2**63), ("b", -128)]:
        value = mp.ctx.Value(code)
        join(mp.start(targets.set_value, value, new))
        assert value.value == new
    value = mp.ctx.Value("i", 0)
    ps = [mp.start(targets.count_up, value.get_lock(), value, 300) for _ in range(2)]
    join(*ps)
    assert value.value == 600
    lock = mp.ctx.Lock()
    assert mp.ctx.Value("i", 1, lock=lock).get_lock() is lock
    raw = mp.ctx.RawValue("i", 5)
    join(mp.start(targets.set_value, raw, 6))
    assert raw.value == 6 and not hasattr(raw, "get_lock")
    with pytest.raises((AttributeError, TypeError)):
        mp.ctx.Value("i", lock="no lock")


def test_arrays(mp: Kind) -> None:
    array = mp.ctx.Array("i", range(10))
    join(mp.start(targets.double_all, array))
    assert array[:] == [2 * i for i in range(10)] and len(array) == 10
    array[2:4] = [0, 1]
    assert array[1:5] == [2, 0, 1, 8] and list(array)[-1] == array[-1] == 18
    zeros = mp.ctx.Array("d", 1000)
    assert set(zeros[:]) == {0.0}
    text = mp.ctx.Array("c", b"hello")
    assert text.value == b"hello" and text.raw == b"hello"
    text.value = b"bye"
    assert text.raw == b"bye\0o"
    raw = mp.ctx.RawArray("i", [1, 2])
    assert raw[:] == [1, 2]
    with pytest.raises(IndexError):
        array[10]


def test_structures(mp: Kind) -> None:
    points = mp.ctx.Array(targets.Point, [(1, 1.5), (2, 2.5)])
    join(mp.start(targets.move_points, points))
    assert [(p.x, p.y) for p in points] == [(2, 3.0), (3, 5.0)]
    module = mp.module("sharedctypes")
    copy = module.copy(points.get_obj()[0])
    copy.x = 100
    assert points[0].x == 2
    synchronized = module.synchronized(copy)
    with synchronized.get_lock():
        assert synchronized.x == 100


def test_named_shared_memory(mp: Kind) -> None:
    module = mp.module("shared_memory")
    shm = module.SharedMemory(create=True, size=1000)
    try:
        assert shm.size >= 1000 and bytes(shm.buf[:1000]) == bytes(1000)
        join(mp.start(targets.write_shared, mp.name, shm.name, 10, b"by the child"))
        assert bytes(shm.buf[10:22]) == b"by the child"
        again = module.SharedMemory(shm.name)
        again.buf[0] = 7
        assert shm.buf[0] == 7
        again.close()
        with pytest.raises(FileExistsError):
            module.SharedMemory(shm.name, create=True, size=1)
        with pytest.raises(ValueError):
            module.SharedMemory(create=True, size=0)
    finally:
        shm.close()
        shm.unlink()
    with pytest.raises(FileNotFoundError):
        module.SharedMemory(shm.name)


def test_a_shareable_list(mp: Kind) -> None:
    shared = mp.module("shared_memory").ShareableList(["text....", 41, None, True, 1.5, b"x"])
    try:
        join(mp.start(targets.change_list, shared))
        assert list(shared) == ["longer?", 42, None, True, 1.5, b"x"]
        assert (len(shared), shared.index(None), shared.count(42)) == (6, 2, 1)
        with pytest.raises(ValueError):
            shared[0] = "much longer than what was there"
        with pytest.raises(IndexError):
            shared[6]
    finally:
        shared.shm.close()
        shared.shm.unlink()
