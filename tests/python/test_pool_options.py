# SPDX-License-Identifier: MIT
"""What the pool can do beyond the standard library's: retries, time limits, cancelling, memory limits."""

from __future__ import annotations

import os
import signal
import time

import pytest
import tasks
from conftest import Kind, until
from targets import WAIT


def setting(ours: Kind, **things):
    """What tasks are given by the initializer, and the pool's keywords for it."""
    things.update(calls=ours.ctx.Value("i", 0), running=ours.ctx.Semaphore(0), go=ours.ctx.Event())
    return things, {"initializer": tasks.initialize, "initargs": (things,)}


def finish(pool) -> None:
    assert pool.map(tasks.square, range(30), 1) == [x * x for x in range(30)]
    pool.close()
    pool.join()


# ---- retries --------------------------------------------------------------------------------------


def test_without_retries_a_task_runs_once(ours: Kind) -> None:
    things, keywords = setting(ours)
    with ours.ctx.Pool(2, **keywords) as pool:
        with pytest.raises(ours.package.WorkerDiedError):
            pool.apply_async(tasks.die_if_first, ("x",)).get(WAIT)
        finish(pool)
    assert things["calls"].value == 1


@pytest.mark.parametrize("where", ["pool", "call"])
def test_a_task_is_run_again_when_its_worker_dies(ours: Kind, where: str) -> None:
    things, keywords = setting(ours)
    of_pool, of_call = ({"retries": 2}, {}) if where == "pool" else ({}, {"retries": 2})
    with ours.ctx.Pool(2, **keywords, **of_pool) as pool:
        assert pool.apply_async(tasks.die_if_first, ("x", 2), **of_call).get(WAIT) == ("x", 3)
        things["calls"].value = 0
        assert pool.map(tasks.die_if_first, ["y"], **of_call) == [("y", 2)]
        things["calls"].value = 0
        assert pool.starmap_async(tasks.die_if_first, [("z", 1)], **of_call).get(WAIT) == [("z", 2)]
        things["calls"].value = 0
        assert list(pool.imap(tasks.die_if_first, ["i"], **of_call)) == [("i", 2)]
        things["calls"].value = 0
        with pytest.raises(ours.package.WorkerDiedError) as info:
            pool.apply_async(tasks.die_if_first, ("x", 100), **of_call).get(WAIT)
        assert info.value.exitcode == -9
        assert things["calls"].value == 3
        finish(pool)


def test_an_exception_is_not_tried_again(ours: Kind) -> None:
    things, keywords = setting(ours)
    with ours.ctx.Pool(1, retries=5, **keywords) as pool:
        with pytest.raises(ValueError, match="an ordinary exception"):
            pool.apply(tasks.count_and_fail)
        finish(pool)
    assert things["calls"].value == 1


# ---- time limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["hang", "spin"])
@pytest.mark.parametrize("where", ["pool", "call"])
def test_a_task_that_takes_too_long(ours: Kind, where: str, task: str) -> None:
    """Its worker is killed, it fails, and its neighbours do not."""
    of_pool, of_call = ({"timeout": 0.2}, {}) if where == "pool" else ({}, {"timeout": 0.2})
    with ours.ctx.Pool(2, **of_pool) as pool:
        before = pool.apply(tasks.getpid)
        begun = time.monotonic()
        bad = pool.apply_async(getattr(tasks, task), **of_call)
        good = [pool.apply_async(tasks.square, (x,)) for x in range(20)]
        with pytest.raises(ours.package.TimeoutError):
            bad.get(WAIT)
        assert time.monotonic() - begun >= 0.19
        assert bad.ready() and not bad.successful() and isinstance(before, int)
        assert [r.get(WAIT) for r in good] == [x * x for x in range(20)]
        finish(pool)


def test_the_limit_is_of_each_task(ours: Kind) -> None:
    """Waiting behind others does not count, and each task of a map has the whole time."""
    with ours.ctx.Pool(1, timeout=1.5) as pool:
        assert pool.map(time.sleep, [0.2] * 10, 5) == [None] * 10
        results = pool.imap(tasks.hang_or_square, [1, None, 3], timeout=0.3)
        assert results.next(WAIT) == 1
        with pytest.raises(ours.package.TimeoutError):
            results.next(WAIT)
        assert results.next(WAIT) == 9
        finish(pool)


def test_a_timeout_of_get_kills_nobody(ours: Kind) -> None:
    things, keywords = setting(ours)
    with ours.ctx.Pool(1, **keywords) as pool:
        result = pool.apply_async(tasks.announce)
        with pytest.raises(ours.package.TimeoutError):
            result.get(0.05)
        things["go"].set()
        assert isinstance(result.get(WAIT), int)
        finish(pool)


