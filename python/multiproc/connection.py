# SPDX-License-Identifier: MIT
"""Pipes whose messages are packets, and sockets that speak the interpreter's own wire format."""

from . import _core, _stdlib

_stdlib.inherit(globals())


class Connection(_core.Connection):
    """One end of a pipe, or a connected socket: messages go over it."""

    def __repr__(self):
        state = "closed" if self.closed else f"fd {self.fileno()}"
        way = "" if self.readable and self.writable else ", receives" if self.readable else ", sends"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}{way}>"

    async def recv_async(self):
        """Like recv(), for asyncio: waits for the descriptor."""
        from ._asyncio import readable

        while not self.poll():
            await readable(self.fileno())
        return self.recv()

    def _send_bytes(self, buf):
        self.send_bytes(buf)

    def _check_closed(self):
        if self.closed:
            raise OSError("handle is closed")

    def _check_readable(self):
        if not self.readable:
            raise OSError("connection is write-only")

    def _check_writable(self):
        if not self.writable:
            raise OSError("connection is read-only")


reduction.register(Connection, reduce_connection)


def Pipe(duplex=True):
    """Returns a pair of connection objects at either end of a pipe."""
    return Connection._pair(duplex)


class Streams:
    """Pipes as the interpreter makes them, of bytes, for where its own connections may be at the other end."""

    wait = staticmethod(wait)

    @staticmethod
    def Pipe(duplex=True):
        if duplex:
            first, second = socket.socketpair()
            return Connection(first.detach()), Connection(second.detach())
        receiver, sender = os.pipe()
        return Connection(receiver, writable=False), Connection(sender, readable=False)
