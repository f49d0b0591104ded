# SPDX-License-Identifier: MIT
"""The life of a pool's worker: messages of tasks come in one queue, results go out by another.

The worker claims each task on its desk before it begins, so the pool knows what a dead worker was in the
middle of; and it tells of each result at once, so nothing that is done is lost with it.
"""

import os
import signal
import sys
import time

from . import _core, pool, util

__all__ = ["Desk", "work"]

# What a news item is.
RESULT, FAILURE, NOT_UNDERSTOOD, READY, BROKEN, LEAVING, DIED, LOOK = 1, 0, 2, 3, 4, 5, 6, 7
UNPICKLED = 0x100  # added by the receiver: the item is the exception of its unpickling

# What a message holds.
CALLS, MAP, STARMAP, CHUNKS, STARCHUNKS = range(5)


class Desk(_core.Desk):
    """How far the worker has come: in shared memory, for it and the pool."""

    def __reduce__(self):
        from . import context

        context.assert_spawning(self)
        return _rebuild_desk, (context.get_spawning_popen().share(self.export()),)


def _rebuild_desk(handle):
    return Desk(handle.take())


class Interrupted(BaseException):
    """Raised inside a task that is cancelled or has taken too long."""


class _Interrupts:
    """SIGINT ends the task that the pool has named on the desk, and nothing else of the worker."""

    def __init__(self, desk):
        self.desk = desk
        self.at = None  # the task that runs: its message << 32 | its place
        before = signal.getsignal(signal.SIGINT)
        self.ignores = before == signal.SIG_IGN  # as the shell has it for programs in the background
        if self.ignores or before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.handle)

    def handle(self, number, frame):
        note = self.desk.note()
        if not note:
            if self.ignores:
                return
            raise KeyboardInterrupt
        if self.at is not None and note >> 1 == self.at:
            self.at = None
            raise Interrupted


def _caller(kind, func):
    """What runs one task of a message."""
    if kind == MAP:
        return func
    if kind == STARMAP:
        return lambda args: func(*args)
    if kind == CHUNKS:
        return lambda items: [func(item) for item in items]
    if kind == STARCHUNKS:
        return lambda items: [func(*args) for args in items]
    return lambda call: call[0](*call[1], **call[2])


def _memory():
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Worker:
    def __init__(self, number, inbox, outbox, desk, max_tasks, max_memory, wrap):
        self.number = number
        self.inbox = inbox
        self.outbox = outbox
        self.desk = desk
        self.max_tasks = max_tasks
        self.max_memory = max_memory
        self.wrap = wrap
        self.done = 0
        self.over = False
        self.looked = time.monotonic()

    def tell(self, what, obj=None, message=0, task=0):
        _core.put_result(self.outbox, self.number, message, task, what, obj)

    def failure(self, error, func):
        if self.wrap and func is not pool._helper_reraises_exception:
            return pool.ExceptionWithTraceback(error, error.__traceback__)
        return error

    def answer(self, message, task, success, value):
        try:
            self.tell(RESULT if success else FAILURE, value, message, task)
        except Exception as error:
            shown = getattr(value, "exc", value) if type(value) is pool.ExceptionWithTraceback else value
            self.tell(FAILURE, pool.MaybeEncodingError(error, shown), message, task)

    def is_over(self):
        """Whether the worker has done enough, or has too much memory; once it has, it stays so."""
        self.over = self.over or self.has_enough()
        return self.over

    def has_enough(self):
        if self.max_tasks is not None and self.done >= self.max_tasks:
            return True
        if self.max_memory is None or time.monotonic() - self.looked < 0.01:
            return False
        self.looked = time.monotonic()
        return _memory() > self.max_memory

    def run(self, message, kind, func, items):
        """Runs the tasks of a message, as far as they are not recalled."""
        call = _caller(kind, func)
        claim, interrupts = self.desk.claim, self.interrupts
        while True:
            task = claim(message)
            if task < 0 or task >= len(items):
                return
            try:
                interrupts.at = message << 32 | task
                value = call(items[task])
                interrupts.at = None
                success = True
            except Exception as error:
                interrupts.at = None
                value = self.failure(error, items[task][0] if kind == CALLS else func)
                success = False
            except Interrupted:
                value, success = None, False
            self.answer(message, task, success, value)
            value = None
            self.done += 1
            if self.is_over():
                return

    def live(self):
        self.interrupts = _Interrupts(self.desk)
        self.tell(READY)
        message = 0
        while not self.is_over():
            message += 1
            try:
                order = self.inbox.get()
            except Exception as error:
                self.tell(NOT_UNDERSTOOD, self.failure(error, None), message)
                continue
            if order is None:
                util.debug("worker got sentinel -- exiting")
                break
            self.run(message & 0xFFFFFFFF, *order)
            order = None
        util.debug("worker exiting after %d tasks" % self.done)


def work(number, inbox, outbox, desk, initializer, initargs, max_tasks, max_memory, wrap):
    """What a worker's process runs."""
    worker = Worker(number, inbox, outbox, desk, max_tasks, max_memory, wrap)
    if initializer is not None:
        try:
            initializer(*initargs)
        except Exception as error:
            try:
                worker.tell(BROKEN, pool.ExceptionWithTraceback(error, error.__traceback__))
            except Exception:
                worker.tell(BROKEN, RuntimeError(f"the initializer raised {error!r}"))
            raise
    worker.live()
    worker.tell(LEAVING)
    sys.stdout.flush()
