# SPDX-License-Identifier: MIT
"""Pools, managers and executors, as both packages must have them."""

from __future__ import annotations

import concurrent.futures
import pickle
import threading
import time

import pytest
import subclasses
import tasks
from conftest import Kind, join
from queue import Empty
from targets import WAIT


def kept(mp: Kind, workers: int, **things) -> dict:
    """What a pool's workers need for tasks that announce themselves, as keywords of Pool."""
    things.setdefault("running", mp.ctx.Semaphore(0))
    things.setdefault("go", mp.ctx.Event())
    return {"processes": workers, "initializer": tasks.initialize, "initargs": (things,)}


# ---- pools ----------------------------------------------------------------------------------------


def test_all_calls(mp: Kind) -> None:
    numbers, squares = range(50), [x * x for x in range(50)]
    with mp.ctx.Pool(2) as pool:
        assert pool.apply(tasks.add, (1,), {"c": 3}) == 4
        assert pool.apply_async(tasks.add, (1, 2), dict(c=3)).get(WAIT) == 6
        for chunk in (None, 1, 7, 100):
            assert pool.map(tasks.square, numbers, chunk) == squares
            assert pool.starmap(tasks.add, zip(numbers, numbers), chunk) == [2 * x for x in numbers]
            assert pool.map_async(tasks.square, iter(numbers), chunk).get(WAIT) == squares
        assert pool.starmap_async(tasks.add, [(1, 2)]).get(WAIT) == [3]
        for chunk in (1, 7, 100):
            assert list(pool.imap(tasks.square, numbers, chunk)) == squares
            assert sorted(pool.imap_unordered(tasks.square, numbers, chunk)) == squares
        for empty in (pool.map, lambda *a: list(pool.imap(*a)), pool.starmap):
            assert empty(tasks.square, []) == []
        assert pool.map(tasks.identity, [None, "x", b"y", [1]]) == [None, "x", b"y", [1]]
        with pytest.raises(ValueError):
            pool.imap(tasks.square, numbers, 0)
        pool.close()
        pool.join()


def test_exceptions_come_back(mp: Kind) -> None:
    with mp.ctx.Pool(2) as pool:
        with pytest.raises(ValueError, match="^on purpose$") as info:
            pool.apply(tasks.fail, ("on purpose",))
        assert "in fail" in str(info.value.__cause__) and "ValueError" in str(info.value.__cause__)
        with pytest.raises(KeyError, match="bad: 3"):
            pool.starmap(tasks.fail_on, [(x, 3) for x in range(9)])
        with pytest.raises(KeyError, match="bad: 3"):
            pool.starmap_async(tasks.fail_on, [(x, 3) for x in range(9)], 1).get(WAIT)
        with pytest.raises(TypeError):
            pool.apply(tasks.square, (1, 2, 3))
        with pytest.raises(LookupError, match="the input is broken"):
            pool.map(tasks.square, tasks.numbers_then_error(3))
        results = pool.imap(tasks.die_or_fail, [0, "x", 2])
        assert next(results) == 0
        with pytest.raises(ValueError):
            next(results)
        assert next(results) == 4
        with pytest.raises(StopIteration):
            next(results)
        results = pool.imap(tasks.square, tasks.numbers_then_error(2))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(LookupError):
            next(results)
        assert pool.map(tasks.square, [3]) == [9]
        pool.close()
        pool.join()


def test_what_cannot_travel(mp: Kind) -> None:
    with mp.ctx.Pool(1) as pool:
        with pytest.raises(mp.module("pool").MaybeEncodingError):
            pool.apply(tasks.unpicklable)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pool.apply_async(tasks.square, (threading.Lock(),)).get(WAIT)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pool.map_async(lambda x: x, [1, 2]).get(WAIT)
        assert pool.apply(tasks.square, (3,)) == 9
        with pytest.raises(NotImplementedError):
            pickle.dumps(pool)
        pool.close()
        pool.join()


