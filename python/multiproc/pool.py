# SPDX-License-Identifier: MIT
"""Pools that no dead worker can hang: the interpreter's interface over the engine of this package."""

from . import _stdlib

_stdlib.inherit(globals())

from . import _engine  # noqa: E402
from . import _worker as _wire  # noqa: E402
from .context import CancelledError, WorkerDiedError  # noqa: E402

_InheritedPool = Pool
_InheritedMapResult = MapResult


class _Result:
    """What all results can do besides."""

    _task_source = None  # the job, and its engine

    def _submit(self, engine, job):
        self._task_source = engine, job
        engine.post(engine.submit, job)

    def cancel(self):
        """Cancels what has not begun and interrupts what runs; cancelled tasks raise CancelledError.
        Returns how many tasks had not begun."""
        engine, job = self._task_source
        return engine.cancel(job, self)


class ApplyResult(_Result, ApplyResult):
    """The result of a call, which may not be there yet."""

    def _set(self, i, obj):
        self._success, self._value = obj
        self._done()

    def _is_done(self):
        return self._event.is_set()

    def _done(self):
        try:
            callback = self._callback if self._success else self._error_callback
            if callback:
                callback(self._value)
        finally:
            self._cache.pop(self._job, None)
            self._event.set()
            self._pool = None
            waker = self.__dict__.pop("_waker", None)
            if waker:
                waker()

    def _fail(self, error):
        if not self.ready():
            self._success, self._value = False, error
            self._done()

    def __await__(self):
        from ._asyncio import result_of

        return result_of(self).__await__()


AsyncResult = ApplyResult


class MapResult(ApplyResult):
    """The list of the results of many calls."""

    def __init__(self, pool, chunksize, length, callback, error_callback):
        ApplyResult.__init__(self, pool, callback, error_callback)
        self._success = True
        self._value = [None] * length
        self._chunksize = chunksize
        self._progress = None
        self._bare = False  # a result is a value, and not a list
        if chunksize <= 0:
            self._number_left = 0
            self._done()
        else:
            self._number_left = length // chunksize + bool(length % chunksize)

    def _set(self, i, success_result):
        self._number_left -= 1
        success, result = success_result
        if not success:
            if self._success:  # the first one counts
                self._success, self._value = False, result
        elif self._success:
            if self._bare:
                self._value[i] = result
            else:
                self._value[i * self._chunksize : (i + 1) * self._chunksize] = result
        if self._progress is not None:
            self._progress.step()
        if self._number_left == 0:
            self._done()


class IMapIterator(_Result, IMapIterator):
    """Results one by one, in the order of their arguments."""

    _taken = None  # for a bounded number of results: a semaphore

    def __init__(self, pool):
        super().__init__(pool)
        self._at = 0  # the next result that is handed out
        self._there = {}  # those that came and were not handed out
        self._came = 0
        self._sleeps = False

    def _take(self):
        """The next result; KeyError."""
        item = self._there.pop(self._at)
        self._at += 1
        return item

    def next(self, timeout=None):
        try:
            success, value = self._there.pop(self._at)
        except KeyError:
            success, value = self._wait(timeout)
        else:
            self._at += 1
        if self._taken is not None:
            self._taken.release()
        if success:
            return value
        raise value

    __next__ = next

    def _wait(self, timeout):
        end = None if timeout is None else time.monotonic() + timeout
        with self._cond:
            while True:
                self._sleeps = True  # from here on whoever adds a result wakes us
                try:
                    return self._take()
                except KeyError:
                    pass
                if self._at == self._length:
                    self._pool = None
                    raise StopIteration from None
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError from None
                self._cond.wait(left)

    def _set(self, i, obj):
        self._there[i] = obj
        self._came += 1
        if self._sleeps or self._came == self._length:
            self._wake()

    def _wake(self):
        with self._cond:
            self._sleeps = False
            if self._came == self._length and self._cache.pop(self._job, None):
                self._pool = None
            self._cond.notify_all()

    def _set_length(self, length):
        self._length = length
        self._wake()

    def _is_done(self):
        return self._came == self._length

    def _fail(self, error):
        """All that did not come fails: at the place of the first of them, and then it is over."""
        with self._cond:
            self._there[self._at + len(self._there)] = (False, error)
            at, there = self._at, self._there
            self._there = {at + k: there[i] for k, i in enumerate(sorted(there))}
            self._length = self._came = at + len(there)
        self._wake()


class IMapUnorderedIterator(IMapIterator):
    """Results one by one, as they come."""

    def _set(self, i, obj):
        IMapIterator._set(self, self._came, obj)


