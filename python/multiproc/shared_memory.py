# SPDX-License-Identifier: MIT
"""Shared memory with a name: the interpreter's, but that whoever attaches to a block never takes its name
away, unless it asks for that by track=True."""

from . import _stdlib

_stdlib.inherit(globals())


class _Tracker:
    """The tracker of names, which is told of those that this process has made only."""

    def __init__(self, tracker):
        self._tracker = tracker
        self.silent = False

    def register(self, name, kind):
        if not self.silent:
            self._tracker.register(name, kind)

    def __getattr__(self, name):
        return getattr(self._tracker, name)


resource_tracker = _Tracker(resource_tracker)
_InheritedSharedMemory = SharedMemory


class SharedMemory(_InheritedSharedMemory):
    """A block of shared memory with a name.

    track: whether the name is taken away when this program ends.  By default whoever creates the block
    tracks it, and whoever attaches to it does not.
    """

    def __init__(self, name=None, create=False, size=0, *, track=None):
        resource_tracker.silent = not create if track is None else not track
        try:
            super().__init__(name, create, size)
        finally:
            tracked, resource_tracker.silent = not resource_tracker.silent, False
        self._tracked = self._track = tracked

    def unlink(self):
        """Takes the name away."""
        if not self._tracked:  # its maker's tracker may know it or not: let it know, and then forget
            resource_tracker.register(self._name, "shared_memory")
            self._track = True
        super().unlink()
