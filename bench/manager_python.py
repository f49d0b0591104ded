# SPDX-License-Identifier: MIT
"""The standard library's managers and connections, as a peer of bench_manager.c.

manager_python.py ADDRESS

Starts a SyncManager at the path ADDRESS, whose key is b"bench", with a dict and a list, and answers
lines on standard input with a figure each: "ready" with 1, when it is served; "dict SECONDS" and "queue SECONDS"
with calls per second of one client; "connect SECONDS" and "key SECONDS" with connections per second,
without and with a key; "fan CLIENTS SECONDS" with calls per second of so many clients, each a thread.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import threading
import time
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import SyncManager
from typing import Any, Callable, List, Optional

KEY = b"bench"


def end_with_parent() -> None:
    """When the benchmark is killed, so is this process (prctl's PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def rate(step: Callable[[int], Any], calls: int, seconds: float) -> float:
    """Calls per second of steps that make so many calls each."""
    done = 0
    start = time.monotonic()
    while True:
        for i in range(20):
            step(i)
        done += 20 * calls
        spent = time.monotonic() - start
        if spent >= seconds:
            return done / spent


def dict_rate(manager: SyncManager, seconds: float) -> float:
    held = manager.dict()

    def step(i: int) -> None:
        held["key"] = i
        held["key"]

    return rate(step, 2, seconds)


def queue_rate(manager: SyncManager, seconds: float) -> float:
    queue = manager.Queue()

    def step(i: int) -> None:
        queue.put(i)
        queue.get()

    return rate(step, 2, seconds)


def accept(listener: Listener) -> None:
    end_with_parent()
    while True:
        try:
            listener.accept().close()
        except EOFError:
            pass


def connect_rate(key: Optional[bytes], seconds: float) -> float:
    listener = Listener(family="AF_UNIX", backlog=128, authkey=key)
    process = multiprocessing.get_context("fork").Process(target=accept, args=(listener,), daemon=True)
    process.start()
    try:
        return rate(lambda i: Client(listener.address, authkey=key).close(), 1, seconds)
    finally:
        process.kill()
        process.join()
        listener.close()


def fan_rate(manager: SyncManager, clients: int, seconds: float) -> float:
    held, items = manager.dict(), manager.list()
    counts: List[int] = [0] * clients
    ready = threading.Barrier(clients + 1)
    over = threading.Event()

    def client(number: int) -> None:
        held[number] = 0  # connects
        ready.wait()
        while not over.is_set():
            items.append(number)
            held[number] = counts[number]
            counts[number] += 2

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.monotonic()
    time.sleep(seconds)
    figure = sum(counts) / (time.monotonic() - start)
    over.set()
    for thread in threads:
        thread.join()
    return figure


def main() -> None:
    manager = SyncManager(address=sys.argv[1], authkey=KEY)
    manager.start(end_with_parent)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "ready":
            figure = 1.0
        elif words[0] == "fan":
            figure = fan_rate(manager, int(words[1]), float(words[2]))
        elif words[0] in ("connect", "key"):
            figure = connect_rate(KEY if words[0] == "key" else None, float(words[1]))
        else:
            run = dict_rate if words[0] == "dict" else queue_rate
            figure = run(manager, float(words[1]))
        print(f"{figure:.9g}", flush=True)
    manager.shutdown()


if __name__ == "__main__":
    main()
