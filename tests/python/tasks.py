# SPDX-License-Identifier: MIT
"""What the workers of pools and the clients of managers run in the Python tests."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import sys
import threading
import time

from targets import WAIT

shared = {}  # in a worker: what its initializer was given


def initialize(things):
    shared.update(things)


def get_kept(name):
    return shared.get(name)


def square(x):
    return x * x


def add(a, b=0, *, c=0):
    return a + b + c


def identity(x):
    return x


def getpid(_=None):
    return os.getpid()


def process_name(package):
    import importlib

    me = importlib.import_module(package).current_process()
    return (me.name, me.daemon)


def fail_on(x, bad):
    if x == bad:
        raise KeyError(f"bad: {x}")
    return x


def fail(text):
    raise ValueError(text)


def wait_kept(name):
    """Waits for an event that the initializer brought; tells its name."""
    if not shared[name].wait(WAIT):
        raise TimeoutError(name)
    return name


def wait_or_pass(name):
    return wait_kept(name) if name else name


def announce(_=None):
    """Says that it runs and waits to be allowed to end."""
    shared["running"].release()
    wait_kept("go")
    return os.getpid()


def announce_and_hang(_=None):
    shared["running"].release()
    while True:
        time.sleep(WAIT)


def unpicklable(_=None):
    return threading.Lock()


def numbers_then_error(count):
    yield from range(count)
    raise LookupError("the input is broken")


class NeedsTwo(Exception):
    """Is pickled, but cannot be made again."""

    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


class HoldsALock(Exception):
    """Cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Poison:
    """Can be pickled, and raises, exits or kills when it is made again."""

    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return make_poison, (self.how, os.getpid())


def make_poison(how, maker):
    if os.getpid() != maker:
        if how == "raise":
            raise ValueError("cannot be made again")
        if how == "exit":
            sys.exit(5)
        die(how)
    return how


def give_poison(how):
    return Poison(how)


def raise_needs_two(_=None):
    raise NeedsTwo(1, 2)


def raise_holds_a_lock(_=None):
    raise HoldsALock("lock")


def die(how, at=None):
    """Ends this process in one of many ways; before, it writes the time down."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if at is not None:
        at = shared[at]
        at.value = time.monotonic()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(WAIT)
    if how == "_exit":
        os._exit(3)
    if how == "SystemExit":
        sys.exit(4)
    faulthandler.disable()  # a death on purpose needs no report
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    return how


def die_or_square(x):
    return x * x if isinstance(x, int) else die(x)


def die_if_first(x, limit=1):
    """Dies until it was called so many times."""
    with shared["calls"].get_lock():
        shared["calls"].value += 1
        number = shared["calls"].value
    if number <= limit:
        die("kill")
    return x, number


def count_and_fail(_=None):
    with shared["calls"].get_lock():
        shared["calls"].value += 1
    raise ValueError("an ordinary exception")


def count_call(x):
    with shared["calls"].get_lock():
        shared["calls"].value += 1
    return x


def hang(_=None):
    while True:
        time.sleep(WAIT)


def spin(_=None):
    """Never looks up from its work."""
    while True:
        pass


def hang_or_square(x):
    return hang() if x is None else x * x


def eat(size):
    """Uses so many bytes of memory, for long enough that somebody looks."""
    data = bytearray(size)
    data[::4096] = b"x" * len(data[::4096])
    time.sleep(0.03)
    return os.getpid()


def add_arrays(a):
    return a + 1


# ---- managers -------------------------------------------------------------------------------------


class Counter:
    """An object for a manager."""

    def __init__(self, start=0):
        self.number = start

    def up(self, by=1):
        self.number += by
        return self.number

    def get(self):
        return self.number

    def parts(self):
        return [1, 2, 3]

    def fail(self):
        raise KeyError("in the server")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def change_dict(proxy, key, value):
    proxy[key] = value


def append_all(proxy, values):
    for value in values:
        proxy.append(value)


def up_many(counter, lock, times):
    for _ in range(times):
        with lock:
            counter.up()


def hold_and_die(lock, conn):
    lock.acquire()
    conn.send("held")
    os.kill(os.getpid(), signal.SIGKILL)


_counter = Counter()


def the_counter():
    """The one object of a server that all its clients share."""
    return _counter


def die_or_fail(x):
    return x * x if isinstance(x, int) else fail(x)


def take(lock, numbers):
    lock.acquire()
    numbers.append("taken")


def take_the_only(lock):
    lock.acquire()
