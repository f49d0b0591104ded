# SPDX-License-Identifier: MIT
# Connections, by pipes and sockets.
from collections.abc import Iterable
from multiprocessing import connection as _connection
from multiprocessing.connection import (
    answer_challenge as answer_challenge,
    deliver_challenge as deliver_challenge,
)
from typing import Any, TypeVar, Union
from typing_extensions import TypeAlias

__all__ = ["Client", "Listener", "Pipe", "wait"]

_Address: TypeAlias = Union[str, tuple[str, int]]
_W = TypeVar("_W")

class Connection(_connection.Connection):
    async def recv_async(self) -> Any: ...

class Listener(_connection.Listener):
    def accept(self) -> Connection: ...

def Client(address: _Address, family: str | None = None, authkey: bytes | None = None) -> Connection: ...
def Pipe(duplex: bool = True) -> tuple[Connection, Connection]: ...

# Of connections, queues, sockets, descriptors and what has a fileno().
def wait(object_list: Iterable[_W], timeout: float | None = None) -> list[_W]: ...
