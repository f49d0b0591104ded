# SPDX-License-Identifier: MIT
"""Read by a type checker only: what programs write, with the types that they may expect."""

from __future__ import annotations

import socket
from typing import Any, List, Optional, Tuple

import multiproc as mp
from multiproc import pool, queues, synchronize
from multiproc.connection import Client, Connection, Listener, wait
from multiproc.context import BaseContext, ForkContext, SpawnContext
from multiproc.managers import BaseManager, DictProxy, ListProxy, SyncManager
from multiproc.process import BaseProcess
from multiproc.shared_memory import ShareableList, SharedMemory
from typing_extensions import assert_type


class Worker(mp.Process):
    def run(self) -> None:
        print(self.name, self.exitcode)


def square(x: int) -> int:
    return x * x


def name(x: int, y: str) -> str:
    return y * x


def processes(context: BaseContext) -> None:
    worker = Worker(name="w", daemon=True)
    worker.start()
    worker.interrupt()
    worker.join(timeout=1.5)
    assert_type(worker.exitcode, Optional[int])
    process = context.Process(target=square, args=(1,), kwargs={})
    assert_type(process, BaseProcess)
    assert_type(mp.get_context("fork"), ForkContext)
    assert_type(mp.get_context("spawn"), SpawnContext)
    assert_type(mp.active_children(), List[BaseProcess])
    mp.Process(target=square, args=[1], deamon=True)  # type: ignore[call-arg]
    mp.set_start_method("spawn", force=True)


def carriers(context: BaseContext) -> None:
    q: mp.Queue[int] = mp.Queue(10)
    q.put(1, timeout=0.5)
    q.put("x")  # type: ignore[arg-type]
    assert_type(q.get(), int)
    assert_type(q.put_many(range(10)), int)
    assert_type(q.get_many(5, timeout=1), List[int])
    q.put_many(["x"])  # type: ignore[list-item]
    other: queues.Queue[Any] = context.Queue()
    jobs: queues.JoinableQueue[str] = mp.JoinableQueue()
    jobs.task_done()
    assert_type(jobs.get_many(2), List[str])
    simple: mp.SimpleQueue[bytes] = mp.SimpleQueue()
    a, b = context.Pipe(duplex=False)
    assert_type(a, Connection)
    with Listener(("localhost", 0), authkey=b"key") as listener:
        assert_type(listener.accept(), Connection)
    Client("/tmp/x").send({1: 2})
    assert_type(wait([a, b], 0.1), List[Connection])
    wait([q, other, simple, socket.socket(), 1, mp.Process().sentinel])


def locks(context: BaseContext) -> None:
    lock = context.Lock()
    with lock:
        assert_type(lock.locked(), bool)
    assert_type(lock.acquire(timeout=1), bool)
    assert_type(mp.Semaphore(3).get_value(), int)
    condition = mp.Condition(lock)
    with condition:
        condition.wait_for(lambda: True, timeout=1)
    event: synchronize.Event = mp.Event()
    event.wait(1)
    mp.Barrier(3, timeout=1).wait()
    mp.install()
    print(mp.OwnerDiedWarning, mp.installed(), mp.backend)
    value = mp.Value("i", 0)
    with value.get_lock():
        print(value.get_obj())
    mp.Array("d", [1.0, 2.0])[0] = 3.0


def pools(context: BaseContext) -> None:
    with mp.Pool(2, retries=1, timeout=5.0, max_memory=1 << 30, name="pool") as workers:
        assert_type(workers, pool.Pool)
        assert_type(workers.map(square, range(10), progress=True), List[int])
        assert_type(workers.apply(name, (1, "x"), retries=2), str)
        result = workers.apply_async(square, (1,), timeout=1)
        assert_type(result.get(timeout=1), int)
        assert_type(result.cancel(), bool)
        both = workers.map_async(square, [1], callback=lambda values: print(values[0] + 1))
        assert_type(both.get(), List[int])
        for x in workers.imap_unordered(square, range(3), chunksize=2):
            assert_type(x, int)
        workers.map(square, ["x"])  # type: ignore[arg-type]
        workers.map(square, [1], 1, 2)  # type: ignore[misc]
    context.Pool(maxtasksperchild=1).terminate()
    pool.ThreadPool(3).close()
    try:
        result.get()
    except mp.WorkerDiedError as error:
        assert_type(error.pid, int)
        assert_type(error.exitcode, Optional[int])
    except mp.TimeoutError:
        pass


def managers() -> None:
    with mp.Manager() as manager:
        assert_type(manager, SyncManager)
        words: DictProxy[str, int] = manager.dict(a=1)
        numbers: ListProxy[int] = manager.list([1, 2])
        print(words["a"], numbers[0])
    BaseManager.register("Thing", callable=list)
    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 1
    ShareableList([1, 2, 3]).shm.unlink()


async def waiting(q: mp.Queue[int], process: mp.Process, end: Connection) -> Tuple[int, Any]:
    await q.put_async(1)
    assert_type(await q.get_async(), int)
    await process.join_async(timeout=1)
    workers = mp.Pool()
    assert_type(await workers.apply_async(square, (1,)), int)
    assert_type(await workers.map_async(square, [1]), List[int])
    return await q.get_async(), await end.recv_async()
