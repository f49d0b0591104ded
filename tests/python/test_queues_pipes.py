# SPDX-License-Identifier: MIT
"""Queues and connections, as both packages must have them, and what only ours can do."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
import targets
from conftest import Kind, join, until
from queue import Empty, Full
from targets import WAIT

VALUES = [
    0, -1, 2**70, 1.5, "", "text", "\U0001f600", b"", b"\0" * 3000, None, True, (), (1, (2,)), [1, [2]],
    {"a": {1: None}}, {1, 2}, frozenset("ab"), 1 + 2j, range(3), ValueError("x"), Ellipsis, "x" * 100000,
]


def drop(*queues) -> None:
    """The standard library's queues have threads, which must be waited for."""
    for q in queues:
        q.close()
        q.join_thread()


# ---- queues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_values_come_back_in_order(mp: Kind, name: str) -> None:
    source, sink = getattr(mp.ctx, name)(), getattr(mp.ctx, name)()
    p = mp.start(targets.echo_queue, source, sink)
    values = [value for value in VALUES if value is not None]  # which ends the child
    for value in values:
        source.put(value)
    for value in values:
        got = sink.get()
        if isinstance(value, Exception):
            assert (type(got), got.args) == (type(value), value.args)
        else:
            assert got == value and type(got) is type(value)
    source.put(None)
    join(p)
    assert sink.empty()
    source.close()
    sink.close()


def test_bounds_and_timeouts(mp: Kind) -> None:
    q = mp.ctx.Queue(2)
    with pytest.raises(Empty):
        q.get_nowait()
    with pytest.raises(Empty):
        q.get(False)
    begun = time.monotonic()
    with pytest.raises(Empty):
        q.get(timeout=0.05)
    assert time.monotonic() - begun >= 0.049
    q.put(1)
    q.put(2, timeout=WAIT)
    assert q.full()
    with pytest.raises(Full):
        q.put_nowait(3)
    with pytest.raises(Full):
        q.put(3, False)
    begun = time.monotonic()
    with pytest.raises(Full):
        q.put(3, True, 0.05)
    assert time.monotonic() - begun >= 0.049
    assert q.get(timeout=WAIT) == 1
    q.put(3, timeout=WAIT)
    assert [q.get(timeout=WAIT), q.get(timeout=WAIT)] == [2, 3]
    assert until(q.empty) and not q.full() and q.qsize() == 0
    drop(q)


def test_negative_timeouts_do_not_wait(mp: Kind) -> None:
    q = mp.ctx.Queue(1)
    with pytest.raises(Empty):
        q.get(timeout=-1)
    q.put(1)
    with pytest.raises(Full):
        q.put(1, timeout=-1)
    assert q.get(timeout=WAIT) == 1
    drop(q)


def test_a_closed_queue(mp: Kind) -> None:
    q = mp.ctx.Queue()
    drop(q)
    for use in (lambda: q.put(1), q.get, q.get_nowait, lambda: q.put_nowait(1)):
        with pytest.raises(ValueError):
            use()


def test_waiters_are_woken(mp: Kind) -> None:
    """One that waits in get by a put, one that waits in put by a get."""
    go, q = mp.ctx.Event(), mp.ctx.Queue(1)
    p = mp.start(targets.put_when, go, q, "woken")
    go.set()
    assert q.get(timeout=WAIT) == "woken"
    join(p)
    go.clear()
    q.put("first")
    p = mp.start(targets.get_when, go, q)
    go.set()
    q.put("second", timeout=WAIT)
    join(p)
    assert q.get(timeout=WAIT) == "second"
    drop(q)


def test_many_producers_and_consumers(mp: Kind) -> None:
    """Each item comes once, and those of one producer in their order."""
    count, q, told = 300, mp.ctx.Queue(20), mp.ctx.Queue()
    consumers = [mp.start(targets.consume, q, told) for _ in range(2)]
    producers = [mp.start(targets.produce, q, n, count) for n in range(2)]
    join(*producers)
    for _ in consumers:
        q.put(None)
    lists = [told.get(timeout=WAIT) for _ in consumers]
    join(*consumers)
    assert sorted(lists[0] + lists[1]) == [(n, i) for n in range(2) for i in range(count)]
    for got in lists:
        for n in range(2):
            assert [x for x in got if x[0] == n] == sorted(x for x in got if x[0] == n)
    drop(q, told)


