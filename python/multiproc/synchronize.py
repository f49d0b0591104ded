# SPDX-License-Identifier: MIT
"""Locks and their relatives in shared memory, which outlive those who hold them."""

from . import _core, _stdlib

_stdlib.inherit(globals())


class _Names:
    """In place of the interpreter's module of named semaphores: ours have no names."""

    SemLock = _core.SemLock
    sem_unlink = staticmethod(lambda name: None)


_multiprocessing = _Names
SEM_VALUE_MAX = _core.SEM_VALUE_MAX


def _init(self, kind, value, maxvalue, *, ctx):
    self._semlock = _core.SemLock(kind, value, maxvalue)
    util.debug("created semlock of kind %s", kind)
    self._make_methods()
    util.register_after_fork(self, _after_fork)


def _after_fork(self):
    self._semlock._after_fork()


def _getstate(self):
    context.assert_spawning(self)
    s = self._semlock
    return (s.kind, s.maxvalue, context.get_spawning_popen().share(s.export()))


def _setstate(self, state):
    kind, maxvalue, handle = state
    self._semlock = _core.SemLock(kind, 0, maxvalue, handle=handle.take())
    util.debug("recreated semlock of kind %s", kind)
    self._make_methods()


def _locked(self):
    """Whether none can be taken."""
    return self._semlock._is_zero()


SemLock.__init__ = _init
SemLock.__getstate__ = _getstate
SemLock.__setstate__ = _setstate
SemLock.locked = _locked


class Event:
    """A flag that processes wait for."""

    def __init__(self, *, ctx):
        self._event = _core.Event()
        self._set_up()

    def _set_up(self):
        self.is_set = self._event.is_set
        self.set = self._event.set
        self.clear = self._event.clear
        self.wait = self._event.wait

    def __getstate__(self):
        context.assert_spawning(self)
        return context.get_spawning_popen().share(self._event.export())

    def __setstate__(self, handle):
        self._event = _core.Event(handle.take())
        self._set_up()

    def __repr__(self):
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"