def test_results_are_told(mp: Kind) -> None:
    """By callbacks, in a thread; a result knows whether it is there and whether it is good."""
    options = kept(mp, 1)
    running, go = options["initargs"][0]["running"], options["initargs"][0]["go"]
    done, told = threading.Semaphore(0), []

    def tell(value) -> None:
        told.append(value)
        done.release()

    with mp.ctx.Pool(**options) as pool:
        result = pool.apply_async(tasks.announce)
        assert running.acquire(timeout=WAIT)
        assert not result.ready()
        with pytest.raises(ValueError):
            result.successful()
        result.wait(0.01)
        with pytest.raises(mp.package.TimeoutError):
            result.get(0.01)
        go.set()
        result.wait(WAIT)
        assert result.ready() and result.successful()
        pool.apply_async(tasks.square, (3,), callback=tell)
        assert done.acquire(timeout=WAIT)
        pool.map_async(tasks.square, [1, 2], callback=tell)
        assert done.acquire(timeout=WAIT)
        failed = pool.apply_async(tasks.fail, ("x",), callback=tell, error_callback=tell)
        assert done.acquire(timeout=WAIT)
        failed.wait(WAIT)
        assert failed.ready() and not failed.successful()
        pool.starmap_async(tasks.fail_on, [(1, 1)], callback=tell, error_callback=tell)
        assert done.acquire(timeout=WAIT)
        pool.close()
        pool.join()
    assert told[:2] == [9, [1, 4]]
    assert [type(e) for e in told[2:]] == [ValueError, KeyError]


def test_order_of_imap(mp: Kind) -> None:
    """imap gives in the order of the input, imap_unordered what is there first; neither waits for all."""
    options = kept(mp, 2)
    go = options["initargs"][0]["go"]
    with mp.ctx.Pool(**options) as pool:
        results = pool.imap(tasks.wait_or_pass, [None, "go", None])
        assert results.next(WAIT) is None
        with pytest.raises(mp.package.TimeoutError):
            results.next(timeout=0.05)
        go.set()
        assert [results.next(WAIT), next(results)] == ["go", None]
        go.clear()
        results = pool.imap_unordered(tasks.wait_or_pass, ["go", None, None])
        assert [results.next(WAIT), results.next(WAIT)] == [None, None]
        with pytest.raises(mp.package.TimeoutError):
            results.next(0.05)
        go.set()
        assert list(results) == ["go"]
        pool.close()
        pool.join()


def test_workers(mp: Kind) -> None:
    """They run at once, are daemons, and are replaced after so many tasks."""
    options = kept(mp, 3)
    running, go = options["initargs"][0]["running"], options["initargs"][0]["go"]
    with mp.ctx.Pool(**options) as pool:
        results = [pool.apply_async(tasks.announce) for _ in range(3)]
        for _ in results:
            assert running.acquire(timeout=WAIT)
        go.set()
        assert len({r.get(WAIT) for r in results}) == 3
        name, daemon = pool.apply(tasks.process_name, (mp.name,))
        assert daemon and "Worker" in name
        pool.close()
        pool.join()
    with mp.ctx.Pool(2, maxtasksperchild=2) as pool:
        pids = pool.map(tasks.getpid, range(8), 1)
        pool.close()
        pool.join()
    assert len(set(pids)) >= 4 and max(pids.count(pid) for pid in pids) <= 2


def test_wrong_arguments(mp: Kind) -> None:
    for options in (dict(processes=0), dict(processes=-1), dict(processes=1, maxtasksperchild=0)):
        with pytest.raises(ValueError):
            mp.ctx.Pool(**options)
    with pytest.raises(TypeError):
        mp.ctx.Pool(1, initializer=5)


