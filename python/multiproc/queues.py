# SPDX-License-Identifier: MIT
"""Queues in shared memory: an item is there when put() has returned, and no thread feeds it."""

import types

from . import _core, _stdlib

_stdlib.inherit(globals())

_InheritedQueue = Queue

# The interpreter's queues, whole, with their own names about them.
_inherited = {"__name__": __name__, "__package__": __package__}
_stdlib.inherit(_inherited)
_inherited["connection"] = connection.Streams  # the interpreter's own may be at the other end
_ours = ()


class _Kind(type(_core.Queue)):
    """A class that carries the items itself and says so by a __getstate__ of its own, as loky's do, derives
    from the interpreter's queue, whatever it names as its base."""

    def __new__(mcls, name, bases, namespace, **options):
        if "__getstate__" in namespace and any(base in _ours for base in bases):
            bases = tuple(_inherited[base.__name__] if base in _ours else base for base in bases)
            return type(name, bases, namespace, **options)
        return super().__new__(mcls, name, bases, namespace, **options)

    def __instancecheck__(cls, thing):
        return super().__instancecheck__(thing) or (
            cls in _ours and isinstance(thing, _inherited[cls.__name__])
        )


class _End:
    """What stands for one end of a queue where programs look for a connection."""

    def __init__(self, queue):
        self._queue = queue
        self.closed = False

    def fileno(self):
        return self._queue.fileno()

    def poll(self, timeout=0.0):
        if not self._queue.empty():
            return True
        return bool(connection.wait([self.fileno()], timeout)) and not self._queue.empty()

    def recv(self):
        return _core.Queue.get(self._queue)

    def send(self, obj):
        _core.Queue.put(self._queue, obj)

    def close(self):
        self.closed = True


class _Shared(_core.Queue, metaclass=_Kind):
    """What all queues have in common: the queue of the library, from which put, get and the rest come."""

    _joinable = False
    _not_pickled = None

    def _set_up(self, ctx=None):
        self._dumps = getattr(ctx, "_dumps", None)
        self._reader = _End(self)
        self._writer = _End(self)

    def __getstate__(self):
        context.assert_spawning(self)
        return (self._maxsize, self._dumps, context.get_spawning_popen().share(self._export()))

    def __setstate__(self, state):
        self._maxsize, dumps, handle = state
        self._make(0, False, handle.take())
        self._set_up()
        self._dumps = dumps

    def __repr__(self):
        state = "closed" if self._closed else f"{self.qsize()} items"
        if self._maxsize > 0 and not self._closed:
            state = f"{self.qsize()} of {self._maxsize} items"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"

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
    """A queue that any number of processes put into and get from.

    An item is there when put() has returned, and a process that has put something may end at once.  A large
    array is copied once, into shared memory, and received as a view of it.
    """

    def __init__(self, maxsize=0, *, ctx):
        self._maxsize = maxsize
        self._make(max(maxsize, 0), self._joinable, None)
        self._set_up(ctx)

    def _not_pickled(self, error, obj):
        try:
            raise error
        except Exception:  # the report looks at the exception that is being handled
            self._on_queue_feeder_error(error, obj)

    def get_nowait(self):
        return self.get(False)

    def put_nowait(self, obj):
        return self.put(obj, False)

    async def get_async(self):
        """Like get(), for asyncio: waits for the queue's descriptor."""
        from ._asyncio import readable

        while True:
            try:
                return self.get(False)
            except Empty:
                await readable(self.fileno())

    async def put_async(self, obj):
        """Like put(), for asyncio.  A full queue has no descriptor: it is looked at now and then."""
        import asyncio

        pause = 0.0005
        while True:
            try:
                return self.put(obj, False)
            except Full:
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.02)

    def close(self):
        self._closed = True

    def join_thread(self):
        """Nothing to wait for: what was put is in the queue."""

    def cancel_join_thread(self):
        """Nothing to cancel: what was put is in the queue."""

    _on_queue_feeder_error = staticmethod(_InheritedQueue._on_queue_feeder_error)

    def __class_getitem__(cls, item):
        return types.GenericAlias(cls, item)


class JoinableQueue(Queue):
    """A queue whose items are said to be done."""

    _joinable = True
    task_done = _core.Queue._task_done
    join = _core.Queue._join


class SimpleQueue(_Shared):
    """A queue without bound, timeouts and joining."""

    _maxsize = 0

    def __init__(self, *, ctx):
        self._make(0, False, None)
        self._set_up(ctx)

    def close(self):
        self._closed = True
        self._reader.close()
        self._writer.close()

    __class_getitem__ = classmethod(types.GenericAlias)


_ours = (Queue, JoinableQueue, SimpleQueue)
