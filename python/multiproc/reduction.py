# SPDX-License-Identifier: MIT
"""How objects are pickled for other processes: the interpreter's reducers, in the library's picklers."""

from . import _core, _stdlib

_stdlib.inherit(globals(), {"pickle": "_pickle", "socket": "_socket"})


def _register(cls, type, reduce):
    """Registers a reduce function for a type."""
    cls._extra_reducers[type] = reduce
    _core.reducers_changed()


ForkingPickler.register = classmethod(_register)
register = ForkingPickler.register


def _sockets_are_there():
    """Called when the program has imported socket: its sockets can be pickled, too."""
    import socket

    register(socket.socket, _reduce_socket)


def _explain(error, thing):
    """Called when a thing could not be pickled: the exception shall name the part that is to blame."""
    from ._explain import explain

    explain(error, thing, ForkingPickler.dumps)