def test_the_end_of_a_pool(mp: Kind) -> None:
    pool = mp.ctx.Pool(1, tasks.initialize, ({"x": 5},))
    assert pool.apply(tasks.get_kept, ("x",)) == 5
    with pytest.raises(ValueError):
        pool.join()
    last = pool.map_async(tasks.square, range(100), 1)
    pool.close()
    with pytest.raises(ValueError):
        pool.apply(tasks.square, (1,))
    with pytest.raises(ValueError):
        pool.map_async(tasks.square, [1])
    pool.join()
    assert last.get(WAIT) == [x * x for x in range(100)]
    pool.terminate()
    pool.join()


def test_terminate_does_not_wait(mp: Kind) -> None:
    options = kept(mp, 2)
    running = options["initargs"][0]["running"]
    pool = mp.ctx.Pool(**options)
    for _ in range(5):
        pool.apply_async(tasks.announce_and_hang)
    assert running.acquire(timeout=WAIT) and running.acquire(timeout=WAIT)
    begun = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - begun < WAIT / 2
    with mp.ctx.Pool(**options) as pool:
        pool.apply_async(tasks.announce_and_hang)
        assert running.acquire(timeout=WAIT)
    with pytest.raises(ValueError):
        pool.apply(tasks.square, (1,))
    pool.join()


def test_many_tasks_by_many_threads(mp: Kind) -> None:
    got: dict = {}

    def use(n: int) -> None:
        got[n] = [pool.map(tasks.square, range(n, n + 100), 5), pool.apply(tasks.square, (n,)),
                  list(pool.imap(tasks.square, range(n), 3))]

    with mp.ctx.Pool(2) as pool:
        threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(WAIT)
        assert pool.map(tasks.square, range(5000)) == [x * x for x in range(5000)]
        pool.close()
        pool.join()
    for n in range(4):
        assert got[n] == [[x * x for x in range(n, n + 100)], n * n, [x * x for x in range(n)]]


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
def test_large_arguments_and_results(mp: Kind, size: int) -> None:
    data = [bytes([i]) * size for i in range(4)]
    with mp.ctx.Pool(2) as pool:
        assert pool.map(tasks.identity, data, 1) == data
        pool.close()
        pool.join()


def test_a_pool_of_threads(mp: Kind) -> None:
    if mp.method != "fork":
        return
    with mp.module("pool").ThreadPool(2) as pool:
        assert pool.map(tasks.square, range(9)) == [x * x for x in range(9)]
        assert sorted(pool.imap_unordered(lambda x: -x, [1, 2])) == [-2, -1]
        with pytest.raises(ValueError):
            pool.apply(tasks.fail, ("x",))


# ---- managers -------------------------------------------------------------------------------------


def test_objects_of_a_manager(mp: Kind) -> None:
    with mp.ctx.Manager() as manager:
        d, numbers, ns = manager.dict(a=1), manager.list([1, 2]), manager.Namespace(x=1)
        ps = [mp.start(tasks.change_dict, d, i, [i]) for i in range(2)]
        ps.append(mp.start(tasks.append_all, numbers, [3, "x"]))
        join(*ps)
        assert d.copy() == {"a": 1, 0: [0], 1: [1]} and len(d) == 3 and "a" in d
        assert sorted(map(str, d.keys())) == ["0", "1", "a"] and d.pop("a") == 1
        assert numbers[:] == [1, 2, 3, "x"] and numbers[-1] == "x" and len(numbers) == 4
        numbers[0] = 5
        numbers += [6]
        assert list(numbers) == [5, 2, 3, "x", 6]
        ns.y = [2]
        assert (ns.x, ns.y) == (1, [2])
        with pytest.raises(AttributeError):
            ns.z
        with pytest.raises(KeyError, match="missing"):
            d["missing"]
        d["nested"] = manager.list([1])
        d["nested"].append(2)
        assert list(d["nested"]) == [1, 2]
        assert "1" in str(manager.list([1])) and "Proxy" in repr(d)
        value, array = manager.Value("i", 5), manager.Array("i", [1, 2])
        value.value += 1
        array[0] = 7
        assert (value.value, list(array[:])) == (6, [7, 2])


