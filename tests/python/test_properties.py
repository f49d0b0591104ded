# SPDX-License-Identifier: MIT
"""Random values and random sequences of calls, checked against the simplest model of each."""

from __future__ import annotations

import collections
import threading

import pytest
import tasks
import targets
from conftest import LONG, Kind, join
from queue import Empty, Full
from targets import WAIT

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.patience(1200 if LONG else 90)

usual = settings(
    max_examples=2000 if LONG else 40, deadline=None, derandomize=not LONG, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture,
                           HealthCheck.data_too_large],
)
few = settings(usual, max_examples=500 if LONG else 15)

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.fractions() | st.decimals(allow_nan=False) | st.uuids()
    | st.datetimes(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8,
)
values = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(hashable, inner, max_size=5)
    | st.sets(hashable, max_size=4) | st.builds(bytearray, st.binary()),
    max_leaves=15,
) | st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.sampled_from([1000, 9000, 70000]))


def same(a, b) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b) or a != b:
        return False
    if isinstance(a, (list, tuple)):
        return all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return list(map(type, a)) == list(map(type, b)) and all(same(a[k], b[k]) for k in a)
    return True


# ---- round trips ----------------------------------------------------------------------------------


def test_values_through_queues(mp: Kind) -> None:
    source, sink = mp.ctx.SimpleQueue(), mp.ctx.Queue()
    p = mp.start(targets.echo_queue, source, sink)

    @usual
    @given(st.lists(values, max_size=5))
    def check(objs: list) -> None:
        for obj in objs:
            source.put((obj,))
        for obj in objs:
            assert same(sink.get(timeout=WAIT), (obj,))

    check()
    source.put(None)
    join(p)
    sink.close()
    sink.join_thread()


def test_values_through_pipes(mp: Kind) -> None:
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.echo_connection, b)

    @usual
    @given(values)
    def check(obj: object) -> None:
        a.send((obj,))
        assert same(a.recv(), (obj,))

    check()
    a.send("stop")
    join(p)
    a.close()
    b.close()


def test_bytes_through_pipes(mp: Kind) -> None:
    """Any size, offset and type of buffer, and every way to receive it."""
    a, b = mp.ctx.Pipe()
    p = mp.start(targets.echo_bytes, b)

    @usual
    @given(st.binary(max_size=300), st.sampled_from([1, 300, 1000]), st.data())
    def check(piece: bytes, times: int, data) -> None:
        whole = b"-" + piece * times
        offset = data.draw(st.integers(0, len(whole)))
        size = data.draw(st.none() | st.integers(0, len(whole) - offset))
        kind = data.draw(st.sampled_from([bytes, bytearray, memoryview]))
        expected = whole[offset:] if size is None else whole[offset:offset + size]
        if expected == b"stop":
            return
        a.send_bytes(kind(whole), offset, size)
        if data.draw(st.booleans()):
            assert a.recv_bytes(max(len(expected), 1)) == expected
        else:
            room = bytearray(len(expected) + 3)
            assert a.recv_bytes_into(room, 2) == len(expected)
            assert room == b"\0\0" + expected + b"\0"

    check()
    a.send_bytes(b"stop")
    join(p)
    a.close()
    b.close()


def test_values_through_pools(mp: Kind) -> None:
    with mp.ctx.Pool(2) as pool:

        @few
        @given(st.lists(values, max_size=6), st.none() | st.integers(1, 9))
        def check(objs: list, chunk) -> None:
            assert same(pool.map(tasks.identity, objs, chunk), objs)

        check()
        pool.close()
        pool.join()


def test_values_through_managers(mp: Kind) -> None:
    with mp.ctx.Manager() as manager:
        shared = manager.list()

        @few
        @given(values)
        def check(obj: object) -> None:
            shared.append((obj,))
            assert same(shared.pop(), (obj,))

        check()


