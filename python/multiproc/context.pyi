# SPDX-License-Identifier: MIT
# Contexts: what makes processes, queues, locks and pools of one start method.
from collections.abc import Callable, Iterable
from multiproc import connection, pool, process, queues, synchronize
from multiprocessing import context as _context
from multiprocessing.context import (
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
    assert_spawning as assert_spawning,
    get_spawning_popen as get_spawning_popen,
    set_spawning_popen as set_spawning_popen,
)
from typing import Any, ClassVar, Literal, Union, overload
from typing_extensions import TypeAlias

_LockLike: TypeAlias = Union[synchronize.Lock, synchronize.RLock]

class CancelledError(ProcessError): ...

class WorkerDiedError(ProcessError):
    pid: int
    exitcode: int | None

class BaseContext(_context.BaseContext):
    Process: ClassVar[type[process.BaseProcess]]
    serializer: Any
    @staticmethod
    def current_process() -> process.BaseProcess: ...
    @staticmethod
    def parent_process() -> process.BaseProcess | None: ...
    @staticmethod
    def active_children() -> list[process.BaseProcess]: ...  # type: ignore[override]
    def Pipe(self, duplex: bool = True) -> tuple[connection.Connection, connection.Connection]: ...
    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore: ...
    def Event(self) -> synchronize.Event: ...
    def Lock(self) -> synchronize.Lock: ...
    def RLock(self) -> synchronize.RLock: ...
    def Semaphore(self, value: int = 1) -> synchronize.Semaphore: ...
    def Queue(self, maxsize: int = 0) -> queues.Queue[Any]: ...
    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue[Any]: ...
    def SimpleQueue(self) -> queues.SimpleQueue[Any]: ...
    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        retries: int = 0,
        timeout: float | None = None,
        max_memory: int | None = None,
        name: str | None = None,
    ) -> pool.Pool: ...
    @overload
    def get_context(self, method: None = None) -> DefaultContext: ...
    @overload
    def get_context(self, method: Literal["spawn"]) -> SpawnContext: ...
    @overload
    def get_context(self, method: Literal["fork"]) -> ForkContext: ...
    @overload
    def get_context(self, method: Literal["forkserver"]) -> ForkServerContext: ...
    @overload
    def get_context(self, method: str) -> BaseContext: ...

class Process(process.BaseProcess, _context.Process): ...
class ForkProcess(process.BaseProcess, _context.ForkProcess): ...
class SpawnProcess(process.BaseProcess, _context.SpawnProcess): ...
class ForkServerProcess(process.BaseProcess, _context.ForkServerProcess): ...

_Process: TypeAlias = Process

class DefaultContext(BaseContext, _context.DefaultContext):
    Process: ClassVar[type[_Process]]
    def __init__(self, context: BaseContext) -> None: ...

class ForkContext(BaseContext, _context.ForkContext):
    Process: ClassVar[type[ForkProcess]]

class SpawnContext(BaseContext, _context.SpawnContext):
    Process: ClassVar[type[SpawnProcess]]

class ForkServerContext(BaseContext, _context.ForkServerContext):
    Process: ClassVar[type[ForkServerProcess]]

_default_context: DefaultContext
_concrete_contexts: dict[str, BaseContext]