# ---- cancelling -----------------------------------------------------------------------------------


def test_what_has_not_begun_is_cancelled(ours: Kind) -> None:
    things, keywords = setting(ours)
    with ours.ctx.Pool(1, **keywords) as pool:
        busy = pool.apply_async(tasks.announce)
        assert things["running"].acquire(timeout=WAIT)
        waiting = [pool.apply_async(tasks.count_call, (n,)) for n in range(5)]
        mapped = pool.map_async(tasks.count_call, range(20), 4)
        assert waiting[1].cancel() and waiting[3].cancel() and mapped.cancel()
        for result in (waiting[1], waiting[3], mapped):
            with pytest.raises(Exception, match="(?i)cancel"):
                result.get(WAIT)
            assert not result.successful()
        things["go"].set()
        assert isinstance(busy.get(WAIT), int)
        assert [waiting[n].get(WAIT) for n in (0, 2, 4)] == [0, 2, 4]
        finish(pool)
    assert things["calls"].value == 3


def test_what_is_done_cannot_be_cancelled(ours: Kind) -> None:
    with ours.ctx.Pool(1) as pool:
        result = pool.apply_async(tasks.square, (3,))
        assert result.get(WAIT) == 9
        assert not result.cancel()
        assert result.get(WAIT) == 9 and result.successful()
        finish(pool)


def test_a_running_task_is_cancelled(ours: Kind) -> None:
    """It ends, by an interruption or with its worker, and the pool goes on."""
    things, keywords = setting(ours)
    with ours.ctx.Pool(1, **keywords) as pool:
        result = pool.apply_async(tasks.announce_and_hang)
        assert things["running"].acquire(timeout=WAIT)
        result.cancel()
        with pytest.raises(Exception) as info:
            result.get(WAIT)
        assert not isinstance(info.value, ours.package.TimeoutError)
        finish(pool)


def test_a_running_task_is_cancelled_where_interruptions_are_ignored(ours: Kind) -> None:
    """As a shell has it for programs in the background; an interruption without a reason stays ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        test_a_running_task_is_cancelled(ours)
        if ours.method == "forkserver":  # whose server may be older than this
            return
        with ours.ctx.Pool(1) as pool:
            pid = pool.apply(os.getpid)
            result = pool.apply_async(time.sleep, (0.2,))
            os.kill(pid, signal.SIGINT)
            assert result.get(WAIT) is None and pool.apply(os.getpid) == pid
            finish(pool)
    finally:
        signal.signal(signal.SIGINT, before)


# ---- the rest -------------------------------------------------------------------------------------


def test_a_worker_that_uses_too_much_memory_is_replaced(ours: Kind) -> None:
    with ours.ctx.Pool(1, max_memory=2**40) as pool:
        pids = pool.map(tasks.eat, [2**20] * 5, 1)
        assert len(set(pids)) == 1
        pool.close()
        pool.join()
    with ours.ctx.Pool(1, max_memory=2**20) as pool:
        pids = pool.map(tasks.eat, [2**22] * 5, 1)
        assert len(pids) == 5 and len(set(pids)) > 1
        finish(pool)


def test_the_name_of_the_workers(ours: Kind) -> None:
    with ours.ctx.Pool(1, name="Baker") as pool:
        assert pool.apply(tasks.process_name, ("multiproc",))[0].startswith("Baker")
        finish(pool)


def test_unknown_options_are_refused(ours: Kind) -> None:
    with pytest.raises(TypeError):
        ours.ctx.Pool(1, nonsense=1)
    with ours.ctx.Pool(1) as pool:
        for call in (pool.apply_async, lambda f, x, **o: pool.map(f, x, **o)):
            with pytest.raises(TypeError):
                call(tasks.square, (1,), nonsense=1)
        finish(pool)


def test_an_initializer_that_fails_breaks_the_pool(ours: Kind) -> None:
    """Nobody waits for ever for workers that cannot be."""
    pool = None
    with pytest.raises(Exception) as info:
        pool = ours.ctx.Pool(1, tasks.fail, ("no worker",))
        pool.apply_async(tasks.square, (1,)).get(WAIT)
    assert not isinstance(info.value, ours.package.TimeoutError)
    if pool is not None:
        pool.terminate()
        pool.join()


def test_a_pool_with_dead_workers_is_closed(ours: Kind) -> None:
    """close() and join() end although tasks died."""
    pool = ours.ctx.Pool(2)
    results = [pool.apply_async(tasks.die, ("kill",)) for _ in range(4)]
    pool.close()
    pool.join()
    assert until(lambda: all(r.ready() for r in results))
    for result in results:
        with pytest.raises(ours.package.WorkerDiedError):
            result.get(WAIT)