def test_synchronisation_by_a_manager(mp: Kind) -> None:
    with mp.ctx.Manager() as manager:
        q, lock, event, barrier = (
            manager.Queue(1), manager.Lock(), manager.Event(), manager.Barrier(1))
        q.put("x")
        assert q.full() and q.get(timeout=WAIT) == "x" and q.empty()
        with pytest.raises(Empty):
            q.get_nowait()
        with lock:
            assert lock.acquire(False) is False
        event.set()
        assert event.is_set() and event.wait(WAIT) and barrier.wait(WAIT) == 0
        cond, sem = manager.Condition(), manager.BoundedSemaphore(1)
        with cond:
            assert cond.wait(0.01) is False
            cond.notify_all()
        with sem:
            assert sem.acquire(False) is False
        with pytest.raises(ValueError):
            sem.release()


def test_a_client_of_a_manager_ends_and_leaves_its_lock(mp: Kind) -> None:
    """A lock of a manager may be released by another process, also after the one that took it has ended in
    order; and the connections of those that go on stay as they are."""
    with mp.ctx.Manager() as manager:
        lock, other, numbers = manager.Lock(), manager.Lock(), manager.list()
        for n in range(3):
            join(mp.start(tasks.take, lock, numbers))
            join(mp.start(tasks.take_the_only, other))
            assert lock.acquire(False) is False and other.acquire(False) is False
            lock.release()
            other.release()
            with pytest.raises(RuntimeError):
                lock.release()
            assert list(numbers) == ["taken"] * (n + 1)


def test_registered_classes(mp: Kind) -> None:
    own = subclasses.make(mp.name, "manager")
    assert not hasattr(own, "hidden")
    manager = own(ctx=mp.ctx)
    manager.start(tasks.initialize, ({},))
    try:
        counter, lock = manager.Counter(5), manager.Lock()
        join(*[mp.start(tasks.up_many, counter, lock, 20) for _ in range(2)])
        assert counter.get() == 45 and counter.up(by=5) == 50
        with pytest.raises(KeyError, match="in the server"):
            counter.fail()
        with pytest.raises(AttributeError):
            counter.number
        parts = counter.parts()
        parts.append(4)
        assert list(parts) == [1, 2, 3, 4]
    finally:
        manager.shutdown()


def test_a_manager_by_its_address(mp: Kind) -> None:
    managers = mp.module("managers")

    class Remote(managers.BaseManager):
        pass

    Remote.register("get_counter")
    served = subclasses.make(mp.name, "manager")(("127.0.0.1", 0), authkey=b"key", ctx=mp.ctx)
    served.start()
    try:
        remote = Remote(served.address, authkey=b"key")
        remote.connect()
        assert remote.get_counter().up() == 1 and remote.get_counter().up() == 2
        with pytest.raises(mp.package.AuthenticationError):
            Remote(served.address, authkey=b"wrong").connect()
        assert served.get_counter().get() == 2
    finally:
        served.shutdown()
    with pytest.raises((ConnectionError, OSError)):
        Remote(served.address, authkey=b"key").connect()


# ---- executors ------------------------------------------------------------------------------------


def test_an_executor(mp: Kind) -> None:
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=mp.ctx) as executor:
        assert list(executor.map(tasks.square, range(50), chunksize=7)) == [x * x for x in range(50)]
        futures = [executor.submit(tasks.square, x) for x in range(10)]
        done = concurrent.futures.as_completed(futures, WAIT)
        assert sorted(f.result(WAIT) for f in done) == [x * x for x in range(10)]
        with pytest.raises(ValueError, match="on purpose") as info:
            executor.submit(tasks.fail, "on purpose").result(WAIT)
        assert "in fail" in str(info.value.__cause__)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            executor.submit(lambda: 1).result(WAIT)
        assert executor.submit(tasks.square, 3).result(WAIT) == 9


def test_a_broken_executor(mp: Kind) -> None:
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=mp.ctx) as executor:
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(tasks.die, "kill").result(WAIT)
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(tasks.square, 1)