def test_threads_share_a_queue(mp: Kind) -> None:
    q, got, count = mp.ctx.Queue(8), [], 300

    def get() -> None:
        got.extend(iter(lambda: q.get(timeout=WAIT), None))

    getters = [threading.Thread(target=get) for _ in range(3)]
    putters = [threading.Thread(target=targets.produce, args=(q, n, count)) for n in range(3)]
    for t in getters + putters:
        t.start()
    for t in putters:
        t.join(WAIT)
    for _ in getters:
        q.put(None)
    for t in getters:
        t.join(WAIT)
    assert sorted(got) == [(n, i) for n in range(3) for i in range(count)]
    drop(q)


def test_tasks_of_a_joinable_queue(mp: Kind) -> None:
    q = mp.ctx.JoinableQueue()
    with pytest.raises(ValueError):
        q.task_done()
    q.join()
    p = mp.start(targets.work_on, q)
    for i in range(50):
        q.put(i)
    q.put(None)
    q.join()
    assert q.empty()
    join(p)
    with pytest.raises(ValueError):
        q.task_done()
    q.put("not done")
    joiner = threading.Thread(target=q.join)
    joiner.start()
    assert q.get(timeout=WAIT) == "not done"
    joiner.join(0.05)
    assert joiner.is_alive()
    q.task_done()
    joiner.join(WAIT)
    assert not joiner.is_alive()
    drop(q)


def test_a_queue_does_not_travel_in_messages(mp: Kind) -> None:
    for q in (mp.ctx.Queue(), mp.ctx.SimpleQueue(), mp.ctx.JoinableQueue()):
        with pytest.raises(RuntimeError):
            mp.module("reduction").ForkingPickler.dumps(q)


