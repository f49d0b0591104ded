# SPDX-License-Identifier: MIT
"""Shared memory with a name: the interpreter's, but that whoever attaches to a block never takes its name
away, unless it asks for that by track=True."""

import threading

from . import _stdlib, resource_tracker

_stdlib.inherit(globals())


_InheritedSharedMemory = SharedMemory
_register = resource_tracker.register
_asked = threading.local()  # of a thread that attaches: silent


def _register_own(name, kind):
    """Tells the tracker of the names that this process has made only."""
    if not getattr(_asked, "silent", False):
        _register(name, kind)


resource_tracker.register = _register_own


class SharedMemory(_InheritedSharedMemory):
    """A block of shared memory with a name.

    track: whether the name is taken away when this program ends.  By default whoever creates the block
    tracks it, and whoever attaches to it does not.
    """

    def __init__(self, name=None, create=False, size=0, *, track=None):
        tracked = create if track is None else bool(track)
        _asked.silent = not tracked
        try:
            super().__init__(name, create, size)
        finally:
            _asked.silent = False
        self._tracked = self._track = tracked

    def unlink(self):
        """Takes the name away."""
        if not self._tracked:  # its maker's tracker may know it or not: let it know, and then forget
            _register(self._name, "shared_memory")
            self._track = True
        super().unlink()
