# SPDX-License-Identifier: MIT
"""The memory of values and arrays: blocks of the family's shared memory, without files or descriptors."""

from . import _core, _stdlib, context, reduction

_stdlib.inherit(globals())


class Arena:
    """A block that the heap cuts into pieces."""

    def __init__(self, size, fd=-1):
        self.size = size
        self.fd = fd
        self._set(_core.Block(size))

    def _set(self, block):
        self._block = block
        self.buffer = memoryview(block)

    def __getstate__(self):
        context.assert_spawning(self)
        return self.size, context.get_spawning_popen().share(self._block.export())

    def __setstate__(self, state):
        self.size, handle = state
        self.fd = -1
        self._set(_core.Block(self.size, handle=handle.take()))


def _reduce_arena(arena):
    return _rebuild_arena, arena.__getstate__()


def _rebuild_arena(*state):
    arena = Arena.__new__(Arena)
    arena.__setstate__(state)
    return arena


reduction.register(Arena, _reduce_arena)
