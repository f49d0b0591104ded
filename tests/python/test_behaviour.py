# SPDX-License-Identifier: MIT
"""Processes, as the standard library and this package must both have them, under each start method.

A case in which the standard library itself is known to be wrong is left out for it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time

import pytest
import subclasses
import targets
from conftest import Kind, join
from targets import WAIT


def test_what_a_process_is_told(mp: Kind) -> None:
    receiver, sender = mp.ctx.Pipe(False)
    p = mp.ctx.Process(
        target=targets.describe, args=(mp.name, sender, 1, [2]), kwargs={"k": {"v": 3}}, name="Ann"
    )
    assert p.exitcode is None and p.pid is None and not p.is_alive()
    assert "initial" in repr(p) and "Ann" in repr(p)
    p.start()
    sender.close()
    told = receiver.recv()
    join(p)
    assert (told["args"], told["kwargs"]) == ((1, [2]), {"k": {"v": 3}})
    assert told["pid"] == told["getpid"] == p.pid == p.ident
    assert (told["name"], told["daemon"], told["children"], told["stdin"]) == ("Ann", False, 0, "")
    assert (told["parent"], told["parent alive"]) == (os.getpid(), True)
    assert told["parent name"] == mp.package.current_process().name
    assert told["method"] in (mp.method, None) or mp.method == "fork"
    assert (told["argv"], told["cwd"]) == (sys.argv, os.getcwd())
    assert told["authkey"] == bytes(mp.package.current_process().authkey)
    assert set(sys.path) - set(told["path"]) <= {""}
    assert "stopped" in repr(p) and "exitcode=0" in repr(p)
    receiver.close()


def test_default_names_count_up(mp: Kind) -> None:
    numbers = []
    for _ in range(3):
        name = mp.ctx.Process(target=int).name
        numbers.append(int(re.fullmatch(r".*Process-(?:\d+:)*(\d+)", name)[1]))
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_exit_codes(mp: Kind) -> None:
    expected = {
        "return": 0, "exit none": 0, "exit 7": 7, "exit text": 1, "raise": 1, "_exit 9": 9,
        f"signal {int(signal.SIGKILL)}": -9, f"signal {int(signal.SIGTERM)}": -15,
        f"signal {int(signal.SIGSEGV)}": -11,
    }
    processes = {how: mp.start(targets.end, how) for how in expected}
    for p in processes.values():
        p.join(WAIT)
    assert {how: p.exitcode for how, p in processes.items()} == expected


@pytest.mark.parametrize("how, text", [("raise", "ValueError: on purpose"), ("exit", "the last words")])
def test_last_words_on_stderr(mp: Kind, tmp_path, how: str, text: str) -> None:
    path = tmp_path / "stderr"
    p = mp.start(targets.complain, str(path), how, name="Complainer")
    p.join(WAIT)
    words = path.read_text()
    assert p.exitcode == 1
    assert text in words
    assert ("Complainer" in words and "in complain" in words) == (how == "raise")


def test_sentinel_alive_and_join(mp: Kind) -> None:
    ready, go = mp.ctx.Event(), mp.ctx.Event()
    wait = mp.module("connection").wait
    p = mp.start(targets.announce_and_wait, ready, go)
    assert ready.wait(WAIT)
    assert p.is_alive() and p.exitcode is None
    assert wait([p.sentinel], 0) == []
    begun = time.monotonic()
    p.join(0.1)
    assert time.monotonic() - begun >= 0.099
    assert p.is_alive() and p in mp.ctx.active_children()
    go.set()
    assert wait([p.sentinel], WAIT) == [p.sentinel]
    join(p)
    p.join()
    assert not p.is_alive() and p not in mp.ctx.active_children()
    assert wait([p.sentinel], 0) == [p.sentinel]


@pytest.mark.parametrize("how, code", [("terminate", -15), ("kill", -9)])
def test_ending_a_process(mp: Kind, how: str, code: int) -> None:
    ready = mp.ctx.Event()
    p = mp.start(targets.announce_and_hang, ready)
    assert ready.wait(WAIT)
    getattr(p, how)()
    p.join(WAIT)
    assert p.exitcode == code and not p.is_alive()
    getattr(p, how)()  # of one that has ended: nothing happens
    assert p.exitcode == code


def test_close(mp: Kind) -> None:
    ready, go = mp.ctx.Event(), mp.ctx.Event()
    p = mp.start(targets.announce_and_wait, ready, go)
    with pytest.raises(ValueError):
        p.close()
    go.set()
    join(p)
    p.close()
    p.close()
    for use in (p.join, p.is_alive, p.terminate, lambda: p.exitcode, lambda: p.sentinel):
        with pytest.raises(ValueError):
            use()
    assert "closed" in repr(p)


def test_what_may_not_be_done(mp: Kind) -> None:
    go = mp.ctx.Event()
    p = mp.ctx.Process(target=targets.wait_for, args=(go,))
    with pytest.raises(AssertionError):
        p.join()
    with pytest.raises(ValueError):
        p.sentinel
    p.start()
    with pytest.raises(AssertionError):
        p.start()
    with pytest.raises(AssertionError):
        p.daemon = True
    with pytest.raises((AssertionError, TypeError)):
        p.name = 7
    go.set()
    join(p)


def test_a_daemon_has_no_children(mp: Kind) -> None:
    receiver, sender = mp.ctx.Pipe(False)
    p = mp.start(
        targets.start_child, mp.name, mp.method, targets.nothing, (), False, sender, daemon=True
    )
    assert p.daemon
    assert "daemonic processes are not allowed to have children" in receiver.recv()
    join(p)


def test_a_daemon_ends_with_its_parent(mp: Kind) -> None:
    reader, writer = mp.ctx.Pipe(False)
    receiver, sender = mp.ctx.Pipe(False)
    ready = mp.ctx.Event()
    p = mp.start(targets.start_child, mp.name, mp.method, targets.announce_and_hang, (ready,), True,
                 sender)
    pid = receiver.recv()
    assert isinstance(pid, int), pid
    join(p)
    writer.close()
    assert reader.poll(WAIT)  # the daemon held the other end
    with pytest.raises(EOFError):
        reader.recv()


def test_a_child_is_joined_at_exit(mp: Kind) -> None:
    receiver, sender = mp.ctx.Pipe(False)
    ready, go = mp.ctx.Event(), mp.ctx.Event()
    p = mp.start(targets.start_child, mp.name, mp.method, targets.announce_and_wait, (ready, go),
                 False, sender)
    assert isinstance(receiver.recv(), int)
    assert ready.wait(WAIT)
    p.join(0.2)
    assert p.is_alive()
    go.set()
    join(p)


def test_the_parent_seen_from_the_child(mp: Kind) -> None:
    """A child can wait for the end of its parent."""
    receiver, sender = mp.ctx.Pipe(False)
    go = mp.ctx.Event()
    p = mp.start(targets.run_child_that_ends, mp.name, mp.method, targets.join_parent,
                 (mp.name, sender), go)
    sender.close()
    assert receiver.recv() is True
    go.set()
    join(p)
    assert receiver.recv() is False
    with pytest.raises(EOFError):
        receiver.recv()


def test_a_subclass(mp: Kind) -> None:
    receiver, sender = mp.ctx.Pipe(False)
    p = subclasses.make(mp.name, mp.method)(sender, "hello")
    p.start()
    assert receiver.recv() == ("hello", p.name, p.pid)
    join(p)


def test_the_end_of_a_process(mp: Kind) -> None:
    """Its threads are waited for, and its finalizers run."""
    receiver, sender = mp.ctx.Pipe(False)
    go = mp.ctx.Event()
    p = mp.start(targets.thread_that_outlives_the_target, sender, go)
    go.set()
    assert receiver.recv() == "from the thread"
    q = mp.start(targets.finalize, mp.name, sender)
    assert receiver.recv() == "finalized"
    join(p, q)


def test_what_cannot_be_pickled_cannot_be_started(mp: Kind) -> None:
    if mp.method == "fork":
        join(mp.start(targets.Unpicklable().run))
        return
    for _ in range(3):
        p = mp.ctx.Process(target=targets.Unpicklable().run)
        with pytest.raises(TypeError, match="this does not travel"):
            p.start()
    join(mp.start(targets.nothing))


def test_many_processes_by_many_threads(mp: Kind) -> None:
    """Each thread starts some, all at once, and each process runs what it was given."""
    started: list = []
    errors: list = []
    together = threading.Barrier(4)

    def start(number: int) -> None:
        try:
            together.wait(WAIT)
            for _ in range(4):
                started.append((number, mp.start(os._exit, number)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(10 + n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(WAIT)
    for _, p in started:
        p.join(WAIT)
    assert errors == []
    assert [p.exitcode for _, p in started] == [number for number, _ in started]
    assert len({p.pid for _, p in started}) == 16


def test_start_methods(mp: Kind) -> None:
    assert mp.ctx.get_start_method() == mp.method
    assert set(mp.package.get_all_start_methods()) >= {"fork", "spawn", "forkserver"}
    with pytest.raises(ValueError):
        mp.package.get_context("nonsense")
    with pytest.raises(ValueError):
        mp.ctx.set_start_method("nonsense")
    assert mp.ctx.cpu_count() == os.cpu_count()


@pytest.mark.parametrize("wait", ["get", "put", "acquire", "join", "event", "recv", "poll", "wait",
                                  "barrier", "condition", "cond_for", "sleep_queue"])
def test_a_signal_ends_a_wait(mp: Kind, wait: str) -> None:
    """The handler of a signal runs inside every wait, and its exception ends the wait."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    ready, go = mp.ctx.Event(), mp.ctx.Event()
    q, lock, cond, a_b = mp.ctx.Queue(1), mp.ctx.Lock(), mp.ctx.Condition(), mp.ctx.Pipe()
    q.put("full")
    lock.acquire()
    cond.acquire()
    child = mp.start(targets.announce_and_wait, ready, go)
    assert ready.wait(WAIT)
    waits = {
        "get": mp.ctx.Queue().get, "put": lambda: q.put(1), "acquire": lock.acquire,
        "join": child.join, "event": mp.ctx.Event().wait, "recv": a_b[0].recv,
        "poll": lambda: a_b[0].poll(None), "wait": lambda: mp.module("connection").wait([a_b[0]]),
        "barrier": mp.ctx.Barrier(2).wait, "condition": cond.wait,
        "cond_for": lambda: cond.wait_for(lambda: False), "sleep_queue": mp.ctx.SimpleQueue().get,
    }
    previous = signal.signal(signal.SIGUSR2, interrupt)
    try:
        sender = mp.start(targets.interrupt_when_it_waits, os.getpid(), threading.get_native_id())
        with pytest.raises(Interrupted):
            waits[wait]()
    finally:
        signal.signal(signal.SIGUSR2, previous)
    go.set()
    join(sender, child)
    assert q.get(timeout=WAIT) == "full"
    q.close()
    q.join_thread()
