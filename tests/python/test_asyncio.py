# SPDX-License-Identifier: MIT
"""Owns the tests of what can be awaited, of serializers, and of errors that name what cannot be pickled."""

import asyncio
import threading

import pytest



@pytest.fixture
def context(ours):
    return ours.ctx


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_queue(context):
    async def main():
        q = context.Queue(1)
        asyncio.get_running_loop().call_later(0.05, q.put, 5)
        assert await q.get_async() == 5
        await q.put_async(1)
        waiting = asyncio.ensure_future(q.put_async(2))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert await q.get_async() == 1
        await waiting
        assert await q.get_async() == 2

    run(main())


def test_connection_and_process(context):
    async def main():
        a, b = context.Pipe()
        asyncio.get_running_loop().call_later(0.05, a.send, "x")
        assert await b.recv_async() == "x"
        process = context.Process(target=int)
        process.start()
        assert await process.join_async() == 0

    run(main())


def test_results_of_pools(context):
    async def main():
        with context.Pool(2) as pool:
            assert await pool.apply_async(pow, (2, 10)) == 1024
            assert await pool.map_async(abs, range(-3, 0)) == [3, 2, 1]
            with pytest.raises(ZeroDivisionError):
                await pool.apply_async(divmod, (1, 0))

    run(main())


def test_serializer(context):
    cloudpickle = pytest.importorskip("cloudpickle")
    import multiproc

    own = multiproc.get_context(context.get_start_method(), serializer=cloudpickle)
    with own.Pool(2) as pool:
        assert pool.map(lambda x: x + 1, range(5)) == [1, 2, 3, 4, 5]
    q = own.Queue()
    process = own.Process(target=lambda out, n: out.put(lambda: n), args=(q, 7))
    process.start()
    assert q.get(timeout=30)() == 7
    process.join()
    with pytest.raises(TypeError):
        multiproc.get_context("spawn", serializer=7)


class Holder:
    def __init__(self):
        self.parts = {"first": [1, threading.Lock()]}


def test_the_error_names_the_part(context):
    a, _ = context.Pipe()
    with pytest.raises(TypeError, match=r"parts\['first'\]\[1\] of the Holder"):
        a.send(Holder())
    a.send(1)  # the connection is as good as before