# ---- a queue and its model ------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.just("put"), st.integers() | st.binary(max_size=5000))
    | st.tuples(st.just("get"), st.none())
    | st.tuples(st.just("put_many"), st.lists(st.integers(), max_size=20))
    | st.tuples(st.just("get_many"), st.integers(1, 20))
    | st.tuples(st.just("figures"), st.none()),
    max_size=60,
)


def step(q, model: collections.deque, bound: int, name: str, value) -> None:
    room = bound - len(model) if bound else 1 << 30
    if name == "put" and room:
        q.put(value, False)
        model.append(value)
    elif name == "put":
        with pytest.raises(Full):
            q.put(value, False)
    elif name == "get" and model:
        assert q.get(False) == model.popleft()
    elif name == "get":
        with pytest.raises(Empty):
            q.get(False)
    elif name == "put_many" and len(value) <= room:
        assert q.put_many(value, False) == len(value)
        model.extend(value)
    elif name == "get_many" and model:
        got = q.get_many(value, False)
        assert got == [model.popleft() for _ in range(min(value, len(model)))]
    assert (q.qsize(), q.empty()) == (len(model), not model)
    assert q.full() == (bound > 0 and len(model) >= bound)


def test_a_queue_is_a_deque(ours: Kind) -> None:
    q_of = {bound: ours.ctx.Queue(bound) for bound in (0, 1, 7)}

    @usual
    @given(st.sampled_from([0, 1, 7]), steps)
    def check(bound: int, sequence: list) -> None:
        q, model = q_of[bound], collections.deque()
        while not q.empty():  # what an example before this one has left
            q.get_nowait()
        for name, value in sequence:
            step(q, model, bound, name, value)

    check()


def test_a_queue_between_processes_is_a_deque(ours: Kind) -> None:
    """One thread puts in random portions, this one gets in others, through a process that passes on."""
    there, back = ours.ctx.Queue(30), ours.ctx.Queue(5)
    p = ours.start(targets.echo_queue, there, back)

    @few
    @given(st.lists(st.lists(st.binary(max_size=300), max_size=50), max_size=8), st.integers(1, 30))
    def check(portions: list, most: int) -> None:
        expected = [item for portion in portions for item in portion]
        putter = threading.Thread(target=lambda: [there.put_many(x, timeout=WAIT) for x in portions])
        putter.start()
        got: list = []
        while len(got) < len(expected):
            got += back.get_many(most, timeout=WAIT)
        putter.join(WAIT)
        assert got == expected and back.empty()

    check()
    there.put(None)
    join(p)


# ---- pools ----------------------------------------------------------------------------------------


def test_pools_do_as_the_builtins(mp: Kind) -> None:
    with mp.ctx.Pool(3) as pool:

        @usual
        @given(st.lists(st.integers(-10**30, 10**30), max_size=60), st.none() | st.integers(1, 70))
        def check(numbers: list, chunk) -> None:
            squares = [x * x for x in numbers]
            pairs = list(zip(numbers, reversed(numbers)))
            assert pool.map(tasks.square, iter(numbers), chunk) == squares
            assert pool.starmap(tasks.add, pairs, chunk) == [a + b for a, b in pairs]
            assert list(pool.imap(tasks.square, numbers, chunk or 1)) == squares
            assert sorted(pool.imap_unordered(tasks.square, numbers, chunk or 1)) == sorted(squares)

        check()
        pool.close()
        pool.join()


def test_failures_in_pools(mp: Kind) -> None:
    """Whatever fails, the rest comes: imap tells each failure at its place."""
    with mp.ctx.Pool(2) as pool:

        @few
        @given(st.lists(st.integers(0, 100) | st.just("bad"), max_size=40))
        def check(items: list) -> None:
            results, got = pool.imap(tasks.die_or_fail, items), []
            for _ in items:
                try:
                    got.append(results.next(WAIT))
                except ValueError:
                    got.append("bad")
            with pytest.raises(StopIteration):
                results.next(WAIT)
            assert got == [x if x == "bad" else x * x for x in items]

        check()
        pool.close()
        pool.join()
