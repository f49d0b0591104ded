# SPDX-License-Identifier: MIT
"""Owns the measurements of queues and pipes.

The processes are started by fork and begin together; the clock runs from there until the last of
them is done.  They tell each other by bare pipes of the system, so that nothing measured is used to
measure.
"""

import os
from time import perf_counter as clock
from typing import Any, List, Tuple

import things

BATCH = 100  # items of one put_many


def _part(ready: int, go: int, done: int, function: Any, arguments: Tuple[Any, ...]) -> None:
    os.write(ready, b".")
    os.read(go, 1)
    function(*arguments)
    os.write(done, b".")


def _await(pipe: int, count: int) -> None:
    while count:
        got = len(os.read(pipe, count))
        if not got:
            raise RuntimeError("a process has failed")
        count -= got


def together(context: Any, parts: List[Tuple[Any, ...]]) -> float:
    """Runs each part, a function and arguments, in a process; the seconds until all are done."""
    (ready, tell_ready), (go, tell_go), (done, tell_done) = os.pipe(), os.pipe(), os.pipe()
    children = [
        context.Process(target=_part, args=(tell_ready, go, tell_done, part[0], part[1:]))
        for part in parts
    ]
    for child in children:
        child.start()
    os.close(tell_ready)
    os.close(tell_done)
    _await(ready, len(parts))
    start = clock()
    os.write(tell_go, b"." * len(parts))
    _await(done, len(parts))
    spent = clock() - start
    for child in children:
        child.join()
    return spent


def _fill(queue: Any, sent: things.Sent, n: int) -> None:
    put, thing = queue.put, sent.thing
    for _ in range(n):
        put(thing)


def _drain(queue: Any, sent: things.Sent, n: int) -> None:
    sent.take(queue.get, n)


def _fill_many(queue: Any, sent: things.Sent, n: int) -> None:
    batch = [sent.thing] * BATCH
    for _ in range(n // BATCH):
        queue.put_many(batch)
    if n % BATCH:
        queue.put_many(batch[: n % BATCH])


def _drain_many(queue: Any, sent: things.Sent, n: int) -> None:
    while n:
        got = queue.get_many(min(n, BATCH))
        n -= len(got)
    sent.check(got[-1])


def _queue(
    mp: Any, n: int, ends: Tuple[str, str], work: Tuple[Any, Any], of: str, size: str
) -> float:
    putting, getting = int(ends[0]), int(ends[1])
    n = max(n // (putting * getting), 1) * putting * getting
    context = mp.get_context("fork")
    queue, sent = context.Queue(int(size)), things.Sent(of)
    parts: List[Tuple[Any, ...]] = [(work[1], queue, sent, n // getting)] * getting
    parts += [(work[0], queue, sent, n // putting)] * putting
    return together(context, parts) / n


def queue(mp: Any, n: int, putting: str, getting: str, of: str, size: str = "0") -> float:
    """So many processes put, so many get; size is the queue's maxsize."""
    return _queue(mp, n, (putting, getting), (_fill, _drain), of, size)


def queue_many(mp: Any, n: int, putting: str, getting: str, of: str) -> float:
    """With put_many and get_many, where the library has them."""
    many = hasattr(mp.get_context("fork").Queue(), "put_many")
    work = (_fill_many, _drain_many) if many else (_fill, _drain)
    return _queue(mp, n, (putting, getting), work, of, "0")


def simple_queue(mp: Any, n: int, of: str) -> float:
    """Put and get in one process."""
    queue, thing = mp.SimpleQueue(), things.Sent(of).thing
    start = clock()
    for _ in range(n):
        queue.put(thing)
        queue.get()
    return (clock() - start) / n


def _send(end: Any, sent: things.Sent, n: int) -> None:
    send, thing = end.send, sent.thing
    for _ in range(n):
        send(thing)


def _receive(end: Any, sent: things.Sent, n: int) -> None:
    sent.take(end.recv, n)


def pipe(mp: Any, n: int, of: str, duplex: str = "1") -> float:
    """One process sends, one receives."""
    context, sent = mp.get_context("fork"), things.Sent(of)
    reader, writer = context.Pipe(bool(int(duplex)))
    return together(context, [(_receive, reader, sent, n), (_send, writer, sent, n)]) / n


def _ask(end: Any, sent: things.Sent, n: int) -> None:
    thing = sent.thing
    for _ in range(n):
        end.send(thing)
        got = end.recv()
    sent.check(got)


def _answer(end: Any, n: int) -> None:
    for _ in range(n):
        end.send(end.recv())


def ping_pong(mp: Any, n: int, of: str) -> float:
    """One message on its way, there and back."""
    context, sent = mp.get_context("fork"), things.Sent(of)
    one, other = context.Pipe()
    return together(context, [(_ask, one, sent, n), (_answer, other, n)]) / n