def test_large_items(mp: Kind) -> None:
    source, sink = mp.ctx.Queue(), mp.ctx.Queue()
    p = mp.start(targets.echo_queue, source, sink)
    for size in (4095, 4096, 4097, 65535, 65536, 10**6, 10**7):
        data = os.urandom(64) * (size // 64 + 1)
        source.put(data[:size])
        assert sink.get(timeout=WAIT) == data[:size]
    source.put(None)
    join(p)
    drop(source, sink)


def test_what_cannot_be_pickled_is_not_put(mp: Kind, capfd) -> None:
    """It is told on stderr, it leaves no gap, and the place in a bounded queue is free again."""
    q = mp.ctx.Queue(1)
    q.put(targets.Unpicklable())
    q.put("next", timeout=WAIT)
    assert q.get(timeout=WAIT) == "next"
    drop(q)
    assert "this does not travel" in capfd.readouterr().err
    simple = mp.ctx.SimpleQueue()
    with pytest.raises(TypeError, match="this does not travel"):
        simple.put(targets.Unpicklable())
    simple.put("next")
    assert simple.get() == "next"
    simple.close()


def test_reader_can_be_waited_for(mp: Kind) -> None:
    wait = mp.module("connection").wait
    q = mp.ctx.SimpleQueue()
    assert wait([q._reader], 0) == []
    p = mp.start(targets.put_all, q, [1, 2])
    for expected in (1, 2):
        assert wait([q._reader], WAIT) == [q._reader]
        assert q.get() == expected
    assert wait([q._reader], 0) == []
    join(p)
    q.close()


def test_exact_figures(ours: Kind) -> None:
    q = ours.ctx.Queue(3)
    for i in range(3):
        assert (q.qsize(), q.empty(), q.full()) == (i, i == 0, False)
        q.put(i)
    assert (q.qsize(), q.empty(), q.full()) == (3, False, True)
    p = ours.start(targets.get_when, *(_set(ours), q))
    join(p)
    assert (q.qsize(), q.full()) == (2, False)


def _set(kind: Kind):
    event = kind.ctx.Event()
    event.set()
    return event


def test_many_at_once(ours: Kind) -> None:
    q = ours.ctx.Queue()
    assert q.put_many(range(1000)) == 1000
    assert q.get_many(10) == list(range(10))
    assert q.put_many([]) == 0 and q.put_many(iter("ab")) == 2
    assert q.get_many(10**6) == list(range(10, 1000)) + ["a", "b"]
    with pytest.raises(Empty):
        q.get_many(5, False)
    with pytest.raises(Empty):
        q.get_many(5, timeout=0.01)
    p = ours.start(targets.echo_queue, q, q2 := ours.ctx.Queue())
    q.put_many([*range(500), None])
    got = []
    while len(got) < 500:
        got += q2.get_many(100, timeout=WAIT)
    join(p)
    assert got == list(range(500))


def test_many_into_a_bounded_queue(ours: Kind) -> None:
    q = ours.ctx.Queue(5)
    try:
        put = q.put_many(range(9), block=False)
    except Full:
        put = q.qsize()
    assert put == q.qsize() and put in (0, 5)  # all that fit, or none: never a lie about it
    assert q.put_many(range(5 - put), timeout=WAIT) == 5 - put
    assert q.full() and len(q.get_many(9)) == 5
    thread = threading.Thread(target=q.put_many, args=(range(100),))
    thread.start()
    assert [q.get(timeout=WAIT) for _ in range(100)] == list(range(100))
    thread.join(WAIT)


def test_a_producer_may_exit_before_its_items_are_read(ours: Kind) -> None:
    q = ours.ctx.Queue()
    join(ours.start(targets.put_all, q, [bytes(100_000)] * 100))
    assert q.qsize() == 100
    assert all(len(item) == 100_000 for item in q.get_many(1000)) and q.empty()


# ---- connections ----------------------------------------------------------------------------------


def test_duplex(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.echo_connection, b)
    b.close()
    assert a.readable and a.writable and not a.closed and isinstance(a.fileno(), int)
    for value in VALUES:
        a.send(value)
        got = a.recv()
        assert got == value or (type(got), got.args) == (type(value), value.args)
    a.send("stop")
    join(p)
    a.close()
    assert a.closed
    for use in (a.recv, lambda: a.send(1), a.poll, a.fileno):
        with pytest.raises(OSError, match="closed"):
            use()
    a.close()


def test_simplex(mp: Kind) -> None:
    reader, writer = mp.ctx.Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    with pytest.raises(OSError, match="write-only"):
        writer.recv()
    with pytest.raises(OSError, match="write-only"):
        writer.poll()
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    writer.send([1])
    assert reader.poll(WAIT) and reader.recv() == [1]
    with reader, writer:
        pass
    assert reader.closed and writer.closed


def test_bytes(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.echo_bytes, b)
    b.close()
    data = os.urandom(100_000)
    for size in (0, 1, 511, 512, 16384, 16385, 65536, 100_000):
        a.send_bytes(data[:size])
        assert a.recv_bytes() == data[:size]
    a.send_bytes(memoryview(data), 10, 20)
    assert a.recv_bytes(20) == data[10:30]
    a.send_bytes(bytearray(data), 99_000)
    assert a.recv_bytes() == data[99_000:]
    for words in ((data, -1), (data, 0, -1), (data, 100_001), (data, 99_999, 2)):
        with pytest.raises(ValueError):
            a.send_bytes(*words)
    with pytest.raises(TypeError):
        a.send_bytes("text")
    with pytest.raises(ValueError):
        a.recv_bytes(-1)
    a.send_bytes(b"stop")
    join(p)
    a.close()


def test_bytes_into(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    buffer = bytearray(10)
    a.send_bytes(b"123")
    assert b.recv_bytes_into(buffer) == 3 and buffer == b"123" + bytes(7)
    a.send_bytes(b"45")
    assert b.recv_bytes_into(buffer, 8) == 2 and buffer == b"123" + bytes(5) + b"45"
    a.send_bytes(b"longer than ten")
    with pytest.raises(mp.package.BufferTooShort) as info:
        b.recv_bytes_into(buffer)
    assert info.value.args == (b"longer than ten",)
    a.send_bytes(b"next")
    with pytest.raises(ValueError):
        b.recv_bytes_into(buffer, 11)
    assert b.recv_bytes_into(buffer) == 4
    a.send_bytes(b"0123456789")
    with pytest.raises(OSError):
        b.recv_bytes(9)
    a.close()
    b.close()


def test_poll_and_the_end(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    assert not b.poll() and not b.poll(0)
    begun = time.monotonic()
    assert not b.poll(0.05)
    assert time.monotonic() - begun >= 0.049
    a.send(1)
    assert b.poll() and b.poll(WAIT) and b.poll(None)
    a.close()
    assert b.recv() == 1
    assert b.poll(WAIT)
    for _ in range(2):
        with pytest.raises(EOFError):
            b.recv()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        b.send(b"x" * 10)
    b.close()


def test_the_end_when_the_other_dies(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.send_then_die, b, "last")
    b.close()
    assert a.recv() == "last"
    with pytest.raises((EOFError, ConnectionResetError)):
        a.recv()
    p.join(WAIT)
    assert p.exitcode == -9
    a.close()


def test_a_connection_over_a_connection(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    reader, writer = mp.ctx.Pipe(False)
    p = mp.start(targets.receive_and_use, b)
    a.send(writer)
    assert reader.recv() == ("over the other one", p.pid)
    writer.close()
    if mp.method != "fork":  # where the child has a copy of everything
        with pytest.raises(EOFError):  # nobody else has kept the other end
            reader.recv()
    a.send("done")
    join(p)
    p = mp.start(targets.send_connection, mp.name, b)
    other = a.recv()
    assert other.recv() == "through a pipe of the child"
    other.send("thanks")
    join(p)
    for c in (a, b, reader, other):
        c.close()
    stop_sharer(mp)


def stop_sharer(mp: Kind) -> None:
    sharer = mp.module("resource_sharer")
    getattr(sharer, "stop", lambda timeout: None)(timeout=WAIT)


def test_a_socket_over_a_connection(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.use_socket, b)
    mine, its = socket.socketpair()
    with mine, its:
        a.send(its)
        mine.settimeout(WAIT)
        assert mine.recv(100) == b"by the child"
    join(p)
    a.close()
    b.close()
    stop_sharer(mp)


def test_large_messages_both_ways(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.echo_connection, b)
    b.close()
    data = os.urandom(1000) * 5000
    for _ in range(2):
        a.send(data)
        assert a.recv() == data
    a.send("stop")
    join(p)
    a.close()


def test_wait_for_many(mp: Kind) -> None:
    wait = mp.module("connection").wait
    pipes = [mp.ctx.Pipe(False) for _ in range(5)]
    readers = [r for r, _ in pipes]
    assert wait(readers, 0) == [] and wait([], 0) == []
    begun = time.monotonic()
    assert wait(readers, 0.05) == []
    assert time.monotonic() - begun >= 0.049
    pipes[1][1].send(1)
    pipes[3][1].close()
    assert sorted(map(readers.index, wait(readers, WAIT))) == [1, 3]
    for r, w in pipes:
        r.close()
        w.close()


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_listener_and_client(mp: Kind, family: str) -> None:
    connection = mp.module("connection")
    told, teller = mp.ctx.Pipe(False)
    with connection.Listener(None, family, authkey=b"secret") as listener:
        other = "multiproc" if mp.stock else "multiprocessing"
        for package, key in ((mp.name, b"secret"), (mp.name, b"wrong"), (other, b"secret")):
            p = mp.start(targets.client, package, listener.address, key, teller)
            if key == b"wrong":
                with pytest.raises(mp.package.AuthenticationError):
                    listener.accept()
                assert told.recv() in ("AuthenticationError", "ConnectionResetError")
            else:
                with listener.accept() as c:
                    assert c.recv() == "hello"
                    c.send("welcome")
                    assert told.recv() == "welcome"
            join(p)
    told.close()
    teller.close()
