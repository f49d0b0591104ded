# SPDX-License-Identifier: MIT
"""Contexts: the interpreter's, with this package's options."""

from . import _stdlib

_stdlib.inherit(globals())


class WorkerDiedError(ProcessError):
    """The worker of a pool that ran a task has died; the other tasks are not concerned.

    `pid` is the worker's, `exitcode` what it ended with (negative: the signal that killed it).
    """

    pid = None
    exitcode = None

    def __init__(self, message, pid=None, exitcode=None):
        super().__init__(message, pid, exitcode)
        self.pid = pid
        self.exitcode = exitcode

    def __str__(self):
        return str(self.args[0])


class CancelledError(ProcessError):
    """The task was cancelled by AsyncResult.cancel()."""


def _pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, **options):
    """A pool of worker processes; the options are those of pool.Pool."""
    from .pool import Pool

    return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context(), **options)


def _get_context(inherited):
    def get_context(self, method=None, *, serializer=None):
        """The context of a start method; with a serializer (something with a dumps(), cloudpickle for
        instance, whose pickles pickle.loads() reads) one of its own, which pickles by it what is no plain
        value: lambdas, say, and what a notebook has defined."""
        found = inherited(self, method)
        if serializer is None:
            return found
        if not callable(getattr(serializer, "dumps", None)):
            raise TypeError(f"a serializer has a dumps() function, and {serializer!r} has none")
        own = type(found).__new__(type(found))
        own.__dict__.update(found.__dict__)
        own._dumps = serializer.dumps
        own.serializer = serializer
        if hasattr(type(found), "_actual_context"):
            raise ValueError("a default context has no serializer: name a start method")
        own.Process = type("Process", (found.Process,), {"_context": own})
        return own

    return get_context


BaseContext._dumps = None
BaseContext.serializer = None
BaseContext.Pool = _pool
BaseContext.get_context = _get_context(BaseContext.get_context)
DefaultContext.get_context = _get_context(DefaultContext.get_context)