class _Feeder:
    """Reads an iterable in a thread of its own, because that may take long, and no further ahead than
    needed."""

    AHEAD = 2048  # tasks that wait to be sent

    def __init__(self, engine, job, iterable, buffersize):
        self.engine, self.job, self.iterable = engine, job, iterable
        self.taken = threading.Semaphore(buffersize) if buffersize else None
        job.result._taken = self.taken
        job.low = threading.Event()
        threading.Thread(target=self.run, name="pool-feeder", daemon=True).start()

    def may_go_on(self):
        job, engine = self.job, self.engine
        while job.waiting() >= self.AHEAD and engine.state != TERMINATE and engine.error is None:
            job.low.clear()
            if job.waiting() >= self.AHEAD:
                job.low.wait(0.1)
        while self.taken is not None and not self.taken.acquire(timeout=0.1):
            if engine.state == TERMINATE or engine.error is not None:
                return False
        return engine.state != TERMINATE and engine.error is None

    def run(self):
        count = 0
        try:
            for item in self.iterable:
                if not self.may_go_on():
                    return
                self.engine.feed(self.job, item)
                count += 1
                self.engine.figures["tasks"] += 1
        except Exception as error:  # is the result of the task that there is not
            self.job.result._set(count, (False, error))
            count += 1
        self.job.result._set_length(count)
        self.engine.inputs.append((self.engine.settle, (self.job,)))
        self.engine.knock()


