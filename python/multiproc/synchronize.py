# SPDX-License-Identifier: MIT
"""Locks and their relatives in shared memory, which outlive those who hold them."""

import os
import threading
import time

from . import _core, _stdlib

_stdlib.inherit(globals())


class _Names:
    """In place of the interpreter's module of named semaphores: ours have no names."""

    SemLock = _core.SemLock
    sem_unlink = staticmethod(lambda name: None)


_multiprocessing = _Names
SEM_VALUE_MAX = _core.SEM_VALUE_MAX


os.register_at_fork(after_in_child=_core.count_fork)

_InheritedLock, _InheritedRLock, _InheritedSemaphore = Lock, RLock, Semaphore
_InheritedBoundedSemaphore = BoundedSemaphore


class SemLock(_core.SemLock):
    """What locks and semaphores have in common; a dead holder's lock is handed on with OwnerDiedWarning."""

    def __init__(self, kind, value, maxvalue, *, ctx):
        self._make(kind, value, maxvalue)
        util.debug("created semlock of kind %s", kind)

    @property
    def _semlock(self):
        return self

    def __getstate__(self):
        context.assert_spawning(self)
        return (self.kind, self.maxvalue, context.get_spawning_popen().share(self.export()))

    def __setstate__(self, state):
        kind, maxvalue, handle = state
        self._make(kind, 0, maxvalue, handle=handle.take())
        util.debug("recreated semlock of kind %s", kind)

    def locked(self):
        """Whether none can be taken."""
        return self._is_zero()


class Lock(SemLock):
    """A lock that one process or thread can hold, and any can release."""

    def __init__(self, *, ctx):
        SemLock.__init__(self, SEMAPHORE, 1, 1, ctx=ctx)

    __repr__ = _InheritedLock.__repr__


class RLock(SemLock):
    """A lock that its holder, one thread of one process, can take again."""

    def __init__(self, *, ctx):
        SemLock.__init__(self, RECURSIVE_MUTEX, 1, 1, ctx=ctx)

    __repr__ = _InheritedRLock.__repr__


class Semaphore(SemLock):
    """A counter that is never negative."""

    def __init__(self, value=1, *, ctx):
        SemLock.__init__(self, SEMAPHORE, value, SEM_VALUE_MAX, ctx=ctx)

    def get_value(self):
        return self._get_value()

    __repr__ = _InheritedSemaphore.__repr__


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released beyond its first value."""

    def __init__(self, value=1, *, ctx):
        SemLock.__init__(self, SEMAPHORE, value, value, ctx=ctx)

    __repr__ = _InheritedBoundedSemaphore.__repr__


class Event:
    """A flag that processes wait for."""

    def __init__(self, *, ctx):
        self._event = _core.Event()

    def is_set(self):
        return self._event.is_set()

    def set(self):
        self._event.set()

    def clear(self):
        self._event.clear()

    def wait(self, timeout=None):
        return self._event.wait(timeout)

    def __getstate__(self):
        context.assert_spawning(self)
        return context.get_spawning_popen().share(self._event.export())

    def __setstate__(self, handle):
        self._event = _core.Event(handle.take())

    def __repr__(self):
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"


class _Hidden:
    """In place of the semaphores that the interpreter's Condition is made of."""

    def get_value(self):
        raise NotImplementedError("conditions of this package have no semaphores")


class Condition:
    """Where processes wait for a notification, with a lock of the caller's or their own."""

    _sleeping_count = _woken_count = _wait_semaphore = _Hidden()

    def __init__(self, lock=None, *, ctx):
        self._lock = lock or ctx.RLock()
        self._waiters = _core.Condition()
        self._make_methods()

    def __getstate__(self):
        context.assert_spawning(self)
        return self._lock, context.get_spawning_popen().share(self._waiters.export())

    def __setstate__(self, state):
        self._lock, handle = state
        self._waiters = _core.Condition(handle.take())
        self._make_methods()

    def _make_methods(self):
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self._is_mine = self._lock._semlock._is_mine
        if hasattr(self._lock, "locked"):
            self.locked = self._lock.locked

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *args):
        return self._lock.__exit__(*args)

    def __repr__(self):
        return f"<{type(self).__qualname__}({self._lock!r})>"

    def wait(self, timeout=None):
        """Gives the lock back, waits for a notification, and takes the lock again."""
        if not self._is_mine():
            raise AssertionError("must acquire() condition before using wait()")
        count = self._lock._semlock._count()
        self._waiters.prepare()  # from now on no notification is lost
        for _ in range(count):
            self._lock.release()
        try:
            return self._waiters.wait(timeout)
        finally:
            for _ in range(count):
                self._lock.acquire()

    def notify(self, n=1):
        """Wakes n of those that wait."""
        if not self._is_mine():
            raise AssertionError("lock is not owned")
        self._waiters.notify(n)

    def notify_all(self):
        """Wakes all that wait."""
        self.notify(0x7FFFFFFF)

    def wait_for(self, predicate, timeout=None):
        """Waits until predicate() is true; its value, which is false when the time is up."""
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result


class Barrier(threading.Barrier):
    """Where processes wait for each other; it breaks when one of them is killed."""

    def __init__(self, parties, action=None, timeout=None, *, ctx):
        if parties < 1:
            raise ValueError("parties must be > 0")
        self._parties = parties
        self._action = action
        self._timeout = timeout
        self._barrier = _core.Barrier(parties)

    def __getstate__(self):
        context.assert_spawning(self)
        handle = context.get_spawning_popen().share(self._barrier.export())
        return self._parties, self._action, self._timeout, handle

    def __setstate__(self, state):
        self._parties, self._action, self._timeout, handle = state
        self._barrier = _core.Barrier(self._parties, handle.take())

    def __repr__(self):
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self._parties}"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"

    def wait(self, timeout=None):
        """Waits until all have come; a number from 0 to parties - 1, another one for each of them."""
        index = self._barrier.wait(self._action, self._timeout if timeout is None else timeout)
        if index is None:
            raise threading.BrokenBarrierError
        return index

    def reset(self):
        self._barrier.reset()

    def abort(self):
        self._barrier.abort()

    @property
    def n_waiting(self):
        return self._barrier.waiting()

    @property
    def broken(self):
        return self._barrier.broken()
