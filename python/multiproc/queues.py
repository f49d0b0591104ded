# SPDX-License-Identifier: MIT
"""Queues in shared memory: an item is there when put() has returned, and no thread feeds it."""

import types

from . import _core, _stdlib

_stdlib.inherit(globals())

_InheritedQueue = Queue


class _End:
    """What stands for one end of a queue where programs look for a connection."""

    def __init__(self, queue):
        self._queue = queue
        self.closed = False

    def fileno(self):
        return self._queue._core.fileno()

    def poll(self, timeout=0.0):
        if not self._queue._core.empty():
            return True
        return bool(connection.wait([self.fileno()], timeout)) and not self._queue._core.empty()

    def recv(self):
        return self._queue._core.get()

    def send(self, obj):
        self._queue._core.put(obj)

    def close(self):
        self.closed = True


class _Shared:
    """What all queues have in common."""

    _joinable = False

    def _make(self, maxsize, ctx):
        self._maxsize = maxsize
        self._core = _core.Queue(max(maxsize, 0), self._joinable)
        self._set_up()

    def _set_up(self):
        self._reader = _End(self)
        self._writer = _End(self)
        self._closed = False

    def __getstate__(self):
        context.assert_spawning(self)
        return (self._maxsize, context.get_spawning_popen().share(self._core.export()))

    def __setstate__(self, state):
        self._maxsize, handle = state
        self._core = _core.Queue(value=handle.take())
        self._set_up()

    def _check(self):
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def empty(self):
        return self._core.empty()

    def _poll(self, timeout=0.0):
        return self._reader.poll(timeout)

    @property
    def _rlock(self):
        """Of this process only: no lock is held by a process that gets or puts."""
        return self.__dict__.setdefault("_process_rlock", threading.Lock())

    @property
    def _wlock(self):
        return self.__dict__.setdefault("_process_wlock", threading.Lock())


class Queue(_Shared):
    """A queue that any number of processes put into and get from."""

    def __init__(self, maxsize=0, *, ctx):
        self._make(maxsize, ctx)

    def put(self, obj, block=True, timeout=None):
        self._check()
        try:
            self._core.put(obj, block, timeout)
        except Full:
            raise
        except Exception as error:
            self._on_queue_feeder_error(error, obj)

    def get(self, block=True, timeout=None):
        self._check()
        return self._core.get(block, timeout)

    def put_many(self, objs, block=True, timeout=None):
        """Puts all objects of an iterable, in their order; how many were put."""
        self._check()
        return self._core.put_many(objs, block, timeout)

    def get_many(self, most, block=True, timeout=None):
        """Waits for one item and gets up to `most` that are there."""
        self._check()
        return self._core.get_many(most, block, timeout)

    def qsize(self):
        return self._core.qsize()

    def full(self):
        return self._core.full()

    def get_nowait(self):
        return self.get(False)

    def put_nowait(self, obj):
        return self.put(obj, False)

    def close(self):
        self._closed = True

    def join_thread(self):
        """Nothing to wait for: what was put is in the queue."""

    def cancel_join_thread(self):
        """Nothing to cancel: what was put is in the queue."""

    def fileno(self):
        """A descriptor that is readable while the queue is not empty."""
        return self._core.fileno()

    _on_queue_feeder_error = staticmethod(_InheritedQueue._on_queue_feeder_error)

    def __class_getitem__(cls, item):
        return types.GenericAlias(cls, item)


class JoinableQueue(Queue):
    """A queue whose items are said to be done."""

    _joinable = True

    def task_done(self):
        self._core.task_done()

    def join(self):
        self._core.join()


class SimpleQueue(_Shared):
    """A queue without bound, timeouts and joining."""

    def __init__(self, *, ctx):
        self._make(0, ctx)

    def get(self):
        return self._core.get()

    def put(self, obj):
        self._core.put(obj)

    def close(self):
        self._closed = True
        self._reader.close()
        self._writer.close()

    __class_getitem__ = classmethod(types.GenericAlias)