class Pool(_InheritedPool):
    """Worker processes that run tasks.

    A worker that dies takes with it the one task that it was running, which fails with WorkerDiedError; it is
    replaced, and all other tasks finish.  Besides the interpreter's options:

    retries     a task is run again so often if its worker dies
    timeout     seconds that a task may take: then its worker is killed, and it fails with TimeoutError
    max_memory  bytes: a worker that has more of it after a task is replaced
    name        of the workers: name-1, name-2 ...

    A subclass that makes queues of its own (_setup_queues) runs on the interpreter's engine, without those.
    """

    _engine = None
    _state = INIT

    def __init__(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None,
                 *, retries=0, timeout=None, max_memory=None, name=None):
        if type(self)._setup_queues is not _InheritedPool._setup_queues:
            _InheritedPool.__init__(self, processes, initializer, initargs, maxtasksperchild, context)
            return
        self._pool = []
        self._state = INIT
        self._ctx = context or get_context()
        if processes is None:
            processes = _default_processes()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            if not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0:
                raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._limits = {"retries": retries, "timeout": timeout}
        options = {"maxtasksperchild": maxtasksperchild, "max_memory": max_memory, "name": name}
        engine = _engine.Engine(self._ctx, self.Process, processes, initializer, initargs, options,
                                self._limits, self._wrap_exception)
        self._pool, self._cache = engine.pool, engine.cache
        try:
            engine.start()
        except BaseException:
            _stop_workers(engine.pool)
            raise
        self._engine = engine
        self._terminate = util.Finalize(self, engine.terminate, exitpriority=15)
        self._state = RUN

    def __del__(self, _warn=warnings.warn, RUN=RUN):
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def _repopulate_pool(self):
        if self._engine is None:
            return super()._repopulate_pool()
        there = threading.Event()
        self._engine.post(lambda: (self._engine.repopulate(), there.set()))
        there.wait(30)

    def _job(self, result, kind, func, items, limits):
        for name in limits:
            if name not in ("retries", "timeout", "soft_timeout"):
                raise TypeError(f"unexpected keyword argument {name!r}")
        return _engine.Job(result, kind, func, items, **{**self._limits, **limits})

    def apply(self, func, args=(), kwds={}, **limits):
        """Equivalent of `func(*args, **kwds)`."""
        return self.apply_async(func, args, kwds, **limits).get()

    def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None, **limits):
        """Asynchronous version of `apply()`.  Keyword options: retries, timeout, and soft_timeout, after
        which a task is interrupted."""
        if self._engine is None:
            return super().apply_async(func, args, kwds, callback, error_callback)
        self._check_running()
        result = ApplyResult(self, callback, error_callback)
        if limits or self._limits["timeout"]:
            return self._run(result, _wire.CALLS, None, [(func, args, kwds)], limits)
        result._task_source = self._engine, self._engine.calls
        try:
            self._engine.post(self._engine.call, result, (func, args, kwds))
        except BaseException:
            self._cache.pop(result._job, None)
            raise
        return result

    def _run(self, result, kind, func, items, limits):
        try:
            result._submit(self._engine, self._job(result, kind, func, items, limits))
        except BaseException:
            self._cache.pop(result._job, None)
            raise
        return result

    def _map_async(self, func, iterable, mapper, chunksize=None, callback=None, error_callback=None,
                   progress=False, **limits):
        if self._engine is None:
            return super()._map_async(func, iterable, mapper, chunksize, callback, error_callback)
        self._check_running()
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        if chunksize is None:
            chunksize = -(-len(iterable) // (self._processes * 4))
        if len(iterable) == 0:
            chunksize = 0
        result = MapResult(self, chunksize, len(iterable), callback, error_callback)
        if chunksize <= 0:
            return result
        star = mapper is starmapstar
        if progress:
            from ._progress import Bar

            result._progress = Bar(result._number_left)
        if chunksize == 1:
            result._bare = True
            items, kind = list(iterable), _wire.STARMAP if star else _wire.MAP
        else:
            items, kind = list(_chunks(iterable, chunksize)), _wire.STARCHUNKS if star else _wire.CHUNKS
        return self._run(result, kind, func, items, limits)

    def map(self, func, iterable, chunksize=None, **options):
        """Calls `func` with each element and returns the list of the results.  Keyword options: those of
        apply_async(), and progress=True, a bar on standard error if that is a terminal."""
        return self._map_async(func, iterable, mapstar, chunksize, **options).get()

    def starmap(self, func, iterable, chunksize=None, **options):
        """Like `map()`, with the elements as the arguments of `func`."""
        return self._map_async(func, iterable, starmapstar, chunksize, **options).get()

    def map_async(self, func, iterable, chunksize=None, callback=None, error_callback=None, **options):
        """Asynchronous version of `map()`."""
        return self._map_async(func, iterable, mapstar, chunksize, callback, error_callback, **options)

    def starmap_async(self, func, iterable, chunksize=None, callback=None, error_callback=None, **options):
        """Asynchronous version of `starmap()`."""
        return self._map_async(func, iterable, starmapstar, chunksize, callback, error_callback, **options)

    def _imap(self, kind_of_result, func, iterable, chunksize, buffersize, limits):
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        result = kind_of_result(self)
        kind = _wire.MAP
        if chunksize > 1:
            kind, iterable = _wire.CHUNKS, _chunks(iterable, chunksize)
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize!r}")
        if type(iterable) in (list, tuple, range) and not buffersize and len(iterable) < 100000:
            result._set_length(len(iterable))
            if iterable:
                self._run(result, kind, func, list(iterable), limits)
        else:
            self._run(result, kind, func, [], limits)
            _Feeder(self._engine, result._task_source[1], iterable, buffersize)
        return result if chunksize == 1 else (item for chunk in result for item in chunk)

    def imap(self, func, iterable, chunksize=1, buffersize=None, **limits):
        """Like `map()`, with the results one by one.  At most `buffersize` elements are taken ahead of the
        results that were handed out."""
        if self._engine is None:
            return super().imap(func, iterable, chunksize)
        return self._imap(IMapIterator, func, iterable, chunksize, buffersize, limits)

    def imap_unordered(self, func, iterable, chunksize=1, buffersize=None, **limits):
        """Like `imap()`, with the results as they come."""
        if self._engine is None:
            return super().imap_unordered(func, iterable, chunksize)
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize, buffersize, limits)

    def _check_running(self):
        if self._state != RUN:
            raise ValueError("Pool not running")
        if self._engine is not None and self._engine.error is not None:
            raise self._engine.error

    def close(self):
        """No more tasks; the workers end when all are done."""
        if self._engine is None:
            return super().close()
        if self._state == RUN:
            self._state = CLOSE
            self._engine.close()

    def terminate(self):
        """Ends the workers at once; what is not done fails."""
        if self._engine is None:
            return super().terminate()
        self._state = TERMINATE
        self._terminate()

    def join(self):
        """Waits until all workers have ended, after close() or terminate()."""
        if self._engine is None:
            return super().join()
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._engine.join()

    def info(self):
        """Figures of the pool and of its workers, as a dict."""
        return self._engine.info()


def _default_processes():
    count = getattr(os, "process_cpu_count", None) or (lambda: len(os.sched_getaffinity(0)))
    return count() or 1


def _stop_workers(processes):
    for process in processes:
        if process.exitcode is None:
            process.terminate()
    for process in processes:
        process.join()


def _chunks(iterable, size):
    if type(iterable) in (list, tuple, range):
        for i in range(0, len(iterable), size):
            yield iterable[i : i + size]
        return
    iterator = iter(iterable)
    while True:
        chunk = tuple(itertools.islice(iterator, size))
        if not chunk:
            return
        yield chunk


class ThreadPool(ThreadPool, Pool):
    """A pool of threads, on the interpreter's engine."""
